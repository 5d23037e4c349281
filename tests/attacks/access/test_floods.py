"""Strangers who ask for more than there is, and those who get their answer all the same."""

from __future__ import annotations

import importlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ledger.index.database import writing

pytestmark = pytest.mark.chain

world = importlib.import_module("access_world")
served = world.served()


@pytest.fixture(scope="module")
def deaf_node():
    """A JSON-RPC endpoint that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def flooded(deployed, published, deaf_node, tmp_path_factory):
    """A service whose node for questions to wallets does not answer, and its operator."""
    folder = tmp_path_factory.mktemp("flooded")
    settings = {
        "DEED_API_RPC_URLS": deaf_node,
        "DEED_API_INDEX_RPC_URLS": ",".join(deployed.network.rpc_urls),
        "DEED_API_RATE_SIGN_IN": "1000/1000",
    }
    service = served.Service(folder, deployed.network, **settings).start()
    service.caught_up(deployed.rpc)
    desk = world.Desk(f"sqlite:///{folder / 'index.db'}")
    yield service, desk
    desk.close()
    service.stop()


def ask(service, method, path, token=None, **options):
    headers = world.bearer(token) if token else {}
    with httpx.Client(base_url=service.url, timeout=60) as client:
        return client.request(method, path, headers=headers, **options)


def refusal(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    return reply.status_code, reply.json()["code"]


def test_sign_ins_that_wait_for_a_deaf_node_hold_up_nobody_elses_credential(flooded):
    service, desk = flooded
    key, _ = desk.key("audit:read")
    victim, stranger = world.Wallet.named("licensor"), world.Wallet.fresh()

    def attempt(_):
        text = victim.message(service.client)
        body = {"message": text, "signature": stranger.sign(text)}
        return ask(service, "POST", "/v1/auth/sign-in", json=body)

    with ThreadPoolExecutor(9) as pool:
        attempts = [pool.submit(attempt, n) for n in range(8)]
        service.until(lambda: desk_waits(desk, 8))
        assert ask(service, "GET", "/v1/auth/me", key).status_code == 200
        # Who has an account's key needs no node.
        assert victim.sign_in(service.client)["token"]
        # Nobody had to be given up for that.
        assert "CHAIN_UNAVAILABLE" not in codes(each for each in attempts if each.done())
        assert "CHAIN_UNAVAILABLE" in codes(attempts)


def test_writes_that_wait_for_the_database_hold_up_no_look_up_of_a_credential(flooded):
    service, desk = flooded
    key, _ = desk.key("audit:read")
    writer = world.Wallet.named("licensor").sign_in(service.client)["token"]
    assert ask(service, "GET", "/v1/auth/me", key).status_code == 200
    with ThreadPoolExecutor(6) as pool:
        # For as long as this transaction lasts nothing gets into the audit log.
        with writing(desk.engine):
            writes = [pool.submit(ask, service, "POST", "/v1/nowhere", writer) for _ in range(6)]
            time.sleep(0.5)
            assert ask(service, "GET", "/v1/auth/me", key).status_code == 200
            assert not any(each.done() for each in writes)
        assert [each.result().status_code for each in writes] == [404] * 6


def codes(attempts):
    return {refusal(each.result())[1] for each in attempts}


def desk_waits(desk, count):
    """Whether so many nonces were given out."""
    from sqlalchemy import func, select

    from ledger.index.access_tables import access_nonce
    from ledger.index.database import reading

    with reading(desk.engine) as connection:
        query = select(func.count()).select_from(access_nonce)
        return connection.execute(query).scalar_one() >= count


def test_a_stranger_makes_the_node_answer_nothing_without_a_nonce(flooded):
    service, _ = flooded
    victim, stranger = world.Wallet.named("licensor"), world.Wallet.fresh()
    text = victim.message(service.client).replace("Nonce: ", "Nonce: x")
    body = {"message": text, "signature": stranger.sign(text)}
    reply = ask(service, "POST", "/v1/auth/sign-in", json=body)
    assert refusal(reply) == (401, "SIGN_IN_REFUSED")
    assert reply.json()["step"] == 7


def test_an_account_without_a_role_does_not_fill_the_audit_log(flooded):
    service, desk = flooded
    token = world.Wallet.fresh().sign_in(service.client)["token"]
    with httpx.Client(base_url=service.url, headers=world.bearer(token)) as client:
        statuses = [client.post("/v1/nowhere").status_code for _ in range(80)]
        assert statuses[0] == 404
        assert statuses[-1] == 429
        before = desk.store.head().sequence
        reply = client.post("/v1/nowhere")
        assert refusal(reply) == (429, "RATE_LIMITED")
        assert int(reply.headers["retry-after"]) >= 1
        assert client.get("/v1/models").status_code == 200
    assert desk.store.head().sequence == before
    # Nor does it keep others, of whom there is more to say, from writing.
    licensor = world.Wallet.named("licensor").sign_in(service.client)["token"]
    assert ask(service, "POST", "/v1/nowhere", licensor).status_code == 404
    assert desk.store.head().sequence > before


def test_wrong_keys_of_a_network_do_not_lock_out_a_good_one_of_it(flooded):
    """As behind a proxy that does not say who its clients are."""
    service, desk = flooded
    key, _ = desk.key("audit:read")
    assert ask(service, "GET", "/v1/auth/me", key).status_code == 200
    from ledger.access.tokens import new_token

    with httpx.Client(base_url=service.url) as client:
        for _ in range(900):
            wrong = client.get("/v1/auth/me", headers=world.bearer(new_token("live").text))
            if wrong.status_code == 429:
                break
    assert refusal(wrong) == (429, "RATE_LIMITED")
    assert ask(service, "GET", "/v1/auth/me", key).status_code == 200
    assert ask(service, "GET", "/v1/models").status_code == 200
