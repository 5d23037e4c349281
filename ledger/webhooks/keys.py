"""The keys that webhook secrets are derived from (docs/spec/webhooks.md, "Secrets").

A secret is a function of the operator's key, the endpoint's id and a generation. So the database
holds nothing that signs, and whoever reads or writes it cannot send in the service's name.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.broker.custody import read_private, write_private
from ledger.canonical import hash_bytes
from ledger.errors import ConfigurationError

DERIVED_TAG: Final = "modeldeed/webhook-secret/1"
NAME_TAG: Final = "modeldeed/webhook-key-name/1"
MARK: Final = "whsec_"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The service's webhook keys by their public names.

    Attributes:
        newest: name of the one that new secrets are derived from.
    """

    newest: str
    _keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def empty(cls) -> KeyRing:
        """No keys: for those who make and use no secrets."""
        return cls("", {})

    @classmethod
    def read(cls, path: Path, *, make: bool = False) -> KeyRing:
        """Read a key file: 64 hex digits a line, the newest first.

        Args:
            path: of the file, mode 0600.
            make: whether to make it where there is none. Of several processes that do so at once,
                one makes it and the others read it.

        Raises:
            ConfigurationError: there is none, others can read it, or it is something else.
        """
        if make and not path.exists():
            # Another process that starts in this moment may be first.
            with contextlib.suppress(ConfigurationError):
                write_private(path, secrets.token_hex(32).encode() + b"\n")
        lines = read_private(path, limit=1 << 16).decode("ascii", "replace").split()
        if not lines or not all(_KEY.fullmatch(line) for line in lines):
            raise ConfigurationError(
                f"{path} is no file of webhook keys",
                hint="a key is a line of 64 hex digits, as openssl rand -hex 32 prints them",
            )
        keys = [bytes.fromhex(line) for line in lines]
        names = [hash_bytes(NAME_TAG, key).raw.hex()[:16] for key in keys]
        return cls(names[0], dict(zip(names, keys, strict=True)))

    def secret(self, key_name: str, endpoint: str, generation: int) -> bytes | None:
        """An endpoint's secret, 32 bytes; None where its key is not here any more."""
        key = self._keys.get(key_name)
        if key is None:
            return None
        info = DERIVED_TAG.encode() + b"\0" + endpoint.encode() + generation.to_bytes(8, "big")
        return HKDF(SHA256(), 32, None, info).derive(key)


def secret_text(secret: bytes) -> str:
    """The form in which a secret is shown: ``whsec_`` and base64."""
    return MARK + base64.b64encode(secret).decode()
