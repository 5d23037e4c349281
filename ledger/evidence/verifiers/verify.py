#!/usr/bin/env python3
"""Verify a modeldeed evidence bundle with nothing but Python.

    python3 verify.py BUNDLE [--block HASH]... [--contract NAME=ADDRESS]... [--tsa-root FILE.pem]...
                      [--collector ADDRESS]... [--suspect FILE] [--json]

One file, the standard library of Python 3.9 or later, no network. It is a second implementation of
``docs/spec/evidence-bundle.md``: numbers in brackets are the steps of that page, in its order. It
ends with 0 if verified, 3 if it holds given the blocks it names, 1 otherwise, 2 for wrong usage.
"""

# One old-fashioned file on purpose: Python 3.9, no package, plain loops.
# ruff: noqa: B905, BLE001, C420, C901, D102, D103, DTZ007, E501, ISC004
# ruff: noqa: PLR0124, PLR0912, PLR0915, PLR0917, PTH112, PTH113, PTH114, PTH116, PTH118, PTH123, PTH202, Q000, S324, T201, UP017, UP031, UP035
from __future__ import annotations

import base64
import calendar
import errno
import functools
import hashlib
import json
import math
import os
import re
import stat
import struct
import sys
import unicodedata
import zlib
from datetime import datetime, timezone
from typing import Any, Callable, Iterable, Iterator, Sequence


class Fail(Exception):
    """The step fails, for this reason."""


class NotChecked(Exception):
    """The step cannot be made; `needed` if a verdict must wait for it."""

    def __init__(self, why: str, needed: bool = True) -> None:
        super().__init__(why)
        self.needed = needed


class BadForm(Exception):
    """The file is no bundle of this format: `code` says in which way."""

    def __init__(self, why: str, code: str = "BUNDLE_FORMAT_ERROR") -> None:
        super().__init__(why)
        self.code = code


def demand(holds: Any, otherwise: str) -> None:
    if not holds:
        raise Fail(otherwise)


# ---- Hashes ------------------------------------------------------------------------------------

_MASK = (1 << 64) - 1
_ROUND_CONSTANTS: list[int] = []
_MOVES: list[tuple[int, int, int]] = []  # from lane, to lane, rotation


def _prepare_keccak() -> None:
    """The constants of Keccak-f[1600], from their definition (FIPS 202, 3.2)."""
    lfsr = 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if lfsr & 1:
                constant |= 1 << ((1 << j) - 1)
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
        _ROUND_CONSTANTS.append(constant)
    x, y = 1, 0
    rotations = {(0, 0): 0}
    for t in range(24):
        rotations[x, y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    for (x, y), rotation in rotations.items():
        _MOVES.append((x + 5 * y, y + 5 * ((2 * x + 3 * y) % 5), rotation))


_prepare_keccak()
_kept: dict[bytes, bytes] = {}


@functools.lru_cache(None)
def _beside(count: int) -> tuple[int, int, list[int], list[tuple[int, ...]]]:
    """What `_permute` needs for so many states beside each other, 64 bits of each lane a state."""
    ones = sum(1 << 64 * place for place in range(count))
    moves: list[tuple[int, ...]] = []
    for source, target, turn in _MOVES:
        low = ones * ((1 << turn) - 1)
        moves.append((source, target, turn, 64 - turn, ones * _MASK ^ low, low))
    return ones, ones * _MASK, [constant * ones for constant in _ROUND_CONSTANTS], moves


def _permute(a: list[int], count: int) -> list[int]:
    """Keccak-f[1600] of `count` states at once: Python's integers are as wide as one likes."""
    ones, full, constants, moves = _beside(count)
    high = full ^ ones
    for constant in constants:
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        turned = [(lane << 1) & high | (lane >> 63) & ones for lane in c]
        d = [c[x - 1] ^ turned[(x + 1) % 5] for x in range(5)] * 5
        b = [0] * 25
        for source, target, left, right, upper, lower in moves:
            lane = a[source] ^ d[source]
            b[target] = (lane << left) & upper | (lane >> right) & lower
        a = [
            b[y + x] ^ ((b[y + (x + 1) % 5] ^ full) & b[y + (x + 2) % 5])
            for y in (0, 5, 10, 15, 20)
            for x in range(5)
        ]
        a[0] ^= constant
    return a


def _sponges(many: Sequence[bytes]) -> list[bytes]:
    """Keccak-256 of texts of equally many blocks: SHA-3's sponge, padded as before the standard."""
    rate, count = 136, len(many)
    padded = []
    for data in many:
        block = bytearray(data) + bytes(rate - len(data) % rate)
        block[len(data)] ^= 0x01
        block[-1] ^= 0x80
        padded.append(bytes(block))
    state = [0] * 25
    for at in range(0, len(padded[0]), rate):
        for lane in range(17):
            start = at + 8 * lane
            words = b"".join([block[start : start + 8] for block in padded])
            state[lane] ^= int.from_bytes(words, "little")
        state = _permute(state, count)
    lanes = [lane.to_bytes(8 * count, "little") for lane in state[:4]]
    return [b"".join([lane[at : at + 8] for lane in lanes]) for at in range(0, 8 * count, 8)]


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it."""
    if data in _kept:
        return _kept[data]
    digest = _sponges([data])[0]
    if len(data) <= 65536:
        _kept[data] = digest
    return digest


def keccak_ahead(many: Iterable[bytes]) -> None:
    """Hash what `keccak` will be asked for, side by side: some fifty times as fast as one by one."""
    waiting: dict[int, list[bytes]] = {}
    for data in {data for data in many if len(data) <= 65536 and data not in _kept}:
        waiting.setdefault(len(data) // 136, []).append(data)
    for alike in waiting.values():
        # Few different numbers, as each has its constants.
        while alike:
            count = next(size for size in (256, 64, 8, 1) if size <= len(alike))
            some = [alike.pop() for _ in range(count)]
            _kept.update(zip(some, _sponges(some)))


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tagged(tag: str, document: Any) -> str:
    """SHA-256 of tag ‖ 00 ‖ canonical JSON, as text."""
    return hex0(sha256(tag.encode() + b"\0" + canonical(document)))


def hex0(raw: bytes) -> str:
    return "0x" + raw.hex()


# ---- Canonical JSON (RFC 8785; integers within ±(2^53 − 1)) ----------------------------------------


def canonical(value: Any) -> bytes:
    return _canonical(value).encode()


_ASTRAL = re.compile(b"[\xf0-\xff]")


def _written(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode("utf-8")


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        # RFC 8785 sorts keys by UTF-16 code units.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(_canonical(key) + ":" + _canonical(value[key]) for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 53:
        raise Fail("a number beyond 2^53 has no canonical form")
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """A float as ECMAScript writes it: the shortest digits that read back as the same value."""
    if value != value or value in (float("inf"), float("-inf")):
        raise Fail("JSON has no such number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, _, exponent = ("%r" % abs(value)).partition("e")
    whole, _, part = digits.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + part
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.strip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
    return "%s%se%+d" % (sign, mantissa, point - 1)


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def _depth(data: bytes) -> int:
    """How deep brackets nest outside texts; known before Python's reader recurses on its stack."""
    deepest = level = 0
    if data.count(b"[") + data.count(b"{") > 64:
        for bracket in _STRING.sub(b"", data).translate(None, _OTHERS):
            level += 1 if bracket in b"[{" else -1
            deepest = max(deepest, level)
    return deepest


def read_json(data: bytes, what: str) -> Any:
    """Strict JSON in canonical form, no key twice, at most 64 levels deep."""
    # Where Python's own writer, which is quick, writes the canonical form: whole numbers of 15 digits
    # at most, and no character that UTF-16 would sort elsewhere.
    plain = _ASTRAL.search(data) is None

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len({key for key, _ in pairs}) == len(pairs), what + " repeats a key")
        return dict(pairs)

    def short(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        def read(text: str) -> Any:
            nonlocal plain
            demand(len(text) <= 40, what + " holds a number too long")
            plain = plain and kind is int and len(text) <= 15
            return kind(text)

        return read

    def refuse(text: str) -> Any:
        raise Fail("%s holds %s" % (what, text))

    demand(_depth(data) <= 64, what + " nests too deeply")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_int=short(int),
            parse_float=short(float),
        )
        same = plain and _written(value) == data
        same = same or canonical(value) == data
    except (ValueError, RecursionError):
        raise Fail(what + " is not JSON") from None
    demand(same, what + " is not in canonical form")
    return value


# ---- Fields of documents -------------------------------------------------------------------------


def lenient_digest(text: Any) -> bytes:
    """32 bytes, with or without 0x, as ``bundle.json`` may first be read; step 2 wants one form."""
    digits = text[2:] if isinstance(text, str) and text.startswith("0x") else text
    if not isinstance(digits, str) or not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise Fail("a digest is not 0x and 64 hex digits")
    return bytes.fromhex(digits)


def digest(text: Any) -> bytes:
    demand(isinstance(text, str) and re.fullmatch("0x[0-9a-f]{64}", text), "a digest is malformed")
    return bytes.fromhex(text[2:])


def checksummed(raw: bytes) -> str:
    """An address with the checksum of EIP-55."""
    plain = raw.hex()
    mask = keccak(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(plain, mask))


def lenient_address(text: Any) -> bytes:
    digits = text[2:] if isinstance(text, str) and text.startswith("0x") else text
    if not isinstance(digits, str) or not re.fullmatch("[0-9a-fA-F]{40}", digits):
        raise Fail("an address is not 0x and 40 hex digits")
    raw = bytes.fromhex(digits)
    mixed = digits not in (digits.lower(), digits.upper())
    demand(not mixed or checksummed(raw)[2:] == digits, "an address has a wrong checksum")
    return raw


def address(text: Any) -> bytes:
    raw = lenient_address(text)
    demand(checksummed(raw) == text, "an address is not in its checksummed form")
    return raw


def data_of(text: Any, size: int | None = None) -> bytes:
    demand(
        isinstance(text, str) and re.fullmatch("0x(?:[0-9a-f]{2})*", text),
        "bytes are 0x and lower-case hex",
    )
    raw = bytes.fromhex(text[2:])
    demand(size is None or len(raw) == size, "bytes have another length")
    return raw


def quantity(text: Any) -> int:
    demand(
        isinstance(text, str)
        and len(text) <= 66
        and re.fullmatch("0x(?:0|[1-9a-f][0-9a-f]*)", text),
        "a number is 0x and hex without leading zeros",
    )
    return int(text, 16)


def natural(value: Any, least: int = 0, most: int = (1 << 53) - 1) -> int:
    demand(type(value) is int and least <= value <= most, "a number is out of range")
    return int(value)


def text_of(value: Any, most: int = 4096) -> str:
    demand(isinstance(value, str) and len(value) <= most, "a text is missing or too long")
    return str(value)


def list_of(value: Any, most: int = 256) -> list[Any]:
    demand(isinstance(value, list) and len(value) <= most, "a list is missing or too long")
    return list(value)


def object_of(value: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    demand(isinstance(value, dict), "an object is missing")
    demand(names is None or set(value) == set(names), "an object has other members")
    return dict(value)


def license_number(text: Any) -> int:
    found = re.fullmatch("(0|[1-9][0-9]{0,9})\\.(0|[1-9][0-9]{0,9})", text_of(text, 24))
    demand(found, "a license is written PLAN.SERIAL")
    assert found is not None
    plan, serial = int(found[1]), int(found[2])
    demand(max(plan, serial) < 1 << 32, "a license is written PLAN.SERIAL")
    return plan << 32 | serial


def license_text(number: int) -> str:
    return "%d.%d" % (number >> 32, number & 0xFFFFFFFF)


# ---- RLP and Merkle–Patricia proofs (Yellow Paper, appendices B and D) -----------------------------


def rlp(data: bytes) -> Any:
    """Bytes or nested lists; only the shortest encoding, nothing after the end."""
    value, end = _rlp_item(data, 0, 0)
    demand(end == len(data), "RLP has bytes after its end")
    return value


def _rlp_item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    demand(at < len(data) and depth <= 64, "RLP is cut off or nested too deeply")
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    base = 0x80 if first < 0xC0 else 0xC0
    size, start = first - base, at + 1
    if size > 55:
        width = size - 55
        raw = data[start : start + width]
        demand(len(raw) == width and raw[0], "an RLP length is malformed")
        size, start = int.from_bytes(raw, "big"), start + width
        demand(size > 55, "an RLP length is not the shortest")
    end = start + size
    demand(end <= len(data), "RLP is cut off")
    if base == 0x80:
        demand(size != 1 or data[start] >= 0x80, "an RLP byte is not the shortest")
        return data[start:end], end
    items = []
    while start < end:
        item, start = _rlp_item(data, start, depth + 1)
        items.append(item)
    demand(start == end, "an RLP list is cut off")
    return items, end


def rlp_encode(value: Any) -> bytes:
    if isinstance(value, bytes):
        if len(value) == 1 and value[0] < 0x80:
            return value
        return _rlp_head(0x80, len(value)) + value
    body = b"".join(map(rlp_encode, value))
    return _rlp_head(0xC0, len(body)) + body


def _rlp_head(base: int, size: int) -> bytes:
    if size <= 55:
        return bytes([base + size])
    raw = shortest(size)
    return bytes([base + 55 + len(raw)]) + raw


def shortest(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


_EMPTY_ROOT = keccak(b"\x80")


def prove(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes:
    """The value at `key` under `root`; empty if the nodes prove that there is none."""
    demand(len(nodes) <= 65 and all(len(node) <= 1 << 20 for node in nodes), "a proof is too long")
    known = {keccak(node): node for node in nodes}
    used: set[bytes] = set()
    path = [nibble for byte in key for nibble in (byte >> 4, byte & 15)]
    node: Any = b"" if root == _EMPTY_ROOT else root
    value = b""
    while node:
        if isinstance(node, bytes):
            demand(node in known, "the proof does not lead from its root")
            demand(not used or len(known[node]) >= 32, "a proof node is malformed")
            used.add(node)
            raw = known[node]
            node = trie_node(raw) if len(raw) <= 1024 else trie_node.__wrapped__(raw)
        if len(node) == 17:
            if not path:
                value = node[16]
                break
            node, path = node[path[0]], path[1:]
            continue
        part, leaf = node_path(node[0])
        if leaf:
            value = node[1] if path == part else b""
            break
        if path[: len(part)] != part:
            break
        node, path = node[1], path[len(part) :]
    demand(len(used) == len(nodes), "the proof carries nodes off its path")
    return bytes(value)


@functools.lru_cache(4096)
def trie_node(raw: bytes) -> Any:
    """A node of a trie, read and checked; the upper ones stand in every proof. Never changed."""
    node = rlp(raw)
    check_node(node)
    return node


def node_path(raw: bytes) -> tuple[list[int], bool]:
    """The nibbles of a path in hex-prefix encoding, and whether it ends in a leaf."""
    flag = raw[0] >> 4
    nibbles = [nibble for byte in raw for nibble in (byte >> 4, byte & 15)]
    return nibbles[2 - (flag & 1) :], bool(flag & 2)


def check_node(node: Any) -> None:
    """A node has the shape that nodes of tries have, and so has all that stands within it."""
    said = "a proof node is malformed"
    demand(isinstance(node, list) and len(node) in (2, 17), said)
    children = node[:16]
    if len(node) == 17:
        demand(isinstance(node[16], bytes), said)
    else:
        raw, last = node
        demand(isinstance(raw, bytes) and raw and raw[0] < 0x40, said)
        demand(raw[0] & 0x10 or not raw[0] & 15, said)
        part, leaf = node_path(raw)
        children = [] if leaf else [last]
        if leaf:
            demand(isinstance(last, bytes) and last, said)
        else:
            demand(part and last != b"" and (isinstance(last, bytes) or len(last) == 17), said)
    for child in children:
        if isinstance(child, list):
            demand(len(rlp_encode(child)) < 32, said)
            check_node(child)
        else:
            demand(len(child) in (0, 32), said)


# ---- Merkle trees (docs/spec/merkle.md): T1 over SHA-256, T2 over Keccak-256 -----------------------


def tree_root(leaves: list[bytes]) -> bytes:
    """The T1 root."""
    level = leaves
    while len(level) > 1:
        paired = [sha256(b"\1" + level[at] + level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + (level[-1:] if len(level) & 1 else [])
    return level[0] if level else sha256(b"")


def tree_path(
    hashed: Callable[[bytes], bytes],
    leaf: bytes,
    index: int,
    size: int,
    path: Sequence[bytes],
    root: bytes,
) -> None:
    """RFC 9162, 2.1.3.2: the leaf stands at `index` of `size` under `root`."""
    demand(0 <= index < size and len(path) <= 64, "an inclusion path has no such place")
    place, last, running = index, size - 1, leaf
    for sibling in path:
        demand(last, "an inclusion path is too long")
        if place & 1 or place == last:
            running = hashed(b"\1" + sibling + running)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            running = hashed(b"\1" + running + sibling)
        place, last = place >> 1, last >> 1
    demand(last == 0 and running == root, "an inclusion path leads to another root")


# ---- Elliptic curves in plain integers (SEC 1) -----------------------------------------------------


class Curve:
    """y² = x³ + ax + b over p, with a generator of prime order n."""

    def __init__(self, p: int, a: int, b: int, x: int, y: int, n: int) -> None:
        self.p, self.a, self.b, self.g, self.n = p, a, b, (x, y), n

    def on(self, point: tuple[int, int]) -> bool:
        x, y = point
        inside = 0 <= x < self.p and 0 <= y < self.p
        return inside and (y * y - x * x * x - self.a * x - self.b) % self.p == 0

    def double(self, point: tuple[int, int, int]) -> tuple[int, int, int]:
        x, y, z = point
        if not y or not z:
            return 1, 1, 0
        p = self.p
        s = 4 * x * y * y % p
        m = (3 * x * x + self.a * pow(z, 4, p)) % p
        u = (m * m - 2 * s) % p
        return u, (m * (s - u) - 8 * pow(y, 4, p)) % p, 2 * y * z % p

    def add(self, one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
        if not one[2]:
            return other
        if not other[2]:
            return one
        p = self.p
        (x1, y1, z1), (x2, y2, z2) = one, other
        q1, q2 = z1 * z1 % p, z2 * z2 % p
        u1, u2 = x1 * q2 % p, x2 * q1 % p
        s1, s2 = y1 * q2 * z2 % p, y2 * q1 * z1 % p
        h, r = (u2 - u1) % p, (s2 - s1) % p
        if not h:
            return self.double(one) if not r else (1, 1, 0)
        h2 = h * h % p
        h3, v = h * h2 % p, u1 * h2 % p
        x = (r * r - h3 - 2 * v) % p
        return x, (r * (v - x) - s1 * h3) % p, h * z1 * z2 % p

    def sum(
        self, k: int, point: tuple[int, int], m: int, other: tuple[int, int]
    ) -> tuple[int, int] | None:
        """k·point + m·other; None at infinity."""
        first, second = (point[0], point[1], 1), (other[0], other[1], 1)
        both = self.add(first, second)
        total = (1, 1, 0)
        for bit in range(max(k.bit_length(), m.bit_length()) - 1, -1, -1):
            total = self.double(total)
            chosen = (k >> bit & 1, m >> bit & 1)
            if chosen != (0, 0):
                total = self.add(total, {(1, 0): first, (0, 1): second, (1, 1): both}[chosen])
        if not total[2]:
            return None
        inverse = pow(total[2], self.p - 2, self.p)
        return total[0] * inverse**2 % self.p, total[1] * inverse**3 % self.p


_SECP256K1 = Curve(
    (1 << 256) - (1 << 32) - 977,
    0,
    7,
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
)
# FIPS 186-4, D.1.2: by the object identifier of the curve.
_P256 = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
_P384 = (1 << 384) - (1 << 128) - (1 << 96) + (1 << 32) - 1
_P521 = (1 << 521) - 1
_NIST = {
    "1.2.840.10045.3.1.7": Curve(
        _P256,
        -3,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    "1.3.132.0.34": Curve(
        _P384,
        -3,
        int(
            "B3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875A"
            "C656398D8A2ED19D2A85C8EDD3EC2AEF",
            16,
        ),
        int(
            "AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A38"
            "5502F25DBF55296C3A545E3872760AB7",
            16,
        ),
        int(
            "3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C0"
            "0A60B1CE1D7E819D7A431D7C90EA0E5F",
            16,
        ),
        int(
            "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF"
            "581A0DB248B0A77AECEC196ACCC52973",
            16,
        ),
    ),
    "1.3.132.0.35": Curve(
        _P521,
        -3,
        int(
            "0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF1"
            "09E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B50"
            "3F00",
            16,
        ),
        int(
            "00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D"
            "3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5"
            "BD66",
            16,
        ),
        int(
            "011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E"
            "662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD1"
            "6650",
            16,
        ),
        int(
            "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
            "FFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E9138"
            "6409",
            16,
        ),
    ),
}


class Fixed:
    """A point whose multiples are made from a table: k·point in additions alone."""

    def __init__(self, curve: Curve, point: tuple[int, int]) -> None:
        self.curve, rows = curve, []
        base = (point[0], point[1], 1)
        for _ in range(64):
            row = [base]
            for _ in range(14):
                row.append(curve.add(row[-1], base))
            rows.append(row)
            base = curve.add(row[-1], base)
        self.rows = rows

    def times(self, k: int) -> tuple[int, int, int]:
        total = (1, 1, 0)
        for row in self.rows:
            if k & 15:
                total = self.curve.add(total, row[(k & 15) - 1])
            k >>= 4
        return total


_fixed: dict[bytes, Fixed] = {}
_keys: dict[bytes, tuple[int, int]] = {}


def _made_by(signer: bytes, hashed: int, r: int, s: int, odd: int) -> bool:
    """Whether the known key of an account made a signature: quicker than recovering it anew."""
    curve = _SECP256K1
    if signer not in _fixed:
        if len(_fixed) >= 16 or signer not in _keys:
            return False
        _fixed[signer] = Fixed(curve, _keys[signer])
        _fixed.setdefault(b"", Fixed(curve, curve.g))
    inverse = pow(s, curve.n - 2, curve.n)
    x, y, z = curve.add(
        _fixed[b""].times(hashed * inverse % curve.n), _fixed[signer].times(r * inverse % curve.n)
    )
    if not z:
        return False
    inverse = pow(z, curve.p - 2, curve.p)
    return x * inverse**2 % curve.p == r and y * inverse**3 % curve.p & 1 == odd


def recover(message: bytes, signature: bytes, likely: bytes = b"") -> bytes:
    """The account whose key made a 65-byte signature r ‖ s ‖ v of a digest (SEC 1, 4.1.6).

    `likely` is an account that probably did, whose key is known from the second time on.
    """
    curve = _SECP256K1
    demand(len(signature) == 65, "a wallet signature has 65 bytes")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    v = signature[64] - 27 if signature[64] >= 27 else signature[64]
    demand(v in (0, 1) and s <= curve.n // 2, "a wallet signature is malleable or has a wrong v")
    demand(0 < r < curve.n and s, "a signature belongs to no key")
    hashed = int.from_bytes(message, "big")
    if likely and _made_by(likely, hashed, r, s, v):
        return likely
    square = (pow(r, 3, curve.p) + 7) % curve.p
    y = pow(square, (curve.p + 1) // 4, curve.p)
    demand(y * y % curve.p == square, "a signature belongs to no key")
    if y & 1 != v:
        y = curve.p - y
    inverse = pow(r, curve.n - 2, curve.n)
    key = curve.sum(s * inverse % curve.n, (r, y), -hashed * inverse % curve.n, curve.g)
    demand(key is not None, "a signature belongs to no key")
    assert key is not None
    account = keccak(key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big"))[12:]
    if account == likely:
        _keys[account] = key
    return account


# ---- The file ------------------------------------------------------------------------------------

MAX_ARCHIVE, MAX_MEMBER, MAX_MEMBERS = 256 << 20, 64 << 20, 10_000
MAX_JSON_PARTS = 4_000_000
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/){0,3}[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_MEMBER = re.compile(
    r"README\.txt|(?:bundle|claim|manifest|fingerprint|commitment|sealing|licenses|custody|report)"
    r"\.json|report\.txt|headers/(?:0|[1-9][0-9]{0,17})\.rlp"
    r"|(?:state|code)/[A-Za-z]{1,40}\.(?:json|bin)"
    r"|receipts/[0-9]{1,18}-[0-9]{1,9}\.json|(?:tensors|terms)/[0-9a-f]{64}\.json"
    r"|cards/[0-9]{1,10}\.[0-9]{1,10}\.json|releases/[1-9][0-9]{0,8}\.json|match\.json"
    r"|timestamps/(?:[1-9][0-9]{0,2}\.(?:tsr|pem|crl)|bitcoin\.ots|[1-9][0-9]{0,8}\.header)"
    r"|verify\.(?:py|html)|(?:summary|report)\.pdf|report\.html|certification\.txt"
)
_WITHHOLDABLE = re.compile(r"fingerprint\.json|match\.json|(?:tensors|cards|terms|releases)/.+")
_COPIES = (
    *("summary.pdf", "report.pdf", "report.html", "certification.txt"),
    *("verify.py", "verify.html"),
)
_BESIDE = {"bundle.json", "README.txt", "custody.json", "report.json", "report.txt", *_COPIES}
_KINDS = {"model": "", "license": "license", "release": "release", "match": "suspect"}


def unzip(data: bytes) -> tuple[dict[str, bytes], list[str]]:
    """The members of a bundle file and the names of those whose checksum is wrong.

    The file is written anew from what was read and must be the same: there is one form.
    """
    if len(data) > MAX_ARCHIVE:
        raise BadForm("a bundle has at most %d bytes" % MAX_ARCHIVE, "LIMIT_EXCEEDED")
    if data[:4] != b"PK\x03\x04" or data[-22:-18] != b"PK\x05\x06":
        raise BadForm("this is not an evidence bundle, or it is cut off")
    count, at = struct.unpack("<H", data[-12:-10])[0], struct.unpack("<I", data[-6:-2])[0]
    if count > MAX_MEMBERS:
        raise BadForm("a bundle has at most %d members" % MAX_MEMBERS, "LIMIT_EXCEEDED")
    members: dict[str, bytes] = {}
    damaged: list[str] = []
    body: list[bytes] = []
    directory: list[bytes] = []
    total = 0
    offset, last = 0, ""
    for _ in range(count):
        head = data[at : at + 46]
        if len(head) != 46:
            raise BadForm("the archive's directory is cut off")
        flags, method = struct.unpack("<HH", head[8:12])
        crc, packed, size, length = struct.unpack("<IIIH", head[16:30])
        start = struct.unpack("<I", head[42:46])[0]
        name = data[at + 46 : at + 46 + length].decode("latin-1")
        if flags & 1 or method or packed != size:
            raise BadForm("the archive is encrypted or compressed; a bundle never is")
        if size > MAX_MEMBER:
            raise BadForm("a member has at most %d bytes" % MAX_MEMBER, "LIMIT_EXCEEDED")
        if not _NAME.fullmatch(name) or name <= last:
            raise BadForm("a member's name is malformed, repeats or is out of order")
        content = data[start + 30 + length : start + 30 + length + size]
        total += len(content)
        if total > len(data):
            raise BadForm("the archive's members overlap")
        members[name], last = content, name
        if zlib.crc32(content) != crc:
            damaged.append(name)
        sizes = (crc, len(content), len(content), length, 0)
        shared = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0x21, *sizes)
        raw = name.encode("latin-1")
        directory.append(b"PK\x01\x02" + struct.pack("<H", 3 << 8 | 20) + shared)
        directory.append(struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, offset) + raw)
        body.append(b"PK\x03\x04" + shared + raw)
        body.append(content)
        offset += 30 + length + size
        at += 46 + length
    listing = b"".join(directory)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(listing), offset & 0xFFFFFFFF, 0)
    if b"".join(body) + listing + b"PK\x05\x06" + end != data:
        raise BadForm("the archive has bytes outside its members, or another form")
    return members, damaged


class Case:
    """What has been established so far. A field is set by the step that proves it, not before."""

    def __init__(self, trust: dict[str, Any]) -> None:
        self.trust = trust
        self.members: dict[str, bytes] = {}
        self.damaged: list[str] = []
        self.index: dict[str, Any] = {}
        self.contracts: dict[str, tuple[bytes, bytes]] = {}
        self.chain, self.state_block, self.kind = 0, 0, ""
        self.genesis = self.model = self.state_hash = b""
        self.withheld: list[str] = []
        self.runs: list[list[dict[str, Any]]] = []
        self.headers: dict[int, dict[str, Any]] = {}
        self.words: dict[str, dict[int, int]] = {}
        self.events: list[dict[str, Any]] = []
        self.claim: dict[str, Any] | None = None
        self.named = ""
        self.title: dict[str, Any] | None = None
        self.history: dict[str, Any] | None = None
        self.commitment: dict[str, Any] | None = None
        self.sealed: list[dict[str, Any]] = []
        self.licenses: list[dict[str, Any]] = []
        self.rivals: list[dict[str, Any]] = []
        self.releases: list[dict[str, Any]] | None = None
        self.match: dict[str, Any] | None = None
        self.stamps: dict[str, Any] | None = None

    def member(self, name: str) -> bytes:
        demand(name in self.members, "the bundle has no " + name)
        return self.members[name]

    def json(self, name: str) -> Any:
        return read_json(self.member(name), name)

    def folder(self, name: str) -> list[str]:
        return [key for key in self.members if key.startswith(name + "/")]

    def contract(self, name: str) -> bytes:
        demand(name in self.contracts, "the bundle names no %s contract" % name)
        return self.contracts[name][0]

    def top(self) -> dict[str, Any]:
        return dict(need(self.runs[-1][-1] if self.runs else None, "the block headers"))

    def word(self, contract: str, slot: int, what: str) -> int:
        if contract not in self.words:
            raise NotChecked("the state of %s was not proven" % contract)
        demand(slot in self.words[contract], "the bundle does not prove " + what)
        return self.words[contract][slot]

    def named_events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["name"] == name]


def need(value: Any, what: str) -> Any:
    if value is None:
        raise NotChecked(what + " could not be established")
    return value


def subject_of(case: Case) -> dict[str, Any]:
    """The part of ``bundle.json`` that says what the bundle is about, in its one form."""
    key = _KINDS[case.kind]
    return {
        "kind": case.kind,
        "software": case.index["software"],
        "chain": {"id": case.chain, "genesis": hex0(case.genesis)},
        "model": hex0(case.model),
        "state": {"block": case.state_block, "hash": hex0(case.state_hash)},
        "contracts": {
            name: {"address": checksummed(at), "code_hash": hex0(code)}
            for name, (at, code) in case.contracts.items()
        },
        **({key: case.index[key]} if key else {}),
    }


def listing_of(case: Case, evidence_alone: bool) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of every member; withheld ones as ``bundle.json`` lists them."""
    entries = {
        name: {"name": name, "size": len(data), "sha256": hex0(sha256(data))}
        for name, data in case.members.items()
        if name != "bundle.json"
    }
    for listed in case.index["members"]:
        if listed["name"] in case.withheld and listed["name"] not in entries:
            stated = hex0(lenient_digest(listed["sha256"]))
            entry = {"name": listed["name"], "size": listed["size"], "sha256": stated}
            entries[listed["name"]] = entry if evidence_alone else {**entry, "withheld": True}
    return [
        entries[name]
        for name in sorted(entries)
        if not (evidence_alone and (name in _BESIDE or name.startswith("timestamps/")))
    ]


def contents_of(case: Case) -> bytes:
    document = {**subject_of(case), "members": listing_of(case, evidence_alone=True)}
    return sha256(b"modeldeed/bundle-contents/1\0" + canonical(document))


def step_form(case: Case, data: bytes) -> str:
    """(1) The file has the form above."""
    case.members, case.damaged = unzip(data)
    texts = [content for name, content in case.members.items() if name.endswith(".json")]
    if sum(text.count(mark) for text in texts for mark in (b",", b"[", b"{")) > MAX_JSON_PARTS:
        said = "the JSON has at most %d commas and opening brackets" % MAX_JSON_PARTS
        raise BadForm(said, "LIMIT_EXCEEDED")
    if "bundle.json" not in case.members:
        raise BadForm("there is no bundle.json: this zip file is not an evidence bundle")
    try:
        index = object_of(read_json(case.members["bundle.json"], "bundle.json"))
        demand(index.get("format") == "modeldeed evidence bundle", "bundle.json is another index")
    except Fail as error:
        raise BadForm(str(error)) from None
    if index.get("version") != 1:
        raise BadForm("this version of the format is not read", "UNSUPPORTED_VERSION")
    for name in case.members:
        if not _MEMBER.fullmatch(name):
            raise BadForm(name + " is not a member of a version 1 bundle")
    try:
        case.index = index
        case.chain, case.state_block = index["chain"]["id"], index["state"]["block"]
        natural(case.chain), natural(case.state_block)
        case.kind = index["kind"]
        demand(case.kind in _KINDS and type(index["software"]) is str, "of another kind")
        case.genesis = lenient_digest(index["chain"]["genesis"])
        case.model = lenient_digest(index["model"])
        case.state_hash = lenient_digest(index["state"]["hash"])
        for name, of in sorted(index["contracts"].items()):
            at, code = lenient_address(of["address"]), lenient_digest(of["code_hash"])
            case.contracts[name] = (at, code)
        if _KINDS[case.kind]:
            _check_about(case.kind, index[_KINDS[case.kind]])
        listed = {
            entry["name"]: (entry["size"], lenient_digest(entry["sha256"]))
            for entry in index["members"]
        }
        case.withheld = sorted(
            {entry["name"] for entry in index["members"] if entry.get("withheld") is True}
        )
        lenient_digest(index["contents"]), lenient_digest(index["id"])
        demand(
            all(type(name) is str and type(of[0]) is int for name, of in listed.items()),
            "the members are not listed",
        )
    except (Fail, KeyError, TypeError, AttributeError) as error:
        raise BadForm("bundle.json does not describe evidence: %s" % error) from None
    return "%d members, and no byte beside them" % len(case.members)


def _check_about(kind: str, value: Any) -> None:
    if kind == "license":
        license_number(value)
    elif kind == "release":
        object_of(value, ("license", "receipt"))
        license_number(value["license"]), digest(value["receipt"])
    else:
        object_of(value, ("sha256", "size", "name"))
        digest(value["sha256"]), natural(value["size"])
        name = text_of(value["name"], 200)
        demand(name and is_plain(name), "the suspect has no name")


def step_contents(case: Case) -> str:
    """(2) Every member is the listed one; bundle.json is exactly the index these members make."""
    listed = {entry["name"]: entry for entry in case.index["members"]}
    for name in case.withheld:
        demand(
            isinstance(name, str) and _MEMBER.fullmatch(name) and _WITHHOLDABLE.fullmatch(name),
            "%s may not be withheld" % name,
        )
        demand(name not in case.members, "%s is here and said to be withheld" % name)
    here = set(case.members) - {"bundle.json"}
    for name in sorted(here | set(listed), key=str):
        demand(name in here or name in case.withheld, "%s is listed and missing" % name)
        demand(name in listed, "%s is here and not listed" % name)
    demand(not case.damaged, "%s was altered" % ", ".join(case.damaged))
    for name in sorted(here):
        same = listed[name]["size"] == len(case.members[name])
        same = same and lenient_digest(listed[name]["sha256"]) == sha256(case.members[name])
        demand(same, name + " was altered")
    index = {
        "format": "modeldeed evidence bundle",
        "version": 1,
        **subject_of(case),
        "members": listing_of(case, evidence_alone=False),
        "contents": hex0(contents_of(case)),
    }
    index["id"] = tagged("modeldeed/bundle/1", index)
    demand(canonical(index) == case.members["bundle.json"], "bundle.json was altered")
    demand(case.member("README.txt") == README.encode(), "README.txt is another text")
    for name in here:
        if name.endswith(".json"):
            case.json(name)
    said = "%d members, bundle %s" % (len(here), index["id"])
    return said + ("; withheld: " + ", ".join(case.withheld) if case.withheld else "")


def step_headers(case: Case) -> str:
    """(3) Each raw header parses, has the number in its name and names the one before."""
    headers = []
    for name in case.folder("headers"):
        raw = case.members[name]
        demand(len(raw) <= 8 << 10, "a header is too long")
        fields = rlp(raw)
        demand(isinstance(fields, list) and len(fields) >= 15, "a header lacks fields")
        demand(all(isinstance(field, bytes) for field in fields), "a header has another form")
        demand(all(len(fields[i]) == 32 for i in (0, 3, 4, 5, 13)), "a header has another form")
        for i in (8, 11):
            demand(len(fields[i]) <= 8 and fields[i][:1] != b"\0", "a header's number is malformed")
        header = {
            "hash": keccak(raw),
            "parent": fields[0],
            "state": fields[3],
            "transactions": fields[4],
            "receipts": fields[5],
            "number": int.from_bytes(fields[8], "big"),
            "time": int.from_bytes(fields[11], "big"),
        }
        demand(name == "headers/%d.rlp" % header["number"], name + " is another block")
        headers.append(header)
    demand(headers, "there is no block header")
    headers.sort(key=lambda header: header["number"])
    runs: list[list[dict[str, Any]]] = []
    for header in headers:
        if runs and header["number"] == runs[-1][-1]["number"] + 1:
            linked = header["parent"] == runs[-1][-1]["hash"]
            demand(linked, "block %d does not name the one before" % header["number"])
            runs[-1].append(header)
        else:
            runs.append([header])
    top = headers[-1]
    demand(
        (top["number"], top["hash"]) == (case.state_block, case.state_hash),
        "the newest header is not the block that this bundle names",
    )
    first = headers[0]
    demand(first["number"] or first["hash"] == case.genesis, "block 0 is another genesis")
    case.runs, case.headers = runs, {header["number"]: header for header in headers}
    return "%d headers in %d unbroken runs up to block %d %s" % (
        *(len(headers), len(runs), top["number"]),
        hex0(top["hash"]),
    )


def unvouched(case: Case) -> list[dict[str, Any]]:
    return [run[-1] for run in case.runs if run[-1]["hash"] not in case.trust["blocks"]]


def step_trust(case: Case) -> str:
    """(4) The hash of the newest header is among those given, and so is that of every run's."""
    top = case.top()
    for name, at in case.trust["contracts"].items():
        demand(case.contract(name) == at, name + " is elsewhere in this bundle")
    named = "block %d %s" % (top["number"], hex0(top["hash"]))
    loose = ["%d %s" % (of["number"], hex0(of["hash"])) for of in unvouched(case)]
    taken = "these blocks are taken from the bundle"
    if not case.trust["blocks"] and len(loose) > 1:
        obtain = "; obtain their hashes elsewhere and compare: "
        raise NotChecked(taken + obtain + ", ".join(loose))
    if not case.trust["blocks"]:
        raise NotChecked(named + " is taken from the bundle; obtain its hash elsewhere and compare")
    demand(top["hash"] in case.trust["blocks"], "you named other blocks, and not " + named)
    if loose:
        raise NotChecked(taken + ": " + ", ".join(loose))
    return named + " is one that you named"


def account_of(case: Case, name: str) -> tuple[dict[str, Any], Any]:
    """A state proof member and the account (nonce, balance, storage root, code hash) it proves."""
    fields = ("address", "nonce", "balance", "codeHash", "storageHash", "accountProof")
    proof = object_of(case.json("state/%s.json" % name), (*fields, "storageProof"))
    for field in ("nonce", "balance"):
        quantity(proof[field])
    digest(proof["codeHash"]), digest(proof["storageHash"])
    slots = []
    for slot in list_of(proof["storageProof"], 10_000):
        object_of(slot, ("key", "value", "proof"))
        slots.append((data_of(slot["key"], 32), quantity(slot["value"]), nodes_of(slot["proof"])))
    at, nodes = address(proof["address"]), nodes_of(proof["accountProof"])
    leaf = prove(case.top()["state"], keccak(case.contracts[name][0]), nodes)
    demand(leaf, "there is no account of %s in this state" % name)
    account = rlp(leaf)
    demand(
        isinstance(account, list)
        and len(account) == 4
        and all(isinstance(field, bytes) for field in account)
        and len(account[2]) == len(account[3]) == 32,
        name + " has no account's fields",
    )
    return {**proof, "at": at, "slots": slots}, account


def nodes_of(value: Any) -> list[bytes]:
    return [data_of(node) for node in list_of(value, 65)]


def create2(init_code_hash: bytes) -> bytes:
    """Where the deterministic factory puts a contract (EIP-1014)."""
    return keccak(b"\xff" + _FACTORY + _SALT + init_code_hash)[12:]


_FACTORY = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
_SALT = keccak(b"modeldeed/deployment/1")
_READS = {"ModelRegistry": "Anchors", "LicenseLedger": "ModelRegistry"}
_HELPERS = {"LicenseLedger": ("LicenseRenderer", "LicenseExtension")}
_DOMAINS = {
    "ModelRegistry": "modeldeed ModelRegistry",
    "LicenseLedger": "modeldeed LicenseLedger",
}


def word_of(raw: bytes) -> bytes:
    return raw.rjust(32, b"\0")


def domain_separator(name: str, chain: int, at: bytes) -> bytes:
    """EIP-712."""
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    words = (keccak(kind), keccak(name.encode()), keccak(b"1"), chain.to_bytes(32, "big"))
    return keccak(b"".join(words) + word_of(at))


def step_contracts(case: Case) -> str:
    """(5) Each account is proved, its code is a released one, wired as here, and began as ours."""
    case.top()
    unknown, foreign = [], []
    for name, (at, code_hash) in case.contracts.items():
        proof, account = account_of(case, name)
        demand(proof["at"] == at, name + " is proved at another address")
        shown = (quantity(proof["nonce"]), quantity(proof["balance"]))
        numbers = (int.from_bytes(account[0], "big"), int.from_bytes(account[1], "big"))
        same = shown == numbers and digest(proof["storageHash"]) == account[2]
        demand(same and digest(proof["codeHash"]) == account[3], name + "'s account differs")
        code = case.member("code/%s.bin" % name)
        demand(keccak(code) == code_hash == account[3], name + " has another code than shown")
        home = _released_at(case, name, at, code)
        if home is None:
            unknown.append(name)
        elif home != at and case.trust["contracts"].get(name) != at:
            foreign.append(name)
    if unknown:
        raise NotChecked("the code of %s is none that this verifier knows" % ", ".join(unknown))
    if foreign:
        raise NotChecked(
            "%s: code of modeldeed at an address that does not show who filled its storage first; "
            "if you know from elsewhere that the address is modeldeed's, name it with --contract"
            % ", ".join(foreign)
        )
    return "%s: modeldeed's code, from its creation on" % ", ".join(case.contracts)


def _released_at(case: Case, name: str, at: bytes, code: bytes) -> bytes | None:
    """The address of the release that this code is; None if it is none."""
    matching = []
    for release in RELEASES:
        if release["contract"] != name or release["size"] != len(code):
            continue
        masked = bytearray(code)
        for start, length in release["immutables"]:
            masked[start : start + length] = bytes(length)
        if keccak(bytes(masked)).hex() == release["masked_hash"]:
            matching.append((create2(bytes.fromhex(release["init_code_hash"])), release))
    if not matching:
        return None
    matching.sort(key=lambda one: one[0] != at)
    home, release = matching[0]
    values = {code[start : start + length] for start, length in release["immutables"]}
    allowed = set()
    if name in _READS:
        read = word_of(case.contract(_READS[name]))
        demand(read in values, "%s reads another %s" % (name, _READS[name]))
        allowed.add(read)
    if name == "ModelRegistry":
        allowed.add(word_of(case.contract("LicenseLedger")))
    for helper in _HELPERS.get(name, ()):
        ours = {
            word_of(create2(bytes.fromhex(one["init_code_hash"])))
            for one in RELEASES
            if one["contract"] == helper
        }
        demand(ours & values, "%s hands work to another %s" % (name, helper))
        allowed |= ours
    if name in _DOMAINS:
        domain = _DOMAINS[name]
        allowed |= {word_of(at), case.chain.to_bytes(32, "big"), keccak(domain.encode())}
        allowed |= {keccak(b"1"), domain_separator(domain, case.chain, at)}
    demand(values <= allowed, name + " was deployed for another chain, address or setting")
    return home


def step_storage(case: Case) -> str:
    """(6) Each storage proof leads from the account's storage root to the value shown."""
    case.top()
    words: dict[str, dict[int, int]] = {}
    for name in case.contracts:
        proof, account = account_of(case, name)
        held = words.setdefault(name, {})
        keccak_ahead(key for key, _, _ in proof["slots"])
        keccak_ahead(node for _, _, nodes in proof["slots"] for node in nodes)
        for key, shown, nodes in proof["slots"]:
            leaf = prove(account[2], keccak(key), nodes)
            raw = rlp(leaf) if leaf else b""
            plain = isinstance(raw, bytes) and len(raw) <= 32 and raw[:1] != b"\0"
            demand(plain, name + " holds something that is no word")
            value = int.from_bytes(raw, "big")
            demand(value == shown, name + " holds another word than shown")
            held[int.from_bytes(key, "big")] = value
    case.words = words
    return "%d words of storage at block %d" % (
        sum(map(len, words.values())),
        case.top()["number"],
    )


_EVENTS = """
Anchors RootAnchored(bytes32 indexed root, address indexed sender)
ModelRegistry ModelRegistered(bytes32 indexed modelId, address indexed licensor, bytes32 indexed artifactRoot, bytes32 fingerprintDigest, bytes32 watermarkCommitment, bytes32 manifestHash, uint40 registeredAt, uint40 committedAt)
ModelRegistry CommitmentProven(bytes32 indexed modelId, uint40 committedAt)
ModelRegistry ParentDeclared(bytes32 indexed modelId, bytes32 indexed parent)
ModelRegistry ParentConfirmed(bytes32 indexed modelId, bytes32 indexed parent, address indexed by)
ModelRegistry TitleTransferred(bytes32 indexed modelId, address indexed from, address indexed to, uint64 sequence)
ModelRegistry ModelStatusSet(bytes32 indexed modelId, uint8 status)
ModelRegistry RecordLodged(bytes32 indexed modelId, uint16 indexed kind, address indexed sender, uint64 epoch, bytes32 recordHash)
LicenseLedger PlanCreated(uint32 indexed planId, address indexed licensor, bytes32 indexed modelId, bytes32 termsHash, bytes32 planDigest)
LicenseLedger PlanLicensorSynced(uint32 indexed planId, address indexed from, address indexed to, uint32 roleEpoch)
LicenseLedger LicenseIssued(uint256 indexed licenseId, uint32 indexed planId, address indexed to, uint40 notBefore, uint40 notAfter)
LicenseLedger LicenseRenewed(uint256 indexed licenseId, uint40 notAfter)
LicenseLedger LicenseSuspended(uint256 indexed licenseId, bytes32 reason)
LicenseLedger LicenseReinstated(uint256 indexed licenseId, bytes32 reason)
LicenseLedger LicenseRevoked(uint256 indexed licenseId, address indexed by, uint40 effectiveAt, bytes32 reason)
LicenseLedger Transfer(address indexed from, address indexed to, uint256 indexed id)
BrokerRegistry BrokerKeysSet(uint64 indexed brokerId, uint32 indexed epoch, bytes32 signingKeyHash, bytes32 kemKeyHash, bytes32 urlHash, string url)
BrokerRegistry ReceiptsAnchored(uint64 indexed brokerId, uint64 indexed seq, bytes32 prevRoot, bytes32 root, uint64 count)
"""  # each as Solidity declares it
_BY_TOPIC: dict[tuple[str, bytes], tuple[str, list[list[str]]]] = {}


def _prepare_events() -> None:
    for line in _EVENTS.strip().splitlines():
        contract, _, declared = line.partition(" ")
        name, _, arguments = declared.rstrip(")").partition("(")
        inputs = [argument.split() for argument in arguments.split(", ")]
        signature = "%s(%s)" % (name, ",".join(words[0] for words in inputs))
        _BY_TOPIC[contract, keccak(signature.encode())] = (name, inputs)


_prepare_events()


def event_of(contract: str, topics: list[bytes], data: bytes) -> dict[str, Any] | None:
    """Name and arguments of one of our events; None for another one."""
    found = _BY_TOPIC.get((contract, topics[0])) if topics else None
    if found is None:
        return None
    name, declared = found
    # A text at the end is not read (its hash stands before it): place, length, what it has.
    inputs = [words for words in declared if words[0] != "string"]
    indexed = sum("indexed" in words for words in inputs)
    size = 32 * (len(inputs) - indexed)
    fits = len(data) == size if inputs == declared else len(data) >= size + 64
    demand(len(topics) == indexed + 1 and fits, "a %s event has the wrong shape" % name)
    event: dict[str, Any] = {"name": name, "contract": contract}
    rest, at = topics[1:], 0
    for words in inputs:
        if "indexed" in words:
            word, rest = rest[0], rest[1:]
        else:
            word, at = data[at : at + 32], at + 32
        if words[0] == "bytes32":
            event[words[-1]] = word
            continue
        number = int.from_bytes(word, "big")
        bits = 160 if words[0] == "address" else int(words[0][4:])
        demand(number < 1 << bits, "a %s event has a value out of range" % name)
        event[words[-1]] = word[12:] if words[0] == "address" else number
    return event


def payload(raw: bytes, what: str) -> list[Any]:
    demand(raw, "a %s is empty" % what)
    fields = rlp(raw if raw[0] >= 0xC0 else raw[1:])
    demand(isinstance(fields, list), "a %s is not a list" % what)
    return list(fields)


# By transaction type: where chain id, nonce, to, data and the signature stand (EIP-2718).
_LAYOUTS = {1: (0, 1, 4, 6, 8), 2: (0, 1, 5, 7, 9), 3: (0, 1, 5, 7, 11), 4: (0, 1, 5, 7, 10)}


def transaction_of(raw: bytes) -> tuple[int | None, bytes]:
    """Chain id and hash of a raw transaction whose signature belongs to a key."""
    fields = payload(raw, "transaction")
    kind = raw[0] if raw[0] < 0x80 else 0
    chain: int | None
    if kind == 0:
        demand(len(fields) == 9, "a transaction has another form")
        nonce, to, data, parity, signature = fields[0], fields[3], fields[5], fields[6], fields[7:]
        demand(isinstance(parity, bytes), "a transaction has another form")
        v = int.from_bytes(parity, "big")
        body = fields[:6]
        chain = (v - 35) // 2 if v >= 35 else None
        if chain is not None:
            body = [*body, shortest(chain), b"", b""]
        unsigned, v = rlp_encode(body), (v - 35) % 2 if v >= 35 else v - 27
    else:
        demand(kind in _LAYOUTS, "a transaction is of an unknown type")
        places = _LAYOUTS[kind]
        demand(len(fields) >= places[4] + 3, "a transaction has another form")
        nonce, to, data = (fields[place] for place in places[1:4])
        demand(isinstance(fields[places[0]], bytes), "a transaction has another form")
        demand(isinstance(fields[places[4]], bytes), "a transaction has another form")
        chain = int.from_bytes(fields[places[0]], "big")
        v = int.from_bytes(fields[places[4]], "big")
        unsigned = raw[:1] + rlp_encode(fields[: places[4]])
        signature = fields[places[4] + 1 : places[4] + 3]
    plain = all(isinstance(field, bytes) for field in (nonce, to, data, *signature))
    demand(plain and len(to) in (0, 20) and 0 <= v <= 255, "a transaction has another form")
    demand(all(len(part) <= 32 for part in signature), "a signature has another form")
    recover(keccak(unsigned), b"".join(map(word_of, signature)) + bytes([v]))
    return chain, keccak(raw)


def _hashed_ahead(
    case: Case, members: Sequence[str], fields: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Proofs of receipts, whose nodes are hashed side by side; what is malformed is for the step."""
    for at in range(0, len(members), 64):
        some = [(member, case.json(member)) for member in members[at : at + 64]]
        nodes: list[bytes] = []
        for _, document in some:
            try:
                proof = object_of(document, fields)
                nodes += nodes_of(proof["receiptProof"]) + nodes_of(proof["transactionProof"])
            except Fail:
                continue
        keccak_ahead(nodes)
        yield from some


def step_events(case: Case) -> str:
    """(7) Each receipt and transaction is under its header; logs of the contracts are events."""
    emitters = {at: name for name, (at, _) in case.contracts.items()}
    events = []
    receipts = case.folder("receipts")
    fields = ("block", "index", "receipt", "receiptProof", "transaction", "transactionProof")
    for member, document in _hashed_ahead(case, receipts, fields):
        proof = object_of(document, fields)
        block, index = natural(proof["block"]), natural(proof["index"])
        receipt, sent = data_of(proof["receipt"]), data_of(proof["transaction"])
        ways = nodes_of(proof["receiptProof"]), nodes_of(proof["transactionProof"])
        demand(member == "receipts/%d-%d.json" % (block, index), member + " is another receipt")
        demand(block in case.headers, member + " has no header")
        header, key = case.headers[block], rlp_encode(shortest(index))
        found = prove(header["receipts"], key, ways[0])
        demand(found and found == receipt, member + " is not the proven receipt")
        transaction = None
        if sent:
            found = prove(header["transactions"], key, ways[1])
            demand(found and found == sent, member + " has another transaction than proven")
            chain, transaction = transaction_of(sent)
            demand(chain in (None, case.chain), member + " was signed for another chain")
        parts = payload(receipt, "receipt")
        demand(len(parts) == 4 and isinstance(parts[3], list), member + " is malformed")
        for place, log in enumerate(parts[3]):
            shaped = isinstance(log, list) and len(log) == 3 and isinstance(log[1], list)
            shaped = shaped and isinstance(log[0], bytes) and len(log[0]) == 20
            shaped = shaped and all(isinstance(t, bytes) and len(t) == 32 for t in log[1])
            demand(shaped and isinstance(log[2], bytes), member + " has a malformed log")
            if log[0] in emitters:
                event = event_of(emitters[log[0]], log[1], log[2])
                if event is not None:
                    event["position"] = (block, index, place)
                    event["block"], event["time"] = block, header["time"]
                    event["transaction"] = transaction
                    events.append(event)
    case.events = sorted(events, key=lambda event: event["position"])
    return "%d receipts with %d events of ours" % (len(receipts), len(events))


# ---- What the proven words and events say (docs/spec/storage-layout.md) ----------------------------


def slot_of(base: int, key: bytes) -> int:
    """Solidity's place of mapping[key] for a mapping at slot `base`."""
    return int.from_bytes(keccak(word_of(key) + base.to_bytes(32, "big")), "big")


def bits(word: int, offset: int, width: int) -> int:
    return word >> offset & ((1 << width) - 1)


def holder_of(word: int) -> bytes:
    return bits(word, 0, 160).to_bytes(20, "big")


_STATUS = ("none", "active", "withdrawn", "compromised")
_PERPETUAL = (1 << 40) - 1
_CLAIM_DIGESTS = (
    *("artifact_root", "fingerprint_digest", "watermark_commitment", "manifest_hash", "salt"),
)
# Element types by name: bits of one element, and whether it is a float.
_DTYPES = {
    **{name: (8, False) for name in ("BOOL", "U8", "I8")},
    **{name: (16, False) for name in ("U16", "I16")},
    **{name: (32, False) for name in ("U32", "I32")},
    **{name: (64, False) for name in ("U64", "I64")},
    "F16": (16, True),
    "BF16": (16, True),
    "F32": (32, True),
    "F64": (64, True),
    "C64": (64, True),
    "F4": (4, True),
    "F6_E2M3": (6, True),
    "F6_E3M2": (6, True),
    **{"F8_" + name: (8, True) for name in ("E4M3", "E5M2", "E8M0", "E4M3FNUZ", "E5M2FNUZ")},
}


def step_claim(case: Case) -> str:
    """(8) The claim's model id is the bundle's; manifest and tensors are the claimed ones."""
    names = ("format", "chain_id", "registry", "licensor", "parents", *_CLAIM_DIGESTS)
    document = object_of(case.json("claim.json"), names)
    demand(document["format"] == "modeldeed/claim/1", "the claim is of another format")
    claim: dict[str, Any] = {name: digest(document[name]) for name in _CLAIM_DIGESTS}
    claim["parents"] = [digest(parent) for parent in list_of(document["parents"], 8)]
    claim["licensor"], claim["registry"] = (
        address(document["licensor"]),
        address(document["registry"]),
    )
    chain = natural(document["chain_id"], 1)
    parents = claim["parents"]
    demand(parents == sorted(set(parents)), "the claim's parents are out of order")
    words = (
        *(keccak(b"modeldeed/model/1"), chain.to_bytes(32, "big"), word_of(claim["registry"])),
        *(word_of(claim["licensor"]), claim["artifact_root"], claim["fingerprint_digest"]),
        *(claim["watermark_commitment"], claim["manifest_hash"]),
        *(keccak(b"".join(parents)), claim["salt"]),
    )
    demand(keccak(b"".join(words)) == case.model, "the claim is that of another model")
    here = (case.chain, case.contract("ModelRegistry"))
    demand((chain, claim["registry"]) == here, "the claim is for another chain or registry")
    manifest = case.json("manifest.json")
    _check_manifest(manifest)
    hashed = tagged("modeldeed/manifest/1", manifest)
    demand(hashed == hex0(claim["manifest_hash"]), "the manifest is not the one claimed")
    said = "the claim is that of model %s, titled %s" % (
        hex0(case.model),
        in_quotes(manifest["title"]),
    )
    if "fingerprint.json" in case.members:
        said += _check_fingerprint(case, claim)
    proven = case.folder("tensors")
    for name in proven:
        proof = object_of(case.json(name), ("cid", "index", "size", "path"))
        cid, path = digest(proof["cid"]), [digest(of) for of in list_of(proof["path"], 64)]
        demand(name == "tensors/%s.json" % cid.hex(), name + " is of another tensor")
        demand(type(proof["index"]) is type(proof["size"]) is int, name + " is malformed")
        leaf = sha256(b"\0\x20" + cid)
        place = (proof["index"], proof["size"])
        tree_path(sha256, leaf, *place, path, claim["artifact_root"])
    if proven:
        said += "; %d tensors are proved to be among its tensors" % len(proven)
    case.claim, case.named = claim, manifest["title"]
    return said


def _check_manifest(manifest: Any) -> None:
    texts = ("format", "title", "version", "description", "weights_format")
    object_of(manifest, (*texts, "files", "n_params", "dtypes"))
    demand(all(isinstance(manifest[name], str) for name in texts), "the manifest is malformed")
    demand(manifest["format"] == "modeldeed/manifest/1", "the manifest is of another format")
    demand(manifest["title"].strip() and manifest["version"].strip(), "the manifest has no title")
    for name in ("title", "version", "description"):
        text_of(manifest[name])
    demand(type(manifest["n_params"]) is int, "the manifest is malformed")
    files = manifest["files"]
    demand(isinstance(files, list) and files, "the manifest lists no files")
    for entry in files:
        object_of(entry, ("name", "size", "sha256", "role"))
        demand(isinstance(entry["name"], str), "the manifest is malformed")
        lenient_digest(entry["sha256"]), natural(entry["size"])
        demand(entry["role"] in ("weights", "side"), "the manifest is malformed")
    names = [entry["name"] for entry in files]
    demand(names == sorted(set(names)), "the manifest's files are out of order")
    for name, count in object_of(manifest["dtypes"]).items():
        demand(name in _DTYPES and type(count) is int and count > 0, "the manifest is malformed")


def _check_fingerprint(case: Case, claim: dict[str, Any]) -> str:
    """docs/spec/fingerprint.md: the tensors listed lead to the claimed root."""
    roots = ("content_root", "named_root", "vmd_root", "n_params")
    document = object_of(case.json("fingerprint.json"), ("format", "level", "tensors", *roots))
    demand(document["format"] == "mfp1", "the fingerprint is of another format")
    demand(document["level"] in ("core", "deep"), "the fingerprint is of another level")
    deep = document["level"] == "deep"
    demand(isinstance(document["tensors"], list), "the fingerprint lists no tensors")
    cids, vids, rows, count = set(), set(), [], 0
    fields = {"name", "dtype", "shape", "nbytes", "cid", "vid", "identity"}
    for of in document["tensors"]:
        demand(isinstance(of, dict) and fields <= set(of) <= fields | {"derived"}, "a tensor")
        texts = isinstance(of["name"], str) and isinstance(of["dtype"], str)
        demand(texts and of["dtype"] in _DTYPES, "a tensor is malformed")
        width, floating = _DTYPES[of["dtype"]]
        elements = 1
        for dim in list_of(of["shape"], 64):
            elements *= natural(dim)
        identity, cid = of["identity"], digest(of["cid"])
        natural(of["nbytes"])
        demand(elements * width == of["nbytes"] * 8, "a tensor's size is another")
        demand(type(identity) is bool, "a tensor is malformed")
        demand(not identity or (floating and elements >= 16), "a tensor has no identity")
        demand((of["vid"] is not None) == (deep and identity), "a tensor's vid is missing")
        if of["vid"] is not None:
            vids.add(digest(of["vid"]))
        if "derived" in of:
            demand(of["dtype"] == "F32" and of["vid"] is not None, "a tensor has no casts")
            casts = [object_of(one, ("dtype", "cid", "vid")) for one in list_of(of["derived"])]
            listed = [one["dtype"] for one in casts]
            demand(listed in (["F16"], ["BF16"], ["F16", "BF16"]), "a tensor's casts")
            for one in casts:
                digest(one["cid"]), digest(one["vid"])
        count += elements if floating else 0
        if identity:
            cids.add(cid)
            rows.append((unicodedata.normalize("NFC", of["name"]).encode(), cid))
    demand(rows and count < 1 << 53, "the fingerprint is of no model")
    content = tree_root([sha256(b"\0\x20" + cid) for cid in sorted(cids)])
    named = tree_root(
        [
            sha256(b"\0\x22" + struct.pack("<I", len(name)) + name + cid)
            for name, cid in sorted(rows)
        ]
    )
    values = tree_root([sha256(b"\0\x21" + vid) for vid in sorted(vids)]) if deep else None
    shown = [document[name] for name in roots]
    made = [hex0(content), hex0(named), None if values is None else hex0(values), count]
    demand(
        shown == made and type(document["n_params"]) is int,
        "the fingerprint's roots are not those of its tensors",
    )
    demand(content == claim["artifact_root"], "the tensors listed are not the ones claimed")
    if values is not None:
        whole = sha256(b"\x2f" + content + values + named + struct.pack("<Q", count))
        demand(whole == claim["fingerprint_digest"], "the fingerprint is not the one claimed")
    return "; its %d tensors lead to the claimed root" % len(document["tensors"])


def step_title(case: Case) -> str:
    """(9) The title word names a holder and a status; transfers and confirmed parents."""
    claim, registry = need(case.claim, "the claim"), "ModelRegistry"
    word = case.word(registry, slot_of(0, case.model), "the title")
    moved = case.word(registry, slot_of(1, case.model), "the title's transfers")
    title: dict[str, Any] = {
        "holder": holder_of(word),
        "registered": bits(word, 160, 40),
        "committed": bits(word, 200, 40),
        "status": bits(word, 240, 8),
        "has_commitment": bool(bits(word, 248, 8) & 1),
        "transfers": bits(moved, 160, 64),
    }
    demand(title["status"] and any(title["holder"]), "the proved state knows no such model")
    demand(title["status"] < len(_STATUS), "the model has an unknown status")
    confirmations = slot_of(6, case.model)
    title["confirmed"] = [
        parent
        for parent in claim["parents"]
        if case.word(registry, slot_of(confirmations, parent), "a parent")
    ]
    case.title = title
    return "held by %s, %s" % (checksummed(title["holder"]), _STATUS[title["status"]])


def step_history(case: Case) -> str:
    """(10) One registration, of this claim; transfers numbered without a gap lead to the holder."""
    claim, title = need(case.claim, "the claim"), need(case.title, "the title")
    mine = [event for event in case.events if event.get("modelId") == case.model]
    registrations = [event for event in mine if event["name"] == "ModelRegistered"]
    demand(len(registrations) == 1, "the bundle lacks the model's registration")
    first = registrations[0]
    same = (
        first["licensor"] == claim["licensor"]
        and first["artifactRoot"] == claim["artifact_root"]
        and first["fingerprintDigest"] == claim["fingerprint_digest"]
        and first["watermarkCommitment"] == claim["watermark_commitment"]
        and first["manifestHash"] == claim["manifest_hash"]
    )
    demand(same, "the registration shown is of another claim")
    demand(first["registeredAt"] == first["time"], "the registration's time is not its block's")
    holder = claim["licensor"]
    transfers = [event for event in mine if event["name"] == "TitleTransferred"]
    for number, event in enumerate(transfers, start=1):
        follows = event["sequence"] == number and event["from"] == holder
        demand(follows, "transfer %d of the title is missing" % number)
        holder = event["to"]
    led = len(transfers) == title["transfers"] and holder == title["holder"]
    demand(led, "the transfers shown do not lead to the title's holder")
    lowered = [event for event in mine if event["name"] == "CommitmentProven"]
    statuses = [event for event in mine if event["name"] == "ModelStatusSet"]
    proven_in = lowered[-1] if lowered else first
    shown = (first["time"], proven_in["committedAt"], statuses[-1]["status"] if statuses else 1)
    stands = (title["registered"], title["committed"], title["status"])
    demand(shown == stands, "the events shown do not lead to the title's times and status")
    case.history = {"registration": first, "transfers": transfers, "proven_in": proven_in}
    return "registered in block %d, moved %d times" % (first["block"], len(transfers))


def step_commitment(case: Case) -> str:
    """(11) If committed: the leaf is in a root that was stamped, and in an earlier block."""
    title = need(case.title, "the title")
    need(case.claim, "the claim")
    history = need(case.history, "the title's history")
    if not title["has_commitment"]:
        same = title["committed"] == title["registered"]
        demand(same, "an uncommitted title has a commitment's time")
        return "the model was registered without an earlier commitment; nothing rests on one"
    if "commitment.json" not in case.members:
        raise NotChecked("the bundle lacks the inclusion proof of the commitment")
    proof = object_of(case.json("commitment.json"), ("root", "index", "size", "path"))
    root, path = digest(proof["root"]), [digest(node) for node in list_of(proof["path"], 65)]
    demand(type(proof["index"]) is type(proof["size"]) is int, "commitment.json is malformed")
    leaf = keccak(b"\0modeldeed/commit/1" + case.model)
    tree_path(keccak, leaf, proof["index"], proof["size"], path, root)
    stamp = bits(case.word("Anchors", slot_of(0, root), "the commitment's time"), 0, 40)
    demand(stamp and stamp == title["committed"], "the root was not anchored at that time")
    anchored = [event for event in case.named_events("RootAnchored") if event["root"] == root]
    lone = len(anchored) == 1 and anchored[0]["time"] == stamp
    demand(lone, "the bundle lacks the anchoring of the commitment")
    earlier = anchored[0]["block"] < history["proven_in"]["block"]
    demand(earlier, "the commitment was not anchored in an earlier block")
    case.commitment = anchored[0]
    return "anchored in block %d, before it was used" % anchored[0]["block"]


_RECORD_DIGESTS = ("root", "content_tree_root", "commit", "variant_root", "code_commit")


def record_hash(document: Any) -> tuple[bytes, int, str]:
    """Model, epoch and hash of a sealing record (docs/spec/sealing-record.md)."""
    numbers = ("epoch", "broker_set", "suite")
    object_of(document, ("format", "model_id", *_RECORD_DIGESTS, *numbers))
    demand(document["format"] == "modeldeed/sealing/1", "a sealing record of another version")
    for name in _RECORD_DIGESTS:
        digest(document[name])
    for name in numbers:
        natural(document[name], int(name == "epoch"))
    hashed = tagged("modeldeed/sealing/1", document)
    return digest(document["model_id"]), document["epoch"], hashed


def step_sealing(case: Case) -> str:
    """(12) Epochs rise, the last is that in state, and records opened hash to what was lodged."""
    need(case.claim, "the claim")
    epoch = case.word("ModelRegistry", slot_of(2, case.model), "the sealing epoch")
    stored = 0
    if epoch:
        slot = slot_of(slot_of(3, case.model), shortest(epoch))
        stored = case.word("ModelRegistry", slot, "the sealing's hash")
    lodged = [
        event
        for event in case.named_events("RecordLodged")
        if event["modelId"] == case.model and event["kind"] == 1
    ]
    epochs = [event["epoch"] for event in lodged]
    demand(epochs == sorted(set(epochs)), "the sealings' epochs do not rise")
    last = (epochs[-1], int.from_bytes(lodged[-1]["recordHash"], "big")) if lodged else (0, 0)
    demand(last == (epoch, stored), "the last sealing shown is not the one in state")
    case.sealed = lodged
    records = case.json("sealing.json") if "sealing.json" in case.members else []
    demand(isinstance(records, list), "sealing.json is a list of records")
    known = {event["epoch"]: hex0(event["recordHash"]) for event in lodged}
    for document in records:
        model, number, hashed = record_hash(document)
        demand(model == case.model and known.get(number) == hashed, "a record was not lodged so")
    return "%d sealings, %d records are opened here" % (len(lodged), len(records))


def step_licenses(case: Case) -> str:
    """(13) Each license has a holder, is for this model, and its events replay to its word."""
    about = [*case.members, *case.withheld]
    cards = [name for name in about if name.startswith("cards/")]
    terms = [name for name in about if name.startswith("terms/")]
    if "licenses.json" not in case.members:
        unlisted = cards or terms
        demand(not unlisted, "the bundle has cards or terms of licenses it does not list")
        alone = case.kind in ("license", "release")
        raise NotChecked("the bundle speaks of no license", needed=alone)
    listed = case.json("licenses.json")
    demand(isinstance(listed, list) and 0 < len(listed) <= 10_000, "licenses.json is a list")
    if case.kind in ("license", "release"):
        alone = case.index[case.kind]
        alone = alone if case.kind == "license" else alone["license"]
        demand(listed == [alone], "the bundle is about another license than it lists")
    found: dict[int, dict[str, Any]] = {}
    acts: dict[Any, list[dict[str, Any]]] = {}
    for event in case.events:
        if event["contract"] == "LicenseLedger":
            acts.setdefault(event.get("licenseId", event.get("id")), []).append(event)
    numbers = [license_number(text) for text in listed]
    tokens = [number.to_bytes(32, "big") for number in numbers]
    keccak_ahead(token[:28] + _OWNER_SEED for token in tokens)
    keccak_ahead(token + (3).to_bytes(32, "big") for token in tokens)
    for number in numbers:
        one = _license(case, number, acts.get(number, []))
        found[one["id"]] = one
    demand(len(found) == len(listed), "licenses.json names a license twice")
    # By their names, so that those withheld are held against the list too.
    shown = {"cards/%s.json" % license_text(number) for number in found}
    used = {"terms/%s.json" % one["terms"][2:] for one in found.values()}
    for name in cards:
        demand(name in shown, name + " is for a license not shown here")
    for name in terms:
        demand(name in used, name + " are not the terms of any license here")
    for name, card in _cards_ahead(case):
        _check_card(case, name, card, found)
    for name in case.folder("terms"):
        same = name == "terms/%s.json" % terms_hash(case.json(name))[2:]
        demand(same, name + " are not the terms of any license here")
    case.licenses = list(found.values())
    return "; ".join(
        "license %s of %s: %s" % (license_text(of["id"]), checksummed(of["holder"]), of["standing"])
        for of in case.licenses
    )


_OWNER_SEED = bytes.fromhex("7d882553")


def _license(case: Case, number: int, acts: list[dict[str, Any]]) -> dict[str, Any]:
    ledger, said = "LicenseLedger", " of license " + license_text(number)
    token = number.to_bytes(32, "big")
    seeded = keccak(token[:28] + _OWNER_SEED)
    owner = (2 * number + int.from_bytes(seeded, "big")) % (1 << 256)
    word = case.word(ledger, owner, "the word" + said)
    holder, flags = holder_of(word), bits(word, 160, 8)
    demand(any(holder), "there is no license %s in this state" % license_text(number))
    ext = case.word(ledger, slot_of(3, token), "the second word" + said) if flags & 1 else 0
    plan = slot_of(1, shortest(number >> 32))
    model = case.word(ledger, (plan + 5) % (1 << 256), "the model" + said)
    need(case.claim, "the claim")
    same = model == int.from_bytes(case.model, "big")
    demand(same, "license %s is for another model" % license_text(number))
    status, held = bits(word, 168, 8), bool(flags & 64)
    not_after = bits(word, 216, 40)
    licensor = holder_of(case.word(ledger, plan, "the plan" + said))
    terms = case.word(ledger, (plan + 6) % (1 << 256), "the terms" + said)
    issued = any(event["name"] == "LicenseIssued" for event in acts)
    demand(issued, "the bundle lacks the issue of license " + license_text(number))
    to, end, stands, hold = bytes(20), 0, 0, False
    for event in acts:
        if event["name"] == "LicenseIssued":
            end, stands = event["notAfter"], 1
        elif event["name"] == "Transfer":
            to = event["to"]
        elif event["name"] == "LicenseRenewed":
            end = event["notAfter"]
        elif event["name"] in ("LicenseSuspended", "LicenseReinstated"):
            hold = event["name"] == "LicenseSuspended"
        elif event["name"] == "LicenseRevoked":
            end, stands = event["effectiveAt"], 3
    stands = 2 if hold and stands == 1 else stands
    led = (to, end, stands, hold) == (holder, not_after, status, held)
    demand(led, "the events shown do not lead to how license %s stands" % license_text(number))
    at = case.top()["time"]
    standing = "revoked, with notice running" if status == 3 else "valid"
    if at >= not_after:
        standing = "revoked" if status == 3 else "expired"
    elif held:
        standing = "suspended"
    elif flags & 1 and at < bits(ext, 0, 40):
        standing = "not yet valid"
    return {
        "id": number,
        "holder": holder,
        "standing": standing,
        "not_after": None if not_after == _PERPETUAL else not_after,
        "seats": bits(word, 176, 16),
        "licensor": licensor,
        "terms": "0x%064x" % terms,
        "acts": [event for event in acts if event["name"] != "Transfer"],
    }


_CARD = (
    *("type", "version", "chain", "license", "model", "licensor", "sealing", "terms"),
    *("brokers", "files", "signature"),
)


def _signed_of(card: dict[str, Any]) -> tuple[bytes, bytes]:
    """Domain and struct, not yet hashed, that a card's signature is over (EIP-712)."""
    kind = (
        "LicenseCard(uint256 licenseId,bytes32 modelId,bytes32 sealingRecordHash,"
        "bytes32 termsHash,bytes32 brokersHash)"
    )
    words = (
        keccak(kind.encode()),
        license_number(card["license"]).to_bytes(32, "big"),
        digest(card["model"]),
        digest(object_of(card["sealing"], ("hash", "record"))["hash"]),
        digest(object_of(card["terms"], ("hash", "document"))["hash"]),
        _brokers_hash(card["brokers"]),
    )
    chain = object_of(card["chain"], ("id", "ledger", "registry", "brokers"))
    at = address(chain["ledger"])
    domain = domain_separator("modeldeed LicenseLedger", natural(chain["id"], 1), at)
    return domain, b"".join(words)


def _cards_ahead(case: Case) -> Iterator[tuple[str, Any]]:
    """The cards, what they sign hashed side by side; what is malformed is for the step."""
    names = case.folder("cards")
    for at in range(0, len(names), 256):
        some = [(name, case.json(name)) for name in names[at : at + 256]]
        signed: list[tuple[bytes, bytes]] = []
        for _, document in some:
            try:
                signed.append(_signed_of(object_of(document, _CARD)))
            except Fail:
                continue
        keccak_ahead(body for _, body in signed)
        keccak_ahead(b"\x19\x01" + domain + keccak(body) for domain, body in signed)
        yield from some


def _check_card(case: Case, name: str, raw: Any, found: dict[int, dict[str, Any]]) -> None:
    """docs/spec/license-card.md: signed by a licensor, for what is shown here."""
    card = object_of(raw, _CARD)
    named = (card["type"], card["version"], type(card["version"]))
    demand(named == ("modeldeed/license-card", 1, int), name + " is no card, or of another version")
    chain = object_of(card["chain"], ("id", "ledger", "registry", "brokers"))
    at = (natural(chain["id"], 1), address(chain["ledger"]), address(chain["registry"]))
    address(chain["brokers"])
    number, model = license_number(card["license"]), digest(card["model"])
    licensor, signature = address(card["licensor"]), data_of(card["signature"], 65)
    sealing = object_of(card["sealing"], ("hash", "record"))
    digest(sealing["hash"])
    record = object_of(sealing["record"])
    terms = object_of(card["terms"], ("hash", "document"))
    digest(terms["hash"])
    if terms["document"] is not None:
        object_of(terms["document"])
    domain, body = _signed_of(card)
    for file in list_of(card["files"], 64):
        object_of(file, ("url", "size", "root"))
        text_of(file["url"]), natural(file["size"], 96), digest(file["root"])
    if terms["document"] is not None:
        same = terms_hash(terms["document"]) == terms["hash"]
        demand(same, "the card's terms are not those it is signed for")
    signer = recover(keccak(b"\x19\x01" + domain + keccak(body)), signature, licensor)
    demand(signer == licensor, name + " is not signed by the licensor it names")
    about = found.get(number)
    right = about is not None and name == "cards/%s.json" % license_text(number)
    demand(right, name + " is for a license not shown here")
    assert about is not None
    here = (case.chain, case.contract("LicenseLedger"), case.contract("ModelRegistry"))
    same = at == here and model == case.model and terms["hash"] == about["terms"]
    demand(same, name + " is for another chain, model or terms")
    holders = {need(case.claim, "the claim")["licensor"]}
    history = need(case.history, "the title's history")
    holders |= {event["to"] for event in history["transfers"]}
    demand(licensor in holders, name + " is signed by someone who never had title")
    sealed = record_hash(record)[2]
    lodged = {hex0(event["recordHash"]) for event in case.sealed}
    same = sealed == sealing["hash"] and sealed in lodged
    demand(same, name + " names a sealing that was not lodged")


def _brokers_hash(value: Any) -> bytes:
    brokers = object_of(value, ("set", "threshold", "members"))
    members = []
    for one in list_of(brokers["members"], 64):
        member = object_of(one, ("id", "signing_key_hash", "kem_key_hash", "urls"))
        natural(member["id"], 1), digest(member["signing_key_hash"]), digest(member["kem_key_hash"])
        for url in list_of(member.pop("urls"), 16):
            text_of(url)
        members.append(member)
    ids = [member["id"] for member in members]
    demand(members and ids == sorted(set(ids)), "the card's brokers are out of order")
    natural(brokers["threshold"], 1, len(members)), natural(brokers["set"], 1)
    hashed = {"set": brokers["set"], "threshold": brokers["threshold"], "members": members}
    return digest(tagged("modeldeed/card-brokers/1", hashed))


def terms_hash(document: Any) -> str:
    """The hash of a terms document that keeps every rule of docs/spec/terms.md."""
    needed = ("type", "version", "title", "licensor", "text", "territory", "purposes", "fields")
    wanted, optional = {*needed, "evidence", "export"}, {"not_before", "not_after", "windows"}
    demand(isinstance(document, dict), "terms are an object")
    demand(wanted <= set(document) <= wanted | optional, "the terms have other members")
    named = (document["type"], document["version"], type(document["version"]))
    demand(named == ("modeldeed/terms", 1, int), "the terms are of another type or version")
    demand(len(canonical(document)) <= 256 << 10, "the terms are too long")
    times = [_moment(document.get(name)) for name in ("not_before", "not_after")]
    ordered = None in times or times[0] < times[1]  # type: ignore[operator]
    demand(ordered, "the terms end before they begin")
    demand(text_of(document["title"], 200).strip(), "the terms have no title")
    text_of(document["licensor"], 200), text_of(document["text"], 256 << 10)
    shapes = {"territory": "[A-Z]{2}", "purposes": "[a-z0-9][a-z0-9-]{0,63}"}
    shapes["fields"] = shapes["purposes"]
    for name, shape in shapes.items():
        words = [text_of(word) for word in list_of(document[name])]
        if words != ["any"]:
            fit = all(re.fullmatch(shape, word) and word != "any" for word in words)
            demand(words and fit and words == sorted(set(words)), "the terms' " + name)
    classes = list_of(document["evidence"])
    known = (["software"], ["software", "tee"], ["tee"])
    demand(classes in known, "the terms' classes of evidence")
    demand(type(document["export"]) is bool, "the terms do not say whether export is allowed")
    if document.get("windows") is not None:
        windows = list_of(document["windows"], 32)
        demand(windows, "the terms' windows")
        for window in windows:
            _check_window(window)
    return tagged("modeldeed/terms/1", document)


def _check_window(window: Any) -> None:
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    object_of(window, ("days", "from", "to"))
    days = list_of(window["days"], 7)
    demand(days and days == [day for day in week if day in days], "a window's days")
    clock = "([01][0-9]|2[0-3]):[0-5][0-9]"
    begin, end = text_of(window["from"], 5), text_of(window["to"], 5)
    right = re.fullmatch(clock, begin) and (end == "24:00" or re.fullmatch(clock, end))
    demand(right and begin < end, "a window's hours")


# Not \d, which takes the digits of every script.
_UTC_TEXT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


def _moment(text: Any) -> datetime | None:
    if text is None:
        return None
    demand(re.fullmatch(_UTC_TEXT, text_of(text, 20)), "a time of the terms is malformed")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise Fail("a time of the terms names no moment") from None


def step_rivals(case: Case) -> str:
    """(14) Other registrations shown are of the same tensors, in the order of commitment."""
    claim = need(case.claim, "the claim")
    rivals = [of for of in case.named_events("ModelRegistered") if of["modelId"] != case.model]
    same = all(event["artifactRoot"] == claim["artifact_root"] for event in rivals)
    demand(same, "a registration of other tensors is shown as a rival")
    case.rivals = sorted(rivals, key=lambda event: event["committedAt"])
    return "%d other registrations of the same tensors are shown" % len(rivals)


def _ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """RFC 8032, 5.1.7, without cofactor: the encoding of s·B − k·A is R."""
    p, order = (1 << 255) - 19, (1 << 252) + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, p - 2, p) % p

    def opened(raw: bytes) -> tuple[int, int, int, int] | None:
        y, sign = int.from_bytes(raw, "little") & ((1 << 255) - 1), raw[31] >> 7
        square = (y * y - 1) * pow(d * y * y + 1, p - 2, p) % p
        x = pow(square, (p + 3) // 8, p)
        if (x * x - square) % p:
            x = x * pow(2, (p - 1) // 4, p) % p
        if y >= p or (x * x - square) % p or (not x and sign):
            return None
        x = x if x & 1 == sign else p - x
        return x, y, 1, x * y % p

    def add(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int, int, int]:
        a = (one[1] - one[0]) * (other[1] - other[0]) % p
        b = (one[1] + one[0]) * (other[1] + other[0]) % p
        c, e = 2 * one[3] * other[3] * d % p, 2 * one[2] * other[2] % p
        return (
            (b - a) * (e - c) % p,
            (e + c) * (b + a) % p,
            (e - c) * (e + c) % p,
            (b - a) * (b + a) % p,
        )

    key = opened(public)
    base = opened((4 * pow(5, p - 2, p) % p).to_bytes(32, "little"))
    s = int.from_bytes(signature[32:], "little")
    if key is None or base is None or s >= order:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % order
    against = (p - key[0], key[1], 1, p - key[3])
    total: tuple[int, int, int, int] = (0, 1, 1, 0)
    for bit in range(254, -1, -1):
        total = add(total, total)
        if s >> bit & 1:
            total = add(total, base)
        if k >> bit & 1:
            total = add(total, against)
    inverse = pow(total[2], p - 2, p)
    x, y = total[0] * inverse % p, total[1] * inverse % p
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def step_releases(case: Case) -> str:
    """(15) Each receipt is a broker's, under a root that stands on chain, about these licenses."""
    wanted = case.kind == "release"
    found = [
        re.fullmatch(r"releases/([1-9][0-9]{0,8})\.json", of["name"])
        for of in case.index["members"]
    ]
    listed = sorted({int(named[1]) for named in found if named})
    there = "BrokerRegistry" in case.contracts
    demand(
        there == bool(listed), "the bundle names BrokerRegistry without receipts, or the reverse"
    )
    if not listed:
        raise NotChecked("the bundle carries no receipt of a release", needed=wanted)
    gapless = listed == list(range(1, len(listed) + 1)) and len(listed) <= 1000
    demand(gapless, "receipts are not numbered from 1 without a gap")
    demand(not wanted or len(listed) == 1, "evidence of one receipt carries one")
    names = ["releases/%d.json" % number for number in listed]
    shown = [name for name in names if name in case.members]
    if not shown:
        raise NotChecked("withheld: put the members back to check them", needed=wanted)
    receipts = [_receipt(case, case.json(name)) for name in shown]
    places = [(of["broker"], of["sequence"]) for of in receipts]
    demand(places == sorted(set(places)), "receipts stand in another order, or twice")
    for of in receipts:
        about = {"license": of["license"], "receipt": of["receipt"]}
        demand(not wanted or about == case.index["release"], "the bundle is about another receipt")
    case.releases = [_anchored(case, of) for of in receipts]
    blocks = ", ".join(map(str, sorted({of["block"] for of in case.releases})))
    return "%d release receipts of brokers, anchored in block %s" % (len(receipts), blocks)


def _receipt(case: Case, document: Any) -> dict[str, Any]:
    """What a receipt proof says and proves by itself."""
    names = ("type", "version", "chain", "broker", "signing", "sequence", "entry", "anchor")
    proof = object_of(document, names)
    named = (proof["type"], proof["version"], type(proof["version"]))
    demand(named == ("modeldeed/receipt-proof", 1, int), "a receipt proof of another version")
    chain = object_of(proof["chain"], ("id", "ledger", "registry", "brokers"))
    at = tuple(lenient_address(chain[name]) for name in ("ledger", "registry", "brokers"))
    chain_id = natural(chain["id"], 1)
    broker, sequence = natural(proof["broker"], 1), natural(proof["sequence"], 1)
    entry = object_of(proof["entry"], ("request", "reply"))
    request, reply = object_of(entry["request"]), object_of(entry["reply"])
    audience = "modeldeed-broker:%d:%s:%d" % (chain_id, hex0(at[2]), broker)
    answers = (reply.get("type"), reply.get("audience")) == ("release", audience)
    demand(answers, "a receipt is not of this broker's answer to a key request")
    natural(reply.get("version"), 1, 1)
    logged = object_of(reply.get("receipt"), ("sequence", "previous"))
    digest(logged["previous"])
    same = natural(logged["sequence"], 1) == sequence
    demand(same, "a receipt has another number than its proof says")
    for wrap in list_of(reply["wraps"]) if "wraps" in reply else ():
        demand(isinstance(wrap, dict) and "wrap" not in wrap, "a reply names ciphertexts")
    hashed = tagged("modeldeed/broker-request/1", request)
    demand(reply.get("request") == hashed, "a reply is to another request")
    keys = object_of(proof["signing"], ("ed25519", "mldsa65"))
    classical, text = data_of(keys["ed25519"], 32), text_of(keys["mldsa65"])
    try:
        lattice = base64.b64decode(text, validate=True)
    except ValueError:
        raise Fail("the broker's keys are malformed") from None
    spelled = len(lattice) == 1952 and base64.b64encode(lattice).decode() == text
    demand(spelled, "the broker's keys are malformed")
    signature = object_of(reply.get("signature"), ("ed25519", "mldsa65"))
    text_of(signature["mldsa65"], 1 << 16)
    body = {key: value for key, value in reply.items() if key != "signature"}
    message = b"modeldeed/broker-reply/1\0" + canonical(body)
    signed = _ed25519(classical, data_of(signature["ed25519"], 64), message)
    demand(signed, "a receipt is not signed by the keys it names")
    under = object_of(
        proof["anchor"], ("sequence", "root", "count", "index", "path", "transaction")
    )
    path = [digest(node) for node in list_of(under["path"], 64)]
    root, count = digest(under["root"]), natural(under["count"], 1)
    receipt = tagged("modeldeed/receipt/1", entry)
    tree_path(sha256, sha256(b"\0" + digest(receipt)), natural(under["index"]), count, path, root)
    license_number(request.get("license")), digest(request.get("model"))
    demand(type(reply.get("granted")) is bool, "a reply does not say what it grants")
    sent = under["transaction"]
    contracts = ("LicenseLedger", "ModelRegistry", "BrokerRegistry")
    here = (case.chain, *(case.contract(name) for name in contracts))
    same = (chain_id, *at) == here and request["model"] == hex0(case.model)
    demand(same, "a receipt is for another chain or model")
    known = {license_text(of["id"]) for of in case.licenses}
    demand(request["license"] in known, "a receipt is for a license not shown here")
    return {
        "broker": broker,
        "sequence": sequence,
        "license": request["license"],
        "granted": reply["granted"],
        "claimed_at": natural(reply.get("time")),
        "receipt": receipt,
        "key": sha256(b"modeldeed/broker-signing-keys/1\0" + classical + lattice),
        "anchoring": natural(under["sequence"], 1),
        "root": root,
        "count": count,
        "sent": None if sent is None else digest(sent),
    }


def _anchored(case: Case, of: dict[str, Any]) -> dict[str, Any]:
    """The anchoring of a receipt's root and the registration of its broker's key, on chain."""
    registry, base = "BrokerRegistry", slot_of(1, shortest(of["broker"]))
    ours = [
        event
        for event in case.events
        if event["contract"] == registry and event["brokerId"] == of["broker"]
    ]
    anchored = [event for event in ours if event.get("seq") == of["anchoring"]]
    demand(len(anchored) == 1, "the bundle lacks the anchoring of a receipt")
    event = anchored[0]
    same = (event["root"], event["count"]) == (of["root"], of["count"])
    demand(same, "a receipt's root is not the one that was anchored")
    same = None in (of["sent"], event["transaction"]) or of["sent"] == event["transaction"]
    demand(same, "a receipt's root was anchored by another transaction")
    keys = [
        one
        for one in ours
        if one["name"] == "BrokerKeysSet"
        and one["signingKeyHash"] == of["key"]
        and one["position"] < event["position"]
    ]
    demand(keys, "the bundle lacks the registration of a broker's key")
    epoch, said = keys[-1]["epoch"], "broker %d" % of["broker"]
    now = case.word(registry, base, said)
    known = any(holder_of(now)) and epoch <= bits(now, 160, 32)
    demand(known, "the proved state knows no such broker")
    if epoch == bits(now, 160, 32):
        key = case.word(registry, (base + 1) % (1 << 256), said)
        same = key == int.from_bytes(of["key"], "big")
        demand(same, "the proved state names another key of the broker")
    count = bits(now, 192, 64)
    demand(count >= of["anchoring"], "the proved state has fewer anchorings of receipts")
    if count == of["anchoring"]:
        root = case.word(registry, (base + 4) % (1 << 256), said)
        same = root == int.from_bytes(of["root"], "big")
        demand(same, "the proved state has another anchoring of receipts")
    fields = ("broker", "sequence", "receipt", "license", "granted", "claimed_at")
    return {**{name: of[name] for name in fields}, "key_epoch": epoch, **_when(event)}


# ---- Findings about a suspect (docs/spec/match.md) -------------------------------------------------

_MOST = (1 << 53) - 1
_UNITS, _MARK, _TRACED = -20_000_000, -38_531_839, -9_000_000  # levels, in millionths
_ALL_ASKED = 262_144
_METHODS = ("search", "tensors", "units", "watermark", "triggers", "trace")


class Rule:
    """What a value must be: a test, and the words for it."""

    def __init__(self, said: str, test: Callable[[Any], Any]) -> None:
        self.said, self.test = said, test


def _whole(low: int = 0, high: int = _MOST) -> Rule:
    said = "an integer from %d to %d" % (low, high)
    return Rule(said, lambda value: type(value) is int and low <= value <= high)


def _line(most: int = 1024, least: int = 0) -> Rule:
    said = "one line of %d to %d characters" % (least, most)
    controls = re.compile("[\0-\x1f\x7f-\x9f]")
    return Rule(
        said,
        lambda value: (
            isinstance(value, str) and least <= len(value) <= most and not controls.search(value)
        ),
    )


def _word(*words: str) -> Rule:
    return Rule(" or ".join(words), lambda value: isinstance(value, str) and value in words)


def _like(said: str, pattern: str) -> Rule:
    return Rule(said, lambda value: isinstance(value, str) and re.fullmatch(pattern, value))


def _read_by(said: str, reader: Callable[[Any], Any]) -> Rule:
    def test(value: Any) -> bool:
        try:
            reader(value)
        except Fail:
            return False
        return True

    return Rule(said, test)


def check_form(value: Any, shape: Any, where: str) -> None:
    """A shape is a rule, an object of shapes, (shape, least, most) for a list, or [shape] or null."""
    if isinstance(shape, Rule):
        demand(shape.test(value), "%s must be %s" % (where, shape.said))
    elif isinstance(shape, dict):
        same = isinstance(value, dict) and set(value) == set(shape)
        demand(same, "%s must be an object of exactly %s" % (where, ", ".join(sorted(shape))))
        for name in shape:
            check_form(value[name], shape[name], where + "." + name)
    elif isinstance(shape, tuple):
        inner, least, most = shape
        fits = isinstance(value, list) and least <= len(value) <= most
        demand(fits, "%s must be a list of %d to %d" % (where, least, most))
        for place, item in enumerate(value):
            check_form(item, inner, "%s[%d]" % (where, place))
    elif value is not None:
        check_form(value, shape[0], where)


_RULES = {
    "count": _whole(),
    "positive": _whole(1),
    "signed": _whole(-_MOST, _MOST),
    "log": _whole(-_MOST, 0),
    "part": _whole(0, 1_000_000),
    "small": _whole(0, 65_536),
    "asked": _whole(1, 4096),
    "right": _whole(0, 4096),
    "number": _whole(1, 99),
    "answers": _whole(2, 1 << 31),
    "text": _line(),
    "long": _line(4096),
    "name": _line(200, 1),
    "path": _line(1024, 1),
    "software": _line(80),
    "flag": Rule("true or false", lambda value: type(value) is bool),
    "hash": _like("0x and 64 lower-case hex digits", "0x[0-9a-f]{64}"),
    "time": _like("a UTC time", "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
    "address": _read_by("an address with its checksum", address),
    "license": _read_by("PLAN.SERIAL", license_number),
    "method": _word(*_METHODS),
    "came_to": _word("found", "nothing found", "not checked"),
    "judged": _word("pass", "fail", "not checked"),
    "verdict": _word("match", "nothing found"),
    "thing": _line(1024, 1),
    "reason": _line(4096, 1),
}


def _fields(listed: str, **more: Any) -> dict[str, Any]:
    """An object of members written name:rule, and of more."""
    pairs = [word.split(":") for word in listed.split()]
    return {**{name: _RULES[rule] for name, rule in pairs}, **more}


def _shape_of_findings() -> dict[str, Any]:
    hash_ = _RULES["hash"]
    sums = _fields("weights:count t:signed v:count log10_p:log")
    answered = _fields("asked:asked right:right log10_p:log")
    checks = (_fields("number:number title:text result:judged detail:long"), 0, 99)
    ended = _fields("log10_tests:count there:flag proven:flag", checks=checks)
    ways = _fields("identity:count cast:count multiset:count cast_multiset:count")
    relation = _word(*ways, "axis_permutation", "reshape")
    model = _fields(
        "model_id:hash licensor:address title:long status:text committed_at:count"
        " registered_block:count",
        place=[_fields("block:count transaction:count")],
        tensors=ways,
        elements=ways,
    )
    committed = _fields("hash:hash owner:address number:count block:count time:count")
    ours = _fields(
        "artifact_root:hash",
        kind=_word("model", "sketch"),
        sketch_root=[hash_],
        commitment=[committed],
    )
    shared = _fields("cid:hash elements:count packed:flag theirs:long", relation=relation)
    tensors = _fields(
        "content_root:hash same_packed:flag of:count found:count found_values:count values:count"
        " of_values:count",
        shared=(shared, 0, 100_000),
        set_aside=(hash_, 0, 100_000),
    )
    row = _fields(
        "ours:long theirs:long role:text units:count tested:small rows:small in_place:small"
        " in_order:small alike:part other:part fitted:flag turned:flag aligned:flag log10_p:log"
    )
    units = _fields(
        "tried:count not_tested:count log10_p:log log10_p_counted:log", rows=(row, 0, 100_000)
    )
    comparison = _fields(
        "log10_p_all:log",
        ours=ours,
        tensors=[tensors],
        units=units,
        controls=(_fields("title:text log10_p:log"), 0, 256),
        verdict=_word("identical", "contains", "derived", "nothing found"),
    )
    look = {
        "kind": _word("blind", "informed"),
        "way": _word("by name", "by order", "realigned"),
        "rows": ({**_fields("name:long found_as:long"), **sums}, 0, 100_000),
        **sums,
    }
    whose = _fields("commitment:hash owner:address chain_id:count commitments:positive")
    watermark = {
        **_fields("targets:positive log10_p:log", looks=(look, 1, 16)),
        **whose,
        **ended,
    }
    triggers = {
        **_fields("disclosure:hash answers:answers log10_p_all:log"),
        "controls": ({**_fields("name:text theirs:flag"), **answered}, 0, 256),
        **whose,
        **answered,
        **ended,
    }
    named = _fields("license:license holder:address log10_p:log")
    trace = _fields(
        "sealing:hash model_id:hash candidates:count tests:count proven:flag",
        named=(named, 0, 100_000),
        checks=checks,
    )
    suspect = _fields(
        "name:name size:count sha256:hash received:time",
        kind=_word("file", "folder", "url"),
        files=(_fields("name:path size:count sha256:hash"), 1, 10_000),
    )
    search = _fields(
        "index:text chain_id:count tensors:count elements:count more:flag",
        models=(model, 0, 10_000),
    )
    return _fields(
        "software:software verdict:verdict",
        format=_word("modeldeed/match/1"),
        suspect=suspect,
        tried=(_fields("method:method result:came_to why:long"), 6, 6),
        search=[search],
        comparisons=(comparison, 0, 256),
        watermarks=(watermark, 0, 64),
        triggers=(triggers, 0, 64),
        trace=[trace],
    )


_FINDINGS = _shape_of_findings()
_UNTRIED = {"untried": (_fields("method:method what:thing why:reason"), 1, 256)}


def near(value: float, stated: int) -> bool:
    """Whether a stated logarithm, to base 10 and in millionths, is the computed one."""
    return abs(value * 1e6 - stated) <= 1


_LN10 = 2.302585092994046


def ln(x: float) -> float:
    """Of a number from 1 upwards, with + - * / alone: the same bits in every verifier."""
    half, e = math.frexp(x)
    m, e = half * 2, e - 1
    if m > 1.4142135623730951:
        m, e = m / 2, e + 1
    t = (m - 1) / (m + 1)
    u, s = t * t, 1 / 21
    for k in range(19, 0, -2):
        s = s * u + 1 / k
    return e * 0.6931471805599453 + 2 * t * s


def log10(x: float) -> float:
    return ln(x) / _LN10


def _lf(n: int) -> float:
    """The logarithm of n!, by Stirling's series where n! is not exact."""
    if n <= 18:
        return ln(math.factorial(n))
    x = float(n)
    w = 1 / (x * x)
    return (x + 0.5) * ln(x) - x + 0.9189385332046727 + (1 / 12 - w * (1 / 360 - w / 1260)) / x


_LOG2 = log10(2)


def row_bound(row: dict[str, Any]) -> float:
    """Of the order of units of one pair of matrices."""
    all_, placed, ordered = row["rows"], row["in_place"], row["in_order"]
    place = min(0.0, _LOG2 - _lf(placed) / _LN10)
    ways = (_lf(all_) - _lf(all_ - ordered) - 2 * _lf(ordered)) / _LN10
    order = min(0.0, 2 * _LOG2 + min(0.0, ways))
    return min(0.0, min(place, order) + (3 if row["aligned"] else 0))


def bonferroni(stated: list[int], tests: int) -> float:
    """Over stated logarithms; 0 where there are none."""
    return min(0.0, min(stated) / 1e6 + log10(max(1, tests))) if stated else 0.0


def over_pairings(stated: list[int], tried: int) -> float:
    return min(0.0, bonferroni(stated, tried) + log10(1.001))


def mark_bound(of: dict[str, Any]) -> float:
    """Of the signs of weights, from sums in thousandths."""
    if of["t"] <= 0 or of["v"] <= 0:
        return 0.0
    lower, upper = of["t"] / 1000 * (1 - 1e-4), of["v"] / 1000 * (1 + 1e-4)
    return float(-lower * lower / (2 * upper) / _LN10)


def answer_bound(asked: int, right: int, answers: int) -> float:
    """Of so many right answers by chance: the tail of a binomial distribution."""
    if not right:
        return 0.0
    first = _lf(asked) - _lf(right) - _lf(asked - right)
    first = first + (asked - right) * ln(answers - 1) - asked * ln(answers)
    # The terms after the first, as multiples of it; scaled down where they grow too large.
    term = total = 1.0
    scaled = 0
    for j in range(right + 1, asked + 1):
        term = term * (asked - j + 1) / (j * (answers - 1))
        total += term
        if total > 1e100:
            term, total, scaled = term / 1e100, total / 1e100, scaled + 1
    return min(0.0, (first + ln(total) + 100 * scaled * _LN10) / _LN10)


def _rising(values: Sequence[Any]) -> bool:
    return all(values[at - 1] < values[at] for at in range(1, len(values)))


def read_findings(found: Any) -> dict[str, Any]:
    """Findings once their form, and all figures that follow from others, hold."""
    more = _UNTRIED if isinstance(found, dict) and "untried" in found else {}
    check_form(found, {**_FINDINGS, **more}, "match.json")
    suspect, held = found["suspect"], found["comparisons"]
    files = suspect["files"]
    rising = _rising([of["name"] for of in files])
    demand(rising, "match.json: the suspect's files are out of order")
    whole = sum(of["size"] for of in files) == suspect["size"]
    demand(whole, "match.json: the suspect's size is not that of its files")
    folder = suspect["kind"] == "folder"
    demand(folder or len(files) == 1, "match.json: a suspect that is one file lists several")
    hashed = tagged("modeldeed/suspect/1", files) if folder else files[0]["sha256"]
    same = hashed == suspect["sha256"]
    demand(same, "match.json: the suspect's digest is not that of its files")
    for number, one in enumerate(held, start=1):
        _check_comparison(one, len(held), "match.json: comparison %d: " % number)
    for number, one in enumerate(found["watermarks"], start=1):
        _check_watermark(one, "match.json: watermark %d: " % number)
    asked = sum(each["asked"] for one in found["triggers"] for each in (one, *one["controls"]))
    demand(asked <= _ALL_ASKED, "match.json: more than %d questions in all" % _ALL_ASKED)
    for number, one in enumerate(found["triggers"], start=1):
        _check_triggers(one, "match.json: disclosure %d: " % number)
    if found["trace"] is not None:
        _check_trace(found["trace"])
    if found["search"] is not None:
        _check_search(found["search"])
    _check_tried(found)
    return dict(found)


def _check_comparison(one: dict[str, Any], comparisons: int, said: str) -> None:
    ours, tensors, units = one["ours"], one["tensors"], one["units"]
    sketch = ours["kind"] == "sketch"
    demand(sketch == (ours["sketch_root"] is not None), said + "a sketch has a root, a model none")
    demand(sketch == (tensors is None), said + "tensors are those of a model")
    demand(sketch or ours["commitment"] is None, said + "only a sketch has a commitment here")
    if tensors is not None:
        _check_shared(tensors, said)
    rows = units["rows"]
    for row in rows:
        counts = [row[name] for name in ("in_place", "in_order", "rows", "tested", "units")]
        demand(counts == sorted(counts), said + "a row counts more matches than rows")
        fitted = 4 * row["alike"] < 3 * row["other"] + 1_000_000
        demand(fitted == row["fitted"], said + "a row is fitted or is not, against its figures")
        demand(near(row_bound(row), row["log10_p"]), said + "the bound of a row is another")
    demand(len(rows) <= units["tried"], said + "more rows than pairings that were tried")
    for name, counted in (
        ("log10_p", [row["log10_p"] for row in rows]),
        ("log10_p_counted", [row["log10_p"] for row in rows if not row["fitted"]]),
    ):
        bound = over_pairings(counted, units["tried"])
        demand(near(bound, units[name]), said + "the bound over rows (%s) is another" % name)
    bound = bonferroni([units["log10_p_counted"]], comparisons)
    demand(near(bound, one["log10_p_all"]), said + "the bound over all comparisons is another")
    follows = _verdict_of(one) == one["verdict"]
    demand(follows, said + "its verdict does not follow from its figures")


def _check_shared(tensors: dict[str, Any], said: str) -> None:
    shared, aside = tensors["shared"], tensors["set_aside"]
    cids = [of["cid"] for of in shared]
    demand(_rising(cids) and _rising(aside), said + "tensors repeat or are out of order")
    demand(not set(cids) & set(aside), said + "a tensor is shared and set aside")
    sizes: dict[str, int] = {}
    for of in shared:
        same = sizes.setdefault(of["theirs"], of["elements"]) == of["elements"]
        demand(same, said + "one tensor of theirs has two sizes")
    same = tensors["found_values"] == sum(sizes.values())
    demand(same, said + "the number of shared values is another")
    same = tensors["values"] == sum(of["elements"] for of in shared)
    demand(same, said + "the number of our values that are shared is another")
    most = tensors["values"] <= tensors["of_values"]
    demand(most, said + "more of our values are shared than there are")
    same = tensors["found"] == sum(not of["packed"] for of in shared)
    demand(same, said + "the number of shared tensors is another")
    demand(tensors["found"] <= tensors["of"], said + "more tensors are shared than there are")


def _verdict_of(one: dict[str, Any]) -> str:
    tensors = one["tensors"]
    if tensors is not None:
        whole = tensors["content_root"] == one["ours"]["artifact_root"] and tensors["same_packed"]
        if whole and tensors["shared"]:
            return "identical"
        if tensors["found_values"] >= 4096:
            return "contains"
    return "derived" if one["log10_p_all"] <= _UNITS else "nothing found"


def _check_watermark(one: dict[str, Any], said: str) -> None:
    for look in one["looks"]:
        rows = look["rows"]
        demand(len(rows) <= one["targets"], said + "a look has more rows than targets")
        for name in ("weights", "t", "v"):
            same = look[name] == sum(row[name] for row in rows)
            demand(same, said + "a look is not the sum of its rows")
        for row in rows:
            demand(near(mark_bound(row), row["log10_p"]), said + "the bound of a row is another")
        best = min([0.0, mark_bound(look), *(row["log10_p"] / 1e6 for row in rows)])
        demand(near(best, look["log10_p"]), said + "the bound of a look is another")
    tests = log10(8) + log10(one["targets"] + 1) + log10(one["commitments"])
    demand(near(tests + 40 * _LOG2, one["log10_tests"]), said + "the number of tests is another")
    _check_corrected(one, min(look["log10_p"] for look in one["looks"]), one["log10_p"], said)
    passed = {check["number"] for check in one["checks"] if check["result"] == "pass"}
    needed = not one["proven"] or passed >= {1, 2, 3, 8}
    demand(needed, said + "it is called proven without the checks that it needs")


def _check_triggers(one: dict[str, Any], said: str) -> None:
    for each in (one, *one["controls"]):
        demand(each["right"] <= each["asked"], said + "more right answers than questions")
        bound = answer_bound(each["asked"], each["right"], one["answers"])
        demand(near(bound, each["log10_p"]), said + "the bound of the answers is another")
    tests = log10(one["commitments"]) + 40 * _LOG2
    demand(near(tests, one["log10_tests"]), said + "the number of tests is another")
    _check_corrected(one, one["log10_p"], one["log10_p_all"], said)


def _check_corrected(one: dict[str, Any], bare: int, stated: int, said: str) -> None:
    bound = min(0.0, (bare + one["log10_tests"]) / 1e6)
    demand(near(bound, stated), said + "the corrected bound is another")
    there = stated <= _MARK
    demand(one["there"] == there, said + "what is there does not follow from its bound")
    failed = any(check["result"] == "fail" for check in one["checks"])
    against = one["proven"] and (failed or not there)
    demand(not against, said + "it is called proven against its own checks")


def _check_trace(trace: dict[str, Any]) -> None:
    said, named = "match.json: the trace ", trace["named"]
    hands = {(of["license"], of["holder"]) for of in named}
    demand(len(hands) == len(named), said + "names a license in one hand twice")
    demand(len(named) <= trace["candidates"], said + "names more licenses than candidates")
    reached = all(of["log10_p"] <= _TRACED for of in named)
    demand(reached, said + "names a license above its level")
    failed = any(check["result"] == "fail" for check in trace["checks"])
    against = trace["proven"] and (failed or not named)
    demand(not against, said + "is called proven against its own checks")


def _check_search(search: dict[str, Any]) -> None:
    models = search["models"]
    places = [(of["committed_at"], of["registered_block"], of["model_id"]) for of in models]
    demand(_rising(places), "match.json: the registered models are not in the order of time")
    once = len({of["model_id"] for of in models}) == len(models)
    demand(once, "match.json: a registered model is listed twice")
    for of in models:
        for name in ("tensors", "elements"):
            fits = sum(of[name].values()) <= search[name]
            demand(fits, "match.json: a registered model holds more %s than asked for" % name)


def _check_tried(found: dict[str, Any]) -> None:
    held, search, trace = found["comparisons"], found["search"], found["trace"]
    marks, opened = found["watermarks"], found["triggers"]
    exact = [one for one in held if one["tensors"] is not None]
    equal = [one for one in held if one["verdict"] in ("identical", "contains")]
    ordered = [one for one in held if one["units"]["rows"]]
    # Of each method: whether it was tried, and what it found.
    came_to = {
        "search": (search is not None, search and search["models"]),
        "tensors": (exact, equal),
        "units": (ordered, [one for one in held if one["log10_p_all"] <= _UNITS]),
        "watermark": (marks, [one for one in marks if one["there"]]),
        "triggers": (opened, [one for one in opened if one["there"]]),
        "trace": (trace is not None, trace and trace["named"]),
    }
    results = {
        method: ("found" if hits else "nothing found") if looked else "not checked"
        for method, (looked, hits) in came_to.items()
    }
    listed = [of["method"] for of in found["tried"]]
    demand(listed == list(_METHODS), "match.json: the methods are not each once and in order")
    for of in found["tried"]:
        said = "match.json: %s: " % of["method"]
        same = of["result"] == results[of["method"]]
        demand(same, said + "the result does not follow from what was found")
        told = bool(of["why"]) == (of["result"] == "not checked")
        demand(told, said + "a reason is said where a method was not tried")
    # The word of an index alone is no verdict.
    own = any(results[method] == "found" for method in _METHODS if method != "search")
    same = found["verdict"] == ("match" if own else "nothing found")
    demand(same, "match.json: the verdict does not follow from what was found")
    left = [(_METHODS.index(of["method"]), of["what"]) for of in found.get("untried", ())]
    demand(_rising(left), "match.json: what was not tried repeats or is out of order")


def step_match(case: Case) -> str:
    """(16) What the findings say follows from their figures, and is about this model."""
    needed = case.kind == "match"
    if "match.json" not in case.members:
        left = "match.json" in case.withheld
        said = "the findings are withheld" if left else "the bundle carries no findings"
        raise NotChecked(said, needed=needed)
    demand(needed, "match.json is carried by a bundle of another kind")
    found = read_findings(case.json("match.json"))
    claim, suspect = need(case.claim, "the claim"), found["suspect"]
    about = {name: suspect[name] for name in ("sha256", "size", "name")}
    demand(about == case.index["suspect"], "match.json is about another suspect")
    root = hex0(claim["artifact_root"])
    ours = [one for one in found["comparisons"] if one["ours"]["artifact_root"] == root]
    trace, search = found["trace"], found["search"]
    if trace is not None:
        lodged = {hex0(event["recordHash"]) for event in case.sealed}
        known = trace["model_id"] == hex0(case.model) and trace["sealing"] in lodged
        demand(known, "match.json: the sealing that was traced is not lodged for this model")
    listed = [
        of for of in (search["models"] if search else ()) if of["model_id"] == hex0(case.model)
    ]
    for of in listed:
        title, history = need(case.title, "the title"), need(case.history, "the title's history")
        stands = (case.chain, title["committed"], history["registration"]["block"])
        same = (search["chain_id"], of["committed_at"], of["registered_block"]) == stands
        place = _place_of(case)
        same = same and (None in (of["place"], place) or of["place"] == place)
        demand(same, "match.json gives this model another time than the chain")
    marked, licensor = hex0(claim["watermark_commitment"]), checksummed(claim["licensor"])
    related = (
        ours
        or listed
        or trace is not None
        or any(one["commitment"] == marked for one in found["watermarks"])
        or any(
            (one["owner"], one["chain_id"]) == (licensor, case.chain) for one in found["triggers"]
        )
    )
    demand(related, "nothing in match.json is about this model")
    # Last, because it may end without a result.
    for one in ours:
        if one["tensors"] is not None:
            _check_membership(case, one["tensors"])
    committed = need(case.title, "the title")["committed"]
    there = _place_of(case) if search and search["chain_id"] == case.chain else None
    case.match = {
        "digest": hex0(sha256(case.members["match.json"])),
        "suspect": {name: suspect[name] for name in ("name", "kind", "size", "sha256", "received")},
        "verdict": found["verdict"],
        **{name: found[name] for name in ("tried", "untried") if name in found},
        "sentences": _sentences(found, root, marked, hex0(case.model), committed, there),
    }
    rows = sum(len(one["units"]["rows"]) for one in found["comparisons"])
    return (
        "%s: lists, %d rows and all bounds follow from their figures; what the suspect holds shows "
        "with the file" % (found["verdict"], rows)
    )


def _check_membership(case: Case, tensors: dict[str, Any]) -> None:
    """The shared tensors are the claimed model's."""
    wanted = {of["cid"]: of for of in tensors["shared"]}
    cids = (*wanted, *tensors["set_aside"])
    counts = "match.json: the claimed model has %d different tensors"
    if "fingerprint.json" in case.members:
        held = {of["cid"]: of for of in case.json("fingerprint.json")["tensors"]}
        for cid in cids:
            said = "match.json: %s… " % cid[:18]
            demand(cid in held, said + "is called shared and is no tensor of the claimed model")
            if cid in wanted:
                same = _elements(held[cid]) == wanted[cid]["elements"]
                same = same and held[cid]["identity"] != wanted[cid]["packed"]
                demand(same, said + "is of another size or kind in the claimed model")
        size = sum(of["identity"] for of in held.values())
        demand(size == tensors["of"], counts % size)
        values = sum(_elements(of) for of in held.values())
        same = values == tensors["of_values"]
        demand(same, "match.json: the claimed model has %d values" % values)
        return
    packed = any(of["packed"] for of in tensors["shared"])
    for cid in cids:
        name = "tensors/%s.json" % cid[2:]
        if packed or name not in case.members:
            raise NotChecked("not every shared tensor has its proof here, nor is their list here")
        size = case.json(name)["size"]  # step 8 verified it
        demand(size == tensors["of"], counts % size)


def _elements(of: dict[str, Any]) -> int:
    elements = 1
    for dim in of["shape"]:
        elements *= dim
    return elements


def _share(values: int, all_: int) -> str:
    """So many of our values, with their share rounded down."""
    parts = values * 10_000 // max(all_, 1)
    percent = "less than 0.01" if values and not parts else "%d.%02d" % divmod(parts, 100)
    return "%d of %d values of ours (%s %%)" % (values, all_, percent)


def _power(stated: int) -> str:
    """A stated bound for people, rounded upwards to a tenth."""
    tenths = -stated // 100_000
    return "10^-%d.%d" % divmod(tenths, 10) if tenths else "1 (no evidence)"


def _place_of(case: Case) -> dict[str, int] | None:
    """Where the commitment that the title's time is of stands; None if the bundle lacks it."""
    registered = case.history["registration"] if case.history else None
    title = need(case.title, "the title")
    event = case.commitment if title["has_commitment"] else registered
    return dict(zip(("block", "transaction"), event["position"])) if event else None


def _committed_when(of: dict[str, Any], committed: int, place: dict[str, int] | None) -> str | None:
    """How another model's commitment stands to this one's; None if it is later."""
    at, there = "at second %d" % of["committed_at"], of["place"]
    if of["committed_at"] > committed:
        return None
    if of["committed_at"] < committed:
        return "earlier than this model, " + at
    if place is None or there is None:
        return "in the same second as this model, " + at + ": which came first is not shown"
    mine, theirs = [(one["block"], one["transaction"]) for one in (place, there)]
    if theirs > mine:
        return None
    if theirs == mine:
        return "in the same transaction as this model, " + at
    same = theirs[0] == mine[0]
    block = "in the same block" if same else "in an earlier block"
    return "earlier than this model, " + at + ", " + block


def _sentences(
    found: dict[str, Any],
    root: str,
    marked: str,
    model: str,
    committed: int,
    place: dict[str, int] | None,
) -> list[str]:
    """All that may be said of findings, in the words of the page."""
    suspect, held = found["suspect"], found["comparisons"]
    said = [
        "Suspect: %(name)s (%(kind)s, %(size)d bytes, SHA-256 %(sha256)s), received %(received)s by "
        "the examiner's clock and hashed before anything read it." % suspect
    ]
    for one in held:
        said += _of_comparison(one, len(held), root)
    corrected = "corrected for the tests counted; the level is 10^-38.5."
    proven = {
        True: "The examiner's checks that it needs passed.",
        False: "The examiner's checks that it needs did not all pass: see match.json.",
    }
    for one in found["watermarks"]:
        there = "there" if one["there"] else "not found"
        said.append(
            "Watermark %s: %s. Under H0, that nobody who had the key made the suspect or the "
            "original, the signs agree so well with a probability of at most %s, %s"
            % (one["commitment"], there, _power(one["log10_p"]), corrected)
        )
        carries = "carries" if one["commitment"] == marked else "does not carry"
        said.append("This model's claim %s that commitment." % carries)
        said.append(proven[one["proven"]])
    for one in found["triggers"]:
        there = "there" if one["there"] else "not found"
        said.append(
            "Triggers %s: %s. %d of %d questions were answered as drawn among %d answers. Under H0, "
            "that nobody who knew the keys made the suspect, so many are with a probability of at "
            "most %s, %s"
            % (
                *(one["commitment"], there, one["right"], one["asked"], one["answers"]),
                *(_power(one["log10_p_all"]), corrected),
            )
        )
        said.append(proven[one["proven"]])
    if found["trace"] is not None:
        head = "Trace of sealing %s: " % found["trace"]["sealing"]
        for of in found["trace"]["named"]:
            said.append(
                head + "license %s, held by %s, is named; the probability of naming an innocent is "
                "at most %s." % (of["license"], of["holder"], _power(of["log10_p"]))
            )
        named = bool(found["trace"]["named"])
        said.append(proven[found["trace"]["proven"]] if named else head + "no license is named.")
    search = found["search"]
    if search is not None:
        said.append(
            "Registered models that hold tensors of the suspect, by the word of the index %s: %d."
            % (search["index"], len(search["models"]))
        )
        for of in search["models"]:
            when = _committed_when(of, committed, place)
            if of["model_id"] != model and when is not None:
                said.append("%(model_id)s of %(licensor)s was committed to " % of + when + ".")
        if search["more"]:
            said.append("The index left later registrations out.")
    for of in found["tried"]:
        if of["result"] == "not checked":
            said.append("Not checked, %(method)s: %(why)s." % of)
    for of in found.get("untried", ()):
        said.append(
            "Not tried, %(method)s, %(what)s: %(why)s. No result of this method covers it." % of
        )
    said.append(
        "Comparisons made with this suspect: %d. What was tried and found nothing is in the list of "
        "methods." % len(held)
    )
    said.append(
        "These findings are the examiner's word, but for what is recomputed from the suspect file: "
        "deed evidence verify --suspect FILE."
    )
    return said


def _of_comparison(one: dict[str, Any], comparisons: int, root: str) -> list[str]:
    ours, tensors, units = one["ours"], one["tensors"], one["units"]
    rows, reached = units["rows"], one["log10_p_all"] <= _UNITS
    this = "this" if ours["artifact_root"] == root else "another"
    whom = "%s model (%s)" % (this, ours["artifact_root"])
    if ours["kind"] == "sketch":
        known = "to which no node showed a commitment"
        if ours["commitment"] is not None:
            known = (
                "committed to by %(owner)s in block %(block)d, as a node showed"
                % (ours["commitment"])
            )
        whom = "the sketch %s of %s, %s" % (ours["sketch_root"], whom, known)
    said = ["Held against %s: %s." % (whom, one["verdict"])]
    if tensors is None:
        said.append("Equal tensors were not looked for: ours is a sketch.")
    else:
        said.append(
            "%d of %d tensors of ours are in the suspect, with %s; %d more that anybody may have were "
            "set aside."
            % (
                *(tensors["found"], tensors["of"]),
                _share(tensors["values"], tensors["of_values"]),
                len(tensors["set_aside"]),
            )
        )
    if rows:
        counted, every = _power(units["log10_p_counted"]), _power(one["log10_p_all"])
        said.append(
            "H0: the hidden units of the two models were put in order independently of each other. "
            "Over %d matrices, %d pairings counted, the probability of so many units at the same "
            "places or in the same order is at most %s under H0; over all comparisons made here "
            "(%d), %s. H0 is rejected at 10^-20.0."
            % (len(rows), units["tried"], counted, comparisons, every)
        )
    else:
        said.append(
            "No matrix of ours has a counterpart in the suspect: the order of units was not tested."
        )
    left = sum(row["fitted"] for row in rows)
    if left:
        said.append(
            "Left out of the bound, matrices: %d. Their order may have been fitted afterwards."
            % left
        )
    if rows and not reached:
        said.append("H0 is not rejected by the order of units. That is no proof of it.")
    if reached:
        said.append(
            "Two models trained apart look the same to this test when they began from the same seed, "
            "or both derive from a third one."
        )
    if tensors is not None and tensors["shared"]:
        said.append(
            "Equal tensors are explained by a common source as well as by one of the two having them "
            "from the other."
        )
    if one["verdict"] != "nothing found":
        said.append(
            "Which of the two came first is in no such figure: anchored time and custody tell it."
        )
    for of in one["controls"]:
        bound = _power(of["log10_p"])
        said.append(
            "The control %s matches the suspect too (%s): what it shares with ours may explain the "
            "match." % (of["title"], bound)
            if of["log10_p"] <= _UNITS
            else "The control %s does not match the suspect (%s)." % (of["title"], bound)
        )
    return said


# ---- With the suspect at hand (docs/spec/match.md, after step 16) -----------------------------------

# Codes of docs/spec/fingerprint.md.
_CODES = {
    **{name: 1 + at for at, name in enumerate(("BOOL", "U8", "I8", "U16", "I16", "U32", "I32"))},
    **{name: 8 + at for at, name in enumerate(("U64", "I64"))},
    **{name: 16 + at for at, name in enumerate(("F16", "BF16", "F32", "F64", "C64"))},
    **{"F8_" + name: 32 + at for at, name in enumerate(("E4M3", "E5M2", "E8M0"))},
    **{"F8_" + name: 35 + at for at, name in enumerate(("E4M3FNUZ", "E5M2FNUZ"))},
    "F4": 48,
    "F6_E2M3": 49,
    "F6_E3M2": 50,
}
_PIECE = 1 << 20


def with_suspect(data: bytes, path: str, *, proven: bool) -> list[dict[str, Any]]:
    """What a bundle's findings say of a file, from that file, as far as this script can.

    `proven` says whether step 16 passed: else only the file's digest is compared. Raises OSError if
    the file cannot be read.
    """
    checks: list[dict[str, Any]] = []

    def note(title: str, result: str, detail: str) -> None:
        number = len(checks) + 1
        checks.append({"number": number, "title": title, "result": result, "detail": detail})

    files = _files_of(path)
    examined = "it is the file that was examined"
    try:
        members = unzip(data)[0]
        demand("match.json" in members, "the bundle carries no findings")
        found = read_findings(read_json(members["match.json"], "match.json"))
    except (BadForm, Fail) as why:
        note(examined, "not checked", str(why))
        return checks
    size, hashed = _received(path, files)
    of = found["suspect"]
    if (size, hashed) != (of["size"], of["sha256"]):
        told = (hashed, size, of["sha256"], of["size"])
        note(examined, "fail", "it is another: %s (%d bytes); examined was %s (%d bytes)" % told)
        return checks
    note(examined, "pass", hashed)
    title = "it holds the shared tensors"
    try:
        note(title, "pass", _shared_again(members if proven else {}, found, path))
    except NotChecked as why:
        note(title, "not checked", str(why))
    except Fail as why:
        note(title, "fail", str(why))
    why_not = "this script compares no weights: deed evidence verify --suspect FILE --ours MODEL"
    note("the rows of units are as listed", "not checked", why_not)
    return checks


def _files_of(path: str) -> list[str]:
    """The file, or the files of a folder. Raises OSError if these are not all that there is."""

    def refuse(error: OSError) -> None:
        raise error

    names = [path]
    if os.path.isdir(path):
        names = []
        for at, folders, inner in os.walk(path, onerror=refuse):
            # A linked folder is not entered: without its files the digest is that of another.
            for name in (os.path.join(at, name) for name in folders):
                if os.path.islink(name):
                    raise OSError(errno.ELOOP, "%s is a link to a folder" % name)
            names += [os.path.join(at, name) for name in inner]
    if not names:
        raise OSError(errno.ENOENT, "the folder holds no file")
    for name in names:
        if not stat.S_ISREG(os.stat(name).st_mode):  # a pipe or a device may never end
            raise OSError(errno.EINVAL, "%s is no regular file" % name)
    return names


def _received(path: str, names: list[str]) -> tuple[int, str]:
    """Size and SHA-256 of a file; of a folder, the sum and the digest over its files."""
    folder = os.path.isdir(path)
    files: list[dict[str, Any]] = []
    for name in names:
        hashed, size = hashlib.sha256(), 0
        with open(name, "rb") as file:
            for piece in iter(lambda: file.read(_PIECE), b""):
                hashed.update(piece)
                size += len(piece)
        shown = os.path.relpath(name, path).replace(os.sep, "/") if folder else ""
        files.append({"name": shown, "size": size, "sha256": "0x" + hashed.hexdigest()})
    files.sort(key=lambda of: str(of["name"]))
    whole = tagged("modeldeed/suspect/1", files) if folder else str(files[0]["sha256"])
    return sum(of["size"] for of in files), whole


def _shared_again(members: dict[str, bytes], found: dict[str, Any], path: str) -> str:
    """Look for shared tensors by content ids alone: equal ones, and casts of ours."""
    if "fingerprint.json" not in members:
        raise NotChecked("the list of our tensors is not in the bundle, or step 16 did not pass")
    ours = read_json(members["fingerprint.json"], "fingerprint.json")
    held_against = [
        one["tensors"]
        for one in found["comparisons"]
        if one["ours"]["artifact_root"] == ours["content_root"] and one["tensors"] is not None
    ]
    if not held_against:
        raise NotChecked("none were listed")
    tensors = held_against[0]
    if os.path.isdir(path):
        raise NotChecked("this script looks into one safetensors file, not into folders")
    theirs = _content_ids(path)
    root = hex0(tree_root([sha256(b"\0\x20" + cid) for cid in sorted(set(theirs[0]))]))
    demand(tensors["content_root"] == root, "its content root is " + root)
    held = {hex0(cid) for cid in theirs[1]}
    casts = {of["cid"]: {one["cid"] for one in of.get("derived", ())} for of in ours["tensors"]}
    left = 0
    for of in tensors["shared"]:
        if of["relation"] == "identity":
            demand(of["cid"] in held, "%s… is not in it" % of["cid"][:18])
        elif of["relation"] != "cast" or not casts.get(of["cid"], set()) & held:
            left += 1
    if left:
        raise NotChecked(
            "%d of %d are found again; the others need values rounded or sorted, which deed evidence "
            "verify --suspect does" % (len(tensors["shared"]) - left, len(tensors["shared"]))
        )
    return "%d are found again" % len(tensors["shared"])


def _header(head: bytes) -> dict[str, Any]:
    """The entries of a safetensors header: whole numbers alone, no name twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len({key for key, _ in pairs}) == len(pairs), "a name stands there twice")
        return dict(pairs)

    def whole(text: str) -> int:
        demand(len(text) <= 17, "a number is too large")
        return natural(int(text), -_MOST)

    def refuse(text: str) -> Any:
        raise Fail(text + " is no whole number")

    entries = object_of(
        json.loads(
            head.decode(),
            object_pairs_hook=unique,
            parse_int=whole,
            parse_float=refuse,
            parse_constant=refuse,
        )
    )
    entries.pop("__metadata__", None)
    return entries


def _content_ids(path: str) -> tuple[list[bytes], list[bytes]]:
    """The content ids of a safetensors file: of tensors with identity, and of all."""
    no_file = NotChecked("this script reads safetensors alone, and this is none")
    whole = os.path.getsize(path)
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= min(100_000_000, whole - 8):
            raise no_file
        head = file.read(size)
        if _depth(head) > 64:
            raise no_file
        tensors, room = [], whole - 8 - size
        try:
            for of in _header(head).values():
                code, (bits, floating) = _CODES[of["dtype"]], _DTYPES[of["dtype"]]
                shape, (begin, end) = list_of(of["shape"], 64), list_of(of["data_offsets"], 2)
                elements = 1
                for dim in shape:
                    elements *= natural(dim)
                natural(begin), natural(end, begin, whole - 8 - size)
                demand(elements * bits == (end - begin) * 8, "a tensor has another size")
                room -= end - begin
                # Each byte is hashed once, whoever made the file.
                demand(room >= 0, "tensors lie over each other")
                tensors.append((code, bits, floating, shape, elements, begin, end))
        except (Fail, ValueError, KeyError, TypeError, RecursionError):
            raise no_file from None
        learnt, all_ = [], []
        for code, bits, floating, shape, elements, begin, end in tensors:
            file.seek(8 + size + begin)
            width, leaves, alike, first = max(1, bits // 8), [], True, b""
            for at in range(begin, end, _PIECE):
                piece = file.read(min(_PIECE, end - at))
                first = first or piece[:width]
                alike = alike and piece == first * (len(piece) // width)
                leaves.append(sha256(b"\0" + piece))
            place = struct.pack("<HB%dQQ" % len(shape), code, len(shape), *shape, end - begin)
            cid = sha256(b"\x10mfp1" + place + tree_root(leaves))
            all_.append(cid)
            if floating and elements >= 16 and not alike:
                learnt.append(cid)
    return learnt, all_


# ---- Time-stamps (docs/spec/timestamps.md): DER, X.509, RFC 3161, OpenTimestamps --------------------

_SHA2 = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_RSA = "1.2.840.113549.1.1.1"
_RSA_WITH = {"1.2.840.113549.1.1.%d" % (11 + i): kind for i, kind in enumerate(_SHA2.values())}
_ECDSA_WITH = {"1.2.840.10045.4.3.%d" % (2 + i): kind for i, kind in enumerate(_SHA2.values())}
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_KNOWN_EXTENSIONS = {"2.5.29.%d" % arc for arc in (14, 15, 17, 18, 19, 31, 32, 35, 37)}
_KEY_USAGE, _BASIC, _EXTENDED = "2.5.29.15", "2.5.29.19", "2.5.29.37"


class Node:
    """A DER element: tag, content, and its bytes as they stand; parts are taken in order."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        demand(at + 2 <= len(data) and data[at] & 0x1F != 0x1F, "DER is cut off")
        self.tag, size, start = data[at], data[at + 1], at + 2
        if size >= 0x80:
            width = size & 0x7F
            demand(1 <= width <= 4 and start + width <= len(data), "a DER length is malformed")
            size = int.from_bytes(data[start : start + width], "big")
            least = size >= 0x80 and size >> 8 * (width - 1)
            demand(least, "a DER length is not in the fewest bytes")
            start += width
        demand(start + size <= len(data), "DER is cut off")
        self.content, self.raw = data[start : start + size], data[at : start + size]
        self.next = 0

    def maybe(self, tag: int) -> Node | None:
        if self.next >= len(self.content) or self.content[self.next] != tag:
            return None
        node = Node(self.content, self.next)
        self.next += len(node.raw)
        return node

    def take(self, tag: int) -> Node:
        node = self.maybe(tag)
        demand(node is not None, "a DER element 0x%02x is missing" % tag)
        assert node is not None
        return node

    def end(self) -> None:
        demand(self.next == len(self.content), "a DER element has a part too many")

    def parts(self) -> list[Node]:
        found, at = [], 0
        while at < len(self.content):
            found.append(Node(self.content, at))
            at += len(found[-1].raw)
        return found


def der(data: bytes, tag: int = 0x30) -> Node:
    node = Node(data)
    demand(node.tag == tag and len(node.raw) == len(data), "this is another DER element")
    return node


def der_integer(node: Node) -> int:
    raw = node.content
    padded = len(raw) > 1 and (
        (raw[0] == 0 and raw[1] < 0x80) or (raw[0] == 0xFF and raw[1] >= 0x80)
    )
    demand(raw and len(raw) <= 64 and not padded, "a DER number is malformed")
    return int.from_bytes(raw, "big", signed=True)


def der_name(node: Node) -> str:
    """An object identifier in dots."""
    raw = node.content
    demand(raw and len(raw) <= 64 and not raw[-1] & 0x80, "an object identifier is malformed")
    arcs, value, fresh = [], 0, True
    for byte in raw:
        demand(not (fresh and byte == 0x80), "an object identifier is malformed")
        value, fresh = value << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def der_boolean(node: Node) -> bool:
    demand(node.content in (b"\0", b"\xff"), "a DER truth value is malformed")
    return node.content == b"\xff"


def der_algorithm(node: Node) -> tuple[str, bool]:
    """An algorithm without parameters, or with NULL: its name, and whether NULL stands."""
    node.next = 0
    name, null = der_name(node.take(6)), node.maybe(5)
    node.end()
    demand(null is None or not null.content, "a NULL has content")
    return name, null is not None


def der_time(fields: Node) -> int:
    """A Time of a certificate or list, in Unix seconds."""
    short = fields.maybe(0x17)
    text = (short or fields.take(0x18)).content.decode("latin-1")
    demand(re.fullmatch("[0-9]{12}Z" if short else "[0-9]{14}Z", text), "a time is malformed")
    if short:
        text = ("19" if text[:2] >= "50" else "20") + text
    return seconds_of(text[:14])


def seconds_of(digits: str) -> int:
    try:
        return calendar.timegm(datetime.strptime(digits, "%Y%m%d%H%M%S").timetuple())
    except ValueError:
        raise Fail("a time names no moment") from None


def check_signature(
    algorithm: Node, key: bytes, message: bytes, signature: bytes, stated: str = ""
) -> None:
    """RSA (RFC 8017, 8.2.2) or ECDSA (FIPS 186-4, 6.4) by the key in a SubjectPublicKeyInfo."""
    name, null = der_algorithm(algorithm)
    kind = _RSA_WITH.get(name) or _ECDSA_WITH.get(name)
    if name == _RSA and stated:
        kind = _SHA2.get(stated)
    right = kind is not None and (not stated or kind == _SHA2.get(stated))
    demand(right, "a signature of the kind %s is not read" % name)
    assert kind is not None
    hashed = hashlib.new(kind, message).digest()
    fields = der(key)
    about, held = fields.take(0x30), fields.take(3)
    fields.end()
    demand(held.content[:1] == b"\0", "a public key is malformed")
    public = held.content[1:]
    key_kind = der_name(about.take(6))
    if name in _ECDSA_WITH:
        demand(key_kind == "1.2.840.10045.2.1" and not null, "a signature and its key differ")
        curve = _NIST.get(der_name(about.take(6)))
        about.end()
        demand(curve is not None, "the curve of a key is not read")
        assert curve is not None
        width = (curve.p.bit_length() + 7) // 8
        demand(len(public) == 1 + 2 * width and public[0] == 4, "a public key is malformed")
        point = (
            int.from_bytes(public[1 : 1 + width], "big"),
            int.from_bytes(public[1 + width :], "big"),
        )
        demand(curve.on(point), "a public key is no point of its curve")
        pair = der(signature)
        r, s = _large(pair.take(2)), _large(pair.take(2))
        pair.end()
        demand(0 < r < curve.n and 0 < s < curve.n, "a signature does not verify")
        e = int.from_bytes(hashed, "big") >> max(0, 8 * len(hashed) - curve.n.bit_length())
        inverse = pow(s, curve.n - 2, curve.n)
        found = curve.sum(e * inverse % curve.n, curve.g, r * inverse % curve.n, point)
        demand(found is not None and found[0] % curve.n == r, "a signature does not verify")
        return
    demand(key_kind == _RSA, "a signature and its key are of different kinds")
    numbers = der(public)
    modulus, exponent = _large(numbers.take(2)), _large(numbers.take(2))
    numbers.end()
    demand(not about.take(5).content, "a NULL has content")
    about.end()
    usual = 2048 <= modulus.bit_length() <= 8192 and 2 < exponent < 1 << 64
    demand(usual and modulus & exponent & 1, "an RSA key of this size is not read")
    size = (modulus.bit_length() + 7) // 8
    value = int.from_bytes(signature, "big")
    demand(len(signature) == size and value < modulus, "a signature does not verify")
    tail = _DIGEST_INFO[kind] + hashed
    padded = b"\0\1" + b"\xff" * (size - len(tail) - 3) + b"\0" + tail
    opened = pow(value, exponent, modulus).to_bytes(size, "big")
    demand(opened == padded, "a signature does not verify")


def _large(node: Node) -> int:
    raw = node.content
    demand(raw and raw[0] < 0x80 and len(raw) <= 1025, "a number of a key is malformed")
    demand(len(raw) == 1 or raw[0] or raw[1] >= 0x80, "a number of a key is malformed")
    return int.from_bytes(raw, "big")


def _signed_parts(raw: bytes) -> tuple[Node, Node, bytes]:
    fields = der(raw)
    body, algorithm, signature = fields.take(0x30), fields.take(0x30), fields.take(3).content
    fields.end()
    demand(signature[:1] == b"\0", "a bit string has unused bits")
    return body, algorithm, signature[1:]


def _extensions(parts: list[Node]) -> dict[str, tuple[bool, bytes]]:
    found: dict[str, tuple[bool, bytes]] = {}
    for part in parts:
        demand(part.tag == 0x30, "an extension is malformed")
        name, critical = der_name(part.take(6)), part.maybe(1)
        value = part.take(4).content
        part.end()
        demand(name not in found, "an extension stands twice")
        found[name] = (critical is not None and der_boolean(critical), value)
    return found


def certificate_of(raw: bytes) -> dict[str, Any]:
    body, algorithm, signature = _signed_parts(raw)
    marked = body.maybe(0xA0)
    version = 0 if marked is None else der_integer(der(marked.content, 2))
    serial = body.take(2)
    der_integer(serial)
    demand(body.take(0x30).raw == algorithm.raw, "a certificate names two algorithms")
    issuer, validity = body.take(0x30).raw, body.take(0x30)
    begin, end = der_time(validity), der_time(validity)
    validity.end()
    subject, key = body.take(0x30).raw, body.take(0x30).raw
    common_name(subject)
    body.maybe(0x81), body.maybe(0x82)
    wrapped = body.maybe(0xA3)
    extensions = {} if wrapped is None else _extensions(der(wrapped.content).parts())
    body.end()
    demand(version == 2 or (version == 0 and not extensions), "a certificate's version")
    return {
        "raw": raw,
        "version": version,
        "serial": serial.content,
        "issuer": issuer,
        "subject": subject,
        "from": begin,
        "until": end,
        "key": key,
        "signed": body.raw,
        "extensions": extensions,
        "algorithm": algorithm,
        "signature": signature,
    }


def common_name(subject: bytes) -> str | None:
    for names in der(subject).parts():
        for pair in names.parts():
            if der_name(pair.take(6)) != "2.5.4.3":
                continue
            for tag, encoding in ((0x0C, "utf-8"), (0x13, "ascii"), (0x16, "ascii")):
                text = pair.maybe(tag)
                if text is not None:
                    try:
                        return text.content.decode(encoding)
                    except UnicodeDecodeError:
                        return None
            return None
    return None


def _may(one: dict[str, Any], *uses: int) -> bool:
    if _KEY_USAGE not in one["extensions"]:
        return True
    content = der(one["extensions"][_KEY_USAGE][1], 3).content
    demand(len(content) >= 2, "a certificate's key usage is malformed")
    return any(
        1 + use // 8 < len(content) and content[1 + use // 8] >> (7 - use % 8) & 1 for use in uses
    )


def check_chain(chain: list[dict[str, Any]], at: int) -> None:
    """Each certificate is issued by the next and valid at that second; the last names itself."""
    for place, one in enumerate(chain):
        last = place == len(chain) - 1
        above = one if last else chain[place + 1]
        demand(one["issuer"] == above["subject"], "a certificate is not issued by the next one")
        if not last:
            check_signature(one["algorithm"], above["key"], one["signed"], one["signature"])
        demand(one["from"] <= at <= one["until"], "a certificate was not valid at that time")
        demand(one["version"] or last, "a certificate below the root is version 1")
        for name, (critical, _) in one["extensions"].items():
            demand(not critical or name in _KNOWN_EXTENSIONS, "an extension %s" % name)
        if place and one["version"]:
            demand(_BASIC in one["extensions"], "a certificate is not of an authority")
            fields = der(one["extensions"][_BASIC][1])
            authority, limit = fields.maybe(1), fields.maybe(2)
            fields.end()
            right = authority is not None and der_boolean(authority) and _may(one, 5)
            demand(right, "a certificate is not of an authority")
            demand(limit is None or der_integer(limit) >= place - 1, "a chain is too long")
    critical, value = chain[0]["extensions"].get(_EXTENDED, (False, b""))
    demand(critical, "the signing certificate is not for time-stamps alone")
    uses = der(value).parts()
    names = [der_name(use) for use in uses if use.tag == 6]
    alone = len(uses) == 1 and names == ["1.3.6.1.5.5.7.3.8"]
    demand(alone, "the signing certificate is not for time-stamps alone")
    demand(_may(chain[0], 0, 1), "the signing certificate's key may not sign")


def check_revocation(chain: list[dict[str, Any]], raw: bytes, at: int) -> int:
    """A revocation list of the chain does not take its word for that second away."""
    body, algorithm, signature = _signed_parts(raw)
    body.maybe(2)
    demand(body.take(0x30).raw == algorithm.raw, "a revocation list names two algorithms")
    issuer, issued = body.take(0x30).raw, der_time(body)
    _ = body.maybe(0x17) or body.maybe(0x18)
    entries, wrapped = body.maybe(0x30), body.maybe(0xA0)
    extensions = {} if wrapped is None else _extensions(der(wrapped.content).parts())
    body.end()
    plain = not any(critical for critical, _ in extensions.values())
    demand(plain, "this kind of revocation list is not read")
    revoked = {}
    for entry in entries.parts() if entries is not None else []:
        demand(entry.tag == 0x30, "a revocation list is malformed")
        serial, when, more = entry.take(2).content, der_time(entry), entry.maybe(0x30)
        entry.end()
        details = {} if more is None else _extensions(more.parts())
        plain = not any(critical for critical, _ in details.values())
        demand(plain, "this kind of revocation list is not read")
        reason = details.get("2.5.29.21")
        revoked[serial] = (when, None if reason is None else der_integer(der(reason[1], 10)))
    issuers = [one for one in chain[1:] if one["subject"] == issuer]
    demand(issuers and _may(issuers[0], 6), "a revocation list is not of the chain's authority")
    check_signature(algorithm, issuers[0]["key"], body.raw, signature)
    for one in chain:
        if one["issuer"] == issuer and one["serial"] in revoked:
            when, why = revoked[one["serial"]]
            demand(when > at, "a certificate was revoked before the token was made")
            demand(why in (0, 3, 4, 5), "a certificate was revoked for a tainting reason")
    return issued


def pem_blocks(data: bytes, kind: str, limit: int, most: int) -> list[bytes]:
    """The DER blocks of a PEM member in its only spelling."""
    demand(len(data) <= limit, "a PEM member is too long")
    begin, end = "-----BEGIN %s-----\n" % kind, "-----END %s-----\n" % kind
    found, spelled = [], ""
    for body in re.findall(begin + "([A-Za-z0-9+/=\n]+)" + end, data.decode("latin-1")):
        try:
            raw = base64.b64decode(body.replace("\n", ""), validate=True)
        except ValueError:
            raise Fail("a PEM block is no base64") from None
        found.append(raw)
        text = base64.b64encode(raw).decode()
        rows = "".join(text[at : at + 64] + "\n" for at in range(0, len(text), 64))
        spelled += begin + rows + end
    demand(0 < len(found) <= most and spelled.encode() == data, "a PEM member is another one")
    return found


def token_of(raw: bytes, pem: bytes, lists: bytes | None, imprint: bytes) -> dict[str, Any]:
    """A token of RFC 3161 that dates `imprint`, with the certificates behind it."""
    demand(len(raw) <= 64 << 10, "a token is too long")
    outer = der(raw)
    demand(der_name(outer.take(6)) == "1.2.840.113549.1.7.2", "this is not a time-stamp token")
    inside = outer.take(0xA0)
    outer.end()
    fields = der(inside.content)
    der_integer(fields.take(2)), fields.take(0x31)
    wrapped = fields.take(0x30)
    tst = "1.2.840.113549.1.9.16.1.4"
    demand(der_name(wrapped.take(6)) == tst, "this is not a time-stamp token")
    content = der(wrapped.take(0xA0).content, 4).content
    wrapped.end()
    embedded = fields.maybe(0xA0)
    fields.maybe(0xA1)
    signers = fields.take(0x31)
    fields.end()
    info = der(signers.content)
    der_integer(info.take(2))
    who = info.take(0x30)
    issuer, serial = who.take(0x30).raw, who.take(2).content
    who.end()
    hash_name = der_algorithm(info.take(0x30))[0]
    attributes = info.take(0xA0).content
    algorithm, signature = info.take(0x30), info.take(4).content
    info.maybe(0xA1)
    info.end()
    demand(hash_name in _SHA2, "the token's hash is not read")
    stamp = _statement_of(content)
    if embedded is not None:
        embedded.parts()
    demand(stamp["imprint"] == imprint, "the token dates something else")
    chain = [certificate_of(one) for one in pem_blocks(pem, "CERTIFICATE", 64 << 10, 8)]
    crls = [] if lists is None else pem_blocks(lists, "X509 CRL", 4 << 20, 16)
    signer = chain[0]
    # RFC 5652, 5.4: the attributes are signed under the tag of a SET.
    size = len(attributes)
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(shortest(size))]) + shortest(size)
    signed = b"\x31" + length + attributes
    found: dict[str, Node] = {}
    for one in der(signed, 0x31).parts():
        demand(one.tag == 0x30, "the token's attributes are malformed")
        name, values = der_name(one.take(6)), one.take(0x31).parts()
        one.end()
        demand(name not in found and len(values) == 1, "an attribute is not there once")
        found[name] = values[0]

    def attribute(name: str, tag: int) -> Node:
        demand(name in found and found[name].tag == tag, "the token lacks an attribute " + name)
        return found[name]

    demand(der_name(attribute("1.2.840.113549.1.9.3", 6)) == tst, "the token is of another type")
    stated = attribute("1.2.840.113549.1.9.4", 4).content
    hashed = hashlib.new(_SHA2[hash_name], content).digest()
    demand(stated == hashed, "the token's digest is not that of its statement")
    first, second = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
    demand(first in found or second in found, "the token does not name its certificate")
    if second in found:
        listed = attribute(second, 0x30).take(0x30).take(0x30)
        named = listed.maybe(0x30)
        kind = "2.16.840.1.101.3.4.2.1" if named is None else der_algorithm(named)[0]
        demand(kind in _SHA2, "the token's hash is not read")
        same = listed.take(4).content == hashlib.new(_SHA2[kind], signer["raw"]).digest()
        demand(same, "the token names another certificate")
    if first in found:
        listed = attribute(first, 0x30).take(0x30).take(0x30)
        same = listed.take(4).content == hashlib.new("sha1", signer["raw"]).digest()
        demand(same, "the token names another certificate")
    same = (issuer, serial) == (signer["issuer"], signer["serial"])
    demand(same, "the token names another signer")
    check_signature(algorithm, signer["key"], signed, signature, hash_name)
    check_chain(chain, stamp["time"])
    stamp["lists"] = [check_revocation(chain, one, stamp["time"]) for one in crls]
    stamp["chain"], stamp["root"] = chain, sha256(chain[-1]["raw"])
    return stamp


def _statement_of(content: bytes) -> dict[str, Any]:
    fields = der(content)
    demand(der_integer(fields.take(2)) == 1, "the token is not version 1")
    policy, imprint = der_name(fields.take(6)), fields.take(0x30)
    kind, hashed = der_algorithm(imprint.take(0x30))[0], imprint.take(4).content
    imprint.end()
    serial = fields.take(2)
    right = _SHA2.get(kind) == "sha256" and len(hashed) == 32 and der_integer(serial) >= 0
    demand(right, "the token does not date a SHA-256 digest")
    text = fields.take(0x18).content.decode("latin-1")
    when = re.fullmatch("([0-9]{14})(?:\\.([0-9]{1,6}))?Z", text)
    demand(when, "the token's time is malformed")
    assert when is not None
    generated = seconds_of(when[1]) * 10**6 + int((when[2] or "").ljust(6, "0"))
    stated, ordering, nonce = fields.maybe(0x30), fields.maybe(1), fields.maybe(2)
    fields.maybe(0xA0)
    more = fields.maybe(0xA1)
    fields.end()
    if ordering is not None:
        der_boolean(ordering)
    if nonce is not None:
        der_integer(nonce)
    if more is not None:
        plain = not any(critical for critical, _ in _extensions(more.parts()).values())
        demand(plain, "the token has a critical extension")
    accuracy = None
    if stated is not None:
        parts = [stated.maybe(tag) for tag in (2, 0x80, 0x81)]
        stated.end()
        whole, millis, micros = [0 if part is None else der_integer(part) for part in parts]
        right = 0 <= whole < 1 << 31
        right = right and (parts[1] is None or 1 <= millis <= 999)
        right = right and (parts[2] is None or 1 <= micros <= 999)
        demand(right, "the token's accuracy is malformed")
        accuracy = whole * 10**6 + millis * 1000 + micros
    return {
        "imprint": hashed,
        "generated": generated,
        "accuracy": accuracy,
        "policy": policy,
        "serial": serial.content,
        "time": generated // 10**6,
        "earliest": None if accuracy is None else (generated - accuracy) // 10**6,
        "latest": -(-(generated + (accuracy or 0)) // 10**6),
    }


def bitcoin_header(raw: bytes) -> dict[str, Any]:
    """80 bytes whose hash has the work that their bits claim."""
    demand(len(raw) == 80, "a Bitcoin header has 80 bytes")
    hashed, field = sha256(sha256(raw)), int.from_bytes(raw[72:76], "little")
    size, mantissa, target = field >> 24, field & 0xFFFFFF, 0
    if mantissa < 0x800000 and size <= 32:
        target = mantissa << 8 * (size - 3) if size >= 3 else mantissa >> 8 * (3 - size)
    worked = 0 < target <= 0xFFFF << 208 and int.from_bytes(hashed, "little") <= target
    demand(worked, "a Bitcoin header lacks the work its bits say")
    mined = int.from_bytes(raw[68:72], "little")
    return {"hash": hashed[::-1], "root": raw[36:68], "time": mined, "latest": mined + 7200}


class Proof:
    """An OpenTimestamps proof: what it dates, and the Bitcoin roots that its operations reach."""

    def __init__(self, data: bytes) -> None:
        demand(len(data) <= 1 << 20, "an OpenTimestamps proof is too long")
        self.data, self.at, self.operations = data, 0, 0
        self.reached: list[tuple[int, bytes]] = []
        magic = b"\0OpenTimestamps\0\0Proof\0\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
        known = self.take(len(magic)) == magic and self.number() == 1 and self.take(1) == b"\x08"
        demand(known, "this is not an OpenTimestamps proof of a SHA-256 digest")
        self.dated = self.take(32)
        self.walk(self.dated, 0)
        demand(self.at == len(data), "the OpenTimestamps proof has bytes after its end")

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        demand(len(found) == size, "the OpenTimestamps proof is cut off")
        self.at += size
        return found

    def number(self) -> int:
        value = 0
        for place in range(10):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                demand(value < 1 << 64, "a number in the OpenTimestamps proof is too large")
                return value
        raise Fail("a number in the OpenTimestamps proof is endless")

    def text(self, least: int, most: int) -> bytes:
        size = self.number()
        demand(least <= size <= most, "a text in the OpenTimestamps proof is too long")
        return self.take(size)

    def walk(self, message: bytes | None, depth: int) -> None:
        demand(depth <= 256, "the OpenTimestamps proof is nested too deeply")
        tag = self.take(1)[0]
        while tag == 0xFF:
            self.step(self.take(1)[0], message, depth)
            tag = self.take(1)[0]
        self.step(tag, message, depth)

    def step(self, tag: int, message: bytes | None, depth: int) -> None:
        self.operations += 1
        demand(self.operations <= 4096, "the OpenTimestamps proof has too many steps")
        if tag == 0:
            kind, rest = self.take(8), self.text(0, 8192)
            if kind == bytes.fromhex("0588960d73d71901"):
                inner = Proof.__new__(Proof)
                inner.data, inner.at = rest, 0
                height = inner.number()
                demand(inner.at == len(rest), "a Bitcoin attestation has bytes after its height")
                if message is not None:
                    self.reached.append((height, message))
            return
        argument = self.text(1, 4096) if tag in (0xF0, 0xF1) else b""
        known = tag in (0xF0, 0xF1, 0x08, 0x02, 0x03, 0x67, 0xF2, 0xF3)
        demand(known, "an OpenTimestamps operation is unknown")
        if message is not None:
            if tag in (0xF0, 0xF1):
                demand(len(message) + len(argument) <= 4096, "a message is too long")
                message = message + argument if tag == 0xF0 else argument + message
            elif tag in (0x08, 0x02):
                message = hashlib.new("sha256" if tag == 0x08 else "sha1", message).digest()
            else:
                message = None
        self.walk(message, depth + 1)


def _bounded(what: str, count: int) -> None:
    """Nothing else bounds how long the signatures of a hostile bundle take."""
    said = (STAMPS_IN_ALL[what], what.replace("_", " "))
    demand(count <= STAMPS_IN_ALL[what], "time-stamps have at most %d %s in all" % said)


def step_timestamps(case: Case) -> str:
    """(17) Each stamp carried dates these contents; pass if the reader vouches for one of them."""
    members = {name[11:]: case.members[name] for name in case.folder("timestamps")}
    if not members:
        raise NotChecked("the bundle carries no time-stamp", needed=False)
    contents = contents_of(case)
    stamps: list[dict[str, Any]] = []
    earlier, known = b"", {"bitcoin.ots"}
    lists = [name for name in members if name.endswith(".crl")]
    _bounded("tokens", sum(name.endswith(".tsr") for name in members))
    _bounded("list_bytes", sum(len(members[name]) for name in lists))
    for number in range(1, sum(name.endswith(".tsr") for name in members) + 1):
        token, pem, crl = ("%d%s" % (number, end) for end in (".tsr", ".pem", ".crl"))
        known |= {token, pem, crl}
        demand(token in members and pem in members, "token %d is not whole" % number)
        imprint = contents
        if number > 1:
            imprint = sha256(b"modeldeed/renewal/1\0" + contents + earlier)
        stamp = token_of(members[token], members[pem], members.get(crl), imprint)
        if stamps:
            rising = stamp["generated"] >= stamps[-1]["generated"]
            demand(rising, "token %d is older than the one it renews" % number)
            in_time = stamp["time"] <= stamps[-1]["chain"][0]["until"]
            demand(in_time, "token %d came after the certificate before it ended" % number)
        stamps.append(stamp)
        earlier += sha256(members[token])
        _bounded("certificates", sum(len(of["chain"]) for of in stamps))
        _bounded("lists", sum(len(of["lists"]) for of in stamps))
    blocks = {int(n[:-7]): bitcoin_header(members[n]) for n in members if n.endswith(".header")}
    odd = [name for name in members if name not in known and not name.endswith(".header")]
    demand(not odd, "timestamps/%s belongs to no token" % ", ".join(odd))
    reached: list[tuple[int, bytes]] = []
    if "bitcoin.ots" in members:
        proof = Proof(members["bitcoin.ots"])
        demand(proof.dated == contents, "the OpenTimestamps proof dates something else")
        reached = proof.reached
    for height, block in blocks.items():
        led = {root for at, root in reached if at == height} == {block["root"]}
        demand(led, "nothing leads to the root of Bitcoin block %d" % height)
    top = case.top()
    told = [("token %d" % number, of) for number, of in enumerate(stamps, start=1)]
    told += [("Bitcoin block %d" % height, of) for height, of in sorted(blocks.items())]
    for what, of in told:
        # A chain's rules may let a block's time run ahead: by an hour on Arbitrum.
        after = of["latest"] + 3600 >= top["time"]
        named = (what, utc(of["latest"]), top["number"], utc(top["time"]))
        demand(after, "%s is not later than %s, but the contents name block %d of %s" % named)
    case.stamps = {"tokens": stamps, "blocks": dict(sorted(blocks.items()))}
    roots = case.trust["roots"]
    trusted = [stamp for stamp in stamps if stamp["root"] in roots]
    strange = roots and stamps and not trusted
    demand(not strange, "none of the root certificates given is that of a token")
    mined = [block for block in blocks.values() if block["hash"] in case.trust["blocks"]]
    if trusted or mined:
        times = [utc(of["latest"]) for of in (*trusted, *mined)]
        return "these contents existed not later than " + ", ".join(times)
    rests = ["root certificate " + hex0(stamp["root"]) for stamp in stamps]
    rests += ["Bitcoin block %d %s" % (at, hex0(of["hash"])) for at, of in blocks.items()]
    rests += ["Bitcoin block %d" % at for at in sorted({at for at, _ in reached} - set(blocks))]
    raise NotChecked("the stamps hold if you trust " + " or ".join(rests), needed=False)


def step_custody(case: Case) -> str:
    """(18) The log is an unbroken chain about these contents, signed where it says so."""
    log = case.json("custody.json")
    demand(isinstance(log, list) and 0 < len(log) <= 10_000, "a custody log is a list of entries")
    signed_entries = sum(isinstance(entry, dict) and "signer" in entry for entry in log)
    demand(signed_entries <= 256, "a custody log has at most 256 signed entries")
    texts = {"time": 20, "actor": 200, "action": 40, "note": 2000, "software": 80}
    wanted = {*texts, "sequence", "previous", "contents", "hash"}
    previous, contents = hex0(bytes(32)), hex0(contents_of(case))
    spoken, signers = [], []
    for number, entry in enumerate(log, start=1):
        said = "custody entry %d" % number
        demand(isinstance(entry, dict), said + " is malformed")
        more = set(entry) - wanted
        right = wanted <= set(entry) and more <= {"printed", "signer", "signature"}
        demand(right and ("signer" in entry) == ("signature" in entry), said + " has other fields")
        for name, limit in texts.items():
            line = text_of(entry[name], limit)
            demand(is_plain(line), said + " is not one line of text")
        shaped = re.fullmatch(_UTC_TEXT, entry["time"])
        demand(shaped and type(entry["sequence"]) is int, said + " is malformed")
        follows = entry["sequence"] == number and entry["previous"] == previous
        demand(follows, said + " does not follow the one before")
        body = {key: entry[key] for key in entry if key not in ("hash", "signature")}
        previous = tagged("modeldeed/custody/1", body)
        demand(entry["hash"] == previous, said + " was changed")
        demand(entry["contents"] == contents, said + " speaks of other evidence than this")
        signer = None
        if "signer" in entry:
            signer, signature = address(entry["signer"]), data_of(entry["signature"], 65)
            demand(signature[64] in (27, 28), said + " has a malformed signature")
            message = b"\x19Ethereum Signed Message:\n32" + digest(previous)
            demand(recover(keccak(message), signature) == signer, said + " is another's")
            signers.append(checksummed(signer))
        if "printed" in entry:
            listed = object_of(entry["printed"])
            demand(listed and set(listed) <= set(_COPIES), said + " lists other members")
            for hashed in listed.values():
                digest(hashed)
            spoken.append((number, listed, signer))
    printed = spoken[-1][1] if spoken else {}
    for name in _COPIES:
        if name in case.members:
            same = printed.get(name) == hex0(sha256(case.members[name]))
            demand(same, name + " is not the one that the custody log lists")
    collectors = case.trust["collectors"]
    for number, _, signer in spoken:
        named = not collectors or signer in collectors
        demand(named, "custody entry %d is not signed by a collector you named" % number)
    signed = "; signed by " + ", ".join(dict.fromkeys(signers)) if signers else ""
    last = log[-1]
    given = last["actor"] != "not named"
    who = in_quotes(last["actor"]) if given else "somebody who is not named"
    latest = "the last %s by %s (times are claimed)" % (in_quotes(last["action"]), who)
    return "%d entries, %s%s" % (len(log), latest, signed)


# ---- The report ----------------------------------------------------------------------------------


def utc(seconds: int) -> str:
    if not 0 <= seconds <= 253_402_300_799:
        return "second %d" % seconds
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


# Named one by one, as on the page: Unicode's tables differ between versions of Python.
_NOT_PLAIN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff"
    "\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\U000f0000-\U0010ffff"
    + "".join(chr(plane << 16 | low) for plane in range(1, 15) for low in (0xFFFE, 0xFFFF))
    + "]"
)
_SPACES = re.compile("(?<= ) ")


def is_plain(text: str) -> bool:
    return _NOT_PLAIN.search(text) is None


def one_line(text: str) -> str:
    """Someone else's text so that it cannot pass for lines, colours or directions of ours."""
    return _SPACES.sub(r"\\x20", escaped(text))


def in_quotes(text: str) -> str:
    """Someone else's text in quotes that it cannot end."""
    return '"%s"' % one_line(text.replace("\\", r"\\").replace('"', r"\""))


def escaped(text: str) -> str:
    return _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _when(event: dict[str, Any]) -> dict[str, Any]:
    sent = event["transaction"]
    return {
        "block": event["block"],
        "not_later_than": event["time"],
        "transaction": None if sent is None else hex0(sent),
    }


def statement(case: Case) -> dict[str, Any]:
    """What report.json must be."""
    claim, title = need(case.claim, "the claim"), need(case.title, "the title")
    top, history = case.top(), need(case.history, "the title's history")
    known = [("this model was registered", history["registration"])]
    if case.commitment is not None:
        said = "this claim existed: a commitment to it was anchored"
        known.insert(0, (said, case.commitment))
    stood = {"block": top["number"], "time": top["time"], "transaction": None}
    known.append(("title and licenses stood as described", stood))
    document: dict[str, Any] = {
        "version": 1,
        "about": case.kind,
        "chain": {
            "id": case.chain,
            "genesis": hex0(case.genesis),
            "test_network": case.chain in TEST_NETWORKS,
        },
        "rests_on": [
            {"block": run[-1]["number"], "hash": hex0(run[-1]["hash"])} for run in case.runs
        ],
        "contracts": {name: checksummed(at) for name, (at, _) in case.contracts.items()},
        "model": {
            "id": hex0(case.model),
            "title": case.named,
            "artifact_root": hex0(claim["artifact_root"]),
            "fingerprint_digest": hex0(claim["fingerprint_digest"]),
            "watermark_commitment": hex0(claim["watermark_commitment"]),
            "parents": [
                {"id": hex0(parent), "confirmed": parent in title["confirmed"]}
                for parent in claim["parents"]
            ],
        },
        "title": {
            "registered_by": checksummed(claim["licensor"]),
            "held_by": checksummed(title["holder"]),
            "status": _STATUS[title["status"]],
            "committed": title["has_commitment"],
            "transfers": [
                {"from": checksummed(of["from"]), "to": checksummed(of["to"]), **_when(of)}
                for of in history["transfers"]
            ],
        },
        "times": [
            {"what": what, "source": "timestamp of block %d" % event["block"], **_when(event)}
            for what, event in known
        ],
        "sealings": [
            {
                "epoch": event["epoch"],
                "record_hash": hex0(event["recordHash"]),
                "by": checksummed(event["sender"]),
                **_when(event),
            }
            for event in case.sealed
        ],
        "licenses": [
            {
                "id": license_text(of["id"]),
                "holder": checksummed(of["holder"]),
                "standing": of["standing"],
                "not_after": of["not_after"],
                "seats_used": of["seats"],
                "plan_licensor": checksummed(of["licensor"]),
                "terms_hash": of["terms"],
                "acts": [
                    {"what": act["name"].replace("License", "", 1).lower(), **_when(act)}
                    for act in of["acts"]
                ],
            }
            for of in case.licenses
        ],
        "rivals": [
            {
                "id": hex0(event["modelId"]),
                "registered_by": checksummed(event["licensor"]),
                "committed_not_later_than": event["committedAt"],
                **_when(event),
            }
            for event in case.rivals
        ],
        "limits": list(LIMITS),
    }
    if _KINDS[case.kind]:
        document[_KINDS[case.kind]] = case.index[_KINDS[case.kind]]
    if case.releases is not None:
        document["releases"] = case.releases
    if case.match is not None:
        document["match"] = case.match
    if case.stamps is not None:
        document["timestamps"] = _told_stamps(case.stamps)
    if case.withheld:
        document["withheld"] = case.withheld
    return document


def _told_stamps(stamps: dict[str, Any]) -> dict[str, Any]:
    return {
        "tokens": [
            {
                "number": number,
                "imprint": hex0(of["imprint"]),
                "generated": of["time"],
                "accuracy_us": of["accuracy"],
                "not_earlier_than": of["earliest"],
                "not_later_than": of["latest"],
                "serial": hex0(of["serial"]),
                "policy": of["policy"],
                "tsa": common_name(of["chain"][0]["subject"]),
                "certificate": hex0(sha256(of["chain"][0]["raw"])),
                "root": hex0(of["root"]),
                "root_name": common_name(of["chain"][-1]["subject"]),
                "signer_until": of["chain"][0]["until"],
                "revocation_lists": of["lists"],
            }
            for number, of in enumerate(stamps["tokens"], start=1)
        ],
        "bitcoin": [
            {
                "block": height,
                "hash": hex0(of["hash"]),
                "time": of["time"],
                "not_later_than": of["latest"],
            }
            for height, of in stamps["blocks"].items()
        ],
    }


def render(document: dict[str, Any]) -> str:
    """What report.txt must be."""
    chain, model, title = document["chain"], document["model"], document["title"]
    tops = " and ".join("block %d %s" % (of["block"], of["hash"]) for of in document["rests_on"])
    stamps = document.get("timestamps", {"tokens": [], "bitcoin": []})
    rest = "the limits"
    if stamps["tokens"] or stamps["bitcoin"]:
        rest += " and the time-stamps"
    if "match" in document:  # an examiner's word, most of it
        rest = rest.replace(" and ", ", ") + " and the findings about the suspect"
    lines = [
        "What follows is proved if " + tops,
        "belongs to chain %d. Nothing else is taken on trust but what %s name."
        % (chain["id"], rest),
        "",
    ]
    if chain["test_network"]:
        lines += ["%s (chain %d)." % (NO_VALUE, chain["id"]), ""]
    lines += [
        "Model       " + model["id"],
        "Title       " + one_line(model["title"]),
        "Tensors     %s (root over their content)" % model["artifact_root"],
        "Holder      %s, status %s" % (title["held_by"], title["status"]),
        "Registered  by " + title["registered_by"],
    ]
    for parent in model["parents"]:
        lines.append(
            "Parent      %s%s" % (parent["id"], "" if parent["confirmed"] else " (unconfirmed)")
        )
    lines += ["", "When, at the latest:"]
    for entry in document["times"]:
        lines.append(
            "  %s  %s (%s)" % (utc(entry["not_later_than"]), entry["what"], entry["source"])
        )
    lines += ["", "Title:", "  registered by " + title["registered_by"]]
    for of in title["transfers"]:
        lines.append("  %s  to %s (block %d)" % (utc(of["not_later_than"]), of["to"], of["block"]))
    if document["sealings"]:
        lines += ["", "Sealed packages:"]
    for of in document["sealings"]:
        lines.append(
            "  epoch %d: record %s (block %d)" % (of["epoch"], of["record_hash"], of["block"])
        )
    for of in document["licenses"]:
        lines += ["", "License %s of %s: %s" % (of["id"], of["holder"], of["standing"])]
        end = "never" if of["not_after"] is None else utc(of["not_after"])
        lines.append("  ends %s, terms %s" % (end, of["terms_hash"]))
        for act in of["acts"]:
            lines.append(
                "  %s  %s (block %d)" % (utc(act["not_later_than"]), act["what"], act["block"])
            )
    if document["rivals"]:
        lines += ["", "Other registrations of the same tensors, by time of commitment:"]
    for of in document["rivals"]:
        when = utc(of["committed_not_later_than"])
        lines.append("  %s  %s by %s" % (when, of["id"], of["registered_by"]))
    if "releases" in document:
        said = "Answers of key brokers, each under a root that the broker's operator anchored:"
        lines += ["", said]
    for of in document.get("releases", ()):
        outcome = "key released" if of["granted"] else "refused"
        where = (of["sequence"], of["broker"], of["block"])
        lines.append(
            "  %s  license %s: %s, receipt %d of broker %d (block %d)"
            % (utc(of["not_later_than"]), of["license"], outcome, *where)
        )
        stated = (utc(of["claimed_at"]), of["key_epoch"], of["receipt"])
        lines.append("    by the broker's clock %s; key of its epoch %d; receipt %s" % stated)
    if "match" in document:
        lines += ["", "Suspect file:"]
        lines += ["  " + one_line(sentence) for sentence in document["match"]["sentences"]]
    if stamps["tokens"] or stamps["bitcoin"]:
        said = "Time-stamps of these contents, at the latest, if their root or Bitcoin block is genuine:"
        lines += ["", said]
    for of in stamps["tokens"]:
        name = "an authority without a name" if of["tsa"] is None else in_quotes(of["tsa"])
        root = "" if of["root_name"] is None else in_quotes(of["root_name"]) + " "
        told = (utc(of["not_later_than"]), name, of["number"], root, of["root"])
        lines.append("  %s  by %s, token %d (root %s%s)" % told)
    for of in stamps["bitcoin"]:
        mined = (utc(of["not_later_than"]), of["block"], of["hash"])
        lines.append("  %s  by Bitcoin block %d %s" % mined)
    if "withheld" in document:
        lines += ["", "Withheld from this copy (listed, not shown):"]
        lines += ["  " + name for name in document["withheld"]]
    lines += ["", "Limits:", *("  " + limit for limit in document["limits"])]
    return "\n".join(lines) + "\n"


def step_report(case: Case) -> str:
    """(19) report.json and report.txt are, byte for byte, what steps 3 to 18 give."""
    document = statement(case)
    same = case.member("report.json") == canonical(document)
    demand(same, "report.json says something else than the proofs")
    same = case.member("report.txt") == render(document).encode()
    demand(same, "report.txt says something else than the proofs")
    return "the summary says what the proofs show"


def step_copies(case: Case) -> str:
    """(20) Copies and printed forms: not compared by a script."""
    if any(name in case.members for name in _COPIES):
        said = "read report.txt, which step 19 proves; use your own copy of the verifier"
        raise NotChecked(said, needed=False)
    raise NotChecked("the bundle carries no copy of a verifier and no printed form", needed=False)


# ---- All steps, and the verdict ------------------------------------------------------------------

STEPS: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("contents", step_contents),
    ("headers", step_headers),
    ("trust", step_trust),
    ("contracts", step_contracts),
    ("storage", step_storage),
    ("events", step_events),
    ("claim", step_claim),
    ("title", step_title),
    ("history", step_history),
    ("commitment", step_commitment),
    ("sealing", step_sealing),
    ("licenses", step_licenses),
    ("rivals", step_rivals),
    ("releases", step_releases),
    ("match", step_match),
    ("timestamps", step_timestamps),
    ("custody", step_custody),
    ("report", step_report),
    ("copies", step_copies),
)


def verify(data: bytes, trust: dict[str, Any]) -> dict[str, Any]:
    """All steps over the bytes of a bundle; never raises."""
    case = Case(trust)
    steps: list[dict[str, Any]] = []

    def note(title: str, result: str, detail: str, needed: bool = True) -> None:
        number = len(steps) + 1
        step = {"number": number, "title": title, "result": result, "detail": detail}
        steps.append({**step, "needed": needed})

    error = None
    try:
        note("form", "pass", step_form(case, data))
    except BadForm as reason:
        error = {"code": reason.code, "message": str(reason)}
        note("form", "fail", str(reason))
    except Exception as reason:  # whatever hostile bytes make of this script is a failed step
        error = {"code": "BUNDLE_FORMAT_ERROR", "message": repr(reason)}
        note("form", "fail", "it could not be read: %r" % reason)
    for title, step in STEPS if error is None else ():
        try:
            note(title, "pass", step(case))
        except NotChecked as reason:
            note(title, "not checked", str(reason), reason.needed)
        except Fail as reason:
            note(title, "fail", str(reason))
        except Exception as reason:  # see above
            note(title, "fail", "it could not be made: %r" % reason)
    failed = ["%d (%s)" % (of["number"], of["title"]) for of in steps if of["result"] == "fail"]
    left = [of for of in steps if of["result"] == "not checked" and of["needed"]]
    told = [] if error else unvouched(case)
    blocks = " and ".join("block %d %s" % (of["number"], hex0(of["hash"])) for of in told)
    if failed:
        verdict, sentence = "does not hold", "does not hold: step %s failed" % ", ".join(failed)
    elif not left:
        verdict = sentence = "verified"
    elif [of["number"] for of in left] == [4]:
        verdict = "holds, given the blocks it rests on"
        verb = "belongs" if len(told) == 1 else "belong"
        sentence = "holds, given that %s %s to chain %d" % (blocks, verb, case.chain)
    else:
        open_ = ", ".join("%d (%s)" % (of["number"], of["title"]) for of in left)
        verdict, sentence = "not verified", "not verified: step %s could not be checked" % open_
    holds = verdict in ("verified", "holds, given the blocks it rests on")
    return {
        "bundle": case.index.get("id") if isinstance(case.index, dict) else None,
        "chain_id": case.chain,
        "test_network": error is None and case.chain in TEST_NETWORKS,
        "verdict": verdict,
        "sentence": sentence,
        "holds": holds,
        "assumed": [{"block": of["number"], "hash": hex0(of["hash"])} for of in told],
        "steps": steps,
        "error": error,
        "statement": statement(case) if holds else None,
    }


def written(report: dict[str, Any], trust: dict[str, Any]) -> str:
    """For people: what is trusted from outside, the steps, the verdict, the facts."""
    blocks = ", ".join("block %d %s" % (of["block"], of["hash"]) for of in report["assumed"])
    given = [
        *("block " + hex0(block) for block in sorted(trust["blocks"])),
        *("%s at %s" % (name, checksummed(at)) for name, at in sorted(trust["contracts"].items())),
        *("root certificate " + hex0(root) for root in sorted(trust["roots"])),
        *("collector " + checksummed(at) for at in sorted(trust["collectors"])),
    ]
    lines = ["Trusted from outside: %s." % (", ".join(given) or "nothing yet")]
    if blocks:
        lines.append("Taken from the bundle, not from elsewhere: %s." % blocks)
    if report["error"] is None:
        lines.append("Bundle %s, chain %s." % (report["bundle"], report["chain_id"]))
    if report["test_network"]:
        lines.append(NO_VALUE + ".")
    lines.append("")
    for step in report["steps"]:
        lines.append("(%(number)d) %(title)s: %(result)s" % step)
        lines.append("     " + one_line(step["detail"]))
    lines += ["", report["sentence"]]
    if report["statement"] is not None:
        lines += ["", render(report["statement"]).rstrip("\n")]
    return "\n".join(escaped(line) for line in "\n".join(lines).split("\n")) + "\n"


def _roots_in(path: str) -> set[bytes]:
    """SHA-256 of the certificates in a PEM file; or of a file that is one in DER."""
    with open(path, "rb") as file:
        data = file.read((4 << 20) + 1)
    demand(len(data) <= 4 << 20, path + " is too long")
    if data[:1] == b"\x30":
        return {sha256(data)}
    pattern = "-----BEGIN CERTIFICATE-----\\s+([A-Za-z0-9+/=\\s]+?)-----END CERTIFICATE-----"
    found = re.findall(pattern, data.decode("latin-1"))
    demand(found, path + " holds no certificate in PEM")
    return {sha256(base64.b64decode("".join(body.split()), validate=True)) for body in found}


def _arguments(words: list[str]) -> tuple[str, dict[str, Any], str | None, bool]:
    trust: dict[str, Any] = {"blocks": set(), "contracts": {}, "roots": set(), "collectors": set()}
    paths, suspects, as_json = [], [], False
    rest = [part for word in words for part in (word.split("=", 1) if word[:2] == "--" else [word])]
    while rest:
        word = rest.pop(0)
        if word == "--json":
            as_json = True
            continue
        if word not in ("--block", "--contract", "--tsa-root", "--collector", "--suspect"):
            demand(not word.startswith("-"), "there is no option " + word)
            paths.append(word)
            continue
        demand(rest, word + " needs a value")
        value = rest.pop(0)
        if word == "--block":
            trust["blocks"].add(lenient_digest(value))
        elif word == "--collector":
            trust["collectors"].add(lenient_address(value))
        elif word == "--suspect":
            suspects.append(value)
        elif word == "--contract":
            name, _, at = value.partition("=")
            known = name in ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
            once = known and name not in trust["contracts"]
            demand(once, value + " is not NAME=ADDRESS of one contract")
            trust["contracts"][name] = lenient_address(at)
        else:
            trust["roots"] |= _roots_in(value)
    demand(len(paths) == 1, "name one bundle")
    demand(len(suspects) < 2, "name one suspect")
    return paths[0], trust, suspects[0] if suspects else None, as_json


def main(words: list[str]) -> int:
    if "--help" in words:
        print((__doc__ or "").split("\n\n")[1])
        return 0
    try:
        path, trust, suspect, as_json = _arguments(words)
    except (Fail, OSError, ValueError) as error:
        print("error: %s\n%s" % (error, (__doc__ or "").split("\n\n")[1]), file=sys.stderr)
        return 2
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_ARCHIVE + 1 if os.path.isfile(path) else 1 << 20)
    except OSError as error:
        print("error: cannot read %s: %s" % (path, error.strerror or error), file=sys.stderr)
        return 2
    report = verify(data, trust)
    said, agrees = written(report, trust), True
    if suspect is not None:
        proven = any(of["number"] == 16 and of["result"] == "pass" for of in report["steps"])
        try:
            checks = with_suspect(data, suspect, proven=proven)
        except OSError as error:
            print("error: cannot read %s: %s" % (suspect, error.strerror or error), file=sys.stderr)
            return 2
        report["suspect"] = checks
        agrees = checks[0]["result"] == "pass" and all(of["result"] != "fail" for of in checks)
        said += "\nWith the suspect:\n"
        for of in checks:
            said += "(%(number)d) %(title)s: %(result)s\n" % of
            said += "     " + one_line(of["detail"]) + "\n"
    if as_json:
        said = json.dumps(report, indent=1) + "\n"
    sys.stdout.buffer.write(said.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()
    codes = {"verified": 0, "holds, given the blocks it rests on": 3}
    return codes.get(report["verdict"], 1) if agrees else 1


# ---- Data of this version, written by scripts/make_verifier_tables.py -------------------------------

# BEGIN TABLES
# fmt: off
RELEASES: list[dict[str, Any]] = [{'release': 'of this version',
  'contract': 'Anchors',
  'size': 1369,
  'masked_hash': '8b92aa5fb9bebd387d3b2887eef66c2274ab8d855d95cd56a6b79932982be47b',
  'immutables': [],
  'init_code_hash': 'f503ff46bcbc5e6d13fa9a88ff454c35e1e9b88265bcd56b023b2515e5894b1e'},
 {'release': 'of this version',
  'contract': 'ModelRegistry',
  'size': 8725,
  'masked_hash': 'c07997f5a725cbc07f38269b8d6b813d13849d7d4ad8d9f282d0ffa348225499',
  'immutables': [[2458, 32],
                 [4088, 32],
                 [4883, 32],
                 [4916, 32],
                 [4951, 32],
                 [5166, 32],
                 [5204, 32],
                 [7884, 32],
                 [8280, 32]],
  'init_code_hash': '7cb939ccb98c3db9c661b30723e0d3c61261568452bf53d07a50fc99e66baf58'},
 {'release': 'of this version',
  'contract': 'LicenseLedger',
  'size': 18749,
  'masked_hash': 'af94760073f84459b62f34ab4fa36562f876f63ba314cf3096c000121bcc4366',
  'immutables': [[34, 32],
                 [2231, 32],
                 [4746, 32],
                 [4779, 32],
                 [4814, 32],
                 [5207, 32],
                 [5245, 32],
                 [5830, 32],
                 [6181, 32],
                 [10066, 32],
                 [14207, 32],
                 [14766, 32]],
  'init_code_hash': 'ad3bbdd9399c6027e8697667cbedd43dad0def63551f16447411554be3645167'},
 {'release': 'of this version',
  'contract': 'BrokerRegistry',
  'size': 3742,
  'masked_hash': 'e7bbe49bec7f9943125a22735c0419956632fde6fa0c78cfd29cf81ba6ae59c9',
  'immutables': [],
  'init_code_hash': 'b8c45cf6ac0352cb1e329cf1eb46c5a8928186f308aee0feaee1eace9514e60b'},
 {'release': 'of this version',
  'contract': 'LicenseRenderer',
  'size': 5093,
  'masked_hash': '3df1fd3b48683a8f665bf059aae14b63d80179284e869b622effc02a4a4f6609',
  'immutables': [],
  'init_code_hash': 'd1bd0bea8adc9f58eb99b1649383ece2bfd7b33f983c8e2e9f72aa1acbc79972'},
 {'release': 'of this version',
  'contract': 'LicenseExtension',
  'size': 19408,
  'masked_hash': '3f53946ab83a53a4c7be0b5b6cead9c06b5c894e461a7cd2976ec151bd7aac41',
  'immutables': [[17624, 32], [17657, 32], [17692, 32], [17804, 32], [17842, 32]],
  'init_code_hash': '3b38cfb9db335b36e69658236373c55c8178516af8a4a254817e96a8c08385d5'}]
TEST_NETWORKS: list[int] = [1337, 17000, 31337, 84532, 421614, 560048, 11155111, 11155420]
NO_VALUE: str = 'test network: no evidentiary value'
LIMITS: list[str] = ["A block's time says that something existed not later than then; it does not say who made it.",
 "A block's time is set by the block's proposer, within the tolerance of its chain's rules.",
 "The genesis hash and the chain's name are the collector's statement.",
 "Other registrations of the same tensors are those the collector's node showed.",
 'Such a list cannot be proved complete; other registries and chains were not asked.',
 'Acts undone by later ones (a suspension lifted, a renewal renewed) may be missing.',
 'Times in the custody log are claimed by whoever wrote the entry.',
 'Equal fingerprints say that two files hold the same values; they do not say who trained '
 'them.']
STAMPS_IN_ALL: dict[str, int] = {'tokens': 32, 'certificates': 128, 'lists': 64, 'list_bytes': 8388608}
README: str = ('Verify this file with your own copy of the verifier, not with one that came with it.\n'
 '\n'
 'This is an evidence bundle of modeldeed, format version 1 (docs/spec/evidence-bundle.md).\n'
 'Get a verifier from a source you trust, not from here. None needs a network:\n'
 '\n'
 '    deed evidence verify THIS_FILE --block HASH     of the modeldeed package\n'
 "    python verify.py THIS_FILE --block HASH         one file, Python's standard library\n"
 '    verify.html                                     a page: open it, drop THIS_FILE on it\n'
 '\n'
 'HASH is the hash of the block named in report.txt, obtained elsewhere: from a node of\n'
 'your own, from two block explorers, from an expert. Without it the verifier says what\n'
 'the bundle proves if that block belongs to the chain it names.\n'
 '\n'
 'Do not unpack this file and pack it again: it has exactly one valid form.\n')
# fmt: on
# END TABLES

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
