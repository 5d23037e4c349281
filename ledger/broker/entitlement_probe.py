"""The one ``eth_call`` by which everything a decision needs is read at a block.

``contracts/src/EntitlementProbe.sol`` runs as creation code, so nothing has to stand on the chain
for it. It returns the contracts' answers one after the other, byte for byte, which are read here
word by word: each is at a fixed place and of a fixed width, and anything else is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.broker.facts import PlanFacts, Side
from ledger.broker.leases import BlockRef
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Block, block_param, data
from ledger.errors import ChainError
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status

CALL_GAS: Final = 8_000_000
"""Gas of the call: half a million for a set of three brokers, three for one of 255."""

_WORD: Final = 32
_ADDRESS, _HASH = 160, 256
_CHECK: Final = (8, 40, 40, 32)
_MODEL: Final = (_ADDRESS, 40, 40, 8, 1)
_SEALING: Final = (64, _HASH)
_LICENSE: Final = (_ADDRESS, 40, 40, 8, 16, 64, 40)
_SEAT: Final = (40, 40, _HASH)
_TERMS: Final = (
    *(_HASH, _HASH, 40, 24, 32, 32, 32, 32, 32, 16, 32, 64, 64, 64, _ADDRESS, 96),
    *(1, 1, 1),
)
_STATE: Final = (_ADDRESS, 32, 32, 1, _HASH)
_SHORT: Final = (*_CHECK, *_MODEL, *_SEALING)
"""Bits of each word of an answer about a license that is not there."""
_LONG: Final = (*_SHORT, *_LICENSE, *_SEAT, *_TERMS, *_STATE)
"""As `_SHORT`, of one that is; its broker set follows, where there is one."""
_MEASUREMENT_PLACE: Final = len(_SHORT) + len(_LICENSE) + 2
_SET_HEAD: Final = 4
_MAX_BROKERS: Final = 255


@dataclass(frozen=True, slots=True)
class Question:
    """Which license, model and runtime a decision is about."""

    license: LicenseId
    model: ModelId
    runtime_key_hash: Digest


class EntitlementProbe:
    """Asks for entitlements of one deployment, and reads the answers. Holds no state."""

    def __init__(self, deployment: Deployment) -> None:
        addresses = [
            deployment.addresses[name]
            for name in ("LicenseLedger", "ModelRegistry", "BrokerRegistry")
        ]
        code = contract("EntitlementProbe").bytecode
        words = b"".join(bytes(12) + address.raw for address in addresses)
        self._head = "0x" + (code + words).hex()

    def request(self, question: Question, block: Digest, *, at: int) -> tuple[str, list[Any]]:
        """The JSON-RPC request that asks at a block.

        Args:
            question: what is asked about.
            block: hash of the block.
            at: Unix seconds of the decision; not before the block.
        """
        call = {
            "data": (
                f"{self._head}{int(question.license):064x}{question.model.raw.hex()}"
                f"{question.runtime_key_hash.raw.hex()}{at:064x}"
            ),
            "gas": hex(CALL_GAS),
        }
        return "eth_call", [call, block_param(block)]


def side_of(result: Any, license_id: LicenseId, block: Block) -> Side:
    """The answer to a request about a license at a block.

    Raises:
        ChainError: no answer of the probe.
    """
    raw = data(result)
    words = [int.from_bytes(raw[i : i + _WORD], "big") for i in range(0, len(raw), _WORD)]
    if len(raw) < _WORD * len(_SHORT) or len(raw) % _WORD:
        raise _unreadable()
    there = words[0] != Code.NOT_FOUND
    shape = _LONG if there else _SHORT
    _fit(words, shape)
    if not there and len(words) > len(shape):
        raise _unreadable()
    model, sealing = words[4:9], words[9:11]
    license_facts, plan, nonce = _no_license(license_id), None, 0
    threshold, brokers = 1, ()  # type: tuple[int, tuple[int, ...]]
    if there:
        license_facts, nonce = _license(words, license_id)
        plan = _plan(words, license_id)
        threshold, brokers = _set(words[len(_LONG) :])
    return Side(
        block=BlockRef(block.number, block.hash, block.timestamp),
        code=words[0],
        license=license_facts,
        grant_nonce=nonce,
        plan=plan,
        title_holder=_address(model[0]),
        model_status=model[3],
        sealing_epoch=sealing[0],
        sealing=_digest(sealing[1]),
        brokers=brokers,
        threshold=threshold,
    )


def _fit(words: list[int], shape: tuple[int, ...]) -> None:
    if len(words) < len(shape):
        raise _unreadable()
    for word, bits in zip(words, shape, strict=False):
        if word >> bits:
            raise _unreadable()


def _license(words: list[int], license_id: LicenseId) -> tuple[LicenseFacts, int]:
    at = len(_SHORT)
    holder, not_before, not_after, status, _, nonce, suspended_at = words[at : at + 7]
    bound_at, until, measurement = words[at + 7 : at + 10]
    terms = at + 10
    if status not in set(Status) or measurement & ((1 << 96) - 1):
        raise _unreadable()
    facts = LicenseFacts(
        license=license_id,
        holder=_address(holder),
        status=Status(status),
        not_before=not_before,
        not_after=not_after,
        suspended_at=suspended_at,
        licensor=_address(words[terms + len(_TERMS)]),
        grace=words[terms + 3],
        seat=Seat(bound_at, until, (measurement >> 96).to_bytes(20, "big")),
    )
    return facts, nonce


def _plan(words: list[int], license_id: LicenseId) -> PlanFacts:
    at = len(_SHORT) + len(_LICENSE) + len(_SEAT)
    terms = words[at : at + len(_TERMS)]
    return PlanFacts(
        id=license_id.plan,
        model=ModelId(terms[0].to_bytes(_WORD, "big")),
        licensor=_address(words[at + len(_TERMS)]),
        terms_hash=_digest(terms[1]),
        lease_ttl=terms[4],
        grace=terms[3],
        seats=terms[9],
        quota=terms[11],
        features=terms[12],
        broker_set=terms[13],
        floating=bool(terms[16]),
        warn_only=bool(terms[17]),
    )


def _set(words: list[int]) -> tuple[int, tuple[int, ...]]:
    """Threshold and members; a set that is not there has none, and releases nothing."""
    if not words:
        return 1, ()
    if len(words) < _SET_HEAD:
        raise _unreadable()
    owner, threshold, place, count = words[:_SET_HEAD]
    members = words[_SET_HEAD:]
    if owner >> _ADDRESS or threshold >> 8 or place != 3 * _WORD or count != len(members):
        raise _unreadable()
    if count > _MAX_BROKERS or any(member >> 64 for member in members):
        raise _unreadable()
    return threshold, tuple(members)


def _address(word: int) -> Address:
    return Address(word.to_bytes(20, "big"))


def _digest(word: int) -> Digest:
    return Digest(word.to_bytes(_WORD, "big"))


def _no_license(license_id: LicenseId) -> LicenseFacts:
    return LicenseFacts(license_id, ZERO_ADDRESS, Status.NONE, 0, 0, 0, ZERO_ADDRESS)


def _unreadable() -> ChainError:
    return ChainError(
        "an endpoint sent something that is not the answer of the entitlement probe",
        hint="the addresses may hold other contracts; check with deed chain status",
    )
