"""What the service is told: environment variables ``DEED_API_*``, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ledger.errors import UsageError

Words = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """One service process. Lists are separated by commas; times are in seconds.

    Attributes:
        host: address to listen on; only this machine unless told otherwise.
        port: TCP port, 0 for a free one.
        allowed_hosts: names that a request's Host header may give, besides loopback ones; ``*`` for
            any. Keeps web pages from reaching a local service through DNS rebinding.
        rpc_urls: JSON-RPC endpoints of the chain.
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
        max_body, max_leaves_body: bytes that a request body may have.
        log_level: debug, info, warning or error.
    """

    model_config = SettingsConfigDict(env_prefix="DEED_API_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8800, ge=0, le=65535)
    allowed_hosts: Words = ()
    rpc_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
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
    max_body: int = Field(1 << 20, gt=0)
    max_leaves_body: int = Field(64 << 20, gt=0)
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")

    @field_validator("allowed_hosts", "rpc_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def database(self) -> str:
        """The database URL; a plain path means SQLite."""
        text = self.database_url.get_secret_value()
        return text if "://" in text else f"sqlite:///{text}"


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
