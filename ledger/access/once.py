"""Requests that take effect once: names that clients give them, and answers kept for a repeat.

Steps, names and sealing are those of docs/spec/idempotency.md. One row in the database decides
among all processes, and what it keeps opens only with the credential that it belongs to.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import ColumnElement, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.access.tokens import Token
from ledger.errors import (
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    RateLimited,
    RequestUnderWay,
)
from ledger.index.access_tables import access_once
from ledger.index.database import writing

KEPT_SECONDS: Final = 24 * 3600
HELD_SECONDS: Final = 120
"""After which an attempt counts as dead: no answer takes so long."""
MAX_NAMES: Final = 10_000
MAX_ANSWER: Final = 256 << 10
MAX_KEPT: Final = 32 << 20
"""Bytes of answers kept for one credential: 10,000 of the largest would be 2.5 GB of database."""
PATTERN: Final = r'"[!#-\[\]-~]{1,255}"|[A-Za-z0-9_.:~\-]{1,255}'

_NAME = re.compile(PATTERN)
_TAG: Final = b"modeldeed/idempotency/1\0"


def parse_name(values: list[bytes]) -> str:
    """The name that the request's Idempotency-Key headers give.

    Raises:
        IdempotencyKeyInvalid: (1) several headers, or another form.
    """
    text = values[0].decode("latin-1").strip(" \t") if len(values) == 1 else ""
    if _NAME.fullmatch(text) is None:
        raise IdempotencyKeyInvalid(
            "the request has several Idempotency-Key headers"
            if len(values) > 1
            else "the Idempotency-Key header has another form"
        )
    return text.strip('"')


@dataclass(frozen=True, slots=True)
class Named:
    """A request under a name, as a row knows it: nothing here gives away name, body or token."""

    credential: str
    name: bytes
    print: bytes
    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, token: Token, name: str, *parts: bytes) -> Named:
        """From the credential's token, the name, and what the request consists of."""
        key = _mac(token.text.encode(), _TAG)
        printed = b"".join(hashlib.sha256(part).digest() for part in parts)
        return cls(
            f"{token.kind}:{token.id}",
            _mac(key, b"name\0", name.encode()),
            _mac(key, b"print\0", printed),
            _mac(key, b"answer\0"),
        )

    def seal(self, answer: bytes) -> bytes:
        """The answer as it is kept."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self._key).encrypt(nonce, answer, self._bound())

    def open(self, sealed: bytes) -> bytes:
        """The answer that was kept.

        Raises:
            IdempotencyKeyReused: it was kept for somebody else, or altered.
        """
        try:
            return AESGCM(self._key).decrypt(sealed[:12], sealed[12:], self._bound())
        except (InvalidTag, ValueError):
            raise IdempotencyKeyReused("the answer under this key does not open") from None

    def _bound(self) -> bytes:
        return self.credential.encode() + b"\0" + self.name


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that is to be served now, and has the name until it is answered."""

    request: Named
    id: bytes


@dataclass(frozen=True, slots=True)
class OnceStore:
    """The names that one database knows.

    Args:
        engine: from `ledger.index.database.open_database`.
        now: Unix time in seconds.
    """

    engine: Engine
    now: Callable[[], float] = time.time

    def begin(self, request: Named) -> Attempt | bytes:
        """Take the name for a request that is to be served now, or give the answer it had.

        Raises:
            IdempotencyKeyReused: (3) the name stands for another request.
            RequestUnderWay: (4) the first one is not answered yet.
            RateLimited: (2) the credential has too many names.
        """
        now, table, attempt = int(self.now()), access_once, secrets.token_bytes(16)
        mine = table.c.credential == request.credential
        row = {
            "credential": request.credential, "name": request.name, "print": request.print,
            "attempt": attempt, "held_until": now + HELD_SECONDS,
            "expires_at": now + KEPT_SECONDS, "answer": None,
        }  # fmt: skip
        with writing(self.engine) as connection:
            connection.execute(delete(table).where(table.c.expires_at <= now))
            try:
                with connection.begin_nested():
                    connection.execute(insert(table).values(row))
            except IntegrityError:
                where = (mine, table.c.name == request.name)
                locked = select(table).where(*where).with_for_update()
                found = connection.execute(locked).one_or_none()
                if found is None:  # freed between the two statements
                    raise _under_way() from None
                if not hmac.compare_digest(bytes(found.print), request.print):
                    raise IdempotencyKeyReused(
                        "this idempotency key was used for another request"
                    ) from None
                if found.answer is not None:
                    return request.open(bytes(found.answer))
                if now < found.held_until:
                    raise _under_way() from None
                # Its process died. Whether it took effect nobody knows: it is served anew.
                connection.execute(update(table).where(*where).values(row))
            else:
                kept = func.coalesce(func.sum(func.length(table.c.answer)), 0)
                held = select(func.count(), kept).select_from(table).where(mine)
                count, size = connection.execute(held).one()
                if count > MAX_NAMES or size > MAX_KEPT:
                    what = f"{MAX_NAMES} idempotency keys"
                    if size > MAX_KEPT:
                        what = f"{MAX_KEPT >> 20} MiB of answers under idempotency keys"
                    raise RateLimited(
                        f"this credential has {what} of the last 24 hours", retry_after=600.0
                    )
        return Attempt(request, attempt)

    def end(self, attempt: Attempt, answer: bytes) -> None:
        """Keep the answer, if the name is still this attempt's."""
        with writing(self.engine) as connection:
            connection.execute(
                update(access_once)
                .where(*_of(attempt))
                .values(
                    answer=attempt.request.seal(answer),
                    expires_at=int(self.now()) + KEPT_SECONDS,
                )
            )

    def free(self, attempt: Attempt) -> None:
        """Give the name back: the request changed nothing."""
        with writing(self.engine) as connection:
            connection.execute(delete(access_once).where(*_of(attempt)))


def _of(attempt: Attempt) -> tuple[ColumnElement[bool], ...]:
    table = access_once
    return (
        table.c.credential == attempt.request.credential,
        table.c.name == attempt.request.name,
        table.c.attempt == attempt.id,
    )


def _under_way() -> RequestUnderWay:
    return RequestUnderWay(
        "the first request with this idempotency key is not answered yet", retry_after=1.0
    )


def _mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")
