"""Names that both sides keep while only their hash goes on chain: an order, an invoice."""

from __future__ import annotations

from ledger.canonical import hash_bytes
from ledger.errors import UsageError
from ledger.ids import ZERO_DIGEST, Digest

TAG = "modeldeed/external-ref/1"
MAX_CHARACTERS = 1024


def reference_hash(text: str) -> Digest:
    """``extHash`` of a reference: SHA-256 of ``modeldeed/external-ref/1 ‖ 00 ‖ UTF-8``, exact text.

    The empty text is no reference and gives the zero hash. The hash of a short number can be
    guessed back, so a reference that must stay private carries something unguessable.

    Raises:
        UsageError: more than 1,024 characters, or text that UTF-8 cannot carry.
    """
    if not text:
        return ZERO_DIGEST
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the reference has {len(text)} characters; at most {MAX_CHARACTERS} are taken",
            hint="give an order or invoice number, not the document",
        )
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise UsageError("the reference is not text", hint="write it in UTF-8") from None
    return hash_bytes(TAG, raw)
