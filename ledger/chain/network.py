"""A named chain with everything a command needs: endpoints, deployment, profile, services.

A running local stack describes itself in ``.deed/network.json``; commands at or below that folder
find it by walking upwards. The file counts only while its process lives and only when it belongs to
the user who reads it, so that a folder shared with others cannot point anyone at a foreign chain.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from ledger.canonical import parse_json
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile, profile_for
from ledger.chain.rpc import Rpc
from ledger.errors import FormatError, ManifestError, UnsupportedVersion, UsageError
from ledger.files import write_whole
from ledger.ids import Address

VERSION = 1
LIVE_FOLDER = ".deed"
LIVE_FILE = "network.json"
# Of a stack that was started once; it stays when the stack stops.
KEPT_FILE = "deployment.json"
KEPT_INDEX = "index.sqlite3"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Network:
    """One chain as commands use it.

    Attributes:
        name: for people; "local" for a running local stack.
        rpc_urls: endpoints in order of preference. May carry API keys: show `hosts` instead.
        deployment: our contracts there.
        profile: how the chain is read.
        api_url: the index's base URL, if there is one.
        broker_url: the key broker's base URL, if there is one.
        accounts: named test accounts; empty on public chains.
        home: the folder a live stack keeps its files in; None for others.
    """

    name: str
    rpc_urls: tuple[str, ...] = field(repr=False)
    deployment: Deployment = field(repr=False)
    profile: ChainProfile = field(repr=False)
    api_url: str | None = None
    broker_url: str | None = None
    accounts: Mapping[str, Address] = field(default_factory=lambda: MappingProxyType({}))
    home: Path | None = None

    def open_rpc(self, *, timeout: float = 10.0) -> Rpc:
        """A client of this chain that refuses endpoints of any other."""
        return Rpc(self.rpc_urls, timeout=timeout, chain_id=self.deployment.chain_id)

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""
        return {
            "version": VERSION,
            "name": self.name,
            "rpc": list(self.rpc_urls),
            "api": self.api_url,
            "broker": self.broker_url,
            "deployment": self.deployment.to_json(),
            "accounts": {name: str(address) for name, address in sorted(self.accounts.items())},
        }

    @classmethod
    def from_json(cls, document: Any, *, home: Path | None = None) -> Self:
        """Read a network document.

        Raises:
            UnsupportedVersion: another version than 1.
            ManifestError: malformed.
            WrongNetwork: its chain has no profile.
        """
        if not isinstance(document, dict):
            raise ManifestError("a network description is a JSON object")
        if document.get("version") != VERSION:
            raise UnsupportedVersion(
                f"network description version {document.get('version')!r} is not known"
            )
        name, urls = document.get("name"), document.get("rpc")
        accounts = document.get("accounts", {})
        services = {key: document.get(key) for key in ("api", "broker")}
        well_formed = (
            isinstance(name, str)
            and isinstance(urls, list)
            and bool(urls)
            and all(isinstance(url, str) for url in urls)
            and isinstance(accounts, dict)
            and all(isinstance(text, str) for text in accounts.values())
            and all(url is None or isinstance(url, str) for url in services.values())
        )
        if not well_formed:
            raise ManifestError("a network description has a name, rpc URLs, services and accounts")
        deployment = Deployment.from_json(document.get("deployment"))
        try:
            named = {str(key): Address.parse(text) for key, text in accounts.items()}
        except UsageError as error:
            raise ManifestError(
                f"an account of the network is malformed: {error.message}"
            ) from None
        return cls(
            str(name),
            tuple(urls or ()),
            deployment,
            profile_for(deployment.chain_id),
            services["api"],
            services["broker"],
            MappingProxyType(named),
            home,
        )


def save_live(
    folder: Path, network: Network, pid: int, accounts: Mapping[str, Address] | None = None
) -> Path:
    """Describe a running local stack in ``folder/.deed/network.json``; gives that path.

    Args:
        folder: the folder commands will run in or below.
        network: the stack.
        pid: the process that runs it; the description is void once it is gone.
        accounts: named test accounts; None takes the network's own.
    """
    document = network.to_json() | {"pid": pid}
    if accounts is not None:
        document["accounts"] = {name: str(address) for name, address in sorted(accounts.items())}
    path = folder / LIVE_FOLDER / LIVE_FILE
    write_whole(path, json.dumps(document, indent=2).encode() + b"\n", mode=0o600)
    return path


def remove_live(folder: Path) -> None:
    """Withdraw the description of a stack that ends."""
    (folder / LIVE_FOLDER / LIVE_FILE).unlink(missing_ok=True)


def load_live(folder: Path) -> Network | None:
    """The running local stack at or above `folder`, or None.

    Raises:
        ManifestError, UnsupportedVersion: a live description that cannot be read.
    """
    start = folder.resolve()
    for place in (start, *start.parents):
        path = place / LIVE_FOLDER / LIVE_FILE
        document = _read_own(path)
        if document is not None and _alive(document.get("pid")):
            return Network.from_json(document, home=path.parent)
    return None


def kept_home(folder: Path) -> Path | None:
    """Where the local stack at or above `folder` keeps its files, also while it does not run.

    None where there is none, or where any of it is another user's, or a link.
    """
    start = folder.resolve()
    for place in (start, *start.parents):
        home = place / LIVE_FOLDER
        if os.path.lexists(home / KEPT_FILE):
            own = (
                _is_own(home, stat.S_IFDIR)
                and _is_own(home / KEPT_FILE)
                and (_is_own(home / KEPT_INDEX) or not os.path.lexists(home / KEPT_INDEX))
            )
            return home if own else None
    return None


def _is_own(path: Path, kind: int = stat.S_IFREG) -> bool:
    """Whether it is of that kind itself, not by a link that leads elsewhere, and nobody else's."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid in {os.geteuid(), 0}


def _read_own(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid not in {os.geteuid(), 0}:
                return None
            raw = file.read(_MAX_BYTES + 1)
    except OSError:
        return None
    try:
        document = parse_json(raw, what=str(path.name), limit=_MAX_BYTES)
    except FormatError as error:
        raise ManifestError(
            f"{path} cannot be read: {error.message}", hint="run deed up again in that folder"
        ) from None
    if not isinstance(document, dict):
        raise ManifestError(f"{path} is not a network description", hint="run deed up again")
    return document


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
