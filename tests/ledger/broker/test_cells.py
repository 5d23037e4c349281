"""Cell keys: deposited against the record, released by the license's code word, one form a cell."""

import base64
import dataclasses
import json
from importlib import import_module

import pytest

from ledger.broker import asking, threshold
from ledger.broker.cellshares import Place, ReleasedPart, deal_cells, join_cells
from ledger.broker.client import Asker
from ledger.broker.keeping import KeptReleases
from ledger.broker.receipts import verify_log
from ledger.broker.recovery import Recovery
from ledger.broker.released import ReleasedKeys
from ledger.broker.restoring import deposit_again, sealing_of
from ledger.broker.shares import join_recovery, split_recovery
from ledger.errors import (
    KeyAccessError,
    LimitExceeded,
    ManifestError,
    SharesRejected,
    SignatureInvalid,
    ThresholdNotMet,
    UsageError,
)
from ledger.licensing import card as card_module
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeParameters, CodeWord, code_word

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def celled(world, tmp_path_factory):
    made = import_module("cell_world").celled(world, tmp_path_factory.mktemp("celled"))
    with world.broker.client() as client:
        client.deposit(
            made.published.record,
            made.published.key,
            world.chain.wallet("licensor"),
            terms=[world.terms],
            cells=made.cells,
        )
    return made


@pytest.fixture(scope="module")
def at_work(world, celled):
    """The world with the celled model in place of its own."""
    return dataclasses.replace(world, published=celled.published)


def licensed(at_work, **changes):
    changes = {"transferable": True} | changes
    license_id = at_work.license(at_work.plan(**changes))
    return license_id, at_work.runtime(license_id)


def asker(at_work, identity, license_id):
    ledger = at_work.chain.deployment.addresses["LicenseLedger"]
    granted = identity.grant_for(31337, ledger, license_id)
    return Asker(
        identity=identity,
        license=license_id,
        model=at_work.published.model_id,
        sealing=at_work.published.record.hash(),
        grant=granted.grant,
        acceptance=granted.acceptance,
        terms=at_work.terms,
    )


def released(at_work, identity, license_id):
    with at_work.broker.client() as client:
        return client.release_keys(asker(at_work, identity, license_id))


def expected(celled, at_work, license_id, *, holder="holder", tenure=0):
    cells, address = celled.cells, at_work.chain.wallet(holder).address
    return code_word(cells.parameters, cells.code_key, license_id, address, tenure)


# -- release


def test_of_each_cell_the_key_that_the_code_word_says_is_released_and_no_other(at_work, celled):
    license_id, identity = licensed(at_work)
    keys, _, decision = released(at_work, identity, license_id)
    word = expected(celled, at_work, license_id)
    assert keys.content == celled.published.key
    assert keys.cells.word == word
    assert keys.cells.data == celled.cells.keys.chosen(word)
    assert decision.reply["cells"] == {"count": 24, "code_hash": str(word.hash())}
    assert [wrap["label"] for wrap in decision.reply["wraps"]] == ["content-key", "cell-keys"]
    celled.cells.table().check(keys.cells)
    keys.check(celled.published.record)
    keys.wipe()
    assert not any(bytes(keys.content) + bytes(keys.cells.data))


def test_the_same_license_gets_the_same_word_again_and_another_license_another(at_work):
    first, identity = licensed(at_work)
    once, again = (released(at_work, identity, first)[0].cells.word for _ in range(2))
    assert once == again
    second, other = licensed(at_work)
    assert released(at_work, other, second)[0].cells.word != once


def test_a_transfer_brings_another_word_and_so_does_the_way_back(at_work, celled):
    license_id, identity = licensed(at_work, seats=8)
    words = [released(at_work, identity, license_id)[0].cells.word]
    wallets = at_work.chain.wallet("holder").address, at_work.chain.wallet("rival").address
    for tenure, (giver, taker) in enumerate((("holder", "rival"), ("rival", "holder")), 1):
        send = (wallets[tenure - 1], wallets[2 - tenure], license_id)
        at_work.chain.send(giver, "LicenseLedger", "transferFrom", *send)
        runtime = at_work.runtime()
        at_work.grant(runtime, license_id, taker)
        words.append(released(at_work, runtime, license_id)[0].cells.word)
        assert words[-1] == expected(celled, at_work, license_id, holder=taker, tenure=tenure)
    assert len(set(words)) == 3


def test_the_receipt_log_holds_the_hash_and_nothing_of_the_keys(at_work, celled, world):
    license_id, identity = licensed(at_work)
    keys, _, _ = released(at_work, identity, license_id)
    log = [json.dumps(entry) for _, entry in world.broker.service.store.receipts(limit=10_000)]
    assert any(str(keys.cells.word.hash()) in entry for entry in log)
    secret = [
        celled.cells.code_key,
        celled.cells.salt,
        keys.cells.word.salt,
        celled.cells.keys.data,
    ]
    for entry in log:
        for value in secret:
            assert bytes(value).hex() not in entry
            assert base64.b64encode(bytes(value)).decode() not in entry


def test_the_database_holds_no_cell_key_in_the_clear(world, celled):
    folder = world.broker.home.database.parent
    data = b"".join(
        path.read_bytes() for path in folder.glob(f"{world.broker.home.database.name}*")
    )
    for secret in (
        celled.cells.code_key,
        celled.cells.keys.key(0, 0),
        celled.cells.keys.key(23, 1),
    ):
        assert bytes(secret) not in data


def test_a_broker_that_states_another_word_than_it_releases_is_refused(at_work, monkeypatch):
    license_id, identity = licensed(at_work)
    service = at_work.broker.service
    honest = service._wrap_cells

    def lying(*words):
        wraps, said = honest(*words)
        return wraps, {"cells": {**said["cells"], "code_hash": "0x" + "11" * 32}}

    monkeypatch.setattr(service, "_wrap_cells", lying)
    with pytest.raises(SignatureInvalid, match="another code word"):
        released(at_work, identity, license_id)
    monkeypatch.setattr(service, "_wrap_cells", lambda *words: ([], {}))
    keys, _, _ = released(at_work, identity, license_id)
    with pytest.raises(KeyAccessError, match="whether there are cells"):
        keys.check(at_work.published.record)
    assert not any(keys.content)
    monkeypatch.setattr(service, "_wrap_cells", lambda *words: ([], honest(*words)[1]))
    with pytest.raises(ManifestError, match="differ in whether"):
        released(at_work, identity, license_id)


# -- deposit


def bent(celled, **changes):
    return dataclasses.replace(celled.cells, **changes)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("other keys", "cell keys are not those"),
        ("two keys exchanged", "cell keys are not those"),
        ("a form exchanged", "cell keys are not those"),
        ("other records", "cell keys are not those"),
        ("other code key", "code key is not the one"),
        ("other salt", "code key is not the one"),
        ("other colluders", "code key is not the one"),
    ],
)
def test_keys_that_the_record_does_not_commit_to_are_refused_and_not_kept(
    world, celled, tmp_path, fault, message
):
    made = import_module("cell_world").celled(world, tmp_path)
    cells, other = made.cells, import_module("cell_world").other_cells()
    swapped = bytearray(cells.keys.data)
    if fault == "two keys exchanged":
        swapped[:64], swapped[64:128] = swapped[64:128], swapped[:64]
    if fault == "a form exchanged":
        swapped[:32], swapped[32:64] = swapped[32:64], swapped[:32]
    wrong = {
        "other keys": {"keys": other.keys},
        "two keys exchanged": {"keys": CellKeys(swapped)},
        "a form exchanged": {"keys": CellKeys(swapped)},
        "other records": {"records": other.records},
        "other code key": {"code_key": other.code_key},
        "other salt": {"salt": other.salt},
        "other colluders": {"parameters": CodeParameters(24, 6)},
    }[fault]
    with world.broker.client() as client, pytest.raises(KeyAccessError, match=message):
        client.deposit(
            made.published.record,
            made.published.key,
            world.chain.wallet("licensor"),
            cells=dataclasses.replace(cells, **wrong),
        )
    assert world.broker.service.store.sealing(made.published.record.hash()) is None


def test_a_sealing_with_cells_takes_their_keys_and_another_takes_none(world, celled, tmp_path):
    licensor = world.chain.wallet("licensor")
    with world.broker.client() as client:
        with pytest.raises(ManifestError, match="where its sealing needs content-key, cell-keys"):
            client.deposit(celled.published.record, celled.published.key, licensor)
        with pytest.raises(ManifestError, match="needs content-key"):
            client.deposit(
                world.published.record, world.published.key, licensor, cells=celled.cells
            )


def test_the_largest_number_of_cells_fits_a_deposit_and_a_release(world, tmp_path):
    made = import_module("cell_world").celled(world, tmp_path, count=4096, colluders=8)
    here = dataclasses.replace(world, published=made.published)
    with world.broker.client() as client:
        client.deposit(
            made.published.record,
            made.published.key,
            world.chain.wallet("licensor"),
            terms=[world.terms],
            cells=made.cells,
        )
    license_id, identity = licensed(here)
    keys, _, _ = released(here, identity, license_id)
    made.cells.table().check(keys.cells)


# -- what else holds them


def test_recovery_file_and_shares_carry_the_cells_and_check_them(world, celled):
    claim = None
    recovery = Recovery(
        celled.published.key, world.published.record.root, claim, celled.published.record,
        celled.cells,
    )  # fmt: skip
    plain = Recovery.from_contents(recovery.contents(), what="it")
    assert plain.cells.to_json() == celled.cells.to_json()
    plain.cells.check(celled.published.record)
    files = split_recovery(recovery, 2, 3)
    again = join_recovery(files[1:])
    assert again.cells.keys.data == celled.cells.keys.data
    assert bytes(celled.cells.code_key).hex() not in repr(recovery)
    other = import_module("cell_world").other_cells()
    with pytest.raises(KeyAccessError, match="code key"):
        other.check(celled.published.record)
    with pytest.raises(UsageError, match="before the sealing"):
        sealing_of(dataclasses.replace(recovery, cells=None), world.chain.deployment)


def test_a_kept_release_keeps_the_cell_keys_sealed(at_work, celled):
    license_id, identity = licensed(at_work)
    card = card_module.parse(json.loads(at_work.card_file(license_id).read_text()))
    kept = KeptReleases(identity)
    client, keys, _ = asking.ask(card, identity, None, 10, keep=kept.keep)
    client.close()
    again, _, _ = kept.open(card, celled.published.record)
    assert again == keys
    (path,) = kept.folder.glob("*.json")
    assert base64.b64encode(bytes(keys.cells.data[:30])).decode() not in path.read_text()


def test_a_broker_restored_from_a_recovery_file_releases_the_same_cells(
    world, at_work, celled, broker_world, tmp_path
):
    made = celled.published
    recovery = Recovery(made.key, made.record.root, None, made.record, celled.cells)
    other = broker_world.Broker(world.chain, tmp_path)
    try:
        licensor = world.chain.wallet("licensor")
        receipt = deposit_again(other.service, recovery, made.record, licensor)
        assert receipt["deposit"]["labels"] == ["content-key", "cell-keys", "code-key"]
        here = dataclasses.replace(at_work, broker=other)
        license_id, identity = licensed(here)
        keys, _, _ = released(here, identity, license_id)
        assert keys.cells.word == expected(celled, here, license_id)
        celled.cells.table().check(keys.cells)
        # Its log verifies, deposits and releases of cells included.
        entries = list(other.service.store.receipts())
        assert len(verify_log(entries, other.home.signing.public)) == len(entries) >= 2
    finally:
        other.close()


def test_released_keys_come_back_from_their_bytes():
    for count in (1, 7, 8, 9, 4095, 4096):
        keys = CellKeys.create(count)
        word = code_word(CodeParameters(count, 2), bytes(32), *_someone(count))
        made = ReleasedKeys(bytearray(b"k" * 32), ReleasedCells(word, keys.chosen(word)))
        assert ReleasedKeys.from_bytes(made.to_bytes()) == made
    assert ReleasedKeys.from_bytes(bytearray(32)).cells is None
    for length in (31, 33, 32 + 32, 32 + 64, 32 + 66):
        with pytest.raises(LimitExceeded):
            ReleasedKeys.from_bytes(bytearray(length))


def _someone(number):
    from ledger.ids import Address, LicenseId

    return LicenseId.of(1, number), Address(bytes(20)), 0


# -- several brokers


def test_parts_of_t_brokers_join_to_the_keys_of_the_word_and_a_changed_one_is_named():
    keys = CellKeys.create(33)
    word = code_word(CodeParameters(33, 4), bytes(32), *_someone(3))
    parts, roots = deal_cells(keys, 2, 3)
    given = []
    for index in (1, 2, 3):
        place = Place(2, 3, index)
        part = ReleasedPart.of(place, parts[index - 1], word)
        again = ReleasedPart.from_bytes(part.to_bytes(), 33)
        assert again == part
        again.check(place, roots[index - 1])
        given.append((index, again))
        with pytest.raises(SharesRejected, match=f"share {index}"):
            again.check(place, roots[index - 2])
    for pair in (given[:2], given[1:], given[::2]):
        assert join_cells(pair).data == keys.chosen(word)
    # One alone is not the key, and a share of another form is found out.
    assert given[0][1].cells.data != keys.chosen(word)
    given[0][1].cells.data[5] ^= 1
    with pytest.raises(SharesRejected, match="share 1"):
        given[0][1].check(Place(2, 3, 1), roots[0])
    flipped = CodeWord(bytes([1 - word.bits[0]]) + word.bits[1:], word.salt)
    moved = ReleasedPart(ReleasedCells(flipped, given[1][1].cells.data), given[1][1].others)
    with pytest.raises(SharesRejected, match="share 2"):
        moved.check(Place(2, 3, 2), roots[1])
    with pytest.raises(SharesRejected, match="several code words"):
        join_cells([given[0], (2, moved)])


@pytest.fixture(scope="module")
def celled_trio(world, celled, tmp_path_factory):
    module = import_module("threshold_world")
    with module.trio(world, tmp_path_factory.mktemp("celled-trio")) as made:
        made.world = dataclasses.replace(world, published=celled.published)
        chain = world.chain
        clients = made.clients()
        clients.deposit(
            celled.published.record, celled.published.key, chain.wallet("licensor"),
            made.brokers[0].home.identity.domain, terms=[world.terms], cells=celled.cells,
        )  # fmt: skip
        clients.close()
        yield made


def joined(trio, card, identity):
    parsed = card_module.parse(json.loads(card.read_text()))
    group, keys, _ = asking.ask(parsed, identity, None, 10)
    group.close()
    return keys


def test_two_of_three_brokers_give_the_cell_keys_and_a_liar_about_them_is_left_out(
    celled_trio, celled, monkeypatch
):
    monkeypatch.setattr(threshold, "SETTLE_SECONDS", 30)  # a slower liar is never heard
    license_id, card, identity = celled_trio.licensed()
    word = expected(celled, celled_trio.world, license_id)
    for down in (0, 1, 2):
        with celled_trio.down(down):
            keys = joined(celled_trio, card, identity)
        assert keys.content == celled.published.key
        assert keys.cells.data == celled.cells.keys.chosen(word)
    liar = celled_trio.brokers[1].service
    held = liar._vault.secret

    def lying(sealing, label):
        import contextlib

        @contextlib.contextmanager
        def changed():
            with held(sealing, label) as secret:
                if label.startswith("cell-share"):
                    secret[0] ^= 1
                    secret[32] ^= 1
                yield secret

        return changed()

    liar._vault.secret = lying
    try:
        with pytest.warns(UserWarning, match="was left out: the cell keys' share 2"):
            keys = joined(celled_trio, card, identity)
    finally:
        del liar._vault.secret
    assert keys.cells.data == celled.cells.keys.chosen(word)


def test_brokers_that_have_not_seen_the_same_transfer_are_asked_again_later(
    celled_trio, monkeypatch
):
    _, card, identity = celled_trio.licensed()
    late = celled_trio.brokers[0].service
    honest = late._cells._word

    def behind(record, license_id, side):
        return honest(record, license_id, dataclasses.replace(side, grant_nonce=77))

    monkeypatch.setattr(late._cells, "_word", behind)
    joined(celled_trio, card, identity).wipe()  # the two others agree
    with celled_trio.down(2), pytest.raises(ThresholdNotMet, match="different code words"):
        joined(celled_trio, card, identity)


def test_a_broker_is_refused_a_part_that_is_not_its_own(celled_trio, celled, world, monkeypatch):
    clients = celled_trio.clients()
    from ledger.broker import depositing

    def exchanged(*words, **options):
        parts, roots = deal_cells(*words, **options)
        return parts[::-1], roots

    monkeypatch.setattr(depositing, "deal_cells", exchanged)
    with pytest.raises(SharesRejected, match="cell keys' share 1"):
        clients.deposit(
            celled.published.record, celled.published.key, world.chain.wallet("licensor"),
            celled_trio.brokers[0].home.identity.domain, cells=celled.cells,
        )  # fmt: skip
    clients.close()
