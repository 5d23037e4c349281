"""The service's application over an index that a test drives, on a socket of this process."""

from __future__ import annotations

import http.client
import importlib
import json
import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import chain_world
import index_world
import pytest
import story_world
import uvicorn
from pydantic import SecretStr

from api.__main__ import http_config
from api.app import Opened, create_app
from api.dependencies import Service
from api.settings import Settings
from ledger.chain.anvil import free_port
from ledger.chain.profile import profile_for
from ledger.ids import LicenseId
from ledger.index.database import open_database
from ledger.index.views import Index

servers: Any = importlib.import_module("postgres_world")

FAR = 1 << 39


class Clock:
    """Time that a test sets; the real one until it does."""

    def __init__(self):
        self.at = None

    def __call__(self):
        return time.time() if self.at is None else self.at


class Served:
    """The application over an index that others follow, on a real socket of this process."""

    def __init__(self, url, folder, **settings):
        self.engine = open_database(url)
        self.clock = Clock()
        self.index = Index(self.engine, chain_world.CHAIN_ID, now=self.clock)
        given = Settings(
            deployment=Path("unused"), database_url=SecretStr(url), follow=False,
            evidence_folder=folder,
            log_level="error", **settings,
        )  # fmt: skip
        service = Service(given, self.index, None, None, profile_for(31337))
        self.front = create_app(given, Opened(service, None, None, ExitStack()))
        self.port = free_port()
        self.server = uvicorn.Server(http_config(self.front, host="127.0.0.1", port=self.port))
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    @property
    def memory(self):
        return self.front.state.memory

    def wires(self):
        """The server's ends of all connections."""
        return list(self.server.server_state.connections)

    def ask(self, path, method="GET", **headers):
        """Status, headers but for those of the moment, and body."""
        self.link.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        reply = self.link.getresponse()
        kept = [(k, v) for k, v in reply.getheaders() if k not in {"date", "x-request-id"}]
        return reply.status, kept, reply.read()

    def post(self, **asked):
        """The same of a batch."""
        body, kind = json.dumps(asked), {"content-type": "application/json"}
        self.link.request("POST", "/v1/entitlements", body, kind)
        reply = self.link.getresponse()
        kept = [(k, v) for k, v in reply.getheaders() if k not in {"date", "x-request-id"}]
        return reply.status, kept, reply.read()

    def get(self, path):
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def close(self):
        self.link.close()
        self.server.should_exit = True
        self._thread.join(20)
        self.engine.dispose()


@pytest.fixture(scope="module")
def postgres():
    with servers.server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield index_world.empty_sqlite(tmp_path / "index.db")
        return
    server = request.getfixturevalue("postgres")
    name = server.fresh()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def stand(url):
    """A chain with some plans, and an index that stands on its head."""
    found = index_world.Stand(url)
    while len(found.chain.head.state.plans) < 3:
        found.chain.grow(1)
    found.catch_up()
    yield found
    found.close()


@pytest.fixture
def serve(url, tmp_path):
    made = []

    def one(**settings):
        made.append(Served(url, tmp_path / f"jobs{len(made)}", **settings))
        return made[-1]

    yield one
    for each in made:
        each.close()


def log(name, **values):
    return story_world.emit("LicenseLedger", name, **values)


class Licensor:
    """Does one thing a block to a few licenses; `issue` first."""

    def __init__(self, stand):
        self.stand = stand
        self.rng = random.Random(7)
        self.holders: dict[int, bytes] = {}
        self.plans = sorted(stand.chain.head.state.plans)
        self._serial = 1000

    def issue(self, *, begin=0, end=FAR):
        self._serial += 1
        id_ = self.rng.choice(self.plans) << 32 | self._serial
        to = self.holders[id_] = self.rng.randbytes(20)
        issued = {"licenseId": id_, "planId": id_ >> 32, "to": to}
        return id_, [
            log("Transfer", **{"from": bytes(20), "to": to}, tokenId=id_),
            log("LicenseIssued", notBefore=begin, notAfter=end, **issued),
        ]

    def block(self, *transactions):
        self.stand.chain.grow(1, transactions=transactions)

    def something(self):
        """One event, or a reorganisation that takes some back."""
        id_ = self.rng.choice(list(self.holders))
        what = self.rng.randrange(7)
        if what == 0:
            self.stand.chain.reorg(self.rng.randrange(1, 4), busy=0.0)
            return
        made = {
            1: lambda: log("LicenseSuspended", licenseId=id_, reason=bytes(32)),
            2: lambda: log("LicenseReinstated", licenseId=id_, reason=bytes(32)),
            3: lambda: log("LicenseRenewed", licenseId=id_, notAfter=FAR + self.rng.randrange(99)),
            4: lambda: log(
                "LicenseRevoked", licenseId=id_, by=bytes(20), effectiveAt=1, reason=bytes(32)
            ),
            5: lambda: log("Transfer", **self._moved(id_), tokenId=id_),
        }.get(what)
        if made is not None:
            self.block([made()])
        else:
            self.block(self.issue()[1])
            self.holders.pop(next(iter(self.holders)))

    def _moved(self, id_):
        old, new = self.holders[id_], self.rng.randbytes(20)
        self.holders[id_] = new
        return {"from": old, "to": new}


def path_of(id_, query=""):
    return f"/v1/entitlements/{LicenseId(id_)}{query}"
