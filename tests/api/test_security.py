"""What never reaches a route, and what every answer carries."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry

from api import logs, problems
from api.security import HEADERS, BodyLimit, Boundary


@pytest.fixture(autouse=True)
def _logging():
    """The service's own logging, and afterwards that of the tests that follow in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("error")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def build(*, hosts=frozenset()):
    inner = FastAPI()
    problems.install(inner)

    @inner.post("/echo")
    async def echo(request: Request):
        return {"bytes": len(await request.body())}

    @inner.get("/bug")
    async def bug():
        raise ZeroDivisionError("secret inside")

    limited = BodyLimit(inner, limit=100, larger={"/leaves": 10_000})
    return Boundary(limited, hosts=hosts, registry=CollectorRegistry())


def ask(method, path, *, app=None, **given):
    async def go():
        transport = httpx.ASGITransport(app or build())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **given)

    return asyncio.run(go())


async def chunks(count):
    for _ in range(count):
        yield b"x" * 60


def test_a_body_within_the_limit_passes_and_one_byte_more_does_not():
    assert ask("POST", "/echo", content=b"x" * 100).json() == {"bytes": 100}
    reply = ask("POST", "/echo", content=b"x" * 101)
    assert (reply.status_code, reply.json()["code"]) == (413, "REQUEST_ENTITY_TOO_LARGE")


def test_a_body_of_undeclared_length_is_cut_off_at_the_limit():
    assert ask("POST", "/echo", content=chunks(1)).json() == {"bytes": 60}
    assert ask("POST", "/echo", content=chunks(1000)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "0x10"])
def test_a_length_that_is_no_length_is_refused(length):
    assert ask("POST", "/echo", headers={"content-length": length}).status_code == 413


@pytest.mark.parametrize("host", ["127.0.0.1:8800", "localhost", "LOCALHOST:1", "[::1]:80"])
def test_loopback_names_are_served(host):
    assert ask("POST", "/echo", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_another_host_name_is_refused_as_dns_rebinding_would_send_it(host):
    assert ask("POST", "/echo", headers={"host": host}).status_code == 421


def test_configured_names_and_any_name_are_served():
    app = build(hosts=frozenset({"index.example"}))
    assert ask("POST", "/echo", app=app, headers={"host": "index.example:443"}).status_code == 200
    app = build(hosts=frozenset({"*"}))
    assert ask("POST", "/echo", app=app, headers={"host": "x"}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/echo"), ("GET", "/nope"), ("GET", "/bug")])
def test_every_answer_carries_the_security_headers_and_a_request_id(method, path):
    reply = ask(method, path)
    for name, value in HEADERS:
        assert reply.headers[name.decode()] == value.decode()
    assert reply.headers["cache-control"] == "no-store"
    assert len(reply.headers["x-request-id"]) == 16


def test_a_bug_is_a_problem_that_tells_nothing_of_the_inside():
    reply = ask("GET", "/bug")
    assert (reply.status_code, reply.json()["code"]) == (500, "INTERNAL_ERROR")
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "secret" not in reply.text
    assert "Zero" not in reply.text
