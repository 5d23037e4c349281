"""Element types: safetensors' names, the codes that fingerprints bind, widths and kinds.

The code table is part of a wire format (``docs/spec/fingerprint.md``): a code is never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ledger.errors import TensorFileError


@dataclass(frozen=True, slots=True)
class Dtype:
    """One element type.

    Attributes:
        name: as safetensors spells it.
        code: u16 inside a fingerprint.
        bits: width of one element.
        kind: only ``float`` elements (complex ones included) can carry a model's identity.
    """

    name: str
    code: int
    bits: int
    kind: Literal["bool", "int", "float"]

    @property
    def word_bytes(self) -> int:
        """Bytes of one word of the value multiset; types narrower than a byte count bytes."""
        return max(1, self.bits // 8)

    def nbytes(self, elements: int) -> int | None:
        """Payload bytes of so many elements, or None when they do not fill whole bytes."""
        whole, rest = divmod(elements * self.bits, 8)
        return None if rest else whole


_TABLE = (
    Dtype("BOOL", 1, 8, "bool"),
    Dtype("U8", 2, 8, "int"),
    Dtype("I8", 3, 8, "int"),
    Dtype("U16", 4, 16, "int"),
    Dtype("I16", 5, 16, "int"),
    Dtype("U32", 6, 32, "int"),
    Dtype("I32", 7, 32, "int"),
    Dtype("U64", 8, 64, "int"),
    Dtype("I64", 9, 64, "int"),
    Dtype("F16", 16, 16, "float"),
    Dtype("BF16", 17, 16, "float"),
    Dtype("F32", 18, 32, "float"),
    Dtype("F64", 19, 64, "float"),
    Dtype("C64", 20, 64, "float"),
    Dtype("F8_E4M3", 32, 8, "float"),
    Dtype("F8_E5M2", 33, 8, "float"),
    Dtype("F8_E8M0", 34, 8, "float"),
    Dtype("F8_E4M3FNUZ", 35, 8, "float"),
    Dtype("F8_E5M2FNUZ", 36, 8, "float"),
    Dtype("F4", 48, 4, "float"),
    Dtype("F6_E2M3", 49, 6, "float"),
    Dtype("F6_E3M2", 50, 6, "float"),
)

DTYPES: dict[str, Dtype] = {dtype.name: dtype for dtype in _TABLE}


def dtype_of(name: str) -> Dtype:
    """The element type of that name.

    Raises:
        TensorFileError: no such type.
    """
    try:
        return DTYPES[name]
    except KeyError:
        raise TensorFileError(
            f"{name[:40]!r} is not an element type that safetensors defines",
            hint="save the model again with a current safetensors release",
        ) from None
