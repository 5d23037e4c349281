"""``deed reseal``: a published model under another key, as its next sealing epoch; resumable."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli import events, publications
from ledger.cli.card import sealing_hash
from ledger.cli.cell_options import Colluders
from ledger.cli.output import Answer, console, fields
from ledger.cli.publish import brokers_of, teller
from ledger.cli.receipts import settle_block
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import ChainError, ClaimMismatch, UnavailableError, UsageError

if TYPE_CHECKING:
    from ledger.broker.cellplans import CellChoice
    from ledger.ids import Digest
    from ledger.publication import Published

app = Verbs()

_CELL_BYTES = 16384


@app.verb("reseal", signs="licensor", waits=False)
def reseal(
    session: Session,
    *,
    model: Annotated[
        Path, typer.Argument(help="The registered model: what deed publish was given.")
    ],
    folder: Annotated[
        Path,
        typer.Option("--from", metavar="FOLDER", help="What deed publish or deed reseal wrote."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where to work.  [default: TITLE.epochN.published, here]"
        ),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(
            "--cells",
            min=0,
            max=4096,
            help="Mark copies per license in so many cells, 0 for none.  [default: as before]",
        ),
    ] = None,
    cell_bytes: Annotated[
        int | None,
        typer.Option("--cell-bytes", help="16384, 32768 or 65536.  [default: as before]"),
    ] = None,
    colluders: Colluders = None,
    broker_set: Annotated[
        int | None,
        typer.Option(
            "--broker-set", min=1, max=(1 << 64) - 1, help="[default: that of the folder's plan]"
        ),
    ] = None,
) -> Answer:
    """Seal a published model anew under another key, as its next epoch, and lodge that on chain.

    After a key leaked, or to have more cells. Title, plans and licenses stay. Once it is final,
    brokers release the new sealing only: holders fetch the new file, and get cards written anew.
    Whoever has the old file and its key keeps what they have. Killed at any point, the same command
    resumes it.
    """
    from ledger.canonical import canonical_json
    from ledger.claim import Claim, check_manifest
    from ledger.licensing.terms import parse
    from ledger.resealing import Resealing

    found = publications.read(folder)
    plan = int(found.result("plan", "plan"))
    claim = Claim.from_json(found.document("claim.json"))
    manifest = found.document("manifest.json")
    check_manifest(manifest)
    terms = parse(canonical_json(found.document("terms.json")))
    source = sealing_hash(found)
    if source is None:
        found.result("seal", "record")
        raise ClaimMismatch(f"the journal in {folder} holds a broken sealing record")
    offer, _ = session.licenses.plan_of(plan)
    if (offer.model_id, offer.terms_hash) != (claim.model_id(), terms.hash()):
        raise ClaimMismatch(f"plan {plan} is not of the model and terms in {folder}")
    lodged, _ = session.registry.sealing_of(claim.model_id())
    if not lodged:
        raise UsageError(
            f"no sealing of model {claim.model_id().short} is lodged yet",
            hint="finish the first one: run the same deed publish again",
        )
    begun = _begun(out, source)
    if begun is None:
        epoch = lodged + 1
        dest = out or Path(f"{_name(found)}.epoch{epoch}.published")
    else:
        dest = out or begun.path.relative_to(Path.cwd())
        epoch = int(begun.inputs.get("epoch", 1))
    if dest.resolve() == folder.resolve() or epoch < 2:
        raise UsageError(
            f"{dest} holds an earlier sealing", hint="seal anew in another folder: --out DIR"
        )
    if begun is not None and "deposit" in begun.steps:
        console.note(
            f"{dest} holds epoch {epoch}, made from this folder before; for a further one: --out "
            f"DIR, or --from {shlex.quote(str(dest))}"
        )
    choice = _choice(found, cells, cell_bytes, colluders, resumes=begun is not None)
    if choice is not None:
        console.note(choice.guarantees.sentence)
    number = broker_set or offer.broker_set
    if not number:
        raise UsageError(f"plan {plan} names no brokers", hint="name them with --broker-set")
    brokers = brokers_of(session, number)
    with contextlib.closing(brokers):
        sender = session.sender
        secret = passphrase(
            session.settings, f"Passphrase for the recovery file of epoch {epoch}", new=not begun
        )
        done = Resealing(
            model,
            dest,
            network=session.network,
            sender=sender,
            broker=brokers,
            terms=terms,
            offer=replace(offer, broker_set=number),
            passphrase=secret,
            observer=teller(),
            cells=choice,
            claim=claim,
            manifest=manifest,
            plan=plan,
            source=source,
            epoch=epoch,
        ).run()
    steps = publications.read(done.folder).steps.values()
    final = settle_block(session, max(int(step.get("block", 0)) for step in steps))
    return Answer(
        {
            "model_id": done.model_id,
            "plan": done.plan_id,
            "epoch": epoch,
            "sealing_record": done.record.hash(),
            "sealed": done.sealed,
            "recovery": done.recovery,
            "folder": done.folder,
            "final": final,
        },
        fields(
            [
                ("model", done.model_id),
                ("epoch", f"{epoch}, {'final' if final else 'not yet final; --wait waits'}"),
                ("sealed file", done.sealed),
                ("recovery file", f"{done.recovery}  (keep a copy elsewhere, with its passphrase)"),
            ]
        ),
        notes=(
            *_plans_elsewhere(session, done, number),
            f"keep {folder} too: copies of earlier epochs are traced with it",
            f"next, for each license: {_next(session, done)}",
        ),
    )


def _begun(out: Path | None, source: Digest) -> publications.Folder | None:
    """The resealing that is to be resumed: in `out`, else one around made from this sealing."""
    if out is not None:
        return publications.read(out) if (out / publications.JOURNAL).exists() else None
    made = (f for f in publications.around() if f.inputs.get("source") == str(source))
    return next(made, None)


def _name(found: publications.Folder) -> str:
    """What the folder of the first sealing was called, without the words we add."""
    return found.path.resolve().name.removesuffix(".published").partition(".epoch")[0]


def _choice(
    found: publications.Folder,
    cells: int | None,
    cell_bytes: int | None,
    colluders: int | None,
    *,
    resumes: bool,
) -> CellChoice | None:
    """The cells asked for, else as many as the sealing before has; None to go on as it began."""
    from ledger.broker.cellplans import CellChoice

    if cells is None and not resumes:
        from ledger.sealed.file import inspect

        before = inspect(found.sealed)
        cells, cell_bytes = before.cells, cell_bytes or before.cell_bytes
    return CellChoice(cells, cell_bytes or _CELL_BYTES, colluders) if cells else None


def _plans_elsewhere(session: Session, done: Published, number: int) -> list[str]:
    """What is to be done for plans whose brokers were given no key of the new sealing."""
    sets: dict[int, list[int]] = {}
    try:
        for plan in events.plans(session, model=done.model_id):
            named = session.licenses.plan_of(plan)[0].broker_set
            if named not in {0, number}:
                sets.setdefault(named, []).append(plan)
    except (ChainError, UnavailableError):
        return []  # a provider that shows no old events keeps nobody from sealing
    return [
        f"warning: plan {', '.join(map(str, plans))} names broker set {other}, which has no key of "
        f"this sealing: deed broker set deposit {other} {shlex.quote(str(done.recovery))}, or deed "
        "broker restore at a single broker"
        for other, plans in sorted(sets.items())
    ]


def _next(session: Session, done: Published) -> str:
    card = f"{done.sealed.stem}.license.json"
    words = shlex.join(["deed", "license", "card"]) + " LICENSE " + shlex.join(["--out", card])
    if not publications.is_around(done.folder):
        words += f" --from {shlex.quote(str(done.folder))}"
    return words + session.again("licensor")
