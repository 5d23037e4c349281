"""Dating evidence beside the chain: time-stamp tokens, their renewal, and Bitcoin's blocks.

Stamps cover a bundle's `contents`, which they do not change; so they can be added when it is
collected or years later, before the certificates behind the last one end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from ledger.canonical import canonical_json
from ledger.errors import TimestampInvalid, UsageError, VerificationError
from ledger.evidence.bundle import (
    CUSTODY,
    PRINTED,
    REPORT,
    REPORT_TEXT,
    TIMESTAMPS,
    VERIFIERS,
    Subject,
    pack,
    parse_bundle,
    read_bundle,
)
from ledger.evidence.certificates import Certificate, RevocationList, to_pem
from ledger.evidence.custody import append, read_log
from ledger.evidence.opentimestamps import Header, read_proof
from ledger.evidence.report import render
from ledger.evidence.timestamp_steps import PROOF, read_stamps
from ledger.evidence.timestamps import Token, chain_of, renewal_imprint
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import examine
from ledger.files import write_whole
from ledger.ids import Address, Digest
from ledger.remote.stamping import request_token

_HEADER = ".header"


class DigestSigner(Protocol):
    """A wallet that signs a digest."""

    @property
    def address(self) -> Address:
        """The signing account."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """65 bytes ``r ‖ s ‖ v``, v of 27 or 28."""
        ...


@dataclass(frozen=True, slots=True)
class Dating:
    """What is asked for, and what one has for it.

    Attributes:
        authorities: URLs of RFC 3161 services; each is asked for one token, in this order.
        certificates: DER of root and issuing certificates that tokens may leave out.
        lists: DER of revocation lists; those of a token's chain go beside it.
        proof: an OpenTimestamps proof of the contents.
        headers: 80-byte Bitcoin headers that the proof leads to.
    """

    authorities: Sequence[str] = ()
    certificates: Sequence[bytes] = ()
    lists: Sequence[bytes] = ()
    proof: bytes | None = None
    headers: Sequence[bytes] = ()


def date_contents(
    contents: Digest, members: Mapping[str, bytes], dating: Dating
) -> dict[str, bytes]:
    """The stamps that `members` has and those asked for, all verified.

    Args:
        contents: what is dated.
        members: a bundle's members; those below ``timestamps/`` are kept.
        dating: what to add.

    Raises:
        TimestampInvalid: an answer does not hold, or the proof is of other contents.
        UnavailableError: an authority does not answer.
    """
    stamps = {
        name.removeprefix(TIMESTAMPS): data
        for name, data in members.items()
        if name.startswith(TIMESTAMPS)
    }
    for url in dating.authorities:
        earlier: list[bytes] = []
        while f"{len(earlier) + 1}.tsr" in stamps:
            earlier.append(stamps[f"{len(earlier) + 1}.tsr"])
        number, imprint = len(earlier) + 1, renewal_imprint(contents, earlier)
        raw = request_token(url, imprint)
        chain = chain_of(Token.parse(raw), dating.certificates)
        stamps[f"{number}.tsr"] = raw
        stamps[f"{number}.pem"] = to_pem("CERTIFICATE", [one.raw for one in chain])
        lists = [of for of in dating.lists if _concerns(of, chain)]
        if lists:
            stamps[f"{number}.crl"] = to_pem("X509 CRL", lists)
    if dating.proof is not None:
        stamps[PROOF] = dating.proof
    for header in dating.headers:
        stamps[f"{_height(header, stamps.get(PROOF))}{_HEADER}"] = header
    read_stamps(stamps, contents)
    return {TIMESTAMPS + name: data for name, data in stamps.items()}


def close_bundle(
    subject: Subject,
    members: Mapping[str, bytes],
    withheld: Mapping[str, tuple[int, Digest]] | None = None,
) -> bytes:
    """The bundle of these members with its report made anew, once it is seen to hold.

    Raises:
        VerificationError: it does not.
    """
    # Whoever writes the index says where the contracts are; each reader asks anew.
    trust = TrustRoot(contracts={of.name: of.address for of in subject.contracts})
    draft = examine(parse_bundle(pack(subject, members, withheld)), trust=trust, draft=True)
    if draft.statement is None or not draft.holds:
        raise VerificationError(f"the evidence {draft.sentence}: {draft.reasons}")
    reports = {
        REPORT: canonical_json(draft.statement),
        REPORT_TEXT: render(draft.statement).encode(),
    }
    data = pack(subject, {**members, **reports}, withheld)
    report = examine(parse_bundle(data), trust=trust)
    if not report.holds:
        raise VerificationError(f"the evidence {report.sentence}: {report.reasons}")
    return data


def stamp_bundle(
    path: Path,
    dest: Path,
    dating: Dating,
    *,
    actor: str,
    action: str = "stamped",
    note: str = "",
    now: datetime | None = None,
    signer: DigestSigner | None = None,
) -> Path:
    """Write a bundle to `dest` with stamps added and one more entry in its custody log.

    Printed forms speak of the stamps there were; when stamps are added they are left out, to be
    made anew. What stays is listed in the entry, so that its signer answers for it.

    Args:
        path: a bundle.
        dest: the file to write, which may be `path`.
        dating: stamps to add; may be none.
        actor: who acts, for the log.
        action: what they do.
        note: one line.
        now: their clock; the system's when None.
        signer: the account that signs the entry; None leaves it unsigned.

    Raises:
        BundleFormatError: not a bundle.
        VerificationError: it does not hold.
        TimestampInvalid: a stamp does not.
        UnavailableError: an authority does not answer.
    """
    bundle = read_bundle(path)
    stamps = date_contents(bundle.computed_contents, bundle.members, dating)
    added = any(bundle.members.get(name) != data for name, data in stamps.items())
    members = {
        name: data
        for name, data in bundle.members.items()
        if not (added and name in PRINTED) and not name.startswith(TIMESTAMPS)
    }
    log = append(
        read_log(bundle.json(CUSTODY), bundle.computed_contents),
        time=(now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        actor=actor,
        action=action,
        note=note,
        contents=bundle.computed_contents,
        software=f"modeldeed {version('modeldeed')}",
        printed={
            name: Digest(hashlib.sha256(members[name]).digest())
            for name in (*PRINTED, *VERIFIERS)
            if name in members
        },
        signer=None if signer is None else signer.address,
        sign=None if signer is None else signer.sign_digest,
    )
    members |= stamps | {CUSTODY: canonical_json([entry.to_json() for entry in log])}
    write_whole(dest, close_bundle(bundle.subject, members, bundle.left_out))
    return dest


def _concerns(raw: bytes, chain: Sequence[Certificate]) -> bool:
    return any(one.subject == RevocationList.parse(raw).issuer for one in chain[1:])


def _height(header: bytes, proof: bytes | None) -> int:
    """The height at which a proof leads to a header's root.

    Raises:
        UsageError: there is no proof.
        TimestampInvalid: it leads to none.
    """
    if proof is None:
        raise UsageError("a Bitcoin header says nothing without a proof", hint="give it with --ots")
    wanted = Header.parse(header).root
    for height, root in read_proof(proof)[1]:
        if root == wanted:
            return height
    raise TimestampInvalid("the OpenTimestamps proof does not lead to this Bitcoin header")
