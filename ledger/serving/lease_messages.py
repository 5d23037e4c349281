"""What a lease's owner and its ranks say to each other (docs/spec/lease-share.md)."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from ledger.broker.leases import Lease
from ledger.errors import (
    EntitlementError,
    KeyAccessError,
    LeaseExpired,
    LedgerError,
    ManifestError,
)

VERSION: Final = 1
SOCKET_VARIABLE: Final = "DEED_LEASE"
TYPE_ASK: Final = "modeldeed/rank"
TYPE_GRANT: Final = "modeldeed/lease-share"
TYPE_LEASE: Final = "modeldeed/lease"
TYPE_LOST: Final = "modeldeed/lease-lost"
TYPE_END: Final = "modeldeed/lease-end"
MAX_MESSAGE: Final = 1 << 16
SECRET_PACKET: Final = 1 << 15
PATIENCE: Final = 10.0
POLL: Final = 0.5
CREDENTIALS: Final = struct.Struct("iii")
"""``struct ucred``: process, user, group."""


def read_lease(message: dict[str, Any]) -> tuple[Lease, float]:
    """The lease in a message, and the owner's time.

    Raises:
        ManifestError: it holds none.
    """
    now = message.get("now")
    if not isinstance(now, int | float) or isinstance(now, bool):
        raise ManifestError("the owner's message tells no time")
    return Lease.from_json(message.get("lease")), float(now)


def lost_message(reason: LedgerError) -> dict[str, Any]:
    """The message that tells ranks of a loss."""
    return {
        "type": TYPE_LOST,
        "code": reason.code,
        "message": reason.message[:2000],
        "hint": reason.hint[:2000],
    }


def read_loss(message: dict[str, Any]) -> LedgerError:
    """The reason of a loss, in its own class where that is one of a lease's ends."""
    text, hint = str(message.get("message", "")), str(message.get("hint", "")) or None
    for kind in EntitlementError.__subclasses__():
        if kind.code == message.get("code"):
            return kind(text, remedy=hint or "")
    if message.get("code") == LeaseExpired.code:
        return LeaseExpired(text, hint=hint)
    return KeyAccessError(text, hint=hint)


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    uid: int = CREDENTIALS.unpack(raw)[1]
    return uid
