"""Documents that people deposit with the index, each bound by a hash that the chain holds.

A model's tensor ids are public but not on chain; only their roots are. Whoever has the fingerprint
can deposit it. The content root binds the content ids; only the fingerprint digest binds the value
ids, and anyone may register a known content root again with a digest of invention. So ids are filed
under the model whose claim they were held against, and are never taken away: a model's claim admits
one set of each kind. Neither a rebuild nor a reorganisation touches them. Ids of casts are bound by
nothing: the first that somebody deposits stay, who by then had to have the model's fingerprint, and
they are told apart wherever they are answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, text

from ledger.canonical import canonical_json, parse_json
from ledger.errors import ClaimMismatch
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.fingerprint.search import registered_casts
from ledger.ids import Digest, ModelId
from ledger.index import tables
from ledger.index.listing import claims
from ledger.index.searching import BINDS, bound_by
from ledger.index.views import RowMap, Snapshot

FINGERPRINT: Final = "fingerprint"
IDS: Final = "tensor-ids"


@dataclass(frozen=True, slots=True)
class Deposited:
    """What a deposit came to.

    Attributes:
        tensors: how many ids are searchable.
        names_verified: whether the chain binds the tensors' names too (a deep fingerprint).
        new: whether anything was added.
    """

    tensors: int
    names_verified: bool
    new: bool


def check_leaves(document: Any, model: RowMap) -> tuple[Fingerprint, bool]:
    """Read a fingerprint and hold it against a registered model.

    Returns:
        The fingerprint, and whether the model's fingerprint digest binds all of it.

    Raises:
        ManifestError: not a fingerprint.
        ClaimMismatch: of another model, or inconsistent.
    """
    found = Fingerprint.from_json(document)
    if found.content_root.raw != model["artifact_root"]:
        raise ClaimMismatch(
            f"the fingerprint has the content root {found.content_root}, the registered model "
            f"{Digest(bytes(model['artifact_root']))}",
            hint="it describes another model; run deed fingerprint on the registered one",
        )
    bound = found.vmd_root is not None and found.content_id().raw == model["fingerprint_digest"]
    if found.vmd_root is not None and not bound:
        raise ClaimMismatch(
            "the fingerprint's content id is not the registered fingerprint digest",
            hint="names, value ids or the parameter count differ from the registered model's",
        )
    return found, bound


def deposit_leaves(
    connection: Connection, model_id: ModelId, found: Fingerprint, *, bound: bool, now_ms: int
) -> Deposited:
    """Store a checked fingerprint, unless one that says as much is there already."""
    tensors = [tensor for tensor in found.tensors if tensor.identity]
    stored = connection.execute(
        select(tables.document.c.complete).where(
            tables.document.c.kind == FINGERPRINT, tables.document.c.hash == model_id.raw
        )
    ).scalar_one_or_none()
    if stored is not None and (stored or not bound):
        return Deposited(len(tensors), bool(stored), new=False)
    put_document(
        connection,
        FINGERPRINT,
        Digest(model_id.raw),
        found.to_json(),
        complete=bound,
        now_ms=now_ms,
    )
    names: dict[tuple[str, bytes], list[str]] = {}
    for tensor in tensors:
        for kind, digest in (("cid", tensor.cid), ("vid", tensor.vid)):
            if digest is not None:
                names.setdefault((kind, digest.raw), []).append(tensor.name)
    casts = registered_casts(found) if bound else ()
    _file(connection, model_id, [*names, *(("cast", one.raw) for one in casts)])
    leaf_name = tables.leaf_name
    connection.execute(delete(leaf_name).where(leaf_name.c.model_id == model_id.raw))
    connection.execute(
        insert(leaf_name),
        [
            {"model_id": model_id.raw, "kind": kind, "id": raw, "names": json.dumps(called)}
            for (kind, raw), called in names.items()
        ],
    )
    return Deposited(len(tensors), bound, new=True)


def check_ids(document: Any, model: RowMap) -> TensorIds:
    """Read a list of public tensor ids and hold it against a registered model.

    Raises:
        ManifestError, LimitExceeded: not such a list.
        ClaimMismatch: of another model.
    """
    found = TensorIds.from_json(document)
    found.verify(Digest(bytes(model["artifact_root"])), Digest(bytes(model["fingerprint_digest"])))
    return found


def deposit_ids(
    connection: Connection, model_id: ModelId, found: TensorIds, *, now_ms: int
) -> Deposited:
    """Store checked tensor ids; a fingerprint that is there already says as much and more."""
    name = Digest(model_id.raw)
    known = any(
        stored is not None and stored[1]
        for stored in (document(connection, kind, name) for kind in (FINGERPRINT, IDS))
    )
    if known:
        return Deposited(len(found.cids), names_verified=False, new=False)
    put_document(connection, IDS, name, found.to_json(), complete=True, now_ms=now_ms)
    kinds = (("cid", found.cids), ("vid", found.vids), ("cast", found.casts))
    _file(connection, model_id, ((kind, one.raw) for kind, ids in kinds for one in ids))
    return Deposited(len(found.cids), names_verified=False, new=True)


def _file(connection: Connection, model_id: ModelId, ids: Iterable[tuple[str, bytes]]) -> None:
    # A kind that is there is whole, so a poorer document (a core fingerprint, which anyone can make
    # of the public content ids) must not replace it.
    leaf = tables.leaf
    known = select(leaf.c.kind).distinct().where(leaf.c.model_id == model_id.raw)
    there = set(connection.execute(known).scalars())
    rows = [
        {"model_id": model_id.raw, "kind": kind, "id": raw}
        for kind, raw in ids
        if kind not in there
    ]
    if rows:
        connection.execute(insert(leaf), rows)


# The row's lock is held until the deposit is there: numbers rise in the order of commits.
_COUNT = (
    "INSERT INTO library_place (id, deposits) VALUES (1, 1) "
    "ON CONFLICT (id) DO UPDATE SET deposits = library_place.deposits + 1"
)


def put_document(
    connection: Connection,
    kind: str,
    name: Digest,
    document: Any,
    *,
    complete: bool,
    now_ms: int,
) -> None:
    """Store a document under its kind and hash, in place of one before."""
    table = tables.document
    connection.execute(text(_COUNT))
    connection.execute(delete(table).where(table.c.kind == kind, table.c.hash == name.raw))
    connection.execute(
        insert(table).values(
            kind=kind,
            hash=name.raw,
            complete=complete,
            body=canonical_json(document).decode(),
            deposited_at_ms=now_ms,
        )
    )


def document(connection: Connection, kind: str, name: Digest) -> tuple[Any, bool] | None:
    """A deposited document and whether all of it is bound; None when there is none."""
    table = tables.document
    row = connection.execute(
        select(table.c.body, table.c.complete).where(table.c.kind == kind, table.c.hash == name.raw)
    ).one_or_none()
    return None if row is None else (read_document(row.body, kind), bool(row.complete))


def read_document(body: str | bytes, kind: str) -> Any:
    """What is stored of a document, parsed.

    Raises:
        FormatError: no JSON.
    """
    # Where another hand has written bytes, SQLite keeps them as such.
    return parse_json(body.encode() if isinstance(body, str) else bytes(body), what=kind)


def manifest_titles(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, str]:
    """The titles in deposited manifests, by the manifests' hashes; absent where there is none."""
    table, wanted = tables.document, {bytes(each) for each in hashes}
    found = connection.execute(
        select(table.c.hash, table.c.body).where(
            table.c.kind == "manifest", table.c.hash.in_(wanted)
        )
    )
    titles = {}
    for name, body in found:
        read = read_document(body, "manifest")
        title = read.get("title") if isinstance(read, dict) else None
        if isinstance(title, str):
            titles[bytes(name)] = title
    return titles


@dataclass(frozen=True, slots=True)
class Match:
    """One registered model that holds a searched tensor. `names` are as `names_verified` says."""

    model: RowMap
    names: tuple[str, ...]
    names_verified: bool


def search(snapshot: Snapshot, kind: str, id_: Digest, *, limit: int = 50) -> Sequence[Match]:
    """Registered models that hold the tensor of this content id ("cid") or value id ("vid").

    All claims on it are shown, earliest commitment first: who registered what, when, and never who
    is right. What was deposited for one model counts for every model whose claim binds the same
    ids: the same artifact root for content ids, the same fingerprint digest for value ids.
    """
    bound = {BINDS[kind]: bound_by(snapshot, kind, (id_.raw,))}
    return [
        Match(row, *_names(snapshot.connection, bytes(row["model_id"]), kind, id_))
        for row in claims(snapshot, bound, limit=limit)
    ]


def _names(
    connection: Connection, model_id: bytes, kind: str, id_: Digest
) -> tuple[tuple[str, ...], bool]:
    called, stored = tables.leaf_name, tables.document
    row = connection.execute(
        select(called.c.names, stored.c.complete)
        .join(
            stored,
            (stored.c.hash == called.c.model_id) & (stored.c.kind == FINGERPRINT),
        )
        .where(called.c.model_id == model_id, called.c.kind == kind, called.c.id == id_.raw)
    ).one_or_none()
    return ((), False) if row is None else (tuple(json.loads(row.names)), bool(row.complete))
