"""Whose logs are read: the contracts by address, how they are asked for and known again.

Apart from asking and from reading answers, since both need it, and since it changes with the
contracts, not with endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.ids import Address
from ledger.index.bloom import bloom_mask
from ledger.index.decode import EVENTS, EventType

_Known = dict[str, tuple[str, bytes, dict[str, EventType]]]


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts by address, with their bloom masks worked out once.

    Attributes:
        names: our name of each contract, by address.
        known: by address as text: name, address, and the events by topic 0 as text.
        masks: bits of each address, and of each of its events.
    """

    names: dict[bytes, str]
    known: _Known
    masks: tuple[tuple[int, tuple[tuple[EventType, int], ...]], ...]

    @classmethod
    def of(cls, addresses: Mapping[str, Address]) -> Contracts:
        """The contracts that the index knows, out of a deployment's addresses."""
        names = {address.raw: name for name, address in addresses.items() if name in EVENTS}
        known: _Known = {
            "0x" + raw.hex(): (
                name,
                raw,
                {"0x" + topic.hex(): kind for topic, kind in EVENTS[name].items()},
            )
            for raw, name in names.items()
        }
        masks = tuple(
            (
                bloom_mask(address),
                tuple((kind, bloom_mask(topic)) for topic, kind in EVENTS[name].items()),
            )
            for address, name in names.items()
        )
        return cls(names, known, masks)

    def query(self, first: int, last: int, address: bytes | None = None) -> dict[str, Any]:
        """The filter of eth_getLogs for the closed range of blocks, of one contract or all."""
        asked = self.names if address is None else (address,)
        return {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": ["0x" + each.hex() for each in asked],
        }

    def admitted(self, bloom: int) -> bool:
        """Whether a bloom filter admits any event of any of them, known here or not."""
        return any(bloom & mask == mask for mask, _ in self.masks)

    def hidden(self, bloom: int, present: set[EventType]) -> bool:
        """Whether a bloom claims an event of ours that is not among `present`."""
        for mask, kinds in self.masks:
            if bloom & mask != mask:
                continue
            for kind, bits in kinds:
                if bloom & bits == bits and kind not in present:
                    return True
        return False
