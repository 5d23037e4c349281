"""Which contract code is ours: this version's and earlier releases', immutables left out.

A proof that a word stands in a contract's storage says nothing unless the contract's rules are
known. A bundle carries the runtime code whose Keccak-256 the account proof shows; here that code is
compared with the code we released, and the values that its constructor fixed are returned. Code
alone does not show who filled the storage at the beginning; the address does (see `origin`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ledger.evidence.origin import HELPERS, address_of, init_code
from ledger.ids import ZERO_DIGEST, Address, Digest, keccak256

CONTRACTS = ("Anchors", "ModelRegistry", "LicenseLedger")
# In bundles that carry what rests on it, and in no others.
OPTIONAL = ("BrokerRegistry",)
# The helpers are not in bundles, but named by the code of those that are.
FROZEN = (*CONTRACTS, *OPTIONAL, *HELPERS["LicenseLedger"])


@dataclass(frozen=True, slots=True)
class Code:
    """One contract's runtime code in one release.

    Attributes:
        masked_hash: Keccak-256 of the code with every immutable zeroed.
        immutables: (start, length) of each copy of an immutable, in bytes.
        init_code_hash: Keccak-256 of the creation code and its arguments, which are addresses of
            the same release.
    """

    release: str
    contract: str
    size: int
    masked_hash: Digest
    immutables: tuple[tuple[int, int], ...]
    init_code_hash: Digest

    @property
    def address(self) -> Address:
        """Where this release's contract is, on every chain: nothing else can ever be there."""
        return address_of(self.init_code_hash)

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
            Digest.parse(entry["init_code_hash"]),
        )
        for release in frozen
        for contract, entry in release["contracts"].items()
    )
    return (*(shipped_code(contract) for contract in FROZEN), *earlier)


@cache
def shipped_code(contract: str) -> Code:
    """The code that this version deploys, from the artifact in the package.

    The artifact is read as a file; nothing of ``ledger.chain`` is imported.
    """
    artifact = _artifact(contract)
    code = bytes.fromhex(artifact["deployedBytecode"][2:])
    spans = tuple((span["start"], span["length"]) for span in artifact["immutableReferences"])
    origin = Digest(keccak256(shipped_init_code(contract)))
    unmasked = Code("", contract, len(code), ZERO_DIGEST, spans, origin)
    digest = Digest(keccak256(unmasked.mask(code)))
    return Code("of this version", contract, len(code), digest, spans, origin)


def shipped_init_code(contract: str) -> bytes:
    """What this version sends to the factory to create a contract."""
    return init_code(
        contract,
        lambda name: bytes.fromhex(_artifact(name)["bytecode"][2:]),
        lambda name: shipped_code(name).address,
    )


@cache
def _artifact(contract: str) -> Any:
    return json.loads(
        files("ledger").joinpath("chain", "abi", f"{contract}.json").read_text("utf-8")
    )


def identify(contract: str, code: bytes, address: Address | None = None) -> Code | None:
    """The release that `code` is `contract` of, or None when we never released it.

    Args:
        contract: its name.
        code: runtime code, as on chain.
        address: where it was found. Releases may share the code and differ in address; the one
            whose address this is comes first, and the caller compares.
    """
    matching = [
        known
        for known in known_code()
        if known.contract == contract
        and known.size == len(code)
        and keccak256(known.mask(code)) == known.masked_hash.raw
    ]
    there = [known for known in matching if known.address == address]
    return next(iter([*there, *matching]), None)
