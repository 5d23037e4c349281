import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pdf_world import Pdf

from ledger.canonical import canonical_json
from ledger.chain.profile import profile_for
from ledger.errors import VerificationError
from ledger.evidence.archive import parse
from ledger.evidence.bundle import CUSTODY, PRINTED, pack, parse_bundle
from ledger.evidence.custody import append, read_log
from ledger.evidence.printing import compose, html, pdf, print_forms, text
from ledger.evidence.printing import facts as facts_module
from ledger.evidence.printing.clocks import CLOCKS
from ledger.evidence.printing.words import CATALOGUES, Words
from ledger.evidence.verify import Result, examine
from ledger.filing import print_into
from ledger.ids import Digest

VECTORS = Path(__file__).resolve().parents[3] / "vectors" / "evidence"
NOW = "2026-01-01T02:00:00Z"
HOSTILE = (
    '<script>alert(1)</script> #import "x": * $x$ \\n `raw` ]#[ ../ http://evil.example/ '
    "\x1b[31m\u202eeslaf \u0645\u0631\u062d\u0628\u0627 \u6a21\u578b \U0001f600 " + "w" * 3000
)


@pytest.fixture(scope="module")
def bundle(bundle_bytes):
    return parse_bundle(bundle_bytes)


@pytest.fixture(scope="module")
def bundle_bytes():
    return (VECTORS / "model.evidence.zip").read_bytes()


@pytest.fixture(scope="module")
def forms(bundle):
    return print_forms(bundle)


@pytest.fixture(scope="module")
def found(bundle):
    return facts_module.findings(bundle)


def words_of(data):
    return re.sub(r"[\ufffd\u200b\s]", "", Pdf(data).all_text())


def text_in(page):
    return re.sub(r"<[^>]*>|\u200b", "", page)


def render_all(found):
    words = Words()
    report = compose.report(words, found)
    return {
        "summary.pdf": pdf.render(compose.summary(words, found)),
        "report.pdf": pdf.render(report),
        "report.html": html.render(report),
        "certification.txt": text.render(compose.certificates(words, found)),
    }


def hostile(found):
    told = json.loads(json.dumps(found.statement))
    told["model"]["title"] = HOSTILE
    told["times"][0]["what"] = HOSTILE
    told["licenses"][0]["standing"] = HOSTILE
    told["match"] = {"sentences": [HOSTILE], HOSTILE: [{HOSTILE: HOSTILE}], "deep": [[[[[[[1]]]]]]]}
    log = tuple({**found.log[0], "actor": HOSTILE, "note": HOSTILE} for _ in range(10_000))
    return replace(found, statement=told, log=log)


class TestForms:
    def test_equal_bundles_give_equal_bytes(self, bundle, forms):
        assert print_forms(bundle) == forms
        assert set(forms) == set(PRINTED)

    def test_the_summary_is_one_page_and_names_who_what_and_when(self, bundle, forms):
        assert len(Pdf(forms["summary.pdf"]).pages) == 1
        said = words_of(forms["summary.pdf"])
        for wanted in (
            str(bundle.contents),
            str(bundle.subject.block_hash),
            str(bundle.subject.model_id),
            "Vectormodel",
            "2026-01-0100:00:48UTC",
            "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        ):
            assert wanted in said

    def test_every_page_has_the_digest_the_banner_and_its_number(self, bundle, forms):
        read = Pdf(forms["report.pdf"])
        assert len(read.pages) > 4
        for page in range(len(read.pages)):
            said = re.sub(r"[\ufffd\u200b\s]", "", read.text(page))
            assert said.startswith("Testnetwork:noevidentiaryvalue")
            assert str(bundle.contents) in said
            assert f"Page{page + 1}of{len(read.pages)}" in said

    def test_the_report_says_what_could_not_be_tried_and_cuts_no_sentence_silently(self):
        of_match = parse_bundle((VECTORS / "match.evidence.zip").read_bytes())
        found = facts_module.findings(of_match)
        said = html.render(compose.report(Words(), found)).decode()
        untried = of_match.json("match.json")["untried"]
        for of in untried:
            assert f"Not tried, {of['method']}, {of['what']}: {of['why']}." in text_in(said)
        told = json.loads(json.dumps(found.statement))
        told["match"]["sentences"] = [f"Sentence {n}." for n in range(203)]
        said = text_in(
            html.render(compose.report(Words(), replace(found, statement=told))).decode()
        )
        assert "Sentence 199." in said
        assert "Sentence 200." not in said
        assert "… and 3 more, all in report.json." in said
        assert untried[0]["what"] in said  # the table below has them all

    def test_a_report_of_a_real_network_has_no_banner(self, found):
        told = {**found.statement, "chain": {**found.statement["chain"], "test_network": False}}
        told["chain"]["id"] = 8453
        forms = render_all(replace(found, statement=told))
        for name in ("summary.pdf", "report.pdf"):
            assert "evidentiary" not in words_of(forms[name])
        assert b"evidentiary value" not in forms["report.html"]
        assert "Ethereum" in words_of(forms["report.pdf"])  # where the layer 2 settles

    def test_files_are_tagged_and_archival_without_anything_active(self, forms):
        for name in ("summary.pdf", "report.pdf"):
            data = forms[name]
            assert b"/StructTreeRoot" in data
            assert b"<pdfaid:part>2</pdfaid:part>" in data
            assert b"<pdfuaid:part>1</pdfuaid:part>" in data
            for active in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"/OpenAction", b"/AA"):
                assert active not in data

    def test_sizes_leave_room_for_a_thousand_tensors(self, forms):
        assert sum(len(data) for data in forms.values()) < 400_000

    def test_the_drafts_name_their_rules_and_leave_the_person_blank(self, forms):
        for said in (forms["certification.txt"].decode(), words_of(forms["report.pdf"])):
            for rule in ("902(13)", "902(14)", "1913", "DRAFT"):
                assert rule in said
        assert "Name: ____" in forms["certification.txt"].decode()

    def test_error_rates_are_those_of_the_documentation(self):
        from pathlib import Path

        root = Path(__file__).resolve().parents[4] / "docs"
        documented = (root / "spec/lineage.md").read_text() + (root / "performance.md").read_text()
        said = "".join(CATALOGUES["en"].values())
        for figure in (
            "0 of 10,000",
            "1 of 10,000",
            "3.7e-4",
            "2.5e-6",
            "5.6e-4",
            "2.8e-3",
            "−3.6",
        ):
            assert figure in said
            assert figure in documented

    @pytest.mark.parametrize("chain", CLOCKS)
    def test_clocks_are_those_of_the_chain_profiles(self, chain):
        profile, clock = profile_for(chain), CLOCKS[chain]
        assert clock.name == profile.name
        assert max(clock.behind, clock.ahead) == profile.timestamp_tolerance
        assert bool(clock.settles) == (profile.l1_settlement is not None)


@pytest.fixture(scope="module")
def hostile_forms(found):
    return render_all(hostile(found))


class TestHostileText:
    def test_the_page_holds_no_script_link_or_foreign_element(self, hostile_forms):
        seen = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag, attrs):
                seen.append((tag, dict(attrs)))

        Reader().feed(hostile_forms["report.html"].decode())
        tags = {tag for tag, _ in seen}
        assert not tags & {"script", "a", "link", "img", "iframe", "object", "base", "form"}
        for _, attrs in seen:
            assert not [name for name in attrs if name.startswith("on") or name in ("src", "href")]
        assert b"default-src 'none'" in hostile_forms["report.html"]

    def test_controls_and_directions_reach_no_form(self, hostile_forms):
        for name in ("report.html", "certification.txt"):
            said = hostile_forms[name].decode()
            assert "\x1b" not in said
            assert "\u202e" not in said

    def test_markup_of_the_typesetter_is_text(self, hostile_forms):
        said = words_of(hostile_forms["report.pdf"])
        assert '#import"x":*$x$' in said
        assert "<script>alert(1)</script>" in said

    def test_what_has_no_glyph_is_an_escape_and_said_to_be_one(self, hostile_forms):
        said = words_of(hostile_forms["report.pdf"])
        assert "\\u6a21\\u578b" in said
        assert "\\U0001f600" in said
        assert "Charactersthatthisdocument'sfontsdonothave" in said
        assert "\u6a21" in hostile_forms["report.html"].decode()

    def test_arabic_is_shown(self, hostile_forms):
        assert set("\u0645\u0631\u062d\u0628\u0627") <= set(words_of(hostile_forms["report.pdf"]))

    def test_ten_thousand_entries_are_bounded(self, hostile_forms):
        assert "9700more" in words_of(hostile_forms["report.pdf"])
        assert len(hostile_forms["report.pdf"]) < 2_000_000
        assert len(Pdf(hostile_forms["summary.pdf"]).pages) == 1


@pytest.fixture(scope="module")
def printed(bundle_bytes, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "a.evidence.zip"
    path.write_bytes(bundle_bytes)
    return print_into(path, time=NOW, actor="printer", software="modeldeed 0.1.0")


class TestFindingsAboutASuspect:
    def test_logarithms_and_shares_are_written_in_their_unit(self, found):
        told = {**found.statement, "match": {"sentences": ["Held against this model: derived."]}}
        rows = [{"ours": "a", "log10_p": -4_228_900_000, "alike": 387_000}]
        match = {"comparisons": [{"units": {"rows": rows}, "log10_p_all": -21_300_000}] * 50}
        forms = render_all(replace(found, statement=told, match=match))
        said = words_of(forms["report.pdf"])
        for wanted in ("-4,228.900", "0.387", "-21.300", "derived.", "30more"):
            assert wanted in said
        assert "noneofthestatisticaltests" not in said


class TestInABundle:
    def test_printed_forms_pass_the_last_step_and_change_no_evidence(self, bundle, printed):
        read = parse_bundle(printed)
        last = examine(read).steps[-1]
        assert (last.number, last.result) == (20, Result.PASS)
        assert read.contents == bundle.contents

    def test_printing_again_and_custody_after_it_keep_the_last_step(self, printed, tmp_path):
        path = tmp_path / "b.zip"
        path.write_bytes(printed)
        again = parse_bundle(print_into(path, time=NOW, actor="x", software="y"))
        assert examine(again).steps[-1].result is Result.PASS
        log = append(
            read_log(again.json(CUSTODY), again.contents),
            time=NOW,
            actor="z",
            action="received",
            software="y",
            contents=again.contents,
        )
        entries = canonical_json([entry.to_json() for entry in log])
        handed = pack(again.subject, {**again.members, CUSTODY: entries})
        assert examine(parse_bundle(handed)).steps[-1].result is Result.PASS

    @pytest.mark.parametrize("name", PRINTED)
    def test_a_form_changed_with_its_custody_entry_fails(self, printed, name):
        read = parse_bundle(printed)
        data = bytearray(read.members[name])
        data[len(data) // 2] ^= 1
        last = examine(parse_bundle(reprinted(read, name, bytes(data)))).steps[-1]
        assert last.result is Result.FAIL
        assert name in last.detail

    def test_forms_of_other_software_are_not_compared(self, printed):
        read = parse_bundle(printed)
        members = dict(read.members)
        for name in PRINTED[1:]:
            del members[name]
        other = replace(read, members=members)
        data = re.sub(rb"modeldeed 0\.1\.0; code", b"modeldeed 0.0.9; code", members[PRINTED[0]])
        last = examine(parse_bundle(reprinted(other, PRINTED[0], data))).steps[-1]
        assert last.result is Result.NOT_CHECKED
        assert not last.needed

    def test_a_bundle_that_does_not_hold_is_not_printed(self, bundle_bytes):
        archive = parse(bundle_bytes)
        read = parse_bundle(bundle_bytes)
        members = {k: v for k, v in archive.members.items() if not k.startswith("receipts/6-")}
        with pytest.raises(VerificationError, match="not printed"):
            print_forms(parse_bundle(pack(read.subject, members)))


def reprinted(bundle, name, data):
    """The bundle with one form replaced and its custody log written to fit, as a forger would."""
    import hashlib

    members = {**bundle.members, name: data}
    old = read_log(bundle.json(CUSTODY), bundle.contents)
    log = append(
        old[:-1],
        time=NOW,
        actor="printer",
        action="printed",
        software="modeldeed 0.1.0",
        contents=bundle.contents,
        printed={
            each: Digest(hashlib.sha256(members[each]).digest())
            for each in PRINTED
            if each in members
        },
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    return pack(bundle.subject, members)
