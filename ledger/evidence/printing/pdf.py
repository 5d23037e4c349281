"""Printed forms as PDF (PDF/A-2a, PDF/UA-1), typeset by Typst (docs/adr/0042).

The template is ours and fixed; a document reaches it as data. Typst refuses to write PDF/A when a
character has no glyph, so none can become an empty box: those known to be missing are written as
escapes beforehand, and if one is refused after all, everything that is not ASCII is.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from ledger.errors import UsageError
from ledger.evidence.printing import qr
from ledger.evidence.printing.document import Codes, Document, Paragraph, Run, Runs, plain
from ledger.evidence.printing.glyphs import COVERED
from ledger.evidence.printing.software import software
from ledger.evidence.printing.words import Words

_STANDARDS = ["a-2a", "ua-1"]
_LONGEST_WORD = 16
_LAST = 4_102_444_800


def render(document: Document) -> bytes:
    """The document as a PDF file.

    Raises:
        UsageError: the typesetter is not installed, or cannot set this document.
    """
    try:
        import typst
    except ImportError:
        raise UsageError(
            "printing needs the typesetter, which is not installed",
            hint="pip install 'modeldeed[evidence]', or leave the printed forms out: --no-print",
        ) from None
    compiler, template = _compiler()
    problem = ""
    for ascii_only in (False, True):
        data = json.dumps(_Setter(document, ascii_only=ascii_only).data(), ensure_ascii=True)
        try:
            made = compiler.compile(
                input=template,
                format="pdf",
                timestamp=min(document.moment, _LAST),
                sys_inputs={"document": data},
                pdf_standards=_STANDARDS,
            )
        except typst.TypstError as error:
            problem = str(error)
            continue
        return bytes(made)
    raise UsageError(f"this document cannot be typeset: {problem[:300]}")


@cache
def _compiler() -> tuple[Any, bytes]:
    """One typesetter for the process, which keeps its fonts, and the template."""
    import typst

    template = files("ledger.evidence.printing").joinpath("template.typ").read_bytes()
    return typst.Compiler(ignore_system_fonts=True), template


def has_glyph(char: str) -> bool:
    """Whether the embedded fonts show a character."""
    code = ord(char)
    return 0x20 <= code < 0x7F or any(first <= code <= last for first, last in COVERED)


class _Setter:
    def __init__(self, document: Document, *, ascii_only: bool) -> None:
        self._document = document
        self._ascii_only = ascii_only
        self.escaped = False

    def data(self) -> dict[str, Any]:
        of = self._document
        blocks = [self._block(block) for block in of.blocks]
        subtitle = self._runs(of.subtitle)
        if self.escaped:
            note = Words(of.language)("pdf.escaped")
            blocks.append(self._block(Paragraph(note)))
        return {
            "title": plain(of.title),
            "subtitle": subtitle,
            "head": self._runs(of.head),
            "contents": of.contents,
            "banner": plain(of.banner),
            "page_of": of.page_of,
            "language": of.language,
            "mark": software().mark,
            "blocks": blocks,
        }

    def _block(self, block: Any) -> dict[str, Any]:
        if isinstance(block, Codes):
            return {
                "kind": "Codes",
                "codes": [
                    {
                        "caption": self._runs(caption),
                        "alt": f"QR code: {plain(caption)}: {digest}",
                        "digest": digest,
                        "rows": [qr.bars(row) for row in qr.modules(digest)],
                    }
                    for caption, digest in block.codes
                ],
            }
        fields = {name: self._value(getattr(block, name)) for name in block.__slots__}
        return {"kind": type(block).__name__, **fields}

    def _value(self, value: Any) -> Any:
        if isinstance(value, tuple):
            if value and all(isinstance(item, Run) for item in value):
                return self._runs(value)
            return [self._value(item) for item in value]
        return value

    def _runs(self, runs: Runs) -> list[list[str]]:
        return [[run.style, self._text(run)] for run in runs]

    def _text(self, run: Run) -> str:
        if run.style == "hash":
            return run.text
        shown, word = [], 0
        for char in run.text:
            if not has_glyph(char) or (
                self._ascii_only and run.style == "foreign" and not char.isascii()
            ):
                self.escaped = True
                shown.append(char.encode("unicode_escape").decode("ascii") + "\u200b")
                word = 0
                continue
            word = 0 if char in " -" else word + 1
            shown.append(char)
            if word >= _LONGEST_WORD:
                # Somebody's endless word must break somewhere; ours are short.
                shown.append("\u200b")
                word = 0
        return "".join(shown)
