"""Files appear whole or not at all, and never in the place of what must stay."""

import errno
import os
import stat

import pytest

from ledger.files import sync_folder, take_name, write_whole


def failing(number):
    def fail(*_args, **_named):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_written_with_its_permissions_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    write_whole(path, b"one", mode=0o600)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [there.name for there in path.parent.iterdir()] == ["file.json"]


def test_what_must_not_be_replaced_stays(tmp_path):
    path = tmp_path / "key"
    write_whole(path, b"first", replace=False)
    with pytest.raises(FileExistsError) as raised:
        write_whole(path, b"second", replace=False)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, step, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space") as raised:
        write_whole(path, b"after")
    monkeypatch.undo()
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("replace", "left"), [(True, b"after"), (False, None)])
def test_where_the_folder_fails_last_the_file_is_whole_or_its_name_is_free(
    tmp_path, monkeypatch, replace, left
):
    path = tmp_path / "file"
    if replace:
        path.write_bytes(b"before")
    synced = os.fsync

    def failing_for_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", failing_for_folders)
    with pytest.raises(OSError, match="Input/output") as raised:
        write_whole(path, b"after", replace=replace)
    monkeypatch.undo()
    assert raised.value.filename == str(path)
    assert (path.read_bytes() if path.exists() else None) == left
    write_whole(path, b"again", replace=replace)
    assert path.read_bytes() == b"again"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "mode", "after"),
    [(0o600, 0o644, 0o600), (0o640, 0o644, 0o640), (0o400, 0o600, 0o600), (0o666, 0o644, 0o644)],
)
def test_a_file_that_is_replaced_is_never_opened_to_others(tmp_path, before, mode, after):
    path = tmp_path / "file"
    path.write_bytes(b"secret")
    path.chmod(before)
    write_whole(path, b"secret still", mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"secret")
    there.chmod(0o600)
    link.symlink_to(there)
    write_whole(link, b"new")
    assert (there.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"secret", b"new", False)
    assert stat.S_IMODE(link.stat().st_mode) == 0o600
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    write_whole(link, b"new")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_place_of_the_folder_is_not_taken_for_the_file(tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as raised:
        write_whole(tmp_path / "folder" / "file", b"", replace=False)
    assert raised.value.filename == str(tmp_path / "folder" / "file")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_does_it_too(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "link", failing(number))
    path = tmp_path / "key"
    write_whole(path, b"first", mode=0o600, replace=False)
    with pytest.raises(FileExistsError):
        write_whole(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_without_hard_links_a_name_that_cannot_be_had_is_free_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    part, path = tmp_path / "part", tmp_path / "name"
    part.write_bytes(b"whole")
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        take_name(part, path)
    assert list(tmp_path.iterdir()) == [part]


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced_is_no_error_but_a_disk_that_fails_is(
    tmp_path, monkeypatch, number, fails
):
    monkeypatch.setattr(os, "fsync", failing(number))
    if not fails:
        return sync_folder(tmp_path)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    return None


def test_a_folder_that_may_be_written_and_not_read_takes_files(tmp_path, monkeypatch):
    opened = os.open

    def refusing(path, flags, *rest):
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *rest)

    # Root, who runs some of these tests, may read everything.
    monkeypatch.setattr(os, "open", refusing)
    write_whole(tmp_path / "file", b"there")
    assert (tmp_path / "file").read_bytes() == b"there"
