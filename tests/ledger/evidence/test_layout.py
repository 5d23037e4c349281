"""Words and slots against the bundle's proven storage, which a real chain wrote."""

import json

from ledger.evidence import layout
from ledger.evidence.bundle import read_bundle
from ledger.ids import Address, LicenseId, keccak256


def words(members, contract):
    document = json.loads(members[f"state/{contract}.json"])
    return {
        int(of["key"], 16): int(of["value"], 16).to_bytes(32, "big")
        for of in document["storageProof"]
    }


def test_a_mapping_slot_is_the_hash_of_key_and_base():
    assert layout.mapping_slot(3, 5) == int.from_bytes(
        keccak256(bytes(31) + b"\5" + bytes(31) + b"\3"), "big"
    )


def test_title_transfers_and_sealing_are_where_the_registry_wrote_them(members, bundle_path):
    model = read_bundle(bundle_path).subject.model_id
    told = json.loads(members["report.json"])
    registry = words(members, "ModelRegistry")
    title = layout.Title.parse(registry[layout.title_slot(model)])
    assert str(title.licensor) == told["title"]["held_by"]
    assert title.committed
    assert title.committed_at == told["times"][0]["not_later_than"]
    assert title.registered_at == told["times"][1]["not_later_than"]
    assert layout.MODEL_STATUS[title.status] == "active"
    moved = layout.Transfers.parse(registry[layout.transfer_slot(model)])
    assert (moved.sequence, moved.pending) == (1, Address(bytes(20)))
    assert int.from_bytes(registry[layout.sealing_epoch_slot(model)], "big") == 1
    sealed = registry[layout.sealing_slot(model, 1)]
    assert "0x" + sealed.hex() == told["sealings"][0]["record_hash"]


def test_license_words_say_who_holds_what_until_when(members):
    ledger = words(members, "LicenseLedger")
    revoked = layout.License.parse(ledger[layout.owner_slot(LicenseId.of(1, 1))])
    suspended = layout.License.parse(ledger[layout.owner_slot(LicenseId.of(1, 2))])
    assert layout.LICENSE_STATUS[revoked.status] == "revoked"
    assert layout.LICENSE_STATUS[suspended.status] == "suspended"
    assert suspended.held
    assert not revoked.held
    assert (suspended.grace, suspended.seats_used) == (3600, 0)
    told = {of["id"]: of for of in json.loads(members["report.json"])["licenses"]}
    assert str(suspended.holder) == told["1.2"]["holder"]
    assert suspended.not_after == told["1.2"]["acts"][0]["not_later_than"] + 30 * 86400
    ext = layout.Ext.parse(ledger[layout.ext_slot(LicenseId.of(1, 2))])
    assert ext.suspended_at == told["1.2"]["acts"][1]["not_later_than"]


def test_a_plan_names_its_licensor_model_and_terms(members, bundle_path):
    ledger = words(members, "LicenseLedger")
    told = json.loads(members["report.json"])
    plan = layout.Plan.parse(ledger[layout.plan_slot(1)])
    assert str(plan.licensor) == told["licenses"][0]["plan_licensor"]
    assert plan.issued == 2
    model = ledger[layout.plan_slot(1, layout.PLAN_MODEL_WORD)]
    assert model == read_bundle(bundle_path).subject.model_id.raw
    terms = ledger[layout.plan_slot(1, layout.PLAN_TERMS_WORD)]
    assert "0x" + terms.hex() == told["licenses"][0]["terms_hash"]
