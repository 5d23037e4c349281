"""The full report's sections, in order."""

from __future__ import annotations

from typing import Any

from ledger.evidence.printing import foundations
from ledger.evidence.printing.document import (
    Block,
    Codes,
    Facts,
    Heading,
    Items,
    Notice,
    Paragraph,
    Run,
    Runs,
    Table,
    cut,
    foreign,
    hex_run,
)
from ledger.evidence.printing.facts import Findings
from ledger.evidence.printing.tell import label, scalar, tell
from ledger.evidence.printing.words import Words
from ledger.evidence.wording import utc

_NO_WATERMARK = "0x" + "00" * 32
_MAX_LICENSES = 100
_MAX_COMPARISONS = 20
_MAX_SENTENCES = 200


def all_sections(words: Words, of: Findings) -> list[Block]:
    """The whole report, without the certifications."""
    parts = [
        [*banner(words, of), *_result(words, of)],
        _recorded(words, of),
        _times(words, of),
        _title(words, of),
        _licenses(words, of),
        _told(words, of, "releases"),
        _match(words, of),
        _adverse(words, of),
        foundations.checked(words, of),
        foundations.rests(words, of),
        foundations.limits(words, of),
        foundations.custody(words, of),
        foundations.tests(words, of),
        foundations.glossary(words),
        _codes(words, of),
    ]
    return [block for part in parts for block in part]


def banner(words: Words, of: Findings) -> list[Block]:
    """What a test network's records are worth, in full."""
    if not of.statement["chain"]["test_network"]:
        return []
    return [Notice(words("banner.body", chain=of.chain))]


def block_names(words: Words, of: Findings) -> Runs:
    """The blocks everything rests on, in words."""
    runs: list[Run] = []
    for top in of.statement["rests_on"]:
        runs += [Run(", ")] if runs else []
        runs += words("result.block", number=top["block"], hash=hex_run(top["hash"]))
    return tuple(runs)


def verdict(words: Words, of: Findings, *, short: bool = False) -> Runs:
    """The verdict of the bundle alone, in one sentence."""
    del short
    if of.open_steps:
        numbers = Run(", ".join(str(number) for number in of.open_steps))
        return words("result.open", steps=numbers)
    return words("result.holds", blocks=block_names(words, of), chain=of.chain)


def kind_row(words: Words, of: Findings) -> list[tuple[Runs, Runs]]:
    """What a bundle of another kind than a model's is about."""
    told = of.statement
    about = told["about"]
    if about == "model":
        return []
    value: Any = told.get({"match": "suspect"}.get(about, about), "")
    text: list[Run] = [foreign(about, 80)]
    pairs = value.items() if isinstance(value, dict) else [("", value)]
    for key, item in pairs:
        text += [Run("; "), *label(key), Run(" "), *scalar(key, item)]
    return [(words("recorded.kind"), tuple(text))]


def time_text(words: Words, of: Findings, seconds: int) -> tuple[Runs, Runs]:
    """A block time as the interval its clock's rule gives, and as written."""
    clock = of.clock
    if clock is None:
        return words("times.unknown"), (Run(utc(seconds)),)
    first, last = Run(utc(seconds - clock.ahead)), Run(utc(seconds + clock.behind))
    return words("times.interval.text", first=first, last=last), (Run(utc(seconds)),)


def _result(words: Words, of: Findings) -> list[Block]:
    return [
        Heading(1, words("result")),
        Notice(verdict(words, of)),
        Paragraph(words("result.meaning")),
        Paragraph(words("result.id")),
    ]


def _recorded(words: Words, of: Findings) -> list[Block]:
    model, title = of.statement["model"], of.statement["title"]
    rows = [
        *kind_row(words, of),
        (words("recorded.title"), (foreign(model["title"]),)),
        (words("recorded.model"), (hex_run(model["id"]),)),
        (words("recorded.root"), (hex_run(model["artifact_root"]),)),
        (words("recorded.fingerprint"), (hex_run(model["fingerprint_digest"]),)),
    ]
    if model["watermark_commitment"] != _NO_WATERMARK:
        rows.append((words("recorded.watermark"), (hex_run(model["watermark_commitment"]),)))
    for parent in model["parents"]:
        key = "confirmed" if parent["confirmed"] else "unconfirmed"
        said = words(f"recorded.parent.{key}", id=hex_run(parent["id"]))
        rows.append((words("recorded.parent"), said))
    rows += [
        (words("recorded.registered"), (hex_run(title["registered_by"]),)),
        (words("recorded.held"), (hex_run(title["held_by"]),)),
        (words("recorded.status"), (foreign(title["status"]),)),
    ]
    return [
        Heading(1, words("recorded")),
        Facts(tuple(rows)),
        Paragraph(words("recorded.note")),
    ]


def _times(words: Words, of: Findings) -> list[Block]:
    rows = []
    for time in of.statement["times"]:
        interval, written = time_text(words, of, time["not_later_than"])
        rows.append((_own(time["what"]), written, interval, _own(time["source"])))
    columns = tuple(words(f"times.{name}") for name in ("what", "when", "interval", "source"))
    clock = of.clock
    rule = (
        words("clock.unknown", chain=of.chain)
        if clock is None
        else words(
            f"clock.{clock.rule}", name=Run(clock.name), ahead=clock.ahead, behind=clock.behind
        )
    )
    blocks: list[Block] = [
        Heading(1, words("times")),
        Table(columns, (5, 4, 5, 4), tuple(rows)),
        Paragraph(words("times.note")),
        Paragraph(rule),
    ]
    stamps = of.statement.get("timestamps")
    if stamps:
        blocks += [Heading(2, words("timestamps")), Paragraph(words("timestamps.note"))]
        blocks += tell(words, stamps)
    return blocks


def _title(words: Words, of: Findings) -> list[Block]:
    title = of.statement["title"]
    blocks: list[Block] = [Heading(1, words("title"))]
    moved = tuple(
        (
            (Run(utc(of_move["not_later_than"])),),
            (hex_run(of_move["from"]),),
            (hex_run(of_move["to"]),),
            (Run(str(of_move["block"])),),
        )
        for of_move in title["transfers"]
    )
    if moved:
        columns = tuple(words(f"title.{name}") for name in ("when", "from", "to", "block"))
        blocks += _table(words, columns, (4, 6, 6, 2), moved)
        blocks.append(Paragraph(words("title.complete")))
    else:
        blocks.append(Paragraph(words("title.none")))
    sealed = tuple(
        (
            (Run(utc(one["not_later_than"])),),
            (Run(str(one["epoch"])),),
            (hex_run(one["record_hash"]),),
            (Run(str(one["block"])),),
        )
        for one in of.statement["sealings"]
    )
    if sealed:
        blocks.append(Heading(2, words("sealings")))
        names = ("title.when", "sealings.epoch", "sealings.record", "title.block")
        blocks += _table(words, tuple(words(name) for name in names), (4, 2, 9, 2), sealed)
    return blocks


def _licenses(words: Words, of: Findings) -> list[Block]:
    licenses = of.statement["licenses"]
    blocks: list[Block] = [Heading(1, words("licenses"))]
    if not licenses:
        return [*blocks, Paragraph(words("licenses.none"))]
    for one in licenses[:_MAX_LICENSES]:
        end = one["not_after"]
        ends = words("license.never") if end is None else (Run(utc(end)),)
        blocks += [
            Heading(2, words("license.one", id=Run(str(one["id"])))),
            Facts(
                (
                    (words("license.holder"), (hex_run(one["holder"]),)),
                    (words("license.standing"), (foreign(one["standing"]),)),
                    (words("license.ends"), ends),
                    (words("license.terms"), (hex_run(one["terms_hash"]),)),
                )
            ),
        ]
        acts = tuple(
            (
                (Run(utc(act["not_later_than"])),),
                (foreign(act["what"], 80),),
                (Run(str(act["block"])),),
            )
            for act in one["acts"]
        )
        names = ("title.when", "license.act", "title.block")
        blocks += _table(words, tuple(words(name) for name in names), (4, 6, 2), acts)
    if len(licenses) > _MAX_LICENSES:
        blocks.append(Paragraph(words("table.cut", count=len(licenses) - _MAX_LICENSES)))
    return blocks


def _told(words: Words, of: Findings, key: str) -> list[Block]:
    found = of.statement.get(key)
    return [Heading(1, words(key)), *tell(words, found)] if found else []


def _match(words: Words, of: Findings) -> list[Block]:
    found = of.statement.get("match")
    if not found:
        return []
    blocks: list[Block] = [Heading(1, words("match")), Paragraph(words("match.note"))]
    sentences = found.get("sentences", []) if isinstance(found, dict) else []
    if sentences:
        found = {key: value for key, value in found.items() if key != "sentences"}
        blocks.append(Items(tuple((foreign(str(line)),) for line in sentences[:_MAX_SENTENCES])))
        if len(sentences) > _MAX_SENTENCES:
            blocks.append(Paragraph(words("table.cut", count=len(sentences) - _MAX_SENTENCES)))
    blocks += tell(words, found)
    if of.match is not None:
        shown = {
            k: v for k, v in of.match.items() if k in ("comparisons", "watermarks", "triggers")
        }
        blocks += tell(words, {k: v[:_MAX_COMPARISONS] for k, v in shown.items() if v})
        left = sum(max(0, len(v) - _MAX_COMPARISONS) for v in shown.values())
        if left:
            blocks.append(Paragraph(words("table.cut", count=left)))
    return blocks


def _adverse(words: Words, of: Findings) -> list[Block]:
    told = of.statement
    blocks: list[Block] = [Heading(1, words("adverse"))]
    rows = tuple(
        (
            (Run(utc(one["committed_not_later_than"])),),
            (hex_run(one["id"]),),
            (hex_run(one["registered_by"]),),
        )
        for one in told["rivals"]
    )
    if rows:
        blocks.append(Paragraph(words("adverse.rivals")))
        names = ("adverse.committed", "adverse.id", "adverse.by")
        blocks += _table(words, tuple(words(name) for name in names), (4, 8, 6), rows)
    else:
        blocks.append(Paragraph(words("adverse.none")))
    items = [] if told["title"]["committed"] else [words("adverse.uncommitted")]
    open_parents = sum(not parent["confirmed"] for parent in told["model"]["parents"])
    if open_parents:
        items.append(words("adverse.parents", count=open_parents))
    blocks.append(Items((*items, words("adverse.equal"))))
    if told.get("withheld"):
        blocks += [Heading(2, words("withheld")), Paragraph(words("withheld.note"))]
        blocks += tell(words, told["withheld"])
    return blocks


def _codes(words: Words, of: Findings) -> list[Block]:
    tops = of.statement["rests_on"][:1]
    codes = (
        (words("code.contents"), of.contents),
        *((words("code.block", block=top["block"]), top["hash"]) for top in tops),
        (words("code.model"), of.statement["model"]["id"]),
    )
    return [Heading(1, words("codes")), Codes(codes)]


def _table(
    words: Words,
    columns: tuple[Runs, ...],
    widths: tuple[int, ...],
    rows: tuple[tuple[Runs, ...], ...],
) -> list[Block]:
    shown, left = cut(rows)
    blocks: list[Block] = [Table(columns, widths, shown)]
    if left:
        blocks.append(Paragraph(words("table.cut", count=left)))
    return blocks


def _own(text: str) -> Runs:
    return (foreign(text, 300),)
