"""Batches whose results stay JSON text keep the checks, errors and failover of all others."""

from __future__ import annotations

import json

import msgspec
import pytest

from ledger.chain import reverts
from ledger.chain.anvil import free_port
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, RpcRefused, UsageError, WrongNetwork

CALLS = [("eth_chainId", []), ("eth_blockNumber", [])]


def decoded(results):
    return [json.loads(bytes(result)) for result in results]


@pytest.mark.chain
def test_results_are_those_of_a_decoded_batch_and_reverts_are_raised(deployed):
    rpc = deployed.rpc
    calls = [("eth_getBlockByNumber", ["0x0", False]), ("eth_chainId", [])]
    results = rpc.batch_undecoded(calls)
    assert all(isinstance(result, msgspec.Raw) for result in results)
    assert decoded(results) == rpc.batch(calls)
    assert rpc.batch_undecoded([]) == []
    call = deployed.licenses._abi.encode("planOf", 77)
    bad = {"to": str(deployed.licenses.address), "data": "0x" + call.hex()}
    with pytest.raises(reverts.PlanUnknown):
        rpc.batch_undecoded([("eth_chainId", []), ("eth_call", [bad, "latest"])])


@pytest.mark.parametrize("members", [[], [0], [0, 0], [0, 1, 2]])
def test_missing_doubled_or_foreign_replies_void_the_batch(serve, reply_result, members):
    def answer(request):
        known = [*request, {"id": 10_000}]
        return [reply_result(known[i], "0x1") for i in members]

    with Rpc(serve(answer).url) as rpc, pytest.raises(ChainUnavailable, match="part of a batch"):
        rpc.batch_undecoded(CALLS)


ODD = {
    "an HTML page": lambda _: b"<html>down for maintenance</html>",
    "nothing": lambda _: b"",
    "cut off": lambda _: b'[{"id":1,"result":"0x1"}',
    "invalid UTF-8": lambda r: b'[{"id":%d,"result":"0x1\xff' % r[0]["id"],
    "nesting without end": lambda _: b"[" * 100_000,
    "ids of text": lambda r: [{"id": str(each["id"]), "result": "0x1"} for each in r],
    "neither result nor error": lambda r: [{"id": each["id"]} for each in r],
    "an error that is text": lambda r: [{"id": each["id"], "error": "no"} for each in r],
    "a number": lambda _: 7,
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_reply_to_a_batch_is_told_as_unavailable(serve, name):
    with Rpc(serve(ODD[name]).url) as rpc, pytest.raises(ChainUnavailable) as caught:
        rpc.batch_undecoded(CALLS)
    assert caught.value.fault == "malformed"


def test_a_reordered_batch_is_put_in_order(serve, reply_result):
    server = serve(lambda request: [reply_result(r, r["id"]) for r in reversed(request)])
    with Rpc(server.url) as rpc:
        first, second = decoded(rpc.batch_undecoded(CALLS))
    assert first < second


def test_endpoints_without_batches_are_asked_one_by_one(serve, reply_result):
    def answer(request):
        if isinstance(request, list):
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}
        return reply_result(request, "0x1")

    with Rpc(serve(answer).url) as rpc:
        assert decoded(rpc.batch_undecoded(CALLS)) == ["0x1", "0x1"]


def test_another_endpoint_is_asked_when_one_refuses_or_is_down(serve, reply_error, reply_result):
    ill = serve(lambda request: [reply_error(r, -32005, "limit exceeded") for r in request])
    well = serve(lambda request: [reply_result(r, "0x1") for r in request])
    with Rpc([f"http://127.0.0.1:{free_port()}", ill.url, well.url]) as rpc:
        assert decoded(rpc.batch_undecoded(CALLS)) == ["0x1", "0x1"]
    with Rpc(ill.url) as rpc, pytest.raises(RpcRefused, match="limit exceeded"):
        rpc.batch_undecoded(CALLS)


def test_the_chain_id_is_checked_and_only_reads_are_sent(serve, reply_result):
    def answer(request):
        if isinstance(request, list):
            return [reply_result(r, "0x1") for r in request]
        return reply_result(request, "0x1")

    with Rpc(serve(answer).url, chain_id=31337) as rpc:
        with pytest.raises(WrongNetwork):
            rpc.batch_undecoded(CALLS)
        with pytest.raises(UsageError):
            rpc.batch_undecoded([("eth_sendRawTransaction", ["0x"])])
