"""People who have transactions prepared by a real service, sign them, and have them passed on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from ledger.chain.licenses import PlanTerms, Role
from ledger.ids import Digest, ModelId

world: Any = importlib.import_module("access_world")


def code(reply: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    told = reply.json()
    assert told["hint"]
    return reply.status_code, str(told["code"])


def sign(wallet: Any, prepared: dict[str, Any], **changed: Any) -> str:
    """As a program with eth-account does it: the transaction as it stands."""
    made = wallet.account.sign_transaction(prepared["transaction"] | changed)
    return "0x" + bytes(made.raw_transaction).hex()


def agreed(wallet: Any, typed: dict[str, Any]) -> str:
    """The signature of a wallet that shows typed data."""
    made = wallet.account.sign_typed_data(full_message=typed)
    return "0x" + bytes(made.signature).hex()


def numbered(token_id: int | str) -> str:
    """A license as the service names it."""
    return f"{int(token_id) >> 32}.{int(token_id) & 0xFFFFFFFF}"


def offering(deployed: Any, model: ModelId, service: Any) -> Callable[..., int]:
    """Makes plans of a model; they are on sale unless `sale` says otherwise."""
    usual = PlanTerms(model, Digest(b"\xab" * 32), duration=3600, seats=2)
    market = deployed.deployment.addresses["LicenseMarket"]

    def make(*, sale: bool = True, **terms: Any) -> int:
        licensor = deployed.sender("licensor")
        number, _ = deployed.licenses.create_plan(licensor, replace(usual, **terms))
        if sale:
            deployed.licenses.set_roles(licensor, number, market, Role.ISSUER)
        service.caught_up(deployed.rpc)
        return int(number)

    return make


class Writing:
    """One service, and who is signed in at it."""

    def __init__(self, service: Any, *names: str) -> None:
        self.service = service
        self.wallets = {name: world.Wallet.named(name) for name in names}
        self.tokens = {n: w.sign_in(service.client)["token"] for n, w in self.wallets.items()}
        self.client = httpx.Client(base_url=service.url, timeout=20)

    def ask(self, method: str, path: str, who: str | None, **options: Any) -> httpx.Response:
        """A request in somebody's name, or with a credential."""
        headers = options.pop("headers", {})
        if who:
            headers |= world.bearer(self.tokens.get(who, who))
        return self.client.request(method, path, headers=headers, **options)

    def asked(self, kind: str, who: str, **members: Any) -> httpx.Response:
        """The answer to asking for a kind of transaction."""
        return self.ask("POST", f"/v1/transactions/{kind}", who, json=members)

    def prepare(self, kind: str, who: str, **members: Any) -> dict[str, Any]:
        """A kind that must be answered."""
        reply = self.asked(kind, who, **members)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def refused(self, kind: str, who: str, **members: Any) -> tuple[int, str]:
        """The problem of a kind that must be refused."""
        return code(self.asked(kind, who, **members))

    def relay(self, raw: str, who: str) -> httpx.Response:
        """Have something signed passed on."""
        return self.ask("POST", "/v1/transactions", who, json={"raw": raw})

    def mined(self, url: str, who: str) -> dict[str, Any]:
        """The status as soon as a block holds it and the index has seen that block."""
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.clear()
            found.update(self.ask("GET", url, who).json())
            return bool(found["state"] != "pending" and found["indexed"])

        self.service.until(settled)
        return found

    def sent(self, who: str, prepared: dict[str, Any]) -> dict[str, Any]:
        """Sign what was prepared, have it passed on, and wait until it is indexed."""
        reply = self.relay(sign(self.wallets[who], prepared), who)
        assert reply.status_code == 202, reply.text
        told = self.mined(reply.json()["status_url"], who)
        assert told["state"] == "mined", told
        return told

    def do(self, kind: str, who: str, **members: Any) -> dict[str, Any]:
        """The whole way, at once: the arguments of each event by its name."""
        told = self.sent(who, self.prepare(kind, who, **members))
        return {each["event"]: each["arguments"] for each in told["events"]}

    def close(self) -> None:
        self.client.close()
