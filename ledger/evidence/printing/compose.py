"""Printed forms as documents: the summary of one page, and the frame of the full report."""

from __future__ import annotations

from ledger.evidence.printing import certification, sections
from ledger.evidence.printing.document import (
    Block,
    Codes,
    Document,
    Facts,
    Notice,
    PageBreak,
    Paragraph,
    Run,
    Runs,
    foreign,
    hex_run,
)
from ledger.evidence.printing.facts import Findings
from ledger.evidence.printing.words import Words
from ledger.evidence.wording import utc

_SUMMARY_TITLE = 80
_SUMMARY_TIMES = 4
_SUMMARY_BLOCKS = 2


def frame(words: Words, of: Findings, title: str, blocks: list[Block]) -> Document:
    """A document with the running head and banner that all forms have."""
    test = of.statement["chain"]["test_network"]
    return Document(
        language=words.language,
        title=words(title),
        subtitle=(foreign(of.statement["model"]["title"], _SUMMARY_TITLE),),
        head=words("head"),
        contents=of.contents,
        banner=words("banner") if test else (),
        page_of=words.text("page"),
        moment=of.statement["times"][-1]["not_later_than"],
        blocks=tuple(blocks),
    )


def summary(words: Words, of: Findings) -> Document:
    """One page: who, what, when, what it rests on, what speaks against it, the verdict."""
    told = of.statement
    title, model = told["title"], told["model"]
    tops = told["rests_on"][:_SUMMARY_BLOCKS]
    when: list[Run] = []
    for time in told["times"][:_SUMMARY_TIMES]:
        moment, what = Run(utc(time["not_later_than"])), foreign(time["what"], 60)
        when += words("summary.time", time=moment, what=what)
    rests: list[Run] = []
    for top in tops:
        rests += words(
            "summary.rests.text", block=top["block"], hash=hex_run(top["hash"]), chain=of.chain
        )
        rests.append(Run(" "))
    rows: list[tuple[Runs, Runs]] = [
        (
            words("summary.who"),
            words(
                "summary.who.text",
                registered=hex_run(title["registered_by"]),
                held=hex_run(title["held_by"]),
                status=foreign(title["status"]),
            ),
        ),
        (
            words("summary.what"),
            words(
                "summary.what.text",
                title=foreign(model["title"], _SUMMARY_TITLE),
                model=hex_run(model["id"]),
            ),
        ),
        *sections.kind_row(words, of),
        (words("summary.when"), tuple(when)),
        (words("summary.rests"), tuple(rests)),
        (
            words("summary.adverse"),
            words(
                "summary.adverse.text",
                rivals=len(told["rivals"]),
                transfers=len(title["transfers"]),
                licenses=len(told["licenses"]),
                withheld=len(told.get("withheld", ())),
            ),
        ),
    ]
    blocks = [
        *sections.banner(words, of),
        Notice(sections.verdict(words, of, short=True)),
        Facts(tuple(rows)),
        Codes(
            (
                (words("code.contents"), of.contents),
                *((words("code.block", block=top["block"]), top["hash"]) for top in tops[:1]),
                (words("code.model"), model["id"]),
            )
        ),
        Paragraph(words("summary.check", hash=hex_run(told["rests_on"][0]["hash"]))),
    ]
    return frame(words, of, "summary.title", blocks)


def report(words: Words, of: Findings) -> Document:
    """Everything, with the draft certifications at its end."""
    blocks = sections.all_sections(words, of)
    blocks += [PageBreak(), *certification.blocks(words, of, 1)]
    return frame(words, of, "report.title", blocks)


def certificates(words: Words, of: Findings) -> Document:
    """The draft certifications alone."""
    return frame(words, of, "cert.title", certification.blocks(words, of, 0))
