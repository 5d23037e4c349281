"""Slow work takes its own lane and leaves the rest of the service alone."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI, Request

from api import problems
from api.access import Access
from api.lanes import PARTY, Lane, QuickLane, lanes
from api.settings import Settings
from api.transactions.desk import lane_of
from ledger.access.principals import Principal
from ledger.access.tokens import new_token
from ledger.errors import BrokerUnavailable, IndexUnavailable
from ledger.ids import Address


def test_a_full_lane_sends_away_at_once_and_says_when_to_come_back():
    gate = threading.Event()

    async def go():
        lane = Lane("x", threads=1, waiting=1, retry_after=7, error=BrokerUnavailable)
        under_way = [asyncio.create_task(lane.run(gate.wait, 20)) for _ in range(2)]
        await asyncio.sleep(0.05)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            await lane.run(gate.wait, 20)
        assert time.monotonic() - started < 10  # not the 20 seconds of those before it
        assert caught.value.retry_after == 7
        gate.set()
        assert await asyncio.gather(*under_way) == [True, True]
        assert await lane.run(lambda: 5) == 5

    asyncio.run(go())


def test_a_call_that_fails_gives_its_place_back():
    async def go():
        lane = Lane("x", threads=1, waiting=0, retry_after=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await lane.run(lambda: 1 // 0)
        with lane.place(), pytest.raises(IndexUnavailable):
            await lane.run(int)

    asyncio.run(go())


def test_accounts_without_a_role_wait_for_each_other_and_for_nobody_else():
    gate = threading.Event()

    async def go():
        request = Request({"type": "http", "app": FastAPI()})
        stranger = Principal("session", "x", None, (), frozenset(), 0)
        holder = replace(stranger, roles=("holder",))
        theirs = lane_of(request, stranger)
        crowd = [asyncio.create_task(theirs.run(gate.wait, 20)) for _ in range(18)]
        await asyncio.sleep(0)
        with pytest.raises(IndexUnavailable, match="without a role"):
            await theirs.run(int)
        assert await lane_of(request, holder).run(lambda: 5) == 5
        gate.set()
        await asyncio.gather(*crowd)

    asyncio.run(go())


@pytest.mark.parametrize("kind", [Lane, QuickLane])
def test_one_party_has_a_quarter_of_a_shared_lane(kind):
    gate = threading.Event()

    async def go():
        lane = kind("x", threads=2, waiting=6, retry_after=1, shared=True)
        PARTY.set("10.0.0.0/24")
        crowd = [asyncio.create_task(lane.run(gate.wait, 20)) for _ in range(2)]
        await asyncio.sleep(0)
        assert not lane.has_place()
        with pytest.raises(IndexUnavailable, match="one may have"):
            await lane.run(int)
        PARTY.set("account:0x1")
        crowd.append(asyncio.create_task(lane.run(gate.wait, 20)))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*crowd)
        # Places come back to whom they were of.
        PARTY.set("10.0.0.0/24")
        for _ in range(3):
            assert await lane.run(lambda: 5) == 5

    asyncio.run(go())


def test_whoever_has_a_role_has_places_of_their_own_and_others_share_their_networks(tmp_path):
    seen = []

    async def app(scope, receive, send):
        seen.append(PARTY.get())

    layer = Access(app, settings=Settings(deployment=tmp_path, database_url="x.db"))
    account, holder = Address(b"\x01" * 20), new_token("session")

    async def known(scope, token):
        roles = ("holder",) if token.id == holder.id else ()
        return Principal("session", token.id, account, roles, frozenset(), 1 << 40)

    layer._known = known

    async def go():
        for token in (None, holder, new_token("session")):
            headers = [(b"authorization", f"Bearer {token.text}".encode())] if token else []
            scope = {"type": "http", "method": "GET", "path": "/v1/me", "headers": headers}
            await layer(scope | {"client": ("10.0.0.7", 1)}, None, None)

    asyncio.run(go())
    assert seen == ["10.0.0.0/24", f"account:{account}", "10.0.0.0/24"]
    assert PARTY.get() == ""


def test_key_release_has_threads_when_every_other_one_is_taken():
    gate = threading.Event()
    app = FastAPI()
    problems.install(app)

    @app.get("/slow")
    def slow():
        return gate.wait(20)

    @app.get("/desk")
    async def desk(request: Request):
        return await lanes(request).desk.run(gate.wait, 20)

    @app.get("/key")
    async def key(request: Request):
        return await lanes(request).keys.run(threading.active_count)

    async def go():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            paths = ["/slow"] * 100 + ["/desk"] * 100
            under_way = [asyncio.create_task(client.get(path)) for path in paths]
            try:
                await asyncio.sleep(0.3)
                reply = await asyncio.wait_for(client.get("/key"), 5)
            finally:
                gate.set()
            statuses = [r.status_code for r in await asyncio.gather(*under_way)]
        assert reply.status_code == 200
        assert set(statuses[:100]) == {200}
        assert set(statuses[100:]) == {200, 503}

    asyncio.run(go())
