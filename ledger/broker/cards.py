"""From what a user points at to a verified license card and the sealed file it names.

A source is a card (path, URL, JSON object) or a sealed file with its card beside it. Nothing is
believed before its signature or hash is checked, and a wrong file is refused at its beginning. A
file elsewhere is read where it lies, by ranges; only a server that knows none is downloaded from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx

from ledger.broker.card_files import (
    LocatedModel,
    Wanted,
    local_path,
    open_file,
    stream,
    unreachable,
)
from ledger.errors import ContentMismatch, LedgerError, ManifestError, UsageError
from ledger.ids import Address, LicenseId
from ledger.licensing import card as card_module
from ledger.licensing.card import LicenseCard
from ledger.remote.bodies import pieces
from ledger.remote.objects import RemoteObject, listed
from ledger.remote.places import Place, is_url
from ledger.sealed.file import inspect
from ledger.sealed.opening import SealedInfo, read_clear
from ledger.sealed.parallel import Progress
from ledger.sealed.record import SealingRecord

Source: TypeAlias = "str | Path | Mapping[str, Any] | LicenseCard"


def locate(
    source: Source,
    *,
    license_id: LicenseId | None = None,
    timeout: float = 60.0,
    admit: Callable[[LicenseCard], object] | None = None,
    progress: Progress | None = None,
) -> LocatedModel:
    """Find, verify and open, or where there is no other way download.

    Args:
        source: a card as path, URL or object, or a sealed file beside its card.
        license_id: which license is meant; needed when several cards lie beside a sealed file.
        timeout: seconds without progress after which a download is given up.
        admit: called with the verified card before its file is looked for; what it raises stops
            here.
        progress: called with bytes done and in total while a file is downloaded.

    Raises:
        UsageError: nothing there, no card for a sealed file, another license's card, a card from
            the network that names a file here, or a file larger than the disk.
        ManifestError, UnsupportedVersion: not a card.
        ClaimMismatch, SignatureInvalid: the card does not verify.
        ContentMismatch: the file is not the one the card names.
        IndexUnavailable, StoreUnavailable: a URL does not answer.
        ConfigurationError: a store refuses access.
        ToolMissing: obstore, which reads s3:, is not installed.
    """
    card, base, sealed = find(source, license_id, timeout)
    try:
        record = verified(card, license_id)
        if admit is not None:
            admit(card)
        wanted = Wanted(card, record, base, timeout, progress)
        if isinstance(sealed, RemoteObject):
            wanted.require(read_clear(sealed).info, sealed.name)
            return LocatedModel(card, record, sealed)
    except BaseException:
        if isinstance(sealed, RemoteObject):
            sealed.close()
        raise
    if sealed is not None:
        wanted.require(inspect(sealed), sealed.name)
        return LocatedModel(card, record, sealed)
    return open_file(wanted)


def verified(card: LicenseCard, license_id: LicenseId | None = None) -> SealingRecord:
    """The sealing record of a card that verifies.

    Raises:
        UsageError: another license's card.
        ClaimMismatch, SignatureInvalid, ContentMismatch, ManifestError: it does not verify.
    """
    card.verify()
    if license_id is not None and card.license != license_id:
        raise UsageError(f"the card is for license {card.license}, not {license_id}")
    record = SealingRecord.from_json(dict(card.sealing))
    if record.hash() != card.sealing_hash or record.model_id != card.model:
        raise ContentMismatch("the card's sealing record is not the one it signs")
    return record


# -- the card ------------------------------------------------------------------------------------


def find(
    source: Source, license_id: LicenseId | None, timeout: float
) -> tuple[LicenseCard, str, Path | RemoteObject | None]:
    """The card, where its relative URLs start from, and the sealed file if that was given."""
    if isinstance(source, LicenseCard):
        return source, _folder_url(Path.cwd()), None
    if isinstance(source, Mapping):
        return card_module.parse(dict(source)), _folder_url(Path.cwd()), None
    text = str(source)
    if is_url(text):
        place = Place.parse(text)
        if place.scheme == "s3":
            return _find_in_bucket(place, license_id, timeout)
        return card_module.parse(_download_card(place, timeout)), text, None
    path = local_path(text) if text.startswith("file:") else Path(source)
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
    files = sorted(path.parent.glob(f"*{card_module.SUFFIX}"))
    card = _card_beside(inspect(path), path.name, map(_opener, files), license_id)
    return card, path.resolve().as_uri(), path


def _find_in_bucket(
    place: Place, license_id: LicenseId | None, timeout: float
) -> tuple[LicenseCard, str, RemoteObject | None]:
    there = RemoteObject(place, timeout=timeout)
    try:
        if bytes(there.head[:64]).lstrip()[:1] == b"{":
            card = card_module.parse(bytes(there.head[: card_module.MAX_BYTES + 1]))
            there.close()
            return card, place.url, None
        info = read_clear(there).info
        cards = listed(place, card_module.SUFFIX, limit=card_module.MAX_BYTES, timeout=timeout)
        return _card_beside(info, there.name, cards, license_id), place.url, there
    except BaseException:
        there.close()
        raise


def _opener(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(card_module.MAX_BYTES + 1)

    return read


def _card_beside(
    info: SealedInfo,
    name: str,
    files: Iterable[Callable[[], bytes]],
    license_id: LicenseId | None,
) -> LicenseCard:
    found: dict[tuple[LicenseId, Address], LicenseCard] = {}
    for read in files:
        with suppress(LedgerError, OSError):
            card = card_module.parse(read())
            # Anyone may have put a file there; what nobody signed is no card and hides none.
            card.verify()
            record = SealingRecord.from_json(dict(card.sealing))
            if record.root == info.root and license_id in {None, card.license}:
                found[card.license, card.licensor] = card
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        several = ", ".join(f"{number} by {licensor}" for number, licensor in found)
        raise UsageError(
            f"several license cards lie beside {name}: {several}",
            hint="say which license (license=, or --license), or give the card itself",
        )
    wanted = "" if license_id is None else f" of license {license_id}"
    raise UsageError(
        f"there is no license card{wanted} beside {name}",
        hint="get the *.license.json from the licensor and put it there, or give it instead",
    )


def _download_card(place: Place, timeout: float) -> bytes:
    data, url = bytearray(), place.url
    try:
        with stream(place, timeout) as (response, _):
            response.raise_for_status()
            for chunk in pieces(response):
                data += chunk
                if len(data) > card_module.MAX_BYTES or not _may_be_json(data):
                    raise ManifestError(
                        f"{urlsplit(url).hostname} serves no license card there",
                        hint="give the URL of a *.license.json; it names the sealed file",
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(url, error) from None
    return bytes(data)


def _may_be_json(start: bytearray) -> bool:
    text = start.lstrip()
    return not text or text.startswith(b"{")


def _folder_url(folder: Path) -> str:
    return folder.resolve().as_uri() + "/"
