"""The tensors that a PyTorch pickle describes: views of storages, found in data that nobody ran.

Source: ``torch/_utils.py`` of PyTorch 2.9. A view that is not row-major becomes a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import LimitExceeded, TensorFileError, UnsupportedModel
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.pickles import Built, Named, Persistent
from ledger.tensors.rebuilt import Recipe, strided
from ledger.tensors.safetensors import MAX_DIM, MAX_DIMS, MAX_TENSORS, TensorInfo, check_name
from ledger.tensors.window import Window

_MAX_DEPTH: Final = 64
# Of all names together.
_MAX_TEXT: Final = 64 << 20
# An expanded view (stride 0) repeats values; more than this of them is no weight.
_FREE_VIEW_BYTES: Final = 64 << 20

_STORAGES: Final = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
    "QInt8Storage": "I8", "QUInt8Storage": "U8", "QInt32Storage": "I32", "UntypedStorage": "U8",
}  # fmt: skip
_TYPES: Final = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16",
    "half": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "bool": "BOOL", "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
_REBUILD: Final = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"})
_WRAPPED: Final = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
# Attributes of a pickled module that are no part of a tensor's name.
_MODULE_DICTS: Final = frozenset({"_parameters", "_buffers", "_modules"})


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage: where it lies, in a member or as a recipe's result.

    Attributes:
        member: index of the file, or beyond the files' a recipe.
        offset: of its first byte there.
        nbytes: of it.
    """

    member: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Located:
    """What a file of another layout holds.

    Attributes:
        tensors: those that are read.
        recipes: payloads to be made; the first one's result is the member
            whose number the reader was given.
        left_out: names of tensors that are not read.
    """

    tensors: tuple[TensorInfo, ...]
    recipes: tuple[Recipe, ...]
    left_out: tuple[str, ...]


def storage_of(reference: Any) -> tuple[str, str, str] | None:
    """Module-less class name, key and element type of a storage reference, if it is one."""
    if isinstance(reference, Built):  # TorchScript and typed storages wrap it
        reference = reference.args[0] if isinstance(reference.args, tuple | list) else None
    key = reference.key if isinstance(reference, Persistent) else None
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
        return None
    kind, name = key[1], key[2]
    if not isinstance(kind, Named) or not isinstance(name, str):
        return None
    dtype = _STORAGES.get(kind.name)
    return None if dtype is None else (kind.name, name, dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Where a value stands: a chain, because most values are no tensors and need no text."""

    parent: Path | None
    key: Any

    def text(self) -> str:
        """The keys from the outside in, joined by dots."""
        keys: list[str] = []
        step: Path | None = self
        while step is not None:
            key = step.key
            if isinstance(key, str) and key and key not in _MODULE_DICTS:
                keys.append(key)
            elif isinstance(key, int):
                keys.append(str(key))
            step = step.parent
        return ".".join(reversed(keys))


def values_in(root: Any, prefix: str) -> Iterator[tuple[Path, Built]]:
    """Everything that is built inside a value; each container is entered once."""
    waiting: list[tuple[Path, Any, int]] = [(Path(None, prefix), root, 0)]
    seen: set[int] = set()
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, Built):
            yield path, value
        if depth >= _MAX_DEPTH or id(value) in seen:
            continue
        seen.add(id(value))
        # The last one in is the first one out: in reverse, so that the file's order is kept.
        waiting += [
            (Path(path, key), inner, depth + 1)
            for key, inner in reversed(_inside(value))
            if isinstance(inner, Built | dict | list | tuple)
        ]


def _inside(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if not isinstance(value, Built) or _is_tensor(value):
        return []
    inner: list[tuple[Any, Any]] = [(None, value.state), (None, value.args)]
    return inner + [item for item in value.items if isinstance(item, tuple) and len(item) == 2]


def _is_tensor(value: Built) -> bool:
    maker = value.maker
    return (
        isinstance(maker, Named)
        and maker.module.startswith("torch")
        and (maker.name.startswith("_rebuild"))
    )


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as torch describes it; offset and strides in elements."""

    name: str
    dtype: str
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TensorWalk:
    """Collects the tensors of one file.

    Args:
        window: of the file.
        member: its index.
        virtual: the member number of the first recipe's result.

    Attributes:
        resolve: finds a storage by its key.
    """

    def __init__(self, window: Window, member: int, virtual: int) -> None:
        self._window = window
        self.member = member
        self._virtual = virtual
        self._recipes: list[Recipe] = []
        self._infos: list[TensorInfo] = []
        self._left_out: list[str] = []
        self._names: dict[str, int] = {}
        self._views: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._storages: dict[str, Storage | None] = {}
        self._text_left = _MAX_TEXT
        self.resolve: Callable[[str], Storage | None] = lambda _key: None

    def make(self, recipe: Recipe) -> int:
        """The member number of a recipe's result."""
        self._recipes.append(recipe)
        return self._virtual + len(self._recipes) - 1

    def located(self) -> Located:
        """What was collected.

        Raises:
            UnsupportedModel: nothing was.
        """
        if not self._infos:
            raise UnsupportedModel(
                f"{self._window.what} is a PyTorch file without tensors that are read",
                hint="save the model's state dict (torch.save(model.state_dict(), FILE))",
            )
        return Located(tuple(self._infos), tuple(self._recipes), tuple(self._left_out))

    def collect(self, root: Any, prefix: str) -> None:
        """Take every tensor that a pickled value holds."""
        self._storages.clear()
        self._views.clear()
        for path, value in values_in(root, prefix):
            if not _is_tensor(value):
                continue
            found = value
            for _ in range(4):
                if found.maker.name not in _WRAPPED:
                    break
                inner = found.args[0] if isinstance(found.args, tuple) and found.args else None
                if not isinstance(inner, Built) or not _is_tensor(inner):
                    break
                found = inner
            name = self._unique(path.text() or "tensor")
            info = self._info(name, found) if found.maker.name in _REBUILD else None
            if info is None:
                self._left_out.append(name)
            else:
                self._infos.append(info)
            if len(self._infos) + len(self._left_out) > MAX_TENSORS:
                raise LimitExceeded(f"{self._window.what} holds more than {MAX_TENSORS} tensors")

    def _unique(self, path: str) -> str:
        name = path.encode("utf-8", "replace").decode()
        check_name(name, self._window.what)
        self._text_left -= len(name)
        if self._text_left < 0:
            raise LimitExceeded(
                f"{self._window.what} has tensor names of more than {_MAX_TEXT} bytes"
            )
        while (count := self._names.get(name, 0) + 1) > 1:
            self._names[name] = count
            name = f"{name}#{count}"
        self._names[name] = 1
        return name

    def _info(self, name: str, value: Built) -> TensorInfo | None:
        args = value.args
        if not isinstance(args, tuple) or len(args) < 4:
            raise self._fault(name, "is not described as torch does")
        reference, offset, shape, strides = args[:4]
        found = storage_of(reference)
        if found is None:
            return None
        _, key, dtype = found
        if value.maker.name == "_rebuild_tensor_v3":
            kind = args[6] if len(args) > 6 else None
            dtype = _TYPES.get(kind.name, "") if isinstance(kind, Named) else ""
        elif found[0] == "UntypedStorage":
            dtype = ""
        if dtype not in DTYPES:
            return None
        if (
            len(args) > 6
            and isinstance(args[-1], dict)
            and (args[-1].get("neg") or args[-1].get("conj"))
        ):
            return None  # values are to be negated or conjugated when read
        if not _naturals(shape) or not _naturals(strides) or len(shape) != len(strides):
            raise self._fault(name, "has a shape that is none")
        if type(offset) is not int or not 0 <= offset <= MAX_DIM:
            raise self._fault(name, "begins nowhere in its storage")
        if key not in self._storages:
            self._storages[key] = self.resolve(key)
        storage = self._storages[key]
        if storage is None:
            raise self._fault(name, "has a storage that is not in the file")
        return self._view(_View(name, dtype, storage, offset, tuple(shape), tuple(strides)))

    def _view(self, view: _View) -> TensorInfo:
        name, dtype, storage = view.name, view.dtype, view.storage
        offset, shape, strides = view.offset, view.shape, view.strides
        width = DTYPES[dtype].bits // 8
        count = 1
        for dim in shape:
            count *= dim
        if count == 0:
            return TensorInfo(name, dtype, shape, self.member, 0, 0)
        last = sum((dim - 1) * stride for dim, stride in zip(shape, strides, strict=True))
        if (offset + last + 1) * width > storage.nbytes:
            raise self._fault(name, "reaches beyond its storage")
        start = storage.offset + offset * width
        if _row_major(shape, strides):
            return TensorInfo(name, dtype, shape, storage.member, start, count * width)
        if count * width > max(_FREE_VIEW_BYTES, 4 * storage.nbytes):
            raise LimitExceeded(
                f"{self._window.what}: tensor {name[:80]!r} repeats its storage many times",
                hint="save contiguous copies (tensor.contiguous())",
            )
        place = (storage.member, start, width, shape, strides)
        if place not in self._views:
            recipe = strided(storage.member, start, width, shape, strides)
            self._views[place] = (self.make(recipe), count * width)
        made, nbytes = self._views[place]
        return TensorInfo(name, dtype, shape, made, 0, nbytes)

    def _fault(self, name: str, fault: str) -> TensorFileError:
        return self._window.damaged(f"holds tensor {name[:80]!r}, which {fault}")


def _row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    wanted = 1
    for dim, stride in zip(reversed(shape), reversed(strides), strict=True):
        if dim != 1 and stride != wanted:
            return False
        wanted *= dim
    return True


def _naturals(values: Any) -> bool:
    # `type is int` on purpose: True is an int to isinstance, and no dimension.
    return (
        isinstance(values, tuple | list)
        and len(values) <= MAX_DIMS
        and all(type(v) is int and 0 <= v <= MAX_DIM for v in values)
    )
