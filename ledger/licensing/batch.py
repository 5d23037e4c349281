"""Batches: many licenses under one anchored root, and each holder's proof of one of them.

The files and their verification are docs/spec/batch.md. Whoever anchors a batch must keep it: the
chain holds its root only, and a lost leaf is a lost license.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from ledger.canonical import MAX_JSON_BYTES, parse_json
from ledger.errors import ClaimMismatch, LimitExceeded, ManifestError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, keccak256
from ledger.licensing.chain import ledger_json, read_ledger
from ledger.licensing.document import Document
from ledger.merkle import T2

BATCH_TYPE: Final = "modeldeed/batch"
CLAIM_TYPE: Final = "modeldeed/batch-claim"
MAX_LEAVES: Final = 1 << 17
MAX_CLAIM_BYTES: Final = 16 << 10
_MAX_PLAN: Final = (1 << 32) - 1
_MAX_TIME: Final = (1 << 40) - 1
_MAX_PATH: Final = 32

_BATCH_MEMBERS = ("type", "version", "chain", "plan", "root", "leaves")
_CLAIM_MEMBERS = ("type", "version", "chain", "plan", "root", "count", "leaf", "path")
_LEAF_MEMBERS = ("to", "not_before", "not_after", "ext_hash", "salt")


@dataclass(frozen=True, slots=True)
class BatchRow:
    """What one holder is to get. Times in Unix seconds, as the leaf says them.

    Attributes:
        to: the holder.
        not_before: 0 is since the batch was anchored.
        not_after: 0 is one plan duration after the beginning.
        ext_hash: hash of an order or invoice (`ledger.licensing.reference`), zero when none.
    """

    to: Address
    not_before: int = 0
    not_after: int = 0
    ext_hash: Digest = ZERO_DIGEST


@dataclass(frozen=True, slots=True)
class BatchLeaf:
    """One license of a batch, as ``ILicenseLedger.BatchLeaf``; `index` is its place in the tree."""

    index: int
    to: Address
    not_before: int
    not_after: int
    ext_hash: Digest
    salt: Digest

    def hash(self, chain_id: int, ledger: Address, plan: int) -> bytes:
        """32 bytes: the leaf's hash in this plan on this chain, as ``batchLeafHash`` gives it.

        Hashed twice, so that no inner node, whose preimage has 65 bytes, can pass for a leaf.
        """
        words = b"".join(
            (
                _word(chain_id),
                ledger.raw.rjust(32, b"\0"),
                _word(plan),
                _word(self.index),
                self.to.raw.rjust(32, b"\0"),
                _word(self.not_before),
                _word(self.not_after),
                self.ext_hash.raw,
                self.salt.raw,
            )
        )
        return keccak256(keccak256(words))

    def as_tuple(self) -> tuple[Any, ...]:
        """In the contract's order of fields."""
        return (self.index, self.to, self.not_before, self.not_after, self.ext_hash, self.salt)


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class BatchClaim:
    """A holder's leaf and its path under the batch's root: all that claiming it takes.

    Attributes:
        count: leaves of the batch.
        path: sibling hashes from the leaf upwards (docs/spec/merkle.md).
    """

    chain_id: int
    ledger: Address
    plan: int
    root: Digest
    count: int
    leaf: BatchLeaf
    path: tuple[Digest, ...]

    def verify(self) -> None:
        """Check that the leaf stands under the root, by docs/spec/batch.md. Needs no chain.

        Raises:
            InclusionProofInvalid: (2) the place is not in the batch, (3) the path leads elsewhere.
        """
        # (1) The format: done by `parse_claim`.
        # (2) and (3) The leaf stands at its place among `count` leaves under `root`.
        T2.verify(
            self.leaf.hash(self.chain_id, self.ledger, self.plan),
            self.leaf.index,
            self.count,
            [node.raw for node in self.path],
            self.root.raw,
            step=3 if self.leaf.index < self.count else 2,
        )

    def to_json(self) -> dict[str, Any]:
        """The claim as its file holds it."""
        return {
            "type": CLAIM_TYPE,
            "version": 1,
            "chain": ledger_json(self.chain_id, self.ledger),
            "plan": self.plan,
            "root": str(self.root),
            "count": self.count,
            "leaf": {"index": self.leaf.index, **_leaf_json(self.leaf)},
            "path": [str(node) for node in self.path],
        }


@dataclass(frozen=True)
class Batch:
    """All leaves of one batch. Not slotted: the hashes are kept once they are computed."""

    chain_id: int
    ledger: Address
    plan: int
    leaves: tuple[BatchLeaf, ...]

    @cached_property
    def hashes(self) -> tuple[bytes, ...]:
        """The leaves' hashes, in order."""
        return tuple(leaf.hash(self.chain_id, self.ledger, self.plan) for leaf in self.leaves)

    @cached_property
    def root(self) -> Digest:
        """The T2 root that is anchored."""
        return Digest(T2.root(self.hashes))

    def claim(self, index: int) -> BatchClaim:
        """The claim of one holder.

        Raises:
            IndexError: no such leaf.
        """
        return self._claim(index, T2.path(self.hashes, index))

    def claims(self) -> tuple[BatchClaim, ...]:
        """Every holder's claim, in order, for one hashing of the tree."""
        return tuple(self._claim(index, path) for index, path in enumerate(T2.paths(self.hashes)))

    def _claim(self, index: int, path: Sequence[bytes]) -> BatchClaim:
        return BatchClaim(
            self.chain_id,
            self.ledger,
            self.plan,
            self.root,
            len(self.leaves),
            self.leaves[index],
            tuple(Digest(node) for node in path),
        )

    def rows(self) -> tuple[BatchRow, ...]:
        """What each holder gets, without the salts."""
        return tuple(
            BatchRow(leaf.to, leaf.not_before, leaf.not_after, leaf.ext_hash)
            for leaf in self.leaves
        )

    def to_json(self) -> dict[str, Any]:
        """The batch as its file holds it."""
        return {
            "type": BATCH_TYPE,
            "version": 1,
            "chain": ledger_json(self.chain_id, self.ledger),
            "plan": self.plan,
            "root": str(self.root),
            "leaves": [_leaf_json(leaf) for leaf in self.leaves],
        }


def build(
    rows: Sequence[BatchRow],
    salts: Iterable[bytes],
    *,
    chain_id: int,
    ledger: Address,
    plan: int,
) -> Batch:
    """Lay out a batch, a leaf for each row in their order.

    Args:
        rows: what each holder gets; at least one.
        salts: 32 random bytes for each row: who has one leaf must not guess another.
        chain_id: the chain it will be anchored on.
        ledger: the LicenseLedger there.
        plan: under which the licenses are issued.

    Raises:
        ManifestError: no row, one that nobody could claim, a time beyond forty bits, or too few
            salts.
        LimitExceeded: more than 131,072 rows.
    """
    if not rows:
        raise ManifestError("a batch has at least one license", hint="list a holder")
    if len(rows) > MAX_LEAVES:
        raise LimitExceeded(
            f"a batch file has at most {MAX_LEAVES} licenses, not {len(rows)}",
            hint="split it: anchoring costs the same for any size",
        )
    leaves = []
    drawn = iter(salts)
    for index, row in enumerate(rows):
        if not (0 <= row.not_before <= _MAX_TIME and 0 <= row.not_after <= _MAX_TIME):
            raise ManifestError(f"row {index + 1}: a time is beyond forty bits")
        if row.not_after and row.not_after <= row.not_before:
            raise ManifestError(
                f"row {index + 1}: a license ends after it begins", hint="give a later not_after"
            )
        if row.to == ZERO_ADDRESS:  # nobody could ever claim it, and it would use up the supply
            raise ManifestError(
                f"row {index + 1} names the zero address, which holds nothing", hint="name a holder"
            )
        salt = next(drawn, None)
        if salt is None or len(salt) != 32:
            raise ManifestError("every leaf of a batch needs 32 random bytes as salt")
        leaves.append(
            BatchLeaf(index, row.to, row.not_before, row.not_after, row.ext_hash, Digest(salt))
        )
    return Batch(chain_id, ledger, plan, tuple(leaves))


def parse_batch(value: Any) -> Batch:
    """Read a batch file's bytes, or its parsed object, and recompute its root.

    Raises:
        ManifestError: (1) not a batch.
        UnsupportedVersion: (1) another version.
        LimitExceeded: (1) more than 64 MiB or 131,072 leaves.
        ClaimMismatch: (2) the leaves have another root than the file says.
    """
    # (1) The format.
    what = "the batch"
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what=what, limit=MAX_JSON_BYTES)
    doc = Document(value, what)
    doc.kind(BATCH_TYPE)
    doc = Document(value, what, _BATCH_MEMBERS)
    if isinstance(doc.value.get("leaves"), list) and len(doc.value["leaves"]) > MAX_LEAVES:
        raise LimitExceeded(f"a batch file has at most {MAX_LEAVES} licenses")
    items = doc.items("leaves", limit=MAX_LEAVES)
    if not items:
        raise doc.fail("leaves", "a list of at least one leaf")
    chain_id, ledger = read_ledger(doc.object("chain"), f"{doc.what}'s chain")
    batch = Batch(
        chain_id,
        ledger,
        doc.integer("plan", 1, _MAX_PLAN),
        tuple(
            _leaf(Document(item, "a leaf of the batch", _LEAF_MEMBERS), index)
            for index, item in enumerate(items)
        ),
    )
    # (2) The leaves are those of the root.
    if batch.root != doc.digest("root"):
        raise ClaimMismatch(
            "the batch's leaves are not those of its root",
            step=2,
            hint="restore the file as it was written: the chain knows the root only",
        )
    return batch


def parse_claim(value: Any) -> BatchClaim:
    """Read a holder's claim file; ``verify`` must pass before it is believed.

    Raises:
        ManifestError: (1) not a claim.
        UnsupportedVersion: (1) another version.
        LimitExceeded: (1) more than 16 KiB.
    """
    what = "the batch claim"
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what=what, limit=MAX_CLAIM_BYTES)
    doc = Document(value, what)
    doc.kind(CLAIM_TYPE)
    doc = Document(value, what, _CLAIM_MEMBERS)
    chain_id, ledger = read_ledger(doc.object("chain"), f"{doc.what}'s chain")
    leaf = Document(doc.object("leaf"), "the claim's leaf", ("index", *_LEAF_MEMBERS))
    path = doc.items("path", limit=_MAX_PATH)
    return BatchClaim(
        chain_id,
        ledger,
        doc.integer("plan", 1, _MAX_PLAN),
        doc.digest("root"),
        doc.integer("count", 1, _MAX_PLAN),
        _leaf(leaf, leaf.integer("index", 0, _MAX_PLAN)),
        tuple(Document({"node": node}, "the claim's path").digest("node") for node in path),
    )


def _leaf(doc: Document, index: int) -> BatchLeaf:
    return BatchLeaf(
        index,
        doc.address("to"),
        doc.integer("not_before", 0, _MAX_TIME),
        doc.integer("not_after", 0, _MAX_TIME),
        doc.digest("ext_hash"),
        doc.digest("salt"),
    )


def _leaf_json(leaf: BatchLeaf) -> dict[str, Any]:
    return {
        "to": str(leaf.to),
        "not_before": leaf.not_before,
        "not_after": leaf.not_after,
        "ext_hash": str(leaf.ext_hash),
        "salt": str(leaf.salt),
    }
