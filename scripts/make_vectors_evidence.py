#!/usr/bin/env python3
"""Writes tests/vectors/evidence: one bundle that holds, and one file per way to break it.

The bundle is collected from a real Anvil whose clock is fixed, so that the same contracts give the
same bytes. Run it after a deliberate change of the format or of the contracts.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import make_vectors_forged
import make_vectors_match
import make_vectors_stamps
import numpy as np
from safetensors.numpy import save_file

from ledger.chain.abi_codec import contract
from ledger.chain.anvil import find_anvil, free_port, kill
from ledger.chain.deployment import Deployment
from ledger.chain.network import Network
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.errors import LedgerError
from ledger.evidence.origin import FACTORY, factory_call
from ledger.evidence.releases import CONTRACTS, shipped_code, shipped_init_code
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, keccak256
from ledger.investigation import collect_model_evidence
from ledger.licensing import card as license_card
from ledger.licensing import terms as license_terms
from ledger.merkle import T2
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

OUT = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "evidence"
BUNDLE = "model.evidence.zip"
# 2026-01-01 00:00:00 UTC, and twelve seconds a block.
_GENESIS_TIME = 1_767_225_600
_TERMS = {
    "type": license_terms.TYPE,
    "version": 1,
    "title": "Evaluation terms",
    "licensor": "Example GmbH",
    "text": "For the vectors only.",
    "territory": ["any"],
    "purposes": ["any"],
    "fields": ["any"],
    "evidence": ["software"],
    "export": False,
}
_OTHER_HASH = "0x" + "5a" * 32

_FIRST = ("Anchors", "LicenseRenderer", "LicenseExtension")
_THEN = ("ModelRegistry", "LicenseLedger")


class World:
    """A chain with our contracts, spoken to through Anvil's unlocked test accounts."""

    def __init__(self) -> None:
        port = free_port()
        command = [str(find_anvil()), "--port", str(port), "--silent", "--slots-in-an-epoch", "1"]
        self._node = subprocess.Popen([*command, "--timestamp", str(_GENESIS_TIME)])
        self.url = f"http://127.0.0.1:{port}"
        self.rpc = Rpc(self.url)
        for _ in range(200):
            try:
                self.rpc.chain_id()
                break
            except LedgerError:
                time.sleep(0.05)
        self.rpc.call("anvil_setBlockTimestampInterval", [12])
        self.accounts = [Address.parse(text) for text in self.rpc.call("eth_accounts")]
        # In one block: faults name blocks by number, and these do not depend on each other.
        self.rpc.call("evm_setAutomine", [False])
        first = [self._request(0, FACTORY, _creation(name)) for name in _FIRST]
        self.rpc.call("evm_mine", [])
        self.rpc.call("evm_setAutomine", [True])
        for sent in first:
            self._await(sent)
        for name in _THEN:
            self._await(self._request(0, FACTORY, _creation(name)))
        self.at = {name: shipped_code(name).address for name in CONTRACTS}

    def close(self) -> None:
        """End the node."""
        self.rpc.close()
        kill(self._node)

    def send(self, account: int, name: str, function: str, *args: Any) -> None:
        """One transaction that must succeed, in a block of its own."""
        self._await(self._request(account, self.at[name], contract(name).encode(function, *args)))

    def mine(self, blocks: int) -> None:
        """Empty blocks."""
        self.rpc.call("anvil_mine", [hex(blocks)])

    def deployment(self) -> Deployment:
        """The contracts as collectors know them."""
        return Deployment(
            chain_id=31337,
            genesis_hash=self.rpc.block(0).hash,
            block=0,
            addresses=dict(self.at),
            code_hashes={
                name: Digest(keccak256(self.rpc.code(address))) for name, address in self.at.items()
            },
        )

    def _request(self, account: int, to: Address, data: bytes) -> str:
        request = {
            "from": str(self.accounts[account]),
            "to": str(to),
            "data": "0x" + data.hex(),
            "gas": hex(8_000_000),
            "maxFeePerGas": hex(10**10),
            "maxPriorityFeePerGas": hex(0),
        }
        sent: str = self.rpc.call("eth_sendTransaction", [request])
        return sent

    def _await(self, sent: str) -> None:
        for _ in range(500):  # the block is mined at once, and seen a little later
            receipt: dict[str, Any] | None = self.rpc.call("eth_getTransactionReceipt", [sent])
            if receipt is not None and receipt["status"] == "0x1":
                return
            time.sleep(0.01)
        raise SystemExit(f"error: a transaction failed: {receipt}")


def _creation(name: str) -> bytes:
    return factory_call(shipped_init_code(name))


def tell_story(world: World, folder: Path) -> Path:
    """Commit, register, seal, license, suspend, revoke, transfer; a rival registers; collect."""
    weights = folder / "model.safetensors"
    stream = hashlib.shake_256(b"modeldeed evidence vectors").digest(1280)
    values = np.frombuffer(stream, "<u1").astype("<f4")
    save_file({"a": values[:1024].reshape(32, 32), "b": values[1024:]}, weights)
    model = open_model(weights)
    print_ = fingerprint(model, level="deep")
    manifest = build_manifest(model, title="Vector model")
    parent = replace(
        _claim(world, print_, manifest, 4, b"\x08" * 32), artifact_root=Digest(b"\x44" * 32)
    )
    claim = replace(_claim(world, print_, manifest, 1, b"\x07" * 32), parents=(parent.model_id(),))
    sibling = b"\x11" * 32
    root = T2.node(claim.commitment_leaf().raw, sibling)
    world.send(1, "Anchors", "anchor", root)
    world.send(4, "ModelRegistry", "register", _tuple(parent), (bytes(32), 0, 0, []))
    world.send(1, "ModelRegistry", "register", _tuple(claim), (root, 0, 2, [sibling]))
    rival = _claim(world, print_, manifest, 4, b"\x09" * 32)
    world.send(4, "ModelRegistry", "register", _tuple(rival), (bytes(32), 0, 0, []))
    model_id = claim.model_id()
    sealing = SealingRecord(
        model_id, 1, Digest(b"\x01" * 32), Digest(b"\x02" * 32), Digest(b"\x03" * 32)
    )
    world.send(1, "ModelRegistry", "lodge", model_id.raw, 1, 1, sealing.hash().raw)
    terms_hash = license_terms.validate(_TERMS).hash()
    plan = (
        *(model_id.raw, terms_hash.raw, 30 * 86400, 3600, 3600, 86400, 0, 0, 0, 3, 0, 0, 0, 0),
        *("0x" + "00" * 20, 0, False, False, True),
    )
    world.send(1, "LicenseLedger", "createPlan", plan)
    first, second = LicenseId.of(1, 1), LicenseId.of(1, 2)
    world.send(1, "LicenseLedger", "issue", 1, world.accounts[2], 0, 0)
    world.send(1, "LicenseLedger", "issue", 1, world.accounts[3], 0, 0)
    world.send(1, "LicenseLedger", "suspend", int(second), b"\x07" * 32)
    world.send(1, "LicenseLedger", "revoke", int(first), 0, b"\x06" * 32)
    card = license_card.build(
        dev_wallet("licensor"),
        chain_id=31337,
        ledger=world.at["LicenseLedger"],
        registry=world.at["ModelRegistry"],
        broker_registry=Address(bytes(19) + b"\x01"),
        license_id=first,
        model=model_id,
        sealing=sealing.to_json(),
        sealing_hash=sealing.hash(),
        terms=_TERMS,
        brokers=license_card.BrokerSet(
            1, 1, (license_card.CardBroker(1, Digest(b"\x21" * 32), Digest(b"\x22" * 32)),)
        ),
    )
    world.send(1, "ModelRegistry", "proposeTransfer", model_id.raw, world.accounts[5])
    world.send(5, "ModelRegistry", "acceptTransfer", model_id.raw)
    world.send(4, "ModelRegistry", "confirmParent", _tuple(claim), parent.model_id())
    world.mine(2)
    network = Network(
        name="vectors",
        rpc_urls=(world.url,),
        deployment=world.deployment(),
        profile=profile_for(31337),
        api_url=None,
        broker_url=None,
    )
    return collect_model_evidence(
        network,
        claim,
        manifest,
        print_,
        dest=folder / BUNDLE,
        sealings=[sealing],
        cards=[card],
        terms=[_TERMS],
        tensors=[print_.tensors[0].cid],
        actor="the vector generator",
        now=datetime(2026, 1, 1, 1, tzinfo=UTC),
    )


def _claim(
    world: World, print_: Fingerprint, manifest: dict[str, Any], account: int, salt: bytes
) -> Claim:
    return Claim(
        chain_id=31337,
        registry=world.at["ModelRegistry"],
        licensor=world.accounts[account],
        artifact_root=print_.content_root,
        fingerprint_digest=print_.content_id(),
        watermark_commitment=ZERO_DIGEST,
        manifest_hash=manifest_hash(manifest),
        parents=(),
        salt=Digest(salt),
    )


def _tuple(claim: Claim) -> tuple[Any, ...]:
    return (
        claim.licensor,
        claim.artifact_root,
        claim.fingerprint_digest,
        claim.watermark_commitment,
        claim.manifest_hash,
        list(claim.parents),
        claim.salt,
    )


def faults() -> dict[str, dict[str, Any]]:
    """One change each. Edits: see `forge` in tests/ledger/evidence/conftest.py."""
    format_error = {"error": "BUNDLE_FORMAT_ERROR"}

    def broken(step: int) -> dict[str, Any]:
        return {"verdict": "does not hold", "first": step}

    def case(
        description: str, expect: dict[str, Any], *edits: dict[str, Any], reseal: bool = True
    ) -> dict[str, Any]:
        return {
            "description": description,
            "edit": list(edits),
            "reseal": reseal,
            "expect": expect,
        }

    def put(member: str, path: list[Any], value: Any) -> dict[str, Any]:
        return {"op": "set", "member": member, "path": path, "value": value}

    def flip(member: str, at: int) -> dict[str, Any]:
        return {"op": "flip", "member": member, "at": at}

    def move(source: str, to: str) -> dict[str, Any]:
        return {"op": "copy", "from": source, "to": to}

    def drop(member: str) -> dict[str, Any]:
        return {"op": "remove", "member": member}

    registry, ledger = "state/ModelRegistry.json", "state/LicenseLedger.json"
    title = {"op": "move-slot", "member": registry, "slot": "title"}
    return {
        "archive-trailing-byte": case(
            "a byte after the end record", format_error, {"op": "append", "hex": "00"}
        ),
        "archive-comment": case(
            "an archive comment", format_error, {"op": "comment", "hex": "6869"}
        ),
        "archive-date-other": case(
            "a member's date is another one",
            format_error,
            {"op": "flip-archive", "at": 12},
            reseal=False,
        ),
        "member-flipped": case(
            "one bit of a header, index as it was",
            broken(2),
            flip("headers/10.rlp", 40),
            reseal=False,
        ),
        "member-missing": case(
            "a member is gone, index as it was", broken(2), drop("claim.json"), reseal=False
        ),
        "member-extra": case(
            "a second receipt that is not listed",
            broken(2),
            move("receipts/10-0.json", "receipts/10-1.json"),
            reseal=False,
        ),
        "member-unknown": case(
            "a member of no known name",
            format_error,
            {"op": "add", "member": "notes.txt", "hex": "6869"},
        ),
        "index-id-other": case(
            "the id is not the index's",
            broken(2),
            put("bundle.json", ["id"], _OTHER_HASH),
            reseal=False,
        ),
        "index-field-extra": case(
            "the index has one field more",
            broken(2),
            put("bundle.json", ["remark"], "hi"),
            reseal=False,
        ),
        "readme-other": case(
            "the readme tells to trust the bundle's own verifier",
            broken(2),
            {"op": "add", "member": "README.txt", "hex": b"run ./verify\n".hex()},
        ),
        "json-not-canonical": case(
            "a document has a space more",
            broken(2),
            {"op": "append-to", "member": "manifest.json", "hex": "20"},
        ),
        "header-flipped": case(
            "one bit of a header between event and proved block",
            broken(3),
            flip("headers/10.rlp", 40),
        ),
        "header-swapped": case(
            "a header stands under another number",
            broken(3),
            move("headers/9.rlp", "headers/10.rlp"),
        ),
        "header-missing": case(
            "the header of a receipt's block is gone", broken(7), drop("headers/4.rlp")
        ),
        "header-stale": case(
            "the newest header is left out and the block before named instead",
            broken(5),
            {"op": "behead"},
        ),
        "state-hash-other": case(
            "the index names another block than the newest header",
            broken(3),
            put("bundle.json", ["state", "hash"], _OTHER_HASH),
        ),
        "account-nonce-other": case(
            "an account is shown with another nonce than proved",
            broken(5),
            put(registry, ["nonce"], "0x7"),
        ),
        "chain-other": case(
            "the bundle says Ethereum, chain id 1",
            broken(5),
            put("bundle.json", ["chain", "id"], 1),
            put("claim.json", ["chain_id"], 1),
        ),
        "contract-other": case(
            "the registry's address is another account's",
            broken(5),
            put("bundle.json", ["contracts", "ModelRegistry", "address"], "licensor"),
        ),
        "code-other": case(
            "the code carried is not the account's",
            broken(5),
            move("code/Anchors.bin", "code/ModelRegistry.bin"),
        ),
        "account-proof-swapped": case(
            "the registry's account proof is the ledger's",
            broken(5),
            {"op": "copy-field", "from": ledger, "to": registry, "field": "accountProof"},
        ),
        "account-node-missing": case(
            "the account proof lacks its leaf",
            broken(5),
            {"op": "pop", "member": registry, "path": ["accountProof"]},
        ),
        "account-node-extra": case(
            "the account proof has a node off its path",
            broken(5),
            {"op": "push", "member": registry, "path": ["accountProof"], "value": "0xc0"},
        ),
        "storage-value-other": case(
            "a storage word is shown with another value",
            broken(6),
            put(registry, ["storageProof", 0, "value"], "0x2a"),
        ),
        "storage-proof-swapped": case(
            "two words' proofs are exchanged",
            broken(6),
            {"op": "swap", "member": registry, "path": ["storageProof"], "field": "proof"},
        ),
        "storage-word-missing": case("the title's word is left out", broken(9), title),
        "receipt-other": case(
            "a receipt is that of another block",
            broken(7),
            {
                "op": "copy-field",
                "from": "receipts/4-0.json",
                "to": "receipts/6-0.json",
                "field": "receipt",
            },
        ),
        "receipt-proof-empty": case(
            "a receipt without proof", broken(7), put("receipts/6-0.json", ["receiptProof"], [])
        ),
        "transaction-other": case(
            "a receipt's transaction is another one",
            broken(7),
            {
                "op": "copy-field",
                "from": "receipts/4-0.json",
                "to": "receipts/6-0.json",
                "field": "transaction",
            },
        ),
        "claim-parent-added": case(
            "the claim names a parent it did not have",
            broken(8),
            put("claim.json", ["parents"], [_OTHER_HASH]),
        ),
        "claim-salt-other": case(
            "the claim's salt is another", broken(8), put("claim.json", ["salt"], _OTHER_HASH)
        ),
        "manifest-title-other": case(
            "the manifest has another title",
            broken(8),
            put("manifest.json", ["title"], "Another model"),
        ),
        "fingerprint-tensor-missing": case(
            "a tensor is left out of the list",
            broken(8),
            {"op": "pop", "member": "fingerprint.json", "path": ["tensors"]},
        ),
        "tensor-proof-other": case(
            "a tensor's inclusion proof leads elsewhere",
            broken(8),
            {"op": "set-first", "folder": "tensors/", "path": ["path", 0], "value": _OTHER_HASH},
        ),
        "registration-missing": case(
            "the registration's receipt is left out", broken(10), drop("receipts/6-0.json")
        ),
        "transfer-missing": case(
            "the title's transfer is left out", broken(10), drop("receipts/15-0.json")
        ),
        "commitment-path-other": case(
            "the commitment's inclusion path leads elsewhere",
            broken(11),
            put("commitment.json", ["path", 0], _OTHER_HASH),
        ),
        "commitment-missing": case(
            "the commitment's inclusion proof is left out, and the summary still tells of it",
            broken(19),
            drop("commitment.json"),
        ),
        "anchoring-missing": case(
            "the anchoring's receipt is left out", broken(11), drop("receipts/4-0.json")
        ),
        "sealing-event-missing": case(
            "the sealing's receipt is left out", broken(12), drop("receipts/8-0.json")
        ),
        "sealing-record-other": case(
            "the sealing record opened is not the one lodged",
            broken(12),
            put("sealing.json", [0, "root"], _OTHER_HASH),
        ),
        "revocation-missing": case(
            "the revocation's receipt is left out", broken(13), drop("receipts/13-0.json")
        ),
        "license-unknown": case(
            "a license is named that is not proved",
            broken(13),
            put("licenses.json", [1], "1.3"),
        ),
        "card-signature-other": case(
            "the license card is signed by someone else",
            broken(13),
            {"op": "flip-hex", "member": "cards/1.1.json", "path": ["signature"], "at": 20},
        ),
        "terms-other": case(
            "the terms are not those of the plan",
            broken(13),
            {"op": "set-first", "folder": "terms/", "path": ["text"], "value": "Other terms."},
        ),
        "custody-entry-changed": case(
            "a custody entry was rewritten",
            broken(18),
            put("custody.json", [0, "actor"], "someone else"),
            {"op": "keep-custody"},
        ),
        "custody-other-evidence": case(
            "the custody log speaks of other evidence",
            broken(18),
            drop("terms/*"),
            {"op": "keep-custody"},
        ),
        "report-holder-other": case(
            "the summary names another holder",
            broken(19),
            put("report.json", ["title", "held_by"], "licensor"),
        ),
        "report-text-other": case(
            "the summary in plain text says something else",
            broken(19),
            {"op": "append-to", "member": "report.txt", "hex": b"Guilty.\n".hex()},
        ),
    }


def main() -> None:
    """Write the bundle and the faults."""
    world = World()
    try:
        with tempfile.TemporaryDirectory() as folder:
            made = tell_story(world, Path(folder)).read_bytes()
    finally:
        world.close()
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        if old.is_file():
            old.unlink()
    (OUT / BUNDLE).write_bytes(made)
    for name, fault in faults().items():
        (OUT / f"{name}.json").write_text(json.dumps(fault, indent=2) + "\n")
    more = make_vectors_stamps.write(OUT) + make_vectors_forged.write(OUT)
    more += make_vectors_match.write(OUT)
    print(f"wrote {len(faults()) + more} faults, {BUNDLE} and what is made of it")


if __name__ == "__main__":
    main()
