"""Who may read /metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from api.app import create_app
from api.scraping import Scrapers
from api.settings import Settings
from ledger.errors import ConfigurationError

TOKEN = "m3trics-" + "x" * 24
HERE, ELSEWHERE = "127.0.0.1", "203.0.113.9"


def settings(**given):
    return Settings(deployment=Path("d"), database_url=SecretStr("x"), **given)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\nand more\n")
    path.chmod(0o600)
    return path


def ask(app, client, **headers):
    """What a whole application answers to a caller at this address."""

    async def go():
        transport = httpx.ASGITransport(app, client=(client, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            return await asking.get("/metrics", headers=headers)

    return asyncio.run(go())


@pytest.mark.parametrize("client", [HERE, "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_who_is_on_this_machine_reads_them(client):
    reply = ask(create_app(settings()), client)
    assert reply.status_code == 200
    assert "deed_api_requests" in reply.text


@pytest.mark.parametrize("client", [ELSEWHERE, "10.0.0.2", "2001:db8::1", "not an address", ""])
def test_others_do_not_and_are_told_why(client):
    reply = ask(create_app(settings()), client)
    assert (reply.status_code, reply.json()["code"]) == (403, "ACCESS_ERROR")
    assert "DEED_API_METRICS_TOKEN_FILE" in reply.json()["hint"]
    assert "deed_api_requests" not in reply.text


def test_where_it_is_open_everyone_does():
    assert ask(create_app(settings(metrics="open")), ELSEWHERE).status_code == 200


def test_with_a_token_it_counts_and_the_address_does_not(file):
    app = create_app(settings(metrics_token_file=file))
    for scheme in ("Bearer", "bearer"):
        assert ask(app, ELSEWHERE, authorization=f"{scheme} {TOKEN}").status_code == 200
    for client in (HERE, ELSEWHERE):
        for sent in ("", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer "):
            reply = ask(app, client, **({"authorization": sent} if sent else {}))
            assert (reply.status_code, reply.json()["code"]) == (401, "NOT_AUTHENTICATED")
            assert reply.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in reply.text


@pytest.mark.parametrize(
    "text", ["", "\n", "short\n", "a token with spaces in it\n", "\u00e9" * 20]
)
def test_a_file_that_holds_no_token_is_refused_at_the_start_and_not_repeated(file, text):
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="holds no token") as caught:
        create_app(settings(metrics_token_file=file))
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_token_that_others_can_read_is_refused(file):
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        create_app(settings(metrics_token_file=file))
    with pytest.raises(ConfigurationError, match="there is no"):
        create_app(settings(metrics_token_file=file.with_name("none")))


def test_open_and_closed_at_once_cannot_be_meant(file):
    with pytest.raises(ConfigurationError, match="closes it"):
        Scrapers.of(settings(metrics="open", metrics_token_file=file))
    with pytest.raises(ValidationError):
        settings(metrics="closed")


def test_the_token_is_shown_by_no_repr(file):
    assert TOKEN not in repr(Scrapers.of(settings(metrics_token_file=file)))
