"""Loading a sealed model under a license: check, ask, decrypt in memory, keep the lease.

``load`` does what docs/spec/key-release.md and docs/spec/license-card.md lay down, in this order:

(1) find the card and verify its licensor's signature, then hold it against the pin in the holder's
    grant: the card alone does not say who its licensor has to be;
(2) hold the sealing record against the card, and the file's prelude against the record;
(3) ask a broker that the card names, as this host's runtime, for the key;
(4) open the file against the record, and zero the key;
(5) send heartbeats while the model is in use; without a lease nothing more is read.
"""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from ledger.broker import asking
from ledger.broker.card_files import LocatedModel
from ledger.broker.cards import Source, locate
from ledger.broker.client import Attest, BrokerClient, Decision
from ledger.broker.escrow_holder import EscrowKey, NoBroker
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.joint import BrokerGroup, keeper_of
from ledger.broker.keeper import Beating
from ledger.broker.keeping import KeptReleases, Nobody
from ledger.broker.leases import Lease
from ledger.broker.released import ReleasedKeys
from ledger.errors import (
    BrokerUnavailable,
    EntitlementError,
    KeyRequestRejected,
    LedgerError,
    UsageError,
)
from ledger.ids import LicenseId
from ledger.licensing.entitlement import moment
from ledger.sealed.file import SealedFile, open_sealed
from ledger.sealed.parallel import Progress
from ledger.serving.model import Framework, SealedModel
from ledger.serving.torch_arrays import require_device

_SIGNED_STEP: Final = 3

_Given: TypeAlias = tuple[Beating | BrokerGroup, ReleasedKeys, Lease, int | None]
"""Who takes heartbeats, the keys, their lease, and the time it counts from where that is known."""


def load(
    source: Source,
    *,
    license: LicenseId | str | None = None,  # noqa: A002  the public name, as users say it
    runtime: RuntimeIdentity | Path | str | None = None,
    broker: BrokerClient | str | None = None,
    framework: Framework = "numpy",
    device: str = "cpu",
    names: Iterable[str] | None = None,
    verify: bool = True,
    timeout: float = 60.0,
    on_loss: Callable[[LedgerError], None] | None = None,
    offline: bool = False,
    attest: Attest | None = None,
    escrow: EscrowKey | None = None,
    progress: Progress | None = None,
) -> SealedModel:
    """Open a sealed model with a key from its broker.

    Args:
        source: a license card (path, URL or JSON object), or a sealed file beside its card. URLs
            are https: or s3: (extra ``s3``); the sealed file is read there by ranges.
        license: which license, when that is not clear from the source.
        runtime: this host's identity or its key file; by default ``DEED_RUNTIME_KEY``, else the
            one in the user's configuration folder.
        broker: URL to use instead of the card's; its keys must still be those of the card. A
            client with a pin of its own is used as it is, and then no grant is needed to pin the
            card. Not where the key is shared: there all brokers of the card are asked.
        framework: what tensors are returned as.
        device: torch device; with another one than "cpu" tensors are copied there.
        names: tensors to offer; None offers all.
        verify: check every segment against its leaf.
        timeout: seconds to wait for finality, and for any one answer.
        on_loss: called once, from another thread, when the lease is lost and before the model is
            unloaded.
        offline: use the release kept on this host while its lease holds, asking nobody; when there
            is none, ask, and keep what is given, sealed (docs/spec/offline-release.md). Without it
            a kept release is used only when no broker can be reached, and none is kept.
        attest: in a trusted execution environment, gets an attestation token for 64 bytes of report
            data and the challenge (docs/spec/attestation.md); else evidence is of class software.
        escrow: a key that escrow agents gave out (docs/spec/escrow.md); no broker is asked then.
        progress: called with bytes done and in total, one call at a time and perhaps from other
            threads, while ``state_dict`` reads the model, or a file is downloaded because its
            server knows no ranges. An exception it raises cancels that and leaves nothing behind.

    Raises:
        EntitlementError: not entitled; the message says which rule, since when, and who can
            change it.
        KeyRequestRejected, PendingFinality, EndpointsDisagree: the broker refuses for now.
        BrokerUnavailable, ChainUnavailable, StoreUnavailable: nobody answers.
        ConfigurationError: no runtime key on this host, or a store refuses access.
        SignatureInvalid, ClaimMismatch, SealedAuthError: card, broker or file is not genuine, or
            the card is not what the accepted grant pins.
        LeaseExpired: no broker can be reached, and the kept lease has ended.
        ClockFloorInvalid: nothing says that this host's clock was not set back.
        FormatError: card or file is not one.
        UsageError: unknown tensors, or no card.
    """
    _check_framework(framework, device)
    # Only with a card in hand: a wrong path is told before a missing key.
    identity = functools.cache(lambda: _identity(runtime))
    located = locate(
        source,
        license_id=_license_id(license),
        timeout=timeout,
        admit=lambda card: asking.require_pin(card, identity(), broker, timeout),
        progress=progress,
    )
    try:
        kept = KeptReleases(identity())
        client, keys, lease, now = (
            _keys(
                located, identity(), kept, broker, timeout=timeout, offline=offline, attest=attest
            )
            if escrow is None
            else _escrowed(escrow, located, identity())
        )
        sealed = _opened(located, keys, client, verify=verify)
    finally:
        located.forget()
    try:
        # (5) Its heartbeats begin here.
        model = SealedModel(
            sealed,
            lambda lost: keeper_of(client, identity(), lease, on_loss=lost, now=now),
            framework=framework,
            device=device,
            names=names,
            on_loss=_forgetting(kept, lease, on_loss),
            record=located.record,
            progress=progress,
        )
    except BaseException:
        sealed.close()
        client.close()
        raise
    return model


def _check_framework(framework: str, device: str) -> None:
    if framework not in {"numpy", "torch"}:
        raise UsageError(f"framework {framework!r} is not known", hint='use "numpy" or "torch"')
    if framework == "numpy" and device != "cpu":
        raise UsageError("NumPy arrays live on the cpu", hint='use framework="torch"')
    if framework == "torch":
        require_device(device)


def _keys(
    located: LocatedModel,
    identity: RuntimeIdentity,
    kept: KeptReleases,
    broker: BrokerClient | str | None,
    *,
    timeout: float,
    offline: bool,
    attest: Attest | None,
) -> _Given:
    """(3) From what is kept here, or from a broker; who takes its heartbeats, and since when."""
    card = located.card
    if offline and kept.holds(card):
        return _from_kept(located, kept)
    try:
        keep = kept.keep if offline else None
        return *asking.ask(card, identity, broker, timeout, keep=keep, attest=attest), None
    except (EntitlementError, KeyRequestRejected) as error:
        if _is_final(error):
            # It counts for what was given before, too.
            kept.forget(card.license, card.sealing_hash)
        raise
    except BrokerUnavailable:
        if not kept.find(card):
            raise
        return _from_kept(located, kept)


def _escrowed(escrow: EscrowKey, located: LocatedModel, identity: RuntimeIdentity) -> _Given:
    """(3) From escrow agents: no broker is asked, and none hears heartbeats."""
    keys, lease = escrow.keys(located.card, identity, now=int(time.time()))
    return NoBroker(), keys, lease, None


def _opened(
    located: LocatedModel, keys: ReleasedKeys, client: Beating | BrokerGroup, *, verify: bool
) -> SealedFile:
    """(4) Opened against the record; the key is not needed again."""
    try:
        return open_sealed(
            located.take(), keys.content, record=located.record, verify=verify, cells=keys.cells
        )
    except BaseException:
        client.close()
        raise
    finally:
        keys.wipe()


def _from_kept(located: LocatedModel, kept: KeptReleases) -> _Given:
    keys, lease, now = kept.open(located.card, located.record)
    if now >= lease.not_after:
        with contextlib.suppress(Warning):
            warnings.warn(
                f"modeldeed: the kept lease of license {lease.license} is in its grace until "
                f"{moment(lease.grace_until)}; get a new release",
                stacklevel=4,
            )
    return Nobody(kept.floor), keys, lease, now


def _forgetting(
    kept: KeptReleases, lease: Lease, on_loss: Callable[[LedgerError], None] | None
) -> Callable[[LedgerError], None]:
    """`on_loss`, after deleting what is kept under a lease that a broker ended."""

    def lost(reason: LedgerError) -> None:
        if _is_final(reason):
            kept.forget(lease.license, lease.sealing)
        if on_loss is not None:
            on_loss(reason)

    return lost


def _is_final(reason: LedgerError) -> bool:
    """Whether a broker said no for good; what it says of one request alone is not that."""
    return isinstance(reason, EntitlementError) or (
        isinstance(reason, KeyRequestRejected) and reason.check > _SIGNED_STEP
    )


def check(
    source: Source,
    *,
    license: LicenseId | str | None = None,  # noqa: A002
    runtime: RuntimeIdentity | Path | str | None = None,
    broker: BrokerClient | str | None = None,
    timeout: float = 60.0,
    attest: Attest | None = None,
) -> Decision:
    """Whether `load` would get the key now: every numbered step of the broker's decision.

    A refusal is returned, not raised; no seat is taken and no key is released. Without an accepted
    grant the answer is no, whatever the card's broker says.

    Raises:
        BrokerUnavailable: nobody answers.
        SignatureInvalid, ClaimMismatch, SealedAuthError, FormatError: card, broker or file is not
            genuine, or the card is not what the accepted grant pins.
        ConfigurationError, UsageError: no runtime key on this host, or no card.
    """
    identity = functools.cache(lambda: _identity(runtime))
    located = locate(
        source,
        license_id=_license_id(license),
        timeout=timeout,
        admit=lambda card: asking.pinned(card, identity()),
    )
    try:
        return asking.decide(located.card, identity(), broker, timeout, attest=attest)
    finally:
        located.forget()


def _license_id(value: LicenseId | str | None) -> LicenseId | None:
    return LicenseId.parse(value) if isinstance(value, str) else value


def _identity(runtime: RuntimeIdentity | Path | str | None) -> RuntimeIdentity:
    if isinstance(runtime, RuntimeIdentity):
        return runtime
    return RuntimeIdentity.load(None if runtime is None else Path(runtime))
