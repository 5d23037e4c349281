"""Contracts with our code, whose creator wrote the past he wanted before returning it.

Runtime code says what a contract does from now on. Creation code runs once, leaves no trace in it,
and may store any word and emit any event: titles never registered, licenses never issued.
"""

import json
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import rlp

from ledger.chain.deployment import Deployment
from ledger.claim import Claim, manifest_hash
from ledger.eip712 import Domain
from ledger.evidence import layout
from ledger.evidence.archive import parse
from ledger.evidence.events import KINDS
from ledger.evidence.report import render
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Verdict, verify
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, keccak256
from ledger.investigation import collect_model_evidence

pytestmark = pytest.mark.chain
GOOD = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "model.evidence.zip"
PERPETUAL = layout.PERPETUAL


def word(value):
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(value).rjust(32, b"\0")


def push(size, value):
    return bytes([0x5F + size]) + value.to_bytes(size, "big")


def log(contract, event, **values):
    """Creation code that emits an event of ours."""
    kind = next(kind for kind in KINDS if (kind.contract, kind.name) == (contract, event))
    topics = [kind.topic, *(word(values[name]) for _, name, indexed in kind.inputs if indexed)]
    data = [word(values[name]) for _, name, indexed in kind.inputs if not indexed]
    code = b"".join(b"\x7f" + of + push(2, 32 * at) + b"\x52" for at, of in enumerate(data))
    code += b"".join(b"\x7f" + topic for topic in reversed(topics))
    return code + push(2, 32 * len(data)) + push(2, 0) + bytes([0xA0 + len(topics)])


def store(slot, value):
    return b"\x7f" + word(value) + b"\x7f" + word(slot) + b"\x55"


def creation(past, runtime):
    """Creation code that makes a past and then returns genuine runtime code."""

    def tail(offset):
        size = push(4, len(runtime))
        return size + push(4, offset) + push(2, 0) + b"\x39" + size + push(2, 0) + b"\xf3"

    return past + tail(len(past) + len(tail(0))) + runtime


@dataclass(frozen=True)
class Forged:
    """Two contracts of the attacker's, and the claim they tell of."""

    claim: Claim
    manifest: dict
    deployment: Deployment


def runtime_for(deployed, name, at, registry, ledger):
    """Genuine code with the immutables that its constructor would have written at `at`."""
    addresses = deployed.deployment.addresses
    code = deployed.rpc.code(addresses[name])
    domain = [
        Domain(f"modeldeed {name}", "1", 31337, where).separator()
        for where in (addresses[name], at)
    ]
    for old, new in (
        domain,
        (word(addresses[name].raw), word(at.raw)),
        (word(addresses["ModelRegistry"].raw), word(registry.raw)),
        (word(addresses["LicenseLedger"].raw), word(ledger.raw)),
    ):
        code = code.replace(old, new)
    return code


@pytest.fixture(scope="module")
def forged(deployed):
    """The victim registered nothing, transferred nothing and licensed nothing."""
    sender, victim = deployed.sender("stranger"), deployed.wallet("licensor").address
    attacker = sender.address
    nonce = int(deployed.rpc.call("eth_getTransactionCount", [str(attacker), "latest"]), 16)
    registry, ledger = (
        Address(keccak256(rlp.encode([attacker.raw, nonce + more]))[12:]) for more in (0, 1)
    )
    manifest = json.loads(parse(GOOD.read_bytes()).members["manifest.json"])
    manifest["title"] = "The victim's best model"
    root, print_ = Digest(secrets.token_bytes(32)), Digest(secrets.token_bytes(32))
    claim = Claim(
        chain_id=31337,
        registry=registry,
        licensor=victim,
        artifact_root=root,
        fingerprint_digest=print_,
        watermark_commitment=ZERO_DIGEST,
        manifest_hash=manifest_hash(manifest),
        parents=(),
        salt=Digest(secrets.token_bytes(32)),
    )
    model, when, terms = claim.model_id(), int(time.time()) + 1000, Digest(b"\x05" * 32)
    title = int.from_bytes(attacker.raw, "big") | when << 160 | when << 200 | 1 << 240
    deployed.rpc.call("evm_setNextBlockTimestamp", [when])
    titles = (
        store(layout.title_slot(model), title)
        + store(layout.transfer_slot(model), 1 << 160)
        + log(
            *("ModelRegistry", "ModelRegistered"),
            modelId=model.raw,
            licensor=victim.raw,
            artifactRoot=root.raw,
            fingerprintDigest=print_.raw,
            watermarkCommitment=bytes(32),
            manifestHash=claim.manifest_hash.raw,
            registeredAt=when,
            committedAt=when,
        )
        + log(
            *("ModelRegistry", "TitleTransferred"),
            **{"modelId": model.raw, "from": victim.raw, "to": attacker.raw, "sequence": 1},
        )
    )
    license_id = LicenseId.of(1, 1)
    held = int.from_bytes(attacker.raw, "big") | 1 << 168 | PERPETUAL << 216
    licenses = (
        store(layout.owner_slot(license_id), held)
        + store(layout.plan_slot(1), int.from_bytes(victim.raw, "big") | 1 << 160)
        + store(layout.plan_slot(1, layout.PLAN_MODEL_WORD), int.from_bytes(model.raw, "big"))
        + store(layout.plan_slot(1, layout.PLAN_TERMS_WORD), int.from_bytes(terms.raw, "big"))
        + log(
            *("LicenseLedger", "PlanCreated"),
            planId=1,
            licensor=victim.raw,
            modelId=model.raw,
            termsHash=terms.raw,
            planDigest=bytes(32),
        )
        + log(
            *("LicenseLedger", "Transfer"),
            **{"from": bytes(20), "to": attacker.raw, "id": int(license_id)},
        )
        + log(
            *("LicenseLedger", "LicenseIssued"),
            licenseId=int(license_id),
            planId=1,
            to=attacker.raw,
            notBefore=when,
            notAfter=PERPETUAL,
        )
    )
    made = [
        sender.send(
            None, creation(past, runtime_for(deployed, name, at, registry, ledger)), purpose=name
        )
        for name, at, past in (
            ("ModelRegistry", registry, titles),
            ("LicenseLedger", ledger, licenses),
        )
    ]
    assert [receipt.contract_address for receipt in made] == [registry, ledger]
    deployed.chain.mine(3)
    addresses = {
        **deployed.deployment.addresses,
        "ModelRegistry": registry,
        "LicenseLedger": ledger,
    }
    hashes = {name: Digest(keccak256(deployed.rpc.code(at))) for name, at in addresses.items()}
    deployment = replace(deployed.deployment, addresses=addresses, code_hashes=hashes)
    return Forged(claim, manifest, deployment)


@pytest.fixture(scope="module")
def bundle(deployed, forged, tmp_path_factory):
    network = replace(deployed.network, deployment=forged.deployment)
    path = tmp_path_factory.mktemp("forged") / "forged.evidence.zip"
    return collect_model_evidence(network, forged.claim, forged.manifest, dest=path)


def test_a_past_written_by_creation_code_is_never_verified(deployed, bundle):
    """Every proof in it is right: of words and events that the attacker's own code made."""
    block = verify(bundle).assumed[0]
    assert deployed.rpc.block(block[0]).hash == block[1]
    report = verify(bundle, trust=TrustRoot(frozenset({block[1]})))
    assert report.verdict is Verdict.INCOMPLETE
    assert not report.holds
    assert report.sentence == "not verified: step 5 (contracts) could not be checked"
    assert "LicenseLedger, ModelRegistry" in report.steps[4].detail
    assert render(report.statement).rstrip("\n") not in report.text()
    assert verify(bundle).verdict is Verdict.INCOMPLETE


def test_naming_one_of_the_two_contracts_does_not_carry_the_other(forged, bundle):
    blocks = frozenset(block for _, block in verify(bundle).assumed)
    addresses = forged.deployment.addresses
    for name in ("ModelRegistry", "LicenseLedger"):
        trust = TrustRoot(blocks, {name: addresses[name]})
        assert verify(bundle, trust=trust).verdict is Verdict.INCOMPLETE


def test_a_reader_who_knows_where_the_contracts_are_finds_it_broken(deployed, bundle):
    blocks = frozenset(block for _, block in verify(bundle).assumed)
    at = deployed.deployment.addresses
    for name in ("ModelRegistry", "LicenseLedger"):
        report = verify(bundle, trust=TrustRoot(blocks, {name: at[name]}))
        assert report.verdict is Verdict.BROKEN


def test_the_report_for_programs_tells_no_facts_unless_they_hold(bundle):
    """Who reads the statement and skips the verdict must not find the attacker's story."""
    document = verify(bundle).to_json()
    assert document["statement"] is None
    assert document["holds"] is False
