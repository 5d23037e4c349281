"""``deed model confirm-parent``, ``lodge`` and ``prove-earlier``: what stands beside a title."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli.model_args import Model, known, model_of
from ledger.cli.output import Answer, time_text
from ledger.cli.receipts import sent
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import Digest
from ledger.merkle import T2
from ledger.paths import require_file_name

app = Verbs()

_MAX_CLAIM = 1 << 20


@app.verb("confirm-parent", signs="licensor", waits=False)
def confirm_parent(
    session: Session,
    claim: Annotated[Path, typer.Argument(help="The child's claim.json, which names its parents.")],
    parent: Annotated[str, typer.Argument(help="The parent, whose title you hold.")],
) -> Answer:
    """Agree that a model descends from yours."""
    from ledger.claim import Claim

    with claim.open("rb") as handle:
        raw = handle.read(_MAX_CLAIM + 1)
    child = Claim.from_json(parse_json(raw, what=claim.name, limit=_MAX_CLAIM))
    parent_id = model_of(parent)
    receipt = session.registry.confirm_parent(session.sender, child, parent_id)
    return sent(session, ("model_id", child.model_id()), receipt, "descends from", parent_id)


class RecordKind(StrEnum):
    """What anyone can lodge beside a model. A sealing is lodged by publishing."""

    DETECTION = "detection"
    DISPUTE = "dispute"
    IDENTITY = "identity"


@app.verb("lodge", signs="licensor", waits=False)
def lodge(
    session: Session,
    model: Model,
    kind: Annotated[RecordKind, typer.Argument(help="What it is.")],
    file: Annotated[Path, typer.Argument(help="The document. It stays with you: keep it.")],
) -> Answer:
    """Record a document's SHA-256 beside a model, under your name. Anyone may.

    The chain says who lodged which hash and when, not whether the document is right.
    """
    from ledger.chain import registry as titles

    model_id = known(session, model)
    if require_file_name(file).exists() and not file.is_file():
        raise UsageError(f"{file} is not a file", hint="name the document")  # it may have no end
    with file.open("rb") as handle:
        record = Digest(hashlib.file_digest(handle, "sha256").digest())
    number = {
        RecordKind.DETECTION: titles.KIND_DETECTION,
        RecordKind.DISPUTE: titles.KIND_DISPUTE,
        RecordKind.IDENTITY: titles.KIND_IDENTITY,
    }[kind]
    receipt = session.registry.lodge(session.sender, model_id, number, 0, record)
    return sent(session, ("model_id", model_id), receipt, "record", record)


@app.verb("prove-earlier", signs="licensor", waits=False)
def prove_earlier(
    session: Session,
    *,
    model: Model,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="HASH", help="Anchored root; else the commitment alone."),
    ] = None,
    index: Annotated[
        int, typer.Option("--index", min=0, metavar="N", help="The commitment's place under it.")
    ] = 0,
    size: Annotated[
        int, typer.Option("--size", min=1, metavar="N", help="How many leaves the root has.")
    ] = 1,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="HASH", help="Sibling, from the leaf upwards; repeat it."),
    ] = None,
) -> Answer:
    """Show that a model's commitment was anchored before it was registered. Anyone may.

    The title's time only ever moves back. docs/spec/merkle.md tells of roots and paths.
    """
    from ledger.chain.registry import InclusionProof
    from ledger.claim import commitment_leaf

    model_id = known(session, model)
    leaf = commitment_leaf(model_id)
    if root is None:
        if index or size > 1 or path:
            raise UsageError("a place is a place under a root", hint="name it with --root")
        proof = InclusionProof.of_single(leaf)
    else:
        nodes = tuple(Digest.parse(node) for node in path or ())
        proof = InclusionProof(Digest.parse(root), index, size, nodes)
        T2.verify(leaf.raw, index, size, [node.raw for node in nodes], proof.root.raw)
    committed, receipt = session.registry.prove_earlier(session.sender, model_id, proof)
    return sent(session, ("model_id", model_id), receipt, "committed", time_text(committed))
