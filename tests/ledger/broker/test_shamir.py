"""Sharing a key: any t of n give it, fewer give nothing, and no altered share goes unnoticed."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.broker import shamir
from ledger.broker.shamir import Share, join, split
from ledger.errors import SharesRejected, UsageError

SECRET = bytes(range(32))


def table_product(a, b):
    """The field once more, another way: by logarithms to the base 3."""
    powers = [1]
    while len(powers) < 255:
        x = powers[-1]
        doubled = (x << 1) ^ (0x11B if x & 0x80 else 0)
        powers.append(doubled ^ x)
    if a == 0 or b == 0:
        return 0
    return powers[(powers.index(a) + powers.index(b)) % 255]


def altered(share, **changes):
    return dataclasses.replace(share, **changes)


def test_the_field_is_that_of_aes():
    # FIPS 197, section 4.2.
    assert shamir._product(0x57, 0x83) == 0xC1
    assert shamir._product(0x57, 0x13) == 0xFE
    assert all(shamir._product(a, shamir._inverse(a)) == 1 for a in range(1, 256))


@given(st.integers(0, 255), st.integers(0, 255))
def test_both_ways_to_multiply_agree_with_a_third(a, b):
    array = shamir.np.array([a], shamir.np.uint8)
    shamir._multiply(array, b)
    assert array[0] == shamir._product(a, b) == table_product(a, b)


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5)])
def test_every_choice_of_enough_shares_gives_the_secret(threshold, count):
    shares = split(SECRET, threshold, count)
    for size in range(threshold, count + 1):
        for chosen in itertools.combinations(shares, size):
            assert join(chosen) == SECRET
            assert join(chosen[::-1]) == SECRET


@given(st.binary(min_size=16, max_size=80), st.data())
@settings(max_examples=60, deadline=None)
def test_any_key_is_split_and_joined(secret, data):
    count = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, count))
    shares = split(secret, threshold, count)
    assert join(data.draw(st.permutations(shares))[:threshold]) == secret


def test_the_largest_set_works():
    shares = split(SECRET, 128, 255)
    assert join(shares[127:]) == SECRET


def test_fewer_shares_than_needed_are_counted_and_refused():
    shares = split(SECRET, 3, 5)
    with pytest.raises(SharesRejected, match="2 of the 3 shares needed") as caught:
        join([shares[0], shares[4]])
    assert "get 1 more" in caught.value.hint
    with pytest.raises(SharesRejected, match="1 of the 3"):
        join([shares[0]] * 3)
    with pytest.raises(SharesRejected, match="no share"):
        join([])


def test_fewer_shares_than_needed_fit_every_secret():
    """For each other secret there is a share that would complete it: nothing was learnt."""
    shares = split(SECRET, 2, 3)
    for guess in (bytes(32), b"\xff" * 32, SECRET[::-1]):
        # The line through (0, guess) and (1, value) reaches some value at 2.
        at_two = bytes(
            g ^ shamir._product(2, g ^ v) for g, v in zip(guess, shares[0].value, strict=True)
        )
        fake = altered(shares[1], value=bytearray(at_two))
        pair = {share.index: share.value for share in (shares[0], fake)}
        assert shamir.at_zero(pair) == guess


def test_shares_of_two_sets_are_not_mixed():
    one, two = split(SECRET, 2, 3), split(SECRET, 2, 3)
    with pytest.raises(SharesRejected, match="belongs to set"):
        join([one[0], two[1]])


@given(st.integers(0, 31), st.integers(1, 255))
@settings(max_examples=40)
def test_an_altered_share_is_named(position, flip):
    shares = split(SECRET, 2, 3)
    shares[2].value[position] ^= flip
    with pytest.raises(SharesRejected, match=r"share 3 of set .* was altered"):
        join(shares[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {"index": 1},
        {"index": 0},
        {"index": 4},
        {"index": -1},
        {"threshold": 1},
        {"threshold": 0},
        {"threshold": 4},
        {"count": 2},
        {"count": 300},
        {"commitments": ()},
        {"value": bytearray(31)},
        {"value": bytearray()},
    ],
)
def test_an_altered_number_is_refused(changes):
    shares = split(SECRET, 2, 3)
    with pytest.raises(SharesRejected):
        join([shares[0], altered(shares[1], **changes)])


def test_a_set_that_no_polynomial_made_is_found_when_there_are_more_shares_than_needed():
    shares = split(SECRET, 2, 3)
    shares[2].value[0] ^= 1
    lying = tuple(
        shamir.commitment(2, 3, index, share.value) for index, share in enumerate(shares, 1)
    )
    forged = [altered(share, commitments=lying) for share in shares]
    with pytest.raises(SharesRejected, match="does not fit"):
        join(forged)


def test_shares_of_different_lengths_are_refused():
    values = [bytearray(16), bytearray(17)]
    lying = tuple(shamir.commitment(2, 2, i, value) for i, value in enumerate(values, 1))
    with pytest.raises(SharesRejected, match="lengths"):
        join([Share(2, 2, i, value, lying) for i, value in enumerate(values, 1)])


@pytest.mark.parametrize(
    ("size", "threshold", "count"),
    [(32, 0, 3), (32, 4, 3), (32, 2, 256), (15, 2, 3), (4097, 2, 3), (0, 1, 1)],
)
def test_numbers_that_cannot_be_meant_are_refused(size, threshold, count):
    with pytest.raises(UsageError):
        split(bytes(size), threshold, count)


def test_a_share_shows_no_secret_and_can_be_zeroed():
    share = split(SECRET, 1, 2)[0]
    assert bytes(share.value).hex() not in repr(share)
    assert repr(bytes(share.value)) not in repr(share)
    share.wipe()
    assert share.value == bytes(32)


def test_the_secret_that_was_split_is_left_alone():
    secret = bytearray(SECRET)
    split(secret, 2, 3)
    assert secret == SECRET
