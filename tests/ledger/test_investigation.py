"""Collecting evidence from a real Anvil: what it shows, whom it does not believe."""

import contextlib
import dataclasses
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.abi_codec import contract
from ledger.chain.deployment import deploy
from ledger.chain.dev import DevChain
from ledger.chain.licenses import PlanTerms
from ledger.chain.network import Network
from ledger.chain.profile import profile_for
from ledger.chain.registry import InclusionProof, ModelRegistry, ModelStatus
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.errors import (
    ChainUnavailable,
    ClaimMismatch,
    LedgerError,
    PendingFinality,
    UnknownRecord,
    UsageError,
    VerificationError,
    WrongNetwork,
)
from ledger.evidence.bundle import read_bundle
from ledger.evidence.documents import Inclusion
from ledger.evidence.releases import known_code, shipped_code
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Result, Verdict, verify
from ledger.fingerprint.exact import fingerprint
from ledger.ids import ZERO_DIGEST, Digest, LicenseId, keccak256
from ledger.investigation import add_custody_entry, collect_model_evidence
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

pytestmark = pytest.mark.chain
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclasses.dataclass(frozen=True)
class Story:
    """A model registered on the chain, with what its licensor keeps."""

    claim: Claim
    manifest: dict
    print_: object
    sealing: SealingRecord
    plan: int
    license_id: LicenseId
    proof: InclusionProof


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    values = np.random.default_rng(3).standard_normal((48, 32)).astype(np.float32)
    save_file({"layer.weight": values, "layer.bias": values[0], "other": values[:, 1] * 2}, path)
    with open_model(path) as opened:
        yield fingerprint(opened, level="deep"), build_manifest(opened, title="Story")


def claim_of(deployed, model, name="licensor", salt=1, **changed):
    print_, manifest = model
    fields = {
        "chain_id": 31337,
        "registry": deployed.deployment.addresses["ModelRegistry"],
        "licensor": deployed.wallet(name).address,
        "artifact_root": print_.content_root,
        "fingerprint_digest": print_.content_id(),
        "watermark_commitment": ZERO_DIGEST,
        "manifest_hash": manifest_hash(manifest),
        "parents": (),
        "salt": Digest(bytes([salt]) * 32),
    }
    return Claim(**(fields | changed))


def commit(deployed, claim):
    """Anchor the claim's commitment among others'."""
    leaves = [Digest(b"\x31" * 32), claim.commitment_leaf(), Digest(claim.salt.raw)]
    proof = InclusionProof.of(leaves, 1)
    deployed.anchors.anchor(deployed.sender(deployed_name(deployed, claim)), proof.root)
    deployed.chain.mine(1)
    return proof


def deployed_name(deployed, claim):
    names = ("licensor", "rival", "stranger")
    return next(name for name in names if deployed.wallet(name).address == claim.licensor)


@pytest.fixture(scope="module")
def story(deployed, model):
    print_, manifest = model
    claim = claim_of(deployed, model)
    licensor = deployed.sender("licensor")
    proof = commit(deployed, claim)
    model_id, _ = deployed.registry.register(licensor, claim, proof)
    sealing = SealingRecord(model_id, 1, Digest(b"\1" * 32), Digest(b"\2" * 32), Digest(b"\3" * 32))
    deployed.registry.lodge_sealing(licensor, model_id, 1, sealing.hash())
    plan, _ = deployed.licenses.create_plan(
        licensor, PlanTerms(model_id, Digest(b"\5" * 32), duration=86400 * 30)
    )
    license_id, receipt = deployed.licenses.issue(licensor, plan, deployed.wallet("holder").address)
    licensor.wait_final(receipt)
    return Story(claim, manifest, print_, sealing, plan, license_id, proof)


def collect(deployed, story, dest, network=None, **options):
    return collect_model_evidence(
        network or deployed.network,
        story.claim,
        story.manifest,
        story.print_,
        dest=dest / "story.evidence.zip",
        **({"sealings": [story.sealing], "now": NOW} | options),
    )


@pytest.fixture(scope="module")
def collected(deployed, story, tmp_path_factory):
    return collect(deployed, story, tmp_path_factory.mktemp("collected"))


def test_what_is_collected_holds_and_is_verified_given_the_block(deployed, collected):
    report = verify(collected)
    assert report.verdict is Verdict.CONDITIONAL
    number, block = report.assumed[0]
    assert deployed.rpc.block(number).hash == block
    assert verify(collected, trust=TrustRoot(frozenset({block}))).verdict is Verdict.VERIFIED


def test_the_bundle_says_what_the_contracts_say_at_its_block(deployed, story, collected):
    bundle, told = read_bundle(collected), verify(collected).statement
    at = bundle.subject.block
    record = deployed.registry.model_of(story.claim.model_id(), at)
    state = deployed.licenses.license_of(story.license_id, at)
    times = [entry["not_later_than"] for entry in told["times"]]
    assert told["title"]["held_by"] == str(record.licensor)
    assert times[:2] == [record.committed_at, record.registered_at]
    assert record.committed_at <= record.registered_at
    assert [(of["id"], of["holder"], of["not_after"]) for of in told["licenses"]] == [
        (str(story.license_id), str(state.holder), state.not_after)
    ]
    assert told["sealings"][0]["record_hash"] == str(story.sealing.hash())


def test_collecting_the_same_block_again_gives_the_same_bytes(deployed, story, collected, tmp_path):
    again = collect(deployed, story, tmp_path)
    assert read_bundle(again).subject == read_bundle(collected).subject
    assert again.read_bytes() == collected.read_bytes()


def test_tensors_can_be_proved_without_disclosing_the_others(deployed, story, tmp_path):
    cid = next(tensor.cid for tensor in story.print_.tensors if tensor.identity)
    path = collect(deployed, story, tmp_path, tensors=[cid], disclose_tensors=False)
    bundle = read_bundle(path)
    assert verify(path).holds
    assert f"tensors/{cid.raw.hex()}.json" in bundle.members
    assert not any(b"layer.weight" in data for data in bundle.members.values())


def test_only_the_licenses_asked_for_are_in_the_bundle(deployed, story, tmp_path):
    path = collect(deployed, story, tmp_path, licenses=[])
    assert verify(path).statement["licenses"] == []
    step = verify(path).steps[12]
    assert (step.result, step.needed) == (Result.NOT_CHECKED, False)
    assert verify(path).verdict is Verdict.CONDITIONAL


def test_terms_of_other_plans_stay_out_and_a_sealing_not_lodged_waits(deployed, story, tmp_path):
    terms = {
        "type": "modeldeed/terms",
        "version": 1,
        "title": "Other terms",
        "licensor": "Someone",
        "text": "Nothing.",
        "territory": ["any"],
        "purposes": ["any"],
        "fields": ["any"],
        "evidence": ["software"],
        "export": False,
    }
    bundle = read_bundle(collect(deployed, story, tmp_path, terms=[terms]))
    assert not bundle.folder("terms")
    early = dataclasses.replace(story.sealing, epoch=9)
    with pytest.raises(PendingFinality, match="epoch 9"):
        collect(deployed, story, tmp_path / "x", sealings=[early])


def test_old_events_stand_on_blocks_of_their_own_that_the_reader_must_vouch_for(
    deployed, story, tmp_path, monkeypatch
):
    """As after many thousand blocks, where carrying every header would be too much."""
    monkeypatch.setattr("ledger.chain.harvest.MAX_LINKED_HEADERS", 2)
    deployed.chain.mine(5)
    path = collect(deployed, story, tmp_path)
    report = verify(path)
    assert report.verdict is Verdict.CONDITIONAL
    assert len(report.assumed) > 1
    assert "each stands on its own hash" in report.steps[2].detail
    assert all(deployed.rpc.block(number).hash == block for number, block in report.assumed)
    blocks = [block for _, block in report.assumed]
    newest = verify(path, trust=TrustRoot(frozenset(blocks[-1:])))
    assert newest.verdict is Verdict.CONDITIONAL
    assert [block for _, block in newest.assumed] == blocks[:-1]
    assert verify(path, trust=TrustRoot(frozenset(blocks))).verdict is Verdict.VERIFIED
    older = verify(path, trust=TrustRoot(frozenset(blocks[:-1])))
    assert older.verdict is Verdict.BROKEN


def test_a_custody_entry_is_added_without_touching_the_evidence(collected, tmp_path):
    added = add_custody_entry(
        collected, tmp_path / "b.evidence.zip", actor="Court", action="received", now=NOW
    )
    assert read_bundle(added).contents == read_bundle(collected).contents
    assert read_bundle(added).id != read_bundle(collected).id
    report = verify(added)
    assert report.holds
    assert '2 entries, the last "received" by "Court"' in report.steps[17].detail


def test_an_unknown_model_and_an_unfinished_registration_are_told_apart(
    deployed, story, model, tmp_path
):
    unknown = dataclasses.replace(story, claim=claim_of(deployed, model, salt=77))
    with pytest.raises(UnknownRecord, match="does not know"):
        collect(deployed, unknown, tmp_path)
    fresh = dataclasses.replace(story, claim=claim_of(deployed, model, salt=78))
    with deployed.chain.hold_finality():
        deployed.registry.register(deployed.sender("licensor"), fresh.claim, None)
        with pytest.raises(PendingFinality):
            collect(deployed, fresh, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_manifest_or_fingerprint_of_another_model_is_refused_at_once(
    deployed, story, tmp_path
):
    other = dataclasses.replace(story, manifest=story.manifest | {"title": "Other"})
    with pytest.raises(ClaimMismatch, match="manifest"):
        collect(deployed, other, tmp_path)
    claim = dataclasses.replace(story.claim, artifact_root=Digest(b"\x44" * 32))
    with pytest.raises(ClaimMismatch, match="fingerprint"):
        collect(deployed, dataclasses.replace(story, claim=claim), tmp_path)
    with pytest.raises(UsageError):
        collect_model_evidence(
            deployed.network,
            story.claim,
            story.manifest,
            dest=tmp_path / "x",
            tensors=[story.claim.salt],
        )
    assert list(tmp_path.iterdir()) == []


def test_an_uncommitted_title_is_shown_as_such(deployed, model, tmp_path):
    print_, manifest = model
    claim = claim_of(deployed, model, "rival", salt=5)
    sender = deployed.sender("rival")
    _, receipt = deployed.registry.register(sender, claim, None)
    sender.wait_final(receipt)
    path = collect_model_evidence(
        deployed.network, claim, manifest, print_, dest=tmp_path / "u.evidence.zip", now=NOW
    )
    told = verify(path).statement
    assert not told["title"]["committed"]
    # The story's own registration is now the rival of this one, and earlier.
    assert told["rivals"][0]["registered_by"] == str(deployed.wallet("licensor").address)


def test_every_act_on_title_and_license_is_told_in_order(deployed, model, tmp_path):
    print_, manifest = model
    claim = claim_of(deployed, model, salt=11)
    licensor, stranger = deployed.sender("licensor"), deployed.sender("stranger")
    holder = deployed.wallet("holder").address
    model_id, _ = deployed.registry.register(licensor, claim, commit(deployed, claim))
    plan, _ = deployed.licenses.create_plan(
        licensor, PlanTerms(model_id, Digest(b"\6" * 32), duration=1000, transferable=True)
    )
    first, _ = deployed.licenses.issue(licensor, plan, holder)
    second, _ = deployed.licenses.issue(licensor, plan, holder)
    deployed.licenses.renew(licensor, first)
    deployed.licenses.suspend(licensor, first)
    deployed.licenses.reinstate(licensor, first)
    deployed.licenses.suspend(licensor, second)
    deployed.licenses.revoke(licensor, second)
    third, _ = deployed.licenses.issue(licensor, plan, holder)
    moved = contract("LicenseLedger").encode("transferFrom", holder, stranger.address, int(third))
    deployed.sender("holder").send(deployed.deployment.addresses["LicenseLedger"], moved)
    deployed.registry.propose_transfer(licensor, model_id, stranger.address)
    deployed.registry.accept_transfer(stranger, model_id)
    deployed.registry.propose_transfer(stranger, model_id, licensor.address)
    deployed.registry.accept_transfer(licensor, model_id)
    receipt = deployed.registry.set_status(licensor, model_id, ModelStatus.WITHDRAWN)
    licensor.wait_final(receipt)
    path = collect_model_evidence(
        deployed.network, claim, manifest, print_, dest=tmp_path / "t.evidence.zip", now=NOW
    )
    told = verify(path).statement
    assert [moved["to"] for moved in told["title"]["transfers"]] == [
        str(stranger.address),
        str(licensor.address),
    ]
    assert told["title"]["status"] == "withdrawn"
    acts = {of["id"]: [act["what"] for act in of["acts"]] for of in told["licenses"]}
    assert acts == {
        str(first): ["issued", "renewed", "suspended", "reinstated"],
        str(second): ["issued", "suspended", "revoked"],
        str(third): ["issued"],
    }
    standing = {of["id"]: of["standing"] for of in told["licenses"]}
    assert standing == {str(first): "valid", str(second): "revoked", str(third): "valid"}
    assert told["licenses"][2]["holder"] == str(stranger.address)


# -- nodes and contracts that lie ------------------------------------------------------------------


class LyingNode:
    """Forwards to a real node and alters what `lie(method, params, result)` alters."""

    def __init__(self, url, lie):
        self._client = client = httpx.Client(headers={"content-type": "application/json"})

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = client.post(url, content=body).json()
                asked = json.loads(body)
                pairs = [(asked, answer)] if isinstance(asked, dict) else zip(asked, answer)  # noqa: B905
                for request, reply in pairs:
                    if "result" in reply:
                        reply["result"] = lie(request["method"], request["params"], reply["result"])
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


def without_last_log(method, params, result):
    return result[:-1] if method == "eth_getLogs" else result


def with_other_timestamp(method, params, result):
    if method == "eth_getBlockByNumber" and params[0] not in {"0x0", "finalized", "latest"}:
        return result | {"timestamp": "0x1"}
    return result


def with_other_receipt(method, params, result):
    if method == "eth_getBlockReceipts":
        return [receipt | {"cumulativeGasUsed": "0x1"} for receipt in result]
    return result


def with_other_word(method, params, result):
    if method == "eth_getProof":
        for slot in result["storageProof"]:
            slot["proof"] = slot["proof"][:-1]
    return result


def with_other_account(method, params, result):
    if method == "eth_getProof":
        result["accountProof"] = result["accountProof"][1:]
    return result


def with_receipt_left_out(method, params, result):
    return result[:-1] if method == "eth_getBlockReceipts" else result


@pytest.mark.parametrize(
    "lie",
    [
        without_last_log,
        with_other_timestamp,
        with_other_receipt,
        with_other_word,
        with_other_account,
        with_receipt_left_out,
    ],
)
def test_a_node_that_lies_gets_no_bundle_written(deployed, story, tmp_path, lie):
    with LyingNode(deployed.chain.rpc_url, lie) as node:
        network = dataclasses.replace(deployed.network, rpc_urls=(node.url,))
        with pytest.raises((VerificationError, UnknownRecord)) as caught:
            collect(deployed, story, tmp_path, network)
    assert caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_raw_transactions_costs_only_the_senders(deployed, story, tmp_path):
    def lie(method, params, result):
        return None if method == "eth_getRawTransactionByHash" else result

    proof = story.proof
    with LyingNode(deployed.chain.rpc_url, lie) as node:
        network = dataclasses.replace(deployed.network, rpc_urls=(node.url,))
        with pytest.raises(VerificationError, match="lacks the inclusion proof of the commitment"):
            collect(deployed, story, tmp_path, network)
        known = Inclusion(proof.root, proof.index, proof.size, proof.path)
        report = verify(collect(deployed, story, tmp_path, network, commitment=known))
    assert report.holds
    assert "0 transactions" in report.steps[6].detail


def test_a_chain_that_is_down_or_another_is_said_to_be(deployed, story, tmp_path):
    dead = dataclasses.replace(deployed.network, rpc_urls=("http://127.0.0.1:9",))
    with pytest.raises(ChainUnavailable):
        collect(deployed, story, tmp_path, dead)
    with DevChain.start() as other:
        network = dataclasses.replace(deployed.network, rpc_urls=(other.rpc_url,))
        with pytest.raises(WrongNetwork):
            collect(deployed, story, tmp_path, network)
    assert list(tmp_path.iterdir()) == []


def test_a_look_alike_contract_with_the_same_storage_is_not_taken_for_ours(
    deployed, story, tmp_path, monkeypatch
):
    """The forger's own verifier would know his contract; ours does not, and names the step."""
    registry = deployed.deployment.addresses["ModelRegistry"]
    genuine = deployed.rpc.code(registry)
    forged = genuine[:-1] + bytes([genuine[-1] ^ 1])
    deployed.rpc.call("anvil_setCode", [str(registry), "0x" + forged.hex()])
    try:
        deployed.chain.mine(3)
        hashes = dict(deployed.deployment.code_hashes) | {
            "ModelRegistry": Digest(keccak256(forged))
        }
        network = dataclasses.replace(
            deployed.network,
            deployment=dataclasses.replace(deployed.deployment, code_hashes=hashes),
        )
        ours = shipped_code("ModelRegistry")
        draft = dataclasses.replace(ours, release="forged", masked_hash=ZERO_DIGEST)
        his = dataclasses.replace(draft, masked_hash=Digest(keccak256(draft.mask(forged))))
        with monkeypatch.context() as patched:
            patched.setattr("ledger.evidence.releases.known_code", lambda: (*known_code(), his))
            path = collect(deployed, story, tmp_path, network)
            assert verify(path).holds
    finally:
        deployed.rpc.call("anvil_setCode", [str(registry), "0x" + genuine.hex()])
        deployed.chain.mine(3)
    report = verify(path)
    assert report.verdict is Verdict.INCOMPLETE
    assert "5 (contracts)" in report.sentence
    assert "ModelRegistry" in report.steps[4].detail


def test_evidence_from_a_fork_does_not_hold_against_the_canonical_block(
    deployed, story, collected, tmp_path
):
    snapshot = deployed.rpc.call("evm_snapshot")
    deployed.rpc.call("evm_increaseTime", [1000])
    deployed.chain.mine(3)
    forked = collect(deployed, story, tmp_path)
    deployed.rpc.call("evm_revert", [snapshot])
    deployed.chain.mine(6)
    number, block = verify(forked).assumed[0]
    canonical = deployed.rpc.block(number).hash
    assert canonical != block
    report = verify(forked, trust=TrustRoot(frozenset({canonical})))
    assert report.verdict is Verdict.BROKEN
    assert "step 4 (trust)" in report.sentence


def test_evidence_is_collected_after_a_restart_and_verified_with_the_chain_gone(model, tmp_path):
    """The chain keeps its state; the bundle needs neither."""
    print_, manifest = model
    state, profile = tmp_path / "state.gz", profile_for(31337)
    with DevChain.start(state=state) as node, Rpc(node.rpc_url) as rpc:
        deployment = deploy(Sender(rpc, dev_wallet("deployer"), profile))
        registry = deployment.addresses["ModelRegistry"]
        claim = Claim(
            31337,
            registry,
            dev_wallet("licensor").address,
            print_.content_root,
            print_.content_id(),
            ZERO_DIGEST,
            manifest_hash(manifest),
            (),
            Digest(b"\x0c" * 32),
        )
        sender = Sender(rpc, dev_wallet("licensor"), profile)
        _, receipt = ModelRegistry(rpc, registry).register(sender, claim, None)
        sender.wait_final(receipt)
    with DevChain.start(state=state) as node:
        path = collect_model_evidence(
            Network("local", (node.rpc_url,), deployment, profile),
            claim,
            manifest,
            print_,
            dest=tmp_path / "r.evidence.zip",
            now=NOW,
        )
    assert verify(path).holds
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with contextlib.suppress(LedgerError):
        assert not verify(path).holds


def test_a_stopped_collection_goes_on_with_what_it_was_told(deployed, story, tmp_path):
    """The chain goes away mid-way; the next run asks only for what it was not told."""

    class Stopping(httpx.BaseTransport):
        def __init__(self, after):
            self.left, self.asked, self.inner = after, [], httpx.HTTPTransport()

        def handle_request(self, request):
            calls = json.loads(request.content)
            self.asked += [
                json.dumps([of["method"], of["params"]])
                for of in (calls if isinstance(calls, list) else [calls])
            ]
            self.left -= 1
            if self.left < 0:
                raise httpx.ConnectError("gone")
            return self.inner.handle_request(request)

    whole = Stopping(10**6)
    with monkeyed(whole):
        collect(deployed, story, tmp_path / "whole")
    cut = Stopping(8)
    with monkeyed(cut), pytest.raises(ChainUnavailable):
        collect(deployed, story, tmp_path / "cut")
    kept = list((tmp_path / "cut").glob(".*.part"))
    assert len(kept) == 1
    with kept[0].open("a") as file:
        file.write('["eth_getCode", ["0x')  # as if it was killed while writing
    again = Stopping(10**6)
    with monkeyed(again):
        path = collect(deployed, story, tmp_path / "cut")
    assert verify(path).holds
    assert len(again.asked) < len(whole.asked)
    assert [of for of in (tmp_path / "cut").iterdir() if of != path] == []


@contextlib.contextmanager
def monkeyed(transport):
    """Every client of a chain made meanwhile goes through this transport."""
    before = Rpc.__init__

    def through(self, *given, **named):
        before(self, *given, **named, transport=transport)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rpc, "__init__", through)
        yield
