"""``deed fetch``: the sealed file of a license card, onto this machine.

No key is asked for, so no grant is needed: what arrives is sealed, and is held against the card's
signed sealing record before the first byte of payload is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledger.broker.card_files import (
    Wanted,
    fitting,
    local_file,
    open_fitting,
    require_beginning,
    url_of,
)
from ledger.broker.cards import Source, find, verified
from ledger.errors import ContentMismatch, SealedFormatError, UsageError
from ledger.ids import LicenseId
from ledger.licensing.card import CardFile, LicenseCard
from ledger.remote.download import Downloaded, Offer, download
from ledger.remote.objects import RemoteObject
from ledger.remote.places import Place
from ledger.sealed.parallel import Progress
from ledger.sealed.source import ByteSource, FileSource


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sealed file that is here now.

    Attributes:
        card: the verified card it belongs to.
        path: of the file.
        size: of the file.
        source: where it came from; the path itself when it was here before.
        resumed: bytes that an earlier run had left.
    """

    card: LicenseCard
    path: Path
    size: int
    source: str
    resumed: int = 0


def fetch(
    source: Source,
    out: Path | None = None,
    *,
    license_id: LicenseId | None = None,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> Fetched:
    """Download a card's sealed file; run again after any end, it goes on where it stopped.

    Args:
        source: a license card: path, URL or object.
        out: the file to write; by default named as on its server, in the current folder.
        license_id: which license the card must be for.
        timeout: seconds for any one request, its retries included.
        progress: called with bytes there and in total.

    Raises:
        UsageError: no card, `out` is something else, or the disk is too small or full.
        ManifestError, ClaimMismatch, SignatureInvalid: the card does not verify.
        ContentMismatch: no place has the file that the card's sealing record is of.
        ConfigurationError, StoreUnavailable, ObjectReplaced: no place gives it to its end.
        ToolMissing: obstore is not installed.
    """
    card, base, sealed = find(source, license_id, timeout)
    if isinstance(sealed, RemoteObject):
        sealed.close()
    if sealed is not None:
        raise UsageError(
            "that is a sealed file, not a license card",
            hint="give the *.license.json; a sealed file can be copied by any tool",
        )
    wanted = Wanted(card, verified(card, license_id), base, timeout, progress)
    if not card.files:
        raise UsageError("the card names no file", hint="get a fresh card")
    first = card.files[0]
    path = _out(out, first)
    if path.exists():
        return _there(path, first, wanted)
    for entry in card.files:
        if (entry.root, entry.size) != (wanted.record.root, first.size):
            raise ContentMismatch("the card names a file that is not its sealing")
    offers = [_offer(entry, wanted) for entry in card.files]
    done: Downloaded = download(offers, path, size=first.size, progress=progress)
    return Fetched(card, done.path, done.size, done.source, done.resumed)


def _out(out: Path | None, entry: CardFile) -> Path:
    name = unquote(urlsplit(entry.url).path).rpartition("/")[2]
    # The card's URLs are not signed: a name that could do harm here is not used.
    plain = name.isprintable() and not name.startswith((".", "-")) and "\\" not in name
    named = Path(name if name and plain and len(name.encode()) <= 200 else "model.sealed")
    if out is None:
        return named
    return out / named if out.is_dir() else out


def _there(path: Path, entry: CardFile, wanted: Wanted) -> Fetched:
    try:
        there = FileSource(path)
        try:
            require_beginning(there, entry, wanted)
        finally:
            there.close()
    except (ContentMismatch, SealedFormatError):
        raise UsageError(
            f"{path} exists, and is not the card's file",
            hint="move it away, or choose another file with --out",
        ) from None
    return Fetched(wanted.card, path, entry.size, str(path), entry.size)


def _offer(entry: CardFile, wanted: Wanted) -> Offer:
    def open_it() -> ByteSource:
        url = url_of(entry, wanted.base)
        if urlsplit(url).scheme != "file":
            return open_fitting(Place.parse(url), entry, wanted)
        return fitting(FileSource(local_file(url)), entry, wanted)

    return Offer(f"{wanted.base} {entry.url}", open_it)
