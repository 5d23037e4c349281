"""Commands against a running stack, and every wrong input that needs one."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.rpc import Rpc
from ledger.ids import LicenseId

pytestmark = pytest.mark.chain

PROGRAM = Path(sys.executable).with_name("deed")
UNKNOWN = "0x" + "11" * 32


def model(path: Path, seed: int) -> Path:
    values = np.random.default_rng(seed).standard_normal((4, 64, 64)).astype(np.float32)
    save_file({f"layer.{i}": value for i, value in enumerate(values)}, path)
    return path


@pytest.fixture(scope="module")
def models(live):
    """Two published models, ``a`` with terms that permit export, ``b`` without; their answers."""
    assert live("terms", "new", "b.toml").code == 0
    text = (live.cwd / "b.toml").read_text()
    (live.cwd / "a.toml").write_text(text.replace("export = false", "export = true"))
    published = {}
    for name, seed in (("a", 1), ("b", 2)):
        model(live.cwd / f"{name}.safetensors", seed)
        ran = live(
            "publish", f"{name}.safetensors", "--terms", f"{name}.toml", "--seats", 2, "--json"
        )
        assert ran.code == 0, ran.err
        published[name] = ran.json
    return published


@pytest.fixture(scope="module")
def cards(live, models):
    """A granted license on each model; card files by name."""
    assert live("runtime", "init").code == 0
    made = {}
    for name, published in models.items():
        card = f"{name}.license.json"
        ran = live(
            "license", "issue", published["plan"], "--to", "holder", "--card", card, "--json"
        )
        assert ran.code == 0, ran.err
        license_id = ran.json["license"]
        ran = live(
            "runtime", "grant", "runtime.request.json", "--license", license_id,
            "--out", f"{name}.grant.json",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        assert live("runtime", "accept", f"{name}.grant.json").code == 0
        # What the tests ask is about final state, and a block may come late on a busy machine.
        assert live("check", card, "--wait").code == 0
        made[name] = (card, license_id)
    return made


# -- the journey ---------------------------------------------------------------------------------


def test_a_plan_is_shown_and_listed_as_it_was_made(live, models):
    plan = live("plan", "show", models["a"]["plan"], "--json").json
    assert plan["terms"]["model_id"] == models["a"]["model_id"]
    assert plan["terms"]["seats"] == 2
    listed = live("plan", "list", "--model", models["a"]["model_id"], "--json").json["plans"]
    assert [entry["plan"] for entry in listed] == [models["a"]["plan"]]
    assert live("plan", "list", "--licensor", "0x" + "11" * 20).out == "no plans\n"


def test_a_title_is_shown_by_id_by_sealed_file_and_by_claim(live, models):
    published = models["a"]
    answers = [
        live("claim", "show", what, "--json").json
        for what in (
            published["model_id"],
            published["sealed"],
            str(Path(published["folder"]) / "claim.json"),
        )
    ]
    assert {answer["model_id"] for answer in answers} == {published["model_id"]}
    assert answers[0]["record"]["committed"] is True
    assert answers[2]["claim"]["artifact_root"] == published["content_root"]


def next_of(ran) -> list[str]:
    (line,) = [line for line in ran.err.splitlines() if line.startswith("next: deed ")]
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    ("seed", "out"), [(10, None), (11, "deep/down/here/out"), (12, "{elsewhere}/my out")]
)
def test_the_next_line_of_publish_works_as_it_stands(live, models, tmp_path, seed, out):
    """Wherever the model and its publication lie, and whatever cards lie here."""
    elsewhere = model(tmp_path / "next one.safetensors", seed)
    words = () if out is None else ("--out", out.format(elsewhere=tmp_path))
    ran = live("publish", elsewhere, "--terms", "a.toml", *words)
    assert ran.code == 0, ran.err
    ran = live(*next_of(ran))
    assert ran.code == 0, ran.err
    assert "next-one" in ran.out


def test_with_wait_what_was_published_is_final(live, models):
    model(live.cwd / "waited.safetensors", 21)
    words = ("publish", "waited.safetensors", "--terms", "a.toml", "--json")
    ran = live(*words, "--wait")
    assert ran.code == 0, ran.err
    assert ran.json["final"] is True
    journal = json.loads((live.cwd / ran.json["folder"] / "journal.json").read_text())
    with Rpc(live("network", "show", "--json").json["rpc"]) as rpc:
        assert rpc.block("finalized").number >= journal["steps"]["plan"]["block"]
    assert live(*words).json["final"] is True  # run again without --wait: it still is


def warnings_of(ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [line for line in ran.err.splitlines() if line.startswith("warning: ")]


def test_content_that_this_account_registered_before_is_warned_of_once(live, models):
    words = ("publish", "a.safetensors", "--terms", "a.toml")
    (warning,) = warnings_of(live(*words, "--out", "again"))
    assert "registered the same content before" in warning
    assert models["a"]["model_id"] in warning
    assert warnings_of(live(*words, "--out", "again")) == []
    assert warnings_of(live(*words, "--seats", 2)) == []
    # Of others' titles nothing is said: who came first is for the evidence to show.
    assert warnings_of(live(*words, "--out", "stolen", "--as", "rival")) == []


def test_terms_that_nobody_edited_are_warned_of(live, models):
    assert live("terms", "new", "untouched.toml").code == 0
    words = ("publish", "a.safetensors", "--out", "never", "--dry-run", "--terms")
    (warning,) = warnings_of(live(*words, "untouched.toml"))
    assert "untouched.toml is the template" in warning
    assert warnings_of(live(*words, "a.toml")) == []


def test_the_next_line_names_the_wallet_that_published(live, models):
    model(live.cwd / "rivals.safetensors", 20)
    ran = live("publish", "rivals.safetensors", "--terms", "a.toml", "--as", "rival")
    assert ran.code == 0, ran.err
    ran = live(*next_of(ran))
    assert ran.code == 0, ran.err


def test_a_granted_runtime_may_open_and_finds_what_was_published(live, models, cards):
    card, _ = cards["a"]
    checked = live("check", card, "--json")
    assert checked.code == 0
    assert [step["result"] for step in checked.json["checks"]] == ["pass"] * 10
    opened = live("open", card, "--verify-content", "--json")
    assert opened.code == 0, opened.err
    assert opened.json["content_root"] == models["a"]["content_root"]
    assert {t["name"] for t in opened.json["tensors"]} == {f"layer.{i}" for i in range(4)}


def test_the_card_names_who_signed_it_and_a_changed_one_is_refused(live, cards):
    card, license_id = cards["a"]
    ran = live("inspect", card, "--json")
    assert ran.json["license"] == license_id
    document = json.loads((live.cwd / card).read_text())
    document["license"] = "1.2"
    (live.cwd / "forged.license.json").write_text(json.dumps(document))
    ran = live("inspect", "forged.license.json", "--json")
    assert ran.code == 1
    assert ran.error["code"] == "SIGNATURE_INVALID"


def test_an_export_happens_only_where_the_terms_allow_it(live, cards):
    ran = live("open", cards["b"][0], "--export", "b.out", "--json")
    assert ran.code == 1
    assert ran.error["code"] == "USE_NOT_PERMITTED"
    assert not (live.cwd / "b.out").exists()
    ran = live("open", cards["a"][0], "--export", "a.out")
    assert ran.code == 0, ran.err
    assert (live.cwd / "a.out" / "a.safetensors").read_bytes() == (
        live.cwd / "a.safetensors"
    ).read_bytes()


def test_the_licensor_opens_with_the_recovery_file(live, models):
    published = models["b"]
    ran = live("open", published["sealed"], "--recovery", published["recovery"], "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["tensors"]) == 4


def test_a_license_is_suspended_reinstated_renewed_and_revoked(live, models):
    issued = live("license", "issue", models["a"]["plan"], "--to", "holder", "--wait", "--json")
    assert issued.json["final"] is True
    license_id = issued.json["license"]

    assert live("license", "suspend", license_id, "--reason", "late payment").code == 0
    ran = live("license", "show", license_id)
    assert ran.code == 1
    assert "is suspended since" in ran.out
    assert live("license", "reinstate", license_id).code == 0
    assert live("license", "show", license_id).code == 0

    before = live("license", "show", license_id, "--json").json["state"]["not_after"]
    assert live("license", "renew", license_id, "--until", "+2y").code == 0
    assert live("license", "show", license_id, "--json").json["state"]["not_after"] > before
    ran = live("license", "renew", license_id, "--until", "+1d", "--json")
    assert ran.code == 1
    assert ran.error["hint"]

    assert live("license", "revoke", license_id, "--reason", "breach").code == 0
    ran = live("license", "show", license_id, "--json")
    assert ran.code == 1
    assert ran.json["state"]["status"] == "revoked"
    assert live("license", "reinstate", license_id).code == 1
    listed = live("license", "list", "--plan", models["a"]["plan"], "--json").json["licenses"]
    assert license_id in [entry["license"] for entry in listed]


def test_a_revoked_license_opens_nothing_and_says_why(live, models):
    plan = models["b"]["plan"]
    issued = live("license", "issue", plan, "--to", "holder", "--card", "gone.json", "--json").json
    live(
        "runtime", "grant", "runtime.request.json", "--license", issued["license"],
        "--out", "gone.grant.json",
    )  # fmt: skip
    live("runtime", "accept", "gone.grant.json")
    assert live("check", "gone.json", "--wait").code == 0
    live("license", "revoke", issued["license"])
    ran = live("check", "gone.json", "--json")
    assert ran.code == 1
    assert ran.json["denial"]["code"] == "REVOKED"
    assert "licensor" in ran.json["denial"]["remedy"]
    ran = live("open", "gone.json", "--json")
    assert ran.code == 1
    assert ran.error["code"] == "REVOKED"


def test_evidence_is_collected_shown_and_verified_and_a_flipped_byte_is_caught(live, models):
    ran = live(
        "evidence",
        "collect",
        models["a"]["model_id"],
        "--out",
        "a.evidence.zip",
        "--actor",
        "Ada",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert "not verified" not in live("evidence", "show", "a.evidence.zip").out
    good = live("evidence", "verify", "a.evidence.zip", "--json")
    assert good.code == 3
    assert good.json["test_network"] is True
    block = good.json["assumed"][0]["hash"]
    assert block == ran.json["state"]["hash"]
    assert [of["hash"] for of in ran.json["rests_on"]] == [block]
    assert f"hint: give --block {block}" in good.err
    trusted = live("evidence", "verify", "a.evidence.zip", "--block", block, "--json")
    assert trusted.code == 0
    assert trusted.json["assumed"] == []
    data = bytearray((live.cwd / "a.evidence.zip").read_bytes())
    data[data.index(b"claim.json") + 60] ^= 1
    (live.cwd / "flipped.zip").write_bytes(data)
    assert live("evidence", "verify", "flipped.zip").code in {1, 2}
    assert live("evidence", "collect", models["a"]["model_id"], "--out", "a.evidence.zip").code == 2


def test_the_index_reports_its_place_and_rebuilds_to_the_same(live, models):
    assert live("index", "status", "--json").json["behind"] <= 3
    assert live("index", "rebuild", "--json").json["events"] > 10


def test_the_broker_answers_with_the_keys_that_the_chain_lists(live):
    ran = live("broker", "status", "--json")
    assert ran.code == 0
    assert all(ran.json["same"].values())
    (endpoint,) = ran.json["endpoints"]
    assert (ran.json["quorum"], endpoint["circuit"]) == (1, "closed")
    assert endpoint["healthy"] in {True, None}  # None: no key was asked for yet
    told = live("broker", "status").out
    assert "1, of which 1 must agree" in told
    state = "healthy, head " if endpoint["healthy"] else "not asked yet"
    assert f"{endpoint['host']}; {state}" in told


def test_the_doctor_finds_all_well(live, models):
    ran = live("doctor", models["a"]["sealed"], "--json")
    assert ran.code == 0
    assert {check["state"] for check in ran.json["checks"]} == {"ok"}


def test_the_doctor_knows_a_license_card_and_checks_its_signature(live, cards):
    card, license_id = cards["a"]
    ran = live("doctor", card, "--json")
    assert ran.code == 0
    (found,) = [check for check in ran.json["checks"] if check["name"] == "file"]
    assert f"card of license {license_id}, signed by 0x" in found["detail"]
    document = json.loads((live.cwd / card).read_text())
    (live.cwd / "bad.json").write_text(json.dumps(document | {"license": "1.2"}))
    ran = live("doctor", "bad.json")
    assert ran.code == 1
    assert "safetensors" not in ran.out


def test_a_second_broker_is_set_up_once(live, tmp_path):
    secret = tmp_path / "broker-passphrase"
    secret.write_text("another one\n")
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = str(secret)
    words = ("broker", "init", "--home", tmp_path / "home", "--url", "http://127.0.0.1:9", "--json")
    ran = live(*words, "--as", "operator")
    assert ran.code == 0, ran.err
    assert ran.json["broker"] == 2
    again = live(*words, "--as", "operator")
    assert again.code == 2
    assert "registered already" in again.error["message"]


def test_a_license_can_be_sealed_anew_by_hand(live, models):
    """``deed seal`` makes a second epoch of a registered model, with a key of its own."""
    claim = Path(models["a"]["folder"]) / "claim.json"
    words = ("a.safetensors", "a2.sealed", "--claim", claim, "--recovery", "a2.json", "--epoch", 2)
    ran = live("seal", *words, "--json")
    assert ran.code == 0, ran.err
    assert live("inspect", "a2.sealed", "--json").json["epoch"] == 2
    opened = live("open", "a2.sealed", "--recovery", "a2.json", "--verify-content", "--json")
    assert opened.json["content_root"] == models["a"]["content_root"]
    assert live("seal", *words).code == 2


def started(live, *words) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, *map(str, words)],
        cwd=live.cwd,
        env=live.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_serve_answers_over_http_and_ends_cleanly_when_told(live, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = f"sqlite:///{tmp_path / 'index.sqlite3'}"
    running = started(live, "serve", "--port", port, "--database", database)
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        else:
            pytest.fail("never ready")
    finally:
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert "Traceback" not in said


def test_following_ends_with_a_report_when_interrupted(live, tmp_path):
    database = f"sqlite:///{tmp_path / 'index.sqlite3'}"
    running = started(live, "index", "run", "--database", database, "--json")
    try:
        for _ in range(300):
            ran = live("index", "status", "--database", database, "--json")
            if ran.code == 0 and ran.json["behind"] == 0:
                break
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        else:
            pytest.fail("never caught up")
    finally:
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert json.loads(out)["block"] > 0


# -- wrong inputs --------------------------------------------------------------------------------


def refused(ran, code: int, *parts: str) -> None:
    """One error line, one hint, the exit code, and nothing else on stdout."""
    assert ran.code == code, ran.err
    assert ran.err.count("error: ") == 1
    assert ran.err.count("hint: ") == 1
    assert ran.out == ""
    for part in parts:
        assert part in ran.err


def test_an_unknown_license_is_said_to_be_unknown(live, models):
    for words in (("show",), ("revoke",), ("suspend",), ("renew", "--until", "+1y")):
        refused(live("license", words[0], "900.1", *words[1:]), 1, "no license 900.1")
    told = live("license", "show", "1")
    refused(told, 1, "no license 0.1")
    assert f"hint: {LicenseId.ABOUT_NUMBERS}" in told.err
    refused(live("runtime", "grant", "runtime.request.json", "--license", "900.1"), 1, "no license")
    refused(live("license", "show", "seven"), 2, "seven")


def test_someone_elses_license_cannot_be_touched_or_granted(live, cards):
    _, license_id = cards["a"]
    for words in (("revoke",), ("suspend",), ("renew", "--until", "+9y")):
        ran = live("license", words[0], license_id, *words[1:], "--as", "rival")
        refused(ran, 1, "lacks the role")
    ran = live(
        "runtime", "grant", "runtime.request.json", "--license", license_id,
        "--as", "rival", "--out", "stolen.json",
    )  # fmt: skip
    refused(ran, 1, "is held by")
    assert not (live.cwd / "stolen.json").exists()


def test_a_plan_on_someone_elses_model_is_refused(live, models):
    ran = live("plan", "create", models["a"]["model_id"], "--terms", "a.toml", "--as", "rival")
    refused(ran, 1, "cannot sell licenses")
    refused(live("plan", "create", UNKNOWN, "--terms", "a.toml"), 2, f"there is no model {UNKNOWN}")


def test_a_license_under_someone_elses_plan_leaves_no_card(live, models):
    ran = live(
        "license", "issue", models["a"]["plan"], "--to", "holder", "--card", "no.json",
        "--as", "rival",
    )  # fmt: skip
    refused(ran, 1, "lacks the role ISSUER")
    assert not (live.cwd / "no.json").exists()


def test_a_wallet_without_funds_is_told_what_it_needs(live, models, monkeypatch):
    monkeypatch.setattr("eth_keyfile.keyfile.get_default_work_factor_for_kdf", lambda kdf: 4096)
    assert live("wallet", "create", "poor").code == 0
    ran = live("publish", "a.safetensors", "--terms", "a.toml", "--wallet", "poor", "--out", "poor")
    refused(ran, 1, "has no coins")
    assert not (live.cwd / "poor").exists()


def test_a_network_whose_endpoint_serves_another_chain_is_refused(live):
    shown = live("network", "show", "--json").json
    manifest = shown["deployment"] | {"chain_id": 11155111}
    (live.cwd / "other.json").write_text(json.dumps(manifest))
    words = ("network", "add", "other", "--deployment", "other.json", "--rpc")
    refused(live(*words, shown["rpc"][0]), 2, "31337", "11155111")
    assert "other" not in live("network", "list").out
    ran = live(*words, "http://127.0.0.1:9", "--json")
    assert ran.code == 0
    assert "whether 127.0.0.1:9 serves this chain is not known" in ran.err
    # It came to be so afterwards.
    file = Path(ran.json["file"])
    file.write_text(file.read_text().replace("http://127.0.0.1:9", shown["rpc"][0]))
    refused(live("plan", "list", "--network", "other"), 2, "31337")


def test_another_chain_of_the_same_id_advises_a_look_at_the_url_before_beginning_anew(live):
    shown = live("network", "show", "--json").json
    manifest = shown["deployment"] | {"genesis_hash": UNKNOWN}
    (live.cwd / "twin.json").write_text(json.dumps(manifest))
    live("network", "add", "twin", "--rpc", shown["rpc"][0], "--deployment", "twin.json")
    ran = live("plan", "list", "--network", "twin")
    refused(ran, 2, "genesis differs", "hint: the URL or the manifest may be of another network")
    assert ran.err.index("deed network show") < ran.err.index("--fresh")


def test_a_holder_that_is_nobody_is_told_which_names_there_are(live, models):
    ran = live("license", "issue", models["a"]["plan"], "--to", "nobody")
    refused(ran, 2, "'nobody' is not an address", "licensor, holder")


def test_a_wallet_that_is_not_there_is_told_alike_by_all_commands(live, models, monkeypatch):
    monkeypatch.delitem(live.env, "DEED_WALLET_PASSWORD_FILE")
    said = live("wallet", "use", "nobody").err
    assert "there is no wallet 'nobody'" in said
    for words in (("publish", "a.safetensors", "--terms", "a.toml"), ("wallet", "show")):
        ran = live(*words, "--as", "nobody")
        assert (ran.code, ran.err) == (2, said)


def test_a_manifest_of_other_contracts_is_refused(live):
    shown = live("network", "show", "--json").json
    manifest = shown["deployment"]
    manifest["code_hashes"]["LicenseLedger"] = UNKNOWN
    (live.cwd / "odd.json").write_text(json.dumps(manifest))
    live("network", "add", "odd", "--rpc", shown["rpc"][0], "--deployment", "odd.json")
    refused(live("plan", "list", "--network", "odd"), 2, "LicenseLedger")


def test_a_sealed_file_for_another_model_is_refused(live, models, cards):
    folder = live.cwd / "swapped" / "a.published"
    folder.mkdir(parents=True)
    card = json.loads((live.cwd / cards["a"][0]).read_text())
    name = card["files"][-1]["url"]
    shutil.copy(live.cwd / cards["a"][0], live.cwd / "swapped")
    shutil.copy(live.cwd / models["b"]["sealed"], live.cwd / "swapped" / name)
    refused(live("open", Path("swapped") / cards["a"][0]), 1)
    refused(live("check", Path("swapped") / cards["a"][0]), 1)
    refused(live("open", models["a"]["sealed"], "--recovery", models["b"]["recovery"]), 1)


def test_the_key_of_another_file_is_refused(live, models):
    """The same model and epoch sealed twice: two keys, of which each opens its own file only."""
    claim = Path(models["b"]["folder"]) / "claim.json"
    for name in ("x", "y"):
        words = ("b.safetensors", f"{name}.sealed", "--claim", claim, "--recovery", f"{name}.json")
        assert live("seal", *words, "--epoch", 7).code == 0
    refused(live("open", "x.sealed", "--recovery", "y.json"), 1)


def test_a_model_that_is_not_the_registered_one_is_not_sealed(live, models):
    claim = Path(models["b"]["folder"]) / "claim.json"
    ran = live("seal", "a.safetensors", "z.sealed", "--claim", claim, "--recovery", "z.json")
    refused(ran, 1, "is not the model")
    assert not (live.cwd / "z.sealed").exists()
    assert not (live.cwd / "z.json").exists()


def test_a_wrong_passphrase_opens_no_recovery_file(live, models, tmp_path, monkeypatch):
    wrong = tmp_path / "wrong"
    wrong.write_text("not this one\n")
    monkeypatch.setitem(live.env, "DEED_WALLET_PASSWORD_FILE", str(wrong))
    published = models["b"]
    refused(live("open", published["sealed"], "--recovery", published["recovery"]), 2)


def test_a_file_that_is_not_sealed_is_never_opened_as_if_it_were(live, models):
    for words in (("inspect",), ("open", "--recovery", models["a"]["recovery"])):
        refused(live(words[0], "a.safetensors", *words[1:]), 2)


def test_evidence_of_a_model_that_is_not_at_hand_names_the_option(live):
    refused(live("evidence", "collect", UNKNOWN, "--out", "u.zip"), 2, "--from")
    assert not (live.cwd / "u.zip").exists()


def test_a_test_account_signs_on_local_chains_only(live):
    shown = live("network", "show", "--json").json
    (live.cwd / "main.json").write_text(json.dumps(shown["deployment"] | {"chain_id": 1}))
    live("network", "add", "main", "--rpc", "http://127.0.0.1:9", "--deployment", "main.json")
    ran = live("wallet", "show", "--network", "main", "--as", "holder")
    refused(ran, 2, "local chains only")


def test_no_run_printed_a_key_or_the_passphrase(live, models):
    """Last: looks through everything the runs above printed."""
    from ledger.broker.recovery import Recovery
    from ledger.chain.wallet import _TEST_KEYS

    secret = "correct horse battery staple"
    keys = [Recovery.load(live.cwd / m["recovery"], secret) for m in models.values()]
    forbidden = [
        secret,
        *_TEST_KEYS.values(),
        *(key.content_key.hex() for key in keys),
        *(str(key.salt)[2:] for key in keys),
    ]
    said = "".join(live.said)
    assert len(said) > 10_000
    for word in forbidden:
        assert word not in said
