"""Where our contracts keep what a bundle proves, and how to read the words.

Slots follow Solidity's storage layout (mapping: ``keccak(key ‖ slot)``); the tests hold every base
slot and field offset against the compiler's own layout and against a running node. Words are read
low bits first. See ``docs/spec/storage-layout.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.ids import Address, Digest, LicenseId, ModelId, keccak256

ANCHORS_STAMPS = 0
REGISTRY_TITLES = 0
REGISTRY_TRANSFERS = 1
REGISTRY_SEALING_EPOCH = 2
REGISTRY_SEALINGS = 3
REGISTRY_CONFIRMATIONS = 6
LEDGER_PLANS = 1
BROKERS = 1
LEDGER_EXTS = 3
LEDGER_SEATS = 4
PLAN_MODEL_WORD = 5
PLAN_TERMS_WORD = 6
# Seed of the slots of the ERC-721 base that LicenseLedger inherits, at bytes 28 to 35 of its input.
_ERC721_SEED = 0x7D8825530A5A2E7A

MODEL_STATUS = ("none", "active", "withdrawn", "compromised")
LICENSE_STATUS = ("none", "active", "suspended", "revoked")
PERPETUAL = (1 << 40) - 1
_FLAG_HAS_EXT = 1
_FLAG_FLOATING = 32
_FLAG_HELD = 64


def mapping_slot(base: int, key: bytes | int) -> int:
    """Slot of ``mapping[key]`` for a mapping at slot `base`."""
    raw = key.to_bytes(32, "big") if isinstance(key, int) else key.rjust(32, b"\0")
    return int.from_bytes(keccak256(raw + base.to_bytes(32, "big")), "big")


def stamp_slot(root: Digest) -> int:
    """Anchors: the stamp of an anchored root."""
    return mapping_slot(ANCHORS_STAMPS, root.raw)


def title_slot(model: ModelId) -> int:
    """ModelRegistry: the title word of a model."""
    return mapping_slot(REGISTRY_TITLES, model.raw)


def transfer_slot(model: ModelId) -> int:
    """ModelRegistry: pending licensor and number of transfers."""
    return mapping_slot(REGISTRY_TRANSFERS, model.raw)


def sealing_epoch_slot(model: ModelId) -> int:
    """ModelRegistry: the highest sealing epoch."""
    return mapping_slot(REGISTRY_SEALING_EPOCH, model.raw)


def sealing_slot(model: ModelId, epoch: int) -> int:
    """ModelRegistry: the sealing record's hash of one epoch."""
    return mapping_slot(mapping_slot(REGISTRY_SEALINGS, model.raw), epoch)


def confirmation_slot(model: ModelId, parent: ModelId) -> int:
    """ModelRegistry: the licensor who confirmed a parent."""
    return mapping_slot(mapping_slot(REGISTRY_CONFIRMATIONS, model.raw), parent.raw)


def plan_slot(plan: int, word: int = 0) -> int:
    """LicenseLedger: one of the eight words of a plan."""
    return (mapping_slot(LEDGER_PLANS, plan) + word) % (1 << 256)


def ext_slot(license_id: LicenseId) -> int:
    """LicenseLedger: a license's second word, written only when it needs one."""
    return mapping_slot(LEDGER_EXTS, int(license_id))


def broker_slot(broker: int, word: int = 0) -> int:
    """BrokerRegistry: one of the six words of a broker."""
    return (mapping_slot(BROKERS, broker) + word) % (1 << 256)


def seat_slot(license_id: LicenseId, runtime_key_hash: Digest) -> int:
    """LicenseLedger: the seat of one runtime key."""
    return mapping_slot(mapping_slot(LEDGER_SEATS, int(license_id)), runtime_key_hash.raw)


def owner_slot(license_id: LicenseId) -> int:
    """LicenseLedger: holder and license word, as its ERC-721 base places them.

    ``2·id + keccak(m)``, m being id in 32 bytes with the seed's top four bytes over its last four.
    """
    token = int(license_id).to_bytes(32, "big")
    head = token[:28] + (_ERC721_SEED >> 32).to_bytes(4, "big")
    return (2 * int(license_id) + int.from_bytes(keccak256(head), "big")) % (1 << 256)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a root was first anchored: seconds and ``block.number``; zeros when never."""

    time: int
    block: int

    @classmethod
    def parse(cls, word: bytes) -> Stamp:
        """``time40 | block64``."""
        return cls(_bits(word, 0, 40), _bits(word, 40, 64))


@dataclass(frozen=True, slots=True)
class Title:
    """Who holds the title of a model now, and since when it is registered and committed."""

    licensor: Address
    registered_at: int
    committed_at: int
    status: int
    committed: bool

    @classmethod
    def parse(cls, word: bytes) -> Title:
        """``licensor160 | registeredAt40 | committedAt40 | status8 | flags8``."""
        return cls(
            Address(word[12:]),
            _bits(word, 160, 40),
            _bits(word, 200, 40),
            _bits(word, 240, 8),
            bool(_bits(word, 248, 8) & 1),
        )


@dataclass(frozen=True, slots=True)
class Transfers:
    """A pending licensor, and how often the title has moved."""

    pending: Address
    sequence: int

    @classmethod
    def parse(cls, word: bytes) -> Transfers:
        """``pending160 | sequence64``."""
        return cls(Address(word[12:]), _bits(word, 160, 64))


@dataclass(frozen=True, slots=True)
class License:
    """One license as its holder's word says it.

    Attributes:
        not_after: end, Unix seconds; `PERPETUAL` when it has none.
        held: suspended at present.
        has_ext: whether the second word means something.
        floating: whether its seats are leased by brokers, and none is asked for on chain.
    """

    holder: Address
    not_after: int
    grace: int
    seats_used: int
    status: int
    held: bool
    has_ext: bool
    floating: bool = False

    @classmethod
    def parse(cls, word: bytes) -> License:
        """``holder160 | flags8 | status8 | seatsUsed16 | grace24 | notAfter40``."""
        flags = _bits(word, 160, 8)
        return cls(
            holder=Address(word[12:]),
            not_after=_bits(word, 216, 40),
            grace=_bits(word, 192, 24),
            seats_used=_bits(word, 176, 16),
            status=_bits(word, 168, 8),
            held=bool(flags & _FLAG_HELD),
            has_ext=bool(flags & _FLAG_HAS_EXT),
            floating=bool(flags & _FLAG_FLOATING),
        )


@dataclass(frozen=True, slots=True)
class Ext:
    """A license's second word, zeros when unset: begin, suspension, number of voided grants."""

    not_before: int
    suspended_at: int
    grant_nonce: int = 0

    @classmethod
    def parse(cls, word: bytes) -> Ext:
        """``notBefore40 | suspendedAt40 | grantNonce64 | …``."""
        return cls(_bits(word, 0, 40), _bits(word, 40, 40), _bits(word, 80, 64))


@dataclass(frozen=True, slots=True)
class SeatWord:
    """A seat: when it was bound (0: never), until when (0: as the license), what it measures."""

    bound_at: int
    until: int
    measurement: bytes

    @classmethod
    def parse(cls, word: bytes) -> SeatWord:
        """``boundAt40 | until40 | measurement160``."""
        measured = _bits(word, 80, 160).to_bytes(20, "big")
        return cls(_bits(word, 0, 40), _bits(word, 40, 40), measured)


@dataclass(frozen=True, slots=True)
class Plan:
    """The first word of a plan."""

    licensor: Address
    issued: int
    role_epoch: int

    @classmethod
    def parse(cls, word: bytes) -> Plan:
        """``licensor160 | issued32 | roleEpoch16 | …``."""
        return cls(Address(word[12:]), _bits(word, 160, 32), _bits(word, 192, 16))


@dataclass(frozen=True, slots=True)
class BrokerWord:
    """The first word of a broker: who operates it, epoch of its keys, number of anchorings."""

    operator: Address
    epoch: int
    anchorings: int

    @classmethod
    def parse(cls, word: bytes) -> BrokerWord:
        """``operator160 | epoch32 | receiptsSeq64``."""
        return cls(Address(word[12:]), _bits(word, 160, 32), _bits(word, 192, 64))


def _bits(word: bytes, offset: int, width: int) -> int:
    return int.from_bytes(word, "big") >> offset & ((1 << width) - 1)
