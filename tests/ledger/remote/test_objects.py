"""Reading a sealed package on a web server: right bytes, or an error of ours, whatever it does."""

import asyncio
import gc
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest
from safetensors.numpy import save_file
from variant_world import make_marked

from ledger.errors import (
    ConfigurationError,
    LedgerError,
    NotSealed,
    ObjectReplaced,
    RangesRefused,
    SealedTruncated,
    SegmentTampered,
    StoreUnavailable,
    UsageError,
    WrongKey,
)
from ledger.ids import Address, ModelId
from ledger.remote.objects import RemoteObject, _Awaited
from ledger.remote.places import Place
from ledger.sealed.file import inspect, open_sealed, seal
from ledger.tensors.model import open_model

from .conftest import KEY, same_tensors


def place(server, name="model.sealed", query=""):
    return Place.parse(f"{server.url}/{name}{query}")


def remote(server, name="model.sealed", *, timeout=10.0, query=""):
    return RemoteObject(place(server, name, query), timeout=timeout)


def remote_threads():
    return [t for t in threading.enumerate() if t.name.startswith("sealed")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    gc.collect()
    assert remote_threads() == []


def test_closing_waits_for_obstores_threads_behind_reads_that_were_given_up(server, monkeypatch):
    """One that asks for the interpreter's lock while that ends aborts the process."""
    asked, left = [], []
    ours = _Awaited.cancelled

    def late(future):
        given_up = asyncio.Future.cancelled(future)
        foreign = threading.current_thread().name != "sealed-remote"
        if given_up and foreign:
            asked.append(future)
            time.sleep(0.2)
            left.append(future)
        return ours(future)

    monkeypatch.setattr(_Awaited, "cancelled", late)
    # Not a byte of an answer: obstore asks nothing again of a future whose answer is on its way.
    server.fault = lambda number, first: "404" if number > 1 and server.ending.wait(60) else None
    source = remote(server)
    reads = source.reads()
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(reads.block, 2 << 20, 8 << 20) for _ in range(4)]
        while len(server.ranges) < 5:
            time.sleep(0.01)
        reads.abandon()
        assert all(isinstance(each.exception(), StoreUnavailable) for each in running)
    source.close()
    assert len(asked) == len(left) == 4


# -- what is read, and with how many requests


def test_every_tensor_is_the_local_one_bit_for_bit(shop, server):
    with open_sealed(remote(server), KEY, record=shop.record) as file:
        for name, array in shop.tensors.items():
            assert np.array_equal(file.get_tensor(name), array)
        assert bytes(file.files()["config.json"]) == b'{"layers": 14}'
        assert same_tensors(file, shop.tensors)


def test_opening_is_one_request_and_a_tensor_one_more(shop, server):
    with open_sealed(remote(server), KEY) as file:
        assert len(server.ranges) == 1
        file.get_tensor("layers.7.weight")  # 2.5 MiB over four segments
        assert len(server.ranges) == 2
        first, last = server.ranges[1]
        assert last - first < 5 << 20
        file.get_tensor("small.bias")
        assert len(server.ranges) == 3


def test_loading_all_asks_for_large_ranges_of_bounded_size(shop, server):
    with open_sealed(remote(server), KEY) as file:
        file.load_all()
    sizes = [last - first + 1 for first, last in server.ranges]
    assert len(sizes) <= 2 + shop.path.stat().st_size // (8 << 20) + 1
    assert max(sizes) <= (8 << 20) + 8 * 32


def test_the_cells_of_a_batch_come_with_one_request(shop, tmp_path):
    save_file(shop.tensors, tmp_path / "model.safetensors")
    marked = make_marked(
        tmp_path, tmp_path / "m.sealed", count=400, content_key=KEY, log2_segment=20
    )
    with import_module("store_world").serving(tmp_path) as server:
        local = open_sealed(marked.path, KEY, cells=marked.released(marked.word(1)))
        with (
            local,
            open_sealed(
                remote(server, "m.sealed"), KEY, cells=marked.released(marked.word(1))
            ) as file,
        ):
            assert same_tensors(file, {n: a.copy() for n, a in local.load_all().items()})
            batches = -(-shop.path.stat().st_size // (8 << 20))
            assert len(server.ranges) <= 2 + 2 * batches
            file.get_tensor("layers.7.weight")
            assert len(server.ranges) <= 4 + 2 * batches


def test_ranges_stay_bounded_where_segments_are_large(shop, server, tmp_path):
    """Eight ranges are in memory at once: of the largest segments they were a gigabyte."""
    with open_model(shop.folder / "model") as model:
        seal(
            model, tmp_path / "model.sealed", content_key=KEY, model_id=ModelId(bytes(32)),
            chain_id=1, registry=Address(bytes(20)), log2_segment=22,
        )  # fmt: skip
    server.folder = tmp_path
    with open_sealed(remote(server), KEY) as file:
        assert same_tensors(file, shop.tensors)
    sizes = [last - first + 1 for first, last in server.ranges]
    assert max(sizes) <= (8 << 20) + 8 * 32


def test_inspecting_is_one_request(server):
    assert inspect(remote(server)) == inspect(server.folder / "model.sealed")
    assert len(server.ranges) == 1


def test_the_pinned_tag_goes_with_every_range(shop, server):
    with open_sealed(remote(server), KEY) as file:
        file.load_all()
    conditions = [headers["If-Match"] for headers in server.headers]
    assert conditions[0] is None
    assert set(conditions[1:]) == {'"first"'}


def test_a_query_reaches_the_server_and_no_message(shop, server):
    server.fault = lambda number, first: None if number == 1 else "503"
    file = open_sealed(remote(server, query="?sig=topsecret", timeout=1), KEY)
    with file, pytest.raises(StoreUnavailable) as caught:
        file.load_all()
    said = f"{caught.value} {caught.value.hint} {caught.value!r} {caught.value.__cause__!r}"
    assert "topsecret" not in said
    assert "model.sealed" not in said
    assert "http://127.0.0.1 " in said


def test_several_threads_read_one_file(shop, server):
    names = list(shop.tensors) * 2
    with open_sealed(remote(server), KEY) as file, ThreadPoolExecutor(4) as pool:
        for name, array in zip(names, pool.map(file.get_tensor, names), strict=True):
            assert np.array_equal(array, shop.tensors[name])


def test_a_forked_child_closes_without_waiting_for_the_parents_thread(server):
    file = open_sealed(remote(server), KEY)
    child = os.fork()
    if not child:
        file.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    file.get_tensor("small.bias")
    file.close()
    with pytest.raises(UsageError):
        file.get_tensor("small.bias")


# -- servers that fail now and then


@pytest.mark.parametrize("fault", ["drop", "503"])
def test_what_fails_once_in_a_while_is_asked_again(shop, server, fault):
    server.fault = lambda number, first: fault if number % 3 == 2 else None
    with open_sealed(remote(server), KEY, record=shop.record) as file:
        assert same_tensors(file, shop.tensors)
    assert len(server.ranges) > 8


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut", StoreUnavailable),
        ("503", StoreUnavailable),
        ("stall", StoreUnavailable),
        ("short", StoreUnavailable),
        ("long", (StoreUnavailable, SegmentTampered)),
        ("shifted", StoreUnavailable),
        ("404", UsageError),
        ("403", ConfigurationError),
        ("whole", RangesRefused),
        ("garbage", SegmentTampered),
    ],
)
def test_a_lasting_fault_ends_in_its_error_and_leaves_nothing(shop, server, fault, error):
    with open_sealed(remote(server, timeout=2), KEY) as file:
        server.fault = lambda number, first: fault
        begin = time.monotonic()
        with pytest.raises(error):
            file.load_all()
        assert time.monotonic() - begin < 30
        for arena in list(file._plain.segments.arenas):
            assert not any(memoryview(arena))
        server.fault = lambda number, first: None
        assert same_tensors(file, shop.tensors)


@pytest.mark.parametrize("fault", ["cut", "503", "short", "shifted", "404", "403", "whole"])
def test_a_fault_at_opening_is_an_error_of_ours(server, fault):
    server.fault = lambda number, first: fault
    with pytest.raises(LedgerError):
        remote(server, timeout=1.5)


def test_bytes_beyond_those_asked_for_are_not_taken_in(server):
    server.fault = lambda number, first: "long"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreUnavailable):
        remote(server, timeout=3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_slow_server_is_waited_for(shop, server):
    server.fault = lambda number, first: "slow" if number == 3 else None
    with open_sealed(remote(server, timeout=60), KEY) as file:
        assert same_tensors(file, shop.tensors)


def test_nobody_there_is_said_at_once():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1 cannot be read now"):
        RemoteObject(Place.parse(f"http://127.0.0.1:{port}/m.sealed"), timeout=1)


# -- objects that change


@pytest.mark.parametrize("how", ["condition", "weak", "size"])
def test_an_object_replaced_in_mid_load_is_refused(shop, server, tmp_path, how):
    server.folder = tmp_path
    shutil.copy(shop.path, tmp_path / "model.sealed")
    if how == "weak":
        server.etag = 'W/"first"'
    if how == "size":
        server.etag = None
    with open_sealed(remote(server), KEY) as file:
        file.get_tensor("small.bias")
        shutil.copy(shop.folder / "again.sealed", tmp_path / "model.sealed")
        if how == "size":
            with (tmp_path / "model.sealed").open("ab") as handle:
                handle.write(b"x")
        else:
            server.etag = server.etag.replace("first", "second")
        with pytest.raises(ObjectReplaced):
            file.load_all()


def test_without_any_tag_a_replaced_object_still_gives_no_wrong_bytes(shop, server, tmp_path):
    server.folder, server.etag = tmp_path, None
    shutil.copy(shop.path, tmp_path / "model.sealed")
    with open_sealed(remote(server), KEY) as file:
        shutil.copy(shop.folder / "again.sealed", tmp_path / "model.sealed")
        with pytest.raises(SegmentTampered):
            file.load_all()


@pytest.mark.parametrize("size", [0, 50, 96, 5000, 3 << 20])
def test_a_truncated_object_is_refused_at_opening(shop, server, tmp_path, size):
    server.folder = tmp_path
    (tmp_path / "model.sealed").write_bytes(shop.path.read_bytes()[:size])
    with pytest.raises((SealedTruncated, NotSealed, StoreUnavailable)):
        open_sealed(remote(server), KEY)


def test_another_file_and_another_key_are_refused(shop, server, tmp_path):
    with pytest.raises(WrongKey):
        open_sealed(remote(server), bytes(32))
    server.folder = tmp_path
    (tmp_path / "model.sealed").write_bytes(b"<html>sold</html>" * 30)
    with pytest.raises(NotSealed):
        open_sealed(remote(server), KEY)


# -- TLS and redirects


READ = """
import sys
from ledger.errors import LedgerError
from ledger.remote.objects import RemoteObject, _Awaited
from ledger.remote.places import Place
from ledger.sealed.file import open_sealed
try:
    there = RemoteObject(Place.parse(sys.argv[1]), timeout=2)
    with open_sealed(there, bytes.fromhex(sys.argv[2])) as f:
        print(bytes(f.get_tensor("small.bias")).hex()[:64])
except LedgerError as error:
    print(type(error).__name__, error)
"""


def read_elsewhere(url, **environment):
    return subprocess.run(
        [sys.executable, "-c", READ, url, KEY.hex()],
        capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, **environment},
    ).stdout.strip()  # fmt: skip


def test_plain_http_of_this_machine_leads_to_no_other_address(shop, server):
    """What listens here may redirect anywhere: to an intranet, or a cloud's metadata."""
    with import_module("store_world").serving(shop.folder) as inside:
        elsewhere = inside.url.replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(UsageError, match="plain http"):
            Place.parse(f"{elsewhere}/model.sealed")
        server.fault = lambda number, first: f"redirect:{elsewhere}/model.sealed"
        with pytest.raises(StoreUnavailable):
            remote(server, timeout=2)
        assert inside.ranges == []
        server.fault = lambda number, first: f"redirect:{inside.url}/model.sealed"
        with open_sealed(remote(server), KEY, record=shop.record) as file:
            assert file.keys()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_no_proxy_sees_what_is_read_from_this_machine(server, host, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    there = RemoteObject(Place.parse(f"{server.url}/model.sealed".replace("127.0.0.1", host)))
    there.close()
    assert len(server.ranges) == 1


def test_https_is_read_and_its_certificate_and_redirects_are_checked(shop, server, tmp_path):
    world = import_module("store_world")
    context, authority = world.tls_context(tmp_path)
    with world.serving(shop.folder, context=context) as secure:
        trusted = {"SSL_CERT_FILE": str(authority)}
        expected = shop.tensors["small.bias"].tobytes().hex()[:64]
        url = f"{secure.url}/model.sealed"
        assert read_elsewhere(url, **trusted) == expected
        assert "certificate is not trusted" in read_elsewhere(url)
        # A redirect may lead to another https server, and not to plain http.
        secure.fault = lambda number, first: f"redirect:{server.url}/model.sealed"
        assert "points to plain http" in read_elsewhere(url, **trusted)
        assert server.ranges == []
