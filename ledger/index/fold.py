"""Fold events into the state tables: one function an event, no reading of anything but state.

The same events in the same order give the same rows whatever batches they come in; that is what
makes `ledger.index.rebuilding.refold` an oracle for the live index.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ledger.index import fold_brokers, fold_licenses, fold_market, fold_titles
from ledger.index.decode import EVENTS, EventType, Stored
from ledger.index.step import Place, Step

if TYPE_CHECKING:
    from ledger.index.versions import Key, Versions

_HANDLERS = (
    fold_titles.HANDLERS | fold_licenses.HANDLERS | fold_brokers.HANDLERS | fold_market.HANDLERS
)
_BY_EVENT = {
    kind: _HANDLERS[kind.contract, kind.name]
    for kinds in EVENTS.values()
    for kind in kinds.values()
    if (kind.contract, kind.name) in _HANDLERS
}

# Entities whose live rows an event's handler looks at, by arguments that name them. It only saves
# time: `Versions` reads a row that is not named here when the handler asks for it.
_BY_NAME: dict[str, tuple[str, tuple[str, ...]]] = {
    "modelId": ("model", ("modelId",)),
    "planId": ("plan", ("planId",)),
    "licenseId": ("license", ("licenseId",)),
    "tokenId": ("license", ("tokenId",)),
    "parentId": ("license", ("parentId",)),
    "brokerId": ("broker", ("brokerId",)),
}
_BESIDE: dict[tuple[str, str], tuple[tuple[str, tuple[str, ...]], ...]] = {
    ("Anchors", "RootAnchored"): (("anchor", ("root",)),),
    ("Anchors", "PhaseACommitted"): (("phase_a", ("sender", "number")),),
    ("LicenseLedger", "RoleSet"): (("role", ("planId", "account")),),
    ("LicenseLedger", "RuntimeBound"): (("seat", ("licenseId", "runtimeKey")),),
    ("LicenseLedger", "RuntimeReleased"): (("seat", ("licenseId", "runtimeKey")),),
    ("LicenseLedger", "RuntimeEvicted"): (("seat", ("licenseId", "runtimeKey")),),
    ("BrokerRegistry", "ReceiptsAnchored"): (("receipt_root", ("brokerId", "seq")),),
    ("LicenseMarket", "LicenseSold"): (
        ("sale", ("licenseId",)),
        ("revenue", ("licensor", "payToken")),
    ),
    ("LicenseMarket", "LicenseRenewalSold"): (("revenue", ("licensor", "payToken")),),
    ("LicenseMarket", "SaleSettled"): (("sale", ("licenseId",)),),
    ("LicenseMarket", "SaleRefunded"): (("sale", ("licenseId",)),),
    ("LicenseMarket", "Accrued"): (("owed", ("account", "payToken")),),
    ("LicenseMarket", "Withdrawn"): (("owed", ("account", "payToken")),),
    ("LicenseMarket", "RoyaltyAccrued"): (("royalty", ("modelId", "payToken")),),
    ("LicenseMarket", "RoyaltiesCollected"): (("royalty", ("modelId", "payToken")),),
}
_EXCEPT = {
    ("LicenseLedger", "RoleSet"),
    ("BrokerRegistry", "ReceiptsAnchored"),
    ("LicenseMarket", "RoyaltyAccrued"),
    ("LicenseMarket", "RoyaltiesCollected"),
}


def _touched(kind: EventType) -> tuple[tuple[str, tuple[str, ...]], ...]:
    key = (kind.contract, kind.name)
    names = () if key in _EXCEPT else [name for name, _ in (*kind.indexed, *kind.words)]
    found = [_BY_NAME[name] for name in names if name in _BY_NAME]
    return (*found, *_BESIDE.get(key, ()))


def _picked(kind: EventType, names: tuple[str, ...]) -> Callable[[Sequence[Stored]], Key]:
    places = [kind.names.index(name) for name in names]
    if len(places) == 1:
        (place,) = places
        return lambda arguments: (arguments[place],)
    return operator.itemgetter(*places)


_TOUCHED = {
    kind: [(table, _picked(kind, names)) for table, names in _touched(kind)] for kind in _BY_EVENT
}
_TRANSFER = next(k for k in _BY_EVENT if (k.contract, k.name) == ("LicenseLedger", "Transfer"))


def matters(kind: EventType, arguments: Sequence[Stored]) -> bool:
    """Whether folding this event can change anything."""
    return kind in _BY_EVENT and (kind is not _TRANSFER or arguments[0] != fold_licenses.NOBODY)


def touched(kind: EventType, arguments: Sequence[Stored]) -> list[tuple[str, Key]]:
    """Tables and keys of the rows that folding this event will look at."""
    return [(table, pick(arguments)) for table, pick in _TOUCHED[kind]]


def preload(state: Versions, events: Iterable[tuple[EventType | None, Sequence[Stored]]]) -> None:
    """Read at once what folding these events will look at."""
    wanted: dict[str, dict[Key, None]] = {}
    for kind, arguments in events:
        if kind in _TOUCHED:
            for table, key in touched(kind, arguments):
                wanted.setdefault(table, {})[key] = None
    state.preload(wanted)


def fold(
    state: Versions,
    kind: EventType | None,
    arguments: Sequence[Stored],
    at: Place,
    answer: bytes | None = None,
) -> None:
    """Apply one event. `answer` is what the contract told beside it (`ledger.index.beside`)."""
    if kind is not None and kind in _BY_EVENT:
        values = dict(zip(kind.names, arguments, strict=True))
        _BY_EVENT[kind](Step(state, at, values, answer))


def preload_keys(state: Versions, wanted: Mapping[str, Sequence[Key]]) -> None:
    """As `preload`, of keys that are known; licenses that cannot be there yet are not asked for."""
    licenses = wanted.get("license", ())
    state.preload({table: keys for table, keys in wanted.items() if table != "license"})
    plans = {key[0]: state.get("plan", key) for key in dict.fromkeys(wanted.get("plan", ()))}
    asked: list[Key] = []
    fresh: list[Key] = []
    for key in licenses:
        plan = plans.get(fold_licenses.plan_of(key[0]))
        new = plan is not None and fold_licenses.unissued(key[0], plan)
        (fresh if new else asked).append(key)
    state.absent("license", fresh)
    state.preload({"license": asked})


def fold_packed(
    state: Versions,
    kinds: Sequence[EventType],
    entries: Sequence[tuple[int, int, int, int, bytes, tuple[Any, ...]]],
    answers: Mapping[tuple[int, int], bytes],
) -> None:
    """Apply events in the form of `ledger.index.packed.Packed.entries`.

    The same handlers as `fold`, without what a single event costs beside them.
    """
    known = [(kind.names, _BY_EVENT.get(kind)) for kind in kinds]
    for number, block, time, log_index, tx_hash, arguments in entries:
        names, handler = known[number]
        assert handler is not None
        values = dict(zip(names, arguments))  # noqa: B905  hot; made from the same names
        answer = answers.get((block, log_index)) if answers else None
        handler(Step(state, Place(block, time, log_index, tx_hash), values, answer))
