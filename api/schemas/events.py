"""The shapes of the journal's events, and of those that a reorganisation took back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Account, Answer, Finality, Hash, Shape


class EventItem(Shape):
    """One journal entry."""

    contract: str
    event: str
    block: int
    block_hash: Hash
    block_time: int
    log_index: int
    tx_hash: Hash
    tx_index: int
    address: Account
    finality: Finality
    arguments: dict[str, Any] | None


class EventPage(Answer):
    """Events in chain order, to be read on for ever."""

    events: list[EventItem]
    next_cursor: str | None = Field(
        default=None,
        description="where this page ends, also at the end of all: a page with fewer events than "
        "`limit` is the last for now, and its cursor gives what comes later. An empty page gives "
        "back the cursor that it was asked with, null without one",
    )


class Retraction(EventItem):
    """An event that a reorganisation took back."""

    retracted_at: float
    ancestor: int = Field(description="the last block that both branches share")
    finality: Literal["retracted"] = "retracted"  # type: ignore[assignment]


class RetractionPage(Answer):
    """Retracted events, in the order in which they were taken back."""

    events: list[Retraction]
    next_cursor: str | None = Field(default=None, description="as of a page of events")
