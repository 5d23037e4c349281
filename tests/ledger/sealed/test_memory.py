"""Arenas and secrets: private, zeroed, kept out of dumps and children."""

import ctypes
import gc
import os
import re
from pathlib import Path

import pytest

from ledger.errors import ConfigurationError
from ledger.sealed.memory import Arena, Secret, burn


def flags(address):
    """The kernel's flags of the mapping that holds `address`."""
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            here = int(match[1], 16) <= address < int(match[2], 16)
        elif here and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError(address)


def test_an_arena_is_left_out_of_dumps_and_children():
    small, large = Arena(5000), Arena(8 << 20)
    for arena in (small, large):
        assert {"dd", "wf"} <= set(flags(arena.address))
        assert "sh" not in flags(arena.address)
    assert "hg" in flags(large.address)


def test_a_wiped_arena_reads_zeros_through_views_that_are_still_held():
    arena = Arena(100_000)
    view = memoryview(arena)
    view[:5] = b"plain"
    arena.wipe()
    assert bytes(view[:5]) == bytes(5)
    del arena
    gc.collect()
    assert not any(view)


def test_zeroing_outside_an_arena_is_refused():
    arena = Arena(4096)
    for start, length in ((-1, 2), (4000, 200), (0, 4097)):
        with pytest.raises(IndexError):
            arena.zero(start, length)


def test_a_forked_child_sees_zeros():
    arena = Arena(4096)
    memoryview(arena)[:5] = b"plain"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, bytes(memoryview(arena)[:5]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 5) == bytes(5)
    os.close(reader)
    os.close(writer)
    assert bytes(memoryview(arena)[:5]) == b"plain"


def test_a_secret_is_zero_after_its_block():
    with Secret.of(b"0123456789abcdef") as secret:
        assert bytes(secret.view) == b"0123456789abcdef"
        assert "0123" not in repr(secret)
        address = secret._page.address
        assert "lo" in flags(address) or not secret.locked
    assert ctypes.string_at(address, 16) == bytes(16)


def test_burning_overwrites_bytes_that_a_library_returned():
    secret = bytes(bytearray(range(64, 96)))
    address = id(secret) + bytes.__basicsize__ - 1
    assert burn(secret)
    assert ctypes.string_at(address, 32) == bytes(32)


def test_burning_spares_the_objects_everyone_shares():
    assert not burn(b"")
    assert not burn(b"a")
    assert bytes([97]) == b"a"


@pytest.mark.parametrize("size", [1 << 62, 1 << 70])
def test_memory_that_there_is_not_is_said_in_our_words(size):
    with pytest.raises(ConfigurationError, match="memory"):
        Arena(size)
