"""Printed forms as one HTML page: no script, no link, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from ledger.evidence.printing import qr
from ledger.evidence.printing.document import (
    Blanks,
    Block,
    Codes,
    Document,
    Facts,
    Heading,
    Items,
    Notice,
    PageBreak,
    Paragraph,
    Run,
    Runs,
    Table,
    plain,
)
from ledger.evidence.printing.software import software

_STYLE = """\
body{font:16px/1.45 Georgia,"Times New Roman",serif;max-width:46rem;margin:2rem auto;padding:0 1rem;
color:#111;background:#fff;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.3rem;margin-top:2.2rem}h3{font-size:1.1rem}
h1,h2,h3{break-after:avoid}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;border-bottom:1px solid #bbb}
thead{display:table-header-group}tr{break-inside:avoid}
tbody th{font-weight:normal;width:26%;color:#444}
code{font:.8em/1.4 "DejaVu Sans Mono",Menlo,Consolas,monospace}
.notice{border-left:4px solid #444;background:#f2f2f2;padding:.6rem .9rem}
.banner{border:2px solid #8a1500;color:#8a1500;font-weight:bold;text-align:center;padding:.4rem}
.codes{display:flex;flex-wrap:wrap;gap:1.5rem}.codes figure{width:9rem;margin:0;font-size:.8rem}
.blank{border-bottom:1px solid #111;margin-top:1.6rem;break-inside:avoid}
.break{break-before:page}
@media print{body{max-width:none;margin:0;font-size:10.5pt}}
"""


def render(document: Document) -> bytes:
    """The document as a page in UTF-8."""
    style = _STYLE + _pages(document)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    banner = plain(document.banner)
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="{escape(document.language)}">',
        "<head>",
        '<meta charset="utf-8">',
        (
            '<meta http-equiv="Content-Security-Policy" '
            f"content=\"default-src 'none'; style-src 'sha256-{digest}'\">"
        ),
        '<meta name="viewport" content="width=device-width">',
        f'<meta name="generator" content="{escape(software().mark)}">',
        f"<title>{escape(plain(document.title))}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        f'<p class="banner">{escape(banner)}</p>' if banner else "",
        f"<header><p>{_runs(document.head)} <code>{escape(document.contents)}</code></p></header>",
        "<main>",
        f"<h1>{_runs(document.title)}</h1>",
        f"<p><b>{_runs(document.subtitle)}</b></p>",
        *(_block(block) for block in document.blocks),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(line for line in lines if line).encode() + b"\n"


def _pages(document: Document) -> str:
    """Running head and page numbers for browsers that print them; none of it is foreign text."""
    head = f"{plain(document.head)} {document.contents}".replace('"', "'").replace("\\", "")
    top = f'@top-left{{content:"{head}";font-size:7pt}}'
    if document.banner:
        banner = plain(document.banner).replace('"', "'")
        top = f'@top-left{{content:"{banner}\\A {head}";white-space:pre;font-size:7pt}}'
    number = '@bottom-center{content:counter(page) " / " counter(pages);font-size:8pt}'
    return f"@page{{margin:22mm 18mm;{top}{number}}}\n"


def _block(block: Block) -> str:  # one return for each kind
    match block:
        case Heading():
            level = block.level + 1
            return f"<h{level}>{_runs(block.text)}</h{level}>"
        case Paragraph():
            return f"<p>{_runs(block.text)}</p>"
        case Notice():
            return f'<p class="notice">{_runs(block.text)}</p>'
        case Items():
            tag = "ol" if block.numbered else "ul"
            return f"<{tag}>{''.join(f'<li>{_runs(item)}</li>' for item in block.items)}</{tag}>"
        case Facts():
            rows = "".join(
                f'<tr><th scope="row">{_runs(name)}</th><td>{_runs(value)}</td></tr>'
                for name, value in block.rows
            )
            return f"<table><tbody>{rows}</tbody></table>"
        case Table():
            head = "".join(f'<th scope="col">{_runs(column)}</th>' for column in block.columns)
            rows = "".join(
                f"<tr>{''.join(f'<td>{_runs(cell)}</td>' for cell in row)}</tr>"
                for row in block.rows
            )
            return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        case Codes():
            return f'<div class="codes">{"".join(_code(*code) for code in block.codes)}</div>'
        case Blanks():
            return "".join(f'<p class="blank">{_runs(label)}</p>' for label in block.labels)
        case PageBreak():
            return '<div class="break"></div>'


def _code(caption: Runs, digest: str) -> str:
    drawn = qr.svg(digest, escape(f"QR code: {plain(caption)}"))
    told = f"{_runs(caption)}<br><code>{escape(digest)}</code>"
    return f"<figure>{drawn}<figcaption>{told}</figcaption></figure>"


def _runs(runs: Any) -> str:
    return "".join(_run(run) for run in runs)


def _run(run: Run) -> str:
    text = escape(run.text)
    match run.style:
        case "strong":
            return f"<strong>{text}</strong>"
        case "foreign":
            return f'<bdi dir="auto">{text}</bdi>'
        case "hash" | "mono":
            return f"<code>{text}</code>"
    return text
