"""Signing in, keys, roles, limits and the audit log, at the real service over a real chain."""

from __future__ import annotations

import importlib
import json
import secrets
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from api import access
from api.settings import Settings
from ledger.access import trail
from ledger.access.message import parse_message
from ledger.access.principals import Principal
from ledger.broker.limits import Rate
from ledger.errors import RateLimited
from ledger.ids import Address

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("access_world")
bearer, mistyped = world.bearer, world.mistyped
LICENSOR = world.Wallet.named("licensor")
HOLDER = world.Wallet.named("holder")
STRANGER = world.Wallet.named("stranger")


@pytest.fixture(scope="module")
def desk(service):
    """The operator at the service's database."""
    made = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
    yield made
    made.close()


@pytest.fixture
def ask(service):
    """A client without a cookie jar: what a test does not send is not sent."""

    def request(method, path, token=None, **options):
        headers = options.pop("headers", {}) | (bearer(token) if token else {})
        with httpx.Client(base_url=service.url, timeout=20) as client:
            return client.request(method, path, headers=headers, **options)

    return request


@pytest.fixture
def licensor(service):
    """A licensor's session token."""
    return LICENSOR.sign_in(service.client)["token"]


def code(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    told = reply.json()
    assert told["hint"]
    return reply.status_code, told["code"]


# -- signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wallet", "roles"), [(LICENSOR, ["licensor"]), (HOLDER, ["holder"]), (STRANGER, [])]
)
def test_who_signs_in_has_the_roles_that_the_chain_says(service, ask, wallet, roles):
    session = wallet.sign_in(service.client)
    assert (session["account"], session["roles"]) == (wallet.address, roles)
    told = ask("GET", "/v1/auth/me", session["token"]).json()
    assert told == {name: session[name] for name in told}
    assert ask("POST", "/v1/auth/sign-out", session["token"]).status_code == 204
    assert code(ask("GET", "/v1/auth/me", session["token"])) == (401, "CREDENTIAL_REVOKED")


def test_the_message_that_the_service_makes_is_the_one_of_the_specification(service):
    text = LICENSOR.message(service.client)
    lines = text.split("\n")
    domain = service.url.removeprefix("http://")
    assert lines[0] == f"{domain} wants you to sign in with your Ethereum account:"
    assert lines[1] == LICENSOR.address
    assert lines[5:8] == [f"URI: {service.url}/v1/auth/sign-in", "Version: 1", "Chain ID: 31337"]


def test_without_a_credential_a_request_for_oneself_says_how_to_get_one(ask):
    reply = ask("GET", "/v1/auth/me")
    assert code(reply) == (401, "NOT_AUTHENTICATED")
    assert reply.headers["www-authenticate"] == 'Bearer realm="modeldeed"'
    assert "/v1/auth/nonce" in reply.json()["hint"]


def test_what_anyone_may_read_stays_open(ask):
    for path in ("/v1/models", "/v1/licenses", "/v1/events"):
        assert ask("GET", path).status_code == 200
        assert "ratelimit" not in ask("GET", path).headers


def test_a_contract_wallet_signs_in_by_its_own_rule(service, ask, deployed):
    """As the wallets of people who have no single key do (ERC-1271)."""
    wallets = importlib.import_module("wallet_world").Wallets(deployed)
    wallet = wallets.deployed()
    asked = {"account": str(wallet)}
    text = ask("POST", "/v1/auth/nonce", json=asked).json()["message"]
    digest = parse_message(text).digest()
    made = wallets.owner.sign_digest(digest)
    signature = made[:64] + made[64].to_bytes(32, "big") + b"filler of other owners" * 20
    body = {"message": text, "signature": "0x" + signature.hex()}
    reply = ask("POST", "/v1/auth/sign-in", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["account"] == str(wallet)
    text = ask("POST", "/v1/auth/nonce", json=asked).json()["message"]
    reply = ask(
        "POST", "/v1/auth/sign-in", json={"message": text, "signature": STRANGER.sign(text)}
    )
    assert code(reply) == (401, "SIGN_IN_REFUSED")
    assert reply.json()["step"] == 6


def test_signed_transactions_are_not_passed_on_unless_the_operator_says_so(ask, licensor):
    reply = ask("POST", "/v1/transactions", licensor, json={"raw": "0x02"})
    assert code(reply) == (403, "RELAY_REFUSED")
    assert "eth_sendRawTransaction" in reply.json()["hint"]


# -- keys ------------------------------------------------------------------------------------------


def test_a_licensor_makes_uses_lists_and_revokes_a_key(ask, licensor):
    asked = {"name": "ci", "scopes": ["deposits:write"], "days": 7}
    made = ask("POST", "/v1/keys", licensor, json=asked)
    assert made.status_code == 201, made.text
    key = made.json()
    who = ask("GET", "/v1/auth/me", key["key"]).json()
    assert (who["kind"], who["id"], who["account"]) == ("key", key["id"], LICENSOR.address)
    assert who["scopes"] == ["deposits:write"]
    listed = ask("GET", "/v1/keys", licensor)
    assert key["key"] not in listed.text
    assert key["id"] in [each["id"] for each in listed.json()["keys"]]
    assert ask("DELETE", f"/v1/keys/{key['id']}", licensor).json()["revoked_at"]
    reply = ask("GET", "/v1/auth/me", key["key"])
    assert code(reply) == (401, "CREDENTIAL_REVOKED")
    assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    # Also where anyone may read: its user learns at once that it is of no use any more.
    assert code(ask("GET", "/v1/models", key["key"])) == (401, "CREDENTIAL_REVOKED")
    assert code(ask("DELETE", "/v1/keys/AAAAAAAAAA", licensor)) == (404, "UNKNOWN_RECORD")


def test_an_account_without_a_role_makes_no_key(service, ask):
    token = STRANGER.sign_in(service.client)["token"]
    asked = {"name": "ci", "scopes": ["deposits:write"]}
    reply = ask("POST", "/v1/keys", token, json=asked)
    assert code(reply) == (403, "SCOPE_MISSING")
    assert reply.json()["scope"] == "keys:write"
    assert 'error="insufficient_scope", scope="keys:write"' in reply.headers["www-authenticate"]


def test_nobody_gives_a_key_more_than_they_may_do(service, ask):
    token = HOLDER.sign_in(service.client)["token"]
    reply = ask("POST", "/v1/keys", token, json={"name": "x", "scopes": ["statistics:read"]})
    assert code(reply) == (403, "SCOPE_MISSING")


def test_operators_see_and_revoke_the_keys_of_others_and_make_some_for_them(
    service, ask, desk, licensor
):
    operator = world.Wallet.named("rival")
    desk.store.grant_role(world.LOCAL, Address.parse(operator.address), "operator")
    token = operator.sign_in(service.client)["token"]
    asked = {"name": "theirs", "scopes": ["deposits:write"], "account": LICENSOR.address}
    key = ask("POST", "/v1/keys", token, json=asked).json()
    assert key["account"] == LICENSOR.address
    assert ask("GET", "/v1/auth/me", key["key"]).status_code == 200
    asked["account"] = HOLDER.address
    assert code(ask("POST", "/v1/keys", licensor, json=asked)) == (403, "SCOPE_MISSING")
    assert ask("DELETE", f"/v1/keys/{key['id']}", token).status_code == 200
    desk.store.revoke_role(world.LOCAL, Address.parse(operator.address), "operator")
    assert code(ask("GET", "/v1/keys", token)) == (403, "SCOPE_MISSING")


FOR_ANYONE = [
    ("deposits:write", "POST", "/v1/models/{id}/leaves"),
    ("deposits:write", "POST", "/v1/models/{id}/documents"),
    ("evidence:write", "POST", "/v1/evidence/jobs"),
    ("evidence:write", "DELETE", "/v1/evidence/jobs/{job}"),
    ("statistics:read", "GET", "/v1/licensors/{licensor}/statistics"),
]


def test_a_key_needs_its_scope_where_anyone_may_do_the_same_without_one(ask, desk, published):
    described = ask("GET", "/v1/openapi.json").json()["paths"]
    key = {scope: desk.key(scope)[0] for scope, _, _ in FOR_ANYONE}
    key["other"], _ = desk.key("webhooks:write")
    session = desk.session(STRANGER)
    names = {"id": str(published.model), "job": "ab" * 16, "licensor": LICENSOR.address}
    for scope, method, path in FOR_ANYONE:
        body = {"json": {}} if method == "POST" else {}
        free = ask(method, path.format(**names), **body)
        assert free.status_code not in {401, 403}, free.text
        for token in (key[scope], session):
            reply = ask(method, path.format(**names), token, **body)
            assert reply.status_code == free.status_code, reply.text
        for holds, token in key.items():
            if holds != scope:
                reply = ask(method, path.format(**names), token, **body)
                assert code(reply) == (403, "SCOPE_MISSING")
                assert reply.json()["scope"] == scope
                assert f'scope="{scope}"' in reply.headers["www-authenticate"]
        operation = described[path][method.lower()]
        assert sorted(map(list, operation["security"])) == [[], ["bearer"], ["session"]]
        assert "403" in operation["responses"]


def test_a_key_without_the_scope_gets_no_figures_from_memory_either(ask, desk):
    """What memory holds is answered before a route is looked for."""
    path = f"/v1/licensors/{LICENSOR.address}/statistics"
    key, _ = desk.key("evidence:write")
    for _ in range(3):
        assert ask("GET", path).status_code == 200
    assert code(ask("GET", path, key)) == (403, "SCOPE_MISSING")
    assert ask("GET", path).status_code == 200


# -- audit log -------------------------------------------------------------------------------------


def test_auditors_read_who_did_what_and_it_holds(ask, desk, licensor):
    auditor, _ = desk.key("audit:read", role="auditor")
    asked = {"name": "for the log", "scopes": ["deposits:write"]}
    made = ask("POST", "/v1/keys", licensor, json=asked)
    page = ask("GET", "/v1/audit", auditor, params={"limit": 1000}).json()
    entry = page["entries"][-1]["entry"]
    assert entry["act"] == "key.created"
    assert entry["actor"] == f"account:{LICENSOR.address}"
    assert entry["request"] == made.headers["x-request-id"]
    assert made.json()["key"] not in json.dumps(page)
    assert page["head"]["hash"] == page["entries"][-1]["hash"]
    rows = [
        trail.Row(n, each["text"], bytes.fromhex(each["hash"][2:]))
        for n, each in enumerate(page["entries"], 1)
    ]
    assert trail.verify(rows).holds
    assert code(ask("GET", "/v1/audit", licensor)) == (403, "SCOPE_MISSING")
    assert code(ask("GET", "/v1/audit")) == (401, "NOT_AUTHENTICATED")
    first = ask("GET", "/v1/audit", auditor, params={"limit": 1}).json()
    assert first["next_after"] == 1


def newest(desk):
    with importlib.import_module("ledger.index.database").reading(desk.engine) as connection:
        head = trail.head(connection)
        rows = list(trail.rows(connection, after=head.sequence - 1))
    return json.loads(rows[-1].text)


def test_what_a_credential_writes_is_recorded_under_its_name_and_what_nobody_signs_is_not(
    ask, desk, licensor, published
):
    path = f"/v1/models/{published.model}/documents"
    before = desk.store.head().sequence
    assert ask("POST", path, json={"manifest": published.manifest}).status_code == 200
    assert desk.store.head().sequence == before
    reply = ask("POST", path, licensor, json={"manifest": published.manifest})
    assert reply.status_code == 200
    entry = newest(desk)
    assert (entry["act"], entry["subject"]) == ("POST /v1/models/{id}/documents", path)
    assert (entry["outcome"], entry["actor"]) == ("200", f"account:{LICENSOR.address}")
    assert entry["request"] == reply.headers["x-request-id"]
    assert ask("POST", path, licensor, content=b"nonsense").status_code == 422
    assert newest(desk)["outcome"] == "422"
    before = desk.store.head().sequence
    assert ask("GET", "/v1/models", licensor).status_code == 200
    assert desk.store.head().sequence == before


def test_a_refused_attempt_is_recorded_too(service, ask, desk):
    token = STRANGER.sign_in(service.client)["token"]
    ask("POST", "/v1/keys", token, json={"name": "x", "scopes": ["audit:read"]})
    entry = newest(desk)
    assert (entry["act"], entry["outcome"]) == ("POST /v1/keys", "403")


def test_what_cannot_be_recorded_is_not_answered_as_done(ask, desk, licensor, published):
    """The log is broken by hand: another process took the next number, outside of any order."""
    from sqlalchemy import text

    path = f"/v1/models/{published.model}/documents"
    with importlib.import_module("ledger.index.database").writing(desk.engine) as connection:
        connection.execute(text("ALTER TABLE access_audit RENAME TO gone"))
    try:
        reply = ask("POST", path, licensor, json={"manifest": published.manifest})
        assert code(reply) == (503, "INDEX_UNAVAILABLE")
        assert "look before repeating" in reply.json()["hint"]
    finally:
        with importlib.import_module("ledger.index.database").writing(desk.engine) as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO access_audit"))
    assert ask("POST", path, licensor, json={"manifest": published.manifest}).status_code == 200


# -- the description, settings and limits ----------------------------------------------------------


def test_the_description_names_both_ways_to_authenticate(service):
    document = service.get("/v1/openapi.json")
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "__Host-deed")
    keys = document["paths"]["/v1/keys"]
    assert {"bearer": []} in keys["post"]["security"]
    assert "security" not in document["paths"]["/v1/models"]["get"]
    for operation in keys.values():
        assert {"401", "403", "429"} <= set(operation["responses"])


def test_limits_are_told_in_headers_and_end_in_429(deployed, make, tmp_path):
    limited = make.service(
        tmp_path, deployed.network, DEED_API_RATE_ANONYMOUS="0.5/4", DEED_API_RATE_PRINCIPAL="1/40"
    ).start()
    desk = world.Desk(f"sqlite:///{tmp_path / 'index.db'}")
    try:
        key, _ = desk.key("audit:read", role="auditor")
        replies = [limited.client.get("/v1/models") for _ in range(6)]
        assert replies[0].headers["ratelimit-policy"] == '"anonymous";q=4;w=8'
        assert replies[0].headers["ratelimit"].startswith('"anonymous";r=3;t=')
        assert [reply.status_code for reply in replies[4:]] == [429, 429]
        assert code(replies[-1]) == (429, "RATE_LIMITED")
        assert int(replies[-1].headers["retry-after"]) >= 1
        assert limited.client.get("/healthz").status_code == 200
        # A key has its own, and a wrong one none.
        reply = limited.client.get("/v1/auth/me", headers=bearer(key))
        assert reply.status_code == 200
        assert reply.headers["ratelimit"].startswith('"principal";r=39;')
        wrong = limited.client.get("/v1/auth/me", headers=bearer(mistyped(key)))
        assert wrong.status_code == 401
    finally:
        desk.close()
        limited.stop()


def test_an_account_writes_no_more_for_having_many_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "RECORDED_OF_ACCOUNT", Rate(3, 1e-6))
    layer = access.Access(None, settings=Settings(deployment=tmp_path, database_url="x.db"))

    def write(key, account):
        who = Principal("key", key, account, ("licensor",), frozenset(), 1 << 40)
        layer._count({"type": "http", "method": "POST"}, who, [])

    one, other = (Address(bytes([n]) * 20) for n in (1, 2))
    for key in "abc":
        write(key, one)
    with pytest.raises(RateLimited, match="this account"):
        write("d", one)
    write("e", other)
    # A key of no account is for itself.
    write("f", None)


def test_accounts_without_a_role_look_after_transactions_only_so_often(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "ROLELESS_LOOKS", Rate(3, 1e-6))
    layer = access.Access(None, settings=Settings(deployment=tmp_path, database_url="x.db"))

    def look(roles, path="/v1/transactions/0xab", host="10.0.0.1"):
        who = Principal("session", secrets.token_hex(4), None, roles, frozenset(), 1 << 40)
        scope = {"type": "http", "method": "GET", "path": path, "client": (host, 1)}
        layer._count(scope, who, [])

    for _ in range(3):
        look(())
    with pytest.raises(RateLimited, match="this network"):
        look(())
    look((), host="10.9.0.1")
    look((), path="/v1/models")
    look(("holder",))


def test_floods_of_nonces_end_in_429_and_others_still_read(deployed, make, tmp_path):
    flooded = make.service(tmp_path, deployed.network).start()
    try:
        flooded.caught_up(deployed.rpc)
        replies = [flooded.client.post("/v1/auth/nonce", json={}) for _ in range(40)]
        assert [reply.status_code for reply in replies[:30]] == [200] * 30
        assert code(replies[-1]) == (429, "RATE_LIMITED")
        assert flooded.client.get("/v1/models").status_code == 200
    finally:
        flooded.stop()


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({}, "http://127.0.0.1:8800"),
        ({"host": "::1"}, "http://[::1]:8800"),
        ({"host": "0.0.0.0"}, None),
        ({"port": 0}, None),
        ({"public_url": "https://Deed.Example/"}, "https://deed.example"),
        ({"public_url": "http://localhost:8080"}, "http://localhost:8080"),
        ({"public_url": "https://[::1]:8"}, "https://[::1]:8"),
    ],
    ids=str,
)
def test_the_origin_is_what_the_settings_say(settings, origin, tmp_path):
    given = {"deployment": tmp_path, "database_url": "x.db"} | settings
    assert Settings(**given).origin == origin


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "http://deed.example"},
        {"public_url": "https://deed.example/path"},
        {"public_url": "https://user@deed.example"},
        {"public_url": "deed.example"},
        {"operators": "0x12"},
        {"auditors": "0x70997970C51812dc3A010C7d01b50e0d17dc79c8"},
        {"rate_anonymous": "5"},
        {"rate_principal": "1/0"},
        {"rate_sign_in": ""},
    ],
    ids=str,
)
def test_a_setting_of_access_that_cannot_be_meant_is_refused(settings, tmp_path):
    with pytest.raises(ValidationError):
        Settings(deployment=tmp_path, database_url="x.db", **settings)


def test_the_service_says_nothing_secret_in_its_log(service, ask, desk, licensor):
    key, _ = desk.key("audit:read")
    ask("GET", "/v1/auth/me", key)
    ask("GET", "/v1/auth/me", mistyped(key))
    said = service.log.read_text()
    assert key[22:40] not in said
    assert licensor[25:45] not in said
