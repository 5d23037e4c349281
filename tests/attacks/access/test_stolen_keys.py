"""Keys and tokens in the wrong hands, after somebody noticed."""

from __future__ import annotations

import time

import pytest

from ledger.ids import Address

pytestmark = pytest.mark.chain


def refusal(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    assert reply.json()["hint"]
    return reply.status_code, reply.json()["code"]


def signed_in(stand, wallet):
    """A session straight from the store: how one signs in is not what is tried here."""
    from ledger.access.message import SignInMessage

    nonce, _ = stand.desk.store.new_nonce()
    message = SignInMessage(
        domain="localhost:8800", address=wallet.address, uri=stand.origin, chain_id="31337",
        nonce=nonce, issued_at="2027-01-15T08:00:00Z",
    )  # fmt: skip
    token, _ = stand.desk.store.open_session(message)
    return token.text


def test_a_key_that_one_process_revoked_is_refused_by_the_other_at_once(stand, world):
    for _ in range(5):
        key, id_ = stand.desk.key("audit:read", role="auditor")
        operator = world.Wallet.named("rival")
        stand.desk.store.grant_role(world.LOCAL, Address.parse(operator.address), "operator")
        session = signed_in(stand, operator)
        assert stand.ask("GET", "/v1/audit", key, at=1).status_code == 200
        assert stand.ask("DELETE", f"/v1/keys/{id_}", session, at=0).status_code == 200
        reply = stand.ask("GET", "/v1/audit", key, at=1)
        assert refusal(reply) == (401, "CREDENTIAL_REVOKED")
        assert "audit log" in reply.json()["hint"]


def test_a_key_is_refused_after_its_day(stand):
    stand.desk.days_ago = 3.0
    try:
        key, _ = stand.desk.key("audit:read", days=2)
    finally:
        stand.desk.days_ago = 0.0
    reply = stand.ask("GET", "/v1/audit", key)
    assert refusal(reply) == (401, "CREDENTIAL_EXPIRED")
    assert "invalid_token" in reply.headers["www-authenticate"]


def test_a_key_reaches_no_further_than_its_account_does_now(stand, world):
    auditor = world.Wallet.named("buyer")
    account = Address.parse(auditor.address)
    stand.desk.store.grant_role(world.LOCAL, account, "auditor")
    token, _ = stand.desk.store.create_key(world.LOCAL, "ci", ["audit:read"], account=account)
    assert stand.ask("GET", "/v1/audit", token.text, at=1).status_code == 200
    stand.desk.store.revoke_role(world.LOCAL, account, "auditor")
    reply = stand.ask("GET", "/v1/audit", token.text, at=1)
    assert refusal(reply) == (403, "SCOPE_MISSING")
    assert reply.json()["scope"] == "audit:read"


def test_a_stolen_key_makes_lists_and_revokes_no_keys_and_ends_no_session(stand):
    key, id_ = stand.desk.key("audit:read", role="operator")
    asked = {"name": "mine now", "scopes": ["audit:read"]}
    assert refusal(stand.ask("POST", "/v1/keys", key, json=asked))[0] == 403
    assert refusal(stand.ask("GET", "/v1/keys", key))[0] == 403
    assert refusal(stand.ask("DELETE", f"/v1/keys/{id_}", key))[0] == 403
    assert refusal(stand.ask("POST", "/v1/auth/sign-out", key))[0] == 403
    # And what was tried is in the log.
    page = stand.ask("GET", "/v1/audit", key, params={"limit": 1000}).json()
    tried = [e["entry"] for e in page["entries"] if e["entry"]["via"] == f"key:{id_}"]
    assert [e["outcome"] for e in tried] == ["403", "403", "403"]


def test_a_token_after_sign_out_opens_nothing_in_any_process(stand, world):
    token = signed_in(stand, world.Wallet.named("licensor"))
    assert stand.ask("POST", "/v1/auth/sign-out", token, at=0).status_code == 204
    assert refusal(stand.ask("GET", "/v1/auth/me", token, at=1)) == (401, "CREDENTIAL_REVOKED")


def test_a_stolen_session_is_ended_by_its_account_and_by_an_operator_in_every_process(stand, world):
    victim, operator = world.Wallet.named("licensor"), world.Wallet.named("rival")
    path = f"/v1/sessions/{victim.address}"
    stolen, own = signed_in(stand, victim), signed_in(stand, victim)
    thief = signed_in(stand, world.Wallet.named("holder"))
    assert refusal(stand.ask("DELETE", path, thief)) == (403, "SCOPE_MISSING")
    assert stand.ask("GET", "/v1/auth/me", stolen, at=1).status_code == 200
    reply = stand.ask("DELETE", path, own, at=0)
    assert reply.status_code == 200, reply.text
    assert reply.json()["ended"] >= 2
    for token in (stolen, own):
        reply = stand.ask("GET", "/v1/auth/me", token, at=1)
        assert refusal(reply) == (401, "CREDENTIAL_REVOKED")
    again = signed_in(stand, victim)
    stand.desk.store.grant_role(world.LOCAL, Address.parse(operator.address), "operator")
    assert stand.ask("DELETE", path, signed_in(stand, operator)).json()["ended"] == 1
    assert refusal(stand.ask("GET", "/v1/auth/me", again))[1] == "CREDENTIAL_REVOKED"
    assert stand.ask("GET", "/v1/auth/me", thief).status_code == 200


def test_a_stolen_session_becomes_no_key_once_its_sign_in_is_some_minutes_old(stand, world):
    asked = {"name": "mine now", "scopes": ["deposits:write"], "days": 366}
    stand.desk.days_ago = 16 / 1440
    try:
        stolen = signed_in(stand, world.Wallet.named("licensor"))
    finally:
        stand.desk.days_ago = 0.0
    for headers in (world.bearer(stolen), cookie(stand, stolen)):
        reply = stand.ask("POST", "/v1/keys", json=asked, headers=headers)
        assert refusal(reply) == (401, "SIGN_IN_TOO_OLD")
        assert reply.json()["max_age"] == 900
        assert (
            'error="insufficient_user_authentication", max_age=900'
            in (reply.headers["www-authenticate"])
        )
        assert "set-cookie" not in reply.headers
    assert stand.ask("GET", "/v1/auth/me", stolen).status_code == 200
    again = signed_in(stand, world.Wallet.named("licensor"))
    made = stand.ask("POST", "/v1/keys", again, json=asked)
    assert made.status_code == 201
    assert stand.ask("DELETE", f"/v1/keys/{made.json()['id']}", stolen).status_code == 200


def cookie(stand, token):
    return {"cookie": f"deed-loopback={token}", "origin": stand.origin}


def test_a_role_that_a_reorganisation_took_back_lets_nobody_in(stand, world, deployed, published):
    """Neither the session nor a key of whom the chain made a holder for a moment."""
    holder = world.Wallet.fresh()
    account = Address.parse(holder.address)
    with deployed.chain.hold_finality():
        _, receipt = deployed.licenses.issue(deployed.sender("licensor"), published.plan, account)
        session = signed_in(stand, holder)
        stand.services[0].until(
            lambda: stand.ask("GET", "/v1/auth/me", session, at=1).json()["roles"] == ["holder"]
        )
        asked = {"name": "x", "scopes": ["evidence:write"]}
        key = stand.ask("POST", "/v1/keys", session, json=asked).json()["key"]
        assert stand.ask("GET", "/v1/auth/me", key, at=1).json()["scopes"] == ["evidence:write"]
        depth = deployed.rpc.block("latest").number - receipt.block_number + 1
        deployed.rpc.call("anvil_reorg", [depth, []])
        stand.services[0].until(
            lambda: stand.ask("GET", "/v1/auth/me", session, at=1).json()["roles"] == []
        )
    for at in (0, 1):
        reply = stand.ask("POST", "/v1/keys", session, json=asked, at=at)
        assert refusal(reply) == (403, "SCOPE_MISSING")
        assert stand.ask("GET", "/v1/auth/me", key, at=at).json()["scopes"] == []


def test_a_key_is_not_hidden_behind_many_others(stand, world):
    """Who makes and revokes keys on and on pushes none out of the operator's list."""
    operator = world.Wallet.named("rival")
    stand.desk.store.grant_role(world.LOCAL, Address.parse(operator.address), "operator")
    session = signed_in(stand, operator)
    ids = {stand.desk.key("audit:read")[1] for _ in range(7)}
    seen, after = [], ""
    while after is not None:
        reply = stand.ask("GET", "/v1/keys", session, params={"after": after, "limit": 3})
        seen += [each["id"] for each in reply.json()["keys"]]
        after = reply.json()["next_after"]
    assert ids <= set(seen)
    assert len(seen) == len(set(seen))
    everyone = stand.ask("GET", "/v1/keys", session).json()["keys"]
    assert [each["id"] for each in everyone] == seen[: len(everyone)]
    reply = stand.ask("GET", "/v1/keys", session, params={"after": "A" * 10})
    assert refusal(reply) == (404, "UNKNOWN_RECORD")


def test_guesses_near_a_good_key_are_refused_without_saying_which_part_was_wrong(stand):
    key, _ = stand.desk.key("audit:read")
    from ledger.access.tokens import checksum, new_token

    said = set()
    other = new_token("live").text
    for body in (other[21:64], key[21:63] + ("0" if key[63] != "0" else "1")):
        for head in (key[:21], other[:21]):
            text = head + body
            if text + checksum(text) in {key, other}:
                continue
            reply = stand.ask("GET", "/v1/auth/me", text + checksum(text))
            said.add((*refusal(reply), reply.json()["detail"]))
    assert said == {(401, "NOT_AUTHENTICATED", "there is no such API key")}


@pytest.mark.parametrize(
    "given",
    [
        "Bearer", "Bearer x", "Bearer deed_live_", "bearer\tdeed", "Bearer " + "A" * 900,
        "Bearer deed_live_" + "a" * 60, "Bearer \u00ff\u00fe", "Bearer null",
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_key_is_refused_or_means_nothing(stand, given):
    headers = {"authorization": given.encode("latin-1")}
    reply = stand.ask("GET", "/v1/auth/me", headers=headers)
    assert refusal(reply) == (401, "NOT_AUTHENTICATED")
    assert "A" * 100 not in reply.text


def test_two_authorization_headers_are_refused(stand):
    key, _ = stand.desk.key("audit:read")
    other, _ = stand.desk.key("audit:read")
    import httpx

    with httpx.Client(base_url=stand.services[0].url) as client:
        request = client.build_request("GET", "/v1/auth/me")
        request.headers = httpx.Headers(
            [
                ("host", "localhost"),
                ("authorization", f"Bearer {key}"),
                ("authorization", f"Bearer {other}"),
            ]
        )
        assert refusal(client.send(request)) == (401, "NOT_AUTHENTICATED")


def test_a_key_in_a_query_or_a_body_opens_nothing(stand):
    key, _ = stand.desk.key("audit:read")
    for name in ("key", "token", "access_token", "api_key"):
        reply = stand.ask("GET", "/v1/audit", params={name: key})
        # Refused for its name before anybody asks who comes; the answer repeats no value.
        assert refusal(reply) == (422, "INVALID_REQUEST")
        assert key not in reply.text
    assert refusal(stand.ask("GET", "/v1/audit")) == (401, "NOT_AUTHENTICATED")
    time.sleep(0.1)
    for service in stand.services:
        assert key not in service.log.read_text()
