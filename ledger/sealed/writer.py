"""Seals a model: hashes it, describes it, encrypts it, and only then gives the file its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import ContentMismatch, SealedFormatError, UsageError
from ledger.files import new_file
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.exact import fingerprint as measure
from ledger.ids import ZERO_DIGEST, Address, Digest, ModelId
from ledger.paths import require_file_name
from ledger.sealed import keys
from ledger.sealed.cells import CellKeys
from ledger.sealed.cellwriter import CellSection
from ledger.sealed.header import (
    CELL_INDEX_BYTES,
    DEFAULT_LOG2_SEGMENT,
    MAX_LOG2_CELL,
    MAX_LOG2_SEGMENT,
    MAX_SEGMENTS,
    MESSAGE_HEADER,
    MIN_LOG2_CELL,
    MIN_LOG2_SEGMENT,
    RECORD_OVERHEAD,
    SUITE_BLAKE3,
    SUITES,
    Prelude,
    PublicPart,
)
from ledger.sealed.index import (
    MAX_MEMBERS,
    MemberEntry,
    Tables,
    TensorEntry,
    join_index,
    outside_tensors,
    package_root,
    safe_path,
)
from ledger.sealed.marking import Marker
from ledger.sealed.parallel import Meter, Progress, for_each, thread_count
from ledger.sealed.record import SealingRecord
from ledger.sealed.stream import Entropy, Floe, FloeMessage, Readable
from ledger.sealed.variants import CellIndex
from ledger.tensors.model import ModelSource

_BATCH_BYTES = 8 << 20


@dataclass(slots=True)
class CellPlan:
    """The cells that a package is to have. Its repr shows no key.

    Attributes:
        keys: of both forms of every cell; their number is the number of cells.
        code_commit: for the sealing record.
        log2_cell: of the bytes of one cell, 14 to 16.
        strength: of the mark in standard deviations of a row; None chooses.
        records: hash over both records of each cell; `seal` fills it.
    """

    keys: CellKeys
    code_commit: Digest
    log2_cell: int = MIN_LOG2_CELL
    strength: float | None = None
    records: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Which bytes of which member a segment holds."""

    member: int
    offset: int
    size: int


def seal(
    model: ModelSource,
    dest: Path,
    *,
    content_key: Readable,
    model_id: ModelId,
    chain_id: int,
    registry: Address,
    epoch: int = 1,
    broker_set: int = 0,
    brokers: tuple[str, ...] = (),
    suite: int = SUITE_BLAKE3,
    log2_segment: int = DEFAULT_LOG2_SEGMENT,
    fingerprint: Fingerprint | None = None,
    cells: CellPlan | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    entropy: Entropy = os.urandom,
) -> SealingRecord:
    """Write `model` as one sealed package; `dest` appears whole or not at all.

    The model is read three times: for its fingerprint, for the leaves that the prelude's root is
    made of, and to encrypt it. The third reading is held against the second.

    Args:
        model: an open model.
        dest: the file to write; an existing one is replaced at the end.
        content_key: 32 random bytes, one per model and epoch.
        model_id: under which the model is registered.
        chain_id: of the chain it is registered on.
        registry: address of ModelRegistry there.
        epoch: number of this sealing, rising.
        broker_set: id in BrokerRegistry, 0 for none.
        brokers: URLs, printed in the public part as a hint.
        suite: 1 SHA-256 leaves, 2 BLAKE3 leaves.
        log2_segment: of the segment size in bytes.
        fingerprint: of the registered model; sealing another one is refused.
        cells: cells marked per license; None for a file that is the same for all.
        threads: default one per core.
        progress: called with bytes read or encrypted so far and in total; raising stops the work.
        entropy: source of IVs; only vectors pass another than the system's.

    Returns:
        The record to lodge.

    Raises:
        ContentMismatch: the model is not the one `fingerprint` describes, or it changed meanwhile.
        LimitExceeded: more than the format can hold.
        CapacityExceeded: the model has no room for so many cells.
        TensorFileError: the model cannot be read.
        UsageError: an argument out of range, or the file cannot be written.
    """
    segment_bytes = _segment_bytes(suite, log2_segment, cells)
    commit = keys.key_commitment(content_key)
    public = PublicPart(model_id, chain_id, registry, epoch, broker_set, brokers).to_bytes()
    try:
        PublicPart.parse(public)
    except SealedFormatError as error:
        raise UsageError(error.message) from None
    dest = Path(dest)
    _check_destination(model, dest)
    threads = thread_count(threads)
    places = _places(model, segment_bytes)
    payload = sum(tensor.nbytes for tensor in model.tensors)
    meter = Meter(progress, payload + 2 * sum(place.size for place in places))
    measured = _measure(model, fingerprint, threads, meter)
    tables = _tables(model, measured, segment_bytes)
    section = None
    if cells is not None:
        section = _section(
            model,
            tables,
            cells,
            model_id=model_id,
            suite=suite,
            segment_bytes=segment_bytes,
            threads=threads,
        )
    leaves = _leaves(
        model,
        places,
        section=section,
        segment_bytes=segment_bytes,
        suite=suite,
        threads=threads,
        meter=meter,
    )
    table_bytes = tables.to_bytes()
    cell_leaves = [] if section is None else section.leaves()
    prelude = Prelude(
        suite=suite,
        log2_segment=log2_segment,
        public_bytes=len(public),
        index_bytes=_index_bytes(table_bytes, leaves, len(cell_leaves), segment_bytes),
        segments=len(places),
        root=package_root(keys.LEAF[suite](table_bytes), leaves + b"".join(cell_leaves)),
        commit=commit,
        log2_cell=0 if cells is None else cells.log2_cell,
        cells=len(cell_leaves),
    )
    Prelude.parse(prelude.to_bytes())
    job = _Job(
        model, places, leaves, prelude, public, table_bytes, section, threads, meter, entropy
    )
    with _sealed_file(dest) as fd:
        written = job.write(fd, content_key)
        model.ensure_unchanged()
    table = None if written is None else written.table()
    if cells is not None and table is not None:
        cells.records = tuple(row.records for row in table.rows)
    return SealingRecord(
        model_id=model_id,
        epoch=epoch,
        root=prelude.root,
        content_tree_root=tables.content_tree_root(table_bytes, cell_leaves),
        commit=commit,
        variant_root=ZERO_DIGEST if table is None else table.root(),
        code_commit=ZERO_DIGEST if cells is None else cells.code_commit,
        broker_set=broker_set,
        suite=suite,
    )


def _segment_bytes(suite: int, log2_segment: int, cells: CellPlan | None) -> int:
    """Plaintext bytes of a segment, where suite and sizes are ones the format defines."""
    if suite not in SUITES or not MIN_LOG2_SEGMENT <= log2_segment <= MAX_LOG2_SEGMENT:
        raise UsageError(f"suite {suite} with segments of 2^{log2_segment} bytes is not defined")
    if cells is not None and not MIN_LOG2_CELL <= cells.log2_cell <= MAX_LOG2_CELL:
        raise UsageError(f"cells of 2^{cells.log2_cell} bytes are not defined")
    return 1 << log2_segment


def _section(
    model: ModelSource,
    tables: Tables,
    cells: CellPlan,
    *,
    model_id: ModelId,
    suite: int,
    segment_bytes: int,
    threads: int,
) -> CellSection:
    marker = Marker(
        model,
        tables,
        cells.keys,
        model_id=model_id,
        log2_cell=cells.log2_cell,
        segment_bytes=segment_bytes,
        strength=cells.strength,
    )
    return CellSection(marker, cells.keys, suite, segment_bytes, threads)


def _check_destination(model: ModelSource, dest: Path) -> None:
    if dest.is_dir():
        raise UsageError(f"{dest} is a folder", hint="give the name of a file to write")
    if dest.exists() and any(dest.samefile(member.path) for member in model.members):
        raise UsageError(
            f"{dest} is part of the model itself", hint="give another name, such as model.sealed"
        )


def _places(model: ModelSource, segment_bytes: int) -> list[_Place]:
    count = sum(-(-member.size // segment_bytes) for member in model.members)
    if count > MAX_SEGMENTS or len(model.members) > MAX_MEMBERS:
        raise UsageError("the model is larger than one package can hold")
    for member in model.members:
        if not safe_path(member.name):
            raise UsageError(
                f"{member.name!r} cannot be a name inside a package",
                hint="rename the file: no colon, no backslash, at most 1024 bytes",
            )
    return [
        _Place(number, offset, min(segment_bytes, member.size - offset))
        for number, member in enumerate(model.members)
        for offset in range(0, member.size, segment_bytes)
    ]


def _measure(
    model: ModelSource, expected: Fingerprint | None, threads: int, meter: Meter
) -> Fingerprint:
    seen = 0

    def report(done: int, _total: int) -> None:
        nonlocal seen
        meter.add(done - seen)
        seen = done

    measured = measure(model, level="core", threads=threads, progress=report)
    if expected is not None:
        same = (measured.content_root, measured.named_root) == (
            expected.content_root,
            expected.named_root,
        )
        if not same or _cids(measured) != _cids(expected):
            raise ContentMismatch(
                f"this is not the registered model: its content root is "
                f"{measured.content_root.short}, registered is {expected.content_root.short}",
                hint="give the model that was fingerprinted, or register this one first",
            )
    return measured


def _cids(fingerprint: Fingerprint) -> dict[str, Digest]:
    return {tensor.name: tensor.cid for tensor in fingerprint.tensors}


def _tables(model: ModelSource, measured: Fingerprint, segment_bytes: int) -> Tables:
    members: list[MemberEntry] = []
    first = 0
    for number, member in enumerate(model.members):
        # A safetensors header was read and checked already; of other files it is read here.
        state = hashlib.sha256(member.header)
        inside = ((t.offset, t.nbytes) for t in model.tensors if t.member == number)
        for start, end in () if member.header else outside_tensors(member.size, inside):
            for offset in range(start, end, _BATCH_BYTES):
                block = memoryview(bytearray(min(_BATCH_BYTES, end - offset)))
                model.read_at(number, offset, block)
                state.update(block)
        members.append(
            MemberEntry(member.name, member.size, member.role, first, Digest(state.digest()))
        )
        first += -(-member.size // segment_bytes)
    cids = _cids(measured)
    tensors = tuple(
        TensorEntry(t.name, t.dtype, t.shape, t.member, t.offset, t.nbytes, cids[t.name])
        for t in model.tensors
    )
    return Tables(tuple(members), tensors)


class _Scratch(threading.local):
    """Per thread: one plaintext segment and one record."""

    def __init__(self, segment_bytes: int) -> None:
        self.plain = memoryview(bytearray(segment_bytes))
        self.record = memoryview(bytearray(segment_bytes + RECORD_OVERHEAD))


def _read(model: ModelSource, place: _Place, plain: memoryview) -> None:
    model.read_at(place.member, place.offset, plain[: place.size])
    if place.size < len(plain):
        plain[place.size :] = bytes(len(plain) - place.size)


def _leaves(
    model: ModelSource,
    places: list[_Place],
    *,
    section: CellSection | None,
    segment_bytes: int,
    suite: int,
    threads: int,
    meter: Meter,
) -> bytes:
    leaf = keys.LEAF[suite]
    scratch = _Scratch(segment_bytes)
    leaves = bytearray(32 * len(places))

    def hash_one(number: int) -> None:
        place = places[number]
        _read(model, place, scratch.plain)
        if section is not None:
            section.cut_out(number, scratch.plain)
        leaves[32 * number : 32 * number + 32] = leaf(scratch.plain)
        meter.add(place.size)

    for_each(len(places), hash_one, threads=threads)
    return bytes(leaves)


def _index_bytes(tables: bytes, leaves: bytes, cells: int, segment_bytes: int) -> int:
    """Length of the index message with its FLOE header."""
    plain = len(join_index(tables, leaves)) + CELL_INDEX_BYTES * cells
    records = max(1, -(-plain // segment_bytes))
    return MESSAGE_HEADER + plain + records * RECORD_OVERHEAD


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything the encrypting pass needs."""

    model: ModelSource
    places: list[_Place]
    leaves: bytes
    prelude: Prelude
    public: bytes
    tables: bytes
    section: CellSection | None
    threads: int
    meter: Meter
    entropy: Entropy

    def write(self, fd: int, content_key: Readable) -> CellIndex | None:
        """Fill the file behind `fd`; returns its cells, if it has any."""
        prelude = self.prelude
        floe = Floe(prelude.record_bytes)
        binding = keys.header_binding(prelude.to_bytes(), self.public)
        with (
            keys.derive(content_key, keys.LABEL_INDEX) as index_key,
            keys.derive(content_key, keys.LABEL_PAYLOAD) as payload_key,
        ):
            index, index_header = floe.start(index_key.view, binding, entropy=self.entropy)
            payload, payload_header = floe.start(payload_key.view, binding, entropy=self.entropy)
        os.ftruncate(fd, prelude.file_bytes)
        cells = None
        if self.section is not None:

            def put(data: bytes, offset: int) -> None:
                _write_at(fd, memoryview(data), offset)

            cells = self.section.write(prelude, binding, put, self.entropy)
        plain = join_index(self.tables, self.leaves, b"" if cells is None else cells.to_bytes())
        head = prelude.to_bytes() + self.public + index_header
        head += self._index_records(index, plain) + payload_header
        _write_at(fd, memoryview(head), 0)
        try:
            self._payload(fd, payload)
        finally:
            payload.wipe()
        return cells

    def _index_records(self, message: FloeMessage, plain: bytes) -> bytes:
        step = self.prelude.segment_bytes
        blocks = [plain[at : at + step] for at in range(0, len(plain), step)]
        out = bytearray()
        for number, block in enumerate(blocks):
            record = memoryview(bytearray(len(block) + RECORD_OVERHEAD))
            message.encrypt_into(number, block, record, last=number == len(blocks) - 1)
            out += record
        message.wipe()
        return bytes(out)

    def _payload(self, fd: int, message: FloeMessage) -> None:
        prelude = self.prelude
        leaf = keys.LEAF[prelude.suite]
        scratch = _Scratch(prelude.segment_bytes)

        def encrypt_one(number: int) -> None:
            place = self.places[number]
            _read(self.model, place, scratch.plain)
            if self.section is not None:
                self.section.cut_out(number, scratch.plain)
            if leaf(scratch.plain) != self.leaves[32 * number : 32 * number + 32]:
                raise ContentMismatch(
                    f"{self.model.members[place.member].name} changed while it was being sealed",
                    hint="let whatever writes it finish, then seal again",
                )
            last = number == prelude.segments - 1
            message.encrypt_into(number, scratch.plain, scratch.record, last=last)
            _write_at(fd, scratch.record, prelude.payload_offset + number * prelude.record_bytes)
            self.meter.add(place.size)

        for_each(prelude.segments, encrypt_one, threads=self.threads)


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


@contextlib.contextmanager
def _sealed_file(dest: Path) -> Iterator[int]:
    try:
        with new_file(require_file_name(dest)) as fd:
            yield fd
    except OSError as error:
        raise UsageError(
            f"{dest} cannot be written: {error.strerror or error}",
            hint="check the folder, its permissions and its free space",
        ) from None
