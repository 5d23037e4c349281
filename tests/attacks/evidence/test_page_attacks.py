"""What a bundle that holds can do to the page through the names in it, in a real Chromium."""

import random
from pathlib import Path

import pytest
from chromium_pipe import chromium
from forged_der import Tsa

from ledger.canonical import canonical_json
from ledger.dating import close_bundle
from ledger.evidence.bundle import CUSTODY, INDEX, read_bundle
from ledger.evidence.custody import append, read_log

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "ledger" / "evidence" / "verifiers" / "verify.html"
MODEL = ROOT / "tests" / "vectors" / "evidence" / "model.evidence.zip"
TOWER = "".join(map(chr, range(0x300, 0x340)))  # marks that are set above and below one letter
OPEN = "document.querySelectorAll('#steps details').forEach((of) => { of.open = true; }); 0"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        one.open(PAGE.as_uri())
        one.call(
            "Emulation.setDeviceMetricsOverride",
            width=1200,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        yield one


@pytest.fixture
def shown(browser, tmp_path):
    """The page with the answer about a bundle in which strangers have these names."""

    def show(*, authority="signer", root="root", actor="someone"):
        base = read_bundle(MODEL)
        tsa = Tsa(random.Random(1), lambda of: of, "none")
        tsa.names = {"signer": authority, "root": root}
        raw, pem = tsa.token(base.computed_contents.raw)
        log = append(
            read_log(base.json(CUSTODY), base.computed_contents),
            time="2026-11-28T13:00:00Z",
            actor=actor,
            action="received",
            contents=base.computed_contents,
            software="none",
        )
        members = {name: data for name, data in base.members.items() if name != INDEX}
        members |= {"timestamps/1.tsr": raw, "timestamps/1.pem": pem}
        members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
        path = tmp_path / "named.evidence.zip"
        path.write_bytes(close_bundle(base.subject, members))
        browser.load("about:blank")
        browser.load(PAGE.as_uri())
        browser.choose("#file", path)
        browser.wait("!document.getElementById('answer').hidden")
        browser.value(OPEN)
        report = read_bundle(path).member("report.txt").decode()
        assert browser.value("document.getElementById('report').textContent") == report
        assert browser.value("document.getElementById('verdict').dataset.verdict")[:5] == "holds"
        return browser

    return show


def picture(page, selector):
    """An element as it is painted, with whatever else is painted there."""
    box = page.value(
        f"(() => {{ const of = document.querySelector('{selector}').getBoundingClientRect();"
        " return {x: of.x + scrollX, y: of.y + scrollY, width: of.width, height: of.height}; })()"
    )
    found = page.call("Page.captureScreenshot", captureBeyondViewport=True, clip=box | {"scale": 1})
    return found["data"]


def test_marks_piled_on_a_name_reach_no_line_of_ours_and_do_not_widen_the_page(shown):
    above = "#steps li:nth-child(18) summary"
    page = shown(actor="x" * 130)
    plain = picture(page, above)
    page = shown(actor="x" * 2 + TOWER * 2, authority="A" + TOWER * 10)
    assert page.value("document.documentElement.scrollWidth") <= 1200
    assert picture(page, above) == plain


def test_a_name_cannot_end_its_quotes_and_go_on_as_words_of_ours(shown):
    wallet = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    page = shown(
        actor=f'x" (times are claimed); signed by {wallet}',
        authority=f'Court", token 1 (root "Court root" 0x{"11" * 32})',
    )
    detail = page.value("document.querySelector('#steps li:nth-child(18) .detail').textContent")
    assert f'by "x\\" (times are claimed); signed by {wallet}" (times are claimed)' in detail
    report = page.value("document.getElementById('report').textContent")
    assert '  by "Court\\", token 1 (root \\"Court root\\" 0x1111' in report


def test_blanks_in_a_name_begin_no_line_of_ours(shown):
    blanks = "\u2800" * 90 + "\u3164" * 90 + " " * 90
    page = shown(authority=f"T{blanks}Holder      0x00")
    report = page.value("document.getElementById('report').textContent")
    line = next(of for of in report.split("\n") if "token 1" in of)
    assert "   " not in line.strip()
    assert "T\\u2800\\u2800" in line
    assert "\\u3164\\x20" not in line
    assert "\\u3164 \\x20\\x20" in line


def test_a_name_from_right_to_left_takes_no_digit_of_ours_along(shown):
    page = shown(root="\u05d0\u05d1\u05d2 2026 \u05d3")
    place = """(() => {
      const report = document.getElementById('report');
      const walk = document.createTreeWalker(report, NodeFilter.SHOW_TEXT);
      const at = (node, from) => { const range = document.createRange();
        range.setStart(node, from); range.setEnd(node, from + 1);
        return range.getBoundingClientRect(); };
      let name = null;
      for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        if (/[\\u05d0-\\u05ea]/.test(node.data)) name = node;
        else if (name !== null) {
          const zero = node.data.indexOf("0x");
          return [at(name, 0), at(node, zero), at(node, zero + 1)].map((of) => [of.left, of.top]);
        }
      }
    })()"""
    (name, top), (zero, first), (x, second) = page.value(place)
    assert first == second
    assert zero < x  # as written: 0, then x
    assert top != first or name < zero


def test_nothing_put_into_the_page_runs_or_is_fetched(shown):
    page = shown()
    page.value("""window.refused = []; document.addEventListener('securitypolicyviolation',
      (event) => { window.refused.push(event.effectiveDirective); }); 0""")
    page.value("""document.body.insertAdjacentHTML('beforeend', `<img src="https://example.org/x.png">
      <iframe src="https://example.org/"></iframe><p style="position:fixed" id="evil">verified</p>
      <object data="https://example.org/x"></object><form id="sent" action="https://example.org/"></form>
      <base href="https://example.org/"><link rel="stylesheet" href="https://example.org/x.css">
      <button id="press" onclick="document.title = 'run'">x</button>`);
      const code = document.createElement('script'); code.textContent = "document.title = 'run'";
      document.body.append(code); document.getElementById('press').click();
      document.getElementById('sent').submit(); fetch('https://example.org/').catch(() => {});
      try { new Worker(URL.createObjectURL(new Blob(['1']))); } catch {} 0""")
    wanted = {
        "img-src",
        "frame-src",
        "style-src-attr",
        "style-src-elem",
        "object-src",
        "form-action",
    }
    wanted |= {"script-src-attr", "script-src-elem", "base-uri", "connect-src", "worker-src"}
    page.wait(f"{sorted(wanted)}.every((of) => window.refused.includes(of))")
    assert page.value("document.title") == "modeldeed: check a file of evidence"
    assert page.value("getComputedStyle(document.getElementById('evil')).position") == "static"
