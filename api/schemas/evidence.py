"""The shapes of what a bundle is asked with, and of the job that collects it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api.forms import AS_OF, LICENSE
from api.schemas.base import AskedHash, Asking, Hash, Shape


class EvidenceAsked(Asking):
    """What a bundle is to be about, and documents for it that are not deposited here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "0x" + "ab" * 32}]})

    model: AskedHash | None = Field(default=None, description="may be left out beside the others")
    license: str | None = Field(default=None, pattern=LICENSE)
    release: dict[str, Any] | None = Field(
        default=None, description="a receipt proof (docs/spec/key-release.md)"
    )
    claim: dict[str, Any] | None = Field(
        default=None, description="opened: whoever gets the bundle reads its salt"
    )
    manifest: dict[str, Any] | None = None
    fingerprint: dict[str, Any] | None = None
    sealings: list[dict[str, Any]] = Field(default=[], max_length=100)
    terms: list[dict[str, Any]] = Field(default=[], max_length=100)
    cards: list[dict[str, Any]] = Field(default=[], max_length=1000)
    tensors: bool = Field(default=True, description="whether the list of tensors is disclosed")
    as_of: Annotated[int, Field(ge=0, lt=1 << 53)] | Annotated[str, Field(pattern=AS_OF)] | None = (
        Field(default=None, description="a final block, as in a query; by default the newest")
    )
    note: str = Field(default="", max_length=2000, description="for the custody log, one line")


class JobError(Shape):
    """Why a job failed; code, sentence and way out as in problem answers."""

    code: str
    message: str
    hint: str


class Job(Shape):
    """A bundle that is collected in the background. `as_of` and `clock` are the bundle's own."""

    job: str
    state: Literal["queued", "collecting", "done", "failed"]
    kind: Literal["model", "license", "release"]
    model: Hash
    license: str | None
    steps: list[str] = Field(description="what has been done; the last one is being done")
    asked_at: int
    expires_at: int | None = Field(description="until when the bundle can be fetched")
    error: JobError | None
    bundle: str | None = Field(description="where to fetch it")
    bytes: int | None
    id: Hash | None
    as_of: int | None
    clock: str | None
