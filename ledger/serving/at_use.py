"""Weights at use: a torch module whose weights are decrypted layer by layer, for its forward only.

Between two uses a parameter is a placeholder of its shape and type over one element, NaN: whoever
reads it outside its layer's forward gets NaN, and never numbers that look right. Each layer's
``forward`` is wrapped, rather than hooked, because torch calls no hook when a forward is
interrupted from the keyboard, and the scratch must be zeroed then too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ledger.errors import LedgerError, UsageError
from ledger.sealed.scratch import Group, Scratch
from ledger.serving import torch_arrays

if TYPE_CHECKING:
    from ledger.serving.model import SealedModel

# Torch reaches into these modules' children without calling them.
_REACHING = ("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer")


@dataclass(slots=True)
class _Slot:
    """One parameter or buffer of a module, and the tensor of the model that fills it."""

    owner: Any
    kind: str  # "_parameters" or "_buffers"
    key: str
    tensor: str
    original: Any
    dtype: str = ""
    shape: tuple[int, ...] = ()
    placeholder: Any = None


@dataclass(slots=True)
class _Unit:
    """A module whose forward needs its slots filled."""

    module: Any
    slots: list[_Slot] = field(default_factory=list)
    group: Group | None = None
    forward: Any = None
    had_own: bool = False


@contextmanager
def without_weights() -> Iterator[None]:
    """Torch modules built inside have their parameters on ``meta``, and buffers as they are made.

    Buffers that a module computes at construction, such as the frequencies of rotary positions,
    are in no package. Patches ``torch.nn.Module`` meanwhile: build nothing in other threads.

    Raises:
        ToolMissing: torch is not installed.
    """
    torch = torch_arrays.require_torch()
    register = torch.nn.Module.register_parameter

    def register_on_meta(module: Any, name: str, parameter: Any) -> None:
        register(module, name, parameter)
        if parameter is not None and parameter.device.type != "meta":
            module._parameters[name] = torch.nn.Parameter(  # noqa: SLF001
                parameter.to("meta"), requires_grad=False
            )

    torch.nn.Module.register_parameter = register_on_meta
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register


class AttachedWeights:
    """A module attached to a sealed model; a context manager. For inference: no gradients flow.

    One thread at a time is inside a layer, and the end of the lease waits for it; after that each
    layer raises ``LeaseExpired``. The module is as before when this, or the model, is closed.

    Args:
        model: the open model.
        module: built in `without_weights`, so that it holds no weights of its own.
        prefix: what the model's tensor names have before the module's.
        together: classes of submodules that are decrypted as a whole, such as one transformer
            layer: fewer segments are decrypted twice, more plaintext is alive at once.

    Attributes:
        plaintext_bytes: scratch that holds plaintext now.
        peak_bytes: the most there was at once.
    """

    def __init__(
        self,
        model: SealedModel,
        module: Any,
        *,
        prefix: str = "",
        together: tuple[type, ...] = (),
    ) -> None:
        self._torch = torch_arrays.require_torch()
        self._model = model
        self.module = module
        self._scratch = Scratch(model.sealed_file)
        self._lock = threading.RLock()
        self._attached = False
        reaching = tuple(getattr(self._torch.nn, name) for name in _REACHING)
        if not isinstance(module, self._torch.nn.Module):
            raise UsageError(
                f"a {type(module).__name__} is no torch module", hint="give a torch.nn.Module"
            )
        self._plain: list[_Slot] = []
        self._units = self._plan(prefix, (*together, *reaching))
        self._require_buffers(prefix)
        self._scratch.reserve(self._deepest())
        with self._lock:
            self._attach()
        model.at_end(self._end)

    @property
    def plaintext_bytes(self) -> int:
        """Scratch that holds plaintext now."""
        return self._scratch.live

    @property
    def peak_bytes(self) -> int:
        """The most plaintext there was at once."""
        return self._scratch.peak

    def __repr__(self) -> str:
        return f"<AttachedWeights of {len(self._units)} layers>"

    # -- planning ------------------------------------------------------------------------------

    def _plan(self, prefix: str, together: tuple[type, ...]) -> dict[str, _Unit]:
        there = set(self._model.keys())
        homes = self._tied(prefix, there)
        units: dict[str, _Unit] = {}
        whole: list[str] = []
        for path, module in self.module.named_modules():
            home = next((w for w in whole if path.startswith(w + ".") or w == ""), path)
            if home == path and isinstance(module, together):
                whole.append(path)
            for slot in self._slots(prefix + path + ("." if path else ""), module, there, homes):
                units.setdefault(home, _Unit(self.module.get_submodule(home))).slots.append(slot)
        for unit in units.values():
            needed = {slot.tensor: torch_arrays.alignment_of(slot.dtype) for slot in unit.slots}
            unit.group = self._scratch.group(needed.items())
        return units

    def _require_buffers(self, prefix: str) -> None:
        there = set(self._model.keys())
        empty = [
            name
            for name, buffer in self.module.named_buffers()
            if buffer.device.type == "meta" and prefix + name not in there
        ]
        if empty:
            raise UsageError(
                f"the module's buffer {empty[0]!r} is on meta and not in the model "
                f"({len(empty)} such)",
                hint="build the module in ledger.serving.at_use.without_weights(), or fill them",
            )

    def _tied(self, prefix: str, there: set[str]) -> dict[int, str]:
        """The tensor of each parameter object, so that a tied one is found under its other name."""
        return {
            id(parameter): prefix + name
            for name, parameter in self.module.named_parameters(remove_duplicate=False)
            if prefix + name in there
        }

    def _slots(
        self, path: str, module: Any, there: set[str], homes: dict[int, str]
    ) -> Iterator[_Slot]:
        for key, parameter in module._parameters.items():  # noqa: SLF001
            if parameter is None:
                continue
            name = path + key if path + key in there else homes.get(id(parameter))
            if name is None:
                raise UsageError(
                    f"the model has no tensor for the module's parameter {path + key!r}",
                    hint="build the module from the model's own configuration, or give prefix=",
                )
            yield self._slot(_Slot(module, "_parameters", key, name, parameter))
        for key, buffer in module._buffers.items():  # noqa: SLF001
            if buffer is not None and path + key in there:
                slot = self._slot(_Slot(module, "_buffers", key, path + key, buffer))
                if _is_float(torch_arrays.dtype_of(slot.dtype)):
                    yield slot
                else:
                    # Positions and masks: no weights, and read from outside their module.
                    self._plain.append(slot)

    def _slot(self, slot: _Slot) -> _Slot:
        facts = self._model.info(slot.tensor)
        slot.dtype = facts.dtype
        slot.shape = torch_arrays.shape_of(facts.dtype, facts.shape)
        if tuple(slot.original.shape) != slot.shape:
            raise UsageError(
                f"tensor {slot.tensor!r} has shape {list(slot.shape)}, the module's "
                f"{list(slot.original.shape)}",
                hint="build the module from the model's own configuration",
            )
        kind = torch_arrays.dtype_of(facts.dtype)
        one = self._torch.full((1,) * len(slot.shape), float("nan") if _is_float(kind) else 0.0)
        empty = one.to(kind).expand(slot.shape)
        slot.placeholder = (
            self._torch.nn.Parameter(empty, requires_grad=False)
            if slot.kind == "_parameters"
            else empty.detach()
        )
        return slot

    def _deepest(self) -> int:
        """The most scratch that units need whose modules lie in one another."""
        return max(
            (
                sum(
                    unit.group.size
                    for path, unit in self._units.items()
                    if unit.group is not None and (here == path or _inside(here, path))
                )
                for here in self._units
            ),
            default=0,
        )

    # -- attaching -----------------------------------------------------------------------------

    def _attach(self) -> None:
        # Through the scratch too: reading them otherwise leaves their segment, with its weights,
        # in the package's own.
        needed = {slot.tensor: torch_arrays.alignment_of(slot.dtype) for slot in self._plain}
        with self._scratch.use(self._scratch.group(needed.items())) as found:
            for slot in self._plain:
                shape = self._model.info(slot.tensor).shape
                data = torch_arrays.view(found[slot.tensor], slot.dtype, shape)
                self._put(slot, data.clone())
        for unit in self._units.values():
            for slot in unit.slots:
                getattr(slot.owner, slot.kind)[slot.key] = slot.placeholder
            unit.had_own = "forward" in vars(unit.module)
            unit.forward = unit.module.forward
            unit.module.forward = self._wrapped(unit)
        self._attached = True

    def _wrapped(self, unit: _Unit) -> Callable[..., Any]:
        inner = unit.forward
        if self._looks_up(unit):
            return lambda input: self._rows(unit.slots[0], input)  # noqa: A006  as torch names it

        def forward(*arguments: Any, **options: Any) -> Any:
            with self._filled(unit), self._torch.no_grad():
                return self._apart(unit, inner(*arguments, **options))

        return forward

    def _looks_up(self, unit: _Unit) -> bool:
        """Whether a unit is a plain table of which only the rows asked for are decrypted."""
        slot, module = unit.slots[0], unit.module
        return (
            type(module) is self._torch.nn.Embedding
            and module.max_norm is None
            and len(unit.slots) == 1
            and slot.dtype != "F4"
            and self._scratch.aligned(slot.tensor, torch_arrays.alignment_of(slot.dtype))
        )

    def _rows(self, slot: _Slot, indices: Any) -> Any:
        torch = self._torch
        count, width = slot.shape
        rows, places = torch.unique(indices, return_inverse=True)
        if rows.numel() and not 0 <= int(rows[0]) <= int(rows[-1]) < count:
            raise IndexError(f"index out of range for a table of {count} rows")
        with self._lock, torch.no_grad():
            self._model.keeper.require()
            group, starts = self._scratch.row_group(slot.tensor, rows.tolist())
            with self._scratch.use(group) as found:
                data = found[slot.tensor]
                item = torch_arrays.alignment_of(slot.dtype)
                flat = torch_arrays.view(data, slot.dtype, (len(data) // item,))
                first = torch.tensor(starts, dtype=torch.int64) // item
                return flat[first[places].unsqueeze(-1) + torch.arange(width)]

    @contextmanager
    def _filled(self, unit: _Unit) -> Iterator[None]:
        assert unit.group is not None
        with self._lock:
            self._model.keeper.require()
            with self._scratch.use(unit.group) as found:
                try:
                    for slot in unit.slots:
                        data = torch_arrays.view(
                            found[slot.tensor], slot.dtype, self._model.info(slot.tensor).shape
                        )
                        self._put(slot, data)
                    yield
                finally:
                    for slot in unit.slots:
                        getattr(slot.owner, slot.kind)[slot.key] = slot.placeholder

    def _put(self, slot: _Slot, data: Any) -> None:
        if slot.kind == "_parameters":
            data = self._torch.nn.Parameter(data, requires_grad=False)
        getattr(slot.owner, slot.kind)[slot.key] = data

    def _apart(self, unit: _Unit, result: Any) -> Any:
        """The result with every tensor that is a view of a weight copied out of the scratch."""
        from torch.utils import _pytree  # type: ignore[import-not-found,unused-ignore]

        own = {
            getattr(slot.owner, slot.kind)[slot.key].untyped_storage().data_ptr()
            for slot in unit.slots
        }

        def aliased(leaf: Any) -> bool:
            return isinstance(leaf, self._torch.Tensor) and leaf.untyped_storage().data_ptr() in own

        if not any(aliased(leaf) for leaf in _pytree.tree_leaves(result)):
            return result
        return _pytree.tree_map(lambda leaf: leaf.clone() if aliased(leaf) else leaf, result)

    # -- end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the module back as it was. Safe to repeat."""
        with self._lock:
            if not self._attached:
                return
            self._attached = False
            for unit in self._units.values():
                if unit.had_own:
                    unit.module.forward = unit.forward
                else:
                    del unit.module.forward
                for slot in unit.slots:
                    getattr(slot.owner, slot.kind)[slot.key] = slot.original
            for slot in self._plain:
                getattr(slot.owner, slot.kind)[slot.key] = slot.original

    def _end(self, reason: LedgerError | None) -> None:
        if reason is None:
            self.close()
        else:
            # The layer being computed is waited for; the next one says why there is no more.
            with self._lock:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_float(kind: Any) -> bool:
    return bool(kind.is_floating_point or kind.is_complex)


def _inside(path: str, folder: str) -> bool:
    return folder == "" or path.startswith(folder + ".")
