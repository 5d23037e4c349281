"""Questions that come at the same time are asked together, each after it came.

As in a group commit: while one round of questions is under way, those that come wait, and the next
round carries all of them. A round begins after every question in it, so its look at the chain is as
fresh for each as one of its own. Whoever waits longest leads the next round in their own thread. A
round that takes long, because an endpoint hangs, holds nobody up: another begins beside it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from ledger.broker.turns import TURNS

LONG_ROUND: Final = 0.1
"""Seconds after which those who wait do not wait for the round under way any more."""

LULL: Final = 0.005
"""Seconds that a round waits at most until no decision computes, so that more may join it."""

MOST_ROUNDS: Final = 8
"""Rounds under way at once."""

MOST_TOGETHER: Final = 24
"""Questions in one round."""

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(Generic[Q, A]):
    """One question, whose thread sleeps on `bell` until its answer is there or it may lead."""

    __slots__ = ("answer", "bell", "failure", "over", "question", "taken")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: A | None = None
        self.failure: BaseException | None = None
        self.taken = self.over = False
        self.bell = threading.Lock()
        self.bell.acquire()

    def ring(self) -> None:
        """Wake its thread, which looks for itself what has changed."""
        with contextlib.suppress(RuntimeError):  # it was rung before and has not yet woken
            self.bell.release()


class Rounds(Generic[Q, A]):
    """Carries questions in rounds. Thread-safe.

    Args:
        carry: answers a round's questions, in order; an answer may be an exception, which is raised
            where it was asked. What it raises itself is raised for all of them.
        clock: seconds that never jump.
    """

    def __init__(
        self,
        carry: Callable[[Sequence[Q]], Sequence[A | BaseException]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._carry = carry
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[_Asked[Q, A]] = []
        self._under_way = 0
        self._latest = float("-inf")

    def ask(self, question: Q) -> A:
        """The answer to a question, asked for after this call began."""
        mine: _Asked[Q, A] = _Asked(question)
        with self._lock:
            self._waiting.append(mine)
            leads = self._begins()
        while not mine.over:
            if leads:
                # Let more come while others compute anyway: each that joins saves a round.
                TURNS.lull(LULL)
                self._run(self._load())
            else:
                mine.bell.acquire(timeout=-1 if mine.taken else LONG_ROUND)
            with self._lock:
                leads = not mine.taken and self._begins()
        if mine.failure is not None:
            raise mine.failure
        return mine.answer  # type: ignore[return-value]  # it is over, and did not fail

    def _begins(self) -> bool:
        """Whether the caller begins a round now; the lock is held."""
        if self._under_way:
            fresh = self._clock() - self._latest < LONG_ROUND
            if fresh or self._under_way >= MOST_ROUNDS:
                return False
        self._under_way += 1
        self._latest = self._clock()
        return True

    def _load(self) -> list[_Asked[Q, A]]:
        """What a round carries: all that wait, none if another round took them meanwhile."""
        with self._lock:
            load, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            for each in load:
                each.taken = True
        return load

    def _run(self, load: list[_Asked[Q, A]]) -> None:
        answers: Sequence[A | BaseException] = ()
        failure: BaseException | None = None
        try:
            answers = self._carry([each.question for each in load]) if load else ()
        except BaseException as error:  # noqa: BLE001  each of those who asked raises it
            failure = error
        for number, each in enumerate(load):
            answer = answers[number] if failure is None else failure
            if isinstance(answer, BaseException):
                each.failure = answer
            else:
                each.answer = answer
            each.over = True
            each.ring()
        with self._lock:
            self._under_way -= 1
            # Whoever waits longest leads: it wakes, finds no round under way, and begins one.
            first = self._waiting[0] if self._waiting else None
        if first is not None:
            first.ring()
