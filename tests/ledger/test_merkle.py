"""The Merkle tree against the recursive definition of RFC 6962, its vectors, and broken proofs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InclusionProofInvalid, LedgerError
from ledger.merkle import T1, T2, Tree

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "merkle").glob("*.json"))
TREES = {tree.hash_name: tree for tree in (T1, T2)}


def by_definition(tree: Tree, leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return tree.hash(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = by_definition(tree, leaves[:split]), by_definition(tree, leaves[split:])
    return tree.hash(b"\x01" + left + right)


@pytest.mark.parametrize("tree", [T1, T2], ids=lambda tree: tree.hash_name)
@pytest.mark.parametrize("size", [*range(34), 63, 64, 65, 100])
def test_root_equals_the_recursive_definition_and_every_leaf_proves_itself(tree, size):
    leaves = [tree.leaf(bytes([index])) for index in range(size)]
    root = tree.root(leaves)
    assert root == by_definition(tree, leaves)
    for index in range(size):
        tree.verify(leaves[index], index, size, tree.path(leaves, index), root)
    assert tree.paths(leaves) == [tree.path(leaves, index) for index in range(size)]


@given(size=st.integers(1, 40), index=st.integers(0, 39), other=st.integers(0, 45))
def test_a_leaf_proves_itself_at_no_other_index(size, index, other):
    index %= size
    leaves = [T1.leaf(bytes([n])) for n in range(size)]
    path = T1.path(leaves, index)
    if other != index:
        with pytest.raises(InclusionProofInvalid):
            T1.verify(leaves[index], other, size, path, T1.root(leaves))


def test_an_index_means_something_only_together_with_a_size_known_from_elsewhere():
    # The last of 3 leaves takes the same steps as the last of 2 (docs/spec/merkle.md).
    leaves = [T1.leaf(bytes([n])) for n in range(3)]
    path, root = T1.path(leaves, 2), T1.root(leaves)
    T1.verify(leaves[2], 2, 3, path, root)
    T1.verify(leaves[2], 1, 2, path, root)


@given(
    size=st.integers(2, 40), index=st.integers(0, 39), bit=st.integers(0, 255), at=st.integers(0)
)
def test_a_flipped_bit_anywhere_in_the_path_is_found(size, index, bit, at):
    index %= size
    leaves = [T2.leaf(bytes([n])) for n in range(size)]
    path = list(T2.path(leaves, index))
    at %= len(path)
    path[at] = (int.from_bytes(path[at], "big") ^ (1 << bit)).to_bytes(32, "big")
    with pytest.raises(InclusionProofInvalid):
        T2.verify(leaves[index], index, size, path, T2.root(leaves))


def test_a_failed_proof_carries_the_step_of_its_specification():
    with pytest.raises(InclusionProofInvalid) as caught:
        T1.verify(bytes(32), 0, 1, [bytes(32)], bytes(32), step=7)
    assert caught.value.step == 7


def test_a_path_of_an_index_that_is_not_there_is_an_index_error():
    with pytest.raises(IndexError):
        T1.path([bytes(32)], 1)


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_vector(file):
    case = json.loads(file.read_text())
    given, expect = case["input"], case["expect"]
    tree = TREES[given["hash"]]
    if "root" in expect:
        leaves = [tree.leaf(bytes.fromhex(data)) for data in given["leaf_data"]]
        assert tree.root(leaves).hex() == by_definition(tree, leaves).hex() == expect["root"]
        return
    parts = [bytes.fromhex(given["leaf"]), given["index"], given["size"]]
    parts += [[bytes.fromhex(node) for node in given["path"]], bytes.fromhex(given["root"])]
    if "error" in expect:
        with pytest.raises(LedgerError) as caught:
            tree.verify(*parts)
        assert caught.value.code == expect["error"]
    else:
        tree.verify(*parts)


def test_there_are_vectors():
    assert len(VECTORS) > 30
