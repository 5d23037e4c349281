"""Leaving members out of a bundle, or putting them back, while what is proved stays proved.

The index goes on listing a withheld member with its size and SHA-256, and `contents` counts it as
if it were here: custody entries, time-stamps and signatures over `contents` stay valid. The report
is computed anew, from what is left. Whoever guesses a withheld member's bytes can confirm the guess
by their hash (docs/spec/evidence-bundle.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ledger.canonical import canonical_json
from ledger.errors import ClaimMismatch, UsageError, VerificationError
from ledger.evidence.bundle import (
    CUSTODY,
    INDEX,
    PRINTED,
    REPORT,
    REPORT_TEXT,
    Bundle,
    may_be_withheld,
    pack,
    parse_bundle,
)
from ledger.evidence.custody import append, read_log
from ledger.evidence.report import render
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import examine
from ledger.ids import Address, Digest, LicenseId

GROUPS = ("tensors", "terms", "cards", "match", "releases", "fingerprint")
_SINGLE = {"match": "match.json", "fingerprint": "fingerprint.json"}


def choose(
    bundle: Bundle, groups: Iterable[str], *, keep: Iterable[LicenseId] = ()
) -> tuple[str, ...]:
    """Names of the members that groups of them stand for.

    Args:
        bundle: that has them.
        groups: of `GROUPS`, or members by name.
        keep: licenses whose cards stay; others' are withheld.

    Raises:
        UsageError: no such group or member, one that may not be withheld, or nothing to withhold.
    """
    names: set[str] = set()
    for group in groups:
        if group in bundle.members and may_be_withheld(group):
            names.add(group)
            continue
        if group not in GROUPS:
            raise UsageError(
                f"{group!r} cannot be withheld",
                hint=f"give one of {', '.join(GROUPS)}, or a member below them by its name",
            )
        found = (
            {_SINGLE[group]} & set(bundle.members)
            if group in _SINGLE
            else {name for name in bundle.members if name.startswith(f"{group}/")}
        )
        if not found:
            raise UsageError(f"the bundle holds no {group}", hint="deed evidence show lists it")
        names |= found
    kept = {f"cards/{license_id}.json" for license_id in keep}
    if kept:
        cards = {name for name in bundle.members if name.startswith("cards/")}
        if not kept <= cards:
            missing = ", ".join(sorted(kept - cards))
            raise UsageError(f"the bundle holds no {missing}", hint="deed evidence show lists it")
        names = (names | cards) - kept
    if not names:
        raise UsageError("nothing is to be withheld", hint="name it with --withhold")
    return tuple(sorted(names))


def withhold(
    bundle: Bundle,
    names: Iterable[str],
    *,
    time: str,
    actor: str,
    note: str,
    software: str,
    signer: Address | None = None,
    sign: Callable[[Digest], bytes] | None = None,
) -> bytes:
    """The bundle without the bytes of these members, with an entry in its custody log.

    Printed forms are left out too: they may tell what is withheld. Make them anew.

    Args:
        bundle: as read.
        names: of members that `may_be_withheld`.
        time: of the custody entry, UTC.
        actor: who withholds, in their own words.
        note: one line; empty for the list of what is withheld.
        software: name and version of this program.
        signer: the account that signs the entry.
        sign: makes its 65-byte signature of a digest.

    Raises:
        UsageError: a member is not there, or must stay.
        VerificationError: the bundle does not hold, before or after.
    """
    _check(bundle, "the bundle")
    chosen = sorted(set(names))
    for name in chosen:
        if name not in bundle.members or not may_be_withheld(name):
            raise UsageError(f"{name} cannot be withheld", hint="proofs, claim and log must stay")
    members = {
        name: data
        for name, data in bundle.members.items()
        if name not in {*chosen, *PRINTED, INDEX}
    }
    listed = {name: bundle.listed[name] for name in [*chosen, *bundle.withheld]}
    text = note or f"withheld {', '.join(chosen)}"
    told = text if len(text) <= 2000 else f"withheld {len(chosen)} members"
    act = _Act("redacted", told, time, actor, software, signer, sign)
    return _closed(bundle, members, listed, act)


def recognise(bundle: Bundle, given: Iterable[bytes]) -> dict[str, bytes]:
    """Which withheld members these bytes are, by size and SHA-256.

    Raises:
        ClaimMismatch: bytes that none of them has.
    """
    found: dict[str, bytes] = {}
    for number, data in enumerate(given, start=1):
        listed = (len(data), Digest(hashlib.sha256(data).digest()))
        names = [name for name, of in bundle.left_out.items() if of == listed]
        if not names:
            raise ClaimMismatch(
                f"file {number}, of {listed[0]} bytes and SHA-256 {listed[1]}, is none of the "
                "members that this bundle withholds",
                hint="give them byte for byte as they were; deed evidence show lists their digests",
            )
        found |= dict.fromkeys(names, data)
    return found


def restore(
    bundle: Bundle,
    given: Mapping[str, bytes],
    *,
    time: str,
    actor: str,
    note: str,
    software: str,
    signer: Address | None = None,
    sign: Callable[[Digest], bytes] | None = None,
) -> bytes:
    """The bundle with withheld members put back; whoever has their bytes can do that.

    Raises:
        ClaimMismatch: other bytes than those listed.
        UsageError: a member was not withheld.
        VerificationError: the bundle does not hold, before or after.
    """
    _check(bundle, "the bundle")
    listed = dict(bundle.left_out)
    for name, data in given.items():
        if name not in listed:
            raise UsageError(f"{name} is not withheld from this bundle")
        if listed.pop(name) != (len(data), Digest(hashlib.sha256(data).digest())):
            raise ClaimMismatch(f"these are not the bytes of {name} that the bundle lists")
    members = {name: data for name, data in bundle.members.items() if name not in PRINTED}
    told = note or f"put back {', '.join(sorted(given))}"
    told = told if len(told) <= 2000 else f"put back {len(given)} members"
    act = _Act("restored", told, time, actor, software, signer, sign)
    return _closed(bundle, {**members, **given}, listed, act)


@dataclass(frozen=True, slots=True)
class _Act:
    """What the custody log says of it, and who signs that."""

    action: str
    note: str
    time: str
    actor: str
    software: str
    signer: Address | None
    sign: Callable[[Digest], bytes] | None


def _closed(
    bundle: Bundle,
    members: dict[str, bytes],
    listed: Mapping[str, tuple[int, Digest]],
    act: _Act,
) -> bytes:
    log = append(
        read_log(bundle.json(CUSTODY), bundle.computed_contents),
        time=act.time,
        actor=act.actor,
        action=act.action,
        note=act.note,
        software=act.software,
        contents=bundle.computed_contents,
        signer=act.signer,
        sign=act.sign,
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    draft = examine(
        parse_bundle(pack(bundle.subject, members, listed)), trust=_named(bundle), draft=True
    )
    if draft.statement is None or not draft.holds:
        raise VerificationError(f"what is left {draft.sentence}: {draft.reasons}")
    members[REPORT] = canonical_json(draft.statement)
    members[REPORT_TEXT] = render(draft.statement).encode()
    data = pack(bundle.subject, members, listed)
    made = parse_bundle(data)
    if made.computed_contents != bundle.computed_contents:
        raise VerificationError("the digest of the evidence changed; nothing is written")
    _check(made, "what is left")
    return data


def _check(bundle: Bundle, what: str) -> None:
    report = examine(bundle, trust=_named(bundle))
    if not report.holds:
        raise VerificationError(f"{what} {report.sentence}: {report.reasons}")


def _named(bundle: Bundle) -> TrustRoot:
    """The addresses are the bundle's own: each reader asks anew."""
    return replace(TrustRoot(), contracts={of.name: of.address for of in bundle.subject.contracts})
