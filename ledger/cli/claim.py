"""``deed claim``: what the chain says about a model, and what a claim says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli.model_args import model_of
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.ids import ModelId

app = Verbs("Show what the chain says about a model.")

_MAX_CLAIM = 1 << 20


@app.verb("show")
def show(
    session: Session,
    model: Annotated[str, typer.Argument(help="Model id, its sealed file, or a claim.json.")],
) -> Answer:
    """Show a model's title as it stands on chain; exit code 1 when it is not registered.

    Given a claim file, the claim's own words are shown too: its id is recomputed from them.
    """
    rows: list[tuple[str, object]] = []
    data: dict[str, Any] = {}
    model_id = _model(model, rows, data)
    head = session.rpc.block("latest")
    record = session.registry.model_of(model_id, head.number)
    registered = record.registered_at > 0
    data |= {"model_id": model_id, "registered": registered}
    rows.insert(0, ("model", model_id))
    if registered:
        epoch, sealing = session.registry.sealing_of(model_id)
        rows += [
            ("licensor", record.licensor),
            ("status", record.status),
            ("registered", time_text(record.registered_at)),
            (
                "committed",
                f"not later than {time_text(record.committed_at)}"
                if record.committed
                else "uncommitted: no commitment was anchored before",
            ),
            ("sealing", f"epoch {epoch}, record {sealing}" if epoch else "none lodged"),
        ]
        data |= {"record": record, "sealing": {"epoch": epoch, "hash": sealing}}
    else:
        rows.append(("registered", f"no, not on {session.network.name}"))
    rows.append(("as of", f"block {head.number}, {time_text(head.timestamp)}"))
    data["as_of"] = {"block": head.number, "hash": head.hash}
    return Answer(data, fields(rows), ok=registered)


def _model(text: str, rows: list[tuple[str, object]], data: dict[str, Any]) -> ModelId:
    path = Path(text)
    if text.startswith("0x") or not path.exists():
        return model_of(text)
    with path.open("rb") as handle:
        first = handle.read(1)
    if first != b"{":
        return model_of(text)
    from ledger.claim import Claim

    with path.open("rb") as handle:
        claim = Claim.from_json(parse_json(handle.read(_MAX_CLAIM), what=text, limit=_MAX_CLAIM))
    rows += [
        ("claimed by", claim.licensor),
        ("content root", claim.artifact_root),
        ("content id", claim.fingerprint_digest),
        ("manifest", claim.manifest_hash),
        ("parents", ", ".join(parent.short for parent in claim.parents) or "none"),
    ]
    # The salt stays unsaid: until the licensor opens the claim, it keeps the id from being guessed.
    data["claim"] = {name: value for name, value in claim.to_json().items() if name != "salt"}
    return claim.model_id()
