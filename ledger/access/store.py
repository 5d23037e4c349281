"""Keys, sessions, nonces and roles in the database, each change with its entry in the audit log.

Nothing is remembered between two calls: what was revoked, ended or taken back by any process is
refused by every process at the next request.
"""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ledger.access import sessions, trail
from ledger.access.message import SignInMessage, unix_time
from ledger.access.principals import By, KeyFacts, Principal, checked_key
from ledger.access.roles import (
    APPOINTED,
    AUDITOR,
    OPERATOR,
    ROLES,
    reach,
    scopes_of,
)
from ledger.access.sessions import IDLE_SECONDS, SESSION_SECONDS
from ledger.access.sign_in import NONCE_SECONDS
from ledger.access.statements import KEY_BY_ID, ROLES_OF, SESSION_BY_ID
from ledger.access.tokens import Token, new_token, random_text
from ledger.access.trail import Act, Head
from ledger.errors import (
    CredentialExpired,
    CredentialRevoked,
    IndexUnavailable,
    NotAuthenticated,
    ScopeMissing,
    SignInRefused,
    UnknownRecord,
    UsageError,
)
from ledger.ids import Address
from ledger.index.access_tables import access_key, access_nonce, access_role, access_session
from ledger.index.database import reading, writing

KEY_DAYS: Final = 90
MAX_KEYS: Final = 50
"""Live keys of one account."""
KEYS_PAGE: Final = 200
MAX_NONCES: Final = 20_000
NONCE_DIGITS: Final = 22
_SEEN_EVERY: Final = 60
_USED_EVERY: Final = 3600
_TOUCH_WAITS: Final = 0.05
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class AccessStore:
    """What one database knows of access.

    Args:
        engine: from `ledger.index.database.open_database`.
        chain_id: whose licensors and holders count.
        appointed: operators and auditors by the settings, by role.
        now: Unix time in seconds.
    """

    engine: Engine
    chain_id: int
    appointed: dict[str, frozenset[Address]] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    # -- who asks ----------------------------------------------------------------------------------

    def resolve(self, token: Token) -> Principal:
        """Whom a credential stands for.

        Raises:
            NotAuthenticated: nobody; CredentialExpired and CredentialRevoked where it once did.
            IndexUnavailable: the database does not answer.
        """
        now = int(self.now())
        with reading(self.engine) as connection:
            if token.kind == "session":
                found, touch = self._session(connection, token, now)
            else:
                found, touch = self._key(connection, token, now)
        if touch is not None:
            # Worth telling, not worth failing for, nor waiting for whoever writes just now.
            with (
                contextlib.suppress(IndexUnavailable),
                writing(self.engine, durable=False, wait=_TOUCH_WAITS) as connection,
            ):
                connection.execute(touch)
        return found

    def _session(self, connection: Connection, token: Token, now: int) -> tuple[Principal, Any]:
        table = access_session
        row = connection.execute(SESSION_BY_ID, {"id": token.id}).one_or_none()
        if row is None or not hmac.compare_digest(bytes(row.hash), token.hash()):
            raise NotAuthenticated("there is no such session")
        if row.ended_at is not None:
            raise CredentialRevoked("the session was ended", hint="sign in again")
        if now >= row.expires_at or now >= row.seen_at + IDLE_SECONDS:
            raise CredentialExpired("the session is over", hint="sign in again")
        account = Address(bytes(row.account))
        roles = self.roles_of(connection, account)
        who = Principal(
            "session", row.id, account, roles, reach(None, roles), row.expires_at, row.created_at
        )
        if now < row.seen_at + _SEEN_EVERY:
            return who, None
        return who, update(table).where(table.c.id == row.id).values(seen_at=now)

    def _key(self, connection: Connection, token: Token, now: int) -> tuple[Principal, Any]:
        table = access_key
        row = connection.execute(KEY_BY_ID, {"id": token.id}).one_or_none()
        if row is None or not hmac.compare_digest(bytes(row.hash), token.hash()):
            raise NotAuthenticated("there is no such API key")
        if row.revoked_at is not None:
            raise CredentialRevoked(f"API key {row.id} was revoked")
        if now >= row.expires_at:
            raise CredentialExpired(f"API key {row.id} has expired")
        account = None if row.account is None else Address(bytes(row.account))
        roles: tuple[str, ...] = (row.role,) if row.role in ROLES else ()
        if account is not None:
            roles = self.roles_of(connection, account)
        scopes = reach(row.scopes.split(), roles)
        who = Principal("key", row.id, account, roles, scopes, row.expires_at, row.created_at)
        if row.used_at is not None and now < row.used_at + _USED_EVERY:
            return who, None
        return who, update(table).where(table.c.id == row.id).values(used_at=now)

    def roles_of(self, connection: Connection, account: Address) -> tuple[str, ...]:
        """An account's roles now: by the index's head, the settings and the table."""
        asked = {"account": account.raw, "chain_id": self.chain_id}
        found = set(connection.execute(ROLES_OF, asked).scalars())
        found |= {role for role, accounts in self.appointed.items() if account in accounts}
        return tuple(role for role in ROLES if role in found)

    # -- sessions ----------------------------------------------------------------------------------

    def new_nonce(self) -> tuple[str, int]:
        """A nonce for one sign-in, and when it ends.

        Where more are waiting to be used than anyone needs, the oldest makes room: whoever floods
        the service with them shortens everyone's time to sign, and keeps nobody out.
        """
        nonce, now = random_text(NONCE_DIGITS), int(self.now())
        table = access_nonce
        with writing(self.engine, durable=False) as connection:
            connection.execute(delete(table).where(table.c.expires_at <= now))
            waiting = connection.execute(select(func.count()).select_from(table)).scalar_one()
            if waiting >= MAX_NONCES:
                oldest = select(table.c.nonce).order_by(table.c.expires_at, table.c.nonce)
                gone = oldest.limit(waiting - MAX_NONCES + 1)
                connection.execute(delete(table).where(table.c.nonce.in_(gone)))
            connection.execute(insert(table).values(nonce=nonce, expires_at=now + NONCE_SECONDS))
        return nonce, now + NONCE_SECONDS

    def need_nonce(self, nonce: str) -> None:
        """Pass only with a nonce that could still be used; it is not used by this.

        Raises:
            SignInRefused: (7) it is not one of ours, is over, or was used.
        """
        table = access_nonce
        query = select(table.c.nonce).where(
            table.c.nonce == nonce, table.c.expires_at > int(self.now())
        )
        with reading(self.engine) as connection:
            if connection.execute(query).one_or_none() is None:
                raise _no_nonce()

    def open_session(self, message: SignInMessage, *, request: str = "") -> tuple[Token, Principal]:
        """Use a message's nonce, and open a session with a token of its own.

        Args:
            message: that `check_sign_in` let pass.
            request: id of the request.

        Raises:
            SignInRefused: (7) the nonce is not one of ours, is over, or was used.
        """
        now, token, account = int(self.now()), new_token("session"), message.account
        expires = now + SESSION_SECONDS
        if message.expiration_time is not None:
            expires = min(expires, int(unix_time(message.expiration_time)))
        with writing(self.engine) as connection:
            # (7) One statement: of two who use it at once, the database lets one delete the row.
            used = connection.execute(
                delete(access_nonce).where(
                    access_nonce.c.nonce == message.nonce, access_nonce.c.expires_at > now
                )
            )
            if used.rowcount != 1:
                raise _no_nonce()
            sessions.add(connection, token, account, now, expires)
            roles = self.roles_of(connection, account)
            who = Principal("session", token.id, account, roles, reach(None, roles), expires, now)
            by = By.principal(who, request)
            self._record(
                connection, by, "session.opened", f"session:{token.id}",
                {"expires_at": expires, "roles": list(roles)},
            )  # fmt: skip
            # Behind that entry, whose lock lets one sign-in count at a time.
            for gone in sessions.end_oldest(connection, account, token.id, now):
                detail = {"because": f"more than {sessions.MAX_SESSIONS} of the account"}
                self._record(connection, by, "session.ended", f"session:{gone}", detail)
        return token, who

    def end_session(self, who: Principal, *, request: str = "") -> None:
        """End a session: its token opens nothing from now on."""
        table = access_session
        with writing(self.engine) as connection:
            connection.execute(
                update(table)
                .where(table.c.id == who.id, table.c.ended_at.is_(None))
                .values(ended_at=int(self.now()))
            )
            self._record(connection, By.principal(who, request), "session.ended", who.via)

    def end_sessions(self, by: By, account: Address) -> int:
        """End every session of an account, as after a token was stolen; how many there were."""
        with writing(self.engine) as connection:
            ended = sessions.end_all(connection, account, int(self.now()))
            detail = {"sessions": ended}
            self._record(connection, by, "session.ended", f"account:{account}", detail)
            return ended

    # -- keys --------------------------------------------------------------------------------------

    def create_key(
        self,
        by: By,
        name: str,
        scopes: Iterable[str],
        *,
        account: Address | None = None,
        role: str | None = None,
        days: int = KEY_DAYS,
    ) -> tuple[Token, KeyFacts]:
        """Make a key; its token is given this once, and only its hash is kept.

        Args:
            by: who makes it.
            name: for people.
            scopes: what it is for; at most what account or role may do.
            account: whose it is; its roles are looked up at each request.
            role: of a key that belongs to no account.
            days: until it expires.

        Raises:
            UsageError: the name, days or scopes cannot be meant.
            ScopeMissing: the account or role may not do that itself.
        """
        wanted = checked_key(name, tuple(scopes), account, role, days)
        now, token = int(self.now()), new_token("live")
        owner = access_key.c.account == (None if account is None else account.raw)
        with writing(self.engine) as connection:
            roles = (str(role),) if account is None else self.roles_of(connection, account)
            beyond = sorted(set(wanted) - scopes_of(roles))
            if beyond:
                whose = f"the role {role}" if account is None else f"account {account}"
                raise ScopeMissing(
                    f"{whose} may not do {beyond[0]} itself, so no key of it may", scope=beyond[0]
                )
            if account is not None:
                live = connection.execute(
                    select(func.count())
                    .select_from(access_key)
                    .where(owner, access_key.c.revoked_at.is_(None), access_key.c.expires_at > now)
                ).scalar_one()
                if live >= MAX_KEYS:
                    raise UsageError(
                        f"{account} has {live} live keys already",
                        hint="revoke one that is not used",
                    )
            row = {
                "id": token.id, "hash": token.hash(), "name": name,
                "account": None if account is None else account.raw, "role": role,
                "scopes": " ".join(wanted), "created_at": now, "created_by": by.actor,
                "expires_at": now + days * _DAY, "used_at": None, "revoked_at": None,
            }  # fmt: skip
            connection.execute(insert(access_key).values(row))
            detail = {
                "name": name, "scopes": list(wanted), "expires_at": now + days * _DAY,
                "account": None if account is None else str(account), "role": role,
            }  # fmt: skip
            self._record(connection, by, "key.created", f"key:{token.id}", detail)
            made = connection.execute(select(access_key).where(access_key.c.id == token.id)).one()
            return token, KeyFacts.of(made)

    def keys(
        self, account: Address | None = None, *, after: str | None = None, limit: int = KEYS_PAGE
    ) -> list[KeyFacts]:
        """Keys of an account, or all, the newest first; revoked and expired ones too.

        Args:
            account: whose; None for everyone's.
            after: id of the key at which the page before ended.
            limit: keys on a page.

        Raises:
            UnknownRecord: there is no key `after`.
        """
        table = access_key
        query = select(table).order_by(table.c.created_at.desc(), table.c.id)
        if account is not None:
            query = query.where(table.c.account == account.raw)
        with reading(self.engine) as connection:
            if after is not None:
                made = select(table.c.created_at).where(table.c.id == after)
                when = connection.execute(made).scalar_one_or_none()
                if when is None:
                    raise UnknownRecord("there is no such API key")
                same = and_(table.c.created_at == when, table.c.id > after)
                query = query.where(or_(table.c.created_at < when, same))
            return [KeyFacts.of(row) for row in connection.execute(query.limit(limit))]

    def revoke_key(self, by: By, id_: str, *, account: Address | None = None) -> KeyFacts:
        """Revoke a key; one that was revoked before stays as it is.

        Args:
            by: who does.
            id_: of the key.
            account: whose it must be; None for anyone's.

        Raises:
            UnknownRecord: there is none, or it is another's.
        """
        table = access_key
        where = [table.c.id == id_]
        if account is not None:
            where.append(table.c.account == account.raw)
        with writing(self.engine) as connection:
            changed = connection.execute(
                update(table)
                .where(*where, table.c.revoked_at.is_(None))
                .values(revoked_at=int(self.now()), revoked_by=by.actor)
            )
            row = connection.execute(select(table).where(*where)).one_or_none()
            if row is None:
                raise UnknownRecord(
                    "there is no such API key", hint="GET /v1/keys or deed api keys list shows them"
                )
            if changed.rowcount:
                self._record(connection, by, "key.revoked", f"key:{id_}", {"name": row.name})
            return KeyFacts.of(row)

    # -- roles -------------------------------------------------------------------------------------

    def grant_role(self, by: By, account: Address, role: str) -> bool:
        """Appoint an auditor or operator; False where the account was one already.

        Raises:
            UsageError: a role that follows from the chain and cannot be granted.
        """
        _appointable(role)
        values = {
            "account": account.raw, "role": role, "granted_at": int(self.now()),
            "granted_by": by.actor,
        }  # fmt: skip
        with writing(self.engine) as connection:
            try:
                with connection.begin_nested():
                    connection.execute(insert(access_role).values(values))
            except IntegrityError:
                return False
            self._record(connection, by, "role.granted", f"account:{account}", {"role": role})
        return True

    def revoke_role(self, by: By, account: Address, role: str) -> bool:
        """Take a granted role back; False where there was none."""
        _appointable(role)
        table = access_role
        with writing(self.engine) as connection:
            gone = connection.execute(
                delete(table).where(table.c.account == account.raw, table.c.role == role)
            )
            if gone.rowcount:
                self._record(connection, by, "role.revoked", f"account:{account}", {"role": role})
            return bool(gone.rowcount)

    def roles(self) -> list[tuple[Address, str, int, str]]:
        """Granted roles: account, role, when, by whom."""
        table = access_role
        query = select(table).order_by(table.c.role, table.c.granted_at)
        with reading(self.engine) as connection:
            return [
                (Address(bytes(row.account)), row.role, row.granted_at, row.granted_by)
                for row in connection.execute(query)
            ]

    # -- audit log ---------------------------------------------------------------------------------

    def record(self, act: Act) -> Head:
        """Add an entry of its own to the audit log."""
        with writing(self.engine) as connection:
            return trail.append(connection, act, now_ms=int(self.now() * 1000))

    def head(self) -> Head:
        """The audit log's head: what is kept, compared and anchored."""
        with reading(self.engine) as connection:
            return trail.head(connection)

    def _record(
        self,
        connection: Connection,
        by: By,
        act: str,
        subject: str,
        detail: dict[str, Any] | None = None,
    ) -> None:
        entry = Act(by.actor, act, subject, by.via, request=by.request, detail=detail or {})
        trail.append(connection, entry, now_ms=int(self.now() * 1000))


def _no_nonce() -> SignInRefused:
    return SignInRefused("the nonce is not one of this service's, is over, or was used", step=7)


def _appointable(role: str) -> None:
    if role not in APPOINTED:
        raise UsageError(
            f"the role {role!r} cannot be granted",
            hint=f"{AUDITOR} and {OPERATOR} can; licensor and holder follow from the chain",
        )
