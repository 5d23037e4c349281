"""Pages of other sites, and cookies that the user did not get from us."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.access import session_cookie
from ledger.access.message import SignInMessage
from ledger.access.tokens import new_token

pytestmark = pytest.mark.chain

COOKIE = "deed-loopback"
ASKED = {"name": "planted", "scopes": ["deposits:write"]}


def refusal(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    return reply.status_code, reply.json()["code"]


@pytest.fixture(scope="module")
def browser(stand, world):
    """A licensor signed in with a cookie: the header that sets it."""
    return cookie_of(stand, world)


def cookie_of(stand, world):
    """Sign in as the service's own page does, after other pages have tried."""
    wallet = world.Wallet.named("licensor")
    nonce, _ = stand.desk.store.new_nonce()
    text = str(
        SignInMessage(
            domain="localhost:8800", address=wallet.address, uri=stand.origin, chain_id="31337",
            nonce=nonce, issued_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    )  # fmt: skip
    asked = {"message": text, "signature": wallet.sign(text), "deliver": "cookie"}
    for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        reply = stand.ask("POST", "/v1/auth/sign-in", json=asked, headers=headers)
        assert refusal(reply) == (403, "ORIGIN_REFUSED")
    planted = {"origin": stand.origin, "cookie": f"{COOKIE}={'A' * 74}"}
    reply = stand.ask("POST", "/v1/auth/sign-in", json=asked, headers=planted)
    assert reply.status_code == 200, reply.text
    assert reply.json()["token"] is None
    return reply.headers["set-cookie"]


def value(header):
    return header.partition("=")[2].partition(";")[0]


def test_the_cookie_is_one_that_scripts_and_other_sites_cannot_use(browser):
    parts = [part.strip() for part in browser.split(";")]
    assert parts[0].startswith(f"{COOKIE}=deed_session_")
    assert {"Path=/", "HttpOnly", "SameSite=Strict"} <= set(parts)
    assert not any(part.lower().startswith("domain") for part in parts)


def test_the_service_on_https_sets_a_host_cookie_that_is_secure():
    header = session_cookie("https://deed.example", new_token("session"), 60)
    assert header.startswith("__Host-deed=deed_session_")
    assert header.endswith("; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Strict")


def test_sign_in_gives_a_new_token_whatever_cookie_was_there(browser):
    """Session fixation: the planted cookie is not what the victim's session has."""
    assert value(browser) != "A" * 74


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8801"},
        {"origin": "http://localhost"},
        {"origin": "https://localhost:8800"},
        {"origin": "null"},
        {"origin": "http://localhost:8800.evil.example"},
        {"origin": "http://localhost:8800", "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:8800", "sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8800", "sec-fetch-site": "none"},
        {"referer": "http://localhost:8800/"},
        {"x-requested-with": "XMLHttpRequest"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/keys"), ("POST", "/v1/auth/sign-out"), ("DELETE", "/v1/keys/AAAAAAAAAA")],
)
def test_a_page_of_another_site_writes_nothing_with_the_users_cookie(
    stand, browser, headers, method, path
):
    cookie = {"cookie": f"{COOKIE}={value(browser)}"}
    options = {"json": ASKED} if path == "/v1/keys" else {}
    reply = stand.ask(method, path, headers=headers | cookie, **options)
    assert refusal(reply) == (403, "ORIGIN_REFUSED")
    assert "access-control-allow-origin" not in reply.headers


def test_a_page_of_another_site_does_not_even_deposit_in_the_users_name(stand, browser, published):
    headers = {"cookie": f"{COOKIE}={value(browser)}", "origin": "https://evil.example"}
    path = f"/v1/models/{published.model}/documents"
    before = stand.desk.store.head()
    reply = stand.ask("POST", path, json={"manifest": published.manifest}, headers=headers)
    assert refusal(reply) == (403, "ORIGIN_REFUSED")
    assert stand.desk.store.head() == before


def test_the_services_own_pages_write_and_sign_out(stand, world):
    browser = cookie_of(stand, world)
    headers = {
        "cookie": f"other=1; {COOKIE}={value(browser)}", "origin": stand.origin,
        "sec-fetch-site": "same-origin",
    }  # fmt: skip
    assert stand.ask("POST", "/v1/keys", json=ASKED, headers=headers).status_code == 201
    reply = stand.ask("POST", "/v1/auth/sign-out", headers=headers)
    assert reply.status_code == 204
    assert f"{COOKIE}=; " in reply.headers["set-cookie"]
    assert "Max-Age=0" in reply.headers["set-cookie"]
    again = stand.ask("GET", "/v1/models", headers=headers)
    assert refusal(again) == (401, "CREDENTIAL_REVOKED")
    assert "Max-Age=0" in again.headers["set-cookie"]  # so that the next one is answered


def test_two_cookies_of_one_name_are_refused(stand, browser):
    """As a page on another port of the same host could plant one."""
    twice = f"{COOKIE}={value(browser)}; {COOKIE}={value(browser)}"
    assert refusal(stand.ask("GET", "/v1/auth/me", headers={"cookie": twice}))[0] == 401


def test_the_cookie_under_another_name_means_nothing(stand, browser):
    for name in ("__Host-deed", "Deed-Loopback", "deed-loopback2"):
        headers = {"cookie": f"{name}={value(browser)}"}
        assert refusal(stand.ask("GET", "/v1/auth/me", headers=headers))[0] == 401


def test_a_key_is_no_cookie(stand):
    key, _ = stand.desk.key("audit:read")
    headers = {"cookie": f"{COOKIE}={key}", "origin": stand.origin}
    assert refusal(stand.ask("GET", "/v1/auth/me", headers=headers)) == (401, "NOT_AUTHENTICATED")


def test_with_a_bearer_header_the_cookie_does_not_count(stand, browser):
    key, id_ = stand.desk.key("audit:read")
    headers = {"cookie": f"{COOKIE}={value(browser)}"}
    assert stand.ask("GET", "/v1/auth/me", key, headers=headers).json()["id"] == id_
    wrong = stand.ask("GET", "/v1/auth/me", key[:-1] + "_", headers=headers)
    assert refusal(wrong)[0] == 401
    assert "set-cookie" not in wrong.headers  # the session is not the one that was wrong


def test_a_preflight_allows_nobody_anything(stand):
    reply = stand.ask(
        "OPTIONS", "/v1/keys",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )  # fmt: skip
    assert reply.status_code == 405
    assert not any(name.startswith("access-control") for name in reply.headers)
