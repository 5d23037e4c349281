"""``deed evidence stamp``, and what it shares with ``collect``: dates and signatures on bundles."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.output import Answer, fields, size_text
from ledger.cli.session import Session
from ledger.errors import TimestampInvalid, UsageError

if TYPE_CHECKING:
    from ledger.chain.wallet import Signer
    from ledger.dating import Dating

_MAX_FILE = 4 << 20
_PIECE = 1 << 20

Tsa = Annotated[
    list[str] | None,
    typer.Option(
        "--tsa", metavar="URL", help="A time-stamping authority (RFC 3161) to ask; repeat for more."
    ),
]
TsaRoot = Annotated[
    list[Path] | None,
    typer.Option(
        "--tsa-root",
        metavar="FILE",
        help="PEM of an authority's root, and of issuers its tokens leave out; repeat for more.",
    ),
]
TsaCrl = Annotated[
    list[Path] | None,
    typer.Option(
        "--tsa-crl", metavar="FILE", help="A revocation list to keep with the token; repeat."
    ),
]
Ots = Annotated[
    Path | None,
    typer.Option("--ots", metavar="FILE", help="An OpenTimestamps proof of the contents digest."),
]
Headers = Annotated[
    list[Path] | None,
    typer.Option(
        "--bitcoin-header",
        metavar="FILE",
        help="A Bitcoin header that the proof ends in: 80 bytes, or their hex; repeat for more.",
    ),
]
Sign = Annotated[
    bool, typer.Option("--sign", help="Sign the entry in the custody log with your wallet.")
]
Actor = Annotated[
    str, typer.Option("--actor", metavar="TEXT", help="Who acts, for the custody log.")
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="One line for the custody log.")]


def stamp(
    session: Session,
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    *,
    tsa: Tsa = None,
    tsa_root: TsaRoot = None,
    tsa_crl: TsaCrl = None,
    ots: Ots = None,
    bitcoin_header: Headers = None,
    sign: Sign = False,
    actor: Actor = "not named",
    action: Annotated[
        str,
        typer.Option("--action", metavar="TEXT", help="What was done, for the custody log."),
    ] = "stamped",
    note: Note = "",
    suspect: Annotated[
        Path | None,
        typer.Option(
            "--suspect", metavar="FILE", help="Name this file with its digest in the custody log."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The bundle to write.")
    ] = None,
) -> Answer:
    """Write a copy with time-stamps added (a renewal, if it has some), logged and signed.

    What is proved stays as it is: stamps cover it. Printed forms are left out when stamps are
    added: make them anew. Without --tsa and --ots only the custody log grows.
    """
    from ledger.dating import stamp_bundle
    from ledger.evidence.bundle import read_bundle

    dest = out or file.with_name(file.name.removesuffix(".evidence.zip") + ".stamped.evidence.zip")
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or choose another with --out")
    dating = dating_of(tsa, tsa_root, tsa_crl, ots, bitcoin_header)
    said = " ".join(text for text in (note, _described(suspect)) if text)
    stamp_bundle(
        file,
        dest,
        dating,
        actor=actor,
        action=action,
        note=said,
        signer=signer_of(session, sign=sign),
    )
    return stamped_answer(dest, read_bundle(dest))


def stamped_answer(dest: Path, bundle: Any) -> Answer:
    """What a stamped bundle is told as."""
    tokens = sum(name.endswith(".tsr") for name in bundle.members)
    return Answer(
        {"file": dest, "bundle": bundle.id, "contents": bundle.contents, "tokens": tokens},
        fields(
            [
                ("bundle", f"{dest} ({size_text(dest.stat().st_size)})"),
                ("contents", f"{bundle.contents} (as before)"),
                ("tokens", str(tokens)),
            ]
        ),
    )


def signer_of(session: Session, *, sign: bool) -> Signer | None:
    """The wallet that signs the custody entry, opened only if it is to sign."""
    return session.signer if sign else None


def dating_of(
    tsa: list[str] | None,
    roots: list[Path] | None,
    lists: list[Path] | None,
    ots: Path | None,
    headers: list[Path] | None,
) -> Dating:
    """The stamps asked for on the command line, their files read.

    Raises:
        UsageError: a file is of another kind.
    """
    from ledger.dating import Dating

    return Dating(
        authorities=tuple(tsa or ()),
        certificates=tuple(der for path in roots or () for der in _pem(path, "CERTIFICATE")),
        lists=tuple(der for path in lists or () for der in _pem(path, "X509 CRL")),
        proof=None if ots is None else _read(ots),
        headers=tuple(_header(path) for path in headers or ()),
    )


def roots_of(paths: list[Path] | None) -> list[bytes]:
    """DER of the root certificates in PEM files.

    Raises:
        UsageError: a file holds none.
    """
    return [der for path in paths or () for der in _pem(path, "CERTIFICATE")]


def _pem(path: Path, kind: str) -> list[bytes]:
    from ledger.evidence.certificates import pem_blocks

    data = _read(path)
    if data[:1] == b"\x30":  # DER, as revocation lists are mostly served
        return [data]
    try:
        found = pem_blocks(data.decode("latin-1"), kind)
    except TimestampInvalid as error:
        raise UsageError(f"{path}: {error.message}", hint="give a PEM file") from None
    if not found:
        raise UsageError(f"{path} holds no {kind}", hint="give a PEM file")
    return found


def _header(path: Path) -> bytes:
    data = _read(path)
    if len(data) == 80:
        return data
    try:
        return bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        raise UsageError(
            f"{path} is no Bitcoin header", hint="bitcoin-cli getblockheader HASH false"
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as handle:
        data = handle.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise UsageError(f"{path} has more than {_MAX_FILE} bytes")
    return data


def _described(suspect: Path | None) -> str:
    """A suspect for the custody log: name, size, digest."""
    if suspect is None:
        return ""
    digest, size = hashlib.sha256(), 0
    with suspect.open("rb") as handle:
        while piece := handle.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return f"suspect {suspect.name}, {size} bytes, SHA-256 0x{digest.hexdigest()}"
