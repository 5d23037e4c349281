"""A lost broker rebuilt from what its licensor kept: new keys, its old number, a new deposit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.broker.celldeposits import CELL_KEYS, CODE_KEY, DepositedCells, has_cells
from ledger.broker.deposits import CONTENT_KEY, KeyDeposit, Wrap, deposit_info
from ledger.broker.home import BrokerHome
from ledger.broker.recovery import Recovery
from ledger.broker.service import BrokerService
from ledger.broker.setup import identity_on
from ledger.broker.shares import ShareFile, is_share, join_recovery
from ledger.broker.vault import check_commitment
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.transactions import Sender
from ledger.eip712 import TypedSigner
from ledger.errors import UsageError, WrongNetwork
from ledger.sealed.recipients import wrap
from ledger.sealed.record import SealingRecord

_MAX_BYTES = 8 << 20


def read_recovery(paths: Sequence[Path], passphrase: Callable[[Path], str]) -> Recovery:
    """What a recovery file, or enough share files, hold.

    Args:
        paths: one recovery file, or share files of one set.
        passphrase: asked for a recovery file's.

    Raises:
        FormatError: a file is neither.
        WrongPassphrase: the passphrase does not open it.
        SharesRejected: too few, mixed or altered shares.
        UsageError: a recovery file among others.
    """
    if len(paths) == 1 and not _is_share(paths[0]):
        return Recovery.load(paths[0], passphrase(paths[0]))
    for path in paths:
        if not _is_share(path):
            raise UsageError(
                f"{path.name} is not a share file",
                hint="give one recovery file alone, or share files of one set",
            )
    files = [ShareFile.load(path) for path in paths]
    try:
        return join_recovery(files)
    finally:
        for file in files:
            file.share.wipe()


def _is_share(path: Path) -> bool:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES)
    try:
        return is_share(json.loads(data))
    except (ValueError, RecursionError):
        return False


def sealing_of(recovery: Recovery, deployment: Deployment) -> SealingRecord:
    """The sealing that a recovery's key opens, checked before anything is made for it.

    Raises:
        UsageError: the model was never sealed.
        KeyAccessError: the key is not the one the sealing commits to.
        WrongNetwork: the model is registered elsewhere.
    """
    claim, record = recovery.claim, recovery.record
    if record is None or claim is None:
        raise UsageError(
            "this recovery file is of before the sealing: no broker ever held its key",
            hint="finish publishing: deed publish, in the same folder",
        )
    key = bytearray(recovery.content_key)
    check_commitment(key, record)
    key[:] = bytes(len(key))
    if has_cells(record) and recovery.cells is None:
        raise UsageError(
            "this recovery file lacks the cell keys of its sealing",
            hint="use the recovery file of this sealing, or a share file of it",
        )
    if recovery.cells is not None:
        recovery.cells.check(record)
    here = (deployment.chain_id, deployment.addresses["ModelRegistry"])
    if (claim.chain_id, claim.registry) != here or claim.model_id() != record.model_id:
        raise WrongNetwork(
            f"this recovery file is for a model on chain {claim.chain_id}, registry "
            f"{claim.registry}",
            hint="choose that network with --network",
        )
    return record


def shared_by(registry: BrokerRegistry, record: SealingRecord) -> bool:
    """Whether the sealing's broker set shares its key: then no one of them may get it whole.

    Raises:
        ContractReverted, ChainUnavailable: the set cannot be read.
    """
    return record.broker_set > 0 and registry.broker_set_of(record.broker_set).threshold > 1


def take_over(
    home: BrokerHome, sender: Sender, deployment: Deployment, broker_id: int, url: str
) -> None:
    """Give a broker's number, and so its place in every broker set, to new keys.

    Repeating it is safe. The home's identity is written last.

    Raises:
        UsageError: the sender does not operate that broker.
        ContractReverted, InsufficientFunds, ChainUnavailable: as ``Sender.send``.
    """
    registry = BrokerRegistry(sender.rpc, deployment.addresses["BrokerRegistry"])
    record = registry.broker_of(broker_id)
    if record.operator != sender.signer.address:
        raise UsageError(
            f"broker {broker_id} is operated by {record.operator}, not by {sender.signer.address}",
            hint="sign with its operator's wallet: --wallet NAME",
        )
    hashes = (home.signing_key_hash, home.kem_key_hash)
    if (record.signing_key_hash, record.kem_key_hash) != hashes:
        registry.set_keys(sender, broker_id, *hashes, url)
    home.register(identity_on(deployment, broker_id))


def deposit_again(
    service: BrokerService,
    recovery: Recovery,
    record: SealingRecord,
    signer: TypedSigner,
    *,
    terms: Sequence[Mapping[str, Any]] = (),
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Deposit a recovered key at a broker of this process; its signed receipt.

    Raises:
        KeyRequestRejected, PendingFinality, SignatureInvalid: as ``BrokerService.deposit``.
        UnavailableError, ChainError: the chain cannot be read.
    """
    home, identity = service.home, service.identity
    secrets: list[tuple[str, bytes | bytearray]] = [(CONTENT_KEY, recovery.content_key)]
    cells = recovery.cells
    if cells is not None:
        secrets += [(CELL_KEYS, cells.keys.data), (CODE_KEY, cells.code_secret())]
    wraps = [
        Wrap(label, wrap(secret, home.kem.public, info=info))
        for label, secret in secrets
        for info in (deposit_info(label, record.hash(), identity.audience),)
    ]
    unsigned = KeyDeposit(
        record=record,
        wraps=tuple(wraps),
        kem_key_hash=home.kem_key_hash,
        audience=identity.audience,
        issued_at=int(clock()),
        licensor=signer.address,
        terms=tuple(terms),
        cells=None if cells is None else DepositedCells(cells.parameters, cells.records),
    )
    return service.deposit(unsigned.signed(signer, identity.domain).to_json())
