from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.cli import publications
from ledger.errors import ManifestError, UsageError


def publish(folder, model_id="0x" + "11" * 32):
    folder.mkdir(parents=True, exist_ok=True)
    journal = {
        "version": 1,
        "inputs": {"chain_id": 31337},
        "steps": {"register": {"model_id": model_id}},
    }
    (folder / "journal.json").write_text(json.dumps(journal))
    return folder


def is_it(model_id):
    return lambda f: f.steps["register"]["model_id"] == model_id


def test_it_is_found_two_levels_below_the_working_folder(tmp_path, monkeypatch):
    publish(tmp_path / "other", "0x" + "22" * 32)
    wanted = publish(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    assert publications.find(None, is_it("0x" + "11" * 32), what="m").path == wanted


@pytest.mark.parametrize(
    ("place", "found"), [(".", True), ("a", True), ("a/b", True), ("a/b/c", False), ("..", False)]
)
def test_it_is_said_to_be_found_exactly_where_it_is_found(tmp_path, monkeypatch, place, found):
    here = tmp_path / "here"
    here.mkdir()
    folder = (here / place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder)
    monkeypatch.chdir(here)
    assert publications.is_around(Path(place)) is found
    if found:
        assert publications.find(None, is_it("0x" + "11" * 32), what="m").path == Path(folder)
    else:
        with pytest.raises(UsageError):
            publications.find(None, is_it("0x" + "11" * 32), what="m")


def test_a_named_folder_that_is_of_something_else_is_refused(tmp_path):
    folder = publish(tmp_path / "other", "0x" + "22" * 32)
    with pytest.raises(UsageError):
        publications.find(folder, is_it("0x" + "11" * 32), what="m")


def test_an_unreadable_journal_beside_it_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "journal.json").write_text("{")
    wanted = publish(tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    assert publications.find(None, is_it("0x" + "11" * 32), what="m").path == wanted


def test_none_found_names_the_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        publications.find(None, is_it("0x" + "11" * 32), what="m")
    assert "--from" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": [], "steps": {}}', "[" * 10_000])
def test_what_is_no_journal_is_refused(tmp_path, text):
    (tmp_path / "journal.json").write_text(text)
    with pytest.raises(ManifestError):
        publications.read(tmp_path)


def test_a_step_not_yet_done_says_how_to_go_on(tmp_path):
    folder = publications.read(publish(tmp_path / "p"))
    with pytest.raises(ManifestError) as caught:
        folder.result("seal", "record")
    assert "deed publish" in caught.value.hint
    with pytest.raises(ManifestError):
        _ = folder.sealed
    with pytest.raises(ManifestError):
        folder.document("claim.json")
