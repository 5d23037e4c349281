"""Hostile sealed packages. See README.md beside this file."""

import dataclasses
import hashlib
import json
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ledger.errors import (
    ContentMismatch,
    FormatError,
    HeaderTampered,
    LedgerError,
    LimitExceeded,
    NoIdentityMatch,
    NotSealed,
    SealedFormatError,
    SealedTruncated,
    SegmentTampered,
    UnsupportedModel,
    UnsupportedVersion,
    WrongKey,
)
from ledger.ids import Address, Digest, ModelId
from ledger.sealed import keys
from ledger.sealed.file import inspect, key_commitment, open_sealed, seal
from ledger.sealed.header import Prelude
from ledger.sealed.index import join_index, package_root, split_index
from ledger.sealed.recipients import MLKEM768_X25519, X25519, KemPrivateKey, unwrap, wrap
from ledger.sealed.record import SealingRecord
from ledger.sealed.stream import HEADER_BYTES, OVERHEAD, Floe
from ledger.serving import torch_arrays
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"attacks").digest()
STEP = 1 << 16
# `make deep` looks at a hundred thousand hostile files.
MUTATIONS = 50_000 if os.environ.get("DEED_DEEP") else 80
RECORD = STEP + OVERHEAD


@dataclasses.dataclass(frozen=True)
class Package:
    """A good package, in memory."""

    data: bytes
    record: SealingRecord
    prelude: Prelude

    @property
    def base(self) -> int:
        return self.prelude.payload_offset

    def segment(self, number: int) -> bytes:
        return self.data[self.base + number * RECORD : self.base + (number + 1) * RECORD]

    def with_segments(self, segments: list[bytes]) -> bytes:
        return self.data[: self.base] + b"".join(segments)

    def edited(self, at: int, data: bytes) -> bytes:
        return self.data[:at] + data + self.data[at + len(data) :]

    def flipped(self, at: int, mask: int = 1) -> bytes:
        return self.edited(at, bytes([self.data[at] ^ mask]))

    def with_prelude(self, **changes) -> bytes:
        prelude = dataclasses.replace(self.prelude, **changes)
        return prelude.to_bytes() + self.data[96:]

    def binding(self) -> bytes:
        end = 96 + self.prelude.public_bytes
        return keys.header_binding(self.data[:96], self.data[96:end])


class Bench:
    """Builds packages and opens hostile ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = self.make(1)
        self.again = self.make(1)
        self.other = self.make(2)

    def make(self, seed: int, **changes) -> Package:
        rng = np.random.default_rng(seed)
        source = self.folder / f"model-{seed}"
        if not source.exists():
            source.mkdir()
            tensors = {
                f"{letter}.w": rng.standard_normal((200, 240), dtype=np.float32) for letter in "ab"
            }
            save_file(tensors, source / "model.safetensors")
            (source / "config.json").write_text("{}")
        dest = self.folder / "made.sealed"
        options = {
            "content_key": KEY,
            "model_id": ModelId(bytes([seed]) * 32),
            "chain_id": 31337,
            "registry": Address(b"\x22" * 20),
            "log2_segment": 16,
        }
        with open_model(source) as model:
            record = seal(model, dest, **(options | changes))
        data = dest.read_bytes()
        return Package(data, record, Prelude.parse(data[:96]))

    def open(self, data: bytes, *, key=KEY, record="first", verify=True):
        """Everything a runtime would read; raises, or the attack was accepted."""
        path = self.folder / "hostile.sealed"
        path.write_bytes(data)
        chosen = self.first.record if record == "first" else record
        with open_sealed(path, key, record=chosen, verify=verify) as file:
            tensors = {name: array.copy() for name, array in file.load_all(threads=1).items()}
            file.files()
            return tensors

    def refuse(self, data: bytes, *expected: type[LedgerError], what="", **options) -> None:
        try:
            self.open(data, **options)
        except expected:
            return
        pytest.fail(f"accepted: {what}")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("attacks"))


def test_the_good_packages_open(bench):
    first = bench.open(bench.first.data)
    again = bench.open(bench.again.data)
    other = bench.open(bench.other.data, record=bench.other.record)
    np.testing.assert_array_equal(first["a.w"], again["a.w"])
    assert not np.array_equal(first["a.w"], other["a.w"])


# -- bit flips -----------------------------------------------------------------------------------


def places(package: Package) -> dict[str, tuple[int, tuple[type[LedgerError], ...]]]:
    prelude, base = package.prelude, package.base
    index, payload = prelude.index_offset, prelude.payload_header_offset
    last = len(package.data) - RECORD
    header = (HeaderTampered,)
    segment = (SegmentTampered,)
    return {
        "magic": (0, (NotSealed,)),
        "version": (9, (UnsupportedVersion,)),
        "suite": (11, (UnsupportedVersion,)),
        "segment size": (12, (SealedTruncated,)),
        "cell size": (13, (UnsupportedVersion,)),
        "cell count": (15, (UnsupportedVersion,)),
        "public length": (19, (SealedTruncated, SealedFormatError)),
        "index length": (23, (SealedTruncated, HeaderTampered)),
        "segment count": (31, (SealedTruncated,)),
        "root": (40, (ContentMismatch,)),
        "commitment": (70, (ContentMismatch,)),
        "public part": (96 + 20, (SealedFormatError, ContentMismatch, HeaderTampered)),
        "index parameters": (index + 5, header),
        "index iv": (index + 20, header),
        "index tag": (index + 50, header),
        "index length word": (index + HEADER_BYTES, header),
        "index body": (index + HEADER_BYTES + 40, header),
        "payload parameters": (payload + 3, header),
        "payload iv": (payload + 20, header),
        "payload tag": (payload + 60, header),
        "padding": (base - 1, header),
        "segment length word": (base, segment),
        "segment iv": (base + 6, segment),
        "segment body": (base + 1000, segment),
        "segment tag": (base + RECORD - 1, segment),
        "last length word": (last + 3, segment),
        "last padding area": (len(package.data) - 20, segment),
    }


@pytest.mark.parametrize("mask", [1, 0x80])
def test_a_flipped_bit_in_any_field_is_refused(bench, mask):
    expected_when_low = places(bench.first)
    for name, (at, expected) in expected_when_low.items():
        allowed = expected if mask == 1 else (LedgerError,)
        bench.refuse(bench.first.flipped(at, mask), *allowed, what=name)


def test_a_flipped_bit_is_refused_without_a_record_too(bench):
    for name, (at, _) in places(bench.first).items():
        bench.refuse(bench.first.flipped(at), LedgerError, what=name, record=None)
    bench.refuse(bench.first.flipped(40), HeaderTampered, record=None)
    bench.refuse(bench.first.flipped(70), WrongKey, record=None)


def test_random_bit_flips_are_all_refused(bench):
    chance = random.Random(5)
    data = bench.first.data
    for _ in range(250):
        at = chance.randrange(len(data))
        flipped = bench.first.flipped(at, 1 << chance.randrange(8))
        bench.refuse(flipped, LedgerError, what=f"a flip at {at}", record=None)


@settings(max_examples=MUTATIONS, deadline=None)
@given(st.data())
def test_mutated_heads_raise_only_our_errors(bench, data):
    """Several bytes of the first 4 KiB at once: prelude, public part, index, headers."""
    hostile = bytearray(bench.first.data)
    before = bytes(hostile)
    for _ in range(data.draw(st.integers(1, 6))):
        hostile[data.draw(st.integers(0, bench.first.base - 1))] = data.draw(st.integers(0, 255))
    if hostile != before:
        bench.refuse(bytes(hostile), LedgerError, record=None)


@settings(max_examples=MUTATIONS, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_files_raise_only_our_errors(bench, data):
    bench.refuse(data, FormatError, record=None)
    bench.refuse(b"\x89SLM\r\n\x1a\n\0\1\0\2\x10\0\0\0" + data, FormatError, record=None)


# -- truncation and growth -----------------------------------------------------------------------


def test_truncated_files_are_refused(bench):
    package = bench.first
    count = package.prelude.segments
    for size in (0, 7, 8, 95, 96, 300, package.base, package.base + RECORD):
        bench.refuse(package.data[:size], SealedTruncated, NotSealed)
    bench.refuse(package.data[: package.base + (count - 1) * RECORD], SealedTruncated)
    bench.refuse(package.data[:-1], SealedTruncated)


def test_a_cut_with_an_adjusted_count_is_refused(bench):
    package = bench.first
    fewer = package.prelude.segments - 1
    cut = package.with_prelude(segments=fewer)[: package.base + fewer * RECORD]
    bench.refuse(cut, HeaderTampered)


def test_grown_files_are_refused(bench):
    package = bench.first
    bench.refuse(package.data + b"\0", SealedTruncated)
    bench.refuse(package.data + package.segment(0), SealedTruncated)
    more = package.with_prelude(segments=package.prelude.segments + 1) + package.segment(0)
    bench.refuse(more, HeaderTampered)


# -- reorder and splice --------------------------------------------------------------------------


def test_segments_that_change_places_are_refused(bench):
    package = bench.first
    count = package.prelude.segments
    segments = [package.segment(number) for number in range(count)]
    for one, two in ((0, 1), (0, count - 1), (2, 3)):
        order = list(segments)
        order[one], order[two] = order[two], order[one]
        bench.refuse(package.with_segments(order), SegmentTampered)
    bench.refuse(package.with_segments([segments[1], *segments[1:]]), SegmentTampered)


def test_segments_of_other_files_under_the_same_key_are_refused(bench):
    package = bench.first
    for donor in (bench.again, bench.other):
        for number in (0, 1, package.prelude.segments - 1):
            segments = [package.segment(n) for n in range(package.prelude.segments)]
            segments[number] = donor.segment(number)
            bench.refuse(package.with_segments(segments), SegmentTampered)


def test_exchanged_headers_are_refused(bench):
    package, again, other = bench.first, bench.again, bench.other
    bench.refuse(again.data[: package.base] + package.data[package.base :], SegmentTampered)
    bench.refuse(
        other.data[: package.base] + package.data[package.base :], SegmentTampered, record=None
    )
    bench.refuse(other.data[:96] + package.data[96:], LedgerError, record=None)


# -- substitution --------------------------------------------------------------------------------


def test_a_valid_package_of_another_model_is_refused(bench):
    bench.refuse(bench.other.data, ContentMismatch)
    relabelled = bench.make(2, model_id=bench.first.record.model_id)
    bench.refuse(relabelled.data, ContentMismatch)


def test_an_older_epoch_is_refused(bench):
    newer = bench.make(1, epoch=2)
    bench.refuse(bench.first.data, ContentMismatch, record=newer.record)
    bench.refuse(newer.data, ContentMismatch)


def test_a_record_of_a_marked_sealing_does_not_fit_an_unmarked_file(bench):
    marked = dataclasses.replace(bench.first.record, variant_root=Digest(b"\1" * 32))
    bench.refuse(bench.first.data, ContentMismatch, record=marked)


# -- keys ----------------------------------------------------------------------------------------


def test_wrong_keys_and_rewritten_commitments_are_refused(bench):
    wrong = os.urandom(32)
    package = bench.first
    bench.refuse(package.data, WrongKey, key=wrong)
    rewritten = package.with_prelude(commit=key_commitment(wrong))
    bench.refuse(rewritten, HeaderTampered, key=wrong, record=None)
    bench.refuse(rewritten, WrongKey, record=None)
    bench.refuse(rewritten, ContentMismatch, key=wrong)


# -- a licensee who holds the content key --------------------------------------------------------


def forged_segment(package: Package, number: int) -> bytes:
    """A segment with a valid tag and other weights."""
    with keys.derive(KEY, keys.LABEL_PAYLOAD) as key:
        start = package.prelude.payload_header_offset
        header = package.data[start : start + HEADER_BYTES]
        message = Floe(RECORD).open(key.view, package.binding(), header)
    out = memoryview(bytearray(RECORD))
    last = number == package.prelude.segments - 1
    message.encrypt_into(number, b"\x55" * STEP, out, last=last)
    return bytes(out)


def test_an_insider_s_segment_is_refused_by_its_leaf(bench):
    package = bench.first
    segments = [package.segment(number) for number in range(package.prelude.segments)]
    segments[2] = forged_segment(package, 2)
    forged = package.with_segments(segments)
    bench.refuse(forged, ContentMismatch)
    bench.refuse(forged, ContentMismatch, record=None)
    # The documented price of leaving the leaves unchecked.
    assert not np.array_equal(
        bench.open(forged, verify=False)["a.w"], bench.open(package.data)["a.w"]
    )


def test_nothing_of_a_forged_segment_stays_in_memory(bench):
    package = bench.first
    segments = [package.segment(number) for number in range(package.prelude.segments)]
    segments[2] = forged_segment(package, 2)
    path = bench.folder / "forged.sealed"
    path.write_bytes(package.with_segments(segments))
    with open_sealed(path, KEY) as file:
        for ask in (lambda: file.get_tensor("a.w"), lambda: file.get_bytes("a.w"), file.load_all):
            with pytest.raises(ContentMismatch):
                ask()
        with pytest.raises(ContentMismatch):
            file.export(bench.folder / "out")
        assert not any(
            b"\x55" * 64 in bytes(memoryview(arena)) for arena in file._plain.segments.arenas
        )
    assert not (bench.folder / "out").exists()


def index_plaintext(package: Package) -> bytes:
    with keys.derive(KEY, keys.LABEL_INDEX) as key:
        start = package.prelude.index_offset
        header = package.data[start : start + HEADER_BYTES]
        message = Floe(RECORD).open(key.view, package.binding(), header)
    body = package.data[start + HEADER_BYTES : start + package.prelude.index_bytes]
    out = memoryview(bytearray(len(body) - OVERHEAD))
    message.decrypt_into(0, memoryview(body), out, last=True)
    return bytes(out)


def reseal(package: Package, plaintext: bytes, **changes) -> bytes:
    """What a key holder can write: any index, and headers that verify."""
    prelude = dataclasses.replace(
        package.prelude, index_bytes=HEADER_BYTES + len(plaintext) + OVERHEAD, **changes
    )
    public = package.data[96 : 96 + prelude.public_bytes]
    binding = keys.header_binding(prelude.to_bytes(), public)
    floe = Floe(RECORD)
    with keys.derive(KEY, keys.LABEL_INDEX) as index, keys.derive(KEY, keys.LABEL_PAYLOAD) as load:
        message, index_header = floe.start(index.view, binding)
        _, payload_header = floe.start(load.view, binding)
    out = memoryview(bytearray(len(plaintext) + OVERHEAD))
    message.encrypt_into(0, plaintext, out, last=True)
    head = prelude.to_bytes() + public + index_header + bytes(out) + payload_header
    return head.ljust(prelude.payload_offset, b"\0") + package.data[package.base :]


def with_tables(package: Package, change, *, honest_root: bool) -> bytes:
    tables, leaves, _ = split_index(index_plaintext(package), package.prelude.segments)
    tables = change(tables)
    changes = {} if honest_root else {"root": package_root(keys.LEAF[2](tables), leaves)}
    return reseal(package, join_index(tables, leaves), **changes)


def exchange_tensors(tables: bytes) -> bytes:
    document = json.loads(tables)
    rows = document["tensors"]
    rows[0][0], rows[1][0] = rows[1][0], rows[0][0]
    return json.dumps(document).encode()


def test_an_insider_cannot_exchange_two_tensors_of_equal_shape(bench):
    """Names and places are under the root, not only bytes."""
    forged = with_tables(bench.first, exchange_tensors, honest_root=True)
    bench.refuse(forged, ContentMismatch)
    bench.refuse(forged, ContentMismatch, record=None)
    bench.refuse(with_tables(bench.first, exchange_tensors, honest_root=False), ContentMismatch)


def test_an_insider_cannot_replace_leaves(bench):
    tables, leaves, _ = split_index(index_plaintext(bench.first), bench.first.prelude.segments)
    forged = join_index(tables, bytes(32) + leaves[32:])
    bench.refuse(reseal(bench.first, forged), ContentMismatch)


def test_an_insider_s_own_package_with_the_lodged_root_printed_is_refused(bench):
    other = bench.other
    printed = other.with_prelude(root=bench.first.record.root)
    bench.refuse(printed, ContentMismatch, HeaderTampered)
    bench.refuse(printed, HeaderTampered, record=None)
    tables, leaves, _ = split_index(index_plaintext(other), other.prelude.segments)
    rewritten = reseal(other, join_index(tables, leaves), root=bench.first.record.root)
    bench.refuse(rewritten, ContentMismatch, record=None)


def replaced(old: str, new: str):
    return lambda tables: tables.replace(old.encode(), new.encode(), 1)


def row_changed(table: str, row: int, column: int, value):
    def change(tables: bytes) -> bytes:
        document = json.loads(tables)
        document[table][row][column] = value
        return json.dumps(document).encode()

    return change


TABLES = {
    "duplicate names": row_changed("tensors", 1, 0, "a.w"),
    "overlap": row_changed("tensors", 1, 4, 200),
    "out of the member": row_changed("tensors", 1, 4, 10**9),
    "shape bomb": row_changed("tensors", 0, 2, [1 << 40, 1 << 40]),
    "product that wraps 2^64": row_changed("tensors", 0, 2, [1 << 32, 1 << 32]),
    "negative dimension": row_changed("tensors", 0, 2, [-200, -240]),
    "fractional dimension": row_changed("tensors", 0, 2, [200.0, 240]),
    "true as a dimension": row_changed("tensors", 0, 2, [True, 48000]),
    "unknown dtype": row_changed("tensors", 0, 1, "PICKLE"),
    "nul in a name": row_changed("tensors", 0, 0, "a\0b"),
    "member in the parent folder": row_changed("members", 0, 0, "../../etc/cron.d/x"),
    "absolute member": row_changed("members", 0, 0, "/etc/passwd"),
    "member larger than the package": row_changed("members", 0, 1, 1 << 50),
    "members that overlap": row_changed("members", 1, 3, 0),
    "deep nesting": lambda tables: b"[" * 50_000,
    "not utf-8": lambda tables: b"\xff" + tables,
    "endless number": replaced('"version":1', '"version":' + "1" * 50_000),
    "repeated key": replaced('"version":1', '"version":1,"version":1'),
    "no tensors": lambda tables: json.dumps(json.loads(tables) | {"tensors": []}).encode(),
    "empty object": lambda tables: b"{}" + b" " * 200,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_a_key_holder_could_write_is_refused(bench, name):
    hostile = with_tables(bench.first, TABLES[name], honest_root=False)
    assert hostile != bench.first.data
    bench.refuse(hostile, SealedFormatError, record=None)


EMPTY = [[1 << 40, 0, 1 << 40], [0, (1 << 53) - 1, (1 << 53) - 1]]


@pytest.mark.parametrize("shape", EMPTY)
def test_an_empty_tensor_of_impossible_size_raises_only_our_errors(bench, shape):
    hostile = with_tables(bench.first, row_changed("tensors", 0, 2, shape), honest_root=False)
    path = bench.folder / "hostile.sealed"
    path.write_bytes(hostile)
    with open_sealed(path, KEY) as file, pytest.raises(UnsupportedModel, match="shape"):
        file.get_tensor("a.w")


@pytest.mark.torch
def test_an_empty_torch_tensor_of_impossible_size_raises_only_our_errors():
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedModel, match="shape"):
        torch_arrays.view(memoryview(b""), "F32", tuple(EMPTY[1]))


# -- header bombs and downgrade ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "data", "expected"),
    [
        (16, b"\xff" * 4, LimitExceeded),
        (20, b"\xff" * 4, LimitExceeded),
        (20, bytes(4), LimitExceeded),
        (24, b"\x80" + bytes(7), LimitExceeded),
        (24, bytes(8), LimitExceeded),
        (24, (1 << 32).to_bytes(8, "big"), LimitExceeded),
        (12, b"\x28", LimitExceeded),
        (12, b"\x00", LimitExceeded),
        (8, b"\0\0", UnsupportedVersion),
        (8, b"\0\2", UnsupportedVersion),
        (10, b"\0\0", UnsupportedVersion),
        (10, b"\0\1", ContentMismatch),
        (13, b"\x0d\0\x40", UnsupportedVersion),
        (13, b"\x0e\0\x40", LimitExceeded),
    ],
)
def test_a_hostile_prelude_is_refused(bench, at, data, expected):
    bench.refuse(bench.first.edited(at, data), expected)


def test_a_suite_relabelled_without_a_record_is_refused(bench):
    bench.refuse(bench.first.edited(10, b"\0\1"), HeaderTampered, record=None)


def test_a_sparse_file_of_the_announced_size_costs_no_memory(bench):
    package = bench.first
    segments = 1 << 24
    prelude = dataclasses.replace(
        package.prelude, segments=segments, index_bytes=(1 << 30), root=Digest(bytes(32))
    )
    path = bench.folder / "sparse.sealed"
    path.write_bytes(prelude.to_bytes() + package.data[96 : 96 + prelude.public_bytes])
    os.truncate(path, prelude.file_bytes)
    assert inspect(path).segments == segments
    tracemalloc.start()
    try:
        for key, expected in ((bytes(32), WrongKey), (KEY, HeaderTampered)):
            with pytest.raises(expected):
                open_sealed(path, key)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
        path.unlink()


def test_a_plain_model_is_never_loaded_in_place_of_a_sealed_one(bench):
    plain = (bench.folder / "model-1" / "model.safetensors").read_bytes()
    bench.refuse(plain, NotSealed)


# -- wraps ---------------------------------------------------------------------------------------


def test_a_wrap_moves_to_no_other_license_key_or_suite():
    hybrid, classical = KemPrivateKey.generate(MLKEM768_X25519), KemPrivateKey.generate(X25519)
    purpose = b"chain 31337, license 1.7, holder 0xabc, epoch 1"
    blob = wrap(KEY, hybrid.public, info=purpose)
    for other in (b"chain 137, license 1.7, holder 0xabc, epoch 1", b"", purpose + b" "):
        with pytest.raises(NoIdentityMatch):
            unwrap(blob, hybrid, info=other)
    with pytest.raises(NoIdentityMatch):
        unwrap(blob, KemPrivateKey.generate(MLKEM768_X25519), info=purpose)
    with pytest.raises((NoIdentityMatch, LimitExceeded)):
        unwrap(b"\1\1" + blob[2:], classical, info=purpose)
    with pytest.raises(UnsupportedVersion):
        unwrap(
            wrap(KEY, classical.public, info=purpose),
            classical,
            info=purpose,
            allowed=frozenset({MLKEM768_X25519}),
        )
    for bad in (blob[:-1], blob + b"\0", blob[:2], b""):
        with pytest.raises((NoIdentityMatch, LimitExceeded, UnsupportedVersion)):
            unwrap(bad, hybrid, info=purpose)


def test_a_broker_that_wraps_another_key_is_found_out(bench):
    runtime = KemPrivateKey.generate()
    received = unwrap(wrap(os.urandom(32), runtime.public, info=b"p"), runtime, info=b"p")
    assert key_commitment(received) != bench.first.record.commit
    bench.refuse(bench.first.data, WrongKey, key=received)
