"""Which code words may have been released: nobody's is forgotten, whatever its holder did since."""

from ledger.cli.events import tenures_of
from ledger.ids import Address

A, B, C, NOBODY = (Address(bytes([n]) * 20) for n in (1, 2, 3, 0))


def test_a_holder_from_the_start_has_every_nonce():
    assert tenures_of([A], 0) == [(A, range(1))]
    assert tenures_of([A], 5000) == [(A, range(5001))]


def test_each_transfer_raises_the_nonce():
    """So without cancelled grants each holder had one word."""
    assert tenures_of([A, B, C], 2) == [(A, range(1)), (B, range(1, 2)), (C, range(2, 3))]


def test_cancelled_grants_may_have_been_anybody_s():
    assert tenures_of([A, B], 3) == [(A, range(3)), (B, range(1, 4))]


def test_a_holder_s_old_words_stay_however_often_grants_are_cancelled():
    (first, words), _ = tenures_of([A, B], 100_000)
    assert first == A
    assert 0 in words


def test_nobody_holds_a_burned_license():
    assert [holder for holder, _ in tenures_of([A, NOBODY], 1)] == [A]


def test_a_nonce_read_before_the_last_transfer_leaves_no_holder_out():
    assert all(len(words) for _, words in tenures_of([A, B, C], 1))
