"""Brokers, their sets and their anchored receipts, on the real registry."""

import pytest

from ledger.chain import reverts

pytestmark = pytest.mark.chain


def test_a_broker_is_found_with_keys_and_url_and_rotates_them(deployed, fresh):
    sender = deployed.sender("broker")
    one, two = fresh(), fresh()
    broker, _ = deployed.brokers.register_broker(sender, one, two, "http://one.example")
    record = deployed.brokers.broker_of(broker)
    assert (record.operator, record.signing_key_hash, record.kem_key_hash) == (
        sender.address,
        one,
        two,
    )
    assert deployed.brokers.url_of(broker) == "http://one.example"
    deployed.brokers.set_keys(sender, broker, two, one, "http://two.example")
    assert deployed.brokers.broker_of(broker).epoch == record.epoch + 1
    assert deployed.brokers.url_of(broker) == "http://two.example"
    with pytest.raises(reverts.BrokerNotOperator):
        deployed.brokers.set_keys(deployed.sender("rival"), broker, one, two, "http://x")


def test_a_set_names_its_brokers_and_threshold(deployed, fresh):
    sender = deployed.sender("broker")
    ids = [
        deployed.brokers.register_broker(sender, fresh(), fresh(), "http://x")[0] for _ in range(2)
    ]
    number, _ = deployed.brokers.create_set(sender, ids, 2)
    found = deployed.brokers.broker_set_of(number)
    assert (found.owner, found.threshold, found.broker_ids) == (sender.address, 2, tuple(ids))
    with pytest.raises(reverts.BrokerSetThresholdInvalid):
        deployed.brokers.create_set(sender, ids, 3)
    with pytest.raises(reverts.BrokerSetUnknown):
        deployed.brokers.broker_set_of(4_000)


def test_receipts_are_anchored_in_an_unbroken_row(deployed, fresh):
    sender = deployed.sender("broker")
    broker, _ = deployed.brokers.register_broker(sender, fresh(), fresh(), "http://x")
    seq, last = deployed.brokers.receipts_of(broker)
    assert seq == 0
    root = fresh()
    deployed.brokers.anchor_receipts(sender, broker, seq=1, prev_root=last, root=root, count=5)
    assert deployed.brokers.receipts_of(broker) == (1, root)
    with pytest.raises(reverts.BrokerReceiptsOutOfOrder):
        deployed.brokers.anchor_receipts(
            sender, broker, seq=3, prev_root=root, root=fresh(), count=1
        )
    with pytest.raises(reverts.BrokerReceiptsRootMismatch):
        deployed.brokers.anchor_receipts(
            sender, broker, seq=2, prev_root=last, root=fresh(), count=1
        )


def test_a_broker_passes_to_whom_it_was_offered_and_who_takes_it(deployed, fresh):
    sender, stranger = deployed.sender("broker"), deployed.sender("stranger")
    broker, _ = deployed.brokers.register_broker(sender, fresh(), fresh(), "http://x")
    with pytest.raises(reverts.BrokerNotPendingOperator):
        deployed.brokers.accept_operator(stranger, broker)
    with pytest.raises(reverts.BrokerNotOperator):
        deployed.brokers.propose_operator(stranger, broker, stranger.address)
    deployed.brokers.propose_operator(sender, broker, stranger.address)
    assert deployed.brokers.broker_of(broker).operator == sender.address
    deployed.brokers.accept_operator(stranger, broker)
    assert deployed.brokers.broker_of(broker).operator == stranger.address
