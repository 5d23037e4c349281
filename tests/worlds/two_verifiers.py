"""The library's verifier and ``verify.py`` beside each other: both must say the same."""

import importlib.util
import re
from functools import cache
from pathlib import Path

from ledger.errors import LedgerError
from ledger.evidence.bundle import parse_bundle
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import examine
from ledger.ids import Address, Digest

SCRIPT = Path(__file__).resolve().parents[2] / "ledger" / "evidence" / "verifiers" / "verify.py"
# How the script's steps end when something else than its own refusals came out of them.
ASTRAY = re.compile("could not be (?:made|read): ")


@cache
def script():
    """The stand-alone script as a module."""
    spec = importlib.util.spec_from_file_location("standalone_verifier", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trusting(given=None):
    """A vector's trust root, for the library and for the script."""
    given = given or {}
    blocks = [Digest.parse(text) for text in given.get("blocks", [])]
    roots = [Digest.parse(text) for text in given.get("tsa_roots", [])]
    collectors = [Address.parse(text) for text in given.get("collectors", [])]
    for_script = {
        "blocks": {one.raw for one in blocks},
        "contracts": {},
        "roots": {one.raw for one in roots},
        "collectors": {one.raw for one in collectors},
    }
    library = TrustRoot(
        frozenset(blocks), tsa_roots=frozenset(roots), collectors=frozenset(collectors)
    )
    return library, for_script


def by_library(data, trust):
    """Verdict, and number, title, result and need of each step; any other exception comes out."""
    try:
        bundle = parse_bundle(data)
    except LedgerError as error:
        return error.code, []
    report = examine(bundle, trust=trust)
    report.text()
    return str(report.verdict), [
        (of.number, of.title, str(of.result), of.needed) for of in report.steps
    ]


def by_script(data, trust):
    """The same of the script."""
    report = script().verify(data, trust)
    astray = [of["detail"] for of in report["steps"] if ASTRAY.search(of["detail"])]
    assert not astray, astray
    if report["error"]:
        return report["error"]["code"], []
    return report["verdict"], [
        (of["number"], of["title"], of["result"], of["needed"]) for of in report["steps"]
    ]


def agree(data, trust=None):
    """What both find of `data`; an assertion fails where they differ.

    Copies of verifiers and printed forms (step 20) are the library's business.
    """
    library, for_script = trusting(trust)
    expected, found = by_library(data, library), by_script(data, for_script)
    differing = [pair for pair in zip(expected[1], found[1], strict=True) if pair[0] != pair[1]]
    differing = [pair for pair in differing if pair[0][0] < 20]
    assert not differing, differing
    assert {of[2] for of in found[1][19:]} <= {"not checked"}
    copies = [of for of in expected[1][19:] if of[2] == "fail"]
    assert copies or found[0] == expected[0], (expected[0], found[0])
    return found
