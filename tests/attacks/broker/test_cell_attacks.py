"""Attacks on cells: conspiring brokers, and holders who collect words."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import secrets
import time
from importlib import import_module
from typing import Any

import pytest

from ledger.broker import asking, shamir
from ledger.broker.cellshares import Place, ReleasedPart, deal_cells, join_cells
from ledger.broker.client import Asker
from ledger.broker.wordcount import places
from ledger.errors import LicenseHeld, LimitExceeded, SharesRejected
from ledger.ids import Address, LicenseId
from ledger.licensing import card as card_module
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeParameters, CodeWord, biases, code_word

HOLDER, LICENSE = Address(b"\7" * 20), LicenseId.parse("1.1")


def other(word):
    return CodeWord(bytes(1 - bit for bit in word.bits), word.salt)


@pytest.fixture(scope="module")
def made():
    parameters, code_key = CodeParameters(24, 2), secrets.token_bytes(32)
    keys = CellKeys.create(24)
    parts, roots = deal_cells(keys, 3, 5)
    return keys, parts, roots, code_word(parameters, code_key, LICENSE, HOLDER, 0)


def test_t_less_one_conspirators_get_no_form_that_an_honest_broker_keeps_back(made):
    """They have all of their parts and one honest broker's release; the other form stays closed."""
    keys, parts, _, word = made
    honest = ReleasedPart.of(Place(3, 5, 3), parts[2], word)
    wanted = keys.chosen(other(word))
    for pair in itertools.combinations((0, 1, 3, 4), 2):
        mine = {n + 1: parts[n].chosen(other(word)) for n in pair}
        assert shamir.at_zero(mine) != wanted
        # The honest share of the word's form in place of the one that is missing.
        assert shamir.at_zero({**mine, 3: honest.cells.data}) != wanted
        # Its leaf hashes of the other form are hashes of 32 random bytes.
        assert shamir.at_zero({**mine, 3: bytearray(honest.others)}) != wanted


def test_a_part_of_the_other_form_under_the_licenses_word_is_found_out(made):
    _, parts, roots, word = made
    place = Place(3, 5, 2)
    for flipped in range(24):
        bits = bytearray(word.bits)
        bits[flipped] ^= 1
        lie = CodeWord(bytes(bits), word.salt)
        # It says the license's word and hands over another form's share.
        part = ReleasedPart(ReleasedCells(word, parts[1].chosen(lie)), place.others(parts[1], word))
        with pytest.raises(SharesRejected):
            part.check(place, roots[1])
        # It hands over what it says, which is another word, and joins with nobody.
        part = ReleasedPart.of(place, parts[1], lie)
        part.check(place, roots[1])
        honest = ReleasedPart.of(Place(3, 5, 1), parts[0], word)
        with pytest.raises(SharesRejected, match="several code words"):
            join_cells([(1, honest), (2, part)])


def test_a_part_counts_in_its_own_place_alone_and_for_its_own_numbers(made):
    _, parts, roots, word = made
    part = ReleasedPart.of(Place(3, 5, 2), parts[1], word)
    for place in (Place(3, 5, 1), Place(2, 5, 2), Place(3, 4, 2)):
        with pytest.raises(SharesRejected):
            part.check(place, roots[1])
    for cells in (23, 25):
        with pytest.raises(LimitExceeded):
            ReleasedPart.from_bytes(part.to_bytes(), cells)


def test_of_t_less_one_shares_every_secret_is_as_likely(made):
    """For any two shares of three there is a third for each secret: nothing is learnt."""
    shares = shamir.split(bytes(range(32)), 3, 5)
    first, second = shares[0].value, shares[1].value
    seen = set()
    for byte in range(256):
        third = bytearray([byte]) * 32
        seen.add(shamir.at_zero({1: first, 2: second, 3: third})[0])
    assert len(seen) == 256


# -- a holder who collects words


def traced(parameters, code_key, words, copy):
    """The sum of a license's symmetric scores, in standard deviations of an innocent's."""
    total = 0.0
    for bias, *bits, shown in zip(biases(parameters, code_key), *words, copy, strict=True):
        up = math.sqrt((2**64 - bias) / bias)
        one, zero = (up, -1 / up) if shown else (-up, 1 / up)
        total += sum(one if bit else zero for bit in bits)
    return total / math.sqrt(len(words) * parameters.count)


def mixed(words):
    """A copy made of all these words: a coin decides wherever both forms are at hand."""
    coins = hashlib.shake_256(b"coins").digest(len(words[0]))
    columns = zip(zip(*words, strict=True), coins, strict=True)
    return [column[0] if len(set(column)) == 1 else coin & 1 for column, coin in columns]


@pytest.mark.parametrize("colluders", range(1, 17))
def test_the_words_that_one_license_is_given_are_traced_together(colluders):
    """What `places` allows, and far more of them are not: that is what the bound is for."""
    parameters, code_key = CodeParameters(1024, colluders), b"\5" * 32

    def z(count):
        words = [code_word(parameters, code_key, LICENSE, HOLDER, n).bits for n in range(count)]
        return traced(parameters, code_key, words, mixed(words))

    most = places(colluders, holders=9)
    # The biases for c and for c + 1 colluders are the same where c is odd.
    assert 2 <= places(colluders) <= most <= max(2, colluders)
    assert z(most) > 6
    assert z(8 * colluders + 16) < z(most) / 2


def test_brokers_that_count_alone_give_no_more_than_the_code_is_made_for_together():
    for colluders, members in itertools.product(range(1, 17), range(1, 12)):
        for threshold in range(1, members + 1):
            each = places(colluders, threshold=threshold, members=members)
            if each > 2:
                assert members * each // threshold <= colluders
            assert each <= places(colluders)


@pytest.fixture(scope="module")
def celled(world, tmp_path_factory):
    """A model whose record commits to 1,024 cells, coded for four copies; its keys deposited."""
    folder = tmp_path_factory.mktemp("collected")
    made = import_module("cell_world").celled(world, folder, count=1024, colluders=4)
    with world.broker.client() as client:
        client.deposit(
            made.published.record, made.published.key, world.chain.wallet("licensor"),
            terms=[world.terms], cells=made.cells,
        )  # fmt: skip
    return made


@pytest.fixture
def thief(world, celled):
    """A holder who wants as many words of one license as there are."""
    here = dataclasses.replace(world, published=celled.published)
    return Thief(here, here.license(here.plan(seats=0)), here.broker.service)


@dataclasses.dataclass
class Thief:
    """The holder of one license, who asks one broker."""

    world: Any
    license: LicenseId
    service: Any
    who: str = "holder"
    words: list[CodeWord] = dataclasses.field(default_factory=list)

    def ask(self, intent="release"):
        """By a fresh runtime; the word is kept."""
        identity = self.world.runtime()
        self.world.grant(identity, self.license, self.who)
        made, ledger = self.world.published, self.world.chain.deployment.addresses["LicenseLedger"]
        granted = identity.grant_for(31337, ledger, self.license)
        asker = Asker(
            identity=identity, license=self.license, model=made.model_id,
            sealing=made.record.hash(), grant=granted.grant, acceptance=granted.acceptance,
            terms=self.world.terms,
        )  # fmt: skip
        with self.world.broker.client() as client:
            if intent == "check":
                return client.check(asker)
            keys, _, decision = client.release_keys(asker)
            self.words.append(keys.cells.word)
            return decision

    def cancel(self):
        self.world.chain.send(self.who, "LicenseLedger", "cancelGrants", self.license)

    def transfer(self, to):
        wallet = self.world.chain.wallet
        send = wallet(self.who).address, wallet(to).address, self.license
        self.world.chain.send(self.who, "LicenseLedger", "transferFrom", *send)
        self.who = to

    def entries(self, kind):
        rows = self.service.store.receipts(limit=100_000)
        return [e for _, e in rows if e["reply"]["type"] == kind
                and e["request"].get("license") == str(self.license)]  # fmt: skip


@pytest.mark.chain
def test_a_holder_who_cancels_grants_again_and_again_gets_two_words_and_a_hold(thief, celled):
    for _ in range(2):
        for _ in range(3):  # the same word again never counts
            thief.ask()
        thief.cancel()
    assert "another is asked for" in thief.ask("check").denial.message
    assert not thief.entries("hold")  # a check holds nothing
    for _ in range(6):
        with pytest.raises(LicenseHeld, match="code-words") as caught:
            thief.ask()
        assert "deed license release-hold" in caught.value.hint
        thief.cancel()
    (hold,) = thief.entries("hold")
    assert hold["request"]["rule"] == "code-words"
    (denial, *_) = [e["reply"]["denial"] for e in thief.entries("release") if e["reply"]["denial"]]
    assert (denial["check"], denial["code"], denial["retry_after"]) == (9, "LICENSE_HELD", None)
    got = [word.bits for word in dict.fromkeys(thief.words)]
    assert len(got) == 2
    # All that was collected still names the license.
    assert traced(celled.cells.parameters, celled.cells.code_key, got, mixed(got)) > 10


@pytest.mark.chain
def test_a_buyer_is_not_held_for_what_the_seller_collected_and_collects_no_more(thief, celled):
    thief.ask()
    thief.cancel()
    thief.ask()
    thief.transfer("rival")
    thief.ask()  # a first owner change, after all that the seller could collect
    thief.transfer("holder")
    with pytest.raises(LicenseHeld, match="3 code words"):
        thief.ask()
    got = [word.bits for word in dict.fromkeys(thief.words)]
    assert len(got) == 3
    assert traced(celled.cells.parameters, celled.cells.code_key, got, mixed(got)) > 10


@pytest.mark.chain
def test_a_licensors_release_gives_one_word_more_and_notices_go_out(thief):
    told = []
    thief.service.defence._tell = lambda event, document, now: told.append((event, document))
    try:
        for _ in range(2):
            thief.ask()
            thief.cancel()
        for more in (3, 4):
            with pytest.raises(LicenseHeld):
                thief.ask()
            thief.cancel()  # while it is held: the release is good for the word that is due then
            thief.service.defence.release(thief.license, by="licensor", now=int(time.time()))
            for _ in range(2):
                thief.ask()
            thief.cancel()
            assert len(set(thief.words)) == more
        with pytest.raises(LicenseHeld):
            thief.ask()
    finally:
        thief.service.defence._tell = thief.service.notices.put
    events = [event.rpartition(".")[2] for event, _ in told]
    assert events == ["held", "released", "held", "released", "held"]
    assert {document.get("rule", "code-words") for _, document in told} == {"code-words"}


@pytest.mark.chain
def test_of_brokers_that_decide_alone_n_through_t_times_as_many_words_are_had(trio, world, celled):
    """2 of 3, asked two at a time: 3 words instead of 2, as the specification says."""
    here = trio.world = dataclasses.replace(world, published=celled.published)
    with contextlib.closing(trio.clients()) as clients:
        clients.deposit(
            celled.published.record, celled.published.key, world.chain.wallet("licensor"),
            trio.brokers[0].home.identity.domain, terms=[world.terms], cells=celled.cells,
        )  # fmt: skip
    license_id, path, identity = trio.licensed()
    card, got, refused = card_module.parse(json.loads(path.read_text())), [], []
    for down in (2, 1, 0, 2, 1, 0):
        with trio.down(down):
            try:
                group, keys, _ = asking.ask(card, identity, None, 10)
            except LicenseHeld as error:
                refused.append(str(error))
            else:
                group.close()
                got.append(keys.cells.word)
        here.chain.send("holder", "LicenseLedger", "cancelGrants", license_id)
        here.grant(identity, license_id, brokers_hash=trio.card_brokers().hash())
    assert len(got) == len(set(got)) == 3
    assert len(refused) == 3
    assert all("code-words" in each for each in refused)
