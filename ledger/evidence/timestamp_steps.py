"""Verification step 17: time-stamps of the bundle's contents.

Defined in ``docs/spec/evidence-bundle.md`` and ``docs/spec/timestamps.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.errors import TimestampInvalid
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.opentimestamps import Header, read_proof
from ledger.evidence.timestamps import (
    IN_ALL,
    Stamp,
    check_renewals,
    renewal_imprint,
    verify_token,
)
from ledger.evidence.wording import in_quotes, utc
from ledger.ids import Digest

PROOF = "bitcoin.ots"
_HEADER, _TOKEN, _LISTS = ".header", ".tsr", ".crl"
_BROUGHT = {
    "tokens": "tokens",
    "certificates": "certificates",
    "lists": "revocation lists",
    "list_bytes": "bytes of revocation lists",
}
# How far a chain's rules may let a block's time run ahead, in seconds: an hour on Arbitrum.
BLOCK_AHEAD = 3600


@dataclass(frozen=True, slots=True)
class Dated:
    """The stamps that hold.

    Attributes:
        stamps: by token number from 1.
        blocks: Bitcoin headers that the proof leads to, by height.
        open_heights: attested heights whose header is not carried.
    """

    stamps: tuple[Stamp, ...]
    blocks: Mapping[int, Header]
    open_heights: tuple[int, ...]


def check_timestamps(case: Case, step: int) -> str:
    """Each stamp carried dates these contents; pass if the reader vouches for one of them."""
    members = case.bundle.folder("timestamps")
    if not members:
        raise NotChecked("the bundle carries no time-stamp", needed=False)
    try:
        dated = read_stamps(members, case.bundle.computed_contents)
    except TimestampInvalid as error:
        raise TimestampInvalid(error.message, step=step) from None
    header = case.state()
    for what, latest in _latest(dated):
        if latest + BLOCK_AHEAD < header.timestamp:
            raise TimestampInvalid(
                f"{what} is not later than {utc(latest)}, but these contents name block "
                f"{header.number} of {utc(header.timestamp)}, which nobody knew before: it did "
                "not stamp them, or a clock is wrong",
                step=step,
            )
    case.timestamps = dated
    roots, known = case.trust.tsa_roots, case.trust.blocks
    trusted = [n for n, of in enumerate(dated.stamps, start=1) if of.root.digest in roots]
    mined = [height for height, header in dated.blocks.items() if header.hash in known]
    if roots and dated.stamps and not trusted:
        raise TimestampInvalid("none of the root certificates given is that of a token", step=step)
    found = [
        f"token {n} is not later than {utc(dated.stamps[n - 1].token.latest)}" for n in trusted
    ]
    found += [f"Bitcoin block {h} not later than {utc(dated.blocks[h].latest)}" for h in mined]
    if found:
        return "; ".join(found)
    rests = [f"root certificate {of.root.digest}" for of in dated.stamps]
    rests += [f"Bitcoin block {h} {header.hash}" for h, header in dated.blocks.items()]
    rests += [f"Bitcoin block {height}, whose header is not here" for height in dated.open_heights]
    raise NotChecked(
        f"the stamps hold if you trust {' or '.join(dict.fromkeys(rests)) or 'a calendar'}",
        needed=False,
    )


def _latest(dated: Dated) -> list[tuple[str, int]]:
    """Each stamp, and the second by which what it dates existed."""
    tokens = [(f"token {n}", of.token.latest) for n, of in enumerate(dated.stamps, start=1)]
    return tokens + [(f"Bitcoin block {h}", of.latest) for h, of in dated.blocks.items()]


def read_stamps(members: Mapping[str, bytes], contents: Digest) -> Dated:
    """Verify everything below ``timestamps/``, whatever anyone trusts.

    Args:
        members: by the rest of their names.
        contents: what they must date.

    Raises:
        TimestampInvalid: something is broken, or there is a member too many or too few.
    """
    tokens = [name for name in members if name.endswith(_TOKEN)]
    lists_size = sum(len(data) for name, data in members.items() if name.endswith(_LISTS))
    _bounded("tokens", len(tokens))
    _bounded("list_bytes", lists_size)
    earlier: list[bytes] = []
    stamps = []
    known = {PROOF}
    for number in range(1, len(tokens) + 1):
        token, pem, lists = (f"{number}{end}" for end in (_TOKEN, ".pem", _LISTS))
        known |= {token, pem, lists}
        if token not in members or pem not in members:
            raise TimestampInvalid(f"token {number} or its certificates are not here")
        imprint = renewal_imprint(contents, earlier)
        try:
            stamp = verify_token(members[token], members[pem], members.get(lists), imprint)
        except TimestampInvalid as error:
            raise TimestampInvalid(f"token {number}: {error.message}") from None
        stamps.append(stamp)
        earlier.append(members[token])
        _bounded("certificates", sum(len(of.chain) for of in stamps))
        _bounded("lists", sum(len(of.lists) for of in stamps))
    check_renewals(stamps)
    headers = {
        int(name.removesuffix(_HEADER)): Header.parse(raw)
        for name, raw in sorted(members.items())
        if name.endswith(_HEADER)
    }
    unknown = [name for name in members if name not in known and not name.endswith(_HEADER)]
    if unknown:
        raise TimestampInvalid(f"timestamps/{min(unknown)} belongs to no token")
    attested: tuple[tuple[int, bytes], ...] = ()
    if PROOF in members:
        dated, attested = read_proof(members[PROOF])
        if dated != contents:
            raise TimestampInvalid("the OpenTimestamps proof dates something else")
    for height, header in headers.items():
        roots = {root for at, root in attested if at == height}
        if roots != {header.root}:
            raise TimestampInvalid(f"nothing leads to the root of Bitcoin block {height}")
    open_heights = sorted({height for height, _ in attested} - set(headers))
    return Dated(tuple(stamps), dict(sorted(headers.items())), tuple(open_heights))


def _bounded(what: str, count: int) -> None:
    if count > IN_ALL[what]:
        raise TimestampInvalid(
            f"a bundle's time-stamps have at most {IN_ALL[what]} {_BROUGHT[what]} in all"
        )


def told(case: Case) -> Any | None:
    """What goes into the statement under "timestamps"; None if there is nothing to tell."""
    dated: Dated | None = case.timestamps
    if dated is None:
        return None
    return {
        "tokens": [
            {
                "number": number,
                "imprint": str(of.token.imprint),
                "generated": of.token.time,
                "accuracy_us": of.token.accuracy,
                "not_earlier_than": of.token.earliest,
                "not_later_than": of.token.latest,
                "serial": "0x" + of.token.serial.hex(),
                "policy": of.token.policy,
                "tsa": of.chain[0].name,
                "certificate": str(of.chain[0].digest),
                "root": str(of.root.digest),
                "root_name": of.root.name,
                "signer_until": of.signer_until,
                "revocation_lists": [one.issued for one in of.lists],
            }
            for number, of in enumerate(dated.stamps, start=1)
        ],
        "bitcoin": [
            {
                "block": height,
                "hash": str(header.hash),
                "time": header.time,
                "not_later_than": header.latest,
            }
            for height, header in dated.blocks.items()
        ],
    }


def lines(found: Any) -> list[str]:
    """The same in plain text, for ``report.txt``."""
    if not found["tokens"] and not found["bitcoin"]:
        return []
    text = [
        "",
        "Time-stamps of these contents, at the latest, if their root or Bitcoin block is genuine:",
    ]
    for of in found["tokens"]:
        name = "an authority without a name" if of["tsa"] is None else in_quotes(of["tsa"])
        root = "" if of["root_name"] is None else in_quotes(of["root_name"]) + " "
        when = utc(of["not_later_than"])
        text.append(f"  {when}  by {name}, token {of['number']} (root {root}{of['root']})")
    text += [
        f"  {utc(of['not_later_than'])}  by Bitcoin block {of['block']} {of['hash']}"
        for of in found["bitcoin"]
    ]
    return text
