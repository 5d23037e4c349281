"""Benchmark of sealed packages over the network: loading and fetching from a server on loopback.

``rows(size=…)`` returns the rows of ``scripts/bench.py remote --json``. What is compared runs
interleaved on the same bytes from the same server, a process of its own that sends by sendfile;
figures are medians. The yardstick is obstore alone, downloading the same bytes in the same ranges
and as many at once. Run alone: ``bench_remote.py [BYTES]``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import obstore
from bench_models import KEY, SMALL, generate, seal_model
from measuring import MEMORY, interleaved, ratio, row, timed
from obstore.store import HTTPStore

from ledger.remote.download import Offer, download
from ledger.remote.objects import WIDTH, RemoteObject
from ledger.remote.places import Place
from ledger.sealed.file import open_sealed
from ledger.sealed.header import PRELUDE_BYTES, Prelude

DEFAULT_BYTES = 512 << 20
ROUNDS = 5
_RANGE = 8 << 20
_BARE = "obstore alone, the same ranges"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a range."""
        path = sys.argv[2]
        size = Path(path).stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            self.send_error(400)
            return
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        self.send_response(206)
        self.send_header("ETag", '"bench"')
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.flush()
        with Path(path).open("rb") as file:
            offset = first
            while offset <= last:
                offset += os.sendfile(
                    self.connection.fileno(), file.fileno(), offset, last + 1 - offset
                )


def _serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def _bare(url: str, size: int) -> Callable[[], object]:
    def run() -> object:
        store = HTTPStore.from_url(url, client_options={"allow_http": True})

        def get(start: int) -> object:
            end = min(start + _RANGE, size)
            return obstore.get(store, "", options={"range": (start, end)}).bytes()

        with ThreadPoolExecutor(WIDTH) as pool:
            return list(pool.map(get, range(0, size, _RANGE)))

    return run


def _open(url: str) -> RemoteObject:
    return RemoteObject(Place.parse(url))


def _load(url: str) -> None:
    with open_sealed(_open(url), KEY) as file:
        file.load_all()


def _fetch(url: str, out: Path, size: int) -> None:
    out.unlink(missing_ok=True)
    download([Offer(url, lambda: _open(url))], out, size=size)


def _requests(url: str) -> tuple[int, int, int]:
    """Requests to open, for one tensor of 64 KiB, and for everything."""
    there = _open(url)
    with open_sealed(there, KEY) as file:
        opened = there.requests
        file.get_tensor(SMALL)
        one = there.requests - opened
        file.load_all()
        return opened, one, there.requests - opened - one


def rows(*, size: int = DEFAULT_BYTES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure on a generated model of about `size` bytes, in memory-backed storage if there is."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        source, sealed = generate(folder, size), folder / "model.sealed"
        seal_model(source, sealed)
        source.unlink()
        with sealed.open("rb") as file:
            length = Prelude.parse(file.read(PRELUDE_BYTES)).file_bytes
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(sealed)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/model.sealed"
            out = folder / "fetched.sealed"
            medians = interleaved(
                {
                    "bare": timed(_bare(url, length)),
                    "load": timed(lambda: _load(url)),
                    "fetch": timed(lambda: _fetch(url, out, length)),
                },
                rounds,
            )
            opened, one, everything = _requests(url)
        finally:
            server.terminate()
            server.wait()
    bare, load, fetch = (medians[k] for k in ("bare", "load", "fetch"))
    return [
        row("bare_download_ms", bare * 1e3, "ms"),
        row("remote_load_ms", load * 1e3, "ms", _BARE, load / bare),
        row("fetch_ms", fetch * 1e3, "ms", _BARE, fetch / bare),
        ratio("remote_load_over_bare_download", load / bare, _BARE),
        ratio("fetch_over_bare_download", fetch / bare, _BARE),
        row("requests_to_open", opened, ""),
        row("requests_for_one_tensor", one, ""),
        row("requests_to_load_all", everything, ""),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve()
    else:
        print(json.dumps(rows(size=int(sys.argv[1]) if sys.argv[1:] else DEFAULT_BYTES), indent=1))
