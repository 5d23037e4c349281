"""Who may read /metrics: whoever is on this machine, or whoever holds a token of its own."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Depends, Request

from api.settings import Settings
from ledger.broker.custody import read_private
from ledger.errors import AccessError, ConfigurationError, NotAuthenticated
from ledger.loopback import is_loopback

_TOKEN: Final = re.compile(rb"[\x21-\x7e]{16,512}")
_SCHEME: Final = b"bearer "


@dataclass(frozen=True, slots=True)
class Scrapers:
    """Those who may read what the service counts.

    Attributes:
        anyone: where the operator lets everybody.
        token: that each of them sends, from wherever; None where it is the address that counts.
    """

    anyone: bool = False
    token: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Scrapers:
        """From the settings.

        Raises:
            ConfigurationError: the token's file is missing, readable by others, or holds none.
        """
        path = settings.metrics_token_file
        if path is None:
            return cls(anyone=settings.metrics == "open")
        if settings.metrics == "open":
            raise ConfigurationError(
                "DEED_API_METRICS is open, and DEED_API_METRICS_TOKEN_FILE closes it",
                hint="leave one of the two out",
            )
        token = (read_private(path, limit=1 << 16).splitlines() or [b""])[0].strip()
        if _TOKEN.fullmatch(token) is None:
            raise ConfigurationError(
                f"{path} holds no token of 16 to 512 printable characters in its first line",
                hint="such as openssl rand -hex 32 prints",
            )
        return cls(token=token)

    def need(self, client: str | None, authorization: list[bytes]) -> None:
        """Let pass who may.

        Args:
            client: the caller's address; of one behind a proxy that is believed, as that says.
            authorization: values of the request's Authorization headers.

        Raises:
            NotAuthenticated: the token is needed, and is not there.
            AccessError: only this machine may.
        """
        if self.anyone:
            return
        if self.token is not None:
            sent = authorization[0] if len(authorization) == 1 else b""
            token = sent[len(_SCHEME) :].strip() if sent.lower().startswith(_SCHEME) else b""
            if not hmac.compare_digest(token, self.token):
                raise NotAuthenticated(
                    "/metrics needs its own token",
                    hint="send Authorization: Bearer with what DEED_API_METRICS_TOKEN_FILE holds",
                )
        elif not is_loopback(client or ""):
            raise AccessError(
                "/metrics is for this machine alone",
                hint="its operator gives out a token with DEED_API_METRICS_TOKEN_FILE",
            )


async def _scraper(request: Request) -> None:
    # Before a thread is taken, and before anything is counted together.
    scrapers: Scrapers = request.app.state.scrapers
    sent = [value for name, value in request.scope["headers"] if name == b"authorization"]
    scrapers.need(request.client.host if request.client else None, sent)


SCRAPER: Final[Any] = Depends(_scraper)
"""A dependency: only those come in who may read what the service counts."""
