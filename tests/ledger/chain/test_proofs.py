"""Proofs fetched from a real Anvil, compared with what the node's plain reads say."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ledger.chain.abi_codec import contract
from ledger.chain.finality import finalized_block
from ledger.chain.proofs import fetch_headers, fetch_receipts, fetch_state, find_logs, place_of
from ledger.chain.rpc import Rpc
from ledger.errors import ChainError, RpcRefused, StateProofInvalid
from ledger.evidence.events import topic_of
from ledger.evidence.headers import segments
from ledger.evidence.layout import Stamp, stamp_slot
from ledger.evidence.proofs import prove_account, prove_item, prove_word
from ledger.evidence.receipts import Receipt, Transaction
from ledger.ids import Address, Digest, keccak256

pytestmark = pytest.mark.chain
ROOTS = [Digest(bytes([i]) * 32) for i in range(1, 8)]


@pytest.fixture(scope="module")
def anchored(deployed):
    """One block with five anchoring transactions, then finality."""
    rpc, address = deployed.rpc, deployed.deployment.addresses["Anchors"]
    sender = str(deployed.wallet("stranger").address)
    with deployed.chain.hold_finality():
        rpc.call("evm_setAutomine", [False])
        hashes = [
            rpc.call(
                "eth_sendTransaction",
                [
                    {
                        "from": sender,
                        "to": str(address),
                        "gas": hex(100_000),
                        "data": "0x" + contract("Anchors").encode("anchor", root).hex(),
                    }
                ],
            )
            for root in ROOTS[:5]
        ]
        deployed.chain.mine(1)
        rpc.call("evm_setAutomine", [True])
        deployed.chain.mine(2)
    receipts = [rpc.call("eth_getTransactionReceipt", [sent]) for sent in hashes]
    assert {receipt["status"] for receipt in receipts} == {"0x1"}
    assert len({receipt["blockNumber"] for receipt in receipts}) == 1
    return int(receipts[0]["blockNumber"], 16)


def test_raw_headers_hash_to_the_blocks_hashes_and_link(deployed, anchored):
    headers = fetch_headers(deployed.rpc, range(anchored + 1))
    assert len(segments(headers)) == 1
    for header in headers:
        assert header.hash == deployed.rpc.block(header.number).hash


def test_a_block_that_does_not_exist_is_one_clear_error(deployed):
    with pytest.raises(ChainError, match="there is no block"):
        fetch_headers(deployed.rpc, [10_000_000])


def test_words_proved_are_the_words_the_node_reads(deployed, anchored):
    (header,) = fetch_headers(
        deployed.rpc, [finalized_block(deployed.rpc, deployed.profile).number]
    )
    address = deployed.deployment.addresses["Anchors"]
    slots = {stamp_slot(root): root for root in ROOTS}
    proof = fetch_state(deployed.rpc, header, address, slots)
    account = prove_account(header.state_root, address, proof.nodes)
    assert account.code_hash.raw == keccak256(deployed.rpc.code(address))
    for slot in proof.slots:
        word = prove_word(account.storage_root, slot.slot, slot.nodes)
        read = deployed.rpc.call(
            "eth_getStorageAt", [str(address), hex(slot.slot), hex(header.number)]
        )
        assert word == bytes.fromhex(read[2:])
        stamp = Stamp.parse(word)
        stated = deployed.anchors.anchored_at(slots[slot.slot], header.number)
        assert (stamp.time, stamp.block) == (stated or (0, 0))


def test_an_account_that_is_not_there_cannot_be_proved(deployed, anchored):
    (header,) = fetch_headers(deployed.rpc, [anchored])
    with pytest.raises(StateProofInvalid, match="no account"):
        fetch_state(deployed.rpc, header, Address(b"\x77" * 20), [])


def test_a_proof_of_one_block_does_not_pass_for_another(deployed, anchored):
    early, late = fetch_headers(deployed.rpc, [anchored - 1, anchored])
    address = deployed.deployment.addresses["Anchors"]
    proof = fetch_state(deployed.rpc, late, address, [stamp_slot(ROOTS[0])])
    with pytest.raises(StateProofInvalid):
        prove_account(early.state_root, address, proof.nodes)


def test_receipts_and_transactions_of_a_full_block_are_proved(deployed, anchored):
    (header,) = fetch_headers(deployed.rpc, [anchored])
    proofs = fetch_receipts(deployed.rpc, header, range(5))
    for index, proof in enumerate(proofs):
        assert prove_item(header.receipts_root, index, proof.receipt_nodes) == proof.receipt
        sent = prove_item(header.transactions_root, index, proof.transaction_nodes)
        log = Receipt.parse(proof.receipt).logs[0]
        assert log.topics[1] == ROOTS[index].raw
        read = Transaction.parse(sent)
        assert read.sender == deployed.wallet("stranger").address
        assert read.data == contract("Anchors").encode("anchor", ROOTS[index])
    with pytest.raises(StateProofInvalid, match="has no transaction 5"):
        fetch_receipts(deployed.rpc, header, [5])


CLIENT = httpx.Client(headers={"content-type": "application/json"})


def forward(url, body):
    return CLIENT.post(url, content=body).content


def grudging(url, widest):
    """A node that refuses wide ranges of logs, as public endpoints do."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            request = json.loads(body)
            reply = None
            if isinstance(request, dict) and request["method"] == "eth_getLogs":
                query = request["params"][0]
                span = int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1
                asked.append(span)
                if span > widest:
                    error = {"code": -32005, "message": "query returned too many results"}
                    reply = {"jsonrpc": "2.0", "id": request["id"], "error": error}
            answer = json.dumps(reply).encode() if reply else forward(url, body)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


def test_wide_ranges_that_a_node_refuses_are_cut_until_it_answers(deployed, anchored):
    deployed.chain.mine(200)
    server, asked = grudging(deployed.chain.rpc_url, 100)
    try:
        with Rpc(f"http://127.0.0.1:{server.server_port}") as rpc:
            address = deployed.deployment.addresses["Anchors"]
            topic = [str(topic_of("Anchors", "RootAnchored"))]
            logs = find_logs(rpc, address, [topic], 0, 200)
            assert {place_of(log) for log in logs} == {(anchored, index) for index in range(5)}
            assert max(span for span in asked if span <= 100) > 50
    finally:
        server.shutdown()
        server.server_close()


def test_a_node_that_refuses_every_range_is_reported(deployed):
    server, _ = grudging(deployed.chain.rpc_url, 0)
    try:
        with Rpc(f"http://127.0.0.1:{server.server_port}") as rpc, pytest.raises(RpcRefused):
            find_logs(rpc, deployed.deployment.addresses["Anchors"], [None], 0, 5000)
    finally:
        server.shutdown()
        server.server_close()
