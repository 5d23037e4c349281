"""The chain rule over several endpoints, some of them faulty, on real sockets."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ledger.broker.chainview import ChainView
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, EndpointsDisagree, UsageError
from ledger.ids import ZERO_ADDRESS, Digest, LicenseId
from ledger.licensing.entitlement import Code, Status

pytestmark = pytest.mark.chain


class Proxy:
    """An endpoint in front of the real node that can be made to fail or lie."""

    def __init__(self, target):
        self.change = lambda method, result: result
        self.down = False
        self.client = httpx.Client(trust_env=False)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if proxy.down:
                    self.send_error(503)
                    return
                asked = json.loads(body)
                reply = proxy.client.post(target, content=body, headers=HEADERS).json()
                many = isinstance(asked, list)
                for question, answer in zip(
                    asked if many else [asked], reply if many else [reply], strict=True
                ):
                    if "result" in answer:
                        answer["result"] = proxy.change(question, answer["result"])
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.client.close()


HEADERS = {"content-type": "application/json"}
CHECK = (
    "0x"
    + contract("LicenseLedger").encode("check", 0, ZERO_ADDRESS, Digest(bytes(32)), 0)[:4].hex()
)


@pytest.fixture
def endpoints(world):
    made = [Proxy(world.chain.node.rpc_url) for _ in range(3)]
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def view(world, endpoints):
    profile = replace(world.chain.profile, min_endpoints=3)
    rpcs = [Rpc(proxy.url, chain_id=31337, timeout=5) for proxy in endpoints]
    made = ChainView(rpcs, world.chain.deployment, profile)
    yield made
    made.close()


@pytest.fixture(scope="module")
def license_id(world):
    return world.license()


def state(world, view, license_id):
    return view.license_state(
        license_id, world.published.model_id, Digest(b"\x01" * 32), now=int(time.time())
    )


def says(code):
    """An endpoint that answers every ``check`` with this code."""

    def change(question, result):
        if question["method"] == "eth_call" and question["params"][0]["data"].startswith(CHECK):
            return "0x" + code.to_bytes(32, "big").hex() + result[66:]
        return result

    return change


def test_three_honest_endpoints_agree(world, view, license_id):
    seen = state(world, view, license_id)
    assert seen.contrary == ()
    assert (seen.head.code, seen.finalized.code) == (0, 0)
    assert seen.head.license.holder == world.chain.wallet("holder").address
    assert seen.head.license.status is Status.ACTIVE
    assert seen.head.plan.model == world.published.model_id
    assert seen.head.sealing == world.published.record.hash()
    assert seen.head.brokers == (world.broker.id,)
    assert seen.finalized.block.number <= seen.head.block.number


def test_one_endpoint_down_of_three_changes_nothing(world, view, endpoints, license_id):
    endpoints[1].down = True
    assert state(world, view, license_id).head.code == 0
    assert [bool(health.trouble) for health in view.health()] == [False, True, False]


def test_two_endpoints_down_of_three_is_no_answer(world, view, endpoints, license_id):
    endpoints[0].down = endpoints[2].down = True
    with pytest.raises(ChainUnavailable, match="fewer than 2 of 3"):
        state(world, view, license_id)


def test_one_endpoint_that_shows_a_revocation_is_contrary(world, view, endpoints, license_id):
    endpoints[2].change = says(Code.REVOKED)
    seen = state(world, view, license_id)
    assert seen.head.code == 0
    (sentence,) = seen.contrary
    assert "REVOKED" in sentence


def test_one_endpoint_that_lies_a_license_into_being_grants_nothing(world, view, endpoints):
    endpoints[0].change = says(Code.VALID)
    seen = view.license_state(
        LicenseId.of(9, 9), world.published.model_id, Digest(bytes(32)), now=int(time.time())
    )
    assert seen.head.code == Code.NOT_FOUND


def test_an_endpoint_of_another_chain_is_unhealthy(world, view, endpoints, license_id):
    endpoints[0].change = lambda q, r: "0x1" if q["method"] == "eth_chainId" else r
    assert state(world, view, license_id).head.code == 0
    assert "chain 1" in view.health()[0].trouble


def test_an_endpoint_with_other_contracts_is_unhealthy(world, view, endpoints, license_id):
    endpoints[0].change = lambda q, r: "0x6000" if q["method"] == "eth_getCode" else r
    state(world, view, license_id)
    assert "other code" in view.health()[0].trouble


def test_a_stale_endpoint_is_unhealthy_where_heads_have_an_age(world, endpoints, license_id):
    profile = replace(world.chain.profile, min_endpoints=3, max_head_age=3600)
    rpcs = [Rpc(proxy.url, chain_id=31337) for proxy in endpoints]
    late = ChainView(rpcs, world.chain.deployment, profile, clock=lambda: time.time() + 7200)
    with pytest.raises(ChainUnavailable, match="s behind"):
        state(world, late, license_id)
    late.close()


def test_endpoints_on_different_forks_give_no_answer(world, view, endpoints, license_id):
    def forked(mark):
        def change(question, result):
            block = question["method"].startswith("eth_getBlock") and isinstance(result, dict)
            if block and int(result["number"], 16) > 0:
                return {**result, "hash": "0x" + mark * 32}
            return result

        return change

    for proxy, mark in zip(endpoints, ("aa", "bb", "cc"), strict=True):
        proxy.change = forked(mark)
    with pytest.raises(EndpointsDisagree):
        state(world, view, license_id)


def test_too_few_endpoints_for_the_chain_are_refused_at_the_start(world):
    profile = replace(world.chain.profile, min_endpoints=3)
    with pytest.raises(UsageError, match="needs 3 RPC endpoints"):
        ChainView([Rpc(world.chain.node.rpc_url)], world.chain.deployment, profile)


def test_titles_and_lodged_sealings_are_read_at_the_head(world, view):
    made = world.published
    holder, lodged = view.title_state(made.model_id, 1)
    assert holder == world.chain.wallet("licensor").address
    assert lodged == made.record.hash()
    assert view.title_state(made.model_id, 2)[1].is_zero


def test_no_url_part_is_shown_of_an_endpoint(world, license_id):
    secret = "an-api-key-in-the-path"
    rpc = Rpc(f"http://127.0.0.1:9/{secret}", chain_id=31337)
    view = ChainView([rpc], world.chain.deployment, world.chain.profile)
    with pytest.raises(ChainUnavailable) as caught:
        state(world, view, license_id)
    assert secret not in str(caught.value)
    assert secret not in repr(view.health())
