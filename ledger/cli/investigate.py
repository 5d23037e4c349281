"""``deed investigate``: where a copy that was found comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, console, fields, table
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.broker.leaks import LeakReport

app = Verbs("Find out where a copy comes from.")

_MAX_FILE = 64 << 20
_SHOWN = 10


@app.verb("investigate")
def investigate(
    session: Session,
    suspect: Annotated[
        Path, typer.Argument(help="A .safetensors, .gguf or .onnx file, or a folder.")
    ],
    *,
    trace: Annotated[
        Path,
        typer.Option("--trace", metavar="FILE", help="The recovery file of the leaked sealing."),
    ],
    sealed: Annotated[
        Path, typer.Option("--sealed", metavar="FILE", help="The sealed file all licenses open.")
    ],
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="JSON rows of license, holder, tenure.  [default: all issued, from the chain]",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask no chain, not even whether the sealing stands there."),
    ] = False,
) -> Answer:
    """Name the license whose copy leaked; exit code 1 when none is named.

    Works on exact, converted, quantised, pruned, fine-tuned, renamed and mixed copies. A license is
    named only where the proven probability of naming any innocent one is at most 1e-9. Exit code 1
    also when the sealing does not stand on chain: its code could be made up.
    """
    from ledger.broker.leaks import read_candidates, trace_leak
    from ledger.broker.recovery import Recovery
    from ledger.cli.lodged import lodging

    if offline and candidates is None:
        raise UsageError(
            "without a chain nothing tells which licenses were issued",
            hint="list them with --candidates FILE, or leave --offline away",
        )
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
        report = trace_leak(
            suspect,
            sealed,
            recovery,
            words,
            lodging=lodging(session, recovery.claim, offline=offline),
            progress=progress,
        )
    return _answer(report)


def _answer(report: LeakReport) -> Answer:
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
    checks = table(
        ("", "check", "result", "detail"),
        [(f"({c.number})", c.title, c.result, c.detail) for c in report.checks],
        empty="no checks",
    )
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
    return Answer(report.to_json(), f"{head}\n\n{checks}\n\n{scores}\n\n{facts}", ok=report.proven)
