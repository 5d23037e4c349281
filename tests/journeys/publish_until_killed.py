"""Publish a model and kill this process, as ``kill -9`` would, at one chosen point.

Usage: python publish_until_killed.py MODEL OUT STEP PHASE, in a folder where a stack runs.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ledger.broker.cellplans import CellChoice
from ledger.broker.client import BrokerClient
from ledger.chain.licenses import PlanTerms
from ledger.chain.network import load_live
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, ModelId
from ledger.licensing.terms import TEMPLATE, parse
from ledger.publication import Observer, Publication, Published

PASSPHRASE = "correct horse battery staple"
OFFER = PlanTerms(
    model_id=ModelId(bytes(32)),
    terms_hash=ZERO_DIGEST,
    duration=86400,
    grace=60,
    lease_ttl=600,
    max_offline=660,
    min_notice=0,
    refund_window=0,
    reissue_delay=86400,
    seats=1,
    supply=0,
    quota=0,
    features=0,
    broker_set=1,
    pay_token=ZERO_ADDRESS,
    price=0,
    floating=True,
    warn_only=False,
    transferable=False,
)


def publish(
    folder: Path,
    model: Path,
    out: Path,
    observer: Observer | None = None,
    *,
    cells: CellChoice | None = None,
) -> Published:
    """Publish on the stack that runs in or above `folder`."""
    network = load_live(folder)
    assert network is not None
    assert network.broker_url is not None
    with Rpc(network.rpc_urls) as rpc, BrokerClient(network.broker_url) as broker:
        return Publication(
            model,
            out,
            network=network,
            sender=Sender(rpc, dev_wallet("licensor"), network.profile),
            broker=broker,
            terms=parse(TEMPLATE.encode()),
            offer=OFFER,
            passphrase=PASSPHRASE,
            observer=observer,
            cells=cells,
        ).run()


def main() -> None:
    model, out, last_step, last_phase = sys.argv[1:]

    def observer(step: str, phase: str, detail: str) -> None:
        if (step, phase) == (last_step, last_phase):
            os.kill(os.getpid(), signal.SIGKILL)

    publish(Path.cwd(), Path(model), Path(out), observer)


if __name__ == "__main__":
    main()
