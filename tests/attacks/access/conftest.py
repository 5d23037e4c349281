"""The service of ``tests/api``, for attacks on it, on each kind of database."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import httpx
import pytest

access_world: Any = importlib.import_module("access_world")
served: Any = access_world.served()


@pytest.fixture(scope="session")
def world() -> ModuleType:
    """Wallets, and the operator at the database."""
    return access_world


@pytest.fixture(scope="module")
def published(deployed, tmp_path_factory):
    """A model of the account ``licensor``, with a license of ``holder``."""
    return served.publish(deployed, tmp_path_factory.mktemp("models"))


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)]
)
def stand(request, deployed, published, tmp_path_factory):
    """Two processes that serve one database; the second follows nothing."""
    folder = tmp_path_factory.mktemp("stand")
    if request.param == "sqlite":
        with_server = None
        url = f"sqlite:///{folder / 'index.db'}"
    else:
        with_server = importlib.import_module("postgres_world").server()
        server = with_server.__enter__()
        url = server.url(server.fresh())
    made: list[Any] = []
    desk = None
    try:
        for name, follow in (("one", "true"), ("two", "false")):
            settings = {"DEED_API_DATABASE_URL": url, "DEED_API_FOLLOW": follow}
            # Both stand behind one address, as behind a load balancer.
            settings["DEED_API_PUBLIC_URL"] = "http://localhost:8800"
            settings["DEED_API_EVIDENCE_FOLDER"] = str(folder / f"{name}.evidence")
            settings["DEED_API_RATE_SIGN_IN"] = "1000/1000"
            made.append(served.Service(folder / name, deployed.network, **settings).start())
            if follow == "true":
                made[0].caught_up(deployed.rpc)
        desk = access_world.Desk(url)
        yield Stand(made, desk)
    finally:
        for service in made:
            service.stop()
        if desk is not None:
            desk.close()
        if with_server is not None:
            with_server.__exit__(None, None, None)


class Stand:
    """Two processes of one service, and its operator."""

    def __init__(self, services: list[Any], desk: Any) -> None:
        self.services = services
        self.desk = desk
        self.origin = "http://localhost:8800"

    @property
    def client(self) -> httpx.Client:
        client: httpx.Client = self.services[0].client
        return client

    def ask(
        self, method: str, path: str, token: str | None = None, *, at: int = 0, **options: Any
    ) -> Any:
        """A request of somebody without a cookie jar, to one of the processes."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers |= access_world.bearer(token)
        with httpx.Client(base_url=self.services[at].url, timeout=20) as client:
            return client.request(method, path, headers=headers, **options)
