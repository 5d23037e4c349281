"""Contract wallets that cost, stall and change their mind, and whoever asks them unasked."""

import secrets
from dataclasses import replace

import pytest

from ledger.broker.wallet_probe import ERC6492_SUFFIX, open_envelope, seal_envelope
from ledger.broker.wallet_signatures import SignatureState, WalletSays
from ledger.errors import EntitlementError, LedgerError
from ledger.ids import keccak256
from ledger.sealed.recipients import KemPrivateKey

pytestmark = pytest.mark.chain


@pytest.fixture
def held(world, wallets):
    """A wallet with a license, and a runtime that it granted."""
    wallet = wallets.deployed()
    license_id = world.license(world.plan(seats=0), to=wallet)
    identity = world.runtime()
    world.grant(identity, license_id, signer=wallets.signer(wallet), contract_wallet=True)
    return wallet, license_id, identity


def ask(stand, asker):
    """The signed decision on one request of this asker."""
    client = stand.client()
    request = client._request(asker, KemPrivateKey.generate().public, "release")
    body = {"request": request.to_json(), "terms": dict(stand.world.terms)}
    return stand.service.release(body)


def test_strangers_do_not_make_a_broker_simulate_without_end(world, stand, held):
    """Each question is two calls of up to 8,000,000 gas at every endpoint, and no signature of the
    holder stands behind it. Runtime keys cost nothing, so theirs is no limit."""
    _, license_id, granted = held
    grant = stand.asker(granted, license_id).grant
    asked = []

    def counted(chain, digest, signature):
        asked.append(signature)
        return SignatureState(WalletSays.REFUSED, WalletSays.REFUSED)

    stand.view.signature_state = counted
    for _ in range(300):
        stranger = world.runtime()
        shown = replace(
            grant, runtime_key_hash=stranger.key_hash, signature=secrets.token_bytes(96)
        )
        reply = ask(stand, stand.asker(stranger, license_id, grant=shown))
        assert not reply["granted"]
    assert len(asked) <= 200


@pytest.mark.parametrize("mood", ["refuses", "burns gas", "returns huge data"])
def test_a_wallet_that_changed_its_mind_ends_its_leases_and_nobody_elses(
    world, stand, wallets, held, mood
):
    wallet, license_id, identity = held
    other_license = world.license(world.plan(seats=0))
    other = world.runtime(other_license)
    client = stand.client()
    _, lease, _ = client.release(stand.asker(identity, license_id))
    _, others, _ = client.release(stand.asker(other, other_license))
    wallets.turn(wallet, mood)
    extended, decision = client.heartbeat(identity, lease)
    assert extended is None
    assert decision.reply["unload"] is True
    with pytest.raises(EntitlementError):
        client.release(stand.asker(identity, license_id))
    assert client.heartbeat(other, others)[0] is not None


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        ERC6492_SUFFIX,
        b"\xff" * 96 + ERC6492_SUFFIX,
        b"\x00" * 8000,
        b"\x00" * (8192 - 32) + ERC6492_SUFFIX,
    ],
    ids=["empty", "only the suffix", "bent envelope", "long", "huge envelope"],
)
def test_no_signature_but_the_holders_opens_anything(stand, held, signature):
    _, license_id, identity = held
    grant = replace(stand.asker(identity, license_id).grant, signature=signature)
    reply = ask(stand, stand.asker(identity, license_id, grant=grant))
    assert not reply["granted"]
    assert reply["denial"]["check"] == 4


def test_a_factory_is_never_called_for_a_wallet_that_stands(stand, wallets, held):
    """What it did first, such as turning the wallet's mood, would change the answer."""
    wallet, license_id, identity = held
    wallets.turn(wallet, "refuses")
    grant = stand.asker(identity, license_id).grant
    turn = keccak256(b"turn(address)")[:4] + bytes(12) + wallet.raw
    sealed = seal_envelope(wallets.factory, turn, open_envelope(grant.signature)[2])
    reply = ask(stand, stand.asker(identity, license_id, grant=replace(grant, signature=sealed)))
    assert not reply["granted"]


def test_what_the_wallet_said_of_one_runtime_is_nothing_for_another(world, stand, held):
    _, license_id, identity = held
    other = world.runtime()
    grant = stand.asker(identity, license_id).grant
    for shown in (grant, replace(grant, runtime_key_hash=other.key_hash)):
        asker = stand.asker(other, license_id, grant=shown)
        with pytest.raises(LedgerError):
            stand.client().release(asker)
