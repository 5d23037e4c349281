"""Printed forms of a bundle: PDF, HTML and draft certifications, from its statement alone.

One document model (`document`), three renderers (`pdf`, `html`, `text`), one catalogue of words
(`words`). Equal bundles and equal software give equal bytes: no form has a time or an id of its
own. A form inside a bundle cannot name the bundle's id, which covers it; it names the contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ledger.evidence.bundle import VERIFIERS, Bundle
from ledger.evidence.printing import compose, html, pdf, text
from ledger.evidence.printing.facts import findings
from ledger.evidence.printing.software import software
from ledger.evidence.printing.words import Words

__all__ = ["made_by_this_software", "print_forms", "verifier_copies"]


def print_forms(
    bundle: Bundle, *, log: Sequence[dict[str, Any]] | None = None, language: str = "en"
) -> dict[str, bytes]:
    """The four printed forms of a bundle, by member name.

    Args:
        bundle: as read; forms already in it do not count.
        log: custody entries to print; None for those before the first that lists the forms in it.
        language: of the catalogue of words.

    Raises:
        VerificationError: the bundle does not hold.
        UsageError: the typesetter is not installed.
    """
    words, found = Words(language), findings(bundle, log)
    report = compose.report(words, found)
    return {
        "summary.pdf": pdf.render(compose.summary(words, found)),
        "report.pdf": pdf.render(report),
        "report.html": html.render(report),
        "certification.txt": text.render(compose.certificates(words, found)),
    }


def verifier_copies() -> dict[str, bytes]:
    """The verifiers of this release, as a bundle carries them."""
    folder = files("ledger.evidence").joinpath("verifiers")
    return {
        name: folder.joinpath(name).read_bytes()
        for name in VERIFIERS
        if folder.joinpath(name).is_file()
    }


def made_by_this_software(forms: Mapping[str, bytes], collected_by: str) -> bool:
    """Whether forms carry this software's mark, so that their bytes can be compared.

    Args:
        forms: the printed forms that a bundle carries; each names what printed it.
        collected_by: what collected the bundle; counts where there are no forms.
    """
    ours = software()
    if not forms:
        return collected_by == ours.name
    return any(ours.mark.encode() in data for data in forms.values())
