"""A holder's signature that gives a runtime a seat, for anyone to send (``BindRuntime``).

Its file, of at most 64 KiB, begins as a voucher's does, with ``type``, ``version`` and ``chain``::

    {"type": "modeldeed/runtime-binding", "version": 1, "chain": {"id": 31337, "ledger": "0x…"},
     "binding": {"license": "7.1", "runtime_key": "0x…", "grant_nonce": 0, "nonce": "0x…",
                 "deadline": 1900000000, "until": 0, "measurement": "0x…"},
     "signature": "0x…"}

All members are required and others are refused. The holder is not named: whoever holds the license
when it is sent must have signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.eip712 import StructType, TypedSigner, recover
from ledger.errors import SignatureInvalid
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain
from ledger.licensing.chain import ledger_json, read_ledger
from ledger.licensing.document import Document, hex_text

TYPE: Final = "modeldeed/runtime-binding"
MAX_BYTES: Final = 64 << 10
_MAX_SIGNATURE: Final = 8192
_MAX_TIME: Final = (1 << 40) - 1
_HEX = re.compile(r"0x(?:[0-9a-f]{2})+\Z")
_MEMBERS = ("type", "version", "chain", "binding", "signature")
_BINDING_MEMBERS = (
    "license", "runtime_key", "grant_nonce", "nonce", "deadline", "until", "measurement",
)  # fmt: skip
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


@dataclass(frozen=True, slots=True)
class SignedBinding:
    """A binding, the ledger it counts on, and its signature.

    The signature of a wallet has 65 bytes; that of a contract (ERC-1271) whatever it takes.
    """

    chain_id: int
    ledger: Address
    binding: RuntimeBinding
    signature: bytes

    def verify(self, holder: Address) -> None:
        """Check the signature of a holder that is a wallet, not a contract. Needs no chain.

        Raises:
            SignatureInvalid: (2) it is not this holder's.
        """
        # (1) The format: done by `parse`.
        # (2) The holder signed every field, for this ledger.
        domain = ledger_domain(self.chain_id, self.ledger)
        digest = domain.digest(BINDING_TYPE, self.binding.message())
        found = recover(digest, self.signature, step=2)
        if found != holder:
            raise SignatureInvalid(
                f"the binding is signed by {found}, and {holder} holds license "
                f"{self.binding.license}",
                step=2,
                hint="have the present holder sign; no field may be changed after that",
            )

    def to_json(self) -> dict[str, Any]:
        """The binding as its file holds it."""
        asked = self.binding
        return {
            "type": TYPE,
            "version": 1,
            "chain": ledger_json(self.chain_id, self.ledger),
            "binding": {
                "license": str(asked.license),
                "runtime_key": str(asked.runtime_key),
                "grant_nonce": asked.grant_nonce,
                "nonce": hex_text(asked.nonce.to_bytes(32, "big")),
                "deadline": asked.deadline,
                "until": asked.until,
                "measurement": hex_text(asked.measurement),
            },
            "signature": hex_text(self.signature),
        }


def parse(value: Any) -> SignedBinding:
    """Read a binding file's bytes, or its parsed object; the signature is not yet checked.

    Raises:
        ManifestError: (1) not a binding.
        UnsupportedVersion: (1) another version.
        LimitExceeded: (1) more than 64 KiB.
    """
    what = "the runtime binding"
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what=what, limit=MAX_BYTES)
    doc = Document(value, what)
    doc.kind(TYPE)
    doc = Document(value, what, _MEMBERS)
    chain_id, ledger = read_ledger(doc.object("chain"), "the binding's chain")
    asked = Document(doc.object("binding"), what, _BINDING_MEMBERS)
    signature = doc.text("signature", limit=2 + 2 * _MAX_SIGNATURE)
    if _HEX.match(signature) is None:
        raise doc.fail("signature", "0x and lower-case hex digits")
    return SignedBinding(
        chain_id,
        ledger,
        RuntimeBinding(
            license=asked.license(),
            runtime_key=asked.digest("runtime_key"),
            grant_nonce=asked.integer("grant_nonce"),
            nonce=int.from_bytes(asked.raw("nonce", 32), "big"),
            deadline=asked.integer("deadline", 1, _MAX_TIME),
            until=asked.integer("until", 0, _MAX_TIME),
            measurement=asked.raw("measurement", 20),
        ),
        bytes.fromhex(signature[2:]),
    )
