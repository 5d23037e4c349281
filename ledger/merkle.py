"""One Merkle tree for the whole project, in two hashes.

The shape is that of RFC 6962 section 2.1 (RFC 9162 section 2.1.1): leaves are hashed with prefix
00, inner nodes with 01, and a tree of n leaves splits at the largest power of two below n. T1 is
SHA-256, for content; T2 is Keccak-256, for whatever Solidity verifies. See ``docs/spec/merkle.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.errors import InclusionProofInvalid
from ledger.ids import keccak256


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree's shape over one hash; `hash_name` is its name in specifications."""

    hash_name: str
    hash: Callable[[bytes], bytes]

    def leaf(self, data: bytes) -> bytes:
        """Leaf hash: 32 bytes of H(00 ‖ data)."""
        return self.hash(b"\x00" + data)

    def node(self, left: bytes, right: bytes) -> bytes:
        """Inner hash: 32 bytes of H(01 ‖ left ‖ right)."""
        return self.hash(b"\x01" + left + right)

    def root(self, leaves: Sequence[bytes]) -> bytes:
        """Root over leaf hashes (each 32 bytes), in order.

        The root of no leaves is H(""), as in RFC 6962. Pairing level by level and promoting an odd
        last node gives the same tree as the recursive definition, in flat memory.
        """
        if not leaves:
            return self.hash(b"")
        level = list(leaves)
        node = self.node
        while len(level) > 1:
            paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            if len(level) & 1:
                paired.append(level[-1])
            level = paired
        return level[0]

    def path(self, leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
        """Inclusion path of ``leaves[index]``, from the leaf upwards (RFC 9162 section 2.1.3.1)."""
        if not 0 <= index < len(leaves):
            raise IndexError(index)
        path: list[bytes] = []
        level = list(leaves)
        while len(level) > 1:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            paired = [self.node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            if len(level) & 1:
                paired.append(level[-1])
            level, index = paired, index >> 1
        return tuple(path)

    def paths(self, leaves: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """Inclusion path of every leaf, in order, hashing the tree once instead of once a leaf."""
        levels = [list(leaves)]
        while len(levels[-1]) > 1:
            level = levels[-1]
            paired = [self.node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            if len(level) & 1:
                paired.append(level[-1])
            levels.append(paired)
        return [
            tuple(
                level[(index >> height) ^ 1]
                for height, level in enumerate(levels)
                if (index >> height) ^ 1 < len(level)
            )
            for index in range(len(leaves))
        ]

    def verify(
        self,
        leaf: bytes,
        index: int,
        size: int,
        path: Sequence[bytes],
        root: bytes,
        *,
        step: int = 0,
    ) -> None:
        """Check that `leaf` (a leaf hash) stands at `index` of `size` under `root`.

        Follows RFC 9162 section 2.1.3.2.

        Raises:
            InclusionProofInvalid: the path has the wrong length or leads elsewhere.
        """
        if not 0 <= index < size or len(path) > 64:
            raise InclusionProofInvalid(f"index {index} is not below size {size}", step=step)
        fn, sn, running = index, size - 1, leaf
        for sibling in path:
            if sn == 0:
                raise InclusionProofInvalid("the inclusion path is too long", step=step)
            if fn & 1 or fn == sn:
                running = self.node(sibling, running)
                while not fn & 1 and fn:
                    fn >>= 1
                    sn >>= 1
            else:
                running = self.node(running, sibling)
            fn >>= 1
            sn >>= 1
        if sn != 0:
            raise InclusionProofInvalid("the inclusion path is too short", step=step)
        if running != root:
            raise InclusionProofInvalid("the inclusion path leads to another root", step=step)


T1 = Tree("sha256", _sha256)
T2 = Tree("keccak256", keccak256)
