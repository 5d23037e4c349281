"""Where a broker's facts about the chain come from; ``chainview.ChainView`` over n endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.broker.facts import ChainState
from ledger.broker.wallet_signatures import SignatureState
from ledger.chain.health import EndpointHealth
from ledger.ids import Address, Digest, LicenseId, ModelId


class ChainReader(Protocol):
    """Reads licenses, titles and wallets by the chain rule."""

    def license_state(
        self, license_id: LicenseId, model: ModelId, runtime_key_hash: Digest, *, now: int
    ) -> ChainState:
        """License, plan, title and sealing at the agreed finalized block and at the agreed head.

        Raises:
            ChainError, UnavailableError: no state that the chain rule accepts.
        """
        ...

    def title_state(self, model: ModelId, epoch: int) -> tuple[Address, Digest]:
        """Titleholder of a model and the record hash lodged for one sealing epoch, at the head.

        Raises:
            ChainError, UnavailableError: no state that the chain rule accepts.
        """
        ...

    def signature_state(
        self, chain: ChainState, digest: Digest, signature: bytes
    ) -> SignatureState:
        """What the license's holder, a contract wallet, says about a signature at both blocks.

        Raises:
            SignatureInvalid: not a signature that could be asked about.
            ChainError, UnavailableError: no answer that the chain rule accepts.
        """
        ...

    def health(self) -> Sequence[EndpointHealth]:
        """What is remembered of each endpoint, in the order given."""
        ...

    @property
    def quorum(self) -> int:
        """How many endpoints must agree."""
        ...
