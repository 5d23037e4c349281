"""A key shared among n brokers: asking all of them and joining t shares.

The steps are those of docs/spec/key-release.md, "Threshold". Every broker decides alone and knows
one share. All are asked for the same ephemeral KEM key; what they send is opened here only, and
each share is held against the commitment that the licensor signed, so that a broker which sends
another one is named and left out.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from ledger.broker.client import Asker, BrokerClient, Decision, Keep, check_lease, check_time
from ledger.broker.joining import (
    ReleasedShare,
    check_statement,
    joined,
    largest_set,
    open_share,
    stated_shares,
)
from ledger.broker.joint import BrokerGroup
from ledger.broker.leases import Lease
from ledger.broker.members import check_ledger, name_fault, patiently, pin_of
from ledger.broker.protocol import KeyRequest
from ledger.broker.released import ReleasedKeys
from ledger.broker.standing import MemberStanding, SetStanding
from ledger.errors import (
    BrokerUnavailable,
    EndpointsDisagree,
    EntitlementError,
    FormatError,
    KeyRequestRejected,
    LedgerError,
    NoIdentityMatch,
    PendingFinality,
    SharesRejected,
    SignatureInvalid,
    ThresholdNotMet,
    UnavailableError,
    VerificationError,
)
from ledger.licensing.card import CardBroker, LicenseCard
from ledger.licensing.document import Document
from ledger.sealed.recipients import KemPrivateKey
from ledger.sealed.record import SealingRecord

SETTLE_SECONDS: Final = 0.5
"""How long the other brokers are waited for once the outcome is clear: their leases are spares."""
REQUEST_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 5.0
_RETRYABLE: Final = (PendingFinality, EndpointsDisagree, UnavailableError)
T = TypeVar("T")


# -- asking --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Heard(Generic[T]):
    """What came of asking one broker; `place` from 0 in the card's order."""

    place: int
    result: T | LedgerError


@dataclass(frozen=True, slots=True)
class _Reply:
    client: BrokerClient
    request: KeyRequest
    decision: Decision


@dataclass(frozen=True, slots=True)
class _Taken:
    """A share that is the one committed to, with the lease it came under."""

    reply: _Reply
    lease: Lease
    share: ReleasedShare

    @property
    def client(self) -> BrokerClient:
        """Whose it is."""
        return self.reply.client

    @property
    def group(self) -> tuple[object, ...]:
        """What it must have in common with those it is joined with."""
        return self.share.group

    def keep(self, keep: Keep) -> None:
        """Hand it to who keeps releases."""
        signing = self.client.facts().signing
        keep(self.reply.request, signing, self.reply.decision.reply, self.lease, self.share)


def ask_shares(
    card: LicenseCard, asker: Asker, timeout: float
) -> tuple[BrokerGroup, ReleasedKeys, Lease]:
    """The keys from the first t valid shares, and the leases the model then runs under.

    Returns:
        The brokers that gave a lease, the keys (the caller zeroes them), the deciding lease.

    Raises:
        EntitlementError, KeyRequestRejected: so many brokers refuse that t cannot agree.
        ThresholdNotMet: too few answer, or can decide now.
        SharesRejected: too many gave a wrong share, or the shares were made wrongly.
    """
    kem, stopping = KemPrivateKey.generate(), threading.Event()
    record = SealingRecord.from_json(dict(card.sealing))

    def ask(client: BrokerClient) -> _Reply:
        request, decision = patiently(
            lambda: client.ask_share(asker, kem.public), timeout, stopping
        )
        return _Reply(client, request, decision)

    taken: dict[int, _Taken] = {}
    troubles: dict[int, LedgerError] = {}
    try:
        for heard in _from_all(
            card, ask, timeout, stopping, enough=lambda: _clear(taken, troubles, card)
        ):
            if isinstance(heard.result, LedgerError):
                troubles[heard.place] = heard.result
                continue
            try:
                taken[heard.place] = _take(card, heard.place, heard.result, kem)
            except LedgerError as error:
                heard.result.client.close()
                troubles[heard.place] = error
        chosen, keys = _joined(card, record, taken, troubles)
        try:
            if asker.keep is not None:
                for each in chosen:
                    each.keep(asker.keep)
        except BaseException:
            keys.wipe()
            raise
    except BaseException:
        for each in taken.values():
            each.client.close()
        raise
    finally:
        stopping.set()
        kem.wipe()
        for each in taken.values():
            each.share.wipe()
    for each in taken.values():
        if each not in chosen:
            each.client.close()
    _name_faults(card, troubles)
    group = BrokerGroup(card.brokers.threshold, [(each.client, each.lease) for each in chosen])
    return group, keys, group.deciding([each.lease for each in chosen])


def decide_shares(card: LicenseCard, asker: Asker, timeout: float) -> Decision:
    """Whether t brokers would release now; takes nothing.

    Returns:
        A granting broker's steps when t grant, a refusing one's when so many refuse that t cannot.

    Raises:
        ThresholdNotMet: too few answer to tell.
    """
    granted: dict[int, Decision] = {}
    refused: dict[int, Decision] = {}
    troubles: dict[int, LedgerError] = {}
    threshold, count = card.brokers.threshold, len(card.brokers.members)

    def clear() -> bool:
        return len(granted) >= threshold or count - len(refused) < threshold

    def ask(client: BrokerClient) -> Decision:
        with client:
            return client.check(asker)

    stopping = threading.Event()
    for heard in _from_all(card, ask, timeout, stopping, enough=clear):
        if isinstance(heard.result, LedgerError):
            troubles[heard.place] = heard.result
        else:
            (granted if heard.result.granted else refused)[heard.place] = heard.result
    if len(granted) >= threshold:
        return granted[min(granted)]
    for place, decision in refused.items():
        if decision.denial is not None:
            troubles[place] = decision.denial.error()
    if count - len(refused) >= threshold:
        raise _not_met(card, granted, troubles)
    # An authoritative no tells more than "not now".
    place, decision = min(
        refused.items(),
        key=lambda item: (item[1].denial is None or not item[1].denial.authoritative, item[0]),
    )
    assert decision.denial is not None, "a refusal has a reason"
    told = f"{decision.denial.message}; {_told(card, granted, troubles, threshold)}"
    return replace(decision, denial=replace(decision.denial, message=told))


def standing(card: LicenseCard, timeout: float = LOOK_SECONDS) -> SetStanding:
    """Which brokers of a card answer, as themselves and by its contracts; nothing is decided."""
    troubles: dict[int, str] = {}

    def knock(client: BrokerClient) -> None:
        client.close()

    for heard in _from_all(card, knock, timeout, threading.Event(), enough=lambda: False):
        if isinstance(heard.result, LedgerError):
            troubles[heard.place] = heard.result.message
    members = (MemberStanding(m.id, troubles.get(n)) for n, m in enumerate(card.brokers.members))
    return SetStanding(card.brokers.id, card.brokers.threshold, tuple(members))


def _clear(taken: dict[int, _Taken], troubles: dict[int, LedgerError], card: LicenseCard) -> bool:
    """Whether enough shares of one set are here, or can no longer come."""
    threshold = card.brokers.threshold
    return (
        len(largest_set(list(taken.values()))) >= threshold
        or len(card.brokers.members) - len(troubles) < threshold
    )


def _from_all(
    card: LicenseCard,
    act: Callable[[BrokerClient], T],
    timeout: float,
    stopping: threading.Event,
    *,
    enough: Callable[[], bool],
) -> Iterator[_Heard[T]]:
    """Ask all brokers at once; yields what comes, and a little longer once it is enough."""
    heard: queue.SimpleQueue[_Heard[T]] = queue.SimpleQueue()
    members = card.brokers.members

    def run(place: int) -> None:
        result: T | LedgerError
        try:
            result = _ask_member(card, members[place], act, min(timeout, REQUEST_SECONDS))
        except LedgerError as error:
            result = error
        except Exception:  # noqa: BLE001
            # A reply that trips the reader is one broker's fault, and may be quoted nowhere.
            result = BrokerUnavailable("its answer cannot be read")
        heard.put(_Heard(place, result))

    for place in range(len(members)):
        # Daemons: an unreachable broker must not hold up the end of the process.
        threading.Thread(target=run, args=(place,), name="modeldeed-share", daemon=True).start()
    missing = set(range(len(members)))
    deadline: float | None = None
    while missing:
        if deadline is None and enough():
            stopping.set()
            deadline = time.monotonic() + SETTLE_SECONDS
        try:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            one = heard.get(timeout=wait)
        except queue.Empty:
            break
        missing.discard(one.place)
        yield one
    stopping.set()
    for place in sorted(missing):
        yield _Heard(place, BrokerUnavailable("it has not answered yet"))


def _ask_member(
    card: LicenseCard, member: CardBroker, act: Callable[[BrokerClient], T], seconds: float
) -> T:
    """Ask one broker at the first of its URLs where it answers."""
    problem: LedgerError = BrokerUnavailable("the card names no URL of it")
    for url in member.urls:
        client = BrokerClient(url, pin=pin_of(member), timeout=seconds)
        try:
            check_ledger(client, card)
            return act(client)
        except (BrokerUnavailable, SignatureInvalid, FormatError) as error:
            client.close()
            problem = error
        except BaseException:
            client.close()
            raise
    raise problem


# -- taking and joining --------------------------------------------------------------------------


def _take(card: LicenseCard, place: int, reply: _Reply, kem: KemPrivateKey) -> _Taken:
    """Open one broker's reply.

    Raises:
        SignatureInvalid: lease or statement are for something else, or not the licensor's.
        ManifestError, NoIdentityMatch, SharesRejected, LimitExceeded: as `open_share`.
    """
    told = reply.decision.reply
    # (1) The lease is for what was asked. (2) What the licensor signed about the shares.
    doc = Document(told, "the broker's reply")
    lease = Lease.from_json(doc.object("lease"))
    check_lease(lease, reply.request)
    check_time(doc.integer("time"), reply.request)
    check_statement(stated_shares(told), card)
    # (3) It opens, and (4) is the one committed to; so is each cell key's.
    share = open_share(told, place, kem, request=reply.request, lease=lease)
    return _Taken(reply, lease, share)


def _joined(
    card: LicenseCard,
    record: SealingRecord,
    taken: dict[int, _Taken],
    troubles: dict[int, LedgerError],
) -> tuple[list[_Taken], ReleasedKeys]:
    """(5) The key of t shares of one set. (6) It is the one that the sealing commits to."""
    threshold = card.brokers.threshold
    chosen = largest_set(list(taken.values()))
    if len(chosen) < threshold:
        sets = Counter(each.share.share.set_id for each in taken.values())
        if max(sets.values(), default=0) >= threshold:
            # Right after a transfer some brokers still decide by the block before it.
            raise ThresholdNotMet(
                "the brokers chose cell keys by different code words: not all of them have seen "
                "the license's last transfer",
                retry_after=2.0,
            )
        raise _not_met(card, taken, troubles)
    return chosen, joined([each.share for each in chosen[:threshold]], record)


def _name_faults(card: LicenseCard, troubles: dict[int, LedgerError]) -> None:
    """Warn of brokers that sent what no honest one sends; the others made up for them."""
    for place, error in sorted(troubles.items()):
        if isinstance(error, (VerificationError, SharesRejected, NoIdentityMatch, FormatError)):
            name_fault(card.brokers.members[place].id, error)


def _not_met(
    card: LicenseCard, have: Sequence[int] | dict[int, T], troubles: dict[int, LedgerError]
) -> LedgerError:
    """The error for too few, by what would have to change."""
    threshold, members = card.brokers.threshold, card.brokers.members
    told = _told(card, have, troubles, threshold)
    noes = [
        error
        for _, error in sorted(troubles.items())
        if isinstance(error, (EntitlementError, KeyRequestRejected))
    ]
    if len(members) - len(noes) < threshold:
        first = noes[0]
        message = f"{first.message}; {told}"
        if isinstance(first, EntitlementError):
            return type(first)(message, since=first.since, remedy=first.remedy)
        return KeyRequestRejected(message, check=getattr(first, "check", 0), hint=first.hint)
    retryable = [error for error in troubles.values() if isinstance(error, _RETRYABLE)]
    lasting = [error for _, error in sorted(troubles.items()) if not isinstance(error, _RETRYABLE)]
    if len(members) - len(lasting) < threshold:
        # Waiting does not help: keys that were rotated, shares that are wrong.
        hint = next((e.hint for e in lasting if isinstance(e, VerificationError)), lasting[0].hint)
        return SharesRejected(told, hint=hint)
    if retryable:
        wait = max(float(getattr(error, "retry_after", 1.0)) for error in retryable)
        failures = tuple((members[place].id, error) for place, error in sorted(troubles.items()))
        return ThresholdNotMet(told, retry_after=wait, failures=failures)
    return SharesRejected(
        told, hint="ask the licensor to deposit shares again, or the brokers' operators"
    )


def _told(
    card: LicenseCard,
    have: Sequence[int] | dict[int, T],
    troubles: dict[int, LedgerError],
    threshold: int,
) -> str:
    """How many of how many, and what became of every other broker."""
    members = card.brokers.members
    reasons = "; ".join(
        f"broker {members[place].id}: {error.message}" for place, error in sorted(troubles.items())
    )
    text = f"{len(have)} of the {threshold} brokers needed agree (of {len(members)})"
    if len(have) >= threshold:
        text = f"the brokers hold shares of several sets, and no {threshold} of one"
    return f"{text}: {reasons}" if reasons else text
