"""The shapes of what is asked and answered about which models hold a tensor."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from api.schemas.base import Answer, AskedHash, Asking, Hash, Shape
from api.schemas.models import Model


class SearchMatch(Shape):
    """A registered model that holds the searched tensor."""

    model: Model
    names: list[str]
    names_verified: bool


class SearchAnswer(Answer):
    """All claims on a tensor, earliest commitment first."""

    kind: Literal["cid", "vid"]
    id: Hash
    matches: list[SearchMatch]


class SearchAsked(Asking):
    """Tensor ids to look for, by the kind of registered id that each may equal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cid": ["0x" + "ab" * 32]}]})

    cid: list[AskedHash] = Field(default=[], description="against content ids")
    vid: list[AskedHash] = Field(default=[], description="against value-multiset ids")
    cast: list[AskedHash] = Field(default=[], description="against the ids of casts")


class Place(Shape):
    """Where something stands on the chain."""

    block: int
    transaction: int = Field(description="its index in the block")


class SearchHolding(Shape):
    """A registered model and which of the ids asked for it holds."""

    model: Model
    place: Place | None = Field(
        description="of the commitment that `committed_at` is of: what came first within a second; "
        "null where the chain alone does not tell which it is"
    )
    cid: list[Hash] = Field(description="bound by the model's artifact root")
    vid: list[Hash] = Field(description="bound by the model's fingerprint digest")
    cast: list[Hash] = Field(
        description="bound by nothing on chain: the word of whoever deposited them"
    )


class SearchHoldings(Answer):
    """The earliest models that hold any of the ids, earliest commitment first."""

    models: list[SearchHolding]
    more: bool = Field(description="whether later models, which are left out, hold some too")
