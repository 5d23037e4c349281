"""Finding the Anvil program."""

import gzip
from pathlib import Path

import pytest

from ledger.chain import anvil
from ledger.chain.dev import DevChain
from ledger.errors import ChainUnavailable, ToolMissing


def test_the_named_program_wins(tmp_path, monkeypatch):
    program = tmp_path / "my-anvil"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    monkeypatch.setenv("DEED_ANVIL", str(program))
    assert anvil.find_anvil() == program


def test_a_named_program_that_is_not_there_is_an_error_and_not_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("DEED_ANVIL", str(tmp_path / "nothing"))
    with pytest.raises(ToolMissing, match="DEED_ANVIL"):
        anvil.find_anvil()


def test_npms_wrapper_on_the_path_leads_to_the_native_binary_beside_it(tmp_path, monkeypatch):
    """The wrapper would leave the node behind when it is killed."""
    elsewhere(tmp_path, monkeypatch)
    modules = tmp_path / "lib" / "node_modules" / "@foundry-rs"
    wrapper = modules / "anvil" / "bin.mjs"
    native = modules / f"anvil-{anvil._platform()}" / "bin" / "anvil"
    for path, text in ((wrapper, "#!/usr/bin/env node\n"), (native, "native")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "anvil").symlink_to(wrapper)
    monkeypatch.setenv("PATH", str(folder))
    assert anvil.find_anvil() == native


def test_without_any_anvil_the_hint_is_the_npm_line(tmp_path, monkeypatch):
    elsewhere(tmp_path, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as caught:
        anvil.find_anvil()
    assert "npm" in caught.value.hint


def elsewhere(tmp_path, monkeypatch):
    """As if the package were installed far from its checkout."""
    monkeypatch.delenv("DEED_ANVIL", raising=False)
    monkeypatch.setattr(anvil, "__file__", str(tmp_path / "a" / "b" / "c" / "anvil.py"))
    monkeypatch.chdir(tmp_path)


def test_a_free_port_is_free():
    port = anvil.free_port()
    anvil.require_free(port)
    assert 1024 < port < 65536


def test_a_node_that_answers_on_the_port_is_not_taken_for_the_one_that_was_started(chain):
    """Two that choose a port at once: the second would work on the first one's chain."""
    with pytest.raises(ChainUnavailable, match="in use"):
        anvil.spawn(chain.port, None)


def test_a_program_that_keeps_its_files_to_itself_is_believed_after_a_while(tmp_path, monkeypatch):
    """Such as one in a container, whose folder for temporary files is its own."""
    program = tmp_path / "anvil"
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != --config-out ]; do set -- "$@" "$1"; shift; done\n'
        f'shift 2; exec {anvil.find_anvil()} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("DEED_ANVIL", str(program))
    with DevChain.start() as node:
        node.mine()


def test_a_port_that_another_takes_meanwhile_is_let_go_for_a_free_one(chain, monkeypatch):
    ports = iter([chain.port, chain.port, anvil.free_port()])
    monkeypatch.setattr("ledger.chain.dev.free_port", lambda: next(ports))
    with DevChain.start() as node:
        assert node.port != chain.port
        node.mine()


def test_the_state_file_keeps_the_former_copy_and_no_scraps(tmp_path):
    file = anvil.StateFile(tmp_path / "s" / "state")
    assert file.candidates() == []
    for text in (b"one", b"two", b"three"):
        file.save(gzip.compress(text))
    assert file.candidates() == [b"three", b"two"]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["state", "state.previous"]
    Path(file.path).unlink()  # killed between the two renames
    assert file.candidates() == [b"two"]
