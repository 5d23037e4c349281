"""Model files that carry weights in another layout than safetensors: ONNX and GGUF.

Only where tensors lie is read; what else such a file holds (a graph, settings) stays as it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ledger.errors import LimitExceeded, TensorFileError
from ledger.tensors import gguf, onnx
from ledger.tensors.formats import PREFIX_BYTES, other_format, unsupported
from ledger.tensors.regular import check_link, open_regular, shown
from ledger.tensors.safetensors import TensorInfo, check_name
from ledger.tensors.window import Window

SUFFIXES: Final = (".onnx", ".gguf")
_MAX_DATA_FILES: Final = 1024


@dataclass(frozen=True, slots=True)
class OtherFile:
    """One file with weights: its name, size and state on disk, and the tensors in it."""

    name: str
    state: os.stat_result
    tensors: tuple[TensorInfo, ...]


def is_other(name: str) -> bool:
    """Whether a file is ONNX or GGUF by its name."""
    return name.lower().endswith(SUFFIXES)


def read_other(path: Path, *, first: int) -> tuple[OtherFile, ...]:
    """An ONNX file with its data files, or a GGUF file.

    Args:
        path: of the file.
        first: index of the first member that the infos will carry; data files follow.

    Raises:
        TensorFileError, LimitExceeded, UnsupportedVersion, UnsupportedModel: as the format's
            reader says, or a data file that is not beside the model.
    """
    fd, state = open_regular(path)
    with os.fdopen(fd, "rb") as file:
        prefix = file.read(PREFIX_BYTES)
        title = other_format(path.name, prefix)
        wanted = "a GGUF file" if path.suffix.lower() == ".gguf" else "an ONNX file"
        if title != wanted or (wanted == "a GGUF file" and prefix[:4] != b"GGUF"):
            raise unsupported(shown(path), title or "another file than its name says")
        window = Window(fd, state.st_size, shown(path))
        if wanted == "a GGUF file":
            return (OtherFile(path.name, state, gguf.locate_tensors(window, member=first)),)
        located = onnx.locate_tensors(window, member=first)
    files = [OtherFile(path.name, state, located.tensors)]
    places: dict[str, list[TensorInfo]] = {}
    for location, info in located.external:
        places.setdefault(location, []).append(info)
    if len(places) > _MAX_DATA_FILES:
        raise LimitExceeded(f"{shown(path)} has its tensors in {len(places)} data files")
    for name in sorted(places):
        files.append(_data_file(path, name, places[name], first + len(files)))
    return tuple(files)


def _data_file(model: Path, name: str, infos: list[TensorInfo], member: int) -> OtherFile:
    check_name(name, shown(model))
    if "/" in name or "\\" in name or name in {"", ".", "..", model.name}:
        raise TensorFileError(
            f"{shown(model)} has tensors in {name[:200]!r}, which is not a file beside it",
            hint="save it again with its data file in the same folder",
        )
    if (model.parent / name).is_symlink():
        check_link(model.parent, name)
    fd, state = open_regular(model.parent / name)
    os.close(fd)
    kept: list[TensorInfo] = []
    end = 0
    for info in sorted(infos, key=lambda t: (t.offset, t.nbytes)):
        if info.offset + info.nbytes > state.st_size:
            raise TensorFileError(
                f"{shown(model.parent / name)} is truncated: tensor {info.name[:80]!r} needs more",
                hint="download it again",
            )
        if info.offset >= end:
            kept.append(replace(info, member=member))
            end = info.offset + info.nbytes
    return OtherFile(name, state, tuple(kept))
