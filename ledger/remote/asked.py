"""A model behind a URL, asked one question at a time: section 5 of docs/spec/triggers.md.

Whoever runs it may be the one it is asked about, and hostile: replies are bounded in size and time,
and lead nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Self

import httpx
import numpy as np
import numpy.typing as npt

from ledger.canonical import parse_json
from ledger.errors import FormatError, UnavailableError, UsageError
from ledger.licensing.document import base64_text
from ledger.loopback import is_loopback
from ledger.remote.bodies import ACCEPTED, Patience, authorities, pieces
from ledger.remote.web import WebAddress

MAX_REPLY: Final = 64 << 10
TRIES: Final = 3
_PAUSE = 0.5
_MAX_PAUSE = 10.0
_MAX_URL = 8192


class RemoteModel:
    """Called with an input, gives the answer that the endpoint gives; None where it gives none.

    Attributes:
        host: host and port, all of the URL that is ever shown.

    Args:
        url: where questions are posted.
        timeout: seconds for one try, whole reply included.
        pause: waits so many seconds before asking again.

    Raises:
        UsageError: not an http:// or https:// URL.
    """

    def __init__(
        self, url: str, *, timeout: float = 30.0, pause: Callable[[float], None] = time.sleep
    ) -> None:
        address = WebAddress.parse(url)
        if address is None or len(url) > _MAX_URL or not url.isprintable():
            raise UsageError(
                "a model is asked at an http:// or https:// URL",
                hint="for one of another kind, write an adapter: docs/spec/triggers.md, section 5",
            )
        self.host = address.shown
        self._url = url
        self._timeout = timeout
        self._pause = pause
        self._http = httpx.Client(
            timeout=timeout,
            headers=ACCEPTED | {"accept": "application/json"},
            follow_redirects=False,
            trust_env=not is_loopback(address.host),
            verify=authorities(),
        )

    def __repr__(self) -> str:
        return f"RemoteModel({self.host!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __call__(self, question: npt.NDArray[Any]) -> int | None:
        """Ask once; again, twice at most, where there is no reply or it says to come back.

        Raises:
            UnavailableError: no reply that could be one.
        """
        plain = np.ascontiguousarray(question, question.dtype.newbyteorder("<"))
        body = {
            "input": {
                "dtype": question.dtype.name,
                "shape": list(question.shape),
                "data": base64_text(plain.tobytes()),
            }
        }
        for left in reversed(range(TRIES)):
            try:
                return self._once(body)
            except UnavailableError as error:
                if not left:
                    raise
                self._pause(min(_MAX_PAUSE, max(_PAUSE, error.retry_after)))
        raise AssertionError

    def _once(self, body: dict[str, Any]) -> int | None:
        data = bytearray()
        try:
            with (
                Patience(self._timeout) as patience,
                self._http.stream(
                    "POST", self._url, json=body, extensions=patience.extensions
                ) as reply,
            ):
                status, after = reply.status_code, reply.headers.get("retry-after")
                for part in pieces(reply):
                    data += part
                    if len(data) > MAX_REPLY:
                        raise self._unavailable(f"sends more than {MAX_REPLY} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(f"does not answer ({type(error).__name__})") from None
        if status != httpx.codes.OK:
            raise self._unavailable(f"answered HTTP {status}", after)
        try:
            value = parse_json(bytes(data), what="the reply", limit=MAX_REPLY)
        except FormatError:
            value = None
        if not isinstance(value, dict) or "answer" not in value:
            raise self._unavailable("sent something that is no answer")
        answer = value["answer"]
        return answer if isinstance(answer, int) and not isinstance(answer, bool) else None

    def _unavailable(self, why: str, after: str | None = None) -> UnavailableError:
        try:
            seconds = float(after or _PAUSE)
        except ValueError:
            seconds = _PAUSE
        return UnavailableError(
            f"the model at {self.host} {why}",
            retry_after=min(3600.0, max(_PAUSE, seconds)),  # in this order no nan gets through
            hint="check the URL and that it speaks as docs/spec/triggers.md, section 5, says",
        )
