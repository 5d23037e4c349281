"""Whoever reads what is left behind: core dumps, the database and its log, files on a host."""

import json
import resource
import warnings

import pytest

from ledger import runtime
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.errors import LedgerError
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain


def parsed(card):
    made = card_module.parse(card.read_bytes())
    made.verify()
    return made


def everything(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture
def dumps_allowed():
    """This process, and so its children, would leave cores."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    except (ValueError, OSError):
        if before[1] == 0:
            pytest.skip("this machine allows nobody to leave cores")
        resource.setrlimit(resource.RLIMIT_CORE, (before[1],) * 2)
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_broker_that_crashes_leaves_no_core(dumps_allowed, served):
    """Its signing seeds and KEM key lie in the heap for as long as it runs: whoever has them
    opens every deposit that was ever seen on the network, and signs leases."""
    _, _, _, process, _ = served
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_CORE)
    # Linux reads a limit of 1 as "not even to a program", which 0 does not say.
    assert soft in {0, 1}  # infinity is -1
    assert hard in {0, 1}


def test_a_brokers_folder_holds_no_secret_in_the_clear(world, hygiene):
    home, made = world.broker.home, world.published
    world.deposit()
    license_id = world.license(world.plan(seats=0))
    identity, card = world.runtime(license_id), world.card_file(license_id)
    runtime.load(card, runtime=identity).close()
    held = everything(home.path)
    assert made.record.hash().raw in held
    for secret in (
        made.key,
        bytes(home.keystore._kek.view),
        home.signing.ed25519_seed,
        home.signing.mldsa65_seed,
        bytes(home.kem.to_bytes()),
    ):
        for spelling in hygiene.spellings(secret):
            assert spelling not in held


def test_a_hosts_folder_holds_no_content_key_in_the_clear(world, hygiene):
    license_id = world.license(world.plan(leaseTtl=3600, maxOffline=7200))
    identity, card = world.runtime(license_id), world.card_file(license_id)
    carried = json.loads(json.dumps(make_request(parsed(card), identity).to_json()))
    response = json.loads(json.dumps(answer(world.broker.service, carried).to_json()))
    accept_release(identity, response)
    with runtime.load(card, runtime=identity, offline=True) as model:
        model.get_tensor("steps")
        held = everything(identity.path.parent)
    for spelling in hygiene.spellings(world.published.key):
        assert spelling not in held
        assert spelling not in json.dumps(response).encode()


def test_errors_and_warnings_show_nothing_of_a_key(world, trio, hygiene, capfd):
    _, card, identity = trio.licensed()
    said = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for lie in ("wrong share", "garbage", "altered ciphertext", "short share"):
            with trio.lying(1, lie):
                runtime.load(card, runtime=identity, timeout=10).close()
            with trio.down(0), trio.lying(1, lie):
                try:
                    runtime.load(card, runtime=identity, timeout=2).close()
                except LedgerError as error:
                    said.append(f"{error} {error!r} {error.hint} {vars(error)}")
    text = "".join(said) + "".join(str(each.message) for each in told) + "".join(capfd.readouterr())
    assert len(said) == 4
    holding = [broker.service for broker in trio.brokers]
    for service in holding:
        label = f"share/{trio.set_id}"
        with service._vault.secret(world.published.record.hash(), label) as share:
            for spelling in hygiene.spellings(bytes(share)):
                assert spelling not in text.encode()
    for spelling in hygiene.spellings(world.published.key):
        assert spelling not in text.encode()
