"""What no honest chain produces and no edit of a bundle can: each rule of the steps by itself."""

import contextlib
import dataclasses
import json

import pytest

from ledger.canonical import canonical_json
from ledger.chain.wallet import dev_wallet
from ledger.errors import ClaimMismatch, ManifestError, StateProofInvalid
from ledger.evidence.bundle import read_bundle
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.findings import license_events, sealings, title_history
from ledger.evidence.layout import PLAN_MODEL_WORD, License, owner_slot, plan_slot
from ledger.evidence.license_steps import check_licenses
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import STEPS
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing import card as license_card


@pytest.fixture
def case(bundle_path):
    """A case in which every step has passed (trust apart)."""
    made = Case(read_bundle(bundle_path), TrustRoot())
    for number, (title, check) in enumerate(STEPS, start=1):
        if title != "trust":
            with contextlib.suppress(NotChecked):  # of members that this bundle does not carry
                check(made, number)
    return made


def edited(event, **changed):
    return dataclasses.replace(event, args={**event.args, **changed})


def swapped(events, name, **changed):
    return tuple(edited(event, **changed) if event.name == name else event for event in events)


def replay(case, events=None, **title):
    state = dataclasses.replace(case.held(), **title)
    return title_history(case.opened(), state, case.sequence, events or case.events, step=10)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("TitleTransferred", {"sequence": 2}),
        ("TitleTransferred", {"from": Address(b"\1" * 20)}),
        ("TitleTransferred", {"to": Address(b"\1" * 20)}),
        ("ModelRegistered", {"registeredAt": 1}),
        ("ModelRegistered", {"committedAt": 1}),
        ("ModelRegistered", {"manifestHash": Digest(b"\1" * 32)}),
        ("ModelRegistered", {"licensor": Address(b"\1" * 20)}),
    ],
)
def test_a_title_whose_events_tell_another_story_is_refused(case, name, changed):
    replay(case)
    with pytest.raises((StateProofInvalid, ClaimMismatch)):
        replay(case, swapped(case.events, name, **changed))


@pytest.mark.parametrize("title", [{"status": 2}, {"committed_at": 5}, {"registered_at": 5}])
def test_a_title_word_that_its_events_do_not_explain_is_refused(case, title):
    with pytest.raises(StateProofInvalid, match="do not lead"):
        replay(case, **title)


def test_sealings_end_with_the_epoch_and_hash_in_state_and_rise(case):
    model, lodged = case.opened().model_id(), case.sealed[0]
    record = lodged.digest("recordHash")
    assert sealings(model, 1, record, case.events) == (lodged,)
    for epoch, other in ((2, record), (1, Digest(b"\1" * 32)), (0, record)):
        with pytest.raises(StateProofInvalid, match="the proven state has"):
            sealings(model, epoch, other, case.events)
    with pytest.raises(StateProofInvalid, match="do not rise"):
        sealings(model, 1, record, (*case.events, lodged))


def test_a_license_whose_issue_is_missing_is_refused(case):
    first = LicenseId.of(1, 1)
    state = License.parse(case.words["LicenseLedger"][owner_slot(first)])
    without = [event for event in case.events if event.name != "LicenseIssued"]
    with pytest.raises(StateProofInvalid, match="lacks the issue"):
        license_events(first, state, without)


def test_a_license_without_holder_or_for_another_model_is_refused(case):
    words = case.words["LicenseLedger"]
    case.words["LicenseLedger"] = {**words, owner_slot(LicenseId.of(1, 1)): bytes(32)}
    with pytest.raises(StateProofInvalid, match="no license"):
        check_licenses(case, 13)
    case.words["LicenseLedger"] = {**words, plan_slot(1, PLAN_MODEL_WORD): b"\1" * 32}
    with pytest.raises(StateProofInvalid, match="another model"):
        check_licenses(case, 13)


def with_members(case, **members):
    kept = {**case.bundle.members, **members}
    case.bundle = dataclasses.replace(
        case.bundle, members={name: data for name, data in kept.items() if data is not None}
    )


@pytest.mark.parametrize("listed", [{}, [], ["1.1", "1.1"], [11], ["x"]])
def test_a_malformed_list_of_licenses_is_refused(case, listed):
    with_members(case, **{"licenses.json": canonical_json(listed)})
    with pytest.raises(ManifestError):
        check_licenses(case, 13)


def test_cards_without_a_list_of_licenses_are_refused(case):
    with_members(case, **{"licenses.json": None})
    with pytest.raises(ManifestError, match="does not list"):
        check_licenses(case, 13)


@pytest.mark.parametrize(
    ("signer", "changed", "match"),
    [
        ("stranger", {}, "never had title"),
        ("licensor", {"license_id": LicenseId.of(1, 9)}, "not shown here"),
        ("licensor", {"license_id": LicenseId.of(1, 2)}, "not shown here"),
        ("licensor", {"chain_id": 1}, "another chain"),
        ("licensor", {"model": b"\1"}, "another chain"),
        ("licensor", {"terms": "Other"}, "another chain"),
        ("licensor", {"sealing_hash": Digest(b"\1" * 32)}, "not lodged"),
    ],
)
def test_a_validly_signed_card_about_something_else_is_refused(case, signer, changed, match):
    good = license_card.parse(json.loads(case.bundle.members["cards/1.1.json"]))
    terms = dict(good.terms) | ({"text": changed["terms"]} if "terms" in changed else {})
    model = type(good.model)(changed["model"] * 32) if "model" in changed else good.model
    card = license_card.build(
        dev_wallet(signer),
        chain_id=changed.get("chain_id", good.chain_id),
        ledger=good.ledger,
        registry=good.registry,
        broker_registry=good.broker_registry,
        license_id=changed.get("license_id", good.license),
        model=model,
        sealing=good.sealing,
        sealing_hash=changed.get("sealing_hash", good.sealing_hash),
        terms=terms,
        brokers=good.brokers,
    )
    with_members(case, **{"cards/1.1.json": canonical_json(card)})
    with pytest.raises(ClaimMismatch, match=match):
        check_licenses(case, 13)
