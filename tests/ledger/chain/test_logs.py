"""Finding events through providers that bound what may be asked."""

import pytest

from ledger.chain.logs import find_events
from ledger.chain.rpc import Rpc
from ledger.errors import RpcRefused

pytestmark = pytest.mark.chain


def test_a_provider_that_bounds_the_range_is_asked_in_smaller_ones(
    deployed, serve, reply_error, reply_result, fresh
):
    """Forwards to the real node, refusing ranges above 3 blocks."""
    root = fresh()
    deployed.anchors.anchor(deployed.sender("licensor"), root)

    def answer(request):
        if request["method"] == "eth_getLogs":
            (query,) = request["params"]
            if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= 3:
                return reply_error(request, -32005, "query returned more than 10000 results")
        return reply_result(request, deployed.rpc.call(request["method"], request["params"]))

    server = serve(answer)
    with Rpc(server.url) as rpc:
        found = find_events(
            rpc,
            deployed.anchors._abi,
            deployed.anchors.address,
            "RootAnchored",
            [root],
            from_block=0,
        )
    assert [event.arguments["root"] for event in found] == [root]


def test_a_provider_that_refuses_even_one_block_is_an_error(
    deployed, serve, reply_error, reply_result
):
    def answer(request):
        if request["method"] == "eth_getLogs":
            return reply_error(request, -32601, "not available on your plan")
        return reply_result(request, deployed.rpc.call(request["method"], request["params"]))

    with Rpc(serve(answer).url) as rpc, pytest.raises(RpcRefused, match="your plan"):
        find_events(
            rpc,
            deployed.anchors._abi,
            deployed.anchors.address,
            "RootAnchored",
            [],
            from_block=0,
        )
