"""Merkle-Patricia proofs: accounts, storage words, receipts and transactions under a header.

A proof is the list of the trie nodes on the path from a root to a key (EIP-1186 for state). Nodes
are looked up by their Keccak-256, so a proof can only be complete or broken; we also refuse nodes
that the path does not use. Trie and RLP: Yellow Paper appendices B and D, by ``trie`` and ``rlp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import rlp
from rlp.exceptions import RLPException
from trie.exceptions import InvalidNode, MissingTrieNode, TraversedPartialPath
from trie.exceptions import ValidationError as TrieValidationError
from trie.hexary import HexaryTrie

from ledger.errors import StateProofInvalid
from ledger.ids import Address, Digest, keccak256

MAX_PROOF_NODES = 65  # one per nibble of a 32-byte key, and the leaf
MAX_NODE_BYTES = 1 << 20  # a receipt stands whole in its leaf

# What a malformed node makes the libraries raise, beside their own classes.
_BROKEN = (
    RLPException,
    InvalidNode,
    TraversedPartialPath,
    TrieValidationError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Account:
    """What a state root says about one account."""

    nonce: int
    balance: int
    storage_root: Digest
    code_hash: Digest


class _Nodes(dict[bytes, bytes]):
    """Trie nodes by hash that remembers which were read."""

    def __init__(self, nodes: Sequence[bytes]) -> None:
        super().__init__((keccak256(node), node) for node in nodes)
        self.read: set[bytes] = set()

    def __getitem__(self, key: bytes) -> bytes:
        node = super().__getitem__(key)
        self.read.add(key)
        return node


def prove(root: Digest, key: bytes, nodes: Sequence[bytes], *, step: int = 0) -> bytes:
    """The value at `key` under `root`, or ``b""`` when the nodes prove that there is none.

    Args:
        root: 32-byte root of the trie.
        key: the key as the trie holds it: already hashed in the state and storage tries.
        nodes: RLP nodes from the root downwards.
        step: number put on a failure.

    Raises:
        StateProofInvalid: a node is missing, malformed or unused.
    """
    value, used = _walk(root, key, nodes, step)
    if len(used) != len(nodes):
        raise StateProofInvalid("the proof carries nodes off its path", step=step)
    return value


def prune(root: Digest, key: bytes, nodes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Only the nodes that the path to `key` needs: some nodes of clients send inlined ones too.

    Raises:
        StateProofInvalid: the nodes do not lead from `root` to `key`.
    """
    return _walk(root, key, nodes, 0)[1]


def prove_account(
    state_root: Digest, address: Address, nodes: Sequence[bytes], *, step: int = 0
) -> Account:
    """The account at `address` under a header's state root.

    Raises:
        StateProofInvalid: the proof is broken, or proves that there is no such account.
    """
    leaf = prove(state_root, keccak256(address.raw), nodes, step=step)
    if not leaf:
        raise StateProofInvalid(f"there is no account {address} in this state", step=step)
    try:
        nonce, balance, storage_root, code_hash = rlp.decode(leaf)
        return Account(
            int.from_bytes(nonce, "big"),
            int.from_bytes(balance, "big"),
            Digest(storage_root),
            Digest(code_hash),
        )
    except (*_BROKEN, StateProofInvalid) as error:
        raise StateProofInvalid(f"{address} has no account's fields: {error}", step=step) from None


def prove_word(storage_root: Digest, slot: int, nodes: Sequence[bytes], *, step: int = 0) -> bytes:
    """The 32-byte word at `slot` of an account's storage; zeros where nothing was stored.

    Raises:
        StateProofInvalid: the proof is broken.
    """
    leaf = prove(storage_root, keccak256(slot.to_bytes(32, "big")), nodes, step=step)
    if not leaf:
        return bytes(32)
    try:
        word = rlp.decode(leaf)
    except (RLPException, RecursionError):
        word = None
    # Ethereum deletes a leaf that becomes zero; Anvil keeps it, as the empty string.
    if not isinstance(word, bytes) or len(word) > 32 or word[:1] == b"\0":
        raise StateProofInvalid(f"slot {slot:#x} does not hold a word", step=step)
    return word.rjust(32, b"\0")


def prove_item(root: Digest, index: int, nodes: Sequence[bytes], *, step: int = 0) -> bytes:
    """The receipt or transaction number `index` of a block, as the trie holds it (EIP-2718).

    Raises:
        StateProofInvalid: the proof is broken, or proves that there is none.
    """
    item = prove(root, rlp.encode(index), nodes, step=step)
    if not item:
        raise StateProofInvalid(f"the block has no item {index}", step=step)
    return item


def list_proof(items: Sequence[bytes], index: int, root: Digest) -> tuple[bytes, ...]:
    """Proof of item `index` in the trie of a block's receipts or transactions.

    Raises:
        StateProofInvalid: the items are not those under `root`.
    """
    tree = HexaryTrie({}, prune=False)
    for position, item in enumerate(items):
        tree[rlp.encode(position)] = item
    if tree.root_hash != root.raw:
        raise StateProofInvalid(
            "the block's items do not lead to its root",
            hint="the endpoint left some out, or this chain encodes them in a way of its own",
        )
    path = tree.get_proof(rlp.encode(index))  # type: ignore[no-untyped-call]  # trie left it so
    nodes = [rlp.encode(node) for node in path]
    return prune(root, rlp.encode(index), nodes)


def _walk(
    root: Digest, key: bytes, nodes: Sequence[bytes], step: int
) -> tuple[bytes, tuple[bytes, ...]]:
    if len(nodes) > MAX_PROOF_NODES or any(len(node) > MAX_NODE_BYTES for node in nodes):
        raise StateProofInvalid("the proof is longer than any can be", step=step)
    known = _Nodes(nodes)
    try:
        value = HexaryTrie(known, root.raw).get(key)
    except MissingTrieNode:
        raise StateProofInvalid(
            f"the proof does not lead from root {root.short}", step=step
        ) from None
    except _BROKEN as error:
        raise StateProofInvalid(f"a proof node is malformed: {error}", step=step) from None
    if not isinstance(value, bytes):
        raise StateProofInvalid("the proof ends in something that is no value", step=step)
    seen: set[bytes] = set()
    used = []
    for node in nodes:
        digest = keccak256(node)
        if digest in known.read and digest not in seen:
            seen.add(digest)
            used.append(node)
    return value, tuple(used)
