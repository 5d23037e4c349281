"""Reading JSON objects from outside."""

import pytest

from ledger.errors import ManifestError, UnsupportedVersion
from ledger.licensing.document import Document, base64_text, hex_text


def test_an_unknown_member_is_refused_by_name():
    with pytest.raises(ManifestError, match="surprise"):
        Document({"a": 1, "surprise": 2}, "the thing", ("a",))


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_anything_but_an_object_is_refused(value):
    with pytest.raises(ManifestError, match="not a JSON object"):
        Document(value, "the thing")


@pytest.mark.parametrize("value", [True, 1.0, "1", -1, 11, None])
def test_an_integer_is_neither_a_boolean_nor_out_of_range(value):
    with pytest.raises(ManifestError, match="n must be an integer from 0 to 10"):
        Document({"n": value}, "the thing").integer("n", 0, 10)


@pytest.mark.parametrize(
    "value", ["0xAB", "ab", "0x", "0xa", "0xabcd", "0xzz", "0xab\n", None, 171]
)
def test_hex_has_one_spelling(value):
    with pytest.raises(ManifestError):
        Document({"x": value}, "the thing").raw("x", 1)


def test_base64_has_one_spelling():
    doc = Document({"good": "YWI=", "open": "YWI", "bits": "YWJ=", "line": "YWI=\n"}, "the thing")
    assert doc.blob("good") == b"ab"
    for name in ("open", "bits", "line"):
        with pytest.raises(ManifestError):
            doc.blob(name)


def test_a_blob_beyond_its_limit_is_refused():
    with pytest.raises(ManifestError):
        Document({"x": base64_text(bytes(65))}, "the thing").blob("x", limit=64)


@pytest.mark.parametrize("value", ["01.1", "1.01", "1", "1.1.1", "x", "4294967296.1"])
def test_a_license_has_one_spelling(value):
    with pytest.raises(ManifestError):
        Document({"license": value}, "the thing").license()


def test_a_later_version_is_told_apart_from_another_kind():
    with pytest.raises(UnsupportedVersion):
        Document({"type": "t", "version": 2}, "the thing").kind("t")
    with pytest.raises(ManifestError):
        Document({"type": "u", "version": 1}, "the thing").kind("t")


def test_null_counts_as_absent():
    assert not Document({"x": None}, "the thing").has("x")


def test_hex_text_is_what_raw_reads():
    assert Document({"x": hex_text(b"\x00\xff")}, "the thing").raw("x", 2) == b"\x00\xff"
