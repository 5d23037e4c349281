"""``deed license claim``, ``revoke-in-batch`` and ``close-batch``: licenses under one root."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.canonical import MAX_JSON_BYTES
from ledger.cli.license_args import Reason, reason_hash, sure
from ledger.cli.output import Answer, console, fields, time_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import EntitlementError, UsageError
from ledger.ids import ZERO_ADDRESS, Digest
from ledger.licensing import batch as batches
from ledger.licensing.batch import Batch, BatchClaim

if TYPE_CHECKING:
    from ledger.chain.licenses import LeafCheck
    from ledger.chain.rpc import Block
    from ledger.chain.transactions import TxReceipt

app = Verbs()

_REVOKED = 3  # codes of ILicenseLedger.check
_EXPIRED = 4


def read_batch(session: Session, file: Path) -> Batch:
    """The batch that a file holds, if it is for this network.

    Raises:
        ManifestError, ClaimMismatch: it holds none.
        WrongNetwork: it is for another ledger.
    """
    with file.open("rb") as handle:
        made = batches.parse_batch(handle.read(MAX_JSON_BYTES + 1))
    session.check_place(made.chain_id, made.ledger, what="the batch")
    return made


@app.verb("claim", signs="holder", waits=False)
def claim(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The claim file that the licensor gave you.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it grants now; sends nothing.")
    ] = False,
) -> Answer:
    """Make your license of a batch a token of yours. Anyone may send it for you."""
    read = _claim(session, file)
    head = session.rpc.block("latest")
    at = max(int(time.time()), head.timestamp)
    found = session.licenses.check_batch_leaf(read, ZERO_ADDRESS, at, head.number)
    if check:
        return _checked(session, read, found, head)
    if found.code == _EXPIRED:  # the ledger gives it all the same, and the licensor could renew it
        console.note(f"this license ended on {time_text(found.not_after)}: it grants nothing")
        sure(session, "Claim it all the same?")
    license_id, receipt = session.licenses.claim(session.sender, read)
    final = settle(session, receipt)
    return Answer(
        {"license": license_id, "holder": read.leaf.to, "token_id": str(int(license_id))}
        | receipt_data(receipt, final=final),
        fields(
            [
                ("license", license_id),
                ("holder", read.leaf.to),
                receipt_row(receipt, final=final),
            ]
        ),
    )


def _claim(session: Session, file: Path) -> BatchClaim:
    with file.open("rb") as handle:
        read = batches.parse_claim(handle.read(batches.MAX_CLAIM_BYTES + 1))
    read.verify()
    session.check_place(read.chain_id, read.ledger, what="the claim")
    return read


def _checked(session: Session, read: BatchClaim, found: LeafCheck, head: Block) -> Answer:
    grants = found.code in {0, 10}
    rows: list[tuple[str, object]] = [
        ("license", found.license if int(found.license) else "unknown"),
        ("holder", read.leaf.to),
    ]
    why = ""
    if grants:
        rows.append(("grants", f"yes, until {time_text(found.not_after)}"))
    else:
        refusal = _denial(session, read, found)
        why = refusal.message
        rows += [("grants", f"no: {why}"), ("remedy", refusal.remedy)]
    rows.append(("as of", f"block {head.number}, {time_text(head.timestamp)}"))
    return Answer(
        {
            "license": found.license,
            "holder": read.leaf.to,
            "code": found.code,
            "grants": grants,
            "why": why,
            "not_after": found.not_after,
        },
        fields(rows),
        ok=grants,
    )


def _denial(session: Session, read: BatchClaim, found: LeafCheck) -> EntitlementError:
    from ledger.licensing.entitlement import LicenseFacts, Status, denial

    facts = LicenseFacts(
        license=found.license,
        holder=read.leaf.to,
        status=Status.REVOKED if found.code == _REVOKED else Status.ACTIVE,
        not_before=read.leaf.not_before,
        not_after=found.not_after,
        suspended_at=0,
        licensor=session.licenses.plan_of(read.plan)[1].licensor,
    )
    return denial(found.code, facts)


@app.verb("revoke-in-batch", signs="licensor", waits=False)
def revoke_in_batch(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The batch.json that issue-batch wrote.")],
    indexes: Annotated[list[int], typer.Argument(min=0, help="Places in the batch, from 0.")],
    reason: Reason = "",
) -> Answer:
    """Revoke licenses of a batch for good, claimed or not."""
    made = read_batch(session, file)
    beyond = [index for index in indexes if index >= len(made.leaves)]
    if beyond:
        raise UsageError(
            f"the batch has no license {beyond[0]}",
            hint=f"give places from 0 to {len(made.leaves) - 1}",
        )
    _check_anchored(session, made.plan, made.root)
    revoked = sorted(set(indexes))
    words: dict[int, int] = {}
    for index in revoked:
        words[index >> 8] = words.get(index >> 8, 0) | 1 << (index & 255)
    sure(session, f"Revoke {len(revoked)} licenses of batch {made.root.short} for good?")
    receipts = _revoked(session, made, words, reason_hash(reason))
    final = settle(session, receipts[-1])
    return Answer(
        {
            "plan": made.plan,
            "root": made.root,
            "revoked": revoked,
            "transactions": [receipt_data(receipt, final=final) for receipt in receipts],
        },
        fields(
            [
                ("root", made.root),
                ("revoked", ", ".join(map(str, revoked))),
                *(receipt_row(receipt, final=final) for receipt in receipts),
            ]
        ),
    )


def _revoked(
    session: Session, made: Batch, words: dict[int, int], reason: Digest
) -> list[TxReceipt]:
    """One transaction for each word; one that an earlier run came to is no failure.

    Raises:
        BatchNothingToRevoke: an earlier run came to all of them.
    """
    from ledger.chain.reverts import BatchNothingToRevoke

    receipts: list[TxReceipt] = []
    done_before: BatchNothingToRevoke | None = None
    for word, mask in sorted(words.items()):
        try:
            receipt = session.licenses.revoke_in_batch(
                session.sender, made.plan, made.root, word=word, mask=mask, reason=reason
            )
        except BatchNothingToRevoke as error:
            done_before = error
            continue
        receipts.append(receipt)
    if done_before is not None and not receipts:
        raise done_before
    return receipts


@app.verb("close-batch", signs="licensor", waits=False)
def close_batch(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(help="The batch.json; or give --plan and --root.")
    ] = None,
    *,
    plan: Annotated[
        int | None, typer.Option("--plan", min=1, max=(1 << 32) - 1, help="When leaves are lost.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="HASH", help="When leaves are lost.")
    ] = None,
    reason: Reason = "",
) -> Answer:
    """End every license of a batch that is not claimed, with the plan's notice."""
    if file is not None and plan is None and root is None:
        made = read_batch(session, file)
        number, anchored = made.plan, made.root
    elif file is None and plan is not None and root is not None:
        number, anchored = plan, Digest.parse(root)
    else:
        raise UsageError("which batch?", hint="give its batch.json, or --plan and --root")
    _check_anchored(session, number, anchored)
    sure(session, f"End all licenses of batch {anchored.short} that are not claimed?")
    closes, receipt = session.licenses.close_batch(
        session.sender, number, anchored, reason_hash(reason)
    )
    final = settle(session, receipt)
    return Answer(
        {"plan": number, "root": anchored, "closes_at": closes}
        | receipt_data(receipt, final=final),
        fields(
            [
                ("root", anchored),
                ("unclaimed end", time_text(closes)),
                receipt_row(receipt, final=final),
            ]
        ),
    )


def _check_anchored(session: Session, plan: int, root: Digest) -> None:
    if session.licenses.batch_of(plan, root) is None:
        raise UsageError(
            f"plan {plan} has no batch {root.short}",
            hint="its batch.json names plan and root; anchor it with deed license issue-batch",
        )
