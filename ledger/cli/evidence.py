"""``deed evidence``: collect, show and verify bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import evidence_report, exits, publications, stamping, withholding
from ledger.cli.model_args import model_of
from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import FormatError, UsageError
from ledger.ids import Address, Digest, LicenseId

if TYPE_CHECKING:
    from ledger.evidence.headers import Header

app = Verbs("Collect, show and verify evidence bundles.")

_MAX_CARD = 1 << 20
_MAX_MATCH = 64 << 20


app.verb("stamp", signs="licensor", waits=False)(stamping.stamp)
app.verb("redact", signs="licensor", waits=False)(withholding.redact)
app.verb("restore", signs="licensor", waits=False)(withholding.restore)


@app.verb("collect", signs="licensor")
def collect(
    session: Session,
    model: Annotated[str, typer.Argument(help="Model id, or its sealed file.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The bundle to write.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="What deed publish wrote, for the claim."),
    ] = None,
    licenses: Annotated[
        list[str] | None,
        typer.Option(
            "--license",
            metavar="LICENSE",
            help="A license concerned; repeat for more.  [default: all of this model]",
        ),
    ] = None,
    cards: Annotated[
        list[Path] | None,
        typer.Option("--card", metavar="FILE", help="A license card to include; repeat for more."),
    ] = None,
    releases: Annotated[
        list[Path] | None,
        typer.Option(
            "--release",
            metavar="FILE",
            help="A receipt proof of a key broker to include; repeat for more.",
        ),
    ] = None,
    tensors: Annotated[
        bool,
        typer.Option("--tensors/--no-tensors", help="Disclose the list of tensors, or only roots."),
    ] = True,
    match: Annotated[
        Path | None,
        typer.Option("--match", metavar="FINDINGS", help="What deed investigate --out wrote."),
    ] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="TEXT", help="Who collects, for the custody log.")
    ] = "not named",
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="One line for the custody log.")
    ] = "",
    printed: Annotated[
        bool, typer.Option("--print/--no-print", help="Put PDF, HTML and certifications in.")
    ] = True,
    tsa: stamping.Tsa = None,
    tsa_root: stamping.TsaRoot = None,
    tsa_crl: stamping.TsaCrl = None,
    ots: stamping.Ots = None,
    bitcoin_header: stamping.Headers = None,
    sign: stamping.Sign = False,
    as_of: Annotated[
        int | None,
        typer.Option(
            "--as-of",
            metavar="BLOCK",
            help="A final block whose state is proved.  [default: the newest]",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="DATABASE",
            help="An index (path or URL) that kept the proofs of events this node has forgotten.",
        ),
    ] = None,
    clock: Annotated[
        datetime | None,
        typer.Option(
            "--clock",
            metavar="TIME",
            formats=["%Y-%m-%dT%H:%M:%SZ"],
            help="UTC time for the custody log, such as 2026-11-28T12:00:00Z.  [default: now]",
        ),
    ] = None,
) -> Answer:
    """Collect everything that proves a model's title, time and licenses into one file.

    With one --license the evidence is of that license, with one --release of that receipt. The
    file verifies offline, later, without this service, this chain's nodes or us. The claim's salt
    becomes public with it. Equal inputs, --as-of and --clock give equal bytes. If it is stopped,
    run it again: for a quarter of an hour it goes on where it was, with what it keeps beside the
    file. An authority that fails to answer leaves the bundle without its stamp, for deed evidence
    stamp.
    """
    from ledger.chain.finality import finality_words
    from ledger.claim import Claim
    from ledger.evidence.bundle import read_bundle
    from ledger.evidence.headers import rests_on
    from ledger.fingerprint.exact import Fingerprint
    from ledger.investigation import collect_model_evidence
    from ledger.sealed.record import SealingRecord

    model_id = model_of(model)
    dest = out or Path(f"{str(model_id)[2:14]}.evidence.zip")
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or choose another with --out")
    found = publications.find(
        folder,
        lambda f: f.steps.get("register", {}).get("model_id") == str(model_id),
        what=f"model {model_id.short}",
    )
    sealing = found.steps.get("seal", {}).get("record")
    path = collect_model_evidence(
        session.network,
        Claim.from_json(found.document("claim.json")),
        found.document("manifest.json"),
        Fingerprint.from_json(found.document("fingerprint.json")),
        dest=dest,
        licenses=tuple(LicenseId.parse(text) for text in licenses) if licenses else None,
        sealings=(SealingRecord.from_json(sealing),) if sealing is not None else (),
        cards=tuple(_json(card) for card in cards or ()),
        terms=(found.document("terms.json"),),
        disclose_tensors=tensors,
        match=None if match is None else _json(match, _MAX_MATCH),
        releases=tuple(_json(release) for release in releases or ()),
        one=len(releases or ()) == 1 or (not releases and len(licenses or ()) == 1),
        as_of=as_of,
        index=None if index is None else _kept(index, session.network.deployment.chain_id),
        actor=actor,
        note=note,
        now=None if clock is None else clock.replace(tzinfo=UTC),
        progress=console.step,
    )
    if tsa or ots or sign:
        from ledger.dating import stamp_bundle

        console.step("signing" if not (tsa or ots) else "stamping")
        dating = stamping.dating_of(tsa, tsa_root, tsa_crl, ots, bitcoin_header)
        signer = stamping.signer_of(session, sign=sign)
        action = "stamped" if tsa or ots else "signed"
        now = None if clock is None else clock.replace(tzinfo=UTC)
        stamp_bundle(path, path, dating, actor=actor, action=action, now=now, signer=signer)
    if printed:
        evidence_report.put_in_if_possible(
            path,
            actor=actor,
            now=clock,
            signer=stamping.signer_of(session, sign=sign),
        )
    bundle = read_bundle(path)
    size, state = path.stat().st_size, bundle.subject
    tops = rests_on(bundle.folder("headers"))
    return Answer(
        {
            "file": path,
            "bytes": size,
            "model_id": model_id,
            "state": {"block": state.block, "hash": state.block_hash},
            "rests_on": [{"block": top.number, "hash": top.hash} for top in tops],
            "finality": finality_words(session.network.profile),
        },
        fields(
            [
                ("bundle", f"{path} ({size_text(size)})"),
                ("model", model_id),
                ("state at", f"block {state.block} {state.block_hash}"),
                ("final by", finality_words(session.network.profile)),
            ]
        ),
        notes=_how_to_verify(path, tops),
    )


def _how_to_verify(path: Path, tops: Sequence[Header]) -> tuple[str, ...]:
    """The command that verifies a bundle resting on these blocks, and whom to ask for them."""
    given = " ".join(f"--block {top.hash}" for top in tops)
    ask = "whoever verifies should ask a node of their own for "
    if len(tops) == 1:
        ask += "that block's hash"
    else:
        named = ", ".join(str(top.number) for top in tops)
        ask += f"the hashes of all {len(tops)} blocks: {named}"
    return f"verify it anywhere with deed evidence verify {path} {given}", ask


@app.verb("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    *,
    blocks: Annotated[
        list[str] | None,
        typer.Option(
            "--block",
            metavar="HASH",
            help="A block you know to be on the chain, from a node or expert of your own.",
        ),
    ] = None,
    contracts: Annotated[
        list[str] | None,
        typer.Option(
            "--contract",
            metavar="NAME=ADDRESS",
            help="A contract you know to be modeldeed's; needed only if step 5 asks for it.",
        ),
    ] = None,
    suspect: Annotated[
        str | None,
        typer.Option("--suspect", metavar="FILE", help="Recompute from it what was found in it."),
    ] = None,
    ours: Annotated[
        Path | None,
        typer.Option("--ours", metavar="MODEL", help="With --suspect: the registered model."),
    ] = None,
    sketch: Annotated[
        Path | None,
        typer.Option("--sketch", metavar="FILE", help="With --suspect: a sketch that was used."),
    ] = None,
    tsa_roots: Annotated[
        list[Path] | None,
        typer.Option(
            "--tsa-root",
            metavar="FILE",
            help="PEM of a time-stamping authority's root that you trust; repeat for more.",
        ),
    ] = None,
    collectors: Annotated[
        list[str] | None,
        typer.Option(
            "--collector",
            metavar="ADDRESS",
            help="An account whose word you take for printed forms; repeat for more.",
        ),
    ] = None,
) -> Answer:
    """Verify a bundle in numbered steps, offline; exit code 0 only for the verdict "verified".

    Exit code 3 means that it holds if the blocks it names belong to the chain, which nobody has
    vouched for yet: give --block. Exit code 1: it does not hold, it is no bundle, or a step could
    not be checked. Exit code 2: it cannot be read.
    """
    from ledger.evidence.trust import TrustRoot
    from ledger.evidence.verify import Verdict
    from ledger.evidence.verify import verify as verify_bundle

    trust = TrustRoot(
        frozenset(Digest.parse(text) for text in blocks or ()),
        _named(contracts),
        frozenset(Digest(hashlib.sha256(der).digest()) for der in stamping.roots_of(tsa_roots)),
        frozenset(Address.parse(text) for text in collectors or ()),
    )
    try:
        report = verify_bundle(file, trust=trust)
    except FormatError as error:
        return _no_bundle(error)
    holds = report.verdict is Verdict.VERIFIED
    data, text = report.to_json(), report.text().rstrip("\n")
    if suspect is not None:
        from ledger.cli.rechecked import rechecked

        more, said, agrees = rechecked(file, suspect, ours, sketch)
        data, text, holds = data | {"suspect": more}, f"{text}\n\n{said}", holds and agrees
        if not agrees:
            return Answer(data, text, ok=False)
    answer = Answer(data, text, ok=holds)
    if report.verdict is not Verdict.CONDITIONAL:
        return answer
    console.answer(answer)
    given = " ".join(f"--block {block}" for _, block in report.assumed)
    console.note(f"hint: give {given} once a node or expert of yours confirms it")
    raise typer.Exit(exits.UNAVAILABLE)


def _no_bundle(error: FormatError) -> Answer:
    """A file that is no bundle fails step 1, as every verifier says."""
    sentence = "does not hold: step 1 (form) failed"
    step = {"number": 1, "title": "form", "result": "fail", "detail": error.message, "needed": True}
    return Answer(
        {
            "bundle": None,
            "chain_id": None,
            "test_network": False,
            "verdict": "does not hold",
            "sentence": sentence,
            "holds": False,
            "assumed": [],
            "steps": [step],
            "error": {"code": error.code, "message": error.message, "hint": error.hint},
            "statement": None,
        },
        f"(1) form: fail\n     {error.message}\n\n{sentence}",
        ok=False,
        notes=(f"hint: {error.hint}",),
    )


def _named(contracts: list[str] | None) -> dict[str, Address]:
    """Addresses by contract name.

    Raises:
        UsageError: not NAME=ADDRESS, another name, or a name twice.
    """
    from ledger.evidence.releases import CONTRACTS, OPTIONAL

    known = (*CONTRACTS, *OPTIONAL)
    found: dict[str, Address] = {}
    for text in contracts or ():
        name, _, address = text.partition("=")
        if name not in known or name in found:
            raise UsageError(
                f"--contract {text}: not one address of one contract",
                hint=f"give NAME=ADDRESS, NAME being one of {', '.join(known)}",
            )
        found[name] = Address.parse(address)
    return found


@app.verb("show")
def show(file: Annotated[Path, typer.Argument(help="An evidence bundle.")]) -> Answer:
    """Show what a bundle is about and holds, without verifying it."""
    from ledger.evidence.bundle import read_bundle

    bundle = read_bundle(file)
    subject = bundle.subject
    members = sorted(bundle.listing().items())
    text = "\n\n".join(
        [
            fields(
                [
                    ("bundle", bundle.id),
                    ("model", subject.model_id),
                    ("chain", f"{subject.chain_id}, genesis {subject.genesis}"),
                    ("state at", f"block {subject.block} {subject.block_hash}"),
                    ("collected by", subject.software),
                ]
            ),
            table(
                ("member", "size"),
                [
                    *((name, size_text(size)) for name, (size, _) in members),
                    *((name, f"withheld, {of[1]}") for name, of in bundle.left_out.items()),
                ],
                empty="empty",
            ),
        ]
    )
    data = {
        "bundle": bundle.id,
        **subject.to_json(),
        "members": [{"name": n, "bytes": s, "sha256": h} for n, (s, h) in members],
        "withheld": [{"name": n, "bytes": s, "sha256": h} for n, (s, h) in bundle.left_out.items()],
    }
    return Answer(data, text, notes=("nothing above is verified; run deed evidence verify",))


app.registered_commands += evidence_report.app.registered_commands


def _kept(database: str, chain_id: int) -> Any:
    from ledger.index.database import open_database
    from ledger.index.kept_evidence import KeptEvidence

    return KeptEvidence(open_database(database, create=False), chain_id)


def _json(path: Path, limit: int = _MAX_CARD) -> Any:
    with path.open("rb") as handle:
        return parse_json(handle.read(limit + 1), what=str(path), limit=limit)
