"""Finding plans and licenses by their events, straight from the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.ids import Address, keccak256

if TYPE_CHECKING:
    from ledger.cli.session import Session
    from ledger.ids import Digest

PLAN_CREATED = keccak256(b"PlanCreated(uint32,address,bytes32,bytes32,bytes32)")
LICENSE_ISSUED = keccak256(b"LicenseIssued(uint256,uint32,address,uint40,uint40)")


def plans(
    session: Session, *, licensor: Address | None = None, model: Digest | None = None
) -> list[int]:
    """Numbers of the plans created, oldest first."""
    topics = [
        _hex(PLAN_CREATED),
        None,
        _word(licensor) if licensor else None,
        str(model) if model else None,
    ]
    return [int(log["topics"][1], 16) for log in _logs(session, topics)]


def licenses(session: Session, *, plan: int | None = None, to: Address | None = None) -> list[int]:
    """Token ids of the licenses issued, oldest first."""
    topics = [
        _hex(LICENSE_ISSUED),
        None,
        f"0x{plan:064x}" if plan is not None else None,
        _word(to) if to else None,
    ]
    return [int(log["topics"][1], 16) for log in _logs(session, topics)]


def _logs(session: Session, topics: list[str | None]) -> list[dict[str, Any]]:
    while topics and topics[-1] is None:
        topics.pop()
    deployment = session.network.deployment
    query = {
        "address": str(deployment.addresses["LicenseLedger"]),
        "topics": topics,
        "fromBlock": hex(deployment.block),
        "toBlock": "latest",
    }
    found: list[dict[str, Any]] = session.rpc.call("eth_getLogs", [query])
    return found


def _hex(topic: bytes) -> str:
    return "0x" + topic.hex()


def _word(address: Address) -> str:
    return "0x" + bytes(address).hex().rjust(64, "0")
