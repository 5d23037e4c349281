"""``deed investigate`` without a chain: suspects that are none, and names made to mislead."""

import hashlib
import os
import pickle
import tempfile

import numpy as np
import pytest
from safetensors.numpy import save, save_file
from store_world import serving


def tensors():
    rng = np.random.default_rng(2)
    return {f"layer.{n}": rng.standard_normal((n, 48)).astype(np.float32) for n in (64, 96)}


def bad(folder):
    """Suspects that nothing can be made of, by name."""
    good = save(tensors())
    folder.mkdir()
    for name, data in {
        "cut.safetensors": good[:-100],
        "head.safetensors": good[:5],
        "empty.safetensors": b"",
        "page.safetensors": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "lower.bin": b"<html><body>404</body></html>",
        "denied.safetensors": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "data.bin": pickle.dumps({"a": [1.0] * 100}),
    }.items():
        (folder / name).write_bytes(data)
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("hello")
    (folder / "nothing").mkdir()
    (folder / "loop").mkdir()
    (folder / "loop" / "model.safetensors").write_bytes(good)
    (folder / "loop" / "again").symlink_to(".")
    (folder / "names").mkdir()
    (folder / "names" / "a\nb.safetensors").write_bytes(good)
    os.mkfifo(folder / "pipe.safetensors")
    save_file(tensors(), folder / "ours.safetensors")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cut.safetensors", "truncated"),
        ("head.safetensors", "too short"),
        ("empty.safetensors", "0 bytes"),
        ("page.safetensors", "a web page"),
        ("lower.bin", "a web page"),
        ("denied.safetensors", "an XML document"),
        ("pointer.safetensors", "a Git LFS pointer"),
        ("data.bin", "a pickle"),
        ("notes", "holds no"),
        ("nothing", "holds no file"),
        ("loop", "link to a folder"),
        ("names", "no record can hold"),
        ("pipe.safetensors", "not a regular file"),
        ("missing", "No such file"),
        ("ours.safetensors", "no method could be tried"),
    ],
)
def test_wrong_input_is_an_error_with_a_way_out_and_leaves_no_findings(deed, name, says):
    bad(deed.cwd / "bad")
    good = () if name == "ours.safetensors" else ("--ours", "bad/ours.safetensors")
    for more in {good, ()}:
        words = ("investigate", f"bad/{name}", *more, "--offline", "--out", "f.json", "--json")
        ran = deed(*words)
        assert ran.code == 2, ran.out
        assert says in ran.error["message"] or not more
        assert ran.error["hint"]
        assert not (deed.cwd / "f.json").exists()


def test_a_pickle_that_would_run_something_runs_nothing(deed):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(deed.cwd / "ran"),)

    (deed.cwd / "model.pt").write_bytes(pickle.dumps(Bomb()))
    save_file(tensors(), deed.cwd / "ours.safetensors")
    ran = deed("investigate", "model.pt", "--ours", "ours.safetensors", "--offline", "--json")
    assert ran.code == 2
    assert "may run anything" in ran.error["hint"]
    assert not (deed.cwd / "ran").exists()


def test_a_page_in_place_of_a_model_is_told_and_not_kept(deed, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "shop").mkdir()
    save_file(tensors(), deed.cwd / "ours.safetensors")
    (tmp_path / "shop" / "m.safetensors").write_bytes(b"<!doctype html><title>Sign in</title>")
    with serving(tmp_path / "shop") as server:
        words = ("investigate", f"{server.url}/m.safetensors", "--ours", "ours.safetensors")
        ran = deed(*words, "--offline", "--json")
    assert (ran.code, "is a web page" in ran.error["message"]) == (2, True)
    assert "sign in there" in ran.error["hint"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_names_chosen_to_collide_or_to_mislead_do_not_stop_an_examination(deed):
    """Whoever hands the suspect over chooses the names in it."""
    save_file(tensors(), deed.cwd / "ours.safetensors")
    one, two = tensors().values()
    half = {"turned\u202e": one.astype(np.float16), "turned\\u202e": two}
    long = {"n" * 1200 + "a": one, "n" * 1200 + "b": two}
    for name, given in (("turned", half), ("long", long)):
        save_file(given, deed.cwd / f"{name}.safetensors")
        words = ("investigate", f"{name}.safetensors", "--ours", "ours.safetensors")
        ran = deed(*words, "--offline", "--json")
        assert ran.code == 0, ran.out
        (held,) = ran.json["findings"]["comparisons"]
        theirs = [of["theirs"] for of in held["tensors"]["shared"]]
        assert len(set(theirs)) == held["tensors"]["found"] == len(theirs) > 0
        assert all(of.isascii() and len(of) <= 1100 for of in theirs)


def test_a_folder_of_several_models_says_which_files_were_not_looked_at(deed):
    """A copy beside an innocent model must not pass for examined."""
    folder = deed.cwd / "dump"
    (folder / "old").mkdir(parents=True)
    save_file(tensors(), deed.cwd / "ours.safetensors")
    save_file({"w": tensors()["layer.64"] * 2 + 1}, folder / "model.safetensors")
    save_file(tensors(), folder / "old" / "weights.safetensors")
    save_file(tensors(), folder / ".hidden")
    (folder / "config.json").write_text("{}")
    ran = deed("investigate", "dump", "--ours", "ours.safetensors", "--offline", "--json")
    assert ran.code == 1
    assert len(ran.json["findings"]["suspect"]["files"]) == 4
    (note,) = ran.json["notes"]
    assert ".hidden, old/weights.safetensors (2 in all); investigate each alone" in note
    digest = hashlib.sha256((folder / "old" / "weights.safetensors").read_bytes()).hexdigest()
    assert [of["what"] for of in ran.json["findings"]["untried"]] == [f"file 0x{digest}"]
