"""Licensors that deposit wrongly, by mistake or on purpose, and whoever deposits without end."""

import contextlib
import json
import secrets
import threading
import time

import pytest

from ledger import runtime
from ledger.broker import shamir
from ledger.broker.keyshares import KeyShares
from ledger.broker.limits import Limits, Rate
from ledger.broker.service import BrokerService
from ledger.errors import (
    KeyRequestRejected,
    LedgerError,
    ManifestError,
    RateLimited,
    SharesRejected,
    SignatureInvalid,
)
from ledger.ids import Digest

pytestmark = pytest.mark.chain
CENTURY = 100 * 366 * 86400


def split(trio, *, who="licensor", issued_at=None, key=None, threshold=2, count=3):
    """Signed shares of the world's key for the trio's set."""
    world, made = trio.world, trio.world.published
    parts = shamir.split(key or made.key, threshold, count)
    wallet = world.chain.wallet(who)
    shares = KeyShares.of(
        made.record,
        parts,
        broker_set=trio.set_id,
        licensor=wallet.address,
        issued_at=int(time.time()) if issued_at is None else issued_at,
    ).signed(wallet, trio.brokers[0].home.identity.domain)
    return parts, shares


def hand_over(trio, place, part, shares, who="licensor"):
    world = trio.world
    with trio.brokers[place].client() as client:
        return client.deposit_share(
            world.published.record, part, shares, world.chain.wallet(who), terms=[world.terms]
        )


def test_a_statement_of_the_future_does_not_shut_out_every_later_one(world, trio):
    """A later statement takes an earlier one's place. One signed for the next century, by a wrong
    clock or by a licensor about to sell the title, would be the last that a broker ever takes."""
    parts, shares = split(trio, issued_at=int(time.time()) + CENTURY)
    with pytest.raises(KeyRequestRejected):
        hand_over(trio, 0, parts[0], shares)
    parts, shares = split(trio)
    assert hand_over(trio, 0, parts[0], shares)["deposit"]["shares"] == str(shares.set_id)
    trio.deposit()


def test_the_buyer_of_a_title_deposits_whatever_its_seller_signed(world, trio, broker_world):
    """Statements are compared with those of the same licensor: a sold title's begin anew."""
    broker = trio.brokers[0]
    holding = broker.service._shareholding
    parts, theirs = split(trio, issued_at=int(time.time()) + 3000)
    hand_over(trio, 0, parts[0], theirs)
    buyer = world.chain.wallet("rival")
    _, own = split(trio, who="rival")
    domain = broker.home.identity.domain
    # Step 3 has found that the buyer holds the title; step 5 must not ask the seller.
    now = int(time.time())
    holding.check(own, world.published.record, buyer.address, domain, latest=now)
    _, older = split(trio)
    with pytest.raises(KeyRequestRejected, match="signed later"):
        holding.check(older, world.published.record, older.licensor, domain, latest=now)
    broker.service.store.write("DELETE FROM share_sets WHERE sealing = ?", own.sealing.raw)
    trio.deposit()


@pytest.mark.parametrize("wrong", ["value", "index", "label", "commitments", "set", "signer"])
def test_a_share_that_is_not_the_one_committed_to_is_never_kept(world, trio, wrong):
    parts, shares = split(trio)
    service = trio.brokers[0].service
    before = service.store.rows("SELECT * FROM share_sets")
    part, who = parts[0], "licensor"
    if wrong == "value":
        part.value[0] ^= 1
    elif wrong == "index":
        part = parts[1]
        with pytest.raises(LedgerError):
            hand_over(trio, 0, shamir.Share(2, 3, 1, part.value, part.commitments), shares)
        return
    elif wrong == "label":
        part = shamir.Share(3, 3, 1, part.value, part.commitments)
    elif wrong == "commitments":
        _, shares = split(trio)
    elif wrong == "set":
        _, shares = split(trio, key=secrets.token_bytes(32))
    else:
        _, shares = split(trio, who="rival")
    with pytest.raises((SharesRejected, SignatureInvalid, ManifestError, KeyRequestRejected)):
        hand_over(trio, 0, part, shares, who)
    assert service.store.rows("SELECT * FROM share_sets") == before


def test_shares_of_another_key_are_kept_by_brokers_and_named_by_the_runtime(world, trio):
    """No broker can know; the runtime joins them, sees, and uses nothing."""
    parts, shares = split(trio, key=secrets.token_bytes(32))
    for place, part in enumerate(parts):
        hand_over(trio, place, part, shares)
    _, card, identity = trio.licensed()
    try:
        with pytest.raises(SharesRejected, match="made wrongly"):
            runtime.load(card, runtime=identity, timeout=10)
    finally:
        # A second later, or the two statements have one time.
        time.sleep(1.1)
        trio.deposit()


def test_deposits_without_end_are_limited_as_any_other_request(world):
    """Anyone can register a model, and then deposit: each asks the chain and is logged for ever."""
    service, refused = world.broker.service, 0
    for _ in range(2100):
        try:
            service.deposit({}, network="203.0.113.0/24")
        except RateLimited:
            refused += 1
        except ManifestError:
            continue
    assert refused > 0


def test_a_licensor_who_repeats_a_deposit_does_not_fill_the_log(world):
    """Repeating one is harmless, also to the disk."""
    sent = {}
    with world.broker.client() as client:
        send = client._send

        def spy(method, path, body=None):
            if path.endswith("deposits"):
                sent.update(json.loads(json.dumps(body)))
            return send(method, path, body)

        client._send = spy
        client.deposit(world.published.record, world.published.key, world.chain.wallet("licensor"))
    service = BrokerService(
        world.broker.home,
        world.broker.view,
        store=world.broker.service.store,
        limits=Limits(licensor=Rate(3, 0.001)),
    )
    before = service.store.last_receipt()[0]
    for _ in range(6):
        with contextlib.suppress(RateLimited):
            service.deposit(sent)
    assert service.store.last_receipt()[0] - before == 3


def test_two_deposits_of_one_sealing_at_once_leave_one_whole_share(world, trio):
    service, trouble = trio.brokers[0].service, []
    made = [split(trio) for _ in range(6)]

    def put(parts, shares):
        try:
            hand_over(trio, 0, parts[0], shares)
        except KeyRequestRejected:
            pass
        except LedgerError as error:
            trouble.append(error)

    threads = [threading.Thread(target=put, args=each) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not trouble
    sealing = world.published.record.hash()
    row = service.store.row(
        "SELECT number, document FROM share_sets WHERE sealing = ? AND broker_set = ?",
        sealing.raw,
        trio.set_id,
    )
    kept = KeyShares.from_json(json.loads(row[1]))
    with service._vault.secret(sealing, f"share/{trio.set_id}") as value:
        kept.share(row[0], bytearray(value))
    assert isinstance(kept.set_id, Digest)
    time.sleep(1.1)
    trio.deposit()
