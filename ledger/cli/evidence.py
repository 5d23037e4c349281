"""``deed evidence``: collect, show and verify bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import publications
from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.plan import model_of
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import Digest, LicenseId

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
    size = path.stat().st_size
    return Answer(
        {"file": path, "bytes": size, "model_id": model_id},
        fields([("bundle", f"{path} ({size_text(size)})"), ("model", model_id)]),
        notes=(f"verify it anywhere with deed evidence verify {path}",),
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
) -> Answer:
    """Verify a bundle in numbered steps, offline; exit code 1 when it does not hold."""
    from ledger.evidence.trust import TrustRoot
    from ledger.evidence.verify import verify as verify_bundle

    trust = TrustRoot(blocks=frozenset(Digest.parse(text) for text in blocks or ()))
    report = verify_bundle(file, trust=trust)
    return Answer(report.to_json(), report.text().rstrip("\n"), ok=report.holds)


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
