"""A licensor's signed end of a hold (docs/spec/hold-release.md): message and rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.facts import ChainState, Side
from ledger.broker.wallet_signatures import AskWallet, account_of, read_signature, refusal
from ledger.eip712 import Domain, StructType, TypedSigner
from ledger.errors import (
    EndpointsDisagree,
    KeyRequestRejected,
    PendingFinality,
    SignatureInvalid,
)
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import moment

VERSION: Final = 1
TO_SIGN_TYPE: Final = "modeldeed/hold-release-to-sign"
MAX_LIFETIME: Final = 7 * 86400
"""Seconds that a release may be good for: owners of one wallet may sign on different days."""
SKEW: Final = 120

RELEASE_TYPE: Final = StructType.parse(
    "HoldRelease(uint256 licenseId,uint64 holdReceipt,bytes32 holdHash,string audience,"
    "uint64 issuedAt,uint64 expiresAt)"
)


@dataclass(frozen=True, slots=True)
class HoldName:
    """What a hold is called: number and hash of its own entry in the broker's log."""

    sequence: int
    hash: Digest

    def to_json(self) -> dict[str, Any]:
        """The name as messages carry it."""
        return {"sequence": self.sequence, "hash": str(self.hash)}

    @classmethod
    def from_json(cls, value: Any) -> HoldName:
        """Read a name.

        Raises:
            ManifestError: not one.
        """
        doc = Document(value, "the hold", ("sequence", "hash"))
        return cls(doc.integer("sequence", 1), doc.digest("hash"))


@dataclass(frozen=True, slots=True)
class HoldRelease:
    """The end of one hold, in the words of the license's licensor. Times in Unix seconds."""

    license: LicenseId
    hold: HoldName
    audience: str
    issued_at: int
    expires_at: int
    licensor: Address
    signature: bytes = b""

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        return {
            "licenseId": int(self.license),
            "holdReceipt": self.hold.sequence,
            "holdHash": self.hold.hash,
            "audience": self.audience,
            "issuedAt": self.issued_at,
            "expiresAt": self.expires_at,
        }

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest that the wallet signs."""
        return domain.digest(RELEASE_TYPE, self.values())

    def signed(self, signer: TypedSigner, domain: Domain) -> HoldRelease:
        """The same release with the licensor's signature."""
        return replace(self, signature=signer.sign_typed(domain, RELEASE_TYPE, self.values()))

    def to_json(self) -> dict[str, Any]:
        """The release as it is sent."""
        return {
            "version": VERSION,
            "license": str(self.license),
            "hold": self.hold.to_json(),
            "audience": self.audience,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "licensor": str(self.licensor),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> HoldRelease:
        """Read a release; the signature is not yet checked.

        Raises:
            ManifestError: not a release.
        """
        doc = Document(
            value,
            "the hold release",
            (
                "version", "license", "hold", "audience", "issued_at", "expires_at", "licensor",
                "signature",
            ),
        )  # fmt: skip
        doc.integer("version", VERSION, VERSION)
        return cls(
            license=doc.license(),
            hold=HoldName.from_json(doc.object("hold")),
            audience=doc.text("audience", limit=200),
            issued_at=doc.integer("issued_at"),
            expires_at=doc.integer("expires_at"),
            licensor=doc.address("licensor"),
            signature=read_signature(doc),
        )


def to_sign(release: HoldRelease, domain: Domain) -> dict[str, Any]:
    """A release for a wallet that signs elsewhere, with a place for its signature."""
    shown = domain.typed_data(RELEASE_TYPE, release.values())
    # JavaScript wallets lose the lower bits of a large number; as text they take it whole.
    shown["message"] = {
        name: str(value) if isinstance(value, int) else value
        for name, value in shown["message"].items()
    }
    unsigned = {**release.to_json(), "signature": None}
    return {"type": TO_SIGN_TYPE, "version": 1, "release": unsigned, "typed_data": shown,
            "signature": None}  # fmt: skip


def signed_elsewhere(document: Any) -> HoldRelease:
    """The release of such a document, once its signature is in; typed data is not read again.

    Raises:
        ManifestError: not one, or the signature is missing.
    """
    doc = Document(
        document,
        "the hold release to sign",
        ("type", "version", "release", "typed_data", "signature"),
    )
    doc.kind(TO_SIGN_TYPE)
    return HoldRelease.from_json({**doc.object("release"), "signature": doc.value.get("signature")})


def check_addressed(release: HoldRelease, license_id: LicenseId, audience: str, now: int) -> None:
    """Step 1: for this broker and license, and now.

    Raises:
        KeyRequestRejected: it is not.
    """
    if release.audience != audience or release.license != license_id:
        raise KeyRequestRejected("the hold release is for another broker or license", check=1)
    if release.issued_at > now + SKEW:
        raise KeyRequestRejected(
            f"the hold release was signed at {moment(release.issued_at)}, which is still to come",
            check=1,
            hint="check the clocks of both hosts",
        )
    if not release.issued_at < release.expires_at <= release.issued_at + MAX_LIFETIME:
        raise KeyRequestRejected("a hold release lives 7 days at most", check=1)
    if release.expires_at <= now:
        raise KeyRequestRejected(
            f"the hold release expired at {moment(release.expires_at)}",
            check=1,
            hint="sign a new one: deed license release-hold",
        )


def check_named(release: HoldRelease, held: HoldName | None) -> None:
    """Step 2, and again step 6: it names the hold that there is.

    Raises:
        KeyRequestRejected: it does not.
    """
    if held is None:
        raise KeyRequestRejected(
            f"license {release.license} is not held here", check=2, hint="nothing is left to do"
        )
    if release.hold != held:
        raise KeyRequestRejected(
            f"license {release.license} is held since receipt {held.sequence}, not by the hold "
            f"of receipt {release.hold.sequence} that the release names",
            check=2,
            hint="look at the present hold, and sign for that: deed license release-hold",
        )


def check_account(release: HoldRelease, domain: Domain) -> bool:
    """Step 3: whether the account `licensor` signed; False leaves it to a contract."""
    return account_of(release.digest(domain), release.signature) == release.licensor


def check_licensor(release: HoldRelease, chain: ChainState) -> None:
    """Step 4: the stated licensor is the one, at both blocks.

    Raises:
        KeyRequestRejected: someone else is, or nobody.
        PendingFinality: at the head alone.
        EndpointsDisagree: endpoints contradict each other.
    """
    _require(release, chain.head)
    if chain.contrary:
        raise EndpointsDisagree(
            f"endpoints contradict each other: {'; '.join(chain.contrary)}",
            hint="no hold ends until they agree; try again shortly",
        )
    try:
        _require(release, chain.finalized)
    except KeyRequestRejected:
        raise PendingFinality(
            f"{release.licensor} is the licensor of license {release.license}, but not yet finally "
            f"(block {chain.finalized.block.number} is final)",
            retry_after=2.0,
            hint="wait for finality",
        ) from None


def _require(release: HoldRelease, side: Side) -> None:
    plan, who = side.plan, release.licensor
    if plan is None or plan.licensor == ZERO_ADDRESS:
        raise KeyRequestRejected(f"license {release.license} is not on the chain", check=4)
    if plan.licensor != side.title_holder:
        raise KeyRequestRejected(
            f"plan {plan.id} is behind its title, which {side.title_holder} holds",
            check=4,
            hint=f"the titleholder can bring it up: deed plan sync {plan.id}",
        )
    if who != plan.licensor:
        raise KeyRequestRejected(
            f"the licensor of license {release.license} is {plan.licensor}, not {who}",
            check=4,
            hint="sign with the licensor's wallet: --wallet NAME",
        )


def check_contract(release: HoldRelease, chain: ChainState, domain: Domain, ask: AskWallet) -> None:
    """Step 5: the licensor is a contract that accepts the signature.

    Raises:
        SignatureInvalid: it does not, or is none.
        PendingFinality, EndpointsDisagree, UnavailableError: no answer that counts.
    """
    said = ask(_held_by(chain, release.licensor), release.digest(domain), release.signature)
    if why := refusal(said, release.licensor, "hold release"):
        raise SignatureInvalid(
            f"the hold release is not signed by {release.licensor}: {why}",
            step=5,
            hint="sign with the licensor's wallet: --wallet NAME",
        )


def _held_by(chain: ChainState, wallet: Address) -> ChainState:
    """The same state as if `wallet` held the license: it is the holder's wallet that is asked."""

    def side(one: Side) -> Side:
        return replace(one, license=replace(one.license, holder=wallet))

    return replace(chain, finalized=side(chain.finalized), head=side(chain.head))
