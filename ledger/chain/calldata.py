"""Call data of our contracts read back: which function, with which arguments.

What a person is shown before signing is decoded from the very bytes that are signed, and what is
passed on for others is told from what is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from ledger.chain.abi_codec import CONTRACTS, contract, kind_of
from ledger.chain.deployment import Deployment
from ledger.errors import FormatError
from ledger.ids import Address, keccak256

ERC20 = "ERC-20"
"""What a token that pays for licenses is called among contracts: it is none of ours."""

_APPROVE = keccak256(b"approve(address,uint256)")[:4]
_VIEWS = frozenset({"view", "pure"})


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of our contracts.

    Attributes:
        contract: its name.
        function: its name.
        arguments: by name, as JSON carries them (`json_value`).
        payable: whether the function takes wei.
    """

    contract: str
    function: str
    arguments: dict[str, Any]
    payable: bool


def read_call(deployment: Deployment, to: Address, data: bytes) -> Call:
    """Read a call that changes something.

    Raises:
        FormatError: not one of our contracts, not a function of it that changes something, or
            not its arguments in the one encoding that encoders write.
    """
    name = next((n for n in CONTRACTS if deployment.addresses.get(n) == to), None)
    if name is None:
        raise FormatError(
            f"{to} is none of this deployment's contracts", hint="deed chain status names them"
        )
    item = _writing(name).get(data[:4])
    if item is None:
        raise FormatError(
            f"0x{data[:4].hex()} is no function of {name} that changes something",
            hint="docs/contracts.md lists the functions",
        )
    kinds = [kind_of(each) for each in item["inputs"]]
    try:
        values = abi_decode(kinds, data[4:])
        # Decoders pass over what encoders never write: another order of tails, bytes behind them.
        exact = abi_encode(kinds, values) == data[4:]
    except (DecodingError, ValueError, OverflowError):
        exact, values = False, ()
    if not exact:
        raise FormatError(f"the bytes behind the selector are no arguments of {item['name']}")
    return Call(
        name,
        item["name"],
        {i["name"]: json_value(i, v) for i, v in zip(item["inputs"], values, strict=True)},
        item["stateMutability"] == "payable",
    )


def read_allowance(deployment: Deployment, to: Address, data: bytes) -> Call | None:
    """Read a call by which a token's owner lets our market take some of it; None if it is none.

    Args:
        deployment: whose market.
        to: what is called. That it is a token, and one to have anything to do with, is for the
            caller to find out.
        data: the call's data.
    """
    market = deployment.addresses["LicenseMarket"].raw.rjust(32, b"\0")
    if to in deployment.addresses.values() or len(data) != 68 or data[:36] != _APPROVE + market:
        return None
    arguments = {
        "spender": str(deployment.addresses["LicenseMarket"]),
        "value": str(int.from_bytes(data[36:], "big")),
    }
    return Call(ERC20, "approve", arguments, payable=False)


def read_results(name: str, function: str, data: bytes) -> dict[str, Any]:
    """A function's results by name, as JSON carries them; by number where they have none.

    Raises:
        FormatError: the bytes are not results of this function.
    """
    item = next(i for i in contract(name).abi if i["type"] == "function" and i["name"] == function)
    outputs = item["outputs"]
    try:
        values = abi_decode([kind_of(each) for each in outputs], data)
    except (DecodingError, ValueError, OverflowError):
        raise FormatError(f"{name}.{function} answered with bytes that cannot be read") from None
    return {
        output["name"] or str(number): json_value(output, value)
        for number, (output, value) in enumerate(zip(outputs, values, strict=True))
    }


def json_value(item: dict[str, Any], value: Any) -> Any:
    """A decoded value as JSON: bytes and accounts as 0x text, integers of wide types as text."""
    kind = str(item["type"])
    if kind.endswith("]"):
        inner = {**item, "type": kind[: kind.rindex("[")]}
        return [json_value(inner, each) for each in value]
    if kind == "tuple":
        members = item["components"]
        return {m["name"]: json_value(m, v) for m, v in zip(members, value, strict=True)}
    if kind == "address":
        return str(Address.parse(value))
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and _wide(kind):
        return str(value)
    return value


def _wide(kind: str) -> bool:
    """Whether a type holds integers that JSON readers lose digits of; by type, not by value."""
    return int(kind.lstrip("uint") or 256) > 53


@cache
def _writing(name: str) -> dict[bytes, dict[str, Any]]:
    """Functions of a contract that change something, by selector."""
    found = {}
    for item in contract(name).abi:
        if item["type"] == "function" and item["stateMutability"] not in _VIEWS:
            text = f"{item['name']}({','.join(kind_of(each) for each in item['inputs'])})"
            found[keccak256(text.encode())[:4]] = item
    return found
