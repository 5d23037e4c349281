"""The proofs of one event: gathered from a node, and held against a block hash without one.

Three kinds (`ledger.index.evidence_store` says what each is). Nothing is returned that does not
verify against the block hash in the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final, Literal, Protocol, TypeVar

import rlp
from sqlalchemy import Row

from ledger.canonical import canonical_json, parse_json
from ledger.chain.proofs import fetch_headers, fetch_state, receipts_there
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainError,
    FormatError,
    LedgerError,
    LogFormatError,
    StateProofInvalid,
    VerificationError,
)
from ledger.evidence.documents import ReceiptProof, StateProof
from ledger.evidence.headers import Header
from ledger.evidence.layout import (
    PLAN_MODEL_WORD,
    PLAN_TERMS_WORD,
    confirmation_slot,
    ext_slot,
    owner_slot,
    plan_slot,
    sealing_epoch_slot,
    sealing_slot,
    seat_slot,
    stamp_slot,
    title_slot,
    transfer_slot,
)
from ledger.evidence.proofs import prove, prove_account, prove_item, prove_word
from ledger.evidence.receipts import Receipt
from ledger.ids import Address, Digest, LicenseId, ModelId, keccak256
from ledger.index.decode import EVENTS, Event, decode

T = TypeVar("T")
Kind = Literal["header", "receipt", "state"]
KINDS: Final[tuple[Kind, ...]] = ("header", "receipt", "state")

OTHERWISE: Final = "the journal has the event otherwise than its block"
"""Why there is no proof where what the block shows is not what the journal says."""

_MAX_BODY = 64 << 20
_REASON = 300


@dataclass(frozen=True, slots=True)
class Kept:
    """One proof as it is stored."""

    kind: Kind
    body: bytes

    @property
    def hash(self) -> bytes:
        """Its address."""
        return hashlib.sha256(self.body).digest()

    def document(self) -> Any:
        """Its body, of a kind that is JSON.

        Raises:
            ManifestError: it is none.
        """
        return parse_json(self.body, what=f"a kept {self.kind}", limit=_MAX_BODY)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one block's events rest on: proofs by (log index, kind), or why there is none."""

    held: Mapping[tuple[int, Kind], Kept]
    lost: Mapping[tuple[int, Kind], str]


# -- gathering, from a node ------------------------------------------------------------------------


class Ask(Protocol):
    """Puts a question to one endpoint, or to another where that one refuses."""

    def __call__(self, act: Callable[[Rpc], T]) -> T:
        """What the question comes to.

        Raises:
            LedgerError: as the question does; the refusal, where every endpoint refuses.
        """
        ...


def gather_block(ask: Ask, rows: Sequence[Row[Any]], *, give_up: bool) -> Gathered:
    """Fetch and verify the proofs of one block's events.

    Args:
        ask: the chain.
        rows: the block's journal entries.
        give_up: whether what is refused or false now is lost, rather than asked for again.

    Raises:
        ChainUnavailable: no answer; nothing is lost by that, whatever `give_up` says.
        ChainError, VerificationError: an endpoint refuses, or shows another block or false proofs.
    """
    held: dict[tuple[int, Kind], Kept] = {}
    lost: dict[tuple[int, Kind], str] = {}

    def attempt(kind: Kind, of: Sequence[Row[Any]], act: Callable[[], None]) -> bool:
        try:
            act()
        except (ChainError, VerificationError, FormatError) as error:
            if not give_up:
                raise
            lost.update(((row.log_index, kind), error.message[:_REASON]) for row in of)
            return False
        return True

    headers: list[Header] = []
    if not attempt("header", rows, lambda: headers.append(ask(partial(_header, rows=rows)))):
        # Nothing leads anywhere without it.
        for row in rows:
            why = f"its header could not be had: {lost[row.log_index, 'header']}"[:_REASON]
            lost.update(((row.log_index, kind), why) for kind in KINDS[1:])
        return Gathered(held, lost)
    header = headers[0]
    held.update(((row.log_index, "header"), Kept("header", header.raw)) for row in rows)

    def receipts() -> None:
        wanted = {row.tx_index for row in rows}
        shown = ask(partial(receipts_there, header=header, indices=wanted))
        kept = {n: Kept("receipt", canonical_json(shown[n].to_json())) for n in shown}
        for row in rows:
            try:
                # One that there is not must not cost the others of the block theirs.
                if row.tx_index not in shown:
                    raise StateProofInvalid(f"it has no transaction {row.tx_index}")
                check_receipt(header, shown[row.tx_index], row)
            except VerificationError as error:
                # No endpoint could show another: the receipt leads to the block.
                lost[row.log_index, "receipt"] = f"{OTHERWISE}: {error.message}"[:_REASON]
            else:
                held[row.log_index, "receipt"] = kept[row.tx_index]

    attempt("receipt", rows, receipts)
    by_contract, otherwise = _by_contract(rows)
    lost.update(otherwise)
    for address, slots in by_contract.items():
        events = [row for row in rows if row.log_index in slots]
        question = partial(_states, header=header, address=address, slots=slots)
        attempt("state", events, lambda question=question: held.update(ask(question)))  # type: ignore[misc]
    return Gathered(held, lost)


def _by_contract(
    rows: Sequence[Row[Any]],
) -> tuple[dict[Address, dict[int, tuple[int, ...]]], dict[tuple[int, Kind], str]]:
    """The slots of each event by contract and log index; of which no endpoint is asked, and why."""
    found: dict[Address, dict[int, tuple[int, ...]]] = {}
    lost: dict[tuple[int, Kind], str] = {}
    for row in rows:
        try:
            slots = slots_of(row)
            found.setdefault(Address(bytes(row.address)), {})[row.log_index] = slots
        except LedgerError as error:
            # Nor is one blamed, and the block's others have theirs.
            lost[row.log_index, "state"] = f"{OTHERWISE}: {error.message}"[:_REASON]
    return found, lost


def _header(rpc: Rpc, *, rows: Sequence[Row[Any]]) -> Header:
    (header,) = fetch_headers(rpc, [rows[0].block])
    if header.hash.raw != bytes(rows[0].block_hash):
        raise StateProofInvalid(
            f"the endpoint shows another block {rows[0].block} than the journal"
        )
    return header


def _states(
    rpc: Rpc, *, header: Header, address: Address, slots: Mapping[int, tuple[int, ...]]
) -> dict[tuple[int, Kind], Kept]:
    proof = fetch_state(rpc, header, address, set(chain.from_iterable(slots.values())))
    kept = Kept("state", canonical_json(proof.to_json()))
    return {(log_index, "state"): kept for log_index in slots}


def slots_of(row: Row[Any]) -> tuple[int, ...]:
    """The storage slots of its contract that an event may have changed, as far as we name them.

    Raises:
        LogFormatError: its contract cannot have emitted it.
    """
    if row.contract not in EVENTS:
        raise LogFormatError(f"{row.contract} is no contract of ours")
    event = decode(row.contract, _topics(row.topics), row.data)
    if event is None:
        return ()
    finder = {
        "Anchors": _anchor_slots,
        "ModelRegistry": _registry_slots,
        "LicenseLedger": _ledger_slots,
    }.get(row.contract)
    return () if finder is None else tuple(finder(event))


def _anchor_slots(event: Event) -> Iterator[int]:
    root = event.values.get("root")
    if isinstance(root, Digest):
        yield stamp_slot(root)


def _registry_slots(event: Event) -> Iterator[int]:
    id_ = event.values.get("modelId")
    if not isinstance(id_, Digest):
        return
    model = ModelId(id_.raw)
    yield title_slot(model)
    if event.name.startswith(("Title", "Recovery")):
        yield transfer_slot(model)
    parent, epoch = event.values.get("parent"), event.values.get("epoch")
    if isinstance(parent, Digest):
        yield confirmation_slot(model, ModelId(parent.raw))
    if event.name == "RecordLodged" and event.values.get("kind") == 1 and isinstance(epoch, int):
        yield sealing_epoch_slot(model)
        yield sealing_slot(model, epoch)


def _ledger_slots(event: Event) -> Iterator[int]:
    plan = event.values.get("planId")
    if isinstance(plan, int):
        yield plan_slot(plan)
        if event.name == "PlanCreated":
            yield plan_slot(plan, PLAN_MODEL_WORD)
            yield plan_slot(plan, PLAN_TERMS_WORD)
    for name in ("licenseId", "parentId", "tokenId"):
        number = event.values.get(name)
        if isinstance(number, int) and number < 1 << 64:
            yield owner_slot(LicenseId(number))
            yield ext_slot(LicenseId(number))
    license_, key = event.values.get("licenseId"), event.values.get("runtimeKey")
    if isinstance(license_, int) and license_ < 1 << 64 and isinstance(key, Digest):
        yield seat_slot(LicenseId(license_), key)


# -- verifying, without a node ---------------------------------------------------------------------


def verify_event(row: Row[Any], kept: Mapping[Kind, Kept]) -> None:
    """Hold an event's proofs against its block hash.

    Args:
        row: the journal's, or an orphan's, entry.
        kept: its proofs by kind; a missing one is not looked at, but without the header none can.

    Raises:
        VerificationError: one does not hold.
        ManifestError: one is not what its kind says.
    """
    if "header" not in kept:
        raise StateProofInvalid(f"there is no header of block {row.block}")
    header = header_of(kept["header"].body)
    if header.hash.raw != bytes(row.block_hash) or header.number != row.block:
        raise StateProofInvalid(f"the header kept for block {row.block} is another's")
    if header.timestamp != row.block_time:
        raise StateProofInvalid(f"block {row.block} has another time than the journal says")
    if "receipt" in kept:
        check_receipt(header, proven_receipt(header, kept["receipt"].body), row)
    if "state" in kept:
        _proven_state(header, kept["state"].body, bytes(row.address))


def holds(row: Row[Any], kept: Mapping[Kind, Kept]) -> bool:
    """Whether `verify_event` raises nothing."""
    try:
        verify_event(row, kept)
    except (LedgerError, TypeError, ValueError):
        # Of a row that is not of its kind, too.
        return False
    return True


def sound(row: Row[Any], kept: Mapping[Kind, Kept], other: Kept | None) -> set[Kind]:
    """Kinds of an event's proofs that hold, each by itself.

    Args:
        row: the event.
        kept: its proofs.
        other: a header, for where the kept one is none of its block.
    """
    for header in (kept.get("header"), other):
        if header is not None and holds(row, {"header": header}):
            return {kind for kind in kept if holds(row, {"header": header, kind: kept[kind]})}
    return set()


def subject_of(body: bytes) -> tuple[Kind, *tuple[object, ...]] | None:
    """What a proof is of, whatever it is called: its kind, and what leads to it.

    A header by its hash; a receipt by block, index and receipts root; a state by contract and state
    root. None where the bytes are no proof; whether one holds, `verify_event` says.
    """
    try:
        return "header", Header.parse(body).hash.raw
    except LedgerError:
        pass
    try:
        document = Kept("receipt", body).document()
        if "receipt" in document:
            proof = ReceiptProof.from_json(document)
            return "receipt", proof.block, proof.index, keccak256(proof.receipt_nodes[0])
        state = StateProof.from_json(document)
        return "state", state.address.raw, keccak256(state.nodes[0])
    except (LedgerError, IndexError, TypeError):
        return None


def proof_in(body: bytes) -> Kept | None:
    """The proof that bytes are, as it is kept: JSON may have been written in another way."""
    subject = subject_of(body)
    if subject is None or subject[0] == "header":
        return None if subject is None else Kept("header", body)
    try:
        return Kept(subject[0], canonical_json(Kept(subject[0], body).document()))
    except LedgerError:
        return None  # There is no way to keep it, such as with a number of 20 digits.


# A block's events mostly share these, and each takes a millisecond: the last few are remembered.
# All are functions of the bytes that they are given.
_FEW: Final = 16


@lru_cache(maxsize=_FEW)
def header_of(raw: bytes) -> Header:
    """A kept header.

    Raises:
        StateProofInvalid: it is none.
    """
    return Header.parse(raw)


@lru_cache(maxsize=_FEW)
def proven_receipt(header: Header, body: bytes) -> ReceiptProof:
    """A kept receipt, and the transaction where it is kept, held against a header.

    Raises:
        StateProofInvalid: they do not lead to it.
        ManifestError: it is no receipt.
    """
    proof = ReceiptProof.from_json(Kept("receipt", body).document())
    found = prove_item(header.receipts_root, proof.index, proof.receipt_nodes)
    if found != proof.receipt:
        raise StateProofInvalid(f"the receipt kept of block {header.number} is not in its trie")
    if proof.transaction:
        sent = prove_item(header.transactions_root, proof.index, proof.transaction_nodes)
        if sent != proof.transaction:
            raise StateProofInvalid(f"a transaction kept of block {header.number} is not in it")
    return proof


@lru_cache(maxsize=_FEW)
def _proven_state(header: Header, body: bytes, address: bytes) -> None:
    verify_state(header, StateProof.from_json(Kept("state", body).document()), address)


@lru_cache(maxsize=_FEW)
def _logs_of(receipt: bytes) -> frozenset[tuple[bytes, tuple[bytes, ...], bytes]]:
    logs = Receipt.parse(receipt).logs
    return frozenset((log.emitter.raw, tuple(log.topics), log.data) for log in logs)


def check_receipt(header: Header, proof: ReceiptProof, row: Row[Any]) -> None:
    """See that a proved receipt holds a journal entry.

    Raises:
        StateProofInvalid: it does not.
    """
    if proof.index != row.tx_index or proof.block != header.number:
        raise StateProofInvalid(f"the receipt of event {row.block}-{row.log_index} is another's")
    if proof.transaction and keccak256(proof.transaction) != bytes(row.tx_hash):
        raise StateProofInvalid(f"transaction {row.tx_index} of block {row.block} is another one")
    wanted = (bytes(row.address), _topics(row.topics), bytes(row.data))
    if wanted not in _logs_of(proof.receipt):
        raise StateProofInvalid(
            f"event {row.block}-{row.log_index} is not in its transaction's receipt"
        )


def verify_state(header: Header, proof: StateProof, address: bytes) -> None:
    """Hold account and storage against a header.

    Raises:
        StateProofInvalid: they do not lead to it.
    """
    if proof.address.raw != address:
        raise StateProofInvalid(f"the state kept for block {header.number} is of another contract")
    account = prove_account(header.state_root, proof.address, proof.nodes)
    leaf = rlp.decode(prove(header.state_root, keccak256(address), proof.nodes))
    shown = (proof.nonce, proof.balance, proof.storage_root, proof.code_hash)
    balance = int.from_bytes(leaf[1], "big")
    if shown != (account.nonce, balance, account.storage_root, account.code_hash):
        raise StateProofInvalid(f"the account kept for block {header.number} is another one")
    for slot in proof.slots:
        word = prove_word(account.storage_root, slot.slot, slot.nodes)
        if int.from_bytes(word, "big") != slot.value:
            raise StateProofInvalid(f"slot {slot.slot:#x} of block {header.number} is another word")


def _topics(blob: bytes) -> tuple[bytes, ...]:
    return tuple(bytes(blob[i : i + 32]) for i in range(0, len(blob), 32))
