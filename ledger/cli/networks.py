"""Named networks: kept in the user's configuration folder, because RPC URLs may carry API keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tomlkit

from ledger.cli.settings import Settings, checked_url, read_toml, write_text, write_toml
from ledger.errors import ConfigurationError, NoNetwork, UsageError
from ledger.ids import quoted

if TYPE_CHECKING:
    from ledger.chain.network import Network

LOCAL: Final = "local"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def _file(settings: Settings) -> Path:
    return settings.config_dir / "networks.toml"


def manifest(settings: Settings, name: str) -> Path:
    """The deployment manifest of an added network."""
    return settings.config_dir / "deployments" / f"{name}.json"


def names(settings: Settings) -> tuple[str, ...]:
    """The networks that were added, sorted."""
    return tuple(sorted(_stored(settings)))


def rpc_urls(settings: Settings, name: str) -> tuple[str, ...]:
    """The endpoints of an added network; they may hold API keys.

    Raises:
        NoNetwork: no network of that name.
    """
    entry = _stored(settings).get(name)
    if entry is None:
        raise NoNetwork(
            f"there is no network {quoted(name)}",
            hint="deed network list shows them; deed network add NAME makes one",
        )
    urls = entry.get("rpc") if isinstance(entry, dict) else None
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise ConfigurationError(
            f"{_file(settings)}: network {name} has no list of RPC URLs",
            hint=f"add it again with deed network add {name}",
        )
    return tuple(checked_url(url, what="an RPC endpoint") for url in urls)


def add(
    settings: Settings,
    name: str,
    *,
    rpc: tuple[str, ...],
    deployment: dict[str, Any],
    api: str | None,
    broker: str | None,
) -> Path:
    """Store a network.

    Returns:
        The file it was written to.

    Raises:
        UsageError: a name or URL that cannot be.
    """
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise UsageError(
            f"{quoted(name)} cannot be a network's name",
            hint="use small letters, digits and -; local is what deed up runs",
        )
    table = tomlkit.table()
    table["rpc"] = [checked_url(url, what="an RPC endpoint") for url in rpc]
    if api:
        table["api"] = checked_url(api, what="an index")
    if broker:
        table["broker"] = checked_url(broker, what="a broker")
    path = _file(settings)
    document = read_toml(path) if path.exists() else tomlkit.document()
    document[name] = table
    write_text(manifest(settings, name), json.dumps(deployment, indent=2) + "\n", private=True)
    write_toml(path, document, private=True)
    return path


def load(settings: Settings, name: str) -> Network:
    """Open an added network.

    Raises:
        NoNetwork: no network of that name.
        ManifestError: its deployment manifest cannot be read.
        WrongNetwork: no chain profile for its chain id.
    """
    from ledger.chain.deployment import Deployment
    from ledger.chain.network import Network
    from ledger.chain.profile import profile_for

    urls = rpc_urls(settings, name)
    entry = _stored(settings)[name]
    deployment = Deployment.load(manifest(settings, name))
    return Network(
        name=name,
        rpc_urls=urls,
        deployment=deployment,
        profile=profile_for(deployment.chain_id),
        api_url=entry.get("api"),
        broker_url=entry.get("broker"),
    )


def _stored(settings: Settings) -> dict[str, Any]:
    path = _file(settings)
    return read_toml(path).unwrap() if path.exists() else {}
