"""What all shapes are made of. Hashes are 0x text, accounts EIP-55, times Unix seconds.

Integers that may pass 2^53 are decimal text, since JSON readers lose their last digits.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ledger.ids import Address, Digest, LicenseId
from ledger.index.as_of import AsOf as AsOfFacts

_H = "0x" + "ab" * 32


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value) if isinstance(value, Digest) else value


@functools.lru_cache(maxsize=4096)
def _checksummed(raw: bytes) -> str:
    # A checksum is a hash: most of what a row costs, and licensors come again and again.
    return str(Address(raw))


def _account(value: Any) -> Any:
    if isinstance(value, bytes):
        return _checksummed(value)
    return str(value) if isinstance(value, Address) else value


def _license(value: Any) -> Any:
    return str(LicenseId(value)) if isinstance(value, int) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


Hash = Annotated[str, BeforeValidator(_hex), Field(pattern="^0x[0-9a-f]{64}$", examples=[_H])]
AskedHash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$", examples=[_H])]
Measurement = Annotated[str, BeforeValidator(_hex), Field(pattern="^0x[0-9a-f]{40}$")]
Account = Annotated[
    str,
    BeforeValidator(_account),
    Field(pattern="^0x[0-9a-fA-F]{40}$", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]),
]
LicenseNumber = Annotated[
    str, BeforeValidator(_license), Field(pattern=r"^[0-9]+\.[0-9]+$", examples=["7.42"])
]
BigInt = Annotated[str, BeforeValidator(_text), Field(pattern=r"^[0-9]+$", examples=["0"])]
Finality = Literal["finalized", "safe", "included"]


class Shape(BaseModel):
    """What all answers share: frozen, and nothing beyond what is named."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Asking(Shape):
    """What all bodies share that somebody sends: what is not named is refused."""

    model_config = ConfigDict(extra="forbid")


class Point(Shape):
    """A block of the chain; hash and time are null where its header is no longer kept."""

    block: int
    hash: Hash | None
    time: int | None


class AsOf(Shape):
    """What an answer rests on: the index's block, how much of the chain is final, and its age."""

    block: int = Field(description="last block that counts", examples=[1234])
    hash: Hash | None = Field(description="its hash; null for a past block no longer kept")
    time: int | None = Field(description="its time; null likewise")
    finality: Finality = Field(description="how settled it is")
    finalized: int = Field(description="highest final block at or below it", examples=[1232])
    safe: int = Field(description="highest safe block at or below it", examples=[1233])
    lag_s: float = Field(
        description="seconds since the index last stood on the chain's head", examples=[0.4]
    )
    chain: dict[Literal["latest", "safe", "finalized"], Point] = Field(
        description="where the index stands, whatever block was asked for"
    )

    @classmethod
    def of(cls, facts: AsOfFacts) -> AsOf:
        """From a snapshot's."""
        return cls.model_validate(
            {
                "block": facts.block,
                "hash": facts.hash,
                "time": facts.time,
                "finality": facts.finality(facts.block),
                "finalized": facts.finalized,
                "safe": facts.safe,
                "lag_s": facts.lag_s,
                "chain": {
                    tag: {"block": point.block, "hash": point.hash, "time": point.time}
                    for tag, point in facts.points.items()
                },
            }
        )


class Answer(Shape):
    """Every answer says what it rests on."""

    as_of: AsOf
