"""A bundle whose headers are in several runs: each run's newest block is to be vouched for."""

import re
import subprocess
import sys

import pytest
from two_verifiers import SCRIPT, script

from ledger.cli.evidence import _how_to_verify
from ledger.evidence.bundle import parse_bundle
from ledger.evidence.headers import rests_on
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Verdict, verify
from ledger.ids import Digest

# Nothing happened in these blocks, so that only links go.
GAPS = ("headers/5.rlp", "headers/9.rlp", "headers/14.rlp")


@pytest.fixture(scope="module")
def old(forge, tmp_path_factory):
    edit = [{"op": "remove", "member": name} for name in GAPS]
    path = tmp_path_factory.mktemp("old") / "old.evidence.zip"
    path.write_bytes(forge({"edit": [*edit, {"op": "retell"}], "reseal": True}))
    return path


def test_the_printed_command_names_every_block_and_verifies(old):
    tops = rests_on(parse_bundle(old.read_bytes()).folder("headers"))
    assert [top.number for top in tops] == [4, 8, 13, 16]
    command, ask = _how_to_verify(old, tops)
    assert ask.endswith("the hashes of all 4 blocks: 4, 8, 13, 16")
    words = command.partition("deed evidence verify ")[2].split()
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
    hashes = re.findall("--block (0x[0-9a-f]{64})", command)
    blocks = frozenset(map(Digest.parse, hashes))
    for one in blocks:
        some = verify(old, trust=TrustRoot(blocks=blocks - {one}))
        assert some.verdict is not Verdict.VERIFIED
    assert verify(old, trust=TrustRoot(blocks=blocks)).holds


def test_one_block_is_asked_for_in_the_singular(bundle_path, bundle_bytes):
    tops = rests_on(parse_bundle(bundle_bytes).folder("headers"))
    command, ask = _how_to_verify(bundle_path, tops)
    assert command.endswith(f"{bundle_path} --block {tops[-1].hash}")
    assert ask.endswith("that block's hash")


def test_without_any_hash_step_4_names_all_blocks_in_both(old):
    data = old.read_bytes()
    trust = {"blocks": set(), "contracts": {}, "roots": set(), "collectors": set()}
    by_script = script().verify(data, trust)["steps"][3]["detail"]
    by_library = verify(old).steps[3].detail
    assert by_script == by_library
    for number in (4, 8, 13, 16):
        assert f" {number} 0x" in by_library
