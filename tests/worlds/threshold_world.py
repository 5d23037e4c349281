"""Three real brokers over one chain, a 2-of-3 set, and the ways in which one of them can lie."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import broker_world

from ledger.broker.depositing import SharingBrokers
from ledger.broker.deposits import Wrap
from ledger.broker.keyshares import KeyShares
from ledger.broker.protocol import release_info
from ledger.broker.service import BrokerService
from ledger.licensing.card import BrokerSet, CardBroker
from ledger.sealed.recipients import wrap


class LyingBroker(BrokerService):
    """An honest broker until `lie` is set; its signatures stay good."""

    lie = ""
    heard: dict[str, Any]

    def _wrap(self, request, lease, chain):  # type: ignore[no-untyped-def]
        released, said = super()._wrap(request, lease, chain)
        label, info = released.label, release_info(released.label, request, lease)
        if self.lie == "wrong share":
            return Wrap(label, wrap(secrets.token_bytes(32), request.kem, info=info)), said
        if self.lie == "garbage":
            return Wrap(label, secrets.token_bytes(len(released.data))), said
        if self.lie == "altered ciphertext":
            return Wrap(label, released.data[:-1] + bytes([released.data[-1] ^ 1])), said
        if self.lie == "the share of another place":
            other = "share/1" if label != "share/1" else "share/2"
            info = release_info(other, request, lease)
            return Wrap(other, wrap(secrets.token_bytes(32), request.kem, info=info)), said
        if self.lie == "another broker's ciphertext":
            return Wrap(label, self.heard["wrap"]), said
        if self.lie == "statement with its own commitments":
            shares = KeyShares.from_json(said["shares"]).to_json()
            shares["commitments"][0] = "0x" + "11" * 32
            return released, {"shares": shares}
        if self.lie == "no statement":
            return released, {}
        if self.lie == "short share":
            return Wrap(label, wrap(secrets.token_bytes(31), request.kem, info=info)), said
        return released, said


@dataclass
class Trio:
    """A 2-of-3 set beside the world's own broker."""

    world: Any
    brokers: list[Any]
    set_id: int

    def clients(self) -> SharingBrokers:
        return SharingBrokers(self.set_id, 2, tuple(b.client() for b in self.brokers))

    def deposit(self, published: Any = None) -> dict[str, Any]:
        made = published or self.world.published
        chain = self.world.chain
        with contextlib.closing(self.clients()) as clients:
            clients.require_registered(chain.rpc, chain.deployment)
            return clients.deposit(
                made.record, made.key, chain.wallet("licensor"),
                self.brokers[0].home.identity.domain, terms=[self.world.terms],
            )  # fmt: skip

    def card_brokers(self) -> BrokerSet:
        members = tuple(
            CardBroker(b.id, b.home.signing_key_hash, b.home.kem_key_hash, (b.url,))
            for b in self.brokers
        )
        return BrokerSet(self.set_id, 2, members)

    def plan(self, **changes: Any) -> int:
        fields = {"floating": False, "seats": 4} | changes
        world = self.world
        return broker_world.plan(world.chain, world.published, world.terms, self.set_id, **fields)

    def licensed(self, **changes: Any) -> tuple[Any, Path, Any]:
        """License, card and a runtime that is granted and has its seat on chain."""
        world, plan = self.world, self.plan(**changes)
        license_id = world.license(plan)
        identity = world.runtime(license_id, brokers_hash=self.card_brokers().hash())
        if not changes.get("floating"):
            seat = (license_id, identity.key_hash, 0, bytes(20))
            world.chain.send("holder", "LicenseLedger", "bindRuntime", *seat)
        return license_id, world.card_file(license_id, brokers=self.card_brokers()), identity

    @contextlib.contextmanager
    def down(self, *places: int) -> Any:
        """Brokers of these places, from 0, answer nobody."""
        for place in places:
            self.brokers[place].unserve()
        try:
            yield
        finally:
            for place in places:
                self.brokers[place].serve()

    @contextlib.contextmanager
    def lying(self, place: int, lie: str) -> Any:
        """The broker of this place lies."""
        self.brokers[place].service.lie = lie
        try:
            yield
        finally:
            self.brokers[place].service.lie = ""


@contextlib.contextmanager
def trio(world: Any, folder: Path) -> Any:
    """Three more brokers, their set on chain, and the world's key shared among them."""
    brokers: list[Any] = []
    try:
        for number in range(3):
            home = folder / f"of-three-{number}"
            home.mkdir()
            brokers.append(broker_world.Broker(world.chain, home, kind=LyingBroker))
        (event,) = world.chain.send(
            "broker", "BrokerRegistry", "createBrokerSet", [b.id for b in brokers], 2
        )
        made = Trio(world, brokers, int(event["setId"]))
        made.deposit()
        yield made
    finally:
        for broker in brokers:
            broker.close()
