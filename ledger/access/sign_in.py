"""Is a signed message a sign-in to this service, now? The steps of docs/spec/access.md.

The last step, that the nonce is ours and used once, is the database's (`AccessStore.open_session`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.access.message import SignInMessage, parse_message, unix_time
from ledger.eip712 import recover
from ledger.errors import SignatureInvalid, SignInRefused
from ledger.ids import Address, Digest

NONCE_SECONDS: Final = 300
SIGNED: Final = 6
"""The step that a contract wallet may still pass where no key has signed."""
AHEAD_SECONDS: Final = 60
"""A wallet's clock may be this much ahead of ours."""

AskWallet = Callable[[Address, Digest, bytes], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """What a message must be for. From the settings, never from a request's Host header.

    Attributes:
        origin: ``scheme://authority`` of the service.
        chain_id: of the deployment it serves.
    """

    origin: str
    chain_id: int

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` on this machine."""
        return self.origin.partition("://")[0]

    @property
    def domain(self) -> str:
        """What follows it."""
        return self.origin.partition("://")[2]


def check_sign_in(
    text: str, signature: bytes, place: Place, *, now: float, ask_wallet: AskWallet | None = None
) -> SignInMessage:
    """Steps 1 to 6; what comes back is signed by its account, and its nonce is still to be used.

    Args:
        text: the message.
        signature: 65 bytes of an account, or whatever a contract wallet takes.
        place: of this service.
        now: Unix seconds.
        ask_wallet: asks a contract wallet (ERC-1271); None where no chain can be asked.

    Raises:
        SignInRefused: with the number of the step.
        LedgerError: the chain could not be asked.
    """
    # (1) The grammar, to the last byte.
    message = parse_message(text)
    # (2) The domain is this service's, and so is the scheme where one is named.
    if message.domain != place.domain or message.scheme not in {None, place.scheme}:
        raise SignInRefused(
            f"the message is for another domain than {place.domain}",
            step=2,
            hint="never sign another site's message; ask this service with POST /v1/auth/nonce",
        )
    # (3) So is the URI.
    if message.uri != place.origin and not message.uri.startswith(place.origin + "/"):
        raise SignInRefused(f"the message's URI is not below {place.origin}", step=3)
    # (4) So is the chain.
    if message.chain_id != str(place.chain_id):
        raise SignInRefused(
            f"the message is for another chain than {place.chain_id}",
            step=4,
            hint="switch the wallet to that chain, and sign a new message",
        )
    # (5) Its time is now.
    issued = unix_time(message.issued_at)
    if issued > now + AHEAD_SECONDS or issued < now - NONCE_SECONDS - AHEAD_SECONDS:
        raise SignInRefused(
            "the message was not issued just now", step=5, hint="check the clock; sign a new one"
        )
    if message.expiration_time is not None and unix_time(message.expiration_time) <= now:
        raise SignInRefused("the message has expired", step=5)
    if message.not_before is not None and unix_time(message.not_before) > now:
        raise SignInRefused("the message is not valid yet", step=5)
    # (6) The account signed it. Cheap checks first: this one costs a tenth of a millisecond.
    if not _signed(message, signature, ask_wallet):
        raise SignInRefused(
            f"the signature is not that of {message.address}",
            step=SIGNED,
            hint="sign the message as it is, with personal_sign, by the account it names",
        )
    return message


def _signed(message: SignInMessage, signature: bytes, ask_wallet: AskWallet | None) -> bool:
    digest, account = message.digest(), message.account
    try:
        if recover(digest, signature) == account:
            return True
    except SignatureInvalid:
        pass
    return ask_wallet is not None and ask_wallet(account, digest, signature)
