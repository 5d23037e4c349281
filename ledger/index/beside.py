"""What events leave out, asked for beside them: a plan's terms, and a model's commitment.

Apart from reading ranges, since it changes with what the contracts put into their events. Most
ranges need none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import ChainUnavailable
from ledger.ids import keccak256
from ledger.index.blocks import Log, Node
from ledger.index.fold_licenses import plan_digest
from ledger.index.replies import bytes_of

_MODEL_OF = "0x" + keccak256(b"modelOf(bytes32)")[:4].hex()
_PLAN_OF = "0x" + keccak256(b"planOf(uint32)")[:4].hex()


def read_beside(node: Node, logs: Sequence[Log]) -> dict[tuple[int, int], bytes]:
    """What events leave out: a plan's terms, a commitment proven in the registration's second.

    Raises:
        ChainUnavailable: an answer does not fit its event; ask again.
    """
    answers: dict[tuple[int, int], bytes] = {}
    for log in logs:
        name = "" if log.event is None else log.event.name
        if name == "PlanCreated":
            answers[log.block, log.log_index] = _read_terms(node, log)
        elif name == "ModelRegistered" and log.values["committedAt"] == log.values["registeredAt"]:
            answer = read_model(node, log.address, log.topics[32:64])
            if not any(answer):
                raise ChainUnavailable("the endpoint shows a registration and no such model")
            answers[log.block, log.log_index] = answer
    return answers


def _read_terms(node: Node, log: Log) -> bytes:
    values = log.values
    plan_id, licensor = values["planId"], values["licensor"]
    assert isinstance(plan_id, int)
    assert isinstance(licensor, bytes)
    answer = read_plan(node, log.address, plan_id)
    # The event carries a digest of the terms, so the endpoint need not be believed.
    if plan_digest(licensor, answer) != values["planDigest"]:
        raise ChainUnavailable(f"the endpoint shows other terms of plan {plan_id}")
    return answer


def read_plan(node: Node, ledger: bytes, plan_id: int) -> bytes:
    """The 19 words of PlanTerms, out of the 24 of ``LicenseLedger.planOf``.

    Asked at the head, since a plan's terms never change and few endpoints keep old states.
    """
    return _call(node, ledger, _PLAN_OF + plan_id.to_bytes(32, "big").hex(), 24)[: 19 * 32]


def read_model(node: Node, registry: bytes, model_id: bytes) -> bytes:
    """The 5 words of ``ModelRegistry.modelOf``: whether a commitment was proven is in no event."""
    return _call(node, registry, _MODEL_OF + model_id.hex(), 5)


def _call(node: Node, to: bytes, data: str, words: int) -> bytes:
    (reply,) = node.batch([("eth_call", [{"to": "0x" + to.hex(), "data": data}, "latest"])])
    if not isinstance(reply, str):
        raise ChainUnavailable("the endpoint sent no usable answer to a call")
    return bytes_of(reply, "answer to a call", 32 * words)
