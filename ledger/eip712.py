"""Typed data (EIP-712) and signature recovery without eth-account, for hosts that only verify.

A type is written once, as the text Solidity hashes; values are given by field name. Only the atomic
types our messages use are known: ``uintN bytesN address bool string bytes``.
``tests/ledger/test_eip712.py`` holds the digests against eth-account's.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, Protocol

from coincurve import PublicKey

from ledger.errors import ManifestError, SignatureInvalid
from ledger.ids import Address, Digest, keccak256

_TYPE = re.compile(r"^([A-Za-z_]\w*)\(([^()]*)\)$")
# Half the order of secp256k1: a signature above it has a twin below (EIP-2).
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@dataclass(frozen=True, slots=True)
class StructType:
    """One EIP-712 struct type of atomic fields, such as ``Mail(address to,uint256 id)``."""

    text: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> StructType:
        """Read the encodeType text."""
        match = _TYPE.match(text)
        if match is None:
            raise ManifestError(f"{text!r} is not an EIP-712 type")
        fields = [tuple(part.split(" ")) for part in match[2].split(",") if part]
        return cls(text, tuple((kind, name) for kind, name in fields))

    def hash(self, values: dict[str, Any]) -> bytes:
        """HashStruct: 32 bytes over exactly these field values.

        Raises:
            ManifestError: a field is missing, superfluous, or out of its type's range.
        """
        if set(values) != {name for _, name in self.fields}:
            raise ManifestError(f"the fields of {self.text} are not those given")
        words = [_word(kind, values[name], name) for kind, name in self.fields]
        return keccak256(_type_hash(self.text) + b"".join(words))


def _word(kind: str, value: Any, name: str) -> bytes:
    raw = value.raw if isinstance(value, (Digest, Address)) else value
    match kind.rstrip("0123456789"), raw:
        case "string", str():
            return keccak256(raw.encode())
        case "address", bytes() if len(raw) == 20:
            return raw.rjust(32, b"\0")
        case "bool", bool():
            return int(raw).to_bytes(32, "big")
        case "uint", int() if not isinstance(raw, bool) and 0 <= raw < 1 << int(kind[4:]):
            return raw.to_bytes(32, "big")
        case "bytes", bytes() if kind == "bytes":
            return keccak256(raw)
        case "bytes", bytes() if len(raw) == int(kind[5:]):
            return raw.ljust(32, b"\0")
    raise ManifestError(f"{name}: {value!r} is not a {kind}")


_DOMAIN = StructType.parse(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: name, version, chain and contract (EIP-712, ERC-5267)."""

    name: str
    version: str
    chain_id: int
    verifying_contract: Address

    def separator(self) -> bytes:
        """32 bytes that differ for every application, chain and contract."""
        return _separator(self)

    def digest(self, kind: StructType, values: dict[str, Any]) -> Digest:
        """The 32 bytes that a wallet signs."""
        return Digest(keccak256(b"\x19\x01" + self.separator() + kind.hash(values)))

    def typed_data(self, kind: StructType, values: dict[str, Any]) -> dict[str, Any]:
        """The same message as ``eth_signTypedData_v4`` takes it."""
        name = kind.text.partition("(")[0]
        return {
            "types": {"EIP712Domain": _field_list(_DOMAIN), name: _field_list(kind)},
            "primaryType": name,
            "domain": {
                "name": self.name,
                "version": self.version,
                "chainId": self.chain_id,
                "verifyingContract": str(self.verifying_contract),
            },
            "message": {key: _json_value(value) for key, value in values.items()},
        }


@functools.lru_cache(maxsize=64)
def _separator(domain: Domain) -> bytes:
    return _DOMAIN.hash(
        {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        }
    )


@functools.lru_cache(maxsize=64)
def _type_hash(text: str) -> bytes:
    return keccak256(text.encode())


def _field_list(kind: StructType) -> list[dict[str, str]]:
    return [{"name": name, "type": atom} for atom, name in kind.fields]


def _json_value(value: Any) -> Any:
    if isinstance(value, (Digest, Address)):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value


class TypedSigner(Protocol):
    """Whoever can sign typed data: a keystore wallet, an external signer, a test account."""

    @property
    def address(self) -> Address:
        """The signing account."""
        ...

    def sign_typed(self, domain: Domain, kind: StructType, values: dict[str, Any]) -> bytes:
        """65 bytes ``r ‖ s ‖ v``, v of 27 or 28."""
        ...


def recover(digest: Digest, signature: bytes, *, step: int = 0) -> Address:
    """The account whose key made this 65-byte ``r ‖ s ‖ v`` signature (v of 0, 1, 27 or 28).

    Raises:
        SignatureInvalid: wrong length, high s (EIP-2), or no such point.
    """
    if len(signature) != 65:
        raise SignatureInvalid(f"a wallet signature has 65 bytes, not {len(signature)}", step=step)
    v = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if v not in {0, 1} or int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise SignatureInvalid("the signature is malleable or has a wrong v", step=step)
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([v]), digest.raw, hasher=None
        )
    except Exception as error:  # coincurve raises bare Exception and ValueError
        raise SignatureInvalid("the signature belongs to no key", step=step) from error
    return Address(keccak256(key.format(compressed=False)[1:])[12:])
