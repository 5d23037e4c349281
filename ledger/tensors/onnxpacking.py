"""Which integer tensors of an ONNX graph are weights, and what scales them back.

Three ways of writing it are read: the operator ``DequantizeLinear``; ``Cast``, ``Sub`` of a zero
point and ``Mul`` by a scale, as exporters of weight-only quantisation spell it out; and the names
``X_quantized``, ``X_scale``, ``X_zero_point`` that ONNX Runtime's quantiser gives where integer
operators take the tensor as it is (``onnxruntime/quantization/quant_utils.py`` 1.23).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ledger.tensors.safetensors import Affine

ARITHMETIC: Final = frozenset({"DequantizeLinear", "Cast", "Sub", "Mul"})
PACKABLE: Final = frozenset({"I8", "U8", "I16", "U16", "I32"})
_FLOATS: Final = frozenset({"F32", "F16", "BF16", "F64"})
_SUFFIX: Final = "_quantized"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One node: what it does, with what, and the name of its first result."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    axis: int | None


def packings(nodes: Iterable[Arithmetic], kinds: Mapping[str, str]) -> dict[str, Affine]:
    """How integer tensors become weights, by the tensor's name.

    Args:
        nodes: in the graph's order, which is that of the computation.
        kinds: element type of each tensor, by name.
    """
    found: dict[str, Affine] = {}
    # Results that are an integer tensor still: its name, and the zero point taken off.
    carried: dict[str, tuple[str, str | None]] = {}
    for node in nodes:
        first, second, third = (*node.inputs, "", "", "")[:3]
        if node.kind == "DequantizeLinear" and kinds.get(first) in PACKABLE:
            if kinds.get(second) in _FLOATS:
                found.setdefault(first, Affine(second, third or None, node.axis))
        elif node.kind == "Cast":
            if kinds.get(first) in PACKABLE:
                carried[node.output] = (first, None)
            elif first in carried:
                carried[node.output] = carried[first]
        elif node.kind == "Sub" and first in carried and second:
            name, zero = carried[first]
            # A zero point may be cast as well.
            origin = carried[second][0] if second in carried else second
            if zero is None and origin in kinds:
                carried[node.output] = (name, origin)
        elif node.kind == "Mul":
            for value, scale in ((first, second), (second, first)):
                if value in carried and kinds.get(scale) in _FLOATS:
                    name, zero = carried[value]
                    found.setdefault(name, Affine(scale, zero, None))
    return found


def by_name(name: str, kinds: Mapping[str, str]) -> Affine | None:
    """What ONNX Runtime's names say."""
    if not name.endswith(_SUFFIX):
        return None
    stem = name.removesuffix(_SUFFIX)
    made = Affine(f"{stem}_scale", None, None)
    if kinds.get(made.scale) not in _FLOATS:
        return None
    zero = f"{stem}_zero_point"
    return replace(made, zero=zero) if zero in kinds else made
