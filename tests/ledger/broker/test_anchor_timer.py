"""Anchoring by the clock over a real chain: one root is one transaction, whatever happens."""

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ledger.broker import anchoring
from ledger.broker.anchor_timer import AnchorTimer
from ledger.broker.home import BrokerHome
from ledger.broker.receipts import ReceiptLog
from ledger.broker.setup import identity_on
from ledger.broker.store import BrokerStore
from ledger.chain.abi_codec import contract
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.logs import find_events
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.errors import LedgerError, PendingFinality, TransactionFailed
from ledger.ids import Digest

pytestmark = pytest.mark.chain


class Stand:
    """A registered broker with a log, and who anchors it."""

    def __init__(self, deployed, folder):
        self.deployed = deployed
        self.home = BrokerHome.create(folder / "broker", "a passphrase", cost=14)
        self.id, _ = deployed.brokers.register_broker(
            deployed.sender("operator"),
            self.home.signing_key_hash,
            self.home.kem_key_hash,
            "http://127.0.0.1:1",
        )
        self.home.register(identity_on(deployed.deployment, self.id))
        self.store = BrokerStore(self.home.database)
        self.log = ReceiptLog(self.store, self.home.signing, self.home.identity.audience)

    def receipts(self, count=1):
        for number in range(count):
            self.log.answer("deposit", {"number": number}, {}, now=int(time.time()))

    def anchor(self, *, rpc=None, store=None, timeout=60.0):
        """One anchoring, by a client of its own."""
        rpc = rpc or self.deployed.rpc
        sender = Sender(
            rpc, self.deployed.wallet("operator"), self.deployed.profile, timeout=timeout
        )
        registry = BrokerRegistry(rpc, self.deployed.brokers.address)
        return anchoring.anchor(store or self.store, registry, sender, self.id)

    def timer(self, every, *, act=None, **options):
        return AnchorTimer(self.store, act or self.anchor, every=every, **options)

    def nonce(self, block="latest"):
        account = str(self.deployed.wallet("operator").address)
        return int(self.deployed.rpc.call("eth_getTransactionCount", [account, block]), 16)

    def roots(self):
        events = find_events(
            self.deployed.rpc,
            contract("BrokerRegistry"),
            self.deployed.brokers.address,
            "ReceiptsAnchored",
            [Digest(self.id.to_bytes(32, "big"))],
            from_block=0,
        )
        return [event.arguments["root"] for event in events]


class Forwarder:
    """An endpoint that can be shut, opened again, or swallow an answer; on one port."""

    def __init__(self, target):
        self.swallow, self.port, self._server = set(), 0, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                reply = httpx.post(
                    target, content=body, headers={"content-type": "application/json"}, timeout=60
                ).content
                if any(word.encode() in body for word in outer.swallow):
                    outer.swallow.clear()
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *args):
                pass

        self._handler = Handler
        self.open()
        self.url = f"http://127.0.0.1:{self.port}"

    def open(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def shut(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stand(deployed, tmp_path):
    made = Stand(deployed, tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def paused(deployed):
    """Transactions wait until the test lets them be mined."""
    deployed.rpc.call("evm_setAutomine", [False])
    yield lambda: deployed.rpc.call("anvil_mine", ["0x1"])
    deployed.rpc.call("evm_setAutomine", [True])
    deployed.rpc.call("anvil_mine", ["0x1"])


def until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("not within the time")


def test_receipts_are_anchored_at_once_and_again_and_never_when_there_are_none(stand):
    stand.receipts(3)
    timer = stand.timer(0.3)
    assert timer.status().state == "waiting"
    timer.start()
    try:
        until(lambda: timer.status().anchored == 3)
        stand.receipts(2)
        until(lambda: timer.status().anchored == 5)
        before = stand.nonce()
        time.sleep(1)
        assert stand.nonce() == before
        status = timer.status()
        assert (status.receipts, status.failures, status.trouble) == (5, 0, None)
        assert status.last_at is not None
    finally:
        timer.stop()
    assert timer.status().state == "stopped"
    assert len(stand.roots()) == 2


def test_a_timer_that_is_off_does_nothing_and_says_so(stand):
    stand.receipts()
    timer = AnchorTimer(stand.store)
    timer.start()
    status = timer.status()
    assert (status.state, status.every, status.receipts, status.anchored) == ("off", 0, 1, 0)
    timer.stop()


def test_an_outage_is_outlasted_with_longer_pauses(stand, deployed):
    stand.receipts(2)
    away = Forwarder(deployed.chain.rpc_url)
    away.shut()
    tried = []

    def act():
        tried.append(time.monotonic())
        with Rpc(away.url, chain_id=31337, timeout=2.0) as rpc:
            return stand.anchor(rpc=rpc, timeout=1.0)

    timer = stand.timer(60, act=act, first_pause=0.1)
    timer.start()
    try:
        until(lambda: timer.status().failures >= 3)
        status = timer.status()
        assert (status.state, status.anchored) == ("failing", 0)
        assert status.trouble == "CHAIN_UNAVAILABLE"
        assert status.since is not None
        pauses = [b - a for a, b in itertools.pairwise(tried)]
        assert pauses[-1] > pauses[0]
        away.open()
        until(lambda: timer.status().anchored == 2)
        until(lambda: timer.status().state == "waiting")
        status = timer.status()
        assert (status.failures, status.trouble, status.since) == (0, None, None)
        assert status.failed >= 3
    finally:
        timer.stop()
        away.shut()
    assert len(stand.roots()) == 1


def test_a_bug_of_our_own_does_not_end_the_timer(stand):
    failed = []

    def act():
        failed.append(1)
        if len(failed) == 1:
            raise ZeroDivisionError
        return stand.anchor()

    stand.receipts()
    timer = stand.timer(60, act=act, first_pause=0.05)
    timer.start()
    try:
        until(lambda: timer.status().anchored == 1)
    finally:
        timer.stop()


def test_an_answer_that_is_lost_leads_to_no_second_transaction(stand, deployed, paused):
    stand.receipts()
    before = stand.nonce()
    relay = Forwarder(deployed.chain.rpc_url)
    relay.swallow.add("eth_sendRawTransaction")
    try:
        with Rpc(relay.url, chain_id=31337, timeout=5.0) as rpc:
            with pytest.raises(LedgerError):
                stand.anchor(rpc=rpc, timeout=0.5)
            for _ in range(2):
                with pytest.raises(PendingFinality):
                    stand.anchor(rpc=rpc, timeout=0.2)
            assert stand.nonce("pending") == before + 1
            paused()
            assert stand.anchor(rpc=rpc) is None
    finally:
        relay.shut()
    assert stand.nonce("pending") == before + 1
    assert len(stand.roots()) == 1


def test_two_that_anchor_at_once_send_one_transaction(stand, paused):
    stand.receipts()
    before = stand.nonce()
    second = BrokerStore(stand.home.database)
    outcomes = []

    def go(store):
        try:
            outcomes.append(stand.anchor(store=store, timeout=1.0))
        except LedgerError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=go, args=(each,)) for each in (stand.store, second) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    second.close()
    assert len(outcomes) == 6
    assert stand.nonce("pending") == before + 1
    paused()
    assert stand.anchor() is None
    assert len(stand.roots()) == 1
    assert stand.nonce("pending") == before + 1


def test_a_transaction_that_the_node_lost_is_sent_again_unchanged(stand, deployed, paused):
    stand.receipts()
    with pytest.raises(PendingFinality):
        stand.anchor(timeout=0.2)
    ((raw,),) = stand.store.rows("SELECT raw FROM anchor_sends")
    account = str(deployed.wallet("operator").address)
    deployed.rpc.call("anvil_removePoolTransactions", [account])
    assert stand.nonce("pending") == stand.nonce()
    with pytest.raises(PendingFinality):
        stand.anchor(timeout=0.5)
    assert stand.nonce("pending") == stand.nonce() + 1
    assert stand.store.rows("SELECT raw FROM anchor_sends") == [(raw,)]
    paused()
    assert stand.anchor() is None
    assert len(stand.roots()) == 1


def test_where_another_transaction_took_its_number_a_new_one_is_signed(stand, deployed, paused):
    stand.receipts()
    with pytest.raises(PendingFinality):
        stand.anchor(timeout=0.2)
    account = str(deployed.wallet("operator").address)
    deployed.rpc.call("anvil_removePoolTransactions", [account])
    deployed.rpc.call("evm_setAutomine", [True])
    deployed.sender("operator").send(deployed.wallet("spare").address, b"", 1)
    done = stand.anchor()
    assert done is not None
    assert done.anchored
    assert len(stand.roots()) == 1


def test_what_the_node_refuses_is_forgotten_and_signed_anew(stand, deployed, monkeypatch):
    stand.receipts()
    real = deployed.rpc.call

    def refusing(method, *args):
        if method == "eth_sendRawTransaction":
            raise TransactionFailed("the node refused the transaction: no room")
        return real(method, *args)

    monkeypatch.setattr(deployed.rpc, "call", refusing)
    with pytest.raises(TransactionFailed):
        stand.anchor()
    assert stand.store.rows("SELECT * FROM anchor_sends") == []
    monkeypatch.undo()
    assert stand.anchor().anchored


def test_a_root_that_a_reorganisation_threw_out_is_sent_again_unchanged(stand, deployed):
    stand.receipts()
    with deployed.chain.hold_finality():
        before = stand.nonce()
        first = stand.anchor()
        deployed.rpc.call("anvil_reorg", [1, []])
        assert stand.roots() == []
        assert stand.nonce() == before
        again = stand.anchor()
        assert again.transaction == first.transaction
        assert stand.anchor() is None
    assert stand.roots() == [first.root]
    assert stand.nonce("pending") == before + 1
