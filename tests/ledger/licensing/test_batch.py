"""Batches: every leaf proves itself, nothing else does, and files are read strictly."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import (
    ClaimMismatch,
    InclusionProofInvalid,
    LedgerError,
    LimitExceeded,
    ManifestError,
)
from ledger.ids import ZERO_ADDRESS, Address, Digest
from ledger.licensing import batch
from ledger.licensing.batch import BatchRow, parse_batch, parse_claim

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "batch").glob("*.json"))
LEDGER = Address(b"\x11" * 20)
TIMES = st.integers(0, (1 << 40) - 1)
ROWS = st.builds(
    BatchRow,
    st.binary(min_size=20, max_size=20).filter(any).map(Address),
    st.just(0) | TIMES,
    st.just(0),
    st.binary(min_size=32, max_size=32).map(Digest),
)


def build(rows, **changes):
    place = {"chain_id": 31337, "ledger": LEDGER, "plan": 7} | changes
    return batch.build(rows, (bytes([i % 256]) * 32 for i in range(len(rows))), **place)


@given(st.lists(ROWS, min_size=1, max_size=40))
def test_every_leaf_proves_itself_and_files_survive_reading(rows):
    made = build(rows)
    assert made.rows() == tuple(rows)
    read = parse_batch(json.dumps(made.to_json()).encode())
    assert (read, read.root) == (made, made.root)
    for index, claim in enumerate(made.claims()):
        assert claim == made.claim(index)
        claim.verify()
        assert parse_claim(json.dumps(claim.to_json()).encode()) == claim


@given(st.lists(ROWS, min_size=2, max_size=20), st.data())
def test_no_claim_proves_another_leaf_place_plan_or_chain(rows, data):
    made = build(rows)
    claim = made.claim(data.draw(st.integers(0, len(rows) - 1)))
    other = data.draw(st.integers(0, len(rows) - 1).filter(lambda i: i != claim.leaf.index))
    for forged in (
        replace(claim, leaf=replace(claim.leaf, index=other)),
        replace(claim, leaf=replace(claim.leaf, salt=Digest(b"\xff" * 32))),
        replace(claim, leaf=replace(claim.leaf, not_after=claim.leaf.not_after + 1)),
        replace(claim, plan=8),
        replace(claim, chain_id=1),
        replace(claim, ledger=Address(b"\x12" * 20)),
        replace(claim, root=Digest(b"\x01" * 32)),
        replace(claim, path=(*claim.path, claim.root)),
        replace(claim, path=claim.path[:-1]),
    ):
        with pytest.raises(InclusionProofInvalid):
            forged.verify()


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
def test_a_changed_file_is_refused_by_one_of_our_errors(rows, data):
    text = json.dumps(build(rows).to_json()).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != text[place]))
    changed = text[:place] + bytes([byte]) + text[place + 1 :]
    with contextlib.suppress(LedgerError):
        # An address may change the case of its letters, or JSON its spaces; nothing that counts.
        assert parse_batch(changed) == build(rows)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_at_all_raise_anything_but_our_errors(raw):
    for read in (parse_batch, parse_claim):
        with pytest.raises(LedgerError):
            read(raw)


def test_a_batch_needs_rows_salts_and_times_that_fit():
    row = BatchRow(Address(b"\1" * 20))
    place = {"chain_id": 1, "ledger": LEDGER, "plan": 1}
    for rows, salts in (
        ([], []),
        ([row], []),
        ([row], [b"short"]),
        ([replace(row, not_after=1 << 40)], [bytes(32)]),
        ([replace(row, not_before=5, not_after=5)], [bytes(32)]),
        ([replace(row, to=ZERO_ADDRESS)], [bytes(32)]),
    ):
        with pytest.raises(ManifestError):
            batch.build(rows, salts, **place)
    with pytest.raises(LimitExceeded):
        batch.build([row] * (batch.MAX_LEAVES + 1), [], **place)


def test_files_beyond_the_bounds_are_not_read():
    with pytest.raises(LimitExceeded):
        parse_claim(b" " * (batch.MAX_CLAIM_BYTES + 1))
    document = build([BatchRow(LEDGER)]).to_json()
    document["leaves"] *= batch.MAX_LEAVES + 1
    with pytest.raises(LimitExceeded):
        parse_batch(document)


def test_a_claim_names_the_step_that_failed():
    claim = build([BatchRow(LEDGER)] * 3).claim(0)
    for forged, step in (
        (replace(claim, leaf=replace(claim.leaf, index=3)), 2),
        (replace(claim, plan=8), 3),
    ):
        with pytest.raises(InclusionProofInvalid) as caught:
            forged.verify()
        assert caught.value.step == step
    document = build([BatchRow(LEDGER)]).to_json() | {"plan": 8}
    with pytest.raises(ClaimMismatch) as mismatch:
        parse_batch(document)
    assert mismatch.value.step == 2


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_vectors(path):
    vector = json.loads(path.read_text())
    raw = json.dumps(vector["document"]).encode()
    try:
        read = parse_batch(raw) if vector["kind"] == "batch" else parse_claim(raw)
        if vector["kind"] == "claim":
            read.verify()
    except LedgerError as error:
        outcome = type(error).__name__
    else:
        outcome = "ok"
        assert read.to_json() == vector["document"]
        if vector["kind"] == "batch":
            assert str(read.root) == vector["root"]
            assert [str(Digest(leaf)) for leaf in read.hashes] == vector["leaf_hashes"]
        else:
            hashed = read.leaf.hash(read.chain_id, read.ledger, read.plan)
            assert str(Digest(hashed)) == vector["leaf_hash"]
    assert outcome == vector["expect"]


def test_there_are_vectors():
    assert len(VECTORS) >= 30
