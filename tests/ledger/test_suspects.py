"""A suspect as it is received: what is hashed, what is refused, and that nothing stays behind."""

import hashlib
import os
import tempfile

import numpy as np
import pytest
from store_world import serving

from ledger import suspects
from ledger.errors import (
    ConfigurationError,
    LedgerError,
    LimitExceeded,
    ObjectReplaced,
    StoreUnavailable,
    TensorFileError,
    UnsupportedModel,
    UsageError,
)
from ledger.evidence.match_form import MAX_NAME
from ledger.examining import failed
from ledger.suspects import received
from ledger.tensors.opening import open_weights

NOWHERE = "http://10.255.255.1/x"
PIECE = 8 << 20


@pytest.fixture(scope="module")
def content():
    """Of two pieces, so that a second request is made."""
    return np.random.default_rng(1).bytes(PIECE + (3 << 20))


@pytest.fixture
def server(tmp_path, content):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "model.safetensors").write_bytes(content)
    with serving(tmp_path / "shop") as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path, monkeypatch):
    """Whatever happens, the place of temporary files is empty again."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert list((tmp_path / "temporary").iterdir()) == []


def url(server, name="model.safetensors"):
    return f"{server.url}/{name}"


# -- a URL ---------------------------------------------------------------------------------------


def test_a_url_is_hashed_as_it_arrives_and_goes_away_afterwards(server, content):
    with received(url(server) + "?signature=s3cret") as there:
        record = there.record
        assert there.path.read_bytes() == content
        assert there.path.stat().st_mode & 0o222 == 0
        there.ensure_unchanged()
    digest = "0x" + hashlib.sha256(content).hexdigest()
    assert (record["kind"], record["name"]) == ("url", "model.safetensors")
    assert (record["sha256"], record["size"]) == (digest, len(content))
    assert "s3cret" not in str(record)
    assert not there.path.exists()


def test_what_is_kept_stays_and_is_never_written_over(server, content, tmp_path):
    kept = tmp_path / "kept.safetensors"
    with received(url(server), keep=kept):
        pass
    assert kept.read_bytes() == content
    with pytest.raises(UsageError, match="exists"), received(url(server), keep=kept):
        pass


def test_a_redirect_on_this_machine_is_followed_and_one_that_leaves_it_is_not(server, content):
    target = url(server)
    server.fault = lambda number, _first: f"redirect:{target}?" if number == 1 else None
    with received(target) as there:
        assert there.path.read_bytes() == content
    server.fault = lambda _number, _first: f"redirect:{NOWHERE}"
    with pytest.raises(StoreUnavailable), received(target, timeout=2):
        pass


def test_a_connection_that_breaks_once_is_taken_up_again(server, content):
    broken = []

    def fault(_number, first):
        if first and not broken:
            broken.append(first)
            return "drop"
        return None

    server.fault = fault
    with received(url(server)) as there:
        assert there.record["sha256"] == "0x" + hashlib.sha256(content).hexdigest()
    assert broken


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("404", UsageError),
        ("403", ConfigurationError),
        ("503", StoreUnavailable),
        ("cut", StoreUnavailable),
        ("short", StoreUnavailable),
        ("shifted", StoreUnavailable),
        ("long", StoreUnavailable),
        ("stall", StoreUnavailable),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_server_that_fails_for_good_is_an_error_that_speaks_of_a_file(
    server, tmp_path, fault, error, late
):
    server.fault = lambda _number, first: fault if first or not late else None
    kept = tmp_path / "kept.safetensors"
    expected = LedgerError if late else error
    with pytest.raises(expected) as caught, received(url(server), keep=kept, timeout=1):
        pass
    assert "give the file" in caught.value.hint
    assert "card" not in caught.value.hint + caught.value.message
    assert not kept.exists()


def whole(then=None):
    """A server that gives files only whole, and does this when it is asked for one."""
    return lambda number, first: "whole" if number == 1 or first else then


def test_a_file_that_a_server_gives_only_whole_is_downloaded_whole(server, content):
    server.fault = whole("whole")
    told = []
    with received(url(server), progress=lambda done, total: told.append((done, total))) as there:
        assert there.path.read_bytes() == content
        assert there.record["sha256"] == "0x" + hashlib.sha256(content).hexdigest()
    assert server.ranges[1:] == [(0, None)]
    assert told[-1] == (len(content), len(content))
    assert len(told) > 1


@pytest.mark.parametrize("then", ["404", "drop", "stall", "long", "away"])
def test_a_server_without_ranges_that_fails_leaves_nothing(server, tmp_path, then):
    server.fault = whole(f"redirect:{NOWHERE}" if then == "away" else then)
    kept = tmp_path / "kept.safetensors"
    with pytest.raises(LedgerError) as caught, received(url(server), keep=kept, timeout=1):
        pass
    assert "give the file" in caught.value.hint
    assert server.url.partition("://")[2] not in caught.value.message
    assert not kept.exists()


def test_of_a_server_without_ranges_a_lower_limit_holds(server, content, monkeypatch):
    server.fault = whole()
    monkeypatch.setattr(suspects, "MAX_WHOLE", len(content) - 1)
    with pytest.raises(LimitExceeded) as caught, received(url(server)):
        pass
    assert "only whole" in caught.value.hint


def test_an_empty_file_of_a_server_without_ranges_is_said_to_be_empty(server):
    (server.folder / "empty").write_bytes(b"")
    server.fault = whole()
    server.ranges.append((0, 0))  # the answer to a range of nothing is "no such range"
    with pytest.raises(TensorFileError, match="is empty"), received(url(server, "empty")):
        pass


def test_an_object_that_is_replaced_meanwhile_is_not_taken_for_one_suspect(server, tmp_path):
    def fault(_number, first):
        server.etag = '"second"' if first else server.etag

    server.fault = fault
    kept = tmp_path / "kept.safetensors"
    with pytest.raises(ObjectReplaced), received(url(server), keep=kept, timeout=1):
        pass
    assert not kept.exists()


def test_more_than_the_limit_is_not_downloaded(server, content):
    with pytest.raises(LimitExceeded), received(url(server), limit=len(content) - 1):
        pass
    assert len(server.ranges) == 1


def test_an_empty_file_is_said_to_be_empty(server):
    (server.folder / "empty").write_bytes(b"")
    with pytest.raises(TensorFileError, match="is empty"), received(url(server, "empty")):
        pass


def test_a_place_to_keep_it_that_is_not_there_is_an_error(server, tmp_path):
    nowhere = tmp_path / "no" / "x"
    with pytest.raises(OSError, match="No such file"), received(url(server), keep=nowhere):
        pass


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a%0Aerror.gguf", "a\\nerror.gguf"),
        ("%E2%80%AEgpj.onnx", "\\u202egpj.onnx"),
        ("%F0%9F%90%8E" * 60 + ".onnx", "\U0001f40e" * 60 + ".onnx"),
        ("..%2f..%2fetc", "etc"),
        ("", "suspect"),
    ],
)
def test_the_name_in_a_url_is_shown_plainly_and_its_suffix_kept(server, name, shown):
    server.fault = lambda _number, _first: None

    class Everything:
        def __truediv__(self, _name):
            return file

    file = server.folder / "model.safetensors"
    server.folder = Everything()
    with received(url(server, name)) as there:
        assert there.record["name"] == shown
        assert there.path.suffix == os.path.splitext(shown)[1]


# -- a file or folder ----------------------------------------------------------------------------


def test_a_name_of_control_characters_is_shown_plainly(tmp_path):
    path = tmp_path / "a\x1b[31m\u202eb\nc\udcff.safetensors"
    path.write_bytes(b"x")
    with received(str(path)) as there:
        assert there.record["name"] == "a\\x1b[31m\\u202eb\\nc\\udcff.safetensors"
    long = tmp_path / ("\u202e" * 80)
    long.write_bytes(b"x")
    with received(str(long)) as there:
        assert len(there.record["name"]) <= MAX_NAME


def folder_with(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / name).write_bytes(b"x")
    return str(folder)


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a\x1b[2Jb", "a\udcffb"])
def test_a_folder_with_a_name_that_is_not_plain_is_refused(tmp_path, name):
    folder = folder_with(tmp_path, name)
    with pytest.raises(TensorFileError, match="no record can hold"), received(folder):
        pass


@pytest.mark.parametrize("name", ["a  b", "gl\xfchend", "newer\U0001fae9"])
def test_a_name_is_plain_by_our_rule_and_not_by_the_age_of_pythons_tables(tmp_path, name):
    with received(folder_with(tmp_path, name)) as there:
        assert name in {of["name"] for of in there.record["files"]}


def test_a_folder_that_leads_round_or_hides_a_part_is_refused(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "inner" / "round").symlink_to(folder)
    with pytest.raises(TensorFileError, match="link to a folder"), received(str(folder)):
        pass
    (folder / "inner" / "round").unlink()
    (folder / "loop").symlink_to("loop")
    with pytest.raises(TensorFileError, match="symbolic links"), received(str(folder)):
        pass


def test_an_error_names_the_url_and_not_where_its_bytes_lay_for_now(server):
    (server.folder / "deep").mkdir()
    (server.folder / "deep" / "m.safetensors").write_bytes(b"<!doctype html><title>Sign in</title>")
    there = url(server, "deep/m.safetensors?signature=s3cret")
    with pytest.raises(UnsupportedModel) as caught, received(there) as suspect:
        open_weights(suspect.path).__enter__()
    said = f"{caught.value} {caught.value.message} {caught.value.hint}"
    assert "http://127.0.0.1/…/m.safetensors" in caught.value.message
    assert "s3cret" not in said
    assert str(suspect.path.parent) not in said


def test_a_reason_names_the_file_and_not_where_the_examiner_kept_it(server):
    with received(url(server)) as there:
        error = TensorFileError(f"{there.path} is truncated")
        assert failed(error, there) == "model.safetensors is truncated"
