"""Which code made a contract: the address commits to it.

A contract's runtime code says how it behaves from now on, and nothing about the storage and the
events it began with: whoever creates it may write any word and emit any event first, and then
return our runtime code. So our contracts are created by CREATE2 (EIP-1014) through the
deterministic factory that stands at one address on most chains, with a fixed salt. Their addresses
are hashes of the creation code, which writes no storage and emits no event, and of its arguments.
"""

from __future__ import annotations

from typing import Final

from ledger.ids import Address, Digest, keccak256

# Made by a transaction whose key nobody has, so that the address is the same on every chain.
FACTORY: Final = Address.parse("0x4e59b44847b379578588920cA78FbF26c0B4956C")
SALT: Final = Digest(keccak256(b"modeldeed/deployment/1"))
# The contract whose address a constructor takes, as its only argument.
READS: Final = {"ModelRegistry": "Anchors", "LicenseLedger": "ModelRegistry"}


def address_of(init_code_hash: Digest) -> Address:
    """Where the factory creates a contract under our salt (EIP-1014).

    Args:
        init_code_hash: Keccak-256 of creation code and constructor arguments.
    """
    return Address(keccak256(b"\xff" + FACTORY.raw + SALT.raw + init_code_hash.raw)[12:])


def factory_call(init_code: bytes) -> bytes:
    """Call data that makes the factory create a contract from `init_code` under our salt."""
    return SALT.raw + init_code
