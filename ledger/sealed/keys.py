"""What is derived from a content key, and leaves: the small cryptography around FLOE."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ledger.canonical import hash_bytes
from ledger.errors import UsageError
from ledger.ids import Digest
from ledger.sealed.header import SUITE_BLAKE3, SUITE_SHA256
from ledger.sealed.memory import Secret
from ledger.sealed.stream import Readable

CONTENT_KEY_BYTES = 32
LABEL_COMMIT = b"modeldeed/sealed/1 commit"
LABEL_INDEX = b"modeldeed/sealed/1 index"
LABEL_PAYLOAD = b"modeldeed/sealed/1 payload"
TAG_HEADER = "modeldeed/sealed/1 header"


def derive(content_key: Readable, label: bytes) -> Secret:
    """HKDF-Expand-SHA-256 of the content key: 32 bytes for one use.

    Raises:
        UsageError: the content key has not 32 bytes.
    """
    if len(content_key) != CONTENT_KEY_BYTES:
        raise UsageError(f"a content key has {CONTENT_KEY_BYTES} bytes")
    out = Secret(32)
    HKDFExpand(hashes.SHA256(), 32, label).derive_into(content_key, out.view)
    return out


def key_commitment(content_key: Readable) -> Digest:
    """Public value that fixes a content key without revealing it.

    Raises:
        UsageError: the content key has not 32 bytes.
    """
    with derive(content_key, LABEL_COMMIT) as value:
        return Digest(bytes(value.view))


def header_binding(prelude: bytes, public: bytes) -> bytes:
    """The associated data of both FLOE messages: 32 bytes over prelude and public part."""
    return hash_bytes(TAG_HEADER, prelude + public).raw


def _sha256_leaf(data: Readable) -> bytes:
    state = hashlib.sha256(b"\0")
    state.update(data)
    return state.digest()


def _blake3_leaf(data: Readable) -> bytes:
    return blake3(b"\0").update(data).digest()


LEAF: dict[int, Callable[[Readable], bytes]] = {
    SUITE_SHA256: _sha256_leaf,
    SUITE_BLAKE3: _blake3_leaf,
}
"""Leaf hash by suite: 32 bytes of H(00 ‖ data). Inner nodes are SHA-256 in both (ledger.merkle)."""

PREFIXED_LEAF: dict[int, Callable[[Readable], bytes]] = {
    SUITE_SHA256: lambda data: hashlib.sha256(data).digest(),
    SUITE_BLAKE3: lambda data: blake3(data).digest(),
}
"""The same of data that already begin with the 00: BLAKE3 hashes a few KiB eight times as fast."""
