"""A real stack for broker tests: Anvil, our contracts, a sealed model, a broker behind HTTP.

Used by path from conftest files, because test folders are not packages. Contracts are called by
their ABI alone, so that nothing here depends on the clients under test elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from safetensors.numpy import save_file

from api import problems
from api.__main__ import http_config
from api.routes.broker import router
from ledger.broker.chainview import ChainView
from ledger.broker.client import BrokerClient
from ledger.broker.enrolment import grant_runtime
from ledger.broker.home import BrokerHome
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.link import BrokerPin
from ledger.broker.service import BrokerService
from ledger.broker.setup import identity_on
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment, deploy
from ledger.chain.dev import DevChain
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import LocalWallet, dev_wallet
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.licensing import card as card_module
from ledger.licensing import terms as terms_module
from ledger.sealed.file import seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

PASSPHRASE = "a passphrase for tests"


class Chain:
    """A local chain with our contracts, called by ABI."""

    def __init__(self) -> None:
        self.node = DevChain.start()
        self.rpc = Rpc(self.node.rpc_url, chain_id=31337)
        self.profile = profile_for(31337)
        self.deployment: Deployment = deploy(self.sender("deployer"))

    def close(self) -> None:
        self.rpc.close()
        self.node.stop()

    def wallet(self, name: str) -> LocalWallet:
        return dev_wallet(name)

    def sender(self, name: str) -> Sender:
        return Sender(self.rpc, dev_wallet(name), self.profile)

    def send(self, who: str, name: str, function: str, *args: Any) -> list[dict[str, Any]]:
        """Send a transaction, wait until it is final, and give its events' arguments."""
        abi, sender = contract(name), self.sender(who)
        receipt = sender.send(self.deployment.addresses[name], abi.encode(function, *args))
        sender.wait_final(receipt)
        events = [abi.event(log.topics, log.data) for log in receipt.logs]
        return [event.arguments for event in events if event is not None]

    def view(self, name: str, function: str, *args: Any) -> tuple[Any, ...]:
        abi = contract(name)
        answer = self.rpc.eth_call(self.deployment.addresses[name], abi.encode(function, *args))
        return abi.decode(function, answer)


@dataclass
class Published:
    """A registered, sealed and lodged model with what it is made of."""

    model_id: ModelId
    record: SealingRecord
    key: bytes = field(repr=False)
    path: Path
    tensors: dict[str, Any]
    claim: Claim | None = None
    manifest: dict[str, Any] | None = None
    fingerprint: Fingerprint | None = None


def publish(chain: Chain, folder: Path, *, epoch: int = 1, who: str = "licensor") -> Published:
    """Register, seal and lodge a small random model."""
    generator = np.random.default_rng(secrets.randbits(64))
    tensors = {
        "layer.weight": generator.standard_normal((64, 48)).astype(np.float32),
        "layer.bias": generator.standard_normal(64).astype(np.float16),
        "steps": np.arange(17, dtype=np.int64),
    }
    plain = folder / f"plain-{secrets.token_hex(4)}.safetensors"
    save_file(tensors, plain)
    with open_model(plain) as opened:
        found = fingerprint(opened, level="deep")
        manifest = build_manifest(opened, title="a model with a broker")
    claim = Claim(
        chain_id=31337,
        registry=chain.deployment.addresses["ModelRegistry"],
        licensor=chain.wallet(who).address,
        artifact_root=found.content_root,
        fingerprint_digest=found.content_id(),
        watermark_commitment=ZERO_DIGEST,
        manifest_hash=manifest_hash(manifest),
        parents=(),
        salt=Digest(secrets.token_bytes(32)),
    )
    arguments = (
        claim.licensor, claim.artifact_root, claim.fingerprint_digest,
        claim.watermark_commitment, claim.manifest_hash, [], claim.salt,
    )  # fmt: skip
    chain.send(who, "ModelRegistry", "register", arguments, (ZERO_DIGEST, 0, 0, []))
    made = reseal(chain, plain, claim.model_id(), epoch=epoch, who=who, tensors=tensors)
    return replace(made, claim=claim, manifest=manifest, fingerprint=found)


def reseal(
    chain: Chain,
    plain: Path,
    model_id: ModelId,
    *,
    epoch: int,
    who: str = "licensor",
    tensors: dict[str, Any] | None = None,
) -> Published:
    """Seal a plain model as one epoch and lodge it."""
    key = secrets.token_bytes(32)
    dest = plain.with_name(f"{plain.stem}-{epoch}.sealed")
    with open_model(plain) as model:
        record = seal(
            model,
            dest,
            content_key=key,
            model_id=model_id,
            chain_id=31337,
            registry=chain.deployment.addresses["ModelRegistry"],
            epoch=epoch,
            log2_segment=16,
        )
    chain.send(who, "ModelRegistry", "lodge", model_id, 1, epoch, record.hash())
    return Published(model_id, record, key, dest, tensors or {})


def some_terms(**changes: Any) -> dict[str, Any]:
    """A terms document."""
    document = dict(terms_module.parse(terms_module.TEMPLATE.encode()).document)
    return {**document, **changes}


def plan(
    chain: Chain,
    published: Published,
    terms: dict[str, Any],
    broker_set: int,
    who: str = "licensor",
    **changes: Any,
) -> int:
    """Create a floating plan; `changes` by Solidity field name."""
    fields: dict[str, Any] = {
        "modelId": published.model_id,
        "termsHash": terms_module.terms_hash(terms),
        "duration": 30 * 86400,
        "grace": 60,
        "leaseTtl": 60,
        "maxOffline": 3600,
        "minNotice": 0,
        "refundWindow": 0,
        "reissueDelay": 0,
        "seats": 2,
        "supply": 0,
        "quota": 0,
        "features": 0,
        "brokerSet": broker_set,
        "payToken": ZERO_ADDRESS,
        "price": 0,
        "floating": True,
        "warnOnly": False,
        "transferable": True,
    } | changes
    (event,) = (
        e
        for e in chain.send(who, "LicenseLedger", "createPlan", tuple(fields.values()))
        if "planDigest" in e
    )
    return int(event["planId"])


def issue(
    chain: Chain,
    plan_id: int,
    *,
    to: str | Address = "holder",
    who: str = "licensor",
    not_before: int = 0,
    not_after: int = 0,
) -> LicenseId:
    """Issue one license."""
    address = to if isinstance(to, Address) else chain.wallet(to).address
    events = chain.send(who, "LicenseLedger", "issue", plan_id, address, not_before, not_after)
    (event,) = (e for e in events if "licenseId" in e and "notBefore" in e)
    return LicenseId(int(event["licenseId"]))


class Broker:
    """A registered broker behind HTTP on a free port."""

    def __init__(
        self, chain: Chain, folder: Path, kind: type[BrokerService] = BrokerService, **service: Any
    ) -> None:
        self.chain = chain
        home = BrokerHome.create(folder / "broker", PASSPHRASE, cost=14)
        (event,) = (
            e
            for e in chain.send(
                "broker",
                "BrokerRegistry",
                "registerBroker",
                home.signing_key_hash,
                home.kem_key_hash,
                "http://127.0.0.1",
            )
            if "operator" in e
        )
        self.id = int(event["brokerId"])
        (event,) = chain.send("broker", "BrokerRegistry", "createBrokerSet", [self.id], 1)
        self.set_id = int(event["setId"])
        home.register(identity_on(chain.deployment, self.id))
        self.home = home
        self.view = ChainView(
            [Rpc(chain.node.rpc_url, chain_id=31337)], chain.deployment, chain.profile
        )
        self.service = kind(home, self.view, **service)
        self._server: uvicorn.Server | None = None
        self.url = ""
        self.serve()

    def serve(self) -> None:
        """Start the HTTP server; again after `unserve`, on the same port."""
        app = FastAPI()
        app.state.broker = self.service
        app.include_router(router)
        problems.install(app)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        sock.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._server = uvicorn.Server(http_config(app, lifespan="off"))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [sock]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        self._socket = sock

    def unserve(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(10)
            with contextlib.suppress(OSError):
                self._socket.close()
            self._server = None

    def close(self) -> None:
        self.unserve()
        self.service.close()
        self.view.close()

    def client(self, **options: Any) -> BrokerClient:
        pin = BrokerPin(self.id, self.home.signing_key_hash, self.home.kem_key_hash)
        return BrokerClient(self.url, pin=pin, **options)

    def card_brokers(self) -> card_module.BrokerSet:
        member = card_module.CardBroker(
            self.id, self.home.signing_key_hash, self.home.kem_key_hash, (self.url,)
        )
        return card_module.BrokerSet(self.set_id, 1, (member,))


@dataclass
class World:
    """Everything a runtime needs, with one license issued and one runtime granted."""

    chain: Chain
    broker: Broker
    folder: Path
    published: Published
    terms: dict[str, Any]

    def deposit(self, published: Published | None = None, who: str = "licensor") -> dict[str, Any]:
        made = published or self.published
        with self.broker.client() as client:
            return client.deposit(made.record, made.key, self.chain.wallet(who), terms=[self.terms])

    def plan(self, **changes: Any) -> int:
        return plan(self.chain, self.published, self.terms, self.broker.set_id, **changes)

    def license(self, plan_id: int | None = None, **options: Any) -> LicenseId:
        return issue(self.chain, self.plan() if plan_id is None else plan_id, **options)

    def runtime(self, license_id: LicenseId | None = None, **options: Any) -> RuntimeIdentity:
        """A fresh runtime; granted `license_id` by the holder when one is given."""
        use = options.pop("use", None)
        path = self.folder / "runtimes" / f"{secrets.token_hex(4)}.json"
        identity = RuntimeIdentity.create(path, name="test", use=use)
        if license_id is not None:
            self.grant(identity, license_id, **options)
        return identity

    def grant(
        self, identity: RuntimeIdentity, license_id: LicenseId, who: str = "holder", **options: Any
    ) -> None:
        identity.accept(
            self.grant_file(identity, license_id, who, **options),
            contract_wallet=bool(options.get("contract_wallet")),
        )

    def grant_file(
        self, identity: Any, license_id: LicenseId, who: str = "holder", **options: Any
    ) -> dict[str, Any]:
        """A grant file for a runtime or a fleet; `signer` signs in the place of account `who`."""
        nonce = self.chain.view("LicenseLedger", "grantNonceOf", license_id)[0]
        return grant_runtime(
            identity.enrolment_request(),
            options.pop("signer", None) or self.chain.wallet(who),
            chain_id=31337,
            ledger=self.chain.deployment.addresses["LicenseLedger"],
            license_id=license_id,
            terms_hash=terms_module.terms_hash(self.terms),
            grant_nonce=options.pop("grant_nonce", nonce),
            model=options.pop("model", self.published.model_id),
            licensor=options.pop("licensor", self.chain.wallet("licensor").address),
            brokers_hash=options.pop("brokers_hash", self.broker.card_brokers().hash()),
            **options,
        )

    def card(
        self, license_id: LicenseId, published: Published | None = None, **changes: Any
    ) -> dict[str, Any]:
        made = published or self.published
        addresses = self.chain.deployment.addresses
        arguments: dict[str, Any] = {
            "chain_id": 31337,
            "ledger": addresses["LicenseLedger"],
            "registry": addresses["ModelRegistry"],
            "broker_registry": addresses["BrokerRegistry"],
            "license_id": license_id,
            "model": made.model_id,
            "sealing": made.record.to_json(),
            "sealing_hash": made.record.hash(),
            "terms": self.terms,
            "brokers": self.broker.card_brokers(),
            "files": [
                card_module.CardFile(made.path.as_uri(), made.path.stat().st_size, made.record.root)
            ],
        } | changes
        return card_module.build(self.chain.wallet("licensor"), **arguments)

    def card_file(self, license_id: LicenseId, **changes: Any) -> Path:
        path = self.folder / f"{license_id}{card_module.SUFFIX}"
        path.write_text(json.dumps(self.card(license_id, **changes)))
        return path

    def with_terms(self, **changes: Any) -> World:
        return replace(self, terms=some_terms(**changes))


@contextlib.contextmanager
def world(folder: Path) -> Any:
    """A whole stack with one published and deposited model."""
    chain = Chain()
    try:
        broker = Broker(chain, folder)
        try:
            made = World(chain, broker, folder, publish(chain, folder), some_terms())
            made.deposit()
            yield made
        finally:
            broker.close()
    finally:
        chain.close()
