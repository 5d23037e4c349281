"""A real broker process that kills itself (SIGKILL) at a named point of a release.

Run by path: ``python dying_broker.py HOME DEPLOYMENT RPC PORT POINT [CLOCK]``. The points are put
in from outside, here alone: the broker itself has no such hook.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from api import logs, problems
from api.__main__ import http_config
from api.routes.broker import router
from ledger.broker.deciding import Decisions
from ledger.broker.durability import GroupSync
from ledger.broker.service import BrokerService
from ledger.broker.setup import open_service
from ledger.broker.signing import BrokerSigningKeys
from ledger.broker.store import BrokerStore
from ledger.chain.deployment import Deployment
from ledger.chain.profile import profile_for

PASSPHRASE = "a passphrase for tests"
POINTS: dict[str, tuple[type, str, str]] = {
    "challenge consumed": (BrokerStore, "consume_challenge", "after"),
    "chain read": (Decisions, "_read_chain", "after"),
    "seat taken": (BrokerStore, "take_seat", "after"),
    "quota counted": (BrokerStore, "use", "after"),
    "key wrapped": (BrokerService, "_wrap", "after"),
    "reply signed": (BrokerSigningKeys, "sign_whole", "after"),
    "receipt written": (BrokerStore, "append_receipt", "after"),
    "committed": (GroupSync, "settle", "before"),
    "on disk": (GroupSync, "settle", "after"),
    "answered": (BrokerService, "release", "after"),
}
_releasing = threading.local()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Die at this point of the next release."""
    real_release = BrokerService.release

    def release(self: BrokerService, *args: Any, **given: Any) -> Any:
        _releasing.now = True
        try:
            return real_release(self, *args, **given)
        finally:
            _releasing.now = False

    kind, name, when = POINTS[point]
    real = release if kind is BrokerService and name == "release" else getattr(kind, name)
    if real is not release:
        BrokerService.release = release

    def run(*args: Any, **given: Any) -> Any:
        releasing = real is release or getattr(_releasing, "now", False)
        if releasing and when == "before":
            _die()
        done = real(*args, **given)
        if releasing:
            _die()
        return done

    setattr(kind, name, run)


def main() -> None:
    home, manifest, rpc, port, point = sys.argv[1:6]
    logs.configure("debug")
    if point != "none":
        arm(point)
    deployment = Deployment.load(Path(manifest))
    service = open_service(
        Path(home),
        PASSPHRASE,
        rpc_urls=[rpc],
        deployment=deployment,
        profile=profile_for(deployment.chain_id),
    )
    app = FastAPI()
    app.state.broker = service
    app.include_router(router)
    problems.install(app)
    uvicorn.Server(http_config(app, host="127.0.0.1", port=int(port), lifespan="off")).run()


if __name__ == "__main__":
    main()
