"""Evidence of events that the node has forgotten: the index kept their proofs."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.licenses import PlanTerms
from ledger.chain.registry import InclusionProof
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.errors import LedgerError
from ledger.evidence.bundle import read_bundle
from ledger.evidence.verify import Verdict, verify
from ledger.fingerprint.exact import fingerprint
from ledger.ids import ZERO_DIGEST, Digest
from ledger.index.database import open_database
from ledger.index.endpoints import Endpoints
from ledger.index.follow import Follower
from ledger.index.keeper import Keeper
from ledger.index.kept_evidence import KeptEvidence
from ledger.index.pool import Source
from ledger.investigation import collect_model_evidence
from ledger.tensors.model import open_model

pytestmark = pytest.mark.chain


class Forgetful:
    """A node in front of Anvil that has forgotten the past: it refuses, or shows none.

    Attributes:
        before: blocks below it are forgotten; 0 none.
        headers: whether old headers are forgotten too.
        silent: logs are answered with an empty list rather than refused.
    """

    def __init__(self, behind):
        self.before, self.headers, self.silent = 0, False, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                many = body if isinstance(body, list) else [body]
                replies = [outer.answer(behind, question) for question in many]
                data = json.dumps(replies if isinstance(body, list) else replies[0]).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.hashes = {}

    def answer(self, behind, question):
        method, params = question["method"], question.get("params", [])
        old = self.old(behind, method, params)
        if old and method == "eth_getLogs" and self.silent:
            return {"jsonrpc": "2.0", "id": question["id"], "result": []}
        if old and (self.headers or method != "eth_getBlockByNumber"):
            error = {"code": 4444, "message": "pruned history unavailable"}
            return {"jsonrpc": "2.0", "id": question["id"], "error": error}
        return httpx.post(behind, json=question, timeout=20).json()

    def old(self, behind, method, params):
        if method == "eth_getLogs":
            return int(params[0]["fromBlock"], 16) < self.before
        if method in {"eth_getBlockReceipts", "eth_getBlockByNumber"}:
            return params[0].startswith("0x") and 0 < int(params[0], 16) < self.before
        if method == "eth_getProof":
            return params[2].startswith("0x") and int(params[2], 16) < self.before
        if method == "eth_getBlockByHash":
            found = httpx.post(
                behind, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            ).json()["result"]
            return found is not None and int(found["number"], 16) < self.before
        return False


@pytest.fixture(scope="module")
def stand(deployed, tmp_path_factory):
    """A licensed model that is long final, and an index that followed all of it."""
    folder = tmp_path_factory.mktemp("kept")
    path = folder / "m.safetensors"
    save_file({"a": np.random.default_rng(8).standard_normal((32, 8)).astype(np.float32)}, path)
    with open_model(path) as opened:
        print_, manifest = fingerprint(opened, level="deep"), build_manifest(opened, title="Kept")
    licensor = deployed.sender("licensor")
    claim = Claim(
        31337,
        deployed.deployment.addresses["ModelRegistry"],
        licensor.signer.address,
        print_.content_root,
        print_.content_id(),
        ZERO_DIGEST,
        manifest_hash(manifest),
        (),
        Digest(b"\x77" * 32),
    )
    leaf = claim.commitment_leaf()
    deployed.anchors.anchor(licensor, leaf)
    model, _ = deployed.registry.register(licensor, claim, InclusionProof.of_single(leaf))
    plan, _ = deployed.licenses.create_plan(
        licensor, PlanTerms(model, Digest(b"\5" * 32), duration=86400)
    )
    deployed.licenses.issue(licensor, plan, deployed.wallet("holder").address)
    deployed.rpc.call("anvil_mine", [hex(40)])
    engine = open_database(f"sqlite:///{folder / 'index.db'}")
    endpoints = Endpoints(
        [Source.parse(deployed.network.rpc_urls[0])], deployed.deployment, finality_depth=0
    )
    follower = Follower(endpoints, engine, deployed.deployment, deployed.network.profile, poll=0.05)
    keeper = Keeper(endpoints, engine, 31337, proofs=True, active=lambda: True)
    stop = threading.Event()
    threads = [
        threading.Thread(target=of.run, args=(stop,), daemon=True) for of in (follower, keeper)
    ]
    for thread in threads:
        thread.start()
    kept = KeptEvidence(engine, 31337)
    for _ in range(300):
        if kept.reaches(deployed.rpc.block("finalized").number) and _covered(engine):
            break
        threading.Event().wait(0.1)
    stop.set()
    for thread in threads:
        thread.join(20)
    endpoints.close()
    node = Forgetful(deployed.network.rpc_urls[0])
    yield node, replace(deployed.network, rpc_urls=(node.url,)), (claim, manifest, print_), kept
    node.server.shutdown()
    engine.dispose()


def _covered(engine):
    from ledger.index.evidence_store import EvidenceStore

    with engine.connect() as connection:
        covered = EvidenceStore(31337).coverage(connection)
    return covered.backlog == 0 and covered.events > 0


@pytest.mark.parametrize("silent", [False, True])
def test_receipts_that_the_node_forgot_come_from_the_index(stand, deployed, tmp_path, silent):
    node, network, documents, kept = stand
    node.before, node.headers, node.silent = 0, False, silent
    whole = collect_model_evidence(network, *documents, dest=tmp_path / "whole.zip")
    node.before = deployed.rpc.block("finalized").number
    with pytest.raises(LedgerError):
        collect_model_evidence(network, *documents, dest=tmp_path / "none.zip")
    path = collect_model_evidence(network, *documents, dest=tmp_path / "kept.zip", index=kept)
    report = verify(path)
    assert report.verdict is Verdict.CONDITIONAL, report.text()
    assert read_bundle(path).contents == read_bundle(whole).contents


def test_without_old_headers_each_event_stands_on_its_own_block(stand, deployed, tmp_path):
    node, network, documents, kept = stand
    node.before, node.headers = deployed.rpc.block("finalized").number, True
    path = collect_model_evidence(network, *documents, dest=tmp_path / "kept.zip", index=kept)
    report = verify(path)
    assert report.verdict is Verdict.CONDITIONAL, report.text()
    assert len(report.assumed) > 1
    assert all(deployed.rpc.block(number).hash == block for number, block in report.assumed)
