"""``deed compare``: what two models share, and whether both can have been initialised apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.output import Answer, console, fields, table, time_text
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.fingerprint.compare import Comparison
    from ledger.fingerprint.lineage import RowOrder
    from ledger.fingerprint.sketch import Sketch

app = Verbs()

_SHOWN = 24
_NOTABLE = -3.0


@app.verb("compare")
def compare(
    session: Session,
    ours: Annotated[Path, typer.Argument(help="Our model, or with --sketch its sketch.")],
    theirs: Annotated[Path, typer.Argument(help="The model that is held against it.")],
    *,
    sketch: Annotated[
        bool, typer.Option("--sketch", help="The first file is a sketch and no model.")
    ] = False,
    sketch_owner: Annotated[
        str | None,
        typer.Option(
            "--sketch-owner", metavar="ADDRESS", help="Look for this account's commitment to it."
        ),
    ] = None,
    control: Annotated[
        list[Path] | None,
        typer.Option(
            "--control",
            metavar="MODEL",
            help="A model that may explain a match: same seed or ancestor. May be repeated.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="FILE.svg", help="Write a picture of every matrix, as SVG."
        ),
    ] = None,
) -> Answer:
    """Hold a model against ours: identical, contains, derived, or nothing found (exit code 1).

    "Derived" says that the two were not initialised independently. It does not say by whom, which
    came first, or that training was shared: two trainings from one seed look the same.
    """
    if picture is not None and picture.suffix.lower() != ".svg":
        raise UsageError("pictures are written as SVG", hint="name the file FILE.svg")
    if sketch and control:
        raise UsageError(
            "a sketch is compared without controls",
            hint="compare the control itself with the suspect: deed compare CONTROL SUSPECT",
        )
    if sketch_owner is not None and not sketch:
        raise UsageError("only a sketch is committed to by itself", hint="say --sketch as well")
    committed = None
    if sketch:
        from ledger.cli.sketches import sketch_of

        opened = sketch_of(ours)
        if sketch_owner is not None:
            committed = _commitment(session, opened, sketch_owner)
        made = _against_sketch(opened, theirs)
    else:
        made = _models(ours, theirs, control or [])
    if picture is not None:
        from ledger.fingerprint.picture import picture as draw

        write_text(picture, draw(made))
    return _answer(made, committed)


def _models(ours: Path, theirs: Path, controls: list[Path]) -> Comparison:
    from contextlib import ExitStack

    from ledger.fingerprint.compare import compare as hold
    from ledger.tensors.opening import open_weights

    with ExitStack() as stack:
        mine, other, *third = [
            stack.enter_context(open_weights(path)) for path in (ours, theirs, *controls)
        ]
        progress = stack.enter_context(console.progress("compare", unit="steps"))
        return hold(mine, other, controls=third, progress=lambda _w, d, t: progress(d, t))


def _against_sketch(opened: Sketch, theirs: Path) -> Comparison:
    from ledger.fingerprint.sketch import compare_sketch
    from ledger.tensors.opening import open_weights

    with open_weights(theirs) as other, console.progress("compare", unit="steps") as progress:
        return compare_sketch(opened, other, progress=lambda _w, d, t: progress(d, t))


def _commitment(session: Session, opened: Sketch, owner: str) -> dict[str, Any]:
    """What the chain shows of an account's commitment to a sketch."""
    from ledger.cli.sketches import committed_place
    from ledger.ids import Address

    stands, why = committed_place(session, opened, Address.parse(owner))
    if stands is None:
        return {"hash": None, "owner": owner, "why": why}
    hash_, account, place = stands
    return {
        "hash": str(hash_),
        "owner": str(account),
        "number": place.number,
        "block": place.block,
        "time": place.time,
    }


def _committed_text(found: dict[str, Any]) -> str:
    if found["hash"] is None:
        return f"no commitment is shown: {found['why']}"
    return (
        f"committed to by {found['owner']} in block {found['block']}, {time_text(found['time'])}, "
        f"number {found['number']} of this account"
    )


def _answer(made: Comparison, committed: dict[str, Any] | None) -> Answer:
    from ledger.fingerprint.wording import power_text, statements, values_text

    lineage = made.lineage
    rows: list[tuple[str, object]] = [("verdict", made.verdict)]
    if made.exact is not None:
        share = made.exact.found.ours
        rows.append(
            (
                "tensors",
                f"{len(made.exact.learnt)} of {share.tensors + share.packed} of ours are in theirs",
            )
        )
        rows.append(("values", values_text(made.exact)))
    rows += [
        ("row order", f"{len(lineage.matrices)} matrices, {lineage.tried} pairings counted"),
        ("p at most", power_text(lineage.log10_p_counted)),
    ]
    ranked = sorted(lineage.matrices, key=lambda m: m.order.log10_p)
    head = ("ours", "theirs", "units", "in place", "in order", "log10 p", "cosine", "wrong")
    listed = [
        (
            m.ours,
            m.theirs,
            m.role.partition(" ")[0] + (", aligned" if m.aligned else ""),
            f"{m.order.in_place}/{m.order.tested}",
            f"{m.order.in_order}/{m.order.rows}{_direction(m.order)}",
            _bound(m.order),
            f"{m.order.cosine:.3f}",
            f"{m.order.other:.3f}",
        )
        for m in ranked[:_SHOWN]
    ]
    said = statements(made, sketch_looked_up=committed is not None)
    if committed is not None:
        rows.append(("sketch", _committed_text(committed)))
    text = fields(rows)
    if listed:
        text += "\n\n" + table(head, listed, empty="")
        if len(ranked) > _SHOWN:
            text += f"\n… and {len(ranked) - _SHOWN} matrices more (--json)"
    text += "\n\n" + "\n".join(said) + "\n\n" + _left_out(made)
    data: dict[str, Any] = {**made.to_json(), "statements": list(said)}
    if committed is not None:
        data["sketch_commitment"] = committed
    return Answer(data, text.rstrip(), ok=made.verdict != "nothing found")


def _direction(order: RowOrder) -> str:
    """Said where the units stand in the opposite order, and that is more than chance."""
    return " turned" if order.turned and order.log10_p <= _NOTABLE else ""


def _bound(order: RowOrder) -> str:
    """A matrix's bound, rounded upwards, and whether it counts."""
    shown = math.ceil(round(order.log10_p * 10, 6)) / 10 + 0.0
    return f"{shown:.1f}" + (" fitted" if order.fitted and order.log10_p <= -1 else "")


def _left_out(made: Comparison) -> str:
    """How many tensors of ours were not tested, by reason."""
    reasons: dict[str, int] = {}
    for item in made.lineage.left_out:
        reasons[item.reason] = reasons.get(item.reason, 0) + 1
    if not reasons:
        return ""
    rows = sorted(reasons.items(), key=lambda row: (-row[1], row[0]))
    return table(("order not tested", "tensors"), rows, empty="")
