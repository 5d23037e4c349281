"""Where a broker's KEK may be: its file, a token, the environment, somebody's plug-in."""

import base64
import json
import re
import secrets
import stat
import sys
import threading
from pathlib import Path

import pytest

from ledger.broker.custodians import custodian
from ledger.broker.home import BrokerHome
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LedgerError,
    ManifestError,
    UsageError,
    WrongPassphrase,
)

SECRET = b"thirty-two bytes of a secret key"
PIN = "86420-pin"
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "keystores.md"


def variable(monkeypatch, text):
    monkeypatch.setenv("TEST_BROKER_KEK", text)
    return {"variable": "TEST_BROKER_KEK"}


def mounted(tmp_path, text, mode=0o600):
    path = tmp_path / f"kek-{secrets.token_hex(3)}"
    path.write_text(text)
    path.chmod(mode)
    return {"file": str(path)}


@pytest.fixture(params=["file", "environment", "pkcs11"])
def kind(request, tmp_path):
    """Name, options and secret of each custodian of ours."""
    if request.param == "file":
        return "file", {"log2_n": "14"}, "pass"
    if request.param == "environment":
        return "environment", mounted(tmp_path, secrets.token_hex(32)), ""
    softhsm = request.getfixturevalue("softhsm")
    return "pkcs11", softhsm.new_token(f"kind-{secrets.token_hex(4)}"), PIN


# -- what holds for every custodian


def test_a_secret_opens_after_a_restart_only_in_its_place(kind):
    name, options, secret = kind
    store, settings = custodian(name).create(options, secret)
    blob = store.encrypt(bytearray(SECRET), context="a")
    assert SECRET not in blob
    settings = json.loads(json.dumps(settings))
    store.close()
    again = custodian(name).open(store.kek_id, settings, secret)
    assert again.kek_id == store.kek_id
    assert again.decrypt(blob, context="a") == SECRET
    altered = blob[:-1] + bytes([blob[-1] ^ 1])
    for data, context in ((blob, "b"), (altered, "a"), (blob[:-1], "a"), (b"", "a"), (blob, "")):
        with pytest.raises(KeyAccessError):
            again.decrypt(data, context=context)
    again.close()
    with pytest.raises(UsageError, match="closed"):
        again.decrypt(blob, context="a")


def test_a_whole_broker_opens_with_the_custodian_that_its_folder_names(kind, tmp_path):
    name, options, secret = kind
    home = BrokerHome.create(tmp_path / "b", secret, cost=14, keystore=name, options=options)
    sealed = home.keystore.encrypt(SECRET, context="c")
    home.keystore.close()
    again = BrokerHome.open(tmp_path / "b", secret)
    assert again.signing_key_hash == home.signing_key_hash
    assert again.kem_key_hash == home.kem_key_hash
    assert again.keystore.decrypt(sealed, context="c") == SECRET
    assert stat.S_IMODE((tmp_path / "b" / "keys.json").stat().st_mode) == 0o600
    again.keystore.close()


def test_many_threads_share_a_key_store(kind):
    name, options, secret = kind
    store, _ = custodian(name).create(options, secret)
    wrong = []

    def work(number):
        own = number.to_bytes(1, "big") * 32
        for _ in range(20):
            blob = store.encrypt(bytearray(own), context=str(number))
            if store.decrypt(blob, context=str(number)) != own:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    store.close()


def test_another_custodians_settings_are_refused(kind):
    name, _, secret = kind
    with pytest.raises(LedgerError):
        custodian(name).open("0011", {"somewhere": "else"}, secret)


def test_options_that_a_custodian_does_not_have_are_refused(kind):
    name, options, secret = kind
    with pytest.raises(UsageError, match="no option 'pin'") as caught:
        custodian(name).create({**options, "pin": "1234"}, secret)
    assert "1234" not in str(caught.value) + caught.value.hint


# -- file


def test_a_wrong_passphrase_opens_nothing(tmp_path):
    BrokerHome.create(tmp_path, "pass", cost=14)
    with pytest.raises(WrongPassphrase):
        BrokerHome.open(tmp_path, "guess")


# -- environment


@pytest.mark.parametrize("form", ["hex", "base64", "newline"])
def test_a_mounted_key_may_be_hex_or_base64(tmp_path, monkeypatch, form):
    kek = secrets.token_bytes(32)
    text = base64.b64encode(kek).decode() if form == "base64" else kek.hex()
    text += "\n" if form == "newline" else ""
    from_file, _ = custodian("environment").create(mounted(tmp_path, text), "")
    from_variable, _ = custodian("environment").create(variable(monkeypatch, text), "")
    assert from_file.kek_id == from_variable.kek_id
    blob = from_file.encrypt(SECRET, context="a")
    assert from_variable.decrypt(blob, context="a") == SECRET


@pytest.mark.parametrize("text", ["", "short", "00" * 31, "g" * 64, "00" * 33, "é" * 40])
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path, monkeypatch, text):
    for options in (mounted(tmp_path, text), variable(monkeypatch, text)):
        with pytest.raises(ConfigurationError, match="no key of 32 bytes") as caught:
            custodian("environment").create(options, "")
        assert not text or text not in str(caught.value)


def test_a_key_file_that_others_can_read_or_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="read by others"):
        custodian("environment").create(mounted(tmp_path, "00" * 32, mode=0o644), "")
    with pytest.raises(ConfigurationError, match="there is no"):
        custodian("environment").create({"file": str(tmp_path / "none")}, "")
    with pytest.raises(ConfigurationError, match="is not set"):
        custodian("environment").create({"variable": "TEST_BROKER_NOT_SET"}, "")
    for options in ({}, {"file": "a", "variable": "b"}):
        with pytest.raises(UsageError, match="one of file=PATH and variable=NAME"):
            custodian("environment").create(options, "")


def test_another_key_in_the_place_of_the_first_is_noticed(tmp_path):
    options = mounted(tmp_path, "11" * 32)
    BrokerHome.create(tmp_path / "b", "", keystore="environment", options=options)
    Path(options["file"]).write_text("22" * 32)
    with pytest.raises(KeyAccessError, match="another key than"):
        BrokerHome.open(tmp_path / "b")


# -- PKCS#11


def test_the_kek_is_made_in_the_token_and_the_token_does_not_give_it_away(softhsm):
    import pkcs11

    options = softhsm.new_token("custody")
    store, settings = custodian("pkcs11").create(options, PIN)
    key = store._key
    assert key[pkcs11.Attribute.LOCAL]
    assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
    assert key[pkcs11.Attribute.ALWAYS_SENSITIVE]
    with pytest.raises(pkcs11.PKCS11Error):
        key[pkcs11.Attribute.VALUE]
    assert PIN not in json.dumps(settings) + repr(store)
    store.close()


def test_a_key_that_the_token_would_give_away_is_refused(softhsm):
    import pkcs11

    options = softhsm.new_token("loose")
    custodian("pkcs11").create(options, PIN)[0].close()
    with (
        pkcs11.lib(options["library"])
        .get_token(token_label="loose")
        .open(rw=True, user_pin=PIN) as session
    ):
        session.generate_key(
            pkcs11.KeyType.AES,
            256,
            label="modeldeed-kek-0011",
            store=True,
            template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False},
        )
    with pytest.raises(KeyAccessError, match="give the broker's key away"):
        custodian("pkcs11").open("0011", options, PIN)


def test_a_wrong_pin_a_wrong_token_and_a_wrong_library_are_told_apart(softhsm, tmp_path):
    options = softhsm.new_token("errors")
    store, settings = custodian("pkcs11").create(options, PIN)
    store.close()
    with pytest.raises(WrongPassphrase) as caught:
        custodian("pkcs11").open(store.kek_id, settings, "9999-wrong")
    assert "9999" not in str(caught.value) + caught.value.hint
    with pytest.raises(ConfigurationError, match="no token 'none'"):
        custodian("pkcs11").open(store.kek_id, {**settings, "token": "none"}, PIN)
    with pytest.raises(ConfigurationError, match="no PKCS#11 library"):
        custodian("pkcs11").open(store.kek_id, {**settings, "library": str(tmp_path / "x")}, PIN)
    no_library = tmp_path / "libc.so"
    no_library.write_bytes(b"not a library")
    with pytest.raises(ConfigurationError):
        custodian("pkcs11").open(store.kek_id, {**settings, "library": str(no_library)}, PIN)
    with pytest.raises(KeyAccessError, match="does not hold the key"):
        custodian("pkcs11").open("aabb", settings, PIN)
    with pytest.raises(UsageError, match="its library and its token"):
        custodian("pkcs11").create({"token": "errors"}, PIN)


def test_two_key_stores_of_one_token_do_not_log_each_other_out(softhsm):
    options = softhsm.new_token("shared")
    one, settings = custodian("pkcs11").create(options, PIN)
    two, _ = custodian("pkcs11").create(options, PIN)
    blob = one.encrypt(SECRET, context="a")
    with pytest.raises(KeyAccessError):
        two.decrypt(blob, context="a")
    two.close()
    assert one.decrypt(blob, context="a") == SECRET
    one.close()
    again = custodian("pkcs11").open(one.kek_id, settings, PIN)
    assert again.decrypt(blob, context="a") == SECRET
    again.close()


def test_a_destroyed_kek_is_gone_from_the_token(softhsm):
    options = softhsm.new_token("destroy")
    store, settings = custodian("pkcs11").create(options, PIN)
    store.close()
    assert custodian("pkcs11").destroy(store.kek_id, settings, PIN)
    assert custodian("pkcs11").destroy(store.kek_id, settings, PIN)
    with pytest.raises(KeyAccessError, match="does not hold"):
        custodian("pkcs11").open(store.kek_id, settings, PIN)


# -- plug-ins


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The guide's own example, installed as a package is: a module and its entry point."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (points,) = re.findall(r"```ini\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    site = tmp_path / "site"
    info = site / "vault_keystore-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "vault_keystore.py").write_text(code)
    (info / "entry_points.txt").write_text(points)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault-keystore\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("vault_keystore", None)


def test_a_key_store_of_another_package_is_found_by_its_entry_point(plugin, tmp_path):
    with __import__("vault_keystore").serve() as url:
        home = BrokerHome.create(
            tmp_path / "b", "token-1", keystore="vault", options={"url": url, "key": "broker"}
        )
        sealed = home.keystore.encrypt(bytearray(SECRET), context="c")
        again = BrokerHome.open(tmp_path / "b", "token-1")
        assert again.signing_key_hash == home.signing_key_hash
        assert again.keystore.decrypt(sealed, context="c") == SECRET
        with pytest.raises(KeyAccessError):
            again.keystore.decrypt(sealed, context="d")
        assert "token-1" not in (tmp_path / "b" / "keys.json").read_text()
        with pytest.raises(WrongPassphrase):
            BrokerHome.open(tmp_path / "b", "guess")


def test_a_key_store_that_nobody_brings_is_told_with_those_there_are(plugin, tmp_path):
    with pytest.raises(ConfigurationError, match="no key store 'cloud'") as caught:
        BrokerHome.create(tmp_path / "b", "", keystore="cloud")
    assert "file, pkcs11, environment, vault" in caught.value.hint


def test_a_plug_in_that_cannot_be_loaded_is_told(plugin, tmp_path):
    (plugin / "vault_keystore.py").write_text("raise RuntimeError('secret inside')")
    with pytest.raises(ConfigurationError, match="cannot be loaded: RuntimeError") as caught:
        custodian("vault")
    assert "secret inside" not in str(caught.value)


def test_a_folder_says_what_opens_it(kind, tmp_path):
    name, options, secret = kind
    home = BrokerHome.create(tmp_path / "b", secret, cost=14, keystore=name, options=options)
    home.keystore.close()
    asks = {"file": "Passphrase", "environment": "", "pkcs11": "PIN"}
    assert BrokerHome.key_file(tmp_path / "b").asks == asks[name]


def test_an_altered_key_file_raises_nothing_but_our_errors(tmp_path):
    BrokerHome.create(tmp_path, "pass", cost=14)
    path = tmp_path / "keys.json"
    document = json.loads(path.read_text())
    for member in document:
        for value in (None, 7, "x", [], {}, {"kdf": 1}):
            if value == document[member]:
                continue
            path.write_text(json.dumps({**document, member: value}))
            if member == "kek_id" and value == "x":
                continue  # only a name: the file custodian's KEK is what it is
            with pytest.raises(LedgerError):
                BrokerHome.open(tmp_path, "pass")
    path.write_text("{}")
    with pytest.raises(ManifestError):
        BrokerHome.open(tmp_path, "pass")
