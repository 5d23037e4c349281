"""A name that the service does not know is refused by name, wherever it stands."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from api.forms import WORDS
from api.schemas.webhooks import WebhookAsked

fronts: Any = importlib.import_module("front_world")
chains: Any = importlib.import_module("index_world")

ANYONE = "0x" + "11" * 20
# Bodies with a form and a specification of their own, which the library reads as strictly.
DOCUMENTS = {"deposit_leaves", "deposit_documents"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return chains.empty_sqlite(tmp_path_factory.mktemp("index") / "index.db")


@pytest.fixture(scope="module")
def served(url, tmp_path_factory):
    """The service over an index in this process, and a license in it."""
    stand = chains.Stand(url)
    while len(stand.chain.head.state.plans) < 3:
        stand.chain.grow(1)
    licensor = fronts.Licensor(stand)
    number, issued = licensor.issue()
    licensor.block(issued)
    stand.catch_up()
    made = fronts.Served(url, tmp_path_factory.mktemp("jobs"))
    made.license = number
    yield made
    made.close()
    stand.close()


def refused(reply):
    """What the problem says of a 422."""
    status, headers, body = reply
    told = json.loads(body)
    assert (status, dict(headers)["content-type"]) == (422, "application/problem+json"), body
    assert (told["code"], bool(told["hint"])) == ("INVALID_REQUEST", True)
    return told["detail"]


def sent(served, path, body, kind="application/json", method="POST"):
    served.link.request(method, path, json.dumps(body), {"content-type": kind})
    reply = served.link.getresponse()
    return reply.status, reply.getheaders(), reply.read()


def operations(served):
    document = json.loads(served.ask("/v1/openapi.json")[2])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield document, path.replace("{license}", "1.1"), method, operation


def test_every_route_refuses_a_parameter_that_it_does_not_describe(served):
    asked = 0
    for _, path, method, operation in operations(served):
        there = sorted(
            each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"
        )
        said = refused(served.ask(f"{path}?nonsense=1", method.upper()))
        assert said.startswith("query.nonsense: there is no such parameter; there are "), path
        names = said.partition("there are ")[2]
        assert names == (", ".join(there) or "none here"), path
        assert "422" in operation["responses"], path
        asked += 1
    assert asked > 100
    assert refused(served.ask("/metrics?nonsense=1"))


def test_a_parameter_twice_is_refused_whichever_it_would_have_been(served):
    path = fronts.path_of(served.license)
    said = refused(served.ask(f"{path}?holder={ANYONE}&holder={ANYONE}"))
    assert said == "query.holder: it is given more than once"
    assert refused(served.ask("/v1/models?limit=1&limit=2"))
    assert len(refused(served.ask("/v1/models?" + "a" * 5000 + "=1"))) < 300


def test_no_address_with_a_name_that_is_not_known_is_ever_answered_from_memory(served):
    path = fronts.path_of(served.license)
    for plain, wrong in (
        (path, f"{path}?Holder={ANYONE}"),
        (f"{path}?holder={ANYONE}", f"{path}?holder={ANYONE}&Runtime=0x" + "22" * 32),
        ("/v1/models", "/v1/models?licenser=" + ANYONE),
        ("/v1/models?limit=2", "/v1/models?limit=2&limit=2"),
        ("/v1/plans", "/v1/plans?modell=0x" + "22" * 32),
        ("/v1/events?limit=5", "/v1/events?limit=5&nonsense="),
    ):
        for _ in range(3):
            assert served.ask(plain)[0] == 200
            assert refused(served.ask(wrong)), wrong
        held = {**served.memory.entries, **served.memory.pages}
        name, _, query = wrong.partition("?")
        plain_name, _, plain_query = plain.partition("?")
        assert (plain_name, plain_query.encode()) in held, plain
        assert (name, query.encode()) not in held, wrong


def test_a_batch_that_misspells_the_holder_is_no_yes_though_all_of_it_is_in_memory(served):
    names = [fronts.path_of(served.license).rpartition("/")[2]]
    for _ in range(3):
        assert served.post(licenses=names)[0] == 200
        said = refused(served.post(licenses=names, holdr=ANYONE))
    assert said == "body.holdr: there is no such member; there are holder, licenses, runtime"


def test_every_body_says_that_it_takes_no_other_members_than_it_names(served):
    looked = 0
    for document, _, _, operation in operations(served):
        if "requestBody" not in operation or operation["operationId"] in DOCUMENTS:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        for each in schema.get("anyOf", [schema]):
            name = each["$ref"].rpartition("/")[2] if "$ref" in each else None
            if name is None:
                assert each == {"type": "null"}, operation["operationId"]
                continue
            shape = document["components"]["schemas"][name]
            assert shape["additionalProperties"] is False, operation["operationId"]
            looked += 1
    assert looked > 60


def test_a_body_that_is_not_said_to_be_json_is_told_so(served):
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        said = refused(sent(served, "/v1/search", {"cid": []}, kind))
        assert "content-type: application/json" in said
    assert sent(served, "/v1/search", {"cid": []})[0] == 200


def patterns(shape, document):
    """Every pattern of a schema, through references."""
    if isinstance(shape, list):
        for each in shape:
            yield from patterns(each, document)
    elif isinstance(shape, dict):
        if "$ref" in shape:
            name = shape["$ref"].rpartition("/")[2]
            yield from patterns(document["components"]["schemas"][name], document)
        for name, each in shape.items():
            if name == "pattern" and isinstance(each, str):
                yield each
            else:
                yield from patterns(each, document)


def test_a_text_of_another_form_is_told_in_words_which_form_it_has(served):
    found = set()
    for document, _, _, operation in operations(served):
        asked = [operation.get("parameters", []), operation.get("requestBody", {})]
        found |= set(patterns(asked, document))
    assert len(found) > 20
    assert found == set(WORDS)
    for path, said in (
        (
            "/v1/licenses/1.x",
            "path.license: it is not a license: PLAN.SERIAL, such as 7.42, or the",
        ),
        ("/v1/anchors/0x12", "path.root: it is not 0x and 64 digits"),
        ("/v1/plans?cursor=x", "query.cursor: it is not a cursor: it is the next_cursor of"),
    ):
        assert refused(served.ask(path)).startswith(said)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/licenses/01.1",
        "/v1/licenses/1.01",
        "/v1/licenses/04294967297",
        "/v1/licenses/%2B1.1",
        "/v1/entitlements/01.1",
        "/v1/evidence/licenses/01.1",
        "/v1/licenses/01.1/sale",
        "/v1/events/stream?license=01.1",
        "/v1/plans/01",
        "/v1/plans/%2B1",
        "/v1/plans/1.0",
        "/v1/plans/1_0",
        "/v1/plans?limit=%205",
        "/v1/licenses?plan=01",
        "/v1/models?as_of=01",
    ],
)
def test_a_number_has_one_form_and_another_is_malformed_and_not_the_same(served, path):
    assert "it is not a" in refused(served.ask(path))


def test_a_number_in_its_own_form_is_taken(served):
    plan = served.license >> 32
    for path in (f"entitlements/{served.license}", f"licenses?plan={plan}&limit=5"):
        assert served.ask(f"/v1/{path}")[0] == 200, path


def test_a_time_that_was_not_read_yet_is_answered_in_times_of_people(served):
    read = json.loads(served.ask("/v1/models")[2])["as_of"]["time"]
    shown = datetime.fromtimestamp(read, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, _, body = served.ask("/v1/models?as_of=9999-12-31")
    told = json.loads(body)
    assert (status, told["code"]) == (404, "UNKNOWN_RECORD")
    assert told["detail"] == (
        f"9999-12-31T23:59:59Z has not come yet; the newest block that was read is of {shown}"
    )
    assert told["title"] == "Nothing is recorded under the id, number or time that was asked for"
    assert "of a day when a block after it was read" in told["hint"]
    assert shown in told["hint"]
    assert served.ask(f"/v1/models?as_of={shown}")[0] == 200
    told = json.loads(served.ask("/v1/models?as_of=1970-01-02")[2])
    assert "1970-01-02T23:59:59Z" in told["detail"]


@pytest.mark.parametrize(
    "where", ["/v1/models?as_of=", "/v1/evidence/licenses/1.1?as_of=", "/v1/find?q="]
)
def test_a_day_that_there_is_not_is_malformed(served, where):
    for day in ("2026-13-01", "2026-00-10", "2026-02-30", "2026-04-31", "2027-02-29", "2100-02-29"):
        assert "such as 2026-11-28" in refused(served.ask(where + day)), day
    for day in ("2028-02-29", "2400-02-29", "2026-12-31", "2026-02-28"):
        assert served.ask(where + day)[0] != 422, day
    said = refused(sent(served, "/v1/evidence/jobs", {"license": "1.1", "as_of": "2026-13-01"}))
    assert said.startswith("body.as_of: it is not a block's number, latest,")
    if where.endswith("as_of="):
        assert "such as" in refused(served.ask(f"{where}2026-11-28T24:00:00Z"))


def test_an_event_that_there_is_not_is_refused_with_what_is_near(served):
    for path in ("/v1/events", "/v1/events/stream"):
        said = refused(served.ask(f"{path}?event=LicenceRevoked"))
        assert said.startswith("query.event: there is no such event (perhaps LicenseRevoked"), said
        assert "names are in /v1/openapi.json" in refused(served.ask(f"{path}?event=Nope"))
    assert served.ask("/v1/events?event=LicenseRevoked")[0] == 200
    told = {"url": "https://hooks.example/deed", "events": ["LicenceRevoked"]}
    with pytest.raises(ValidationError, match="perhaps LicenseRevoked"):
        WebhookAsked.model_validate(told)
    assert WebhookAsked.model_validate({**told, "events": ["LicenseRevoked"]}).events
    with pytest.raises(ValidationError, match="model\n"):
        WebhookAsked.model_validate({"url": told["url"], "model": ["0x" + "22" * 32]})


def test_a_feed_says_that_it_has_no_end_and_its_last_page_is_a_short_one(served):
    whole = json.loads(served.ask("/v1/events?limit=1000")[2])
    found, cursor = [], ""
    while True:
        page = json.loads(served.ask(f"/v1/events?limit=7{cursor}")[2])
        found += page["events"]
        assert page["next_cursor"]
        if len(page["events"]) < 7:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == whole["events"]
    end = whole["next_cursor"]
    empty = json.loads(served.ask(f"/v1/events?cursor={end}")[2])
    assert (empty["events"], empty["next_cursor"]) == ([], end)
    document = json.loads(served.ask("/v1/openapi.json")[2])
    told = document["components"]["schemas"]["EventPage"]["properties"]["next_cursor"]
    assert "fewer events than `limit` is the last for now" in told["description"]
