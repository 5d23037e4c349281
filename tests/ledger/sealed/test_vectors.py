"""The committed vectors hold, and the generator still makes them."""

import base64
import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from ledger.errors import LedgerError
from ledger.sealed.cells import ReleasedCells
from ledger.sealed.file import inspect, open_sealed
from ledger.sealed.recipients import KemPrivateKey, unwrap
from ledger.sealed.record import SealingRecord
from ledger.sealed.stream import HEADER_BYTES, OVERHEAD, Floe

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "vectors" / "sealed"
PUBLISHED = ROOT.parent / "shared" / "vectors" / "floe"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def open_floe(floe: Floe, key: bytes, aad: bytes, data: bytes) -> bytes:
    message = floe.open(key, aad, data[:HEADER_BYTES])
    body = memoryview(data)[HEADER_BYTES:]
    step = floe.segment_bytes
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    plain = b""
    for number, part in enumerate(parts):
        out = bytearray(len(part) - OVERHEAD)
        message.decrypt_into(number, part, memoryview(out), last=number == len(parts) - 1)
        plain += out
    return plain


def run_floe(given, tmp_path):
    floe = Floe(given["segment_bytes"], rotation=given["rotation"])
    key, aad, data = (bytes.fromhex(given[name]) for name in ("key", "aad", "message"))
    return {"plaintext": open_floe(floe, key, aad, data).hex()}


def run_wrap(given, tmp_path):
    key = KemPrivateKey.from_bytes(bytes.fromhex(given["private_key"]))
    blob, purpose = bytes.fromhex(given["wrap"]), bytes.fromhex(given["purpose"])
    return {
        "secret": unwrap(blob, key, info=purpose).hex(),
        "public_key": key.public.to_bytes().hex(),
        "key_hash": str(key.public.hash()),
    }


def run_record(given, tmp_path):
    record = SealingRecord.from_json(given)
    assert record.to_json() == given
    return {"hash": str(record.hash())}


def edited(given):
    good = (FOLDER / given["package"]).read_bytes()
    data = bytearray(good)
    for edit in given.get("edits", []):
        if "hex" in edit:
            change = bytes.fromhex(edit["hex"])
        else:
            change = good[edit["from"] : edit["from"] + edit["bytes"]]
        data[edit["at"] : edit["at"] + len(change)] = change
    del data[given.get("length", len(data)) :]
    return data


def run_package(given, tmp_path):
    path = tmp_path / "case.sealed"
    path.write_bytes(edited(given))
    record = SealingRecord.from_json(given["record"]) if given["record"] else None
    cells = None
    if given.get("released"):
        cells = ReleasedCells.from_bytes(bytearray.fromhex(given["released"]), given["cells"])
    with open_sealed(path, bytes.fromhex(given["key"]), record=record, cells=cells) as file:
        files = {name: base64.b64encode(data).decode() for name, data in file.files().items()}
        tensors = {}
        for name in file.keys():  # noqa: SIM118 - not a dict
            facts = file.info(name)
            tensors[name] = {
                "dtype": facts.dtype,
                "shape": list(facts.shape),
                "cid": str(facts.cid),
                "sha256": hashlib.sha256(file.get_bytes(name)).hexdigest(),
            }
        return {
            "inspect": inspect(path).to_json(),
            "record_hash": str(record.hash()),
            "tensors": tensors,
            "files": files,
            "content_root": str(file.verify_content()),
            **({"marked": list(file.marked)} if cells else {}),
        }


RUNNERS = {
    "floe": run_floe,
    "wrap": run_wrap,
    "record": run_record,
    "package": run_package,
    "cells": run_package,
}


@pytest.mark.parametrize("name", CASES)
def test_a_committed_vector_gives_what_it_says(name, tmp_path):
    case = CASES[name]
    runner = RUNNERS[name.partition("-")[0]]
    if "error" in case["expect"]:
        with pytest.raises(LedgerError) as caught:
            runner(case["input"], tmp_path)
        assert caught.value.code == case["expect"]["error"]
    else:
        assert runner(case["input"], tmp_path) == case["expect"]


def test_the_generator_still_writes_the_committed_vectors(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    spec = importlib.util.spec_from_file_location(
        "make_vectors_sealed", ROOT / "scripts" / "make_vectors_sealed.py"
    )
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.all_cases(tmp_path) == CASES
    packages = {path.name for path in FOLDER.glob("*.sealed")}
    assert packages == {path.name for path in tmp_path.glob("*.sealed")}
    for name in packages:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def published():
    return sorted(PUBLISHED.glob("*_ct.txt")) or [None]


@pytest.mark.parametrize("path", published(), ids=lambda p: p.name if p else "absent")
def test_a_published_floe_vector_decrypts(path):
    if path is None:
        pytest.skip("FLOE's published vectors are not beside this repository")
    if "rotation" in path.name:
        floe = Floe(40, rotation=2)
    else:
        sizes = {"lastSeg": 40, "_4K_": 4096, "_64_": 64}
        floe = Floe(next(size for part, size in sizes.items() if part in path.name))
    cipher = bytes.fromhex(path.read_text().strip())
    plain = path.with_name(path.name.replace("_ct", "_pt")).read_text().strip()
    assert open_floe(floe, bytes(32), b"This is AAD", cipher) == bytes.fromhex(plain)
