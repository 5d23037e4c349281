"""``deed evidence``: collect, show and verify bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import exits, publications
from ledger.cli.model_args import model_of
from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import Address, Digest, LicenseId

app = Verbs("Collect, show and verify evidence bundles.")

_MAX_CARD = 1 << 20


@app.verb("collect")
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
    tensors: Annotated[
        bool,
        typer.Option("--tensors/--no-tensors", help="Disclose the list of tensors, or only roots."),
    ] = True,
    actor: Annotated[
        str, typer.Option("--actor", metavar="TEXT", help="Who collects, for the custody log.")
    ] = "not named",
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="One line for the custody log.")
    ] = "",
) -> Answer:
    """Collect everything that proves a model's title, time and licenses into one file.

    The file verifies offline, later, without this service, this chain's nodes or us. The claim's
    salt becomes public with it.
    """
    from ledger.claim import Claim
    from ledger.evidence.bundle import read_bundle
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
        actor=actor,
        note=note,
        progress=console.step,
    )
    size, state = path.stat().st_size, read_bundle(path).subject
    return Answer(
        {
            "file": path,
            "bytes": size,
            "model_id": model_id,
            "state": {"block": state.block, "hash": state.block_hash},
        },
        fields(
            [
                ("bundle", f"{path} ({size_text(size)})"),
                ("model", model_id),
                ("state at", f"block {state.block} {state.block_hash}"),
            ]
        ),
        notes=(
            f"verify it anywhere with deed evidence verify {path} --block {state.block_hash}",
            "whoever verifies should ask a node of their own for that block's hash",
        ),
    )


@app.verb("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
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
) -> Answer:
    """Verify a bundle in numbered steps, offline; exit code 0 only for the verdict "verified".

    Exit code 3 means that it holds if the blocks it names belong to the chain, which nobody has
    vouched for yet: give --block. Exit code 1: it does not hold, or a step could not be checked.
    """
    from ledger.evidence.trust import TrustRoot
    from ledger.evidence.verify import Verdict
    from ledger.evidence.verify import verify as verify_bundle

    trust = TrustRoot(frozenset(Digest.parse(text) for text in blocks or ()), _named(contracts))
    report = verify_bundle(file, trust=trust)
    holds = report.verdict is Verdict.VERIFIED
    answer = Answer(report.to_json(), report.text().rstrip("\n"), ok=holds)
    if report.verdict is not Verdict.CONDITIONAL:
        return answer
    console.answer(answer)
    given = " ".join(f"--block {block}" for _, block in report.assumed)
    console.note(f"hint: give {given} once a node or expert of yours confirms it")
    raise typer.Exit(exits.UNAVAILABLE)


def _named(contracts: list[str] | None) -> dict[str, Address]:
    """Addresses by contract name.

    Raises:
        UsageError: not NAME=ADDRESS, another name, or a name twice.
    """
    from ledger.evidence.releases import CONTRACTS

    found: dict[str, Address] = {}
    for text in contracts or ():
        name, _, address = text.partition("=")
        if name not in CONTRACTS or name in found:
            raise UsageError(
                f"--contract {text}: not one address of one contract",
                hint=f"give NAME=ADDRESS, NAME being one of {', '.join(CONTRACTS)}",
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
                [(name, size_text(size)) for name, (size, _) in members],
                empty="empty",
            ),
        ]
    )
    data = {
        "bundle": bundle.id,
        **subject.to_json(),
        "members": [{"name": n, "bytes": s, "sha256": h} for n, (s, h) in members],
    }
    return Answer(data, text, notes=("nothing above is verified; run deed evidence verify",))


def _json(path: Path) -> Any:
    with path.open("rb") as handle:
        return parse_json(handle.read(_MAX_CARD + 1), what=str(path), limit=_MAX_CARD)
