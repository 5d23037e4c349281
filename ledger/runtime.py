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
from types import TracebackType
from typing import Any, Final, Literal, Self

from ledger.broker import asking
from ledger.broker.cards import LocatedModel, Source, locate
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
    ToolMissing,
    UsageError,
)
from ledger.ids import LicenseId
from ledger.licensing.entitlement import moment
from ledger.sealed.file import SealedFile, open_sealed

Framework = Literal["numpy", "torch"]
_SIGNED_STEP: Final = 3


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
) -> SealedModel:
    """Open a sealed model with a key from its broker.

    Args:
        source: a license card (path, URL or JSON object), or a sealed file beside its card.
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

    Raises:
        EntitlementError: not entitled; the message says which rule, since when, and who can
            change it.
        KeyRequestRejected, PendingFinality, EndpointsDisagree: the broker refuses for now.
        BrokerUnavailable, ChainUnavailable: nobody answers.
        ConfigurationError: no runtime key on this host.
        SignatureInvalid, ClaimMismatch, SealedAuthError: card, broker or file is not genuine, or
            the card is not what the accepted grant pins.
        LeaseExpired: no broker can be reached, and the kept lease has ended.
        ClockFloorInvalid: nothing says that this host's clock was not set back.
        FormatError: card or file is not one.
        UsageError: unknown tensors, or no card.
    """
    if framework not in {"numpy", "torch"}:
        raise UsageError(f"framework {framework!r} is not known", hint='use "numpy" or "torch"')
    if framework == "numpy" and device != "cpu":
        raise UsageError("NumPy arrays live on the cpu", hint='use framework="torch"')
    # Only with a card in hand: a wrong path is told before a missing key.
    identity = functools.cache(lambda: _identity(runtime))
    located = locate(
        source,
        license_id=_license_id(license),
        timeout=timeout,
        admit=lambda card: asking.require_pin(card, identity(), broker, timeout),
    )
    try:
        kept = KeptReleases(identity())
        client, keys, lease, now = _keys_of(
            escrow,
            located,
            identity(),
            kept,
            broker,
            timeout=timeout,
            offline=offline,
            attest=attest,
        )
        try:
            # (4) Opened against the record; the key is not needed again.
            sealed = open_sealed(
                located.path,
                keys.content,
                record=located.record,
                verify=verify,
                cells=keys.cells,
            )
        except BaseException:
            client.close()
            raise
        finally:
            keys.wipe()
    finally:
        located.forget()
    try:
        model = SealedModel(
            sealed,
            client,
            identity(),
            lease,
            framework=framework,
            device=device,
            names=names,
            on_loss=_forgetting(kept, lease, on_loss),
            now=now,
        )
    except BaseException:
        sealed.close()
        client.close()
        raise
    return model


def _keys(
    located: LocatedModel,
    identity: RuntimeIdentity,
    kept: KeptReleases,
    broker: BrokerClient | str | None,
    *,
    timeout: float,
    offline: bool,
    attest: Attest | None,
) -> tuple[Beating | BrokerGroup, ReleasedKeys, Lease, int | None]:
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


def _keys_of(
    escrow: EscrowKey | None,
    located: LocatedModel,
    identity: RuntimeIdentity,
    kept: KeptReleases,
    broker: BrokerClient | str | None,
    *,
    timeout: float,
    offline: bool,
    attest: Attest | None,
) -> tuple[Beating | BrokerGroup, ReleasedKeys, Lease, int | None]:
    """(3) From escrow, where a key is given; else as `_keys`."""
    if escrow is not None:
        keys, lease = escrow.keys(located.card, identity, now=int(time.time()))
        return NoBroker(), keys, lease, None
    return _keys(located, identity, kept, broker, timeout=timeout, offline=offline, attest=attest)


def _from_kept(
    located: LocatedModel, kept: KeptReleases
) -> tuple[Beating | BrokerGroup, ReleasedKeys, Lease, int | None]:
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


# -- (5) using -----------------------------------------------------------------------------------


class TensorSlice:
    """One tensor that is read by parts: ``model.get_slice(name)[a:b]``."""

    def __init__(self, model: SealedModel, name: str) -> None:
        self._model = model
        self._name = name

    def get_shape(self) -> list[int]:
        """The tensor's shape."""
        return list(self._model.info(self._name).shape)

    def get_dtype(self) -> str:
        """The tensor's safetensors dtype, such as ``F32``."""
        return str(self._model.info(self._name).dtype)

    def __getitem__(self, index: Any) -> Any:
        return self._model.get_tensor(self._name)[index]


class SealedModel:
    """An open model under a lease. Thread-safe; a context manager.

    NumPy arrays are views of private memory that is zeroed by ``close`` and when the lease is lost:
    arrays still held then read zeros. Torch tensors are copies of their own.

    A model that is not closed keeps its lease until the process ends. A forked child has neither
    lease nor plaintext: load again there.
    """

    def __init__(
        self,
        sealed: SealedFile,
        client: Beating | BrokerGroup,
        identity: RuntimeIdentity,
        lease: Lease,
        *,
        framework: Framework = "numpy",
        device: str = "cpu",
        names: Iterable[str] | None = None,
        on_loss: Callable[[LedgerError], None] | None = None,
        now: int | None = None,
    ) -> None:
        self._sealed = sealed
        self._device = device
        self._framework = framework
        if framework == "torch":
            _torch()
        self._names = self._chosen(names)
        self._callback = on_loss
        # The keeper's thread holds on to the model: tensors of a model that nobody named, as in
        # load(card).state_dict(), must not turn into zeros under their user.
        self._keeper = keeper_of(client, identity, lease, on_loss=self._unload, now=now)
        self._keeper.start()

    def __repr__(self) -> str:
        return f"<SealedModel of {len(self._names)} tensors under license {self.lease.license}>"

    def _chosen(self, names: Iterable[str] | None) -> tuple[str, ...]:
        there = self._sealed.keys()
        if names is None:
            return there
        wanted = tuple(names)
        missing = sorted(set(wanted) - set(there))
        if missing:
            raise UsageError(
                f"the model has no tensor {missing[0][:200]!r}", hint="keys() lists them"
            )
        return tuple(name for name in there if name in set(wanted))

    def _unload(self, reason: LedgerError) -> None:
        try:
            if self._callback is not None:
                self._callback(reason)
        finally:
            self._sealed.close()

    # -- what is inside ------------------------------------------------------------------------

    @property
    def lease(self) -> Lease:
        """The lease as last extended."""
        return self._keeper.lease

    @property
    def sealed_file(self) -> SealedFile:
        """The open package underneath: its public facts, members and verification.

        Raises:
            LeaseExpired: the lease was lost.
        """
        self._keeper.require()
        return self._sealed

    def keys(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return self._names

    def info(self, name: str) -> Any:
        """Dtype, shape and content id of a tensor.

        Raises:
            UsageError: no such tensor.
        """
        return self._sealed.info(self._known(name))

    def get_tensor(self, name: str) -> Any:
        """One tensor, decrypted on first use.

        Raises:
            LeaseExpired: the lease was lost.
            UnsupportedModel: NumPy lacks the element type; ``get_bytes`` gives the bytes.
            UsageError: no such tensor, or the model is closed.
            SealedAuthError: the file was altered.
        """
        self._keeper.require()
        array = self._sealed.get_tensor(self._known(name))
        return array if self._framework == "numpy" else self._to_torch(name, array)

    def get_bytes(self, name: str) -> memoryview:
        """The bytes of one tensor, read-only, little-endian and row-major as in the file.

        Also of element types that NumPy or torch lack, such as ``F4``; ``info`` tells type and
        shape.

        Raises:
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        return self._sealed.get_bytes(self._known(name))

    def get_slice(self, name: str) -> TensorSlice:
        """One tensor to be indexed: ``get_slice(name)[a:b]``.

        Raises:
            UsageError: no such tensor.
        """
        return TensorSlice(self, self._known(name))

    def state_dict(self, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        """Every tensor by name, decrypted in parallel into one arena.

        Raises:
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        self._sealed.load_all(progress=progress)
        return {name: self.get_tensor(name) for name in self._names}

    def files(self) -> dict[str, memoryview]:
        """Side files (configuration, tokenizer) by name, from memory.

        Raises:
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        return self._sealed.files()

    def _known(self, name: str) -> str:
        if name not in self._names:
            raise UsageError(f"the model has no tensor {name[:200]!r}", hint="keys() lists them")
        return name

    def _to_torch(self, name: str, array: Any) -> Any:
        torch = _torch()
        kind = _TORCH_BYTES.get(self._sealed.info(name).dtype)
        if kind is not None and array.size:
            # Types NumPy has only by extension travel as integers of the same width.
            tensor = torch.frombuffer(bytearray(array.tobytes()), dtype=getattr(torch, kind))
            tensor = tensor.reshape(array.shape)
        elif kind is not None:
            tensor = torch.empty(array.shape, dtype=getattr(torch, kind))
        else:
            tensor = torch.tensor(array)
        return tensor if self._device == "cpu" else tensor.to(self._device)

    # -- end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the heartbeats and zero keys and plaintext. Safe to repeat."""
        self._keeper.stop()
        self._sealed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_TORCH_BYTES: Final = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def _torch() -> Any:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ToolMissing(
            'framework="torch" needs torch', hint="install torch, or use framework=numpy"
        ) from None
    return torch
