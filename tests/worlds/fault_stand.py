"""A broker that decides over faulty endpoints, and the truth to hold its decisions against."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.broker.chainview import ChainView
from ledger.broker.client import Asker, BrokerClient, Decision
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.leases import Lease
from ledger.broker.link import BrokerPin
from ledger.broker.service import BrokerService
from ledger.broker.sharing import MAX_REPLY, REQUEST_SECONDS
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.errors import LedgerError
from ledger.ids import ZERO_ADDRESS, Digest, LicenseId
from ledger.licensing.entitlement import Code


class Direct(BrokerClient):
    """The real client, speaking to a real service in this process: no HTTP in between."""

    def __init__(self, service: BrokerService, pin: BrokerPin) -> None:
        super().__init__("http://127.0.0.1:9", pin=pin)
        self._service = service

    def _send(
        self, method: str, path: str, body: Any = None, *, repeatable: bool = False
    ) -> dict[str, Any]:
        service, name = self._service, path.removeprefix("/v1/broker").strip("/")
        if name.startswith("leases/"):
            return service.heartbeat(Digest.parse(name.split("/")[1]), body)
        calls = {
            "": service.info,
            "challenges": lambda: service.challenge(body),
            "releases": lambda: service.release(body),
            "checks": lambda: service.check(body),
        }
        return calls[name]()


@dataclass(frozen=True)
class Truth:
    """What the chain itself says about one license, asked past every fault."""

    head: int
    final: int
    granted_head: bool
    granted_final: bool

    @property
    def valid(self) -> bool:
        """Whether a release is right: valid at the true finalized block and at the true head."""
        return self.granted_head and self.granted_final


@dataclass
class Stand:
    """n endpoints that can be made faulty, and a broker over them."""

    world: Any
    proxies: list[Any]
    view: ChainView
    service: BrokerService
    client: Direct
    released: list[tuple[LicenseId, Truth]] = field(default_factory=list)
    beats: int = 0

    # -- what a runtime does

    def ask(self, license_id: LicenseId, identity: RuntimeIdentity) -> tuple[Lease | None, Any]:
        """Ask for the key: the lease, or the denial. Whatever is given is held against the truth.

        The truth is read first: nothing happens on the chain while a decision is made.
        """
        truth = self.truth(license_id, identity)
        granted = self._grant(license_id, identity)
        asker = Asker(
            identity=identity,
            license=license_id,
            model=self.world.published.model_id,
            sealing=self.world.published.record.hash(),
            grant=granted and granted.grant,
            acceptance=granted and granted.acceptance,
            terms=self.world.terms,
        )
        try:
            _, lease, _ = self.client.release(asker)
        except LedgerError as error:
            return None, error
        self.released.append((license_id, truth))
        return lease, None

    def decide(self, license_id: LicenseId, identity: RuntimeIdentity) -> Decision:
        """Ask whether the key would be given, with every step."""
        granted = self._grant(license_id, identity)
        return self.client.check(
            Asker(
                identity=identity,
                license=license_id,
                model=self.world.published.model_id,
                sealing=self.world.published.record.hash(),
                grant=granted and granted.grant,
                acceptance=granted and granted.acceptance,
                terms=self.world.terms,
            )
        )

    def beat(self, identity: RuntimeIdentity, lease: Lease) -> tuple[Lease | None, Any, bool]:
        """A heartbeat: the extended lease, the denial, and whether the runtime must unload."""
        self.beats += 1  # above every earlier one's, whatever became of it
        extended, decision = self.client.heartbeat(identity, lease, sequence=self.beats)
        return extended, decision.denial, bool(decision.reply["unload"])

    def _grant(self, license_id: LicenseId, identity: RuntimeIdentity) -> Any:
        ledger = self.world.chain.deployment.addresses["LicenseLedger"]
        return identity.grant_for(31337, ledger, license_id)

    # -- what is true

    def truth(self, license_id: LicenseId, identity: RuntimeIdentity) -> Truth:
        """The license at the true head and finalized block, for the holder who granted."""
        rpc = self.world.chain.rpc
        head, final = rpc.block("latest"), rpc.block("finalized")
        granted = self._grant(license_id, identity)
        signer = None if granted is None else granted.grant.signer(self.service._domain, step=4)
        answers = []
        for block in (final, head):
            code = self._code(license_id, identity, block, at=max(int(time.time()), head.timestamp))
            fits = True
            if granted is not None and code != Code.NOT_FOUND:
                facts = self._call("licenseOf", block, license_id)
                fits = (facts[0], int(facts[5])) == (signer, granted.grant.nonce)
            answers.append(code in {Code.VALID, Code.REVOKING} and fits)
        return Truth(head.number, final.number, answers[1], answers[0])

    def _code(self, license_id: LicenseId, identity: Any, block: Any, *, at: int) -> int:
        key = identity.key.hash()
        return int(self._call("check", block, license_id, ZERO_ADDRESS, key, at)[0])

    def _call(self, function: str, block: Any, *args: Any) -> tuple[Any, ...]:
        abi, chain = contract("LicenseLedger"), self.world.chain
        to = chain.deployment.addresses["LicenseLedger"]
        return abi.decode(
            function, chain.rpc.eth_call(to, abi.encode(function, *args), block.number)
        )

    def no_wrong_release(self) -> None:
        """The oracle: every release so far was right when it was given."""
        wrong = [(str(license_id), truth) for license_id, truth in self.released if not truth.valid]
        assert not wrong, wrong

    # -- what happens on the chain

    def act(self, who: str, function: str, *args: Any) -> None:
        """A transaction to the ledger, mined and not waited for."""
        chain = self.world.chain
        to = chain.deployment.addresses["LicenseLedger"]
        chain.sender(who).send(to, contract("LicenseLedger").encode(function, *args))

    def revoke(self, license_id: LicenseId) -> None:
        self.act("licensor", "revoke", int(license_id), 0, bytes(32))

    def mine(self, count: int = 3) -> None:
        self.world.chain.rpc.call("anvil_mine", [hex(count)])

    def reorg(self, depth: int) -> None:
        """Replace the last blocks by empty ones; their transactions are gone."""
        self.world.chain.rpc.call("anvil_reorg", [depth, []])

    def blocks(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Head and finalized block now, as JSON."""
        rpc = self.world.chain.rpc
        return rpc.block("latest").raw, rpc.block("finalized").raw


@contextmanager
def stand(
    world: Any, faults: Any, n: int = 3, *, profile: dict[str, Any] | None = None, **options: Any
) -> Iterator[Stand]:
    """A broker of its own view over `n` endpoints in front of the world's node."""
    proxies = [faults.FaultProxy(world.chain.node.rpc_url) for _ in range(n)]
    used = replace(world.chain.profile, **{"min_endpoints": n, **(profile or {})})
    # The client of `witness_rpc` keeps what an endpoint said of a block: a fault that begins later
    # would not show there until the next block, and here blocks stand still.
    rpcs = [
        Rpc(proxy.url, chain_id=31337, timeout=REQUEST_SECONDS, max_reply=MAX_REPLY)
        for proxy in proxies
    ]
    view = ChainView(rpcs, world.chain.deployment, used, **{"patience": 0.5, **options})
    service = BrokerService(world.broker.home, view)
    home = world.broker.home
    pin = BrokerPin(world.broker.id, home.signing_key_hash, home.kem_key_hash)
    try:
        yield Stand(world, proxies, view, service, Direct(service, pin))
    finally:
        view.close()
        service.close()
        for proxy in proxies:
            proxy.close()
