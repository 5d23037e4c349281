"""Signatures of a holder's wallet: an account's, a contract's, or a contract's to be. Pure.

An account's signature (65 bytes) is recovered. A contract wallet (ERC-1271) only says yes or no
when it is asked at a block; one that is not deployed yet (ERC-6492) is asked after its factory ran
in a simulation. So for contracts the chain decides, at the finalized block and at the head
(docs/spec/key-release.md, "Holder's signatures"), and a host that sees no chain can check nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from ledger.eip712 import recover
from ledger.errors import EndpointsDisagree, PendingFinality, SignatureInvalid
from ledger.ids import Address, Digest
from ledger.licensing.document import Document

if TYPE_CHECKING:
    from ledger.broker.facts import ChainState

MAX_SIGNATURE: Final = 8192
"""Bytes of the longest signature that is read."""
ACCOUNT_SIGNATURE: Final = 65
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*\Z")


class WalletSays(IntEnum):
    """A contract wallet's answer about one signature: the words of ``WalletProbe.sol``."""

    REFUSED = 0
    ACCEPTED = 1
    NO_CODE = 2
    FAILED = 3
    MALFORMED = 4
    FACTORY_FAILED = 5

    @property
    def sentence(self) -> str:
        """The answer in words, to follow "the wallet"."""
        return _SENTENCES[self]


_SENTENCES: Final = {
    WalletSays.REFUSED: "does not take it for its own",
    WalletSays.ACCEPTED: "takes it for its own",
    WalletSays.NO_CODE: "is no contract that could be asked",
    WalletSays.FAILED: "reverted or ran out of gas when it was asked",
    WalletSays.MALFORMED: "answered with something else than 32 bytes",
    WalletSays.FACTORY_FAILED: "is not deployed, and the factory named did not make it",
}


@dataclass(frozen=True, slots=True)
class SignatureState:
    """What the holder's wallet says at the agreed finalized block and at the agreed head."""

    finalized: WalletSays
    head: WalletSays
    contrary: tuple[str, ...] = ()


class AskWallet(Protocol):
    """Asks the wallet that holds the license at each of the two blocks."""

    def __call__(self, chain: ChainState, digest: Digest, signature: bytes, /) -> SignatureState:
        """The answers.

        Raises:
            SignatureInvalid: not a signature that could be asked about.
            EndpointsDisagree, UnavailableError: no answer that the chain rule accepts.
        """
        ...


def read_signature(doc: Document, name: str = "signature") -> bytes:
    """A wallet's signature: ``0x`` and lower-case hex of at most `MAX_SIGNATURE` bytes.

    Raises:
        ManifestError: it is not.
    """
    value = doc.value.get(name)
    if (
        not isinstance(value, str)
        or len(value) > 2 + 2 * MAX_SIGNATURE
        or _HEX.match(value) is None
    ):
        raise doc.fail(name, f"0x and lower-case hex digits of at most {MAX_SIGNATURE} bytes")
    return bytes.fromhex(value[2:])


def account_of(digest: Digest, signature: bytes) -> Address | None:
    """The account that made a signature, None when no account did."""
    if len(signature) != ACCOUNT_SIGNATURE:
        return None
    try:
        return recover(digest, signature)
    except SignatureInvalid:
        return None


def refusal(state: SignatureState, holder: Address, what: str) -> str | None:
    """Why a contract wallet's signature does not count; None when it does.

    A no at the head is a no, also where an endpoint differs or the finalized block still says yes.

    Raises:
        EndpointsDisagree: the wallet answers otherwise through one endpoint.
        PendingFinality: accepted at the head, and not at the finalized block.
    """
    if state.head is not WalletSays.ACCEPTED:
        return f"the wallet {holder} {state.head.sentence}"
    if state.contrary:
        raise EndpointsDisagree(
            f"endpoints contradict each other about the {what}: {'; '.join(state.contrary)}",
            hint="no key is released until they agree; try again shortly",
        )
    if state.finalized is not WalletSays.ACCEPTED:
        raise PendingFinality(
            f"the wallet {holder} accepts the {what} now; at the finalized block it "
            f"{state.finalized.sentence}",
            retry_after=2.0,
            hint="wait for finality",
        )
    return None
