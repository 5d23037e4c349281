"""Folders given where files belong, ``.`` and ``/`` among them: refused, and never a bug."""

from __future__ import annotations

import itertools

import pytest

COMMANDS = (
    ("runtime", "init", "--out", "{}"),
    ("runtime", "grant", "{}", "--license", "1.8"),
    ("runtime", "grant", "request.json", "--license", "1.8", "--out", "{}"),
    ("runtime", "accept", "{}"),
    ("seal", "{}", "out.sealed", "--claim", "claim.json", "--recovery", "r.json"),
    ("seal", "m.safetensors", "{}", "--claim", "claim.json", "--recovery", "r.json"),
    ("seal", "m.safetensors", "out.sealed", "--claim", "{}", "--recovery", "r.json"),
    ("seal", "m.safetensors", "out.sealed", "--claim", "claim.json", "--recovery", "{}"),
    ("publish", "{}", "--terms", "terms.toml"),
    ("publish", "m.safetensors", "--terms", "{}"),
    ("publish", "m.safetensors", "--terms", "terms.toml", "--out", "{}"),
    ("inspect", "{}"),
    ("open", "{}"),
    ("open", "out.sealed", "--export", "{}"),
    ("check", "{}"),
    ("fingerprint", "{}"),
    ("claim", "show", "{}"),
    ("evidence", "show", "{}"),
    ("evidence", "verify", "{}"),
    ("evidence", "collect", "0x" + "11" * 32, "--out", "{}"),
    ("license", "issue", "1", "--to", "0x" + "11" * 20, "--card", "{}"),
    ("plan", "create", "{}", "--terms", "terms.toml"),
    ("terms", "new", "{}"),
    ("terms", "new", "{}", "--force"),
    ("terms", "check", "{}"),
    ("wallet", "import", "x", "--keystore", "{}"),
    ("network", "add", "x", "--rpc", "http://127.0.0.1:9", "--deployment", "{}"),
    ("chain", "deploy", "--out", "{}"),
)


@pytest.mark.parametrize(
    ("words", "place"),
    list(itertools.product(COMMANDS, (".", "/", "..", "folder"))),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_folder_where_a_file_belongs_is_wrong_usage(deed, passphrase, words, place):
    (deed.cwd / "folder").mkdir()
    (deed.cwd / "m.safetensors").write_bytes(b"x")
    deed("terms", "new", "terms.toml")
    before = {path.name for path in deed.cwd.iterdir()}

    ran = deed(*(word.format(place) for word in words))

    assert ran.code in {1, 2}, ran.err
    assert ran.err.count("error: ") == 1
    assert ran.err.count("hint: ") == 1
    assert {path.name for path in deed.cwd.iterdir()} == before
    # No key is made when its request cannot be written.
    assert not (deed.cwd.parent / "config" / "runtime.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("runtime", "init", "--out", "."),
        ("runtime", "grant", ".", "--license", "1.8"),
        ("seal", "m.safetensors", ".", "--claim", "c.json", "--recovery", "r.json"),
        ("seal", "m.safetensors", "o.sealed", "--claim", "c.json", "--recovery", "/"),
    ],
    ids=" ".join,
)
def test_it_is_said_to_be_a_folder(deed, words):
    ran = deed(*words)
    assert ran.code == 2
    assert "is a folder" in ran.err
