"""Verifying a message of a webhook, on the receiver's side (docs/spec/webhooks.md, "Verifying").

What Standard Webhooks' libraries do, for receivers that have this one anyway.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.errors import SignatureInvalid, UsageError
from ledger.remote.posting import signature

TOLERANCE: Final = 300
"""Seconds by which the sender's clock and the receiver's may differ."""

MARK: Final = "whsec_"
MAX_BODY: Final = 4 << 20


def verify_message(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> Any:
    """The JSON of a message that was signed with a webhook's secret.

    Whether its ``webhook-id`` was taken before (step 5) is the receiver's to know.

    Args:
        secret: as it was shown, ``whsec_…``.
        headers: of the request, by whatever case.
        body: as it came, not read and written again.
        now: the receiver's Unix time in seconds.

    Raises:
        UsageError: the secret is none.
        SignatureInvalid: the step of the specification at which the message fails.
    """
    told = {name.lower(): value for name, value in headers.items()}
    id_, stamp, signed = (
        told.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    # (1) The bytes that came are what is signed: nothing is parsed before step 4 has passed.
    # (2) The clock.
    plain = stamp.isascii() and stamp.isdigit() and stamp == str(int(stamp[:12]))
    if not plain or abs(now - int(stamp)) > TOLERANCE:
        raise SignatureInvalid("the message is not of these five minutes", step=2)
    # (3) The key.
    try:
        key = base64.b64decode(secret.removeprefix(MARK), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(MARK) or len(key) < 24:
        raise UsageError("a webhook's secret is whsec_ and base64 of 24 bytes or more")
    # (4) One of the signatures. All are compared, so that the time says nothing.
    wanted = signature(key, id_, int(stamp), body).encode()
    given = [each.encode() for each in signed.split(" ") if each.startswith("v1,")]
    found = [hmac.compare_digest(wanted, each) for each in given]
    if not id_ or True not in found:
        raise SignatureInvalid("the message is not signed with this secret", step=4)
    return parse_json(body, what="the message", limit=MAX_BODY)
