"""What a report may say of findings, in whole sentences; made here and nowhere else.

The words are those of docs/spec/match.md, "In the report": every verifier makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ledger.evidence.match import UNITS_LEVEL
from ledger.fingerprint.exact import percent_text

_MARK_LEVEL: Final = "corrected for the tests counted; the level is 10^-38.5."
_RESTS: Final = (
    "These findings are the examiner's word, but for what is recomputed from the suspect file: "
    "deed evidence verify --suspect FILE."
)
_PROVEN: Final = "The examiner's checks that it needs passed."
_UNPROVEN: Final = "The examiner's checks that it needs did not all pass: see match.json."


def power(stated: int) -> str:
    """A stated bound for people, rounded upwards to a tenth."""
    tenths = -stated // 100_000
    return "1 (no evidence)" if tenths == 0 else f"10^-{tenths // 10}.{tenths % 10}"


def sentences(
    found: dict[str, Any],
    *,
    artifact_root: str | None = None,
    watermark: str | None = None,
    model_id: str | None = None,
    committed_at: int = 0,
    place: Mapping[str, int] | None = None,
) -> list[str]:
    """All sentences about findings, in order.

    Findings alone are about no one model; what the claim of one says is then not said.

    Args:
        found: the findings, checked.
        artifact_root: of the model that the bundle is about, as the next three; None when there is
            no such model.
        watermark: its claim's watermark commitment; None when its claim is not known.
        model_id: its id.
        committed_at: its commitment's time.
        place: block and transaction of that commitment on the chain that was searched; None when
            they are not known, or it stands on another chain.
    """
    suspect, held = found["suspect"], found["comparisons"]
    received = (
        f"Suspect: {suspect['name']} ({suspect['kind']}, {suspect['size']} bytes, SHA-256 "
        f"{suspect['sha256']}), received {suspect['received']} by the examiner's clock and hashed "
        "before anything read it."
    )
    said = [received]
    for one in held:
        said += _comparison(one, len(held), artifact_root)
    for one in found["watermarks"]:
        said += _watermark(one, watermark)
    for one in found["triggers"]:
        said += _triggers(one)
    if found["trace"] is not None:
        said += _trace(found["trace"])
    if found["search"] is not None:
        said += _search(found["search"], model_id, committed_at, place)
    said += [
        f"Not checked, {of['method']}: {of['why']}."
        for of in found["tried"]
        if of["result"] == "not checked"
    ]
    said += [
        f"Not tried, {of['method']}, {of['what']}: {of['why']}. No result of this method covers it."
        for of in found.get("untried", ())
    ]
    made = (
        f"Comparisons made with this suspect: {len(held)}. What was tried and found nothing is in "
        "the list of methods."
    )
    return [*said, made, _RESTS]


def _ours(ours: Any, artifact_root: str | None) -> str:
    this = "this" if ours["artifact_root"] == artifact_root else "another"
    if artifact_root is None:
        this = "the"
    model = f"{this} model ({ours['artifact_root']})"
    if ours["kind"] == "model":
        return model
    by = ours["commitment"]
    known = (
        f"committed to by {by['owner']} in block {by['block']}, as a node showed"
        if by is not None
        else "to which no node showed a commitment"
    )
    return f"the sketch {ours['sketch_root']} of {model}, {known}"


def _comparison(one: Any, comparisons: int, artifact_root: str | None) -> Iterator[str]:
    tensors, units, rows = one["tensors"], one["units"], one["units"]["rows"]
    reached = one["log10_p_all"] <= UNITS_LEVEL
    yield f"Held against {_ours(one['ours'], artifact_root)}: {one['verdict']}."
    if tensors is None:
        yield "Equal tensors were not looked for: ours is a sketch."
    else:
        held, whole = tensors["values"], tensors["of_values"]
        yield (
            f"{tensors['found']} of {tensors['of']} tensors of ours are in the suspect, with "
            f"{held} of {whole} values of ours ({percent_text(held, whole)} %); "
            f"{len(tensors['set_aside'])} more that anybody may have were set aside."
        )
    if rows:
        yield (
            "H0: the hidden units of the two models were put in order independently of each "
            f"other. Over {len(rows)} matrices, {units['tried']} pairings counted, the probability "
            "of so many units at the same places or in the same order is at most "
            f"{power(units['log10_p_counted'])} under H0; over all comparisons made here "
            f"({comparisons}), {power(one['log10_p_all'])}. H0 is rejected at 10^-20.0."
        )
    else:
        yield (
            "No matrix of ours has a counterpart in the suspect: the order of units was not tested."
        )
    left = sum(row["fitted"] for row in rows)
    if left:
        yield (
            f"Left out of the bound, matrices: {left}. Their order may have been fitted afterwards."
        )
    if rows and not reached:
        yield "H0 is not rejected by the order of units. That is no proof of it."
    if reached:
        yield (
            "Two models trained apart look the same to this test when they began from the same "
            "seed, or both derive from a third one."
        )
    if tensors is not None and tensors["shared"]:
        yield (
            "Equal tensors are explained by a common source as well as by one of the two having "
            "them from the other."
        )
    if one["verdict"] != "nothing found":
        yield "Which of the two came first is in no such figure: anchored time and custody tell it."
    for of in one["controls"]:
        bound = power(of["log10_p"])
        if of["log10_p"] <= UNITS_LEVEL:
            yield (
                f"The control {of['title']} matches the suspect too ({bound}): what it shares with "
                "ours may explain the match."
            )
        else:
            yield f"The control {of['title']} does not match the suspect ({bound})."


def _watermark(one: Any, watermark: str | None) -> list[str]:
    there = "there" if one["there"] else "not found"
    carries = "carries" if one["commitment"] == watermark else "does not carry"
    head = (
        f"Watermark {one['commitment']}: {there}. Under H0, that nobody who had the key made the "
        "suspect or the original, the signs agree so well with a probability of at most "
        f"{power(one['log10_p'])}, {_MARK_LEVEL}"
    )
    return [
        head,
        *([] if watermark is None else [f"This model's claim {carries} that commitment."]),
        _PROVEN if one["proven"] else _UNPROVEN,
    ]


def _triggers(one: Any) -> list[str]:
    there = "there" if one["there"] else "not found"
    head = (
        f"Triggers {one['commitment']}: {there}. {one['right']} of {one['asked']} questions were "
        f"answered as drawn among {one['answers']} answers. Under H0, that nobody who knew the "
        "keys made the suspect, so many are with a probability of at most "
        f"{power(one['log10_p_all'])}, {_MARK_LEVEL}"
    )
    return [
        head,
        _PROVEN if one["proven"] else _UNPROVEN,
    ]


def _trace(trace: Any) -> list[str]:
    head = f"Trace of sealing {trace['sealing']}: "
    if not trace["named"]:
        return [head + "no license is named."]
    named = [
        f"{head}license {of['license']}, held by {of['holder']}, is named; the probability of "
        f"naming an innocent is at most {power(of['log10_p'])}."
        for of in trace["named"]
    ]
    return [*named, _PROVEN if trace["proven"] else _UNPROVEN]


def _search(
    search: Any, model_id: str | None, committed_at: int, place: Mapping[str, int] | None
) -> Iterator[str]:
    yield (
        "Registered models that hold tensors of the suspect, by the word of the index "
        f"{search['index']}: {len(search['models'])}."
    )
    for of in search["models"]:
        when = _when(of, committed_at, place) if of["model_id"] != model_id else None
        if when is not None:
            yield f"{of['model_id']} of {of['licensor']} was committed to {when}."
    if search["more"]:
        yield "The index left later registrations out."


def _when(of: Any, committed_at: int, place: Mapping[str, int] | None) -> str | None:
    """How another model's commitment stands to this one's; None if it is later."""
    at, there = f"at second {of['committed_at']}", of["place"]
    if of["committed_at"] != committed_at:
        earlier = of["committed_at"] < committed_at
        return f"earlier than this model, {at}" if earlier else None
    if place is None or there is None:
        return f"in the same second as this model, {at}: which came first is not shown"
    if there["block"] != place["block"]:
        earlier = there["block"] < place["block"]
        return f"earlier than this model, {at}, in an earlier block" if earlier else None
    if there["transaction"] > place["transaction"]:
        return None
    if there["transaction"] < place["transaction"]:
        return f"earlier than this model, {at}, in the same block"
    return f"in the same transaction as this model, {at}"
