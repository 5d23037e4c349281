"""``deed doctor``: key, clock, broker, RPC, file, in that order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.exits import failure_of
from ledger.cli.output import Answer, time_text
from ledger.cli.session import TEST_ACCOUNTS, Session, owned_by_others, wallet_path
from ledger.cli.settings import url_for_people
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError, NoNetwork, NoWallet, UnavailableError
from ledger.remote.heads import head_of

app = Verbs()

_TIMEOUT = 5.0
_CLOCK_TOLERANCE = 60
_RELEASED = 1_760_000_000  # October 2025: an earlier clock is certainly wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is (``ok``, ``warn``, ``bad``, ``skipped``), why, way out."""

    name: str
    state: str
    detail: str
    hint: str = ""


@app.verb("doctor", waits=False)
def doctor(
    session: Session,
    file: Annotated[Path | None, typer.Argument(help="A model, sealed file or card.")] = None,
) -> Answer:
    """Check key, clock, broker, RPC and file, in that order.

    Of a license card with several brokers, also which of them answer, and whether enough do.

    Each line says ok, or what is wrong and how to put it right. Nothing is changed.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("key", lambda: _key(session)),
        ("clock", lambda: _clock(session)),
        ("broker", lambda: _broker(session)),
        ("rpc", lambda: _rpc(session)),
        ("file", lambda: _file(file)),
    ]
    findings = [_guarded(name, check) for name, check in checks]
    if findings[-1].state == "ok" and file is not None:
        findings += _set_of(file)
    lines = []
    for finding in findings:
        lines.append(f"{finding.name:<7}{finding.state:<9}{finding.detail}")
        if finding.hint and finding.state != "ok":
            lines.append(f"{'':<16}hint: {finding.hint}")
    data = {"checks": [_as_dict(finding) for finding in findings]}
    return Answer(data, "\n".join(lines), ok=all(f.state != "bad" for f in findings))


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (LedgerError, OSError, ModuleNotFoundError) as error:
        failure = failure_of(error)
        return Finding(name, "bad", failure.message, failure.hint)


def _key(session: Session) -> Finding:
    if session.settings.get("role") == "runtime":
        return _runtime_key(session.settings.runtime_key)
    name = session.settings.get("wallet")
    if session.live is not None and session.settings.get("network") in {None, "local"}:
        accounts = ", ".join(TEST_ACCOUNTS)
        return Finding("key", "ok", f"test accounts of the local chain: {accounts}")
    if name is None:
        if session.settings.runtime_key.exists():
            return _runtime_key(session.settings.runtime_key)
        return Finding("key", "skipped", "no wallet is chosen", NoWallet.default_hint)
    path = wallet_path(session.settings, name)
    if not path.exists():
        return Finding(
            "key", "bad", f"wallet {name} has no keystore file {path}", "deed wallet list"
        )
    if owned_by_others(path):
        return Finding("key", "bad", f"others may read {path}", f"chmod 600 {path}")
    return Finding("key", "ok", f"wallet {name}, encrypted, in {path}")


def _runtime_key(path: Path) -> Finding:
    if not path.exists():
        return Finding("key", "bad", f"no runtime key at {path}", "make one with deed runtime init")
    if owned_by_others(path):
        return Finding("key", "bad", f"others may read {path}", f"chmod 600 {path}")
    return Finding("key", "ok", f"runtime key in {path}")


def _clock(session: Session) -> Finding:
    now = int(time.time())
    if now < _RELEASED:
        return Finding("clock", "bad", f"it shows {time_text(now)}", "set the system clock")
    url = _broker_url(session) or (session.settings.get("api"))
    said = _date_of(url) if url else None
    if url is None or said is None:
        return Finding("clock", "ok", f"{time_text(now)} (nothing reachable to compare it with)")
    drift = now - said
    if abs(drift) > _CLOCK_TOLERANCE:
        return Finding(
            "clock",
            "bad",
            f"{abs(drift)} s {'ahead of' if drift > 0 else 'behind'} {url_for_people(url)}",
            "synchronise the system clock (NTP)",
        )
    return Finding("clock", "ok", f"{time_text(now)}, {abs(drift)} s from {url_for_people(url)}")


def _date_of(url: str) -> int | None:
    try:
        return head_of(url, seconds=_TIMEOUT).date
    except LedgerError:
        return None


def _broker_url(session: Session) -> str | None:
    try:
        url = session.network.broker_url
    except LedgerError:
        url = None
    return session.settings.get("broker") or url


def _broker(session: Session) -> Finding:
    url = _broker_url(session)
    if url is None:
        return Finding(
            "broker", "skipped", "none is configured", "set DEED_BROKER, or run deed up here"
        )
    shown = url_for_people(url)
    try:
        head = head_of(url.rstrip("/") + "/v1/broker", seconds=_TIMEOUT)
    except UnavailableError as error:
        hint = "is it running? locally: deed up"
        return Finding("broker", "bad", f"{shown}: {error.message}", hint)
    if head.status != HTTPStatus.OK:
        return Finding(
            "broker", "bad", f"{shown} answers with status {head.status}", "is it a broker?"
        )
    return Finding("broker", "ok", f"{shown} answers")


def _rpc(session: Session) -> Finding:
    try:
        network = session.network
    except NoNetwork as error:
        chosen = session.settings.get("network")
        return Finding("rpc", "bad" if chosen else "skipped", error.message, error.hint)
    head = session.rpc.block("latest")
    age = max(0, int(time.time()) - head.timestamp)
    where = ", ".join(url_for_people(url) for url in network.rpc_urls)
    detail = f"{where}: {network.profile.name}, block {head.number}, {age} s old, contracts match"
    oldest = network.profile.max_head_age
    if oldest is not None and age > oldest:
        return Finding("rpc", "bad", f"{detail}: too old", "this endpoint lags; use another")
    return Finding("rpc", "ok", detail)


def _file(path: Path | None) -> Finding:
    if path is None:
        return Finding("file", "skipped", "none given")
    from ledger.errors import NotSealed
    from ledger.sealed.file import inspect
    from ledger.tensors.model import open_model

    if path.is_file():
        if _is_json(path):
            return _card(path)
        try:
            info = inspect(path)
        except NotSealed:
            pass
        else:
            return Finding("file", "ok", f"{path}: sealed, model {info.model_id.short}")
    with open_model(path) as model:
        return Finding("file", "ok", f"{path}: plain model, {len(model.tensors)} tensors")


def _is_json(path: Path) -> bool:
    """Whether a file begins as a card does; a model's first bytes are a length, with zeros."""
    with path.open("rb") as handle:
        start = handle.read(8)
    return start.lstrip().startswith(b"{") and b"\0" not in start


def _card(path: Path) -> Finding:
    from ledger.licensing.card import MAX_BYTES, parse

    with path.open("rb") as handle:
        card = parse(handle.read(MAX_BYTES + 1))
    card.verify()
    return Finding(
        "file",
        "ok",
        f"{path}: card of license {card.license}, signed by {card.licensor}, "
        f"model {card.model.short}",
    )


def _set_of(path: Path) -> list[Finding]:
    """How the brokers of a card with several stand."""
    from ledger.broker.threshold import standing
    from ledger.licensing.card import MAX_BYTES, parse

    if not path.is_file() or not _is_json(path):
        return []
    with path.open("rb") as handle:
        card = parse(handle.read(MAX_BYTES + 1))
    if len(card.brokers.members) == 1:
        return []
    found = standing(card, _TIMEOUT)
    detail = found.text().replace("\n", f"\n{'':<14}")
    hint = "ask the operators of those that do not answer"
    state = "bad" if not found.reached else "warn" if found.strained else "ok"
    return [Finding("set", state, detail, hint)]


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "state": finding.state,
        "detail": finding.detail,
        "hint": finding.hint,
    }
