"""How long ``verify.html`` takes for a bundle in a real Chromium, from the choice to the answer."""

from __future__ import annotations

import statistics
from pathlib import Path

from chromium_pipe import chromium

from ledger.evidence import verifiers

ROUNDS = 5
_ANSWERED = "!document.getElementById('answer').hidden"


def verify_milliseconds(bundle: Path) -> float:
    """Median over some rounds, each in a page loaded anew; reading the file is counted."""
    page = (Path(verifiers.__file__).parent / "verify.html").as_uri()
    times = []
    with chromium() as browser:
        browser.open(page)
        for _ in range(ROUNDS):
            browser.load(page)
            browser.choose("#file", bundle)
            browser.wait(_ANSWERED)
            times.append(float(browser.value("document.getElementById('progress').dataset.ms")))
    return statistics.median(times)
