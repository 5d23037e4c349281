"""Wallets that sign in to a real service, and clients that are let in or refused."""

from __future__ import annotations

import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct

from ledger.access.message import SignInMessage
from ledger.access.principals import By
from ledger.access.store import AccessStore
from ledger.chain.wallet import dev_wallet
from ledger.index.database import open_database

LOCAL = By("local:test@host")


def served() -> ModuleType:
    """The module with the service under test: ``tests/api/conftest.py``."""
    path = Path(__file__).parents[1] / "api" / "conftest.py"
    spec = importlib.util.spec_from_file_location("served_world", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@dataclass
class Wallet:
    """A wallet as a browser or program has it; ``sign`` is its personal_sign."""

    account: Any

    @classmethod
    def named(cls, name: str) -> Wallet:
        """A test account of the chain."""
        return cls(dev_wallet(name)._account)

    @classmethod
    def fresh(cls) -> Wallet:
        """An account that owns nothing."""
        return cls(Account.create())

    @property
    def address(self) -> str:
        return str(self.account.address)

    def sign(self, text: str) -> str:
        return "0x" + bytes(self.account.sign_message(encode_defunct(text=text)).signature).hex()

    def message(self, client: httpx.Client) -> str:
        """A message of the service's making, ready to sign."""
        reply = client.post("/v1/auth/nonce", json={"account": self.address})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["message"])

    def sign_in(self, client: httpx.Client, **more: Any) -> dict[str, Any]:
        """A session; its token as ``token``."""
        text = self.message(client)
        asked = {"message": text, "signature": self.sign(text)} | more
        reply = client.post("/v1/auth/sign-in", json=asked)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def mistyped(token: str) -> str:
    """The token with another last character, whatever that is."""
    return token[:-1] + ("x" if token[-1] != "x" else "y")


class Desk:
    """The operator of a service, at its database. Days ago is when what is made was made."""

    def __init__(self, url: str) -> None:
        self.engine = open_database(url)
        self.days_ago = 0.0
        self.store = AccessStore(
            self.engine, 31337, now=lambda: time.time() - self.days_ago * 86_400
        )

    def close(self) -> None:
        self.engine.dispose()

    def key(self, *scopes: str, role: str = "operator", days: int = 90) -> tuple[str, str]:
        """A key of no account; its text and id."""
        token, facts = self.store.create_key(LOCAL, "test", scopes, role=role, days=days)
        return token.text, facts.id

    def session(self, wallet: Wallet) -> str:
        """A session of an account, as if it had signed in: none of its network's sign-ins."""
        nonce, _ = self.store.new_nonce()
        message = SignInMessage(
            "localhost", wallet.address, "http://localhost/", "31337", nonce, "2026-01-01T00:00:00Z"
        )
        return self.store.open_session(message)[0].text
