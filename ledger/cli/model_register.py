"""``deed model register`` and ``register-signed``: titles from claims that are written already."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.quantities import moment
from ledger.cli.receipts import settle_block
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import Digest
from ledger.merkle import T2

if TYPE_CHECKING:
    from ledger.chain.registry import InclusionProof
    from ledger.claim import Claim
    from ledger.ids import Address

app = Verbs()

_MAX_CLAIM = 1 << 20
_AT_ONCE = 32  # what fits into one transaction with room to spare


@app.verb("register", signs="licensor", waits=False)
def register(
    session: Session,
    claims: Annotated[list[Path], typer.Argument(metavar="CLAIM...", help="Claim files.")],
    *,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="OUT", help="Only sign one, for someone else to send."),
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="With --sign: until when to send it.")
    ] = "+7d",
) -> Answer:
    """Register claims in your name: one anchored commitment for all, then one transaction.

    deed publish does this and all that follows; this is for claims that were made elsewhere.
    Repeating it is safe. With --sign you need no coins: whoever has the file pays.
    """
    found = [_claim(path) for path in claims]
    _check(session, found, session.signer.address)
    if sign is not None:
        return _signed(session, found, sign, deadline)
    if len({claim.model_id() for claim in found}) < len(found) or len(found) > _AT_ONCE:
        raise UsageError(
            f"a claim is named twice, or more than {_AT_ONCE} are", hint="name each claim once"
        )
    proofs = _committed(session, found)
    left = [
        (claim, proof)
        for claim, proof in zip(found, proofs, strict=True)
        if session.registry.licensor_of(claim.model_id()) is None
    ]
    if len(left) == 1:
        session.registry.register(session.sender, *left[0])
    elif left:
        session.registry.register_batch(
            session.sender, [claim for claim, _ in left], [proof for _, proof in left]
        )
    return _registered(session, found, new=len(left))


@app.verb("register-signed", signs="operator", waits=False)
def register_signed(
    session: Session,
    file: Annotated[Path, typer.Argument(help="What deed model register --sign wrote.")],
) -> Answer:
    """Send a licensor's signed registration. You pay the fee and get nothing by it."""
    from ledger.chain import registration

    with file.open("rb") as handle:
        signed = registration.parse(handle.read(registration.MAX_BYTES + 1))
    claim = signed.claim
    _check(session, [claim], claim.licensor)
    if not session.rpc.code(claim.licensor):  # a contract is asked by the registry
        signed.verify()
    if session.registry.licensor_of(claim.model_id()) is None:
        if signed.deadline < int(time.time()):
            raise UsageError(
                f"the registration could be sent until {time_text(signed.deadline)}",
                hint="have its licensor sign again: deed model register --sign",
            )
        (proof,) = _committed(session, [claim])
        session.registry.register_by_sig(
            session.sender, claim, proof, deadline=signed.deadline, signature=signed.signature
        )
        return _registered(session, [claim], new=1)
    return _registered(session, [claim], new=0)


def _claim(path: Path) -> Claim:
    from ledger.claim import Claim

    with path.open("rb") as handle:
        raw = handle.read(_MAX_CLAIM + 1)
    return Claim.from_json(parse_json(raw, what=path.name, limit=_MAX_CLAIM))


def _check(session: Session, claims: Sequence[Claim], licensor: Address) -> None:
    """See that each claim is for this network's registry and names this licensor."""
    from ledger.errors import WrongNetwork

    for claim in claims:
        place = (claim.chain_id, claim.registry)
        if place != (session.network.deployment.chain_id, session.registry.address):
            raise WrongNetwork(
                f"the claim is made for registry {claim.registry} on chain {claim.chain_id}, not "
                f"for {session.network.name}",
                hint="choose its network with --network",
            )
        if claim.licensor != licensor:
            raise UsageError(
                f"the claim names {claim.licensor} as licensor, and {licensor} signs",
                hint="sign with the licensor's wallet: --wallet NAME",
            )


def _committed(session: Session, claims: Sequence[Claim]) -> list[InclusionProof]:
    """Each claim's place under one root, anchored now unless it is already."""
    from ledger.chain.registry import InclusionProof

    leaves = [claim.commitment_leaf() for claim in claims]
    root = Digest(T2.root([leaf.raw for leaf in leaves]))
    if session.anchors.anchored_at(root) is None:
        # Mined before the registration is sent, so it stands in an earlier block.
        session.anchors.anchor(session.sender, root)
    return [InclusionProof.of(leaves, index) for index in range(len(leaves))]


def _registered(session: Session, claims: Sequence[Claim], *, new: int) -> Answer:
    head = session.rpc.block("latest").number
    final = settle_block(session, head)
    titles = [(claim.model_id(), session.registry.model_of(claim.model_id())) for claim in claims]
    rows = [
        (model, record.licensor, f"not later than {time_text(record.committed_at)}")
        for model, record in titles
    ]
    return Answer(
        {
            "registered": new,
            "models": [
                {"model_id": model, "licensor": record.licensor, "committed": record.committed}
                for model, record in titles
            ],
            "final": final,
        },
        table(("model", "licensor", "committed"), rows, empty="none"),
    )


def _signed(session: Session, claims: Sequence[Claim], out: Path, deadline: str) -> Answer:
    from ledger.chain.registration import SignedRegistration

    if len(claims) != 1:
        raise UsageError("--sign signs one claim", hint="name one claim, and sign each by itself")
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose another name for the signed registration")
    now = int(time.time())
    last = moment(deadline, now=now)
    if last <= now:
        raise UsageError("the deadline has passed", hint="give a later --deadline, such as +7d")
    made = SignedRegistration.sign(session.signer, claims[0], deadline=last)
    write_text(out, json.dumps(made.to_json(), indent=2) + "\n")
    model_id = claims[0].model_id()
    return Answer(
        {"model_id": model_id, "file": out, "deadline": last},
        fields([("model", model_id), ("file", out), ("send by", time_text(last))]),
        notes=(f"next: whoever pays for it runs deed model register-signed {out.name}",),
    )
