"""Marked per license, from publishing to a traced leak, at the command line and the runtime."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from variant_world import make_source

import ledger
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.recovery import Recovery
from ledger.ids import Address, LicenseId
from ledger.sealed.cells import ReleasedCells
from ledger.sealed.codeword import code_word
from ledger.sealed.file import open_sealed

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def published(live):
    """A model with 64 cells, on sale."""
    make_source(live.cwd / "model")
    assert live("terms", "new", "t.toml").code == 0
    ran = live("publish", "model", "--terms", "t.toml", "--seats", 4, "--cells", 64, "--json")
    assert ran.code == 0, ran.err
    assert "c = 1" in ran.err
    return ran.json


@pytest.fixture(scope="module")
def licensed(live, published):
    """Two licenses, one granted to this host: the card, and its number."""
    assert live("runtime", "init").code == 0
    numbers = []
    for name in "ab":
        words = ("license", "issue", published["plan"], "--to", "holder")
        ran = live(*words, "--card", f"{name}.license.json", "--json")
        assert ran.code == 0, ran.err
        numbers.append(ran.json["license"])
    assert live("runtime", "grant", "runtime.request.json", "--license", numbers[0]).code == 0
    assert live("runtime", "accept", "runtime.grant.json").code == 0
    return live.cwd / "a.license.json", numbers


@pytest.fixture(scope="module")
def leaked(live, licensed):
    """What the first license's host had in memory, written to a file."""
    card, _ = licensed
    identity = RuntimeIdentity.load(live.cwd.parent / live.env["DEED_CONFIG_DIR"] / "runtime.json")
    with ledger.load(card, runtime=identity) as model:
        assert model.sealed_file.marked
        model.sealed_file.verify_content()
        tensors = {name: np.array(array) for name, array in model.state_dict().items()}
    save_file(tensors, live.cwd / "leaked.safetensors")
    return live.cwd / "leaked.safetensors"


def investigate(live, published, suspect, *more):
    words = ("investigate", suspect, "--trace", published["recovery"])
    return live(*words, "--sealed", published["sealed"], *more)


def test_the_runtime_opens_a_copy_of_its_own(live, leaked):
    plain, copy = load_file(live.cwd / "model" / "model.safetensors"), load_file(leaked)
    assert set(copy) == set(plain)
    assert any(copy[name].tobytes() != plain[name].tobytes() for name in plain)


def test_a_leak_is_traced_among_all_issued_licenses(live, published, licensed, leaked):
    ran = investigate(live, published, leaked, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert [one["license"] for one in found["named"]] == [licensed[1][0]]
    assert found["named"][0]["log10_p"] <= -9
    assert found["epsilon_1"] == 1e-9
    assert found["guarantees"]["lines"][0]["k"] == 64
    assert "licensor" in found["who_else"]
    assert [check["result"] for check in found["checks"]] == ["pass"] * 7
    assert f"lodged before license {licensed[1][0]} was issued" in found["checks"][6]["detail"]
    assert found["lodged"]["block"] > 0
    assert found["lodged"]["time"] > 1_500_000_000
    text = investigate(live, published, leaked).out
    assert "traced to 1 license" in text
    assert "who else" in text


def test_a_quantised_leak_is_traced_from_a_list_of_candidates(live, published, licensed, leaked):
    shown = investigate(live, published, leaked, "--json").json["candidates"]
    rows = [{key: one[key] for key in ("license", "holder", "tenure")} for one in shown]
    (live.cwd / "c.json").write_text(json.dumps(rows))
    halved = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in load_file(leaked).items()
    }
    save_file(halved, live.cwd / "half.safetensors")
    ran = investigate(live, published, "half.safetensors", "--candidates", "c.json", "--json")
    assert ran.code == 0, ran.err
    assert [one["license"] for one in ran.json["named"]] == [licensed[1][0]]


def test_a_trace_goes_with_what_else_is_found_into_one_bundle(live, published, licensed, leaked):
    words = ("--ours", "model", "--out", "findings.json", "--json")
    ran = investigate(live, published, leaked, *words)
    assert ran.code == 0, ran.out + ran.err
    results = {of["method"]: of["result"] for of in ran.json["findings"]["tried"]}
    assert [results[method] for method in ("tensors", "units", "trace")] == ["found"] * 3
    model = published["model_id"]
    out = ("--match", "findings.json", "--no-print", "--out", "leak.zip", "--json")
    assert live("evidence", "collect", model, *out).code == 0
    block = live("evidence", "verify", "leak.zip", "--json").json["assumed"][0]["hash"]
    done = live("evidence", "verify", "leak.zip", "--block", block, "--suspect", leaked, "--json")
    assert done.code == 0, done.out + done.err
    said = " ".join(done.json["statement"]["match"]["sentences"])
    assert f"license {licensed[1][0]}, held by" in said
    assert "Held against this model" in said


def test_the_model_itself_names_nobody(live, published, licensed):
    ran = investigate(live, published, "model", "--json")
    assert ran.code == 1
    assert ran.json["named"] == []
    assert ran.json["who_else"] is None
    text = investigate(live, published, "model").out
    assert text.startswith("no license is named\n")
    assert "shows form A: this is the registered model itself" in " ".join(text.split())
    assert "who else" not in text


def test_without_a_chain_it_says_what_was_not_checked(live, published, licensed, leaked):
    shown = investigate(live, published, leaked, "--json").json["candidates"]
    rows = [{key: one[key] for key in ("license", "holder", "tenure")} for one in shown]
    (live.cwd / "c.json").write_text(json.dumps(rows))
    assert investigate(live, published, leaked, "--offline").code == 2
    for words, why in ((("--offline",), "--offline"), (("--network", "nowhere"), "nowhere")):
        ran = investigate(live, published, leaked, "--candidates", "c.json", *words, "--json")
        assert ran.code == 0, ran.err
        check = ran.json["checks"][6]
        assert (check["result"], why in check["detail"]) == ("not checked", True)
        assert "was not checked" in ran.json["verdict"]


def test_a_sealing_that_was_never_lodged_proves_nothing(live, published, licensed, tmp_path):
    """What a licensor could do who has a copy and wants it to be somebody's."""
    claim = next(live.cwd.glob("*/claim.json"))
    made = {"recovery": tmp_path / "made.json", "sealed": tmp_path / "made.sealed"}
    words = ("seal", "model", made["sealed"], "--claim", claim, "--recovery", made["recovery"])
    passphrase = Path(live.env["DEED_WALLET_PASSWORD_FILE"]).read_text().strip()
    for epoch, why in ((7, "nothing was lodged"), (1, "another sealing")):
        for path in tmp_path.iterdir():
            path.unlink()
        assert live(*words, "--epoch", epoch, "--cells", 64).code == 0
        kept = Recovery.load(made["recovery"], passphrase)
        word = word_of(kept, licensed[1][1], live)
        released = ReleasedCells(word, kept.cells.keys.chosen(word))
        with open_sealed(
            made["sealed"], kept.content_key, record=kept.record, cells=released
        ) as file:
            tensors = {name: np.array(array) for name, array in file.load_all().items()}
        save_file(tensors, tmp_path / "copy.safetensors")

        ran = investigate(live, made, tmp_path / "copy.safetensors", "--json")

        assert [one["license"] for one in ran.json["named"]] == [licensed[1][1]]
        assert ran.code == 1
        check = ran.json["checks"][6]
        assert (check["result"], why in check["detail"]) == ("fail", True)
        assert "does not stand on chain" in ran.json["verdict"]
        assert (
            "proves nothing to others" in investigate(live, made, tmp_path / "copy.safetensors").out
        )


def test_what_cannot_be_traced_says_why(live, published, licensed, leaked):
    (live.cwd / "bad.json").write_text('[{"license": "x"}]')
    assert investigate(live, published, leaked, "--candidates", "bad.json").code == 2
    (live.cwd / "no.safetensors").write_bytes(b"nothing")
    assert investigate(live, published, "no.safetensors").code == 2


def test_inspecting_tells_that_copies_are_marked_and_not_how(live, published, licensed):
    ran = live("inspect", published["sealed"], "--json").json
    assert (ran["cells"], ran["cell_bytes"]) == (64, 16384)
    assert "marked per license" in live("inspect", published["sealed"]).out
    opened = live("open", licensed[0], "--json")
    assert opened.code == 0, opened.err
    assert opened.json["cells"] == {"count": 64, "master": False}
    assert live("check", licensed[0]).code == 0


def test_the_licensor_opens_the_master(live, published, tmp_path):
    words = ("open", published["sealed"], "--recovery", published["recovery"])
    ran = live(*words, "--verify-content", "--export", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["cells"] == {"count": 64, "master": True}
    assert ran.json["content_root"] == published["content_root"]
    plain = load_file(live.cwd / "model" / "model.safetensors")
    for name, array in load_file(tmp_path / "out" / "model.safetensors").items():
        assert array.tobytes() == plain[name].tobytes()


def test_sealing_by_hand_marks_too(live, published, tmp_path):
    folder = next(path.parent for path in live.cwd.rglob("journal.json"))
    claim = next(folder.glob("*claim*.json"))
    words = ("seal", "model", tmp_path / "e2.sealed", "--claim", claim, "--epoch", 2)
    more = ("--recovery", tmp_path / "r.json", "--cells", 40, "--cell-bytes", 16384)
    ran = live(*words, *more, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["tracing"]["cells"] == 40
    assert ran.json["record"]["variant_root"] != "0x" + "0" * 64
    assert live("seal", "model", tmp_path / "x", *words[3:], *more[:2], "--cells", 0).code == 2
    refused = live(
        "seal",
        "model",
        tmp_path / "x",
        *words[3:5],
        "--recovery",
        tmp_path / "q",
        "--cells",
        8,
        "--cell-bytes",
        5000,
    )
    assert refused.code == 2
    assert "16384" in refused.err


def test_no_word_and_no_key_was_printed(live, published, licensed, leaked):
    passphrase = Path(live.env["DEED_WALLET_PASSWORD_FILE"]).read_text().strip()
    kept = Recovery.load(live.cwd / published["recovery"], passphrase)
    printed = "\n".join(live.said)
    word = "".join(map(str, word_of(kept, licensed[1][0], live).bits))
    secrets = [kept.cells.code_key, kept.cells.keys.data[:32], kept.content_key]
    for secret in secrets:
        assert secret.hex() not in printed
        assert base64.b64encode(secret).decode()[:40] not in printed
    assert word not in printed
    assert word.replace("0", "A").replace("1", "B") not in printed


def word_of(kept, number, live):
    holder = json.loads((live.cwd / "c.json").read_text())[0]["holder"]
    cells = kept.cells
    license_id = LicenseId.parse(number)
    return code_word(cells.parameters, cells.code_key, license_id, Address.parse(holder), 0)
