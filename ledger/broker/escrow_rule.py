"""Whether an escrow's rule holds, read from the chain by the chain rule (docs/spec/escrow.md).

Silence is a statement about state, not about logs that an endpoint could leave out: the
titleholder's count of transactions and the brokers' counts of anchored receipts are the same at the
finalized block as at the last block before the silence began. q endpoints have to show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.broker.escrow import DATE, SILENCE, Condition, Escrow, Release
from ledger.broker.facts import ChainState
from ledger.broker.panel import Panel, Sight
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.registry import ModelRegistry
from ledger.chain.rpc import Block, Rpc, block_param, quantity
from ledger.errors import (
    ChainError,
    EndpointsDisagree,
    KeyRequestRejected,
    LedgerError,
    SignatureInvalid,
)
from ledger.ids import Address
from ledger.licensing.entitlement import moment

STEP: Final = 7
_DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class Signs:
    """What tells of life at one block.

    Attributes:
        holder: who has the title.
        code: whether that account has code, so that its transactions cannot be counted.
        sent: how many transactions it has sent.
        receipts: epoch and number of the last anchored receipts of each broker.
    """

    holder: Address | None
    code: bool
    sent: int
    receipts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A condition that holds.

    Attributes:
        why: in words.
        since: Unix seconds at which the silence began; None for another condition.
    """

    why: str
    since: int | None = None


def require_rule(
    escrow: Escrow, chain: ChainState, panel: Panel, release: Release | None, *, first: int
) -> Held:
    """The first condition of the rule that holds at the agreed finalized block.

    Args:
        escrow: the document.
        chain: license, title and sealing, as agreed.
        panel: the endpoints.
        release: the licensor's word, if it came with the request.
        first: the deployment's block.

    Raises:
        KeyRequestRejected: none holds; says of each why not.
        EndpointsDisagree: about signs of life, and nothing else holds.
        ChainError, UnavailableError: silence could not be looked at, and nothing else holds.
    """
    reasons: list[str] = []
    trouble: LedgerError | None = None
    for condition in escrow.rule:
        try:
            return _holds(condition, escrow, chain, panel, release=release, first=first)
        except KeyRequestRejected as error:
            reasons.append(f"{condition}: {error.message}")
        except LedgerError as error:
            trouble = error
    if trouble is not None:
        raise trouble
    raise KeyRequestRejected(
        f"the rule of escrow {escrow.id().short} does not hold: {'; '.join(reasons)}",
        check=STEP,
        hint="wait until one of its conditions holds, or ask the licensor for an escrow release",
    )


def _holds(
    condition: Condition,
    escrow: Escrow,
    chain: ChainState,
    panel: Panel,
    *,
    release: Release | None,
    first: int,
) -> Held:
    final = chain.finalized.block
    if condition.when == DATE:
        if final.timestamp < condition.value:
            raise _no(f"the finalized block is of {moment(final.timestamp)}")
        return Held(f"since {moment(condition.value)}, as the licensor set")
    if condition.when == SILENCE:
        return _silence(condition.value, escrow, panel, first=first)
    if release is None:
        raise _no("the licensor has not given it")
    if release.escrow != escrow.id():
        raise _no("what the licensor gave is for another escrow")
    try:
        signer = release.signer(escrow.domain)
    except SignatureInvalid:
        raise _no("what was shown is signed by nobody") from None
    if not signer == chain.head.title_holder == chain.finalized.title_holder:
        raise _no(f"it is signed by {signer}, who does not hold the title")
    return Held(f"given by {signer} on {moment(release.issued_at)}")


def _silence(days: int, escrow: Escrow, panel: Panel, *, first: int) -> Held:
    sights = panel.survey()
    final = panel.agreed_final(sights, panel.agreed_head(sights))
    since = final.timestamp - days * _DAY

    def look(sight: Sight) -> tuple[Block, Signs, Signs] | None:
        then = last_before(sight.rpc, since, low=first, high=final.number)
        if then is None:
            return None
        try:
            before = signs(sight.rpc, escrow, then)
        except ChainError as error:
            raise ChainError(
                f"what the chain held in block {then.number} cannot be read: {error.message}",
                hint="judging a silence needs endpoints that keep old state (archive nodes)",
            ) from None
        return then, before, signs(sight.rpc, escrow, final)

    answers = panel.each(sights, look)
    told = [(sight, each) for sight, each in answers if not isinstance(each, LedgerError)]
    good = [each for _, each in told]
    if len(good) < panel.quorum:
        troubles = [answer for _, answer in answers if isinstance(answer, LedgerError)]
        raise (
            troubles[0]
            if len(answers) == len(troubles) == 1
            else panel.too_few(answer for _, answer in answers)
        )
    seen = panel.majority(good)
    # As with a license: what a single endpoint shows to the contrary is never outvoted.
    contrary = [sight for sight, each in told if each != seen]
    for sight in contrary:
        sight.witness.record.contradicted("it shows other signs of life than q endpoints")
    if contrary:
        hosts = ", ".join(sight.rpc.hosts[0] for sight in contrary)
        raise EndpointsDisagree(
            f"endpoints contradict each other about signs of life: {hosts} shows others",
            hint="find out which endpoint is wrong, and ask without it",
        )
    if seen is None:
        raise _no(f"these contracts are younger than {days} days")
    then, before, after = seen
    _compare(before, after)
    return Held(
        f"no transaction of titleholder {after.holder} and no anchored receipts of "
        f"{len(after.receipts)} brokers from block {then.number} to {final.number}",
        since=then.timestamp,
    )


def _compare(before: Signs, after: Signs) -> None:
    if after.code or before.code:
        raise _no(f"titleholder {after.holder} is a contract, whose acts are not counted")
    if before.holder != after.holder:
        raise _no("the title was transferred in that time")
    if before.sent != after.sent:
        raise _no(
            f"titleholder {after.holder} sent {after.sent - before.sent} transactions in that time"
        )
    if before.receipts != after.receipts:
        raise _no("a broker changed its keys or anchored receipts in that time")


def signs(rpc: Rpc, escrow: Escrow, block: Block) -> Signs:
    """The signs of life that an endpoint shows at a block.

    Raises:
        ChainError, UnavailableError: it does not show them.
    """
    holder = ModelRegistry(rpc, escrow.registry).licensor_of(escrow.record.model_id, block.hash)
    code, sent = False, 0
    if holder is not None:
        code = bool(rpc.code(holder, block.hash))
        where = block_param(block.hash)
        sent = quantity(rpc.call("eth_getTransactionCount", [str(holder), where]))
    registry = BrokerRegistry(rpc, escrow.broker_registry)
    ids: Sequence[int] = ()
    if escrow.record.broker_set:
        ids = registry.broker_set_of(escrow.record.broker_set, block.hash).broker_ids
    receipts = tuple(
        (registry.broker_of(one, block.hash).epoch, registry.receipts_of(one, block.hash)[0])
        for one in ids
    )
    return Signs(holder, code, sent, receipts)


def last_before(rpc: Rpc, timestamp: int, *, low: int, high: int) -> Block | None:
    """The last block of low … high that is not later than a time; None when even `low` is."""
    found = rpc.block(low)
    if found.timestamp > timestamp:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        block = rpc.block(middle)
        if block.timestamp <= timestamp:
            low, found = middle, block
        else:
            high = middle - 1
    return found


def _no(message: str) -> KeyRequestRejected:
    return KeyRequestRejected(message, check=STEP)
