"""Proofs from a node: raw headers, account and storage proofs, receipts, each checked on arrival.

Nothing here is believed because a node says it: a header must hash to its block's hash, and every
proof must lead to its header before it is returned. What a proof is stands in
``ledger.evidence.proofs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ledger.chain.rpc import Rpc, data, quantity
from ledger.errors import ChainError, Reorganised, RpcRefused, StateProofInvalid
from ledger.evidence.documents import ReceiptProof, SlotProof, StateProof
from ledger.evidence.headers import Header, encode_header
from ledger.evidence.proofs import list_proofs, prove_account, prove_word, prune
from ledger.evidence.receipts import encode_receipt
from ledger.ids import Address, keccak256

BATCH = 100
_SLOTS_PER_PROOF = 100
# Beyond this, rebuilding a block's trie of transactions means too many requests to be cheap.
_MAX_TRANSACTIONS = 500
_LOG_RANGE = 20_000
_SMALLEST_RANGE = 16


def fetch_headers(rpc: Rpc, numbers: Iterable[int]) -> tuple[Header, ...]:
    """Raw headers of these blocks, ascending.

    Raises:
        StateProofInvalid: this chain's headers have a form that does not hash to the block's hash.
        ChainError: a block does not exist.
    """
    wanted = sorted(set(numbers))
    headers = []
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        replies = rpc.batch([("eth_getBlockByNumber", [hex(number), False]) for number in part])
        for number, reply in zip(part, replies, strict=True):
            headers.append(_header(number, reply))
    return tuple(headers)


def fetch_state(rpc: Rpc, header: Header, address: Address, slots: Iterable[int]) -> StateProof:
    """Account and storage proofs at a block (EIP-1186), verified against its header.

    Raises:
        StateProofInvalid: what the node sent does not lead to the header.
        RpcRefused: the node has no proofs of this block, or none at all.
    """
    wanted = sorted(set(slots))
    groups = [wanted[at : at + _SLOTS_PER_PROOF] for at in range(0, len(wanted), _SLOTS_PER_PROOF)]
    proven: list[SlotProof] = []
    account_nodes: tuple[bytes, ...] = ()
    for group in groups or [[]]:
        try:
            reply = rpc.call(
                "eth_getProof",
                [str(address), [f"0x{slot:064x}" for slot in group], hex(header.number)],
            )
        except RpcRefused as error:
            error.hint = "use an endpoint that serves eth_getProof for finalized blocks"
            raise
        account_nodes = _shape(reply, "accountProof")
        account_nodes = prune(header.state_root, keccak256(address.raw), account_nodes)
        account = prove_account(header.state_root, address, account_nodes)
        for slot, shown in zip(group, reply["storageProof"], strict=True):
            key = keccak256(slot.to_bytes(32, "big"))
            nodes = prune(account.storage_root, key, _shape(shown, "proof"))
            word = prove_word(account.storage_root, slot, nodes)
            proven.append(SlotProof(slot, int.from_bytes(word, "big"), nodes))
    account = prove_account(header.state_root, address, account_nodes)
    return StateProof(
        address=address,
        nonce=account.nonce,
        balance=account.balance,
        code_hash=account.code_hash,
        storage_root=account.storage_root,
        nodes=account_nodes,
        slots=tuple(proven),
    )


def fetch_receipts(rpc: Rpc, header: Header, indices: Sequence[int]) -> tuple[ReceiptProof, ...]:
    """Receipts, and transactions where that is cheap, of one block, under its header's roots.

    Raises:
        StateProofInvalid: what the node sent does not lead to the header, or a transaction that is
            asked for is none of the block's.
        Reorganised: the block is gone.
    """
    found = receipts_there(rpc, header, indices)
    for index in sorted(set(indices) - found.keys()):
        raise StateProofInvalid(f"block {header.number} has no transaction {index}")
    return tuple(found[index] for index in sorted(found))


def receipts_there(rpc: Rpc, header: Header, indices: Iterable[int]) -> dict[int, ReceiptProof]:
    """As `fetch_receipts`, of those transactions that there are: by its roots a block has no other.

    Raises:
        StateProofInvalid: what the node sent does not lead to the header.
        Reorganised: the block is gone.
    """
    block = rpc.call("eth_getBlockByHash", [str(header.hash), False])
    if not isinstance(block, dict):
        raise Reorganised(f"block {header.number} {header.hash.short} is gone")
    hashes = block["transactions"]
    receipts = [encode_receipt(receipt) for receipt in _receipts(rpc, header, hashes)]
    raw = _raw_transactions(rpc, header, hashes)
    wanted = sorted(set(indices) & set(range(len(receipts))))
    receipt_nodes = list_proofs(receipts, wanted, header.receipts_root)
    transaction_nodes = list_proofs(raw, wanted, header.transactions_root) if raw else {}
    return {
        index: ReceiptProof(
            block=header.number,
            index=index,
            receipt=receipts[index],
            receipt_nodes=receipt_nodes[index],
            transaction=raw[index] if raw else b"",
            transaction_nodes=transaction_nodes.get(index, ()),
        )
        for index in wanted
    }


def find_logs(
    rpc: Rpc,
    address: Address,
    topics: Sequence[str | Sequence[str] | None],
    first: int,
    last: int,
) -> list[dict[str, Any]]:
    """Logs of a contract between two blocks, both included, as ``eth_getLogs`` shows them.

    Ranges are halved when a node refuses them. The answer is only a guide to receipts, which are
    proved; a node can leave logs out, which verification notices where state tells their number.

    Raises:
        RpcRefused: the node refuses even small ranges.
    """
    found: list[dict[str, Any]] = []
    at, size = first, _LOG_RANGE
    while at <= last:
        end = min(at + size - 1, last)
        query = {
            "address": str(address),
            "topics": list(topics),
            "fromBlock": hex(at),
            "toBlock": hex(end),
        }
        try:
            logs = rpc.call("eth_getLogs", [query])
        except RpcRefused:
            if size <= _SMALLEST_RANGE:
                raise
            size //= 4
            continue
        if not isinstance(logs, list):
            raise ChainError("an endpoint showed something that is not a list of logs")
        found += logs
        at = end + 1
    return found


def place_of(log: dict[str, Any]) -> tuple[int, int]:
    """Block number and transaction index of a log.

    Raises:
        ChainError: the log has no place yet, or a malformed one.
    """
    return quantity(log.get("blockNumber")), quantity(log.get("transactionIndex"))


def _header(number: int, reply: Any) -> Header:
    if not isinstance(reply, dict):
        raise ChainError(f"there is no block {number}")
    header = encode_header(reply)
    if header.number != number:
        raise ChainError(f"an endpoint showed block {header.number} for block {number}")
    return header


def _receipts(rpc: Rpc, header: Header, hashes: Sequence[str]) -> list[dict[str, Any]]:
    try:
        receipts = rpc.call("eth_getBlockReceipts", [hex(header.number)])
    except RpcRefused:  # an older node
        receipts = rpc.batch([("eth_getTransactionReceipt", [of]) for of in hashes])
    if not isinstance(receipts, list) or not all(isinstance(of, dict) for of in receipts):
        raise Reorganised(f"the receipts of block {header.number} are gone")
    return receipts


def _raw_transactions(rpc: Rpc, header: Header, hashes: Sequence[str]) -> list[bytes]:
    """All raw transactions of a block; none when the node does not give them out as hashed."""
    if not 0 < len(hashes) <= _MAX_TRANSACTIONS:
        return []
    try:
        replies = rpc.batch([("eth_getRawTransactionByHash", [of]) for of in hashes])
        raw = [data(reply) for reply in replies]
        list_proofs(raw, (), header.transactions_root)
    except (ChainError, StateProofInvalid):  # the evidence is complete without transactions
        return []
    return raw


def _shape(reply: Any, name: str) -> tuple[bytes, ...]:
    nodes = reply.get(name) if isinstance(reply, dict) else None
    if not isinstance(nodes, list):
        raise ChainError("an endpoint showed something that is not a proof")
    return tuple(data(node) for node in nodes)
