"""From what a user points at to a verified license card and the sealed file it names.

A source is a card (path, URL, JSON object) or a sealed file with its card beside it. Nothing is
believed before its signature or hash is checked, and a wrong file is refused after its first 96
bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from ledger.errors import (
    ContentMismatch,
    FormatError,
    IndexUnavailable,
    LedgerError,
    ManifestError,
    UsageError,
)
from ledger.ids import Address, LicenseId
from ledger.licensing import card as card_module
from ledger.licensing.card import CardFile, LicenseCard
from ledger.sealed.file import inspect
from ledger.sealed.header import PRELUDE_BYTES, Prelude
from ledger.sealed.record import SealingRecord

Source: TypeAlias = "str | Path | Mapping[str, Any] | LicenseCard"
_CHUNK: Final = 1 << 20
SPARE_BYTES: Final = 256 << 20
"""What a download leaves free on the disk it goes to."""


@dataclass(slots=True)
class LocatedModel:
    """A verified card with its sealed file on this machine.

    Attributes:
        card: signed by its licensor.
        record: the sealing record whose hash the card signs.
        path: the sealed file, whose prelude fits the record.
    """

    card: LicenseCard
    record: SealingRecord
    path: Path
    _downloads: Path | None = field(default=None, repr=False)

    def forget(self) -> None:
        """Remove what was downloaded for it. The open file stays readable."""
        if self._downloads is not None:
            shutil.rmtree(self._downloads, ignore_errors=True)
            self._downloads = None


def locate(
    source: Source,
    *,
    license_id: LicenseId | None = None,
    timeout: float = 60.0,
    admit: Callable[[LicenseCard], object] | None = None,
) -> LocatedModel:
    """Find, verify and, where needed, download.

    Args:
        source: a card as path, URL or object, or a sealed file beside its card.
        license_id: which license is meant; needed when several cards lie beside a sealed file.
        timeout: seconds without progress after which a download is given up.
        admit: called with the verified card before its file is looked for; what it raises stops
            here.

    Raises:
        UsageError: nothing there, no card for a sealed file, another license's card, a card from
            the network that names a file here, or a file larger than the disk.
        ManifestError, UnsupportedVersion: not a card.
        ClaimMismatch, SignatureInvalid: the card does not verify.
        ContentMismatch: the file is not the one the card names.
        IndexUnavailable: a URL does not answer.
    """
    card, base, sealed = _find(source, license_id, timeout)
    card.verify()
    if license_id is not None and card.license != license_id:
        raise UsageError(f"the card is for license {card.license}, not {license_id}")
    record = SealingRecord.from_json(dict(card.sealing))
    if record.hash() != card.sealing_hash or record.model_id != card.model:
        raise ContentMismatch("the card's sealing record is not the one it signs")
    if admit is not None:
        admit(card)
    if sealed is not None:
        _check_file(sealed, record, card)
        return LocatedModel(card, record, sealed)
    return _fetch(card, record, base, timeout)


# -- the card ------------------------------------------------------------------------------------


def _find(
    source: Source, license_id: LicenseId | None, timeout: float
) -> tuple[LicenseCard, str, Path | None]:
    """The card, where its relative URLs start from, and the sealed file if that was given."""
    if isinstance(source, LicenseCard):
        return source, _folder_url(Path.cwd()), None
    if isinstance(source, Mapping):
        return card_module.parse(dict(source)), _folder_url(Path.cwd()), None
    text = str(source)
    if urlsplit(text).scheme in {"http", "https"}:
        return card_module.parse(_download_card(text, timeout)), text, None
    path = _local(text) if text.startswith("file:") else Path(source)
    try:
        with path.open("rb") as file:
            start = file.read(card_module.MAX_BYTES + 1)
    except IsADirectoryError:
        raise UsageError(
            f"{path} is a folder", hint="give the license card or the sealed file in it"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="give a license card or a sealed file"
        ) from None
    if start.lstrip()[:1] == b"{":
        return card_module.parse(start), path.resolve().as_uri(), None
    return _card_beside(path, license_id), path.resolve().as_uri(), path


def _card_beside(sealed: Path, license_id: LicenseId | None) -> LicenseCard:
    info = inspect(sealed)
    found: dict[tuple[LicenseId, Address], LicenseCard] = {}
    for path in sorted(sealed.parent.glob(f"*{card_module.SUFFIX}")):
        with suppress(LedgerError, OSError):
            with path.open("rb") as file:
                card = card_module.parse(file.read(card_module.MAX_BYTES + 1))
            # Anyone may have put a file there; what nobody signed is no card and hides none.
            card.verify()
            record = SealingRecord.from_json(dict(card.sealing))
            if record.root == info.root and license_id in {None, card.license}:
                found[card.license, card.licensor] = card
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        listed = ", ".join(f"{number} by {licensor}" for number, licensor in found)
        raise UsageError(
            f"several license cards lie beside {sealed.name}: {listed}",
            hint="say which license (license=, or --license), or give the card itself",
        )
    wanted = "" if license_id is None else f" of license {license_id}"
    raise UsageError(
        f"there is no license card{wanted} beside {sealed.name}",
        hint="get the *.license.json from the licensor and put it there, or give it instead",
    )


def _download_card(url: str, timeout: float) -> bytes:
    data = bytearray()
    try:
        with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > card_module.MAX_BYTES or not _may_be_json(data):
                    raise ManifestError(
                        f"{urlsplit(url).hostname} serves no license card there",
                        hint="give the URL of a *.license.json; it names the sealed file",
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unreachable(url, error) from None
    return bytes(data)


def _may_be_json(start: bytearray) -> bool:
    text = start.lstrip()
    return not text or text.startswith(b"{")


# -- the file ------------------------------------------------------------------------------------


def _fetch(card: LicenseCard, record: SealingRecord, base: str, timeout: float) -> LocatedModel:
    if not card.files:
        raise UsageError("the card names no file", hint="give the sealed file beside its card")
    problem: LedgerError | None = None
    for entry in card.files:
        if entry.root != record.root:
            raise ContentMismatch("the card names a file that is not its sealing")
        try:
            return _from(entry, card, record, _url_of(entry, base), timeout)
        except (UsageError, IndexUnavailable, ContentMismatch, FormatError) as error:
            # Someone's page, or a torn copy, in place of the file: another place may have it.
            problem = problem or error
    assert problem is not None
    raise problem


def _url_of(entry: CardFile, base: str) -> str:
    """Where an entry lies; URLs are not signed, so a card from elsewhere names no file here."""
    try:
        url, parts = urljoin(base, entry.url), urlsplit(entry.url)
    except ValueError:
        raise UsageError(
            f"the card's file {entry.url[:200]!r} is no URL", hint="get a fresh card"
        ) from None
    if urlsplit(base).scheme == "file":
        return url
    relative = not parts.scheme and not parts.netloc
    steps = unquote(parts.path).replace("\\", "/").split("/")
    if urlsplit(url).scheme not in {"http", "https"} or (
        relative and (steps[0] == "" or ".." in steps)
    ):
        raise UsageError(
            f"a card from {urlsplit(base).hostname} cannot name the file {entry.url[:200]!r}",
            hint="it must lie beside or below its card, or have an http(s) URL of its own; or "
            "download card and file, and give the card here",
        )
    return url


def _from(
    entry: CardFile, card: LicenseCard, record: SealingRecord, url: str, timeout: float
) -> LocatedModel:
    if urlsplit(url).scheme == "file":
        path = _local(url)
        if not path.is_file():
            raise UsageError(
                f"the card's file {path} is not there", hint="put it there, beside its card"
            )
        _check_file(path, record, card)
        return LocatedModel(card, record, path)
    folder = Path(tempfile.mkdtemp(prefix="modeldeed-"))
    try:
        path = folder / "model.sealed"
        _download(url, path, entry, record, timeout)
        _check_file(path, record, card)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return LocatedModel(card, record, path, folder)


def _download(url: str, path: Path, entry: CardFile, record: SealingRecord, timeout: float) -> None:
    try:
        with (
            httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response,
            path.open("wb") as file,
        ):
            response.raise_for_status()
            head, size, checked = b"", 0, False
            for chunk in response.iter_bytes(_CHUNK):
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
                        _check_prelude(prelude, record)
                        _check_length(prelude.file_bytes, entry, path.parent)
                file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unreachable(url, error) from None


def _check_prelude(prelude: Prelude, record: SealingRecord) -> None:
    if (prelude.root, prelude.commit) != (record.root, record.commit):
        raise ContentMismatch(
            "the file is not the one this card is for",
            hint="the card and the sealed file must be of one model and epoch",
        )


def _check_length(length: int, entry: CardFile, folder: Path) -> None:
    """Before anything is written: neither URL nor size of the card is signed."""
    if length != entry.size:
        raise ContentMismatch(
            f"the file has {length} bytes by its own beginning, and {entry.size} by its card",
            hint="get a fresh card",
        )
    free = shutil.disk_usage(folder).free
    if length > free - SPARE_BYTES:
        raise UsageError(
            f"the sealed file of {length} bytes does not fit in {folder.parent}, where {free} are "
            "free",
            hint="set TMPDIR to a larger disk, or download the file and give it beside its card",
        )


def _check_file(path: Path, record: SealingRecord, card: LicenseCard) -> None:
    info = inspect(path)
    here = (info.root, info.commit, info.model_id, info.chain_id, info.registry)
    card_says = (record.root, record.commit, card.model, card.chain_id, card.registry)
    if here != card_says:
        raise ContentMismatch(
            f"{path.name} is not the file that the card of license {card.license} is for",
            hint="the card and the sealed file must be of one model and epoch",
        )


def _folder_url(folder: Path) -> str:
    return folder.resolve().as_uri() + "/"


def _local(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise UsageError("a file: URL cannot name another host")
    return Path(unquote(parts.path))


def _unreachable(url: str, error: httpx.HTTPError | httpx.InvalidURL) -> IndexUnavailable:
    status = (
        f"HTTP {error.response.status_code}"
        if isinstance(error, httpx.HTTPStatusError)
        else type(error).__name__
    )
    return IndexUnavailable(
        f"{urlsplit(url).hostname} does not serve the file ({status})",
        hint="check the URL, or get a fresh card",
    )
