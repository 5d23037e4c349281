"""A fleet's own key, on the machine that certifies workers (docs/spec/fleet.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker.custody import read_private, write_private
from ledger.broker.enrolment import (
    FLEET_REQUEST_TAG,
    FLEET_REQUEST_TYPE,
    EnrolmentRequest,
    GrantFile,
)
from ledger.broker.fleet import certify, fleet_key_hash
from ledger.broker.grants import ALG_ED25519
from ledger.broker.runtime_signers import RuntimeSigner, key_members, open_key, sign_digest
from ledger.canonical import hash_json, parse_json
from ledger.errors import ConfigurationError, UsageError
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text

FLEET_TYPE: Final = "modeldeed/fleet-identity"


@dataclass(frozen=True, slots=True)
class FleetIdentity:
    """A fleet's key pair, on the machine that certifies workers (docs/spec/fleet.md).

    Its file is of another type than a runtime's, and grants name its key by another hash: no key
    is both by accident.
    """

    path: Path
    name: str
    signer: RuntimeSigner = field(repr=False)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str = "",
        alg: int = ALG_ED25519,
        plugin: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a key and write its file with mode 0600; raises as `RuntimeIdentity.create`."""
        document = {
            "type": FLEET_TYPE,
            "version": 1,
            **key_members(alg, plugin, options),
            "name": name,
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
        return cls(path, name, open_key(Document(document, "the fleet's key file")))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file.

        Raises:
            ConfigurationError: missing, or readable by others.
            ManifestError: not a fleet's key file.
        """
        if not path.exists():
            raise ConfigurationError(
                f"there is no {path}", hint="make the fleet's key first: deed runtime fleet init"
            )
        doc = Document(
            parse_json(read_private(path), what="the fleet's key file"),
            "the fleet's key file",
            ("type", "version", "alg", "seed", "signer", "name"),
        )
        doc.kind(FLEET_TYPE)
        return cls(path, doc.text("name", limit=200), open_key(doc))

    @property
    def key_hash(self) -> Digest:
        """What a grant names this fleet by."""
        return fleet_key_hash(self.signer.key)

    def enrolment_request(self, *, now: int | None = None) -> dict[str, Any]:
        """The request file for the holder; self-signed."""
        body: dict[str, Any] = {
            "type": FLEET_REQUEST_TYPE,
            "version": 1,
            "runtime": self.signer.key.to_json(),
            "name": self.name,
            "use": {},
            "created": int(time.time()) if now is None else now,
        }
        signature = sign_digest(self.signer, hash_json(FLEET_REQUEST_TAG, body))
        return {**body, "signature": hex_text(signature)}

    def certify(
        self,
        request: Any,
        granted: Any,
        *,
        workload: str,
        seconds: int,
        now: int | None = None,
    ) -> dict[str, Any]:
        """A grant file for one worker: the fleet's, with a certificate.

        Args:
            request: the worker's enrolment request, checked here.
            granted: the holder's grant file for this fleet.
            workload: image digest or workload identity.
            seconds: how long it lasts, at most a day.
            now: Unix seconds.

        Raises:
            ManifestError, SignatureInvalid: request or grant file does not verify.
            UsageError: as `ledger.broker.fleet.certify`; or the request is itself a fleet's.
        """
        asked, file = EnrolmentRequest.from_json(request), GrantFile.from_json(granted)
        if asked.fleet:
            raise UsageError(
                "a fleet key certifies workers, not other fleets",
                hint="send the request file that deed runtime init wrote on the worker",
            )
        certificate = certify(
            lambda digest: sign_digest(self.signer, digest),
            self.signer.key,
            asked.runtime,
            file.grant,
            file.domain,
            workload=workload,
            seconds=seconds,
            now=int(time.time()) if now is None else now,
        )
        return replace(file, certificate=certificate).to_json()
