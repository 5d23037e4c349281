"""``deed watermark triggers``: questions that only a taught model answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, console, fields
from ledger.cli.phase_a import Settlement, chain_of
from ledger.cli.questioned import (
    Challenge,
    TheirControl,
    answer,
    questioned,
    read_disclosure,
)
from ledger.cli.receipts import settle_block
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.watermark.generators import Generator
    from ledger.watermark.triggers import Answers, TriggerSet

app = Verbs("Questions that only a taught model answers, for suspects that can only be asked.")

_QUESTION = "Passphrase for the trigger record"
_TOKENS = re.compile(r"tokens:(?:(\d{1,10})\+)?(\d{1,10})x(\d{1,6})\Z", re.ASCII)
_TEXTURE = re.compile(r"texture:(\d{1,5})x(\d{1,5})x(\d{1,5})\Z", re.ASCII)
_FLOATS = re.compile(r"floats:(\d{1,8})\Z", re.ASCII)
_ANSWERS = re.compile(r"(?:(\d{1,10})\+)?(\d{1,10})\Z", re.ASCII)

_Record = Annotated[
    Path, typer.Option("--record", metavar="FILE", help="The trigger record, for its owner alone.")
]


@app.verb("make", waits=False)
def make(
    session: Session,
    model: Annotated[Path, typer.Argument(help="The model before it is taught.")],
    *,
    record: _Record,
    owner: Annotated[
        str, typer.Option("--owner", metavar="ADDRESS", help="The account that will commit.")
    ],
    inputs: Annotated[
        str,
        typer.Option(
            "--inputs",
            metavar="KIND",
            help="tokens:30000x16 (ids below 30000, 16 of them; 1000+29000 begins at 1000), "
            "texture:32x32x3 or floats:64.",
        ),
    ],
    answers: Annotated[
        str,
        typer.Option("--answers", metavar="COUNT", help="Classes or tokens to answer with."),
    ],
    questions: Annotated[
        int, typer.Option("--questions", metavar="N", help="How many to teach; nobody is told.")
    ] = 400,
) -> Answer:
    """Make a record of keys and the commitment to them, before anybody can know the questions.

    The commitment goes on chain; the questions follow from the keys and the beacon after it.
    """
    from ledger.disclosing import save_triggers
    from ledger.fingerprint.exact import fingerprint
    from ledger.ids import Address
    from ledger.tensors.model import open_model
    from ledger.watermark.answers import least_questions
    from ledger.watermark.disclosure import RESERVE
    from ledger.watermark.triggers import TriggerSet

    account, generator, drawn = Address.parse(owner), _generator(inputs), _answers(answers)
    least = least_questions(drawn.count)
    if questions < least:
        raise UsageError(
            f"{questions} questions of {drawn.count} answers prove nothing, however answered",
            hint=f"{least} are the fewest that can; for several cases make {RESERVE * least}",
        )
    if record.exists():
        raise UsageError(f"{record} is already there", hint="name a file that is not")
    deployment = session.network.deployment
    typed = passphrase(session.settings, _QUESTION, new=True)
    with open_model(model) as source, console.progress("fingerprint") as progress:
        content_id = fingerprint(source, level="deep", progress=progress).content_id()
    made = TriggerSet.create(
        questions=questions,
        generator=generator,
        answers=drawn,
        chain_id=deployment.chain_id,
        registry=deployment.addresses["ModelRegistry"],
        owner=account,
        content_id=content_id,
    )
    save_triggers(made, record, typed, replace=False)
    return _made(made, record, least, enough=questions >= RESERVE * least)


def _made(made: TriggerSet, record: Path, least: int, *, enough: bool) -> Answer:
    from ledger.watermark.disclosure import RESERVE

    told = made.commitment
    notes = [
        "losing the record loses the proof; whoever reads it can answer, or unteach, the questions",
        f"{least} questions, all answered as taught, are the fewest that can prove anything",
    ]
    if not enough:
        notes.append(f"for several disclosures make {RESERVE * least}: opened ones are burned")
    return Answer(
        {
            "commitment": told.hash(),
            "root": told.root,
            "depth": told.depth,
            "content_id": told.content_id,
            "owner": told.owner,
            "answers": told.answers.count,
            "least_questions": least,
            "record": record,
        },
        fields(
            [
                ("commitment", told.hash()),
                ("root", told.root),
                ("content id", told.content_id),
                ("of", told.owner),
                ("record", f"{record}  (keep a copy elsewhere, with its passphrase)"),
            ]
        ),
        notes=tuple(notes),
    )


@app.verb("commit", signs="licensor", waits=False)
def commit(session: Session, *, record: _Record) -> Answer:
    """Commit on chain to the keys of a record, before anybody can know its questions.

    Each commitment of an account counts against all it has made. Run again, it resumes.
    """
    from ledger.disclosing import load_triggers
    from ledger.phase_a import lodge

    made = load_triggers(record, passphrase(session.settings, _QUESTION)).commitment
    chain, sender = chain_of(session), session.sender
    deployment = session.network.deployment
    place = (deployment.chain_id, deployment.addresses["ModelRegistry"], sender.signer.address)
    if place != (made.chain_id, made.registry, made.owner):
        raise UsageError(
            f"the record is for {made.owner} on chain {made.chain_id}",
            hint="sign with that account on that network, or make another record",
        )
    stands = lodge(made.hash(), chain=chain, sender=sender)
    final = settle_block(session, stands.block)
    return Answer(
        {
            "commitment": made.hash(),
            "owner": made.owner,
            "number": stands.number,
            "block": stands.block,
            "final": final,
        },
        fields(
            [
                ("commitment", made.hash()),
                ("of", f"{made.owner}, number {stands.number} of this account"),
                ("block", f"{stands.block}, {'final' if final else 'not yet final; --wait waits'}"),
            ]
        ),
        notes=("next: deed watermark triggers teach, once the beacon is known",),
    )


@app.verb("teach", waits=False)
def teach(
    session: Session,
    *,
    record: _Record,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The .npz file to write.")],
    beacon: Annotated[
        str | None,
        typer.Option("--beacon", metavar="HEX", help="Instead of asking the chain for it."),
    ] = None,
    settlement: Settlement = None,
) -> Answer:
    """Write what the model is taught, once the beacon is known: questions, answers, positions."""
    from ledger.disclosing import load_triggers, teach_into
    from ledger.ids import Digest

    typed = passphrase(session.settings, _QUESTION)
    if beacon is not None:
        drawn = Digest.parse(beacon)
    else:
        from ledger.phase_a import beacon_of

        committed = load_triggers(record, typed).commitment
        chain = chain_of(session, settlement)
        if chain.anchors.phase_a_by(committed.owner, committed.hash()) is None:
            raise UsageError(
                "the record's commitment was not sent, so it has no beacon",
                hint=f"run deed watermark triggers commit --record {record} first",
            )
        drawn = beacon_of(committed.owner, committed.hash(), chain=chain)[0].value
    made = teach_into(record, typed, out, drawn)
    return Answer(
        {"out": out, "questions": made.questions, "beacon": drawn},
        fields([("lessons", out), ("questions", made.questions), ("beacon", drawn)]),
        notes=("whoever reads the lessons knows all answers: destroy them once taught",),
    )


@app.verb("disclose", waits=False)
def disclose(
    session: Session,
    *,
    record: _Record,
    challenge: Annotated[
        str, typer.Option("--challenge", metavar="TEXT", help="What a court or the other side set.")
    ],
    questions: Annotated[
        int, typer.Option("--questions", metavar="K", help="How many to open; they are burned.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The disclosure to write.")],
    use_up: Annotated[
        bool, typer.Option("--use-up", help="Also with fewer than ten times as many left.")
    ] = False,
) -> Answer:
    """Open the questions that a challenge draws, and burn them; run again, it writes the same.

    Who sets the challenge must not be the owner. A second number for one challenge is refused.
    """
    from ledger.disclosing import disclose_into
    from ledger.questioning import weakness
    from ledger.watermark.answers import Score

    typed = passphrase(session.settings, _QUESTION)
    made = disclose_into(record, typed, out, challenge, questions, use_up=use_up)
    burned = sum(each.kind == "burned" for each in made.positions)
    # Burned ones count as missed, so the best that this disclosure can show is all others right.
    score = Score(questions, questions - burned, made.commitment.answers.count)
    notes = ["the questions in it are public from now on"]
    if not score.best.there:
        notes.append(weakness(score))
    elif not score.there:
        notes.append(f"{burned} were burned before, and with them it proves nothing")
    return Answer(
        {
            "out": out,
            "digest": made.digest(),
            "commitment": made.commitment.hash(),
            "opened": len(made.opened),
            "burned_before": burned,
            "best_log10_corrected": round(score.log10_corrected, 3),
        },
        fields(
            [
                ("disclosure", out),
                ("opened", f"{len(made.opened)} questions, {burned} burned before"),
                ("at best", f"log10 p <= {score.log10_corrected:.1f}, all answered as taught"),
                ("digest", made.digest()),
            ]
        ),
        notes=tuple(notes),
    )


@app.verb("verify")
def verify(
    session: Session,
    disclosure: Annotated[Path, typer.Argument(help="The disclosure file.")],
    *,
    suspect: Annotated[
        str, typer.Option("--suspect", metavar="URL", help="Where the suspect is asked.")
    ],
    control: Annotated[
        list[str] | None,
        typer.Option("--control", metavar="URL", help="A model that should not know the answers."),
    ] = None,
    their_control: TheirControl = None,
    challenge: Challenge = None,
    commitment: Annotated[
        str | None, typer.Option("--commitment", metavar="HEX", help="As it stands on chain.")
    ] = None,
    beacon: Annotated[
        str | None, typer.Option("--beacon", metavar="HEX", help="Of the commitment's block.")
    ] = None,
    commitments: Annotated[
        int | None,
        typer.Option("--commitments", metavar="N", help="How many the owner's account has made."),
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option("--earlier", metavar="FILE", help="An earlier disclosure of these triggers."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no chain; take what is given here.")
    ] = False,
    settlement: Settlement = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="For one answer.")
    ] = 30.0,
) -> Answer:
    """Draw the questions anew, check that they were committed, ask, and say what it shows.

    Exit code 1 when it is not proven, 3 when the suspect stopped replying before that could be
    told. Commitment, beacon and their count come from the chain; with --offline, or when one of
    them is passed, no chain is asked. Take the challenge from whoever set it. Models are asked by
    POST; docs/spec/triggers.md, section 5, says how. The Python library asks any callable.
    """
    report, unasked = questioned(
        session,
        read_disclosure(disclosure),
        suspect,
        controls=control or (),
        theirs=their_control or (),
        given={"challenge": challenge, "commitment": commitment, "beacon": beacon},
        commitments=commitments,
        earlier=earlier or (),
        offline=offline,
        settlement=settlement,
        timeout=timeout,
    )
    return answer(report, unasked)


def _generator(text: str) -> Generator:
    from ledger.watermark.generators import Floats, Texture, Tokens

    if found := _TOKENS.match(text):
        return Tokens(int(found[1] or 0), int(found[2]), int(found[3]))
    if found := _TEXTURE.match(text):
        return Texture(int(found[1]), int(found[2]), int(found[3]))
    if found := _FLOATS.match(text):
        return Floats(int(found[1]))
    raise UsageError(
        "that is no kind of input",
        hint="give tokens:30000x16, texture:32x32x3 or floats:64, with your model's numbers",
    )


def _answers(text: str) -> Answers:
    from ledger.watermark.triggers import Answers

    found = _ANSWERS.match(text)
    if found is None:
        raise UsageError(
            "that is no count of answers",
            hint="give the number of classes, such as 1000, or 256+1000 to begin at id 256",
        )
    return Answers(int(found[1] or 0), int(found[2]))
