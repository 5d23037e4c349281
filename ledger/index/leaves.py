"""Tensor leaves derived anew from the deposited documents, held against the chain's claims again.

The documents are the truth: a model's leaves are what its fingerprint and its list of tensor ids
say, once these lead to the claim's artifact root and fingerprint digest. What no claim binds, such
as ids of casts, may be right in either place: it is added, and never takes anything out. Rebuild
and audit both go through here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from ledger.claim import Claim, manifest_hash
from ledger.errors import IndexDamaged, LedgerError
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.fingerprint.search import registered_casts
from ledger.ids import Digest, ModelId
from ledger.index import tables
from ledger.index.library import FINGERPRINT, IDS, check_ids, check_leaves, document, read_document
from ledger.index.views import RowMap

Leaf = tuple[str, bytes]
_PAGE: Final = 500
_ID: Final = 32


@dataclass(frozen=True, slots=True)
class Derived:
    """What one model's documents come to.

    Attributes:
        leaves: kind ("cid", "vid" or "cast") and id.
        names: the tensors' names by leaf, as a JSON list.
        bound: of which kinds of leaves, and whether of names ("name"), a claim binds what is said.
        understated: kinds of documents that the claim binds and that are said not to be bound.
        faults: documents that do not lead to the claim, in words.
    """

    leaves: frozenset[Leaf]
    names: dict[Leaf, str]
    bound: frozenset[str]
    understated: frozenset[str]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaves:
    """What deriving all of them came to.

    Attributes:
        models: models whose documents were held against their claims.
        leaves: their leaves.
        differed: models whose stored leaves were not what their documents say, or how much of
            these is bound.
        faults: documents that do not lead to their claim, in words.
        unclaimed: models with documents that are not registered at the head: their leaves were held
            against the documents, and these against nothing.
    """

    models: int
    leaves: int
    differed: tuple[str, ...]
    faults: tuple[str, ...]
    unclaimed: int


def derive(connection: Connection, name: Digest, model: RowMap | None) -> Derived:
    """What the stored documents of a model say, where they lead to its claim.

    Args:
        connection: any reading transaction.
        name: id of the model.
        model: its claim; None where it has none, which leaves what documents say of themselves.
    """
    found = _Found()
    for kind, take in ((FINGERPRINT, found.fingerprint), (IDS, found.ids)):
        try:
            stored = document(connection, kind, name)
            if stored is not None:
                take(stored, model)
        except LedgerError as error:
            found.faults.append(error.message)
    leaves = found.leaves | {("cast", one.raw) for one in found.casts}
    return Derived(
        frozenset(leaves),
        {leaf: json.dumps(listed) for leaf, listed in found.names.items()},
        frozenset(found.bound),
        frozenset(found.understated),
        tuple(f"{name}: {fault}" for fault in found.faults),
    )


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    leaves: set[Leaf] = field(default_factory=set)
    casts: tuple[Digest, ...] = ()
    names: dict[Leaf, list[str]] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    understated: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def fingerprint(self, stored: tuple[Any, bool], model: RowMap | None) -> None:
        """Take a fingerprint, and whether it is said to be bound.

        Raises:
            FormatError: it is none.
            ClaimMismatch: it is another model's.
        """
        document, said = stored
        found, bound = (
            (Fingerprint.from_json(document), said)
            if model is None
            else check_leaves(document, model)
        )
        if model is not None:
            self.bound |= {"cid", "vid", "name"} if bound else {"cid"}
        if bound and not said:
            self.understated.add(FINGERPRINT)
        if said and not bound:
            self.faults.append("the fingerprint is called complete, and is not")
        if bound:
            self.casts = registered_casts(found)
        for tensor in found.tensors:
            if not tensor.identity:
                continue
            for kind, digest in (("cid", tensor.cid), ("vid", tensor.vid)):
                if digest is not None:
                    self.leaves.add((kind, digest.raw))
                    self.names.setdefault((kind, digest.raw), []).append(tensor.name)

    def ids(self, stored: tuple[Any, bool], model: RowMap | None) -> None:
        """Take a list of tensor ids, likewise.

        Raises:
            FormatError: it is none.
            ClaimMismatch: it is another model's.
        """
        document, said = stored
        found = TensorIds.from_json(document) if model is None else check_ids(document, model)
        if model is not None:
            self.bound |= {"cid", "vid"}
        if not said:
            self.understated.add(IDS)
        self.leaves.update(("cid", one.raw) for one in found.cids)
        self.leaves.update(("vid", one.raw) for one in found.vids)
        # Those of the list are the older ones: it is not taken after a whole fingerprint.
        self.casts = found.casts or self.casts


def forged(connection: Connection) -> Iterator[str]:
    """Deposited manifests and claims that are not what they are filed under, in words."""
    kept = tables.document
    query = (
        select(kept.c.kind, kept.c.hash, kept.c.body)
        .where(kept.c.kind.not_in((FINGERPRINT, IDS)))
        .order_by(kept.c.kind, kept.c.hash)
        .execution_options(yield_per=_PAGE)
    )
    for row in connection.execute(query):
        what = f"the {row.kind} that is filed under 0x{bytes(row.hash).hex()}"
        try:
            document = read_document(row.body, row.kind)
            match row.kind:
                case "manifest":
                    found = manifest_hash(document).raw
                case "claim":
                    found = Claim.from_json(document).model_id().raw
                case _:
                    yield f"{what} is of no kind that is deposited"
                    continue
        except LedgerError as error:
            yield f"{what} is none: {error.message}"
            continue
        if found != row.hash:
            yield f"{what} is another one"


def emptied(connection: Connection) -> bool:
    """Whether documents were deposited here and none is there; one is replaced and never removed.

    How many there were, the count does not say: two deposits at once are counted twice.
    """
    place = tables.library_place
    deposits = connection.execute(select(place.c.deposits).where(place.c.id == 1)).scalar()
    return bool(deposits) and connection.execute(select(tables.document.c.kind)).first() is None


def hold_documents(connection: Connection) -> None:
    """Let no deposit change documents or leaves until the transaction ends; one under way first.

    Else a deposit between the reading of a model's documents and of its leaves would look like
    leaves that the documents do not say. SQLite has one writer in any case.
    """
    if connection.dialect.name == "postgresql":
        # In the order in which a deposit touches them.
        held = ", ".join(table.name for table in (tables.document, tables.leaf, tables.leaf_name))
        connection.exec_driver_sql(f"LOCK TABLE {held} IN SHARE ROW EXCLUSIVE MODE")


def examine(connection: Connection, chain_id: int, *, repair: bool) -> Leaves:
    """Derive every model's leaves and compare them with the stored ones.

    Args:
        connection: a transaction; one that writes, where `repair` is set.
        chain_id: whose models.
        repair: put what was derived in place of what differs.
    """
    count = total = unclaimed = 0
    differed: list[str] = []
    faults: list[str] = []
    for model_id, model in _documented(connection, chain_id):
        if len(model_id) != _ID:
            faults.append(
                f"leaves or documents are filed under 0x{model_id.hex()}, which no model is"
            )
            continue
        found = derive(connection, Digest(model_id), model)
        if model is None:
            unclaimed += 1
        else:
            count, total = count + 1, total + len(found.leaves)
        faults.extend(found.faults)
        stored = _stored(connection, model_id)
        if not found.understated and stored == (found.leaves, found.names):
            continue
        if _says_more(*stored, found):
            faults.append(
                f"{ModelId(model_id)}: leaves or names of it are in no document that leads to its "
                "claim, and may be all that is left of one"
            )
        wanted = _wanted(*stored, found)
        if found.understated or stored != wanted:
            differed.append(str(ModelId(model_id)))
            if repair:
                _store(connection, model_id, wanted, found.understated)
    return Leaves(count, total, tuple(differed), tuple(faults), unclaimed)


def _documented(connection: Connection, chain_id: int) -> Iterator[tuple[bytes, RowMap | None]]:
    """Models that have documents or leaves, each with its live row or None."""
    kept, leaf, named, model = tables.document, tables.leaf, tables.leaf_name, tables.model
    ids = connection.execute(
        select(kept.c.hash)
        .where(kept.c.kind.in_((FINGERPRINT, IDS)))
        .union(select(leaf.c.model_id), select(named.c.model_id))
        .order_by(kept.c.hash)
    ).scalars()
    for raw in list(ids):
        found = connection.execute(
            select(model).where(
                model.c.chain_id == chain_id,
                model.c.model_id == raw,
                model.c.died_block.is_(None),
            )
        )
        row = found.mappings().one_or_none()
        yield bytes(raw), None if row is None else {**row}


def _stored(
    connection: Connection, model_id: bytes
) -> tuple[frozenset[Leaf], dict[Leaf, str] | None]:
    """A model's leaves and their names; None of names where one is no text."""
    leaf, called = tables.leaf, tables.leaf_name
    leaves = connection.execute(select(leaf.c.kind, leaf.c.id).where(leaf.c.model_id == model_id))
    names = select(called.c.kind, called.c.id, called.c.names).where(called.c.model_id == model_id)
    try:
        called_so = {(row.kind, bytes(row.id)): row.names for row in connection.execute(names)}
    except IndexDamaged:
        called_so = None
    return frozenset((row.kind, bytes(row.id)) for row in leaves), called_so


def _says_more(leaves: frozenset[Leaf], names: dict[Leaf, str] | None, found: Derived) -> bool:
    """Whether anything is stored that no document says, of what none speaks that is bound."""
    if any(kind not in found.bound for kind, _ in leaves - found.leaves):
        return True
    if "name" in found.bound:
        return False
    return names is None or not names.items() <= found.names.items()


def _wanted(
    leaves: frozenset[Leaf], names: dict[Leaf, str] | None, found: Derived
) -> tuple[frozenset[Leaf], dict[Leaf, str] | None]:
    """What is to be stored: all that documents say, and what is there and nothing binds."""
    unbound = {leaf for leaf in leaves if leaf[0] not in found.bound}
    if "name" in found.bound:
        return found.leaves | unbound, found.names
    return found.leaves | unbound, None if names is None else {**found.names, **names}


def _store(
    connection: Connection,
    model_id: bytes,
    wanted: tuple[frozenset[Leaf], dict[Leaf, str] | None],
    understated: frozenset[str],
) -> None:
    leaves, called = wanted
    for table in (tables.leaf, *(() if called is None else (tables.leaf_name,))):
        connection.execute(delete(table).where(table.c.model_id == model_id))
    if understated:
        kept = tables.document
        connection.execute(
            update(kept)
            .where(kept.c.hash == model_id, kept.c.kind.in_(understated))
            .values(complete=True)
        )
    if leaves:
        connection.execute(
            insert(tables.leaf),
            [{"model_id": model_id, "kind": k, "id": i} for k, i in sorted(leaves)],
        )
    if called:
        connection.execute(
            insert(tables.leaf_name),
            [
                {"model_id": model_id, "kind": k, "id": i, "names": names}
                for (k, i), names in sorted(called.items())
            ],
        )
