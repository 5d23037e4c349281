"""Reading a chain through good and odd endpoints."""

import json
import threading
import time

import pytest

from ledger.chain import reverts
from ledger.chain.anvil import free_port
from ledger.chain.rpc import Rpc, block_param, data, quantity
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    ContractReverted,
    Reorganised,
    RpcRefused,
    UsageError,
    WrongNetwork,
)
from ledger.ids import Address, Digest

KEY = "s3cr3t-api-key-0123456789"


@pytest.fixture
def good(serve, reply_result):
    return serve(lambda request: reply_result(request, "0x7a69"))


def dead():
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.chain
class TestAgainstAnvil:
    def test_blocks_are_read_by_number_tag_and_hash(self, chain):
        with Rpc(chain.rpc_url, chain_id=31337) as rpc:
            genesis = rpc.block(0)
            assert rpc.block(genesis.hash) == genesis == rpc.block("earliest")
            assert genesis.number == 0
            assert len(genesis.logs_bloom) == 256

    def test_a_block_that_is_not_there_yet_is_a_chain_error(self, chain):
        with Rpc(chain.rpc_url) as rpc, pytest.raises(ChainError, match="no block 999999"):
            rpc.block(999_999)

    def test_a_block_hash_nobody_knows_is_reported_as_reorganised(self, chain):
        with Rpc(chain.rpc_url) as rpc:
            with pytest.raises(Reorganised):
                rpc.block(Digest(b"\1" * 32))
            with pytest.raises(Reorganised):
                rpc.eth_call(Address(b"\1" * 20), b"", Digest(b"\1" * 32))

    def test_a_call_at_a_hash_that_lost_against_another_block_is_refused(self, deployed):
        with deployed.chain.hold_finality():
            deployed.anchors.anchor(deployed.sender("licensor"), Digest(b"\1" * 32))
            lost = deployed.rpc.block("latest")
            deployed.rpc.call("anvil_reorg", [1, []])
            with pytest.raises(Reorganised):
                deployed.anchors.anchored_at(Digest(b"\1" * 32), lost.hash)
        assert deployed.anchors.anchored_at(Digest(b"\1" * 32)) is None

    def test_a_revert_arrives_as_the_class_of_its_solidity_error(self, deployed):
        with pytest.raises(reverts.PlanUnknown) as caught:
            deployed.licenses.plan_of(77)
        assert caught.value.arguments == {"planId": 77}

    def test_an_account_without_code_has_empty_code(self, chain):
        with Rpc(chain.rpc_url) as rpc:
            assert rpc.code(Address(b"\7" * 20)) == b""

    def test_a_batch_gives_results_in_order_and_raises_the_first_revert(self, deployed):
        rpc = deployed.rpc
        call = deployed.licenses._abi.encode("planOf", 77)
        bad = {"to": str(deployed.licenses.address), "data": "0x" + call.hex()}
        assert (
            rpc.batch([("eth_chainId", []), ("eth_getBlockByNumber", ["0x0", False])])[0]
            == "0x7a69"
        )
        with pytest.raises(reverts.PlanUnknown):
            rpc.batch([("eth_chainId", []), ("eth_call", [bad, "latest"])])
        assert rpc.batch([]) == []

    def test_threads_share_one_client(self, chain):
        with Rpc(chain.rpc_url, chain_id=31337) as rpc:
            seen = []
            threads = [
                threading.Thread(target=lambda: seen.append(rpc.block(0).hash)) for _ in range(16)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(seen) == 16
            assert len(set(seen)) == 1


class TestFailover:
    def test_reads_go_to_the_next_endpoint_when_one_is_down(self, good):
        with Rpc([dead(), good.url], chain_id=31337) as rpc:
            assert rpc.chain_id() == 31337

    def test_the_endpoint_that_answered_is_asked_first_from_then_on(self, serve, good, reply_error):
        ill = serve(lambda request: reply_error(request, -32005, "limit exceeded"))
        with Rpc([ill.url, good.url]) as rpc:
            rpc.chain_id()
            rpc.chain_id()
        assert len(ill.requests) == 1

    def test_an_endpoint_of_another_chain_is_passed_over(self, serve, good, reply_result):
        other = serve(lambda request: reply_result(request, "0x1"))
        with Rpc([other.url, good.url], chain_id=31337) as rpc:
            assert rpc.chain_id() == 31337
        assert [r["method"] for r in other.requests] == ["eth_chainId"]

    def test_when_only_another_chain_answers_the_error_names_both_ids(self, serve, reply_result):
        other = serve(lambda request: reply_result(request, "0x1"))
        pattern = r"chain 1.*31337"
        with (
            Rpc([dead(), other.url], chain_id=31337) as rpc,
            pytest.raises(WrongNetwork, match=pattern),
        ):
            rpc.block("latest")

    def test_what_changes_something_is_sent_to_one_endpoint_only(self, serve, good, reply_error):
        ill = serve(lambda request: reply_error(request, -32603, "internal error"))
        with Rpc([ill.url, good.url]) as rpc, pytest.raises(RpcRefused):
            rpc.call("anvil_mine", ["0x1"])
        assert good.requests == []

    def test_a_signed_transaction_may_go_to_the_next_endpoint(self, good):
        with Rpc([dead(), good.url]) as rpc:
            assert rpc.call("eth_sendRawTransaction", ["0x00"]) == "0x7a69"

    def test_a_revert_is_an_answer_and_asks_nobody_else(self, serve, good, reply_error):
        ill = serve(lambda request: reply_error(request, 3, "execution reverted", data="0x"))
        with Rpc([ill.url, good.url]) as rpc, pytest.raises(ContractReverted):
            rpc.eth_call(Address(b"\1" * 20), b"")
        assert good.requests == []

    def test_all_endpoints_down_is_unavailable_with_a_hint(self):
        with Rpc([dead(), dead()]) as rpc, pytest.raises(ChainUnavailable) as caught:
            rpc.chain_id()
        assert "deed" in caught.value.hint
        assert caught.value.retry_after > 0

    def test_batches_fall_back_to_single_requests_where_they_are_not_served(
        self, serve, reply_result
    ):
        def answer(request):
            if isinstance(request, list):
                return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}
            return reply_result(request, "0x1")

        server = serve(answer)
        with Rpc(server.url) as rpc:
            assert rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])]) == ["0x1", "0x1"]

    def test_a_batch_that_changes_something_is_refused(self, good):
        with Rpc(good.url) as rpc, pytest.raises(UsageError):
            rpc.batch([("eth_sendTransaction", [{}])])


ODD = {
    "an HTML page": lambda _: b"<html>down for maintenance</html>",
    "nothing": lambda _: b"",
    "text that is no JSON": lambda _: b"{",
    "NaN": lambda r: b'{"jsonrpc":"2.0","id":%d,"result":NaN}' % r["id"],
    "a key twice": lambda r: b'{"id":%d,"result":"0x1","result":"0x2"}' % r["id"],
    "invalid UTF-8": lambda r: b'{"id":%d,"result":"\xff"}' % r["id"],
    "nesting without end": lambda _: b"[" * 100_000,
    "a foreign id": lambda r: {"jsonrpc": "2.0", "id": r["id"] + 1, "result": "0x1"},
    "an id of text": lambda r: {"jsonrpc": "2.0", "id": str(r["id"]), "result": "0x1"},
    "neither result nor error": lambda r: {"jsonrpc": "2.0", "id": r["id"]},
    "an error that is text": lambda r: {"id": r["id"], "error": "no"},
    "a number": lambda _: 7,
    "a list": lambda r: [r],
    "HTTP 500": lambda _: lambda handler: handler.reply(500, b"{}"),
    "a redirect": lambda _: lambda handler: handler.reply(302, b"", location="http://127.0.0.1:1/"),
    "an early end": lambda _: (
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
    ),
    "a broken gzip": lambda _: lambda handler: handler.reply(200, b"nope", content_encoding="gzip"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_endpoint_that_answers_with_garbage_is_unavailable(serve, kind):
    server = serve(ODD[kind])
    with Rpc(server.url, timeout=1.0) as rpc, pytest.raises(ChainUnavailable) as caught:
        rpc.chain_id()
    assert str(server.port) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", [None, 7, "7", "0x", "0xzz", "0x" + "f" * 65, [], {}])
def test_a_result_of_the_wrong_kind_is_a_chain_error(serve, reply_result, value):
    server = serve(lambda request: reply_result(request, value))
    with Rpc(server.url) as rpc, pytest.raises(ChainError):
        rpc.chain_id()


@pytest.mark.parametrize("block", [7, {}, {"number": "0x1"}, []])
def test_a_block_with_missing_fields_is_a_chain_error(serve, reply_result, block):
    server = serve(lambda request: reply_result(request, block))
    with Rpc(server.url) as rpc, pytest.raises(ChainError):
        rpc.block("latest")


@pytest.mark.parametrize("members", [[], [0], [0, 0], [0, 1, 2]])
def test_a_batch_with_missing_doubled_or_foreign_replies_is_void(serve, reply_result, members):
    def answer(request):
        known = [*request, {"id": 10_000}]
        return [reply_result(known[i], "0x1") for i in members]

    with Rpc(serve(answer).url) as rpc, pytest.raises(ChainUnavailable, match="batch"):
        rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])])


def test_a_reordered_batch_is_put_in_order(serve, reply_result):
    server = serve(lambda request: [reply_result(r, hex(r["id"])) for r in reversed(request)])
    with Rpc(server.url) as rpc:
        first, second = rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])])
    assert quantity(first) < quantity(second)


def test_a_reply_beyond_the_bound_is_refused_while_it_arrives(serve, reply_result):
    server = serve(lambda request: reply_result(request, "0x" + "00" * 100_000))
    pattern = "more than 50000 bytes"
    with Rpc(server.url, max_reply=50_000) as rpc, pytest.raises(ChainUnavailable, match=pattern):
        rpc.chain_id()


def drip(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def test_an_endpoint_that_drips_bytes_cannot_stretch_the_timeout(serve):
    server = serve(lambda _: drip)
    began = time.monotonic()
    with Rpc(server.url, timeout=0.4) as rpc, pytest.raises(ChainUnavailable, match="longer than"):
        rpc.chain_id()
    assert time.monotonic() - began < 3


def test_too_many_requests_carries_the_time_to_retry(serve):
    server = serve(lambda _: lambda handler: handler.reply(429, b"", retry_after="7"))
    with Rpc(server.url) as rpc, pytest.raises(ChainUnavailable) as caught:
        rpc.chain_id()
    assert caught.value.retry_after == 7


def test_a_kept_connection_that_was_closed_is_opened_again(serve, reply_result):
    def answer(request):
        def once(handler):
            handler.reply(200, json.dumps(reply_result(request, "0x1")).encode())
            handler.close_connection = True  # without saying so in a header

        return once

    with Rpc(serve(answer).url) as rpc:
        assert [rpc.chain_id() for _ in range(5)] == [1] * 5


@pytest.mark.parametrize("place", ["path", "query", "user"])
def test_no_message_or_log_shows_what_may_be_an_api_key(serve, reply_error, caplog, place):
    caplog.set_level("DEBUG")
    server = serve(
        lambda request: reply_error(request, -32000, f"invalid project id {KEY}\x1b[31m")
    )
    host = f"127.0.0.1:{server.port}"
    url = {
        "path": f"http://{host}/v2/{KEY}",
        "query": f"http://{host}/?key={KEY}",
        "user": f"http://me:{KEY}@{host}/",
    }[place]
    with Rpc(url) as rpc, pytest.raises(RpcRefused) as caught:
        rpc.chain_id()
    shown = f"{caught.value} {caught.value.hint} {caught.value.rpc_message} {rpc!r} {caplog.text}"
    assert KEY not in shown
    assert "\x1b" not in shown
    assert host in shown


def test_a_dead_endpoint_with_a_key_in_its_url_is_named_by_host_alone(caplog):
    caplog.set_level("DEBUG")
    url = dead()
    with Rpc(f"{url}/v2/{KEY}") as rpc, pytest.raises(ChainUnavailable) as caught:
        rpc.chain_id()
    assert KEY not in caught.value.message + caplog.text
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["", "localhost:8545", "ftp://x", "http://", "file:///etc/passwd", "http://[::1"]
)
def test_what_is_no_http_url_is_a_usage_error_that_does_not_repeat_it(url):
    with pytest.raises(UsageError, match="http:// or https://"):
        Rpc(url)


def test_no_endpoint_at_all_is_a_usage_error():
    with pytest.raises(UsageError):
        Rpc([])


def test_block_identifiers_take_their_json_form():
    assert block_param(17) == "0x11"
    assert block_param("finalized") == "finalized"
    assert block_param(Digest(b"\1" * 32))["requireCanonical"] is True
    for wrong in (-1, "newest"):
        with pytest.raises(UsageError):
            block_param(wrong)


def test_data_is_hex_with_a_prefix():
    assert data("0x00ff") == b"\x00\xff"
    for wrong in ("00ff", "0x0", None, 7):
        with pytest.raises(ChainError):
            data(wrong)


def test_a_raw_reply_is_handed_over_unread(good):
    with Rpc(good.url) as rpc:
        assert b"0x7a69" in rpc.raw("eth_chainId")
