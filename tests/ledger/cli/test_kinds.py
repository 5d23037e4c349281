from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ledger.cli.kinds import KINDS, require_kind
from ledger.errors import UsageError

ROOT = Path(__file__).parents[3] / "ledger"


def test_every_kind_that_is_told_of_is_one_that_a_module_reads():
    written = set()
    for page in ROOT.rglob("*.py"):
        if page.name != "kinds.py":
            written |= set(re.findall(r'"(modeldeed[/-][a-z-]+)"', page.read_text()))
    assert set(KINDS) <= written


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_told_by_what_it_is_and_who_takes_it(kind):
    wanted = next(each for each in KINDS if each != kind)
    with pytest.raises(UsageError, match=KINDS[kind][0]) as caught:
        require_kind({"type": kind}, Path("a.json"), wanted)
    assert KINDS[wanted][0] in caught.value.message
    assert caught.value.hint == KINDS[kind][1]
    assert require_kind({"type": kind}, Path("a.json"), kind) == {"type": kind}


def test_a_brokers_reply_is_told_too_and_a_strange_file_left_to_its_reader():
    reply = {"type": "release", "receipt": {}, "signature": {}}
    with pytest.raises(UsageError, match=r"signed reply \(release\)"):
        require_kind(reply, Path("a.json"), "modeldeed/runtime-request")
    for strange in ([], "x", {}, {"type": 7}, {"type": "other/thing"}):
        assert require_kind(strange, Path("a.json"), "modeldeed/escrow") == strange


def test_a_restore_refuses_another_file_before_it_asks_for_a_passphrase(deed):
    deed("runtime", "init")
    for words in (("restore",), ("export",), ("set", "deposit", "1")):
        ran = deed("broker", *words, "runtime.request.json")
        assert ran.code == 2
        assert "runtime's request file" in ran.err
    (deed.cwd / "odd.json").write_text(json.dumps({"type": "modeldeed/license-card"}))
    assert "a license card" in deed("broker", "export", "odd.json").err
