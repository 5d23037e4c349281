from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trigger_world import BEACON, CHALLENGE, PLACE, make_set

from ledger.canonical import canonical_json, hash_bytes
from ledger.errors import (
    ClaimMismatch,
    InclusionProofInvalid,
    ManifestError,
    UnsupportedVersion,
    UsageError,
)
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.watermark import trigger_record
from ledger.watermark.disclosure import Disclosure, disclose, order
from ledger.watermark.draws import Draws
from ledger.watermark.generators import Floats, Tokens
from ledger.watermark.triggers import Answers, Commitment, Keys, TriggerSet


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 by hand, for 32 bytes."""
    return hmac.digest(hmac.digest(salt, ikm, "sha256"), info + b"\x01", "sha256")


# -- keys and commitment -------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 300))
def test_the_tree_is_filled_to_the_next_power_of_two(questions):
    keys = Keys(b"k" * 32, questions)
    size = 1 << keys.depth
    assert size // 2 < questions <= size or questions == size == 1
    assert len(keys.places) == questions
    assert max(keys.places) < size
    assert len(set(keys.leaves())) == size


def test_neither_root_nor_depth_nor_the_places_of_keys_tell_how_many_there_are():
    sets = [make_set(n) for n in (257, 400, 511, 512)]
    assert {made.commitment.depth for made in sets} == {9}
    shown = {len(canonical_json(made.commitment.to_json())) for made in sets}
    assert len(shown) == 1
    # Fillers stand anywhere: also among the first.
    assert not set(range(257)) <= Keys(b"k" * 32, 257).places


def test_a_trigger_follows_from_its_key_and_the_beacon_by_the_published_rule():
    made = make_set(20, generator=Floats(3), answers=Answers(5, 1000))
    keys = Keys(made.secret, 20)
    stream = hashlib.shake_256(b"modeldeed/trigger-keys/1\0" + made.secret).digest(32 * 32)
    for each in made.lessons():
        key = stream[32 * each.position : 32 * each.position + 32]
        assert key == keys[each.position]
        place = PLACE["content_id"].raw + PLACE["owner"].raw + each.position.to_bytes(4, "big")
        seed = hkdf(key, BEACON.raw, b"modeldeed/trigger/1\0" + place)
        assert each.answer == 5 + Draws(b"modeldeed/trigger-answer/1\0" + seed).below(1000)
        assert np.array_equal(each.question, Floats(3).make(seed))


def test_another_beacon_owner_model_or_position_gives_other_questions_and_answers():
    made = make_set(1, answers=Answers(0, 1 << 31)).commitment
    other = Digest(b"\x44" * 32)
    triggers = [
        made.trigger(0, b"k" * 32, BEACON),
        made.trigger(0, b"k" * 32, other),
        made.trigger(1, b"k" * 32, BEACON),
        made.trigger(0, b"j" * 32, BEACON),
        replace(made, content_id=other).trigger(0, b"k" * 32, BEACON),
        replace(made, owner=made.registry).trigger(0, b"k" * 32, BEACON),
    ]
    assert len({each.answer for each in triggers}) == len(triggers)
    assert len({each.question.tobytes() for each in triggers}) == len(triggers)


def test_every_member_of_the_commitment_changes_its_hash():
    made = make_set(10).commitment
    other = Digest(b"\x44" * 32)
    changed = [
        replace(made, chain_id=1),
        replace(made, registry=made.owner),
        replace(made, owner=made.registry),
        replace(made, content_id=other),
        replace(made, generator=Tokens(0, 1000, 16)),
        replace(made, answers=Answers(1, 10)),
        replace(made, answers=Answers(0, 11)),
        replace(made, depth=5),
        replace(made, root=other),
        replace(made, nonce=other),
    ]
    assert len({each.hash() for each in (made, *changed)}) == len(changed) + 1
    assert Commitment.from_json(json.loads(canonical_json(made.to_json()))) == made


@pytest.mark.parametrize(
    "change",
    [
        {"log2_p": -64},
        {"log2_attempts": 0},
        {"depth": 17},
        {"type": "modeldeed/watermark-commitment"},
        {"answers": {"first": 0, "count": 1}},
        {"generator": {"id": "floats/1", "length": 1}},
        {"extra": 1},
    ],
)
def test_a_commitment_with_another_threshold_or_beyond_its_limits_is_refused(change):
    with pytest.raises(ManifestError):
        Commitment.from_json({**make_set(10).commitment.to_json(), **change})


def test_a_commitment_of_a_later_version_says_so():
    with pytest.raises(UnsupportedVersion):
        Commitment.from_json({**make_set(10).commitment.to_json(), "version": 2})


def test_no_secret_shows_in_any_repr():
    made = make_set(30)
    texts = [repr(made), repr(made.keys()), repr(made.lessons()[0])]
    for secret in (made.secret, made.keys()[3]):
        assert not any(secret.hex() in text or repr(secret)[2:-1] in text for text in texts)


# -- the record ----------------------------------------------------------------------------------


def test_a_record_survives_being_written_and_read():
    made = make_set(300)
    _, noted = disclose(made, CHALLENGE, 12)
    assert trigger_record.from_contents(trigger_record.contents(noted), what="r") == noted
    bare = make_set(300, beacon=None)
    assert trigger_record.from_contents(trigger_record.contents(bare), what="r") == bare


def test_a_broken_record_is_refused_and_nothing_of_it_is_quoted():
    plain = bytes(trigger_record.contents(make_set(30)))
    secret = json.loads(plain)["key"][2:]
    for broken in (plain[:-1], plain.replace(b'"questions":30', b'"questions":"x"'), b"[]", b""):
        with pytest.raises(ManifestError) as caught:
            trigger_record.from_contents(broken, what="r.json")
        assert secret[:12] not in str(caught.value)


def test_a_record_with_keys_that_were_not_committed_discloses_nothing():
    made = make_set(300)
    with pytest.raises(ClaimMismatch) as caught:
        disclose(replace(made, secret=b"x" * 32), CHALLENGE, 12)
    assert caught.value.step == 6
    with pytest.raises(ClaimMismatch):
        disclose(replace(made, questions=299), CHALLENGE, 12)


def test_before_the_beacon_nothing_is_taught_or_disclosed_and_it_cannot_be_changed_later():
    made = make_set(300, beacon=None)
    for act in (made.lessons, lambda: disclose(made, CHALLENGE, 12)):
        with pytest.raises(UsageError):
            act()
    known = made.with_beacon(BEACON)
    assert known.with_beacon(BEACON) == known
    with pytest.raises(ClaimMismatch):
        known.with_beacon(Digest(b"\x01" * 32))


# -- disclosure ----------------------------------------------------------------------------------


def test_a_disclosure_opens_the_first_of_the_shuffle_and_no_more():
    made = make_set(300)
    shown, noted = disclose(made, CHALLENGE, 25)
    shown.check_positions()
    shown.check_paths()
    seed = hash_bytes(
        "modeldeed/trigger-challenge/1", made.commitment.hash().raw + CHALLENGE.encode()
    )
    walk = list(order(made.commitment, CHALLENGE))
    assert walk[0] == Draws(seed.raw).below(512)
    assert [each.position for each in shown.positions] == walk[: len(shown.positions)]
    assert sum(each.kind == "question" for each in shown.positions) == 25
    assert sum(each.kind == "filler" for each in shown.positions) > 0
    assert shown.positions[-1].kind == "question"
    lessons = {each.position: each.answer for each in made.lessons()}
    assert {each.position: each.answer for each in shown.triggers()} == {
        position: lessons[position] for position in shown.opened
    }
    assert [each.challenge for each in noted.disclosures] == [CHALLENGE]


def test_the_same_challenge_gives_the_same_disclosure_and_burns_nothing_more():
    made = make_set(300)
    first, noted = disclose(made, CHALLENGE, 25)
    _, later = disclose(noted, "another", 25)
    again, unchanged = disclose(later, CHALLENGE, 25)
    assert again == first
    assert unchanged == later


def test_a_second_number_of_questions_for_one_challenge_is_refused():
    _, noted = disclose(make_set(300), CHALLENGE, 25)
    for other in (24, 26):
        with pytest.raises(UsageError) as caught:
            disclose(noted, CHALLENGE, other)
        assert "--questions 25" in caught.value.hint


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_no_question_is_opened_twice_and_burned_ones_count_as_missed(sizes):
    made = make_set(200)
    opened: set[int] = set()
    digests: list[Digest] = []
    for number, size in enumerate(sizes):
        shown, made = disclose(made, f"challenge {number}", size, use_up=True)
        shown.check_positions()
        shown.check_paths()
        burned = {each.position for each in shown.positions if each.kind == "burned"}
        assert burned <= opened
        assert not shown.opened & opened
        assert len(shown.opened) + len(burned) == size
        assert list(shown.earlier) == digests
        opened |= shown.opened
        digests.append(shown.digest())
        assert Disclosure.from_json(json.loads(canonical_json(shown.to_json()))) == shown


def test_a_tenth_of_the_questions_that_are_left_is_the_most_that_is_opened():
    made = make_set(300)
    with pytest.raises(UsageError) as caught:
        disclose(made, CHALLENGE, 31)
    assert "--use-up" in caught.value.hint
    _, noted = disclose(made, CHALLENGE, 30)
    with pytest.raises(UsageError):
        disclose(noted, "another", 28)
    disclose(noted, "another", 27)
    shown, _ = disclose(noted, "another", 300, use_up=True)
    assert len(shown.opened) == 270


@pytest.mark.parametrize("challenge", ["", "x" * 4097, "\ud800", "é" * 2049])
def test_a_challenge_that_is_no_text_of_its_length_is_refused(challenge):
    with pytest.raises(UsageError):
        disclose(make_set(30), challenge, 1)


# -- what a reader refuses -----------------------------------------------------------------------


def test_a_key_a_kind_or_a_position_that_was_not_committed_is_refused():
    shown, _ = disclose(make_set(300), CHALLENGE, 25)
    question = next(i for i, each in enumerate(shown.positions) if each.kind == "question")
    filler = next(i for i, each in enumerate(shown.positions) if each.kind == "filler")
    paths = shown.positions[question].path
    for at, change in (
        (question, {"key": b"x" * 32}),
        (question, {"kind": "filler"}),
        (filler, {"kind": "question"}),
        (question, {"path": paths[:-1]}),
        (question, {"path": (*paths, b"x" * 32)}),
        (question, {"path": (paths[1], paths[0], *paths[2:])}),
    ):
        positions = list(shown.positions)
        positions[at] = replace(positions[at], **change)
        with pytest.raises(InclusionProofInvalid) as caught:
            replace(shown, positions=tuple(positions)).check_paths()
        assert caught.value.step == 6


def test_positions_in_another_order_fewer_or_more_are_refused():
    shown, _ = disclose(make_set(300), CHALLENGE, 25)
    p = shown.positions
    wrong = [
        replace(shown, positions=p[1:]),
        replace(shown, positions=p[:-1]),
        replace(shown, positions=(p[1], p[0], *p[2:])),
        replace(shown, positions=(*p, p[-1])),
        replace(shown, positions=()),
        replace(shown, questions=24),
        replace(shown, questions=26),
        replace(shown, challenge="another"),
    ]
    for each in wrong:
        with pytest.raises(ClaimMismatch) as caught:
            each.check_positions()
        assert caught.value.step == 5


def test_a_tail_of_fillers_after_the_last_question_is_refused():
    made = make_set(300)
    keys = made.keys()
    paths = T1.paths(keys.leaves())
    for number in range(100):
        shown, _ = disclose(made, f"challenge {number}", 25)
        walk = list(order(made.commitment, f"challenge {number}"))
        following = walk[len(shown.positions)]
        if following not in keys.places:
            break
    more = replace(
        shown.positions[0],
        position=following,
        kind="filler",
        key=keys[following],
        path=paths[following],
    )
    longer = replace(shown, positions=(*shown.positions, more))
    longer.check_paths()
    with pytest.raises(ClaimMismatch):
        longer.check_positions()


def test_a_fresh_record_never_repeats_a_secret_or_a_nonce():
    sets: list[TriggerSet] = [make_set(3) for _ in range(5)]
    assert len({made.secret for made in sets}) == 5
    assert len({made.commitment.nonce for made in sets}) == 5
