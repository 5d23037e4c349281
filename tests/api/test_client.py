"""The typed client against the real service, and the guide to both, run as it is written."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.chain.licenses import Role
from ledger.chain.reverts import PlanNotAuthorized
from ledger.chain.wallet import _TEST_KEYS, dev_wallet
from ledger.client import Client
from ledger.errors import (
    CredentialRevoked,
    IdempotencyKeyReused,
    NotAuthenticated,
    ScopeMissing,
    UnknownRecord,
    UsageError,
)
from ledger.ids import Digest

pytestmark = pytest.mark.chain

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "api.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
world: Any = importlib.import_module("access_world")


@pytest.fixture(scope="module")
def service(relaying):
    return relaying


@pytest.fixture
def anyone(service):
    with Client(service.url) as client:
        yield client


@pytest.fixture
def licensor(service):
    with Client(service.url) as client:
        client.sign_in(dev_wallet("licensor"))
        yield client


def test_reads_come_as_types(anyone, published):
    entitlement = anyone.entitlement(published.license)
    assert (entitlement.entitled, entitlement.code) == (True, "VALID")
    assert entitlement.license == published.license
    assert entitlement.as_of.block >= 1
    answer = anyone.license(published.license)
    assert (answer.license.holder, answer.plan.plan_id) == (
        dev_wallet("holder").address,
        published.plan,
    )
    model = anyone.model(published.model)
    assert model.model.licensor == dev_wallet("licensor").address
    assert model.model.artifact_root == published.claim.artifact_root
    assert [each.plan_id for each in model.plans] == [published.plan]
    assert "LicenseIssued" in {each.event for each in anyone.timeline(published.model).entries}
    figures = anyone.statistics(dev_wallet("licensor").address)
    assert (figures.issued, figures.licenses.active) == (1, 1)
    assert next(anyone.models()).model_id == published.model
    assert next(anyone.plans(model=published.model)).terms_hash


def test_lists_are_followed_page_by_page(licensor, published, deployed, service, monkeypatch):
    from ledger.client import service as module

    monkeypatch.setattr(module, "_PAGE", 2)
    holders = [dev_wallet(name).address for name in ("rival", "buyer", "spare", "auditor")]
    deployed.licenses.issue_batch(deployed.sender("licensor"), published.plan, holders)
    service.caught_up(deployed.rpc)
    found = list(licensor.licenses(plan=published.plan))
    assert [each.license.serial for each in found] == [1, 2, 3, 4, 5]
    assert len(list(licensor.events(event="LicenseIssued"))) == 5


def test_a_license_is_issued_by_the_client_alone(licensor, published):
    ready = licensor.prepare("issue", plan=published.plan, to=dev_wallet("buyer").address)
    wallet = world.Wallet.named("licensor")
    raw = bytes(wallet.account.sign_transaction(ready.transaction).raw_transaction)
    sent = licensor.relay(raw)
    assert licensor.relay(raw).hash == sent.hash
    told = licensor.settled(sent.hash)
    assert told.state == "mined"
    issued = next(each for each in told.events if each.event == "LicenseIssued")
    assert str(issued.arguments["licenseId"]) == ready.simulation.returns["licenseId"]
    assert licensor.license(ready.simulation.returns["licenseId"]).license.status == "active"


def test_problems_come_back_as_the_errors_that_they_were(anyone, licensor, service, published):
    with pytest.raises(UnknownRecord) as unknown:
        anyone.license("9.9")
    assert unknown.value.hint
    with pytest.raises(NotAuthenticated):
        anyone.list_keys()
    with pytest.raises(UsageError):
        anyone.write("POST", "/v1/search", {"cid": ["0x12"]})
    with Client(service.url) as holder:
        holder.sign_in(dev_wallet("holder"))
        with pytest.raises(PlanNotAuthorized) as refused:
            holder.prepare("issue", plan=published.plan, to=dev_wallet("buyer").address)
        assert refused.value.error_name == "PlanNotAuthorized"
        assert refused.value.arguments["planId"] == published.plan
        with pytest.raises(ScopeMissing) as missing:
            holder.create_key("x", ["statistics:read"])
        assert missing.value.scope == "statistics:read"
        holder.sign_out()
        with pytest.raises(NotAuthenticated):
            holder.list_keys()


def test_a_key_is_made_used_and_revoked(licensor, service):
    name = secrets.token_hex(4)
    made = licensor.create_key("ci", ["deposits:write"], once=name)
    assert licensor.create_key("ci", ["deposits:write"], once=name) == made
    with pytest.raises(IdempotencyKeyReused):
        licensor.create_key("other", ["deposits:write"], once=name)
    assert made.key is not None
    assert made.key not in repr(made) + repr(licensor)
    assert made.id in [each.id for each in licensor.list_keys()]
    with Client(service.url, credential=made.key) as machine:
        assert machine.get("/v1/auth/me")["id"] == made.id
        licensor.revoke_key(made.id)
        with pytest.raises(CredentialRevoked):
            machine.get("/v1/auth/me")


@pytest.fixture
def token_plan(deployed, published, token_world, service):
    """A plan that is sold for a token of which the buyer has some."""
    deployer, licensor = deployed.sender("deployer"), deployed.sender("licensor")
    at = token_world.deploy_token(deployer, permits=True)
    token_world.mint(deployer, at, dev_wallet("buyer").address, 1000)
    terms, _ = deployed.licenses.plan_of(published.plan)
    plan, _ = deployed.licenses.create_plan(licensor, replace(terms, pay_token=at, price=500))
    market = deployed.deployment.addresses["LicenseMarket"]
    deployed.licenses.set_roles(licensor, plan, market, Role.ISSUER)
    service.caught_up(deployed.rpc)
    return plan


def test_every_example_of_the_guide_does_what_it_says(
    service, published, deployed, token_plan, monkeypatch
):
    monkeypatch.setenv("DEED_API", service.url)
    monkeypatch.setenv("DEED_KEY", "")
    monkeypatch.setenv("PLAN", str(published.plan))
    monkeypatch.setenv("LICENSE", str(published.license))
    monkeypatch.setenv("TOKEN_PLAN", str(token_plan))
    for name in ("WALLET", "BUYER", "HOLDER"):
        who = name.lower().replace("wallet", "licensor")
        monkeypatch.setenv(f"{name}_KEY", "0x" + _TEST_KEYS[who])
    # Until the license's block is final, its answer as of the finalized block is a 404.
    final = f"/v1/licenses/{published.license}?min_finality=finalized"
    service.until(lambda: service.client.get(final).status_code == 200)
    blocks = BLOCK.findall(GUIDE.read_text())
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    assert len(blocks) >= 11
    names: dict[str, object] = {}
    checked = 0
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(GUIDE), "exec"), names)
            continue
        if shutil.which("curl") is None:
            continue
        told = [line.removeprefix("# → ") for line in text.splitlines() if line.startswith("# → ")]
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told
        for each in told:
            assert each in ran.stdout, (text, ran.stdout)
            checked += 1
    assert checked >= 12 or shutil.which("curl") is None


class Wire:
    """A line to the service that a test cuts."""

    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        self.ears = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.ears.getsockname()[1]}"
        self.ends: list[socket.socket] = []
        self.calls = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.ears.accept()
                there = socket.create_connection(self.to)
                self.ends += [here, there]
                self.calls += 1
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)

    def cut(self):
        for each in self.ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.ends.clear()


def test_events_are_heard_as_they_happen_and_after_a_break(service, deployed):
    wire = Wire(service.port)
    roots = [Digest(secrets.token_bytes(32)) for _ in range(3)]
    known = {str(root) for root in roots}
    with Client(wire.url, pause=lambda _: None) as client:
        stream = client.listen(event="RootAnchored", after=0)
        mine = (
            each for each in stream if each.kind == "applied" and each.arguments["root"] in known
        )
        heard = []
        for root in roots:
            deployed.anchors.anchor(deployed.sender("licensor"), root)
            heard.append(next(mine))
            wire.cut()
        stream.close()
    wire.ears.close()
    assert [each.arguments["root"] for each in heard] == [str(root) for root in roots]
    assert [each.seq for each in heard] == sorted({each.seq for each in heard})
    assert wire.calls >= 3
