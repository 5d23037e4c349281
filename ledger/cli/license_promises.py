"""``deed license`` for many at once and by signature: batches and vouchers."""

from __future__ import annotations

import csv
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.acting import Reason, account, reason_hash
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import duration, ether, moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ZERO_ADDRESS, Digest, LicenseId
from ledger.licensing.reference import reference_hash

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt
    from ledger.licensing.batch import Batch, BatchRow

app = Verbs()

_CHUNK = 100
_MAX_FILE = 64 << 20
_COLUMNS = ("to", "not_before", "not_after", "external_ref")

_Plan = Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")]
_Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where to write the voucher; never replaced.")
]


# -- batches -------------------------------------------------------------------------------------


@app.verb("issue-batch", signs="licensor", waits=False)
def issue_batch(
    session: Session,
    *,
    plan: _Plan,
    holders: Annotated[
        Path,
        typer.Argument(
            help="CSV with a column `to`, and if you like not_before, not_after, external_ref."
        ),
    ],
    merkle: Annotated[
        Path | None,
        typer.Option(
            "--merkle",
            metavar="DIR",
            help="Anchor one root instead, and write the batch and one claim for each holder here.",
        ),
    ] = None,
) -> Answer:
    """Issue a license to each holder of a list."""
    rows = _holders(session, holders)
    if merkle is not None:
        return _anchor(session, plan, rows, merkle)
    odd = next(
        (row for row in rows if row.not_before or row.not_after or any(row.ext_hash.raw)), None
    )
    if odd is not None:
        raise UsageError(
            "licenses issued on chain together have the plan's window and no references",
            hint="leave those columns empty, or anchor a batch with --merkle DIR",
        )
    ids: list[LicenseId] = []
    receipt: TxReceipt | None = None
    for start in range(0, len(rows), _CHUNK):
        chunk = [row.to for row in rows[start : start + _CHUNK]]
        issued, receipt = session.licenses.issue_batch(session.sender, plan, chunk)
        ids += issued
    assert receipt is not None, "a list has at least one holder"
    final = settle(session, receipt)
    data = {"licenses": ids, "holders": [row.to for row in rows]}
    return Answer(
        data | receipt_data(receipt, final=final),
        fields(
            [
                ("licenses", f"{ids[0]} to {ids[-1]}"),
                ("holders", len(ids)),
                receipt_row(receipt, final=final),
            ]
        ),
    )


def _anchor(session: Session, plan: int, rows: list[BatchRow], folder: Path) -> Answer:
    from ledger.licensing.batch import build

    if folder.exists():
        raise UsageError(f"{folder} exists", hint="name a new folder for the batch")
    deployment = session.network.deployment
    batch = build(
        rows,
        (secrets.token_bytes(32) for _ in rows),
        chain_id=deployment.chain_id,
        ledger=deployment.addresses["LicenseLedger"],
        plan=plan,
    )
    # Leaves first: an anchored root whose leaves are lost is licenses nobody can ever claim.
    folder.mkdir(parents=True, mode=0o700)
    write_text(folder / "batch.json", json.dumps(batch.to_json(), indent=2) + "\n")
    for claim in batch.claims():
        name = f"{claim.leaf.index:06d}-{claim.leaf.to}.claim.json"
        write_text(folder / name, json.dumps(claim.to_json(), indent=2) + "\n")
    first, receipt = session.licenses.anchor_batch(session.sender, plan, batch.root, len(rows))
    final = settle(session, receipt)
    data = {"root": batch.root, "count": len(rows), "first_license": first, "folder": str(folder)}
    return Answer(
        data | receipt_data(receipt, final=final),
        fields(
            [
                ("root", batch.root),
                ("licenses", f"{len(rows)}, from {first} on"),
                ("claims", f"{folder} (keep batch.json: the chain holds the root only)"),
                receipt_row(receipt, final=final),
            ]
        ),
        notes=("next: give each holder its claim file; deed license claim FILE makes the token",),
    )


@app.verb("claim", signs="holder", waits=False)
def claim(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The claim file that came with the batch.")],
) -> Answer:
    """Make a license of a batch a token of its holder. Anyone may send it."""
    from ledger.licensing.batch import MAX_CLAIM_BYTES, parse_claim

    found = parse_claim(_read(file, MAX_CLAIM_BYTES))
    found.verify()
    _same_chain(session, found.chain_id, found.ledger, file)
    license_id, receipt = session.licenses.claim(session.sender, found)
    return _licensed(session, license_id, receipt, "holder", found.leaf.to)


@app.verb("revoke-in-batch", signs="licensor", waits=False)
def revoke_in_batch(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The batch.json that issue-batch wrote.")],
    indexes: Annotated[list[int], typer.Argument(min=0, help="Places in the batch, from 0.")],
    reason: Reason = "",
) -> Answer:
    """Revoke licenses of a batch for good, claimed or not."""
    batch = _batch(session, file)
    beyond = [index for index in indexes if index >= len(batch.leaves)]
    if beyond:
        raise UsageError(
            f"the batch has no license {beyond[0]}",
            hint=f"give places from 0 to {len(batch.leaves) - 1}",
        )
    masks: dict[int, int] = {}
    for index in indexes:
        masks[index >> 8] = masks.get(index >> 8, 0) | 1 << (index & 255)
    receipt: TxReceipt | None = None
    for word, mask in sorted(masks.items()):
        receipt = session.licenses.revoke_in_batch(
            session.sender,
            batch.plan,
            batch.root,
            word=word,
            mask=mask,
            reason=reason_hash(reason),
        )
    assert receipt is not None, "at least one place is named"
    final = settle(session, receipt)
    return Answer(
        {"root": batch.root, "revoked": sorted(set(indexes))} | receipt_data(receipt, final=final),
        fields([("revoked", len(set(indexes))), receipt_row(receipt, final=final)]),
    )


@app.verb("close-batch", signs="licensor", waits=False)
def close_batch(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(help="The batch.json; or give --plan and --root.")
    ] = None,
    plan: Annotated[int | None, typer.Option("--plan", min=1, max=(1 << 32) - 1)] = None,
    root: Annotated[str | None, typer.Option("--root", metavar="HASH")] = None,
    reason: Reason = "",
) -> Answer:
    """End every license of a batch that nobody claimed, with the plan's notice."""
    if file is not None:
        batch = _batch(session, file)
        number, top = batch.plan, batch.root
    elif plan is not None and root is not None:
        number, top = plan, Digest.parse(root)
    else:
        raise UsageError("no batch is named", hint="give its batch.json, or --plan and --root")
    closes, receipt = session.licenses.close_batch(session.sender, number, top, reason_hash(reason))
    final = settle(session, receipt)
    return Answer(
        {"root": top, "closes_at": closes} | receipt_data(receipt, final=final),
        fields([("root", top), ("ends", time_text(closes)), receipt_row(receipt, final=final)]),
    )


# -- vouchers ------------------------------------------------------------------------------------


@app.verb("voucher", signs="licensor", waits=False)
def voucher(
    session: Session,
    *,
    plan: _Plan,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The holder's account.")],
    out: _Out,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="How long it is good, such as 30d.")
    ] = "30d",
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Begin; when redeemed.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="End; by default the plan's.")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option("--price", metavar="AMOUNT", help="To be collected by the market, in ether."),
    ] = None,
    external_ref: Annotated[
        str, typer.Option("--external-ref", metavar="TEXT", help="An order; its hash is signed.")
    ] = "",
) -> Answer:
    """Sign a voucher: a license that its holder takes when it likes. Sends nothing."""
    from ledger.licensing.voucher import Voucher, sign

    if out.exists():
        raise UsageError(f"{out} exists", hint="choose another name for the voucher")
    now = int(time.time())
    _, state = session.licenses.plan_of(plan)
    deployment = session.network.deployment
    offer = Voucher(
        signer=session.signer.address,
        plan=plan,
        to=account(session, to),
        plan_digest=state.plan_digest,
        nonce=int.from_bytes(secrets.token_bytes(32), "big"),
        deadline=now + duration(deadline),
        market=deployment.addresses["LicenseMarket"] if price is not None else ZERO_ADDRESS,
        not_before=moment(not_before, now=now) if not_before else 0,
        not_after=moment(not_after, now=now) if not_after else 0,
        price=ether(price) if price is not None else 0,
        ext_hash=reference_hash(external_ref),
    )
    signed = sign(
        session.signer,
        offer,
        chain_id=deployment.chain_id,
        ledger=deployment.addresses["LicenseLedger"],
    )
    write_text(out, json.dumps(signed.to_json(), indent=2) + "\n")
    return Answer(
        {"file": str(out), "voucher": signed.to_json()},
        fields(
            [
                ("voucher", out),
                ("holder", offer.to),
                ("good until", time_text(offer.deadline)),
            ]
        ),
        notes=(f"next: the holder runs deed license redeem {out.name}",),
    )


@app.verb("redeem", signs="holder", waits=False)
def redeem(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A voucher file.")],
) -> Answer:
    """Take the license that a voucher promises; pays its price where it has one."""
    from ledger.licensing import voucher as vouchers

    signed = vouchers.parse(_read(file, vouchers.MAX_BYTES))
    _same_chain(session, signed.chain_id, signed.ledger, file)
    if signed.voucher.market == ZERO_ADDRESS:
        license_id, receipt = session.licenses.redeem(session.sender, signed)
    else:
        license_id, receipt = session.market.buy_with_voucher(session.sender, signed)
    return _licensed(session, license_id, receipt, "holder", signed.voucher.to)


@app.verb("cancel-voucher", signs="licensor", waits=False)
def cancel_voucher(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A voucher that you signed.")],
) -> Answer:
    """Spend a voucher's number, so that nobody can redeem it."""
    from ledger.licensing import voucher as vouchers

    signed = vouchers.parse(_read(file, vouchers.MAX_BYTES))
    _same_chain(session, signed.chain_id, signed.ledger, file)
    if signed.voucher.signer != session.sender.address:
        raise UsageError(
            f"the voucher is signed by {signed.voucher.signer}",
            hint="only its signer can cancel it (--wallet)",
        )
    nonce = signed.voucher.nonce
    receipt = session.licenses.cancel_vouchers(session.sender, nonce >> 8, 1 << (nonce & 255))
    final = settle(session, receipt)
    return Answer(
        {"file": str(file), "cancelled": True} | receipt_data(receipt, final=final),
        fields([("voucher", f"{file} is void"), receipt_row(receipt, final=final)]),
    )


# -- files ---------------------------------------------------------------------------------------


def _holders(session: Session, path: Path) -> list[BatchRow]:
    from ledger.licensing.batch import BatchRow

    now = int(time.time())
    text = _read(path, _MAX_FILE).decode("utf-8-sig", "replace")
    table = csv.DictReader(text.splitlines())
    columns = tuple(table.fieldnames or ())
    if "to" not in columns or not set(columns) <= set(_COLUMNS):
        raise UsageError(
            f"{path} is no list of holders",
            hint=f"a CSV file whose first line names columns out of {', '.join(_COLUMNS)}",
        )
    rows = []
    for number, line in enumerate(table, 2):
        try:
            cells = {name: (line.get(name) or "").strip() for name in _COLUMNS}
            rows.append(
                BatchRow(
                    account(session, cells["to"]),
                    moment(cells["not_before"], now=now) if cells["not_before"] else 0,
                    moment(cells["not_after"], now=now) if cells["not_after"] else 0,
                    reference_hash(cells["external_ref"]),
                )
            )
        except UsageError as error:
            raise UsageError(f"{path} line {number}: {error.message}", hint=error.hint) from None
    if not rows:
        raise UsageError(f"{path} names no holder", hint="one line for each holder")
    return rows


def _batch(session: Session, path: Path) -> Batch:
    from ledger.licensing.batch import parse_batch

    batch = parse_batch(_read(path, _MAX_FILE))
    _same_chain(session, batch.chain_id, batch.ledger, path)
    return batch


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _same_chain(session: Session, chain_id: int, ledger: Any, path: Path) -> None:
    deployment = session.network.deployment
    if (chain_id, ledger) != (deployment.chain_id, deployment.addresses["LicenseLedger"]):
        raise UsageError(
            f"{path} is for ledger {ledger} on chain {chain_id}, not for {session.network.name}",
            hint="choose its network with --network",
        )


def _licensed(
    session: Session, license_id: LicenseId, receipt: TxReceipt, what: str, value: object
) -> Answer:
    final = settle(session, receipt)
    data = {"license": license_id, "token_id": str(int(license_id)), what: value}
    return Answer(
        data | receipt_data(receipt, final=final),
        fields([("license", license_id), (what, value), receipt_row(receipt, final=final)]),
    )
