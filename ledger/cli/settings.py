"""Where each setting comes from: flag, then environment, then ``deed.toml``, then default.

``deed.toml`` is searched upward from the working directory. It holds names and paths, never
secrets; RPC URLs, which may carry an API key, live in the user's configuration folder
(``networks.toml``, mode 0600).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import platformdirs
import tomlkit
import tomlkit.exceptions

from ledger.errors import ConfigurationError, UsageError
from ledger.files import write_whole
from ledger.paths import require_file_name
from ledger.remote.web import WebAddress

FILE_NAME: Final = "deed.toml"
ROLES: Final = ("licensor", "holder", "runtime", "operator")
_MAX_FILE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """One setting that exists."""

    name: str
    env: str
    help: str
    in_file: bool = True


KNOWN: Final[tuple[Known, ...]] = (
    Known("role", "DEED_ROLE", "licensor, holder, runtime or operator"),
    Known("network", "DEED_NETWORK", "name of the network to use"),
    Known("wallet", "DEED_WALLET", "name of the wallet that signs"),
    Known("broker", "DEED_BROKER", "URL of the key broker, when the network names none"),
    Known("api", "DEED_API", "URL of the index, when the network names none"),
    Known("database", "DEED_DATABASE", "path or URL of the index's database", in_file=False),
    Known("runtime_key", "DEED_RUNTIME_KEY", "file with this machine's runtime key"),
    Known(
        "config_dir",
        "DEED_CONFIG_DIR",
        "folder of wallets, networks and runtime key",
        in_file=False,
    ),
    Known(
        "wallet_password_file",
        "DEED_WALLET_PASSWORD_FILE",
        "file whose first line opens the wallet; without it deed asks",
        in_file=False,
    ),
    Known(
        "broker_passphrase_file",
        "DEED_BROKER_PASSPHRASE_FILE",
        "file whose first line (passphrase or PIN) opens a broker's folder; without it deed asks",
        in_file=False,
    ),
    Known(
        "broker_other_passphrase_file",
        "DEED_BROKER_OTHER_PASSPHRASE_FILE",
        "the same for the other key store, while deed broker rotate --kek changes it",
        in_file=False,
    ),
    Known("anvil", "DEED_ANVIL", "the Anvil program, when npm's is not wanted", in_file=False),
    Known("debug", "DEED_DEBUG", "1 shows Python traces", in_file=False),
)


@dataclass(frozen=True, slots=True)
class Value:
    """A setting and its source: ``--flag``, ``DEED_X``, the file's path, or ``default``."""

    value: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its source, and the file they were read from."""

    values: Mapping[str, Value]
    file: Path | None

    def get(self, name: str) -> str | None:
        """The value of a setting, or None."""
        return self.values[name].value

    def source(self, name: str) -> str:
        """Where the value of a setting comes from."""
        return self.values[name].source

    @property
    def config_dir(self) -> Path:
        """The user's configuration folder (it may not exist yet)."""
        return Path(self.values["config_dir"].value or "").expanduser()

    @property
    def wallets_dir(self) -> Path:
        """Folder of keystore files."""
        return self.config_dir / "wallets"

    @property
    def runtime_key(self) -> Path:
        """This machine's runtime key file (it may not exist yet)."""
        return Path(self.values["runtime_key"].value or "").expanduser()


def find_file(start: Path) -> Path | None:
    """The nearest ``deed.toml`` in a folder or above it."""
    for folder in (start, *start.parents):
        candidate = folder / FILE_NAME
        if candidate.is_file():
            return candidate
    return None


def read_toml(path: Path) -> tomlkit.TOMLDocument:
    """Read a small TOML file.

    Raises:
        ConfigurationError: it is not TOML, not UTF-8 text, or too long.
    """
    with path.open("rb") as handle:
        data = handle.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ConfigurationError(f"{path} is longer than 1 MiB", hint="a settings file is short")
    try:
        return tomlkit.parse(data.decode())
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from None
    except tomlkit.exceptions.TOMLKitError as error:
        raise ConfigurationError(
            f"{path} is not TOML: {error}", hint="correct the line it names"
        ) from None


def write_toml(path: Path, document: tomlkit.TOMLDocument, *, private: bool = False) -> None:
    """Replace a TOML file at once; a private one is 0600 from the first byte."""
    write_text(path, tomlkit.dumps(document), private=private)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Replace a small text file at once, so that no reader ever sees half of it.

    Raises:
        UsageError: there is a folder of that name.
    """
    require_file_name(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o755)
    write_whole(path, text.encode(), mode=0o600 if private else 0o644)


def load(
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Gather all settings.

    Args:
        flags: values given on the command line, by setting name.
        environ: the environment, ``os.environ`` by default.
        cwd: folder where the search for ``deed.toml`` begins.

    Raises:
        ConfigurationError: ``deed.toml`` cannot be read or holds what does not exist.
    """
    flags = flags or {}
    environ = os.environ if environ is None else environ
    file = find_file(cwd or Path.cwd())
    stored = _checked(file) if file else {}
    defaults = {
        "config_dir": str(platformdirs.user_config_path("modeldeed")),
    }
    values: dict[str, Value] = {}
    for known in KNOWN:
        flag = flags.get(known.name)
        if flag is not None:
            value = Value(flag, f"--{known.name.replace('_', '-')}")
        elif environ.get(known.env):
            value = Value(environ[known.env], known.env)
        elif known.name in stored:
            value = Value(stored[known.name], str(file))
        else:
            value = Value(defaults.get(known.name), "default")
        values[known.name] = value
    if values["runtime_key"].value is None:
        folder = values["config_dir"].value or ""
        values["runtime_key"] = Value(str(Path(folder) / "runtime.json"), "default")
    return Settings(values, file)


def _checked(file: Path) -> dict[str, str]:
    allowed = {known.name for known in KNOWN if known.in_file}
    stored: dict[str, str] = {}
    for name, value in read_toml(file).unwrap().items():
        if name not in allowed:
            raise ConfigurationError(
                f"{file} sets {name!r}, which is not a setting there",
                hint=f"it may set: {', '.join(sorted(allowed))}",
            )
        if not isinstance(value, str) or not value:
            raise ConfigurationError(
                f"{file}: {name} is not a text", hint=f'write {name} = "…", or remove the line'
            )
        stored[name] = value
    role = stored.get("role")
    if role is not None and role not in ROLES:
        raise ConfigurationError(
            f"{file}: {role!r} is not a role", hint=f"choose one of {', '.join(ROLES)}"
        )
    return stored


def store(settings: Settings, changes: Mapping[str, str], *, folder: Path | None = None) -> Path:
    """Write settings into the nearest ``deed.toml``, or a new one in ``folder``.

    Comments and order in an existing file are kept.

    Returns:
        The file written.
    """
    path = settings.file or (folder or Path.cwd()) / FILE_NAME
    document = read_toml(path) if path.exists() else tomlkit.document()
    for name, value in changes.items():
        document[name] = value
    write_toml(path, document)
    return path


def url_for_people(url: str) -> str:
    """Scheme and host of a URL; user, path and query may hold an API key."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = parts.hostname or ""
    tail = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{port}{tail}"


def checked_url(text: str, *, what: str) -> str:
    """An ``http`` or ``https`` URL with a host.

    Raises:
        UsageError: anything else.
    """
    if WebAddress.parse(text) is None:
        raise UsageError(f"that is not a URL of {what}", hint="give http://host:port or https://…")
    return text


def shown(settings: Settings, name: str) -> str | None:
    """A setting as people may see it: of a URL only scheme and host."""
    value = settings.get(name)
    if value is not None and "://" in value:
        return url_for_people(value)
    return value


def as_dict(settings: Settings) -> dict[str, Any]:
    """Every setting with value and source, as ``deed config --json`` prints it."""
    return {
        known.name: {
            "value": shown(settings, known.name),
            "source": settings.source(known.name),
            "environment": known.env,
        }
        for known in KNOWN
    }
