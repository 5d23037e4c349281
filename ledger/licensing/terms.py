"""The terms of a plan, as a document that software can evaluate (docs/spec/terms.md).

Its hash stands in the plan on chain; the broker evaluates the same bytes at every release, so what
the parties agreed on is what the key depends on.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ledger.canonical import canonical_json, hash_json, parse_json
from ledger.errors import LimitExceeded, ManifestError
from ledger.ids import Digest
from ledger.licensing.document import Document

TYPE = "modeldeed/terms"
HASH_TAG = "modeldeed/terms/1"
MAX_BYTES = 256 << 10
ANY = "any"
EVIDENCE_CLASSES = ("software", "tee")

_MEMBERS = (
    "type", "version", "title", "licensor", "text", "territory", "purposes", "fields",
    "evidence", "export", "not_before", "not_after", "windows",
)  # fmt: skip
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHAPE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_MAX_WINDOWS = 32
_DAY_SECONDS = 86400
_EPOCH_DAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class Use:
    """What a runtime says it does with the model; its signature covers this.

    Attributes:
        territory: ISO 3166-1 alpha-2 country the runtime runs in, or None when undeclared.
        purpose: one word, such as ``research``.
        field: field of use, one word, such as ``radiology``.
        evidence: class of evidence shown, ``software`` or ``tee``.
        export: whether plaintext is to leave the runtime.
    """

    territory: str | None = None
    purpose: str | None = None
    field: str | None = None
    evidence: str = "software"
    export: bool = False

    def to_json(self) -> dict[str, Any]:
        """Only what is declared."""
        declared = {
            "territory": self.territory,
            "purpose": self.purpose,
            "field": self.field,
        }
        return {name: value for name, value in declared.items() if value is not None}

    @classmethod
    def from_json(cls, value: Any, *, evidence: str = "software") -> Use:
        """Read the declaration of a request.

        Raises:
            ManifestError: not a declaration.
        """
        doc = Document(value, "the declared use", ("territory", "purpose", "field"))

        def declared(name: str, shape: re.Pattern[str], must: str) -> str | None:
            if not doc.has(name):
                return None
            word = doc.text(name, limit=64)
            if shape.match(word) is None:
                raise doc.fail(name, must)
            return word

        return cls(
            territory=declared("territory", _COUNTRY, "two capital letters, such as DE"),
            purpose=declared("purpose", _WORD, "one lower-case word"),
            field=declared("field", _WORD, "one lower-case word"),
            evidence=evidence,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Weekly hours in UTC: from `begin` to before `end`, in seconds of each of these days.

    Attributes:
        days: 0 Monday to 6 Sunday.
    """

    days: tuple[int, ...]
    begin: int
    end: int

    def __str__(self) -> str:
        days = " ".join(_DAYS[day] for day in self.days)
        return f"{days} {_hours(self.begin)}-{_hours(self.end)}"

    def end_after(self, at: int) -> int | None:
        """When the hours that `at` lies in end (Unix seconds); None when it lies in none."""
        day, second = divmod(at, _DAY_SECONDS)
        if (day + _EPOCH_DAY) % 7 in self.days and self.begin <= second < self.end:
            return day * _DAY_SECONDS + self.end
        return None


@dataclass(frozen=True, slots=True)
class Terms:
    """A checked terms document. Lists hold ``any`` alone when nothing is restricted."""

    title: str
    licensor: str
    text: str
    territory: tuple[str, ...]
    purposes: tuple[str, ...]
    fields: tuple[str, ...]
    evidence: tuple[str, ...]
    export: bool
    not_before: int | None = None
    not_after: int | None = None
    windows: tuple[Window, ...] = ()
    document: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def hash(self) -> Digest:
        """What the plan on chain holds as ``termsHash``."""
        return terms_hash(self.document)


def terms_hash(document: dict[str, Any]) -> Digest:
    """SHA-256 of ``modeldeed/terms/1 ‖ 00 ‖ canonical JSON``."""
    return hash_json(HASH_TAG, document)


def parse(data: bytes) -> Terms:
    """Read a terms document from JSON or TOML text.

    Raises:
        LimitExceeded: more than 256 KiB.
        ManifestError: neither format, or a rule of docs/spec/terms.md is broken.
        UnsupportedVersion: another version.
    """
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f"the terms have {len(data)} bytes; at most {MAX_BYTES} are read")
    if data.lstrip()[:1] == b"{":
        return validate(parse_json(data, what="the terms document"))
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ManifestError(
            "the terms document is not text", hint="begin from deed terms new FILE"
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(
            f"the terms document is neither JSON nor TOML: {error}",
            hint="begin from deed terms new FILE",
        ) from None
    # TOML has times; JSON has their text. The hash is over the text, so both forms agree.
    for name in ("not_before", "not_after"):
        if isinstance(document.get(name), datetime):
            moment: datetime = document[name]
            if moment.tzinfo is None:
                raise ManifestError(f"the terms document: {name} needs a time zone, such as Z")
            document[name] = moment.astimezone(UTC).strftime(_TIME)
    return validate(document)


def validate(document: Any) -> Terms:
    """Check a parsed terms document, rule by rule.

    Raises:
        ManifestError: a rule of docs/spec/terms.md is broken.
        UnsupportedVersion: another version.
        LimitExceeded: its canonical form is over 256 KiB.
    """
    doc = Document(document, "the terms document", _MEMBERS)
    doc.kind(TYPE)
    if len(canonical_json(document)) > MAX_BYTES:
        raise LimitExceeded(f"the terms document is over {MAX_BYTES} bytes")
    not_before, not_after = _moment(doc, "not_before"), _moment(doc, "not_after")
    if not_before is not None and not_after is not None and not_before >= not_after:
        raise doc.fail("not_after", "later than not_before")
    title = doc.text("title", limit=200)
    if not title.strip():
        raise doc.fail("title", "a name that people recognise")
    return Terms(
        title=title,
        licensor=doc.text("licensor", limit=200),
        text=doc.text("text", limit=MAX_BYTES),
        territory=_words(doc, "territory", _COUNTRY, "country codes such as DE"),
        purposes=_words(doc, "purposes", _WORD, "lower-case words"),
        fields=_words(doc, "fields", _WORD, "lower-case words"),
        evidence=_evidence(doc),
        export=doc.boolean("export"),
        not_before=not_before,
        not_after=not_after,
        windows=_windows(doc),
        document=document,
    )


def _words(doc: Document, name: str, shape: re.Pattern[str], must: str) -> tuple[str, ...]:
    words = doc.texts(name)
    if words == (ANY,):
        return words
    if not words or any(shape.match(word) is None or word == ANY for word in words):
        raise doc.fail(name, f'["any"] or a list of {must}')
    if list(words) != sorted(set(words)):
        raise doc.fail(name, "sorted, each word once")
    return words


def _evidence(doc: Document) -> tuple[str, ...]:
    classes = doc.texts("evidence")
    if not classes or list(classes) != sorted(set(classes) & set(EVIDENCE_CLASSES)):
        raise doc.fail("evidence", 'a sorted list out of "software" and "tee"')
    return classes


def _moment(doc: Document, name: str) -> int | None:
    if not doc.has(name):
        return None
    value = doc.text(name, limit=20)
    # Its shape, since strptime also takes fewer digits, small letters, digits of other scripts.
    wanted = "a UTC time such as 2026-03-01T00:00:00Z"
    if not _SHAPE.fullmatch(value):
        raise doc.fail(name, wanted)
    try:
        return int(datetime.strptime(value, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise doc.fail(name, wanted) from None


def _windows(doc: Document) -> tuple[Window, ...]:
    if not doc.has("windows"):
        return ()
    made: list[Window] = []
    for item in doc.items("windows", limit=_MAX_WINDOWS):
        window = Document(item, "a time window of the terms", ("days", "from", "to"))
        days = window.texts("days", limit=7)
        if not days or list(days) != [day for day in _DAYS if day in days]:
            raise window.fail("days", "a list out of mon to sun, in that order, each once")
        begin = _seconds(window, "from")
        end = _DAY_SECONDS if item.get("to") == "24:00" else _seconds(window, "to")
        if begin >= end:
            raise window.fail("to", "later than from, at most 24:00; use two windows over midnight")
        made.append(Window(tuple(_DAYS.index(day) for day in days), begin, end))
    if not made:
        raise doc.fail("windows", "a list of at least one window, or absent")
    return tuple(made)


def _seconds(window: Document, name: str) -> int:
    found = _CLOCK.match(window.text(name, limit=5))
    if found is None:
        raise window.fail(name, "a UTC time of day such as 08:30")
    return int(found[1]) * 3600 + int(found[2]) * 60


def _hours(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"


def ends_at(terms: Terms, at: int) -> int | None:
    """When what these terms permit at `at` ends of itself (Unix seconds); None: never.

    Hours that follow one another without a gap are one. Outside all hours it is `at` itself.
    """
    ends = [] if terms.not_after is None else [terms.not_after]
    if terms.windows:
        end = at
        while end - at < 8 * _DAY_SECONDS:
            later = [found for window in terms.windows if (found := window.end_after(end))]
            if not later:
                ends.append(end)
                break
            end = max(later)
    return min(ends, default=None)


def permits(terms: Terms, use: Use, *, at: int) -> tuple[str, ...]:
    """Reasons why these terms forbid this use at this time (Unix seconds); none: permitted.

    An undeclared property is refused where the terms restrict it: silence is no declaration.
    """
    reasons: list[str] = []
    declared = (
        ("territory", terms.territory, use.territory),
        ("purpose", terms.purposes, use.purpose),
        ("field of use", terms.fields, use.field),
    )
    for what, allowed, value in declared:
        if allowed == (ANY,):
            continue
        listed = ", ".join(allowed)
        if value is None:
            reasons.append(f"the terms limit the {what} to {listed}, and the runtime declares none")
        elif value not in allowed:
            reasons.append(f"the terms limit the {what} to {listed}; the runtime declares {value}")
    if use.evidence not in terms.evidence:
        listed = ", ".join(terms.evidence)
        reasons.append(f"the terms ask for evidence of class {listed}, not {use.evidence}")
    if use.export and not terms.export:
        reasons.append("the terms forbid exporting plaintext weights")
    if terms.not_before is not None and at < terms.not_before:
        reasons.append(f"the terms begin on {_day(terms.not_before)}")
    if terms.not_after is not None and at >= terms.not_after:
        reasons.append(f"the terms ended on {_day(terms.not_after)}")
    if terms.windows and all(window.end_after(at) is None for window in terms.windows):
        listed = "; ".join(map(str, terms.windows))
        reasons.append(f"the terms limit the time of use to {listed} UTC; it is {_day(at)}")
    return tuple(reasons)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


TEMPLATE = """\
# License terms that people read and software evaluates (docs/spec/terms.md).
type = "modeldeed/terms"
version = 1

title = "Evaluation license"
licensor = "Your name or company"
text = \"\"\"
The full text of the license, or a sentence that names the contract it belongs to.
\"\"\"

# ["any"], or a sorted list. Countries are ISO 3166-1 codes: ["CH", "DE"].
territory = ["any"]
# Such as ["evaluation", "research"].
purposes = ["any"]
# Fields of use, such as ["radiology"].
fields = ["any"]

# What a runtime must show before it gets a key: "software" proves nothing, "tee" is attested.
evidence = ["software", "tee"]

# Whether plaintext weights may be written to disk (deed open --export).
export = false

# Optional limits on top of each license's own dates.
# not_before = 2026-01-01T00:00:00Z
# not_after = 2027-01-01T00:00:00Z

# Optional hours of use, in UTC.
# windows = [{ days = ["mon", "tue", "wed", "thu", "fri"], from = "08:00", to = "18:00" }]
"""
