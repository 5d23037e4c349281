"""Loading a sealed model under a license: check, ask, decrypt in memory, keep the lease.

``load`` does what docs/spec/key-release.md and docs/spec/license-card.md lay down, in this order:

(1) find the card and verify its licensor's signature;
(2) hold the sealing record against the card, and the file's prelude against the record;
(3) ask a broker that the card names, as this host's runtime, for the key;
(4) open the file against the record, and zero the key;
(5) send heartbeats while the model is in use; without a lease nothing more is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from ledger.broker.cards import LocatedModel, Source, locate
from ledger.broker.client import Asker, BrokerClient, BrokerPin, Decision
from ledger.broker.custody import zero
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeper import LeaseKeeper
from ledger.broker.leases import Lease
from ledger.errors import (
    BrokerUnavailable,
    EndpointsDisagree,
    LedgerError,
    PendingFinality,
    SignatureInvalid,
    ToolMissing,
    UnavailableError,
    UnsupportedVersion,
    UsageError,
)
from ledger.ids import LicenseId
from ledger.licensing.card import CardBroker, LicenseCard
from ledger.sealed.file import SealedFile, open_sealed

Framework = Literal["numpy", "torch"]
PATIENCE: Final = 5.0
"""Seconds for which an unreachable broker or chain is tried again."""


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
) -> SealedModel:
    """Open a sealed model with a key from its broker.

    Args:
        source: a license card (path, URL or JSON object), or a sealed file beside its card.
        license: which license, when that is not clear from the source.
        runtime: this host's identity or its key file; by default ``DEED_RUNTIME_KEY``, else the
            one in the user's configuration folder.
        broker: URL to use instead of the card's; its keys must still be those of the card.
        framework: what tensors are returned as.
        device: torch device; with another one than "cpu" tensors are copied there.
        names: tensors to offer; None offers all.
        verify: check every segment against its leaf.
        timeout: seconds to wait for finality, and for any one answer.
        on_loss: called once, from another thread, when the lease is lost and before the model is
            unloaded.

    Raises:
        EntitlementError: not entitled; the message says which rule, since when, and who can
            change it.
        KeyRequestRejected, PendingFinality, EndpointsDisagree: the broker refuses for now.
        BrokerUnavailable, ChainUnavailable: nobody answers.
        ConfigurationError: no runtime key on this host.
        SignatureInvalid, ClaimMismatch, SealedAuthError: card, broker or file is not genuine.
        FormatError: card or file is not one.
        UsageError: unknown tensors, or no card.
    """
    if framework not in {"numpy", "torch"}:
        raise UsageError(f"framework {framework!r} is not known", hint='use "numpy" or "torch"')
    if framework == "numpy" and device != "cpu":
        raise UsageError("NumPy arrays live on the cpu", hint='use framework="torch"')
    located = locate(source, license_id=_license_id(license), timeout=timeout)
    try:
        identity = _identity(runtime)
        client, key, lease = _ask_brokers(located, identity, broker, timeout)
        try:
            # (4) Opened against the record; the key is not needed again.
            sealed = open_sealed(located.path, key, record=located.record, verify=verify)
        except BaseException:
            client.close()
            raise
        finally:
            zero(key)
    finally:
        located.forget()
    try:
        model = SealedModel(
            sealed,
            client,
            identity,
            lease,
            framework=framework,
            device=device,
            names=names,
            on_loss=on_loss,
        )
    except BaseException:
        sealed.close()
        client.close()
        raise
    return model


def check(
    source: Source,
    *,
    license: LicenseId | str | None = None,  # noqa: A002
    runtime: RuntimeIdentity | Path | str | None = None,
    broker: BrokerClient | str | None = None,
    timeout: float = 60.0,
) -> Decision:
    """Whether `load` would get the key now: every numbered step of the broker's decision.

    A refusal is returned, not raised; no seat is taken and no key is released.

    Raises:
        BrokerUnavailable: nobody answers.
        SignatureInvalid, ClaimMismatch, SealedAuthError, FormatError: card, broker or file is not
            genuine.
        ConfigurationError, UsageError: no runtime key on this host, or no card.
    """
    located = locate(source, license_id=_license_id(license), timeout=timeout)
    try:
        asker = _asker(located, _identity(runtime))
        problem: LedgerError | None = None
        for client in _clients(located.card, broker, timeout):
            with client:
                try:
                    return client.check(asker)
                except BrokerUnavailable as error:
                    problem = error
        assert problem is not None, "a card names at least one broker"
        raise problem
    finally:
        located.forget()


def _license_id(value: LicenseId | str | None) -> LicenseId | None:
    return LicenseId.parse(value) if isinstance(value, str) else value


def _identity(runtime: RuntimeIdentity | Path | str | None) -> RuntimeIdentity:
    if isinstance(runtime, RuntimeIdentity):
        return runtime
    return RuntimeIdentity.load(None if runtime is None else Path(runtime))


# -- (3) asking ----------------------------------------------------------------------------------


def _asker(located: LocatedModel, identity: RuntimeIdentity) -> Asker:
    card = located.card
    granted = identity.grant_for(card.chain_id, card.ledger, card.license)
    return Asker(
        identity=identity,
        license=card.license,
        model=card.model,
        sealing=card.sealing_hash,
        grant=None if granted is None else granted.grant,
        acceptance=None if granted is None else granted.acceptance,
        terms=card.terms,
    )


def _clients(
    card: LicenseCard, broker: BrokerClient | str | None, timeout: float
) -> list[BrokerClient]:
    """Clients pinned to the keys the licensor signed, one per URL to try."""
    if isinstance(broker, BrokerClient):
        return [broker]
    if card.brokers.threshold != 1:
        raise UnsupportedVersion(
            f"the key is shared among {card.brokers.threshold} brokers, which this release "
            "cannot join"
        )
    wanted = [
        (member, url)
        for member in card.brokers.members
        for url in ((broker,) if broker is not None else member.urls)
    ]
    if not wanted:
        raise UsageError("the card names no broker URL", hint="give one: broker=URL")
    seconds = min(timeout, 30.0)
    return [BrokerClient(url, pin=_pin(member), timeout=seconds) for member, url in wanted]


def _pin(member: CardBroker) -> BrokerPin:
    return BrokerPin(member.id, member.signing_key_hash, member.kem_key_hash)


def _ask_brokers(
    located: LocatedModel,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
) -> tuple[BrokerClient, bytearray, Lease]:
    asker = _asker(located, identity)
    clients = _clients(located.card, broker, timeout)
    problem: LedgerError | None = None
    for number, client in enumerate(clients):
        try:
            _check_ledger(client, located.card)
            key, lease = _ask(client, asker, timeout)
        except (BrokerUnavailable, SignatureInvalid) as error:
            # Another broker of the card may be reachable, or be the real one.
            client.close()
            problem = error if problem is None or isinstance(error, SignatureInvalid) else problem
        except BaseException:
            for other in clients[number:]:
                other.close()
            raise
        else:
            for other in clients[number + 1 :]:
                other.close()
            return client, key, lease
    assert problem is not None, "a card names at least one broker"
    raise problem


def _check_ledger(client: BrokerClient, card: LicenseCard) -> None:
    told = client.facts().identity
    if (told.chain_id, told.ledger, told.registry, told.broker_registry) != (
        card.chain_id,
        card.ledger,
        card.registry,
        card.broker_registry,
    ):
        raise SignatureInvalid(
            f"broker {client.host} decides by other contracts than the card names",
            hint="use the broker that the card names",
        )


def _ask(client: BrokerClient, asker: Asker, timeout: float) -> tuple[bytearray, Lease]:
    """Ask, and ask again while the answer is "not yet"."""
    start = time.monotonic()
    while True:
        try:
            key, lease, _ = client.release(asker)
        except (PendingFinality, EndpointsDisagree, UnavailableError) as error:
            patience = min(PATIENCE, timeout) if isinstance(error, UnavailableError) else timeout
            wait = max(0.2, min(getattr(error, "retry_after", 1.0), 2.0))
            if time.monotonic() - start + wait > patience:
                raise
            time.sleep(wait)
        else:
            return key, lease


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
        client: BrokerClient,
        identity: RuntimeIdentity,
        lease: Lease,
        *,
        framework: Framework = "numpy",
        device: str = "cpu",
        names: Iterable[str] | None = None,
        on_loss: Callable[[LedgerError], None] | None = None,
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
        self._keeper = LeaseKeeper(client, identity, lease, on_loss=self._unload)
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
            UsageError: no such tensor, or the model is closed.
            SealedAuthError: the file was altered.
        """
        self._keeper.require()
        array = self._sealed.get_tensor(self._known(name))
        return array if self._framework == "numpy" else self._to_torch(name, array)

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
