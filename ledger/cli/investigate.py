"""``deed investigate``: what a file that was found has to do with models that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.output import Answer, console, fields, steps, table
from ledger.cli.phase_a import Settlement
from ledger.cli.questioned import Challenge, TheirControl
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.files import write_whole

if TYPE_CHECKING:
    from ledger.broker.leaks import LeakReport

app = Verbs("Find out where a copy comes from.")

_MAX_FILE = 64 << 20
_SHOWN = 10
_Files = list[Path] | None


@app.verb("investigate")
def investigate(
    session: Session,
    suspect: Annotated[
        str, typer.Argument(help="A model file in any format that is read, a folder, or a URL.")
    ],
    *,
    ours: Annotated[
        _Files, typer.Option("--ours", metavar="MODEL", help="A model of ours; repeat for more.")
    ] = None,
    control: Annotated[
        _Files,
        typer.Option("--control", metavar="MODEL", help="A model that may explain a match."),
    ] = None,
    sketch: Annotated[
        _Files, typer.Option("--sketch", metavar="FILE", help="A lineage sketch; repeat for more.")
    ] = None,
    sketch_owner: Annotated[
        str | None,
        typer.Option("--sketch-owner", metavar="ADDRESS", help="Who committed to the sketches."),
    ] = None,
    record: Annotated[
        _Files,
        typer.Option("--record", metavar="FILE", help="A watermark record; repeat for more."),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option("--original", metavar="MODEL", help="The unmarked model of the records."),
    ] = None,
    disclosure: Annotated[
        _Files, typer.Option("--disclosure", metavar="FILE", help="Triggers that were opened.")
    ] = None,
    ask: Annotated[
        str | None, typer.Option("--ask", metavar="URL", help="Where the suspect is asked them.")
    ] = None,
    ask_control: Annotated[
        list[str] | None,
        typer.Option("--ask-control", metavar="URL", help="A model that should not know them."),
    ] = None,
    their_control: TheirControl = None,
    challenge: Challenge = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="The recovery file of the leaked sealing."),
    ] = None,
    sealed: Annotated[
        Path | None,
        typer.Option("--sealed", metavar="FILE", help="The sealed file all licenses open."),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="JSON rows of license, holder, tenure.  [default: all issued, from the chain]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FINDINGS", help="Findings for deed evidence collect."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="Where a suspect from a URL is kept."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no index and no chain.")] = False,
    settlement: Settlement = None,
) -> Answer:
    """Hash a suspect, hold it against all that is given, and say what each method shows.

    The suspect is hashed before anything reads it, and never changed. Exit code 1 when nothing was
    found; of a mark or of answers also when a check of them did not pass; with --trace alone, when
    no license is named, or its sealing does not stand on chain. Exit code 3 when nothing was found
    and a suspect that is asked gave no answer.
    """
    from ledger.cli.methods import Methods
    from ledger.examining import findings
    from ledger.investigation import software
    from ledger.suspects import received

    if (trace is None) != (sealed is None):
        raise UsageError(
            "tracing needs the recovery file and the sealed file",
            hint="give --trace FILE and --sealed FILE together",
        )
    if bool(disclosure) != (ask is not None):
        raise UsageError(
            "triggers are asked at a URL", hint="give --disclosure FILE and --ask URL together"
        )
    if offline and trace is not None and candidates is None:
        raise UsageError(
            "without a chain nothing tells which licenses were issued",
            hint="list them with --candidates FILE, or leave --offline away",
        )
    if out is not None and out.exists():
        raise UsageError(f"{out} exists", hint="name a file that is not there yet")
    with (
        console.progress("hash") as progress,
        received(suspect, keep=keep, progress=progress) as there,
    ):
        look = Methods(session, there, offline=offline, settlement=settlement)
        records = [look.open_record(path) for path in record or ()]
        traced = _trace(session, there.path, trace, sealed, candidates, offline=offline)
        look.traced(traced)
        look.search()
        for path in ours or ():
            look.model(path, control or ())
        for path in sketch or ():
            look.sketch(path, sketch_owner, records)
        for one in records:
            look.watermark(one, original)
        for path in disclosure or ():
            look.triggers(path, ask or "", ask_control or (), their_control or (), challenge)
        there.ensure_unchanged()
        made = findings(
            there,
            software=software(),
            **look.found,
            why_not=look.why_not,
            untried=look.untried,
        )
    if all(of["result"] == "not checked" for of in made["tried"]):
        # "Nothing found" would say that somebody looked.
        raise look.missed or UsageError(
            "no method could be tried on the suspect",
            hint="name a model of yours with --ours; without --offline an index is asked, too",
        )
    if out is not None:
        from ledger.canonical import canonical_json

        write_whole(out, canonical_json(made))
    return _answer(made, traced, look, out)


def _trace(
    session: Session,
    suspect: Path,
    trace: Path | None,
    sealed: Path | None,
    candidates: Path | None,
    *,
    offline: bool,
) -> LeakReport | None:
    from ledger.broker.leaks import read_candidates, trace_leak
    from ledger.broker.recovery import Recovery
    from ledger.cli.lodged import lodging

    if trace is None or sealed is None:
        return None
    secret = passphrase(session.settings, f"Passphrase of {trace.name}")
    recovery = Recovery.load(trace, secret)
    if candidates is not None:
        with candidates.open("rb") as handle:
            words = read_candidates(handle.read(_MAX_FILE + 1), what=candidates.name)
    elif recovery.record is not None:
        from ledger.cli.events import released_words

        words = released_words(session, recovery.record.model_id)
    else:
        words = []
    with console.progress("trace", unit="tensors") as progress:
        return trace_leak(
            suspect,
            sealed,
            recovery,
            words,
            lodging=lodging(session, recovery.claim, offline=offline),
            progress=progress,
        )


def _answer(made: Any, traced: LeakReport | None, look: Any, out: Path | None) -> Answer:
    from ledger.evidence.match_words import sentences
    from ledger.evidence.wording import one_line

    own = any(
        (
            *(one["verdict"] != "nothing found" for one in made["comparisons"]),
            *(one["proven"] for one in (*made["watermarks"], *made["triggers"])),
            traced is not None and traced.proven,
        )
    )
    asked = made["comparisons"] or made["watermarks"] or made["triggers"] or traced is not None
    listed = made["search"] is not None and bool(made["search"]["models"])
    said = sentences(made, **look.about())
    tried = table(
        ("method", "result", "why"),
        [(of["method"], of["result"], of["why"]) for of in made["tried"]],
        empty="none",
    )
    claims = table(
        ("committed", "model", "title", "licensor", "status", "tensors", ""),
        look.claims(),
        empty="no registered model that holds tensors of it is known",
    )
    parts = [] if traced is None else [_traced(traced)]
    parts += [tried, "\n".join([claims, *look.remarks])]
    parts.append("\n".join(one_line(sentence) for sentence in said))
    data: dict[str, Any] = {} if traced is None else traced.to_json()
    data |= {"findings": made, "statements": [*said, *look.remarks], "out": out}
    data["notes"] = list(look.notes)
    notes = [*look.notes]
    if out is not None:
        notes.append(f"next: deed evidence collect MODEL --match {out}")
    ok = bool(own if asked else listed)
    undecided = not ok and look.undecided
    return Answer(data, "\n\n".join(parts), ok=ok, undecided=undecided, notes=tuple(notes))


def _traced(report: LeakReport) -> str:
    named, accusation = report.accusation.named, report.accusation
    if named:
        who = "\n".join(
            f"license {one.candidate.license_id}, held by {one.candidate.holder}: probability "
            f"of naming an innocent at most 10^{one.log10_p:.1f}"
            for one in named
        )
        head = f"{report.verdict}\n{who}"
    else:
        head = report.verdict
    checks = steps(report.checks)
    rows = [
        (
            str(one.candidate.license_id),
            str(one.candidate.holder),
            "all" if one.candidate.tenure < 0 else str(one.candidate.tenure),
            f"{one.log10_p:.1f}",
            "named" if one.named else "",
        )
        for one in accusation.findings[:_SHOWN]
        if one.told
    ]
    nobody = "no candidate scored other than anybody would"
    scores = table(("license", "holder", "tenure", "log10 p", ""), rows, empty=nobody)
    bound = (
        f"epsilon_1 <= {accusation.false_accusation:g} over {accusation.tests} tests of this one "
        "trace; over n traces at most n times that"
    )
    facts = fields(
        [
            ("bound", bound),
            ("code", report.plan.sentence),
            *(("note", remark) for remark in report.remarks),
            *([("who else", report.others)] if named else []),
        ]
    )
    return f"{head}\n\n{checks}\n\n{scores}\n\n{facts}"
