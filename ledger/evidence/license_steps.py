"""Verification step 13: the licenses concerned, with their cards and terms.

Defined in ``docs/spec/evidence-bundle.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.errors import ClaimMismatch, ManifestError, StateProofInvalid, UsageError
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.events import Event
from ledger.evidence.findings import LicenseFinding, license_events, model_digest
from ledger.evidence.layout import (
    PLAN_MODEL_WORD,
    PLAN_TERMS_WORD,
    Ext,
    License,
    Plan,
    ext_slot,
    owner_slot,
    plan_slot,
)
from ledger.ids import Digest, LicenseId
from ledger.licensing import card as license_card
from ledger.licensing import terms as license_terms
from ledger.sealed.record import SealingRecord

MAX_LICENSES = 10_000


def check_licenses(case: Case, step: int) -> str:
    """Each license listed stands as shown, for this model, and its events explain it."""
    if not case.has("licenses.json"):
        if any(_listed(case, folder) for folder in ("cards", "terms")):
            raise ManifestError("the bundle has cards or terms of licenses it does not list")
        raise NotChecked("the bundle speaks of no license", needed=_alone(case) is not None)
    listed = case.bundle.json("licenses.json")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_LICENSES:
        raise ManifestError("licenses.json is a list of licenses")
    about = _alone(case)
    if about is not None and listed != [about]:
        raise ClaimMismatch("the bundle is about another license than it lists", step=step)
    # Once through all events, and not once for each license.
    acts: dict[Any, list[Event]] = {}
    for event in case.events:
        acts.setdefault(event.args.get("licenseId", event.args.get("id")), []).append(event)
    each = [_license(case, text, acts, step) for text in listed]
    found = {one.license_id: one for one in each}
    if len(found) != len(listed):
        raise ManifestError("licenses.json names a license twice")
    # By their names, so that those withheld are held against the list too.
    shown = {f"{one.license_id}.json" for one in each}
    used = {f"{one.terms_hash.raw.hex()}.json" for one in each}
    for name in _listed(case, "cards"):
        if name not in shown:
            raise ClaimMismatch(f"cards/{name} is for a license not shown here", step=step)
    for name in _listed(case, "terms"):
        if name not in used:
            raise ClaimMismatch(f"terms/{name} are not the terms of any license here", step=step)
    for name in case.bundle.folder("cards"):
        _check_card(case, name, found, step)
    for name in case.bundle.folder("terms"):
        terms = license_terms.validate(case.bundle.json(f"terms/{name}"))
        if name != f"{terms.hash().raw.hex()}.json":
            raise ClaimMismatch(f"terms/{name} are not the terms of any license here", step=step)
    case.licenses = tuple(each)
    at = case.state().timestamp
    return "; ".join(
        f"license {one.license_id} of {one.state.holder}: {one.standing(at)}"
        for one in case.licenses
    )


def _listed(case: Case, folder: str) -> list[str]:
    """Names below a folder, of members here and of members withheld."""
    prefix = f"{folder}/"
    left = (name for name in case.bundle.withheld if name.startswith(prefix))
    return [*case.bundle.folder(folder), *sorted(name.removeprefix(prefix) for name in left)]


def _alone(case: Case) -> str | None:
    """The one license that evidence of a license, or of a release, is about."""
    subject = case.bundle.subject
    if subject.kind == "license":
        return str(subject.about)
    return str(subject.about["license"]) if subject.kind == "release" else None


def _license(
    case: Case, text: Any, acts: Mapping[Any, Sequence[Event]], step: int
) -> LicenseFinding:
    try:
        license_id = LicenseId.parse(text if isinstance(text, str) else "")
    except UsageError as error:
        raise ManifestError(f"licenses.json: {error}") from None
    if text != str(license_id):  # another spelling would give one state two bundles
        raise ManifestError(f"licenses.json: {license_id} is written in another way")

    def word(slot: int, what: str) -> bytes:
        return case.word("LicenseLedger", slot, f"{what} of license {license_id}", step=step)

    state = License.parse(word(owner_slot(license_id), "the word"))
    if state.holder.raw == bytes(20):
        raise StateProofInvalid(f"there is no license {license_id} in this state", step=step)
    ext = word(ext_slot(license_id), "the second word") if state.has_ext else bytes(32)
    plan = license_id.plan
    model = Digest(word(plan_slot(plan, PLAN_MODEL_WORD), "the model"))
    if model != model_digest(case.opened().model_id()):
        raise StateProofInvalid(f"license {license_id} is for another model", step=step)
    return LicenseFinding(
        license_id,
        state,
        Ext.parse(ext),
        Plan.parse(word(plan_slot(plan), "the plan")).licensor,
        Digest(word(plan_slot(plan, PLAN_TERMS_WORD), "the terms")),
        license_events(license_id, state, acts.get(int(license_id), ()), step=step),
    )


def _check_card(case: Case, name: str, found: dict[LicenseId, LicenseFinding], step: int) -> None:
    """A card is signed by a licensor of this model, for a license, terms and sealing shown here."""
    card = case.read(f"cards/{name}", license_card.parse)
    card.verify()
    subject = case.bundle.subject
    about = found.get(card.license)
    if about is None or name != f"{card.license}.json":
        raise ClaimMismatch(f"cards/{name} is for a license not shown here", step=step)
    if (card.chain_id, card.ledger, card.registry, card.model, card.terms_hash) != (
        subject.chain_id,
        subject.contract("LicenseLedger").address,
        subject.contract("ModelRegistry").address,
        subject.model_id,
        about.terms_hash,
    ):
        raise ClaimMismatch(f"cards/{name} is for another chain, model or terms", step=step)
    holders = {case.opened().licensor, *(e.address("to") for e in case.told().transfers)}
    if card.licensor not in holders:
        raise ClaimMismatch(f"cards/{name} is signed by someone who never had title", step=step)
    record = SealingRecord.from_json(dict(card.sealing))
    lodged = {event.digest("recordHash") for event in case.sealed}
    if record.hash() != card.sealing_hash or card.sealing_hash not in lodged:
        raise ClaimMismatch(f"cards/{name} names a sealing that was not lodged", step=step)
