import json

import pytest

from ledger.canonical import canonical_json
from ledger.errors import BundleFormatError, ManifestError, UnsupportedVersion
from ledger.evidence import archive
from ledger.evidence.bundle import INDEX, Subject, contents_of, pack, parse_bundle, read_bundle


def reindexed(members, change):
    document = json.loads(members[INDEX])
    change(document)
    return archive.serialise({**members, INDEX: canonical_json(document)})


def test_packing_what_was_read_gives_the_same_bytes(bundle_path, bundle_bytes):
    bundle = read_bundle(bundle_path)
    assert pack(bundle.subject, bundle.members) == bundle_bytes


def test_the_contents_digest_outlives_a_longer_custody_log(bundle_path):
    bundle = read_bundle(bundle_path)
    members = {**bundle.members, "custody.json": b"[]", "report.txt": b"", "README.txt": b""}
    assert contents_of(bundle.subject, members) == bundle.contents
    members["claim.json"] = b"{}"
    assert contents_of(bundle.subject, members) != bundle.contents


def test_the_subject_survives_its_json(bundle_path):
    subject = read_bundle(bundle_path).subject
    assert Subject.from_json(subject.to_json()) == subject


def test_another_version_is_refused_as_such(members):
    with pytest.raises(UnsupportedVersion):
        parse_bundle(reindexed(members, lambda index: index.update(version=2)))


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(format="zip"),
        lambda index: index.update(kind="license"),
        lambda index: index.update(members=None),
        lambda index: index.update(members=[{"name": "x"}]),
        lambda index: index["members"][0].update(name=7),
        lambda index: index["members"][0].update(size="7"),
        lambda index: index.pop("id"),
        lambda index: index["chain"].update(id=-1),
        lambda index: index["chain"].update(id=True),
        lambda index: index["state"].update(hash="0x12"),
        lambda index: index["contracts"]["Anchors"].pop("code_hash"),
        lambda index: index.update(contracts=[]),
    ],
)
def test_a_malformed_index_is_one_clear_error(members, change):
    with pytest.raises(BundleFormatError):
        parse_bundle(reindexed(members, change))


def test_a_zip_without_index_or_with_an_unreadable_one_is_refused(members):
    without = {name: data for name, data in members.items() if name != INDEX}
    for data in (without, {**members, INDEX: b"{"}, {**members, INDEX: b"\xff"}):
        with pytest.raises(BundleFormatError):
            parse_bundle(archive.serialise(data))


def test_asking_for_a_member_that_is_not_there_is_a_clear_error(bundle_path):
    with pytest.raises(ManifestError, match=r"no tensors\.json"):
        read_bundle(bundle_path).member("tensors.json")
