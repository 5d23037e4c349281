"""Each check of what the index keeps and whom it believes, taken away, makes a test fail.

As ``test_ablations``: here of several endpoints, proofs, audit, outbox, tensor leaves and shapes.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

world: Any = importlib.import_module("ablation_world")
Ablation = world.Ablation

HERE = "tests/ledger/index"
ENDPOINTS, ACCEPTING = f"{HERE}/test_endpoints.py::", f"{HERE}/test_accepting.py::"
KEEPER, MENDING = f"{HERE}/test_keeper.py::", f"{HERE}/test_mending.py::"
BY_NOBODY = "test_a_body_that_an_entry_of_no_event_names_serves_and_that_entry_counts_as_none"
ASTRAY = f"{MENDING}{BY_NOBODY}"
OTHERWISE = "test_what_a_kept_receipt_holds_otherwise_is_told_and_no_tables_are_made_of_it"
REFUTING = f"{HERE}/test_refuting.py::{OTHERWISE}"
OUTBOX = f"{HERE}/test_outbox.py::"
RECEIPTS = f"{HERE}/test_receipts.py::"
OUTBOX_FAULTS, AUDIT_OUTBOX = "index.outbox_faults", f"{HERE}/test_audit_outbox.py::"
AUDIT, FOLLOW = f"{HERE}/test_audit.py::", f"{HERE}/test_follow.py::"
FORKS, LOGS = f"{HERE}/test_faults_forks.py::", f"{HERE}/test_faults_logs.py::"
DAMAGE = AUDIT + "test_damage_is_noticed_by_the_check_that_is_about_it"
CHANGED = KEEPER + "test_any_changed_byte_of_a_proof_is_noticed"
LIE = LOGS + "test_logs_that_are_not_as_logs_are_cost_no_row"


def unmade(check: str, test: str) -> Any:
    """A check of the audit that always passes."""
    return Ablation("index.audit", f"self.{check}),", 'lambda: ("pass", "")),', test)


ABLATIONS = {
    # -- several endpoints
    "an endpoint is of our chain and contracts": Ablation(
        "index.pool",
        "self._identity.verify(one.rpc)",
        "pass",
        ENDPOINTS
        + "test_one_of_another_chain_or_other_contracts_is_not_asked_for_anything[sqlite-code]",
    ),
    "final is what a quorum has reached": Ablation(
        "index.endpoints",
        "sorted((sight.final for _, sight in sights), reverse=True)[self.quorum - 1]",
        "sorted((sight.final for _, sight in sights), reverse=True)[0]",
        ENDPOINTS + "test_final_is_what_a_quorum_shows_and_no_more[sqlite]",
    ),
    "a quorum agrees on the final block's hash": Ablation(
        "index.endpoints",
        "return votes, hash_ if count >= self.quorum else None",
        "return votes, hash_",
        ENDPOINTS + "test_finality_stands_still_while_each_shows_another_final_block",
    ),
    "a quorum says where it stands": Ablation(
        "index.endpoints",
        "if len(sights) < self.quorum:",
        "if False:",
        ENDPOINTS + "test_finality_stands_still_while_too_few_say_where_they_stand[sqlite]",
    ),
    "a quorum vouches for what is final": Ablation(
        "index.endpoints",
        "if len(showing) >= self.quorum:",
        "if True:",
        ENDPOINTS + "test_old_blocks_of_another_branch_are_not_stored[sqlite]",
    ),
    "safe is what a quorum calls so": Ablation(
        "index.endpoints",
        "claimed = sorted((sight.safe for _, sight in sights), reverse=True)[self.quorum - 1]",
        "claimed = max(sight.safe for _, sight in sights)",
        ENDPOINTS + "test_safe_is_what_a_quorum_shows_and_no_more[sqlite]",
    ),
    "a safe block has one form": Ablation(
        "index.endpoints",
        '(heads.safe, heads.safe_hash, "safe"),',
        "",
        ENDPOINTS + "test_a_block_that_a_quorum_calls_safe_is_not_taken_in_another_form",
    ),
    "a reorganisation has a second witness": Ablation(
        "index.endpoints",
        "needed = min(len(self._all), max(2, self.quorum))",
        "needed = 1",
        ENDPOINTS + "test_a_reorganisation_is_not_believed_while_no_second_one_answers[sqlite]",
    ),
    "another branch with a lower final block is lag": Ablation(
        "index.endpoints",
        "if heads.finalized < cursor.finalized and not lower_heads:",
        "if False:",
        ENDPOINTS + "test_another_branch_with_a_lower_final_block_is_lag_too[sqlite]",
    ),
    "one that asks for rest gets it": Ablation(
        "index.pool",
        "one.rest_until = self._monotonic() + min(error.retry_after, MAX_REST)",
        "pass",
        ENDPOINTS + "test_one_that_asks_for_rest_gets_as_much_as_it_asks_for",
    ),
    "no endpoint counts twice": Ablation(
        "index.pool",
        "if len({source.url for source in sources}) < len(sources):",
        "if False:",
        ENDPOINTS + "test_endpoints_that_cannot_be_meant_are_refused[sources1-options1-twice]",
    ),
    # -- an operator takes back what was final
    "only down to the newest block that is shared": Ablation(
        "index.accepting",
        "if ancestor != shared:",
        "if False:",
        ACCEPTING + "test_another_block_than_the_newest_shared_one_is_refused[sqlite--1]",
    ),
    "only what was looked at": Ablation(
        "index.accepting",
        "if (cursor.next_block, cursor.last_hash) != (before.next_block, before.last_hash):",
        "if False:",
        ACCEPTING + "test_what_was_looked_at_and_has_changed_since_is_not_taken_back[sqlite]",
    ),
    "only what was final": Ablation(
        "index.accepting",
        "if shared >= cursor.finalized:",
        "if False:",
        ACCEPTING + "test_what_the_follower_does_by_itself_needs_nobody[sqlite]",
    ),
    # -- following
    "a leader that was overtaken stops at once": Ablation(
        "index.follow",
        "if cursor.epoch != self._epoch:",
        "if False:",
        FOLLOW + "test_a_follower_that_was_overtaken_commits_nothing_more[sqlite]",
    ),
    "ranges that were read ahead hang together": Ablation(
        "index.follow",
        "if span.headers[0].parent_hash != spans[-1].headers[-1].hash:",
        "if False:",
        FORKS + "test_ranges_read_ahead_from_two_branches_are_not_joined[sqlite]",
    ),
    "what was read ahead of another place is dropped": Ablation(
        "index.ahead",
        "if self._queue and (self._queue[0][0] != first or self._queue[-1][1] > final):",
        "if False:",
        f"{HERE}/test_ahead.py::test_what_was_read_ahead_of_another_place_is_dropped",
    ),
    "finality does not pass the head": Ablation(
        "index.fetch",
        "final = min(named, latest.number)",
        "final = named",
        FORKS + "test_a_finalized_block_above_the_head_counts_as_the_head[sqlite]",
    ),
    # -- proofs
    "the header is of the journal's block": Ablation(
        "index.event_proofs",
        "if header.hash.raw != bytes(rows[0].block_hash):",
        "if False:",
        KEEPER + "test_a_journal_that_names_another_block_gets_no_proofs[sqlite]",
    ),
    "a kept header is of its block": Ablation(
        "index.event_proofs",
        "if header.hash.raw != bytes(row.block_hash) or header.number != row.block:",
        "if False:",
        f"{CHANGED}[sqlite-header]",
    ),
    "a kept header has the journal's time": Ablation(
        "index.event_proofs",
        "if header.timestamp != row.block_time:",
        "if False:",
        f"{DAMAGE}[sqlite-an event's time]",
    ),
    "a kept receipt is in its trie": Ablation(
        "index.event_proofs",
        "if found != proof.receipt:",
        "if False:",
        f"{CHANGED}[sqlite-receipt]",
    ),
    "a kept transaction has the journal's hash": Ablation(
        "index.event_proofs",
        "if proof.transaction and keccak256(proof.transaction) != bytes(row.tx_hash):",
        "if False:",
        f"{DAMAGE}[sqlite-an event's transaction]",
    ),
    "an event is in its receipt": Ablation(
        "index.event_proofs",
        "if wanted not in _logs_of(proof.receipt):",
        "if False:",
        f"{DAMAGE}[sqlite-an event's data]",
    ),
    "an account is the one that was proved": Ablation(
        "index.event_proofs",
        "if shown != (account.nonce, balance, account.storage_root, account.code_hash):",
        "if False:",
        f"{CHANGED}[sqlite-state]",
    ),
    "a word is the one that was proved": Ablation(
        "index.event_proofs",
        'if int.from_bytes(word, "big") != slot.value:',
        "if False:",
        f"{CHANGED}[sqlite-state]",
    ),
    "proofs are kept once, and of the journal's blocks": Ablation(
        "index.evidence_store",
        "if block > final or not there or (place is not None and place.next_block > block):",
        "if False:",
        KEEPER + "test_proofs_of_a_block_that_is_done_or_gone_are_not_kept[sqlite]",
    ),
    "blocks taken back are proved anew": Ablation(
        "index.journal",
        "        EvidenceStore(chain_id).rewind(connection, ancestor)\n",
        "",
        KEEPER
        + "test_a_rollback_below_finality_has_its_blocks_proved_anew_and_keeps_the_old_proofs"
        "[sqlite]",
    ),
    "a rebuild names what it has come to know": Ablation(
        "index.rebuilding",
        "_name(connection, chain_id, rows, [kind for kind, _ in events])",
        "pass",
        f"{HERE}/test_schema.py::"
        "test_an_event_that_only_a_later_release_knows_is_folded_by_it_without_the_chain[sqlite]",
    ),
    "no tables are made from what proofs contradict": Ablation(
        "index.rebuilding",
        "_require_unrefuted(connection, journal.chain_id, addresses)",
        "pass",
        AUDIT + "test_no_tables_are_made_from_a_journal_that_kept_proofs_contradict"
        "[sqlite-its data]",
    ),
    "proofs of another block say nothing against the journal": Ablation(
        "index.refuting",
        "if (head.number, head.hash.raw) != (block, block_hash):",
        "if False:",
        AUDIT + "test_proofs_that_are_spoilt_say_nothing_against_the_journal"
        "[sqlite-another event's header and receipt]",
    ),
    "a receipt speaks that is in its block": Ablation(
        "index.event_proofs",
        "if found != proof.receipt:",
        "if False:",
        AUDIT + "test_proofs_that_are_spoilt_say_nothing_against_the_journal"
        "[sqlite-a receipt beside its nodes]",
    ),
    "a receipt speaks of its own transaction": Ablation(
        "index.refuting",
        "if (row.block_hash, row.tx_index) == key]",
        "if row.block_hash == key[0]]",
        AUDIT + "test_proofs_of_another_transaction_or_branch_say_nothing_against_the_journal"
        "[sqlite]",
    ),
    "proofs of what is gone speak of a block that stood": Ablation(
        "index.refuting",
        "    if not _stood(connection, chain_id, event):\n        return\n",
        "",
        AUDIT + "test_proofs_of_another_transaction_or_branch_say_nothing_against_the_journal"
        "[sqlite]",
    ),
    "events of a transaction are in order": Ablation(
        "index.refuting",
        "or (row.address, row.topics, row.data) != log\n",
        "or (row.address, row.topics, row.data) not in shown.logs\n",
        f"{REFUTING}[sqlite-events are in each other's place]",
    ),
    "where no block was taken back, that is kept otherwise says nothing": Ablation(
        "index.refuting",
        "        or connection.execute(taken_back.limit(1)).first() is None\n",
        "",
        f"{REFUTING}[sqlite-their data and the block]",
    ),
    "a block's first transaction begins with its first log": Ablation(
        "index.refuting",
        "shown.index == 0 and starts - {0}:",
        "False:",
        f"{REFUTING}[sqlite-where they lie]",
    ),
    "logs of a block are numbered through": Ablation(
        "index.refuting",
        "                or (said.index == 0 and starts - {0})\n"
        "                or min(starts, default=0) < reached.get(said.block_hash, 0)\n",
        "",
        f"{HERE}/test_refuting.py::"
        "test_events_of_one_transaction_lie_behind_those_of_earlier_ones[sqlite]",
    ),
    "an event is of the contract that its address is": Ablation(
        "index.refuting",
        "        or row.contract != ours[row.address]\n",
        "",
        f"{REFUTING}[sqlite-their contract]",
    ),
    "our contracts are those of the manifest": Ablation(
        "index.refuting",
        "emitters(connection, chain_id) if addresses is None else addresses",
        "emitters(connection, chain_id)",
        f"{HERE}/test_refuting.py::"
        "test_a_contract_of_which_the_journal_holds_nothing_any_more_is_missed[sqlite]",
    ),
    "what was taken back names its contracts itself": Ablation(
        "index.refuting",
        "known.setdefault(row.address, row.contract)",
        "pass",
        f"{HERE}/test_refuting.py::"
        "test_a_lone_copy_knows_retracted_events_by_what_they_say[sqlite]",
    ),
    "a block that is kept for its events has some": Ablation(
        "index.refuting",
        "in silent_blocks(connection, chain_id):",
        "in ():",
        f"{REFUTING}[sqlite-all of them are gone]",
    ),
    "(7) what was taken back is held against its receipts, too": Ablation(
        "index.audit_evidence",
        "    for logs in (tables.raw_log, tables.orphan_log):\n        for said in",
        "    for logs in (tables.raw_log,):\n        for said in",
        f"{HERE}/test_refuting.py::test_what_was_taken_back_is_held_against_its_receipts[sqlite]",
    ),
    "a kept transaction is in its trie": Ablation(
        "index.event_proofs",
        "if sent != proof.transaction:",
        "if False:",
        f"{HERE}/test_refuting.py::test_a_kept_transaction_is_the_one_of_its_block[sqlite]",
    ),
    # -- the outbox
    "what is taken back is told": Ablation(
        "index.journal",
        "        self.outbox.retracted(connection, ancestor, now_ms)\n",
        "",
        OUTBOX + "test_a_reorganisation_takes_events_back_newest_first[sqlite]",
    ),
    "entries that are gone are not passed over": Ablation(
        "index.outbox",
        "if after < place.pruned_seq or after > place.last_seq:",
        "if False:",
        OUTBOX + "test_old_entries_are_forgotten_and_numbers_go_on[sqlite]",
    ),
    # -- shapes
    "an event has its topics": Ablation(
        "index.decode",
        "if len(topics) != self._topics:",
        "if False:",
        f"{LIE}[sqlite-history-too many topics]",
    ),
    "an event has its data": Ablation(
        "index.decode",
        "if len(data) != head and (len(data) < head or not self.dynamic):",
        "if False:",
        f"{LIE}[sqlite-history-long data]",
    ),
    # -- tensor leaves
    "tensor ids lead to the claim": Ablation(
        "index.library",
        'found.verify(Digest(bytes(model["artifact_root"])), '
        'Digest(bytes(model["fingerprint_digest"])))',
        "pass",
        AUDIT
        + "test_leaves_of_a_document_that_does_not_lead_to_its_claim_are_told_and_left[sqlite]",
    ),
    # -- the audit's own, by number
    "(1)": unmade("_pinned", f"{DAMAGE}[sqlite-other contracts]"),
    "(2)": unmade("_blocks", f"{DAMAGE}[sqlite-a block's hash]"),
    "(3)": unmade("_events", f"{DAMAGE}[sqlite-an event's time]"),
    "(4)": unmade("_orphans", f"{DAMAGE}[sqlite-an orphan's place]"),
    "(5)": unmade("_outbox", f"{DAMAGE}[sqlite-an outbox entry is gone]"),
    "(6)": unmade("_proofs", f"{DAMAGE}[sqlite-a proof's bytes]"),
    "(7)": unmade("_receipts", f"{DAMAGE}[sqlite-an event is gone with its proofs]"),
    "(8)": unmade("_coverage", f"{DAMAGE}[sqlite-an event was passed over]"),
    "(13)": unmade("_shape", f"{DAMAGE}[sqlite-an index is gone]"),
    "(5) an entry names what its event is filed under": Ablation(
        OUTBOX_FAULTS,
        "if bytes(entry.subjects) != whole:",
        "if False:",
        f"{DAMAGE}[sqlite-subjects that were told]",
    ),
    "(2) a cursor without a hash stands on no block": Ablation(
        "index.audit",
        "if last != (None if cursor.last_hash is None else stands):",
        "if cursor.last_hash is not None and last != stands:",
        f"{DAMAGE}[sqlite-a cursor without a hash]",
    ),
    "(2) what is final was read": Ablation(
        "index.audit",
        "if cursor.finalized > max(cursor.block, 0):",
        "if False:",
        f"{DAMAGE}[sqlite-final above the cursor]",
    ),
    "(4) a reorganisation is of this chain": Ablation(
        "index.audit",
        "reorg, and_(reorg.c.id == gone.c.reorg_id, reorg.c.chain_id == gone.c.chain_id)",
        "reorg, reorg.c.id == gone.c.reorg_id",
        f"{DAMAGE}[sqlite-a reorganisation of another chain]",
    ),
    "(4) an orphan lies in the block that was taken back": Ablation(
        "index.audit",
        "elif row.block == row.old_head and row.block_hash != row.old_hash:",
        "elif False:",
        f"{DAMAGE}[sqlite-a reorganisation of another block]",
    ),
    "(4) an orphan is of a contract of ours": Ablation(
        "index.audit",
        "if not self._was_ours(row.contract, bytes(row.address)):",
        "if False:",
        f"{DAMAGE}[sqlite-an orphan's address]",
    ),
    "(4) an orphan has its topic's name": Ablation(
        "index.audit",
        'elif row.event not in {"", name_of(row.contract, bytes(row.topics))}:',
        "elif False:",
        f"{DAMAGE}[sqlite-an orphan's topics]",
    ),
    "(4) a reorganisation has its depth": Ablation(
        "index.audit",
        "if row.depth != row.old_head - row.ancestor:",
        "if row.depth < 0:",
        f"{DAMAGE}[sqlite-a reorganisation's depth]",
    ),
    "(4) there are as many orphans as were told": Ablation(
        "index.audit",
        "if told != count:",
        "if False:",
        f"{DAMAGE}[sqlite-a retracted event is there twice]",
    ),
    "(4) an event that was told taken back is an orphan": Ablation(
        "index.audit",
        "for sentence in outbox_faults.unorphaned(self._connection, self._chain_id):",
        "for sentence in ():",
        f"{DAMAGE}[sqlite-an orphan's log index]",
    ),
    "(5) an entry has the shape of its kind": Ablation(
        "index.audit",
        "outbox_faults.misshapen(self._connection, self._chain_id),",
        "(),",
        f"{DAMAGE}[sqlite-what is final has subjects]",
    ),
    "(5) as many entries are kept as were not forgotten": Ablation(
        "index.audit",
        "outbox_faults.miscounted(self._connection, self._chain_id, place),",
        "(),",
        f"{DAMAGE}[sqlite-the first of all entries is another]",
    ),
    "(5) the entries lead to the journal": Ablation(
        "index.audit",
        "outbox_faults.untrue(self._connection, self._chain_id),",
        "(),",
        f"{DAMAGE}[sqlite-two entries in each other's place]",
    ),
    "(5) what is taken back was on top": Ablation(
        OUTBOX_FAULTS,
        "if top is not None and _place(entry) <= _place(top):",
        "if False:",
        AUDIT_OUTBOX + "test_events_taken_back_in_another_order_are_noticed[sqlite]",
    ),
    "(5) an entry calls its event by its name": Ablation(
        OUTBOX_FAULTS,
        "if entry.event != top.event and not unnamed:",
        "if False:",
        f"{DAMAGE}[sqlite-what was told of is called otherwise]",
    ),
    "(5) what is taken back concerned the same": Ablation(
        OUTBOX_FAULTS,
        "if entry.subjects != top.subjects and not unnamed:",
        "if False:",
        f"{DAMAGE}[sqlite-what was taken back concerned others]",
    ),
    "(5) nothing comes after it was called final": Ablation(
        OUTBOX_FAULTS,
        'and_(entry.c.kind != "retracted", entry.c.block <= entry.c.final),',
        "",
        f"{DAMAGE}[sqlite-events come after they were called final]",
    ),
    "(5) nothing is told that was not read": Ablation(
        OUTBOX_FAULTS,
        "                entry.c.block > cursor_block,\n",
        "",
        AUDIT_OUTBOX + "test_a_final_block_that_was_never_read_is_noticed[sqlite]",
    ),
    "(5) the place says how far finality was told": Ablation(
        "index.audit",
        "outbox_faults.misplaced(self._connection, self._chain_id, place),",
        "(),",
        f"{DAMAGE}[sqlite-how far it is told final]",
    ),
    "a rebuild has entries name what their event is filed under": Ablation(
        "index.rebuilding",
        "outbox = _refile(connection, journal.chain_id)",
        "outbox = 0",
        AUDIT_OUTBOX + "test_a_rebuild_has_entries_name_what_their_event_is_filed_under[sqlite]",
    ),
    "(6) a proof that is named is there": Ablation(
        "index.audit_evidence",
        "for link in unkept(connection, chain_id):",
        "for link in ():",
        f"{DAMAGE}[sqlite-a proof of an event that was taken back]",
    ),
    "(6) what was read beside a registration is its block's": Ablation(
        "index.audit_evidence",
        'if read and not _as_its_block_says(connection, row, kept["state"]):',
        "if False:",
        AUDIT + "test_a_commitment_that_was_forged_beside_its_event_is_no_commitment"
        "[sqlite-another answer]",
    ),
    "(9) manifests and claims are what they are filed under": Ablation(
        "index.audit",
        "for sentence in forged(self._connection):",
        "for sentence in ():",
        AUDIT + "test_a_deposited_document_that_is_not_what_it_is_filed_under[sqlite-a manifest]",
    ),
    "(9) what was deposited is there": Ablation(
        "index.audit",
        "if emptied(self._connection):",
        "if False:",
        f"{DAMAGE}[sqlite-all that was deposited]",
    ),
    "(13) no condition on rows": Ablation(
        "index.shape",
        "        *_conditions(connection),\n",
        "",
        f"{HERE}/test_shape.py::test_a_condition_in_a_file_is_told_and_a_column_of_somebodys_own_is_not"
        "[sqlite]",
    ),
    "(13) no trigger has a hand in it": Ablation(
        "index.shape",
        "        *_hands(connection),\n",
        "",
        f"{DAMAGE}[sqlite-a trigger]",
    ),
    "a body that is written over is filed under its own hash": Ablation(
        "index.evidence_rows",
        "if other is not None:",
        "if False:",
        MENDING + "test_a_body_of_what_was_taken_back_is_not_written_over[sqlite-True]",
    ),
    "what was put right is looked at again before it is dropped": Ablation(
        "index.mending",
        "        if whole(body, hash_):\n            continue\n",
        "",
        f"{MENDING}test_bodies_that_changed_places_and_nothing_names_outlive_what_is_sorted_out"
        "[sqlite]",
    ),
    "misstored bodies that entries name serve, too": Ablation(
        "index.mending",
        "Strays.of(connection, {*bad, *elsewhere})",
        "Strays.of(connection, elsewhere)",
        MENDING + "test_a_body_of_what_was_taken_back_is_not_written_over[sqlite-False]",
    ),
    "that fewer are proved than were counted is said": Ablation(
        "index.mending",
        "        if fewer:\n",
        "        if False:\n",
        MENDING + "test_that_fewer_are_proved_than_were_counted_is_said_once[sqlite]",
    ),
    "what entries name as what it is not serves, too": Ablation(
        "index.mending",
        "Strays.of(connection, {*bad, *elsewhere})",
        "Strays.of(connection, bad)",
        MENDING + "test_entries_that_changed_places_name_their_own_again[sqlite-state-taken back]",
    ),
    "what an entry of no event names serves, too": Ablation(
        "index.strays",
        "named = select(link.c.hash, link.c.kind).where(owned())",
        "named = select(link.c.hash, link.c.kind)",
        f"{ASTRAY}[sqlite-block]",
    ),
    "an entry of no event counts as none": Ablation(
        "index.evidence_account",
        "for each in (spoken_of.where(owned()), live,",
        "for each in (spoken_of, live,",
        f"{ASTRAY}[sqlite-block]",
    ),
    "what is called lost had been counted": Ablation(
        "index.evidence_account",
        "max(0, self.fewer - self.called_lost)",
        "self.fewer",
        MENDING + "test_what_is_called_lost_and_had_again_is_no_loss[sqlite-False]",
    ),
    "an entry of one event says that its block was harvested": Ablation(
        "index.mending",
        "where(same_block(logs)).correlate(logs)",
        "where(same_event(logs)).correlate(logs)",
        f"{MENDING}test_a_retracted_event_without_entries_is_found_by_what_its_neighbour_rests_on"
        "[sqlite]",
    ),
    "fewer are not set before the end": Ablation(
        "index.mending",
        "self._recount(strays, lower=False)",
        "self._recount(strays, lower=True)",
        MENDING + "test_that_fewer_are_proved_is_said_by_the_run_that_comes_to_its_end[sqlite]",
    ),
    "events without entries are not counted anew": Ablation(
        "index.evidence_account",
        "events = min(max(events, place.events), events + unsure)",
        "events += unsure",
        MENDING + "test_nothing_is_lost_under_a_block_that_is_not_kept[sqlite]",
    ),
    "an event that lacked entries was counted": Ablation(
        "index.evidence_store",
        "            events=before - self._unproved(connection, block, block_hash),\n",
        "",
        MENDING + "test_what_a_retracted_event_rests_on_is_found_without_a_node[sqlite-entries]",
    ),
    "nothing is lost of a block that is not kept": Ablation(
        "index.evidence_store",
        "lost if self._is_kept(connection, block, block_hash) else {}",
        "lost",
        MENDING + "test_nothing_is_lost_under_a_block_that_is_not_kept[sqlite]",
    ),
    "what says otherwise than the journal is not found": Ablation(
        "index.evidence_store",
        "proofs=len(held - good)",
        "proofs=len(gathered.held.keys() - good)",
        f"{MENDING}test_proofs_that_say_otherwise_than_the_journal_are_not_found_again_and_again"
        "[sqlite]",
    ),
    "that proofs say otherwise than the journal is told": Ablation(
        "index.evidence_store",
        "(*filed.lacking, *(OTHERWISE for _ in gathered.held.keys() - held - good))",
        "filed.lacking",
        f"{MENDING}test_proofs_that_say_otherwise_than_the_journal_are_not_found_again_and_again"
        "[sqlite]",
    ),
    "each event has its receipt by itself": Ablation(
        "index.event_proofs",
        "            except VerificationError as error:\n",
        "            except ZeroDivisionError as error:\n",
        MENDING + "test_one_event_that_the_journal_has_otherwise_costs_no_other_its_proofs[sqlite]",
    ),
    "a transaction that there is not costs no other its receipt": Ablation(
        "index.event_proofs",
        """                if row.tx_index not in shown:
""",
        """                if False:
""",
        f"{MENDING}test_an_event_that_there_cannot_be_costs_no_other_its_proofs_and_ends_nothing"
        "[sqlite-a transaction that there is not]",
    ),
    "no endpoint is asked of what no contract of ours emitted": Ablation(
        "index.event_proofs",
        "        except LedgerError as error:\n            # Nor",
        "        except ZeroDivisionError as error:\n            # Nor",
        f"{MENDING}test_an_event_that_there_cannot_be_costs_no_other_its_proofs_and_ends_nothing"
        "[sqlite-an address too short]",
    ),
    "what nobody could show makes no old chain of it": Ablation(
        "index.keeper",
        "if not why.startswith(OTHERWISE)}",
        "}",
        f"{HERE}/test_keeper.py::"
        "test_what_no_endpoint_could_show_says_nothing_of_what_they_still_have[sqlite-contract]",
    ),
    "lost proofs are counted by event": Ablation(
        "index.evidence_account",
        "        more += events - known\n",
        "        more += (events - known) * proofs\n",
        MENDING + "test_an_event_that_is_gone_is_told_beside_one_whose_proofs_are_called_lost"
        "[sqlite-kinds1-0]",
    ),
    "why a proof is lost is not read": Ablation(
        "index.evidence_store",
        "        for row in connection.execute(entries):\n",
        "        for row in connection.execute(select(link).where(*of_block)):\n",
        MENDING + "test_why_a_proof_is_lost_need_not_be_readable[sqlite]",
    ),
    "the outbox's place is missed": Ablation(
        "index.journal",
        "        self.outbox.require_place(connection)\n        busy",
        "        busy",
        f"{HERE}/test_outbox.py::test_a_place_that_is_gone_is_damage_to_whoever_asks_for_it[sqlite-gone0]",
    ),
    "what was displaced is held against what is there by then": Ablation(
        "index.evidence_rows",
        "        if fresh:\n            connection.execute(insert(table), fresh)\n",
        "        if fresh and not displaced:\n            "
        "connection.execute(insert(table), fresh)\n",
        MENDING + "test_no_body_in_whatever_place_ends_it[sqlite-a header's row holds the receipt]",
    ),
    "a proof that no canonical JSON can hold is none": Ablation(
        "index.event_proofs",
        "    except LedgerError:\n        return None  # There",
        "    except ZeroDivisionError:\n        return None  # There",
        MENDING + "test_no_body_in_whatever_place_ends_it[sqlite-a number with too many digits]",
    ),
    "(8) of what was taken back a lack is told": Ablation(
        "index.faults",
        "    for logs in (tables.raw_log, tables.orphan_log):\n        live",
        "    for logs in (tables.raw_log,):\n        live",
        MENDING + "test_of_what_was_taken_back_a_lack_is_told[sqlite]",
    ),
    "(13) no unique index of another hand": Ablation(
        "index.shape",
        'if kind == "remove" and change[-1].unique and',
        "if False and",
        f"{HERE}/test_shape.py::test_a_unique_index_of_somebodys_own_is_told[sqlite]",
    ),
    "a proof is filed under its own hash before another is dropped": Ablation(
        "index.mending",
        "        if proof is not None:\n            put_bodies",
        "        if False:\n            put_bodies",
        f"{MENDING}test_a_proof_under_another_hash_outlives_a_run_that_cannot_use_it[sqlite]",
    ),
    "what a spoilt body's place holds is looked at again when it is dropped": Ablation(
        "index.mending",
        "some.order_by(stored.c.hash).with_for_update()",
        "some.order_by(stored.c.hash)",
        f"{MENDING}test_who_drops_a_spoilt_body_and_who_puts_it_right_leave_it_whole[postgresql]",
    ),
    "a body that was dropped meanwhile is put anew": Ablation(
        "index.evidence_rows",
        "if connection.execute(this.values(**row)).rowcount != 1:",
        "if False:",
        f"{MENDING}test_who_drops_a_spoilt_body_and_who_puts_it_right_leave_it_whole[postgresql]",
    ),
    "who mends has others wait": Ablation(
        "index.evidence_store",
        ".where(cursor.c.chain_id == self.chain_id).with_for_update()\n",
        ".where(cursor.c.chain_id == self.chain_id)\n",
        MENDING + "test_who_harvests_and_who_asks_again_count_together[postgresql]",
    ),
    "how far it came is counted": Ablation(
        "index.evidence_account",
        "marks = [] if last is None else [last + 1]",
        "marks = [0]",
        MENDING + "test_how_far_it_came_is_what_the_newest_entries_say[sqlite-0]",
    ),
    "a header among the strays says how far": Ablation(
        "index.evidence_account",
        "            marks += [n + 1 for n, hash_ in blocks if "
        '("header", hash_) in strays.hashes]\n',
        "",
        MENDING + "test_how_far_it_came_is_what_the_newest_entries_say[sqlite-None]",
    ),
    "what was taken back is gone over": Ablation(
        "index.mending",
        "((tables.raw_log, live), (tables.orphan_log, taken_back))",
        "((tables.raw_log, live),)",
        f"{MENDING}test_what_a_retracted_event_rests_on_is_found_without_a_node[sqlite-entries]",
    ),
    "(8) that nothing was taken, where proofs are there": Ablation(
        "index.audit_evidence",
        "if store.speaks(connection) or strayed(connection, chain_id):",
        "if store.speaks(connection):",
        MENDING + "test_how_far_it_came_is_what_the_newest_entries_say[sqlite-None]",
    ),
    "(8) held and lost": Ablation(
        "index.audit_evidence",
        "in contradictory(connection, chain_id):",
        "in ():",
        MENDING
        + "test_what_a_retracted_event_rests_on_is_found_without_a_node[sqlite-held and lost]",
    ),
    "whole proofs are never dropped": Ablation(
        "index.mending",
        "        if hash_ in named:\n",
        "        if False:\n",
        MENDING + "test_a_spoilt_body_that_a_retracted_event_names_is_kept[sqlite]",
    ),
    "(8) a proof on record is there": Ablation(
        "index.faults",
        "(or_(link.c.lost.is_not(None), stored.c.hash.is_not(None)), 1)",
        "(link.c.kind.is_not(None), 1)",
        f"{DAMAGE}[sqlite-all proofs are gone]",
    ),
    "(8) no proof is of what is not final": Ablation(
        "index.audit_evidence",
        "if cover.next_block > final + 1:",
        "if False:",
        f"{DAMAGE}[sqlite-proofs beyond what is final]",
    ),
    "a check that does not end is no pass": Ablation(
        "index.audit",
        'return "fail", (\n                f"it did not come',
        'return "pass", (\n                f"it did not come',
        f"{DAMAGE}[sqlite-a topic that is text]",
    ),
    "what is spoilt is asked for again": Ablation(
        "index.evidence_store",
        "            if whole(row.body, row.hash)\n        }",
        "        }",
        MENDING + "test_what_is_gone_or_spoilt_is_asked_for_again[sqlite-a space]",
    ),
    "(9)": unmade("_leaves", f"{DAMAGE}[sqlite-a leaf is gone]"),
    "(10)": unmade("_state", f"{DAMAGE}[sqlite-a row of state]"),
    "(11)": unmade("_chain", AUDIT + "test_a_chain_that_shows_another_block_is_told[sqlite]"),
    "(12)": unmade(
        "_compared", RECEIPTS + "test_an_audit_finds_a_last_log_that_no_hint_shows[sqlite]"
    ),
    "(12) a block is the one that the one above it names": Ablation(
        "index.comparing",
        "if header.hash != hash_:",
        "if False:",
        RECEIPTS + "test_an_endpoint_that_shows_another_chain_proves_nothing[sqlite]",
    ),
    "(12) a block is what its hash is of": Ablation(
        "index.comparing",
        "if self._provable:",
        "if False:",
        RECEIPTS + "test_a_block_whose_bloom_and_logs_were_kept_back_is_found[sqlite]",
    ),
    "(12) an event has the chain's values": Ablation(
        "index.comparing",
        "if wrong:",
        "if False:",
        RECEIPTS
        + "test_a_journal_that_is_not_the_chains_is_found_by_its_receipts[sqlite-another place]",
    ),
    "(12) where nothing hashes each transaction has its receipt": Ablation(
        "index.receipts",
        'if len(receipts) < len(block["transactions"]):',
        "if False:",
        RECEIPTS + "test_where_nothing_hashes_not_all_that_is_shown_is_compared[sqlite]",
    ),
    "(11) a kept block is the chain's": Ablation(
        "index.comparing",
        "self._compare_kept(headers)",
        "pass",
        RECEIPTS + "test_a_kept_block_that_is_not_the_chains_is_found[sqlite]",
    ),
    "(11) a quorum shows the newest final block": Ablation(
        "index.comparing",
        "self._node.stands(*kept)",
        "True",
        f"{HERE}/test_review_endpoints.py::"
        "test_an_index_of_a_branch_that_one_endpoint_makes_up_does_not_hold[sqlite]",
    ),
    # -- what SQLite holds that is no text, and what nothing binds
    "a body that became text is read in hex": Ablation(
        "index.tables",
        "return f\"CASE typeof({body}) WHEN 'blob' THEN {body} ELSE hex({body}) END\"",
        "return body",
        AUDIT + "test_bodies_that_became_text_are_told_and_no_hindrance_and_mended[sqlite]",
    ),
    "of a body that became text its bytes are read": Ablation(
        "index.evidence_rows",
        "return bytes.fromhex(body)",
        "return body.encode()",
        f"{HERE}/test_kept_evidence.py::"
        "test_a_body_is_read_as_the_bytes_that_it_was_also_where_it_is_text"
        "[what is no text-sqlite]",
    ),
    "a text that is no UTF-8 ends one check": Ablation(
        "index.database",
        "if undecoded(error) and (damage := damage_of(error)) is not None:",
        "if False:",
        AUDIT + "test_a_text_that_is_no_utf_8_fails_the_checks_that_read_it[the journal-sqlite]",
    ),
    "a text that is no UTF-8 is damage": Ablation(
        "index.database_file",
        "    if (how := undecoded(cause)) is not None:\n        return how\n",
        "",
        f"{HERE}/test_database.py::"
        "test_a_text_that_is_no_utf_8_is_damage_and_no_matter_of_trying_again[sqlite]",
    ),
    "names that are no text are made anew": Ablation(
        "index.leaves",
        "    except IndexDamaged:\n        called_so = None\n",
        "    except IndexDamaged:\n        raise\n",
        AUDIT
        + "test_a_text_that_is_no_utf_8_fails_the_checks_that_read_it[what a rebuild makes-sqlite]",
    ),
    "a core fingerprint binds no names": Ablation(
        "index.leaves",
        'self.bound |= {"cid", "vid", "name"} if bound else {"cid"}',
        'self.bound |= {"cid", "vid", "name"}',
        AUDIT + "test_names_that_no_claim_binds_are_told_and_left[sqlite]",
    ),
    "without a claim nothing is bound": Ablation(
        "index.leaves",
        'if model is not None:\n            self.bound |= {"cid", "vid"}\n',
        'if True:\n            self.bound |= {"cid", "vid"}\n',
        AUDIT + "test_what_no_claim_binds_adds_leaves_and_takes_none_out[sqlite]",
    ),
    "what nothing binds takes no leaves out": Ablation(
        "index.leaves",
        "if any(kind not in found.bound for kind, _ in leaves - found.leaves):",
        "if False:",
        AUDIT + "test_leaves_that_an_altered_document_lacks_are_told_and_left[sqlite-a cast less]",
    ),
    "what nothing binds changes no names": Ablation(
        "index.leaves",
        "return names is None or not names.items() <= found.names.items()",
        "return False",
        AUDIT + "test_names_that_no_claim_binds_are_told_and_left[sqlite]",
    ),
    "a chain's audit is of the bodies that it names": Ablation(
        "index.evidence_rows",
        "yield from sorted(h for h in shared if chain_id in named.get(h, {chain_id}))",
        "yield from sorted(shared)",
        f"{HERE}/test_kept_evidence.py::"
        "test_a_spoilt_body_is_told_to_the_chains_that_name_it_or_to_all[sqlite]",
    ),
    "a body that no chain names is any chain's": Ablation(
        "index.evidence_rows",
        "named.get(h, {chain_id})",
        "named.get(h, ())",
        f"{HERE}/test_kept_evidence.py::"
        "test_a_spoilt_body_is_told_to_the_chains_that_name_it_or_to_all[sqlite]",
    ),
}


test_the_table_knows_the_program = world.knows_the_program(ABLATIONS)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How the test of each ablation ended."""
    return world.try_all(world.tried(ABLATIONS), tmp_path_factory.mktemp("ablations"), seconds=500)


@pytest.mark.chain
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", world.listed(ABLATIONS))
def test_a_check_that_is_taken_away_is_missed(ended, name):
    assert ended[name] == "failed"
