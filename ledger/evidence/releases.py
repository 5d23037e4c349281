"""Which contract code is ours: this version's and earlier releases', immutables left out.

A proof that a word stands in a contract's storage says nothing unless the contract's rules are
known. A bundle carries the runtime code whose Keccak-256 the account proof shows; here that code is
compared with the code we released, and the values that its constructor fixed are returned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ledger.ids import ZERO_DIGEST, Digest, keccak256

CONTRACTS = ("Anchors", "ModelRegistry", "LicenseLedger")


@dataclass(frozen=True, slots=True)
class Code:
    """One contract's runtime code in one release.

    Attributes:
        masked_hash: Keccak-256 of the code with every immutable zeroed.
        immutables: (start, length) of each copy of an immutable, in bytes.
    """

    release: str
    contract: str
    size: int
    masked_hash: Digest
    immutables: tuple[tuple[int, int], ...]

    def mask(self, code: bytes) -> bytes:
        """`code` with the immutables zeroed."""
        masked = bytearray(code)
        for start, length in self.immutables:
            masked[start : start + length] = bytes(length)
        return bytes(masked)

    def values(self, code: bytes) -> frozenset[bytes]:
        """The immutables' 32-byte values."""
        return frozenset(code[start : start + length] for start, length in self.immutables)


@cache
def known_code() -> tuple[Code, ...]:
    """Every contract code that this version knows: the one it ships, and those released before."""
    frozen = json.loads(files("ledger.evidence").joinpath("releases.json").read_text("utf-8"))
    earlier = tuple(
        Code(
            release["release"],
            contract,
            entry["size"],
            Digest.parse(entry["masked_hash"]),
            tuple((start, length) for start, length in entry["immutables"]),
        )
        for release in frozen
        for contract, entry in release["contracts"].items()
    )
    return (*(shipped_code(contract) for contract in CONTRACTS), *earlier)


def shipped_code(contract: str) -> Code:
    """The code that this version deploys, from the artifact in the package.

    The artifact is read as a file; nothing of ``ledger.chain`` is imported.
    """
    artifact = json.loads(
        files("ledger").joinpath("chain", "abi", f"{contract}.json").read_text("utf-8")
    )
    code = bytes.fromhex(artifact["deployedBytecode"][2:])
    spans = tuple((span["start"], span["length"]) for span in artifact["immutableReferences"])
    unmasked = Code("", contract, len(code), ZERO_DIGEST, spans)
    digest = Digest(keccak256(unmasked.mask(code)))
    return Code("of this version", contract, len(code), digest, spans)


def identify(contract: str, code: bytes) -> Code | None:
    """The release that `code` is `contract` of, or None when we never released it."""
    for known in known_code():
        if (
            known.contract == contract
            and known.size == len(code)
            and keccak256(known.mask(code)) == known.masked_hash.raw
        ):
            return known
    return None
