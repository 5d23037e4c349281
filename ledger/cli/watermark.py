"""``deed watermark``: commit to a key, mark a model, look for the mark."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import triggers
from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, console, fields, steps, table
from ledger.cli.phase_a import Settlement, chain_of, perhaps_chain
from ledger.cli.receipts import settle_block
from ledger.cli.session import Session, passphrase
from ledger.cli.sketches import sketch_of
from ledger.cli.verb import Verbs
from ledger.errors import (
    FormatError,
    UsageError,
)

if TYPE_CHECKING:
    from ledger.claim import Claim
    from ledger.detecting import Report
    from ledger.watermark.record import PhaseAPlace, Record

app = Verbs("Mark a model with a committed key, and look for the mark.")
app.add_typer(triggers.app, name="triggers", help=triggers.app.info.help)

_MAX = 1 << 20
_MAX_STRENGTH = 0.1
_WITHOUT = "no original was given: with --original a far weaker trace of the mark is found"

_Record = Annotated[
    Path, typer.Option("--record", metavar="FILE", help="The watermark record, a secret file.")
]


@app.verb("commit", signs="licensor", waits=False)
def commit(
    session: Session,
    model: Annotated[
        Path, typer.Argument(help="The unmarked model: a file or folder, as publish takes it.")
    ],
    *,
    record: _Record,
    strength: Annotated[
        float,
        typer.Option("--strength", help="Of the mark, in standard deviations of a row."),
    ] = 0.01,
    terms: Annotated[
        Path | None, typer.Option("--terms", metavar="FILE", help="License terms to bind as well.")
    ] = None,
    sketch: Annotated[
        Path | None,
        typer.Option("--sketch", metavar="FILE", help="A lineage sketch to bind as well."),
    ] = None,
) -> Answer:
    """Make a watermark key and commit to it on chain, before anybody can know its signs.

    The record file is written first. Each commitment of an account counts against all its
    watermarks, so commit once for each model. Run again, it resumes.
    """
    from ledger import watermarking
    from ledger.licensing.terms import parse

    if not 0 < strength <= _MAX_STRENGTH:
        raise UsageError("a strength lies between 0.000001 and 0.1", hint="leave it out for 0.01")
    options: dict[str, Any] = {"strength": max(1, round(strength * 1e6))}
    if terms is not None:
        options["terms_hash"] = parse(terms.read_bytes()[:_MAX]).hash()
    if sketch is not None:
        options["sketch"] = sketch_of(sketch)
    chain, sender = chain_of(session), session.sender
    if chain.profile.beacon_kind == "none":
        raise UsageError(
            f"{chain.profile.name} has no beacon, so no key can be bound to it",
            hint="commit on another chain",
        )
    secret = passphrase(
        session.settings, "Passphrase for the watermark record", new=not record.exists()
    )
    with console.progress("fingerprint") as progress:
        made = watermarking.prepare(
            model,
            record,
            secret,
            network=session.network,
            sender=sender,
            progress=progress,
            **options,
        )
    made = watermarking.commit(made, record, secret, chain=chain, sender=sender)
    assert made.phase_a is not None  # commit notes it
    return _committed(made, record, made.phase_a, final=settle_block(session, made.phase_a.block))


def _committed(made: Record, record: Path, place: PhaseAPlace, *, final: bool) -> Answer:
    weights = sum(target.weights for target in made.targets)
    return Answer(
        {
            "commitment": made.commitment.hash(),
            "owner": made.commitment.owner,
            "number": place.number,
            "block": place.block,
            "final": final,
            "targets": len(made.targets),
            "weights": weights,
            "record": record,
        },
        fields(
            [
                ("commitment", made.commitment.hash()),
                ("of", f"{made.commitment.owner}, number {place.number} of this account"),
                ("block", f"{place.block}, {'final' if final else 'not yet final; --wait waits'}"),
                ("to carry it", f"{weights:,} weights in {len(made.targets)} matrices"),
                ("record", f"{record}  (keep a copy elsewhere, with its passphrase)"),
            ]
        ),
        notes=(
            "losing the record loses the proof; showing it to others lets them remove the mark",
        ),
    )


@app.verb("commit-sketch", signs="licensor", waits=False)
def commit_sketch(
    session: Session,
    sketch: Annotated[Path, typer.Argument(help="What deed fingerprint --sketch wrote.")],
) -> Answer:
    """Commit on chain to a lineage sketch, so that its time is older than any copy's.

    Whoever is given the sketch and the account finds the commitment again. It counts among the
    account's commitments.
    """
    from ledger.phase_a import lodge

    drawn = sketch_of(sketch)
    chain, sender = chain_of(session), session.sender
    owner, place = sender.signer.address, session.network.deployment
    commitment = drawn.commitment(
        chain_id=place.chain_id, registry=place.addresses["ModelRegistry"], owner=owner
    )
    stands = lodge(commitment, chain=chain, sender=sender)
    final = settle_block(session, stands.block)
    return Answer(
        {
            "commitment": commitment,
            "sketch_root": drawn.root,
            "owner": owner,
            "number": stands.number,
            "block": stands.block,
            "final": final,
        },
        fields(
            [
                ("commitment", commitment),
                ("sketch root", drawn.root),
                ("of", f"{owner}, number {stands.number} of this account"),
                ("block", f"{stands.block}, {'final' if final else 'not yet final; --wait waits'}"),
            ]
        ),
        notes=("keep the sketch: deed investigate --sketch tests suspects against it",),
    )


@app.verb("embed")
def embed(
    session: Session,
    model: Annotated[Path, typer.Argument(help="The unmarked model that was committed to.")],
    *,
    record: _Record,
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Where the marked copy goes.")],
    settlement: Settlement = None,
) -> Answer:
    """Write a marked copy of the model, once the beacon after its commitment is known.

    Format, element types, metadata and order stay as they are.
    """
    from ledger import watermarking
    from ledger.watermark.statistics import THRESHOLD, log10_tests

    if out.exists():
        raise UsageError(f"{out} is already there", hint="name a file or folder that is not")
    held, secret = opened(session, record)
    if not secret:
        raise UsageError("an opened record marks nothing", hint="give the encrypted record file")
    chain = chain_of(session, settlement)
    with console.progress("embed") as progress:
        done = watermarking.embed_into(
            model, out, held, record, secret, chain=chain, progress=progress
        )
    mark, notes = done.embedded, ["next: deed publish it, and keep the unmarked original safe"]
    if done.beacon.grindable:
        from ledger.chain.beacon import WEAK

        notes.append(WEAK)
    expected = mark.expected_blind_log10(held.epsilon)
    if expected + log10_tests(mark.tensors, 1) > THRESHOLD:
        notes.append(
            f"without the original this mark cannot be shown: {THRESHOLD:.1f} is needed after "
            "correction, and so few weights carry too little; with it they may"
        )
    return Answer(
        {
            "out": out,
            "content_root": done.content_root,
            **mark.to_json(),
            "expected_blind_log10_p": round(expected, 1),
            "beacon": done.beacon.value,
            "beacon_blocks": [header.number for header in done.beacon.headers],
        },
        fields(
            [
                ("marked", f"{out}, {mark.weights:,} weights in {mark.tensors} matrices"),
                ("content root", done.content_root),
                (
                    "change",
                    f"{mark.change:.4%} of the marked weights' size ({mark.decibels:.1f} dB)",
                ),
                ("mark kept", f"{mark.realised:.1%} after rounding"),
                ("without original", f"log10 p about {expected:.0f} before correction"),
                ("beacon", ", ".join(str(header.number) for header in done.beacon.headers)),
            ]
        ),
        notes=tuple(notes),
    )


@app.verb("detect")
def detect(
    session: Session,
    suspect: Annotated[
        Path, typer.Argument(help="A model file of any format that is read, or a folder.")
    ],
    *,
    record: _Record,
    original: Annotated[
        Path | None,
        typer.Option("--original", metavar="MODEL", help="The unmarked model, for far more power."),
    ] = None,
    claim: Annotated[
        Path | None,
        typer.Option("--claim", metavar="FILE", help="claim.json of the marked model."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no chain.")] = False,
    settlement: Settlement = None,
) -> Answer:
    """Say whether a suspect carries the watermark; exit code 1 when that is not proven.

    With the original, copies that were permuted, renamed, converted or quantised are put right
    first. Nothing found is no proof that a model is independent.
    """
    from ledger.detecting import examine
    from ledger.tensors.model import open_model
    from ledger.tensors.opening import open_weights

    held, _ = opened(session, record)
    chain, why = (None, "--offline was given") if offline else perhaps_chain(session, settlement)
    with ExitStack() as stack:
        found = stack.enter_context(open_weights(suspect))
        home = None if original is None else stack.enter_context(open_model(original))
        progress = stack.enter_context(console.progress("look", unit="weights"))
        report = examine(
            found,
            held,
            original=home,
            chain=chain,
            why_not=why,
            claim=_claim(claim),
            progress=progress,
        )
    alone = original is None and not report.finding.there
    return _answer(report, (_WITHOUT,) if alone else ())


@app.verb("open")
def open_record(
    session: Session,
    record: Annotated[Path, typer.Argument(help="The watermark record.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where it goes, in plain.")],
) -> Answer:
    """Write a record in plain, for an expert: whoever reads it can remove the mark."""
    from ledger.broker.custody import write_private, zero

    held, _ = opened(session, record)
    plain = held.contents()
    try:
        write_private(out, bytes(plain) + b"\n")
    finally:
        zero(plain)
    return Answer(
        {"out": out, "commitment": held.commitment.hash()},
        fields([("opened record", out), ("commitment", held.commitment.hash())]),
        notes=("note when and to whom it was given: from then on others could know the signs",),
    )


def opened(session: Session, path: Path) -> tuple[Record, str]:
    """The record, and the passphrase that opened it; empty for one in plain."""
    from ledger.broker.watermark_file import load_record

    def ask() -> str:
        if path not in session.typed:
            session.typed[path] = passphrase(session.settings, f"Passphrase of {path.name}")
        return session.typed[path]

    return load_record(path, ask), session.typed.get(path, "")


def _claim(path: Path | None) -> Claim | None:
    from ledger.canonical import parse_json
    from ledger.claim import Claim

    if path is None:
        return None
    with path.open("rb") as handle:
        document = parse_json(handle.read(_MAX + 1), what=path.name, limit=_MAX)
    try:
        return Claim.from_json(document)
    except FormatError:
        require_kind(document, path)
        raise


def _answer(report: Report, notes: tuple[str, ...]) -> Answer:
    checks = steps(report.checks)
    looks = table(
        ("kind", "way", "matrices", "weights", "z", "log10 p"),
        [
            (
                look.kind,
                look.way,
                f"{len(look.found)} of {report.finding.targets}",
                f"{look.total.weights:,}",
                f"{look.total.z:.2f}",
                f"{look.log10_p:.1f}",
            )
            for look in report.finding.looks
        ],
        empty="nothing was looked at",
    )
    meaning = (
        "log10 p in the table is before correction. H0: nobody who had the key made the suspect "
        "or the original. Who copied from whom follows from anchored times and custody alone."
    )
    return Answer(
        report.to_json(),
        f"{report.verdict}\n\n{checks}\n\n{looks}\n\n{meaning}",
        ok=report.proven,
        notes=notes,
    )
