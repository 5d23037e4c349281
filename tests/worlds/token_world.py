"""ERC-20 tokens, plain and with permits, compiled from OpenZeppelin's when a test needs one."""

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


@cache
def bytecode(name: str) -> bytes:
    """Creation code of a token."""
    request = {
        "language": "Solidity",
        "sources": {"Coin.sol": {"content": SOURCE}},
        "settings": {
            "evmVersion": "cancun",
            "outputSelection": {"*": {"*": ["evm.bytecode.object"]}},
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
    answer = json.loads(done.stdout)
    return bytes.fromhex(answer["contracts"]["Coin.sol"][name]["evm"]["bytecode"]["object"])


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
