"""Checks (6) to (8) of an audit: the proofs that were taken (`ledger.index.audit`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from ledger.errors import LedgerError
from ledger.evidence.documents import StateProof
from ledger.evidence.layout import Title, title_slot
from ledger.ids import ModelId
from ledger.index import tables
from ledger.index.audit_report import Faults, Said
from ledger.index.decode import decode
from ledger.index.event_proofs import KINDS, Kept, verify_event
from ledger.index.evidence_account import meant
from ledger.index.evidence_rows import misstored
from ledger.index.evidence_store import EvidenceStore
from ledger.index.faults import (
    contradictory,
    proved,
    strayed,
    uncovered,
    unkept,
    unowned,
)
from ledger.index.fold_titles import committed_at_once
from ledger.index.journal import Cursor, topics_of
from ledger.index.refuting import shown_otherwise


def proofs(connection: Connection, chain_id: int) -> Said:
    """Check (6): proofs are what they are named for, are there, and lead to their blocks."""
    faults = Faults()
    for hash_ in misstored(connection, chain_id):
        faults.add(f"proof 0x{hash_[:6].hex()}… is not what it is named for")
    for link in unkept(connection, chain_id):
        faults.add(
            f"the {link.kind} proof that event {link.block}-{link.log_index} names is not there"
        )
    count = events = 0
    for logs in (tables.raw_log, tables.orphan_log):
        for row, kept in proved(connection, chain_id, logs):
            count, events = count + len(kept), events + 1
            try:
                verify_event(row, kept)
            except LedgerError as error:
                faults.add(error.message)
                continue
            named = (row.contract, row.event) == ("ModelRegistry", "ModelRegistered")
            read = named and logs is tables.raw_log and "state" in kept
            if read and not _as_its_block_says(connection, row, kept["state"]):
                faults.add(
                    f"what was read beside event {row.block}-{row.log_index} is not what the "
                    "state of its block says"
                )
    if not count and not faults.count:
        return "not checked", "no proofs were taken"
    return faults.said(f"{count} proofs of {events} events")


def _as_its_block_says(connection: Connection, row: Row[Any], state: Kept) -> bool:
    """Whether a model was committed when it was registered, which no event tells.

    What was read then is of the head, where a later commitment may stand with an earlier time.
    """
    event = decode(row.contract, topics_of(bytes(row.topics)), row.data)
    if event is None or event.values["committedAt"] != event.values["registeredAt"]:
        return True
    slot = title_slot(ModelId(bytes(row.topics)[32:64]))
    words = {shown.slot: shown.value for shown in StateProof.from_json(state.document()).slots}
    if slot not in words:
        return True
    title, at = Title.parse(words[slot].to_bytes(32, "big")), event.values["committedAt"]
    reads = tables.raw_read
    answer = connection.execute(
        select(reads.c.answer).where(
            reads.c.chain_id == row.chain_id,
            reads.c.block == row.block,
            reads.c.log_index == row.log_index,
        )
    ).scalar_one_or_none()
    said = committed_at_once(answer, int(str(at)))
    shown_so = title.committed and title.committed_at == at
    earlier = answer is not None and int.from_bytes(answer[64:96], "big") < int(str(at))
    return said == shown_so or (shown_so and earlier)


def receipts(connection: Connection, chain_id: int, ours: Mapping[bytes, str]) -> Said:
    """Check (7): proved receipts hold the events of `ours` (by address) as they are kept."""
    faults, count = Faults(), 0
    for logs in (tables.raw_log, tables.orphan_log):
        for said in shown_otherwise(connection, chain_id, logs, ours):
            count += 1
            for sentence in said:
                faults.add(sentence)
    for row in unowned(connection, chain_id):
        faults.add(
            f"event {row.block}-{row.log_index} is proved, and neither in the journal nor retracted"
        )
    if not count and not faults.count:
        return "not checked", "no receipts were taken"
    return faults.said(f"{count} receipts")


def coverage(connection: Connection, chain_id: int, cursor: Cursor) -> Said:
    """Check (8): of every event that was harvested all proofs are there, or why one is not."""
    store = EvidenceStore(chain_id)
    cover = store.coverage(connection)
    _, lost = store.tally(connection)
    if not cover.begun:
        if store.speaks(connection) or strayed(connection, chain_id):
            return "fail", "proofs were taken, and how far is not on record"
        return "not checked", "nothing was harvested; deed index run does it"
    faults = Faults()
    final = min(cursor.finalized, cursor.block)
    if cover.next_block > final + 1:
        faults.add(
            f"proofs are said to be taken up to block {cover.next_block - 1}, and only "
            f"{final} is final"
        )
    for row in uncovered(connection, chain_id, cover.next_block):
        faults.add(
            f"of event {row.block}-{row.log_index} {row.kinds} of {len(KINDS)} proofs are there"
        )
    held, unsure = meant(connection, chain_id, cover.next_block)
    if cover.lost != lost or not held <= cover.events <= held + unsure:
        faults.add(
            f"{cover.events} events are counted as proved and {cover.lost} proofs as lost, and "
            f"on record are {held} and {lost}"
        )
    for row in contradictory(connection, chain_id):
        faults.add(
            f"the {row.kind} proof of event {row.block}-{row.log_index} is on record as held and "
            "as lost"
        )
    told = f", {lost} proofs could no longer be had" if lost else ""
    return faults.said(f"up to block {cover.next_block - 1}{told}")
