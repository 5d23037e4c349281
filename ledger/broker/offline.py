"""Requests and answers carried as files (docs/spec/offline-release.md): formats and nonces.

A host without a network makes the challenge itself. That it is used once is the broker's doing: the
runtime signs the intent ``offline``, and the nonce is spent in the broker's database before
anything is decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from ledger.broker.denials import Denial
from ledger.broker.protocol import KeyRequest
from ledger.broker.signing import BrokerPublicKeys
from ledger.errors import KeyRequestRejected
from ledger.ids import Digest
from ledger.licensing.document import Document

Intent = Literal["release", "offline"]
INTENT: Final = "offline"
REQUEST_TYPE: Final = "modeldeed/offline-request"
RESPONSE_TYPE: Final = "modeldeed/offline-response"
MAX_BYTES: Final = 1 << 20

WINDOW_SECONDS: Final = 72 * 3600
"""How long after it was made a request may be answered: a courier's weekend."""
TOLERANCE_SECONDS: Final = 3600
"""How far an isolated host's clock may be off."""
LIMITS: Final[Mapping[str, int]] = {"lifetime": WINDOW_SECONDS, "tolerance": TOLERANCE_SECONDS}
_SIGNED_STEP: Final = 3


@dataclass(frozen=True, slots=True)
class OfflineRequest:
    """A request as a file, with the terms that its card carried."""

    request: KeyRequest
    terms: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The request file."""
        return {
            "type": REQUEST_TYPE,
            "version": 1,
            "request": self.request.to_json(),
            "terms": None if self.terms is None else dict(self.terms),
        }

    @classmethod
    def from_json(cls, value: Any) -> OfflineRequest:
        """Read a request file; no signature is checked yet.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(value, "the request file", ("type", "version", "request", "terms"))
        doc.kind(REQUEST_TYPE)
        return cls(
            KeyRequest.from_json(doc.object("request")),
            doc.object("terms") if doc.has("terms") else None,
        )


@dataclass(frozen=True, slots=True)
class OfflineResponse:
    """A broker's signed reply as a file, with the keys to check it by."""

    signing: BrokerPublicKeys
    reply: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The response file."""
        return {
            "type": RESPONSE_TYPE,
            "version": 1,
            "signing": self.signing.to_json(),
            "reply": self.reply,
        }

    @classmethod
    def from_json(cls, value: Any) -> OfflineResponse:
        """Read a response file; neither keys nor signatures are checked yet.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(value, "the response file", ("type", "version", "signing", "reply"))
        doc.kind(RESPONSE_TYPE)
        return cls(BrokerPublicKeys.from_json(doc.object("signing")), doc.object("reply"))


class NonceStore(Protocol):
    """Where spent nonces and what was released for them are kept; the broker's database."""

    def spend_nonce(self, nonce: bytes, *, now: int, forget_at: int) -> bool:
        """Use one up; False when it was used before."""
        ...

    def return_nonce(self, nonce: bytes) -> None:
        """Hand back one that the caller spent."""
        ...

    def keep_answer(self, request: Digest, document: str, *, now: int, forget_at: int) -> None:
        """Keep what was released."""
        ...

    def kept_answer(self, request: Digest) -> str | None:
        """What was released for exactly this request, if it was."""
        ...


def spend(store: NonceStore, request: KeyRequest, *, now: int) -> bool:
    """Use up the request's nonce; False when it was used before."""
    # Past this moment step 2 refuses the request for good, so it need not be remembered.
    forget_at = request.expires_at + TOLERANCE_SECONDS + 1
    return store.spend_nonce(request.challenge, now=now, forget_at=forget_at)


def check_nonce(*, unspent: bool) -> str:
    """(1) The nonce was never used before, and is used up by this.

    Raises:
        KeyRequestRejected: it was.
    """
    if not unspent:
        raise KeyRequestRejected(
            "this request was answered before, and each is answered once",
            check=1,
            hint="let the host make a new one: deed runtime request CARD",
        )
    return "offline: made by the runtime, never used before, now spent"


def settle(store: NonceStore, request: KeyRequest, denial: Denial | None) -> None:
    """Hand the nonce back where nothing was given for it and the refusal is no final one.

    Called inside the transaction of the decision, and only by who spent it: a refusal at step 1
    leaves it spent.
    """
    if denial is None or denial.check == 1:
        return
    if denial.check <= _SIGNED_STEP or not denial.authoritative:
        store.return_nonce(request.challenge)


def keep(
    store: NonceStore,
    request: KeyRequest,
    signing: BrokerPublicKeys,
    reply: dict[str, Any],
    *,
    now: int,
) -> None:
    """Keep a release for as long as its request is good; inside the decision's transaction."""
    document = json.dumps(OfflineResponse(signing, reply).to_json())
    forget_at = request.expires_at + TOLERANCE_SECONDS + 1
    store.keep_answer(request.hash(), document, now=now, forget_at=forget_at)


def kept(store: NonceStore, request: KeyRequest) -> OfflineResponse | None:
    """The release that this very request was given, to be given again to whoever lost it.

    It is the same bytes for the same KEM key, so nobody learns or gains by it.
    """
    found = store.kept_answer(request.hash())
    return None if found is None else OfflineResponse.from_json(json.loads(found))
