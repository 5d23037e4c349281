"""Merkle-Patricia proofs against tries built by the library, and against hostile nodes."""

import contextlib
import json

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from ledger.errors import StateProofInvalid
from ledger.evidence import proofs
from ledger.evidence.documents import StateProof
from ledger.evidence.headers import Header
from ledger.ids import Digest, keccak256

keys = st.binary(min_size=32, max_size=32)


def built(content):
    tree = HexaryTrie({}, prune=False)
    for key, value in content.items():
        tree[key] = value
    return tree


def proof_of(tree, key):
    return [rlp.encode(node) for node in tree.get_proof(key)]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, st.binary(min_size=1, max_size=80), min_size=1, max_size=30), keys)
def test_presence_and_absence_are_both_proved(content, absent):
    tree = built(content)
    root = Digest(tree.root_hash)
    for key in [*content, absent]:
        nodes = proofs.prune(root, key, proof_of(tree, key))
        assert proofs.prove(root, key, nodes) == content.get(key, b"")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(keys, st.binary(min_size=33, max_size=80), min_size=2, max_size=30), st.data()
)
def test_no_changed_node_proves_another_value(content, data):
    tree = built(content)
    root, key = Digest(tree.root_hash), data.draw(st.sampled_from(sorted(content)))
    nodes = list(proofs.prune(root, key, proof_of(tree, key)))
    which = data.draw(st.integers(0, len(nodes) - 1))
    node = bytearray(nodes[which])
    node[data.draw(st.integers(0, len(node) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    nodes[which] = bytes(node)
    with pytest.raises(StateProofInvalid):
        proofs.prove(root, key, nodes)


def test_a_node_off_the_path_is_refused():
    tree = built({bytes([i]) * 32: b"v" * 40 for i in range(20)})
    root, key = Digest(tree.root_hash), b"\x01" * 32
    nodes = [*proofs.prune(root, key, proof_of(tree, key)), rlp.encode([b"x" * 40, b"y"])]
    with pytest.raises(StateProofInvalid, match="off its path"):
        proofs.prove(root, key, nodes)


HOSTILE = [
    b"",
    b"\x80",
    b"\xc0",
    rlp.encode([b"", b"", b""]),
    rlp.encode([[], []]),
    rlp.encode([[b"\x20"], b"v"]),
    rlp.encode([b"\x20" + b"a" * 40, [b"v" * 40]]),
    rlp.encode([b"\xff" * 20, b"v" * 40]),
    rlp.encode([b"", b"v" * 40]),
    rlp.encode([[b"a"] * 17] * 17),
    rlp.encode([b"a" * 40] * 17),
    rlp.encode([b"\x00", b"v" * 32]),
    b"\xf8\x00",
    b"\xff" * 50,
    rlp.encode(b"x" * 40),
]


@pytest.mark.parametrize("node", HOSTILE)
def test_hostile_root_nodes_raise_nothing_but_the_one_error(node):
    """A proof whose root node is garbage of every shape, under the garbage's own hash."""
    for key in (bytes(32), b"\xff" * 32, b"a" * 32):
        try:
            value = proofs.prove(Digest(keccak256(node)), key, [node])
        except StateProofInvalid:
            continue
        assert isinstance(value, bytes)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.binary(max_size=40), lambda children: st.lists(children, max_size=17), max_leaves=40
    ),
    keys,
)
def test_any_nested_list_as_root_raises_nothing_but_the_one_error(shape, key):
    node = rlp.encode(shape)
    with contextlib.suppress(StateProofInvalid):
        proofs.prove(Digest(keccak256(node)), key, [node])


def test_a_long_proof_is_refused():
    with pytest.raises(StateProofInvalid, match="longer"):
        proofs.prove(Digest(bytes(32)), bytes(32), [b"\x80"] * 66)


def test_an_account_that_is_not_there_is_refused(members):
    header = Header.parse(members["headers/16.rlp"])
    proof = StateProof.from_json(json.loads(members["state/Anchors.json"]))
    other = StateProof.from_json(json.loads(members["state/ModelRegistry.json"]))
    with pytest.raises(StateProofInvalid):
        proofs.prove_account(header.state_root, other.address, proof.nodes)


def test_every_item_of_a_list_is_proved_and_no_other():
    items = [bytes([i]) * (i + 1) for i in range(130)]
    tree = built({rlp.encode(i): item for i, item in enumerate(items)})
    root = Digest(tree.root_hash)
    shown = proofs.list_proofs(items, (0, 1, 127, 128, 129), root)
    assert len(shown) == 5
    for index, nodes in shown.items():
        assert proofs.prove_item(root, index, nodes) == items[index]
    with pytest.raises(StateProofInvalid):
        proofs.prove_item(root, 130, proof_of(tree, rlp.encode(130)))
    with pytest.raises(StateProofInvalid, match="do not lead"):
        proofs.list_proofs(items[:-1], [], root)
