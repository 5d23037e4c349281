"""Terms: one document, two spellings, and what it permits."""

import contextlib
import json
from datetime import UTC, datetime
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


# -- time windows


def windowed(*windows):
    names = ("days", "from", "to")
    return validate(document(windows=[dict(zip(names, w, strict=True)) for w in windows]))


MONDAY = 1_799_625_600  # 2027-01-11 00:00 UTC
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def test_hours_of_use_are_kept_to_the_second():
    made = windowed((["mon"], "08:00", "18:00"))
    assert permits(made, Use(), at=MONDAY + 8 * 3600) == ()
    assert permits(made, Use(), at=MONDAY + 18 * 3600 - 1) == ()
    for at in (MONDAY + 8 * 3600 - 1, MONDAY + 18 * 3600, MONDAY + 86400 + 9 * 3600):
        (reason,) = permits(made, Use(), at=at)
        assert "limit the time of use to mon 08:00-18:00 UTC" in reason


def test_hours_that_follow_one_another_are_one():
    made = windowed((["mon"], "20:00", "24:00"), (["tue"], "00:00", "06:00"))
    assert terms.ends_at(made, MONDAY + 23 * 3600) == MONDAY + 86400 + 6 * 3600
    always = windowed((WEEK, "00:00", "24:00"))
    assert terms.ends_at(always, MONDAY) is None


@pytest.mark.parametrize(
    "window",
    [
        ([], "08:00", "18:00"),
        (["tue", "mon"], "08:00", "18:00"),
        (["mon", "mon"], "08:00", "18:00"),
        (["monday"], "08:00", "18:00"),
        (["mon"], "18:00", "08:00"),
        (["mon"], "08:00", "08:00"),
        (["mon"], "8:00", "18:00"),
        (["mon"], "08:00", "24:01"),
        (["mon"], "24:00", "24:00"),
        (["mon"], "08:60", "18:00"),
    ],
)
def test_a_window_that_says_nothing_clear_is_refused(window):
    with pytest.raises(ManifestError):
        windowed(window)


def test_no_window_at_all_or_another_member_is_refused():
    for windows in ([], [{"days": ["mon"], "from": "08:00", "to": "09:00", "zone": "CET"}], "mon"):
        with pytest.raises(ManifestError):
            validate(document(windows=windows))


clock_times = st.integers(0, 1439).map(lambda m: f"{m // 60:02}:{m % 60:02}")
some_days = st.sets(st.sampled_from(WEEK), min_size=1).map(lambda d: [x for x in WEEK if x in d])
some_windows = st.lists(
    st.tuples(some_days, clock_times, clock_times | st.just("24:00")).filter(lambda w: w[1] < w[2]),
    min_size=1,
    max_size=4,
)


@given(some_windows, st.integers(MONDAY, MONDAY + 14 * 86400))
def test_what_is_permitted_now_is_permitted_until_its_end_and_not_at_it(windows, at):
    made = windowed(*windows)
    end = terms.ends_at(made, at)
    if permits(made, Use(), at=at):
        assert end == at
        return
    last = at + 7 * 86400 if end is None else end
    for moment in range(at, last, 3600):
        assert permits(made, Use(), at=moment) == ()
    if end is not None:
        assert permits(made, Use(), at=end - 1) == ()
        assert permits(made, Use(), at=end) != ()


words = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(sorted)
listed = st.just(["any"]) | words
declared = st.none() | st.sampled_from(["a", "b", "c", "d"])


@given(
    listed, listed, declared, declared,
    st.sampled_from([["software"], ["tee"], ["software", "tee"]]),
    st.sampled_from(["software", "tee"]), st.booleans(), st.booleans(),
    st.integers(-2, 2), st.integers(-2, 2),
)  # fmt: skip
def test_every_rule_counts_and_each_alone_forbids(
    purposes, fields, purpose, field, evidence, shown, export, may_export, since, until
):
    now = MONDAY
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    times = {
        "not_before": datetime.fromtimestamp(now + since, UTC).strftime(stamp),
        "not_after": datetime.fromtimestamp(now + since + until + 3, UTC).strftime(stamp),
    }
    made = validate(
        document(purposes=purposes, fields=fields, evidence=evidence, export=may_export, **times)
    )
    broken = [
        purposes != ["any"] and purpose not in purposes,
        fields != ["any"] and field not in fields,
        shown not in evidence,
        export and not may_export,
        since > 0,
        since + until + 3 <= 0,
    ]
    use = Use(None, purpose, field, evidence=shown, export=export)
    assert len(permits(made, use, at=now)) == sum(broken)
