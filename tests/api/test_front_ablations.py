"""Each step of docs/spec/entitlement-cache.md, taken away, makes a test fail.

That the text is still found, which is looked at each time, keeps the table true to the program;
``make deep`` takes the steps away.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

world: Any = importlib.import_module("ablation_world")
Ablation = world.Ablation

FRONT, WIRE = "tests/api/test_front.py::", "tests/api/test_front_wire.py::"
WATCHING = "tests/ledger/index/test_watching.py::"
COMMIT = WIRE + "test_a_question_completed_after_a_commit_is_answered_with_it"
DURING = WIRE + "test_a_question_that_comes_while_another_is_under_way_is_not_answered_by_it"
PLAIN = WIRE + "test_what_only_looks_like_a_kept_question_is_none[sqlite]"
INSIDE = FRONT + "test_what_is_more_than_a_question_goes_inside[sqlite]"
ENDED = FRONT + "test_what_the_clock_ends_is_ended_in_memory[sqlite]"
EARLIER = FRONT + "test_what_was_worked_out_from_an_earlier_state_is_not_kept[sqlite]"

ABLATIONS = {
    # -- the mark
    "SQLite's count of commits is looked at": Ablation(
        "index.watching",
        "if version != self._version or self._mark is None:",
        "if self._mark is None:",
        f"{COMMIT}[sqlite]",
    ),
    "PostgreSQL's snapshot is compared": Ablation(
        "index.watching",
        "if result.nfields < _MEMBERS and row != self._ended:",
        "if False:",
        f"{COMMIT}[postgresql]",
    ),
    "who comes while a question is under way waits for the next": Ablation(
        "index.watching",
        "self._next.append(found)",
        "(self._under_way or self._next).append(found)",
        WATCHING + "test_a_question_is_answered_with_every_commit_before_it[postgresql]",
    ),
    "who comes while the front asks waits for its next": Ablation(
        "api.front",
        "                await self._serve_all(waiting, memory)\n",
        "                await memory.moment()\n"
        "                for asked in waiting + self._waiting:\n"
        "                    self._say(asked, memory, memory._moment[2])\n"
        "                self._waiting = []\n",
        f"{DURING}[postgresql]",
    ),
    # -- memory follows
    "memory is compared with the mark": Ablation(
        "api.memory",
        "if own is None or own.page != mark.page:",
        "if own is None:",
        f"{COMMIT}[sqlite]",
    ),
    "what changed is dropped": Ablation(
        "api.memory",
        "for license_ in changes.licenses:",
        "for license_ in ():",
        f"{COMMIT}[sqlite]",
    ),
    "a state that does not continue the old drops all": Ablation(
        "api.memory",
        "if held is None or bytes(held) != old.state.last_hash:",
        "if False:",
        FRONT + "test_a_reorganisation_that_nobody_saw_happen_ends_what_was_kept_before_it[sqlite]",
    ),
    "an entry of an earlier state is not kept": Ablation(
        "api.memory",
        "if self._mark is None or self._mark.state != mark.state:",
        "if False:",
        EARLIER,
    ),
    "a page of an earlier state is not kept": Ablation(
        "api.memory",
        "if self._mark is None or self._mark.page != mark.page or key in self.pages:",
        "if False:",
        EARLIER,
    ),
    # -- the clock
    "an entry has its time": Ablation(
        "api.memory", "return self.begin <= moment.seconds < self.end", "return True", ENDED
    ),
    "a page's validator has its age": Ablation(
        "api.memory",
        "return moment.lag_s <= self.stale_s",
        "return True",
        FRONT + "test_when_nobody_follows_answers_say_how_old_they_are[sqlite]",
    ),
    # -- what is a plain question
    "credentials and bodies go inside": Ablation(
        "api.front", "if name in _LOOKED_AT:", 'if name == b"host":', INSIDE
    ),
    "the host is known": Ablation(
        "api.front",
        'return host in self._hosts.good or self._hosts.known(host or b"")',
        "return True",
        INSIDE,
    ),
    "there is one host": Ablation(
        "api.front", 'if name != b"host" or host is not None:', 'if name != b"host":', PLAIN
    ),
    "a coded path is decoded first": Ablation(
        "api.wire", 'and b"%" not in self.url', "and True", PLAIN
    ),
    "limits are counted": Ablation(
        "api.front",
        "self._memory = memory if self._whole else None",
        "self._memory = memory",
        WIRE + "test_every_way_to_an_answer_gives_the_same_bytes[sqlite]",
    ),
    # -- the connection
    "answers keep their order": Ablation(
        "api.wire",
        "            self.inside()  # the other",
        "            pass  # the other",
        WIRE + "test_answers_come_in_the_order_of_the_questions[postgresql]",
    ),
    "the last answer says so": Ablation(
        "api.wire",
        "and parser.should_keep_alive()",
        "and True",
        WIRE + "test_every_way_to_an_answer_gives_the_same_bytes[sqlite]",
    ),
    "nothing is sent to who does not read": Ablation(
        "api.wire",
        "if self.flow.write_paused or self.transport.is_closing():",
        "if self.transport.is_closing():",
        WIRE + "test_a_client_that_does_not_read_is_sent_no_more_until_it_does[sqlite]",
    ),
    "the end waits for who was taken over": Ablation(
        "api.wire",
        "        self.inside()\n        super().shutdown()",
        "        super().shutdown()",
        WIRE + "test_who_is_waiting_at_the_end_is_answered_before_it[sqlite]",
    ),
}


test_the_table_knows_the_program = world.knows_the_program(ABLATIONS)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """How the test of each ablation ended."""
    return world.try_all(ABLATIONS, tmp_path_factory.mktemp("ablations"), seconds=500)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ABLATIONS)
def test_a_step_that_is_taken_away_is_missed(ended, name):
    assert ended[name] == "failed"
