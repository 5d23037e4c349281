"""What a bundle shows, in one JSON document and in plain text.

The statement is computed from proven facts only and contains no time of its own, so that the copy
inside a bundle can be recomputed and compared by whoever verifies it.
"""

from __future__ import annotations

from typing import Any

from ledger.evidence import match_steps, release_steps, timestamp_steps
from ledger.evidence.bundle import KINDS
from ledger.evidence.case import Case
from ledger.evidence.events import Event
from ledger.evidence.findings import LicenseFinding
from ledger.evidence.layout import MODEL_STATUS, PERPETUAL
from ledger.evidence.wording import one_line, utc

VERSION = 1
# Chains whose history anyone can make, or remake, at will.
TEST_NETWORKS = {
    1337: "local development chain",
    31337: "local development chain",
    17000: "Holesky",
    560048: "Hoodi",
    11155111: "Sepolia",
    11155420: "OP Sepolia",
    84532: "Base Sepolia",
    421614: "Arbitrum Sepolia",
}
NO_VALUE = "test network: no evidentiary value"

LIMITS = (
    "A block's time says that something existed not later than then; it does not say who made it.",
    "A block's time is set by the block's proposer, within the tolerance of its chain's rules.",
    "The genesis hash and the chain's name are the collector's statement.",
    "Other registrations of the same tensors are those the collector's node showed.",
    "Such a list cannot be proved complete; other registries and chains were not asked.",
    "Acts undone by later ones (a suspension lifted, a renewal renewed) may be missing.",
    "Times in the custody log are claimed by whoever wrote the entry.",
    "Equal fingerprints say that two files hold the same values; they do not say who trained them.",
)


def statement(case: Case) -> dict[str, Any]:
    """The facts of a verified bundle, for ``report.json``."""
    claim, title, state = case.opened(), case.held(), case.state()
    subject = case.bundle.subject
    return _more(case) | {
        "version": VERSION,
        "about": subject.kind,
        "chain": {
            "id": subject.chain_id,
            "genesis": str(subject.genesis),
            "test_network": subject.chain_id in TEST_NETWORKS,
        },
        "rests_on": [{"block": run.top.number, "hash": str(run.top.hash)} for run in case.segments],
        "contracts": {contract.name: str(contract.address) for contract in subject.contracts},
        "model": {
            "id": str(subject.model_id),
            "title": case.named,
            "artifact_root": str(claim.artifact_root),
            "fingerprint_digest": str(claim.fingerprint_digest),
            "watermark_commitment": str(claim.watermark_commitment),
            "parents": [
                {"id": str(parent), "confirmed": parent in case.confirmed}
                for parent in claim.parents
            ],
        },
        "title": {
            "registered_by": str(claim.licensor),
            "held_by": str(title.licensor),
            "status": MODEL_STATUS[title.status],
            "committed": title.committed,
            "transfers": [
                {
                    "from": str(event.address("from")),
                    "to": str(event.address("to")),
                    **_when(event),
                }
                for event in case.told().transfers
            ],
        },
        "times": _times(case),
        "sealings": [
            {
                "epoch": event.number("epoch"),
                "record_hash": str(event.digest("recordHash")),
                "by": str(event.address("sender")),
                **_when(event),
            }
            for event in case.sealed
        ],
        "licenses": [_license(found, state.timestamp) for found in case.licenses],
        "rivals": [
            {
                "id": str(event.digest("modelId")),
                "registered_by": str(event.address("licensor")),
                "committed_not_later_than": event.number("committedAt"),
                **_when(event),
            }
            for event in case.rivals
        ],
        "limits": list(LIMITS),
    }


def render(document: dict[str, Any]) -> str:
    """A statement in plain text, for ``report.txt`` and the terminal."""
    chain, model, title = document["chain"], document["model"], document["title"]
    blocks = " and ".join(f"block {top['block']} {top['hash']}" for top in document["rests_on"])
    # Who made a root certificate, or mined a block, is nothing that a bundle can show.
    dated = any(document.get("timestamps", {}).values())
    rest = "the limits and the time-stamps" if dated else "the limits"
    if "match" in document:  # an examiner's word, most of it
        rest = f"{rest.replace(' and ', ', ')} and the findings about the suspect"
    lines = [
        f"What follows is proved if {blocks}",
        f"belongs to chain {chain['id']}. Nothing else is taken on trust but what {rest} name.",
        "",
    ]
    if chain["test_network"]:
        lines += [f"{NO_VALUE} (chain {chain['id']}).", ""]
    lines += [
        f"Model       {model['id']}",
        f"Title       {one_line(model['title'])}",
        f"Tensors     {model['artifact_root']} (root over their content)",
        f"Holder      {title['held_by']}, status {title['status']}",
        f"Registered  by {title['registered_by']}",
    ]
    lines += [
        f"Parent      {parent['id']}{'' if parent['confirmed'] else ' (unconfirmed)'}"
        for parent in model["parents"]
    ]
    lines += ["", "When, at the latest:"]
    lines += [
        f"  {utc(entry['not_later_than'])}  {entry['what']} ({entry['source']})"
        for entry in document["times"]
    ]
    lines += ["", "Title:", f"  registered by {title['registered_by']}"]
    lines += [
        f"  {utc(moved['not_later_than'])}  to {moved['to']} (block {moved['block']})"
        for moved in title["transfers"]
    ]
    if document["sealings"]:
        lines += ["", "Sealed packages:"]
        lines += [
            f"  epoch {of['epoch']}: record {of['record_hash']} (block {of['block']})"
            for of in document["sealings"]
        ]
    for found in document["licenses"]:
        lines += ["", f"License {found['id']} of {found['holder']}: {found['standing']}"]
        end = found["not_after"]
        lines.append(f"  ends {'never' if end is None else utc(end)}, terms {found['terms_hash']}")
        lines += [
            f"  {utc(act['not_later_than'])}  {act['what']} (block {act['block']})"
            for act in found["acts"]
        ]
    if document["rivals"]:
        lines += ["", "Other registrations of the same tensors, by time of commitment:"]
        lines += [
            f"  {utc(rival['committed_not_later_than'])}  {rival['id']} by {rival['registered_by']}"
            for rival in document["rivals"]
        ]
    for key, (_, tell) in _MORE.items():
        if key in document:
            lines += tell(document[key])
    if "withheld" in document:
        lines += ["", "Withheld from this copy (listed, not shown):"]
        lines += [f"  {name}" for name in document["withheld"]]
    lines += ["", "Limits:", *(f"  {limit}" for limit in document["limits"])]
    return "\n".join(lines) + "\n"


# Keys that a statement has only where there is something to tell: what, and how in plain text.
_MORE = {
    "releases": (release_steps.told, release_steps.lines),
    "match": (match_steps.told, match_steps.lines),
    "timestamps": (timestamp_steps.told, timestamp_steps.lines),
}


def _more(case: Case) -> dict[str, Any]:
    """What only some bundles show: what they are about, and the findings of later steps."""
    subject = case.bundle.subject
    key = KINDS[subject.kind]
    more: dict[str, Any] = {} if key is None else {key: subject.about}
    for name, (tell, _) in _MORE.items():
        found = tell(case)
        if found is not None:
            more[name] = found
    if case.bundle.withheld:
        more["withheld"] = sorted(case.bundle.withheld)
    return more


def _times(case: Case) -> list[dict[str, Any]]:
    known = []
    if case.commitment is not None:
        known.append(("this claim existed: a commitment to it was anchored", case.commitment))
    known.append(("this model was registered", case.told().registration))
    times = [
        {"what": what, "source": f"timestamp of block {event.position.block}", **_when(event)}
        for what, event in known
    ]
    state = case.state()
    times.append(
        {
            "what": "title and licenses stood as described",
            "source": f"timestamp of block {state.number}",
            "block": state.number,
            "not_later_than": state.timestamp,
            "transaction": None,
        }
    )
    return times


def _license(found: LicenseFinding, at: int) -> dict[str, Any]:
    state = found.state
    return {
        "id": str(found.license_id),
        "holder": str(state.holder),
        "standing": found.standing(at),
        "not_after": None if state.not_after == PERPETUAL else state.not_after,
        "seats_used": state.seats_used,
        "plan_licensor": str(found.plan_licensor),
        "terms_hash": str(found.terms_hash),
        "acts": [
            {"what": event.name.removeprefix("License").lower(), **_when(event)}
            for event in found.events
        ],
    }


def _when(event: Event) -> dict[str, Any]:
    return {
        "block": event.position.block,
        "not_later_than": event.time,
        "transaction": None if event.transaction is None else str(event.transaction),
    }
