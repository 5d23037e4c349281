"""Writes tests/vectors/sealed: FLOE messages, wraps, sealing records, packages; one fault a case.

Each file is ``{"description", "input", "expect"}``; `expect` holds what every implementation must
compute, or ``{"error": CODE}``. Packages are too long for JSON: a case names the ``.sealed`` file
beside it and the edits that make its fault. Run this after a deliberate change of a format.
Everything but the wraps (HPKE draws its own randomness) comes out the same each time.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from make_vectors_cells import cell_cases
from sealed_vectors import (
    KEY,
    OTHER_KEY,
    Case,
    facts,
    fixed_entropy,
    safetensors_bytes,
    seal_fixed,
    stream,
)

from ledger.errors import LedgerError
from ledger.sealed.file import inspect, open_sealed
from ledger.sealed.header import Prelude
from ledger.sealed.recipients import MLKEM768_X25519, X25519, KemPrivateKey, unwrap, wrap
from ledger.sealed.record import SealingRecord
from ledger.sealed.stream import HEADER_BYTES, OVERHEAD, Floe

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "sealed"


# -- FLOE ----------------------------------------------------------------------------------------


def floe_message(label: str, size: int, *, segment: int, rotation: int) -> Case:
    """A good message of `size` bytes."""
    floe = Floe(segment, rotation=rotation)
    plaintext, aad = stream(f"{label} plaintext", size), f"aad of {label}".encode()
    message, header = floe.start(KEY, aad, entropy=fixed_entropy(label))
    step = segment - OVERHEAD
    blocks = [plaintext[at : at + step] for at in range(0, len(plaintext), step)] or [b""]
    body = b""
    for number, block in enumerate(blocks):
        out = bytearray(len(block) + OVERHEAD)
        message.encrypt_into(number, block, memoryview(out), last=number == len(blocks) - 1)
        body += out
    return {
        "description": f"{size} bytes in segments of {segment}, key rotated every 2^{rotation}",
        "input": {
            "segment_bytes": segment,
            "rotation": rotation,
            "key": KEY.hex(),
            "aad": aad.hex(),
            "message": (header + body).hex(),
        },
        "expect": {"plaintext": plaintext.hex()},
    }


def floe_cases() -> dict[str, Case]:
    """Good messages, and one message with one fault each."""
    cases = {
        "floe-empty": floe_message("floe-empty", 0, segment=64, rotation=20),
        "floe-one-segment": floe_message("floe-one-segment", 20, segment=64, rotation=20),
        "floe-exact": floe_message("floe-exact", 96, segment=64, rotation=20),
        "floe-rotation": floe_message("floe-rotation", 300, segment=64, rotation=2),
    }
    good = floe_message("floe-faults", 80, segment=64, rotation=20)
    message = bytes.fromhex(good["input"]["message"])
    first = slice(HEADER_BYTES, HEADER_BYTES + 64)
    second = slice(HEADER_BYTES + 64, HEADER_BYTES + 128)
    third = slice(HEADER_BYTES + 128, None)
    head = message[:HEADER_BYTES]

    def flip(at: int) -> bytes:
        return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]

    faults = {
        "floe-parameters": ("a bit of the parameters is flipped", flip(5), "HEADER_TAMPERED"),
        "floe-iv": ("a bit of the message IV is flipped", flip(12), "HEADER_TAMPERED"),
        "floe-header-tag": ("a bit of the header tag is flipped", flip(60), "HEADER_TAMPERED"),
        "floe-length-word": ("a length word is altered", flip(HEADER_BYTES), "SEGMENT_TAMPERED"),
        "floe-segment-iv": ("a segment IV is altered", flip(HEADER_BYTES + 9), "SEGMENT_TAMPERED"),
        "floe-body": ("a ciphertext bit is flipped", flip(HEADER_BYTES + 30), "SEGMENT_TAMPERED"),
        "floe-tag": ("a bit of the last tag is flipped", flip(-1), "SEGMENT_TAMPERED"),
        "floe-swapped": (
            "two segments are exchanged",
            head + message[second] + message[first] + message[third],
            "SEGMENT_TAMPERED",
        ),
        "floe-truncated": (
            "the last segment is missing",
            head + message[first] + message[second],
            "SEGMENT_TAMPERED",
        ),
    }
    for name, (description, altered, code) in faults.items():
        case = copy.deepcopy(good)
        case["description"] = description
        case["input"]["message"] = altered.hex()
        case["expect"] = {"error": code}
        cases[name] = case
    for name, field in (("floe-other-key", "key"), ("floe-other-aad", "aad")):
        case = copy.deepcopy(good)
        case["description"] = f"opened with another {field}"
        case["input"][field] = OTHER_KEY.hex()
        case["expect"] = {"error": "HEADER_TAMPERED"}
        cases[name] = case
    return cases


# -- wraps ---------------------------------------------------------------------------------------


def _kept_wrap(name: str, key: KemPrivateKey, info: bytes) -> bytes:
    """The committed blob as long as it still opens, else a new one."""
    try:
        kept = json.loads((FOLDER / f"{name}.json").read_text())["input"]["wrap"]
        if unwrap(bytes.fromhex(kept), key, info=info) == KEY:
            return bytes.fromhex(kept)
    except (OSError, KeyError, ValueError, LedgerError):
        pass
    return wrap(KEY, key.public, info=info)


def wrap_cases() -> dict[str, Case]:
    """A wrap per suite, and one with one fault each."""
    cases: dict[str, Case] = {}
    info = b"vector purpose"
    for name, suite, size in (("x25519", X25519, 32), ("hybrid", MLKEM768_X25519, 96)):
        key = KemPrivateKey(suite, stream(f"wrap key {name}", size))
        blob = _kept_wrap(f"wrap-{name}", key, info)
        case: Case = {
            "description": f"a content key wrapped under suite {suite}",
            "input": {
                "private_key": bytes(key.to_bytes()).hex(),
                "purpose": info.hex(),
                "wrap": blob.hex(),
            },
            "expect": {
                "secret": KEY.hex(),
                "public_key": key.public.to_bytes().hex(),
                "key_hash": str(key.public.hash()),
            },
        }
        cases[f"wrap-{name}"] = case
        edits: dict[str, tuple[str, bytes, bytes, str]] = {
            "version": ("version 2", b"\x02" + blob[1:], info, "UNSUPPORTED_VERSION"),
            "suite": ("suite 9", blob[:1] + b"\x09" + blob[2:], info, "UNSUPPORTED_VERSION"),
            "share": (
                "a bit of the share is flipped",
                blob[:20] + bytes([blob[20] ^ 1]) + blob[21:],
                info,
                "NO_IDENTITY_MATCH",
            ),
            "tag": (
                "a bit of the tag is flipped",
                blob[:-1] + bytes([blob[-1] ^ 1]),
                info,
                "NO_IDENTITY_MATCH",
            ),
            "purpose": ("opened for another purpose", blob, b"other", "NO_IDENTITY_MATCH"),
            "short": ("only version, suite and share", blob[:-48], info, "LIMIT_EXCEEDED"),
            "empty": ("no bytes", b"", info, "UNSUPPORTED_VERSION"),
        }
        for fault, (description, altered, purpose, code) in edits.items():
            bad = copy.deepcopy(case)
            bad["description"] = description
            bad["input"] |= {"wrap": altered.hex(), "purpose": purpose.hex()}
            bad["expect"] = {"error": code}
            cases[f"wrap-{name}-{fault}"] = bad
    return cases


# -- packages and records ------------------------------------------------------------------------


def _model_folder(folder: Path) -> Path:
    rows = [
        ("layer.weight", "F32", [16, 16], stream("layer.weight", 1024)),
        ("layer.bias", "BF16", [16], stream("layer.bias", 32)),
        ("steps", "I64", [1], (7).to_bytes(8, "little")),
    ]
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(safetensors_bytes(rows))
    (folder / "config.json").write_text('{"hidden": 16}\n')
    return folder


def make_package(suite: int, dest: Path, scratch: Path) -> SealingRecord:
    """Seal the vectors' model; the same bytes each time."""
    folder = _model_folder(scratch / f"model-{suite}")
    return seal_fixed(folder, dest, suite=suite, label=f"package {suite}")


def _package_case(path: Path, record: SealingRecord) -> Case:
    with open_sealed(path, KEY, record=record) as file:
        found = facts(file)
    return {
        "description": f"a package of suite {record.suite} with one shard and one side file",
        "input": {"package": path.name, "key": KEY.hex(), "record": record.to_json()},
        "expect": {
            "inspect": inspect(path).to_json(),
            "record_hash": str(record.hash()),
            **found,
        },
    }


def package_cases(folder: Path) -> dict[str, Case]:
    """Both suites, and the suite 2 package with one fault each; writes the packages there."""
    cases: dict[str, Case] = {}
    with tempfile.TemporaryDirectory() as name:
        for suite in (1, 2):
            path = folder / f"package-suite-{suite}.sealed"
            record = make_package(suite, path, Path(name))
            cases[f"package-suite-{suite}"] = _package_case(path, record)
    base = cases["package-suite-2"]
    prelude = Prelude.parse(path.read_bytes()[:96])
    payload = prelude.payload_offset

    def edit(at: int, data: str) -> dict[str, Any]:
        return {"edits": [{"at": at, "hex": data}]}

    def flip(at: int) -> dict[str, Any]:
        return edit(at, f"{path.read_bytes()[at] ^ 1:02x}")

    faults: dict[str, tuple[str, dict[str, Any], str]] = {
        "magic": ("another magic", flip(0), "NOT_SEALED"),
        "version": ("version 2", edit(8, "0002"), "UNSUPPORTED_VERSION"),
        "suite": ("suite 3", edit(10, "0003"), "UNSUPPORTED_VERSION"),
        "cells-small": ("cells that are too small", edit(13, "0d0001"), "UNSUPPORTED_VERSION"),
        "cells-claimed": ("a cell that is not there", edit(13, "0e0001"), "SEALED_TRUNCATED"),
        "segment-size": ("segments of 2^40 bytes", edit(12, "28"), "LIMIT_EXCEEDED"),
        "public-huge": ("a public part of 4 GiB", edit(16, "ffffffff"), "LIMIT_EXCEEDED"),
        "index-huge": ("an index of 4 GiB", edit(20, "ffffffff"), "LIMIT_EXCEEDED"),
        "segments-zero": ("no segments", edit(24, "00" * 8), "LIMIT_EXCEEDED"),
        "segments-huge": ("2^63 segments", edit(24, "80" + "00" * 7), "LIMIT_EXCEEDED"),
        "segments-more": ("one segment too many", edit(31, "03"), "SEALED_TRUNCATED"),
        "truncated": ("one byte missing", {"length": prelude.file_bytes - 1}, "SEALED_TRUNCATED"),
        "appended": (
            "one byte appended",
            edit(prelude.file_bytes, "00"),
            "SEALED_TRUNCATED",
        ),
        "public-not-json": ("the public part is not JSON", flip(96), "SEALED_FORMAT_ERROR"),
        "root": ("the root is altered", flip(40), "CONTENT_MISMATCH"),
        "root-without-record": (
            "the root is altered, and no record is at hand",
            flip(40) | {"record": None},
            "HEADER_TAMPERED",
        ),
        "commit-without-record": (
            "the commitment is altered, and no record is at hand",
            flip(70) | {"record": None},
            "WRONG_KEY",
        ),
        "wrong-key": ("another content key", {"key": OTHER_KEY.hex()}, "WRONG_KEY"),
        "padding": ("the padding is not zero", flip(payload - 1), "HEADER_TAMPERED"),
        "index-header": (
            "the index header is altered",
            flip(prelude.index_offset + 20),
            "HEADER_TAMPERED",
        ),
        "index-body": (
            "the index is altered",
            flip(prelude.index_offset + 120),
            "HEADER_TAMPERED",
        ),
        "payload-header": (
            "the payload header is altered",
            flip(prelude.payload_header_offset + 60),
            "HEADER_TAMPERED",
        ),
        "segment": ("a segment is altered", flip(payload + 70000), "SEGMENT_TAMPERED"),
        "other-model": (
            "the record of another model",
            {"record": base["input"]["record"] | {"model_id": "0x" + "ab" * 32}},
            "CONTENT_MISMATCH",
        ),
        "other-epoch": (
            "the record of another epoch",
            {"record": base["input"]["record"] | {"epoch": 2}},
            "CONTENT_MISMATCH",
        ),
        "other-second-root": (
            "the record names another second root",
            {"record": base["input"]["record"] | {"content_tree_root": "0x" + "cd" * 32}},
            "CONTENT_MISMATCH",
        ),
    }
    for name, (description, change, code) in faults.items():
        cases[f"package-{name}"] = {
            "description": description,
            "input": base["input"] | change,
            "expect": {"error": code},
        }
    return cases


def record_cases(package: Case) -> dict[str, Case]:
    """The sealing record of a package, and it with one fault each."""
    record = package["input"]["record"]
    cases: dict[str, Case] = {
        "record-plain": {
            "description": "a sealing record and its hash",
            "input": record,
            "expect": {"hash": package["expect"]["record_hash"]},
        }
    }
    bad: dict[str, tuple[str, dict[str, Any], str]] = {
        "format": ("another version", {"format": "modeldeed/sealing/2"}, "UNSUPPORTED_VERSION"),
        "epoch-zero": ("epoch 0", {"epoch": 0}, "MANIFEST_ERROR"),
        "epoch-bool": ("an epoch that is true", {"epoch": True}, "MANIFEST_ERROR"),
        "epoch-huge": ("an epoch of 2^53", {"epoch": 1 << 53}, "MANIFEST_ERROR"),
        "root-short": ("a root of 31 bytes", {"root": "0x" + "ab" * 31}, "MANIFEST_ERROR"),
        "root-upper": ("a root in upper case", {"root": "0x" + "AB" * 32}, "MANIFEST_ERROR"),
        "field-unknown": ("a field too many", {"note": ""}, "MANIFEST_ERROR"),
    }
    for name, (description, change, code) in bad.items():
        cases[f"record-{name}"] = {
            "description": description,
            "input": record | change,
            "expect": {"error": code},
        }
    return cases


def all_cases(folder: Path) -> dict[str, Case]:
    """Every case by file name; the packages are written into `folder`."""
    packages = package_cases(folder)
    records = record_cases(packages["package-suite-2"])
    return floe_cases() | wrap_cases() | packages | records | cell_cases(folder)


def main() -> None:
    """Write the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    cases = all_cases(FOLDER)
    for stale in set(FOLDER.glob("*.json")) - {FOLDER / f"{name}.json" for name in cases}:
        stale.unlink()
    for name, case in cases.items():
        text = json.dumps(case, indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n")
    print(f"{len(cases)} cases in {FOLDER}")


if __name__ == "__main__":
    main()
