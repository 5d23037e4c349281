"""Where our contracts are on one chain, and how that is checked (docs/spec/deployment.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from ledger.canonical import parse_json
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainError,
    ContractReverted,
    ManifestError,
    TransactionFailed,
    UnsupportedVersion,
    UsageError,
    WrongNetwork,
)
from ledger.evidence.origin import DEPLOYED, FACTORY, factory_call
from ledger.evidence.releases import shipped_code, shipped_init_code
from ledger.files import write_whole
from ledger.ids import Address, Digest, keccak256

if TYPE_CHECKING:
    from ledger.chain.transactions import Sender

VERSION = 1
REQUIRED = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
_MAX_BYTES = 1 << 20
_FIELDS = {"version", "chain_id", "genesis_hash", "block", "addresses", "code_hashes"}


@dataclass(frozen=True, slots=True)
class CodeCheck:
    """What a manifest says about one contract, and what stands there.

    Attributes:
        expected: Keccak-256 of the code, by the manifest.
        found: of the code on chain; None when there is none.
    """

    name: str
    address: Address
    expected: Digest
    found: Digest | None

    @property
    def holds(self) -> bool:
        """Whether the code is the manifest's."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one release on one chain.

    Attributes:
        chain_id: EIP-155 id.
        genesis_hash: hash of block 0: two chains may share an id, never this.
        block: number of the first block that can hold an event of ours.
        addresses: by contract name.
        code_hashes: Keccak-256 of the code at each address.
    """

    chain_id: int
    genesis_hash: Digest
    block: int
    addresses: Mapping[str, Address]
    code_hashes: Mapping[str, Digest]

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", MappingProxyType(dict(self.addresses)))
        object.__setattr__(self, "code_hashes", MappingProxyType(dict(self.code_hashes)))

    def __reduce__(self) -> Any:
        return type(self), (
            self.chain_id,
            self.genesis_hash,
            self.block,
            dict(self.addresses),
            dict(self.code_hashes),
        )

    def to_json(self) -> dict[str, Any]:
        """The manifest document."""
        return {
            "version": VERSION,
            "chain_id": self.chain_id,
            "genesis_hash": str(self.genesis_hash),
            "block": self.block,
            "addresses": {name: str(self.addresses[name]) for name in sorted(self.addresses)},
            "code_hashes": {name: str(self.code_hashes[name]) for name in sorted(self.code_hashes)},
        }

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read a manifest document.

        Raises:
            UnsupportedVersion: another version than 1.
            ManifestError: a field is missing, unknown or malformed.
        """
        if not isinstance(document, dict):
            raise ManifestError("a deployment manifest is a JSON object")
        if document.get("version") != VERSION:
            raise UnsupportedVersion(
                f"deployment manifest version {document.get('version')!r} is not known"
            )
        if set(document) != _FIELDS:
            odd = ", ".join(sorted(set(document) ^ _FIELDS))
            raise ManifestError(
                f"the deployment manifest's fields are not the specified ones: {odd}"
            )
        for name in ("chain_id", "block"):
            number = document[name]
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 53:
                raise ManifestError(f"{name} of a deployment manifest is a whole number")
        addresses, hashes = document["addresses"], document["code_hashes"]
        for part in (addresses, hashes):
            if not isinstance(part, dict) or not set(REQUIRED) <= set(part):
                raise ManifestError(f"a deployment manifest names {', '.join(REQUIRED)}")
        if set(addresses) != set(hashes):
            raise ManifestError("every address of a deployment manifest has its code hash")
        try:
            return cls(
                document["chain_id"],
                Digest.parse(_text(document["genesis_hash"])),
                document["block"],
                {name: Address.parse(_text(value)) for name, value in addresses.items()},
                {name: Digest.parse(_text(value)) for name, value in hashes.items()},
            )
        except UsageError as error:
            raise ManifestError(f"the deployment manifest is malformed: {error.message}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest file.

        Raises:
            ManifestError, UnsupportedVersion: as `from_json`, or the file cannot be read.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ManifestError(
                f"the deployment manifest {path.name} cannot be read: {error.strerror}"
            ) from None
        return cls.from_json(parse_json(raw, what=path.name, limit=_MAX_BYTES))

    def save(self, path: Path) -> None:
        """Write the manifest file, whole or not at all."""
        write_whole(path, json.dumps(self.to_json(), indent=2).encode() + b"\n")

    def verify(self, rpc: Rpc) -> None:
        """Check that `rpc` serves this deployment: chain id, genesis, and the code at each address.

        Raises:
            WrongNetwork: one of them differs.
            ChainUnavailable: no endpoint answers.
        """
        self.verify_chain(rpc)
        for check in self.check_codes(rpc):
            if not check.holds:
                what = "no contract" if check.found is None else "other code"
                raise WrongNetwork(
                    f"there is {what} at {check.address}, where {check.name} should be",
                    hint="the manifest may be of another deployment; deed chain status compares",
                )

    def verify_chain(self, rpc: Rpc) -> None:
        """Check that `rpc` serves this deployment's chain.

        Raises:
            WrongNetwork: another chain id, or another chain of the same id.
            ChainUnavailable: no endpoint answers.
        """
        hosts = ", ".join(rpc.hosts)
        served = rpc.chain_id()
        if served != self.chain_id:
            raise WrongNetwork(
                f"{hosts} serves chain {served}, the deployment is on chain {self.chain_id}",
                hint="check the network's RPC URLs with deed network list",
            )
        genesis = rpc.block(0).hash
        if genesis != self.genesis_hash:
            raise WrongNetwork(
                f"{hosts} serves another chain with the same id {served} (its genesis differs)",
                hint="the URL or the manifest may be of another network: see deed network show; "
                "only a local chain that was lost is begun anew, with deed up --fresh",
            )

    def check_codes(self, rpc: Rpc) -> Iterator[CodeCheck]:
        """What stands at each contract's address, one by one.

        Raises:
            ChainUnavailable: no endpoint answers.
        """
        for name, expected in self.code_hashes.items():
            code = rpc.code(self.addresses[name])
            found = Digest(keccak256(code)) if code else None
            yield CodeCheck(name, self.addresses[name], expected, found)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ManifestError("addresses and hashes of a deployment manifest are text")
    return value


def deploy(sender: Sender) -> Deployment:
    """Put this release's contracts on the sender's chain, where they are not there already.

    Their addresses commit to their creation code (`ledger.evidence.origin`), so they are the same
    on every chain, whoever pays, and what is there already is taken for what it must be.

    Raises:
        InsufficientFunds, ContractReverted, ChainUnavailable: as `Sender.send`.
        ChainError: the chain lacks the deterministic factory, or nothing arrived on chain.
    """
    rpc = sender.rpc
    if not rpc.code(FACTORY):
        raise ChainError(
            f"{sender.profile.name} has no deterministic deployment factory at {FACTORY}",
            hint="have it put there first: its transaction is public and works on most chains",
        )
    first: int | None = None
    addresses: dict[str, Address] = {}
    for name in DEPLOYED:
        address = shipped_code(name).address
        created = _created(sender, name, address, shipped_init_code(name))
        first = created if first is None else min(first, created)
        addresses[name] = address
    hashes = {name: Digest(keccak256(rpc.code(address))) for name, address in addresses.items()}
    return Deployment(sender.profile.chain_id, rpc.block(0).hash, first or 0, addresses, hashes)


def _created(sender: Sender, name: str, address: Address, init_code: bytes) -> int:
    """See that the contract is there; a block before which it was not."""
    rpc = sender.rpc
    before = rpc.block("latest").number
    if rpc.code(address):
        return _first_block(rpc, address)
    try:
        sender.send(FACTORY, factory_call(init_code), purpose=f"deploy {name}")
    except (ContractReverted, TransactionFailed):
        if not rpc.code(address):  # otherwise someone else was faster, with the same contract
            raise
    if not rpc.code(address):
        raise ChainError(
            f"the deployment of {name} left no code at {address}",
            hint=f"the contract at {FACTORY} is not the deterministic deployment factory",
        )
    return before + 1


def _first_block(rpc: Rpc, address: Address) -> int:
    """The block that created a contract; 0 where the node does not remember the state of then."""
    low, high = 0, rpc.block("latest").number
    try:
        while low < high:
            middle = (low + high) // 2
            if rpc.code(address, middle):
                high = middle
            else:
                low = middle + 1
    except ChainError:
        return 0
    return low
