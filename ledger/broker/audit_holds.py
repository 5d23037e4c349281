"""The part of an audit's step 3 that looks at holds which licensors ended themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger.broker.defence import HOLD, HOLD_END
from ledger.broker.hold_release import HoldName, HoldRelease, check_account
from ledger.broker.protocol import receipt_hash, request_hash
from ledger.eip712 import Domain
from ledger.errors import ClaimMismatch
from ledger.ids import LicenseId


@dataclass(slots=True)
class HoldBook:
    """Holds as a log tells of them, in order.

    Attributes:
        domain: of the license ledger.
        by_account: releases that an account signed.
        by_contract: releases that a contract is said to have accepted; what it said then cannot be
            asked again.
    """

    domain: Domain
    by_account: int = 0
    by_contract: int = 0
    _open: dict[LicenseId, HoldName] = field(default_factory=dict)

    def take(self, number: int, entry: dict[str, Any]) -> None:
        """Look at one entry.

        Raises:
            ClaimMismatch: a license is held twice, or a release names no hold that was open.
            ManifestError: not the message its kind says.
        """
        request, kind = entry["request"], entry["reply"].get("type")
        if kind == HOLD:
            license_id = LicenseId.parse(str(request.get("license")))
            if license_id in self._open:
                raise ClaimMismatch(f"receipt {number} holds license {license_id} a second time")
            self._open[license_id] = HoldName(number, receipt_hash(entry))
        elif kind == HOLD_END:
            license_id = LicenseId.parse(str(request.get("license")))
            held = self._open.pop(license_id, None)
            if held is None:
                raise ClaimMismatch(f"receipt {number} ends a hold that there was not")
            if "signature" in request:
                self._released(number, entry, held)

    def _released(self, number: int, entry: dict[str, Any], held: HoldName) -> None:
        release = HoldRelease.from_json(entry["request"])
        if str(request_hash(entry["request"])) != entry["reply"]["request"]:
            raise ClaimMismatch(f"receipt {number} answers another request than it holds")
        if release.hold != held:
            raise ClaimMismatch(f"receipt {number} ends another hold than its licensor released")
        if check_account(release, self.domain):
            self.by_account += 1
        else:
            self.by_contract += 1

    def text(self) -> str:
        """What was found, to follow the other signatures; empty without any."""
        if not self.by_account + self.by_contract:
            return ""
        said = f"; {self.by_account} holds were ended by a licensor's account"
        if self.by_contract:
            said += f", and {self.by_contract} by a contract, whose word cannot be asked again"
        return said
