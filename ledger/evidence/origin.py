"""Which code made a contract: the address commits to it.

A contract's runtime code says how it behaves from now on, and nothing about the storage and the
events it began with: whoever creates it may write any word and emit any event first, and then
return our runtime code. So our contracts are created by CREATE2 (EIP-1014) through the
deterministic factory that stands at one address on most chains, with a fixed salt. Their addresses
are hashes of the creation code, which writes no storage and emits no event, and of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ledger.ids import Address, Digest, keccak256

# Made by a transaction whose key nobody has, so that the address is the same on every chain.
FACTORY: Final = Address.parse("0x4e59b44847b379578588920cA78FbF26c0B4956C")
SALT: Final = Digest(keccak256(b"modeldeed/deployment/1"))
# Every contract of a release, each after those that its constructor names.
DEPLOYED: Final = (
    "Anchors",
    "LicenseRenderer",
    "LicenseExtension",
    "ModelRegistry",
    "LicenseLedger",
    "BrokerRegistry",
    "LicenseMarket",
    "EntitlementLens",
)
# The contract whose records a contract relies on.
READS: Final = {"ModelRegistry": "Anchors", "LicenseLedger": "ModelRegistry"}
# Contracts without storage that a contract's code hands work to.
HELPERS: Final = {"LicenseLedger": ("LicenseRenderer", "LicenseExtension")}


def address_of(init_code_hash: Digest) -> Address:
    """Where the factory creates a contract under our salt (EIP-1014).

    Args:
        init_code_hash: Keccak-256 of creation code and constructor arguments.
    """
    return Address(keccak256(b"\xff" + FACTORY.raw + SALT.raw + init_code_hash.raw)[12:])


def init_code(
    name: str, creation_of: Callable[[str], bytes], address: Callable[[str], Address]
) -> bytes:
    """Creation code of a contract with its constructor's arguments (docs/spec/deployment.md).

    Args:
        name: one of `DEPLOYED`.
        creation_of: a contract's creation code without arguments.
        address: where a contract of this release is.
    """
    code = creation_of(name)
    if name == "ModelRegistry":
        # The registry computes where its ledger will be, whose own arguments name the registry.
        ledger = creation_of("LicenseLedger")
        head = (
            _word(address("Anchors")),
            _word(FACTORY),
            SALT.raw,
            (6 * 32).to_bytes(32, "big"),
            *(_word(address(helper)) for helper in HELPERS["LicenseLedger"]),
        )
        tail = len(ledger).to_bytes(32, "big") + ledger + bytes(-len(ledger) % 32)
        return code + b"".join(head) + tail
    arguments = {
        "LicenseLedger": ("ModelRegistry", *HELPERS["LicenseLedger"]),
        "LicenseMarket": ("LicenseLedger",),
    }
    return code + b"".join(_word(address(needed)) for needed in arguments.get(name, ()))


def _word(address: Address) -> bytes:
    return address.raw.rjust(32, b"\0")


def factory_call(creation: bytes) -> bytes:
    """Call data that makes the factory create a contract from `creation` under our salt."""
    return SALT.raw + creation
