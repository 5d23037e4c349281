"""What the service is told: environment variables ``DEED_API_*``, and nothing else."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ledger.access.forgetting import KEPT_DAYS
from ledger.access.trail import LEAST_DAYS
from ledger.errors import UsageError
from ledger.ids import Address
from ledger.index.database import database_url
from ledger.loopback import is_loopback

RATE = r"^([0-9]{1,6}(\.[0-9]{1,6})?/[1-9][0-9]{0,6})?$"
_ORIGIN = re.compile(r"(https?)://([a-z0-9.\-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")

Words = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """One service process. Lists are separated by commas; times are in seconds.

    Attributes:
        host: address to listen on; only this machine unless told otherwise.
        port: TCP port, 0 for a free one.
        allowed_hosts: names that a request's Host header may give, besides loopback ones; ``*`` for
            any. Keeps web pages from reaching a local service through DNS rebinding.
        public_url: how clients reach this service; sign-ins and cookies are good for this origin
            alone. On a loopback host and a fixed port, that address by default.
        operators, auditors: accounts with these roles, besides those granted in the database.
        rate_anonymous, rate_principal: requests that one network, and one key or session, may send:
            ``PER_SECOND/AT_ONCE``; empty for no limit.
        rate_sign_in: nonces, and attempts to sign in, of one network; there is always a limit.
        rpc_urls: JSON-RPC endpoints of the chain.
        index_rpc_urls: those the index follows, where they differ: ``archive=URL`` is asked first
            for old blocks, ``head=URL`` only for recent ones.
        index_quorum: of these, how many must agree on what is final; 0 more than half.
        index_proofs: whether proofs of final events are taken while nodes still have them.
        outbox_days: age after which the outbox forgets.
        audit_days: age after which the audit log does.
        deployment: file that names the contracts (docs/spec/chain-profile.md).
        database_url: where the index lives: a path (SQLite) or a database URL.
        follow: whether this process follows the chain, or only reads what another follows.
        poll: between two looks at an idle chain.
        ready_lag: the index may be this old before /readyz says no.
        broker_home: the key broker's folder; without it no keys are released here.
        broker_passphrase_file: opens that folder.
        broker_anchor_every: the broker's new receipts are anchored this often; 0 never.
        broker_anchor_wallet: Ethereum v3 keystore of the broker's operator, who pays for it.
        broker_anchor_passphrase_file: opens that keystore.
        relay: whether signed transactions to this deployment's contracts are passed on.
        evidence_folder: where evidence jobs are kept; beside the database where that is a file.
        evidence_keep: a finished job's bundle can be fetched this long.
        evidence_disk: bytes that finished bundles may take.
        webhook_key_file: what secrets of webhooks are derived from; beside the database where that
            is a file. Without one there are no webhooks here.
        webhook_networks: networks that webhooks may lead into besides public addresses.
        webhook_timeout: seconds that a receiver has to answer.
        max_body, max_leaves_body: bytes that a request body may have.
        metrics: who may read /metrics: ``loopback``, this machine alone, or ``open``, anyone.
        metrics_token_file: its first line is a token; then whoever sends it may, and nobody else.
        log_level: debug, info, warning or error.
        telemetry: ``otlp`` sends traces of requests to a collector, as the standard ``OTEL_*``
            variables say; ``console`` prints them. It needs the extra ``otel``.
    """

    model_config = SettingsConfigDict(env_prefix="DEED_API_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8800, ge=0, le=65535)
    allowed_hosts: Words = ()
    public_url: str | None = None
    operators: Words = ()
    auditors: Words = ()
    rate_anonymous: str = Field("", pattern=RATE)
    rate_principal: str = Field("", pattern=RATE)
    rate_sign_in: str = Field("0.5/30", pattern=RATE, min_length=3)
    rpc_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    index_rpc_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    index_quorum: int = Field(0, ge=0, le=64)
    index_proofs: bool = True
    outbox_days: float = Field(30, gt=0, le=36500)
    audit_days: float = Field(KEPT_DAYS, ge=LEAST_DAYS, le=36500)
    deployment: Path
    database_url: SecretStr
    follow: bool = True
    poll: float = Field(0.5, gt=0, le=60)
    ready_lag: float = Field(30.0, gt=0)
    broker_home: Path | None = None
    broker_passphrase_file: Path | None = None
    broker_anchor_every: float = Field(0, ge=0, le=30 * 86400)
    broker_anchor_wallet: Path | None = None
    broker_anchor_passphrase_file: Path | None = None
    relay: bool = False
    evidence_folder: Path | None = None
    evidence_keep: float = Field(3600, gt=0, le=30 * 86400)
    evidence_disk: int = Field(1 << 30, gt=0)
    webhook_key_file: Path | None = None
    webhook_networks: Words = ()
    webhook_timeout: float = Field(15.0, gt=0, le=60)
    max_body: int = Field(1 << 20, gt=0)
    max_leaves_body: int = Field(64 << 20, gt=0)
    metrics: str = Field("loopback", pattern="^(loopback|open)$")
    metrics_token_file: Path | None = None
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    telemetry: str = Field("", pattern="^(otlp|console)?$")

    @field_validator(
        "allowed_hosts",
        "rpc_urls",
        "index_rpc_urls",
        "operators",
        "auditors",
        "webhook_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("operators", "auditors")
    @classmethod
    def _accounts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(Address.parse(each)) for each in value)
        except UsageError as error:
            raise ValueError(error.message) from None

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(each)) for each in value)

    @field_validator("public_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = _ORIGIN.fullmatch(value.rstrip("/").lower())
        if found is None:
            raise ValueError("an origin such as https://deed.example, without a path")
        if found[1] == "http" and not is_loopback(found[2]):
            raise ValueError("https, but for this machine's own addresses")
        return found[0]

    @property
    def origin(self) -> str | None:
        """Where clients reach this service, for sign-ins; None where nothing says it."""
        if self.public_url is not None or not is_loopback(self.host) or not self.port:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def database(self) -> str:
        """The database URL; a plain path means SQLite."""
        return database_url(self.database_url.get_secret_value())

    @property
    def evidence_jobs(self) -> Path | None:
        """The folder of evidence jobs; None where none is named and the database is no file."""
        return self.evidence_folder or self._beside("evidence")

    @property
    def webhook_keys(self) -> Path | None:
        """The file of webhook keys; None where none is named and the database is no file."""
        return self.webhook_key_file or self._beside("webhook-key")

    def _beside(self, what: str) -> Path | None:
        path = self.database.removeprefix("sqlite:///")
        if path == self.database or not path or path.startswith((":", "file:")):
            return None
        return Path(f"{path}.{what}")


def from_environment() -> Settings:
    """Read the environment.

    Raises:
        UsageError: a setting is missing or cannot be meant; values are not repeated.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # pydantic reads the environment
    except ValidationError as error:
        fault = error.errors()[0]
        name = "DEED_API_" + "_".join(str(part) for part in fault["loc"]).upper()
        raise UsageError(
            f"{name}: {fault['msg'].lower()}", hint="the settings are listed in docs/api.md"
        ) from None
