"""Random events that could have come from our contracts, and what the contracts hold after them.

Nothing here knows the code under test, but for the declarations of the events.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from Crypto.Hash import keccak
from eth_abi.abi import encode as abi_encode

from ledger.ids import Address
from ledger.index.decode import _DECLARED, SPELLED


def hash_(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


ADDRESSES = {name: Address(hash_(name.encode())[12:]) for name in _DECLARED}
STRANGER = hash_(b"a stranger's contract")[12:]


@dataclass(frozen=True)
class Emitted:
    """A log before it has a place."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


_DECLARATIONS: dict[tuple[str, str], list[tuple[str, bool, str]]] = {}
for _contract, _texts in _DECLARED.items():
    for _text in _texts:
        _name, _, _inner = _text.removesuffix(")").partition("(")
        _DECLARATIONS[_contract, _name] = [
            (SPELLED.get(match[1], match[1]), bool(match[2]), match[3])
            for part in _inner.split(",")
            if part and (match := re.match(r"^(\S+?)( indexed)? (\w+)$", part))
        ]


@cache
def topic0(contract: str, event: str) -> bytes:
    kinds = ",".join(kind for kind, _, _ in _DECLARATIONS[contract, event])
    return hash_(f"{event}({kinds})".encode())


def emit(contract: str, event: str, **values: Any) -> Emitted:
    """The log of one event with these arguments."""
    declared = _DECLARATIONS[contract, event]
    topics = [topic0(contract, event)]
    topics += [abi_encode([kind], [values[name]]) for kind, indexed, name in declared if indexed]
    plain = [(kind, values[name]) for kind, indexed, name in declared if not indexed]
    data = abi_encode([kind for kind, _ in plain], [value for _, value in plain])
    return Emitted(ADDRESSES[contract].raw, tuple(topics), data)


@dataclass
class State:
    """What the contracts hold, as far as later events and view calls depend on it."""

    models: dict[bytes, bytes] = field(default_factory=dict)
    holders: dict[bytes, bytes] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)
    epochs: dict[bytes, int] = field(default_factory=dict)
    plans: dict[int, bytes] = field(default_factory=dict)
    licensors: dict[int, bytes] = field(default_factory=dict)
    serials: dict[int, int] = field(default_factory=dict)
    licenses: dict[int, bytes] = field(default_factory=dict)
    seats: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    sales: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    brokers: dict[int, int] = field(default_factory=dict)
    sets: int = 0
    roots: int = 0

    def copy(self) -> State:
        return replace(self, **{k: dict(v) for k, v in vars(self).items() if isinstance(v, dict)})


class Story:
    """Random events that could have come from the contracts in this state."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def bytes(self, size: int = 32) -> bytes:
        return self.rng.randbytes(size)

    def transaction(self, state: State, time: int) -> list[Emitted]:
        """One transaction; changes `state`."""
        actions = [self.anchor, self.register, self.broker]
        if state.models:
            actions += [self.lodge, self.transfer_title, self.plan, self.plan]
        if state.plans:
            actions += [self.issue] * 4 + [self.role, self.sell, self.sell]
        if state.licenses:
            actions += [self.change] * 6
        if state.sales:
            actions += [self.close_sale]
        if state.brokers:
            actions += [self.receipts]
        return self.rng.choice(actions)(state, time)

    def anchor(self, state: State, time: int) -> list[Emitted]:
        sender = self.bytes(20)
        if self.rng.random() < 0.3:
            return [
                emit(
                    "Anchors",
                    "PhaseACommitted",
                    sender=sender,
                    number=self.rng.randrange(1 << 62),
                    commitment=self.bytes(),
                )
            ]
        return [emit("Anchors", "RootAnchored", root=self.bytes(), sender=sender)]

    def register(self, state: State, time: int) -> list[Emitted]:
        model, licensor = self.bytes(), self.bytes(20)
        # Sometimes in the very second of its commitment, which the event alone does not tell.
        committed = time - self.rng.choice([0, 12, 3600])
        proven = self.rng.random() < 0.5
        state.models[model] = abi_encode(
            ["address", "uint40", "uint40", "uint8", "bool"], [licensor, time, committed, 1, proven]
        )
        state.holders[model], state.sequences[model], state.epochs[model] = licensor, 0, 0
        return [
            emit(
                "ModelRegistry",
                "ModelRegistered",
                modelId=model,
                licensor=licensor,
                artifactRoot=self.bytes(),
                fingerprintDigest=self.bytes(),
                watermarkCommitment=self.bytes(),
                manifestHash=self.bytes(),
                registeredAt=time,
                committedAt=committed,
            )
        ]

    def lodge(self, state: State, time: int) -> list[Emitted]:
        model = self.rng.choice(list(state.models))
        kind = self.rng.choice([1, 2, 3])
        epoch = 0
        if kind == 1:
            epoch = state.epochs[model] = state.epochs[model] + 1
        return [
            emit(
                "ModelRegistry",
                "RecordLodged",
                modelId=model,
                kind=kind,
                sender=self.bytes(20),
                epoch=epoch,
                recordHash=self.bytes(),
            )
        ]

    def transfer_title(self, state: State, time: int) -> list[Emitted]:
        model = self.rng.choice(list(state.models))
        old, new = state.holders[model], self.bytes(20)
        state.holders[model] = new
        state.sequences[model] += 1
        values = {"modelId": model, "from": old, "to": new}
        return [
            emit("ModelRegistry", "TitleTransferProposed", **values),
            emit("ModelRegistry", "TitleTransferred", sequence=state.sequences[model], **values),
        ]

    def plan(self, state: State, time: int) -> list[Emitted]:
        model = self.rng.choice(list(state.models))
        licensor, terms_hash = self.bytes(20), self.bytes()
        words = model + terms_hash
        numbers = [86400, 3600, 600, 7200, 0, 0, 0, self.rng.randrange(1, 9), 0]
        numbers += [2**64 - 1, self.rng.randrange(1 << 63), 1, 0, self.rng.randrange(2**96)]
        numbers += [0, 0, 1]
        words += b"".join(number.to_bytes(32, "big") for number in numbers)
        number = max(state.plans, default=0) + 1
        state.plans[number] = words + bytes(5 * 32)
        state.licensors[number] = licensor
        state.serials[number] = 0
        digest = hash_(hash_(b"modeldeed/plan/1") + licensor.rjust(32, b"\0") + words)
        return [
            emit(
                "LicenseLedger",
                "PlanCreated",
                planId=number,
                licensor=licensor,
                modelId=model,
                termsHash=terms_hash,
                planDigest=digest,
            )
        ]

    def issue(self, state: State, time: int) -> list[Emitted]:
        plan = self.rng.choice(list(state.plans))
        found = []
        for _ in range(self.rng.choice([1, 1, 1, 3])):
            state.serials[plan] += 1
            license_, to = plan << 32 | state.serials[plan], self.bytes(20)
            state.licenses[license_] = to
            state.seats[license_] = ()
            found += [
                emit(
                    "LicenseLedger", "Transfer", **{"from": bytes(20), "to": to}, tokenId=license_
                ),
                emit(
                    "LicenseLedger",
                    "LicenseIssued",
                    licenseId=license_,
                    planId=plan,
                    to=to,
                    notBefore=time,
                    notAfter=time + 86400,
                ),
                # No indexed argument: the second one of a block adds no bit to its bloom.
                emit("LicenseLedger", "Locked", tokenId=license_),
            ]
        return found

    def sell(self, state: State, time: int) -> list[Emitted]:
        """A license bought, or one renewed; few licensors and tokens, so that totals add up."""
        licensor, token = (
            bytes([self.rng.randrange(1, 4)]) * 20,
            bytes([self.rng.randrange(2)]) * 20,
        )
        payer, amount = self.bytes(20), self.rng.randrange(1, 1 << 96)
        sold = {"payer": payer, "licensor": licensor, "payToken": token, "amount": amount}
        if state.licenses and self.rng.random() < 0.3:
            license_ = self.rng.choice(list(state.licenses))
            return [
                *self.shares(licensor, token, amount),
                emit("LicenseMarket", "LicenseRenewalSold", licenseId=license_, **sold),
            ]
        plan = self.rng.choice(list(state.plans))
        state.serials[plan] += 1
        license_ = plan << 32 | state.serials[plan]
        state.licenses[license_], state.seats[license_] = payer, ()
        until = self.rng.choice([0, time + 3600])
        if until:
            state.sales[license_] = (token, amount)
        return [
            emit("LicenseLedger", "Transfer", **{"from": bytes(20), "to": payer}, tokenId=license_),
            emit(
                "LicenseLedger",
                "LicenseIssued",
                licenseId=license_,
                planId=plan,
                to=payer,
                notBefore=time,
                notAfter=time + 86400,
            ),
            *([] if until else self.shares(licensor, token, amount)),
            emit("LicenseMarket", "LicenseSold", licenseId=license_, refundableUntil=until, **sold),
        ]

    def shares(self, licensor: bytes, token: bytes, amount: int) -> list[Emitted]:
        """What a sale is divided into, and what somebody took of what was owed before."""
        part = {"payToken": token, "amount": amount // 3}
        account, model = bytes([self.rng.randrange(4)]) * 20, bytes([self.rng.randrange(2)]) * 32
        return [
            emit("LicenseMarket", "RoyaltyAccrued", modelId=model, **part),
            emit("LicenseMarket", "Accrued", account=account, **part),
            emit("LicenseMarket", "Accrued", account=licensor, payToken=token, amount=amount // 2),
            self.rng.choice(
                [
                    emit("LicenseMarket", "Withdrawn", account=account, to=self.bytes(20), **part),
                    emit("LicenseMarket", "RoyaltiesCollected", modelId=model, to=account, **part),
                    emit("LicenseMarket", "RoyaltyPinned", planId=1, modelId=model, bps=500),
                    emit(
                        "LicenseMarket",
                        "PayeesSet",
                        planId=1,
                        licensor=licensor,
                        payees=[(account, 1 + at) for at in range(self.rng.randrange(3))],
                    ),
                ]
            ),
        ]

    def close_sale(self, state: State, time: int) -> list[Emitted]:
        """A sale that was open is settled, or its price is given back."""
        license_ = self.rng.choice(list(state.sales))
        token, amount = state.sales.pop(license_)
        if self.rng.random() < 0.5:
            return [emit("LicenseMarket", "SaleSettled", licenseId=license_, amount=amount)]
        values = {"licenseId": license_, "payToken": token, "amount": amount}
        return [emit("LicenseMarket", "SaleRefunded", to=state.licenses[license_], **values)]

    def role(self, state: State, time: int) -> list[Emitted]:
        return [
            emit(
                "LicenseLedger",
                "RoleSet",
                planId=self.rng.choice(list(state.plans)),
                account=bytes([self.rng.randrange(3)]) * 20,
                roles=self.rng.randrange(4),
                roleEpoch=1,
            )
        ]

    def change(self, state: State, time: int) -> list[Emitted]:
        license_ = self.rng.choice(list(state.licenses))
        what = self.rng.randrange(8)
        if what == 0:
            return [
                emit("LicenseLedger", "LicenseRenewed", licenseId=license_, notAfter=time + 99999)
            ]
        if what in {1, 2}:
            name = "LicenseSuspended" if what == 1 else "LicenseReinstated"
            return [emit("LicenseLedger", name, licenseId=license_, reason=self.bytes())]
        if what == 3:
            return [
                emit(
                    "LicenseLedger",
                    "LicenseRevoked",
                    licenseId=license_,
                    by=self.bytes(20),
                    effectiveAt=time,
                    reason=self.bytes(),
                )
            ]
        if what == 4:
            old, new = state.licenses[license_], self.bytes(20)
            state.licenses[license_] = new
            return [emit("LicenseLedger", "Transfer", **{"from": old, "to": new}, tokenId=license_)]
        if what == 5:
            nonce = self.rng.randrange(2**64)
            return [emit("LicenseLedger", "GrantsCancelled", licenseId=license_, grantNonce=nonce)]
        held = state.seats[license_]
        if what == 6 and held:
            state.seats[license_] = held[1:]
            return [
                emit("LicenseLedger", "RuntimeReleased", licenseId=license_, runtimeKey=held[0])
            ]
        key = self.bytes()
        state.seats[license_] = (*held, key)
        return [
            emit(
                "LicenseLedger",
                "RuntimeBound",
                licenseId=license_,
                runtimeKey=key,
                until=0,
                measurement=self.bytes(20),
            )
        ]

    def broker(self, state: State, time: int) -> list[Emitted]:
        number = max(state.brokers, default=0) + 1
        state.brokers[number] = 0
        return [
            emit("BrokerRegistry", "BrokerRegistered", brokerId=number, operator=self.bytes(20)),
            emit(
                "BrokerRegistry",
                "BrokerKeysSet",
                brokerId=number,
                epoch=1,
                signingKeyHash=self.bytes(),
                kemKeyHash=self.bytes(),
                urlHash=self.bytes(),
                url="http://x" * self.rng.randrange(9),
            ),
        ]

    def receipts(self, state: State, time: int) -> list[Emitted]:
        broker = self.rng.choice(list(state.brokers))
        state.brokers[broker] += 1
        return [
            emit(
                "BrokerRegistry",
                "ReceiptsAnchored",
                brokerId=broker,
                seq=state.brokers[broker],
                prevRoot=self.bytes(),
                root=self.bytes(),
                count=2**64 - 1,
            )
        ]

    def stranger(self) -> Emitted:
        """Another contract's log, at times with our event's name."""
        name = topic0("LicenseLedger", "Transfer") if self.rng.random() < 0.5 else self.bytes()
        return Emitted(STRANGER, (name, self.bytes()), self.bytes())
