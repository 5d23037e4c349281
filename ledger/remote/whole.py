"""An object from a server that gives files only whole: one answer, taken in piece by piece.

The rules of `ledger.remote.objects` hold: the same URLs and redirects are followed, and what a
server sends beyond the length it announced is never taken in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ledger.errors import LedgerError, StoreUnavailable
from ledger.remote.objects import WakefulLoop, problem_of, store_of
from ledger.remote.places import Place

PIECE: Final = 8 << 20
_LONGEST: Final = 30 * 86_400.0
"""Seconds for the whole answer, which obstore counts as one; each piece has its own time here."""


class WholeObject:
    """The answer while it arrives.

    Attributes:
        name: the server's scheme and host.
        size: in bytes, as announced.
    """

    def __init__(self, place: Place, runner: asyncio.Runner, timeout: float) -> None:
        self.name = str(place)
        self._runner = runner
        self._timeout = timeout
        self._answer: Any = self._timed(_get(place))
        self.size = int(self._answer.meta["size"])

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, once, 8 MiB and more at a time, all of them or an error.

        Raises:
            StoreUnavailable: the server takes too long, breaks off or sends more.
        """
        stream = aiter(self._answer.stream(min_chunk_size=PIECE))
        left = self.size
        while piece := self._timed(_next(stream)):
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise StoreUnavailable(f"{self.name} sends other than the {self.size} bytes it said")

    def _timed(self, what: Any) -> Any:
        try:
            return self._runner.run(asyncio.wait_for(what, self._timeout))
        except TimeoutError:
            raise StoreUnavailable(f"{self.name} cannot be read now (no answer in time)") from None
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore's are many, and their text shows URLs
            raise problem_of(error, self.name) from None


@contextmanager
def whole_object(place: Place, *, timeout: float) -> Iterator[WholeObject]:
    """Open an object that is not given by range.

    Args:
        place: where it lies.
        timeout: seconds for the beginning of the answer, and for each piece of it.

    Raises:
        UsageError, ConfigurationError, StoreUnavailable, ToolMissing: as ``RemoteObject``.
    """
    with asyncio.Runner(loop_factory=WakefulLoop) as runner:
        try:
            yield WholeObject(place, runner, timeout)
        finally:
            loop = runner.get_loop()
            assert isinstance(loop, WakefulLoop)
            loop.settle()


async def _get(place: Place) -> Any:
    import obstore

    store, key = store_of(place, _LONGEST)
    return await obstore.get_async(store, key)


async def _next(stream: AsyncIterator[Any]) -> bytes:
    async for piece in stream:
        return bytes(piece)
    return b""
