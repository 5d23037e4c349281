"""Events as they happen: server-sent events, read on after every break without loss or double."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from ledger.canonical import parse_json
from ledger.client.answers import Told
from ledger.client.connection import Connection
from ledger.client.reading import read
from ledger.errors import FormatError, IndexUnavailable, UnavailableError
from ledger.remote.bodies import pieces

SILENCE_SECONDS: Final = 45.0
"""After which a connection counts as broken: the service sends a comment every 15 s."""
_LONGEST: Final = 1 << 20
_ENDLESS: Final = "the service sends an event without an end"
_FIRST_PAUSE: Final = 0.5
_LAST_PAUSE: Final = 30.0


def events(
    connection: Connection,
    params: dict[str, str | int | None],
    after: int | None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Told]:
    """Entries of the stream, without end; a connection that breaks is made again.

    Args:
        connection: to the service.
        params: what to hear of.
        after: the number of the last entry known; None begins now.
        pause: waits so many seconds.

    Raises:
        UnknownRecord: what follows `after` is no longer kept: read the journal instead.
        FormatError: an entry that is none; the service may be of another version.
        LedgerError: the service refuses, for another reason than being busy.
    """
    wait = _FIRST_PAUSE
    while True:
        headers = {} if after is None else {"last-event-id": str(after)}
        try:
            with connection.streamed("/v1/events/stream", params, headers) as reply:
                for number, data in _sent(reply):
                    told = None if data is None else _told(data)
                    # Not before it was read: what cannot be is no break, after which to go on.
                    after, wait = number, _FIRST_PAUSE
                    if told is not None:
                        yield told
        except UnavailableError as error:
            pause(max(wait, min(error.retry_after, _LAST_PAUSE)))
            wait = min(2 * wait, _LAST_PAUSE)
        else:  # the service ended it: it is told to stop
            pause(wait)


def _sent(reply: httpx.Response) -> Iterator[tuple[int, str | None]]:
    """Each event's number, and its data; no data where only the number was told."""
    number: int | None = None
    data: list[str] = []
    size = 0
    for line in _lines(reply):
        size += len(line)
        if size > _LONGEST:
            raise IndexUnavailable(_ENDLESS)
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isascii() and value.isdigit() and len(value) < 19:
            number = int(value)
        elif name == "data":
            data.append(value)
        elif not line:
            if number is not None:
                yield number, "\n".join(data) if data else None
            number, data, size = None, [], 0


def _lines(reply: httpx.Response) -> Iterator[str]:
    held = b""
    for piece in pieces(reply):
        *whole, held = (held + piece).split(b"\n")
        if len(held) > _LONGEST:
            raise IndexUnavailable(_ENDLESS)
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def _told(data: str) -> Told:
    try:
        return read(Told, parse_json(data.encode(), what="the event"))
    except (FormatError, IndexUnavailable) as error:
        raise FormatError(
            f"the service sends an event that cannot be read: {error.message}",
            hint="it may be of another version; ask its operator",
        ) from None
