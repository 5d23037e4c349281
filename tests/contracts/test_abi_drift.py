"""The ABI and bytecode in the package are those of the Solidity sources beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "ledger" / "chain" / "abi"
NAMES = (
    "Anchors",
    "BrokerRegistry",
    "EntitlementLens",
    "EntitlementProbe",
    "LicenseExtension",
    "LicenseLedger",
    "LicenseMarket",
    "LicenseRenderer",
    "ModelRegistry",
    "WalletProbe",
)
EIP_170_LIMIT = 24_576


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/build_contracts.py", "--check", "--abi", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def shipped(name: str) -> dict:
    return json.loads((SHIPPED / f"{name}.json").read_text())


def test_a_fresh_build_gives_the_shipped_files_byte_for_byte():
    done = check(SHIPPED)
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in SHIPPED.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("fault", ["bytecode", "abi", "missing"])
def test_a_file_that_differs_from_the_sources_is_named(tmp_path, fault):
    folder = tmp_path / "abi"
    shutil.copytree(SHIPPED, folder)
    path = folder / "Anchors.json"
    artifact = json.loads(path.read_text())
    if fault == "bytecode":
        last = int(artifact["bytecode"][-1], 16)
        artifact["bytecode"] = artifact["bytecode"][:-1] + f"{last ^ 1:x}"
    elif fault == "abi":
        artifact["abi"] = artifact["abi"][1:]
    path.write_text(json.dumps(artifact, indent=2, sort_keys=True) + "\n")
    if fault == "missing":
        path.unlink()

    done = check(folder)

    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == "error: Anchors differ from a fresh build"
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_holds_what_a_client_needs(name):
    artifact = shipped(name)
    assert artifact["contractName"] == name
    assert artifact["compiler"]["version"].startswith("0.8.37+")
    assert artifact["compiler"]["settings"]["evmVersion"] == "cancun"
    code = bytes.fromhex(artifact["deployedBytecode"].removeprefix("0x"))
    assert 0 < len(code) <= EIP_170_LIMIT
    for span in artifact["immutableReferences"]:
        assert code[span["start"] :][: span["length"]] == bytes(32)
    assert bytes.fromhex(artifact["bytecode"].removeprefix("0x"))


def test_every_error_of_ours_starts_with_its_domain_and_stands_once():
    """Errors of one name in two contracts would decode to the wrong class."""
    prefixes = {
        "Anchors": ("Anchors",),
        "ModelRegistry": ("Model",),
        "LicenseLedger": (
            *("License", "Plan", "Seat", "Check", "Batch", "Voucher", "Nonce", "Binding"),
            *("Sublicense", "Reissue", "Usage"),
        ),
        "BrokerRegistry": ("Broker",),
        "LicenseMarket": ("Market", "Royalt", "Payee"),
        "EntitlementLens": (),
        "LicenseRenderer": (),
        "WalletProbe": (),
    }
    # solady's own, which its ERC-721 and EIP-712 bases bring in, and OpenZeppelin's in the market.
    inherited = {
        "AccountBalanceOverflow",
        "BalanceQueryForZeroAddress",
        "NotOwnerNorApproved",
        "TokenAlreadyExists",
        "TokenDoesNotExist",
        "TransferFromIncorrectOwner",
        "TransferToNonERC721ReceiverImplementer",
        "TransferToZeroAddress",
        "FailedCall",
        "InsufficientBalance",
        "ReentrancyGuardReentrantCall",
        "SafeERC20FailedOperation",
    }
    seen: dict[str, str] = {}
    # LicenseExtension refuses with the ledger's errors, under its address.
    for name, starts in prefixes.items():
        errors = {row["name"] for row in shipped(name)["abi"] if row["type"] == "error"} - inherited
        for error in errors:
            assert error.startswith(starts), f"{error} of {name}"
            assert error not in seen, f"{error} in {name} and {seen[error]}"
            seen[error] = name


def test_no_contract_has_an_owner_or_a_way_to_be_replaced():
    forbidden = ("owner()", "upgrade", "selfdestruct", "initialize", "transferOwnership")
    for name in NAMES:
        functions = {f"{f['name']}()" for f in shipped(name)["abi"] if f["type"] == "function"}
        assert not [f for f in functions if any(word in f for word in forbidden)]
