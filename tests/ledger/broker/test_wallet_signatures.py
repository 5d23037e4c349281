"""Grants of contract wallets, asked for real: deployed, to be deployed, and of two minds."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.chainview import ChainView
from ledger.broker.client import Asker
from ledger.broker.enrolment import GrantFile
from ledger.broker.service import BrokerService
from ledger.broker.wallet_probe import (
    CALLER,
    ERC6492_SUFFIX,
    ask_wallet,
    open_envelope,
    seal_envelope,
)
from ledger.broker.wallet_signatures import MAX_SIGNATURE, WalletSays, read_signature
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainUnavailable,
    EndpointsDisagree,
    KeyRequestRejected,
    ManifestError,
    PendingFinality,
    RuntimeNotBound,
    SignatureInvalid,
    UsageError,
    UseNotPermitted,
    WrongHolder,
)
from ledger.ids import Address, Digest
from ledger.licensing.document import Document

SALTS = iter(range(1, 1000))
BAD = [
    "refuses",
    "reverts",
    "burns gas",
    "returns garbage",
    "returns huge data",
    "returns four bytes",
    "returns a dirty word",
    "returns nothing",
    "hits an invalid opcode",
    "is kind to simulations",
    "reverts with huge data",
    "spends too much gas",
]


@pytest.fixture
def client(world):
    with world.broker.client() as made:
        yield made


def granted(world, signer, license_id, **options):
    identity = world.runtime()
    world.grant(identity, license_id, signer=signer, contract_wallet=True, **options)
    return identity


def asker(world, identity, license_id, **changes):
    file = identity.grant_for(31337, world.chain.deployment.addresses["LicenseLedger"], license_id)
    made = world.published
    base = Asker(
        identity, license_id, made.model_id, made.record.hash(), file.grant, file.acceptance,
        world.terms, file.certificate,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.fixture
def deployed(world, wallets):
    """A wallet with a license, and a runtime that it granted."""
    wallet = wallets.deployed()
    license_id = world.license(to=wallet)
    return wallet, license_id, granted(world, wallets.signer(wallet), license_id)


# -- the formats


@given(st.binary(min_size=20, max_size=20).filter(any), st.binary(), st.binary())
def test_an_envelope_opens_to_what_was_sealed(factory, creation, signature):
    if signature.endswith(ERC6492_SUFFIX):
        return
    sealed = seal_envelope(Address(factory), creation, signature)
    assert open_envelope(sealed) == (Address(factory), creation, signature)


@given(st.binary(max_size=300))
def test_what_is_no_envelope_is_refused_or_left_alone(data):
    assert open_envelope(data + b"\0")[2] == data + b"\0"
    with pytest.raises(SignatureInvalid):
        open_envelope(data + ERC6492_SUFFIX)


def test_an_envelope_in_an_envelope_or_without_factory_is_refused():
    inner = seal_envelope(Address(b"\1" * 20), b"", b"x")
    for wrong in (
        seal_envelope(Address(b"\1" * 20), b"", inner),
        seal_envelope(Address(bytes(20)), b"", b"x"),
    ):
        with pytest.raises(SignatureInvalid):
            open_envelope(wrong)


@pytest.mark.parametrize("size", [0, 1, 65, MAX_SIGNATURE])
def test_a_signature_is_hex_of_any_length_up_to_the_bound(size):
    assert len(read_signature(Document({"signature": "0x" + "ab" * size}, "it"))) == size


@pytest.mark.parametrize("text", [None, "", "0x0", "0xAB", "ab", "0x" + "ab" * (MAX_SIGNATURE + 1)])
def test_what_is_no_signature_is_a_format_error(text):
    with pytest.raises(ManifestError):
        read_signature(Document({"signature": text}, "it"))


# -- ERC-1271


@pytest.mark.chain
def test_a_contract_wallets_grant_is_as_good_as_an_accounts(world, client, deployed):
    wallet, license_id, identity = deployed
    key, lease, decision = client.release(asker(world, identity, license_id))
    assert key == world.published.key
    assert f"{wallet}, a contract wallet" in decision.checks[3].detail
    later, _ = client.heartbeat(identity, lease)
    assert later is not None


@pytest.mark.chain
@pytest.mark.parametrize("mood", BAD)
def test_a_wallet_denies(world, wallets, client, deployed, mood):
    wallet, license_id, identity = deployed
    wallets.turn(wallet, mood)
    start = time.monotonic()
    with pytest.raises(WrongHolder, match="not signed by its holder"):
        client.release(asker(world, identity, license_id))
    assert time.monotonic() - start < 5


@pytest.mark.chain
def test_a_wallet_may_think_for_a_million_gas(world, wallets, client, deployed):
    wallet, license_id, identity = deployed
    wallets.turn(wallet, "spends a million gas")
    client.release(asker(world, identity, license_id))


@pytest.mark.chain
def test_a_wallet_that_no_longer_accepts_is_refused_before_that_is_final(
    world, wallets, client, deployed
):
    """Valid at the finalized block, invalid at the head; the running lease is unloaded."""
    wallet, license_id, identity = deployed
    _, lease, _ = client.release(asker(world, identity, license_id))
    with HeldFinality(world):
        wallets.turn(wallet, "refuses", final=False)
        with pytest.raises(WrongHolder, match="does not take it"):
            client.release(asker(world, identity, license_id))
        none, decision = client.heartbeat(identity, lease)
    assert none is None
    assert decision.reply["unload"] is True


@pytest.mark.chain
def test_a_wallet_that_accepts_only_now_waits_for_finality(world, wallets, client, deployed):
    """Invalid at the finalized block, valid at the head; a running lease goes on."""
    wallet, license_id, identity = deployed
    _, lease, _ = client.release(asker(world, identity, license_id))
    wallets.turn(wallet, "refuses")
    with HeldFinality(world):
        wallets.turn(wallet, None, final=False)
        with pytest.raises(PendingFinality, match="accepts the grant now"):
            client.release(asker(world, identity, license_id))
        none, decision = client.heartbeat(identity, lease)
    assert none is None
    assert decision.reply["unload"] is False
    world.chain.rpc.call("anvil_mine", ["0x3"])
    assert client.heartbeat(identity, replace(lease, sequence=5))[0] is not None


class HeldFinality:
    """While it lasts, the endpoint shows one finalized block, as chains do for minutes."""

    def __init__(self, world):
        self.world = world

    def __enter__(self):
        self.panel = self.world.broker.view._panel
        self.real = self.panel._look
        final = self.world.chain.rpc.block("finalized")

        def look(witness, until, *also):
            return replace(self.real(witness, until, *also), finalized=final)

        self.panel._look = look

    def __exit__(self, *_):
        self.panel._look = self.real


@pytest.mark.chain
def test_anothers_signature_is_refused_by_the_wallet(world, wallets, client):
    wallet = wallets.deployed()
    license_id = world.license(to=wallet)
    forged = wallets.signer(wallet, owner=world.chain.wallet("rival"))
    identity = granted(world, forged, license_id)
    with pytest.raises(WrongHolder, match="does not take it for its own"):
        client.release(asker(world, identity, license_id))


@pytest.mark.chain
def test_the_grant_of_a_wallet_that_holds_another_license_is_refused(world, wallets, client):
    one, other = wallets.deployed(), wallets.deployed()
    license_id = world.license(to=other)
    identity = granted(world, wallets.signer(one), world.license(to=one))
    mine = identity.grants()[0]
    with pytest.raises(RuntimeNotBound, match="another license"):
        client.release(
            replace(
                asker(world, identity, mine.grant.license),
                license=license_id,
            )
        )


@pytest.mark.chain
def test_a_contract_wallet_cancels_its_grants_like_anyone(world, wallets, client, deployed):
    _, license_id, identity = deployed
    stale = asker(world, identity, license_id)
    world.grant(
        identity,
        license_id,
        signer=wallets.signer(deployed[0]),
        contract_wallet=True,
        grant_nonce=7,
    )
    with pytest.raises(WrongHolder):
        client.release(asker(world, identity, license_id))
    client.release(stale)


@pytest.mark.chain
def test_an_acceptance_that_the_wallet_refuses_is_none(world, wallets, client, deployed):
    _, license_id, identity = deployed
    good = asker(world, identity, license_id)
    wrong = replace(good.acceptance, signature=good.grant.signature)
    with pytest.raises(UseNotPermitted, match="does not take it"):
        client.release(replace(good, acceptance=wrong))
    client.release(good)


@pytest.mark.chain
def test_an_account_with_a_long_signature_is_no_holder(world, wallets, client):
    license_id = world.license()
    holder = world.chain.wallet("holder")
    fake = wallets.signer(holder.address, owner=holder)
    identity = granted(world, fake, license_id)
    with pytest.raises(WrongHolder, match="signed by no account"):
        client.release(asker(world, identity, license_id))


# -- ERC-6492


@pytest.mark.chain
def test_an_undeployed_wallets_grant_counts_and_still_does_once_it_is_deployed(
    world, wallets, client
):
    salt = next(SALTS)
    wallet = wallets.undeployed(salt)
    license_id = world.license(to=wallet)
    signer = wallets.signer(wallet, creation=wallets.creation(salt))
    identity = granted(world, signer, license_id)
    client.release(asker(world, identity, license_id))
    assert world.chain.rpc.code(wallet) == b"", "asking deploys nothing"
    wallets.send(wallets.factory, wallets.creation(salt))
    assert world.chain.rpc.code(wallet) != b""
    client.release(asker(world, identity, license_id))


@pytest.mark.chain
@pytest.mark.parametrize("fault", ["burn", "nothing", "huge", "other owner", "no factory there"])
def test_a_factory_that_does_not_make_the_wallet_denies(world, wallets, client, fault):
    salt = next(SALTS)
    wallet = wallets.undeployed(salt)
    license_id = world.license(to=wallet)
    factory, creation = wallets.factory, wallets.creation(salt)
    if fault == "other owner":
        creation = wallets.creation(salt, world.chain.wallet("rival").address)
    elif fault == "no factory there":
        factory = Address(b"\x77" * 20)
    else:
        creation = selector(f"{fault}()")
    signer = wallets.signer(wallet, creation=creation, factory=factory)
    identity = granted(world, signer, license_id)
    start = time.monotonic()
    with pytest.raises(WrongHolder, match="factory named did not make it"):
        client.release(asker(world, identity, license_id))
    assert time.monotonic() - start < 5


def selector(text):
    from ledger.ids import keccak256

    return keccak256(text.encode())[:4]


@pytest.mark.chain
def test_a_deployed_wallets_mind_is_not_changed_by_an_envelope(world, wallets, client, deployed):
    """The factory call would turn the wallet honest; it is run for wallets without code alone."""
    wallet, license_id, _ = deployed
    wallets.turn(wallet, "refuses")
    turning = selector("turn(address)") + bytes(12) + wallet.raw
    identity = granted(world, wallets.signer(wallet, creation=turning), license_id)
    with pytest.raises(WrongHolder, match="does not take it"):
        client.release(asker(world, identity, license_id))


@pytest.mark.chain
def test_a_broken_envelope_is_refused_without_asking(world, wallets, client, deployed):
    _, license_id, identity = deployed
    good = asker(world, identity, license_id)
    broken = replace(good.grant, signature=good.grant.signature + ERC6492_SUFFIX)
    with pytest.raises(KeyRequestRejected, match="envelope"):
        client.release(replace(good, grant=broken))


@pytest.mark.chain
def test_the_probes_caller_is_nobody(world):
    assert world.chain.rpc.code(CALLER) == b""
    assert Address(bytes(20)) != CALLER


# -- endpoints


@pytest.fixture
def proxies(world, faults):
    made = [faults.FaultProxy(world.chain.node.rpc_url) for _ in range(3)]
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def three(world, proxies):
    profile = replace(world.chain.profile, min_endpoints=3)
    rpcs = [Rpc(proxy.url, chain_id=31337, timeout=5) for proxy in proxies]
    made = ChainView(rpcs, world.chain.deployment, profile)
    yield made
    made.close()


def lies(answer):
    """An endpoint that answers the wallet probe otherwise: its calls alone name a caller."""

    def change(question, result):
        if question["method"] == "eth_call" and "from" in question["params"][0]:
            return answer
        return result

    return change


def word(value):
    return "0x" + int(value).to_bytes(32, "big").hex()


def says(world, view, deployed):
    _, license_id, identity = deployed
    grant = asker(world, identity, license_id).grant
    chain = view.license_state(
        license_id, world.published.model_id, identity.key_hash, now=int(time.time())
    )
    digest = grant.digest(world.broker.identity_domain)
    return view.signature_state(chain, digest, grant.signature)


@pytest.fixture(autouse=True)
def _domain(request):
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
        world.broker.identity_domain = world.broker.home.identity.domain


@pytest.mark.chain
def test_three_honest_endpoints_tell_one_answer(world, three, deployed):
    said = says(world, three, deployed)
    assert (said.finalized, said.head, said.contrary) == (1, 1, ())


@pytest.mark.chain
def test_one_endpoint_that_hears_another_answer_is_contrary(world, three, proxies, deployed):
    proxies[1].change = lies(word(WalletSays.REFUSED))
    said = says(world, three, deployed)
    assert said.head is WalletSays.ACCEPTED
    assert len(said.contrary) == 2  # at both blocks
    proxies[2].change = lies(word(WalletSays.REFUSED))
    assert says(world, three, deployed).head is WalletSays.REFUSED


@pytest.mark.chain
@pytest.mark.parametrize("answer", ["0x", word(6), "0x01", "0x" + "00" * 100_000, None])
def test_one_endpoint_that_answers_nonsense_has_no_vote(world, three, proxies, deployed, answer):
    proxies[0].change = lies(answer)
    assert says(world, three, deployed).head is WalletSays.ACCEPTED
    proxies[1].change = lies(answer)
    with pytest.raises(ChainUnavailable):
        says(world, three, deployed)


@pytest.mark.chain
def test_endpoints_that_all_differ_give_no_answer(world, three, proxies, deployed):
    proxies[0].change = lies(word(WalletSays.REFUSED))
    proxies[1].change = lies(word(WalletSays.FAILED))
    with pytest.raises(EndpointsDisagree):
        says(world, three, deployed)


@pytest.mark.chain
def test_an_endpoint_that_contradicts_stops_releases_and_unloads_nobody(
    world, three, proxies, deployed, tmp_path
):
    _, license_id, identity = deployed
    service = BrokerService(world.broker.home, three, store=world.broker.service.store)
    world.broker.service, kept = service, world.broker.service
    world.broker.unserve()
    world.broker.serve()
    try:
        with world.broker.client() as client:
            _, lease, _ = client.release(asker(world, identity, license_id))
            proxies[1].change = lies(word(WalletSays.REFUSED))
            with pytest.raises(EndpointsDisagree):
                client.release(asker(world, identity, license_id))
            held = [
                seat for seat in (world.broker.service.store.lease(lease.id),) if seat is not None
            ]
            assert len(held) == 1
            none, decision = client.heartbeat(identity, lease)
            assert none is None
            assert decision.reply["unload"] is False
            proxies[1].change = lambda question, result: result
            assert client.heartbeat(identity, replace(lease, sequence=5))[0] is not None
            # What the chain cannot tell is no authoritative no either.
            proxies[0].change = proxies[1].change = lies("0x")
            none, decision = client.heartbeat(identity, replace(lease, sequence=9))
            assert (none, decision.reply["unload"]) == (None, False)
    finally:
        world.broker.service = kept
        world.broker.unserve()
        world.broker.serve()


# -- the host, which sees no chain


@pytest.mark.chain
def test_a_host_takes_a_contract_wallets_grant_only_when_told_to(world, wallets):
    wallet = wallets.deployed()
    license_id, identity = world.license(to=wallet), world.runtime()
    file = world.grant_file(
        identity, license_id, signer=wallets.signer(wallet), contract_wallet=True
    )
    with pytest.raises(UsageError) as caught:
        identity.accept(file)
    assert "--contract-wallet" in caught.value.hint
    kept = identity.accept(file, contract_wallet=True)
    assert kept.contract_wallet
    assert GrantFile.from_json(json.loads(json.dumps(file))) == kept
    without = {name: value for name, value in file.items() if name != "wallet"}
    with pytest.raises(SignatureInvalid):
        identity.accept(without, contract_wallet=True)


@pytest.mark.chain
def test_the_holder_sees_what_their_wallet_says(world, wallets, deployed):
    wallet, license_id, identity = deployed
    grant = asker(world, identity, license_id).grant
    digest = grant.digest(world.broker.identity_domain)
    assert ask_wallet(world.chain.rpc, wallet, digest, grant.signature) is WalletSays.ACCEPTED
    other = Digest(bytes(32))
    assert ask_wallet(world.chain.rpc, wallet, other, grant.signature) is WalletSays.REFUSED
    nobody = Address(b"\x55" * 20)
    assert ask_wallet(world.chain.rpc, nobody, digest, grant.signature) is WalletSays.NO_CODE
