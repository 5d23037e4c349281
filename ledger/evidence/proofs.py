"""Merkle-Patricia proofs: accounts, storage words, receipts and transactions under a header.

A proof is the list of the trie nodes on the path from a root to a key (EIP-1186 for state). Nodes
are looked up by their Keccak-256, so a proof can only be complete or broken; we also refuse nodes
that the path does not use, and nodes of a shape that no trie has. Tries: Yellow Paper appendix D.
The walk is ours, since verifiers must refuse the same nodes; the tests hold it against ``trie``,
which builds what nodes of a chain do not prove (`list_proofs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rlp
from trie.hexary import HexaryTrie

from ledger.errors import StateProofInvalid
from ledger.evidence.rlp_items import all_bytes, read_list, read_rlp
from ledger.ids import Address, Digest, keccak256

MAX_PROOF_NODES = 65  # one per nibble of a 32-byte key, and the leaf
MAX_NODE_BYTES = 1 << 20  # a receipt stands whole in its leaf

_EMPTY_ROOT = keccak256(b"\x80")
_BRANCH, _PAIR = 17, 2
# Of the first nibble of a path (hex-prefix encoding): it ends in a leaf; its length is odd.
_LEAF, _ODD = 2, 1


@dataclass(frozen=True, slots=True)
class Account:
    """What a state root says about one account."""

    nonce: int
    balance: int
    storage_root: Digest
    code_hash: Digest


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
    fields = read_list(leaf, f"the account {address}", lambda size: size == 4, step=step)
    if not all_bytes(fields) or {len(field) for field in fields[2:]} != {32}:
        raise StateProofInvalid(f"{address} has no account's fields", step=step)
    nonce, balance, storage_root, code_hash = fields
    return Account(
        int.from_bytes(nonce, "big"),
        int.from_bytes(balance, "big"),
        Digest(storage_root),
        Digest(code_hash),
    )


def prove_word(storage_root: Digest, slot: int, nodes: Sequence[bytes], *, step: int = 0) -> bytes:
    """The 32-byte word at `slot` of an account's storage; zeros where nothing was stored.

    Raises:
        StateProofInvalid: the proof is broken.
    """
    leaf = prove(storage_root, keccak256(slot.to_bytes(32, "big")), nodes, step=step)
    if not leaf:
        return bytes(32)
    word = read_rlp(leaf, f"slot {slot:#x}", step=step)
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


def list_proofs(
    items: Sequence[bytes], indices: Iterable[int], root: Digest
) -> dict[int, tuple[bytes, ...]]:
    """Proofs of items in the trie of a block's receipts or transactions, which is built once.

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
    proofs = {}
    for index in indices:
        path = tree.get_proof(rlp.encode(index))  # type: ignore[no-untyped-call]  # trie left it so
        proofs[index] = prune(root, rlp.encode(index), [rlp.encode(node) for node in path])
    return proofs


def _walk(
    root: Digest, key: bytes, nodes: Sequence[bytes], step: int
) -> tuple[bytes, tuple[bytes, ...]]:
    """The value at `key`, and the nodes used, from the root downwards."""
    if len(nodes) > MAX_PROOF_NODES or any(len(node) > MAX_NODE_BYTES for node in nodes):
        raise StateProofInvalid("the proof is longer than any can be", step=step)
    known = {keccak256(node): node for node in nodes}
    used: list[bytes] = []
    rest = _nibbles(key)
    place: Any = b"" if root.raw == _EMPTY_ROOT else root.raw
    while place:
        if isinstance(place, bytes):
            if place not in known:
                raise StateProofInvalid(
                    f"the proof does not lead from root {root.short}", step=step
                )
            raw = known[place]
            if used and len(raw) < 32:
                raise StateProofInvalid("a short node stands apart from the one above", step=step)
            used.append(raw)
            place = read_rlp(raw, "a proof node", step=step)
            _check_node(place, step)
        if len(place) == _BRANCH:
            if not rest:
                return place[-1], tuple(used)
            place, rest = place[rest[0]], rest[1:]
            continue
        part, is_leaf = _path(place[0])
        if is_leaf:
            return (place[1] if part == rest else b""), tuple(used)
        if rest[: len(part)] != part:
            break
        place, rest = place[1], rest[len(part) :]
    return b"", tuple(used)


def _check_node(node: Any, step: int) -> None:
    """A node has the shape that nodes of tries have, and so has all that stands within it.

    Raises:
        StateProofInvalid: it has not.
    """
    if not isinstance(node, list) or len(node) not in {_BRANCH, _PAIR}:
        raise StateProofInvalid("a proof node is malformed: neither branch nor path", step=step)
    if len(node) == _BRANCH:
        children, value = node[:-1], node[-1]
        whole = isinstance(value, bytes)
    else:
        path, last = node
        whole = isinstance(path, bytes) and path[:1] < b"\x40" and path[:1] != b""
        whole = whole and bool(path[0] >> 4 & _ODD or not path[0] & 15)
        is_leaf = whole and bool(path[0] >> 4 & _LEAF)
        # A leaf holds something; an extension is of at least a nibble, over a branch.
        children = [] if is_leaf else [last]
        if is_leaf:
            whole = isinstance(last, bytes) and bool(last)
        elif whole:
            whole = bool(_path(path)[0]) and last != b""
            whole = whole and (isinstance(last, bytes) or len(last) == _BRANCH)
    if not whole:
        raise StateProofInvalid("a proof node is malformed", step=step)
    for child in children:
        if isinstance(child, list):
            if len(rlp.encode(child)) >= 32:
                raise StateProofInvalid("a long node stands within another", step=step)
            _check_node(child, step)
        elif len(child) not in {0, 32}:
            raise StateProofInvalid("a proof node is malformed: a child is no hash", step=step)


def _path(raw: bytes) -> tuple[list[int], bool]:
    """The nibbles of a hex-prefix encoded path, and whether it ends in a leaf."""
    flag = raw[0] >> 4
    return _nibbles(raw)[2 - (flag & _ODD) :], bool(flag & _LEAF)


def _nibbles(raw: bytes) -> list[int]:
    return [nibble for byte in raw for nibble in (byte >> 4, byte & 15)]
