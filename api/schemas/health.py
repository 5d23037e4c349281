"""The shapes of whether this process answers and whether its service can be relied on."""

from __future__ import annotations

from typing import Literal

from api.schemas.base import Shape


class Alive(Shape):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Ready(Shape):
    """Whether this service can be relied on now, and if not why.

    `code` and `hint` are of the failure that stopped it: waiting mends nothing.
    """

    ready: bool
    state: str
    reason: str
    code: str | None
    hint: str | None
    lag_s: float | None
    lag_blocks: int | None
    block: int | None
    head: int | None
    finalized: int | None
    chain_id: int
    reorgs: int
    broker: Literal["off", "on"]
    anchoring: Literal["off", "on", "failing"]
