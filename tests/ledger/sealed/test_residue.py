"""What is left of keys and weights in a process after close, seen from another process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.sealed import keys
from ledger.sealed.header import Prelude
from ledger.sealed.stream import HEADER_BYTES, Floe

CHILD = """
import os, sys
from ledger.sealed.file import open_sealed
key = bytearray(32)
os.readv(0, [key])
file = open_sealed(sys.argv[1], key)
key[:] = bytes(32)
loaded = file.load_all(threads=2)
one = file.get_tensor("a.half")
held = loaded["a.large"]
print("open", flush=True)
os.read(0, 1)
file.close()
print("closed", flush=True)
os.read(0, 1)
"""


def scan(pid, needles):
    """How often each needle stands in the writable memory of a process."""
    found = dict.fromkeys(needles, 0)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match and "[v" not in line:
                start, end = int(match[1], 16), int(match[2], 16)
                memory.seek(start)
                data = memory.read(end - start)
                for name, needle in needles.items():
                    found[name] += data.count(needle)
    return found


def test_after_close_no_copy_of_key_or_weights_is_left(sealed):
    data = sealed.path.read_bytes()
    prelude = Prelude.parse(data[:96])
    binding = keys.header_binding(data[:96], data[96 : prelude.index_offset])
    floe = Floe(prelude.record_bytes)
    header = data[prelude.payload_header_offset :][:HEADER_BYTES]
    with keys.derive(sealed.key, keys.LABEL_PAYLOAD) as payload:
        message = floe.open(payload.view, binding, header)
        data_key = floe.derive(
            message._message_key.view, header[10:42], binding, b"DEK:" + bytes(8), 32
        )
        needles = {
            "content key": sealed.key,
            "payload key": bytes(payload.view),
            "message key": bytes(message._message_key.view),
            "data key": bytes(data_key.view),
            "weights": sealed.tensors["a.large"].tobytes()[5000:5064],
            "small weights": sealed.tensors["a.half"].tobytes()[100:164],
        }
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(sealed.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
        bufsize=0,
    )
    try:
        child.stdin.write(sealed.key)
        assert child.stdout.readline() == b"open\n"
        try:
            while_open = scan(child.pid, needles)
        except PermissionError:
            pytest.skip("this system does not let a parent read its child's memory")
        child.stdin.write(b".")
        assert child.stdout.readline() == b"closed\n"
        after = scan(child.pid, needles)
    finally:
        child.kill()
        child.communicate()
    assert while_open["weights"] >= 1
    assert while_open["message key"] == 1
    assert (while_open["content key"], while_open["payload key"]) == (0, 0)
    assert after == dict.fromkeys(needles, 0)
