"""Answers from memory: those of the routes, and never older than the index."""

from __future__ import annotations

import importlib
import json
import time
from typing import Any

from ledger.errors import EntitlementError
from ledger.ids import Address, LicenseId
from ledger.index.watching import mark_in
from ledger.licensing.entitlement import LicenseFacts, Status, decide

worlds: Any = importlib.import_module("index_world")
fronts: Any = importlib.import_module("front_world")
chaos: Any = importlib.import_module("chaos_world")
stories: Any = importlib.import_module("story_world")
servers: Any = importlib.import_module("postgres_world")

EVENTS = 100

Licensor, Served, log, path_of = fronts.Licensor, fronts.Served, fronts.log, fronts.path_of
FAR = fronts.FAR
postgres, url, stand, serve = fronts.postgres, fronts.url, fronts.stand, fronts.serve


def decided(snapshot, id_, at):
    """The code that a license has in a snapshot, straight from its rows."""
    row = snapshot.license(LicenseId(id_))
    if row is None:
        return "NOT_FOUND"
    plan = snapshot.plan(row["plan_id"])
    found = decide(
        LicenseFacts(
            LicenseId(id_), Address(bytes(row["holder"])), Status(row["status"]),
            row["not_before"], row["not_after"], row["suspended_at"],
            Address(bytes(plan["licensor"])), plan["grace"],
        ),
        at=at,
    )  # fmt: skip
    return found.code if isinstance(found, EntitlementError) else found.code.name


def test_an_answer_from_memory_is_never_older_than_the_index_another_process_commits_to(
    stand, serve
):
    licensor = Licensor(stand)
    for _ in range(6):
        licensor.block(licensor.issue()[1])
    stand.catch_up()
    served = serve()
    child = chaos.Child(stand, silent_ms=50)
    compared = remembered = 0
    try:
        for id_ in licensor.holders:
            served.get(path_of(id_))
        for _ in range(EVENTS):
            with served.engine.connect() as connection:
                before = mark_in(connection, stand.chain.chain_id)
            licensor.something()
            mark = before
            deadline = time.monotonic() + 30
            while mark.state[:2] == before.state[:2]:
                assert time.monotonic() < deadline
                with served.engine.connect() as connection:
                    mark = mark_in(connection, stand.chain.chain_id)
            answers = {}
            for id_ in licensor.holders:
                remembered += (path_of(id_), b"") in served.memory.entries
                answers[id_] = served.get(path_of(id_))
            with served.index.snapshot() as snapshot:
                if mark_in(snapshot.connection, stand.chain.chain_id).state != mark.state:
                    continue  # it moved meanwhile, and either is right
                for id_, answer in answers.items():
                    assert answer["code"] == decided(snapshot, id_, answer["at"]), mark
                    assert answer["as_of"]["block"] == mark.state.next_block - 1
                    assert answer["as_of"]["hash"] == "0x" + mark.state.last_hash.hex()
                    compared += 1
    finally:
        child.kill()
    assert compared > EVENTS
    # Else nothing was shown: most licenses are not touched by an event, and stay in memory.
    assert remembered > compared / 2


QUERIES = ["", "?holder={holder}", "?holder=0x" + "11" * 20, "?runtime=0x" + "22" * 32]
LISTS = [
    "/v1/models?limit=3",
    "/v1/licenses?limit=2",
    "/v1/licenses?holder={holder}",
    "/v1/events?limit=5",
    "/v1/models?as_of=3",
    "/v1/plans",
]


def test_an_answer_from_memory_has_the_bytes_and_headers_of_the_routes_own(stand, serve):
    licensor = Licensor(stand)
    yes, issued = licensor.issue()
    gone, other = licensor.issue()
    revoked = log("LicenseRevoked", licenseId=gone, by=bytes(20), effectiveAt=1, reason=bytes(32))
    licensor.block(issued, other, [revoked])
    stand.catch_up()
    served = serve()
    served.clock.at = time.time()
    holder = "0x" + licensor.holders[yes].hex()
    paths = [path_of(id_, query) for id_ in (yes, gone, 77 << 32 | 1) for query in QUERIES]
    for path in [each.format(holder=holder) for each in paths + LISTS]:
        # A validator of the client's goes to the route itself.
        own = served.ask(path, if_none_match="none")
        assert own[0] == 200
        served.ask(path)
        key = (path.partition("?")[0], path.partition("?")[2].encode())
        assert key in {**served.memory.entries, **served.memory.pages}, path
        assert served.ask(path) == own
        # And so do credentials and limits, and the memory that routes look into.
    inside = serve(rate_anonymous="999999/999999")
    inside.clock.at = served.clock.at
    for path in [each.format(holder=holder) for each in paths + LISTS]:
        for _ in range(2):
            status, headers, body = inside.ask(path)
            plain = [pair for pair in headers if not pair[0].startswith("ratelimit")]
            assert (status, sorted(plain), body) == (
                200, sorted(served.ask(path)[1]), served.ask(path)[2]
            ), path  # fmt: skip


def test_a_batch_says_what_each_question_alone_says(stand, serve):
    licensor = Licensor(stand)
    made = [licensor.issue() for _ in range(3)]
    key = stories.hash_(b"runtime")
    bound = log(
        "RuntimeBound", licenseId=made[0][0], runtimeKey=key, until=0, measurement=bytes(20)
    )
    licensor.block(*(logs for _, logs in made), [bound])
    stand.catch_up()
    served, inside = serve(), serve(rate_anonymous="999999/999999")
    served.clock.at = inside.clock.at = time.time()
    names = [*(str(LicenseId(id_)) for id_, _ in made), "99.1", str(made[0][0])]
    runtime, holder = "0x" + key.hex(), "0x" + licensor.holders[made[0][0]].hex()
    for who in (
        {},
        {"holder": holder},
        {"runtime": runtime},
        {"holder": holder, "runtime": runtime},
    ):
        query = "&".join(f"{k}={v}" for k, v in who.items())
        alone = [served.get(f"/v1/entitlements/{n}{query and '?' + query}") for n in names]
        assert {each["code"] for each in alone} >= {"VALID", "NOT_FOUND"}
        status, headers, body = served.post(licenses=names, **who)  # all of them in memory
        answer = json.loads(body)
        assert status == 200
        assert [{**each, "as_of": answer["as_of"]} for each in answer["entitlements"]] == alone
        own = inside.post(licenses=names, **who)
        assert own[2] == body
        assert sorted(pair for pair in own[1] if pair[0][:9] != "ratelimit") == sorted(headers)
        # The route keeps what it found under the single questions too.
        path, _, given = f"/v1/entitlements/{names[0]}?{query}".partition("?")
        assert (path, given.encode()) in inside.memory.entries
    licensor.block([log("LicenseSuspended", licenseId=made[0][0], reason=bytes(32))])
    stand.catch_up()
    answer = json.loads(served.post(licenses=names)[2])
    assert answer["entitlements"][0]["code"] == "SUSPENDED"
    confused = {"licenses": names[:1], "holder": f"{holder}&runtime={runtime}"}
    for wrong in ({"licenses": []}, {"licenses": ["x"]}, {"licenses": names * 99}, {}, confused):
        assert served.post(**wrong)[0] == 422
    assert served.post(licenses=["999999999999999999999"])[0] == 422


def test_a_list_from_memory_ends_with_the_block_and_its_validator_goes_on(stand, serve):
    licensor = Licensor(stand)
    served = serve()
    served.clock.at = time.time()
    first = served.ask("/v1/licenses")
    assert served.ask("/v1/licenses") == first
    tag = dict(first[1])["etag"]
    assert served.ask("/v1/licenses", if_none_match=tag)[0] == 304
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    _, headers, body = served.ask("/v1/licenses")
    assert str(LicenseId(id_)).encode() in body
    assert dict(headers)["etag"] != tag


def test_what_the_clock_ends_is_ended_in_memory(stand, serve):
    licensor = Licensor(stand)
    now = stand.chain.head.time + 5000
    id_, issued = licensor.issue(begin=now + 10, end=now + 100)
    key = stories.hash_(b"runtime")
    bound = log(
        "RuntimeBound", licenseId=id_, runtimeKey=key, until=now + 50, measurement=bytes(20)
    )
    licensor.block(issued, [bound])
    stand.catch_up()
    served = serve()
    seat = path_of(id_, "?runtime=0x" + key.hex())
    for at, bare, seated in [
        (now, "NOT_YET_VALID", "NOT_YET_VALID"),
        (now + 9.99, "NOT_YET_VALID", "NOT_YET_VALID"),
        (now + 10, "VALID", "VALID"),
        (now + 49.99, "VALID", "VALID"),
        (now + 50, "VALID", "SEAT_LAPSED"),
        (now + 99, "VALID", "SEAT_LAPSED"),
        (now + 100, "EXPIRED", "EXPIRED"),
        # A clock that was set back.
        (now + 20, "VALID", "VALID"),
    ]:
        served.clock.at = at
        for path, code in ((path_of(id_), bare), (seat, seated)):
            for _ in range(2):
                answer = served.get(path)
                assert (answer["code"], answer["at"]) == (code, int(at)), (path, at)
                if answer["entitled"]:
                    assert answer["grace_until"] == min(int(at) + 3600, now + 100)


def test_when_nobody_follows_answers_say_how_old_they_are(stand, serve):
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    stand.follower.step()
    served = serve()
    begun = time.time()
    list_ = "/v1/licenses?limit=1"
    fresh = dict(served.ask(list_)[1])["etag"]
    for age in (0, 20, 600):
        served.clock.at = begun + age
        for path in (path_of(id_), list_):
            for _ in range(2):
                assert age <= served.get(path)["as_of"]["lag_s"] < age + 30
    # The validator says so too, beyond DEED_API_READY_LAG.
    assert dict(served.ask(list_)[1])["etag"] != fresh


def test_what_is_more_than_a_question_goes_inside(stand, serve):
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    served = serve()
    path = path_of(id_)
    for _ in range(2):
        assert served.ask(path)[0] == 200
    assert (path, b"") in served.memory.entries
    assert served.ask(path, authorization="Bearer deed_wrong")[0] == 401
    assert served.ask(path, cookie="deed-loopback=x; __Host-deed=x")[0] == 401
    assert served.ask(path, host="evil.example")[0] == 421
    assert served.ask(path, host="localhost:1")[0] == 200
    assert served.ask(path, method="HEAD")[0] == 405
    assert served.ask(path, method="DELETE")[0] == 405
    assert served.ask(path, content_length="99999999")[0] == 413
    served.link.close()  # its body never comes
    assert served.ask(path + "?at=1")[0] == 409
    assert served.ask(path + "?holder=0x1")[0] == 422
    _, _, metrics = served.ask("/metrics")
    counted = b'deed_api_requests_total{route="/v1/entitlements/{license}",status="200"} 3.0'
    assert counted in metrics
    timed = b'deed_api_request_seconds_count{route="/v1/entitlements/{license}"}'
    assert timed in metrics


def test_a_database_that_ends_its_connections_is_asked_again(postgres, tmp_path):
    name = postgres.fresh()
    stand = worlds.Stand(postgres.url(name))
    while not stand.chain.head.state.plans:
        stand.chain.grow(1)
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    served = Served(postgres.url(name), tmp_path)
    try:
        assert served.get(path_of(id_))["code"] == "VALID"
        with postgres.admin() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
        licensor.block([log("LicenseSuspended", licenseId=id_, reason=bytes(32))])
        stand.catch_up()
        deadline = time.monotonic() + 10
        while served.memory._mark is None or served.memory.watch._server is None:
            assert served.get(path_of(id_))["code"] == "SUSPENDED"
            assert time.monotonic() < deadline
        assert served.get(path_of(id_))["code"] == "SUSPENDED"
    finally:
        served.close()
        stand.close()
        postgres.drop(name)


def test_a_reorganisation_that_nobody_saw_happen_ends_what_was_kept_before_it(stand, serve):
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    other, also = licensor.issue()
    licensor.block(issued, also)
    licensor.block([log("LicenseSuspended", licenseId=id_, reason=bytes(32))])
    stand.catch_up()
    served = serve()
    for _ in range(2):
        assert served.get(path_of(id_))["code"] == "SUSPENDED"
        assert served.get(path_of(other))["code"] == "VALID"
    # Back and on to a greater height, with nothing asked in between.
    stand.chain.reorg(1, 3, busy=0.0)
    stand.catch_up()
    assert served.get(path_of(id_))["code"] == "VALID"
    assert served.get(path_of(other))["code"] == "VALID"


def test_what_was_worked_out_from_an_earlier_state_is_not_kept(stand, serve):
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    served = serve()
    for path in (path_of(id_), "/v1/licenses"):
        for _ in range(2):
            served.get(path)
    memory = served.memory
    entry, page = memory.entries[path_of(id_), b""], memory.pages["/v1/licenses", b""]
    with served.engine.connect() as connection:
        old = mark_in(connection, stand.chain.chain_id)
    licensor.block([log("LicenseSuspended", licenseId=id_, reason=bytes(32))])
    stand.catch_up()
    assert served.get(path_of(id_))["code"] == "SUSPENDED"
    # Of a slow route, whose transaction began before that block.
    memory.put(("late", b""), entry, old)
    memory.put_page(("late", b""), page, old)
    assert ("late", b"") not in {**memory.entries, **memory.pages}


def test_words_that_no_route_reads_fill_no_memory(stand, serve):
    licensor = Licensor(stand)
    id_, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    served = serve()
    served.get("/v1/models")
    holder = "?holder=0x" + "ab" * 20
    for number in range(3):
        for path in (path_of(id_), path_of(id_) + holder, "/v1/models"):
            joint = "&" if "?" in path else "?"
            assert served.ask(f"{path}{joint}x{number}={'y' * 600}")[0] == 422
            assert served.ask(f"{path_of(id_)}?x={number}")[0] == 422
            served.get(f"{path_of(id_)}?at={FAR + number}")
    assert served.memory.entries == {}
    assert list(served.memory.pages) == [("/v1/models", b"")]
    # What it is all for is still kept.
    served.get(path_of(id_) + holder)
    assert len(served.memory.entries) == 1
