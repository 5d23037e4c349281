"""Verification steps 1 to 7: from the file to proven words and events of our contracts.

Each function is one step of ``docs/spec/evidence-bundle.md``: it returns what it found in a
sentence, raises `NotChecked`, or raises the error that makes the step fail.
"""

from __future__ import annotations

from typing import Final

from ledger.eip712 import Domain
from ledger.errors import StateProofInvalid, VerificationError
from ledger.evidence.bundle import INDEX, README, README_BODY, Contract, may_be_withheld
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.documents import ReceiptProof, StateProof
from ledger.evidence.events import Event, Position, decode
from ledger.evidence.headers import Header, segments
from ledger.evidence.origin import HELPERS, READS
from ledger.evidence.proofs import prove_account, prove_item, prove_word
from ledger.evidence.receipts import Receipt, Transaction
from ledger.evidence.releases import Code, identify, known_code
from ledger.ids import keccak256

_TAKEN: Final = "these blocks are taken from the bundle"
# What a constructor may have fixed in each contract, beside the contract it reads.
_EIP712_NAMES = {
    "ModelRegistry": "modeldeed ModelRegistry",
    "LicenseLedger": "modeldeed LicenseLedger",
}


def check_contents(case: Case, step: int) -> str:
    """Every member is the one that ``bundle.json`` lists; nothing is missing, nothing is extra."""
    bundle = case.bundle
    for name in sorted(bundle.withheld):
        if not may_be_withheld(name):
            raise VerificationError(f"{name} may not be withheld", step=step)
        if name in bundle.members:
            raise VerificationError(f"{name} is here and said to be withheld", step=step)
    for name in sorted(set(bundle.listed) | set(bundle.members)):
        if name not in bundle.members and name not in bundle.withheld:
            raise VerificationError(f"{name} is listed and missing", step=step)
        if name not in bundle.listed:
            raise VerificationError(f"{name} is here and not listed", step=step)
    for name, found in bundle.listing().items():
        if found != bundle.listed[name] or name in bundle.damaged:
            raise VerificationError(f"{name} was altered", step=step)
    if INDEX in bundle.damaged or bundle.computed_index != bundle.index_bytes:
        raise VerificationError(f"{INDEX} was altered", step=step)
    if bundle.member(README) != README_BODY.encode():
        raise VerificationError(f"{README} is not the text of this format", step=step)
    for name in bundle.members:
        if name.endswith(".json"):
            bundle.json(name)
    left = f"; withheld: {', '.join(sorted(bundle.withheld))}" if bundle.withheld else ""
    return f"{len(bundle.members)} members, bundle {bundle.id}{left}"


def check_headers(case: Case, step: int) -> str:
    """Every header hashes to its block's hash and names the one before as its parent."""
    headers = []
    for name, raw in case.bundle.folder("headers").items():
        header = Header.parse(raw, step=step)
        if name != f"{header.number}.rlp":
            raise StateProofInvalid(f"headers/{name} is block {header.number}", step=step)
        headers.append(header)
    runs = segments(headers, step=step)
    top = runs[-1].top
    subject = case.bundle.subject
    if (top.number, top.hash) != (subject.block, subject.block_hash):
        raise StateProofInvalid(
            f"the newest header is block {top.number}, {top.hash}, not the block this bundle names",
            step=step,
        )
    first = runs[0].headers[0]
    if first.number == 0 and first.hash != subject.genesis:
        raise StateProofInvalid("block 0 is not the genesis this bundle names", step=step)
    case.segments, case.state_header = runs, top
    case.headers = {header.number: header for header in headers}
    if len(runs) == 1:
        return f"{len(headers)} headers, one unbroken chain up to block {top.number} {top.hash}"
    tops = ", ".join(str(run.top.number) for run in runs[:-1])
    return (
        f"{len(headers)} headers in {len(runs)} runs; nothing here links the runs that end with "
        f"blocks {tops} to block {top.number}, so each stands on its own hash"
    )


def check_trust(case: Case, step: int) -> str:
    """The newest header of every run is a block that the reader vouches for."""
    state = case.state()
    given = case.trust.blocks
    for name, address in case.trust.contracts.items():
        if case.bundle.subject.contract(name).address != address:
            raise VerificationError(f"{name} is not at {address} in this bundle", step=step)
    if not given and len(case.segments) > 1:
        raise NotChecked(f"{_TAKEN}; obtain their hashes elsewhere and compare: {_named(case)}")
    if not given:
        raise NotChecked(
            f"the hash of block {state.number} is taken from the bundle; obtain it elsewhere and "
            f"compare: {state.hash}"
        )
    if state.hash not in given:
        raise VerificationError(
            f"none of the block hashes given is that of block {state.number}, whose state is "
            f"proved here: {state.hash}",
            step=step,
        )
    if unvouched(case):
        raise NotChecked(f"{_TAKEN}: {_named(case)}")
    return f"block {state.number} {state.hash} is one that you named"


def _named(case: Case) -> str:
    return ", ".join(f"{header.number} {header.hash}" for header in unvouched(case))


def unvouched(case: Case) -> tuple[Header, ...]:
    """The newest headers of the runs that the reader does not vouch for."""
    return tuple(run.top for run in case.segments if run.top.hash not in case.trust.blocks)


def check_contracts(case: Case, step: int) -> str:
    """The contracts have, in the proved state, the code that we released, and began as ours do."""
    state = case.state()
    unknown: list[str] = []
    foreign: list[str] = []
    named: list[str] = []
    releases = set()
    for contract in case.bundle.subject.contracts:
        proof = case.read(f"state/{contract.name}.json", StateProof.from_json)
        if proof.address != contract.address:
            raise StateProofInvalid(f"{contract.name} is proved at {proof.address}", step=step)
        account = prove_account(state.state_root, contract.address, proof.nodes, step=step)
        shown = (proof.nonce, proof.balance, proof.storage_root, proof.code_hash)
        if shown != (account.nonce, account.balance, account.storage_root, account.code_hash):
            raise StateProofInvalid(f"{contract.name}'s account is not as shown", step=step)
        code = case.bundle.member(f"code/{contract.name}.bin")
        if {keccak256(code), contract.code_hash.raw} != {account.code_hash.raw}:
            raise StateProofInvalid(f"{contract.name} has another code than shown", step=step)
        known = _check_code(case, contract, code, step)
        if known is None:
            unknown.append(contract.name)
            continue
        releases.add(known.release)
        if known.address != contract.address:
            vouched = case.trust.contracts.get(contract.name) == contract.address
            (named if vouched else foreign).append(contract.name)
    if unknown:
        raise NotChecked(
            f"the code of {', '.join(unknown)} is none that this version knows; a newer modeldeed "
            "may know it, or the contract is not modeldeed's"
        )
    if foreign:
        raise NotChecked(
            f"{', '.join(foreign)} behaves as modeldeed's does, but its address does not show that "
            "modeldeed's creation code made it: its creator may have written any title and any "
            "event into it first; if you know from elsewhere that the address is modeldeed's, "
            "name it"
        )
    case.release = ", ".join(sorted(releases))
    names = ", ".join(contract.name for contract in case.bundle.subject.contracts)
    origin = f"; {', '.join(named)} at addresses that you named" if named else ""
    return f"{names}: modeldeed's code, {case.release}, from its creation on{origin}"


def _check_code(case: Case, contract: Contract, code: bytes, step: int) -> Code | None:
    """Whose code this is; None when unknown. Its constructor must have been given ours."""
    known = identify(contract.name, code, contract.address)
    if known is None:
        return None
    values = known.values(code)
    allowed: set[bytes] = set()
    if contract.name in READS:
        read = case.bundle.subject.contract(READS[contract.name]).address.raw.rjust(32, b"\0")
        if read not in values:
            raise StateProofInvalid(
                f"{contract.name} reads another {READS[contract.name]} than this bundle's",
                step=step,
            )
        allowed.add(read)
    if contract.name == "ModelRegistry":
        allowed.add(case.bundle.subject.contract("LicenseLedger").address.raw.rjust(32, b"\0"))
    for helper in HELPERS.get(contract.name, ()):
        # A helper's code runs in this contract's storage or speaks for it; it has no arguments, so
        # each release's has one address.
        ours = {
            code.address.raw.rjust(32, b"\0") for code in known_code() if code.contract == helper
        }
        if not ours & values:
            raise StateProofInvalid(
                f"{contract.name} hands work to another {helper} than modeldeed's", step=step
            )
        allowed |= ours
    if contract.name in _EIP712_NAMES:
        name, chain_id = _EIP712_NAMES[contract.name], case.bundle.subject.chain_id
        domain = Domain(name, "1", chain_id, contract.address)
        allowed |= {
            contract.address.raw.rjust(32, b"\0"),
            chain_id.to_bytes(32, "big"),
            keccak256(name.encode()),
            keccak256(b"1"),
            domain.separator(),
        }
    if not values <= allowed:
        raise StateProofInvalid(
            f"{contract.name} was deployed for another chain or address, or with other settings",
            step=step,
        )
    return known


def check_storage(case: Case, step: int) -> str:
    """Every storage word shown is the one under its contract's storage root."""
    words: dict[str, dict[int, bytes]] = {}
    for contract in case.bundle.subject.contracts:
        proof = case.read(f"state/{contract.name}.json", StateProof.from_json)
        account = prove_account(case.state().state_root, contract.address, proof.nodes, step=step)
        held = words.setdefault(contract.name, {})
        for slot in proof.slots:
            word = prove_word(account.storage_root, slot.slot, slot.nodes, step=step)
            if int.from_bytes(word, "big") != slot.value:
                raise StateProofInvalid(
                    f"{contract.name}: slot {slot.slot:#x} does not hold what is shown", step=step
                )
            held[slot.slot] = word
    case.words = words
    count = sum(len(held) for held in words.values())
    return f"{count} words of storage at block {case.state().number}"


def check_events(case: Case, step: int) -> str:
    """Every receipt and transaction shown is under its block's header; read our events in them."""
    names = {contract.address: contract.name for contract in case.bundle.subject.contracts}
    events: list[Event] = []
    transactions = 0
    for member in case.bundle.folder("receipts"):
        proof = case.read(f"receipts/{member}", ReceiptProof.from_json)
        if proof.name != f"receipts/{member}":
            raise StateProofInvalid(f"receipts/{member} is {proof.name}", step=step)
        header = case.headers.get(proof.block)
        if header is None:
            raise StateProofInvalid(f"receipts/{member} has no header", step=step)
        item = prove_item(header.receipts_root, proof.index, proof.receipt_nodes, step=step)
        if item != proof.receipt:
            raise StateProofInvalid(f"receipts/{member} is not the proven receipt", step=step)
        sent = _transaction(case, proof, header, step)
        transactions += sent is not None
        for index, log in enumerate(Receipt.parse(item, step=step).logs):
            if log.emitter not in names:
                continue
            read = decode(log, names[log.emitter], step=step)
            if read is not None:
                events.append(
                    Event(
                        names[log.emitter],
                        *read,
                        position=Position(proof.block, proof.index, index),
                        time=header.timestamp,
                        transaction=None if sent is None else sent.hash,
                        sender=None if sent is None else sent.sender,
                    )
                )
    case.events = tuple(sorted(events, key=lambda event: event.position))
    receipts = len(case.bundle.folder("receipts"))
    return f"{receipts} receipts with {len(events)} events of ours, {transactions} transactions"


def _transaction(case: Case, proof: ReceiptProof, header: Header, step: int) -> Transaction | None:
    if not proof.transaction:
        return None
    item = prove_item(header.transactions_root, proof.index, proof.transaction_nodes, step=step)
    if item != proof.transaction:
        raise StateProofInvalid(f"{proof.name} has another transaction than proven", step=step)
    sent = Transaction.parse(item, step=step)
    if sent.chain_id not in {None, case.bundle.subject.chain_id}:
        raise StateProofInvalid(
            f"transaction {sent.hash} was signed for chain {sent.chain_id}, "
            f"not {case.bundle.subject.chain_id}",
            step=step,
        )
    return sent
