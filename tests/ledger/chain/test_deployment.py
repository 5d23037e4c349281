"""Deployment manifests: read strictly, and held against what an endpoint really serves."""

import json
import pickle

import pytest

from ledger.chain.deployment import Deployment, deploy
from ledger.chain.dev import DevChain
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.errors import ChainError, ManifestError, UnsupportedVersion, WrongNetwork
from ledger.evidence.origin import FACTORY
from ledger.evidence.releases import CONTRACTS, shipped_code
from ledger.ids import Address, Digest, keccak256

GOOD = {
    "version": 1,
    "chain_id": 31337,
    "genesis_hash": "0x" + "11" * 32,
    "block": 1,
    "addresses": {
        name: "0x" + f"{i}" * 40
        for i, name in enumerate(("Anchors", "BrokerRegistry", "LicenseLedger", "ModelRegistry"), 1)
    },
    "code_hashes": {
        name: "0x" + f"{i}" * 64
        for i, name in enumerate(("Anchors", "BrokerRegistry", "LicenseLedger", "ModelRegistry"), 1)
    },
}


def test_a_manifest_is_read_back_as_it_was_written(tmp_path):
    deployment = Deployment.from_json(GOOD)
    deployment.save(tmp_path / "d" / "deployment.json")
    assert Deployment.load(tmp_path / "d" / "deployment.json") == deployment
    assert Deployment.from_json(deployment.to_json()) == deployment
    assert pickle.loads(pickle.dumps(deployment)) == deployment
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["deployment.json"]


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


def less(part):
    rest = {name: value for name, value in GOOD[part].items() if name != "LicenseLedger"}
    return GOOD | {part: rest}


FAULTS = {
    "not an object": [],
    "a field missing": without("block"),
    "a field too many": GOOD | {"colour": "red"},
    "a chain id of text": GOOD | {"chain_id": "31337"},
    "a block that is true": GOOD | {"block": True},
    "a negative block": GOOD | {"block": -1},
    "a short genesis hash": GOOD | {"genesis_hash": "0x11"},
    "a genesis hash that is no text": GOOD | {"genesis_hash": 7},
    "addresses in a list": GOOD | {"addresses": []},
    "a contract without address": less("addresses"),
    "a contract without code hash": less("code_hashes"),
    "an address with a wrong checksum": GOOD
    | {"addresses": GOOD["addresses"] | {"Anchors": "0x70997970c51812dc3A010C7d01b50e0d17dc79C8"}},
    "a code hash too many": GOOD
    | {"code_hashes": GOOD["code_hashes"] | {"Other": "0x" + "1" * 64}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_malformed_manifest_is_refused(fault):
    with pytest.raises(ManifestError):
        Deployment.from_json(FAULTS[fault])


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_as_such(version):
    with pytest.raises(UnsupportedVersion):
        Deployment.from_json(GOOD | {"version": version})


def test_a_manifest_file_that_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        Deployment.load(tmp_path / "nothing")
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(GOOD)[:-1] + ',"version":1}')
    with pytest.raises(ManifestError, match="repeats"):
        Deployment.load(path)


@pytest.mark.chain
class TestOnChain:
    def test_what_was_deployed_verifies(self, deployed):
        deployed.deployment.verify(deployed.rpc)
        assert deployed.deployment.block >= 1
        assert deployed.rpc.block("latest").number >= deployed.deployment.block

    def test_the_contracts_point_at_one_another(self, deployed):
        at = deployed.deployment.addresses
        call = deployed.licenses._abi.encode("registry")
        found = deployed.licenses._abi.decode(
            "registry", deployed.rpc.eth_call(at["LicenseLedger"], call)
        )
        assert found == (at["ModelRegistry"],)

    def test_another_chain_id_is_the_wrong_network(self, deployed):
        other = Deployment.from_json(deployed.deployment.to_json() | {"chain_id": 1})
        with pytest.raises(WrongNetwork, match=r"chain 31337.*chain 1"):
            other.verify(deployed.rpc)

    def test_the_same_id_with_another_genesis_is_the_wrong_network(self, deployed):
        with DevChain.start() as fresh, Rpc(fresh.rpc_url) as rpc:
            if rpc.block(0).hash == deployed.deployment.genesis_hash:
                pytest.skip("both chains began in the same second and are equal")
            with pytest.raises(WrongNetwork, match="genesis"):
                deployed.deployment.verify(rpc)

    def test_another_network_is_suspected_before_anything_is_begun_anew(self, deployed):
        other = deployed.deployment.to_json() | {"genesis_hash": "0x" + "11" * 32}
        with pytest.raises(WrongNetwork, match="genesis") as caught:
            Deployment.from_json(other).verify(deployed.rpc)
        assert 0 < caught.value.hint.index("manifest") < caught.value.hint.index("--fresh")

    def test_no_contract_and_other_code_are_told_apart(self, deployed):
        document = deployed.deployment.to_json()
        nowhere = document["addresses"] | {"Anchors": str(Address(b"\7" * 20))}
        with pytest.raises(WrongNetwork, match="no contract") as caught:
            Deployment.from_json(document | {"addresses": nowhere}).verify(deployed.rpc)
        assert "manifest" in caught.value.hint
        assert "--fresh" not in caught.value.hint
        swapped = document["addresses"] | {"Anchors": document["addresses"]["ModelRegistry"]}
        with pytest.raises(WrongNetwork, match="other code"):
            Deployment.from_json(document | {"addresses": swapped}).verify(deployed.rpc)

    def test_code_hashes_are_those_of_the_code_on_chain(self, deployed):
        for name, address in deployed.deployment.addresses.items():
            code = deployed.rpc.code(address)
            assert deployed.deployment.code_hashes[name] == Digest(keccak256(code))

    def test_deploying_again_sends_nothing_and_names_the_same_contracts(self, deployed):
        head = deployed.rpc.block("latest").number
        again = deploy(deployed.sender("deployer"))
        assert again == deployed.deployment
        assert deployed.rpc.block("latest").number - head <= 2  # the keeper's empty blocks

    def test_addresses_are_the_same_on_every_chain_whoever_deploys(self, deployed):
        with DevChain.start() as other, Rpc(other.rpc_url) as rpc:
            sender = Sender(rpc, dev_wallet("stranger"), deployed.profile)
            assert deploy(sender).addresses == deployed.deployment.addresses

    def test_the_address_commits_to_the_creation_code(self, deployed):
        for name in CONTRACTS:
            assert deployed.deployment.addresses[name] == shipped_code(name).address

    def test_a_chain_that_forgot_its_early_states_is_indexed_from_the_beginning(self, tmp_path):
        profile, state = profile_for(31337), tmp_path / "state.gz"
        with DevChain.start(state=state) as node, Rpc(node.rpc_url) as rpc:
            first = deploy(Sender(rpc, dev_wallet("deployer"), profile))
        with DevChain.start(state=state) as node, Rpc(node.rpc_url) as rpc:
            again = deploy(Sender(rpc, dev_wallet("deployer"), profile))
        assert again.addresses == first.addresses
        assert again.block == 0 < first.block

    def test_a_chain_without_the_factory_is_said_to_lack_it(self, deployed):
        with DevChain.start() as bare, Rpc(bare.rpc_url) as rpc:
            rpc.call("anvil_setCode", [str(FACTORY), "0x"])
            with pytest.raises(ChainError, match="no deterministic deployment factory") as caught:
                deploy(Sender(rpc, dev_wallet("deployer"), deployed.profile))
            assert caught.value.hint
            rpc.call("anvil_setCode", [str(FACTORY), "0x00"])  # takes any call, creates nothing
            with pytest.raises(ChainError, match="left no code") as caught:
                deploy(Sender(rpc, dev_wallet("deployer"), deployed.profile))
            assert "not the deterministic" in caught.value.hint
