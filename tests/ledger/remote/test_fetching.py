"""deed fetch: a card's sealed file onto this machine, whatever happens on the way."""

import contextlib
import hashlib
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ledger.broker.fetching import fetch
from ledger.errors import (
    ContentMismatch,
    FormatError,
    LedgerError,
    ManifestError,
    SignatureInvalid,
    StoreUnavailable,
    UsageError,
)
from ledger.remote import download as download_module

PIECE = download_module.PIECE
FETCH = "import sys; from ledger.cli.main import main; sys.exit(main(sys.argv[1:]))"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, "fetch", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def card(shop, server, tmp_path):
    """Write a card for URLs; bare names lie on the server."""

    def write(*urls, **options):
        path = tmp_path / "cards" / "m.license.json"
        path.parent.mkdir(exist_ok=True)
        shop.card(*(url if ":" in url else f"{server.url}/{url}" for url in urls), path=path,
                  **options)  # fmt: skip
        return path

    return write


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "m.sealed"


# -- the whole file


def test_the_file_arrives_whole_under_its_name_and_nothing_else_stays(shop, server, card, out):
    seen = []
    done = fetch(card("model.sealed"), out, progress=lambda *at: seen.append(at))
    assert digest(out) == digest(shop.path)
    assert names(out.parent) == [out.name]
    assert (done.size, done.resumed) == (out.stat().st_size, 0)
    assert seen[-1] == (done.size, done.size)
    sizes = [last - first + 1 for first, last in server.ranges[1:]]
    assert max(sizes) <= PIECE


def test_a_file_that_is_there_already_is_told_and_left_alone(shop, server, card, out):
    shutil.copy(shop.path, out)
    done = fetch(card("model.sealed"), out)
    assert done.source == str(out)
    assert server.ranges == []
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="not the card's file"):
        fetch(card("model.sealed"), out)
    assert out.read_bytes() == b"mine"


def test_a_local_file_is_copied_and_a_folder_takes_its_name(shop, card, tmp_path):
    (tmp_path / "to").mkdir()
    done = fetch(card(shop.path.as_uri()), tmp_path / "to")
    assert done.path == tmp_path / "to" / "model.sealed"
    assert digest(done.path) == digest(shop.path)


def test_a_card_may_come_from_the_same_server(shop, server, out):
    shop.card("model.sealed", path=shop.folder / "web.license.json")
    fetch(f"{server.url}/web.license.json", out)
    assert digest(out) == digest(shop.path)


def test_the_command_says_what_it_did_as_json(shop, card, out):
    ran = command(card("model.sealed"), "--out", out, "--json")
    said, told = ran.communicate(timeout=60)
    assert ran.returncode == 0, told
    answer = json.loads(said)
    assert answer["bytes"] == shop.path.stat().st_size
    assert answer["sealed"] == str(out)
    assert "\r" not in told  # no bar without a terminal


# -- refused before the download


def test_what_does_not_fit_the_record_is_refused_before_its_payload(shop, server, card, out):
    other = shop.folder / "other.sealed"
    data = bytearray(shop.path.read_bytes())
    data[64] ^= 1  # the key commitment
    other.write_bytes(data)
    with pytest.raises(ContentMismatch):
        fetch(card("other.sealed"), out)
    assert len(server.ranges) == 1
    with pytest.raises(ContentMismatch):
        fetch(card("model.sealed", size=shop.path.stat().st_size + 1), out)
    (shop.folder / "page.sealed").write_bytes(b"<html>" * 90)
    with pytest.raises(FormatError):
        fetch(card("page.sealed"), out)
    assert not out.exists()


def test_a_card_that_does_not_verify_fetches_nothing(shop, server, card, out):
    path = card("model.sealed")
    document = json.loads(path.read_text())
    document["license"] = "1.2"
    path.write_text(json.dumps(document))
    with pytest.raises(SignatureInvalid):
        fetch(path, out)
    path.write_text("{}")
    with pytest.raises(ManifestError):
        fetch(path, out)
    with pytest.raises(UsageError, match=r"not a license card|no license card"):
        fetch(shop.path, out)
    assert server.ranges == []
    assert names(out.parent) == []


# -- several places


def test_the_next_place_is_tried_and_goes_on_with_what_is_there(shop, server, card, out):
    # The first place dies after two pieces; the second serves the rest of the same file.
    server.fault = lambda number, first: (
        "cut" if "/dying/" in server.paths[number - 1] and number > 3 else None
    )
    (shop.folder / "dying").mkdir(exist_ok=True)
    shutil.copy(shop.path, shop.folder / "dying" / "model.sealed")
    done = fetch(card("dying/model.sealed", "model.sealed"), out, timeout=1.5)
    assert digest(out) == digest(shop.path)
    assert done.resumed > 0


def test_places_are_not_mixed_when_they_hold_different_sealings(shop, server, card, out):
    server.fault = lambda number, first: (
        "cut" if "model.sealed" in server.paths[number - 1] and number > 3 else None
    )
    again = shop.folder / "again.sealed"
    assert again.stat().st_size == shop.path.stat().st_size
    done = fetch(card("model.sealed", "again.sealed"), out, timeout=1.5)
    assert digest(out) == digest(again)
    assert done.resumed == 0


def test_when_no_place_serves_it_the_first_reason_is_told(server, card, out):
    server.fault = lambda number, first: "503"
    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1 .*HTTP 503"):
        fetch(card("a.sealed", "b.sealed"), out, timeout=1)
    assert not out.exists()


# -- resuming


def slow_after(server, count):
    server.fault = lambda number, first: "slow" if number > count else None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_fetch_goes_on_where_it_stopped(shop, server, card, out, how):
    slow_after(server, 3)
    path = card("model.sealed")
    ran = command(path, "--out", out)
    part = out.with_name(out.name + ".part.json")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.read_text().count('["piece"') >= 2):
        assert time.monotonic() < deadline, ran.poll()
        time.sleep(0.01)
    ran.send_signal(how)
    ran.wait(timeout=20)
    assert ran.returncode == (-9 if how == signal.SIGKILL else 130)
    ran.communicate()
    assert not out.exists()
    server.fault = lambda number, first: None
    asked = len(server.ranges)
    done = fetch(path, out)
    assert digest(out) == digest(shop.path)
    assert done.resumed >= 2 * PIECE
    again = sum(last - first + 1 for first, last in server.ranges[asked + 1 :])
    assert again <= shop.path.stat().st_size - 2 * PIECE
    assert names(out.parent) == [out.name]


def test_killed_at_random_moments_it_ends_with_the_right_bytes(shop, server, card, out):
    server.fault = lambda number, first: "slow" if number % 2 else None
    path = card("model.sealed")
    for moment in (0.35, 0.5, 0.65, 0.8, 1.0):
        ran = command(path, "--out", out)
        time.sleep(moment)
        ran.kill()
        ran.communicate()
        if out.exists():
            break
    server.fault = lambda number, first: None
    fetch(path, out)
    assert digest(out) == digest(shop.path)


def interrupted(server, path, out, *, pieces=2):
    """A fetch that ends after some pieces."""
    server.fault = lambda number, first: "cut" if number > 1 + pieces else None
    with pytest.raises(LedgerError):
        fetch(path, out, timeout=1)
    server.fault = lambda number, first: None
    server.ranges.clear()
    server.paths.clear()
    assert out.with_name(out.name + ".part").exists()


def test_pieces_that_changed_on_the_disk_are_fetched_again(shop, server, card, out):
    path = card("model.sealed")
    interrupted(server, path, out)
    part = out.with_name(out.name + ".part")
    held = part.stat().st_size
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(b"broken")
    done = fetch(path, out)
    assert digest(out) == digest(shop.path)
    assert done.resumed < held


@pytest.mark.parametrize("change", ["torn", "noise", "poison", "lost", "other"])
def test_whatever_happened_to_the_state_file_the_bytes_are_right(shop, server, card, out, change):
    path = card("model.sealed")
    interrupted(server, path, out)
    state = out.with_name(out.name + ".part.json")
    data = state.read_bytes()
    if change == "torn":
        state.write_bytes(data[:-20])
    elif change == "noise":
        state.write_bytes(data + b'\xff\n["piece", -1, "x"]\n["piece", 1e9, 3]\n[[], {}, 1]\n5')
    elif change == "poison":
        lines = ['["place", [], null]', '["place", {}, 1]', "[" * 4000, '{"a":' * 800]
        state.write_bytes(data + "\n".join(lines).encode())
    elif change == "other":
        state.write_bytes(re.sub(rb'"head": "..', b'"head": "zz', data))
    else:
        state.unlink()
        with pytest.raises(UsageError, match="in the way"):
            fetch(path, out)
        out.with_name(out.name + ".part").unlink()
    fetch(path, out)
    assert digest(out) == digest(shop.path)
    assert names(out.parent) == [out.name]


def test_an_object_that_changed_meanwhile_is_fetched_from_the_start(
    shop, server, card, out, tmp_path
):
    server.folder = tmp_path / "served"
    server.folder.mkdir()
    shutil.copy(shop.path, server.folder / "model.sealed")
    path = card("model.sealed")
    interrupted(server, path, out)
    shutil.copy(shop.folder / "again.sealed", server.folder / "model.sealed")
    server.etag = '"second"'
    done = fetch(path, out)
    assert done.resumed == 0
    assert digest(out) == digest(shop.folder / "again.sealed")


def test_an_object_replaced_in_mid_download_is_fetched_from_the_start(
    shop, server, card, out, tmp_path
):
    server.folder = tmp_path / "served"
    server.folder.mkdir()
    shutil.copy(shop.path, server.folder / "model.sealed")

    def replace(number, first):
        if number == 4:
            shutil.copy(shop.folder / "again.sealed", server.folder / "new")
            (server.folder / "new").replace(server.folder / "model.sealed")
            server.etag = '"second"'

    server.fault = replace
    fetch(card("model.sealed"), out)
    assert digest(out) == digest(shop.folder / "again.sealed")


def test_two_fetches_of_one_file_do_not_disturb_each_other(shop, server, card, out):
    slow_after(server, 1)
    path = card("model.sealed")
    other = threading.Thread(target=fetch, args=(path, out))
    other.start()
    while len(server.ranges) < 3:
        time.sleep(0.01)
    with pytest.raises(UsageError, match="being downloaded by another"):
        fetch(path, out)
    server.fault = lambda number, first: None
    other.join()
    assert digest(out) == digest(shop.path)


# -- disks


def test_a_disk_without_room_is_said_before_the_download(server, card, out, monkeypatch):
    usage = shutil.disk_usage(out.parent)
    monkeypatch.setattr("ledger.remote.download.SPARE_BYTES", usage.free + (64 << 20))
    with pytest.raises(UsageError, match="are still to come") as caught:
        fetch(card("model.sealed"), out)
    assert "run it again" in caught.value.hint
    assert len(server.ranges) == 1
    assert not out.exists()


def test_a_disk_that_fills_up_keeps_what_arrived(shop, server, card, out):
    path = card("model.sealed")
    state = out.with_name(out.name + ".part.json")

    def after_two_pieces(number, first):
        # What lies behind the disk's end must not come first, or nothing is there to keep.
        while first >= 2 * PIECE and state.read_text().count('["piece"') < 2:
            time.sleep(0.01)

    server.fault = after_two_pieces

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, resource.RLIM_INFINITY))

    ran = command(path, "--out", out, preexec_fn=limit)
    told = ran.communicate(timeout=60)[1]
    assert ran.returncode == 2, told
    assert "cannot be written" in told
    assert "goes on where it stopped" in told
    assert not out.exists()
    assert fetch(path, out).resumed > 0
    assert digest(out) == digest(shop.path)


def test_what_is_no_download_of_ours_is_not_overwritten(card, out):
    part = out.with_name(out.name + ".part")
    part.write_bytes(b"mine")
    with pytest.raises(UsageError, match="in the way"):
        fetch(card("model.sealed"), out)
    part.unlink()
    target = out.parent / "target"
    target.write_bytes(b"mine")
    part.symlink_to(target)
    with pytest.raises(UsageError):
        fetch(card("model.sealed"), out)
    assert target.read_bytes() == b"mine"


def test_a_file_with_another_name_is_not_written_to(card, out, server):
    """A hard link to a file of the user, with a journal beside it as if it were of a download."""
    path = card("model.sealed")
    interrupted(server, path, out)
    part, target = out.with_name(out.name + ".part"), out.parent / "target"
    part.unlink()
    target.write_bytes(b"mine")
    os.link(target, part)
    with pytest.raises(UsageError, match="in the way"):
        fetch(path, out)
    assert target.read_bytes() == b"mine"


def test_a_fetch_that_waited_for_another_to_end_does_not_write_to_its_file(
    shop, card, out, server, monkeypatch
):
    """Between opening the partial file and locking it, another process may give it its name."""
    path = card("model.sealed")
    interrupted(server, path, out)
    # What is there would be fetched from the start, and not to its end.
    server.etag = '"newer"'
    server.fault = lambda number, first: "cut" if number > 1 else None

    def ended_first(fd, operation):
        if not out.exists():
            out.with_name(out.name + ".part").rename(out)
            out.write_bytes(shop.path.read_bytes())
            out.with_name(out.name + ".part.json").unlink()
        return flock(fd, operation)

    flock = download_module.fcntl.flock
    monkeypatch.setattr(download_module.fcntl, "flock", ended_first)
    with pytest.raises(LedgerError):
        fetch(path, out, timeout=1)
    assert digest(out) == digest(shop.path)


def test_memory_stays_bounded(shop, server, card, out):
    code = (
        "import sys, re; from ledger.broker.fetching import fetch; from pathlib import Path;"
        "import obstore; peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)',"
        " open('/proc/self/status').read())[1]); before = peak();"
        "fetch(sys.argv[1], Path(sys.argv[2])); print(peak() - before)"
    )
    big = shop.folder / "big.sealed"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(card("model.sealed")), str(out)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert not big.exists()
    assert int(ran.stdout) < (4 * PIECE * 3) >> 10


def test_the_default_name_is_a_plain_one(shop, server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = Path("m.license.json")
    for url, name in (("model.sealed?x=1", "model.sealed"), (".bashrc", "model.sealed")):
        shop.card(f"{server.url}/{url}", path=path)
        if url == ".bashrc":
            shutil.copy(shop.path, shop.folder / ".bashrc")
        assert fetch(path).path == Path(name)
        Path(name).unlink()
    assert names(tmp_path) == ["m.license.json"]


@pytest.mark.parametrize("slow", [True, False])
def test_a_terminal_gets_a_bar_after_a_second_and_not_before(server, card, out, slow):
    server.fault = lambda number, first: "slow" if slow else None
    ours, theirs = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "-c", FETCH, "fetch", card("model.sealed"), "--out", out],
        stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    with contextlib.suppress(OSError):  # the terminal ends with the process
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert ran.wait(timeout=60) == 0
    assert (b"MB/s" in shown) == slow
