"""The committed sketch: a small sample of a model, against which a suspect is tested without it.

A secret key draws matrices, rows and features; the drawn values are kept as signed bytes. The root
over them is salted from the key, so the commitment tells nothing and binds all of it but the
name of the model, its content root, which is the maker's word. Bytes and
checks: ``docs/spec/lineage.md``, "Sketch".
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

import numpy as np

from ledger.canonical import canonical_json, hash_json, parse_json
from ledger.errors import (
    ClaimMismatch,
    LimitExceeded,
    ManifestError,
    UnsupportedModel,
    UnsupportedVersion,
    UsageError,
)
from ledger.fingerprint.compare import Comparison
from ledger.fingerprint.lineage import Matrix, Places, drawn
from ledger.fingerprint.pairing import ModelRows, Suspect, lineage_of
from ledger.fingerprint.roles import LEAST_FEATURES, LEAST_UNITS, Role, roles_of
from ledger.ids import Address, Digest
from ledger.merkle import T1
from ledger.tensors.model import ModelSource

FORMAT: Final = "modeldeed/lineage-sketch/1"
COMMIT_TAG: Final = "modeldeed/sketch-commitment/1"
MAX_BYTES: Final = 1_000_000
MAX_LINE: Final = 1 << 16
MAX_MATRICES: Final = 32
MAX_SIDE: Final = 2048
# Drawing from more would take seconds for each of an untrusted sketch's matrices.
MAX_SIZE: Final = 1 << 20
_ROWS: Final = 256
_COLUMNS: Final = 112
_MAX_NAME: Final = 1024
_FIELDS: Final = {"format", "content_root", "key", "root", "matrices"}
_ENTRY: Final = {"name", "role", "units", "features", "gates", "rows", "columns"}


@dataclass(frozen=True, slots=True)
class SketchMatrix:
    """The drawn rows of one matrix; one side of a row-order test.

    Attributes:
        name: of the tensor.
        role: of its units.
        units: all of them.
        width: all features of a gate.
        gates: rows that make up one unit.
        places: the drawn units, ascending.
        features: the drawn features of a gate, ascending.
        codes: int8 (rows, features × gates).
    """

    name: str
    role: Role
    units: int
    width: int
    gates: int
    places: Places
    features: Places
    codes: np.ndarray[Any, np.dtype[np.int8]]

    def values(self) -> Matrix:
        """(rows, features × gates)."""
        return self.codes.astype(np.float32)

    def entry(self) -> dict[str, Any]:
        """What the sketch's first line says of it."""
        return {
            "name": self.name,
            "role": self.role,
            "units": self.units,
            "features": self.width,
            "gates": self.gates,
            "rows": len(self.places),
            "columns": len(self.features),
        }


@dataclass(frozen=True, slots=True)
class Sketch:
    """A sketch and the key that opens its commitment. Secret until it is used.

    Attributes:
        content_root: of the model, as the sketch's maker says.
        key: 32 secret bytes.
        matrices: what was drawn.
    """

    content_root: Digest
    key: bytes
    matrices: tuple[SketchMatrix, ...]

    def __repr__(self) -> str:
        return f"Sketch({self.content_root}, {len(self.matrices)} matrices)"

    @property
    def root(self) -> Digest:
        """The commitment: T1 over the salted hashes of the matrices."""
        leaves = []
        for index, matrix in enumerate(self.matrices):
            salt = hmac.digest(self.key, b"salt" + struct.pack("<I", index), "sha256")
            entry = hashlib.sha256(canonical_json(matrix.entry())).digest()
            body = hashlib.sha256(matrix.codes.tobytes()).digest()
            leaves.append(T1.leaf(b"\x28" + salt + entry + body))
        return Digest(T1.root(leaves))

    def commitment(self, *, chain_id: int, registry: Address, owner: Address) -> Digest:
        """What goes on chain in phase A: binds the root to a model, an owner and a place.

        `owner` is inside, so a commitment that was copied by another account is nobody's.
        """
        return hash_json(
            COMMIT_TAG,
            {
                "type": "modeldeed/sketch-commitment",
                "version": 1,
                "chain_id": chain_id,
                "registry": str(registry),
                "owner": str(owner),
                "content_root": str(self.content_root),
                "sketch_root": str(self.root),
            },
        )

    def to_bytes(self) -> bytes:
        """The file."""
        line = canonical_json(
            {
                "format": FORMAT,
                "content_root": str(self.content_root),
                "key": "0x" + self.key.hex(),
                "root": str(self.root),
                "matrices": [matrix.entry() for matrix in self.matrices],
            }
        )
        return line + b"\n" + b"".join(matrix.codes.tobytes() for matrix in self.matrices)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Read an untrusted sketch.

        Raises:
            LimitExceeded: larger than a sketch may be.
            UnsupportedVersion: another version.
            ManifestError: not a sketch.
            ClaimMismatch: its root is not that of its contents.
        """
        # (1) the line and the lengths it announces
        if len(data) > MAX_BYTES:
            raise LimitExceeded(f"a sketch has at most {MAX_BYTES:,} bytes")
        line, found, body = data.partition(b"\n")
        if not found or len(line) > MAX_LINE:
            raise _not_a_sketch()
        document = parse_json(line, what="the sketch", limit=MAX_LINE)
        if not isinstance(document, dict) or "format" not in document:
            raise _not_a_sketch()
        if document["format"] != FORMAT:
            raise UnsupportedVersion("this file is no lineage sketch of version 1")
        if set(document) != _FIELDS or canonical_json(document) != line:
            raise _not_a_sketch()
        try:
            content_root, root = (Digest.parse(document[k]) for k in ("content_root", "root"))
            key = Digest.parse(document["key"]).raw
        except (UsageError, TypeError, AttributeError):
            raise _not_a_sketch() from None
        matrices = _read_matrices(document["matrices"], key, body)
        made = cls(content_root, key, matrices)
        # (2) the root
        if made.root != root:
            raise ClaimMismatch("the sketch's root is not that of its contents")
        return made


def make_sketch(
    model: ModelSource,
    content_root: Digest,
    key: bytes,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Sketch:
    """Draw a sketch.

    Args:
        model: the open model.
        content_root: its content root.
        key: 32 random bytes; whoever has them knows which rows are looked at.
        progress: called with (matrices done, in all).

    Raises:
        TensorFileError: a file cannot be read.
        UnsupportedModel: no matrix of it can be tested.
    """
    found = sorted(roles_of(model).units, key=lambda view: _draw(key, view.name))
    matrices: list[SketchMatrix] = []
    for view in found:
        if len(matrices) == MAX_MATRICES:
            break
        progress(len(matrices), min(len(found), MAX_MATRICES))
        if len(view.name) > _MAX_NAME or max(view.units, view.width) > MAX_SIZE:
            continue
        if ModelRows(model, view).reason() is not None:
            continue
        places = drawn(key, view.name + "/rows", view.units, _ROWS)
        features = drawn(key, view.name + "/features", view.width, max(1, _COLUMNS // view.gates))
        values = view.read(model, places, features)
        matrices.append(
            SketchMatrix(
                view.name,
                view.role,
                view.units,
                view.width,
                view.gates,
                places,
                features,
                signed_bytes(values),
            )
        )
    if not matrices:
        raise UnsupportedModel(
            "no matrix of this model can be tested for lineage",
            hint="deed compare MODEL MODEL lists the reason of each tensor",
        )
    return Sketch(content_root, key, tuple(matrices))


def compare_sketch(
    sketch: Sketch,
    theirs: ModelSource,
    *,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Comparison:
    """Test a suspect against a sketch.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    done = 0

    def step() -> None:
        nonlocal done
        progress("row order", done, len(sketch.matrices))
        done += 1

    suspect = Suspect(theirs)
    lineage = lineage_of(sketch.matrices, suspect, (), key=sketch.key, progress=step)
    theirs.ensure_unchanged()
    return Comparison(
        f"sketch of {sketch.content_root}", theirs.title, None, lineage, sketch_root=sketch.root
    )


def signed_bytes(values: Matrix) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Centred rows as signed bytes; a row that is not finite or empty becomes 0.

    Args:
        values: (rows, features × gates).
    """
    with np.errstate(all="ignore"):
        centred = values.astype(np.float64)
        centred -= centred.mean(axis=1, keepdims=True)
        largest = np.abs(centred).max(axis=1, keepdims=True, initial=0)
        good = np.isfinite(centred).all(axis=1, keepdims=True) & (largest > 0)
        scaled = np.where(good, 127 * (centred / np.where(good, largest, 1)), 0)
    return np.rint(scaled).astype(np.int8)


def _draw(key: bytes, name: str) -> bytes:
    return hashlib.sha256(FORMAT.encode() + b"\x00" + key + name.encode()).digest()


def _read_matrices(entries: Any, key: bytes, body: bytes) -> tuple[SketchMatrix, ...]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_MATRICES:
        raise _not_a_sketch()
    matrices = []
    at = 0
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != _ENTRY:
            raise _not_a_sketch()
        name, role = entry["name"], entry["role"]
        sizes = [entry[k] for k in ("units", "features", "gates", "rows", "columns")]
        if (
            not isinstance(name, str)
            or len(name) > _MAX_NAME
            or role not in get_args(Role.__value__ if hasattr(Role, "__value__") else Role)
            or any(type(size) is not int or not 1 <= size <= MAX_SIZE for size in sizes)
        ):
            raise _not_a_sketch()
        units, width, gates, rows, columns = sizes
        if (
            gates > 4
            or units < LEAST_UNITS
            or width * gates < LEAST_FEATURES
            or rows > min(units, MAX_SIDE)
            or columns > min(width, MAX_SIDE)
        ):
            raise _not_a_sketch()
        size = rows * columns * gates
        if at + size > len(body):
            raise _not_a_sketch()
        codes = np.frombuffer(body[at : at + size], np.int8).reshape(rows, columns * gates)
        at += size
        places = drawn(key, name + "/rows", units, rows)
        features = drawn(key, name + "/features", width, columns)
        matrices.append(
            SketchMatrix(name, cast("Role", role), units, width, gates, places, features, codes)
        )
    if at != len(body):
        raise _not_a_sketch()
    return tuple(matrices)


def _not_a_sketch() -> ManifestError:
    return ManifestError(
        "this file is not a lineage sketch", hint="deed fingerprint MODEL --sketch FILE makes one"
    )
