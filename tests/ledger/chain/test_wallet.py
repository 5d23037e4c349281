"""Keystores: what opens, what does not, and that no key shows anywhere."""

import json
import pickle
import stat

import pytest
from eth_account import Account

from ledger.chain.rpc import Rpc
from ledger.chain.wallet import DEV_WALLET_NAMES, LocalWallet, WalletFolder, dev_wallet
from ledger.eip712 import Domain, StructType, recover
from ledger.errors import LimitExceeded, UsageError, WalletError, WalletNotFound, WrongPassphrase
from ledger.ids import Address

FAST = 2  # scrypt rounds, so that tests take no second each
KEY = "11" * 32


@pytest.fixture
def folder(tmp_path):
    return WalletFolder(tmp_path / "wallets")


def test_a_created_wallet_opens_with_its_passphrase_and_no_other(folder):
    entry = folder.create("mine", "correct horse", rounds=FAST)
    assert folder.open("mine", "correct horse").address == entry.address
    with pytest.raises(WrongPassphrase):
        folder.open("mine", "correct house")


def test_a_keystore_is_readable_by_its_owner_alone(folder):
    entry = folder.create("mine", "x", rounds=FAST)
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700


def test_other_ethereum_software_opens_our_keystore_and_we_open_theirs(folder, tmp_path):
    entry = folder.import_key("mine", "0x" + KEY, "pass", rounds=FAST)
    assert bytes(Account.decrypt(json.loads(entry.path.read_text()), "pass")).hex() == KEY
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(Account.encrypt("0x" + KEY, "päss", "pbkdf2", 2)))
    assert LocalWallet.from_keystore(path, "päss").address == entry.address


def test_a_name_that_is_taken_is_never_overwritten(folder):
    entry = folder.create("mine", "x", rounds=FAST)
    before = entry.path.read_bytes()
    with pytest.raises(WalletError, match="already"):
        folder.create("mine", "y", rounds=FAST)
    assert entry.path.read_bytes() == before
    assert [path.name for path in folder.folder.iterdir()] == ["mine.json"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a b", "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(folder, name):
    with pytest.raises(UsageError):
        folder.create(name, "x", rounds=FAST)


def test_listing_shows_names_and_addresses_and_skips_other_files(folder):
    assert folder.list() == ()
    one = folder.create("one", "x", rounds=FAST)
    (folder.folder / "note.json").write_text("{}")
    (folder.folder / "broken.json").write_text("{")
    assert folder.list() == (one,)


def test_a_wallet_that_is_not_there_says_so(folder, tmp_path):
    with pytest.raises(WalletNotFound):
        folder.open("nobody", "x")
    with pytest.raises(WalletNotFound):
        LocalWallet.from_keystore(tmp_path / "nothing", "x")


def test_an_empty_passphrase_is_refused(folder):
    with pytest.raises(WalletError, match="passphrase"):
        folder.create("mine", "", rounds=FAST)


@pytest.mark.parametrize("key", ["", "12", "zz" * 32, "00" * 32, "ff" * 32, KEY + "11"])
def test_what_is_no_private_key_is_refused_without_showing_it(folder, key):
    with pytest.raises(WalletError) as caught:
        folder.import_key("mine", key, "x", rounds=FAST)
    assert not key or key not in caught.value.message + caught.value.hint


def damaged(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(version=2),
        lambda d: d.pop("crypto"),
        lambda d: d.update(crypto=[]),
        lambda d: d["crypto"].pop("kdfparams"),
        lambda d: d["crypto"]["kdfparams"].update(n="many"),
        lambda d: d["crypto"]["kdfparams"].update(n=-2),
        lambda d: d["crypto"]["kdfparams"].update(n=3),
        lambda d: d["crypto"].update(kdf="argon2id"),
        lambda d: d["crypto"].pop("mac"),
        lambda d: d["crypto"].pop("cipherparams"),
        lambda d: d["crypto"].update(ciphertext="zz"),
        lambda d: d["crypto"]["cipherparams"].update(iv=7),
        lambda d: d["crypto"]["kdfparams"].update(salt=None),
    ],
)
def test_a_damaged_keystore_is_one_clear_error(folder, change):
    entry = folder.create("mine", "x", rounds=FAST)
    damaged(entry.path, change)
    with pytest.raises(WalletError):
        LocalWallet.from_keystore(entry.path, "x")


@pytest.mark.parametrize(
    "work", [{"n": 1 << 40}, {"r": 1 << 30}, {"p": 1 << 30}, {"dklen": 1 << 30}]
)
def test_a_keystore_that_asks_for_endless_work_is_refused_at_once(folder, work):
    entry = folder.create("mine", "x", rounds=FAST)
    damaged(entry.path, lambda d: d["crypto"]["kdfparams"].update(work))
    with pytest.raises(LimitExceeded):
        LocalWallet.from_keystore(entry.path, "x")


def test_no_key_shows_in_print_or_pickle():
    wallet = LocalWallet(bytes.fromhex(KEY))
    assert KEY not in repr(wallet) + str(wallet)
    with pytest.raises(TypeError):
        pickle.dumps(wallet)


def test_a_typed_signature_recovers_to_the_wallet():
    domain = Domain("modeldeed LicenseLedger", "1", 31337, Address(b"\1" * 20))
    kind = StructType.parse("Mail(address to,uint256 id)")
    values = {"to": Address(b"\2" * 20), "id": 7}
    wallet = dev_wallet("holder")
    signature = wallet.sign_typed(domain, kind, values)
    assert signature[64] in {27, 28}
    assert recover(domain.digest(kind, values), signature) == wallet.address


def test_the_test_accounts_are_anvils_in_their_order(chain):
    with Rpc(chain.rpc_url) as rpc:
        accounts = [Address.parse(text) for text in rpc.call("eth_accounts")]
    assert [dev_wallet(name).address for name in DEV_WALLET_NAMES] == accounts
    assert all(dev_wallet(name).is_test_key for name in DEV_WALLET_NAMES)
    assert not LocalWallet.create().is_test_key


def test_an_unknown_test_account_lists_those_there_are():
    with pytest.raises(WalletNotFound) as caught:
        dev_wallet("nobody")
    assert "licensor" in caught.value.hint
