"""The head of an HTTP reply, read without the machinery for electronic mail.

``http.client`` reads headers with the parser of the ``email`` package, which takes longer than all
else it does for a short reply. This is its reply object with a reader of its own for the head; the
body, chunks and lengths included, is read as before.
"""

from __future__ import annotations

import http.client
from typing import Final

MAX_LINE: Final = 65536
MAX_HEADERS: Final = 100
"""Bytes of one line and number of header lines, as in ``http.client``."""

_OWN_LINE = (b"\r\n", b"\n")


class QuickReply(http.client.HTTPResponse):
    """A reply to a POST whose headers are a plain mapping, by lower-case name."""

    def begin(self) -> None:
        """Read status line and headers.

        Raises:
            http.client.HTTPException: not the head of an HTTP reply.
        """
        while True:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            headers = self._fields()
            # An interim reply comes before the real one. Switching protocols was not asked for.
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                break
        self.code = self.status = status
        self.reason = reason.strip()
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = headers  # type: ignore[assignment]
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.length = None
        if status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED}:
            self.length = 0
        elif not self.chunked:
            self.length = _length(headers.get("content-length"))
        tokens = headers.get("connection", "").lower()
        kept = self.version == 11 or "keep-alive" in tokens
        whole = self.chunked or self.length is not None
        self.will_close = not (kept and whole) or "close" in tokens

    def _fields(self) -> dict[str, str]:
        """The header lines; of a name that comes twice, the first."""
        found: dict[str, str] = {}
        for _ in range(MAX_HEADERS + 1):
            line = self.fp.readline(MAX_LINE + 1)
            if len(line) > MAX_LINE:
                raise http.client.LineTooLong("header line")
            if line in _OWN_LINE:
                return found
            if not line:
                raise http.client.RemoteDisconnected("the reply ended in its head")
            name, colon, value = line.partition(b":")
            if colon:
                found.setdefault(
                    name.strip().decode("latin-1").lower(), value.strip().decode("latin-1")
                )
        raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")


def _length(text: str | None) -> int | None:
    """A stated length; None where the reply ends with its connection."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
