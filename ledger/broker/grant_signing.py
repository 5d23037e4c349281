"""A grant signed somewhere else: what a wallet is shown, and its signatures coming back.

``deed runtime grant --typed-data`` writes a *grant to sign*: the grant file without signatures, the
three messages as ``eth_signTypedData_v4`` takes them, and a place for each signature. Filled in, it
becomes a grant file. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ledger.broker.enrolment import GrantFile
from ledger.broker.wallet_signatures import account_of, read_signature
from ledger.eip712 import Domain, StructType
from ledger.errors import SignatureInvalid
from ledger.ids import Address, Digest
from ledger.licensing.document import Document

TO_SIGN_TYPE: Final = "modeldeed/grant-to-sign"
PARTS: Final = ("grant", "acceptance", "pin")
_NAMES: Final = {"RuntimeGrant": "grant", "AcceptTerms": "acceptance", "RuntimePin": "pin"}


@dataclass(slots=True)
class Drafter:
    """Stands in for a wallet that is elsewhere: keeps what it was asked to sign, and signs nothing.

    Attributes:
        address: the wallet's account.
        typed_data: the messages, by part of the grant file.
    """

    address: Address
    typed_data: dict[str, Any] = field(default_factory=dict)

    def sign_typed(self, domain: Domain, kind: StructType, values: dict[str, Any]) -> bytes:
        """No bytes; the message is kept."""
        shown = domain.typed_data(kind, values)
        # JavaScript wallets lose the lower bits of a large number; as text they take it whole.
        shown["message"] = {
            name: str(value) if isinstance(value, int) else value
            for name, value in shown["message"].items()
        }
        self.typed_data[_NAMES[shown["primaryType"]]] = shown
        return b""

    def document(self, unsigned: Mapping[str, Any]) -> dict[str, Any]:
        """The grant to sign, around the grant file that was made with this drafter."""
        return {
            "type": TO_SIGN_TYPE,
            "version": 1,
            "grant_file": dict(unsigned),
            "typed_data": {part: self.typed_data[part] for part in PARTS},
            "signatures": dict.fromkeys(PARTS),
        }


def signed_grant(
    document: Any, accepts: Callable[[Address, Digest, bytes], str | None]
) -> GrantFile:
    """The grant file of a grant to sign, once its signatures are in.

    Args:
        document: the grant to sign. Its typed data is for wallets, and is not read here.
        accepts: asks a contract wallet about a signature; None is yes, a text says why not.

    Raises:
        ManifestError: not a grant to sign, or a signature is missing.
        SignatureInvalid: a signature is not the holder's.
    """
    doc = Document(
        document,
        "the grant to sign",
        ("type", "version", "grant_file", "typed_data", "signatures"),
    )
    doc.kind(TO_SIGN_TYPE)
    given = Document(doc.object("signatures"), "its signatures", PARTS)
    file = GrantFile.unsigned(doc.object("grant_file"))
    made = replace(
        file,
        grant=replace(file.grant, signature=read_signature(given, "grant")),
        acceptance=replace(file.acceptance, signature=read_signature(given, "acceptance")),
        pin=replace(file.pin, signature=read_signature(given, "pin")),
    )
    by_contract = False
    for part, message in (
        ("grant", made.grant),
        ("acceptance", made.acceptance),
        ("pin", made.pin),
    ):
        digest = message.digest(made.domain)
        if account_of(digest, message.signature) == made.holder:
            continue
        by_contract = True
        if (why := accepts(made.holder, digest, message.signature)) is not None:
            raise SignatureInvalid(
                f"the signature of the {part} is not the holder's: {why}",
                hint=f"sign typed_data.{part} with the wallet {made.holder}",
            )
    # Through the reader, so that what is written can be read.
    return GrantFile.from_json(replace(made, contract_wallet=by_contract).to_json())
