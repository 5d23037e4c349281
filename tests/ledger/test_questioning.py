from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from trigger_world import BEACON, CHALLENGE, Classifier, make_set

from ledger.errors import ClaimMismatch, UnavailableError
from ledger.ids import Digest
from ledger.questioning import MEANING, Control, Known, ask, examine
from ledger.watermark.disclosure import disclose
from ledger.watermark.generators import Texture, Tokens
from ledger.watermark.triggers import Answers

K = 60


@pytest.fixture(scope="module")
def made():
    return make_set(700)


@pytest.fixture(scope="module")
def taught(made):
    return Classifier(1, made.lessons())


@pytest.fixture(scope="module")
def independent():
    return [Classifier(seed) for seed in (2, 3, 4)]


@pytest.fixture(scope="module")
def shown(made):
    return disclose(made, CHALLENGE, K)[0]


def controls(models):
    return [Control(f"control {i}", model, theirs=i == 0) for i, model in enumerate(models)]


def known(shown, **other):
    return Known(**{
        "commitment": shown.commitment.hash(),
        "commitments": 1,
        "beacon": BEACON,
        "challenge": CHALLENGE,
        **other,
    })  # fmt: skip


def result(report, number):
    return next(check.result for check in report.checks if check.number == number)


def test_a_taught_classifier_is_proven_and_still_does_its_ordinary_task(taught, independent, shown):
    report = examine(shown, taught, controls=controls(independent), known=known(shown))
    assert report.proven, report.verdict
    assert report.suspect.score.right == K
    assert report.suspect.score.log10_p == pytest.approx(-60)
    assert [check.number for check in report.checks] == list(range(1, 11))
    assert taught.accuracy() > 0.95
    assert all(each.score.log10_p > -4 for each in report.controls)


def test_an_independent_classifier_is_not_found(independent, shown):
    suspect, *others = [Classifier(9), *independent]
    report = examine(shown, suspect, controls=controls(others), known=known(shown))
    assert not report.proven
    assert result(report, 10) == "fail"
    assert report.verdict.startswith("the answers are not found")
    assert report.suspect.score.log10_p > -4


@pytest.mark.parametrize(("lost", "proven"), [(5, True), (10, False)])
def test_a_model_that_forgot_some_answers_is_proven_as_far_as_the_exact_tail_allows(
    lost, proven, made, taught, independent
):
    # C(70, 5) / 10^65 is 10^-57.9, and C(70, 10) / 10^60 only 10^-48.4: 10^-50.6 is needed.
    shown, _ = disclose(made, CHALLENGE, 70)
    forgotten = {each.question.tobytes() for each in shown.triggers()[:lost]}

    def tuned(x):
        right = taught(x)
        return (right + 1) % 10 if x.tobytes() in forgotten else right

    report = examine(shown, tuned, controls=controls(independent), known=known(shown))
    assert report.suspect.score.right == 70 - lost
    assert report.proven is proven


@pytest.mark.parametrize("left_out", ["commitment", "commitments", "beacon", "challenge"])
def test_what_nobody_knows_is_not_checked_and_then_nothing_is_proven(
    left_out, taught, independent, shown
):
    report = examine(
        shown, taught, controls=controls(independent), known=known(shown, **{left_out: None})
    )
    assert not report.proven
    assert report.suspect.score.there
    assert "was not checked" in report.verdict or "were not checked" in report.verdict
    assert "proves nothing" in report.verdict


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (1, {"commitment": Digest(b"\x01" * 32)}),
        (3, {"beacon": Digest(b"\x01" * 32)}),
        (4, {"challenge": "another"}),
    ],
)
def test_a_disclosure_of_something_else_is_refused_before_anybody_is_asked(step, wrong, shown):
    def never(_):
        raise AssertionError

    with pytest.raises(ClaimMismatch) as caught:
        examine(shown, never, known=known(shown, **wrong))
    assert caught.value.step == step
    assert caught.value.hint


def test_commitments_of_the_sender_raise_the_bar(shown, taught):
    few = examine(shown, taught, known=known(shown, commitments=1)).suspect.score
    many = examine(shown, taught, known=known(shown, commitments=10**6)).suspect.score
    assert many.log10_corrected == pytest.approx(few.log10_corrected + 6)


@pytest.mark.parametrize("fewer", [0, 2])
def test_fewer_than_three_controls_are_not_enough(fewer, taught, independent, shown):
    report = examine(shown, taught, controls=controls(independent[:fewer]), known=known(shown))
    assert result(report, 9) == "not checked"
    assert not report.proven


def test_controls_that_only_one_side_named_are_not_enough(taught, independent, shown):
    own = [replace(each, theirs=False) for each in controls(independent)]
    report = examine(shown, taught, controls=own, known=known(shown))
    assert result(report, 9) == "not checked"


def test_a_control_that_knows_the_answers_spoils_the_proof(taught, independent, shown):
    report = examine(
        shown, taught, controls=[*controls(independent), Control("leaky", taught)],
        known=known(shown),
    )  # fmt: skip
    assert result(report, 9) == "fail"
    assert not report.proven
    assert "leaky" in report.verdict


def test_questions_too_few_to_prove_anything_are_called_so(made, taught, independent):
    shown, _ = disclose(made, "a short one", 20)
    report = examine(
        shown, taught, controls=controls(independent),
        known=known(shown, challenge="a short one"),
    )  # fmt: skip
    assert report.suspect.score.right == 20
    assert not report.proven
    assert "prove nothing, however answered; 51 could" in report.verdict


def test_the_words_of_a_report_accuse_nobody(taught, independent, shown):
    reports = [
        examine(shown, model, controls=others, known=what)
        for model in (taught, independent[0])
        for others in (controls(independent), [Control("leaky", taught)], [])
        for what in (known(shown), Known())
    ]
    texts = [MEANING.lower(), *(str(each.to_json()).lower() for each in reports)]
    for word in ("owner", "stole", "theft", "thief", "copied", "infring", "belongs", "guilt"):
        assert not any(word in text for text in texts), word
    assert all("h0: nobody who knew the keys" in text.lower() for text in texts)


def test_the_order_of_the_questions_changes_no_figure(taught, shown):
    reports = [examine(shown, taught, rng=random.Random(seed)) for seed in range(3)]
    assert len({str(report.to_json()) for report in reports}) == 1


# -- models of every kind ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generator", "answers"),
    [
        (Tokens(256, 30000, 16), Answers(256, 30000)),
        (Texture(8, 8, 3), Answers(0, 1000)),
    ],
)
def test_token_models_and_image_models_are_asked_the_same_way(generator, answers):
    made = make_set(240, generator=generator, answers=answers)
    shown, _ = disclose(made, CHALLENGE, 24)
    learnt = {each.question.tobytes(): each.answer for each in made.lessons()}
    report = examine(shown, lambda x: np.int64(learnt.get(x.tobytes(), 300)), known=known(shown))
    assert report.suspect.score.there
    assert not examine(shown, lambda _: 300).suspect.score.there


@pytest.mark.parametrize(
    "value", [None, "7", 7.0, True, [7], np.array([7, 7]), np.float32(7), -1, 10, 1 << 80]
)
def test_what_is_no_answer_counts_as_missed(value, shown):
    triggers = shown.triggers()
    asked = ask("m", lambda _: value, triggers, Answers(0, 10), counted=K)
    assert (asked.score.right, asked.silent) == (0, K)


@pytest.mark.parametrize("wrap", [int, np.int64, np.uint8, lambda n: np.array([n]), np.array])
def test_integers_of_any_kind_are_answers(wrap, shown):
    triggers = shown.triggers()
    learnt = {each.question.tobytes(): each.answer for each in triggers}
    asked = ask(
        "m", lambda x: wrap(learnt[x.tobytes()]), triggers, Answers(0, 10), counted=K
    )  # fmt: skip
    assert (asked.score.right, asked.silent, asked.changed) == (K, 0, 0)


def test_a_reply_that_is_lost_now_and_then_is_a_miss(shown, taught):
    calls = iter(range(10**6))

    def shaky(x):
        if next(calls) % 8 == 0:
            raise UnavailableError("lost")
        return taught(x)

    asked = ask("m", shaky, shown.triggers(), Answers(0, 10), counted=K)
    assert asked.silent == -(-K // 8)
    assert asked.score.right == K - asked.silent


def test_a_model_that_is_down_is_an_error_and_no_report(shown):
    calls = []

    def down(x):
        calls.append(x)
        raise UnavailableError("down")

    with pytest.raises(UnavailableError):
        examine(shown, down)
    assert len(calls) == 8
    with pytest.raises(UnavailableError):
        ask("m", down, shown.triggers()[:3], Answers(0, 10), counted=3)


def stopping(model, after):
    """A model that replies so often and then no more."""
    calls = iter(range(10**6))

    def answer(x):
        if next(calls) >= after:
            raise UnavailableError("down")
        return model(x)

    return answer


def test_a_suspect_that_stops_replying_is_reported_as_not_decided(shown, taught, independent):
    report = examine(
        shown, stopping(taught, 20), controls=controls(independent), known=known(shown)
    )
    assert report.undecided
    assert not report.proven
    assert report.suspect.stopped == 28
    assert report.suspect.score.right == 20
    assert report.suspect.silent == K - 20
    assert report.verdict.startswith("not decided: the suspect stopped replying after 28")
    assert [result(report, step) for step in (8, 9, 10)] == ["not checked", "pass", "not checked"]
    # Its first answers are whole: it may stop once it is asked again.
    again = examine(
        shown, stopping(taught, K + 9), controls=controls(independent), known=known(shown)
    )
    assert again.proven
    assert not again.undecided
    # Nor does stopping hide an answer that is proven already.
    most = examine(
        shown, stopping(taught, K - 1), controls=controls(independent), known=known(shown)
    )
    assert most.suspect.score.right == K - 1
    assert most.undecided is not most.suspect.score.there


@pytest.mark.parametrize("after", [0, 12])
def test_a_control_that_stops_replying_does_not_lose_the_suspects_answers(
    after, shown, taught, independent
):
    first, *rest = controls(independent)
    broken = replace(first, model=stopping(first.model, after))
    report = examine(shown, taught, controls=[broken, *rest], known=known(shown))
    assert report.suspect.score.there
    assert result(report, 9) == "not checked"
    assert "1 more stopped replying" in report.checks[8].detail
    assert not report.proven


def test_progress_is_told_of_every_question(shown, taught):
    seen = []
    ask(
        "m", taught, shown.triggers(), Answers(0, 10), counted=K,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(i, 2 * K) for i in range(1, 2 * K + 1)]
