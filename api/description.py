"""The OpenAPI document, completed with what FastAPI does not say of our answers.

A client that is written from the document alone must find there every header that it needs, one
shape for all failures, and one short name for each operation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api import problems
from api.dependencies import ACCOUNT, HASH

_SENTENCE: Final = re.compile(r"(?<=\.)\s|\n\n|[;:] ")
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_TEXT: Final = {"type": "string"}
_HEADERS: Final = {
    "ETag": (
        "a weak validator, for If-None-Match",
        {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    ),
    "Retry-After": (
        "seconds after which to ask again, where that helps",
        {"type": "string", "pattern": "^[0-9]+$"},
    ),
    "WWW-Authenticate": ("how to authenticate, and what was wrong (RFC 6750)", _TEXT),
    "RateLimit": ("what is left, where requests are counted", _TEXT),
    "RateLimit-Policy": ("how many requests in how many seconds, where they are counted", _TEXT),
    "X-Request-ID": ("names the request in the service's log and in the audit log", _TEXT),
}
_EXAMPLES: Final = {HASH: "0x" + "ab" * 32, ACCOUNT: "0x" + "ab" * 20}
# The value is opaque: it is compared, and nothing else.
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "an ETag: answered with 304 while that answer still holds",
    "schema": {"type": "string", "default": ""},
}


def operation_id(route: APIRoute) -> str:
    """The short name of an operation: the function that serves it."""
    return route.name


def complete(app: FastAPI) -> None:
    """Let `app` describe itself completely."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema
        if made is None:
            made = plain()
            _complete(made)
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _complete(document: dict[str, Any]) -> None:
    document["servers"] = [{"url": "/", "description": "where this document came from"}]
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = problems.SCHEMA
    components["headers"] = {
        name: {"description": said, "schema": schema} for name, (said, schema) in _HEADERS.items()
    }
    not_modified = problems.name_of(problems.NOT_MODIFIED)
    for method, operation in _operations(document):
        # FastAPI's own is the function's name in capitals.
        if operation["summary"] == operation["operationId"].replace("_", " ").title():
            operation["summary"] = _SENTENCE.split(operation["description"], 1)[0].rstrip(".")
        cached = method == "get" and not_modified in operation["responses"]
        if cached:
            operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        for parameter in operation.get("parameters", ()):
            example = _EXAMPLES.get(parameter["schema"].get("pattern", ""))
            if example is not None:
                parameter["schema"].setdefault("examples", [example])
        if "requestBody" in operation:
            _exemplify(operation["requestBody"], components["schemas"])
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get(problems.MEDIA_TYPE)
            if problem is not None:
                problem["schema"] = _PROBLEM
            names = ["RateLimit", "RateLimit-Policy", "X-Request-ID"]
            names += problems.headers_of(status)
            if cached and problem is None:
                names.append("ETag")
            response["headers"] = response.get("headers", {}) | {
                name: {"$ref": f"#/components/headers/{name}"} for name in names
            }


def _exemplify(body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Give a body an example of what it must hold, where its shape has none of its own."""
    for media in body["content"].values():
        name = media["schema"].get("$ref", "").rpartition("/")[2]
        if name and not schemas[name].get("examples") and "example" not in media:
            media["example"] = _example(schemas[name], schemas)


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    match schema.get("type"):
        case "object":
            members = schema.get("properties", {})
            return {name: _example(members[name], schemas) for name in schema.get("required", ())}
        case "array":
            return [_example(schema["items"], schemas)] * max(1, schema.get("minItems", 0))
        case "integer":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return _EXAMPLES.get(schema.get("pattern", ""), "text")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operations in document["paths"].values():
        yield from operations.items()
