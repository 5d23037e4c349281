"""The sealed file that a verified card names: found, held against the record, and opened.

A file elsewhere is read where it lies, by ranges; only a server that knows none is downloaded from.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import httpx

from ledger.errors import (
    ConfigurationError,
    ContentMismatch,
    FormatError,
    IndexUnavailable,
    LedgerError,
    RangesRefused,
    SealedAuthError,
    ToolMissing,
    UnavailableError,
    UsageError,
)
from ledger.licensing.card import CardFile, LicenseCard
from ledger.remote.bodies import ACCEPTED, PIECE, Patience, authorities, pieces
from ledger.remote.download import SPARE_BYTES
from ledger.remote.objects import RemoteObject
from ledger.remote.places import Place, join
from ledger.sealed.file import inspect
from ledger.sealed.header import PRELUDE_BYTES, Prelude
from ledger.sealed.opening import SealedInfo, read_clear
from ledger.sealed.parallel import Progress
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import ByteSource, read_bytes

_Source = TypeVar("_Source", bound=ByteSource)


@dataclass(slots=True)
class LocatedModel:
    """A verified card with its sealed file, whose prelude fits the record.

    Attributes:
        card: signed by its licensor.
        record: the sealing record whose hash the card signs.
        file: where the sealed file lies on this machine, or the open object elsewhere.
    """

    card: LicenseCard
    record: SealingRecord
    file: Path | RemoteObject
    _downloads: Path | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The sealed file on this machine.

        Raises:
            UsageError: it is elsewhere.
        """
        if isinstance(self.file, RemoteObject):
            raise UsageError(f"{self.file.name} is not on this machine", hint="deed fetch CARD")
        return self.file

    def take(self) -> Path | RemoteObject:
        """The file, for an opener, which closes it: `forget` does not any more."""
        file, self.file = self.file, Path()
        return file

    def forget(self) -> None:
        """Close or remove what was opened or downloaded. A file that was taken stays readable."""
        if isinstance(self.file, RemoteObject):
            self.file.close()
        if self._downloads is not None:
            shutil.rmtree(self._downloads, ignore_errors=True)
            self._downloads = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A verified card whose file is looked for.

    Attributes:
        card: verified.
        record: the sealing record it signs.
        base: where its relative URLs start from.
        timeout: seconds without 64 KiB more after which a place is given up.
        progress: called with bytes done and in total while a file is downloaded.
    """

    card: LicenseCard
    record: SealingRecord
    base: str
    timeout: float = 60.0
    progress: Progress | None = None

    def require(self, info: SealedInfo, name: str) -> None:
        """Hold the beginning of a sealed file against card and record.

        Raises:
            ContentMismatch: it is another file.
        """
        card, record = self.card, self.record
        here = (info.root, info.commit, info.model_id, info.chain_id, info.registry)
        if here != (record.root, record.commit, card.model, card.chain_id, card.registry):
            raise ContentMismatch(
                f"{name} is not the file that the card of license {card.license} is for",
                hint="the card and the sealed file must be of one model and epoch",
            )


def open_file(wanted: Wanted) -> LocatedModel:
    """Open the file at the first of its places that has it.

    Raises:
        LedgerError: none has; the first one's reason.
    """
    card, record = wanted.card, wanted.record
    if not card.files:
        raise UsageError("the card names no file", hint="give the sealed file beside its card")
    problem: LedgerError | None = None
    for entry in card.files:
        if entry.root != record.root:
            raise ContentMismatch("the card names a file that is not its sealing")
        try:
            return _from(url_of(entry, wanted.base), entry, wanted)
        except (ConfigurationError, UnavailableError, SealedAuthError, FormatError) as error:
            # Someone's page, or a torn copy, in place of the file: another place may have it.
            problem = problem or error
    assert problem is not None
    raise problem


def url_of(entry: CardFile, base: str) -> str:
    """Where an entry lies; URLs are not signed, so a card from elsewhere names no file here.

    Raises:
        UsageError: no URL, or one that is not followed.
    """
    try:
        url, parts = join(base, entry.url), urlsplit(entry.url)
    except ValueError:
        raise UsageError(
            f"the card's file {entry.url[:200]!r} is no URL", hint="get a fresh card"
        ) from None
    scheme = urlsplit(url).scheme
    if urlsplit(base).scheme == "file":
        if scheme != "file":
            Place.parse(url)
        return url
    relative = not parts.scheme and not parts.netloc
    steps = unquote(parts.path).replace("\\", "/").split("/")
    if (
        scheme not in {"http", "https", "s3"}
        or (relative and (steps[0] == "" or ".." in steps))
        # Not even to look at what listens here: only a card from here may point here.
        or (Place.parse(url).loopback and not Place.parse(base).loopback)
    ):
        raise UsageError(
            f"a card from {urlsplit(base).hostname} cannot name the file {entry.url[:200]!r}",
            hint="it must lie beside or below its card, or have an https or s3 URL of its own; or "
            "download card and file, and give the card here",
        )
    return url


def _from(url: str, entry: CardFile, wanted: Wanted) -> LocatedModel:
    card, record = wanted.card, wanted.record
    if urlsplit(url).scheme == "file":
        path = local_file(url)
        wanted.require(inspect(path), path.name)
        return LocatedModel(card, record, path)
    place = Place.parse(url)
    with suppress(RangesRefused, *([ToolMissing] if place.scheme != "s3" else [])):
        return LocatedModel(card, record, open_fitting(place, entry, wanted))
    folder = Path(tempfile.mkdtemp(prefix="modeldeed-"))
    try:
        path = folder / "model.sealed"
        _download(place, path, entry, wanted)
        wanted.require(inspect(path), path.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return LocatedModel(card, record, path, folder)


def open_fitting(place: Place, entry: CardFile, wanted: Wanted) -> RemoteObject:
    """An object that by its beginning is the card's file.

    Raises:
        ContentMismatch: it is another one.
        FormatError: it is none.
        UsageError, RangesRefused, ConfigurationError, StoreUnavailable, ToolMissing: as
            ``RemoteObject``.
    """
    return fitting(RemoteObject(place, timeout=wanted.timeout), entry, wanted)


def fitting(there: _Source, entry: CardFile, wanted: Wanted) -> _Source:
    """The open file, which by its beginning is the card's; it is closed where it is not.

    Raises:
        ContentMismatch: it is another one.
        FormatError: it is none.
    """
    try:
        require_beginning(there, entry, wanted)
    except BaseException:
        there.close()
        raise
    return there


def require_beginning(there: ByteSource, entry: CardFile, wanted: Wanted) -> None:
    """Hold prelude, public part and length of an open file against the card.

    Raises:
        ContentMismatch: it is another one.
        FormatError: it is none.
    """
    prelude = Prelude.parse(read_bytes(there, min(PRELUDE_BYTES, there.size), 0))
    # What the beginning says of itself comes before its length is believed.
    _check_prelude(prelude, wanted.record)
    info = read_clear(there).info
    wanted.require(info, there.name)
    if info.file_bytes != entry.size:
        raise _other_size(info.file_bytes, entry)


def _download(place: Place, path: Path, entry: CardFile, wanted: Wanted) -> None:
    url = place.url
    try:
        with stream(place, wanted.timeout) as (response, patience), path.open("wb") as file:
            response.raise_for_status()
            head, size, checked, counted = b"", 0, False, 0
            for chunk in pieces(response):
                size += len(chunk)
                if size > entry.size:
                    raise ContentMismatch(
                        f"{urlsplit(url).hostname} sends more than the card's {entry.size} bytes"
                    )
                if not checked:
                    head += chunk[: PRELUDE_BYTES - len(head)]
                    checked = len(head) == PRELUDE_BYTES
                    if checked:
                        prelude = Prelude.parse(head)
                        _check_prelude(prelude, wanted.record)
                        _check_length(prelude.file_bytes, entry, path.parent)
                file.write(chunk)
                if size - counted >= PIECE:
                    patience.renew()
                    counted = size
                if wanted.progress is not None:
                    wanted.progress(size, entry.size)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(url, error) from None


def _check_prelude(prelude: Prelude, record: SealingRecord) -> None:
    if (prelude.root, prelude.commit) != (record.root, record.commit):
        raise ContentMismatch(
            "the file is not the one this card is for",
            hint="the card and the sealed file must be of one model and epoch",
        )


def _check_length(length: int, entry: CardFile, folder: Path) -> None:
    """Before anything is written: neither URL nor size of the card is signed."""
    if length != entry.size:
        raise _other_size(length, entry)
    free = shutil.disk_usage(folder).free
    if length > free - SPARE_BYTES:
        raise UsageError(
            f"the sealed file of {length} bytes does not fit in {folder.parent}, where {free} are "
            "free",
            hint="set TMPDIR to a larger disk, or download the file and give it beside its card",
        )


def _other_size(length: int, entry: CardFile) -> ContentMismatch:
    return ContentMismatch(
        f"the file has {length} bytes by its own beginning, and {entry.size} by its card",
        hint="get a fresh card",
    )


def local_path(url: str) -> Path:
    """The path of a ``file:`` URL.

    Raises:
        UsageError: it names another host.
    """
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError("a file: URL cannot name another host")
    return Path(unquote(parts.path))


def local_file(url: str) -> Path:
    """The file of a ``file:`` URL.

    Raises:
        UsageError: it is not there.
    """
    path = local_path(url)
    if not path.is_file():
        raise UsageError(
            f"the card's file {path} is not there", hint="put it there, beside its card"
        )
    return path


def unreachable(url: str, error: httpx.HTTPError | httpx.InvalidURL) -> IndexUnavailable:
    """Our error for a failed request, without its URL."""
    status = (
        f"HTTP {error.response.status_code}"
        if isinstance(error, httpx.HTTPStatusError)
        else type(error).__name__
    )
    refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
    return IndexUnavailable(
        f"{urlsplit(url).hostname} does not serve the file ({status})",
        hint="check the URL, or get a fresh card"
        if refused
        else "try again in a while, or check the URL and the network",
    )


@contextmanager
def stream(place: Place, timeout: float) -> Iterator[tuple[httpx.Response, Patience]]:
    """A GET whose redirects lead only to what would have been followed in the first place.

    It ends `timeout` seconds after it began, or after the last ``renew``, body included.
    """

    def require(request: httpx.Request) -> None:
        if Place.parse(str(request.url)).loopback and not place.loopback:
            raise UsageError(f"{place.host} points to this machine", hint="get a fresh card")

    hooks = {"request": [require]}
    with (
        Patience(timeout) as patience,
        httpx.Client(
            timeout=timeout,
            follow_redirects=True,
            event_hooks=hooks,
            headers=ACCEPTED,
            verify=authorities(),
        ) as client,
        client.stream("GET", place.url, extensions=patience.extensions) as response,
    ):
        yield response, patience
