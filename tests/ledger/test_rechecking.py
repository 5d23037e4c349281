"""What findings say of a file, computed again from it: the library beside ``verify.py``."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from two_verifiers import SCRIPT, script

from ledger.canonical import canonical_json
from ledger.dating import close_bundle
from ledger.evidence.bundle import CUSTODY, INDEX, contents_of, parse_bundle
from ledger.evidence.custody import append
from ledger.fingerprint.exact import fingerprint
from ledger.rechecking import recheck
from ledger.suspects import received
from ledger.tensors.model import open_model

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "evidence"
BUNDLE, SUSPECT = VECTORS / "match.evidence.zip", VECTORS / "match.suspect.safetensors"
NOT_CHECKED = "not checked"


def both(bundle, suspect):
    """Results of the library's checks and of the script's."""
    data = Path(bundle).read_bytes()
    proven = script().verify(data, NOTHING)["steps"][15]["result"] == "pass"
    with received(str(suspect)) as there:
        library = [check.result for check in recheck(Path(bundle), there)]
    return library, [
        of["result"] for of in script().with_suspect(data, str(suspect), proven=proven)
    ]


NOTHING = {"blocks": set(), "contracts": {}, "roots": set(), "collectors": set()}


def changed(path, change):
    """The bundle with other findings, closed as its maker would."""
    bundle = parse_bundle(BUNDLE.read_bytes())
    found = bundle.json("match.json")
    change(found["comparisons"][0]["tensors"])
    members = {k: v for k, v in bundle.members.items() if k != INDEX}
    members["match.json"] = canonical_json(found)
    log = append(
        (),
        time="2026-01-01T02:00:00Z",
        actor="a forger",
        action="collected",
        software="none",
        contents=contents_of(bundle.subject, members),
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    path.write_bytes(close_bundle(bundle.subject, members))
    return path


def test_the_examined_file_holds_the_shared_tensors_again():
    assert both(BUNDLE, SUSPECT) == (["pass", "pass", NOT_CHECKED],) * 2


def test_another_file_is_told_and_nothing_more_is_said_of_it(tmp_path):
    other = tmp_path / "other.safetensors"
    data = bytearray(SUSPECT.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    assert both(BUNDLE, other) == (["fail"],) * 2


def equal(tensors):
    for of in tensors["shared"]:
        of["relation"] = "identity"  # one is in half precision there


def of_other_content(tensors):
    tensors["content_root"] = "0x" + "5a" * 32


@pytest.mark.parametrize("change", [equal, of_other_content])
def test_what_is_not_in_the_file_fails(tmp_path, change):
    bundle = changed(tmp_path / "x.zip", change)
    assert both(bundle, SUSPECT) == (["pass", "fail", NOT_CHECKED],) * 2


def test_what_the_script_cannot_compute_it_calls_not_checked(tmp_path):
    def reordered(tensors):
        tensors["shared"][0]["relation"] = "multiset"

    bundle = changed(tmp_path / "x.zip", reordered)
    found = script().with_suspect(bundle.read_bytes(), str(SUSPECT), proven=True)
    assert found[1]["result"] == NOT_CHECKED
    assert found[1]["detail"].startswith("1 of 2 are found again; the others need values")


def test_findings_that_were_not_proved_say_no_more_than_whether_it_is_the_file():
    found = script().with_suspect(BUNDLE.read_bytes(), str(SUSPECT), proven=False)
    assert [of["result"] for of in found] == ["pass", NOT_CHECKED, NOT_CHECKED]


def test_a_folder_has_the_digest_of_its_files(tmp_path):
    for name in ("b/one.txt", "a.bin", "b-2", "中"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with received(str(tmp_path)) as there:
        expected = (there.record["size"], there.record["sha256"])
    verifier, folder = script(), str(tmp_path)
    assert verifier._received(folder, verifier._files_of(folder)) == expected


def test_content_ids_of_every_kind_of_tensor_are_the_library_s(tmp_path):
    chance = np.random.default_rng(5)
    kinds = ("<f2", "<f4", "<f8", "<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "?")
    made = {f"t{i}": chance.integers(0, 2, (3, 7)).astype(kind) for i, kind in enumerate(kinds)}
    made |= {
        "long": chance.standard_normal((3, 100_000)),  # several leaves
        "constant": np.full((2, 300_000), 2.5, "<f4"),
        "nearly": np.array([1] * 200 + [2], "<f4"),
        "short": chance.standard_normal(15),
        "none": np.zeros((0, 4), "<f4"),
        "scalar": np.array(1.5),
    }
    path = tmp_path / "all.safetensors"
    save_file(made, path)
    with open_model(path) as model:
        expected = fingerprint(model, level="core")
    learnt, all_ = script()._content_ids(str(path))
    assert sorted(all_) == sorted(of.cid.raw for of in expected.tensors)
    assert sorted(learnt) == sorted(of.cid.raw for of in expected.tensors if of.identity)


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":[],"shape":[1],"data_offsets":[0,4]}}',
        b'{"a":3}',
        b"[1, 2]",
        b"[" * 70 + b"]" * 70,
        b"\xff\xff",
    ],
)
def test_hostile_headers_are_no_safetensors(tmp_path, head):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"abcd")
    if head == b"{}":
        assert script()._content_ids(str(path)) == ([], [])
        return
    with pytest.raises(script().NotChecked):
        script()._content_ids(str(path))


def test_on_the_command_line_a_suspect_decides_about_the_exit_code(tmp_path):
    def run(*words):
        command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    block = parse_bundle(BUNDLE.read_bytes()).subject.block_hash
    good = run(BUNDLE, "--block", block, "--suspect", SUSPECT, "--json")
    assert (good.returncode, len(json.loads(good.stdout)["suspect"])) == (0, 3), good.stderr
    other = tmp_path / "other"
    shutil.copy(BUNDLE, other)
    told = run(BUNDLE, "--block", block, "--suspect", other)
    assert told.returncode == 1
    assert "\n(1) it is the file that was examined: fail\n" in told.stdout
    without = run(VECTORS / "model.evidence.zip", "--suspect", SUSPECT)
    assert without.returncode == 1
    assert "the bundle carries no findings" in without.stdout
    assert run(BUNDLE, "--suspect", tmp_path / "none").returncode == 2
    assert run(BUNDLE, "--suspect", other, "--suspect", other).returncode == 2
