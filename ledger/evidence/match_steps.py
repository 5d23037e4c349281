"""Verification step 16: findings about a suspect, as far as they follow without it.

Rules 1, 3, 7, 8 and 10 of docs/spec/match.md, which tie findings to this bundle's model; the others
are in `ledger.evidence.match`.
"""

from __future__ import annotations

import hashlib
from math import prod
from typing import Any, Final

from ledger.errors import ClaimMismatch, VerificationError
from ledger.evidence import match_words
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.match import read_match
from ledger.evidence.wording import one_line

MEMBER: Final = "match.json"
_TOLD: Final = ("name", "kind", "size", "sha256", "received")


def check_match(case: Case, step: int) -> str:
    """What the findings say follows from their figures, and is about this model."""
    bundle = case.bundle
    needed = bundle.subject.kind == "match"
    if not case.has(MEMBER):
        why = (
            f"{MEMBER} is withheld: put it back to check it"
            if MEMBER in bundle.withheld
            else "the bundle carries no findings about a suspect"
        )
        raise NotChecked(why, needed=needed)
    if not needed:
        raise VerificationError(f"{MEMBER} is carried by a bundle of another kind", step=step)
    found = read_match(bundle.json(MEMBER), step=step)
    _Links(case, step).check(found)
    case.match = {
        "digest": "0x" + hashlib.sha256(bundle.member(MEMBER)).hexdigest(),
        "suspect": {name: found["suspect"][name] for name in _TOLD},
        "verdict": found["verdict"],
        "tried": found["tried"],
        **({"untried": found["untried"]} if "untried" in found else {}),
        "sentences": match_words.sentences(
            found,
            artifact_root=str(case.opened().artifact_root),
            watermark=str(case.opened().watermark_commitment),
            model_id=str(case.opened().model_id()),
            committed_at=case.held().committed_at,
            place=_place(case) if _same_chain(case, found) else None,
        ),
    }
    count = sum(len(one["units"]["rows"]) for one in found["comparisons"])
    return (
        f"{found['verdict']}: lists, {count} rows and all bounds follow from their figures; that "
        "the suspect holds what they say is recomputed with the file: deed evidence verify "
        "--suspect FILE"
    )


def told(case: Case) -> Any | None:
    """What goes into the statement under "match"; None if there is nothing to tell."""
    return case.match


def lines(found: Any) -> list[str]:
    """The same in plain text, for ``report.txt``."""
    return ["", "Suspect file:", *(f"  {one_line(s)}" for s in found["sentences"])]


class _Links:
    def __init__(self, case: Case, step: int) -> None:
        self._case = case
        self._step = step

    def check(self, found: dict[str, Any]) -> None:
        case, claim = self._case, self._case.opened()
        root = str(claim.artifact_root)
        suspect = {name: found["suspect"][name] for name in ("sha256", "size", "name")}
        if case.bundle.subject.about != suspect:
            raise ClaimMismatch(f"{MEMBER} is about another suspect", step=self._step)
        ours = [one for one in found["comparisons"] if one["ours"]["artifact_root"] == root]
        if found["trace"] is not None:
            self._trace(found["trace"])
        listed = found["search"]["models"] if found["search"] is not None else []
        self._searched(found["search"], listed)
        about = (
            bool(ours)
            or any(
                one["commitment"] == str(claim.watermark_commitment) for one in found["watermarks"]
            )
            or any(
                (one["owner"], one["chain_id"]) == (str(claim.licensor), claim.chain_id)
                for one in found["triggers"]
            )
            or found["trace"] is not None
            or any(one["model_id"] == str(claim.model_id()) for one in listed)
        )
        if not about:
            raise ClaimMismatch(f"nothing in {MEMBER} is about this model", step=self._step)
        # Last, because it may end without a result.
        for one in ours:
            if one["tensors"] is not None:
                self._members(one["tensors"])

    def _members(self, tensors: Any) -> None:
        """Rule 3: the shared tensors are the claimed model's."""
        case = self._case
        wanted = {of["cid"]: of for of in tensors["shared"]}
        cids = [*wanted, *tensors["set_aside"]]
        if case.has("fingerprint.json"):
            held = {of["cid"]: of for of in case.bundle.json("fingerprint.json")["tensors"]}
            size = sum(of["identity"] for of in held.values())
            for cid in cids:
                if cid not in held:
                    raise self._strange(cid)
                if cid in wanted and not _same(wanted[cid], held[cid]):
                    raise VerificationError(
                        f"{MEMBER}: {cid[:18]} is of another size or kind in the claimed model",
                        step=self._step,
                    )
            self._of(size, tensors["of"])
            values = sum(_elements(of) for of in held.values())
            if values != tensors["of_values"]:
                raise VerificationError(
                    f"{MEMBER}: the claimed model has {values} values, not {tensors['of_values']}",
                    step=self._step,
                )
            return
        packed = any(of["packed"] for of in tensors["shared"])
        for cid in cids:
            name = f"tensors/{cid[2:]}.json"
            if packed or not case.has(name):
                raise NotChecked(
                    "not every shared tensor has its proof here, and the list of tensors is not "
                    "here either"
                )
            # Step 8 verified it.
            self._of(case.bundle.json(name)["size"], tensors["of"])

    def _of(self, size: int, stated: int) -> None:
        if size != stated:
            raise VerificationError(
                f"{MEMBER}: the claimed model has {size} different tensors, not {stated}",
                step=self._step,
            )

    def _strange(self, cid: str) -> ClaimMismatch:
        return ClaimMismatch(
            f"{MEMBER}: {cid[:18]}… is called shared and is no tensor of the claimed model",
            step=self._step,
        )

    def _trace(self, trace: Any) -> None:
        case = self._case
        lodged = {str(event.digest("recordHash")) for event in case.sealed}
        if trace["model_id"] != str(case.opened().model_id()) or trace["sealing"] not in lodged:
            raise ClaimMismatch(
                f"{MEMBER}: the sealing that was traced is not lodged for this model",
                step=self._step,
            )

    def _searched(self, search: Any, models: list[Any]) -> None:
        case, claim = self._case, self._case.opened()
        for of in models:
            if of["model_id"] != str(claim.model_id()):
                continue
            block = case.told().registration.position.block
            stands = (claim.chain_id, case.held().committed_at, block)
            shown = (search["chain_id"], of["committed_at"], of["registered_block"])
            place = _place(case)
            other = of["place"] is not None and place is not None and of["place"] != place
            if shown != stands or other:
                raise ClaimMismatch(
                    f"{MEMBER} gives this model another time than the chain", step=self._step
                )


def _same_chain(case: Case, found: Any) -> bool:
    search = found["search"]
    return search is not None and bool(search["chain_id"] == case.opened().chain_id)


def _place(case: Case) -> dict[str, int] | None:
    """Where the commitment that the title's time is of stands; None if the bundle lacks it."""
    registered = case.history.registration if case.history is not None else None
    event = case.commitment if case.held().committed else registered
    if event is None:
        return None
    return {"block": event.position.block, "transaction": event.position.transaction}


def _same(shared: Any, held: Any) -> bool:
    elements = _elements(held)
    return bool(elements == shared["elements"] and held["identity"] != shared["packed"])


def _elements(held: Any) -> int:
    return prod(held["shape"])
