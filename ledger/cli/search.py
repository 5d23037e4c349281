"""``deed search``: which registered models hold tensors of a model, by hash alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.cli.output import Answer, console, table, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import IndexUnavailable, UsageError
from ledger.ids import Digest

if TYPE_CHECKING:
    from ledger.fingerprint.exact import Fingerprint
    from ledger.fingerprint.search import AskedId, IdKind, Tally

app = Verbs()

_TIMEOUT: Final = 60.0
_HEAD: Final = (
    "model",
    "title",
    "licensor",
    "committed",
    "status",
    "tensors",
    "values",
    "equal",
    "cast",
    "reordered",
    "both",
)
_KINDS: Final[tuple[IdKind, ...]] = ("cid", "vid", "cast")
ORDER: Final = (
    "In order of commitment. A registration is a claim: the chain tells who claimed first, and not "
    "who made the model, nor who may use it."
)
HIT: Final = (
    "This is what the index says. Equal ids mean equal values, which a common ancestor explains as "
    "well as a copy; get the registered model and run deed compare."
)
UNBOUND: Final = (
    "Up to {count} tensors of a model were found only by ids of casts, which no root binds: "
    "they are the word of whoever deposited them, until the cast is computed from the registered "
    "model (deed compare does)."
)
NONE: Final = (
    "No registered model whose tensor ids were deposited holds any of them. One step of training "
    "changes every id, so this does not show that the model is nobody's."
)
MORE: Final = "Later registrations that hold some of them were left out."


@dataclass(slots=True)
class Found:
    """A registered model as the index shows it, with its `place`, and the ids that it holds."""

    model: dict[str, Any]
    held: dict[IdKind, set[Digest]] = field(default_factory=lambda: {k: set() for k in _KINDS})

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Where it stands in time."""
        row = self.model
        at = row["place"] or {"block": int(row["registered_block"]), "transaction": 0}
        return int(row["committed_at"]), at["block"], at["transaction"], str(row["model_id"])


@app.verb("search")
def search(
    session: Session,
    suspect: Annotated[
        Path, typer.Argument(help="A model file in any format that is read, or a folder.")
    ],
) -> Answer:
    """List the registered models that hold tensors of this one; exit code 1 when none does.

    Only hashes are sent to the index. Finds copies, conversions, reordered and half-precision
    copies, and not what was trained further: for that, compare.
    """
    from ledger.fingerprint.exact import fingerprint
    from ledger.fingerprint.search import asked_ids
    from ledger.tensors.opening import open_weights

    url = session.network.api_url
    if url is None:
        raise UsageError(
            f"the network {session.network.profile.name} names no index to ask",
            hint="name one with --api when the network is added (deed network add)",
        )
    with open_weights(suspect) as model, console.progress("fingerprint", unit="bytes") as progress:
        made = fingerprint(model, level="deep", progress=progress)
    found, more = ask(url, asked_ids(made))
    return _answer(suspect.name, made, found, more=more)


def ask(url: str, asked: Sequence[AskedId]) -> tuple[list[Found], bool]:
    """Ask an index for ids, in as many requests as it takes.

    Returns:
        The models in time order, and whether the index left some out.

    Raises:
        IndexUnavailable: it does not answer, or with something else than was asked for.
    """
    from ledger.client import Client

    models: dict[str, Found] = {}
    more = False
    with Client(url, timeout=_TIMEOUT) as client:
        for request in _requests(asked):
            body = {kind: [str(one) for one in ids] for kind, ids in request.items()}
            try:
                # Untyped: what the index says of a model is passed on whole.
                answer = client.write("POST", "/v1/search", body)
                for row in answer["models"]:
                    model = {**row["model"], "place": _place(row.get("place"))}
                    entry = models.setdefault(model["model_id"], Found(model))
                    for kind in _KINDS:
                        entry.held[kind] |= _among(row[kind], request[kind])
                more = more or bool(answer["more"])
                ordered = sorted(models.values(), key=lambda one: one.order)
            except (KeyError, TypeError, ValueError, AttributeError, UsageError):
                raise IndexUnavailable(
                    "the index answered something else than was asked for",
                    hint="it may be of another version; ask its operator",
                ) from None
    return (ordered if models else []), more


def _place(given: Any) -> dict[str, int] | None:
    """An index of an earlier release says nothing of it."""
    if given is None:
        return None
    place = {name: given[name] for name in ("block", "transaction")}
    if any(type(one) is not int or not 0 <= one < 1 << 53 for one in place.values()):
        raise ValueError("no place on a chain")
    return place


def _among(given: Sequence[str], asked: set[Digest]) -> set[Digest]:
    ids = {Digest.parse(text) for text in given}
    if not ids <= asked:
        raise ValueError("ids that nobody asked for")
    return ids


def _requests(asked: Sequence[AskedId]) -> Iterator[dict[IdKind, set[Digest]]]:
    """The ids cut into requests, each by the kind of id that they may equal."""
    from ledger.fingerprint.search import MAX_ASKED

    pairs = [(kind, one.id) for one in asked for kind in one.kinds]
    for start in range(0, len(pairs), MAX_ASKED):
        cut = pairs[start : start + MAX_ASKED]
        yield {kind: {one for of, one in cut if of == kind} for kind in _KINDS}


def _answer(name: str, made: Fingerprint, found: list[Found], *, more: bool) -> Answer:
    from ledger.fingerprint.search import searchable, tally

    count, elements = searchable(made)
    tallies = [tally(made, one.held) for one in found]
    said = remarks(tallies, more=more)
    models = "model holds" if len(found) == 1 else "models hold"
    asked = f"{count} tensors, {elements:,} values"
    text = f"{len(found)} registered {models} tensors of {name} ({asked})"
    weighed = list(zip(found, tallies, strict=True))
    rows = [_row(one, weight, count, elements) for one, weight in weighed]
    if rows:
        text += "\n\n" + table(_HEAD, rows, empty="")
    return Answer(
        {
            "tensors": count,
            "elements": elements,
            "content_root": made.content_root,
            "models": [
                {
                    "model": one.model,
                    "found": {
                        relation: {
                            "tensors": weight.tensors[relation],
                            "elements": weight.elements[relation],
                        }
                        for relation in weight.tensors
                    },
                    "found_tensors": weight.found,
                    "found_elements": weight.found_elements,
                    "only_by_unbound_ids": weight.unbound,
                }
                for one, weight in weighed
            ],
            "more": more,
            "statements": said,
        },
        text + "\n\n" + "\n".join(said),
        ok=bool(found),
    )


def remarks(tallies: Sequence[Tally], *, more: bool) -> list[str]:
    """What must be said with an index's answer."""
    said = [ORDER, HIT] if tallies else [NONE]
    unbound = max((one.unbound for one in tallies), default=0)
    if unbound:
        said.append(UNBOUND.format(count=unbound))
    if more:
        said.append(MORE)
    return said


def _row(one: Found, weighed: Tally, count: int, elements: int) -> tuple[object, ...]:
    model = one.model
    return (
        str(model["model_id"])[:10],
        model.get("title"),
        str(model["licensor"])[:10],
        time_text(int(model["committed_at"])),
        model["status"],
        f"{weighed.found}/{count}",
        f"{weighed.found_elements / elements:.1%}" if elements else "-",
        *weighed.tensors.values(),
    )
