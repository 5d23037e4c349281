"""A licensor's signature under a claim, for anyone to send (docs/spec/registration.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.chain.registry import REGISTER_TYPE, registry_domain, sign_registration
from ledger.claim import Claim
from ledger.eip712 import TypedSigner, recover
from ledger.errors import SignatureInvalid
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text

TYPE: Final = "modeldeed/registration"
MAX_BYTES: Final = 64 << 10
MAX_TIME: Final = (1 << 40) - 1
_MAX_SIGNATURE: Final = 8192
_HEX = re.compile(r"0x(?:[0-9a-f]{2})+\Z")
_MEMBERS: Final = ("type", "version", "claim", "deadline", "signature")


@dataclass(frozen=True, slots=True)
class SignedRegistration:
    """A claim, until when it may be registered (Unix seconds), and its licensor's signature."""

    claim: Claim
    deadline: int
    signature: bytes

    @classmethod
    def sign(cls, signer: TypedSigner, claim: Claim, *, deadline: int) -> SignedRegistration:
        """Sign a claim, as its licensor."""
        return cls(claim, deadline, sign_registration(signer, claim, deadline=deadline))

    def verify(self) -> None:
        """Check the signature of a licensor that is a wallet, not a contract. Needs no chain.

        Raises:
            SignatureInvalid: (2) it is not the licensor's.
        """
        claim = self.claim
        domain = registry_domain(claim.chain_id, claim.registry)
        values = {"modelId": Digest(claim.model_id().raw), "deadline": self.deadline}
        found = recover(domain.digest(REGISTER_TYPE, values), self.signature, step=2)
        if found != claim.licensor:
            raise SignatureInvalid(
                f"the registration is signed by {found}, and the claim's licensor is "
                f"{claim.licensor}",
                step=2,
                hint="have the licensor sign; no field may be changed after that",
            )

    def to_json(self) -> dict[str, Any]:
        """The registration as its file holds it."""
        return {
            "type": TYPE,
            "version": 1,
            "claim": self.claim.to_json(),
            "deadline": self.deadline,
            "signature": hex_text(self.signature),
        }


def parse(value: Any) -> SignedRegistration:
    """Read a registration file's bytes, or its parsed object; the signature is not yet checked.

    Raises:
        ManifestError: (1) not a registration.
        UnsupportedVersion: (1) another version.
        LimitExceeded: (1) more than 64 KiB.
    """
    what = "the registration"
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what=what, limit=MAX_BYTES)
    doc = Document(value, what)
    doc.kind(TYPE)
    doc = Document(value, what, _MEMBERS)
    signature = doc.text("signature", limit=2 + 2 * _MAX_SIGNATURE)
    if _HEX.match(signature) is None:
        raise doc.fail("signature", "0x and lower-case hex digits")
    return SignedRegistration(
        Claim.from_json(doc.object("claim")),
        doc.integer("deadline", 1, MAX_TIME),
        bytes.fromhex(signature[2:]),
    )
