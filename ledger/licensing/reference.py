"""Names that both sides keep while only their hash goes on chain: an order, an invoice."""

from __future__ import annotations

from ledger.canonical import hash_bytes
from ledger.errors import UsageError
from ledger.ids import ZERO_DIGEST, Digest

TAG = "modeldeed/external-ref/1"
NONCE_TAG = "modeldeed/reference-nonce/1"
SUBJECT_TAG = "modeldeed/reference-subject/1"
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


def reference_nonce(plan: int, ext_hash: Digest) -> int:
    """The voucher nonce of a license that is issued by a reference.

    A ledger spends a signer's nonce once, so one signer issues one license of a plan for one
    reference, however often it is tried (docs/spec/voucher.md).
    """
    return int.from_bytes(hash_bytes(NONCE_TAG, plan.to_bytes(4, "big") + ext_hash.raw).raw, "big")


def reference_subject(ext_hash: Digest) -> Digest:
    """The subject under which an index files events that carry this hash.

    Not the hash itself: who signs a voucher chooses it, and could choose another's model id.
    """
    return hash_bytes(SUBJECT_TAG, ext_hash.raw)
