#!/usr/bin/env python3
"""Compile the contracts and write the artifacts that ship in the package.

    scripts/build_contracts.py            write ledger/chain/abi/<Contract>.json
    scripts/build_contracts.py --check    exit 1 when a fresh build differs from those files

The compiler is the npm package ``solc`` pinned in ``contracts/package-lock.json``, behind
``scripts/solc``. Its settings are read from ``contracts/foundry.toml``, so that forge tests the
code that ships. The same sources, settings and compiler give the same bytes on every machine: no
path, date or metadata hash enters them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ABI = ROOT / "ledger" / "chain" / "abi"
SOLC = ROOT / "scripts" / "solc"
NAMES = (
    "Anchors",
    "LicenseRenderer",
    "LicenseExtension",
    "ModelRegistry",
    "LicenseLedger",
    "BrokerRegistry",
    "LicenseMarket",
    "EntitlementLens",
    "WalletProbe",
    "EntitlementProbe",
)
# Whose functions a contract answers at its own address besides its own.
ANSWERS_FOR = {"LicenseLedger": "LicenseExtension"}


def settings() -> dict[str, Any]:
    """Return the compiler settings that ``contracts/foundry.toml`` states, in solc's own terms."""
    profile = tomllib.loads((CONTRACTS / "foundry.toml").read_text())["profile"]["default"]
    return {
        "evmVersion": profile["evm_version"],
        "metadata": {
            "appendCBOR": profile["cbor_metadata"],
            "bytecodeHash": profile["bytecode_hash"],
        },
        "optimizer": {"enabled": profile["optimizer"], "runs": profile["optimizer_runs"]},
        "remappings": profile["remappings"],
        "viaIR": profile["via_ir"],
    }


def artifacts() -> dict[str, str]:
    """Return the text of each artifact, by contract name, from a build of the present sources.

    A build takes half a minute, so its result is kept in ``contracts/cache`` under the hash of all
    that determines it: sources, settings, locked compiler and libraries, wrapper and this script.

    Raises:
        SystemExit: the compiler is not installed or refuses the sources.
    """
    inputs = [
        *sorted((CONTRACTS / "src").rglob("*.sol")),
        CONTRACTS / "foundry.toml",
        CONTRACTS / "package-lock.json",
        SOLC,
        Path(__file__),
    ]
    key = hashlib.sha256()
    for path in inputs:
        content = path.read_bytes()
        key.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    kept = CONTRACTS / "cache" / f"artifacts-{key.hexdigest()}.json"
    if kept.is_file():
        texts: dict[str, str] = json.loads(kept.read_text())
        return texts
    texts = compile_all()
    kept.parent.mkdir(exist_ok=True)
    for old in kept.parent.glob("artifacts-*.json"):
        old.unlink()
    draft = kept.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(texts))
    draft.replace(kept)
    return texts


def compile_all() -> dict[str, str]:
    """Compile every contract of ``NAMES``.

    Returns:
        The text of each artifact, by contract name.

    Raises:
        SystemExit: the compiler is not installed or refuses the sources.
    """
    try:
        import solcx
    except ImportError:
        raise SystemExit("error: py-solc-x is not installed\nhint: make setup") from None
    if not (CONTRACTS / "node_modules" / "solc").is_dir():
        raise SystemExit("error: the Solidity compiler is not installed\nhint: make contracts")

    chosen = settings()
    outputs = ["abi", "metadata", "evm.bytecode.object", "evm.deployedBytecode"]
    request = {
        "language": "Solidity",
        "sources": {f"src/{name}.sol": {"urls": [f"src/{name}.sol"]} for name in NAMES},
        "settings": {
            **chosen,
            "outputSelection": {f"src/{name}.sol": {name: outputs} for name in NAMES},
        },
    }
    try:
        answer = solcx.compile_standard(request, base_path=CONTRACTS, solc_binary=SOLC)
    except solcx.exceptions.SolcError as refused:
        raise SystemExit(f"error: the contracts do not compile\n{refused.message}") from None
    built = {name: answer["contracts"][f"src/{name}.sol"][name] for name in NAMES}
    for name, other in ANSWERS_FOR.items():
        built[name]["abi"] += [
            item for item in built[other]["abi"] if item not in built[name]["abi"]
        ]
    return {name: artifact_text(name, built[name], chosen) for name in NAMES}


def artifact_text(name: str, output: dict[str, Any], chosen: dict[str, Any]) -> str:
    """Render one artifact: sorted keys, two spaces, a final newline."""
    metadata = json.loads(output["metadata"])
    deployed = output["evm"]["deployedBytecode"]
    spans = sorted(
        (span for group in deployed.get("immutableReferences", {}).values() for span in group),
        key=lambda span: int(span["start"]),
    )
    artifact = {
        "contractName": name,
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + deployed["object"],
        # Where the constructor writes into the deployed code: blank these to compare code hashes.
        "immutableReferences": spans,
        "compiler": {"version": metadata["compiler"]["version"], "settings": chosen},
        "sourceHash": source_hash(metadata["sources"]),
    }
    return json.dumps(artifact, indent=2, sort_keys=True) + "\n"


def source_hash(sources: dict[str, Any]) -> str:
    """Return one SHA-256 over the paths and keccak hashes of every source a contract is made of."""
    lines = (f"{path} {entry['keccak256']}\n" for path, entry in sorted(sources.items()))
    return "0x" + hashlib.sha256("".join(lines).encode()).hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Write the artifacts, or compare them with ``--check``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 on a difference")
    parser.add_argument("--abi", type=Path, default=ABI, help="the folder of the artifacts")
    options = parser.parse_args(argv)
    check, folder = options.check, options.abi

    stale = []
    if not check:
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in artifacts().items():
        path = folder / f"{name}.json"
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text)
            print(f"wrote {path.name}")
    if check and stale:
        print(f"error: {', '.join(stale)} differ from a fresh build", file=sys.stderr)
        print("hint: run scripts/build_contracts.py and commit ledger/chain/abi", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
