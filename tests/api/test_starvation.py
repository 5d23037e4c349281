"""Cheap requests do not take the service away from others."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api import problems

pytestmark = pytest.mark.chain

MIB = 1 << 20


class Post:
    """A POST whose body is sent by and by."""

    def __init__(self, service, path, length):
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
        self.socket.sendall(head.encode())

    def send(self, count):
        self.socket.sendall(b" " * count)

    def status(self):
        return int(self.socket.makefile("rb").readline().split()[1])


@pytest.fixture
def post(service):
    opened = []

    def one(path, length):
        opened.append(Post(service, path, length))
        return opened[-1]

    yield one
    for each in opened:
        each.socket.close()


@pytest.mark.parametrize("kind", ["leaves", "documents"])
def test_a_model_that_is_not_registered_is_refused_before_its_body_is_read(post, kind):
    assert post(f"/v1/models/0x{'00' * 32}/{kind}", MIB).status() == 404


def test_large_bodies_beyond_a_few_are_sent_away_and_small_ones_are_not(service, published, post):
    path = f"/v1/models/{published.model}/leaves"
    large = [post(path, 3 * MIB) for _ in range(4)]
    for each in large:
        each.send(2 * MIB)
    time.sleep(1.5)
    fifth = post(path, 3 * MIB)
    fifth.send(2 * MIB)
    assert fifth.status() == 503
    assert service.client.post(path, json=published.fingerprint.to_json()).is_success
    # The places come back with their connections.
    for each in large:
        each.socket.close()

    def taken():
        again = post(path, 2 * MIB)
        again.send(2 * MIB)
        return again.status() == 422

    service.until(taken)


def test_a_body_that_does_not_arrive_in_time_is_given_up():
    async def slow():
        async with problems.body_deadline(0.05):
            await asyncio.sleep(5)

    with pytest.raises(problems.HTTPException) as caught:
        asyncio.run(slow())
    assert caught.value.status_code == 408


def test_while_a_bundle_is_collected_further_ones_are_sent_away_and_reads_are_answered(
    service, published
):
    model = f"/v1/models/{published.model}"
    documents = {"manifest": published.manifest, "claim": published.claim.to_json()}
    assert service.client.post(f"{model}/documents", json=documents).is_success
    url = f"{service.url}/v1/evidence/models/{published.model}"
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(httpx.get, url, timeout=60) for _ in range(60)]
        # Whoever did not get the lane knows by now, and no thread is waiting for it.
        service.until(lambda: sum(each.done() for each in asked) >= 59, seconds=9)
        assert service.client.get(model).is_success
        replies = [each.result() for each in asked]
    assert {reply.status_code for reply in replies} == {200, 503}
    away = [reply for reply in replies if reply.status_code == 503]
    assert all(reply.headers["retry-after"] == "5" for reply in away)
    assert all(reply.json()["code"] == "INDEX_UNAVAILABLE" for reply in away)


def test_more_readers_than_threads_and_connections_are_all_answered(service, published):
    async def go():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=service.url, timeout=25, limits=limits) as client:
            paths = [f"/v1/models/{published.model}", f"/v1/entitlements/{published.license}"]
            return await asyncio.gather(*(client.get(path) for path in paths * 80))

    assert {reply.status_code for reply in asyncio.run(go())} == {200}
