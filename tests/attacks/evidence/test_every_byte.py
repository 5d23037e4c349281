"""Every byte of a bundle is covered: changed alone it is caught; rebuilt around, it says the same.

A sample in CI; every byte of every member with ``DEED_DEEP=1`` (``make deep``).
"""

import json
import os
import random
from pathlib import Path

import pytest
from two_verifiers import script, trusting

from ledger.canonical import canonical_json, hash_json
from ledger.errors import FormatError, VerificationError
from ledger.evidence import archive
from ledger.evidence.bundle import INDEX, parse_bundle
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.chain_steps import check_contents, check_headers
from ledger.evidence.timestamp_steps import check_timestamps, told
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Result, examine

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
DEEP = bool(os.environ.get("DEED_DEEP"))
STAMPED = (FOLDER / "stamped.evidence.zip").read_bytes()
MEMBERS = dict(archive.parse(STAMPED).members)
STAMPS = sorted(name for name in MEMBERS if name.startswith("timestamps/"))


def caught(data):
    """By the form or by step 2, in both verifiers, so that no later step has to be run."""
    return [_caught_by_library(data), _caught_by_script(data)] == [True, True]


def _caught_by_library(data):
    try:
        bundle = parse_bundle(data)
        check_contents(Case(bundle, TrustRoot()), 2)
    except (FormatError, VerificationError):
        return True
    return False


def _caught_by_script(data):
    case = script().Case(trusting()[1])
    try:
        script().step_form(case, data)
        script().step_contents(case)
    except (script().BadForm, script().Fail):
        return True
    return False


def sample(size, count):
    return range(size) if DEEP else random.Random(8).sample(range(size), min(size, count))


@pytest.mark.timeout(1800)
def test_any_changed_byte_of_the_file_is_caught_by_form_or_step_2():
    assert not _caught_by_library(STAMPED)
    assert not _caught_by_script(STAMPED)
    for at in sample(len(STAMPED), 400):
        changed = bytearray(STAMPED)
        changed[at] ^= 1 << at % 8
        assert caught(bytes(changed)), at


def stamps_say(members):
    """What step 17 finds, the same in both verifiers; None if they refuse."""
    bundle = parse_bundle(STAMPED)
    case = Case(type(bundle)(**{**vars(bundle), "members": members}), TrustRoot())
    check_headers(case, 3)  # stamps are held against the newest block
    try:
        check_timestamps(case, 17)
    except NotChecked:
        found = told(case)
    except VerificationError:
        found = None
    other = script().Case(trusting()[1])
    script().step_form(other, STAMPED)
    other.members = members
    script().step_headers(other)
    try:
        script().step_timestamps(other)
    except script().NotChecked:
        assert script()._told_stamps(other.stamps) == found
    except script().Fail:
        assert found is None
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", STAMPS)
def test_a_stamp_s_changed_byte_is_refused_or_says_the_same(name):
    """A forger rebuilds index and log; what is left are bytes that say nothing (see the spec)."""
    plain = {key: data for key, data in MEMBERS.items() if key != INDEX}
    before = stamps_say(plain)
    assert before is not None
    same = 0
    tried = list(sample(len(plain[name]), 12))
    for at in tried:
        changed = bytearray(plain[name])
        changed[at] ^= 1 << at % 8
        after = stamps_say({**plain, name: bytes(changed)})
        if after is not None:
            # A root is trusted for being known, by the digest of all its bytes: another byte makes
            # another root, which the report names and no reader knows.
            roots = [[of["root"] for of in found["tokens"]] for found in (before, after)]
            assert after == before or roots[0] != roots[1], (name, at)
            same += 1
    assert same < len(tried)


def test_a_custody_entry_s_changed_field_is_refused_once_it_is_signed():
    document = json.loads(MEMBERS["custody.json"])
    for field, value in document[1].items():
        if field in {"hash", "previous", "sequence", "contents"}:
            continue
        changed = json.loads(MEMBERS["custody.json"])
        if field == "printed":
            changed[1][field] = {"certification.txt": "0x" + "11" * 32}
        elif field == "signature":
            changed[1][field] = value[:-2] + ("1b" if value.endswith("1c") else "1c")
        elif field == "signer":
            changed[1][field] = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
        elif field == "time":
            changed[1][field] = "2020-01-01T00:00:00Z"
        else:
            changed[1][field] = value + "x"
        body = {k: v for k, v in changed[1].items() if k not in {"hash", "signature"}}
        changed[1]["hash"] = str(hash_json("modeldeed/custody/1", body))
        bundle = parse_bundle(STAMPED)
        members = {**bundle.members, "custody.json": canonical_json(changed)}
        report = examine(type(bundle)(**{**vars(bundle), "members": members}))
        custody = next(step for step in report.steps if step.title == "custody")
        assert custody.result is Result.FAIL, field
