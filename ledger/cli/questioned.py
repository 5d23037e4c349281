"""A suspect asked the questions of a disclosure, for the commands that do so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, console, steps, table
from ledger.cli.phase_a import perhaps_chain
from ledger.cli.session import Session
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.phase_a import Chain
    from ledger.questioning import Known, Report
    from ledger.watermark.disclosure import Disclosure

TheirControl = Annotated[
    list[str] | None,
    typer.Option("--their-control", metavar="URL", help="One named by the other side."),
]
Challenge = Annotated[
    str | None, typer.Option("--challenge", metavar="TEXT", help="The challenge as it was set.")
]


def questioned(
    session: Session,
    opened: Disclosure,
    suspect: str,
    *,
    controls: Sequence[str] = (),
    theirs: Sequence[str] = (),
    given: Mapping[str, str | None],
    commitments: int | None = None,
    earlier: Sequence[Path] = (),
    offline: bool = False,
    settlement: str | None = None,
    timeout: float = 30.0,
) -> tuple[Report, str]:
    """Ask a suspect and the controls the questions of a disclosure.

    Args:
        session: names the network.
        opened: the disclosure.
        suspect: URL.
        controls: URLs of models that should not know the answers.
        theirs: of those that the other side named.
        given: challenge, commitment and beacon, where the user passed them.
        commitments: of the owner's account, likewise.
        earlier: disclosures of the same triggers.
        offline: ask no chain.
        settlement: endpoint of the chain that a roll-up settles on.
        timeout: seconds for one answer.

    Returns:
        The report, and why no chain was asked; empty if one was.
    """
    from ledger.ids import Digest
    from ledger.questioning import Known

    if not 0 < timeout <= 3600:
        raise UsageError("a timeout lies between 0 and 3600 seconds", hint="leave it out for 30")
    if commitments is not None and commitments < 1:
        raise UsageError("an owner has made at least one commitment", hint="count this one too")
    urls = [suspect, *controls, *theirs]
    if len({url.rstrip("/") for url in urls}) < len(urls):
        raise UsageError(
            "one URL is given twice: a model that is asked twice is one model",
            hint="name each control once, and none at the suspect's URL",
        )
    passed = {
        "--commitment": given.get("commitment"),
        "--beacon": given.get("beacon"),
        "--commitments": commitments,
    }
    named = [name for name, value in passed.items() if value is not None]
    commitment, beacon = given.get("commitment"), given.get("beacon")
    known = Known(
        commitment=None if commitment is None else Digest.parse(commitment),
        commitments=commitments,
        beacon=None if beacon is None else Digest.parse(beacon),
        challenge=given.get("challenge"),
        earlier=tuple(read_disclosure(each) for each in earlier),
        source="as passed, no chain asked",
    )
    if offline:
        unasked = "--offline was given"
    elif named:
        unasked = f"{' and '.join(named)} was passed, and what is passed is taken as it is"
    else:
        known, unasked = _from_chain(session, opened, known, settlement)
    models = [(url, False) for url in controls] + [(url, True) for url in theirs]
    return _asked(opened, known, suspect, models, timeout), unasked


def _from_chain(
    session: Session, opened: Disclosure, known: Known, settlement: str | None
) -> tuple[Known, str]:
    """What the chain knows of a disclosure's commitment, or why it was not asked."""
    from dataclasses import replace

    from ledger.phase_a import beacon_of, caveat_of

    chain, why = _chain_for(session, opened.commitment.chain_id, settlement)
    if chain is None:
        return known, why
    hash_ = opened.commitment.hash()
    drawn, commitments = beacon_of(opened.commitment.owner, hash_, chain=chain)
    found = replace(
        known,
        commitment=hash_,
        commitments=commitments,
        beacon=drawn.value,
        caveat=caveat_of(drawn, chain),
        source="",
    )
    return found, ""


def _asked(
    opened: Disclosure,
    known: Known,
    suspect: str,
    controls: list[tuple[str, bool]],
    timeout: float,
) -> Report:
    """Ask the suspect and the controls, of which the other side named some."""
    from ledger.questioning import Control, examine
    from ledger.remote.asked import RemoteModel

    with ExitStack() as stack:
        asked = stack.enter_context(RemoteModel(suspect, timeout=timeout))
        others: list[Control] = []
        for url, named_by_them in controls:
            model = stack.enter_context(RemoteModel(url, timeout=timeout))
            name = f"control {len(others) + 1}, {model.host}"
            others.append(Control(name, model, theirs=named_by_them))
        progress = stack.enter_context(console.progress("ask", unit="questions"))
        return examine(
            opened,
            asked,
            name=f"suspect, {asked.host}",
            controls=others,
            known=known,
            progress=progress,
        )


def _chain_for(session: Session, chain_id: int, settlement: str | None) -> tuple[Chain | None, str]:
    from ledger.errors import WrongNetwork

    chain, why = perhaps_chain(session, settlement)
    if chain is not None and chain.profile.chain_id != chain_id:
        raise WrongNetwork(
            f"the commitment is for chain {chain_id}, not for {chain.profile.chain_id}",
            hint="choose its network with --network, or say --offline",
        )
    return chain, why


def answer(report: Report, unasked: str) -> Answer:
    """What was found, for people and programs.

    Args:
        report: of the examination.
        unasked: why no chain was asked; empty if one was.
    """
    from ledger.questioning import MEANING

    checks = steps(report.checks)
    models = table(
        ("model", "as drawn", "by chance", "log10 p", "silent", "changed"),
        [
            (
                f"{each.name}{' (named by the other side)' if each.theirs else ''}",
                f"{each.score.right} of {each.score.asked}",
                f"{each.score.asked / each.score.answers:.2g}",
                f"{each.score.log10_p:.1f}",
                each.silent,
                each.changed,
            )
            for each in (report.suspect, *report.controls)
        ],
        empty="nobody was asked",
    )
    notes = (f"no chain was asked: {unasked}",) if unasked else ()
    return Answer(
        {**report.to_json(), "chain_asked": not unasked, "chain_not_asked_because": unasked},
        f"{report.verdict}\n\n{checks}\n\n{models}\n\n"
        f"log10 p in the table is before correction. {MEANING}",
        ok=report.proven,
        undecided=report.undecided,
        notes=notes,
    )


def read_disclosure(path: Path) -> Disclosure:
    """A disclosure file, read and checked."""
    from ledger.canonical import parse_json
    from ledger.watermark.disclosure import MAX_BYTES, TYPE, Disclosure

    with path.open("rb") as handle:
        document = parse_json(handle.read(MAX_BYTES + 1), what=path.name, limit=MAX_BYTES)
    return Disclosure.from_json(require_kind(document, path, TYPE))
