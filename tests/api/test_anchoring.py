"""The service anchors its broker's receipts by the clock, and is killed where it hurts."""

from __future__ import annotations

import json
import time

import pytest

from ledger.broker.home import BrokerHome
from ledger.broker.receipts import ReceiptLog
from ledger.broker.setup import identity_on
from ledger.broker.store import BrokerStore
from ledger.chain.abi_codec import contract
from ledger.chain.logs import find_events
from ledger.chain.transactions import Sender
from ledger.chain.wallet import LocalWallet
from ledger.ids import Digest

pytestmark = pytest.mark.chain


@pytest.fixture
def home(deployed, tmp_path):
    """A registered broker's folder, and its operator's wallet in a keystore."""
    folder = tmp_path / "broker"
    made = BrokerHome.create(folder / "home", "correct horse", cost=14)
    operator = LocalWallet.create()
    deployed.rpc.call("anvil_setBalance", [str(operator.address), hex(10**18)])
    sender = deployed.sender("operator")
    broker, _ = deployed.brokers.register_broker(
        sender, made.signing_key_hash, made.kem_key_hash, "http://127.0.0.1:1"
    )
    deployed.brokers.propose_operator(sender, broker, operator.address)
    deployed.brokers.accept_operator(Sender(deployed.rpc, operator, deployed.profile), broker)
    made.register(identity_on(deployed.deployment, broker))
    (folder / "good").write_text("correct horse\n")
    (folder / "wallet.pass").write_text("battery staple\n")
    keystore = operator.to_keystore("battery staple", rounds=4096)
    (folder / "wallet.json").write_text(json.dumps(keystore))
    return folder, made, operator.address


def settings(folder, **changes):
    return {
        "DEED_API_BROKER_HOME": str(folder / "home"),
        "DEED_API_BROKER_PASSPHRASE_FILE": str(folder / "good"),
        "DEED_API_BROKER_ANCHOR_EVERY": "0.3",
        "DEED_API_BROKER_ANCHOR_WALLET": str(folder / "wallet.json"),
        "DEED_API_BROKER_ANCHOR_PASSPHRASE_FILE": str(folder / "wallet.pass"),
        **changes,
    }


def receipts(home, count):
    """Receipts in the log, as a process beside the service may write them."""
    store = BrokerStore(home.database)
    log = ReceiptLog(store, home.signing, home.identity.audience)
    for number in range(count):
        log.answer("deposit", {"number": number}, {}, now=int(time.time()))
    store.close()


def nonce(deployed, account, block):
    return int(deployed.rpc.call("eth_getTransactionCount", [str(account), block]), 16)


def roots(deployed, broker):
    return find_events(
        deployed.rpc,
        contract("BrokerRegistry"),
        deployed.brokers.address,
        "ReceiptsAnchored",
        [Digest(broker.to_bytes(32, "big"))],
        from_block=0,
    )


def test_a_service_killed_between_sending_and_receipt_sends_no_second_transaction(
    home, deployed, make, tmp_path
):
    folder, made, operator = home
    receipts(made, 3)
    before = nonce(deployed, operator, "latest")
    service = make.service(tmp_path / "s", deployed.network, **settings(folder))
    with deployed.chain.hold_finality():
        deployed.rpc.call("evm_setAutomine", [False])
        try:
            service.start()
            service.until(lambda: nonce(deployed, operator, "pending") == before + 1)
            service.process.kill()
            service.process.wait()
            service.start()
            service.until(lambda: service.get("/v1/broker/anchoring")["state"] == "anchoring")
            time.sleep(1)
            assert nonce(deployed, operator, "pending") == before + 1
        finally:
            deployed.rpc.call("evm_setAutomine", [True])
            deployed.rpc.call("anvil_mine", ["0x1"])
    try:
        service.until(lambda: service.get("/v1/broker/anchoring")["anchored"] == 3)
        receipts(made, 2)
        service.until(lambda: service.get("/v1/broker/anchoring")["anchored"] == 5)
        told = service.get("/v1/broker/anchoring")
        assert (told["trouble"], told["failures"], told["every"]) == (None, 0, 0.3)
        assert service.client.get("/readyz").json()["anchoring"] == "on"
        text = service.client.get("/metrics").text
        for line in (
            "deed_anchoring_on 1.0", "deed_receipts 5.0", "deed_receipts_unanchored 0.0",
            "deed_anchoring_failing 0.0", "deed_anchoring_failures_total 0.0",
        ):  # fmt: skip
            assert line in text
    finally:
        assert service.stop() == 0
    counts = [event.arguments["count"] for event in roots(deployed, made.identity.id)]
    assert counts in ([3, 2], [3, 1, 1])  # the timer may come between the two receipts
    assert nonce(deployed, operator, "latest") == before + len(counts)
    assert "battery" not in service.log.read_text()


def test_a_service_whose_wallet_is_not_the_operators_serves_on_and_says_so(
    home, deployed, make, tmp_path
):
    folder, made, _ = home
    receipts(made, 1)
    wallet = LocalWallet.from_keystore(folder / "wallet.json", "battery staple")
    sender = Sender(deployed.rpc, wallet, deployed.profile)
    deployed.brokers.propose_operator(sender, made.identity.id, deployed.wallet("operator").address)
    deployed.brokers.accept_operator(deployed.sender("operator"), made.identity.id)
    service = make.service(tmp_path / "s", deployed.network, **settings(folder)).start()
    try:
        service.until(lambda: service.get("/v1/broker/anchoring")["state"] == "failing")
        told = service.get("/v1/broker/anchoring")
        assert told["trouble"] == "BROKER_NOT_OPERATOR"
        assert (told["anchored"], told["receipts"]) == (0, 1)
        assert service.client.get("/readyz").json()["anchoring"] == "failing"
        assert service.get("/v1/broker")["broker"] == made.identity.id
        assert "deed_receipts_unanchored 1.0" in service.client.get("/metrics").text
    finally:
        assert service.stop() == 0


def test_off_is_the_default_and_is_shown(home, deployed, make, tmp_path):
    folder, made, _ = home
    receipts(made, 2)
    none = settings(folder, DEED_API_BROKER_ANCHOR_EVERY="0")
    service = make.service(tmp_path / "s", deployed.network, **none).start()
    try:
        told = service.get("/v1/broker/anchoring")
        assert (told["state"], told["receipts"], told["anchored"]) == ("off", 2, 0)
        assert service.client.get("/readyz").json()["anchoring"] == "off"
        assert "deed_anchoring_on 0.0" in service.client.get("/metrics").text
    finally:
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"DEED_API_BROKER_ANCHOR_WALLET": None}, "wallet is not given"),
        pytest.param(
            {"DEED_API_BROKER_ANCHOR_PASSPHRASE_FILE": "none"},
            "cannot be read",
            marks=pytest.mark.deep,
        ),
        ({"DEED_API_BROKER_ANCHOR_PASSPHRASE_FILE": "{folder}/good"}, "passphrase does not open"),
        ({"DEED_API_BROKER_ANCHOR_EVERY": "-1"}, "DEED_API_BROKER_ANCHOR_EVERY"),
    ],
)
def test_what_is_configured_wrongly_ends_it_before_it_serves(
    home, deployed, make, tmp_path, change, words
):
    folder, _, _ = home
    told = {name: value and value.format(folder=folder) for name, value in change.items()}
    chosen = {name: value for name, value in settings(folder, **told).items() if value is not None}
    with pytest.raises(AssertionError, match=words) as caught:
        make.service(tmp_path / "s", deployed.network, **chosen).start()
    assert "Traceback" not in str(caught.value)
    assert "battery" not in str(caught.value)
