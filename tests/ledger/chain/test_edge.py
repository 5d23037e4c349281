"""web3 on our endpoints."""

import pytest

from ledger.chain import reverts
from ledger.chain.edge import web3_contract, web3_for
from ledger.chain.rpc import Rpc
from ledger.errors import WrongNetwork

pytestmark = pytest.mark.chain


def test_web3_reads_the_same_contract_through_our_endpoints(deployed, model):
    theirs = web3_contract(deployed.rpc, "ModelRegistry", deployed.registry.address)
    found = theirs.functions.modelOf(model.raw).call()
    ours = deployed.registry.model_of(model)
    assert found == [
        str(ours.licensor),
        ours.registered_at,
        ours.committed_at,
        int(ours.status),
        ours.committed,
    ]


def test_web3_sees_our_errors_and_our_chain_check(deployed):
    theirs = web3_contract(deployed.rpc, "LicenseLedger", deployed.licenses.address)
    with pytest.raises(reverts.PlanUnknown):
        theirs.functions.planOf(4_000).call()
    with Rpc(deployed.chain.rpc_url, chain_id=1) as wrong, pytest.raises(WrongNetwork):
        _ = web3_for(wrong).eth.block_number


def test_it_is_web3_8():
    import web3

    assert web3.__version__.startswith("8.")
    assert not web3_for(Rpc("http://127.0.0.1:1")).is_connected()
