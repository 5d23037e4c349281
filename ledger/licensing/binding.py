"""A holder's signature that gives a runtime a seat, for anyone to send (``BindRuntime``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.eip712 import StructType, TypedSigner
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain

BINDING_TYPE: Final = StructType.parse(
    "BindRuntime(uint256 licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,"
    "uint64 grantNonce,uint256 nonce,uint40 deadline)"
)


@dataclass(frozen=True, slots=True)
class RuntimeBinding:
    """What the holder signs. Times in Unix seconds.

    Attributes:
        license: whose seat is taken.
        runtime_key: hash of the runtime's public key.
        grant_nonce: the license's on chain; ``cancelGrants`` voids the signature by raising it.
        nonce: below 2^256; any number that this holder has not spent. Vouchers draw on the same.
        deadline: last second in which it can be sent.
        until: how long the seat is kept; 0 is as long as the license.
        measurement: 20 bytes of the runtime's TEE, zero when none.
    """

    license: LicenseId
    runtime_key: Digest
    grant_nonce: int
    nonce: int
    deadline: int
    until: int = 0
    measurement: bytes = bytes(20)

    def message(self) -> dict[str, Any]:
        """The values of the EIP-712 struct ``BindRuntime``."""
        return {
            "licenseId": int(self.license),
            "runtimeKey": self.runtime_key,
            "until": self.until,
            "measurement": self.measurement,
            "grantNonce": self.grant_nonce,
            "nonce": self.nonce,
            "deadline": self.deadline,
        }

    def sign(self, holder: TypedSigner, *, chain_id: int, ledger: Address) -> bytes:
        """65 bytes ``r ‖ s ‖ v`` by the holder, for one ledger.

        Raises:
            ManifestError: a value is out of its type's range.
        """
        return holder.sign_typed(ledger_domain(chain_id, ledger), BINDING_TYPE, self.message())
