"""Each check of the index, taken away, makes a test fail.

``ablation_world`` takes a check away in the running program, for one test, and does so with all of
this table in one process; CI tries every sixth. That the text is still found once keeps the table
true to the program. ``make deep`` lets the random run go on without a check, as a copy of the
program: it must notice.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

world: Any = importlib.import_module("ablation_world")
Ablation = world.Ablation

ROOT = Path(__file__).parents[3]
HERE = "tests/ledger/index"
FORKS, LOGS = f"{HERE}/test_faults_forks.py::", f"{HERE}/test_faults_logs.py::"
BLOCKS, PROCESS, DATABASE = (
    f"{HERE}/test_faults_blocks.py::",
    f"{HERE}/test_faults_process.py::",
    f"{HERE}/test_database.py::",
)
LEFT_OUT = LOGS + "test_logs_that_are_left_out_are_read_from_the_receipts"
LIE = LOGS + "test_logs_that_are_not_as_logs_are_cost_no_row"
BLOCK = BLOCKS + "test_blocks_that_are_not_as_blocks_are_cost_no_row"
RECEIPTS = BLOCKS + "test_receipts_that_do_not_lead_to_the_header_are_not_believed"

ABLATIONS = {
    # -- what an endpoint says
    "a block has the number asked for": Ablation(
        "index.replies",
        "if header.number != number:",
        "if False:",
        f"{BLOCK}[sqlite-of another number]",
    ),
    "a block names the one before as its parent": Ablation(
        "index.fetch",
        "if after.parent_hash != before.hash:",
        "if False:",
        f"{BLOCK}[sqlite-of another parent]",
    ),
    "a log belongs to a block of the range": Ablation(
        "index.replies",
        "if block is None or (log.block_hash != block[1] and log.block_hash.lower() != block[1]):",
        "if block is None:",
        f"{LIE}[sqlite-history-another block's hash]",
    ),
    "places strictly rise": Ablation(
        "index.replies",
        "if number < before or (number == before and log_index <= before_index):",
        "if False:",
        f"{LIE}[sqlite-history-doubled]",
    ),
    "a log is of a contract asked for": Ablation(
        "index.replies",
        "if ours is None or log.removed:",
        "if ours is None:",
        f"{LIE}[sqlite-history-removed]",
    ),
    "a log has the shape of its event": Ablation(
        "index.replies",
        "_read_arguments(named)",
        "pass",
        f"{LIE}[sqlite-history-too few topics]",
    ),
    "bits that no argument has are clear": Ablation(
        "index.decode",
        "return not (found & clear).any()",
        "return True",
        f"{HERE}/test_decode.py::test_a_shape_the_contract_never_emits_is_refused[kind3-topics3-]",
    ),
    "the bloom's events are there": Ablation(
        "index.receipts",
        "if contracts.hidden(header.bloom, present):",
        "if False:",
        f"{LEFT_OUT}[sqlite-history-all-alone]",
    ),
    "all above finality is proven": Ablation(
        "index.receipts",
        "if rule.final is not None and header.number > rule.final:",
        "if False:",
        LOGS
        + "test_a_last_log_that_adds_nothing_to_the_bloom_is_found_missing_above_finality[sqlite]",
    ),
    "log numbers have no gap": Ablation(
        "index.receipts",
        "return [item.log_index for item in logs] != list(range(len(logs)))",
        "return False",
        LOGS
        + "test_a_log_in_between_that_adds_nothing_to_the_bloom_is_found_missing[sqlite-history]",
    ),
    "no bit of the bloom is unexplained": Ablation(
        "index.receipts",
        "if h.number in crowded or _doubtful(",
        "if _doubtful(",
        LOGS + "test_a_last_log_that_adds_to_the_bloom_is_found_missing[sqlite-history]",
    ),
    "receipts lead to the root": Ablation(
        "index.receipts",
        "if tree.root_hash != shown.receipts_root.raw:",
        "if False:",
        f"{RECEIPTS}[sqlite-logs left out]",
    ),
    "receipts are of the very block": Ablation(
        "index.receipts",
        "if shown.hash.raw != header.hash:",
        "if False:",
        BLOCKS + "test_another_block_with_receipts_of_its_own_proves_nothing_about_ours[sqlite]",
    ),
    "logs agree with the receipts": Ablation(
        "index.receipts",
        "if [item for item in found if item.log_index in held] != list(said):",
        "if False:",
        f"{LIE}[sqlite-live-another value]",
    ),
    "a plan's terms hash to its digest": Ablation(
        "index.beside",
        'if plan_digest(licensor, answer) != values["planDigest"]:',
        "if False:",
        f"{HERE}/test_follow.py::test_terms_that_do_not_fit_the_plan_digest_are_not_believed[sqlite]",
    ),
    # -- going on and back
    "a range begins on the cursor's block": Ablation(
        "index.follow",
        "if cursor.last_hash is not None and spans[0].headers[0].parent_hash != cursor.last_hash:",
        "if False:",
        FORKS + "test_a_reorganisation_of_any_depth_above_finality[sqlite-3]",
    ),
    "the tip is looked at when nothing is new": Ablation(
        "index.follow",
        "if head.number == cursor.block and head.hash == cursor.last_hash:",
        "if head.number == cursor.block:",
        FORKS + "test_a_reorganisation_of_the_same_height_is_seen_without_a_new_block[sqlite]",
    ),
    "a lower head is no witness": Ablation(
        "index.follow",
        "if head.number == cursor.block or self._profile.test_network:",
        "if True:",
        FORKS + "test_a_reorganisation_to_a_shorter_chain_waits_for_it_to_grow[sqlite]",
    ),
    "what is final stays": Ablation(
        "index.follow",
        "if ancestor < cursor.finalized and not self._profile.test_network:",
        "if False:",
        FORKS + "test_a_reorganisation_below_finality_stops_the_index_and_changes_nothing[sqlite]",
    ),
    "an ancestor is asked for twice": Ablation(
        "index.ancestor",
        "if one is None or two is None or one.hash != two.hash:",
        "if one is None:",
        BLOCKS
        + "test_an_endpoint_that_shows_one_block_in_two_forms_is_no_witness_of_a_reorganisation"
        "[sqlite]",
    ),
    "the final block is the journal's": Ablation(
        "index.follow",
        "if not self._holds_final(heads):",
        "if False:",
        f"{HERE}/test_review_endpoints.py::"
        "test_a_branch_that_one_endpoint_makes_up_never_becomes_final[sqlite]",
    ),
    "nothing is final that was not read": Ablation(
        "index.journal",
        "finalized = max(old.finalized, min(heads.finalized, last.number))",
        "finalized = max(old.finalized, heads.finalized)",
        f"{HERE}/test_review_endpoints.py::"
        "test_a_far_head_shown_once_in_a_backfill_makes_nothing_final[sqlite]",
    ),
    "finality never moves back": Ablation(
        "index.journal",
        "finalized = max(old.finalized, min(heads.finalized, last.number))",
        "finalized = min(heads.finalized, last.number)",
        FORKS + "test_a_finalized_block_that_moves_back_leaves_ours_where_it_is[sqlite]",
    ),
    "a roll back undoes the versions": Ablation(
        "index.journal",
        "        undo(connection, chain_id, ancestor)\n",
        "",
        FORKS + "test_a_reorganisation_of_any_depth_above_finality[sqlite-3]",
    ),
    "a roll back revives what had died": Ablation(
        "index.versions",
        ".values(died_block=None)",
        ".values(died_block=table.c.died_block)",
        FORKS + "test_a_reorganisation_of_any_depth_above_finality[sqlite-9]",
    ),
    # -- which chain it is
    "the endpoint is of the chain": Ablation(
        "index.follow",
        "if chain_id != expected.chain_id or block0 != expected.genesis_hash:",
        "if False:",
        FORKS + "test_the_same_id_with_another_first_block_is_refused_and_changes_nothing[sqlite]",
    ),
    "the chain is looked at again before rolling back": Ablation(
        "index.follow",
        "        self._identified = False\n        self._identify()\n",
        "",
        FORKS
        + "test_an_endpoint_that_becomes_another_chains_in_mid_run[sqlite-longer-test network]",
    ),
    "the database is of the chain": Ablation(
        "index.journal",
        "if row.genesis_hash != genesis.raw:",
        "if False:",
        f"{HERE}/test_follow.py::test_a_database_of_another_chain_is_refused[sqlite]",
    ),
    "the database is of the contracts": Ablation(
        "index.journal",
        "if row.deployment_hash != of:",
        "if False:",
        f"{HERE}/test_follow.py::test_a_database_of_another_chain_is_refused[sqlite]",
    ),
    # -- several processes, and their end
    "the cursor is where it was read": Ablation(
        "index.journal",
        "                tables.cursor.c.next_block == old.next_block,\n",
        "",
        PROCESS + "test_a_cursor_that_moved_in_any_respect_is_not_moved_again[sqlite-next_block]",
    ),
    "the cursor's hash is what it was": Ablation(
        "index.journal",
        "                tables.cursor.c.last_hash.is_not_distinct_from(old.last_hash),\n",
        "",
        PROCESS + "test_a_cursor_that_moved_in_any_respect_is_not_moved_again[sqlite-last_hash]",
    ),
    "the epoch is ours": Ablation(
        "index.journal",
        "                tables.cursor.c.epoch == old.epoch,\n",
        "",
        PROCESS + "test_a_leader_that_slept_through_a_take_over_commits_nothing[sqlite]",
    ),
    "the cursor moved at all": Ablation(
        "index.journal",
        "if moved.rowcount != 1:",
        "if False:",
        PROCESS + "test_a_leader_that_slept_through_a_take_over_commits_nothing[sqlite]",
    ),
    "rows and cursor are one transaction": Ablation(
        "index.journal",
        "        busy: set[int] = set().union(*(part.busy() for part in parts))\n",
        "        connection.exec_driver_sql('COMMIT')\n"
        "        connection.exec_driver_sql('BEGIN IMMEDIATE')\n"
        "        busy: set[int] = set().union(*(part.busy() for part in parts))\n",
        f"{HERE}/test_follow.py::test_a_follower_killed_between_any_two_statements_resumes_equal_to_the_chain"
        "[sqlite]",
    ),
    "reads of the follower fail in our words": Ablation(
        "index.database",
        '    except _FAILURES as error:\n        raise _unavailable(engine, "read"',
        '    except ZeroDivisionError as error:\n        raise _unavailable(engine, "read"',
        PROCESS + "test_a_follower_on_watch_outlives_its_database",
    ),
    # -- the database
    "a snapshot is of one moment": Ablation(
        "index.database",
        'isolation_level="REPEATABLE READ",',
        "",
        DATABASE + "test_a_snapshot_shows_one_moment_whatever_is_committed_meanwhile[postgresql]",
    ),
    "one process at a time migrates": Ablation(
        "index.database",
        "connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))",
        "pass",
        DATABASE
        + "test_an_empty_database_that_many_processes_open_at_once_is_made_once[postgresql]",
    ),
    "a connection is tried before it is used": Ablation(
        "index.database",
        "pool_pre_ping=True,",
        "",
        DATABASE + "test_connections_that_the_server_ended_are_replaced_before_they_are_used",
    ),
    "a writer waits, and not for ever": Ablation(
        "index.database",
        'func.set_config("lock_timeout", f"{int(wait * 1000)}ms", True),',
        'func.set_config("lock_timeout", "0", True),',
        DATABASE + "test_a_row_that_another_transaction_holds_is_waited_for_and_not_for_ever",
        endless=True,
    ),
    "a frozen writer loses its transaction": Ablation(
        "index.database",
        'f"{FROZEN_SECONDS}s",',
        '"0",',
        DATABASE + "test_a_transaction_of_a_process_that_is_frozen_ends_and_frees_what_it_held",
        endless=True,
    ),
    "nothing is prepared on a pooled connection": Ablation(
        "index.database",
        '"prepare_threshold": None,',
        "",
        f"{HERE}/test_pooling.py::test_prepared_statements_would_not_survive_the_pooler",
    ),
}


CONTROL = Ablation(
    "index.follow",
    "if ancestor == cursor.block:",
    "if not ancestor != cursor.block:",
    FORKS + "test_a_reorganisation_of_any_depth_above_finality[sqlite-3]",
)
"""Says the same in other words: no test may miss anything."""


test_the_table_knows_the_program = world.knows_the_program(ABLATIONS)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How the test of each ablation ended."""
    folder = tmp_path_factory.mktemp("ablations")
    return world.try_all({**world.tried(ABLATIONS), "control": CONTROL}, folder, seconds=500)


@pytest.mark.chain
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", world.listed(ABLATIONS))
def test_a_check_that_is_taken_away_is_missed(ended, name):
    if "Skipped:" in ended[name]:
        pytest.skip(ended[name].rpartition("Skipped:")[2].strip(" ')"))
    assert ended[name] == "failed"


@pytest.mark.chain
@pytest.mark.timeout(600)
def test_other_code_that_does_the_same_is_not_missed(ended):
    assert ended["control"] == "passed"


# -- the long form: the random run, which nobody wrote with one check in mind ----------------------

# Those without which three seeds go wrong. Of others the random run sees nothing: more than one
# check stands between its lies and the rows, or it drops no final block.
BY_CHANCE = (
    "a range begins on the cursor's block",
    "a roll back undoes the versions",
    "the cursor moved at all",
    "rows and cursor are one transaction",
)


@pytest.fixture
def copy(tmp_path):
    """A copy of the program that can be changed, so that processes started by a test run it too."""
    package = tmp_path / "ledger"
    package.mkdir()
    for entry in (ROOT / "ledger").iterdir():
        if entry.name != "index":
            (package / entry.name).symlink_to(entry)
    shutil.copytree(
        ROOT / "ledger" / "index",
        package / "index",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


@pytest.mark.deep
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", BY_CHANCE)
def test_a_random_run_misses_the_check_too(copy, name):
    ablation = ABLATIONS[name]
    module = copy / "ledger" / f"{ablation.module.replace('.', '/')}.py"
    module.write_text(world.changed_text(ablation, module.read_text()))
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *("-p", "no:schemathesis", "-p", "no:xdist", f"{HERE}/test_chaos.py", "-k", "sqlite"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 1, done.stdout + done.stderr
