"""Contract wallets of every temper, compiled when a test needs them."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi import encode

from ledger.broker.wallet_probe import seal_envelope
from ledger.ids import Address, keccak256

ROOT = Path(__file__).parents[2]
SOURCE = """
pragma solidity ^0.8.28;

contract Wallet {
    address public immutable owner;
    uint256 public mood;  // what it does when asked; see MOODS in wallet_world.py

    constructor(address owner_) { owner = owner_; }

    function turn(uint256 mood_) external { mood = mood_; }

    function isValidSignature(bytes32 digest, bytes calldata signature)
        external view returns (bytes4)
    {
        bytes4 magic = this.isValidSignature.selector;
        if (mood == 1) return 0xffffffff;
        if (mood == 2) revert("no");
        if (mood == 3) { while (true) {} }
        if (mood == 4) return bytes4(keccak256("garbage"));
        if (mood == 5) assembly { mstore(0, magic) return(0, 1000000) }
        if (mood == 6) assembly { mstore(0, magic) return(0, 4) }
        if (mood == 7) assembly { mstore(0, or(magic, 1)) return(0, 32) }
        if (mood == 8) assembly { return(0, 0) }
        if (mood == 9) assembly { invalid() }
        if (mood == 10 && (tx.origin == address(0) || msg.sender == address(0))) return magic;
        if (mood == 10) return 0xffffffff;
        if (mood == 11) assembly { mstore(0, magic) revert(0, 1000000) }
        if (mood >= 12) {
            uint256 start = gasleft();
            uint256 spend = (mood == 12 ? 2500000 : 1000000);
            while (start - gasleft() < spend) {}
        }
        // The digest, then filler, as wallets with several owners have it.
        (bytes32 r, bytes32 s, uint8 v) = abi.decode(signature[:96], (bytes32, bytes32, uint8));
        return ecrecover(digest, v, r, s) == owner ? magic : bytes4(0xffffffff);
    }
}

contract Factory {
    function make(address owner, uint256 salt) external returns (address) {
        return address(new Wallet{salt: bytes32(salt)}(owner));
    }
    function burn() external pure { while (true) {} }
    function nothing() external pure {}
    function huge() external pure { assembly { return(0, 3000000) } }
    function turn(address wallet) external { Wallet(wallet).turn(0); }
}
"""
MOODS = {
    "refuses": 1,
    "reverts": 2,
    "burns gas": 3,
    "returns garbage": 4,
    "returns huge data": 5,
    "returns four bytes": 6,
    "returns a dirty word": 7,
    "returns nothing": 8,
    "hits an invalid opcode": 9,
    "is kind to simulations": 10,
    "reverts with huge data": 11,
    "spends too much gas": 12,
    "spends a million gas": 13,
}


@cache
def codes() -> dict[str, bytes]:
    """Creation code of the contracts, by name."""
    request = {
        "language": "Solidity",
        "sources": {"Wallets.sol": {"content": SOURCE}},
        "settings": {
            "evmVersion": "cancun",
            "outputSelection": {"*": {"*": ["evm.bytecode.object"]}},
        },
    }
    done = subprocess.run(
        ["node", "--stack-size=8000", str(ROOT / "scripts" / "solc"), "--standard-json"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert "contracts" in answer, answer
    built = answer["contracts"]["Wallets.sol"]
    return {name: bytes.fromhex(c["evm"]["bytecode"]["object"]) for name, c in built.items()}


def selector(text: str) -> bytes:
    return keccak256(text.encode())[:4]


def _address(value: Address) -> str:
    return "0x" + value.raw.hex()


class Wallets:
    """Deploys wallets on a chain of ``broker_world``, owned by the test account ``stranger``."""

    def __init__(self, chain: Any) -> None:
        self.chain = chain
        self.owner = chain.wallet("stranger")
        self.sender = chain.sender("stranger")
        self.factory = self._deploy(codes()["Factory"])

    def _deploy(self, code: bytes) -> Address:
        receipt = self.sender.send(None, code)
        self.sender.wait_final(receipt)
        assert receipt.contract_address is not None
        return receipt.contract_address

    def send(self, to: Address, data: bytes, *, final: bool = True) -> None:
        receipt = self.sender.send(to, data)
        if final:
            self.sender.wait_final(receipt)

    def deployed(self) -> Address:
        return self._deploy(codes()["Wallet"] + encode(["address"], [_address(self.owner.address)]))

    def turn(self, wallet: Address, mood: str | None, *, final: bool = True) -> None:
        word = encode(["uint256"], [MOODS[mood] if mood else 0])
        self.send(wallet, selector("turn(uint256)") + word, final=final)

    def creation(self, salt: int, owner: Address | None = None) -> bytes:
        words = [_address(owner or self.owner.address), salt]
        return selector("make(address,uint256)") + encode(["address", "uint256"], words)

    def undeployed(self, salt: int) -> Address:
        code = codes()["Wallet"] + encode(["address"], [_address(self.owner.address)])
        parts = b"\xff" + self.factory.raw + salt.to_bytes(32, "big") + keccak256(code)
        return Address(keccak256(parts)[12:])

    def signer(self, wallet: Address, **options: Any) -> ContractSigner:
        return ContractSigner(self, wallet, **options)


class ContractSigner:
    """Signs typed data as a contract wallet does: its owner's signature, padded beyond 65 bytes."""

    def __init__(
        self,
        wallets: Wallets,
        wallet: Address,
        *,
        creation: bytes | None = None,
        factory: Address | None = None,
        owner: Any = None,
        wrap: bool = True,
    ) -> None:
        self._owner = owner or wallets.owner
        self._factory = factory or wallets.factory
        self._creation = creation if wrap else None
        self.address = wallet

    def sign_typed(self, domain: Any, kind: Any, values: Any) -> bytes:
        assert kind.text.startswith(("RuntimeGrant", "AcceptTerms", "RuntimePin"))
        made = self._owner.sign_typed(domain, kind, values)
        r, s, v = made[:32], made[32:64], made[64]
        inner = r + s + v.to_bytes(32, "big") + b"filler of other owners" * 20
        if self._creation is None:
            return inner
        return seal_envelope(self._factory, self._creation, inner)
