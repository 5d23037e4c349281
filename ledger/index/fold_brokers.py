"""Events of BrokerRegistry into brokers, broker sets and receipt roots."""

from __future__ import annotations

import json
from collections.abc import Callable

from ledger.index.step import Step


def _broker_registered(s: Step) -> None:
    s.put(
        "broker",
        (s.number("brokerId"),),
        operator=s.raw("operator"),
        pending_operator=None,
        epoch=0,
        signing_key_hash=None,
        kem_key_hash=None,
        url_hash=None,
        url="",
    )


def _broker_keys_set(s: Step) -> None:
    # PostgreSQL's text holds no NUL; the exact bytes stay in the journal.
    url = str(s.values["url"]).replace("\0", "�")
    s.change(
        "broker",
        (s.number("brokerId"),),
        epoch=s.number("epoch"),
        signing_key_hash=s.raw("signingKeyHash"),
        kem_key_hash=s.raw("kemKeyHash"),
        url_hash=s.raw("urlHash"),
        url=url,
    )


def _operator_proposed(s: Step) -> None:
    to = s.raw("to")
    s.change("broker", (s.number("brokerId"),), pending_operator=to if any(to) else None)


def _operator_changed(s: Step) -> None:
    s.change("broker", (s.number("brokerId"),), operator=s.raw("to"), pending_operator=None)


def _broker_set_created(s: Step) -> None:
    ids = s.values["brokerIds"]
    assert isinstance(ids, tuple)
    s.put(
        "broker_set",
        (s.number("setId"),),
        owner=s.raw("owner"),
        threshold=s.number("threshold"),
        broker_ids=json.dumps([str(number) for number in ids]),
    )


def _receipts_anchored(s: Step) -> None:
    s.put(
        "receipt_root",
        (s.number("brokerId"), s.number("seq")),
        prev_root=s.raw("prevRoot"),
        root=s.raw("root"),
        count=s.number("count"),
        anchored_at=s.at.time,
    )


HANDLERS: dict[tuple[str, str], Callable[[Step], None]] = {
    ("BrokerRegistry", "BrokerRegistered"): _broker_registered,
    ("BrokerRegistry", "BrokerKeysSet"): _broker_keys_set,
    ("BrokerRegistry", "BrokerOperatorProposed"): _operator_proposed,
    ("BrokerRegistry", "BrokerOperatorChanged"): _operator_changed,
    ("BrokerRegistry", "BrokerSetCreated"): _broker_set_created,
    ("BrokerRegistry", "ReceiptsAnchored"): _receipts_anchored,
}
