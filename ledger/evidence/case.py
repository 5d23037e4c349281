"""What verification has established so far: each step adds to it, later steps build on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ledger.canonical import canonical_json
from ledger.claim import Claim
from ledger.errors import LedgerError, ManifestError, StateProofInvalid
from ledger.evidence.bundle import Bundle
from ledger.evidence.custody import Entry
from ledger.evidence.events import Event
from ledger.evidence.findings import LicenseFinding, TitleHistory
from ledger.evidence.headers import Header, Segment
from ledger.evidence.layout import Title
from ledger.evidence.trust import TrustRoot
from ledger.ids import ModelId

_T = TypeVar("_T")


class _Document(Protocol):
    def to_json(self) -> Any: ...


_D = TypeVar("_D", bound=_Document)


class NotChecked(LedgerError):
    """A step could not be made; never leaves the verifier.

    Attributes:
        needed: whether the evidence is incomplete without it.
    """

    def __init__(self, why: str, *, needed: bool = True) -> None:
        super().__init__(why)
        self.needed = needed


@dataclass
class Case:
    """A bundle under verification. A field is set by the step that proves it, and not before.

    `releases`, `match` and `timestamps` belong to the modules of those steps, which also say how
    they are told (their `told` and `lines`).
    """

    bundle: Bundle
    trust: TrustRoot
    segments: tuple[Segment, ...] = ()
    state_header: Header | None = None
    headers: dict[int, Header] = field(default_factory=dict)
    words: dict[str, dict[int, bytes]] = field(default_factory=dict)
    release: str = ""
    events: tuple[Event, ...] = ()
    claim: Claim | None = None
    named: str = ""
    tensors: int = 0
    title: Title | None = None
    sequence: int = 0
    confirmed: tuple[ModelId, ...] = ()
    commitment: Event | None = None
    history: TitleHistory | None = None
    sealed: tuple[Event, ...] = ()
    licenses: tuple[LicenseFinding, ...] = ()
    rivals: tuple[Event, ...] = ()
    releases: Any = None
    match: Any = None
    timestamps: Any = None
    custody: tuple[Entry, ...] = ()

    def state(self) -> Header:
        """The header whose state is proved; set by the headers step."""
        return _need(self.state_header, "the block headers")

    def opened(self) -> Claim:
        """The claim; set by the claim step."""
        return _need(self.claim, "the claim")

    def held(self) -> Title:
        """The title word; set by the title step."""
        return _need(self.title, "the title")

    def told(self) -> TitleHistory:
        """The title's history; set by the history step."""
        return _need(self.history, "the title's history")

    def word(self, contract: str, slot: int, what: str, *, step: int) -> bytes:
        """A proven storage word.

        Raises:
            NotChecked: the contract's state was not proven.
            StateProofInvalid: the bundle does not prove this word.
        """
        if contract not in self.words:
            raise NotChecked(f"the state of {contract} was not proven")
        if slot not in self.words[contract]:
            raise StateProofInvalid(f"the bundle does not prove {what}", step=step)
        return self.words[contract][slot]

    def read(self, member: str, reader: Callable[[Any], _D]) -> _D:
        """A member as the value its document stands for, if written as that value is.

        Raises:
            LedgerError: whatever `reader` raises.
            ManifestError: the same value in another spelling; it would make another bundle id.
        """
        value = reader(self.bundle.json(member))
        if canonical_json(value.to_json()) != self.bundle.member(member):
            raise ManifestError(f"{member} spells its values in another way than the format does")
        return value

    def named_events(self, name: str) -> list[Event]:
        """Proven events of one name, oldest first."""
        return [event for event in self.events if event.name == name]

    def has(self, member: str) -> bool:
        """Whether the bundle carries a member."""
        return member in self.bundle.members


def _need(value: _T | None, what: str) -> _T:
    if value is None:
        raise NotChecked(f"{what} could not be established")
    return value
