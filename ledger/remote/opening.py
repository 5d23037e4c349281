"""A path or URL as a source of bytes."""

from __future__ import annotations

from pathlib import Path

from ledger.licensing.card import MAX_BYTES
from ledger.remote.objects import RemoteObject
from ledger.remote.places import Place, is_url
from ledger.sealed.source import ByteSource, FileSource, read_bytes


def opened_source(text: Path | str, *, timeout: float = 60.0) -> ByteSource:
    """What lies at a path or URL, open.

    Raises:
        SealedFormatError: no readable file.
        UsageError, ConfigurationError, StoreUnavailable, ToolMissing: as ``RemoteObject``.
    """
    if isinstance(text, str) and is_url(text):
        return RemoteObject(Place.parse(text), timeout=timeout)
    return FileSource(text)


def beginning(text: Path | str, *, timeout: float = 60.0) -> tuple[bytes, ByteSource]:
    """Its first bytes, enough for a whole license card and one more, and the open source.

    Raises:
        SealedFormatError, UsageError, ConfigurationError, StoreUnavailable, ToolMissing: as
            `opened_source`.
    """
    source = opened_source(text, timeout=timeout)
    try:
        return read_bytes(source, min(source.size, MAX_BYTES + 1), 0).lstrip(), source
    except BaseException:
        source.close()
        raise
