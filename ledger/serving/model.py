"""``SealedModel``: an open package under a lease, and everything that takes weights from it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, overload

from ledger.broker.leases import Lease
from ledger.errors import LedgerError, UsageError
from ledger.sealed.file import SealedFile
from ledger.sealed.parallel import Progress
from ledger.sealed.record import SealingRecord
from ledger.serving import torch_arrays

if TYPE_CHECKING:
    from ledger.serving.at_use import AttachedWeights
    from ledger.serving.onnx_session import OnnxSession
    from ledger.serving.sharing import LeaseShare

Framework = Literal["numpy", "torch"]


class Keeping(Protocol):
    """Who knows whether the lease holds: a keeper with heartbeats, or a rank's share of one."""

    @property
    def lease(self) -> Lease:
        """The lease as last extended."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End; safe to repeat."""
        ...

    def now(self) -> float:
        """Unix seconds by the lease's clock."""
        ...

    def require(self) -> None:
        """Raise unless the lease holds."""
        ...


Keep = Callable[[Callable[[LedgerError], None]], Keeping]
"""Makes the keeper, given what to call once when the lease is lost."""


class TensorSlice:
    """One tensor that is read by parts: ``model.get_slice(name)[a:b]``.

    Indices of the first axis decide which segments are decrypted; what is asked of the other axes
    is cut out of those rows.
    """

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
        """The part that `index` selects, as NumPy would.

        Raises:
            LeaseExpired, UnsupportedModel, UsageError, SealedAuthError: as ``get_tensor``.
        """
        shape = self._model.info(self._name).shape
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        chosen = _rows(first, shape[0]) if shape else None
        if chosen is None:
            return self._model.get_tensor(self._name)[index]
        rows, within = chosen
        part = self._model.get_rows(self._name, rows)
        return part[(within, *rest)] if rest else part[within]


def _rows(index: Any, count: int) -> tuple[range, slice | int] | None:
    """Which rows to read, and what to take of them; None when that is not for us to say."""
    if isinstance(index, slice):
        wanted = range(*index.indices(count))
        if not wanted:
            return range(0), slice(0, 0)
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        return range(low, high + 1), slice(None, None, wanted.step)
    try:
        number = operator.index(index)
    except TypeError:
        return None
    if isinstance(index, bool):
        return None
    if not -count <= number < count:
        raise IndexError(f"index {number} is out of bounds for an axis of {count}")
    number %= count
    return range(number, number + 1), 0


class SealedModel:
    """An open model under a lease. Thread-safe; a context manager.

    Arrays and CPU tensors are views of private memory that is zeroed by ``close`` and when the
    lease is lost: those still held then read zeros. NumPy's are read-only; torch has no such thing,
    so clone before you train. Tensors on another device are copies there.

    A model that is not closed keeps its lease until the process ends. A forked child has neither
    lease nor plaintext: load again there, or ``share`` the lease.
    """

    def __init__(
        self,
        sealed: SealedFile,
        keep: Keep,
        *,
        framework: Framework = "numpy",
        device: str = "cpu",
        names: Iterable[str] | None = None,
        on_loss: Callable[[LedgerError], None] | None = None,
        record: SealingRecord | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._sealed = sealed
        self._progress = progress
        self._device = device
        self._framework = framework
        self._record = record
        if framework == "torch":
            torch_arrays.require_torch()
        self._names = self._chosen(names)
        self._offered = frozenset(self._names)
        self._callback = on_loss
        self._ends: list[Callable[[LedgerError | None], None]] = []
        # The keeper's thread holds on to the model: tensors of a model that nobody named, as in
        # load(card).state_dict(), must not turn into zeros under their user.
        self._keeper = keep(self._unload)
        self._keeper.start()

    def __repr__(self) -> str:
        return f"<SealedModel of {len(self._names)} tensors under license {self.lease.license}>"

    def _chosen(self, names: Iterable[str] | None) -> tuple[str, ...]:
        there = self._sealed.keys()
        if names is None:
            return there
        wanted = set(names)
        missing = sorted(wanted - set(there))
        if missing:
            raise UsageError(
                f"the model has no tensor {missing[0][:200]!r}", hint="keys() lists them"
            )
        return tuple(name for name in there if name in wanted)

    def _unload(self, reason: LedgerError) -> None:
        try:
            if self._callback is not None:
                self._callback(reason)
        finally:
            self._end(reason)

    def _end(self, reason: LedgerError | None) -> None:
        try:
            for end in reversed(self._ends):
                end(reason)
        finally:
            self._sealed.close()

    def at_end(self, end: Callable[[LedgerError | None], None]) -> None:
        """Have `end` called before plaintext is zeroed: with the reason of a loss, or None."""
        self._ends.append(end)

    # -- what is inside ------------------------------------------------------------------------

    @property
    def lease(self) -> Lease:
        """The lease as last extended."""
        return self._keeper.lease

    @property
    def keeper(self) -> Keeping:
        """What keeps the lease."""
        return self._keeper

    @property
    def record(self) -> SealingRecord | None:
        """The sealing record that the file was opened against."""
        return self._record

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
            UnsupportedModel: the framework lacks the element type; ``get_bytes`` gives the bytes.
            UsageError: no such tensor, or the model is closed.
            SealedAuthError: the file was altered.
        """
        return self.get_rows(name, None)

    def get_rows(self, name: str, rows: range | None) -> Any:
        """Some rows of a tensor (indices of its first axis, step 1); None gives all of it.

        Raises:
            LeaseExpired, UnsupportedModel, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        if self._framework == "numpy":
            return self._sealed.get_tensor(self._known(name), rows=rows)
        facts = self._sealed.info(self._known(name))
        shape = facts.shape if rows is None else (len(rows), *facts.shape[1:])
        # The copy too: an end meanwhile would zero what is copied, and nobody would be told.
        with self._sealed.in_use():
            alignment = torch_arrays.alignment_of(facts.dtype)
            data = self._sealed.get_memory(name, rows=rows, alignment=alignment)
            tensor = torch_arrays.view(data, facts.dtype, shape)
            return tensor if self._device == "cpu" else tensor.to(self._device)

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
        """One tensor to be indexed: ``get_slice(name)[a:b]`` decrypts the segments of those rows.

        Raises:
            UsageError: no such tensor.
        """
        return TensorSlice(self, self._known(name))

    def state_dict(self, *, progress: Progress | None = None) -> dict[str, Any]:
        """Every tensor by name, decrypted in parallel into one arena.

        Where ``names`` limits what is offered, only those tensors are decrypted.

        Args:
            progress: called with bytes done and in total; by default the one given to ``load``.

        Raises:
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        if len(self._names) == len(self._sealed.keys()):
            self._sealed.load_all(progress=progress or self._progress)
        return {name: self.get_tensor(name) for name in self._names}

    @overload
    def files(self, *, as_paths: Literal[False] = False) -> dict[str, memoryview]: ...

    @overload
    def files(self, *, as_paths: Literal[True]) -> dict[str, Path]: ...

    def files(self, *, as_paths: bool = False) -> Mapping[str, memoryview | Path]:
        """Side files (configuration, tokenizer) by name, from memory.

        Args:
            as_paths: for readers that insist on a path: links in one folder on a tmpfs to files in
                memory, which only this process can follow. They end with the model.

        Raises:
            ToolMissing: with `as_paths`, this system has no files in memory or no tmpfs.
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        if not as_paths:
            return self._sealed.files()
        names = [m.name for m in self._sealed.members if m.role == "side"]
        folder = self._sealed.link_folder(names)
        return {name: folder / name for name in names}

    def path(self, name: str) -> str:
        """One file of the package, weights too, as a file in memory: for GGUF readers and such.

        The path can be opened by this process alone. The content cannot be changed by whoever
        opens it, and is zeroed when the model ends, also where a consumer still maps it.

        Raises:
            ToolMissing: this system has no files in memory.
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        self._keeper.require()
        return self._sealed.memory_file(name).path

    def _known(self, name: str) -> str:
        if name not in self._offered:
            raise UsageError(f"the model has no tensor {name[:200]!r}", hint="keys() lists them")
        return name

    # -- who uses it ---------------------------------------------------------------------------

    def onnx_session(self, name: str | None = None, **options: Any) -> OnnxSession:
        """An ONNX Runtime session over a package's ONNX file, from memory.

        Args:
            name: of the file; needed when there are several.
            options: for ``onnxruntime.InferenceSession``: ``sess_options``, ``providers`` …

        Raises:
            ToolMissing: onnxruntime is not installed.
            UnsupportedModel: no ONNX file is in it.
            LeaseExpired, UsageError, SealedAuthError: as ``get_tensor``.
        """
        from ledger.serving.onnx_session import OnnxSession

        return OnnxSession(self, name, **options)

    def attach(self, module: Any, **options: Any) -> AttachedWeights:
        """Weights at use: decrypt layer by layer for the forward pass of a torch module only.

        ``options`` as for `ledger.serving.at_use.AttachedWeights`.

        Raises:
            ToolMissing: torch is not installed.
            UsageError: module and model do not fit together.
            LeaseExpired, SealedAuthError: as ``get_tensor``.
        """
        from ledger.serving.at_use import AttachedWeights

        return AttachedWeights(self, module, **options)

    def share(self) -> LeaseShare:
        """Let other processes of this user open the same model under this lease.

        Raises:
            UnsupportedModel: the package cannot be shared.
            LeaseExpired, UsageError: as ``get_tensor``.
        """
        from ledger.serving.sharing import LeaseShare

        return LeaseShare(self)

    # -- end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the heartbeats and zero keys and plaintext. Safe to repeat."""
        self._keeper.stop()
        self._end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
