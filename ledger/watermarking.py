"""Watermarking, step by step: commit to a key, then mark once its beacon is known.

Each step leaves its result in the record file by an atomic replace, before or after the act as
loss demands: the key is on disk before its commitment is sent, and a step that was done is found
done. Sections 1 and 4 of docs/spec/watermark.md; the chain's part is `ledger.phase_a`, and the mark
is looked for by `ledger.detecting`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.broker.watermark_file import load_record, save_record
from ledger.chain.beacon import Beacon, read_beacon
from ledger.errors import ClaimMismatch, UsageError
from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.sketch import Sketch
from ledger.ids import ZERO_DIGEST, Digest
from ledger.phase_a import Chain, lodge
from ledger.tensors.model import open_model
from ledger.watermark.record import STRENGTH, Record, require_original
from ledger.watermark.weights import Embedded, embed, targets_of

if TYPE_CHECKING:
    # For types alone: the chain extra is loaded by whoever opens a chain.
    from ledger.chain.network import Network
    from ledger.chain.transactions import Sender

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Marked:
    """What ``embed_into`` made."""

    record: Record
    embedded: Embedded
    beacon: Beacon
    content_root: Digest


# -- commit ----------------------------------------------------------------------------------------


def prepare(
    model: Path,
    path: Path,
    passphrase: str,
    *,
    network: Network,
    sender: Sender,
    strength: int = STRENGTH,
    terms_hash: Digest = ZERO_DIGEST,
    sketch: Sketch | None = None,
    progress: Progress | None = None,
) -> Record:
    """Make a key for a model and write the record, or take up the one that is there.

    Raises:
        TensorFileError, UnsupportedModel: the model cannot be read, or cannot carry a mark.
        ClaimMismatch: the record there, or the sketch, is of another model.
        UsageError: it is of another owner or place.
    """
    with open_model(model) as source:
        if path.exists():
            record = load_record(path, lambda: passphrase)
            record.check()
            require_original(record, source)
            _require_place(record, network, sender)
            if sketch is not None and sketch.root != record.commitment.sketch_root:
                raise UsageError(
                    "the record there commits to another sketch, or to none",
                    hint="name another file with --record, or leave --sketch out",
                )
            return record
        made = fingerprint(source, level="deep", progress=progress)
        if sketch is not None and sketch.content_root != made.content_root:
            raise ClaimMismatch(
                "the sketch is of another model",
                hint="draw one of this model: deed fingerprint MODEL --sketch FILE",
            )
        record = Record.create(
            made,
            targets_of(made),
            chain_id=network.deployment.chain_id,
            registry=network.deployment.addresses["ModelRegistry"],
            owner=sender.signer.address,
            strength=strength,
            terms_hash=terms_hash,
            sketch_root=ZERO_DIGEST if sketch is None else sketch.root,
        )
    save_record(record, path, passphrase, replace_it=False)
    return record


def commit(record: Record, path: Path, passphrase: str, *, chain: Chain, sender: Sender) -> Record:
    """Phase A: send the commitment, unless it stands already, and note where it stands.

    Raises:
        LedgerError: as ``Sender.send``; run again to resume.
    """
    known = record.phase_a
    hash_, owner = record.commitment.hash(), record.commitment.owner
    if known is not None and chain.anchors.phase_a_stands_in(owner, hash_, known.block):
        return record
    noted = lodge(hash_, chain=chain, sender=sender)
    record = record.with_phase_a(noted)
    save_record(record, path, passphrase, replace_it=True)
    return record


# -- mark ------------------------------------------------------------------------------------------


def embed_into(
    model: Path,
    dest: Path,
    record: Record,
    path: Path,
    passphrase: str,
    *,
    chain: Chain,
    progress: Progress | None = None,
) -> Marked:
    """Write a marked copy of the committed model.

    Raises:
        ClaimMismatch: another model than was committed to, or the chain moved the commitment.
        UsageError: nothing was committed yet, or something is at `dest`.
        PendingFinality: the beacon is not known yet.
    """
    record.check()
    if record.phase_a is None:
        raise UsageError(
            "the record's commitment was not sent, so it has no beacon",
            hint="run deed watermark commit with the same record first",
        )
    owner, place = record.commitment.owner, record.phase_a.block
    if not chain.anchors.phase_a_stands_in(owner, record.commitment.hash(), place):
        raise ClaimMismatch(
            f"the record's commitment does not stand in block {place}, so its beacon is another",
            step=2,
            hint="run deed watermark commit with the same record again: the chain moved it",
        )
    committed = chain.rpc.block(place)
    beacon = read_beacon(chain.rpc, chain.profile, committed, settlement=chain.settlement)
    raw = tuple(header.raw for header in beacon.headers)
    if record.headers and record.headers != raw:
        raise UsageError(
            "the record keeps another beacon than the chain shows now",
            hint="a copy that was marked under it is no proof; begin again with a new record",
        )
    record = record.with_beacon(beacon.kind, raw)
    save_record(record, path, passphrase, replace_it=True)
    with open_model(model) as source:
        require_original(record, source)
        key = record.effective_key(beacon.value)
        embedded = embed(source, dest, record.targets, key, record.epsilon, progress=progress)
    with open_model(dest) as made:
        root = fingerprint(made).content_root
    record = replace(record, marked=root)
    save_record(record, path, passphrase, replace_it=True)
    return Marked(record, embedded, beacon, root)


def _require_place(record: Record, network: Network, sender: Sender) -> None:
    made, deployment = record.commitment, network.deployment
    wanted = (deployment.chain_id, deployment.addresses["ModelRegistry"], sender.signer.address)
    if (made.chain_id, made.registry, made.owner) != wanted:
        raise UsageError(
            "the record there is of another account, chain or registry",
            hint="name another file with --record, or choose its --network and --wallet",
        )
