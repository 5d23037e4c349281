"""A service of ours over HTTP, typed: what `/v1` answers, as methods.

    with Client("https://deed.example", credential=KEY) as service:
        if service.entitlement("7.1").entitled: ...
        for license in service.licenses(plan=7): ...

Every method raises the error that the service's problem names (``NoLicense``, ``PlanIsPaused``,
``RateLimited``, …), with its hint, and ``IndexUnavailable`` where it does not answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from ledger.client import stream
from ledger.client.answers import (
    Entitlement,
    Event,
    Holdings,
    Job,
    Key,
    License,
    LicenseAnswer,
    Model,
    ModelAnswer,
    Plan,
    PlanAnswer,
    Sale,
    Session,
    Statistics,
    Timeline,
    Told,
)
from ledger.client.connection import Connection, Params
from ledger.client.reading import read
from ledger.client.written import (
    ByReference,
    Prepared,
    Relayed,
    Step,
    TransactionStatus,
    VoucherStep,
)
from ledger.errors import AccessError, IndexUnavailable, PendingFinality
from ledger.ids import Address, Digest, LicenseId, ModelId, keccak256
from ledger.remote.bodies import pieces

T = TypeVar("T")
_PAGE: Final = 200
_MAX_BUNDLE: Final = 256 << 20
"""What `ledger.evidence` reads at most."""
_SETTLED: Final = frozenset({"mined", "failed", "replaced"})

LicenseName = LicenseId | str
ModelName = ModelId | Digest | str
AccountName = Address | str


class MessageSigner(Protocol):
    """A wallet that signs in."""

    @property
    def address(self) -> Address:
        """The account."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """65 bytes ``r ‖ s ‖ v``."""
        ...


class Client(Connection):
    """One service. Arguments are those of `Connection`."""

    # -- who asks --------------------------------------------------------------------------------

    def sign_in(self, wallet: MessageSigner) -> Session:
        """Sign in with a wallet (EIP-4361), and use the session from now on.

        Raises:
            AccessError: the message is not the one for this service and account; nothing was
                signed.
        """
        asked = {"account": str(wallet.address)}
        text = str(self._told("POST", "/v1/auth/nonce", asked, "message"))
        if _sign_in_form(self.origin, wallet.address).fullmatch(text) is None:
            raise AccessError(
                f"{self.origin} gave a message that is not for it and {wallet.address} to sign",
                hint="use the URL that its operator publishes (DEED_API_PUBLIC_URL)",
            )
        raw = text.encode()
        digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(raw) + raw)
        body = {"message": text, "signature": "0x" + wallet.sign_digest(Digest(digest)).hex()}
        session = read(Session, self.write("POST", "/v1/auth/sign-in", body))
        self.use(session.token)
        return session

    def sign_out(self) -> None:
        """End the session."""
        self.write("POST", "/v1/auth/sign-out")
        self.use(None)

    def create_key(
        self, name: str, scopes: Sequence[str], *, days: int = 90, once: str | None = None
    ) -> Key:
        """Make an API key; signed in. Its `key` is shown this once."""
        body = {"name": name, "scopes": list(scopes), "days": days}
        return read(Key, self.write("POST", "/v1/keys", body, once=once))

    def list_keys(self) -> tuple[Key, ...]:
        """One's keys; signed in."""
        return tuple(read(Key, each) for each in _list(self.get("/v1/keys"), "keys"))

    def revoke_key(self, key_id: str) -> Key:
        """Revoke a key."""
        return read(Key, self.write("DELETE", f"/v1/keys/{_part(key_id)}"))

    # -- reads -----------------------------------------------------------------------------------

    def entitlement(
        self,
        license_id: LicenseName,
        *,
        holder: AccountName | None = None,
        runtime: Digest | str | None = None,
        at: int | None = None,
        min_finality: str | None = None,
    ) -> Entitlement:
        """May this license be used? A no is an answer."""
        params = {
            "holder": _text(holder), "runtime": _text(runtime), "at": at,
            "min_finality": min_finality,
        }  # fmt: skip
        return read(Entitlement, self.get(f"/v1/entitlements/{_part(license_id)}", params))

    def license(self, license_id: LicenseName, *, as_of: str | int | None = None) -> LicenseAnswer:
        """One license with its plan and seats."""
        found = self.get(f"/v1/licenses/{_part(license_id)}", {"as_of": _text(as_of)})
        return read(LicenseAnswer, found)

    def licenses(
        self,
        *,
        holder: AccountName | None = None,
        model: ModelName | None = None,
        plan: int | None = None,
        external_ref: str | None = None,
    ) -> Iterator[License]:
        """Licenses by number."""
        params = {
            "holder": _text(holder), "model": _text(model), "plan": plan,
            "external_ref": external_ref,
        }  # fmt: skip
        return self._pages("/v1/licenses", "licenses", License, params)

    def model(self, model: ModelName, *, as_of: str | int | None = None) -> ModelAnswer:
        """One model with its plans."""
        return read(ModelAnswer, self.get(f"/v1/models/{_part(model)}", {"as_of": _text(as_of)}))

    def models(self, *, licensor: AccountName | None = None) -> Iterator[Model]:
        """Models in order of registration."""
        return self._pages("/v1/models", "models", Model, {"licensor": _text(licensor)})

    def timeline(self, model: ModelName) -> Timeline:
        """A model's story, in chain order."""
        return read(Timeline, self.get(f"/v1/models/{_part(model)}/timeline"))

    def plans(
        self, *, licensor: AccountName | None = None, model: ModelName | None = None
    ) -> Iterator[Plan]:
        """Plans by number."""
        params = {"licensor": _text(licensor), "model": _text(model)}
        return self._pages("/v1/plans", "plans", Plan, params)

    def plan(self, plan: int, *, as_of: str | int | None = None) -> PlanAnswer:
        """One plan, who may act on it, and whether it is on sale."""
        return read(PlanAnswer, self.get(f"/v1/plans/{_part(plan)}", {"as_of": _text(as_of)}))

    def sale(self, license_id: LicenseName) -> Sale:
        """How the market sold a license."""
        return read(Sale, self.get(f"/v1/licenses/{_part(license_id)}/sale"))

    def statistics(self, licensor: AccountName, *, days: int | None = None) -> Statistics:
        """A licensor's figures."""
        path = f"/v1/licensors/{_part(licensor)}/statistics"
        return read(Statistics, self.get(path, {"days": days}))

    def search(
        self,
        *,
        cid: Sequence[Digest] = (),
        vid: Sequence[Digest] = (),
        cast: Sequence[Digest] = (),
    ) -> Holdings:
        """The earliest registered models that hold any of these tensor ids, and which."""
        given = {"cid": cid, "vid": vid, "cast": cast}
        asked = {kind: [str(each) for each in ids] for kind, ids in given.items() if ids}
        return read(Holdings, self.write("POST", "/v1/search", asked))

    def events(
        self,
        *,
        event: str | None = None,
        subject: Digest | str | None = None,
        from_block: int | None = None,
    ) -> Iterator[Event]:
        """The journal, in chain order, to its present end."""
        params = {"event": event, "subject": _text(subject), "from_block": from_block}
        return self._pages("/v1/events", "events", Event, params)

    def listen(
        self,
        *,
        after: int | None = None,
        event: str | None = None,
        subject: Digest | str | None = None,
        license_id: LicenseName | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> Iterator[Told]:
        """What happens, as it happens, without end; broken connections are made again.

        Raises:
            UnknownRecord: what follows `after` is no longer kept: read `events` instead.
        """
        params: dict[str, str | int | None] = {
            "event": event, "subject": _text(subject), "license": _text(license_id),
        }  # fmt: skip
        return stream.events(self, params, after, pause=pause)

    # -- transactions ----------------------------------------------------------------------------

    def prepare(self, kind: str, **members: Any) -> Prepared:
        """A transaction ready to sign; kinds and members as docs/spec/transactions.md.

        ``from_`` says who signs where that is not the caller's own account.
        """
        return read(Prepared, self.write("POST", f"/v1/transactions/{_part(kind)}", _body(members)))

    def step(self, kind: str, **members: Any) -> Step:
        """The next step of a kind that somebody signs something for first.

        `sign` is to be signed by `signer`; then the same again, with what `again` holds and
        ``signature``, gives `prepared`.
        """
        return read(Step, self.write("POST", f"/v1/transactions/{_part(kind)}", _body(members)))

    def voucher(self, **members: Any) -> VoucherStep:
        """The next step of promising somebody a license; as `step`, and its end is a voucher."""
        return read(VoucherStep, self.write("POST", "/v1/transactions/voucher", _body(members)))

    def by_reference(self, **members: Any) -> ByReference:
        """The next step of issuing a license for an order, once; docs/spec/transactions.md."""
        found = self.write("POST", "/v1/transactions/issue-by-reference", _body(members))
        return read(ByReference, found)

    def relay(self, raw: bytes, *, once: str | None = None) -> Relayed:
        """Have a signed transaction passed on. The same bytes again are no failure."""
        body = {"raw": "0x" + raw.hex()}
        return read(Relayed, self.write("POST", "/v1/transactions", body, once=once))

    def transaction(self, which: Digest | str) -> TransactionStatus:
        """What became of a transaction."""
        return read(TransactionStatus, self.get(f"/v1/transactions/{_part(which)}"))

    def settled(
        self, which: Digest | str, *, timeout: float = 120.0, indexed: bool = True
    ) -> TransactionStatus:
        """The same, as soon as it is mined, failed or replaced.

        Args:
            which: the transaction's hash.
            timeout: seconds.
            indexed: wait also until the service's other answers rest on its block.

        Raises:
            PendingFinality: it is not, in that time.
        """
        end, wait = time.monotonic() + timeout, 0.1
        while True:
            found = self.transaction(which)
            there = found.indexed or not indexed or found.state == "replaced"
            if found.state in _SETTLED and there:
                return found
            if time.monotonic() > end:
                raise PendingFinality(
                    f"transaction {which} is {found.state} after {timeout:g} s", retry_after=10.0
                )
            self._pause(wait)
            wait = min(2 * wait, 5.0)

    # -- evidence and deposits -------------------------------------------------------------------

    def ask_evidence(self, *, once: str | None = None, **asked: Any) -> Job:
        """Ask for an evidence bundle: model, license or release, and documents for it."""
        body = {name: _plain(value) for name, value in asked.items()}
        return read(Job, self.write("POST", "/v1/evidence/jobs", body, once=once))

    def job(self, number: str, *, wait: int = 0) -> Job:
        """How a job stands; with `wait`, at most 25 s, as soon as it has ended.

        A service of which many wait answers at once: pause before asking again.
        """
        return read(Job, self.get(f"/v1/evidence/jobs/{_part(number)}", {"wait": wait}))

    def fetch_bundle(self, number: str, dest: Path) -> None:
        """Write a finished job's bundle to a new file.

        Raises:
            FileExistsError: there is one.
            IndexUnavailable: it broke off, or is longer than any bundle; the file is removed.
        """
        path = f"/v1/evidence/jobs/{_part(number)}/bundle"
        with dest.open("xb") as out:
            try:
                with self.streamed(path) as reply:
                    for piece in pieces(reply):
                        out.write(piece)
                        if out.tell() > _MAX_BUNDLE:
                            raise IndexUnavailable(  # noqa: TRY301  the file goes here too
                                f"{self.origin} sends more than a bundle has"
                            )
            except BaseException:
                dest.unlink(missing_ok=True)
                raise

    def deposit_leaves(self, model: ModelName, document: dict[str, Any]) -> int:
        """Deposit a model's tensor ids or fingerprint; how many are searchable."""
        path = f"/v1/models/{_part(model)}/leaves"
        return int(self._told("POST", path, document, "tensors"))

    # -- inside ----------------------------------------------------------------------------------

    def _told(self, method: str, path: str, body: Any, name: str) -> Any:
        found = self.write(method, path, body)
        if not isinstance(found, dict) or found.get(name) is None:
            raise IndexUnavailable(f"the service's answer has no {name}")
        return found[name]

    def _pages(self, path: str, name: str, kind: type[T], params: Params) -> Iterator[T]:
        """All rows of a list, page by page as they are asked for."""
        cursor: str | None = None
        while True:
            page = self.get(path, {**params, "cursor": cursor, "limit": _PAGE})
            rows = _list(page, name)
            for row in rows:
                yield read(kind, row)
            following = page.get("next_cursor")
            if len(rows) < _PAGE or following in {None, cursor} or not isinstance(following, str):
                return
            cursor = following


def _sign_in_form(origin: str, account: Address) -> re.Pattern[str]:
    """The one message that is signed unseen: docs/spec/access.md, "Sign-in", to the last line.

    A wallet's signature is worth something elsewhere too, so nothing in it is the service's choice
    but nonce, chain and time.
    """
    domain = origin.partition("://")[2]
    return re.compile(
        re.escape(
            f"{domain} wants you to sign in with your Ethereum account:\n{account}\n\n"
            "Sign in to modeldeed. This costs nothing and sends no transaction.\n\n"
            f"URI: {origin}/v1/auth/sign-in\nVersion: 1\n"
        )
        + r"Chain ID: [0-9]{1,19}\nNonce: [0-9A-Za-z]{8,64}\nIssued At: [0-9T:.Z+\-]{20,35}"
    )


def _list(page: Any, name: str) -> list[Any]:
    found = page.get(name) if isinstance(page, dict) else None
    if not isinstance(found, list):
        raise IndexUnavailable(f"the service's answer has no {name}")
    return found


def _body(members: dict[str, Any]) -> dict[str, Any]:
    """Members of a request; ``from_`` stands for ``from``, which Python keeps to itself."""
    return {"from" if name == "from_" else name: _plain(value) for name, value in members.items()}


def _part(value: object) -> str:
    """A value as a part of a path."""
    return quote(str(value), safe="")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _plain(value: Any) -> Any:
    """Our value types as JSON."""
    if isinstance(value, Address | Digest | LicenseId | ModelId):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
