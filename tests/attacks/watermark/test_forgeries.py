"""Forged watermarks, on a real chain: none may convince."""

import dataclasses
import secrets

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from watermark_world import make_small

from ledger.chain.beacon import read_beacon
from ledger.detecting import examine
from ledger.errors import ClaimMismatch, LedgerError, ManifestError, StateProofInvalid
from ledger.fingerprint.exact import fingerprint
from ledger.ids import Digest
from ledger.phase_a import Chain
from ledger.tensors.model import open_model
from ledger.watermark.detection import detect
from ledger.watermark.record import PhaseAPlace, Record, targets_hash
from ledger.watermark.weights import embed, targets_of
from ledger.watermarking import embed_into

pytestmark = pytest.mark.chain


class World:
    def __init__(self, deployed, folder):
        self.deployed = deployed
        self.chain = Chain(
            deployed.rpc, deployed.profile, deployed.anchors, deployed.deployment.block
        )
        self.folder = folder
        self.original = make_small(folder, layers=4)
        self.record = self.with_beacon(self.sent(self.new_record(self.original), "licensor"))
        self.marked = folder / "marked.safetensors"
        with open_model(self.original) as model:
            embed(model, self.marked, self.record.targets, self.key(self.record), 0.01)
        # The defendant's: trained by somebody else.
        self.victim = make_small(folder / "victim", seed=99, layers=4)

    def new_record(self, path, owner="licensor", **options):
        with open_model(path) as model:
            made = fingerprint(model, level="deep")
        return Record.create(
            made,
            options.pop("targets", None) or targets_of(made),
            chain_id=31337,
            registry=self.deployed.registry.address,
            owner=self.deployed.wallet(owner).address,
            **options,
        )

    def sent(self, record, sender):
        number, receipt = self.deployed.anchors.commit_phase_a(
            self.deployed.sender(sender), record.commitment.hash()
        )
        self.deployed.sender(sender).wait_final(receipt)
        time = self.deployed.rpc.block(receipt.block_number).timestamp
        place = PhaseAPlace(receipt.block_number, number, time, receipt.hash)
        return record.with_phase_a(place)

    def with_beacon(self, record):
        block = self.deployed.rpc.block(record.phase_a.block)
        beacon = read_beacon(self.chain.rpc, self.chain.profile, block)
        return record.with_beacon(beacon.kind, tuple(h.raw for h in beacon.headers))

    def key(self, record):
        block = self.deployed.rpc.block(record.phase_a.block)
        return record.effective_key(read_beacon(self.chain.rpc, self.chain.profile, block).value)

    def judge(self, suspect, record, original=None):
        with open_model(suspect) as found:
            if original is None:
                return examine(found, record, chain=self.chain)
            with open_model(original) as home:
                return examine(found, record, original=home, chain=self.chain)

    def fitted_original(self, record):
        """What EmMark's extraction falls for: the suspect with the accuser's mark taken away."""
        arrays = load_file(self.victim)
        key = self.key(record)
        from ledger.watermark.keys import sign_bytes, unpacked

        for target in record.targets:
            w = arrays[target.name]
            signs = unpacked(sign_bytes(key, target.cid, w.size), 0, w.size).reshape(w.shape)
            arrays[target.name] = w - 0.01 * w.std(1, keepdims=True) * signs
        path = self.folder / f"invented-{secrets.token_hex(4)}.safetensors"
        save_file(arrays, path)
        return path


@pytest.fixture(scope="module")
def world(deployed, tmp_path_factory):
    return World(deployed, tmp_path_factory.mktemp("forgeries"))


def results(report):
    return {check.number: check.result for check in report.checks}


def test_the_true_owner_convinces(world):
    report = world.judge(world.marked, world.record, world.original)
    assert report.proven, report.verdict
    said = results(report)
    assert [said[n] for n in range(1, 9)] == ["pass"] * 8
    third = next(check for check in report.checks if check.number == 3)
    assert "the beacon does not prevent grinding here" in third.detail
    assert "no evidentiary value" in third.detail
    assert report.verdict.endswith(
        "(the beacon does not prevent grinding here; test network: no evidentiary value)"
    )


def test_the_true_owner_finds_nothing_in_another_s_model(world):
    report = world.judge(world.victim, world.record, world.original)
    assert not report.proven
    assert report.finding.log10_p == 0
    assert report.verdict.startswith("the watermark is not found")


def test_an_invented_original_is_refused_even_where_it_would_fit(world):
    """The invented one alone would convince: what stops it is its absence from the commitment."""
    forged = world.fitted_original(world.record)
    with open_model(world.victim) as suspect, open_model(forged) as home:
        assert detect(suspect, world.record.targets, world.key(world.record), home).there
    with pytest.raises(ClaimMismatch) as caught:
        world.judge(world.victim, world.record, forged)
    assert caught.value.step == 5


def test_an_invented_original_committed_in_time_shows_nothing(world):
    """Committed before the beacon it cannot know the signs, whatever it is made of."""
    for shift in (0.0, 0.01):
        arrays = load_file(world.victim)
        for name, v in arrays.items():
            if v.ndim == 2:
                noise = np.random.default_rng(7).standard_normal(v.shape).astype(np.float32)
                arrays[name] = v - np.float32(shift) * v.std() * noise
        arrays["layer.0.bias"] = arrays["layer.0.bias"] + np.float32(0.001)
        path = world.folder / f"early-{shift}.safetensors"
        save_file(arrays, path)
        record = world.with_beacon(world.sent(world.new_record(path, "rival"), "rival"))
        report = world.judge(world.victim, record, path)
        assert not report.finding.there
        assert not report.proven


def test_a_key_ground_after_the_fact_does_not_open_the_commitment(world):
    ground = dataclasses.replace(world.record, key=secrets.token_bytes(32))
    with pytest.raises(ClaimMismatch) as caught:
        world.judge(world.victim, ground)
    assert caught.value.step == 1


def test_a_commitment_made_for_a_ground_key_is_not_on_chain(world):
    """A whole new record, of a key that fits, in the place of the committed one."""
    other = world.new_record(world.original)
    forged = other.with_phase_a(world.record.phase_a).with_beacon(
        world.record.beacon_kind, world.record.headers
    )
    report = world.judge(world.marked, forged, world.original)
    assert results(report)[2] == "fail"
    assert not report.proven


def test_targets_chosen_after_the_fact_do_not_open_the_commitment(world):
    fewer = dataclasses.replace(world.record, targets=world.record.targets[:2])
    with pytest.raises(ClaimMismatch):
        world.judge(world.marked, fewer)


def test_a_copied_commitment_proves_nothing_for_who_copied_it(world):
    """Sent by a rival out of the mempool, it still names its owner inside."""
    hash_ = world.record.commitment.hash()
    sender = world.deployed.sender("stranger")
    _, receipt = world.deployed.anchors.commit_phase_a(sender, hash_)
    sender.wait_final(receipt)
    assert world.judge(world.marked, world.record, world.original).proven
    # With the owner exchanged it is another commitment, which nobody sent.
    stolen = dataclasses.replace(world.record.commitment, owner=sender.address)
    record = dataclasses.replace(world.record, commitment=stolen)
    report = world.judge(world.marked, record, world.original)
    assert results(report)[2] == "fail"
    assert not report.proven


def test_a_commitment_sent_by_another_account_does_not_count(world):
    """The accuser's record names an owner who never sent it."""
    record = world.new_record(world.original, "holder")
    record = world.with_beacon(world.sent(record, "buyer"))
    report = world.judge(world.marked, record, world.original)
    second = next(check for check in report.checks if check.number == 2)
    assert second.result == "fail"
    assert "never made it" in second.detail


@pytest.mark.parametrize("which", ["marked", "victim"])
def test_a_swapped_original_is_refused(world, which):
    with pytest.raises(ClaimMismatch) as caught:
        world.judge(world.marked, world.record, getattr(world, which))
    assert caught.value.step == 5


def test_roots_bent_to_a_swapped_original_do_not_open_the_commitment(world):
    with open_model(world.victim) as model:
        made = fingerprint(model, level="deep")
    bent = dataclasses.replace(
        world.record,
        roots=dataclasses.replace(world.record.roots, content_root=made.content_root),
    )
    with pytest.raises(ClaimMismatch) as caught:
        world.judge(world.marked, bent, world.victim)
    assert caught.value.step == 1


def test_a_model_marked_already_and_committed_as_original_is_told(world):
    """What the suspect shares with an original that was marked before says nothing."""
    forged = world.with_beacon(world.sent(world.new_record(world.marked, "operator"), "operator"))
    report = world.judge(world.marked, forged, world.marked)
    assert not report.proven
    assert report.finding.log10_p == 0


def test_a_beacon_of_other_blocks_is_refused(world):
    block = world.deployed.rpc.block(world.record.phase_a.block + 1)
    from ledger.evidence.headers import encode_header

    forged = world.record.with_beacon("short-offset", (encode_header(block.raw).raw,))
    with pytest.raises(StateProofInvalid) as caught:
        world.judge(world.marked, forged, world.original)
    assert caught.value.step == 3


def test_one_tensor_named_many_times_does_not_count_many_times(world):
    """Without this, z grows with the root of the copies: 400 names make a proof out of noise."""
    one = world.record.targets[0]
    many = tuple(dataclasses.replace(one, name=f"{one.name}.{n:03}") for n in range(400))
    forged = dataclasses.replace(
        world.record,
        targets=many,
        commitment=dataclasses.replace(world.record.commitment, targets_hash=targets_hash(many)),
    )
    with pytest.raises(ManifestError):
        Record.from_contents(forged.contents(), what="the record")


def test_every_commitment_of_an_account_counts(world):
    before = world.judge(world.marked, world.record, world.original).finding
    for _ in range(3):
        world.sent(world.new_record(world.original), "licensor")
    after = world.judge(world.marked, world.record, world.original).finding
    assert after.commitments == before.commitments + 3
    assert after.log10_tests > before.log10_tests


def test_offline_nothing_is_proven(world):
    with open_model(world.marked) as found, open_model(world.original) as home:
        report = examine(found, world.record, original=home)
    assert report.finding.there
    assert not report.proven
    assert "proves nothing to others" in report.verdict


@pytest.mark.parametrize("part", ["key", "commitment", "targets", "roots"])
def test_a_record_without_a_part_is_refused(world, part):
    import json

    document = json.loads(world.record.contents())
    del document[part]
    with pytest.raises(LedgerError) as caught:
        Record.from_contents(json.dumps(document).encode(), what="the record")
    assert world.record.key.hex() not in str(caught.value)


def test_a_record_says_no_secret_of_itself(world):
    assert world.record.key.hex() not in repr(world.record)
    assert repr(world.record.key) not in repr(world.record)
    again = Record.from_contents(world.record.contents(), what="the record")
    assert again == world.record
    assert isinstance(again.commitment.hash(), Digest)


def test_nothing_is_marked_under_the_beacon_of_a_block_that_the_chain_took_back(world, tmp_path):
    place = dataclasses.replace(world.record.phase_a, block=world.record.phase_a.block - 1)
    moved = dataclasses.replace(world.record, phase_a=place, headers=())
    with pytest.raises(ClaimMismatch, match="does not stand in block"):
        embed_into(
            world.original,
            tmp_path / "m.safetensors",
            moved,
            tmp_path / "r",
            "w",
            chain=world.chain,
        )
    assert not list(tmp_path.iterdir())
