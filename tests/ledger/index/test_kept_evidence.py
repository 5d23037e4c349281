"""Evidence of events that the node has forgotten: the index kept their proofs."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import delete, insert, select

from ledger.chain.licenses import PlanTerms
from ledger.chain.registry import InclusionProof
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.errors import LedgerError
from ledger.evidence.bundle import read_bundle
from ledger.evidence.verify import Verdict, verify
from ledger.fingerprint.exact import fingerprint
from ledger.ids import ZERO_DIGEST, Digest
from ledger.index import tables
from ledger.index.database import open_database, writing
from ledger.index.endpoints import Endpoints
from ledger.index.evidence_rows import misstored, raw
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


# Of two chains that share a database: whose entries name each body.
NAMED = {"ours": {1}, "another's": {2}, "both": {1, 2}, "nobody's": set()}


@pytest.mark.parametrize(
    "database_url",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)],
    indirect=True,
)
def test_a_spoilt_body_is_told_to_the_chains_that_name_it_or_to_all(engine):
    link, stored = tables.evidence, tables.proof
    hashes = {name: name.encode().ljust(32, b"\0") for name in NAMED}
    entry = {"block_hash": bytes(32), "log_index": 0, "kind": "header", "lost": None}
    with writing(engine) as connection:
        for block, (name, chains) in enumerate(NAMED.items()):
            spoilt = {"hash": hashes[name], "kind": "header", "body": b"x", "size": 1}
            connection.execute(insert(stored).values(**spoilt))
            for chain in chains:
                named = {**entry, "chain_id": chain, "block": block, "hash": hashes[name]}
                connection.execute(insert(link).values(**named))

        def told(chain):
            found = set(misstored(connection, chain))
            return {name for name, hash_ in hashes.items() if hash_ in found}

        assert told(1) == {"ours", "both", "nobody's"}
        assert told(2) == {"another's", "both", "nobody's"}
        connection.execute(delete(link).where(link.c.chain_id == 2))
        assert told(1) == set(NAMED)


BODIES = {
    "bytes": ("X'C300FF'", b"\xc3\0\xff"),
    "what is no text": ("CAST(X'C300FF' AS TEXT)", b"\xc3\0\xff"),
    "text": ("'{}'", b"{}"),
    "nothing": ("''", b""),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_read_as_the_bytes_that_it_was_also_where_it_is_text(engine, what):
    (written, read), stored = BODIES[what], tables.proof
    with writing(engine) as connection:
        row = {"hash": bytes(32), "kind": "header", "body": b"x", "size": 1}
        connection.execute(insert(stored).values(**row))
        connection.exec_driver_sql(f"UPDATE proof SET body = {written}")
        body = connection.execute(select(stored.c.body)).scalar_one()
        # What it became is no proof that it is stored as it was.
        assert isinstance(body, bytes) == (what == "bytes")
        assert raw(body) == read


def test_what_is_no_body_proves_nothing():
    assert raw(None) == b""
