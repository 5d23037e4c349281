"""``deed watermark triggers`` on a running stack: commit, teach under the beacon, ask."""

from contextlib import ExitStack

import numpy as np
import pytest
from trigger_world import served
from watermark_world import make_small

pytestmark = pytest.mark.chain

CHALLENGE = "case 24-1187: 8f2c61"


def triggers(live, verb, *more):
    return live("watermark", "triggers", verb, *more)


def test_triggers_are_committed_to_taught_and_asked_for(live):
    make_small(live.cwd, layers=2)
    record = ("--record", "t.json")
    owner = live("watermark", "commit", "small.safetensors", "--record", "w.json", "--json").json
    made = triggers(
        live, "make", "small.safetensors", *record, "--owner", owner["owner"],
        "--inputs", "tokens:1000+29000x16", "--answers", "1000", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    early = triggers(live, "teach", *record, "--out", "lessons.npz", "--json")
    assert early.error["code"] == "USAGE_ERROR"
    assert "triggers commit --record" in early.error["hint"]
    done = triggers(live, "commit", *record, "--wait", "--json")
    assert done.code == 0, done.err
    assert done.json["commitment"] == made.json["commitment"]
    # The watermark's was the first of this account.
    assert done.json["number"] == 2
    assert triggers(live, "commit", *record, "--json").json["block"] == done.json["block"]
    taught = triggers(live, "teach", *record, "--out", "lessons.npz")
    assert taught.code == 0, taught.err
    opened = triggers(
        live, "disclose", *record, "--challenge", CHALLENGE, "--questions", 24, "--out", "d.json"
    )
    assert opened.code == 0, opened.err
    with np.load(live.cwd / "lessons.npz") as held:
        questions = held["questions"]
        learnt = {q.tobytes(): int(a) for q, a in zip(questions, held["answers"], strict=True)}
    with ExitStack() as stack:
        suspect = stack.enter_context(served(lambda x: learnt[x.tobytes()]))
        others = [stack.enter_context(served(lambda x: int(x[0]) % 1000)) for _ in range(3)]
        asked = (
            "d.json", "--suspect", suspect, "--control", others[0], "--control", others[1],
            "--their-control", others[2], "--challenge", CHALLENGE,
        )  # fmt: skip
        found = triggers(live, "verify", *asked)
        assert found.code == 0, found.out + found.err
        assert "after correction for 2^41 tests" in found.out
        caveat = "the beacon does not prevent grinding here; test network: no evidentiary value"
        assert f"({caveat})" in found.out.splitlines()[0]
        offline = triggers(live, "verify", *asked, "--offline")
        assert offline.code == 1
        assert "proves nothing to others" in offline.out


def test_triggers_of_another_account_are_not_committed_to(live):
    made = triggers(
        live, "make", "small.safetensors", "--record", "other.json", "--owner", "0x" + "11" * 20,
        "--inputs", "tokens:30000x16", "--answers", "1000",
    )  # fmt: skip
    assert made.code == 0, made.err
    ran = triggers(live, "commit", "--record", "other.json", "--json")
    assert ran.error["code"] == "USAGE_ERROR"
