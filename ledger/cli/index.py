"""``deed index``: follow the chain into tables, look at them, derive them anew, verify them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import index_copies
from ledger.cli.index_args import (
    Database,
    chain_of,
    chains_in,
    opened,
    operator_name,
    place_of,
    require_own,
)
from ledger.cli.index_status import require_usable, status_answer
from ledger.cli.output import Answer, console, fields, table
from ledger.cli.session import Session
from ledger.cli.settings import checked_url
from ledger.cli.signals import ended_like_interrupts, setting_when_told
from ledger.cli.verb import Verbs
from ledger.errors import ChainUnavailable, UsageError

if TYPE_CHECKING:
    from ledger.index.accepting import Proposal
    from ledger.index.audit_report import Check
    from ledger.index.endpoints import Endpoints
    from ledger.index.rebuilding import Difference

app = Verbs("Follow the chain into tables.")

MAX_PROOF_RATE = 10_000.0
KEEPER_STOP_SECONDS = 20.0
REASONS_SHOWN = 5
# A rebuild takes the journal for true.
_WHICH_WAS_WRONG = (
    "the tables are what the journal gives, and nothing here says that the journal is the chain's: "
    "deed index audit --chain does"
)
_NOT_MENDED = (
    "drop a trigger or rule that is not yours, and mistrust what was written since it was there; "
    "for a table, a column or a key put a copy back (deed index restore, or pg_restore)"
)

_Rpc = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc",
        metavar="URL",
        help="An endpoint, in place of the network's; repeat it. archive=URL: asked first for old "
        "blocks; head=URL: only for recent ones.",
    ),
]
_Quorum = Annotated[
    int | None,
    typer.Option(
        "--quorum",
        min=1,
        metavar="N",
        help="Endpoints that must agree on what is final; more than half by default.",
    ),
]
_ProofRate = Annotated[
    float | None,
    typer.Option("--proof-rate", metavar="N", help="Questions a second for proofs, not 20."),
]


@app.verb("run", waits=False)
def run(
    session: Session,
    *,
    database: Database = None,
    rpc: _Rpc = None,
    quorum: _Quorum = None,
    proofs: Annotated[
        bool,
        typer.Option("--proofs/--no-proofs", help="Take proofs of final events, while nodes have."),
    ] = True,
    proof_rate: _ProofRate = None,
) -> Answer:
    """Follow the chain until Ctrl-C. Killed at any point, it resumes where it was.

    Exit code 2: before anything was followed, the database or all endpoints were found to be of
    another chain or of other contracts. An SQLite file is of one chain; a PostgreSQL database takes
    several. Later it waits for endpoints to be put right. Exit code 3: ended before any endpoint
    answered, with a database that holds nothing yet, it has nothing to report.
    """
    from ledger.index.follow import Follower
    from ledger.index.keeper import Keeper

    rate = _checked_rate(proof_rate)
    stop = threading.Event()
    network = session.network
    deployment, profile = network.deployment, network.profile
    with (
        setting_when_told(stop),
        opened(session, database, create=True) as engine,
        _endpoints(session, rpc, quorum) as endpoints,
    ):
        follower = Follower(endpoints, engine, deployment, profile)
        keeper = Keeper(
            endpoints,
            engine,
            deployment.chain_id,
            proofs=proofs and profile.proof_kind == "mpt",
            active=lambda: follower.status.state in {"synced", "following"},
            rate=rate,
        )
        beside = threading.Thread(target=keeper.run, args=(stop,), name="keeper", daemon=True)
        if deployment.chain_id not in chains_in(engine):
            place = place_of(session, database)
            console.note(f"nothing is kept in {place} yet: begins at block {deployment.block}")
        console.note(f"following {network.name} over {_listed(endpoints)}; Ctrl-C stops")
        beside.start()
        try:
            follower.run(stop, patient=False)
        finally:
            stop.set()
            beside.join(KEEPER_STOP_SECONDS)
        if deployment.chain_id not in chains_in(engine):
            why = follower.status.reason
            raise ChainUnavailable(
                f"nothing was followed before it ended{why and ': ' + why}",
                hint="pass --rpc with an endpoint of this chain that answers",
            )
        return status_answer(session, engine, endpoints, look=False)


@app.verb("status")
def status(
    session: Session, *, database: Database = None, rpc: _Rpc = None, quorum: _Quorum = None
) -> Answer:
    """Show how far the index has come, what it keeps, and how each endpoint is.

    Proofs are counted as they were taken: whether they are all there, deed index audit says. Exit
    code 1: the chain no longer has what was final here, so that no follower goes on; it says how to
    go back. Exit code 3: no endpoint can be used, or no network is chosen (of a lone copy, say), so
    that nobody says how far the chain is.
    """
    with opened(session, database) as engine, _known(session, rpc, quorum) as endpoints:
        require_own(session, engine)
        return status_answer(session, engine, endpoints, look=True)


@app.verb("prove", waits=False)
def prove(
    session: Session,
    *,
    database: Database = None,
    rpc: _Rpc = None,
    quorum: _Quorum = None,
    proof_rate: _ProofRate = None,
) -> Answer:
    """Ask once more for proofs that could not be had, such as of an archive=URL added since.

    Also for those that the database no longer holds as they were, which deed index audit tells. All
    of it is looked through first: what is whole there serves again, and needs no endpoint. A
    follower may run meanwhile. Exit code 1 while some are lacking; it says why. Exit code 3:
    some lack, and no endpoint can be used; 2: all are of another chain, or the database is. Ended
    at any point, it keeps what it has found.
    """
    from ledger.index.mending import Mender
    from ledger.index.proof_source import ProofSource

    chain_id = session.network.deployment.chain_id
    with (
        ended_like_interrupts(),
        opened(session, database) as engine,
        _endpoints(session, rpc, quorum) as endpoints,
        console.progress("looking through", "blocks") as show,
    ):
        require_own(session, engine)
        source = ProofSource(endpoints, _checked_rate(proof_rate))
        ready = partial(require_usable, endpoints)
        answer = Mender(engine, chain_id, source).retrieve(show, ready=ready)
    still = sum(answer.reasons.values())
    rows: list[tuple[str, object]] = [("found", _proofs(answer.found))]
    rows += [("lacking", told) for told in _lacking(answer.reasons)]
    data = {"found": answer.found, "lost": still, "reasons": dict(answer.reasons)}
    return Answer(data, fields(rows), ok=not still)


@app.verb("rebuild", waits=False)
def rebuild(session: Session, *, database: Database = None) -> Answer:
    """Derive all tables anew from the journal and the deposited documents; nothing is fetched.

    One transaction: ended at any point, it has changed nothing. It says which tables were not what
    the journal gives, and which tables, columns, keys, triggers and rules are not this release's,
    which it leaves as they are; where there are some, the exit code is 1. Tables and journal that
    differ do not say which was wrong: deed index audit --chain holds the journal against the chain,
    and where that can be asked it comes first. Exit code 2: an event of the journal is not as its
    contract emits it, or kept proofs show it otherwise; nothing was changed.
    """
    from ledger.index.journal import Journal
    from ledger.index.rebuilding import rebuild as rebuild_tables

    with ended_like_interrupts(), opened(session, database) as engine:
        require_own(session, engine)
        journal = Journal(chain_of(session, engine))
        known = session.network.deployment.addresses if session.has_network else None
        done = rebuild_tables(engine, journal, f"rebuild:{os.getpid()}", known)
    mended = bool(done.differences or done.leaves.differed or done.indexes or done.outbox)
    unmended = bool(done.leaves.faults or done.lacking)
    same = not mended and not unmended
    hints = [_WHICH_WAS_WRONG] if done.differences or done.outbox else []
    hints += [_NOT_MENDED] if done.lacking else []
    data = {
        "events": done.events,
        "same": same,
        "differences": [_difference(each) for each in done.differences],
        "leaves": {
            "models": done.leaves.models,
            "leaves": done.leaves.leaves,
            "repaired": done.leaves.differed,
            "faults": done.leaves.faults,
        },
        "indexes": done.indexes,
        "outbox": done.outbox,
        "lacking": done.lacking,
        "hints": hints,
    }
    rows: list[tuple[str, object]] = [
        ("rebuilt from", f"{done.events} events"),
        ("tensor leaves", f"{done.leaves.leaves} of {_count(done.leaves.models, 'model')}"),
        ("differed", "yes, and is made anew" if mended else "nothing"),
        *((f"  {each.table}", _counts(each)) for each in done.differences),
        *(("  leaves", model) for model in done.leaves.differed),
        *(("  index", name) for name in done.indexes),
    ]
    if done.outbox:
        entries = "1 entry" if done.outbox == 1 else f"{done.outbox} entries"
        rows.append(("  outbox", f"{entries} named other subjects"))
    if unmended:
        rows.append(("not to be mended", None))
        rows += [("  document", sentence) for sentence in done.leaves.faults]
        rows += [("  database", sentence) for sentence in done.lacking]
    text = "\n".join([fields(rows), *(f"hint: {each}" for each in hints)])
    return Answer(data, text, ok=same)


@app.verb("audit")
def audit(
    session: Session,
    *,
    database: Database = None,
    chain: Annotated[
        bool,
        typer.Option(
            "--chain", help="Also ask the endpoints for every block, and receipts where events are."
        ),
    ] = False,
    rpc: _Rpc = None,
    quorum: _Quorum = None,
) -> Answer:
    """Verify all that the index holds again, in numbered checks.

    Nothing is written, but that an index of an older release is brought to this one's shape when it
    is opened. A copy needs no network: without one it is held against what it says itself, and
    check 1 is not made. Exit code 0: every check that could be made passed. Exit code 1: one
    failed; it says the way out of each. Exit code 2: the file is damaged, or no index. Exit code 3:
    with --chain, where none failed but no endpoint showed the chain to compare with.
    """
    from ledger.index.audit import audit as audit_index
    from ledger.index.audit_report import ways_out

    network = session.network if chain or session.has_network else None
    with (
        ended_like_interrupts(),
        opened(session, database) as engine,
        _known(session, rpc, quorum) as endpoints,
        console.progress("auditing", "checks") as show,
    ):
        of = None if network is None else network.deployment
        report = audit_index(
            engine,
            chain_of(session, engine),
            genesis=None if of is None else of.genesis_hash,
            addresses=None if of is None else of.addresses,
            node=endpoints if chain else None,
            provable=network is None or network.profile.proof_kind == "mpt",
            first_block=0 if of is None else of.block,
            progress=show,
        )
    uncompared = report.uncompared if chain and report.holds else None
    answer = audited(
        report.checks,
        holds=report.holds,
        what="the index" if uncompared is None and network is not None else "by itself the index",
        upto=f"as of block {report.block}",
        data={"block": report.block, "compared": report.uncompared is None if chain else None},
        ways=ways_out(report.checks),
    )
    if uncompared is None:
        return answer
    verdict = (
        f"error: the index was not compared with the chain, {uncompared}\n"
        "hint: pass --rpc with an endpoint of this chain, or leave --chain out"
    )
    return replace(answer, text=f"{answer.text}\n{verdict}", ok=False, undecided=True)


@app.verb("accept-reorg", waits=False)
def accept_reorg(
    session: Session,
    *,
    block: Annotated[
        int, typer.Argument(min=0, metavar="BLOCK", help="The last block that stays.")
    ],
    database: Database = None,
    rpc: _Rpc = None,
    quorum: _Quorum = None,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Kept with the reorganisation.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Take back final blocks after BLOCK that the chain no longer has, once the index has stopped.

    On a test network a follower does this by itself; on any other it never does. BLOCK is the
    newest block that is kept here and that the chain has too; deed index status names it. It says
    what will be taken back, asks, and does it in one transaction; what was taken back stays
    readable as retracted events, and who said so is kept.
    """
    from ledger.index.accepting import accept, propose
    from ledger.index.journal import Journal

    network = session.network
    journal = Journal(network.deployment.chain_id)
    with (
        ended_like_interrupts(),
        opened(session, database) as engine,
        _endpoints(session, rpc, quorum) as endpoints,
    ):
        require_own(session, engine)
        proposal = propose(engine, journal, endpoints, block, depth=network.profile.finality_depth)
        console.note(fields(_proposed(proposal)))
        if not yes and not console.confirm(f"Take back {proposal.depth} blocks?"):
            return Answer({"accepted": False}, "nothing was changed", ok=False)
        number = accept(
            engine, journal, proposal, by=operator_name(), why=why, now_ms=int(time.time() * 1000)
        )
    data = {
        "accepted": True,
        "reorg": number,
        "ancestor": proposal.ancestor,
        "blocks": proposal.depth,
        "final_blocks": proposal.final_depth,
        "events": dict(proposal.events),
        "witnesses": proposal.witnesses,
    }
    return Answer(
        data,
        fields([("taken back", f"{proposal.depth} blocks, as reorganisation {number}")]),
        notes=("a follower that runs goes on by itself",),
    )


# -- pieces --------------------------------------------------------------------------------------


@contextmanager
def _endpoints(
    session: Session, given: Sequence[str] | None, quorum: int | None
) -> Iterator[Endpoints]:
    from ledger.index.endpoints import Endpoints
    from ledger.index.pool import Source

    network = session.network
    sources = [Source.parse(text) for text in given or network.rpc_urls]
    for source in sources:
        checked_url(source.url, what="an RPC endpoint")
    endpoints = Endpoints(
        sources,
        network.deployment,
        finality_depth=network.profile.finality_depth,
        quorum=quorum,
    )
    try:
        yield endpoints
    finally:
        endpoints.close()


def _known(
    session: Session, given: Sequence[str] | None, quorum: int | None
) -> AbstractContextManager[Endpoints | None]:
    """The endpoints, or None where no network says of which contracts they must be."""
    return _endpoints(session, given, quorum) if session.has_network else nullcontext()


def _checked_rate(given: float | None) -> float:
    from ledger.index.proof_source import REQUESTS_PER_SECOND

    if given is None:
        return REQUESTS_PER_SECOND
    if not 0 < given <= MAX_PROOF_RATE:
        raise UsageError(
            f"a proof rate lies between 0 and {MAX_PROOF_RATE:.0f}", hint="leave it out for 20"
        )
    return given


def _proofs(count: int) -> str:
    return _count(count, "proof")


def _lacking(reasons: Mapping[str, int]) -> list[str]:
    """How many proofs lack for which reason; an endpoint may name the block in every one."""
    from ledger.index.mending import FEWER

    of_proofs = {why: count for why, count in reasons.items() if why != FEWER}
    ordered = sorted(of_proofs.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{_count(reasons[FEWER], 'event')} {FEWER}"] if FEWER in reasons else []
    told += [f"{_proofs(count)}: {why}" for why, count in ordered[:REASONS_SHOWN]]
    if more := sum(count for _, count in ordered[REASONS_SHOWN:]):
        told.append(f"{_proofs(more)} for other reasons; --json has them all")
    return told


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(endpoints: Endpoints) -> str:
    if len(endpoints) == 1:
        return endpoints.hosts[0]
    return f"{len(endpoints)} endpoints, of which {endpoints.quorum} must agree"


def _difference(each: Difference) -> dict[str, Any]:
    return {"table": each.table, "extra": each.extra, "missing": each.missing}


def _counts(each: Difference) -> str:
    return f"{each.extra} rows too many, {each.missing} missing"


def audited(
    checks: Sequence[Check],
    *,
    holds: bool,
    what: str,
    upto: str,
    data: dict[str, Any],
    ways: Mapping[int, str] | None = None,
) -> Answer:
    """How an audit of something ended, check by check.

    Args:
        checks: in their order.
        holds: whether none failed.
        what: was audited.
        upto: how far.
        data: is said with it.
        ways: out of those that failed, by number; None where they have none of their own.
    """
    rows = [(f"({each.number})", each.result, each.name, each.detail) for each in checks]
    lines = table(("", "result", "check", "detail"), rows, empty="no checks")
    verdict = f"{what} holds" if holds else f"{what} does not hold"
    said = [asdict(each) for each in checks]
    if ways is not None:
        said = [{**each, "hint": ways.get(each["number"])} for each in said]
    text = [lines, f"{verdict}, {upto}"]
    for way in dict.fromkeys((ways or {}).values()):
        numbers = ", ".join(f"({number})" for number, of in (ways or {}).items() if of == way)
        text.append(f"hint: {numbers}: {way}")
    return Answer({"holds": holds, **data, "checks": said}, "\n".join(text), ok=holds)


def _proposed(proposal: Proposal) -> list[tuple[str, object]]:
    cursor = proposal.cursor
    events = ", ".join(f"{count} {name}" for name, count in proposal.events.items())
    gone = f"blocks {proposal.ancestor + 1} to {cursor.block}"
    return [
        ("stays", f"block {proposal.ancestor} and everything before it"),
        (
            "taken back",
            f"{gone}, of which {proposal.final_depth} were final",
        ),
        ("events", events or "none"),
        ("touches", f"{_count(proposal.models, 'model')}, {_count(proposal.licenses, 'license')}"),
        ("shown by", ", ".join(proposal.witnesses)),
    ]


app.registered_commands += index_copies.app.registered_commands
