"""Where a sealed file may lie: the URLs that are followed, and how they are shown.

URLs of a license card are not signed, so whoever hands on a card chooses what this host connects
to. Only ``https:`` and ``s3:`` are followed, and ``http:`` to this host itself: neither a metadata
service nor an intranet page answers as https with a sealed file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urljoin, urlsplit

from ledger.errors import UsageError
from ledger.loopback import is_loopback

SCHEMES = ("https", "http", "s3")
_MAX_URL = 8192


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that is followed.

    Attributes:
        url: in full; its query may be a signature that gives access, so it is never shown.
        scheme: ``https``, ``http`` or ``s3``.
        host: or bucket.
        path: decoded; the object's key in a bucket.
    """

    url: str = field(repr=False)
    scheme: str
    host: str
    path: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Check a URL.

        Raises:
            UsageError: not one that is followed.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            port = parts.port
        except ValueError:
            raise UsageError("that is no URL", hint="give an https:// or s3:// URL") from None
        # The path alone: anything else of a bad URL may be what must not be shown.
        if parts.scheme not in SCHEMES or not host or len(url) > _MAX_URL or not url.isprintable():
            raise UsageError(
                f"a {parts.scheme[:20] or 'relative'} URL is not followed",
                hint="give an https:// or s3:// URL",
            )
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                f"the URL on {host} holds credentials",
                hint="take them out: for s3 they come from the environment (AWS_…)",
            )
        path = unquote(parts.path)
        if parts.scheme == "http" and not is_loopback(host):
            raise UsageError(
                f"plain http to {host} is not followed", hint="give an https:// or s3:// URL"
            )
        if parts.scheme == "s3" and (port is not None or parts.query or not path.strip("/")):
            raise UsageError("an s3 URL is s3://BUCKET/KEY", hint="give bucket and key alone")
        return cls(url, parts.scheme, host, path.lstrip("/") if parts.scheme == "s3" else path)

    def __str__(self) -> str:
        """For people and logs: of a web server only its host, as a path, too, may give access."""
        shown = f"/{self.path}" if self.scheme == "s3" else ""
        return f"{self.scheme}://{self.host}{shown}"[:400]

    @property
    def loopback(self) -> bool:
        """Whether it is on this host."""
        return self.scheme != "s3" and is_loopback(self.host)


def is_url(text: str) -> bool:
    """Whether a text is meant as a URL, followed or not, and not as a path."""
    return re.match(r"(?!file:)[a-z][a-z0-9+.-]+://", text, re.IGNORECASE) is not None


def join(base: str, url: str) -> str:
    """`url` relative to `base`, which may be an s3 URL.

    Raises:
        ValueError: not a URL.
    """
    if base.startswith("s3://") and not is_url(url):
        # urllib joins only the schemes it knows.
        return "s3" + urljoin("https" + base[2:], url)[5:]
    return urljoin(base, url)
