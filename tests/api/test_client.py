"""The typed client against the real service: what it reads, sends, repeats and follows."""

from __future__ import annotations

import importlib
import itertools
import secrets
import threading
from typing import Any

import pytest

from ledger.chain.reverts import PlanNotAuthorized
from ledger.chain.wallet import dev_wallet
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

world: Any = importlib.import_module("access_world")


@pytest.fixture(scope="module")
def service(deployed, published, tmp_path_factory, make):
    """A service whose operator lets it pass transactions on."""
    folder = tmp_path_factory.mktemp("service")
    running = make.service(folder, deployed.network, DEED_API_RELAY="true").start()
    running.caught_up(deployed.rpc)
    yield running
    running.stop()


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


def test_events_are_heard_as_they_happen_and_after_a_break(service, deployed):
    heard: list[Any] = []
    roots = [Digest(secrets.token_bytes(32)) for _ in range(3)]
    listening = threading.Event()

    def listen():
        with Client(service.url) as client:
            listening.set()
            stream = client.listen(event="RootAnchored", after=0)
            wanted = (each for each in stream if each.kind == "applied")
            known = {str(root) for root in roots}
            mine = (each for each in wanted if each.arguments["root"] in known)
            heard.extend(itertools.islice(mine, 3))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    listening.wait(5)
    deployed.anchors.anchor(deployed.sender("licensor"), roots[0])
    service.process.terminate()
    service.process.wait(20)
    deployed.anchors.anchor(deployed.sender("licensor"), roots[1])
    service.start()
    deployed.anchors.anchor(deployed.sender("licensor"), roots[2])
    thread.join(30)
    assert [each.arguments["root"] for each in heard] == [str(root) for root in roots]
    assert [each.seq for each in heard] == sorted({each.seq for each in heard})
