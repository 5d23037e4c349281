"""Share files: enough of one set give what the recovery file held; vectors show what does not."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.broker import shamir
from ledger.broker.custody import write_private
from ledger.broker.recovery import Recovery
from ledger.broker.shamir import Share
from ledger.broker.shares import ShareFile, is_share, join_recovery, split_recovery
from ledger.errors import LedgerError, LimitExceeded, ManifestError, SharesRejected
from ledger.ids import Digest

VECTORS = Path(__file__).parents[2] / "vectors" / "shares"


def vectors(kind):
    loaded = [(path.stem, json.loads(path.read_text())) for path in sorted(VECTORS.glob("*.json"))]
    chosen = [pytest.param(vector, id=name) for name, vector in loaded if vector["kind"] == kind]
    assert chosen, f"no vectors of kind {kind}"
    return chosen


def raw(text):
    return bytes.fromhex(text[2:])


def share_of(value):
    return Share(
        value["threshold"],
        value["count"],
        value["index"],
        bytearray(raw(value["value"])),
        tuple(Digest(raw(one)) for one in value["commitments"]),
    )


@pytest.mark.parametrize("vector", vectors("split"))
def test_a_stated_polynomial_gives_the_stated_shares(vector):
    drawn = iter([raw(one) for one in vector["coefficients"]])
    first = share_of(vector["shares"][0])
    made = shamir.split(
        raw(vector["secret"]), first.threshold, first.count, random=lambda _: next(drawn)
    )
    assert made == [share_of(value) for value in vector["shares"]]
    assert str(made[0].set_id) == vector["set"]
    assert shamir.join(made) == raw(vector["secret"])


@pytest.mark.parametrize("vector", vectors("join"))
def test_shares_that_must_not_join_do_not(vector):
    with pytest.raises(SharesRejected, match=vector["message"]):
        shamir.join([share_of(value) for value in vector["shares"]])


@pytest.mark.parametrize("vector", vectors("files"))
def test_a_set_of_files_opens_or_is_refused_with_the_stated_code(vector):
    def opened():
        files = [ShareFile.from_json(value) for value in vector["files"]]
        assert [file.to_json() for file in files] == vector["files"]
        return join_recovery(files)

    if "code" not in vector:
        recovery = opened()
        assert recovery.content_key == raw(vector["content_key"])
        assert str(recovery.salt) == vector["salt"]
        assert (recovery.claim is not None) == (vector["files"][0].get("model") is not None)
        return
    with pytest.raises(LedgerError) as caught:
        opened()
    assert caught.value.code == vector["code"]
    assert caught.value.hint
    for value in vector["files"]:
        assert value["share"][2:] not in str(caught.value)


def test_what_publishing_knew_comes_back_from_files(tmp_path):
    recovery = Recovery.create()
    paths = []
    for file in split_recovery(recovery, 2, 3):
        paths.append(tmp_path / f"share-{file.share.index}.json")
        write_private(paths[-1], json.dumps(file.to_json()).encode())
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o600
    found = join_recovery([ShareFile.load(path) for path in paths[::2]])
    assert (found.content_key, found.salt) == (recovery.content_key, recovery.salt)
    assert all(recovery.content_key.hex() not in path.read_text() for path in paths)


def test_a_share_file_names_itself_in_errors(tmp_path):
    path = tmp_path / "alice.json"
    document = split_recovery(Recovery.create(), 2, 2)[0].to_json()
    path.write_text(json.dumps({**document, "index": 2}))
    with pytest.raises(SharesRejected, match=r"alice\.json was damaged"):
        ShareFile.load(path)
    path.write_text("[")
    with pytest.raises(ManifestError, match=r"alice\.json"):
        ShareFile.load(path)
    path.write_bytes(b" " * ((8 << 20) + 1))
    with pytest.raises(LimitExceeded):
        ShareFile.load(path)


def test_the_repr_of_a_share_file_shows_no_share():
    file = split_recovery(Recovery.create(), 1, 1)[0]
    assert bytes(file.share.value).hex() not in repr(file)
    assert repr(bytes(file.share.value))[2:-1] not in repr(file)


@given(
    st.sampled_from(sorted(split_recovery(Recovery.create(), 1, 1)[0].to_json())),
    st.one_of(st.none(), st.integers(), st.text(max_size=9), st.lists(st.text(max_size=3))),
)
@settings(max_examples=80, deadline=None)
def test_no_altered_file_raises_anything_but_our_errors(member, value):
    with pytest.raises(LedgerError):
        ShareFile.from_json({**DOCUMENT, member: value})


DOCUMENT = split_recovery(Recovery.create(), 2, 3)[0].to_json()


def test_share_files_are_told_from_recovery_files():
    assert is_share(DOCUMENT)
    assert not is_share({"version": 1})
    assert not is_share([])
