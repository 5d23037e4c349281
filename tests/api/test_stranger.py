"""A client that knows the service's own description, and nothing else."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from ledger.ids import Digest

pytestmark = pytest.mark.chain

PAGE = Path(__file__).parents[2] / "docs" / "api.md"

world: Any = importlib.import_module("access_world")


class Stranger:
    """Calls operations by their names, and believes no answer that was not described.

    Args:
        url: of the service.
    """

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.document = self.http.get("/v1/openapi.json").json()
        self.operations = {
            operation["operationId"]: (method, path, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
        }

    def close(self) -> None:
        self.http.close()

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    def fits(self, value: Any, schema: dict[str, Any]) -> None:
        components = {"components": self.document["components"]}
        jsonschema_rs.validator_for(schema | components).validate(value)

    def call(self, name: str, *, status: int = 200, body: Any = None, **given: Any) -> Any:
        """The JSON of an answer that is all that the description says of it."""
        method, path, operation = self.operations[name]
        query, headers = {}, dict(given.pop("headers", {}))
        for parameter in operation.get("parameters", []):
            word = parameter["name"]
            if word not in given:
                assert not parameter.get("required"), f"{name} needs {word}"
                continue
            value = given.pop(word)
            if parameter["in"] == "path":
                path = path.replace("{" + word + "}", str(value))
            elif parameter["in"] == "query":
                query[word] = value
            else:
                headers[word] = value
        assert not given, f"{name} describes no {given}"
        reply = self.http.request(
            method.upper(), path, params=query, headers=headers,
            **({} if body is None else {"json": body}),
        )  # fmt: skip
        assert reply.status_code == status, reply.text
        described = operation["responses"][str(status)]
        for header, part in described.get("headers", {}).items():
            if header in reply.headers:
                self.fits(reply.headers[header], self.resolved(part)["schema"])
        contents = described.get("content")
        if not contents:
            assert not reply.content
            return reply
        content = contents[reply.headers["content-type"].partition(";")[0]]
        if "json" not in reply.headers["content-type"]:
            return reply
        self.fits(reply.json(), content["schema"])
        self.last = reply
        return reply.json()

    def example(self, parameter: dict[str, Any]) -> Any:
        """What the description gives as an example, or what fits it by its kind."""
        schema = self.resolved(parameter["schema"])
        examples = [*schema.get("examples", []), *parameter.get("examples", {}).values()]
        if examples:
            return examples[0]
        assert schema.get("type") == "integer", f"no example of {parameter['name']}"
        return schema.get("minimum", 1)


@pytest.fixture(scope="module")
def stranger(service):
    made = Stranger(service.url)
    yield made
    made.close()


def test_operations_have_short_names_of_their_own(stranger):
    methods = sum(map(len, stranger.document["paths"].values()))
    assert len(stranger.operations) == methods
    assert all(re.fullmatch(r"[a-z_]{2,24}", name) for name in stranger.operations)
    for _, _, operation in stranger.operations.values():
        assert operation["description"]
        # What a list of operations shows of each: words, and not the function's name again.
        assert len(operation["summary"].split()) > 1, operation["summary"]


def test_whatever_must_be_given_has_an_example_that_fits(stranger):
    for name, (_, _, operation) in stranger.operations.items():
        for parameter in operation.get("parameters", []):
            if parameter.get("required"):
                stranger.fits(stranger.example(parameter), parameter["schema"])
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            schema = stranger.resolved(content["schema"])
            examples = [*schema.get("examples", []), content.get("example")]
            assert examples[0] is not None, f"no example of a body of {name}"
            stranger.fits(examples[0], content["schema"])


def test_every_failure_has_the_one_described_shape(stranger):
    shapes = {
        str(content["schema"])
        for _, _, operation in stranger.operations.values()
        for response in operation["responses"].values()
        for kind, content in response.get("content", {}).items()
        if kind == "application/problem+json"
    }
    assert shapes == {"{'$ref': '#/components/schemas/Problem'}"}
    told = stranger.call("show_model", id="0x" + "ab" * 32, status=404)
    assert told["code"] == "UNKNOWN_RECORD"
    assert stranger.call("me", status=401)["hint"]
    assert stranger.last.headers["www-authenticate"].startswith("Bearer")


def test_every_list_is_read_to_its_end_page_by_page(stranger, deployed, service):
    operator, key = deployed.sender("operator"), Digest(os.urandom(32))
    broker, _ = deployed.brokers.register_broker(operator, key, key, "https://b.example")
    service.caught_up(deployed.rpc)
    lists = [
        name
        for name, (_, _, operation) in stranger.operations.items()
        if {"cursor", "limit"} <= {each["name"] for each in operation.get("parameters", [])}
        and "security" not in operation
    ]
    assert {"list_models", "list_licenses", "list_events", "list_anchors"} <= set(lists)
    model = stranger.call("list_models")["models"][0]["model_id"]
    for name in lists:
        path = {"id": model} if "{id}" in stranger.operations[name][1] else {}
        path |= {"broker": broker} if "{broker}" in stranger.operations[name][1] else {}
        whole = stranger.call(name, limit=200, **path)
        member = next(key for key, value in whole.items() if isinstance(value, list))
        found, cursor = [], {}
        while True:
            page = stranger.call(name, limit=1, **cursor, **path)
            found += page[member]
            if page["next_cursor"] is None or not page[member]:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == whole[member], name


def test_an_answer_is_not_sent_again_while_it_holds(stranger):
    stranger.call("list_models")
    reply = stranger.call(
        "list_models", status=304, **{"If-None-Match": stranger.last.headers["etag"]}
    )
    assert reply.headers["etag"] == stranger.last.headers["etag"]


def test_everything_about_a_model_and_its_license_is_found(stranger, published):
    model = str(published.model)
    for name in ("show_model", "show_timeline", "show_lineage"):
        assert stranger.call(name, id=model)["as_of"]
    license_ = stranger.call("list_licenses", model=model)["licenses"][0]
    number = str(license_["license"])
    assert stranger.call("show_license", license=number)["plan"]
    assert stranger.call("show_plan", plan=published.plan)["plan"]["model_id"] == model
    assert stranger.call("find", q=model)["hits"]
    assert stranger.call("search_many", body={"cid": ["0x" + "ab" * 32]})["models"] == []
    licensor = stranger.call("show_model", id=model)["model"]["licensor"]
    assert stranger.call("show_statistics", licensor=licensor)["models"] >= 1


def test_a_wallet_signs_in_and_makes_uses_and_revokes_a_key(stranger):
    wallet = world.Wallet.named("licensor")
    message = stranger.call("nonce", body={"account": wallet.address})["message"]
    token = stranger.call("sign_in", body={"message": message, "signature": wallet.sign(message)})[
        "token"
    ]
    mine = {"headers": world.bearer(token)}
    assert stranger.call("me", **mine)["account"] == wallet.address
    body = {"name": "ci", "scopes": ["deposits:write"]}
    made = stranger.call("create_key", status=201, body=body, **mine)
    assert stranger.call("me", headers=world.bearer(made["key"]))["kind"] == "key"
    assert made["id"] in {each["id"] for each in stranger.call("keys", **mine)["keys"]}
    assert stranger.call("revoke_key", id=made["id"], **mine)["revoked_at"]
    stranger.call("me", status=401, headers=world.bearer(made["key"]))
    assert stranger.call("audit", status=403, **mine)["code"] == "SCOPE_MISSING"
    stranger.call("sign_out", status=204, **mine)
    stranger.call("me", status=401, **mine)


def test_the_page_about_the_service_names_every_route(stranger):
    page = re.sub(r"\{[^}]*\}", "{}", PAGE.read_text())
    routes = {re.sub(r"\{[^}]*\}", "{}", path) for path in stranger.document["paths"]}
    # Those are in docs/spec/transactions.md.
    kinds = {each for each in routes if re.fullmatch(r"/v1/transactions/[a-z-]+", each)}
    assert kinds
    assert [each for each in routes - kinds if not re.search(re.escape(each) + r"[`?]", page)] == []
