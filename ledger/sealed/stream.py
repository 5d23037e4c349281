"""FLOE: random-access authenticated encryption of one long message.

Implements c2sp.org/FLOE with AES-256-GCM and SHA-384 (parameter bytes ``00 00``) and 32-byte IVs.
A message is a 74-byte header and numbered segments; each segment opens alone and in any order, and
the header tag commits to key, associated data and parameters. Randomness comes in as an argument.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import TypeAlias
from weakref import WeakSet

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ledger.errors import HeaderTampered, SegmentTampered, UsageError
from ledger.sealed.memory import Secret

Entropy: TypeAlias = Callable[[int], bytes]
Readable: TypeAlias = bytes | bytearray | memoryview

OVERHEAD = 32  # length word 4, IV 12, tag 16
HEADER_BYTES = 74  # parameters 10, IV 32, tag 32
MAX_SEGMENTS = 1 << 40
_IV_BYTES = 32
_TAG_BYTES = 32
MESSAGE_KEY_BYTES = 48
_NOT_LAST = b"\xff\xff\xff\xff"


class Floe:
    """One FLOE parameter set.

    Attributes:
        segment_bytes: length of an encrypted segment; its plaintext is 32 bytes shorter.
    """

    __slots__ = ("_parameters", "_rotation", "segment_bytes")

    def __init__(self, segment_bytes: int, *, rotation: int = 20) -> None:
        """Fix the parameters; a new AEAD key is derived every ``2**rotation`` segments."""
        if not OVERHEAD < segment_bytes < 1 << 32:
            raise UsageError(f"a FLOE segment of {segment_bytes} bytes is not possible")
        self.segment_bytes = segment_bytes
        self._rotation = rotation
        self._parameters = b"\0\0" + segment_bytes.to_bytes(4, "big") + _IV_BYTES.to_bytes(4, "big")

    def start(
        self, key: Readable, aad: bytes, *, entropy: Entropy = os.urandom
    ) -> tuple[FloeMessage, bytes]:
        """Begin a new message.

        Args:
            key: 32 bytes.
            aad: what the header tag binds besides key and parameters.
            entropy: source of IVs; only vectors pass another than the system's.

        Returns:
            The message, and its header (74 bytes).
        """
        iv = entropy(_IV_BYTES)
        message = FloeMessage(self, self._message_key(key, iv, aad), iv, aad, entropy)
        with self.derive(key, iv, aad, b"HEADER_TAG:", _TAG_BYTES) as tag:
            return message, self._parameters + iv + bytes(tag.view)

    def open(self, key: Readable, aad: bytes, header: bytes) -> FloeMessage:
        """Check a header and give access to its message.

        Raises:
            HeaderTampered: other parameters, another key, other associated data, or a wrong tag.
        """
        iv = header[10 : 10 + _IV_BYTES]
        if len(header) != HEADER_BYTES or header[:10] != self._parameters:
            raise HeaderTampered("a FLOE header has other parameters")
        with self.derive(key, iv, aad, b"HEADER_TAG:", _TAG_BYTES) as tag:
            if not hmac.compare_digest(tag.view, header[10 + _IV_BYTES :]):
                raise HeaderTampered("a FLOE header tag does not verify")
        return FloeMessage(self, self._message_key(key, iv, aad), iv, aad, os.urandom)

    def resume(self, message_key: Readable, aad: bytes, header: bytes) -> FloeMessage:
        """Access to a message by its own key, as a process that opened it hands it on.

        The header tag cannot be checked without the key it was made with: a wrong message key shows
        at the first segment.

        Raises:
            HeaderTampered: other parameters.
        """
        if len(header) != HEADER_BYTES or header[:10] != self._parameters:
            raise HeaderTampered("a FLOE header has other parameters")
        iv = header[10 : 10 + _IV_BYTES]
        return FloeMessage(self, Secret.of(message_key), iv, aad, os.urandom)

    def _message_key(self, key: Readable, iv: bytes, aad: bytes) -> Secret:
        return self.derive(key, iv, aad, b"MESSAGE_KEY:", MESSAGE_KEY_BYTES)

    def derive(self, key: Readable, iv: bytes, aad: bytes, purpose: bytes, size: int) -> Secret:
        """FLOE_KDF: HKDF-Expand-SHA-384 over parameters, IV, purpose and associated data."""
        out = Secret(size)
        info = self._parameters + iv + purpose + aad
        HKDFExpand(hashes.SHA384(), size, info).derive_into(key, out.view)
        return out

    def epoch_of(self, position: int) -> int:
        """First position of the key epoch that `position` lies in."""
        return position >> self._rotation << self._rotation


class FloeMessage:
    """Segments of one message; safe to use from several threads at once."""

    __slots__ = ("__weakref__", "_aad", "_ciphers", "_entropy", "_floe", "_iv", "_message_key")

    def __init__(
        self, floe: Floe, message_key: Secret, iv: bytes, aad: bytes, entropy: Entropy
    ) -> None:
        self._floe = floe
        self._iv = iv
        self._aad = aad
        self._entropy = entropy
        self._message_key = message_key
        self._ciphers: dict[int, AESGCM] = {}
        _OPEN.add(self)

    def _cipher(self, position: int) -> AESGCM:
        if not 0 <= position < MAX_SEGMENTS:
            raise UsageError(f"a FLOE message has no segment {position}")
        epoch = self._floe.epoch_of(position)
        cipher = self._ciphers.get(epoch)
        if cipher is None:
            purpose = b"DEK:" + epoch.to_bytes(8, "big")
            with self._floe.derive(
                self._message_key.view, self._iv, self._aad, purpose, 32
            ) as data_key:
                cipher = self._ciphers[epoch] = AESGCM(data_key.view)
        return cipher

    def encrypt_into(
        self, position: int, plaintext: Readable, out: memoryview, *, last: bool
    ) -> None:
        """Encrypt one segment; `out` is exactly 32 bytes longer than `plaintext`."""
        size = len(plaintext) + OVERHEAD
        if size > self._floe.segment_bytes or (not last and size != self._floe.segment_bytes):
            raise UsageError(f"a FLOE segment cannot hold {len(plaintext)} bytes here")
        iv = self._entropy(12)
        out[:16] = (size.to_bytes(4, "big") if last else _NOT_LAST) + iv
        aad = position.to_bytes(8, "big") + bytes([last])
        self._cipher(position).encrypt_into(iv, plaintext, aad, out[16:])

    def decrypt_into(
        self, position: int, segment: memoryview, out: memoryview, *, last: bool
    ) -> None:
        """Decrypt one segment; `out` is exactly 32 bytes shorter. On failure `out` is zeroed.

        Raises:
            SegmentTampered: wrong length, wrong place, or a tag that does not verify.
        """
        size = len(segment)
        if last:
            fits = (
                OVERHEAD <= size <= self._floe.segment_bytes
                and int.from_bytes(segment[:4], "big") == size
            )
        else:
            fits = size == self._floe.segment_bytes and segment[:4] == _NOT_LAST
        if not fits:
            raise SegmentTampered(f"segment {position} has another length than it must")
        aad = position.to_bytes(8, "big") + bytes([last])
        try:
            self._cipher(position).decrypt_into(bytes(segment[4:16]), segment[16:], aad, out)
        except InvalidTag:
            # The library leaves unverified plaintext in the buffer.
            out[:] = bytes(len(out))
            raise SegmentTampered(
                f"segment {position} fails its authentication tag",
                hint="the file was altered or damaged; download it again",
            ) from None

    @property
    def message_key(self) -> memoryview:
        """The key of this one message; zero after `wipe`."""
        return self._message_key.view

    def wipe(self) -> None:
        """Zero the message key and drop the ciphers."""
        self._message_key.wipe()
        self._ciphers.clear()


_OPEN: WeakSet[FloeMessage] = WeakSet()


def _after_fork() -> None:
    """A forked child keeps no data keys: those lie in the library's memory, which it inherits."""
    for message in list(_OPEN):
        message._ciphers.clear()  # noqa: SLF001 - the class above


os.register_at_fork(after_in_child=_after_fork)
