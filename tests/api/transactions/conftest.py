"""A service that passes transactions on, and people with wallets who are signed in at it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ledger.chain.wallet import dev_wallet

writing: Any = importlib.import_module("writing_world")
PEOPLE = ("licensor", "holder", "buyer", "rival", "stranger", "spare")


@pytest.fixture(scope="module")
def service(deployed: Any, published: Any, relaying: Any) -> Any:
    """The service, at which all but the stranger hold a license.

    Who holds something is not held to the limit of those who do not.
    """
    holders = [dev_wallet(name).address for name in ("buyer", "rival", "spare")]
    deployed.licenses.issue_batch(deployed.sender("licensor"), published.plan, holders)
    relaying.caught_up(deployed.rpc)
    return relaying


@pytest.fixture(scope="module")
def desk(service: Any) -> Iterator[Any]:
    made = writing.Writing(service, *PEOPLE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def who() -> dict[str, str]:
    """Everybody's account."""
    return {name: str(dev_wallet(name).address) for name in PEOPLE}


@pytest.fixture(scope="module")
def plan(deployed: Any, published: Any, service: Any) -> Callable[..., int]:
    return writing.offering(deployed, published.model, service)


@pytest.fixture
def ask(desk: Any) -> Callable[..., Any]:
    """A request in somebody's name."""

    def request(method: str, path: str, who: str | None = "licensor", **options: Any) -> Any:
        return desk.ask(method, path, who, **options)

    return request


@pytest.fixture
def relay(desk: Any) -> Callable[..., Any]:
    """Have something signed passed on."""

    def passed(raw: str, who: str = "licensor") -> Any:
        return desk.relay(raw, who)

    return passed


@pytest.fixture
def mined(desk: Any) -> Callable[[str], dict[str, Any]]:
    """The status as soon as a block holds it and the index has seen that block."""
    return lambda url: desk.mined(url, "licensor")
