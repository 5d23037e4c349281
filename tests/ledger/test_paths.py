"""Names that other names are made from: a folder is told apart before anything is written."""

from pathlib import Path

import pytest

from ledger.errors import UsageError
from ledger.paths import beside, file_stem, own_name, require_file_name


@pytest.mark.parametrize("path", [".", "/", "..", "a/..", "folder", "folder/", ""])
def test_a_folder_is_not_taken_for_a_file(tmp_path, monkeypatch, path):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a folder") as caught:
        require_file_name(Path(path))
    assert caught.value.hint


@pytest.mark.parametrize("path", ["new", "folder/new", "there"])
def test_a_file_and_what_is_not_there_yet_pass(tmp_path, monkeypatch, path):
    (tmp_path / "there").touch()
    monkeypatch.chdir(tmp_path)
    assert require_file_name(Path(path)) == Path(path)


def test_what_lies_beside_the_current_folder_is_in_the_one_above(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert beside(Path(), "x") == tmp_path / "x"
    assert beside(Path("a"), "x") == Path("x")


def test_nothing_lies_beside_the_root():
    with pytest.raises(UsageError, match="root folder"):
        beside(Path("/"), "x")


def test_a_file_and_a_folder_are_called_what_they_are_called(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "v1.0").mkdir()
    assert own_name(tmp_path / "model.safetensors") == "model"
    assert own_name(tmp_path / "v1.0") == "v1.0"
    monkeypatch.chdir(tmp_path / "v1.0")
    assert own_name(Path()) == "v1.0"


@pytest.mark.parametrize(
    ("title", "stem"),
    [("Größe 1.2", "Größe-1.2"), ("../../etc/x", "etc-x"), ("..", "model"), ("a" * 90, "a" * 80)],
)
def test_a_title_becomes_a_name_that_leads_nowhere(title, stem):
    assert file_stem(title) == stem
