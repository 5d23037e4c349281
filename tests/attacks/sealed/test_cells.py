"""Hostile files with cells: what a licensee, who has one key of each pair, could try."""

import dataclasses
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from variant_world import KEY, all_of, make_marked, make_source

from ledger.errors import (
    ContentMismatch,
    HeaderTampered,
    LedgerError,
    SealedAuthError,
    SealedFormatError,
    SealedTruncated,
    SegmentTampered,
    UnsupportedVersion,
    WrongKey,
)
from ledger.sealed import keys
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import open_sealed
from ledger.sealed.header import Prelude
from ledger.sealed.index import join_index, package_root, split_index
from ledger.sealed.stream import HEADER_BYTES, OVERHEAD, Floe
from ledger.sealed.variants import CellIndex, encrypt_form

COUNT = 12
CELL = (1 << 14) + 28
RECORD = (1 << 16) + OVERHEAD


class Bench:
    """A good marked file, its twin under the same keys, and how to open a hostile one."""

    def __init__(self, folder):
        self.folder = folder
        source = make_source(folder / "model")
        self.made = make_marked(source, folder / "m.sealed", count=COUNT)
        self.data = self.made.path.read_bytes()
        self.prelude = Prelude.parse(self.data[:96])
        self.word = CodeWord(bytes([0, 1] * (COUNT // 2)), bytes(32))
        self.other = make_marked(source, folder / "o.sealed", count=COUNT)

    def at(self, cell, form):
        return self.prelude.cell_record_offset(cell, form)

    def record(self, cell, form):
        return self.data[self.at(cell, form) : self.at(cell, form) + CELL]

    def edited(self, *edits):
        data = bytearray(self.data)
        for at, part in edits:
            data[at : at + len(part)] = part
        return bytes(data)

    def open(self, data, *, record=True, verify=True, word=None, key=KEY):
        path = self.folder / "hostile.sealed"
        path.write_bytes(data)
        chosen = self.made.record if record else None
        released = self.made.released(word or self.word)
        with open_sealed(path, key, record=chosen, verify=verify, cells=released) as file:
            return {name: array.copy() for name, array in file.load_all(threads=2).items()}

    def refuse(self, data, *expected, step=None, **options):
        with pytest.raises(expected) as caught:
            self.open(data, **options)
        assert step is None or caught.value.step == step, caught.value

    def binding(self):
        end = 96 + self.prelude.public_bytes
        return keys.header_binding(self.data[:96], self.data[96:end])

    def index(self):
        with keys.derive(KEY, keys.LABEL_INDEX) as key:
            start = self.prelude.index_offset
            header = self.data[start : start + HEADER_BYTES]
            message = Floe(RECORD).open(key.view, self.binding(), header)
        body = self.data[start + HEADER_BYTES : start + self.prelude.index_bytes]
        out = memoryview(bytearray(len(body) - OVERHEAD))
        message.decrypt_into(0, memoryview(body), out, last=True)
        tables, leaves, cells = split_index(out, self.prelude.segments, COUNT)
        return tables, leaves, CellIndex.parse(cells, self.prelude)

    def reseal(self, tables, leaves, cells, **changes):
        """What a key holder can write: any index, and headers that verify."""
        plaintext = join_index(tables, leaves, cells)
        size = HEADER_BYTES + len(plaintext) + OVERHEAD
        prelude = dataclasses.replace(self.prelude, index_bytes=size, **changes)
        public = self.data[96 : 96 + prelude.public_bytes]
        binding = keys.header_binding(prelude.to_bytes(), public)
        floe = Floe(RECORD)
        with (
            keys.derive(KEY, keys.LABEL_INDEX) as index,
            keys.derive(KEY, keys.LABEL_PAYLOAD) as load,
        ):
            message, index_header = floe.start(index.view, binding)
            _, payload_header = floe.start(load.view, binding)
        out = memoryview(bytearray(len(plaintext) + OVERHEAD))
        message.encrypt_into(0, plaintext, out, last=True)
        head = prelude.to_bytes() + public + index_header + bytes(out) + payload_header
        rest = self.data[self.prelude.payload_offset :]
        return head.ljust(prelude.payload_offset, b"\0") + rest


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("cells"))


def test_the_good_file_opens(bench):
    assert bench.open(bench.data)
    assert bench.open(bench.data, record=False)


# -- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 11, 12, 5000, CELL - 17, CELL - 1])
@pytest.mark.parametrize("cell", [0, COUNT - 1])
def test_a_flipped_bit_in_a_record_of_this_license_is_refused(bench, cell, where):
    at = bench.at(cell, bench.word.bits[cell]) + where
    flipped = bench.edited((at, bytes([bench.data[at] ^ 1])))
    bench.refuse(flipped, SegmentTampered, step=16)
    bench.refuse(flipped, SegmentTampered, step=16, record=False, verify=False)


def test_the_other_form_s_record_in_its_place_is_refused(bench):
    for cell in (0, 1):
        form = bench.word.bits[cell]
        swapped = bench.edited((bench.at(cell, form), bench.record(cell, 1 - form)))
        bench.refuse(swapped, SegmentTampered, step=16)


def test_an_a_record_in_b_s_place_is_refused_for_who_holds_b(bench):
    swapped = bench.edited((bench.at(1, 1), bench.record(1, 0)))
    bench.refuse(swapped, SegmentTampered, step=16, word=all_of(COUNT, 1))


def test_records_of_other_cells_are_refused(bench):
    for one, two in ((0, 2), (1, 3), (0, COUNT - 2)):
        form = bench.word.bits[one]
        swapped = bench.edited(
            (bench.at(one, form), bench.record(two, form)),
            (bench.at(two, form), bench.record(one, form)),
        )
        bench.refuse(swapped, SegmentTampered, step=16)


def test_another_package_s_records_are_refused(bench):
    other = bench.other.path.read_bytes()
    prelude = Prelude.parse(other[:96])
    at = prelude.cell_record_offset(0, 0)
    bench.refuse(bench.edited((bench.at(0, 0), other[at : at + CELL])), SegmentTampered, step=16)
    tail = bench.prelude.variants_offset
    spliced = bench.data[:tail] + other[prelude.variants_offset :]
    bench.refuse(spliced, SegmentTampered, step=16)


def test_records_of_the_same_cells_sealed_twice_are_refused(bench, tmp_path):
    """Same keys, same forms: only the binding to the header differs."""
    form = bench.word.bits[0]
    with bench.made.open(all_of(COUNT, form)) as file:
        entry = file.cells.index.entries[0]
        tensor = file._plain.tables.tensors[entry.tensor]
        plain = bytes(file.get_bytes(tensor.name)[entry.offset : entry.offset + (1 << 14)])
    key = bench.made.keys.key(0, form)
    for binding, cell, side in ((bytes(32), 0, form), (bench.binding(), 1, form)):
        forged = encrypt_form(key, binding, cell, side, plain, entropy=os.urandom)
        bench.refuse(bench.edited((bench.at(0, form), forged)), SegmentTampered, step=16)
    again = encrypt_form(key, bench.binding(), 0, form, plain, entropy=os.urandom)
    assert bench.open(bench.edited((bench.at(0, form), again)))


def test_a_holder_of_a_cell_key_cannot_forge_the_cell(bench):
    """Valid tag, other weights: only the leaf tells. The price of verify=False is seen."""
    form = bench.word.bits[2]
    forged = encrypt_form(
        bench.made.keys.key(2, form),
        bench.binding(),
        2,
        form,
        b"\x11" * (1 << 14),
        entropy=os.urandom,
    )
    hostile = bench.edited((bench.at(2, form), forged))
    bench.refuse(hostile, ContentMismatch, step=16)
    bench.refuse(hostile, ContentMismatch, step=16, record=False)
    assert bench.open(hostile, verify=False)


def test_nothing_of_a_segment_with_a_bad_cell_stays_in_memory(bench):
    cell = 3
    at = bench.at(cell, bench.word.bits[cell]) + 200
    path = bench.folder / "bad.sealed"
    path.write_bytes(bench.edited((at, bytes([bench.data[at] ^ 1]))))
    released = bench.made.released(bench.word)
    with open_sealed(path, KEY, record=bench.made.record, cells=released) as file:
        position = file.cells.positions[cell]
        with pytest.raises(SegmentTampered):
            file.load_all(threads=1)
        tensor = file._plain.tables.tensors[file.cells.index.entries[cell].tensor]
        with pytest.raises(SegmentTampered):
            file.get_tensor(tensor.name)
        assert all(not any(memoryview(arena)) for arena in file._plain.segments.arenas if arena)
        assert position // (1 << 16) >= 0


# -- the prelude ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log2", "count", "expected"),
    [
        (0, 0, (SealedTruncated,)),
        (14, COUNT - 1, (SealedTruncated,)),
        (14, COUNT + 1, (SealedTruncated, HeaderTampered)),
        (15, COUNT, (SealedTruncated,)),
        (15, COUNT // 2, (HeaderTampered, WrongKey, SealedTruncated)),
        (13, COUNT, (UnsupportedVersion,)),
        (14, 4097, (UnsupportedVersion,)),
    ],
)
def test_other_numbers_of_cells_are_refused(bench, log2, count, expected):
    hostile = bench.edited((13, bytes([log2]) + count.to_bytes(2, "big")))
    bench.refuse(hostile, *expected, record=False)


def test_a_file_whose_section_is_cut_off_is_refused(bench):
    tail = bench.prelude.variants_offset
    for size in (tail, tail + CELL, len(bench.data) - 1, len(bench.data) - CELL):
        bench.refuse(bench.data[:size], SealedTruncated, step=None)
    bench.refuse(bench.data + bytes(CELL), SealedTruncated)


# -- a licensee who writes an index --------------------------------------------------------------


def moved(index, cell, **changes):
    entries = list(index.entries)
    entries[cell] = entries[cell]._replace(**changes)
    return dataclasses.replace(index, entries=tuple(entries))


def root_of(tables, leaves, index):
    return package_root(keys.LEAF[2](tables), leaves + b"".join(index.leaves()))


def test_an_insider_cannot_move_a_cell_or_change_its_leaves(bench):
    tables, leaves, index = bench.index()
    entry = index.entries[0]
    own = os.urandom(32)
    for changed in (
        moved(index, 0, offset=entry.offset + (1 << 14)),
        moved(index, 0, leaves=(own, entry.leaves[1])),
        moved(index, 0, leaves=(entry.leaves[1], entry.leaves[0])),
        moved(index, 0, commits=(entry.commits[1], entry.commits[0])),
        moved(index, 0, other=own),
    ):
        hostile = bench.reseal(tables, leaves, changed.to_bytes())
        bench.refuse(hostile, ContentMismatch, step=11)
        bench.refuse(hostile, ContentMismatch, step=11, record=False)
        rooted = bench.reseal(
            tables, leaves, changed.to_bytes(), root=root_of(tables, leaves, changed)
        )
        bench.refuse(rooted, ContentMismatch, step=6)


def test_an_insider_s_record_hashes_are_refused_by_the_lodged_root(bench):
    tables, leaves, index = bench.index()
    records = ((os.urandom(32), index.records[0][1]), *index.records[1:])
    changed = dataclasses.replace(index, records=records)
    bench.refuse(bench.reseal(tables, leaves, changed.to_bytes()), ContentMismatch, step=13)


@pytest.mark.parametrize(
    "change",
    [
        {"tensor": 10_000},
        {"tensor": 0xFFFFFFFF},
        {"offset": 1 << 63},
        {"offset": 1},
        {"offset": 0x10000000},
    ],
)
def test_a_cell_outside_a_tensor_is_refused_even_under_its_own_root(bench, change):
    tables, leaves, index = bench.index()
    changed = moved(index, 0, **change)
    hostile = bench.reseal(
        tables, leaves, changed.to_bytes(), root=root_of(tables, leaves, changed)
    )
    bench.refuse(hostile, SealedFormatError, record=False)


def test_cells_out_of_order_twice_or_in_integers_are_refused(bench):
    tables, leaves, index = bench.index()
    entries = index.entries
    with bench.made.open(bench.word) as file:
        names = [tensor.name for tensor in file._plain.tables.tensors]
    swapped = (entries[1], entries[0], *entries[2:])
    twice = (entries[0], entries[0], *entries[2:])
    integer = (entries[0]._replace(tensor=names.index("steps")), *entries[1:])
    for chosen in (swapped, twice, integer):
        changed = dataclasses.replace(index, entries=chosen)
        root = root_of(tables, leaves, changed)
        hostile = bench.reseal(tables, leaves, changed.to_bytes(), root=root)
        bench.refuse(hostile, SealedFormatError, record=False)


# -- a licensee who wants another's copy ---------------------------------------------------------


def test_a_licensee_cannot_open_the_other_form_of_any_cell(bench):
    """One key of each pair; the other record neither opens with it nor is a function of it."""
    word = bench.word
    released = bench.made.released(word)
    for cell in range(COUNT):
        flipped = bytes(bit ^ (number == cell) for number, bit in enumerate(word.bits))
        released.word = CodeWord(flipped, word.salt)
        path = bench.made.path
        with pytest.raises(WrongKey):
            open_sealed(path, KEY, record=bench.made.record, cells=released)


def test_random_flips_anywhere_raise_only_our_errors(bench):
    """A flip in the other form's record is not this license's concern, and changes nothing."""
    chance = random.Random(11)
    good = bench.open(bench.data)
    for _ in range(150):
        at = chance.randrange(len(bench.data))
        hostile = bench.edited((at, bytes([bench.data[at] ^ (1 << chance.randrange(8))])))
        try:
            opened = bench.open(hostile)
        except LedgerError:
            continue
        assert at >= bench.prelude.variants_offset
        assert all(np.array_equal(opened[name], good[name]) for name in good)


@settings(max_examples=60)
@given(st.data())
def test_mutated_cell_rows_raise_only_our_errors(bench, data):
    tables, leaves, index = bench.index()
    raw = bytearray(index.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = CellIndex.parse(bytes(raw), bench.prelude)
    root = root_of(tables, leaves, changed)
    path = bench.folder / "rows.sealed"
    path.write_bytes(bench.reseal(tables, leaves, bytes(raw), root=root))
    released = bench.made.released(bench.word)
    # Whoever has the key can seal another model; under its own root that may open.
    try:
        with open_sealed(path, KEY, cells=released) as file:
            file.load_all(threads=1)
    except (SealedAuthError, SealedFormatError):
        pass
    # What was lodged on chain tells it apart, whatever its rows say.
    if root != bench.prelude.root:
        with pytest.raises((SealedAuthError, SealedFormatError)):
            open_sealed(path, KEY, record=bench.made.record, cells=released)


def test_a_record_of_a_form_that_is_not_read_is_missed_by_reading_and_found_by_asking(bench):
    """Flipped anywhere in the variant section, also for the licensor, who reads form A alone."""
    for at in (bench.at(0, 1), bench.at(3, 0) + 100, bench.at(COUNT - 1, 1) + CELL - 1):
        data = bench.edited((at, bytes([bench.data[at] ^ 1])))
        path = bench.folder / "hostile.sealed"
        path.write_bytes(data)
        for word in (all_of(COUNT, 0), all_of(COUNT, 1)):
            released = bench.made.released(word)
            with open_sealed(path, KEY, record=bench.made.record, cells=released) as file:
                with pytest.raises(SegmentTampered) as caught:
                    file.verify_records()
                assert caught.value.step == 17
    with bench.made.open(all_of(COUNT, 1)) as file:
        file.verify_records()
