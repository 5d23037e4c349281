"""Opens whatever holds weights, to fingerprint it and compare it.

What is published and sealed is a model in a format that a runtime loads (`open_model`). A suspect
comes in any: PyTorch files old and new, TorchScript and NumPy archives are read as well, by what
their first bytes say and never by their name alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.canonical import parse_json
from ledger.errors import ManifestError, TensorFileError, UnsupportedModel
from ledger.tensors import gguf, numpyfiles, pytorch
from ledger.tensors.folder import MAX_FILES, MAX_INDEX_BYTES
from ledger.tensors.formats import PREFIX_BYTES
from ledger.tensors.model import Member, ModelSource, TensorInfo, open_model, title_of
from ledger.tensors.rebuilt import RebuiltSource, Recipe
from ledger.tensors.regular import check_link, open_regular, read_regular, shown
from ledger.tensors.safetensors import check_name
from ledger.tensors.torchtensors import Located
from ledger.tensors.window import Window
from ledger.tensors.zips import entries

_ZIP: Final = b"PK\x03\x04"
_SUFFIXES: Final = frozenset({".pt", ".pth", ".bin", ".ckpt", ".jit", ".npz", ".npy"})
# What a trainer leaves beside its weights under the same suffixes.
_NOT_WEIGHTS: Final = re.compile(r"(optimizer|scheduler|training_args|rng_state|scaler).*")
_INDEX: Final = ".bin.index.json"


def open_weights(path: Path | str) -> ModelSource:
    """Open a model in any format that weights are read from; nothing in it is executed.

    Args:
        path: a file, or a folder: of safetensors, ONNX or GGUF as `open_model` takes them, or else
            of the shards of one PyTorch model, or of a single PyTorch or NumPy file.

    Raises:
        TensorFileError: truncated, inconsistent, or not readable.
        LimitExceeded: a declared size beyond what is read.
        UnsupportedModel: another format; the message says which.
    """
    place = Path(path)
    try:
        if place.name.endswith(_INDEX):
            place = place.parent
        if not place.is_dir():
            return _open_file(place)
        try:
            return open_model(place)
        except (TensorFileError, UnsupportedModel):
            names = _shards(place)
            if not names:
                raise
        return _open_files(place, names)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TensorFileError(
            f"{shown(path)} cannot be read: {reason}", hint="check the path and its permissions"
        ) from None


def _open_file(path: Path) -> ModelSource:
    prefix = read_regular(path, PREFIX_BYTES, head=True)
    if prefix[8:9] != b"{" and (prefix[:4] == b"GGUF" or _kind(prefix)):
        return _open_files(path.parent, [path.name])
    return open_model(path)


def _kind(prefix: bytes) -> bool:
    """Whether a file begins like one of the formats that are read here."""
    return prefix[:4] == _ZIP or prefix[:6] == numpyfiles.MAGIC or pytorch.is_legacy(prefix)


@dataclass(frozen=True, slots=True)
class _Opened:
    member: Member
    state: os.stat_result
    located: Located


def _open_files(folder: Path, names: list[str]) -> ModelSource:
    """One model of these files."""
    opened: list[_Opened] = []
    recipes: list[Recipe] = []
    tensors: list[TensorInfo] = []
    home: dict[str, str] = {}
    for member, name in enumerate(names):
        one = _locate(folder, name, member=member, virtual=len(names) + len(recipes))
        for info in one.located.tensors:
            if info.name in home:
                raise TensorFileError(
                    f"{home[info.name][:200]!r} and {name[:200]!r} both hold a tensor "
                    f"{info.name[:80]!r}",
                    hint="these are two models; give one file",
                )
            home[info.name] = name
        opened.append(one)
        recipes += one.located.recipes
        tensors += one.located.tensors
    single = folder / names[0] if len(names) == 1 else folder
    return RebuiltSource(
        tuple(one.member for one in opened),
        tuple(tensors),
        title=title_of(single, single.stem),
        left_out=tuple(name for one in opened for name in one.located.left_out),
        states=tuple(one.state for one in opened),
        recipes=tuple(recipes),
    )


def _locate(folder: Path, name: str, *, member: int, virtual: int) -> _Opened:
    path = folder / name
    check_name(name, shown(folder))
    fd, state = open_regular(path)
    with os.fdopen(fd, "rb"):
        window = Window(fd, state.st_size, shown(path))
        prefix = window.take(0, min(PREFIX_BYTES, state.st_size))
        if prefix[:4] == b"GGUF":
            located = Located(gguf.locate_tensors(window, member=member), (), ())
        elif prefix[:6] == numpyfiles.MAGIC:
            stem = path.stem or "array"
            located = numpyfiles.locate_array(window, name=stem, member=member, virtual=virtual)
        elif prefix[:4] == _ZIP:
            located = _locate_zip(window, fd, member=member, virtual=virtual)
        elif pytorch.is_legacy(prefix):
            located = pytorch.locate_legacy(window, fd, member=member, virtual=virtual)
        else:
            raise UnsupportedModel(
                f"{shown(path)} is no PyTorch file", hint="give the file of one model"
            )
    return _Opened(Member(name, path, state.st_size, "weights", b""), state, located)


def _locate_zip(window: Window, fd: int, *, member: int, virtual: int) -> Located:
    found = entries(window)
    if any(entry.name.endswith(".npy") for entry in found):
        return numpyfiles.locate_archive(
            window,
            found,
            lambda offset, count: os.pread(fd, count, offset),
            member=member,
            virtual=virtual,
        )
    return pytorch.locate_zip(window, fd, found, member=member, virtual=virtual)


def _shards(folder: Path) -> list[str]:
    """The files of the one PyTorch or NumPy model in a folder; none when there is no such."""
    with os.scandir(folder) as listed:
        names = sorted(
            entry.name
            for entry, _ in zip(listed, range(MAX_FILES), strict=False)
            if not entry.name.startswith(".") and _is_own(folder, entry)
        )
    indexes = [name for name in names if name.endswith(_INDEX)]
    if len(indexes) == 1:
        return _indexed(folder, indexes[0], names)
    weights = [
        name
        for name in names
        if Path(name).suffix.lower() in _SUFFIXES and not _NOT_WEIGHTS.match(name)
    ]
    main = [name for name in weights if name.startswith("pytorch_model")]
    if len(weights) > 1 and len(main) != 1:
        raise TensorFileError(
            f"{shown(folder)} holds {len(weights)} PyTorch or NumPy files",
            hint="give the file of one model",
        )
    return main or weights


def _is_own(folder: Path, entry: os.DirEntry[str]) -> bool:
    """Whether it is a file; links are followed as those of any model's folder are.

    Raises:
        TensorFileError: it would be weights, and is a link that leaves the folder.
    """
    if not entry.is_symlink():
        return entry.is_file()
    if Path(entry.name).suffix.lower() in _SUFFIXES or entry.name.endswith(_INDEX):
        check_link(folder, entry.name)
    return entry.is_file()


def _indexed(folder: Path, index: str, names: list[str]) -> list[str]:
    what = shown(folder / index)
    try:
        content = read_regular(folder / index, MAX_INDEX_BYTES)
        document = parse_json(content, what=what, limit=MAX_INDEX_BYTES)
    except ManifestError as error:
        raise TensorFileError(error.message, hint="download the index again") from None
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
    missing = sorted(shards - set(names))
    if not shards or missing:
        raise TensorFileError(
            f"{what} names {missing[0][:80]!r}, which is no file of its folder"
            if missing
            else f"{what} has no weight_map",
            hint="download the index and its shards again",
        )
    return sorted(shards)
