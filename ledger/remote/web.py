"""What a web URL is, for all that are told one: by a user, a file, or somebody else's contract."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True, slots=True)
class WebAddress:
    """The parts of an ``http:`` or ``https:`` URL that names a host, and a port if any.

    Attributes:
        host: as it is connected to: in lower case, IPv6 without its brackets.
    """

    parts: SplitResult
    host: str
    port: int | None

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Read one; None for whatever else a text may be."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            if parts.scheme in {"http", "https"} and parts.hostname:
                return cls(parts, parts.hostname, parts.port)
        return None

    @property
    def shown(self) -> str:
        """Host and port, fit for messages: of the rest any part may be a secret."""
        return self.host if self.port is None else f"{self.host}:{self.port}"
