"""Every function of the contracts can be called from Python, or is left out for a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ledger.chain
from ledger.chain.abi_codec import CONTRACTS, contract

# What wallets and marketplaces ask of any ERC-721 token, by themselves.
_TOKEN = {
    "balanceOf",
    "isApprovedForAll",
    "name",
    "ownerOf",
    "safeTransferFrom",
    "setApprovalForAll",
    "supportsInterface",
    "symbol",
    "tokenURI",
}
LEFT_OUT = {
    "LicenseLedger": _TOKEN
    | {
        "eip712Domain",  # the domain is computed, and vectors hold it against the contract's
        "extension",  # addresses come from the deployment manifest, with their code
        "registry",
        "renderer",
        "locked",  # ERC-5192, for wallets; `check` and the plan tell more
        "titleTouched",  # the registry's own call
    },
    "ModelRegistry": {
        "anchors",
        "eip712Domain",
        "ledger",
        "titleOf",  # a part of modelOf, for contracts
    },
    "LicenseMarket": {"ledger"},
}
CALLED = re.compile(
    r"_(?:read\(\s*\w+|send\(\s*sender,\s*(?:purpose|f?\"[^\n]*\"|f\"[^\n]*\"))"
    r",\s*\"(\w+)\"|encode\(\s*\"(\w+)\""
)


def functions(name: str) -> set[str]:
    return {item["name"] for item in contract(name).abi if item["type"] == "function"}


@pytest.fixture(scope="module")
def called() -> set[str]:
    """Names of the functions that our clients encode."""
    found = set()
    for file in Path(ledger.chain.__file__).parent.glob("*.py"):
        for pair in CALLED.findall(file.read_text()):
            found |= set(pair)
    return found


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_function_of_a_contract_has_a_caller_in_python(name, called):
    assert functions(name) - called - LEFT_OUT.get(name, set()) == set()


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_is_left_out_exists_and_is_really_left_out(name, called):
    # "name", "balanceOf" and the like are asked of other people's tokens only.
    assert LEFT_OUT[name] - functions(name) == set()
    assert LEFT_OUT[name] & called == set()
