"""The words of printed forms, by key and language.

A catalogue is a mapping of keys to sentences with ``{places}`` for what is filled in and ``**…**``
for emphasis. Values are put in as runs and never read as markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any, Final

from ledger.evidence.printing.certificates import CERTIFICATES
from ledger.evidence.printing.document import Run, Runs, foreign, hex_run
from ledger.evidence.printing.english import ENGLISH
from ledger.ids import Address, Digest

CATALOGUES: Final[Mapping[str, Mapping[str, str]]] = {"en": {**ENGLISH, **CERTIFICATES}}


class Words:
    """One language's sentences."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._catalogue = CATALOGUES[language]

    def __call__(self, key: str, **values: Any) -> Runs:
        """The sentence of that key, filled in."""
        runs: list[Run] = []
        strong = False
        for literal, name, _, _ in Formatter().parse(self._catalogue[key]):
            for place, part in enumerate(literal.split("**")):
                strong = strong != (place > 0)
                if part:
                    runs.append(Run(part, "strong" if strong else "plain"))
            if name is not None:
                filled = runs_of(values[name])
                runs += [
                    Run(run.text, "strong") if strong and run.style == "plain" else run
                    for run in filled
                ]
        return tuple(runs)

    def text(self, key: str) -> str:
        """A sentence without places."""
        return self._catalogue[key]

    def has(self, key: str) -> bool:
        """Whether there is such a sentence."""
        return key in self._catalogue

    def keys(self, prefix: str) -> list[str]:
        """All keys with a prefix, in the order of the catalogue."""
        return [key for key in self._catalogue if key.startswith(prefix)]


def runs_of(value: Any) -> Runs:
    """A value as runs: text is somebody else's unless it comes as a run."""
    if isinstance(value, Run):
        return (value,)
    if isinstance(value, tuple):
        return value
    if isinstance(value, Digest | Address):
        return (hex_run(str(value)),)
    if isinstance(value, bool):
        return (Run("yes" if value else "no"),)
    if isinstance(value, int | float):
        return (Run(str(value)),)
    text = str(value)
    return (hex_run(text) if text.startswith("0x") else foreign(text),)
