"""ERC-20 tokens, plain and with permits, made of OpenZeppelin's.

Their code is kept beside this file, since compiling it takes ten seconds of every worker that needs
one. Run this file (``python tests/worlds/token_world.py``) after changing the source.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

from eth_abi import encode

from ledger.chain.transactions import Sender
from ledger.ids import Address, keccak256

ROOT = Path(__file__).parents[2]
SOURCE = """
pragma solidity ^0.8.28;
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
contract Coin is ERC20("Test coin", "TEST") {
    function mint(address to, uint256 amount) external { _mint(to, amount); }
}
contract PermitCoin is Coin, ERC20Permit("Test coin") {}
"""


KEPT = Path(__file__).with_name("coins.json")


@cache
def bytecode(name: str) -> bytes:
    """Creation code of a token."""
    kept = json.loads(KEPT.read_text())
    assert kept["source"] == keccak256(SOURCE.encode()).hex(), "run this file: its source changed"
    return bytes.fromhex(kept[name])


def compiled() -> dict[str, str]:
    """Creation code of both, and of which source."""
    request = {
        "language": "Solidity",
        "sources": {"Coin.sol": {"content": SOURCE}},
        "settings": {
            "evmVersion": "cancun",
            "optimizer": {"enabled": True},
            "metadata": {"bytecodeHash": "none"},
            "outputSelection": {"Coin.sol": {"*": ["evm.bytecode.object"]}},
        },
    }
    command = ["node", "--stack-size=8000", ROOT / "scripts" / "solc", "--standard-json"]
    command += ["--base-path", ROOT / "contracts"]
    command += ["--include-path", ROOT / "contracts" / "node_modules"]
    done = subprocess.run(
        list(map(str, command)),
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["contracts"]["Coin.sol"]
    code = {name: each["evm"]["bytecode"]["object"] for name, each in found.items()}
    return {"source": keccak256(SOURCE.encode()).hex(), **code}


def deploy_token(sender: Sender, *, permits: bool = False) -> Address:
    """A new token of which nobody has any."""
    code = bytecode("PermitCoin" if permits else "Coin")
    created = sender.send(None, code, purpose="deploy a test token").contract_address
    assert created is not None
    return created


def mint(sender: Sender, token: Address, to: Address, amount: int) -> None:
    """Make some of it for an account."""
    selector = keccak256(b"mint(address,uint256)")[:4]
    sender.send(token, selector + encode(["address", "uint256"], [str(to).lower(), amount]))


if __name__ == "__main__":
    KEPT.write_text(json.dumps(compiled(), indent=1) + "\n")
