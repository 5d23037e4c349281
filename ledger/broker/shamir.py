"""Shamir's secret sharing over GF(2^8), with a commitment to every share (docs/spec/shares.md).

Byte j of a share is a random polynomial of degree t - 1, whose constant term is byte j of the
secret, at the share's index. Each share carries the commitments to all shares of its set, so an
altered share, or one of another set, is found and named before anything is joined.

Only public numbers (indices and what follows from them) steer branches or table positions here:
secret bytes are added and multiplied as whole arrays. Buffers that held them are zeroed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ledger.canonical import hash_bytes
from ledger.errors import SharesRejected, UsageError
from ledger.ids import Digest
from ledger.sealed.memory import burn

SHARE_TAG: Final = "modeldeed/share/1"
SET_TAG: Final = "modeldeed/share-set/1"
MAX_SHARES: Final = 255
MIN_SECRET: Final = 16
MAX_SECRET: Final = 4096
_REDUCTION: Final = 0x1B
"""x^8 = x^4 + x^3 + x + 1: the field of AES (FIPS 197)."""

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Share:
    """One of `count` shares, any `threshold` of which give the secret. Its repr shows no secret.

    Attributes:
        threshold: how many are needed.
        count: how many there are.
        index: which one this is, from 1.
        value: the secret part; zeroed by ``wipe``.
        commitments: to every share of the set, by index.
    """

    threshold: int
    count: int
    index: int
    value: bytearray = field(repr=False)
    commitments: tuple[Digest, ...] = field(repr=False)

    @classmethod
    def checked(
        cls, threshold: int, commitments: tuple[Digest, ...], index: int, value: bytearray
    ) -> Self:
        """A share with this value, held against its commitment.

        Raises:
            SharesRejected: it is another value; its buffer is zeroed.
        """
        made = cls(threshold, len(commitments), index, value, commitments)
        try:
            made.check()
        except BaseException:
            made.wipe()
            raise
        return made

    @property
    def set_id(self) -> Digest:
        """Name of the set: what its shares have in common."""
        return set_id(self.threshold, self.commitments)

    @property
    def commitment(self) -> Digest:
        """The commitment to this share."""
        return self.commitments[self.index - 1]

    def check(self) -> None:
        """Check the share's numbers, and its value against its commitment.

        Raises:
            SharesRejected: it was altered, or never was a share.
        """
        if not (
            1 <= self.threshold <= self.count <= MAX_SHARES
            and 1 <= self.index <= self.count == len(self.commitments)
            and MIN_SECRET <= len(self.value) <= MAX_SECRET
        ):
            raise SharesRejected(f"share {self.index} has numbers that no share has")
        made = commitment(self.threshold, self.count, self.index, self.value)
        if made != self.commitment:
            raise SharesRejected(
                f"share {self.index} of set {self.set_id.short} was altered: it is not the one "
                "that its set commits to"
            )

    def wipe(self) -> None:
        """Zero the value."""
        self.value[:] = bytes(len(self.value))


def commitment(threshold: int, count: int, index: int, value: bytes | bytearray) -> Digest:
    """The commitment to a share. It hides only what cannot be guessed: see ``split``."""
    hasher = hashlib.sha256(SHARE_TAG.encode() + b"\0" + bytes((threshold, count, index)))
    hasher.update(value)  # no copy of the value is made
    return Digest(hasher.digest())


def set_id(threshold: int, commitments: Sequence[Digest]) -> Digest:
    """The name of the set with these commitments."""
    return hash_bytes(
        SET_TAG, bytes((threshold, len(commitments))) + b"".join(one.raw for one in commitments)
    )


def split(
    secret: bytes | bytearray,
    threshold: int,
    count: int,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> list[Share]:
    """Split a key into `count` shares, any `threshold` of which give it back.

    Args:
        secret: a uniformly random key of at least 16 bytes. Fewer shares than the threshold tell
            nothing about it; they and the commitments would let a *guessable* secret be guessed,
            so split a random key and encrypt anything else under it.
        threshold: how many shares are needed.
        count: how many are made, at most 255.
        random: source of uniformly random bytes; what it returns is overwritten after use.

    Raises:
        UsageError: numbers that cannot be meant.
    """
    if not 1 <= threshold <= count <= MAX_SHARES:
        raise UsageError(
            f"{threshold} of {count} shares cannot be made",
            hint=f"the threshold is from 1 to the count, the count at most {MAX_SHARES}",
        )
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise UsageError(
            f"a secret of {len(secret)} bytes is not split; {MIN_SECRET} to {MAX_SECRET} are",
            hint="split a random key and encrypt the rest under it",
        )
    values = deal(secret, threshold, count, random=random)
    commitments = tuple(
        commitment(threshold, count, index, value) for index, value in enumerate(values, 1)
    )
    return [
        Share(threshold, count, index, value, commitments) for index, value in enumerate(values, 1)
    ]


def deal(
    secret: bytes | bytearray,
    threshold: int,
    count: int,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> list[bytearray]:
    """The bare values of shares 1, 2, …, of a secret of any length; ``split`` commits to them.

    Each byte has a polynomial of its own, so many keys in one buffer are each shared separately.
    """
    polynomial = [np.frombuffer(bytearray(secret), np.uint8)]
    for _ in range(threshold - 1):
        drawn = random(len(secret))
        polynomial.append(np.frombuffer(bytearray(drawn), np.uint8))
        burn(drawn)
    try:
        return [_evaluate(polynomial, index) for index in range(1, count + 1)]
    finally:
        for coefficients in polynomial:
            coefficients.fill(0)


def at_zero(values: Mapping[int, bytes | bytearray]) -> bytearray:
    """The secret from bare values by index, which the caller has checked; the caller zeroes it."""
    return _interpolate(list(values.items()), 0)


def join(shares: Sequence[Share]) -> bytearray:
    """The secret from at least `threshold` shares of one set; the caller zeroes it.

    The steps are those of docs/spec/shares.md, "Joining".

    Raises:
        SharesRejected: too few, of several sets, altered, or not made by one polynomial.
    """
    # (1) There are shares, all of one set. (2) Each is the one its set commits to.
    if not shares:
        raise SharesRejected("no share was given")
    first = shares[0]
    for share in shares:
        share.check()
        if share.set_id != first.set_id:
            raise SharesRejected(
                f"share {share.index} belongs to set {share.set_id.short}, share {first.index} to "
                f"set {first.set_id.short}",
                hint="join shares of one set; each share file names its set",
            )
    # (3) Enough of them are different.
    ordered = sorted(shares, key=lambda share: share.index)
    different = [ordered[0]] + [b for a, b in pairwise(ordered) if a.index != b.index]
    if len(different) < first.threshold:
        raise SharesRejected(
            f"{len(different)} of the {first.threshold} shares needed are here",
            hint=f"get {first.threshold - len(different)} more of set {first.set_id.short}",
        )
    if len({len(share.value) for share in different}) != 1:
        raise SharesRejected("the shares have different lengths: their set was made wrongly")
    # (4) The secret is where the polynomial through t shares crosses zero. (5) The others, if
    # there are any, lie on the same polynomial.
    basis, others = different[: first.threshold], different[first.threshold :]
    points = [(share.index, share.value) for share in basis]
    for other in others:
        expected = _interpolate(points, other.index)
        same = expected == other.value
        expected[:] = bytes(len(expected))
        if not same:
            raise SharesRejected(
                f"share {other.index} does not fit the others: their set was made wrongly",
                hint="whoever made the set must make a new one",
            )
    return _interpolate(points, 0)


def _evaluate(polynomial: Sequence[_Bytes], at: int) -> bytearray:
    """Horner's rule, for all bytes at once."""
    value = np.zeros_like(polynomial[0])
    for coefficients in reversed(polynomial):
        _multiply(value, at)
        value ^= coefficients
    return _taken(value)


def _interpolate(points: Sequence[tuple[int, bytes | bytearray]], at: int) -> bytearray:
    """Lagrange's formula, for all bytes at once. The weights are public."""
    total = np.zeros(len(points[0][1]), np.uint8)
    for index, value in points:
        above, below = 1, 1
        for other, _ in points:
            if other != index:
                above = _product(above, at ^ other)
                below = _product(below, index ^ other)
        term = np.frombuffer(bytearray(value), np.uint8)
        _multiply(term, _product(above, _inverse(below)))
        total ^= term
        term.fill(0)
    return _taken(total)


def _taken(array: _Bytes) -> bytearray:
    result = bytearray(len(array))
    np.copyto(np.frombuffer(result, np.uint8), array)
    array.fill(0)
    return result


def _multiply(array: _Bytes, factor: int) -> None:
    """Multiply secret bytes, in place, by a public factor."""
    power, carry = array.copy(), np.empty_like(array)
    array.fill(0)
    while factor:
        if factor & 1:
            array ^= power
        np.right_shift(power, 7, out=carry)
        np.multiply(carry, _REDUCTION, out=carry)
        np.left_shift(power, 1, out=power)
        power ^= carry
        factor >>= 1
    power.fill(0)
    carry.fill(0)


def _product(a: int, b: int) -> int:
    """Product of two public numbers."""
    result = 0
    while b:
        if b & 1:
            result ^= a
        a = ((a << 1) ^ (0x11B if a & 0x80 else 0)) & 0xFF
        b >>= 1
    return result


def _inverse(a: int) -> int:
    """Inverse of a public number other than 0: a^254."""
    result = 1
    for _ in range(254):
        result = _product(result, a)
    return result
