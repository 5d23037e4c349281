"""A lost broker comes back from recovery file or shares; its own keys are rotated on chain."""

import json
import secrets
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

import ledger
from ledger.broker import rotation
from ledger.broker.client import BrokerClient
from ledger.broker.custody import write_private
from ledger.broker.home import BrokerHome
from ledger.broker.link import BrokerPin
from ledger.broker.receipts import verify_log
from ledger.broker.recovery import Recovery
from ledger.broker.restoring import deposit_again, read_recovery, sealing_of, take_over
from ledger.broker.rotation import rotate_keys
from ledger.broker.service import BrokerService
from ledger.broker.shares import split_recovery
from ledger.claim import Claim
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    ManifestError,
    SharesRejected,
    SignatureInvalid,
    UsageError,
    WrongNetwork,
    WrongPassphrase,
)
from ledger.ids import ZERO_DIGEST, Digest

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def own(broker_world, world, tmp_path_factory):
    """A broker, a model and what its recovery file holds, of this module, on the shared chain."""
    folder, chain = tmp_path_factory.mktemp("restoring"), world.chain
    claim = Claim(
        chain_id=31337,
        registry=chain.deployment.addresses["ModelRegistry"],
        licensor=chain.wallet("licensor").address,
        artifact_root=Digest(secrets.token_bytes(32)),
        fingerprint_digest=Digest(secrets.token_bytes(32)),
        watermark_commitment=ZERO_DIGEST,
        manifest_hash=Digest(secrets.token_bytes(32)),
        parents=(),
        salt=Digest(secrets.token_bytes(32)),
    )
    fields = (
        claim.licensor, claim.artifact_root, claim.fingerprint_digest,
        claim.watermark_commitment, claim.manifest_hash, [], claim.salt,
    )  # fmt: skip
    chain.send("licensor", "ModelRegistry", "register", fields, (ZERO_DIGEST, 0, 0, []))
    plain = folder / "plain.safetensors"
    tensors = {"w": np.arange(4096, dtype=np.float32)}
    save_file(tensors, plain)
    published = broker_world.reseal(chain, plain, claim.model_id(), epoch=1, tensors=tensors)
    made = broker_world.Broker(chain, folder)
    mine = replace(world, broker=made, folder=folder, published=published)
    mine.deposit()
    yield mine, Recovery(published.key, claim.salt, claim, published.record)
    made.close()


def revive(own, home):
    """Put a broker's new home behind the old one's URL."""
    broker = own.broker
    broker.home = home
    broker.service = BrokerService(home, broker.view)
    broker.serve()


def loads(own):
    """A fresh license and runtime, with a new card and grant: the model loads."""
    license_id = own.license()
    identity = own.runtime(license_id)
    with ledger.load(own.card_file(license_id), runtime=identity.path) as model:
        return np.array_equal(model.get_tensor("w"), own.published.tensors["w"])


def stopped(own):
    own.broker.unserve()
    own.broker.service.close()


def test_a_lost_broker_is_rebuilt_from_its_recovery_file_and_serves_the_same_plans(
    own, broker_world, tmp_path
):
    own, recovery = own
    path = tmp_path / "m.recovery.json"
    write_private(path, json.dumps(recovery.encrypt("words")).encode())
    plan = own.plan()
    stopped(own)
    shutil.rmtree(own.broker.home.path)
    chain = own.chain
    found = read_recovery([path], lambda _: "words")
    record = sealing_of(found, chain.deployment)
    home = BrokerHome.create(own.folder / "broker", broker_world.PASSPHRASE, cost=14)
    take_over(home, chain.sender("broker"), chain.deployment, own.broker.id, own.broker.url)
    take_over(home, chain.sender("broker"), chain.deployment, own.broker.id, own.broker.url)
    assert home.identity.id == own.broker.id
    service = BrokerService(home, own.broker.view)
    receipt = deposit_again(service, found, record, chain.wallet("licensor"))
    home.signing.public.verify(receipt)
    service.close()
    revive(own, home)
    license_id = own.license(plan)
    identity = own.runtime(license_id)
    with ledger.load(own.card_file(license_id), runtime=identity.path) as model:
        assert np.array_equal(model.get_tensor("w"), own.published.tensors["w"])


def test_any_enough_shares_rebuild_it_without_a_passphrase(own, broker_world, tmp_path):
    own, recovery = own
    paths = []
    for file in split_recovery(recovery, 2, 3):
        paths.append(tmp_path / f"{file.share.index}.json")
        write_private(paths[-1], json.dumps(file.to_json()).encode())

    def never(_):
        raise AssertionError("asked for a passphrase")

    found = read_recovery(paths[1:], never)
    record = sealing_of(found, own.chain.deployment)
    stopped(own)
    shutil.rmtree(own.broker.home.path)
    home = BrokerHome.create(own.folder / "broker", broker_world.PASSPHRASE, cost=14)
    chain = own.chain
    take_over(home, chain.sender("broker"), chain.deployment, own.broker.id, own.broker.url)
    revive(own, home)
    receipt = deposit_again(own.broker.service, found, record, chain.wallet("licensor"))
    assert receipt["deposit"]["commit"] == str(record.commit)
    assert loads(own)
    with pytest.raises(SharesRejected, match="1 of the 2"):
        read_recovery(paths[:1], never)
    mixed = tmp_path / "m.recovery.json"
    write_private(mixed, json.dumps(recovery.encrypt("words")).encode())
    with pytest.raises(UsageError, match="is not a share file"):
        read_recovery([*paths, mixed], never)


def test_what_cannot_restore_says_why(own, tmp_path):
    own, recovery = own
    deployment = own.chain.deployment
    path = tmp_path / "m.recovery.json"
    write_private(path, json.dumps(recovery.encrypt("words")).encode())
    with pytest.raises(WrongPassphrase):
        read_recovery([path], lambda _: "guess")
    nothing = tmp_path / "x"
    nothing.write_text("{")
    with pytest.raises(ManifestError):
        read_recovery([nothing], lambda _: "words")
    with pytest.raises(UsageError, match="before the sealing"):
        sealing_of(Recovery.create(), deployment)
    with pytest.raises(KeyAccessError, match="commits to"):
        sealing_of(replace(recovery, content_key=bytes(32)), deployment)
    with pytest.raises(WrongNetwork, match="on chain 31337"):
        sealing_of(recovery, replace(deployment, chain_id=1))


def test_only_the_operator_takes_a_brokers_number_over(own, tmp_path):
    own, _ = own
    home = BrokerHome.create(tmp_path / "b", "pass", cost=14)
    with pytest.raises(UsageError, match="is operated by"):
        take_over(home, own.chain.sender("rival"), own.chain.deployment, own.broker.id, "http://x")
    assert not (tmp_path / "b" / "broker.json").exists()


def test_new_keys_raise_the_epoch_and_leave_deposits_readable(own, broker_world):
    own, _ = own
    chain, folder = own.chain, own.broker.home.path
    before = own.broker.home
    epoch = chain.view("BrokerRegistry", "brokerOf", own.broker.id)[1]
    with pytest.raises(ConfigurationError, match="is running"):
        rotate_keys(folder, broker_world.PASSPHRASE, chain.sender("broker"), chain.deployment)
    stopped(own)
    # Killed after the transaction and before the switch: the same command goes on.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotation, "_switch", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rotate_keys(folder, broker_world.PASSPHRASE, chain.sender("broker"), chain.deployment)
    assert rotation.rotation_under_way(folder) == "keys"
    between = BrokerHome.open(folder, broker_world.PASSPHRASE)
    assert between.signing_key_hash == before.signing_key_hash
    with pytest.raises(ConfigurationError, match=r"another rotation .* \(keys\)"):
        rotation.rotate_kek(folder, broker_world.PASSPHRASE)
    done = rotate_keys(folder, broker_world.PASSPHRASE, chain.sender("broker"), chain.deployment)
    assert done.epoch == epoch + 1
    home = BrokerHome.open(folder, broker_world.PASSPHRASE)
    assert (home.signing_key_hash, home.kem_key_hash) == (done.signing_key_hash, done.kem_key_hash)
    assert home.signing_key_hash != before.signing_key_hash
    assert home.kem_key_hash != before.kem_key_hash
    assert home.former[-1] == before.signing.public
    assert rotation.rotation_under_way(folder) == ""
    revive(own, home)
    entries = list(own.broker.service.store.receipts())
    verify_log(entries, home.former[-1])
    assert loads(own)
    # A runtime that pinned the old keys is told, and not served by a stranger.
    pin = BrokerPin(own.broker.id, before.signing_key_hash, before.kem_key_hash)
    with pytest.raises(SignatureInvalid), BrokerClient(own.broker.url, pin=pin) as client:
        client.facts()
