"""Finding a running local stack from a folder."""

import json
import os
import subprocess
import sys

import pytest

from ledger.chain.deployment import Deployment
from ledger.chain.network import Network, kept_home, load_live, remove_live, save_live
from ledger.chain.profile import profile_for
from ledger.errors import ManifestError, UnsupportedVersion, WrongNetwork
from ledger.ids import Address, Digest

NAMES = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
DEPLOYMENT = Deployment(
    31337,
    Digest(b"\1" * 32),
    1,
    {name: Address(bytes([i]) * 20) for i, name in enumerate(NAMES, 1)},
    {name: Digest(bytes([i]) * 32) for i, name in enumerate(NAMES, 1)},
)
ACCOUNTS = {"licensor": Address(b"\2" * 20), "holder": Address(b"\3" * 20)}
NETWORK = Network(
    "local",
    ("http://127.0.0.1:8545",),
    DEPLOYMENT,
    profile_for(31337),
    "http://127.0.0.1:8000",
    "http://127.0.0.1:8000",
)


def test_a_live_stack_is_found_in_its_folder_and_below(tmp_path):
    save_live(tmp_path, NETWORK, os.getpid(), ACCOUNTS)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        found = load_live(folder)
        assert found.rpc_urls == NETWORK.rpc_urls
        assert found.deployment == DEPLOYMENT
        assert found.api_url == found.broker_url == "http://127.0.0.1:8000"
        assert dict(found.accounts) == ACCOUNTS
        assert found.home == (tmp_path / ".deed").resolve()


def test_above_the_folder_there_is_none(tmp_path):
    below = tmp_path / "below"
    save_live(below, NETWORK, os.getpid(), ACCOUNTS)
    assert load_live(tmp_path) is None


def test_a_stack_whose_process_is_gone_does_not_count(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    save_live(tmp_path, NETWORK, process.pid, ACCOUNTS)
    assert load_live(tmp_path) is None


def test_a_withdrawn_stack_does_not_count(tmp_path):
    save_live(tmp_path, NETWORK, os.getpid(), ACCOUNTS)
    remove_live(tmp_path)
    remove_live(tmp_path)
    assert load_live(tmp_path) is None


def test_a_description_that_belongs_to_another_user_does_not_count(tmp_path):
    path = save_live(tmp_path, NETWORK, os.getpid(), ACCOUNTS)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)
    assert load_live(tmp_path) is None


def test_what_a_stopped_stack_keeps_is_found_in_its_folder_and_below_and_by_its_user(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    home = tmp_path / ".deed"
    home.mkdir()
    assert kept_home(deep) is None
    DEPLOYMENT.save(home / "deployment.json")
    assert kept_home(tmp_path) == kept_home(deep) == home.resolve()
    if os.geteuid() == 0:
        os.chown(home / "deployment.json", 65534, -1)
        assert kept_home(deep) is None


@pytest.mark.parametrize("name", ["", "deployment.json", "index.sqlite3"])
def test_what_a_stopped_stack_keeps_is_not_taken_by_a_link(tmp_path, name):
    place = tmp_path / "place"
    home = place / ".deed"
    home.mkdir(parents=True)
    DEPLOYMENT.save(home / "deployment.json")
    (home / "index.sqlite3").write_bytes(b"")
    assert kept_home(place) == home.resolve()
    linked = home / name
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    assert kept_home(place) is None


@pytest.mark.parametrize("name", ["", "deployment.json", "index.sqlite3"])
def test_what_a_stopped_stack_keeps_is_all_of_its_user(tmp_path, name):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    home = tmp_path / ".deed"
    home.mkdir()
    DEPLOYMENT.save(home / "deployment.json")
    (home / "index.sqlite3").write_bytes(b"")
    os.chown(home / name, 65534, -1)
    assert kept_home(tmp_path) is None


@pytest.mark.parametrize("pid", [None, "7", True, 0, -1, 1 << 40])
def test_an_impossible_process_id_does_not_count(tmp_path, pid):
    path = save_live(tmp_path, NETWORK, os.getpid(), ACCOUNTS)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": pid}))
    assert load_live(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version":1,"version":1}'])
def test_a_damaged_description_is_an_error_and_not_silence(tmp_path, text):
    save_live(tmp_path, NETWORK, os.getpid(), ACCOUNTS).write_text(text)
    with pytest.raises(ManifestError):
        load_live(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 7},
        {"rpc": []},
        {"rpc": "http://127.0.0.1:1"},
        {"rpc": [7]},
        {"api": 7},
        {"accounts": []},
        {"accounts": {"licensor": 7}},
        {"accounts": {"licensor": "0x12"}},
        {"deployment": None},
    ],
)
def test_a_malformed_description_is_refused(change):
    with pytest.raises((ManifestError, UnsupportedVersion)):
        Network.from_json(NETWORK.to_json() | change)


def test_another_version_is_refused_as_such():
    with pytest.raises(UnsupportedVersion):
        Network.from_json(NETWORK.to_json() | {"version": 2})


def test_a_network_on_a_chain_without_profile_is_refused():
    document = NETWORK.to_json()
    document["deployment"] = document["deployment"] | {"chain_id": 999}
    with pytest.raises(WrongNetwork):
        Network.from_json(document)


def test_urls_with_keys_do_not_show_when_a_network_is_printed():
    network = Network("x", ("https://rpc.example/v2/s3cr3t",), DEPLOYMENT, profile_for(31337))
    assert "s3cr3t" not in repr(network)


@pytest.mark.chain
def test_an_opened_network_serves_its_chain_only(deployed):
    with deployed.network.open_rpc() as rpc:
        deployed.deployment.verify(rpc)
