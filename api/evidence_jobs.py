"""Evidence bundles that take long: asked for once, collected in the background, fetched when done.

One folder holds everything, so that a service killed in the middle goes on after its next start,
and a bundle once made can be fetched when the chain is gone. Each asker has a number of their own
that nobody can guess; equal requests are one piece of work. A claim that came with a request stands
in that work's file, which only this service reads, until the bundle is made; the index never sees
it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from api import hints
from ledger.canonical import canonical_json, parse_json
from ledger.chain.remembering import kept_beside
from ledger.errors import IndexUnavailable, LedgerError, RateLimited, UnknownRecord
from ledger.files import write_whole

State = Literal["queued", "collecting", "done", "failed"]
Collect = Callable[[dict[str, Any], Path, Callable[[str], None]], dict[str, Any]]

MAX_WAITING: Final = 16
MAX_WAITING_OF_ONE: Final = 4
MAX_ASKERS: Final = 64
MAX_ASKERS_OF_ONE: Final = 8
"""Of these numbers one party, a network or an account, may have so many."""
MAX_FAILED: Final = 256
"""Failures that can be looked at. One takes no time: without a bound anyone could make a hundred a
second, each with its file and its place in every look-up."""
REUSE_SECONDS: Final = 60.0
_MAX_FILE: Final = 256 << 20
_POLL: Final = 0.5
_AGAIN: Final = 10.0
_ACTIVE: Final = ("queued", "collecting")

log = structlog.get_logger("api")


class _Cancelled(Exception):
    """Nobody waits for this work any more, or the service stops."""


@dataclass(frozen=True, slots=True)
class Work:
    """One collection, for everyone who asked for the same.

    Attributes:
        name: of its files.
        key: digest of the request; equal requests have equal ones.
        request: what was asked, until it is done; None afterwards.
        askers: the numbers given out for it.
        steps: what has been done, the last is being done.
        made: facts about the finished bundle.
        error: ``code``, ``message``, ``hint`` of a failure.
    """

    name: str
    key: str
    subject: dict[str, Any]
    request: dict[str, Any] | None
    askers: tuple[str, ...]
    asked_at: float
    state: State = "queued"
    steps: tuple[str, ...] = ()
    ended_at: float | None = None
    made: dict[str, Any] | None = None
    error: dict[str, str] | None = field(default=None)

    @property
    def size(self) -> int:
        """Bytes of the bundle; 0 without one."""
        return 0 if self.made is None else int(self.made["bytes"])


class EvidenceJobs:
    """The jobs of one service. Thread-safe.

    Args:
        folder: theirs alone; made if absent.
        collect: makes a bundle for a request, at a path; called on the worker's thread.
        keep: seconds that a finished one can be fetched.
        disk: bytes that finished bundles may take; the oldest make room, as those do that failed
            beyond `MAX_FAILED`.
        now: Unix seconds.

    Raises:
        IndexUnavailable: another process works in this folder.
    """

    def __init__(
        self,
        folder: Path,
        collect: Collect,
        *,
        keep: float,
        disk: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._collect = collect
        self._keep = keep
        self._disk = disk
        self._now = now
        self._changed = threading.Condition()
        self._stop = threading.Event()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise IndexUnavailable(
                "another service works in this folder of evidence jobs",
                hint="give each service its own DEED_API_EVIDENCE_FOLDER",
            ) from None
        # By whom numbers were asked for. In memory alone: which address asked for what is nothing
        # to keep on a disk, and after a restart whoever asks next is bounded anew.
        self._party: dict[str, str] = {}
        self._works = self._restored()

    # -- asking --------------------------------------------------------------------------------

    def ask(
        self, request: dict[str, Any], subject: dict[str, Any], party: str = ""
    ) -> tuple[str, Work]:
        """Take a request; a number for the asker and the work that answers it.

        Args:
            request: what is asked for.
            subject: kind, model and license of it.
            party: the network or account that asks; empty for nobody in particular.

        Raises:
            IndexUnavailable: as many as this service takes are waiting.
            RateLimited: as many as it takes of this party are.
        """
        key = hashlib.sha256(canonical_json(request)).hexdigest()
        asker = secrets.token_hex(16)
        with self._changed:
            self._forget()
            work = self._same(key)
            if work is None:
                active = [w for w in self._works.values() if w.state in _ACTIVE]
                if len(active) >= MAX_WAITING:
                    raise _busy()
                if sum(self._asked(w, party) > 0 for w in active) >= MAX_WAITING_OF_ONE:
                    raise _many()
                name = secrets.token_hex(8)
                work = Work(name, key, subject, request, (), self._now())
            if len(work.askers) >= MAX_ASKERS:
                raise _busy()
            if self._asked(work, party) >= MAX_ASKERS_OF_ONE:
                raise _many()
            work = self._put(replace(work, askers=(*work.askers, asker)))
            if party:
                self._party[asker] = party
            self._changed.notify_all()
        return asker, work

    def _asked(self, work: Work, party: str) -> int:
        """How many of a work's numbers are a party's."""
        return sum(self._party.get(of) == party for of in work.askers) if party else 0

    def look(self, asker: str, *, wait: float = 0.0, seen: int = -1) -> Work:
        """How an asker's work stands, at once or when there is news.

        Args:
            asker: their number.
            wait: seconds to wait for news at most.
            seen: steps that the asker knows; -1 waits for the end.

        Raises:
            UnknownRecord: no such number, or its time is over.
        """
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                self._forget()
                work = self._of(asker)
                left = deadline - time.monotonic()
                news = work.state not in _ACTIVE or -1 < seen < len(work.steps)
                if news or left <= 0 or self._stop.is_set():
                    return work
                self._changed.wait(min(left, _POLL))

    def bundle(self, asker: str) -> tuple[Path, Work]:
        """The finished bundle.

        Raises:
            UnknownRecord: no such number, or its time is over.
            IndexUnavailable: it is not done yet.
        """
        with self._changed:
            self._forget()
            work = self._of(asker)
            if work.state in _ACTIVE:
                raise IndexUnavailable(
                    "the bundle is not made yet", retry_after=2.0, hint="ask for the job's state"
                )
            return self._path(work), work

    def leave(self, asker: str) -> None:
        """An asker no longer wants it; where nobody does, it ends and its files go.

        Raises:
            UnknownRecord: no such number, or its time is over.
        """
        with self._changed:
            work = self._of(asker)
            askers = tuple(of for of in work.askers if of != asker)
            self._party.pop(asker, None)
            if askers:
                self._put(replace(work, askers=askers))
            else:
                self._drop(work)
            self._changed.notify_all()

    def expires_at(self, work: Work) -> int | None:
        """Unix seconds until which it can be fetched; None while it is not done."""
        return None if work.ended_at is None else int(work.ended_at + self._keep)

    # -- working -------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Collect what is asked for, oldest first, until `stop`."""
        while not stop.is_set():
            with self._changed:
                self._forget()
                waiting = [w for w in self._works.values() if w.state == "queued"]
                if not waiting:
                    self._changed.wait(_POLL)
                    continue
                work = self._put(
                    replace(min(waiting, key=lambda w: w.asked_at), state="collecting", steps=())
                )
            self._work(work, stop)

    def close(self) -> None:
        """Let go of the folder."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._lock.close()

    def _work(self, work: Work, stop: threading.Event) -> None:
        def progress(what: str) -> None:
            with self._changed:
                found = self._works.get(work.name)
                if stop.is_set() or found is None:
                    raise _Cancelled
                self._works[work.name] = replace(found, steps=(*found.steps, what))
                self._changed.notify_all()

        assert work.request is not None
        try:
            made = self._collect(work.request, self._path(work), progress)
        except _Cancelled:
            # What a stop interrupts is taken up again at the next start.
            with self._changed:
                if work.name not in self._works:
                    self._remove(work)
            return
        except LedgerError as error:
            told = {"code": error.code, "message": error.message, "hint": hints.over_http(error)}
            self._end(work, "failed", error=told)
        except Exception as error:
            log.exception("an evidence job failed", error=type(error).__name__)
            told = {
                "code": "INTERNAL_ERROR",
                "message": "the service failed",
                "hint": "ask again; report it if it fails again",
            }
            self._end(work, "failed", error=told)
        else:
            self._end(work, "done", made=made)

    def _end(
        self,
        work: Work,
        state: State,
        *,
        made: dict[str, Any] | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        with self._changed:
            found = self._works.get(work.name)
            if found is None:  # everyone left meanwhile
                self._remove(work)
                return
            ended = replace(
                found, state=state, request=None, made=made, error=error, ended_at=self._now()
            )
            self._put(ended)
            self._make_room(ended)
            self._changed.notify_all()

    # -- keeping -------------------------------------------------------------------------------

    def _path(self, work: Work) -> Path:
        return self._folder / f"{work.name}.zip"

    def _same(self, key: str) -> Work | None:
        """The work of an equal request: under way, or just made."""
        for work in self._works.values():
            fresh = work.state == "done" and self._now() - (work.ended_at or 0) < REUSE_SECONDS
            if work.key == key and (work.state in _ACTIVE or fresh):
                return work
        return None

    def _of(self, asker: str) -> Work:
        for work in self._works.values():
            if asker in work.askers:
                return work
        raise UnknownRecord(
            "there is no such evidence job, or its time is over",
            hint="ask anew: POST /v1/evidence/jobs",
        )

    def _put(self, work: Work) -> Work:
        dest = self._folder / f"{work.name}.json"
        write_whole(dest, json.dumps(asdict(work)).encode(), mode=0o600)
        self._works[work.name] = work
        return work

    def _drop(self, work: Work) -> None:
        self._works.pop(work.name, None)
        for asker in work.askers:
            self._party.pop(asker, None)
        self._remove(work)

    def _remove(self, work: Work) -> None:
        (self._folder / f"{work.name}.json").unlink(missing_ok=True)
        self._path(work).unlink(missing_ok=True)
        kept_beside(self._path(work)).unlink(missing_ok=True)

    def _forget(self) -> None:
        now = self._now()
        for work in [*self._works.values()]:
            if work.ended_at is not None and now >= work.ended_at + self._keep:
                self._drop(work)

    def _make_room(self, newest: Work) -> None:
        failed = [w for w in self._works.values() if w.state == "failed"]
        for work in sorted(failed, key=lambda w: w.ended_at or 0.0)[:-MAX_FAILED]:
            self._drop(work)
        ended = sorted((w for w in self._works.values() if w.size), key=lambda w: w.ended_at or 0.0)
        total = sum(w.size for w in ended)
        for work in ended:
            if total <= self._disk or work.name == newest.name:
                return
            total -= work.size
            self._drop(work)

    def _restored(self) -> dict[str, Work]:
        works: dict[str, Work] = {}
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(LedgerError, OSError, TypeError, KeyError, AttributeError):
                read = parse_json(path.read_bytes(), what=path.name, limit=_MAX_FILE)
                values = {**read, "askers": tuple(read["askers"]), "steps": tuple(read["steps"])}
                work = Work(**values)
                if work.state in _ACTIVE:
                    work = replace(work, state="queued", steps=())
                if work.name == path.stem and (work.state != "done" or self._path(work).is_file()):
                    works[work.name] = work
        known = {
            kept
            for work in works.values()
            for path in (self._path(work),)
            for kept in (path.name, f"{work.name}.json", kept_beside(path).name)
        }
        for path in self._folder.iterdir():
            if path.is_file() and path.name not in known | {"lock"}:
                path.unlink(missing_ok=True)
        return works


def _many() -> RateLimited:
    return RateLimited(
        "evidence jobs: as many as this service takes of one network or account are waiting",
        retry_after=_AGAIN,
        hint="ask again when one of them is done, or collect without this service: "
        "deed evidence collect",
    )


def _busy() -> IndexUnavailable:
    return IndexUnavailable(
        "evidence jobs: as many as this service takes are waiting",
        retry_after=_AGAIN,
        hint="ask again later, or collect without this service: deed evidence collect",
    )
