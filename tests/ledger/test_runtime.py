"""ledger.load: from a card to tensors, and out again when the license ends."""

import functools
import gc
import json
import os
import secrets
import threading
import time
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger import runtime
from ledger.broker.client import Asker, BrokerClient
from ledger.broker.keeper import LeaseClock
from ledger.errors import (
    BrokerUnavailable,
    ClaimMismatch,
    ConfigurationError,
    ContentMismatch,
    Expired,
    IndexUnavailable,
    KeyAccessError,
    LeaseExpired,
    ManifestError,
    NotSealed,
    Revoked,
    RuntimeNotBound,
    SealedTruncated,
    SeatsFull,
    SegmentTampered,
    SignatureInvalid,
    UnsupportedModel,
    UsageError,
)
from ledger.ids import Digest
from ledger.licensing import card as card_module
from ledger.sealed.file import open_sealed, seal
from ledger.tensors.model import open_model

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with import_module("broker_world").world(tmp_path_factory.mktemp("runtime")) as made:
        yield made


@pytest.fixture(scope="module")
def licensed(world):
    """A license with plenty of seats, its card file, and a granted runtime."""
    license_id = world.license(world.plan(seats=0))
    return license_id, world.card_file(license_id), world.runtime(license_id)


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


# -- loading


def test_every_tensor_equals_the_original_bit_for_bit(world, licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        assert set(model.keys()) == set(world.published.tensors)
        for name, original in world.published.tensors.items():
            loaded = model.get_tensor(name)
            assert loaded.dtype == original.dtype
            assert loaded.tobytes() == original.tobytes()
        whole = model.state_dict()
        assert all(np.array_equal(whole[n], t) for n, t in world.published.tensors.items())


def test_bytes_are_those_of_the_file_whatever_the_framework(world, licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        for name, original in world.published.tensors.items():
            data = model.get_bytes(name)
            assert data.readonly
            assert bytes(data) == original.tobytes()
        with pytest.raises(UsageError, match="no tensor 'nothing'"):
            model.get_bytes("nothing")
    with pytest.raises(UsageError):
        model.get_bytes("layer.bias")


def test_a_tensor_of_a_type_that_numpy_lacks_is_had_as_bytes(world, tmp_path):
    header = json.dumps(
        {"blocks": {"dtype": "F4", "shape": [8, 8], "data_offsets": [0, 32]}}
    ).encode()
    plain = tmp_path / "four.safetensors"
    plain.write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(32)))
    key = secrets.token_bytes(32)
    with open_model(plain) as source:
        record = seal(
            source, tmp_path / "four.sealed", content_key=key,
            model_id=world.published.model_id, chain_id=31337,
            registry=world.chain.deployment.addresses["ModelRegistry"], epoch=1,
        )  # fmt: skip
    with open_sealed(tmp_path / "four.sealed", key, record=record) as opened:
        with pytest.raises(UnsupportedModel) as caught:
            opened.get_tensor("blocks")
        assert "get_bytes(name)" in caught.value.hint
        assert callable(runtime.SealedModel.get_bytes)
        assert bytes(opened.get_bytes("blocks")) == bytes(range(32))


def test_a_lease_shows_itself_in_one_line_without_raw_bytes(licensed):
    license_id, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        shown = repr(model.lease)
    assert shown.startswith(f"<Lease of license {license_id} on model 0x")
    assert len(shown) < 120
    assert "\\x" not in shown


def test_a_card_that_is_not_there_is_told_before_a_missing_key(tmp_path):
    for ask in (runtime.load, runtime.check):
        with pytest.raises(UsageError, match=r"nope\.json"):
            ask(tmp_path / "nope.json", runtime=tmp_path / "no-key.json")


def test_a_slice_reads_a_part(world, licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        part = model.get_slice("layer.weight")
        assert part.get_shape() == [64, 48]
        assert part.get_dtype() == "F32"
        assert np.array_equal(part[3:5, ::2], world.published.tensors["layer.weight"][3:5, ::2])


def test_names_limit_what_is_offered(licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity, names=["steps"]) as model:
        assert model.keys() == ("steps",)
        with pytest.raises(UsageError):
            model.get_tensor("layer.bias")
    with pytest.raises(UsageError, match="no tensor 'nothing'"):
        runtime.load(card, runtime=identity, names=["nothing"])


@pytest.mark.parametrize("as_source", ["path", "text", "url", "object", "sealed"])
def test_card_or_sealed_file_may_be_given_in_any_form(world, licensed, as_source):
    license_id, card, identity = licensed
    source = {
        "path": card,
        "text": str(card),
        "url": card.as_uri(),
        "object": json.loads(card.read_text()),
        "sealed": world.published.path,
    }[as_source]
    with runtime.load(source, runtime=identity, license=license_id) as model:
        assert model.lease.license == license_id


@pytest.fixture
def web(world):
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(world.folder))
    handler.log_message = lambda *a: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_card_and_file_may_come_over_http(world, licensed, web, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    license_id, _, identity = licensed
    made = world.published
    card = world.card(license_id)
    card["files"] = [{**card["files"][0], "url": made.path.name}]
    (world.folder / "web.license.json").write_text(json.dumps(card))
    with runtime.load(f"{web}/web.license.json", runtime=identity) as model:
        assert np.array_equal(model.get_tensor("steps"), made.tensors["steps"])
    assert list(tmp_path.iterdir()) == []
    (world.folder / "web.license.json").unlink()


def test_a_model_is_read_by_ranges_where_it_lies(world, licensed, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    license_id, _, identity = licensed
    made, seen = world.published, []
    card = world.card(license_id)
    with import_module("store_world").serving(world.folder) as server:
        gone = {**card["files"][0], "url": f"{server.url}/gone.sealed"}
        card["files"] = [gone, {**gone, "url": f"{server.url}/{made.path.name}"}]
        path = tmp_path / "far.license.json"
        path.write_text(json.dumps(card))
        with runtime.load(path, runtime=identity, progress=lambda *at: seen.append(at)) as model:
            whole = model.state_dict()
            assert all(np.array_equal(whole[n], t) for n, t in made.tensors.items())
        assert runtime.check(path, runtime=identity).granted
        assert all(last is not None for _, last in server.ranges)
    assert seen[-1][0] == seen[-1][1] > 0
    assert list(tmp_path.iterdir()) == [path]
    assert not [t for t in threading.enumerate() if t.name == "sealed-remote"]


def test_a_url_that_serves_nothing_is_unavailable(licensed, web):
    with pytest.raises(IndexUnavailable):
        runtime.load(f"{web}/nothing.license.json", runtime=licensed[2])


def test_the_default_identity_is_found(licensed, monkeypatch):
    _, card, identity = licensed
    monkeypatch.setenv("DEED_RUNTIME_KEY", str(identity.path))
    runtime.load(card).close()


# -- refusals


def test_a_runtime_without_a_grant_is_told_who_can_give_one(world, licensed):
    license_id, card, _ = licensed
    with pytest.raises(RuntimeNotBound, match=f"no grant for license {license_id}") as caught:
        runtime.load(card, runtime=world.runtime())
    assert "deed runtime grant" in caught.value.hint


def test_a_revoked_license_loads_no_more(world):
    license_id = world.license()
    card, identity = world.card(license_id), world.runtime(license_id)
    runtime.load(card, runtime=identity).close()
    world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
    with pytest.raises(Revoked, match=f"license {license_id} was revoked"):
        runtime.load(card, runtime=identity)


def test_closing_frees_no_seat_before_its_time(world):
    license_id = world.license(world.plan(seats=1))
    card = world.card(license_id)
    runtime.load(card, runtime=world.runtime(license_id)).close()
    with pytest.raises(SeatsFull):
        runtime.load(card, runtime=world.runtime(license_id))


def test_a_card_changed_after_signing_is_refused_before_anything_is_asked(world, licensed):
    license_id, _, identity = licensed
    card = world.card(license_id)
    card["license"] = "7.7"
    with pytest.raises(SignatureInvalid):
        runtime.load(card, runtime=identity, broker="http://127.0.0.1:9")
    card = world.card(license_id)
    card["terms"]["document"]["export"] = True
    with pytest.raises(ClaimMismatch):
        runtime.load(card, runtime=identity, broker="http://127.0.0.1:9")


def test_a_sealed_file_for_another_model_is_refused_before_anything_is_asked(world, licensed):
    license_id, _, identity = licensed
    other = import_module("broker_world").publish(world.chain, world.folder)
    card = world.card(license_id)
    card["files"] = [{**card["files"][0], "url": other.path.as_uri()}]
    with pytest.raises(ContentMismatch, match="not the file that the card"):
        runtime.load(card, runtime=identity, broker="http://127.0.0.1:9")


def test_a_truncated_file_is_refused(world, licensed, tmp_path):
    license_id, _, identity = licensed
    short = tmp_path / "short.sealed"
    short.write_bytes(world.published.path.read_bytes()[:-1])
    card = world.card(license_id)
    card["files"] = [{**card["files"][0], "url": short.as_uri()}]
    with pytest.raises(SealedTruncated):
        runtime.load(card, runtime=identity, broker="http://127.0.0.1:9")


def test_a_tampered_segment_is_refused_at_its_tensor(world, licensed, tmp_path):
    license_id, _, identity = licensed
    bad = tmp_path / "bad.sealed"
    data = bytearray(world.published.path.read_bytes())
    data[-1] ^= 1
    bad.write_bytes(data)
    card = world.card(license_id)
    card["files"] = [{**card["files"][0], "url": bad.as_uri()}]
    with runtime.load(card, runtime=identity) as model, pytest.raises(SegmentTampered):
        model.state_dict()


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", NotSealed), (b"\x00" * 200, NotSealed), (b"{}", ManifestError), (b"{", ManifestError)],
)
def test_what_is_neither_card_nor_sealed_file_is_refused(licensed, tmp_path, content, kind):
    path = tmp_path / "odd"
    path.write_bytes(content)
    with pytest.raises((kind, SealedTruncated)):
        runtime.load(path, runtime=licensed[2])


def test_a_sealed_file_without_a_card_says_what_to_do(world, licensed, tmp_path):
    lonely = tmp_path / "lonely.sealed"
    lonely.write_bytes(world.published.path.read_bytes())
    with pytest.raises(UsageError, match="no license card") as caught:
        runtime.load(lonely, runtime=licensed[2])
    assert "license.json" in caught.value.hint


def test_a_missing_file_or_folder_is_named(licensed, tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            runtime.load(path, runtime=licensed[2])


def test_a_card_for_another_license_than_asked_for_is_refused(licensed):
    _, card, identity = licensed
    with pytest.raises(UsageError, match=r"not 8\.8"):
        runtime.load(card, runtime=identity, license="8.8")


def test_without_a_runtime_key_the_hint_says_how_to_make_one(licensed, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        runtime.load(licensed[1], runtime=tmp_path / "none.json")
    assert "deed runtime init" in caught.value.hint


def test_a_broker_that_does_not_answer_is_unavailable(licensed):
    _, card, identity = licensed
    with pytest.raises(BrokerUnavailable):
        runtime.load(card, runtime=identity, broker="http://127.0.0.1:9", timeout=1)


def test_a_broker_with_other_keys_than_the_card_names_is_refused(world, licensed, tmp_path):
    _, card, identity = licensed
    impostor = import_module("broker_world").Broker(world.chain, tmp_path)
    try:
        with pytest.raises(SignatureInvalid, match="other keys"):
            runtime.load(card, runtime=identity, broker=impostor.url)
    finally:
        impostor.close()


def test_check_reports_every_step_and_takes_nothing(world, licensed):
    license_id, card, identity = licensed
    before = world.broker.service.store.used(license_id)
    decision = runtime.check(card, runtime=identity)
    assert decision.granted
    assert [step.number for step in decision.checks] == list(range(1, 11))
    refused = runtime.check(card, runtime=world.runtime())
    assert not refused.granted
    assert refused.denial.check == 4
    assert world.broker.service.store.used(license_id) == before


# -- living on


def short(world, **changes):
    return world.license(world.plan(**{"leaseTtl": 3, "grace": 2, "seats": 0, **changes}))


def test_heartbeats_keep_the_lease_alive_past_its_first_end(world):
    license_id = short(world)
    with runtime.load(world.card(license_id), runtime=world.runtime(license_id)) as model:
        first = model.lease
        wait_for(lambda: time.time() > first.grace_until + 0.5)
        model.get_tensor("steps")
        assert model.lease.sequence >= 2


def test_a_revocation_unloads_the_running_model_and_says_why(world):
    license_id = short(world)
    heard = []
    model = runtime.load(
        world.card(license_id), runtime=world.runtime(license_id), on_loss=heard.append
    )
    held = model.get_tensor("steps")
    assert held.any()
    world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
    wait_for(lambda: heard)
    assert isinstance(heard[0], Revoked)
    with pytest.raises(LeaseExpired, match="was revoked") as caught:
        model.get_tensor("layer.bias")
    assert isinstance(caught.value.__cause__, Revoked)
    wait_for(lambda: not held.any())
    model.close()


def test_without_a_broker_the_model_runs_to_the_end_of_grace_and_no_longer(world):
    license_id = short(world)
    model = runtime.load(world.card(license_id), runtime=world.runtime(license_id))
    world.broker.unserve()
    try:
        lease = model.lease
        wait_for(lambda: time.time() > lease.not_after + 0.3)
        model.get_tensor("steps")
        wait_for(lambda: time.time() > lease.grace_until + 1.2)
        with pytest.raises(LeaseExpired, match="the lease ended"):
            model.get_tensor("steps")
    finally:
        world.broker.serve()
        model.close()


def test_a_broker_that_comes_back_in_grace_is_found_again(world):
    license_id = short(world, grace=30)
    with runtime.load(world.card(license_id), runtime=world.runtime(license_id)) as model:
        world.broker.unserve()
        time.sleep(2.5)
        world.broker.serve()
        sequence = model.lease.sequence
        wait_for(lambda: model.lease.sequence > sequence)
        model.get_tensor("steps")


def test_a_license_that_ends_while_running_ends_the_lease(world):
    end = world.chain.rpc.block("latest").timestamp + 6
    license_id = world.license(world.plan(leaseTtl=3, grace=2, seats=0), not_after=end)
    heard = []
    with runtime.load(
        world.card(license_id), runtime=world.runtime(license_id), on_loss=heard.append
    ) as model:
        assert model.lease.grace_until <= end
        wait_for(lambda: heard)
        assert isinstance(heard[0], Expired | LeaseExpired)


def test_setting_the_clock_back_gains_nothing(monkeypatch):
    clock = LeaseClock(1000)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() - 86400)
    time.sleep(0.05)
    assert 1000.04 < clock.now() < 1060


def test_setting_the_clock_forward_counts(monkeypatch):
    clock = LeaseClock(1000)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + 500)
    assert clock.now() >= 1500


def test_a_closed_model_gives_nothing_and_closes_twice(licensed):
    _, card, identity = licensed
    model = runtime.load(card, runtime=identity)
    held = model.get_tensor("steps")
    model.close()
    model.close()
    assert not held.any()
    with pytest.raises(UsageError):
        model.get_tensor("steps")


def test_a_forked_child_has_neither_lease_nor_plaintext(licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        held = model.get_tensor("steps")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                model.get_tensor("steps")
                answer = b"read"
            except KeyAccessError:
                answer = b"zero" if not held.any() else b"seen"
            os.write(writer, answer)
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 4) == b"zero"
        os.close(reader)
        os.close(writer)
        assert held.any()


def test_many_threads_share_one_model(world, licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as model:
        wrong = []

        def read():
            for name, original in world.published.tensors.items():
                if not np.array_equal(model.get_tensor(name), original):
                    wrong.append(name)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_the_key_is_zeroed_and_in_no_repr(world, licensed, monkeypatch):
    _, card, identity = licensed
    seen = []
    real = runtime.open_sealed

    def spy(path, key, **options):
        seen.append(key)
        return real(path, key, **options)

    monkeypatch.setattr(runtime, "open_sealed", spy)
    with runtime.load(card, runtime=identity) as model:
        assert bytes(seen[0]) == bytes(32)
        assert world.published.key.hex() not in repr(model) + repr(vars(model))


def lease_threads(earlier):
    """Those started since, for tests before may have left a model to the collector."""
    return [t for t in set(threading.enumerate()) - earlier if t.name == "modeldeed-lease"]


def test_no_lease_threads_are_left_behind(licensed):
    _, card, identity = licensed
    earlier = set(threading.enumerate())
    runtime.load(card, runtime=identity).close()
    assert not lease_threads(earlier)


def test_tensors_of_a_model_that_nobody_named_stay_what_they_are(world, licensed):
    _, card, identity = licensed
    earlier = set(threading.enumerate())
    tensors = runtime.load(card, runtime=identity).state_dict()
    gc.collect()
    assert np.array_equal(tensors["steps"], world.published.tensors["steps"])
    keeper = lease_threads(earlier)[0]
    keeper._target.__self__._on_loss.__self__.close()


def test_an_unknown_framework_is_refused(licensed):
    with pytest.raises(UsageError, match="framework"):
        runtime.load(licensed[1], runtime=licensed[2], framework="jax" + secrets.token_hex(1))


@pytest.mark.torch
def test_a_device_that_torch_has_not_is_refused_before_a_key_is_asked_for(licensed):
    pytest.importorskip("torch", reason="install requirements-torch.txt")
    for device in ("cudo", "cuda:77"):
        with pytest.raises(UsageError, match="cannot use the device"):
            runtime.load(licensed[1], runtime=licensed[2], framework="torch", device=device)


@pytest.mark.torch
def test_torch_tensors_equal_the_original_bit_for_bit_in_every_type(world, licensed):
    torch = pytest.importorskip("torch", reason="install requirements-torch.txt")
    _, card, identity = licensed
    with runtime.load(card, runtime=identity) as plain:
        expected = {name: plain.get_tensor(name).copy() for name in plain.keys()}  # noqa: SIM118
    with runtime.load(card, runtime=identity, framework="torch") as model:
        tensors = model.state_dict()
        assert set(tensors) == set(expected)
        for name, array in expected.items():
            tensor = tensors[name]
            assert isinstance(tensor, torch.Tensor)
            assert tuple(tensor.shape) == array.shape
            flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
            assert flat.tobytes() == array.tobytes(), name
    assert not any(tensor.any() for tensor in tensors.values())


# -- whose model it is: pinned outside the card


class Deceived:
    """The real chain as a server run by an attacker tells it: title and sealing are the attacker's,
    and the plan asks for no grant."""

    def __init__(self, real, who, sealing, broker_id):
        self._real, self._who, self._sealing, self._id = real, who, sealing, broker_id

    def title_state(self, *_, **__):
        return self._who, self._sealing

    def license_state(self, *arguments, **options):
        state = self._real.license_state(*arguments, **options)
        sides = {}
        for name in ("finalized", "head"):
            side = getattr(state, name)
            sides[name] = replace(
                side,
                code=0,
                title_holder=self._who,
                sealing=self._sealing,
                brokers=(self._id,),
                plan=replace(side.plan, licensor=self._who, floating=False),
            )
        return replace(state, **sides)


@pytest.fixture
def forged(world, licensed, tmp_path):
    """An attacker's card for the victim's license and model, with weights and a broker of its own,
    whose keys open them."""
    attacker, license_id = world.chain.wallet("rival"), licensed[0]
    evil = tmp_path / "evil.safetensors"
    save_file({"layer.weight": np.arange(64 * 48, dtype=np.float32).reshape(64, 48)}, evil)
    key, made = secrets.token_bytes(32), tmp_path / "evil.sealed"
    with open_model(evil) as opened:
        record = seal(
            opened, made, content_key=key, model_id=world.published.model_id, chain_id=31337,
            registry=world.chain.deployment.addresses["ModelRegistry"], epoch=1, log2_segment=16,
        )  # fmt: skip
    broker = import_module("broker_world").Broker(world.chain, tmp_path)
    real = broker.service._decisions.chain
    parts = broker.service._decisions, broker.service._deposits
    for part in parts:
        part.chain = Deceived(real, attacker.address, record.hash(), broker.id)
    granted = licensed[2].grants()[0]
    asker = Asker(
        licensed[2], license_id, world.published.model_id, record.hash(),
        granted.grant, granted.acceptance, world.terms,
    )  # fmt: skip
    with broker.client() as client:
        client.deposit(record, key, attacker, terms=[world.terms])
        client.release(asker)
    addresses = world.chain.deployment.addresses
    yield card_module.build(
        attacker,
        chain_id=31337,
        ledger=addresses["LicenseLedger"],
        registry=addresses["ModelRegistry"],
        broker_registry=addresses["BrokerRegistry"],
        license_id=license_id,
        model=world.published.model_id,
        sealing=record.to_json(),
        sealing_hash=record.hash(),
        terms=world.terms,
        brokers=broker.card_brokers(),
        files=[card_module.CardFile(made.as_uri(), made.stat().st_size, record.root)],
    )
    for part in parts:
        part.chain = real
    broker.close()


def test_a_strangers_card_for_the_victims_license_opens_nothing(forged, licensed):
    for use in (runtime.load, runtime.check):
        with pytest.raises(SignatureInvalid, match="names the licensor") as caught:
            use(forged, runtime=licensed[2])
        assert "ask the licensor for a card" in caught.value.hint
        assert "deed runtime grant" in caught.value.hint


def test_without_a_grant_even_a_granting_broker_opens_nothing(world, forged):
    identity = world.runtime()
    with pytest.raises(RuntimeNotBound, match="accepted no grant"):
        runtime.load(forged, runtime=identity)
    decision = runtime.check(forged, runtime=identity)
    assert (decision.granted, decision.denial.check) == (False, 4)


def test_a_card_that_names_other_brokers_or_another_model_is_refused_unread(world, licensed):
    license_id, _, identity = licensed
    mine = world.broker.card_brokers()
    other = import_module("broker_world").publish(world.chain, world.folder)
    nowhere = [card_module.CardFile("file:///nowhere.sealed", 4096, world.published.record.root)]
    rotated = replace(mine.members[0], signing_key_hash=Digest(b"\x07" * 32))
    changes = {
        "brokers": {"brokers": replace(mine, members=(rotated,)), "files": nowhere},
        "model": {"published": other},
    }
    for what, change in changes.items():
        card = world.card(license_id, **change)
        with pytest.raises(ClaimMismatch, match=f"the card's {what}") as caught:
            runtime.load(card, runtime=identity)
        assert "fresh grant" in caught.value.hint


def test_a_bound_seat_needs_an_accepted_grant_or_a_broker_whose_keys_the_caller_knows(world):
    license_id, identity = world.license(world.plan(floating=False)), world.runtime()
    card = world.card(license_id)
    world.chain.send(
        "holder", "LicenseLedger", "bindRuntime", license_id, identity.key_hash, 0, bytes(20)
    )
    world.grant(identity, license_id)
    runtime.load(card, runtime=identity).close()
    for path in identity.grants_folder.iterdir():
        path.unlink()
    with pytest.raises(RuntimeNotBound, match="accepted no grant"):
        runtime.load(card, runtime=identity)
    with pytest.raises(RuntimeNotBound, match="accepted no grant"):
        runtime.load(card, runtime=identity, broker=BrokerClient(world.broker.url))


def test_a_client_without_a_pin_must_be_a_broker_of_the_card(world, licensed, tmp_path):
    _, card, identity = licensed
    impostor = import_module("broker_world").Broker(world.chain, tmp_path)
    try:
        for use in (runtime.load, runtime.check):
            with pytest.raises(SignatureInvalid, match="does not name"):
                use(card, runtime=identity, broker=BrokerClient(impostor.url))
    finally:
        impostor.close()
    runtime.load(card, runtime=identity, broker=BrokerClient(world.broker.url)).close()
