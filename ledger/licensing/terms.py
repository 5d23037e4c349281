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
    "evidence", "export", "not_before", "not_after",
)  # fmt: skip
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


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
    try:
        moment = datetime.strptime(value, _TIME).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or moment.strftime(_TIME) != value:
        raise doc.fail(name, "a UTC time such as 2026-03-01T00:00:00Z")
    return int(moment.timestamp())


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
"""
