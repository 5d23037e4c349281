"""What one endpoint shows of licenses at the blocks that are agreed on, and at its own head.

The questions of a round (``rounds``) go to an endpoint in one round trip. Where one of them cannot
be answered, it is put alone, so that it spoils no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.broker.entitlement_probe import EntitlementProbe, Question, side_of
from ledger.broker.facts import Side
from ledger.broker.panel import Sight
from ledger.chain.rpc import Block
from ledger.errors import ChainError, FormatError, LedgerError
from ledger.ids import Digest

Place = tuple[int, Digest, int]
"""Where in a round an answer belongs: number of the question, hash of the block, moment."""

Answer = tuple[int, Digest, str]
"""Number of the question, hash of the block, and what an endpoint sent."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one endpoint holds at the agreed blocks, if it has them, and at its own head."""

    final: Side | None
    head: Side | None
    own: Side


@dataclass(frozen=True, slots=True)
class Asked:
    """One decision's question; `now` in Unix seconds."""

    question: Question
    now: int


class Reading:
    """One endpoint's answers to the questions of a round.

    Args:
        probe: what asks.
        sight: the endpoint, with what it said already.
        asked: the questions.
        blocks: the agreed finalized block and the agreed head.
        at: each question's moment, in Unix seconds.
        guessed: what it was asked along with where it stands: number of the question, hash of the
            block, moment.
    """

    def __init__(
        self,
        probe: EntitlementProbe,
        sight: Sight,
        *,
        asked: Sequence[Asked],
        blocks: tuple[Block, Block],
        at: Sequence[int],
        guessed: Sequence[Place],
    ) -> None:
        self._probe, self._sight, self._asked = probe, sight, asked
        self._blocks, self._at = blocks, at
        self._said: dict[Place, Any] = (
            dict(zip(guessed, sight.early, strict=True)) if sight.early else {}
        )
        self._open = [
            (self._place(number, block), block)
            for number in range(len(asked))
            for block in self._distinct()
            if self._place(number, block) not in self._said
        ]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be asked."""
        return not self._open

    def shown(self, sides: dict[Answer, Side]) -> list[Shown | LedgerError]:
        """What it shows for each question.

        Args:
            sides: answers that were read already, for endpoints that say the same.

        Raises:
            LedgerError: it answers none of them.
        """
        try:
            self._ask(self._open)
            return [self._of(number, sides) for number in range(len(self._asked))]
        except (ChainError, FormatError) as error:
            if len(self._asked) == 1:
                return [self._apart(0, sides, error)]
        each = [self._alone(number, sides) for number in range(len(self._asked))]
        failures = [answer for answer in each if isinstance(answer, LedgerError)]
        if len(failures) == len(each):
            raise failures[0]
        for failure in failures:
            self._sight.witness.record.stumbled(failure)
        return each

    def _alone(self, number: int, sides: dict[Answer, Side]) -> Shown | LedgerError:
        """What it shows for one question of several, of which one spoiled the others."""
        try:
            try:
                self._ask([each for each in self._open if each[0][0] == number])
                return self._of(number, sides)
            except (ChainError, FormatError) as error:
                return self._apart(number, sides, error)
        except (ChainError, FormatError) as error:
            return error

    def _apart(
        self, number: int, sides: dict[Answer, Side], error: ChainError | FormatError
    ) -> Shown:
        """It does not hold the agreed blocks: no vote there, but what it holds is heard."""
        own = self._sight.head
        if own.hash in {block.hash for block in self._blocks}:
            raise error
        self._sight.apart(error)
        self._ask([(self._place(number, own), own)])
        return Shown(None, None, self._side(number, own, sides))

    def _ask(self, open_: Sequence[tuple[Place, Block]]) -> None:
        requests = [
            self._probe.request(self._asked[number].question, hash_, at=at)
            for (number, hash_, at), _ in open_
        ]
        places = (place for place, _ in open_)
        self._said.update(zip(places, self._sight.rpc.batch(requests), strict=True))

    def _of(self, number: int, sides: dict[Answer, Side]) -> Shown:
        final, head = (self._side(number, block, sides) for block in self._blocks)
        return Shown(final, head, self._side(number, self._sight.head, sides))

    def _side(self, number: int, block: Block, sides: dict[Answer, Side]) -> Side:
        said = self._said[self._place(number, block)]
        key = (number, block.hash, said if isinstance(said, str) else "")
        side = sides.get(key)
        if side is None:
            side = sides[key] = side_of(said, self._asked[number].question.license, block)
        return side

    def _place(self, number: int, block: Block) -> Place:
        agreed = {each.hash for each in self._blocks}
        # The contract answers for no moment before its block.
        at = self._at[number] if block.hash in agreed else max(self._at[number], block.timestamp)
        return number, block.hash, at

    def _distinct(self) -> tuple[Block, ...]:
        return distinct((*self._blocks, self._sight.head))


def distinct(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Each block once."""
    return tuple({block.hash: block for block in blocks}.values())
