"""The encrypted part that describes the content: tables and leaf hashes, bytes to values and back.

No cryptography beyond hashing here. Whoever holds the content key can write an index, so nothing
in it is believed before it is checked. ``docs/spec/sealed-package.md`` section 5 is the grammar.
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self, cast

from ledger.canonical import canonical_json, parse_json
from ledger.errors import LedgerError, SealedFormatError
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.sealed.header import CELL_INDEX_BYTES, MAX_INDEX_BYTES
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.safetensors import MAX_DIM, MAX_DIMS, MAX_NAME_BYTES, MAX_TENSORS, check_name

TABLES_VERSION = 1
MAX_MEMBERS = 1 << 16
MAX_PATH_BYTES = 1024
_LENGTH_BYTES = 4
_PAIR = struct.Struct("64s")


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One file inside the package.

    Attributes:
        name: relative POSIX path.
        size: bytes.
        role: ``weights`` or ``side``.
        first: its first segment.
        digest: SHA-256 of the bytes that belong to no tensor, in order: all of a side file, the
            header of a safetensors file.
    """

    name: str
    size: int
    role: Literal["weights", "side"]
    first: int
    digest: Digest


class TensorEntry(NamedTuple):
    """One tensor inside the package. A tuple, since a package may list 10^5 of them.

    Attributes:
        member: index of the member it lies in.
        offset: of its first byte in that member.
        nbytes: payload bytes, which dtype and shape fix.
        cid: content id (docs/spec/fingerprint.md).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    member: int
    offset: int
    nbytes: int
    cid: Digest


@dataclass(frozen=True, slots=True)
class Tables:
    """Members and tensors of a package, in order."""

    members: tuple[MemberEntry, ...]
    tensors: tuple[TensorEntry, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON; rows are arrays, which keeps 10^5 tensors readable in a moment."""
        return canonical_json(
            {
                "members": [
                    [m.name, m.size, m.role, m.first, m.digest.raw.hex()] for m in self.members
                ],
                "tensors": [
                    [t.name, t.dtype, list(t.shape), t.member, t.offset, t.cid.raw.hex()]
                    for t in self.tensors
                ],
                "version": TABLES_VERSION,
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, segments: int, segment_bytes: int) -> Self:
        """Read untrusted tables (step 12).

        Raises:
            SealedFormatError: anything the specification does not allow.
        """
        try:
            document = parse_json(data, what="the table", limit=MAX_INDEX_BYTES)
        except LedgerError as error:
            raise SealedFormatError(error.message) from None
        if (
            not isinstance(document, dict)
            or set(document) != {"members", "tensors", "version"}
            or type(document["version"]) is not int
            or document["version"] != TABLES_VERSION
        ):
            raise SealedFormatError("the table has other fields than version 1")
        members = _members(document["members"], segments, segment_bytes)
        return cls(members, _tensors(document["tensors"], members))

    def content_tree_root(self, encoded: bytes, cells: Sequence[bytes] = ()) -> Digest:
        """The second root, in SHA-256 alone: over `encoded` (these tables), every cid, and cells.

        The tables hold a SHA-256 of every byte that is no tensor, and the cids cover the tensors,
        so this root fixes the whole content without trust in the suite's leaf hash.
        """
        leaves = [T1.leaf(b"\x23" + encoded)]
        leaves += [T1.leaf(b"\x24" + tensor.cid.raw) for tensor in self.tensors]
        return Digest(T1.root([*leaves, *cells]))


def outside_tensors(size: int, tensors: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts (start, end) of a member that no tensor covers.

    Args:
        size: of the member.
        tensors: offset and length of each of its tensors, ascending and apart.
    """
    at = 0
    for offset, nbytes in tensors:
        if offset > at:
            yield at, offset
        at = offset + nbytes
    if at < size:
        yield at, size


def join_index(tables: bytes, leaves: bytes, cells: bytes = b"") -> bytes:
    """The plaintext of the index message."""
    return len(tables).to_bytes(_LENGTH_BYTES, "big") + tables + leaves + cells


def split_index(
    data: bytes | bytearray | memoryview, segments: int, cells: int = 0
) -> tuple[bytes, bytes, bytes]:
    """Tables, leaf hashes (32 bytes a segment) and cells of an index plaintext.

    Raises:
        SealedFormatError: the lengths do not add up.
    """
    size = int.from_bytes(data[:_LENGTH_BYTES], "big")
    after_tables = _LENGTH_BYTES + size
    after_leaves = after_tables + 32 * segments
    if after_leaves + CELL_INDEX_BYTES * cells != len(data):
        raise SealedFormatError("the index has another length than its table and leaves need")
    return (
        bytes(data[_LENGTH_BYTES:after_tables]),
        bytes(data[after_tables:after_leaves]),
        bytes(data[after_leaves:]),
    )


def package_root(table_leaf: bytes, leaves: bytes) -> Digest:
    """The root of the prelude: SHA-256 nodes over the tables' leaf, then every segment's leaf."""
    level = table_leaf + leaves
    # The same tree as T1.root, with the call overhead taken out: this is most of opening a file.
    sha256 = hashlib.sha256
    while len(level) > 32:
        even = len(level) // 64 * 64
        pairs = _PAIR.iter_unpack(level[:even])
        level = b"".join([sha256(b"\x01" + pair).digest() for (pair,) in pairs]) + level[even:]
    return Digest(level)


def safe_path(name: str) -> bool:
    """Whether a member's name is a plain relative path that no export can misplace."""
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_PATH_BYTES:
        return False
    # One question for the common case; character by character costs seconds over many names.
    plain = name.isascii() and name.isprintable()
    if not plain and any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
        return False
    return (
        "\\" not in name
        and ":" not in name
        and all(part not in {"", ".", ".."} for part in name.split("/"))
    )


def _natural(value: Any, limit: int) -> bool:
    # `type is int` on purpose: True is an int to isinstance.
    return type(value) is int and 0 <= value <= limit


def _digest(value: Any) -> Digest:
    try:
        raw = bytes.fromhex(value)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 32 or raw.hex() != value:
        raise SealedFormatError("the table holds a digest that is not 64 hex digits")
    return Digest(raw)


def _rows(value: Any, width: int, limit: int, what: str) -> list[list[Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= limit:
        raise SealedFormatError(f"the table does not list 1 to {limit} {what}")
    if not all(isinstance(row, list) and len(row) == width for row in value):
        raise SealedFormatError(f"the table's {what} are not rows of {width}")
    return value


def _members(value: Any, segments: int, segment_bytes: int) -> tuple[MemberEntry, ...]:
    members: list[MemberEntry] = []
    paths: set[str] = set()
    following = 0
    for name, size, role, first, digest in _rows(value, 5, MAX_MEMBERS, "members"):
        if not isinstance(name, str) or not safe_path(name):
            raise SealedFormatError("the table names a member outside the package")
        if name in paths:
            raise SealedFormatError("the table names a member twice")
        paths.add(name)
        if role not in ("weights", "side"):
            raise SealedFormatError("the table gives a member an unknown role")
        if (
            not _natural(size, segments * segment_bytes)
            or not _natural(first, segments)
            or first != following
        ):
            raise SealedFormatError("the table's members do not follow one another")
        members.append(
            MemberEntry(
                name, size, cast("Literal['weights', 'side']", role), following, _digest(digest)
            )
        )
        following += -(-size // segment_bytes)
    if following != segments:
        raise SealedFormatError("the table's members do not fill the package")
    # With the separator as the lowest character, a folder stands right before what is in it.
    ordered = sorted(name.replace("/", "\0") for name in paths)
    if any(inner.startswith(outer + "\0") for outer, inner in pairwise(ordered)):
        raise SealedFormatError("the table names a member that is a folder of another")
    return tuple(members)


def _tensors(value: Any, members: tuple[MemberEntry, ...]) -> tuple[TensorEntry, ...]:
    tensors: list[TensorEntry] = []
    names: set[str] = set()
    places = [(member.role, member.size) for member in members]
    ends = [0] * len(members)
    count = len(members) - 1
    for name, dtype, shape, member, offset, cid in _rows(value, 6, MAX_TENSORS, "tensors"):
        nbytes = _payload_bytes(dtype, shape)
        if not isinstance(name, str) or name in names:
            raise SealedFormatError("the table names a tensor twice")
        names.add(name)
        # One bound for the common case; the slow check only decides about unusual characters.
        if not (name.isascii() and name.isprintable() and len(name) <= MAX_NAME_BYTES):
            try:
                check_name(name, "the table")
            except LedgerError as error:
                raise SealedFormatError(error.message) from None
        # As `_natural`, without the call: this is done for every tensor of a large model.
        if type(member) is not int or not 0 <= member <= count:
            raise SealedFormatError("the table places a tensor in no member")
        role, size = places[member]
        if role != "weights":
            raise SealedFormatError("the table places a tensor in no weights member")
        if type(offset) is not int or not ends[member] <= offset <= size - nbytes:
            raise SealedFormatError("the table's tensors overlap or leave their member")
        ends[member] = offset + nbytes
        tensors.append(TensorEntry(name, dtype, tuple(shape), member, offset, nbytes, _digest(cid)))
    return tuple(tensors)


def _payload_bytes(dtype: Any, shape: Any) -> int:
    known = DTYPES.get(dtype) if isinstance(dtype, str) else None
    if known is None:
        raise SealedFormatError("the table gives a tensor an unknown dtype")
    if not isinstance(shape, list) or len(shape) > MAX_DIMS:
        raise SealedFormatError("the table gives a tensor a shape that is not a short list")
    elements = 1
    for dim in shape:
        # As `_natural`, without the call.
        if type(dim) is not int or not 0 <= dim <= MAX_DIM:
            raise SealedFormatError("the table gives a tensor a dimension that is no number")
        elements *= dim
    nbytes = known.nbytes(elements)
    if nbytes is None:
        raise SealedFormatError("the table gives a tensor that does not fill whole bytes")
    return nbytes
