"""Wraps open for one key and one purpose."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LimitExceeded, NoIdentityMatch, UnsupportedVersion, UsageError
from ledger.sealed.file import open_sealed
from ledger.sealed.recipients import (
    MLKEM768_X25519,
    X25519,
    KemPrivateKey,
    KemPublicKey,
    unwrap,
    wrap,
)

KEYS = {suite: KemPrivateKey.generate(suite) for suite in (X25519, MLKEM768_X25519)}
SECRET = bytes(range(32))
suites = pytest.mark.parametrize("suite", KEYS)


@suites
def test_a_secret_comes_back_for_the_right_key_and_purpose(suite):
    blob = wrap(SECRET, KEYS[suite].public, info=b"purpose")
    assert len(blob) == {X25519: 82, MLKEM768_X25519: 1170}[suite]
    assert unwrap(blob, KEYS[suite], info=b"purpose") == SECRET


@suites
def test_keys_read_back_as_written(suite):
    key = KEYS[suite]
    again = KemPrivateKey.from_bytes(key.to_bytes())
    assert again.public == key.public == KemPublicKey.from_bytes(key.public.to_bytes())
    assert again.public.hash() == key.public.hash()
    assert unwrap(wrap(SECRET, key.public, info=b""), again, info=b"") == SECRET


def test_one_file_opens_for_recipients_of_two_suites_and_after_a_rewrap(sealed):
    before = sealed.path.read_bytes()
    wraps = {
        suite: wrap(sealed.key, KEYS[suite].public, info=b"recipient %d" % suite) for suite in KEYS
    }
    assert {blob[1] for blob in wraps.values()} == {X25519, MLKEM768_X25519}

    def opened(blob, key, info):
        with open_sealed(
            sealed.path, bytes(unwrap(blob, key, info=info)), record=sealed.record
        ) as file:
            return {name: array.tobytes() for name, array in file.load_all().items()}

    found = [opened(wraps[suite], KEYS[suite], b"recipient %d" % suite) for suite in KEYS]
    assert found[0] == found[1] != {}

    # The classical recipient hands over to one of the hybrid suite, who was not there before.
    later = KemPrivateKey.generate(MLKEM768_X25519)
    key = unwrap(wraps[X25519], KEYS[X25519], info=b"recipient 1")
    again = wrap(key, later.public, info=b"later")
    assert opened(again, later, b"later") == found[0]
    with pytest.raises(NoIdentityMatch):
        unwrap(again, KEYS[MLKEM768_X25519], info=b"later")
    assert sealed.path.read_bytes() == before


@suites
def test_another_key_or_purpose_does_not_open(suite):
    blob = wrap(SECRET, KEYS[suite].public, info=b"license 1")
    with pytest.raises(NoIdentityMatch) as caught:
        unwrap(blob, KemPrivateKey.generate(suite), info=b"license 1")
    assert len(caught.value.tried) == 1
    with pytest.raises(NoIdentityMatch):
        unwrap(blob, KEYS[suite], info=b"license 2")


@suites
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_altered_wrap_never_opens(suite, data):
    blob = bytearray(wrap(SECRET, KEYS[suite].public, info=b""))
    bit = data.draw(st.integers(0, 8 * len(blob) - 1))
    blob[bit // 8] ^= 1 << bit % 8
    # X25519 ignores the top bit of a share; HPKE binds the share's bytes all the same.
    with pytest.raises((NoIdentityMatch, UnsupportedVersion, LimitExceeded)):
        unwrap(bytes(blob), KEYS[suite], info=b"")


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=1300))
def test_arbitrary_bytes_are_refused_with_our_errors(blob):
    for key in KEYS.values():
        with pytest.raises((NoIdentityMatch, UnsupportedVersion, LimitExceeded)):
            unwrap(blob, key, info=b"")


def test_a_wrap_for_the_other_suite_is_refused():
    blob = wrap(SECRET, KEYS[X25519].public, info=b"")
    with pytest.raises(NoIdentityMatch):
        unwrap(blob, KEYS[MLKEM768_X25519], info=b"")
    with pytest.raises(UnsupportedVersion):
        unwrap(blob, KEYS[X25519], info=b"", allowed=frozenset({MLKEM768_X25519}))


def test_a_hybrid_wrap_relabelled_as_classical_does_not_open():
    blob = wrap(SECRET, KEYS[MLKEM768_X25519].public, info=b"")
    with pytest.raises(NoIdentityMatch):
        unwrap(blob[:1] + b"\1" + blob[2:], KEYS[X25519], info=b"")


@suites
def test_a_degenerate_public_key_is_refused(suite):
    size = len(KEYS[suite].public.raw)
    with pytest.raises(NoIdentityMatch):
        wrap(SECRET, KemPublicKey(suite, bytes(size)), info=b"")


@pytest.mark.parametrize("size", [0, (1 << 19) + 1])
def test_a_secret_of_no_or_too_many_bytes_is_refused(size):
    with pytest.raises(LimitExceeded):
        wrap(bytes(size), KEYS[X25519].public, info=b"")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UnsupportedVersion),
        (b"\1", UnsupportedVersion),
        (b"\2\1" + bytes(32), UnsupportedVersion),
        (b"\1\7" + bytes(32), UnsupportedVersion),
        (b"\1\1" + bytes(31), LimitExceeded),
        (b"\1\2" + bytes(32), LimitExceeded),
    ],
)
def test_a_key_of_another_form_is_refused(data, error):
    with pytest.raises(error):
        KemPrivateKey.from_bytes(data)
    with pytest.raises(error):
        KemPublicKey.from_bytes(data)


def test_a_wiped_key_opens_nothing_and_shows_nothing():
    key = KemPrivateKey.generate()
    secret = bytes(key.to_bytes())
    assert secret[2:].hex() not in repr(key)
    blob = wrap(SECRET, key.public, info=b"")
    key.wipe()
    with pytest.raises(UsageError):
        unwrap(blob, key, info=b"")
    with pytest.raises(UsageError):
        key.to_bytes()
