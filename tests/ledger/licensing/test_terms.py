"""Terms: one document, two spellings, and what it permits."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import FormatError, LimitExceeded, ManifestError, UnsupportedVersion
from ledger.licensing import terms
from ledger.licensing.terms import Use, parse, permits, validate

VECTORS = Path(__file__).parents[2] / "vectors" / "terms"


def document(**changes):
    return {**parse(terms.TEMPLATE.encode()).document, **changes}


def test_the_template_is_valid_and_permits_everything_but_export():
    made = parse(terms.TEMPLATE.encode())
    assert permits(made, Use(), at=0) == ()
    assert permits(made, Use(export=True), at=0) == (
        "the terms forbid exporting plaintext weights",
    )


def test_toml_and_json_of_the_same_terms_have_one_hash():
    toml = terms.TEMPLATE.replace("# not_before =", "not_before =")
    made = parse(toml.encode())
    assert made.not_before == 1767225600
    assert parse(json.dumps(made.document).encode()).hash() == made.hash()


def test_a_local_time_without_zone_is_refused():
    toml = terms.TEMPLATE.replace(
        "# not_before = 2026-01-01T00:00:00Z", "not_before = 2026-01-01T00:00:00"
    )
    with pytest.raises(ManifestError, match="time zone"):
        parse(toml.encode())


def test_any_change_of_the_text_changes_the_hash():
    assert validate(document()).hash() != validate(document(text="other")).hash()


@pytest.mark.parametrize(
    ("changes", "use", "reason"),
    [
        ({"territory": ["DE", "FR"]}, Use(territory="US"), "limit the territory to DE, FR"),
        ({"territory": ["DE"]}, Use(), "declares none"),
        ({"purposes": ["research"]}, Use(purpose="production"), "declares production"),
        ({"fields": ["radiology"]}, Use(field="finance"), "field of use"),
        ({"evidence": ["tee"]}, Use(), "ask for evidence of class tee"),
        ({"not_after": "2001-01-01T00:00:00Z"}, Use(), "ended on 2001-01-01"),
        ({"not_before": "2101-01-01T00:00:00Z"}, Use(), "begin on 2101-01-01"),
    ],
)
def test_each_restriction_gives_its_reason(changes, use, reason):
    (given_reason,) = permits(validate(document(**changes)), use, at=1_800_000_000)
    assert reason in given_reason


def test_a_declared_use_inside_the_terms_is_permitted():
    made = validate(document(territory=["CH", "DE"], purposes=["research"], fields=["radiology"]))
    assert permits(made, Use("DE", "research", "radiology"), at=0) == ()


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda p: p.stem)
def test_vectors(path):
    vector = json.loads(path.read_text())
    data = vector["input"].encode()
    if vector["expect"] == "ok":
        assert str(parse(data).hash()) == vector["hash"]
    else:
        with pytest.raises(FormatError) as caught:
            parse(data)
        assert type(caught.value).__name__ == vector["expect"]


def test_there_are_vectors():
    assert len(list(VECTORS.glob("*.json"))) >= 10


def test_oversized_terms_are_refused():
    with pytest.raises(LimitExceeded):
        parse(b" " * (terms.MAX_BYTES + 1))


def test_a_later_version_asks_for_an_update():
    with pytest.raises(UnsupportedVersion, match="version 2"):
        validate(document(version=2))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_our_errors(data):
    with contextlib.suppress(FormatError):
        parse(data)


@given(
    st.dictionaries(
        st.sampled_from(sorted(terms._MEMBERS)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_no_changed_document_raises_anything_but_our_errors(changes):
    with contextlib.suppress(FormatError):
        validate(document(**changes))


def test_a_use_survives_json():
    use = Use("DE", "research", "radiology")
    assert Use.from_json(use.to_json()) == use
    with pytest.raises(ManifestError):
        Use.from_json({"territory": "Germany"})
