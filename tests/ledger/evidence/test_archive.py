import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BundleFormatError, LimitExceeded, UsageError
from ledger.evidence import archive

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}(/[a-z0-9]{1,9})?", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=300), max_size=8))
def test_what_is_written_is_read_back_and_python_reads_it_too(members):
    if not members:
        return
    data = archive.serialise(members)
    assert archive.parse(data) == archive.Archive(dict(sorted(members.items())), ())
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert {name: other.read(name) for name in other.namelist()} == members


def test_the_order_in_which_members_are_given_does_not_matter():
    assert archive.serialise({"a": b"1", "b": b"2"}) == archive.serialise({"b": b"2", "a": b"1"})


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../b", "a//b", "", "C:\\x", "é", "a/b/c/d/e", ".hidden", "a\0"],
)
def test_absolute_traversing_and_odd_names_are_refused(name):
    with pytest.raises(BundleFormatError):
        archive.serialise({name: b""})
    good = archive.serialise({"x" * len(name.encode()) or "x": b"1"})
    if name:
        with pytest.raises(BundleFormatError):
            archive.parse(good.replace(b"x" * len(name.encode()), name.encode()))


def zipped(**options):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", **options) as made:
        made.writestr("a", b"content")
    return held.getvalue()


def test_a_bundle_packed_again_by_another_tool_is_refused_with_the_way_out():
    for data in (zipped(), zipped(compression=zipfile.ZIP_DEFLATED)):
        with pytest.raises(BundleFormatError) as caught:
            archive.parse(data)
        assert "unpacking and packing it again breaks it" in caught.value.hint


def test_two_members_of_one_name_are_refused():
    one = ("a", b"1", 0)
    with pytest.raises(BundleFormatError, match="repeats"):
        archive.parse(archive._pack([one, one]))


def test_members_that_share_their_bytes_are_refused():
    """Ten thousand entries over one stretch of bytes would otherwise multiply in memory."""
    data = bytearray(archive.serialise({"a": b"x" * 5000, "b": b"y" * 10}))
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, second + 20, 5000, 5000)
    struct.pack_into("<I", data, second + 42, 0)
    with pytest.raises(BundleFormatError):
        archive.parse(bytes(data))


def test_encrypted_members_are_refused():
    data = bytearray(archive.serialise({"a": b"1"}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BundleFormatError, match="encrypted"):
        archive.parse(bytes(data))


def test_a_member_altered_after_writing_is_named_and_not_hidden():
    data = archive.serialise({"a": b"content", "b": b"other"})
    assert archive.parse(data.replace(b"content", b"contenT")).damaged == ("a",)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x89PNG" + bytes(60)])
def test_files_that_are_no_archives_are_refused(data):
    with pytest.raises(BundleFormatError):
        archive.parse(data)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.evidence.zip"
    with path.open("wb") as file:
        file.truncate(archive.MAX_ARCHIVE_BYTES + 1)
    with pytest.raises(LimitExceeded):
        archive.read_archive(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        archive.read_archive(tmp_path / "none.evidence.zip")
