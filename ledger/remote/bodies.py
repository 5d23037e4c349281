"""Bodies of HTTP answers from servers that nobody vouches for, unpacked in small pieces.

httpx unpacks each network read whole, and every coding that a server lists, one in another: two
kilobytes become gigabytes before the reader can count them. Here what is unpacked is bounded piece
by piece, so that a caller who counts stops in time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import httpx

PIECE: Final = 1 << 16
ACCEPTED: Final = {"accept-encoding": "gzip"}
"""Headers of a request whose answer `pieces` reads."""

_GZIP: Final = 16 + zlib.MAX_WBITS


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
