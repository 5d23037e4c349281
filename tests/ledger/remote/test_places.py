"""URLs: which are followed, and what of them is ever shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger
from ledger.errors import LedgerError, UsageError
from ledger.remote.places import Place, is_url, join


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example/m.sealed",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1.example/m",
        "ftp://models.example/m",
        "gopher://127.0.0.1/",
        "https:///m",
        "https://[",
        "https://host:port/m",
        "https://host/m\n",
        "//host/m",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/key?versionId=1",
        "s3://bucket:80/key",
        "https://host/" + "m" * 9000,
    ],
)
def test_what_is_not_https_or_s3_or_on_this_machine_is_not_followed(url):
    with pytest.raises(UsageError):
        Place.parse(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        Place.parse("https://me:hunter2@models.example/m.sealed")
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_a_signature_in_a_query_is_used_and_never_shown():
    place = Place.parse("https://cdn.example/abc/m.sealed?X-Amz-Signature=abc")
    assert "X-Amz-Signature=abc" in place.url
    for shown in (str(place), repr(place)):
        assert "abc" not in shown
    assert str(place) == "https://cdn.example"


def test_bucket_and_key_come_from_an_s3_url():
    place = Place.parse("s3://models/a/b%20c.sealed")
    assert (place.host, place.path) == ("models", "a/b c.sealed")
    assert not place.loopback


def test_relative_urls_start_from_the_card_in_a_bucket_too():
    assert join("s3://b/x/card.license.json", "model.sealed") == "s3://b/x/model.sealed"
    assert join("https://h/x/card.json?sig=1", "m.sealed") == "https://h/x/m.sealed"
    assert join("s3://b/x/card.json", "https://h/m") == "https://h/m"


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda tail: f"https://{tail}"))
def test_any_text_is_a_place_or_a_refusal(text):
    try:
        place = Place.parse(text)
    except LedgerError:
        return
    assert is_url(place.url)
    assert place.scheme == "https" or place.loopback or place.scheme == "s3"


@pytest.mark.parametrize("text", ["ftp://host/m.sealed", "gs://bucket/m.sealed"])
def test_a_url_of_another_scheme_is_no_missing_file(text):
    with pytest.raises(UsageError, match="is not followed"):
        ledger.load(text)


def test_a_path_is_no_url():
    assert not any(map(is_url, ("m.sealed", "/a/b", "C://m.sealed", "odd:name", "://x")))
