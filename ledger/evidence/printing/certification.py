"""Draft certifications with blanks for the person: FRE 902(13), 902(14), 12 V.S.A. § 1913."""

from __future__ import annotations

from ledger.evidence.printing.document import (
    Blanks,
    Block,
    Heading,
    Items,
    Notice,
    PageBreak,
    Paragraph,
    Run,
    Runs,
    foreign,
    hex_run,
)
from ledger.evidence.printing.facts import Findings
from ledger.evidence.printing.sections import block_names, time_text
from ledger.evidence.printing.software import software
from ledger.evidence.printing.words import Words

_PERSON = ("blank.name", "blank.position")


def blocks(words: Words, of: Findings, level: int) -> list[Block]:
    """All drafts; `level` is that of a heading above them, 0 for none."""
    made: list[Block] = [Heading(1, words("cert.title"))] if level else []
    made.append(Notice(words("cert.draft")))
    if of.statement["chain"]["test_network"]:
        made.append(Notice(words("banner.body", chain=of.chain)))
    contents, below = hex_run(of.contents), min(level + 1, 2)
    values = {
        "chain": of.chain,
        "contents": contents,
        "software": Run(software().name),
        "code": hex_run(software().code),
        "blocks": block_names(words, of),
    }
    made += _draft(
        words,
        below,
        "cert.13",
        tuple(words(f"cert.13.{n}", **values) for n in range(1, 6)),
        (*_PERSON, "blank.block", "blank.source", "blank.verdict", "blank.file"),
    )
    made += _draft(
        words,
        below,
        "cert.14",
        (words("cert.13.1"), words("cert.14.1", contents=contents), words("cert.14.2")),
        (*_PERSON, "blank.file", "blank.original"),
    )
    made += _vermont(words, of, below)
    return made


def _draft(
    words: Words, level: int, key: str, points: tuple[Runs, ...], blanks: tuple[str, ...]
) -> list[Block]:
    return [
        *([PageBreak()] if key != "cert.13" else []),
        Heading(level, words(key)),
        Items(points, numbered=True),
        Paragraph(words("cert.perjury")),
        Blanks(tuple(words(blank) for blank in (*blanks, "blank.signature"))),
    ]


def _vermont(words: Words, of: Findings, level: int) -> list[Block]:
    times = of.statement["times"]
    entered: list[Run] = []
    for time in times[:-1]:
        interval, _ = time_text(words, of, time["not_later_than"])
        entered += [
            *([Run("; ")] if entered else []),
            foreign(time["what"], 200),
            Run(", "),
            foreign(time["source"], 60),
            Run(", "),
            *interval,
        ]
    state = of.statement["rests_on"][-1]["block"]
    collected = of.log[0]["time"] if of.log else "–"
    interval, _ = time_text(words, of, times[-1]["not_later_than"])
    points = (
        words("cert.vt.1"),
        words("cert.vt.a", entered=tuple(entered)),
        words("cert.vt.b", block=state, state=interval, collected=foreign(collected)),
        words("cert.vt.c"),
        words("cert.vt.d"),
    )
    return [
        PageBreak(),
        Heading(level, words("cert.vt")),
        Items(points),
        Paragraph(words("cert.vt.note")),
        Blanks(tuple(words(blank) for blank in (*_PERSON, "blank.received", "blank.signature"))),
        Paragraph(words("cert.oath")),
        Blanks((words("blank.notary"),)),
    ]
