"""Clients that flood, lie, repeat, and send what no client of ours sends."""

import copy
import json
import random
import secrets
import threading
from dataclasses import replace

import httpx
import pytest

from ledger.broker.deposits import KeyDeposit
from ledger.broker.leases import Heartbeat
from ledger.broker.limits import network_of
from ledger.broker.protocol import Evidence, KeyRequest
from ledger.broker.store import MAX_CHALLENGES
from ledger.errors import LedgerError, RateLimited, UnavailableError
from ledger.ids import Digest
from ledger.sealed.recipients import KemPrivateKey

pytestmark = pytest.mark.chain


def made_request(stand, identity, license_id, *, intent="release", challenge=None, **changes):
    """A signed request that the service would grant."""
    asker, now = stand.asker(identity, license_id), int(stand.clock())
    if challenge is None:
        named = {"license": str(license_id), "model": str(asker.model)}
        challenge = bytes.fromhex(stand.service.challenge(named)["challenge"][2:])
    request = KeyRequest(
        challenge=challenge,
        license=license_id,
        model=asker.model,
        kem=KemPrivateKey.generate().public,
        evidence=Evidence("software", intent, asker.sealing, identity.use, "t"),
        audience=stand.service.identity.audience,
        issued_at=now,
        expires_at=now + 60,
        runtime=identity.key,
        grant=asker.grant,
        acceptance=asker.acceptance,
    )
    return replace(request, **changes).signed(identity.sign, stand.service.identity.domain)


def body(stand, request):
    return json.loads(json.dumps({"request": request.to_json(), "terms": stand.world.terms}))


@pytest.fixture
def licensed(world):
    license_id = world.license(world.plan(seats=0))
    return license_id, world.runtime(license_id)


# -- floods


def test_one_network_or_a_few_cannot_use_up_all_challenges(world, stand):
    """Challenges are kept for a minute. A /48 has 256 networks of ours, each with 500 a second:
    whoever fills the table must not keep everybody else from asking."""
    named = {"license": "1.1", "model": str(world.published.model_id)}
    store, now = stand.service.store, int(stand.clock())
    with store.transaction():
        for _ in range(MAX_CHALLENGES):
            store.write(
                "INSERT INTO challenges VALUES (?, ?, ?, ?)",
                secrets.token_bytes(32),
                "1.1",
                world.published.model_id.raw,
                now + 60,
            )
    try:
        assert stand.service.challenge(named, network="192.0.2.0/24")["challenge"]
    except UnavailableError as error:
        pytest.fail(f"an honest client is refused for all that others asked: {error}")
    finally:
        store.write("DELETE FROM challenges")


def test_a_network_is_what_one_customer_has_not_what_one_packet_says():
    assert network_of("2001:db8:1:100::1") == network_of("2001:db8:1:1ff::2")
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.200")
    assert network_of("203.0.113.9, 198.51.100.1") == network_of(None) == network_of("x" * 10**5)


def test_a_runtime_that_nobody_granted_cannot_make_a_license_be_held(world, stand, licensed):
    license_id, identity = licensed
    stranger = world.runtime()
    for number in range(30):
        request = made_request(
            stand, stranger, license_id,
            grant=stand.asker(identity, license_id).grant,
            acceptance=stand.asker(identity, license_id).acceptance,
        )  # fmt: skip
        reply = stand.service.release(body(stand, request), network=f"198.51.{number}.0/24")
        assert not reply["granted"]
        assert reply["denial"]["check"] == 4
    assert stand.service.defence.conduct(license_id).level == "calm"
    granted = stand.service.release(body(stand, made_request(stand, identity, license_id)))
    assert granted["granted"]


# -- replays and mixtures


def test_every_member_of_a_request_is_under_its_signature(world, stand, licensed):
    """Whoever sees a request, or is the proxy, changes one member of it."""
    license_id, identity = licensed
    other = world.runtime(license_id)
    foreign = made_request(stand, other, license_id).to_json()
    for name in foreign:
        request = made_request(stand, identity, license_id)
        sent = body(stand, request)
        if sent["request"][name] == foreign[name]:
            continue
        sent["request"][name] = foreign[name]
        if name in {"grant", "acceptance"}:
            continue  # they carry the holder's signature, and fit one runtime
        try:
            reply = stand.service.release(sent)
        except LedgerError:
            continue
        assert not reply["granted"], name
        assert reply["wraps"] == [], name


def test_a_request_for_one_act_is_good_for_no_other(stand, licensed):
    license_id, identity = licensed
    for made, used in (("check", "release"), ("offline", "release"), ("release", "offline")):
        request = made_request(stand, identity, license_id, intent=made)
        reply = stand.service.release(body(stand, request), intent=used)
        assert not reply["granted"]
        assert reply["denial"]["check"] in {1, 2}


def test_a_challenge_is_used_up_by_whoever_comes_first_and_by_nobody_again(stand, licensed):
    license_id, identity = licensed
    request, granted = made_request(stand, identity, license_id), []

    def ask():
        granted.append(stand.service.release(body(stand, request))["granted"])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 1


def test_an_offline_nonce_is_no_challenge_and_a_challenge_no_second_nonce(stand, licensed):
    license_id, identity = licensed
    nonce = secrets.token_bytes(32)
    carried = made_request(stand, identity, license_id, intent="offline", challenge=nonce)
    assert stand.service.release(body(stand, carried), intent="offline")["granted"]
    # The same nonce under another lifetime, key and signature is still the same nonce.
    again = made_request(
        stand, identity, license_id, intent="offline", challenge=nonce,
        expires_at=int(stand.clock()) + 72 * 3600,
    )  # fmt: skip
    for _ in range(2):
        reply = stand.service.release(body(stand, again), intent="offline")
        assert (reply["granted"], reply["denial"]["check"]) == (False, 1)
    # Until its window has passed, and then step 2 refuses it.
    for later in (60 + 3600, 60 + 3601, 60 + 3602, 10**6):
        stand.clock.value = carried.issued_at + later
        assert not stand.service.release(body(stand, carried), intent="offline")["granted"]


def test_a_failed_answer_never_hands_a_spent_nonce_back(stand, licensed):
    license_id, identity = licensed
    carried = made_request(
        stand, identity, license_id, intent="offline", challenge=secrets.token_bytes(32)
    )
    assert stand.service.release(body(stand, carried), intent="offline")["granted"]
    forged = body(stand, carried)
    forged["request"]["signature"] = "0x" + "00" * 64
    assert not stand.service.release(forged, intent="offline")["granted"]
    assert not stand.service.release(body(stand, carried), intent="offline")["granted"]


# -- what no client of ours sends


def mutations(document, seed):
    """Copies of a document, each with something impossible in one place."""
    odd = [
        None, True, 0, -1, 2**53, 2**64, 10**400, 1.5, float("nan"), "", "\ud800", "\x00",
        "\u202e" * 64, "x" * 70000, [], {}, [[]], {"a": {"a": {"a": 1}}}, "0x", "0x" + "00" * 32,
        "1.1", "-1.-1", "٣.٣",
    ]  # fmt: skip
    places = []

    def walk(value, path):
        places.append(path)
        items = value.items() if isinstance(value, dict) else ()
        items = enumerate(value) if isinstance(value, list) else items
        for key, item in items:
            walk(item, (*path, key))

    walk(document, ())
    generator = random.Random(seed)
    for path in places[1:]:
        for value in generator.sample(odd, 5):
            made = copy.deepcopy(document)
            at = made
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            yield path, value, made


def same(made, good):
    return KeyRequest.from_json(made["request"]).to_json() == good["request"]


def test_nothing_but_our_own_errors_comes_of_a_malformed_request(world, stand, licensed):
    license_id, identity = licensed
    good = body(stand, made_request(stand, identity, license_id))
    for path, value, made in mutations(good, 1):
        try:
            reply = stand.service.release(made)
        except LedgerError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{path} = {value!r:.40}: {type(error).__name__}: {error}")
        # Terms in another spelling are replaced by those on record; {} declares no use either.
        assert not reply["granted"] or path[0] == "terms" or same(made, good), path


def test_nor_of_a_malformed_heartbeat(world, stand, licensed):
    license_id, identity = licensed
    _, lease, _ = stand.client().release(stand.asker(identity, license_id))
    domain = stand.service.identity.domain
    beat = Heartbeat(lease.id, 1, stand.service.identity.audience, int(stand.clock()))
    good = replace(beat, signature=identity.sign(beat.digest(domain))).to_json()
    for path, value, made in mutations(good, 2):
        try:
            stand.service.heartbeat(lease.id, made)
        except LedgerError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{path} = {value!r:.40}: {type(error).__name__}: {error}")
        pytest.fail(f"{path} = {value!r:.40} was taken")
    assert stand.service.heartbeat(lease.id, good)["granted"]


def test_nor_of_a_malformed_deposit(world, stand):
    sent = {}
    client = stand.client()
    send = client._send

    def spy(method, path, message=None):
        if path.endswith("deposits"):
            sent.update(json.loads(json.dumps(message)))
        return send(method, path, message)

    client._send = spy
    client.deposit(world.published.record, world.published.key, world.chain.wallet("licensor"))
    for path, value, made in mutations(sent, 3):
        try:
            stand.service.deposit(made, network=f"{secrets.token_hex(4)}/24")
        except RateLimited:
            pytest.fail(f"{path} = {value!r:.40} was signed")
        except LedgerError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{path} = {value!r:.40}: {type(error).__name__}: {error}")
        if KeyDeposit.from_json(made).to_json() != sent:
            pytest.fail(f"{path} = {value!r:.40} was taken")


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"request":' * 5000,
        b'{"request": NaN, "terms": null}',
        b'{"request": {}, "request": {}}',
        b'{"request": ' + b"9" * 5000 + b"}",
        b'{"request": {"a": "\\ud800"}, "terms": null}',
        b"\xff\xfe",
        b"",
    ],
    ids=["brackets", "objects", "nan", "twice", "digits", "surrogate", "bytes", "empty"],
)
def test_http_answers_hostile_json_with_a_problem_and_no_traceback(world, content):
    for path in ("releases", "checks", "deposits", "challenges"):
        answer = httpx.post(
            f"{world.broker.url}/v1/broker/{path}",
            content=content,
            headers={"content-type": "application/json"},
            timeout=30,
        )
        assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text[:200])
        assert "Traceback" not in answer.text
        assert ".py" not in answer.text


def test_a_lease_of_another_is_of_no_use(world, stand, licensed):
    license_id, identity = licensed
    other = world.runtime(license_id)
    _, lease, _ = stand.client().release(stand.asker(identity, license_id))
    with pytest.raises(LedgerError):
        stand.client().heartbeat(other, lease)
    with pytest.raises(LedgerError):
        stand.client().heartbeat(identity, replace(lease, id=Digest(secrets.token_bytes(32))))
    assert stand.client().heartbeat(identity, lease)[0] is not None
