"""What is left of keys and weights in a process after close, seen from another process."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.sealed import keys
from ledger.sealed.header import Prelude
from ledger.sealed.recipients import MLKEM768_X25519
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


FORKED = """
import os, sys
from ledger.sealed.file import open_sealed
key = bytearray(32)
os.readv(0, [key])
file = open_sealed(sys.argv[1], key)
key[:] = bytes(32)
held = file.get_tensor("a.large")
child = os.fork()
os.write(1, b"%d\\n" % os.getpid())
os.read(0, 1)
"""

PRIVATE_KEY = """
import os, sys
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey as hybrid
from ledger.sealed.recipients import KemPrivateKey, unwrap, wrap
zeros = memoryview(bytes(96))
lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes
curve = x25519.X25519PrivateKey.from_private_bytes
raw = bytearray(98)
os.readv(0, [raw])
key = KemPrivateKey.from_bytes(raw)
raw[:] = bytes(98)
copy = key.to_bytes()
copy[:] = bytes(98)
secret = unwrap(wrap(bytes(32), key.public, info=b"x"), key, info=b"x")
key.wipe()
made = KemPrivateKey.generate()
copy = made.to_bytes()
os.writev(1, [copy])
copy[:] = bytes(98)
made.wipe()
# The library's own stack keeps the last key until it is used again.
hybrid(lattice(zeros[:64]), curve(zeros[64:]))
os.write(1, b"done")
os.read(0, 1)
"""

# The first bytes of memory that was freed hold addresses.
FREED = 16


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


@contextmanager
def running(code, *arguments):
    """A process that runs `code` and can be scanned."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
        bufsize=0,
    )
    try:
        yield child
    except PermissionError:
        pytest.skip("this system does not let a parent read its child's memory")
    finally:
        child.kill()
        child.communicate()


def needles_of(sealed):
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
        return {
            "content key": sealed.key[FREED:],
            "payload key": bytes(payload.view)[FREED:],
            "message key": bytes(message._message_key.view)[FREED:],
            "data key": bytes(data_key.view)[FREED:],
            "weights": sealed.tensors["a.large"].tobytes()[5000:5064],
            "small weights": sealed.tensors["a.half"].tobytes()[100:164],
        }


def test_after_close_no_copy_of_key_or_weights_is_left(sealed):
    needles = needles_of(sealed)
    with running(CHILD, str(sealed.path)) as child:
        child.stdin.write(sealed.key)
        assert child.stdout.readline() == b"open\n"
        while_open = scan(child.pid, needles)
        child.stdin.write(b".")
        assert child.stdout.readline() == b"closed\n"
        after = scan(child.pid, needles)
    assert while_open["weights"] >= 1
    assert while_open["message key"] == 1
    assert (while_open["content key"], while_open["payload key"]) == (0, 0)
    assert after == dict.fromkeys(needles, 0)


def test_a_forked_child_has_no_copy_of_key_or_weights(sealed):
    needles = needles_of(sealed)
    with running(FORKED, str(sealed.path)) as child:
        child.stdin.write(sealed.key)
        pids = {int(child.stdout.readline()) for _ in range(2)}
        assert child.pid in pids
        assert scan(child.pid, needles)["data key"] >= 1
        (forked,) = pids - {child.pid}
        try:
            found = scan(forked, needles)
        finally:
            os.kill(forked, signal.SIGKILL)
    assert found == dict.fromkeys(needles, 0)


def test_of_a_private_key_that_was_wiped_nothing_is_left():
    raw = bytes([1, MLKEM768_X25519]) + hashlib.shake_256(b"test").digest(96)
    with running(PRIVATE_KEY) as child:
        child.stdin.write(raw)
        made = child.stdout.read(98)
        needles = {
            f"{what} {part}": value[start + FREED : end]
            for what, value in (("read", raw), ("made", made))
            for part, start, end in (("lattice", 2, 66), ("curve", 66, 98))
        }
        assert child.stdout.read(4) == b"done"
        assert scan(child.pid, needles) == dict.fromkeys(needles, 0)
