"""``deed escrow``: agents made, a document written, and a model opened when no broker answers."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.chain


def good(ran):
    assert ran.code == 0, ran.out + ran.err
    return ran


@pytest.fixture(scope="module")
def published(live):
    save_file({"w": np.arange(4096, dtype=np.float32)}, live.cwd / "m.safetensors")
    good(live("terms", "new", "m.toml"))
    return good(live("publish", "m.safetensors", "--terms", "m.toml", "--json")).json


@pytest.fixture(scope="module")
def agents(live):
    for number in range(3):
        good(live("escrow", "init", "--home", f"agent-{number}", "--name", f"Agent {number}"))
    return [f"agent-{number}/agent.json" for number in range(3)]


def test_a_holder_opens_the_model_with_what_agents_gave(live, published, agents):
    words = [word for agent in agents for word in ("--agent", agent)]
    rule = ("--silence", 90, "--on-release", "--date", "2200-01-01")
    made = good(
        live(
            "escrow", "create", published["recovery"], *words, "--threshold", 2, *rule,
            "--out", "m.escrow.json", "--anchor", "--json",
        )
    ).json  # fmt: skip
    assert made["anchored"]["block"] > 0
    shown = good(live("escrow", "show", "m.escrow.json"))
    for text in (made["escrow"], "2 of 3", "Agent 1", "silence of 90 days", "the licensor's word"):
        assert text in shown.out
    card = "m.license.json"
    issue = ("license", "issue", published["plan"], "--to", "holder", "--card", card, "--wait")
    license_id = good(live(*issue, "--json")).json["license"]
    good(live("runtime", "init"))
    good(live("runtime", "grant", "runtime.request.json", "--license", license_id))
    good(live("runtime", "accept", "runtime.grant.json"))

    # The rule does not hold yet: the agent refuses, by number, and notes it.
    good(live("escrow", "request", card, "m.escrow.json", "--out", "early.json"))
    ran = live("escrow", "answer", "early.json", "m.escrow.json", "--home", "agent-0", "--json")
    assert ran.code == 1
    assert "does not hold" in ran.error["message"]
    for reason in ("younger than 90 days", "has not given it", "finalized block is of"):
        assert reason in ran.error["message"]

    good(live("escrow", "release", "m.escrow.json", "--out", "word.json"))
    asked = ("escrow", "request", card, "m.escrow.json", "--release", "word.json")
    good(live(*asked, "--out", "asked.json"))
    for number in range(2):
        words = ("asked.json", "m.escrow.json", "--home", f"agent-{number}")
        ran = good(live("escrow", "answer", *words, "--out", f"{number}.json"))
        assert "given, because" in ran.err
    assert live("escrow", "join", card, "m.escrow.json", "0.json", "--out", "k.json").code == 1
    good(live("escrow", "join", card, "m.escrow.json", "0.json", "1.json", "--out", "k.json"))
    # A broker that nobody can reach is not asked.
    kept = live.env
    live.env = {**kept, "DEED_BROKER": "http://127.0.0.1:9"}
    try:
        opened = good(live("open", card, "--escrow-key", "k.json", "--json")).json
        assert [one["name"] for one in opened["tensors"]] == ["w"]
        assert live("open", card, "--json").code == 3
    finally:
        live.env = kept
    log = (live.cwd / "agent-0" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["granted"] for line in log] == [False, True]


def test_a_document_that_was_changed_is_refused_by_everybody(live, published, agents):
    document = json.loads((live.cwd / "m.escrow.json").read_text())
    document["rule"] = [{"when": "silence", "days": 1}]
    (live.cwd / "bent.json").write_text(json.dumps(document))
    for words in (
        ("show", "bent.json"),
        ("answer", "asked.json", "bent.json", "--home", "agent-0"),
        ("join", "m.license.json", "bent.json", "0.json", "1.json", "--out", "other.json"),
    ):
        ran = live("escrow", *words)
        assert (ran.code, "is not as" in ran.err or "no account" in ran.err) == (1, True), ran.err
    assert not (live.cwd / "other.json").exists()


def test_no_secret_was_shown(live, published):
    from ledger.broker.recovery import Recovery

    key = Recovery.load(live.cwd / published["recovery"], "correct horse battery staple")
    shown = "".join(live.said)
    assert key.content_key.hex() not in shown
    assert "Traceback" not in shown
