"""Pages of models and licenses, written as bytes straight from rows.

A page of fifty models as objects of `api.schemas` costs twenty times what reading them costs. Here
each row goes into a text with gaps. The schemas stay: they describe the answers, and tests hold
what is written here against what they write, byte for byte.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Final

from fastapi import Request, Response
from pydantic_core import to_json

from api.dependencies import Moment, Service, answering, service
from api.lanes import lanes
from api.memory import divided
from api.remembered import Remembered
from api.strict import StrictRoute
from ledger.canonical import parse_json
from ledger.ids import Address
from ledger.index.as_of import AsOf
from ledger.index.views import Snapshot

MODEL_STATUS: Final = {1: "active", 2: "withdrawn", 3: "compromised"}
LICENSE_STATUS: Final = {1: "active", 2: "suspended", 3: "revoked"}
TITLES: Final = 10_000
"""Manifests whose titles are kept: they are named by their hash, and never change."""

_MODEL: Final = (
    '{"model_id":"0x%s","title":%s,"licensor":"%s","status":"%s","artifact_root":"0x%s",'
    '"fingerprint_digest":"0x%s","watermark_commitment":"0x%s","manifest_hash":"0x%s",'
    '"registered_at":%d,"registered_block":%d,"registered_tx":"0x%s","committed":%s,'
    '"committed_at":%d,"title_sequence":"%d","pending_licensor":%s,"guardian":%s,'
    '"recovery_to":%s,"recovery_ready_at":%s,"sealing_epoch":"%d","sealing_hash":%s,'
    '"finality":"%s"}'
)
_LICENSE: Final = (
    '{"license":"%d.%d","token_id":"%d","plan_id":%d,"model_id":"0x%s","holder":"%s",'
    '"status":"%s","suspended":%s,"suspended_at":%d,"issued_at":%d,"not_before":%d,'
    '"not_after":%d,"revoked_at":%s,"revoked_by":%s,"reason":%s,"seats_used":%d,'
    '"grant_nonce":"%d"}'
)

ACCOUNTS: Final = 1 << 15
"""Accounts whose checksums are kept: each is a hash, and most of what a row costs."""

Write = Callable[[Snapshot], str]
Given = dict[str, str]

_PRESENT: Final = Moment(None, None, "latest")


def quick(readers: Mapping[str, tuple[Given, Callable[[Given], Write | None]]]) -> type[Remembered]:
    """Routes of lists that read plain questions by themselves, which is half of what a page costs.

    Whatever is not plain passes FastAPI, which describes the questions and refuses what is none.

    Args:
        readers: by path what each parameter of a plain question looks like, and what reads them;
            None where it is none after all.
    """
    looks = {
        path: ({k: re.compile(v) for k, v in forms.items()}, read)
        for path, (forms, read) in readers.items()
    }

    class Quick(Remembered, _Quick):
        known = looks

    return Quick


class _Quick(StrictRoute):
    known: ClassVar[Mapping[str, tuple[Mapping[str, re.Pattern[str]], Callable[..., Any]]]] = {}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        work = super().get_route_handler()
        if self.methods != {"GET"} or self.path not in self.known:
            return work
        forms, read = self.known[self.path]

        async def handle(request: Request) -> Response:
            given = _plain(request.scope["query_string"], forms)
            write = None if given is None else read(given)
            if write is None:
                return await work(request)
            return await page(request, service(request), _PRESENT, write)

        return handle


def _plain(query: bytes, forms: Mapping[str, re.Pattern[str]]) -> Given | None:
    """The parameters of a query; None unless each is given once and looks as it should."""
    given: Given = {}
    # No form has a percent sign or a plus: what is written another way is not plain.
    for pair in query.decode("latin-1").split("&") if query else ():
        name, _, value = pair.partition("=")
        form = forms.get(name)
        if form is None or name in given or form.fullmatch(value) is None:
            return None
        given[name] = value
    return given


async def page(request: Request, served: Service, which: Moment, write: Write) -> Response:
    """A list's answer: what a view's facts are, and then what `write` writes of its rows."""
    return await lanes(request).lists.run(_made, request, served, which, write)


def _made(request: Request, served: Service, which: Moment, write: Write) -> Response:
    with answering(request, served, which) as (snapshot, headers):
        body = written_as_of(snapshot.as_of) + "," + write(snapshot)
    response = Response(body.encode(), media_type="application/json")
    response.headers.update(headers)
    return response


def written_as_of(facts: AsOf) -> str:
    """An answer's first member, with its brace."""
    points = facts.points.values()
    key = (facts.block, facts.hash, facts.time, facts.safe, facts.finalized, *points)
    held = _LAST.get("as_of")
    if held is None or held[0] != key:
        before, after = divided(facts)
        held = _LAST["as_of"] = key, before.decode(), after.decode()
    return f"{held[1]}{facts.lag_s!r}{held[2]}"


# The facts that the last page was of, and what they were written as.
_LAST: dict[str, tuple[tuple[Any, ...], str, str]] = {}


@functools.lru_cache(ACCOUNTS)
def account(raw: bytes) -> str:
    """An account as it is written."""
    return str(Address(raw))


def models(snapshot: Snapshot, rows: Sequence[Any], limit: int) -> str:
    """Rows of `listing.models`, and the cursor of what comes after them."""
    finality = snapshot.as_of.finality
    items = [
        _MODEL
        % (
            id_.hex(),
            "null" if manifest is None else _title(manifest_hash, manifest),
            account(licensor),
            MODEL_STATUS.get(status, "active"),
            root.hex(),
            print_.hex(),
            mark.hex(),
            manifest_hash.hex(),
            at,
            block,
            tx.hex(),
            "true" if committed else "false",
            committed_at,
            sequence,
            "null" if pending is None else f'"{account(pending)}"',
            "null" if guardian is None else f'"{account(guardian)}"',
            "null" if recovery_to is None else f'"{account(recovery_to)}"',
            "null" if ready_at is None else ready_at,
            epoch,
            "null" if sealing is None else f'"0x{sealing.hex()}"',
            finality(block),
        )
        for (
            id_, licensor, status, root, print_, mark, manifest_hash, at, block, tx, committed,
            committed_at, sequence, pending, guardian, recovery_to, ready_at, epoch, sealing,
            manifest,
        ) in rows
    ]  # fmt: skip
    last = rows[-1] if len(rows) == limit else None
    cursor = None if last is None else f"{last.registered_block}-{last.model_id.hex()}"
    return _list("models", items, cursor)


def licenses(rows: Sequence[Any], limit: int) -> str:
    """Rows of `listing.licenses`, and the cursor of what comes after them."""
    items = [
        _LICENSE
        % (
            number >> 32,
            number & 0xFFFFFFFF,
            number,
            plan,
            model.hex(),
            account(holder),
            LICENSE_STATUS.get(status, "revoked"),
            "true" if held else "false",
            suspended_at,
            issued_at,
            not_before,
            not_after,
            "null" if revoked_at is None else revoked_at,
            "null" if revoked_by is None else f'"{account(revoked_by)}"',
            "null" if reason is None else f'"0x{reason.hex()}"',
            seats,
            nonce,
        )
        for (
            number, plan, model, holder, status, held, suspended_at, issued_at, not_before,
            not_after, revoked_at, revoked_by, reason, seats, nonce,
        ) in rows
    ]  # fmt: skip
    return _list("licenses", items, str(rows[-1].license_id) if len(rows) == limit else None)


def _list(name: str, items: list[str], cursor: str | None) -> str:
    end = "null" if cursor is None else f'"{cursor}"'
    return f'"{name}":[{",".join(items)}],"next_cursor":{end}}}'


_titles: dict[bytes, str] = {}


def _title(name: bytes, manifest: str) -> str:
    """A deposited manifest's title as JSON; ``null`` of one without."""
    found = _titles.get(name)
    if found is None:
        read = parse_json(manifest.encode(), what="manifest")
        title = read.get("title") if isinstance(read, dict) else None
        found = to_json(title).decode() if isinstance(title, str) else "null"
        if len(_titles) >= TITLES:
            _titles.clear()
        _titles[name] = found
    return found
