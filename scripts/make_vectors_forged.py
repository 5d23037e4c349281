#!/usr/bin/env python3
"""Adds to tests/vectors/evidence: faults that need proofs and stamps made to fit around them.

Run by make_vectors_evidence.py. Each was once taken by one verifier and refused by another, or
ended in no verdict at all; tests/attacks/evidence/test_two_verifiers.py looks for more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rlp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from forged_der import Tsa, encoded
from forged_tries import lift

from ledger.canonical import canonical_json
from ledger.evidence.bundle import Bundle, read_bundle
from ledger.ids import keccak256

OUT = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "evidence"
MODEL, THREE = "model.evidence.zip", "releases/three.evidence.zip"
_HOLDS = "holds, given the blocks it rests on"
_RECEIPTS, _TRANSACTIONS, _STATE = 5, 4, 3
Change = Callable[[Any], Any]


def write(folder: Path = OUT) -> int:
    """Write the faults; returns how many."""
    model, three = (read_bundle(folder / name) for name in (MODEL, THREE))
    found = _documents() | _receipts(model, three) | _nodes(model) | _stamps(model)
    for name, fault in found.items():
        (folder / f"{name}.json").write_text(json.dumps(fault, indent=2) + "\n")
    signatures = folder / "signatures"
    signatures.mkdir(exist_ok=True)
    (signatures / "ed25519.json").write_text(json.dumps(_keys(), indent=2) + "\n")
    return len(found) + 1


def _case(description: str, first: int | None, *edits: dict[str, Any], **more: Any) -> Any:
    expect = {"verdict": _HOLDS} if first is None else {"verdict": "does not hold", "first": first}
    known = {"description": description, "edit": list(edits), "reseal": True, "expect": expect}
    return known | more


def _set(member: str, path: list[Any], value: Any) -> dict[str, Any]:
    return {"op": "set", "member": member, "path": path, "value": value}


def _add(member: str, data: bytes) -> dict[str, Any]:
    return {"op": "add", "member": member, "hex": data.hex()}


def _keys() -> list[dict[str, Any]]:
    """Ed25519 keys of small order, in encodings that RFC 8032 has and has not.

    R is the neutral point and S zero, so the equation holds where the hash is a multiple of the
    key's order; OpenSSL takes all of these.
    """
    field = (1 << 255) - 19
    signature = (1).to_bytes(32, "little") + bytes(32)
    made = []
    for what, number, valid in (
        ("the neutral point", 1, True),
        ("a point of order 2", field - 1, True),
        ("a point of order 4", 0, True),
        ("y is p + 1", field + 1, False),
        ("y is p", field, False),
        ("a sign, and x is zero", 1 | 1 << 255, False),
        ("a sign, x is zero, of order 2", field - 1 | 1 << 255, False),
        ("y is p + 1, and a sign", field + 1 | 1 << 255, False),
    ):
        public = number.to_bytes(32, "little")
        message = next(
            text for text in map(_numbered, range(99)) if _taken(public, signature, text)
        )
        made.append(
            {"key": what, "public": public.hex(), "signature": signature.hex()}
            | {"message": message.hex(), "valid": valid}
        )
    return made


def _numbered(number: int) -> bytes:
    return f"message {number}".encode()


def _taken(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _documents() -> dict[str, Any]:
    deep: list[Any] = []
    for _ in range(61):
        deep = [deep]
    return {
        "json-nested": _case(
            "a receipt's request holds lists in lists, so that 65 stand one inside the other",
            2,
            _set("releases/1.json", ["entry", "request", "x"], deep),
            bundle=THREE,
        ),
        "license-number-padded": _case(
            "a license is listed with leading zeros", 13, _set("licenses.json", [0], "01.1")
        ),
        "license-no-text": _case(
            "a list stands where a license is listed, in evidence of one license",
            13,
            _set("bundle.json", ["kind"], "license"),
            _set("bundle.json", ["license"], "1.1"),
            _set("licenses.json", [0], []),
        ),
        "custody-text-hidden": _case(
            "a mark that turns the direction of text stands in the name of who acted",
            18,
            _set("custody.json", [0, "actor"], "the licensor\u202erosnecil eht ton"),
        ),
        "custody-text-new": _case(
            "a character that Unicode assigned in 2022 is plain text, whatever table one has",
            None,
            _set("custody.json", [0, "actor"], "A. Collector \U0001fae8"),
        ),
    }


def _receipts(model: Bundle, three: Bundle) -> dict[str, Any]:
    def first_log(place: int, value: Any) -> Change:
        def change(fields: Any) -> Any:
            fields[3][0][place] = value
            return fields

        return change

    def field(place: int, value: Any) -> Change:
        return lambda fields: [*fields[:place], value, *fields[place + 1 :]]

    deep: list[Any] = []
    for _ in range(70):
        deep = [deep]
    made = {
        "receipt-logs-no-list": ("receipt", "empty text stands where a receipt's logs are", 3, b""),
        "transaction-number-no-text": ("transaction", "a transaction's number is a list", 1, []),
        "transaction-nested": ("transaction", "a transaction's access list has no end", 8, deep),
    }
    cases = {
        name: _case(said, 7, *_item(model, kind, field(place, value)))
        for name, (kind, said, place, value) in made.items()
    }
    cases["receipt-topics-no-list"] = _case(
        "empty text stands where a log's topics are",
        7,
        *_item(three, "receipt", first_log(1, b"")),
        bundle=THREE,
    )
    return cases


def _item(bundle: Bundle, kind: str, change: Change) -> list[dict[str, Any]]:
    """Another receipt or transaction in the newest block, and all that must fit around it."""
    name = max(bundle.folder("receipts"), key=lambda of: int(of.split("-")[0]))
    document = bundle.json(f"receipts/{name}")
    before = document[f"{kind}Proof"]
    nodes = [bytes.fromhex(node[2:]) for node in before]
    old = bytes.fromhex(document[kind][2:])
    head, body = (old[:1], old[1:]) if old[0] < 0xC0 else (b"", old)
    fresh = head + rlp.encode(change(rlp.decode(body)))
    leaf = rlp.decode(nodes[-1])
    nodes[-1] = rlp.encode([fresh if part == old else part for part in leaf])
    root = lift(nodes, len(nodes) - 1, before)
    document |= {kind: "0x" + fresh.hex(), f"{kind}Proof": ["0x" + node.hex() for node in nodes]}
    edits = [_add(f"receipts/{name}", canonical_json(document))]
    field = _RECEIPTS if kind == "receipt" else _TRANSACTIONS
    if document["block"] == bundle.subject.block:
        return edits + _header(bundle, field, root)
    return edits + _headers(bundle, document["block"], field, root)


def _header(bundle: Bundle, field: int, root: bytes) -> list[dict[str, Any]]:
    return _headers(bundle, bundle.subject.block, field, root)


def _headers(bundle: Bundle, number: int, field: int, root: bytes) -> list[dict[str, Any]]:
    """A root in a header, that header's hash in the next one, and so on to what is named."""
    edits, parent = [], b""
    for at in range(number, bundle.subject.block + 1):
        fields = rlp.decode(bundle.member(f"headers/{at}.rlp"))
        if parent:
            fields[0] = parent
        else:
            fields[field] = root
        raw = rlp.encode(fields)
        edits.append(_add(f"headers/{at}.rlp", raw))
        parent = keccak256(raw)
    return [*edits, _set("bundle.json", ["state", "hash"], "0x" + parent.hex())]


def _nodes(model: Bundle) -> dict[str, Any]:
    def child(value: Any) -> Change:
        def change(branch: Any) -> Any:
            # One that no path of this bundle needs.
            place = next(at for at in range(16) if branch[at] == b"")
            return [*branch[:place], value, *branch[place + 1 :]]

        return change

    def account(place: int, value: Any) -> Change:
        def change(leaf: Any) -> Any:
            fields = rlp.decode(leaf[1])
            fields[place] = value
            return [leaf[0], rlp.encode(fields)]

        return change

    long_leaf = [b"\x20", b"v" * 40]
    changes = {
        "account-number-no-text": (-1, account(1, []), "an account's balance is an empty list"),
        "node-child-short": (0, child(b"short"), "a branch has a child of five bytes"),
        "node-child-long": (0, child(long_leaf), "a node of more than 31 bytes stands in another"),
        "node-child-malformed": (0, child([b"\x50", b"v"]), "a node within has no path"),
        "node-value-no-text": (0, lambda of: [*of[:-1], [b""]], "a branch's value is a list"),
    }
    return {name: _case(said, 5, *_state(model, *of)) for name, (*of, said) in changes.items()}


def _state(bundle: Bundle, place: int, change: Change) -> list[dict[str, Any]]:
    """A node on the path to an account changed, in the proofs of all accounts that share it."""
    document = bundle.json("state/Anchors.json")
    before = document["accountProof"]
    nodes = [bytes.fromhex(node[2:]) for node in before]
    at = place % len(nodes)
    nodes[at] = rlp.encode(change(rlp.decode(nodes[at])))
    root = lift(nodes, at, before)
    swap = dict(zip(before, ("0x" + node.hex() for node in nodes), strict=True))
    edits = []
    for name in sorted(bundle.folder("state")):
        shown = bundle.json(f"state/{name}")
        shown["accountProof"] = [swap.get(node, node) for node in shown["accountProof"]]
        edits.append(_add(f"state/{name}", canonical_json(shown)))
    return edits + _header(bundle, _STATE, root)


def _stamps(model: Bundle) -> dict[str, Any]:
    contents = model.computed_contents.raw
    # A subject whose one name is no name: DER within, but not of the kind that it must be.
    nameless = encoded([(0x30, [(0x31, [(0x30, [(0x0C, b"signer")])])])])
    signer = encoded([(0x30, [(0x31, [(0x30, [(6, b"\x55\x04\x03"), (0x0C, b"signer")])])])])

    def unnamed(body: bytes) -> bytes:
        shorter = body.replace(signer, nameless)
        assert shorter != body
        inner = shorter[4:] if shorter[1] == 0x82 else shorter[3:]
        return encoded([(0x30, inner)])

    cases = {}
    for name, said, change, compressed in (
        ("token-subject-malformed", "a certificate's subject is no name", unnamed, False),
        ("token-key-compressed", "a key is a point in its short form", lambda of: of, True),
    ):
        authority = Tsa(random.Random(1), change, "signer")  # noqa: S311  # no key comes of it
        authority.compressed = compressed
        raw, pem = authority.token(contents)
        edits = (_add("timestamps/1.tsr", raw), _add("timestamps/1.pem", pem))
        cases[name] = _case(said, 17, *edits)
    # The newest block is of 2026-01-01 00:03:12, and may run an hour ahead; accuracy: two seconds.
    for name, said, time, step in (
        ("token-before-block", "a token is older than the block that its contents name", 9, 17),
        (
            "token-near-block",
            "as old as a block may run ahead, no fault; the summary is not made anew",
            10,
            19,
        ),
    ):
        authority = Tsa(random.Random(1), lambda of: of, "none")  # noqa: S311  # see above
        authority.begin, authority.time = b"250101000000Z", b"202512312303%02dZ" % time
        raw, pem = authority.token(contents)
        edits = (_add("timestamps/1.tsr", raw), _add("timestamps/1.pem", pem))
        cases[name] = _case(said, step, *edits)
    return cases


if __name__ == "__main__":
    print(f"{write()} forged faults")
