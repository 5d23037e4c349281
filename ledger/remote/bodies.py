"""Bodies of HTTP answers from servers that nobody vouches for, unpacked in small pieces.

httpx unpacks each network read whole, and every coding that a server lists, one in another: two
kilobytes become gigabytes before the reader can count them. Here what is unpacked is bounded piece
by piece, so that a caller who counts stops in time.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any, Final, Self

import httpx

PIECE: Final = 1 << 16
ACCEPTED: Final = {"accept-encoding": "gzip"}
"""Headers of a request whose answer `pieces` reads."""

_GZIP: Final = 16 + zlib.MAX_WBITS


@functools.cache
def authorities() -> ssl.SSLContext:
    """Whose certificates are believed: those of the public authorities, or of ``SSL_CERT_FILE``.

    Reading them takes 20 ms, which every connection of its own would spend, to this machine too.
    """
    return httpx.create_ssl_context()


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body of a streamed answer, as it is or packed once with gzip; at most 64 KiB at a time.

    Raises:
        httpx.DecodingError: another coding than was asked for, or not what it says it is.
        httpx.HTTPError: the connection fails.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        yield from response.iter_raw()
    elif coding in {"gzip", "x-gzip"}:
        yield from _unpacked(response)
    else:
        raise httpx.DecodingError("the answer is packed as was not asked for")


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP)
    try:
        for raw in response.iter_raw():
            while raw and not inflater.eof:
                yield inflater.decompress(raw, PIECE)
                raw = inflater.unconsumed_tail  # noqa: PLW2901 - what is left of it
    except zlib.error:
        raise httpx.DecodingError("the answer is not gzip, as it says it is") from None
    if not inflater.eof:
        raise httpx.DecodingError("the answer ends inside its gzip stream")


class Patience:
    """Breaks off an exchange that takes too long, however it drips; a context manager.

    httpx bounds each network read alone, so headers or a body that come byte by byte have no end.
    """

    def __init__(self, seconds: float) -> None:
        """Give the exchange so many seconds, or so many since the last `renew`."""
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._guard = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._watch, name="patience", daemon=True)

    @property
    def extensions(self) -> dict[str, Any]:
        """For the request that is watched; redirects take them along."""
        return {"trace": self._connected}

    def renew(self) -> None:
        """Begin to count anew."""
        self._deadline = time.monotonic() + self._seconds

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sockets.clear()

    def _connected(self, event: str, about: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            opened = about["return_value"].get_extra_info("socket")
            with self._guard:
                if isinstance(opened, socket.socket):
                    self._sockets.append(opened)
                if self._over:
                    self._break_off()

    def _watch(self) -> None:
        while (left := self._deadline - time.monotonic()) > 0:
            if self._done.wait(left):
                return
        with self._guard:
            self._over = True
            self._break_off()

    def _break_off(self) -> None:
        for each in self._sockets:
            # Closing it under a thread that reads would leave that thread reading.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
