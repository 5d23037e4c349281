"""Names the formats we do not read, so that a refusal can say what the file is."""

from __future__ import annotations

from pathlib import PurePath

from ledger.errors import UnsupportedModel

PREFIX_BYTES = 16

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89SLM\r\n\x1a\n", "a sealed package"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch, NumPy or Keras)"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"lmgg", "a GGML file"),
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


def other_format(name: str, prefix: bytes) -> str | None:
    """What a file is, from its first bytes and else its suffix; None when nothing speaks."""
    for offset, magic, title in _MAGIC:
        if prefix[offset : offset + len(magic)] == magic:
            return title
    return _SUFFIX.get(PurePath(name).suffix.lower())


def unsupported(what: str, title: str) -> UnsupportedModel:
    """The refusal of a model in another format."""
    if title == "a sealed package":
        hint = "deed inspect shows it; a licensed runtime loads it"
    else:
        hint = "convert it to safetensors first (safetensors.torch.save_file writes one)"
    return UnsupportedModel(
        f"{what} is {title}; this release reads safetensors, ONNX and GGUF", hint=hint
    )
