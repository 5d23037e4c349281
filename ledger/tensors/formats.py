"""Names the formats we do not read, so that a refusal can say what the file is."""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from ledger.errors import UnsupportedModel

PREFIX_BYTES = 16
COMPARED: Final = "safetensors, GGUF, ONNX, PyTorch and NumPy files"
PUBLISHED: Final = "safetensors, ONNX and GGUF files"

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89SLM\r\n\x1a\n", "a sealed package"),
    (0, b'{"content_root":', "a lineage sketch"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch, NumPy or Keras)"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"lmgg", "a GGML file"),
    *((0, start, "a web page") for start in (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")),
    (0, b"<?xml", "an XML document"),
    (0, b"version https://", "a Git LFS pointer"),
    *((0, bytes([0x80, p, lead]), "a pickle") for p in (2, 3, 4, 5) for lead in b"}]ch(X\x8a\x95"),
)
_SUFFIX = {
    ".onnx": "an ONNX file",
    ".gguf": "a GGUF file",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".bin": "a PyTorch or raw binary file",
    ".ckpt": "a checkpoint file",
    ".h5": "an HDF5 file (Keras)",
    ".keras": "a Keras file",
    ".tflite": "a TensorFlow Lite file",
    ".npz": "a NumPy archive",
    ".npy": "a NumPy array",
    ".msgpack": "a Flax file",
    ".pb": "a TensorFlow file",
    ".mlmodel": "a Core ML file",
    ".sealed": "a sealed package",
}

_WAY_OUT = "convert it to safetensors first (safetensors.torch.save_file writes one)"
_TO_ONNX = "export it to ONNX first (tf2onnx does)"
_UNPACK = "unpack it, and give what is in it"
_NOT_THE_FILE = "a server gave it in place of the file: sign in there, and download it again"
_WAYS_OUT = {
    "a pickle": "loading it may run anything: convert it to safetensors on a host you can lose",
    "a web page": _NOT_THE_FILE,
    "an XML document": _NOT_THE_FILE,
    "a Git LFS pointer": "it stands for the file: git lfs pull fetches that",
    "a sealed package": "deed inspect shows it; a licensed runtime loads it",
    "a lineage sketch": "deed compare --sketch takes it as the first of the two",
    "an HDF5 file (Keras)": _TO_ONNX,
    "a Keras file": _TO_ONNX,
    "a TensorFlow Lite file": _TO_ONNX,
    "a TensorFlow file": _TO_ONNX,
    "a Core ML file": "give the model that it was converted from",
    "a GGML file": "convert it to GGUF first",
    "a Flax file": "convert it to safetensors first (safetensors.flax.save_file writes one)",
    "a NumPy array": "convert it to safetensors first (safetensors.numpy.save_file writes one)",
    "a NumPy archive": "convert it to safetensors first (safetensors.numpy.save_file writes one)",
    "a gzip archive": _UNPACK,
    "a bzip2 archive": _UNPACK,
    "a zstd archive": _UNPACK,
}


def other_format(name: str, prefix: bytes) -> str | None:
    """What a file is, from its first bytes and else its suffix; None when nothing speaks."""
    for offset, magic, title in _MAGIC:
        if prefix[offset : offset + len(magic)] == magic:
            return title
    return _SUFFIX.get(PurePath(name).suffix.lower())


def unsupported(what: str, title: str) -> UnsupportedModel:
    """The refusal of a model in another format, with the way out of it."""
    return UnsupportedModel(
        f"{what} is {title}, which is not read as a model", hint=_WAYS_OUT.get(title, _WAY_OUT)
    )


def unknown(what: str) -> UnsupportedModel:
    """The refusal of a file that begins like no model."""
    return UnsupportedModel(
        f"{what} is no model file of a kind that is known",
        hint=f"weights are compared from {COMPARED}; models are published from {PUBLISHED}",
    )
