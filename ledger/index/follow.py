"""Follow a chain's logs into the database, through reorganisations, crashes and bad endpoints.

`Follower.step` is one turn: ask the endpoint where it stands, then do at most one transaction,
forward or back. `Follower.run` repeats it until told to stop, and never dies of what an endpoint
says: it keeps a `Status` that readiness shows instead.

The rule for a reorganisation, with its reasons, is in ``docs/spec/index.md``.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import Engine

from ledger.errors import (
    ChainError,
    ChainUnavailable,
    Fenced,
    LedgerError,
    LimitExceeded,
    Reorganised,
    UnavailableError,
    WrongNetwork,
)
from ledger.ids import Address, Digest
from ledger.index.database import writing
from ledger.index.decode import Event, decode
from ledger.index.fetch import (
    Contracts,
    Heads,
    Log,
    Node,
    genesis,
    read_header,
    read_heads,
    read_model,
    read_plan,
    read_range,
)
from ledger.index.fold_licenses import plan_digest
from ledger.index.journal import Cursor, Journal

log = logging.getLogger(__name__)

FIRST_SPAN, MAX_SPAN = 100, 1000
TARGET_LOGS = 2000
POLL_SECONDS = 0.5
HEARTBEAT_MS = 1000
# Blocks kept below finality where even those may be taken back.
TEST_NETWORK_KEPT = 2000
# A fenced follower stays on watch and takes over when the leader has written nothing for so long.
LEADER_SILENT_MS = 30_000
MAX_WAIT_SECONDS = 5.0


class Finality(Protocol):
    """The part of `ledger.chain.profile.ChainProfile` that following needs."""

    @property
    def test_network(self) -> bool:
        """Whether undoing finalized blocks is allowed, as on a local chain."""
        ...

    @property
    def finality_depth(self) -> int:
        """Blocks below the head that count as final where the endpoint names none."""
        ...


class Contracted(Protocol):
    """The part of `ledger.chain.deployment.Deployment` that following needs."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        ...

    @property
    def genesis_hash(self) -> Digest:
        """Hash of block 0."""
        ...

    @property
    def block(self) -> int:
        """The block of the first contract's creation."""
        ...

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Contracts by name."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """What the follower is doing, for people and for readiness.

    Attributes:
        state: starting, following, synced, unavailable, standby or stopped.
        reason: one sentence when something is wrong, else empty.
        since: Unix time at which this state began.
        reorgs: rolled back by this process.
    """

    state: str
    reason: str
    since: float
    reorgs: int = 0


class Follower:
    """One process's hand on the index of one deployment.

    Args:
        node: the chain (`ledger.chain.rpc.Rpc`).
        engine: from `ledger.index.database.open_database`.
        deployment: which contracts, on which chain, since which block.
        profile: the chain's finality rule.
        now: Unix time in seconds.
        poll: seconds between two looks at an idle chain.
    """

    def __init__(
        self,
        node: Node,
        engine: Engine,
        deployment: Contracted,
        profile: Finality,
        *,
        now: Callable[[], float] = time.time,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._node = node
        self._engine = engine
        self._deployment = deployment
        self._profile = profile
        self._now = now
        self._poll = poll
        self._contracts = Contracts.of(deployment.addresses)
        self._journal = Journal(deployment.chain_id)
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._epoch: int | None = None
        self._identified = False
        self._span = FIRST_SPAN
        self._reorgs = 0
        self._status = Status("starting", "", now())

    @property
    def status(self) -> Status:
        """What it is doing now."""
        return self._status

    @property
    def journal(self) -> Journal:
        """The journal it writes."""
        return self._journal

    # -- running -------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set. Errors become the status; the next turn tries again."""
        failures = 0
        while not stop.is_set():
            try:
                wait = 0.0 if not self.step() else self._poll
                failures = 0
            except Fenced as error:
                wait = self._stand_by(error)
            except LedgerError as error:
                failures += 1
                wait = self._failed(error, failures)
            except Exception:
                # A bug, or a full disk: the service goes on answering, and says how old it is.
                failures += 1
                log.exception("the follower failed")
                self._set("unavailable", "the follower failed; see the log")
                wait = _backoff(failures)
            stop.wait(wait)

    def _stand_by(self, error: Fenced) -> float:
        self._set("standby", error.message)
        with self._engine.connect() as connection:
            cursor = self._journal.cursor(connection)
        if self._now() * 1000 - cursor.updated_at_ms > LEADER_SILENT_MS:
            self._epoch = None
        return 1.0

    def _failed(self, error: LedgerError, failures: int) -> float:
        # Whatever answers next may be another chain: look at its identity again first.
        self._identified = False
        stuck = isinstance(error, (WrongNetwork, Reorganised))
        if self._status.reason != error.message:
            log.warning("%s: %s", error.code, error.message)
        self._set("stopped" if stuck else "unavailable", error.message)
        wait = error.retry_after if isinstance(error, UnavailableError) else 1.0
        return min(MAX_WAIT_SECONDS, max(wait * 0.5, _backoff(failures)))

    def _set(self, state: str, reason: str = "") -> None:
        if (state, reason) != (self._status.state, self._status.reason):
            self._status = Status(state, reason, self._now(), self._reorgs)
        elif self._status.reorgs != self._reorgs:
            self._status = replace(self._status, reorgs=self._reorgs)

    # -- one turn ------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do at most one transaction. True when the index then stands on the endpoint's head.

        Raises:
            ChainUnavailable: the endpoint's answer cannot be used; nothing was changed.
            WrongNetwork: another chain, or a database of another chain.
            Reorganised: the chain changed below finality; an operator must decide.
            Fenced: another process follows.
        """
        self._identify()
        with self._engine.connect() as connection:
            cursor = self._journal.cursor(connection)
        if cursor.epoch != self._epoch:
            raise Fenced("another process follows the chain into this database")
        heads = read_heads(self._node, depth=self._profile.finality_depth)
        if heads.latest.number < cursor.next_block:
            return self._compare_tip(cursor, heads)
        return self._advance(cursor, heads)

    def take_over(self) -> None:
        """Become the process that follows; the one before commits nothing more."""
        with writing(self._engine) as connection:
            self._epoch = self._journal.take_over(connection, self._holder)

    def _identify(self) -> None:
        """Check chain id and genesis, at the start and after every failure."""
        if not self._identified:
            chain_id, block0 = genesis(self._node)
            expected = self._deployment
            if chain_id != expected.chain_id or block0 != expected.genesis_hash:
                what = (
                    f"chain {chain_id} and not {expected.chain_id}"
                    if chain_id != expected.chain_id
                    else f"a chain {chain_id} with another first block"
                )
                raise WrongNetwork(
                    f"the endpoint serves {what}",
                    hint="the URL or the deployment manifest may be of another network: correct "
                    "it; only a local chain that was lost is begun anew, with deed up --fresh",
                )
            with writing(self._engine) as connection:
                self._journal.pin(
                    connection,
                    genesis=expected.genesis_hash,
                    deployment={name: str(a) for name, a in expected.addresses.items()},
                    first=expected.block,
                )
            self._identified = True
        if self._epoch is None:
            self.take_over()

    def _advance(self, cursor: Cursor, heads: Heads) -> bool:
        first = cursor.next_block
        last = min(heads.latest.number, first + self._span - 1)
        try:
            headers, logs = read_range(self._node, self._contracts, first, last)
        except (ChainUnavailable, LimitExceeded, ChainError):
            # Too much at once is the commonest reason, and looks different at every provider.
            self._span = max(1, self._span // 2)
            raise
        if cursor.last_hash is not None and headers[0].parent_hash != cursor.last_hash:
            return self._roll_back(cursor, heads)
        answers = self._read_beside(logs)
        with writing(self._engine) as connection:
            self._journal.append(
                connection,
                cursor,
                heads,
                headers=headers,
                logs=logs,
                answers=answers,
                keep=TEST_NETWORK_KEPT if self._profile.test_network else 0,
                now_ms=self._now_ms(),
            )
        if len(logs) < TARGET_LOGS:
            self._span = min(MAX_SPAN, self._span * 3 // 2 + 1)
        elif len(logs) > 2 * TARGET_LOGS:
            self._span = max(1, self._span // 2)
        synced = last >= heads.latest.number
        self._set("synced" if synced else "following")
        return synced

    def _read_beside(self, logs: list[Log]) -> dict[tuple[int, int], bytes]:
        """What events of this range leave out: a plan's terms, a commitment of the same second."""
        answers = {}
        for item in logs:
            event = decode(item.contract, item.topics, item.data)
            name = "" if event is None else event.name
            if event is not None and name == "PlanCreated":
                answers[item.block, item.log_index] = self._read_terms(item.address, event)
            elif event is not None and name == "ModelRegistered" and _same_second(event):
                answer = read_model(self._node, item.address, item.topics[1])
                if not any(answer):
                    raise ChainUnavailable("the endpoint shows a registration and no such model")
                answers[item.block, item.log_index] = answer
        return answers

    def _read_terms(self, ledger: bytes, event: Event) -> bytes:
        plan_id, licensor = event.values["planId"], event.values["licensor"]
        assert isinstance(plan_id, int)
        assert isinstance(licensor, Address)
        answer = read_plan(self._node, ledger, plan_id)
        # The event carries a digest of the terms, so the endpoint need not be believed.
        if Digest(plan_digest(licensor.raw, answer)) != event.values["planDigest"]:
            raise ChainUnavailable(f"the endpoint shows other terms of plan {plan_id}")
        return answer

    # -- standing still, and going back ----------------------------------------------------------

    def _compare_tip(self, cursor: Cursor, heads: Heads) -> bool:
        """Nothing new: is our last block still the endpoint's?"""
        head = heads.latest
        if cursor.last_hash is None:
            self._set("synced")
            return True
        if head.number == cursor.block and head.hash == cursor.last_hash:
            now_ms = self._now_ms()
            if now_ms - cursor.synced_at_ms >= HEARTBEAT_MS or heads.finalized > cursor.finalized:
                with writing(self._engine) as connection:
                    self._journal.note(connection, cursor, heads, now_ms)
            self._set("synced")
            return True
        if head.number == cursor.block or self._profile.test_network:
            return self._roll_back(cursor, heads)
        # One endpoint with a lower head lags; it is no witness of a reorganisation.
        raise ChainUnavailable(
            f"the endpoint stands at block {head.number}, below block {cursor.block} of the index",
            hint="the endpoint is syncing or lags; use another, or wait",
        )

    def _roll_back(self, cursor: Cursor, heads: Heads) -> bool:
        """Walk down over the kept blocks to the newest one the endpoint still has."""
        ancestor = self._common_ancestor(heads)
        if ancestor == cursor.block:
            return False  # the tip is there after all: a torn answer
        if ancestor < cursor.finalized and not self._profile.test_network:
            raise Reorganised(
                f"the endpoint contradicts finalized block {cursor.finalized}; blocks agree up to "
                f"{ancestor}",
                hint="the index stays as it is; check the endpoint against others before anything",
            )
        with writing(self._engine) as connection:
            self._journal.roll_back(connection, cursor, ancestor, heads, self._now_ms())
        self._reorgs += 1
        log.warning("rolled back from block %d to block %d", cursor.block, ancestor)
        self._set("following")
        return False

    def _common_ancestor(self, heads: Heads) -> int:
        with self._engine.connect() as connection:
            known = list(self._journal.known_blocks(connection))
            first = self._journal.first_block(connection)
        for number, hash_ in known:
            if number > heads.latest.number:
                continue
            # Twice: an answer from the old branch must not count, nor one from a cache.
            one, two = read_header(self._node, number), read_header(self._node, number)
            if one is None or two is None or one.hash != two.hash:
                raise ChainUnavailable(f"the endpoint shows block {number} in two forms")
            if one.hash == hash_:
                return number
        return first - 1

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _same_second(event: Event) -> bool:
    return event.values["committedAt"] == event.values["registeredAt"]


def _backoff(failures: int) -> float:
    return min(MAX_WAIT_SECONDS, 0.25 * 2.0 ** min(failures, 6))
