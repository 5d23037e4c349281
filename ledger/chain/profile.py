"""What is known about each chain we grant, time-stamp or prove on (docs/spec/chain-profile.md).

A chain without a profile gets no grants: its finality is unknown, so nothing on it is certain.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, cast, get_args

from ledger.errors import ManifestError, UnsupportedVersion, WrongNetwork

Finality = Literal["tag", "depth"]
BlockNumberSource = Literal["chain", "l1"]
ProofKind = Literal["mpt", "none"]
BeaconKind = Literal["l1-mixhash", "settlement-mixhash", "short-offset", "none"]

VERSION = 1
_CHOICES: dict[str, tuple[str, ...]] = {
    "finality": get_args(Finality),
    "block_number_source": get_args(BlockNumberSource),
    "proof_kind": get_args(ProofKind),
    "beacon_kind": get_args(BeaconKind),
}
_OPTIONAL = {"max_head_age", "l1_settlement"}


@dataclass(frozen=True, slots=True)
class ChainProfile:
    """How one chain is read.

    Attributes:
        chain_id: EIP-155 id.
        name: for people.
        finality: "tag": the node's ``finalized`` block; "depth": the head minus `finality_depth`.
        finality_depth: blocks; 0 with "tag".
        max_head_age: seconds after which an endpoint's head is too old to decide on; None where an
            idle chain makes no blocks.
        block_number_source: what ``block.number`` is inside a contract: this chain's, or L1's.
        timestamp_tolerance: seconds by which ``block.timestamp`` may differ from true time.
        proof_kind: "mpt": EIP-1186 proofs against the header's state root; "none".
        beacon_kind: where later randomness comes from (docs/spec/chain-profile.md).
        l1_settlement: chain id this chain settles on, None for an L1.
        test_network: whether what is recorded here has no evidentiary value.
        min_endpoints: distinct operators that a grant must ask.
    """

    chain_id: int
    name: str
    finality: Finality
    finality_depth: int
    max_head_age: int | None
    block_number_source: BlockNumberSource
    timestamp_tolerance: int
    proof_kind: ProofKind
    beacon_kind: BeaconKind
    l1_settlement: int | None
    test_network: bool
    min_endpoints: int

    def to_json(self) -> dict[str, Any]:
        """The record as its specification lays it down."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read a record.

        Raises:
            UnsupportedVersion: another version than 1.
            ManifestError: a field is missing, unknown, or out of range.
        """
        if not isinstance(document, dict):
            raise ManifestError("a chain profile is a JSON object")
        if document.get("version") != VERSION:
            raise UnsupportedVersion(
                f"chain profile version {document.get('version')!r} is not known"
            )
        given = {key: value for key, value in document.items() if key != "version"}
        names = {field.name for field in fields(cls)}
        if set(given) != names:
            odd = ", ".join(sorted(set(given) ^ names))
            raise ManifestError(f"the chain profile's fields are not the specified ones: {odd}")
        for name, value in given.items():
            _check(name, value)
        if (given["finality"] == "depth") != (given["finality_depth"] > 0):
            raise ManifestError("finality_depth is above 0 exactly when finality is depth")
        return cls(**cast("dict[str, Any]", given))


def _check(name: str, value: Any) -> None:
    if name in _CHOICES:
        good = value in _CHOICES[name] if isinstance(value, str) else False
    elif name == "name":
        good = isinstance(value, str) and 0 < len(value) <= 64
    elif name == "test_network":
        good = isinstance(value, bool)
    elif value is None:
        good = name in _OPTIONAL
    else:
        least = 0 if name in {"finality_depth", "timestamp_tolerance"} else 1
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 53
    if not good:
        raise ManifestError(f"{name} of a chain profile cannot be {str(value)[:60]!r}")


def _ethereum(chain_id: int, name: str, *, test: bool) -> ChainProfile:
    # A proposer may only use its slot's exact time, so 12 s bounds the error.
    return ChainProfile(
        chain_id, name, "tag", 0, 120, "chain", 12, "mpt", "l1-mixhash", None, test, 3
    )


def _rollup(
    chain_id: int, name: str, settles_on: int, *, tolerance: int, number: BlockNumberSource
) -> ChainProfile:
    return ChainProfile(
        chain_id,
        name,
        "tag",
        0,
        120,
        number,
        tolerance,
        "mpt",
        "settlement-mixhash",
        settles_on,
        settles_on != 1,
        3,
    )


# OP Stack: sequencer drift is bounded by 1,800 s. Arbitrum: the sequencer may set a time up to a
# day back and an hour ahead, and block.number in a contract is an estimate of L1's.
_PROFILES = {
    profile.chain_id: profile
    for profile in (
        ChainProfile(
            chain_id=31337,
            name="Anvil (local)",
            finality="tag",
            finality_depth=0,
            max_head_age=None,
            block_number_source="chain",
            timestamp_tolerance=5,
            proof_kind="mpt",
            beacon_kind="short-offset",
            l1_settlement=None,
            test_network=True,
            min_endpoints=1,
        ),
        _ethereum(1, "Ethereum", test=False),
        _ethereum(11155111, "Sepolia", test=True),
        _rollup(10, "OP Mainnet", 1, tolerance=1800, number="chain"),
        _rollup(8453, "Base", 1, tolerance=1800, number="chain"),
        _rollup(84532, "Base Sepolia", 11155111, tolerance=1800, number="chain"),
        _rollup(42161, "Arbitrum One", 1, tolerance=86400, number="l1"),
        _rollup(421614, "Arbitrum Sepolia", 11155111, tolerance=86400, number="l1"),
    )
}


def known_profiles() -> tuple[ChainProfile, ...]:
    """Every profile of this release, by chain id."""
    return tuple(_PROFILES[chain_id] for chain_id in sorted(_PROFILES))


def profile_for(chain_id: int) -> ChainProfile:
    """The profile of a chain.

    Raises:
        WrongNetwork: this release has none.
    """
    profile = _PROFILES.get(chain_id)
    if profile is None:
        known = ", ".join(str(p.chain_id) for p in known_profiles())
        raise WrongNetwork(
            f"chain {chain_id} has no profile, so its finality is unknown",
            hint=f"use one of the chains {known}",
        )
    return profile
