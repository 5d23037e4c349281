"""Loading that is called off: arena zeroed, threads ended, files gone, at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ledger.remote.objects import RemoteObject
from ledger.remote.places import Place
from ledger.sealed.file import open_sealed

from .conftest import KEY, same_tensors

LOADING = """
import json, sys, threading, time
from ledger.remote.opening import opened_source
from ledger.sealed.file import open_sealed

file = open_sealed(opened_source(sys.argv[1], timeout=60), bytes.fromhex(sys.argv[2]))

first = [True]
def once(done, total):
    if first and done >= 3 << 20:
        first.clear()
        print("loading", flush=True)
    if sys.argv[3] == "local":
        time.sleep(0.05)

arenas = file._plain.segments.arenas
try:
    file.load_all(progress=once)
except KeyboardInterrupt:
    workers = [t.name for t in threading.enumerate() if t.name.startswith("sealed_")]
    wiped = all(not any(memoryview(arena)) for arena in list(arenas))
    file.close()
    left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    print(json.dumps({"wiped": wiped, "workers": workers, "left": left}), flush=True)
    raise SystemExit(130)
print("loaded", flush=True)
"""


def start(place, kind):
    return subprocess.Popen(
        [sys.executable, "-c", LOADING, str(place), KEY.hex(), kind],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["remote", "local"])
@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupted_load_leaves_nothing_in_memory(shop, server, kind, times):
    # After the first ranges the server sends nothing more: the load would wait for a minute.
    server.fault = lambda number, first: "stall" if number > 2 else None
    ran = start(f"{server.url}/model.sealed" if kind == "remote" else shop.path, kind)
    assert ran.stdout.readline() == "loading\n"
    for _ in range(times):
        ran.send_signal(signal.SIGINT)
        time.sleep(0.005)
    begin = time.monotonic()
    said, told = ran.communicate(timeout=20)
    assert time.monotonic() - begin < 10
    if times > 1 and not said:
        return  # interrupted again while it reported: it is gone, and so is its memory
    assert ran.returncode == 130, told
    assert json.loads(said) == {"wiped": True, "workers": [], "left": []}


def test_a_callback_that_raises_cancels_the_load(shop, server):
    class Enough(Exception):
        pass

    def stop(done, total):
        if done > 4 << 20:
            raise Enough

    server.fault = lambda number, first: "slow" if number > 2 else None
    with open_sealed(RemoteObject(Place.parse(f"{server.url}/model.sealed")), KEY) as file:
        begin = time.monotonic()
        with pytest.raises(Enough):
            file.load_all(progress=stop)
        assert time.monotonic() - begin < 5
        assert all(not any(memoryview(arena)) for arena in list(file._plain.segments.arenas))
        assert not [t for t in threading.enumerate() if t.name.startswith("sealed_")]
        server.fault = lambda number, first: None
        assert same_tensors(file, shop.tensors)


def test_an_interrupt_while_one_tensor_is_awaited_ends_the_wait(shop, server):
    server.fault = lambda number, first: "stall" if number > 1 else None
    with open_sealed(RemoteObject(Place.parse(f"{server.url}/model.sealed")), KEY) as file:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            file.get_tensor("layers.3.weight")
        assert time.monotonic() - begin < 5
        timer.join()


def test_an_interrupted_command_leaves_no_file(shop, server, tmp_path):
    """A server without ranges is downloaded from; that download goes away with an interrupt."""
    path = tmp_path / "m.license.json"
    shop.card(f"{server.url}/model.sealed", path=path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = "import sys; from ledger.broker.cards import locate; locate(sys.argv[1])"
    server.fault = lambda number, first: "whole" if number == 1 else "stall"
    ran = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(temporary.glob("*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ran.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in ran.communicate(timeout=20)[1]
    assert list(temporary.iterdir()) == []
