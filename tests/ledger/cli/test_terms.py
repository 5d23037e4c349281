from __future__ import annotations

import json


def test_the_template_is_written_once_and_checks_out(deed):
    assert deed("terms", "new").code == 0
    ran = deed("terms", "check", "terms.toml")
    assert ran.code == 0
    assert "terms hash  0x" in ran.out
    again = deed("terms", "new")
    assert again.code == 2
    assert "--force" in again.err


def test_toml_and_json_of_the_same_terms_have_one_hash(deed):
    deed("terms", "new", "a.toml")
    first = deed("terms", "check", "a.toml", "--json").json
    (deed.cwd / "b.json").write_text(json.dumps(first["document"]))
    second = deed("terms", "check", "b.json", "--json").json
    assert second == first


def test_one_changed_word_changes_the_hash(deed):
    deed("terms", "new", "a.toml")
    before = deed("terms", "check", "a.toml", "--json").json["terms_hash"]
    text = (deed.cwd / "a.toml").read_text()
    (deed.cwd / "a.toml").write_text(text.replace("Evaluation", "Production"))
    assert deed("terms", "check", "a.toml", "--json").json["terms_hash"] != before


def test_terms_that_break_a_rule_are_one_error_with_a_hint(deed):
    for text in ("", "x = ", '{"type": "modeldeed/terms"}', "\x00", "[" * 100_000):
        (deed.cwd / "bad.toml").write_text(text)
        ran = deed("terms", "check", "bad.toml")
        assert ran.code == 2, text[:20]
        assert ran.err.startswith("error: ")
        assert ran.out == ""
