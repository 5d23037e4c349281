"""Which files of a folder make up a model: weight shards, side files, and what is left out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from ledger.canonical import parse_json
from ledger.errors import LimitExceeded, ManifestError, TensorFileError
from ledger.tensors.formats import PREFIX_BYTES, other_format, unsupported
from ledger.tensors.other import is_other
from ledger.tensors.regular import check_link, read_regular, shown
from ledger.tensors.safetensors import check_name

WEIGHTS_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
MAX_FILES = 4096
MAX_DEPTH = 3
MAX_INDEX_BYTES = 64 << 20
_HEAD_BYTES = 8192

# Settings, vocabularies, chat templates, model cards and model code: small texts that belong to
# the model and travel with it. They are hashed and sealed, never run.
_SIDE_SUFFIXES = frozenset(
    {
        ".json",
        ".jsonl",
        ".txt",
        ".md",
        ".model",
        ".spm",
        ".vocab",
        ".bpe",
        ".tiktoken",
        ".jinja",
        ".jinja2",
        ".yaml",
        ".yml",
        ".toml",
        ".py",
    }
)
_SIDE_NAMES = re.compile(r"(?i)(licen[cs]e|notice|readme|copying|usage_policy)([-_.].*)?")


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """Names relative to the folder, POSIX style, each list sorted.

    Attributes:
        weights: safetensors files; without any, ONNX or GGUF files.
        side: files that travel with them.
        left_out: other files, which are neither hashed nor sealed.
        index: the shard index, tensor name to file name, or empty.
    """

    weights: tuple[str, ...]
    side: tuple[str, ...]
    left_out: tuple[str, ...]
    index: dict[str, str]


def scan_folder(folder: Path) -> FolderFiles:
    """List the files of a model folder.

    Hidden files, ``__pycache__``, publications and this project's own documents are passed over.

    Weights are the ``*.safetensors`` at the top: those a shard index names, or else all of them.

    Raises:
        TensorFileError: no weights, a link that leaves the folder, an index that does.
        LimitExceeded: more than `MAX_FILES` files.
        UnsupportedModel: weights in another format only.
    """
    names = [name for name in _walk(folder) if not _is_ours(folder / name)]
    top = [n for n in names if "/" not in n and n.endswith(WEIGHTS_SUFFIX)]
    side = tuple(n for n in names if _is_side(n))
    index = _read_index(folder, names)
    if index:
        weights = sorted(set(index.values()))
        missing = [name for name in weights if name not in top]
        if missing:
            raise TensorFileError(
                f"{shown(folder)} lacks {missing[0][:200]!r}, a shard that its index names",
                hint="download the missing shard",
            )
    else:
        # Exports beside safetensors are the same model again, and are left out.
        weights = top or [n for n in names if "/" not in n and is_other(n)]
    if not weights:
        _refuse(folder, names)
    taken = {*weights, *side}
    return FolderFiles(tuple(weights), side, tuple(n for n in names if n not in taken), index)


def _walk(folder: Path) -> list[str]:
    names: list[str] = []
    waiting = [("", 0)]
    seen = 0
    while waiting:
        prefix, depth = waiting.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_FILES:
                    raise LimitExceeded(
                        f"{shown(folder)} holds more than {MAX_FILES} files",
                        hint="give the folder that holds only the model",
                    )
                if entry.name.startswith(".") or entry.name == "__pycache__":
                    continue
                name = prefix + entry.name
                if entry.is_symlink():
                    check_link(folder, name)
                if entry.is_dir():
                    if depth < MAX_DEPTH and not _is_publication(folder / name):
                        waiting.append((name + "/", depth + 1))
                elif entry.is_file() or _is_side(name) or name.endswith(WEIGHTS_SUFFIX):
                    # A pipe in place of a file we want is kept, so that opening it is refused.
                    check_name(name, shown(folder))
                    names.append(name)
    return sorted(names)


def _is_publication(folder: Path) -> bool:
    """Whether ``deed publish`` works there: its claim and journal are no part of a model."""
    return folder.name.endswith(".published") or (folder / "journal.lock").exists()


def _is_ours(path: Path) -> bool:
    """Whether a file is a key, grant, card or terms of this project, or an Ethereum keystore.

    A side file travels to every licensee; a secret that lies beside the model must not.
    """
    if path.suffix not in {".json", ".toml"} or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return b"modeldeed" in head or (b'"crypto"' in head and b'"ciphertext"' in head)


def _is_side(name: str) -> bool:
    pure = PurePath(name)
    return pure.suffix.lower() in _SIDE_SUFFIXES or _SIDE_NAMES.fullmatch(pure.name) is not None


def _read_index(folder: Path, names: list[str]) -> dict[str, str]:
    found = [n for n in names if "/" not in n and n.endswith(INDEX_SUFFIX)]
    if len(found) > 1 and "model" + INDEX_SUFFIX in found:
        found = ["model" + INDEX_SUFFIX]
    if not found:
        return {}
    what = shown(folder / found[0])
    if len(found) > 1:
        raise TensorFileError(
            f"{shown(folder)} holds {len(found)} shard indexes", hint="keep the one you mean"
        )
    try:
        document = parse_json(
            read_regular(folder / found[0], MAX_INDEX_BYTES), what=what, limit=MAX_INDEX_BYTES
        )
    except ManifestError as error:
        raise TensorFileError(error.message, hint="download the index again") from None
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise TensorFileError(f"{what} has no weight_map", hint="download the index again")
    for shard in weight_map.values():
        plain = isinstance(shard, str) and shard.endswith(WEIGHTS_SUFFIX)
        if not plain or "/" in shard or "\\" in shard or "\0" in shard:
            raise TensorFileError(
                f"{what} names {str(shard)[:80]!r}, which is no .safetensors file of its folder",
                hint="the index is damaged or made to mislead; get it again from its source",
            )
    return weight_map


def _refuse(folder: Path, names: list[str]) -> None:
    nested = [n for n in names if n.endswith(WEIGHTS_SUFFIX)]
    if nested:
        raise TensorFileError(
            f"{shown(folder)} has its weights in sub-folders, such as {nested[0][:200]!r}",
            hint="give the sub-folder of one model",
        )
    for name in names:
        if not _is_side(name):
            title = other_format(name, read_regular(folder / name, PREFIX_BYTES, head=True))
            if title:
                raise unsupported(shown(folder / name), title)
    raise TensorFileError(
        f"{shown(folder)} holds no .safetensors, .onnx or .gguf file",
        hint="give the model's file or folder",
    )
