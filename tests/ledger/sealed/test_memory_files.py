"""Plaintext for programs that insist on a path: what is left, and what is refused."""

import os
import threading

import pytest

from ledger.errors import ConfigurationError, UnsupportedModel
from ledger.errors import UsageError as Usage
from ledger.sealed import reader
from ledger.sealed.file import open_sealed
from ledger.sealed.memory_files import LinkFolder, MemoryFile


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where folders of links are made; whatever stays there was left behind."""
    monkeypatch.setattr("ledger.sealed.memory_files.memory_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 400 + "y" * 256])
def test_a_name_that_no_file_system_has_raises_our_error_and_leaves_no_folder(folder, name):
    with pytest.raises(UnsupportedModel, match="names"):
        LinkFolder({"good": "/proc/self/fd/0", name: "/proc/self/fd/0"})
    assert list(folder.iterdir()) == []


def test_a_folder_made_while_its_package_is_closed_is_not_left_behind(sealed, folder, monkeypatch):
    file = open_sealed(sealed.path, sealed.key)
    side = [member.name for member in file.members if member.role == "side"]
    closer = threading.Thread(target=file.close)

    def slow(targets):
        closer.start()
        closer.join(0.3)  # it waits for this folder; before, it was done by now
        return LinkFolder(targets)

    monkeypatch.setattr(reader, "LinkFolder", slow)
    file.link_folder(side)
    closer.join(20)
    assert list(folder.iterdir()) == []
    with pytest.raises(Usage, match="closed"):
        file.link_folder(side)


def test_a_file_larger_than_memory_raises_our_error_and_keeps_no_descriptor():
    there = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError, match="memory"):
        MemoryFile(1 << 62, lambda _: None)
    assert set(os.listdir("/proc/self/fd")) == there
