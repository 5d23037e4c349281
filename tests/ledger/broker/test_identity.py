"""Runtime keys, enrolment and grants, without coins or an RPC endpoint."""

import copy
import json
import stat

import pytest

from ledger.broker.enrolment import EnrolmentRequest, GrantFile, grant_runtime
from ledger.broker.identity import RuntimeIdentity
from ledger.chain.wallet import dev_wallet
from ledger.errors import ConfigurationError, ManifestError, SignatureInvalid, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.terms import Use

LEDGER, LICENSE = Address(b"\x11" * 20), LicenseId.of(1, 1)
MODEL, BROKERS = ModelId(b"\x02" * 32), Digest(b"\x03" * 32)


def granted(identity, **changes):
    arguments = {
        "chain_id": 31337,
        "ledger": LEDGER,
        "license_id": LICENSE,
        "terms_hash": Digest(b"\x01" * 32),
        "grant_nonce": 0,
        "model": MODEL,
        "licensor": dev_wallet("licensor").address,
        "brokers_hash": BROKERS,
    } | changes
    return grant_runtime(identity.enrolment_request(), dev_wallet("holder"), **arguments)


@pytest.fixture
def identity(tmp_path):
    return RuntimeIdentity.create(tmp_path / "runtime.json", name="gpu-1", use=Use("DE"))


def test_a_key_file_is_private_and_comes_back(identity):
    assert stat.S_IMODE(identity.path.stat().st_mode) == 0o600
    again = RuntimeIdentity.load(identity.path)
    assert again.key_hash == identity.key_hash
    assert (again.name, again.use) == ("gpu-1", Use("DE"))


def test_a_key_is_never_overwritten(identity):
    with pytest.raises(ConfigurationError, match="already there"):
        RuntimeIdentity.create(identity.path)


def test_without_a_key_the_hint_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DEED_RUNTIME_KEY", str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError) as caught:
        RuntimeIdentity.load()
    assert "deed runtime init" in caught.value.hint


def test_the_environment_names_the_key_file(identity, monkeypatch):
    monkeypatch.setenv("DEED_RUNTIME_KEY", str(identity.path))
    assert RuntimeIdentity.load().key_hash == identity.key_hash


def test_a_key_that_others_can_read_is_refused(identity):
    identity.path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="read by others"):
        RuntimeIdentity.load(identity.path)


def test_no_repr_or_request_holds_the_key(identity):
    for text in (repr(identity), json.dumps(identity.enrolment_request())):
        assert identity.signer.seed.hex() not in text
        assert repr(identity.signer.seed) not in text


def test_a_request_for_someone_elses_key_is_refused(identity, tmp_path):
    request = identity.enrolment_request()
    other = RuntimeIdentity.create(tmp_path / "other.json")
    request["runtime"] = other.key.to_json()
    with pytest.raises(SignatureInvalid):
        EnrolmentRequest.from_json(request)


def test_a_request_changed_on_the_way_is_refused(identity):
    request = identity.enrolment_request()
    request["use"] = {"territory": "US"}
    with pytest.raises(SignatureInvalid):
        EnrolmentRequest.from_json(request)


def test_a_grant_is_kept_for_its_license_and_ledger(identity):
    identity.accept(granted(identity))
    kept = identity.grant_for(31337, LEDGER, LICENSE)
    assert kept.holder == dev_wallet("holder").address
    assert identity.grant_for(1, LEDGER, LICENSE) is None
    assert identity.grant_for(31337, LEDGER, LicenseId.of(1, 2)) is None
    assert len(identity.grants()) == 1


def test_a_newer_grant_takes_the_place_of_the_older(identity):
    identity.accept(granted(identity))
    identity.accept(granted(identity, grant_nonce=1))
    assert identity.grant_for(31337, LEDGER, LICENSE).grant.nonce == 1


def test_another_runtimes_grant_is_not_accepted(identity, tmp_path):
    other = RuntimeIdentity.create(tmp_path / "other.json")
    with pytest.raises(UsageError, match="another runtime"):
        identity.accept(granted(other))


@pytest.mark.parametrize(
    "path",
    [
        ("holder",),
        ("grant", "license"),
        ("chain", "ledger"),
        ("acceptance", "terms_hash"),
        ("pin", "model"),
        ("pin", "licensor"),
        ("pin", "brokers_hash"),
    ],
)
def test_a_grant_file_changed_on_the_way_is_refused(identity, path):
    document = copy.deepcopy(granted(identity))
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = {
        "holder": str(dev_wallet("rival").address),
        "license": "1.2",
        "ledger": str(Address(b"\x22" * 20)),
        "terms_hash": str(Digest(bytes(32))),
        "model": str(ModelId(bytes(32))),
        "licensor": str(dev_wallet("rival").address),
        "brokers_hash": str(Digest(bytes(32))),
    }[path[-1]]
    with pytest.raises(SignatureInvalid):
        GrantFile.from_json(document)


def test_two_grants_differ_even_when_everything_in_them_is_the_same(identity):
    one, two = granted(identity), granted(identity)
    assert one["grant"]["keyed_nonce"] != two["grant"]["keyed_nonce"]


def test_what_is_no_grant_file_is_refused(identity):
    with pytest.raises(ManifestError):
        identity.accept({"type": "modeldeed/runtime-grant", "version": 1})
