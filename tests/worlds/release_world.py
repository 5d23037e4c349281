"""A model with a broker whose release receipts are anchored on a real chain, for evidence of them.

Used by path, because test folders are not packages.
"""

from __future__ import annotations

import contextlib
import json
from importlib import import_module
from typing import Any

from ledger.broker import anchoring
from ledger.broker.client import Asker
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.network import Network
from ledger.errors import LedgerError


@contextlib.contextmanager
def world(folder: Any) -> Any:
    """A broker world with two licenses, three answered requests and two anchorings."""
    with import_module("broker_world").world(folder) as made:
        yield Releases(made)


class Releases:
    """What evidence of a receipt is made from.

    Attributes:
        licenses: a key was released for each; one more asker of the second was refused.
        proofs: receipt proofs by what they are of: deposit, first, second, refused.
    """

    def __init__(self, made: Any) -> None:
        self.made = made
        chain = made.chain
        self.network = Network(
            "releases",
            (chain.node.rpc_url,),
            chain.deployment,
            chain.profile,
            api_url=None,
            broker_url=None,
        )
        self.licenses = [made.license(made.plan()) for _ in range(2)]
        first = self._ask(self.licenses[0])
        second = self._ask(self.licenses[1])
        self.anchor()
        refused = self._ask(self.licenses[1], granted=False)
        self.anchor()
        self.proofs = {
            "deposit": self.proof(1),
            "first": self.proof(first),
            "second": self.proof(second),
            "refused": self.proof(refused),
        }

    def _ask(self, license_id: Any, *, granted: bool = True) -> int:
        made = self.made
        identity = made.runtime(license_id if granted else None)
        ledger = made.chain.deployment.addresses["LicenseLedger"]
        given = identity.grant_for(31337, ledger, license_id)
        asker = Asker(
            identity=identity,
            license=license_id,
            model=made.published.model_id,
            sealing=made.published.record.hash(),
            grant=given and given.grant,
            acceptance=given and given.acceptance,
            terms=made.terms,
        )
        with made.broker.client() as client:
            if granted:
                client.release(asker)
            else:
                with contextlib.suppress(LedgerError):
                    client.release(asker)
        return int(made.broker.service.store.last_receipt()[0])

    def anchor(self) -> None:
        """Anchor what is new, and wait until that is final."""
        chain = self.made.chain
        registry = BrokerRegistry(chain.rpc, chain.deployment.addresses["BrokerRegistry"])
        store, broker = self.made.broker.service.store, self.made.broker.id
        anchoring.anchor(store, registry, chain.sender("broker"), broker)
        chain.rpc.call("anvil_mine", [hex(3)])

    def proof(self, number: int) -> dict[str, Any]:
        """The receipt proof as a file holds it."""
        home, store = self.made.broker.home, self.made.broker.service.store
        chain = home.identity.chain_json()
        keys = [home.signing.public]
        found = anchoring.receipt_proof(store, keys, number, chain, self.made.broker.id)
        return dict(json.loads(json.dumps(found)))
