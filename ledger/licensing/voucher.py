"""Vouchers: a signed offer of one license, redeemed on chain (docs/spec/voucher.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.eip712 import StructType, TypedSigner, recover
from ledger.errors import SignatureInvalid
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest
from ledger.licensing.card import ledger_domain
from ledger.licensing.chain import ledger_json, read_ledger
from ledger.licensing.document import Document, hex_text

TYPE: Final = "modeldeed/voucher"
SUFFIX: Final = ".voucher.json"
MAX_BYTES: Final = 64 << 10
MAX_SIGNATURE: Final = 8192
_MAX_TIME: Final = (1 << 40) - 1
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,28})\Z")
_HEX = re.compile(r"0x(?:[0-9a-f]{2})+\Z")

VOUCHER_TYPE: Final = StructType.parse(
    "Voucher(address signer,uint32 planId,address to,address market,uint40 notBefore,"
    "uint40 notAfter,address payToken,uint96 price,bytes32 planDigest,bytes32 extHash,"
    "uint256 nonce,uint40 deadline)"
)
_MEMBERS = ("type", "version", "chain", "voucher", "signature")
_VOUCHER_MEMBERS = (
    "signer", "plan", "to", "market", "not_before", "not_after", "pay_token", "price",
    "plan_digest", "ext_hash", "nonce", "deadline",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Voucher:
    """What a signer promises, as ``ILicenseLedger.Voucher``. Times in Unix seconds.

    Attributes:
        signer: licensor, or ISSUER when it is redeemed.
        market: who collects the price and redeems; zero when it is free.
        not_before: 0 is when it is redeemed.
        not_after: 0 is one plan duration after that.
        price: in the token's smallest unit; the zero `pay_token` is the chain's coin (wei).
        plan_digest: licensor and terms of the plan that the signer saw.
        ext_hash: hash of an order or invoice (`ledger.licensing.reference`), zero when none.
        nonce: below 2^256; any number that this signer has not spent.
        deadline: last second in which it can be redeemed.
    """

    signer: Address
    plan: int
    to: Address
    plan_digest: Digest
    nonce: int
    deadline: int
    market: Address = ZERO_ADDRESS
    not_before: int = 0
    not_after: int = 0
    pay_token: Address = ZERO_ADDRESS
    price: int = 0
    ext_hash: Digest = ZERO_DIGEST

    def message(self) -> dict[str, Any]:
        """The values of the EIP-712 struct ``Voucher``."""
        names = (name for _, name in VOUCHER_TYPE.fields)
        return dict(zip(names, self.as_tuple(), strict=True))

    def digest(self, chain_id: int, ledger: Address) -> Digest:
        """What the signer signs, as ``voucherDigest`` gives it.

        Raises:
            ManifestError: a value is out of its type's range.
        """
        return ledger_domain(chain_id, ledger).digest(VOUCHER_TYPE, self.message())

    def as_tuple(self) -> tuple[Any, ...]:
        """In the contract's order of fields."""
        return (
            self.signer, self.plan, self.to, self.market, self.not_before, self.not_after,
            self.pay_token, self.price, self.plan_digest, self.ext_hash, self.nonce, self.deadline,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignedVoucher:
    """A voucher, the ledger it counts on, and its signature.

    The signature of a wallet has 65 bytes; that of a contract (ERC-1271) whatever it takes.
    """

    chain_id: int
    ledger: Address
    voucher: Voucher
    signature: bytes = b""

    def verify(self) -> None:
        """Check the signature of a signer that is a wallet, not a contract. Needs no chain.

        Raises:
            SignatureInvalid: (2) it is not the signer's.
        """
        # (1) The format: done by `parse`.
        # (2) The signer signed every field, for this ledger.
        digest = self.voucher.digest(self.chain_id, self.ledger)
        found = recover(digest, self.signature, step=2)
        if found != self.voucher.signer:
            raise SignatureInvalid(
                f"the voucher is signed by {found}, not by {self.voucher.signer}",
                step=2,
                hint="get it again from the licensor; no field of it may be changed",
            )

    def to_json(self) -> dict[str, Any]:
        """The voucher as its file holds it."""
        offer = self.voucher
        return {
            "type": TYPE,
            "version": 1,
            "chain": ledger_json(self.chain_id, self.ledger),
            "voucher": {
                "signer": str(offer.signer),
                "plan": offer.plan,
                "to": str(offer.to),
                "market": str(offer.market),
                "not_before": offer.not_before,
                "not_after": offer.not_after,
                "pay_token": str(offer.pay_token),
                "price": str(offer.price),
                "plan_digest": str(offer.plan_digest),
                "ext_hash": str(offer.ext_hash),
                "nonce": hex_text(offer.nonce.to_bytes(32, "big")),
                "deadline": offer.deadline,
            },
            "signature": hex_text(self.signature),
        }


def sign(signer: TypedSigner, voucher: Voucher, *, chain_id: int, ledger: Address) -> SignedVoucher:
    """Sign a voucher for one ledger.

    Raises:
        SignatureInvalid: the voucher names another signer.
        ManifestError: a value is out of its type's range.
    """
    if signer.address != voucher.signer:
        raise SignatureInvalid(
            f"the voucher is to be signed by {voucher.signer}, not by {signer.address}",
            hint="sign with that wallet (--wallet)",
        )
    unsigned = SignedVoucher(chain_id, ledger, voucher)
    domain = ledger_domain(chain_id, ledger)
    return replace(unsigned, signature=signer.sign_typed(domain, VOUCHER_TYPE, voucher.message()))


def parse(value: Any) -> SignedVoucher:
    """Read a voucher file's bytes, or its parsed object; the signature is not yet checked.

    Raises:
        ManifestError: (1) not a voucher.
        UnsupportedVersion: (1) another version.
        LimitExceeded: (1) more than 64 KiB.
    """
    what = "the voucher"
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what=what, limit=MAX_BYTES)
    doc = Document(value, what)
    doc.kind(TYPE)
    doc = Document(value, what, _MEMBERS)
    chain_id, ledger = read_ledger(doc.object("chain"), "the voucher's chain")
    offer = Document(doc.object("voucher"), what, _VOUCHER_MEMBERS)
    signature = doc.text("signature", limit=2 + 2 * MAX_SIGNATURE)
    if _HEX.match(signature) is None:
        raise doc.fail("signature", "0x and lower-case hex digits")
    return SignedVoucher(
        chain_id,
        ledger,
        Voucher(
            signer=offer.address("signer"),
            plan=offer.integer("plan", 1, (1 << 32) - 1),
            to=offer.address("to"),
            market=offer.address("market"),
            not_before=offer.integer("not_before", 0, _MAX_TIME),
            not_after=offer.integer("not_after", 0, _MAX_TIME),
            pay_token=offer.address("pay_token"),
            price=_price(offer),
            plan_digest=offer.digest("plan_digest"),
            ext_hash=offer.digest("ext_hash"),
            nonce=int.from_bytes(offer.raw("nonce", 32), "big"),
            deadline=offer.integer("deadline", 1, _MAX_TIME),
        ),
        bytes.fromhex(signature[2:]),
    )


def _price(doc: Document) -> int:
    text = doc.text("price", limit=29)
    if _DECIMAL.match(text) is None or int(text) >= 1 << 96:
        raise doc.fail("price", "a decimal number below 2^96, as text")
    return int(text)
