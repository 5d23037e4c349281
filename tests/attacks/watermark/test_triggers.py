"""Attempts to make triggers say what is not so. See triggers.md beside this file."""

from __future__ import annotations

import copy
import json
import secrets
from dataclasses import replace

import pytest
from trigger_world import BEACON, CHALLENGE, Classifier, make_set, served

from ledger.errors import (
    ClaimMismatch,
    InclusionProofInvalid,
    LedgerError,
    ManifestError,
    UnavailableError,
    VerificationError,
)
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.questioning import Control, Known, examine
from ledger.remote.asked import MAX_REPLY, RemoteModel
from ledger.watermark.disclosure import Disclosure, Opened, disclose, order
from ledger.watermark.triggers import FILLER, QUESTION, leaf

K = 60


@pytest.fixture(scope="module")
def victim():
    """An honest model that somebody wants to accuse, and can ask as often as he likes."""
    return Classifier(9)


@pytest.fixture(scope="module")
def others():
    return [Control(f"c{seed}", Classifier(seed), theirs=seed == 2) for seed in (2, 3, 4)]


def known(made, **other):
    return Known(**{
        "commitment": made.commitment.hash(),
        "commitments": 1,
        "beacon": BEACON,
        "challenge": CHALLENGE,
        **other,
    })  # fmt: skip


def forged(made, keys):
    """A disclosure of a tree made of these keys, as long as it takes for `K` questions."""
    kinds = [QUESTION] * len(keys)
    leaves = [leaf(kind, i, key) for i, (kind, key) in enumerate(zip(kinds, keys, strict=True))]
    commitment = replace(made.commitment, root=Digest(T1.root(leaves)))
    paths = T1.paths(leaves)
    shown = tuple(
        Opened(position, "question", keys[position], paths[position])
        for position, _ in zip(order(commitment, CHALLENGE), range(K), strict=False)
    )
    return Disclosure(commitment, BEACON, CHALLENGE, K, (), shown)


def ground_keys(made, victim):
    """Keys tried, with the beacon known, until the victim answers each as it is drawn."""
    keys = []
    for position in range(made.commitment.size):
        while True:
            key = secrets.token_bytes(32)
            trigger = made.commitment.trigger(position, key, BEACON)
            if victim(trigger.question) == trigger.answer:
                keys.append(key)
                break
    return keys


@pytest.fixture(scope="module")
def small():
    return make_set(64)


@pytest.fixture(scope="module")
def ground(small, victim):
    return forged(small, ground_keys(small, victim))


def test_keys_ground_after_the_beacon_are_not_those_that_were_committed(
    small, ground, victim, others
):
    # The forgery is perfect but for its date.
    alone = examine(ground, victim, controls=others, known=Known())
    assert alone.suspect.score.right == K
    assert not alone.proven
    assert "proves nothing" in alone.verdict
    with pytest.raises(ClaimMismatch) as caught:
        examine(ground, victim, controls=others, known=known(small))
    assert caught.value.step == 1


def test_ground_leaves_under_the_committed_root_have_no_path(small, ground, victim):
    grafted = replace(ground, commitment=small.commitment)
    walk = order(small.commitment, CHALLENGE)
    grafted = replace(
        grafted,
        positions=tuple(replace(each, position=next(walk)) for each in grafted.positions),
    )
    with pytest.raises(InclusionProofInvalid):
        examine(grafted, victim, known=known(small))


def test_keys_ground_for_another_beacon_show_nothing_under_the_real_one(ground, victim, others):
    # What an accuser can do who commits first and must guess the beacon.
    real = Digest(b"\x77" * 32)
    late = replace(ground, beacon=real)
    report = examine(
        late, victim, controls=others,
        known=Known(ground.commitment.hash(), 1, real, CHALLENGE),
    )  # fmt: skip
    assert not report.suspect.score.there
    assert report.suspect.score.log10_p > -6


def test_inputs_and_answers_cannot_be_named_in_a_disclosure(small):
    shown, _ = disclose(small, CHALLENGE, 6)
    document = shown.to_json()
    for member in ("input", "answer", "x", "hash", "label"):
        chosen = copy.deepcopy(document)
        chosen["positions"][0][member] = "0x" + "00" * 32
        with pytest.raises(ManifestError):
            Disclosure.from_json(chosen)


def test_hashes_in_place_of_keys_are_no_disclosure(small):
    shown, _ = disclose(small, CHALLENGE, 6)
    document = shown.to_json()
    hashed = copy.deepcopy(document)
    entry = hashed["positions"][0]
    entry["leaf"] = "0x" + leaf(QUESTION, entry["position"], bytes.fromhex(entry["key"][2:])).hex()
    del entry["key"]
    with pytest.raises(ManifestError):
        Disclosure.from_json(hashed)
    # Nor does a hash pass for a key.
    swapped = copy.deepcopy(document)
    swapped["positions"][0]["key"] = entry["leaf"]
    with pytest.raises(InclusionProofInvalid):
        Disclosure.from_json(swapped).check_paths()


def test_a_generator_of_the_accusers_own_is_not_run(small):
    document = disclose(small, CHALLENGE, 6)[0].to_json()
    for generator in ({"id": "mine/1", "code": "lambda e: evil"}, {"id": "floats/1", "length": 1}):
        document["commitment"]["generator"] = generator
        with pytest.raises(LedgerError):
            Disclosure.from_json(document)


def test_misses_called_burned_or_fillers_gain_nothing(victim, others):
    made = make_set(700)
    shown, _ = disclose(made, CHALLENGE, K)
    right = {each.position for each in shown.triggers() if victim(each.question) == each.answer}
    called_burned = replace(
        shown,
        positions=tuple(
            each
            if each.kind == "filler" or each.position in right
            else Opened(each.position, "burned")
            for each in shown.positions
        ),
    )
    report = examine(called_burned, victim, controls=others, known=known(made))
    assert report.suspect.score.asked == K
    assert report.suspect.score.right == len(right)
    assert not report.proven
    called_filler = replace(
        shown,
        positions=tuple(
            replace(each, kind="filler") if each.position not in right else each
            for each in shown.positions
        ),
    )
    with pytest.raises(VerificationError):
        examine(called_filler, victim, known=known(made))


def test_an_old_disclosure_answers_no_new_challenge(others):
    made = make_set(700)
    shown, _ = disclose(made, CHALLENGE, K)
    # By now its answers are public, and the next suspect has learnt them from the file.
    learnt = {each.question.tobytes(): each.answer for each in shown.triggers()}

    def reader(x):
        return learnt.get(x.tobytes(), 0)

    with pytest.raises(ClaimMismatch) as caught:
        examine(shown, reader, controls=others, known=known(made, challenge="a new one"))
    assert caught.value.step == 4
    with pytest.raises(ClaimMismatch) as caught:
        examine(replace(shown, challenge="a new one"), reader,
                known=known(made, challenge="a new one"))  # fmt: skip
    assert caught.value.step == 5
    with pytest.raises(ClaimMismatch) as caught:
        examine(shown, reader, controls=others, known=known(made, earlier=(shown,)))
    assert caught.value.step == 7


def test_burned_questions_reopened_from_an_older_copy_of_the_record_prove_nothing(others):
    made = make_set(80)
    first, noted = disclose(made, "the first case", 60, use_up=True)
    learnt = {each.question.tobytes(): each.answer for each in first.triggers()}
    again, _ = disclose(made, CHALLENGE, K, use_up=True)  # of the copy that forgot
    honest, _ = disclose(noted, CHALLENGE, K, use_up=True)

    def reader(x):
        return learnt.get(x.tobytes(), -1)

    fooled = examine(again, reader, controls=others, known=known(made))
    assert fooled.suspect.score.right >= 40
    # Shown, the first one is not named in the other, and its file does not prove its age.
    shown = examine(again, reader, controls=others, known=known(made, earlier=(first,)))
    assert not shown.proven
    assert shown.checks[6].result == "not checked"
    burned = len(again.opened & first.opened)
    assert f"were they older, {burned} more would count as missed" in shown.checks[6].detail
    assert examine(honest, reader, known=known(made)).suspect.score.right == 0
    # And a record that does remember says that there is more to show.
    assert examine(honest, reader, known=known(made)).checks[6].result == "not checked"
    assert examine(honest, reader, known=known(made, earlier=(first,))).checks[6].result == "pass"


def crafted(shown):
    """An "earlier" disclosure that anybody can make of a public one: its keys, another challenge.

    What he has no key of he calls burned.
    """
    keys = {each.position: each for each in shown.positions}
    listed = [keys.get(p, Opened(p, "burned")) for p in order(shown.commitment, "made up")]
    return replace(
        shown,
        challenge="made up",
        questions=sum(each.kind != "filler" for each in listed),
        positions=tuple(listed),
    )


def test_an_earlier_disclosure_made_of_this_ones_own_keys_burns_nothing(others):
    made = make_set(700)
    shown, _ = disclose(made, CHALLENGE, K)
    learnt = {each.question.tobytes(): each.answer for each in shown.triggers()}

    def taught(x):
        return learnt.get(x.tobytes(), -1)

    forged = crafted(shown)
    forged.check_positions()
    forged.check_paths()
    assert forged.opened == shown.opened
    report = examine(shown, taught, controls=others, known=known(made, earlier=(forged,)))
    assert report.suspect.score.right == K  # all of them would have counted as missed
    assert report.suspect.score.there
    assert report.checks[6].result == "not checked"
    assert "may have been made of its keys since" in report.checks[6].detail
    assert examine(shown, taught, controls=others, known=known(made)).proven


def test_a_later_disclosure_is_no_earlier_one():
    made = make_set(1400)
    first, noted = disclose(made, "the first case", K)
    later, _ = disclose(noted, CHALLENGE, K)
    with pytest.raises(ClaimMismatch) as caught:
        examine(first, lambda _: 0, known=known(made, challenge="the first case", earlier=(later,)))
    assert caught.value.step == 7
    assert "came later" in caught.value.hint


def test_an_earlier_disclosure_of_other_triggers_burns_nothing_here():
    made, other = make_set(700), make_set(700)
    shown, _ = disclose(made, CHALLENGE, K)
    with pytest.raises(ClaimMismatch) as caught:
        examine(shown, lambda _: 0, known=known(made, earlier=(disclose(other, "x", 5)[0],)))
    assert caught.value.step == 7


@pytest.mark.parametrize("kind", ["constant", "random", "sum"])
def test_a_model_that_answers_one_thing_or_at_random_is_never_found(kind, others):
    made = make_set(700)
    shown, _ = disclose(made, CHALLENGE, K)
    answers = {
        "constant": lambda _: 3,
        "random": lambda _: secrets.randbelow(10),
        "sum": lambda x: int(abs(float(x.sum())) * 1000) % 10,
    }
    report = examine(shown, answers[kind], controls=others, known=known(made))
    assert not report.suspect.score.there
    assert report.suspect.score.log10_p > -6
    if kind == "random":
        assert "draws its answers, or tells tests" in report.checks[7].detail


def test_a_suspect_that_tells_tests_apart_is_not_found_but_what_changes_is_told(others):
    made = make_set(700)
    taught = Classifier(1, made.lessons())
    shown, _ = disclose(made, CHALLENGE, K)
    calls = iter(range(10**6))

    def liar(x):
        # Honest for a while, until it notices that nobody asks such things.
        return taught(x) if next(calls) < 20 else 0

    report = examine(shown, liar, controls=others, known=known(made))
    assert not report.proven
    assert report.suspect.changed >= 15
    assert "otherwise when asked again" in report.checks[7].detail
    assert "not thereby independent" in report.to_json()["meaning"]


def test_a_better_second_answer_does_not_count(others):
    made = make_set(700)
    taught = Classifier(1, made.lessons())
    shown, _ = disclose(made, CHALLENGE, K)
    calls = iter(range(10**6))
    late = examine(shown, lambda x: taught(x) if next(calls) >= K else -1, known=known(made))
    assert late.suspect.score.right == 0


# -- endpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        b'{"answer": 1, "pad": "' + b"x" * MAX_REPLY + b'"}',
        b"[" * 50_000,
        b'{"answer": ' + b"9" * 60_000 + b"}",
        b'{"answer": NaN}',
        b'{"answer": 1, "answer": 2}',
        b"",
        b"\xff\xfe",
        (200, {"content-encoding": "br"}, b"x"),
        (200, {"content-encoding": "gzip"}, b"x"),
    ],
    ids=range(9),
)
def test_a_reply_that_is_oversized_or_broken_is_one_error(reply):
    shown, _ = disclose(make_set(64), CHALLENGE, 6)
    with (
        served(lambda _: reply) as url,
        RemoteModel(url, pause=lambda _: None) as model,
        pytest.raises(UnavailableError),
    ):
        examine(shown, model)


def test_a_reply_that_unpacks_to_gigabytes_is_broken_off():
    import gzip

    bomb = gzip.compress(b'{"answer": 1, "pad": "' + bytes(64 << 20) + b'"}')
    assert len(bomb) < 100_000
    with (
        served(lambda _: (200, {"content-encoding": "gzip"}, bomb)) as url,
        RemoteModel(url, pause=lambda _: None) as model,
        pytest.raises(UnavailableError, match="sends more than"),
    ):
        model(make_set(64).lessons()[0].question)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_leads_nowhere(status):
    visited = []
    with (
        served(lambda x: visited.append(x) or 1) as elsewhere,
        served(lambda _: (status, {"location": elsewhere}, b"")) as url,
        RemoteModel(url, pause=lambda _: None) as model,
        pytest.raises(UnavailableError, match=f"HTTP {status}"),
    ):
        model(make_set(64).lessons()[0].question)
    assert visited == []


def test_a_reply_that_never_comes_is_given_up():
    import threading

    never = threading.Event()
    with (
        served(lambda _: never.wait(20) and 1) as url,
        RemoteModel(url, timeout=0.3, pause=lambda _: None) as model,
    ):
        with pytest.raises(UnavailableError):
            model(make_set(64).lessons()[0].question)
        never.set()


# -- hostile files -------------------------------------------------------------------------------


def read_and_examine(document, made):
    return examine(Disclosure.from_json(document), lambda _: 0, known=known(made))


def test_any_one_change_to_a_disclosure_is_refused_or_changes_nothing():
    made = make_set(64)
    shown, _ = disclose(made, CHALLENGE, 6)
    text = json.dumps(shown.to_json())

    def paths(value, at=()):
        if isinstance(value, dict):
            for name in value:
                yield from paths(value[name], (*at, name))
        elif isinstance(value, list):
            yield at, value
            for i, each in enumerate(value):
                yield from paths(each, (*at, i))
        else:
            yield at, value

    for at, _ in list(paths(json.loads(text))):
        for wrong in (None, -1, 1 << 60, "", "0x" + "ff" * 32, [], {}, True, 1.5):
            document = json.loads(text)
            inner = document
            for step in at[:-1]:
                inner = inner[step]
            if inner[at[-1]] == wrong and type(inner[at[-1]]) is type(wrong):
                continue
            inner[at[-1]] = wrong
            with pytest.raises(LedgerError):
                read_and_examine(document, made)


def test_a_filler_is_never_a_question():
    made = make_set(40)
    keys = made.keys()
    filler = next(i for i in range(64) if i not in keys.places)
    path = T1.paths(keys.leaves())[filler]
    T1.verify(leaf(FILLER, filler, keys[filler]), filler, 64, path, made.commitment.root.raw)
    with pytest.raises(InclusionProofInvalid):
        T1.verify(leaf(QUESTION, filler, keys[filler]), filler, 64, path, made.commitment.root.raw)
