"""The licensor's own end of a hold: its message, and over real HTTP on a real chain."""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import runtime
from ledger.broker import hold_client
from ledger.broker.anomaly import Rules
from ledger.broker.audit import Book, ChainSource, audit
from ledger.broker.audit_holds import HoldBook
from ledger.broker.hold_release import (
    RELEASE_TYPE,
    HoldName,
    HoldRelease,
    check_account,
    check_addressed,
    check_named,
    signed_elsewhere,
    to_sign,
)
from ledger.broker.protocol import Evidence, KeyRequest, receipt_hash, request_hash
from ledger.chain.abi_codec import contract
from ledger.chain.wallet import dev_wallet
from ledger.errors import (
    ClaimMismatch,
    FormatError,
    KeyRequestRejected,
    PendingFinality,
    SignatureInvalid,
)
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain
from ledger.sealed.recipients import KemPrivateKey

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "hold-release").glob("*.json"))
DOMAIN = ledger_domain(31337, Address(b"\x11" * 20))
STRICT = Rules(hosts=1000, releases=1000, strikes=2)
HOME, AWAY = "203.0.113.0/24", "198.51.100.0/24"


# -- the message -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_release_is_decided_as_its_vector_says(path):
    vector = json.loads(path.read_text())
    if vector["expect"] == "malformed":
        with pytest.raises(FormatError):
            HoldRelease.from_json(vector["message"])
        return
    release, broker = HoldRelease.from_json(vector["message"]), vector["broker"]
    assert release.to_json() == vector["message"]
    assert str(release.digest(DOMAIN)) == vector["digest"]
    held = broker["hold"] and HoldName.from_json(broker["hold"])

    def decided():
        try:
            license_id = LicenseId.parse(broker["license"])
            check_addressed(release, license_id, broker["audience"], broker["now"])
            check_named(release, held)
        except KeyRequestRejected as error:
            return f"rejected-{error.check}"
        return "ok" if check_account(release, DOMAIN) else "not-its-account"

    assert decided() == vector["expect"]


@given(
    st.integers(1, (1 << 53) - 1),
    st.binary(min_size=32, max_size=32),
    st.text(max_size=200),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.binary(max_size=300),
)
def test_what_is_written_is_read_the_same(sequence, hash_, audience, issued, expires, signature):
    release = HoldRelease(
        LicenseId.parse("7.3"),
        HoldName(sequence, Digest(hash_)),
        audience,
        issued,
        expires,
        Address(b"\x44" * 20),
        signature,
    )
    assert HoldRelease.from_json(json.loads(json.dumps(release.to_json()))) == release
    document = to_sign(replace(release, signature=b""), DOMAIN)
    document["signature"] = "0x" + signature.hex()
    assert signed_elsewhere(json.loads(json.dumps(document))) == release


def hold_entries(release):
    """A hold, and its end by the licensor, as a log has them."""
    hold = {"request": {"license": "1.1"}, "reply": {"type": "hold"}}
    named = replace(release, hold=HoldName(1, receipt_hash(hold)))
    signed = named.signed(dev_wallet("licensor"), DOMAIN).to_json()
    end = {"request": signed, "reply": {"type": "hold-end", "request": str(request_hash(signed))}}
    return hold, end


def test_an_audit_follows_holds_and_their_ends():
    message = json.loads(next(p for p in VECTORS if p.stem == "valid").read_text())["message"]
    hold, end = hold_entries(HoldRelease.from_json(message))
    book = HoldBook(DOMAIN)
    book.take(1, hold)
    with pytest.raises(ClaimMismatch, match="a second time"):
        book.take(2, hold)
    book.take(2, end)
    assert (book.by_account, book.by_contract) == (1, 0)
    with pytest.raises(ClaimMismatch, match="there was not"):
        book.take(3, end)
    book.take(4, hold)
    with pytest.raises(ClaimMismatch, match="another hold"):
        book.take(5, end)
    later = {**end, "request": {**end["request"], "expires_at": 1800003601}}
    other = HoldBook(DOMAIN)
    other.take(1, hold)
    with pytest.raises(ClaimMismatch, match="another request"):
        other.take(2, later)


# -- over HTTP -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stand(broker_world, tmp_path_factory):
    """A stack whose broker holds soon; a chain of its own."""
    folder = tmp_path_factory.mktemp("holds")
    chain = broker_world.Chain()
    try:
        broker = broker_world.Broker(chain, folder, rules=STRICT)
        try:
            published = broker_world.publish(chain, folder)
            made = broker_world.World(chain, broker, folder, published, broker_world.some_terms())
            made.deposit()
            yield made
        finally:
            broker.close()
    finally:
        chain.close()


def ask(world, identity, license_id, network):
    service = world.broker.service
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    held = identity.grant_for(31337, ledger, license_id)
    named = {"license": str(license_id), "model": str(world.published.model_id)}
    issued, now = service.challenge(named), int(time.time())
    request = KeyRequest(
        challenge=bytes.fromhex(issued["challenge"][2:]),
        license=license_id,
        model=world.published.model_id,
        kem=KemPrivateKey.generate().public,
        evidence=Evidence("software", "release", world.published.record.hash(), identity.use, "t"),
        audience=issued["audience"],
        issued_at=now,
        expires_at=now + 60,
        runtime=identity.key,
        grant=held.grant,
        acceptance=held.acceptance,
    ).signed(identity.sign, service.identity.domain)
    return service.release({"request": request.to_json(), "terms": None}, network=network)


def hold_it(world, identity, license_id):
    for number in range(20):
        reply = ask(world, identity, license_id, (HOME, AWAY)[number % 2])
        if not reply["granted"] and reply["denial"]["code"] == "LICENSE_HELD":
            return reply
    pytest.fail("never held")


@pytest.fixture
def held(stand):
    """A held license, and its runtime."""
    license_id = stand.license(stand.plan())
    identity = stand.runtime(license_id)
    reply = hold_it(stand, identity, license_id)
    assert f"deed license release-hold {license_id}" in reply["denial"]["remedy"]
    return license_id, identity


@pytest.fixture
def client(stand):
    with stand.broker.client() as made:
        yield made


def draft(stand, client, license_id, who="licensor"):
    unsigned = hold_client.draft(client, license_id, stand.chain.wallet(who).address)
    return unsigned, stand.broker.home.identity.domain


def audited(stand):
    home, addresses = stand.broker.home, stand.chain.deployment.addresses
    report = audit(
        Book.read(home.database),
        [home.signing.public],
        home.identity.domain,
        broker_id=stand.broker.id,
        chain=ChainSource(
            stand.chain.rpc, addresses["LicenseLedger"], addresses["BrokerRegistry"], from_block=0
        ),
    )
    return {each.number: each for each in report.findings}


@pytest.mark.chain
def test_the_licensor_ends_a_hold_and_the_log_holds_his_signature(stand, client, held):
    license_id, identity = held
    found = hold_client.held(client, license_id)
    assert found.rule == "impossible-cadence"
    release, reply = hold_client.release_hold(client, license_id, stand.chain.wallet("licensor"))
    stand.broker.home.signing.public.verify(reply)
    assert hold_client.held(client, license_id) is None
    assert ask(stand, identity, license_id, AWAY)["granted"]
    number = reply["receipt"]["sequence"]
    ((_, entry),) = stand.broker.service.store.receipts(after=number - 1, limit=1)
    assert entry["request"] == release.to_json()
    step = audited(stand)[3]
    assert step.result == "pass"
    assert "ended by a licensor's account" in step.detail


@pytest.mark.chain
def test_a_look_at_a_hold_tells_no_runtime_and_no_network(stand, held):
    license_id, identity = held
    text = httpx.get(f"{stand.broker.url}/v1/broker/holds/{license_id}").text
    assert str(identity.key.hash()) not in text
    assert "203.0.113" not in text
    assert "198.51.100" not in text
    assert json.loads(text)["hold"].keys() == {"sequence", "hash", "rule", "since"}
    other = stand.license(stand.plan())
    assert httpx.get(f"{stand.broker.url}/v1/broker/holds/{other}").json()["hold"] is None
    assert httpx.get(f"{stand.broker.url}/v1/broker/holds/nonsense").status_code == 422
    assert httpx.get(f"{stand.broker.url}/v1/broker/holds/0{other}").status_code == 422


@pytest.mark.chain
def test_a_release_is_used_once_and_never_for_a_later_hold(stand, client, held):
    license_id, identity = held
    release, _ = hold_client.release_hold(client, license_id, stand.chain.wallet("licensor"))
    with pytest.raises(KeyRequestRejected, match="not held"):
        hold_client.send(client, release)
    hold_it(stand, identity, license_id)
    with pytest.raises(KeyRequestRejected, match="not by the hold of receipt"):
        hold_client.send(client, release)
    assert hold_client.held(client, license_id) is not None


@pytest.mark.chain
@pytest.mark.parametrize("who", ["holder", "rival", "broker"])
def test_nobody_but_the_licensor_ends_it(stand, client, held, who):
    license_id, _ = held
    with pytest.raises(KeyRequestRejected, match="the licensor of license"):
        hold_client.release_hold(client, license_id, stand.chain.wallet(who))
    assert hold_client.held(client, license_id) is not None


@pytest.mark.chain
def test_another_wallet_in_the_licensors_name_ends_nothing(stand, client, held):
    license_id, _ = held
    unsigned, domain = draft(stand, client, license_id)
    forged = unsigned.signed(stand.chain.wallet("rival"), domain)
    with pytest.raises(SignatureInvalid, match="is no contract"):
        hold_client.send(client, forged)
    with pytest.raises(SignatureInvalid):
        hold_client.send(client, unsigned)
    assert hold_client.held(client, license_id) is not None


@pytest.mark.chain
def test_an_expired_release_and_one_for_another_broker_or_license_end_nothing(stand, client, held):
    license_id, _ = held
    unsigned, domain = draft(stand, client, license_id)
    licensor, now = stand.chain.wallet("licensor"), int(time.time())
    late = replace(unsigned, issued_at=now - 100, expires_at=now - 1).signed(licensor, domain)
    with pytest.raises(KeyRequestRejected, match="expired"):
        hold_client.send(client, late)
    elsewhere = replace(unsigned, audience=unsigned.audience + "1").signed(licensor, domain)
    with pytest.raises(KeyRequestRejected, match="another broker"):
        hold_client.send(client, elsewhere)
    good = unsigned.signed(licensor, domain)
    other = stand.license(stand.plan())
    reply = httpx.post(f"{stand.broker.url}/v1/broker/holds/{other}/release", json=good.to_json())
    assert (reply.status_code, reply.json()["check"]) == (403, 1)
    assert hold_client.held(client, license_id) is not None
    hold_client.send(client, good)


@pytest.mark.chain
def test_many_copies_of_one_release_at_once_make_one_end(stand, client, held):
    license_id, _ = held
    unsigned, domain = draft(stand, client, license_id)
    body = unsigned.signed(stand.chain.wallet("licensor"), domain).to_json()
    url = f"{stand.broker.url}/v1/broker/holds/{license_id}/release"
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: httpx.post(url, json=body, timeout=60), range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] + [403] * 7


class Signer:
    """Signs as a contract wallet of several owners does."""

    def __init__(self, wallets, wallet):
        self.address, self._owner = wallet, wallets.owner

    def sign_typed(self, domain, kind, values):
        assert kind is RELEASE_TYPE
        made = self._owner.sign_typed(domain, kind, values)
        return made[:64] + made[64].to_bytes(32, "big") + b"filler of other owners" * 20


def give_title(stand, model_id, wallet):
    """Move a title to a contract, which Anvil lets us act for."""
    chain, registry = stand.chain, contract("ModelRegistry")
    chain.send("licensor", "ModelRegistry", "proposeTransfer", model_id, wallet)
    chain.rpc.call("anvil_setBalance", [str(wallet), hex(10**18)])
    chain.rpc.call("anvil_impersonateAccount", [str(wallet)])
    to = str(chain.deployment.addresses["ModelRegistry"])
    data = "0x" + registry.encode("acceptTransfer", model_id).hex()
    chain.rpc.call("eth_sendTransaction", [{"from": str(wallet), "to": to, "data": data}])
    chain.send("stranger", "Anchors", "anchor", Digest(secrets.token_bytes(32)))  # and then final


@pytest.mark.chain
def test_a_check_of_a_held_license_says_no_and_what_was_counted_ends_with_the_hold(
    stand, client, held
):
    license_id, identity = held
    decision = runtime.check(stand.card_file(license_id), runtime=identity)
    assert (decision.granted, decision.denial.code, decision.denial.check) == (
        False, "LICENSE_HELD", 9,
    )  # fmt: skip
    hold_client.release_hold(client, license_id, stand.chain.wallet("licensor"))
    counts = stand.broker.service.store.rows(
        "SELECT count FROM sighted_hosts WHERE license = ?", str(license_id)
    )
    assert {row[0] for row in counts} == {0}


@pytest.mark.chain
def test_a_licensor_that_is_a_contract_is_asked(broker_world, wallet_world, stand, client):
    """The title moves to a contract wallet; only after the plan followed is it the licensor."""
    wallets_here = wallet_world.Wallets(stand.chain)
    published = broker_world.publish(stand.chain, stand.folder)
    world = replace(stand, published=published)
    world.deposit(published)
    license_id = world.license(world.plan())
    identity = world.runtime(license_id)
    hold_it(world, identity, license_id)
    wallet = wallets_here.deployed()
    signer = Signer(wallets_here, wallet)
    with pytest.raises(KeyRequestRejected, match="the licensor of license"):
        hold_client.release_hold(client, license_id, signer)
    give_title(stand, published.model_id, wallet)
    with pytest.raises(KeyRequestRejected, match="behind its title"):
        hold_client.release_hold(client, license_id, signer)
    stand.chain.send("stranger", "LicenseLedger", "syncLicensor", license_id.plan)
    wallets_here.turn(wallet, "refuses")
    with pytest.raises(SignatureInvalid, match="does not take it for its own"):
        hold_client.release_hold(client, license_id, signer)
    with pytest.raises(KeyRequestRejected, match="the licensor of license"):
        hold_client.release_hold(client, license_id, stand.chain.wallet("licensor"))
    with stand.chain.node.hold_finality():
        wallets_here.turn(wallet, None, final=False)
        with pytest.raises(PendingFinality, match="at the finalized block"):
            hold_client.release_hold(client, license_id, signer)
    wallets_here.turn(wallet, None)
    hold_client.release_hold(client, license_id, signer)
    assert hold_client.held(client, license_id) is None
    step = audited(stand)[3]
    assert step.result == "pass"
    assert "by a contract" in step.detail
