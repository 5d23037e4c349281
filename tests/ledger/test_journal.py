"""The lock of a publication's folder, and what a killed run leaves in it."""

import pytest

from ledger.errors import UsageError
from ledger.journal import exclusive

LEFT = (
    ".claim.json.0a1b2c3d.tmp",
    ".journal.json.00000000.tmp",
    ".my-model.recovery.json.deadbeef.tmp",
    ".my-model.sealed.0123456789ab.part",
)
OTHERS = ("claim.json", ".gitignore", ".notes.tmp", ".claim.json.tmp", ".x.json.deadbeef.tmp")


def test_what_a_killed_run_left_unfinished_is_swept_and_nothing_else(tmp_path):
    for name in (*LEFT, *OTHERS):
        (tmp_path / name).touch()
    with exclusive(tmp_path / "journal.lock"):
        assert {path.name for path in tmp_path.iterdir()} == {*OTHERS, "journal.lock"}


def test_while_another_works_there_nothing_is_swept(tmp_path):
    with exclusive(tmp_path / "journal.lock"):
        (tmp_path / LEFT[0]).touch()
        with (
            pytest.raises(UsageError, match="another deed publish"),
            exclusive(tmp_path / "journal.lock"),
        ):
            pass
        assert (tmp_path / LEFT[0]).exists()
