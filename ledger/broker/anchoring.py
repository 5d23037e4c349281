"""Anchoring: roots of the receipt log through BrokerRegistry.anchorReceipts, resumable.

Each anchoring takes the entries after the last anchored one and puts the T1 root over their hashes
on chain, with the number and root of the anchoring before. What is about to be sent is written down
first; after a crash the same root is sent again, or found to be there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.anchor_sending import send_once
from ledger.broker.protocol import receipt_hash
from ledger.broker.receipts import log_root
from ledger.broker.signing import BrokerPublicKeys, signed_with
from ledger.broker.store import BrokerStore
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import ClaimMismatch, UnknownRecord, UsageError
from ledger.ids import ZERO_DIGEST, Digest
from ledger.licensing.document import Document
from ledger.merkle import T1

MAX_ENTRIES: Final = 1 << 16
"""Receipts of one anchoring; more are anchored by the next."""

PROOF_TYPE: Final = "modeldeed/receipt-proof"
MAX_PATH: Final = 64


@dataclass(frozen=True, slots=True)
class Anchoring:
    """One anchored run of receipts, `first` to `last`, both included.

    Attributes:
        sequence: its number at the broker, the first is 1.
        previous: root of the anchoring before, zeros for none.
        anchored: whether the chain was seen to hold it.
        transaction: that anchored it, None when a crash lost its hash.
    """

    sequence: int
    first: int
    last: int
    previous: Digest
    root: Digest
    anchored: bool = False
    transaction: Digest | None = None

    @property
    def count(self) -> int:
        """Receipts under the root."""
        return self.last - self.first + 1


def anchorings(store: BrokerStore) -> list[Anchoring]:
    """Every anchoring that was prepared, in order; the last may not be on chain yet."""
    rows = store.rows(
        "SELECT sequence, first, last, previous, root, anchored, transaction_hash FROM anchors "
        "ORDER BY sequence"
    )
    return [
        Anchoring(a, b, c, Digest(d), Digest(e), bool(f), None if g is None else Digest(g))
        for a, b, c, d, e, f, g in rows
    ]


def hashes_of(store: BrokerStore, first: int, last: int) -> list[Digest]:
    """Hashes of a run of entries, as stored when they were logged.

    Raises:
        ClaimMismatch: one is missing.
    """
    rows = store.rows(
        "SELECT hash FROM receipts WHERE sequence BETWEEN ? AND ? ORDER BY sequence", first, last
    )
    if len(rows) != last - first + 1:
        raise ClaimMismatch(f"the log does not hold every receipt from {first} to {last}")
    return [Digest(row[0]) for row in rows]


def prepare(store: BrokerStore, done: Sequence[Anchoring]) -> Anchoring | None:
    """Write down the next anchoring; None when there is nothing new to anchor."""
    with store.transaction():
        first = done[-1].last + 1 if done else 1
        newest, _ = store.last_receipt()
        last = min(newest, first + MAX_ENTRIES - 1)
        if last < first:
            return None
        made = Anchoring(
            sequence=done[-1].sequence + 1 if done else 1,
            first=first,
            last=last,
            previous=done[-1].root if done else ZERO_DIGEST,
            root=log_root(hashes_of(store, first, last)),
        )
        store.write(
            "INSERT INTO anchors VALUES (?, ?, ?, ?, ?, 0, NULL)",
            made.sequence,
            made.first,
            made.last,
            made.previous.raw,
            made.root.raw,
        )
        return made


def anchor(
    store: BrokerStore, registry: BrokerRegistry, sender: Sender, broker_id: int
) -> Anchoring | None:
    """Anchor what is not anchored yet; None when there is nothing. Repeating it is safe.

    Args:
        store: the broker's database.
        registry: where roots go.
        sender: the broker's operator.
        broker_id: the broker.

    Raises:
        ClaimMismatch: the chain holds roots that this log did not prepare.
        ContractReverted, InsufficientFunds, ChainUnavailable: as ``Sender.send``.
    """
    known = anchorings(store)
    sequence, root = registry.receipts_of(broker_id)
    if sequence > len(known) or (sequence and known[sequence - 1].root != root):
        raise ClaimMismatch(
            f"the chain holds anchoring {sequence} of broker {broker_id}, which this log did not "
            "make",
            hint="another copy of this broker's database anchors too, or this one is an old copy",
        )
    # A crash may have come between the transaction and this note of it, or a reorganisation after.
    store.write(
        "UPDATE anchors SET anchored = (sequence <= ?1) WHERE anchored <> (sequence <= ?1)",
        sequence,
    )
    # Prepared, and not on chain: the last one alone, as each names the one before.
    made = known[sequence] if sequence < len(known) else prepare(store, known)
    if made is None:
        return None

    def send(keeping: Sender) -> TxReceipt:
        return registry.anchor_receipts(
            keeping,
            broker_id,
            seq=made.sequence,
            prev_root=made.previous,
            root=made.root,
            count=made.count,
        )

    receipt = send_once(store, sender, made.sequence, send)
    store.write(
        "UPDATE anchors SET anchored = 1, transaction_hash = ? WHERE sequence = ?",
        receipt.hash.raw,
        made.sequence,
    )
    return replace(made, anchored=True, transaction=receipt.hash)


# -- one receipt, for whoever holds none of the rest -----------------------------------------------


def receipt_proof(
    store: BrokerStore,
    keys: Sequence[BrokerPublicKeys],
    sequence: int,
    chain: dict[str, Any],
    broker: int,
) -> dict[str, Any]:
    """One entry with its path to an anchored root.

    Args:
        store: the broker's database.
        keys: every pair of keys the broker has had; the proof names the one that signed.
        sequence: number of the entry.
        chain: chain and contracts (``BrokerIdentity.chain_json``).
        broker: the broker's id.

    Raises:
        UnknownRecord: there is no such entry.
        UsageError: it is not anchored yet.
        SignatureInvalid: none of the keys signed it.
    """
    found = next(iter(store.receipts(after=sequence - 1, limit=1)), None)
    if sequence < 1 or found is None or found[0] != sequence:
        raise UnknownRecord(f"the log holds no receipt {sequence}")
    for made in anchorings(store):
        if made.first <= sequence <= made.last and made.anchored:
            leaves = [T1.leaf(each.raw) for each in hashes_of(store, made.first, made.last)]
            index = sequence - made.first
            return {
                "type": PROOF_TYPE,
                "version": 1,
                "chain": chain,
                "broker": broker,
                "signing": signed_with(found[1]["reply"], keys).to_json(),
                "sequence": sequence,
                "entry": found[1],
                "anchor": {
                    "sequence": made.sequence,
                    "root": str(made.root),
                    "count": made.count,
                    "index": index,
                    "path": ["0x" + each.hex() for each in T1.path(leaves, index)],
                    "transaction": None if made.transaction is None else str(made.transaction),
                },
            }
    raise UsageError(
        f"receipt {sequence} is not anchored yet", hint="anchor it first: deed broker anchor"
    )


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """What a receipt proof shows by itself, and the two facts to ask the chain for.

    Attributes:
        entry: the request and the reply.
        signing_key_hash: must be the broker's ``signingKeyHash`` at the reply's time.
        root: must be in the ``ReceiptsAnchored`` event number `anchoring` of the broker.
    """

    entry: dict[str, Any]
    broker: int
    signing_key_hash: Digest
    anchoring: int
    root: Digest


def verify_receipt(value: Any) -> ProvenReceipt:
    """Check a receipt proof, offline.

    (1) It has the form of one. (2) The broker's two keys signed the reply, which names the number.
    (3) The entry's hash stands under the root, at that place.

    Raises:
        ManifestError: (1). SignatureInvalid, ClaimMismatch: (2). InclusionProofInvalid: (3).
    """
    # (1) Form.
    doc = Document(
        value,
        "the receipt proof",
        ("type", "version", "chain", "broker", "signing", "sequence", "entry", "anchor"),
    )
    doc.kind(PROOF_TYPE)
    under = Document(
        doc.object("anchor"),
        "its anchor",
        ("sequence", "root", "count", "index", "path", "transaction"),
    )
    path = [
        Document({"node": node}, "its path").raw("node", 32)
        for node in under.items("path", limit=MAX_PATH)
    ]
    entry = Document(doc.object("entry"), "the receipt", ("request", "reply"))
    # (2) The broker's word.
    keys = BrokerPublicKeys.from_json(doc.object("signing"))
    reply = entry.object("reply")
    keys.verify(reply, step=2)
    place = Document(reply.get("receipt"), "its place", ("sequence", "previous"))
    if place.integer("sequence", 1) != doc.integer("sequence", 1):
        raise ClaimMismatch("the receipt has another number than its proof says", step=2)
    # (3) Under the root.
    root = under.digest("root")
    leaf = T1.leaf(receipt_hash(entry.value).raw)
    T1.verify(leaf, under.integer("index"), under.integer("count", 1), path, root.raw, step=3)
    return ProvenReceipt(
        entry.value, doc.integer("broker", 1), keys.hash(), under.integer("sequence", 1), root
    )
