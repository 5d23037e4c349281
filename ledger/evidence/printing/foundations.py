"""The sections that say how a report came about and what it cannot say."""

from __future__ import annotations

from ledger.evidence.printing.document import (
    Block,
    Facts,
    Heading,
    Items,
    Paragraph,
    Run,
    Runs,
    Table,
    cut,
    foreign,
    hex_run,
)
from ledger.evidence.printing.facts import Findings
from ledger.evidence.printing.software import software
from ledger.evidence.printing.words import Words
from ledger.fingerprint.wording import H0


def checked(words: Words, of: Findings) -> list[Block]:
    """Each step: what it does, how it ended, what it found."""
    rows = tuple(
        (
            (Run(f"{step.number} {step.title}", "strong"),),
            words(f"step.{step.title}") if words.has(f"step.{step.title}") else (),
            (Run(f"{step.result}: ", "strong"), foreign(step.detail, 600)),
        )
        for step in of.steps
    )
    columns = (words("checked.step"), words("checked.means"), words("checked.result"))
    return [
        Heading(1, words("checked")),
        Paragraph(words("checked.note")),
        Table(columns, (3, 7, 8), rows),
    ]


def rests(words: Words, of: Findings) -> list[Block]:
    """Blocks, contracts, finality, software."""
    told, clock, ours = of.statement, of.clock, software()
    name = f"({clock.name})" if clock else ""
    chain = words(
        "rests.chain.text",
        chain=of.chain,
        name=Run(name),
        genesis=hex_run(told["chain"]["genesis"]),
    )
    rows: list[tuple[Runs, Runs]] = [(words("rests.chain"), chain)]
    rows += [
        (words("rests.block"), (Run(f"{top['block']} "), hex_run(top["hash"])))
        for top in told["rests_on"]
    ]
    for contract, address in told["contracts"].items():
        row = words("rests.contract", name=foreign(contract, 60))
        rows.append((row, (hex_run(address),)))
    rows += [
        (words("rests.software"), (Run(ours.name),)),
        (words("rests.code"), (hex_run(ours.code),)),
        (words("rests.collector"), (foreign(of.collected_by, 80),)),
        (words("rests.typesetter"), (Run(ours.typesetter),)),
    ]
    if clock is None:
        settled = words("rests.unknown", chain=of.chain)
    elif clock.settles:
        settled = words("rests.l2", name=Run(clock.name), settles=Run(clock.settles))
    else:
        settled = words("rests.l1", name=Run(clock.name))
    return [
        Heading(1, words("rests")),
        Facts(tuple(rows)),
        Paragraph(words("rests.finality")),
        Paragraph(settled),
    ]


def limits(words: Words, of: Findings) -> list[Block]:
    """What the statement itself says it does not prove."""
    items = tuple((foreign(limit),) for limit in of.statement["limits"])
    return [Heading(1, words("limits")), Items(items)]


def custody(words: Words, of: Findings) -> list[Block]:
    """Who handled the bundle, as claimed."""
    blocks: list[Block] = [Heading(1, words("custody")), Paragraph(words("custody.note"))]
    rows = tuple(
        (
            (foreign(str(entry["time"]), 20),),
            (foreign(str(entry["actor"]), 200),),
            (
                foreign(str(entry["action"]), 40),
                Run(". "),
                foreign(str(entry["note"]), 600),
            ),
            (hex_run(str(entry["hash"])),),
        )
        for entry in of.log
    )
    if not rows:
        return [*blocks, Paragraph(words("custody.none"))]
    shown, left = cut(rows)
    names = ("custody.when", "custody.actor", "custody.action", "custody.hash")
    blocks.append(Table(tuple(words(name) for name in names), (4, 4, 6, 5), shown))
    if left:
        blocks.append(Paragraph(words("table.cut", count=left)))
    return blocks


def tests(words: Words, of: Findings) -> list[Block]:
    """Each test's H0 and the rates of error that are known of it."""
    used = "tests.used" if of.statement.get("match") else "tests.unused"
    blocks: list[Block] = [Heading(1, words("tests")), Paragraph(words(used))]
    blocks += [Heading(2, words("tests.exact")), Paragraph(words("tests.exact.text"))]
    for name, extra in (("lineage", ("rate", "note")), ("watermark", ("rate",)), ("triggers", ())):
        blocks.append(Heading(2, words(f"tests.{name}")))
        blocks.append(Paragraph(words(f"tests.{name}.h0", h0=Run(H0))))
        blocks += [Paragraph(words(f"tests.{name}.{key}")) for key in extra]
    blocks.append(Paragraph(words("tests.none")))
    return blocks


def glossary(words: Words) -> list[Block]:
    """The words a reader without knowledge of chains needs."""
    rows = tuple(
        (words(key), words("means." + key.removeprefix("term."))) for key in words.keys("term.")
    )
    return [Heading(1, words("glossary")), Facts(rows)]
