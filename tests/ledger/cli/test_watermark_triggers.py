from __future__ import annotations

import json
import stat
from contextlib import ExitStack

import numpy as np
import pytest
from safetensors.numpy import save_file
from trigger_world import BEACON, served

from ledger.chain.deployment import Deployment
from ledger.ids import Address, Digest

OWNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
CHALLENGE = "case 24-1187: 8f2c61"


@pytest.fixture
def ready(deed, tmp_path):
    """A network that is known and never asked, a model and a passphrase."""
    names = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
    manifest = Deployment(
        chain_id=31337,
        genesis_hash=Digest(b"\x01" * 32),
        block=7,
        addresses={name: Address(bytes([i + 1]) * 20) for i, name in enumerate(names)},
        code_hashes={name: Digest(bytes([i + 1]) * 32) for i, name in enumerate(names)},
    ).to_json()
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest))
    deed("network", "add", "here", "--rpc", "http://127.0.0.1:9", "--deployment", "manifest.json")
    assert deed("network", "use", "here").code == 0
    word = tmp_path / "word"
    word.write_text("correct horse\n")
    deed.env["DEED_WALLET_PASSWORD_FILE"] = str(word)
    values = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
    save_file({"w": values}, deed.cwd / "m.safetensors")
    return deed


def make(deed, *more, inputs="tokens:1000+29000x16", answers="1000", questions="200"):
    return deed(
        "watermark", "triggers", "make", "m.safetensors", "--record", "m.triggers.json",
        "--owner", OWNER, "--inputs", inputs, "--answers", answers, "--questions", questions,
        *more,
    )  # fmt: skip


def teach(deed):
    return deed(
        "watermark", "triggers", "teach", "--record", "m.triggers.json", "--beacon", BEACON,
        "--out", "lessons.npz",
    )  # fmt: skip


def disclose(deed, out="d.json", challenge=CHALLENGE, questions=20, *more):
    return deed(
        "watermark", "triggers", "disclose", "--record", "m.triggers.json",
        "--challenge", challenge, "--questions", questions, "--out", out, *more,
    )  # fmt: skip


def verify(deed, suspect, *more, file="d.json"):
    return deed("watermark", "triggers", "verify", file, "--suspect", suspect, *more)


@pytest.fixture
def made(ready):
    ran = make(ready, "--json")
    assert ran.code == 0, ran.err
    assert teach(ready).code == 0
    return ran.json


@pytest.fixture
def learnt(made, ready):
    with np.load(ready.cwd / "lessons.npz") as held:
        questions = held["questions"]
        return {q.tobytes(): int(a) for q, a in zip(questions, held["answers"], strict=True)}


def test_from_keys_to_proof_over_http(ready, made, learnt):
    assert stat.S_IMODE((ready.cwd / "m.triggers.json").stat().st_mode) == 0o600
    ran = disclose(ready)
    assert ran.code == 0, ran.err
    assert "public from now on" in ran.err
    with ExitStack() as stack:
        suspect = stack.enter_context(served(lambda x: learnt[x.tobytes()]))
        others = [stack.enter_context(served(lambda x: int(x[0]) % 1000)) for _ in range(4)]
        facts = (
            "--control", others[0], "--control", others[1], "--their-control", others[2],
            "--challenge", CHALLENGE, "--commitment", made["commitment"], "--beacon", BEACON,
            "--commitments", 1,
        )  # fmt: skip
        ran = verify(ready, suspect, *facts)
        assert ran.code == 0, ran.out + ran.err
        assert ran.out.startswith("the answers are there: 20 of 20, log10 p <= -48.0")
        assert "(10)  more answers are right than chance explains  pass" in ran.out
        assert "H0: nobody who knew the keys" in ran.out
        told = verify(ready, suspect, *facts, "--json").json
        assert told["proven"] is True
        # What was passed was believed, and that is said.
        why = "--commitment and --beacon and --commitments was passed"
        assert (told["chain_asked"], why in told["chain_not_asked_because"]) == (False, True)
        assert f"no chain was asked: {why}" in ran.err
        assert "as passed, no chain asked" in told["checks"][0]["detail"]
        assert len(told["controls"]) == 3
        # Without what the chain and the court know, it proves nothing.
        ran = verify(ready, suspect)
        assert ran.code == 1
        assert (
            "steps 1, 2, 3, 4, 9 were not checked, so by itself it proves nothing to others"
            in ran.out
        )
        # One that was not taught is not found, whoever is called the suspect.
        ran = verify(ready, others[3], *facts)
        assert ran.code == 1
        assert ran.out.startswith("the answers are not found")


def test_one_model_is_no_three_controls(ready, made):
    disclose(ready)
    url = "http://127.0.0.1:9"
    ran = verify(ready, "http://127.0.0.1:7", "--control", url, "--their-control", url + "/")
    assert ran.code == 2
    assert "given twice" in ran.err


def test_what_too_few_questions_cannot_show_is_said_before_they_are_burned_for_nothing(ready, made):
    ran = disclose(ready, questions=10)
    assert ran.code == 0
    assert "prove nothing, however answered; 17 could" in ran.err
    ran = make(ready, questions="16")
    assert ran.code == 2
    assert "17 are the fewest" in ran.err


def test_disclosing_again_is_the_same_file_and_another_number_is_refused(ready, made):
    disclose(ready)
    first = (ready.cwd / "d.json").read_bytes()
    assert disclose(ready).code == 0
    assert disclose(ready, out="copy.json").code == 0
    assert (ready.cwd / "copy.json").read_bytes() == first
    ran = disclose(ready, out="more.json", questions=19)
    assert ran.code == 2
    assert "--questions 20" in ran.err
    ran = disclose(ready, out="next.json", challenge="another", questions=19)
    assert ran.code == 2
    assert "--use-up" in ran.err
    assert not (ready.cwd / "next.json").exists()
    assert disclose(ready, "next.json", "another", 19, "--use-up").code == 0


def test_before_the_beacon_there_is_nothing_to_disclose(ready):
    make(ready)
    ran = disclose(ready)
    assert ran.code == 2
    assert "deed watermark triggers teach" in ran.err


def test_a_record_is_never_replaced(ready, made):
    before = (ready.cwd / "m.triggers.json").read_bytes()
    ran = make(ready)
    assert ran.code == 2
    assert "already there" in ran.err
    assert (ready.cwd / "m.triggers.json").read_bytes() == before


@pytest.mark.parametrize(
    ("inputs", "answers"),
    [
        ("words:5", "10"),
        ("tokens:30000", "10"),
        ("tokens:10x3", "10"),
        ("texture:32x32", "10"),
        ("floats:-1", "10"),
        ("floats:64", "1"),
        ("floats:64", "ten"),
        ("floats:64", "99999999999"),
    ],
)
def test_inputs_or_answers_that_cannot_be_meant_are_refused_with_a_hint(ready, inputs, answers):
    ran = make(ready, inputs=inputs, answers=answers, questions="400")
    assert ran.code == 2
    assert "hint: " in ran.err
    assert not (ready.cwd / "m.triggers.json").exists()


def test_another_file_of_ours_is_named_for_what_it_is(ready, made):
    (ready.cwd / "d.json").write_text('{"type": "modeldeed/license-card"}')
    ran = verify(ready, "http://127.0.0.1:9/")
    assert ran.code == 2
    assert "is a license card" in ran.err
    ran = ready(
        "watermark", "triggers", "verify", "m.triggers.json", "--suspect", "http://127.0.0.1:9/"
    )
    assert ran.code == 2
    assert "is a trigger record, its owner's secret" in ran.err


def test_a_suspect_that_is_not_there_is_exit_code_3(ready, made, monkeypatch):
    monkeypatch.setattr("ledger.remote.asked._PAUSE", 0.0)
    disclose(ready)
    ran = verify(ready, "http://127.0.0.1:9/SECRETTOKEN")
    assert ran.code == 3
    assert "SECRETTOKEN" not in ran.err


def test_a_suspect_that_stops_replying_is_told_of_and_exit_code_3(ready, made, learnt, monkeypatch):
    monkeypatch.setattr("ledger.remote.asked._PAUSE", 0.0)
    disclose(ready)
    seen = []

    def tiring(x):
        seen.append(x.tobytes())
        if len(set(seen)) > 9:
            raise ConnectionError
        return learnt[x.tobytes()]

    with served(tiring) as suspect:
        ran = verify(ready, suspect)
        assert ran.code == 3, ran.out + ran.err
        assert ran.out.startswith("not decided: the suspect stopped replying after 17 questions")
        seen.clear()
        told = verify(ready, suspect, "--json").json
        assert (told["undecided"], told["proven"]) == (True, False)
        assert (told["suspect"]["right"], told["suspect"]["stopped_after"]) == (9, 17)
