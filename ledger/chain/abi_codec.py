"""Calls, results and events of our contracts as bytes, by the compiled ABI (Solidity ABI 2).

The ABI files in ``ledger/chain/abi`` are built from ``contracts/src`` and ship with the package.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Protocol

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError

from ledger.chain import reverts
from ledger.errors import ChainError, ContractReverted, UsageError
from ledger.ids import Address, Digest, LicenseId, keccak256


class EmittedLog(Protocol):
    """A log as a receipt carries it."""

    @property
    def address(self) -> Address:
        """Who emitted it."""
        ...

    @property
    def topics(self) -> tuple[bytes, ...]:
        """The event's topic, then indexed arguments."""
        ...

    @property
    def data(self) -> bytes:
        """The other arguments."""
        ...


CONTRACTS = (
    "Anchors",
    "ModelRegistry",
    "LicenseLedger",
    "BrokerRegistry",
    "LicenseMarket",
    "EntitlementLens",
)


def kind_of(item: dict[str, Any]) -> str:
    """The canonical type of an ABI input or output; tuples by their members."""
    kind = str(item["type"])
    if kind.startswith("tuple"):
        inner = ",".join(kind_of(member) for member in item["components"])
        return f"({inner}){kind[5:]}"
    return kind


def _plain(value: Any) -> Any:
    """Our value types as what the ABI encoder takes."""
    if isinstance(value, Digest):
        return value.raw
    if isinstance(value, Address):
        return "0x" + value.raw.hex()
    if isinstance(value, LicenseId):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _encoded(kinds: tuple[str, ...], values: list[Any]) -> bytes:
    try:
        return _encoded_atoms(kinds, tuple(values), tuple(map(type, values)))
    except TypeError:  # a list or struct, which has no hash
        return abi_encode(kinds, values)


@functools.lru_cache(maxsize=4096)
def _encoded_atoms(
    kinds: tuple[str, ...], values: tuple[Any, ...], types: tuple[type, ...]
) -> bytes:
    """A broker asks every endpoint the same questions at several blocks.

    The types are part of the key: True equals 1, and is refused where 1 is not.
    """
    del types
    return abi_encode(kinds, values)


def _rich(kind: str, value: Any) -> Any:
    """What the decoder gives as our value types: addresses and bytes32."""
    if kind == "address":
        return Address.parse(value)
    if kind == "bytes32":
        return Digest(value)
    if kind.endswith("[]"):
        return tuple(_rich(kind[:-2], item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded event: its name and its arguments by name, dynamic indexed ones as Digest.

    Attributes:
        block: number of the block it was found in, where that was asked for.
    """

    name: str
    arguments: dict[str, Any]
    block: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class _Function:
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...]
    output_kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContractAbi:
    """One contract's interface and code.

    Attributes:
        name: as in Solidity.
        abi: the ABI as JSON objects.
        bytecode: creation code, without constructor arguments.
        deployed: runtime code as compiled; immutables are zero in it.
    """

    name: str
    abi: tuple[dict[str, Any], ...] = field(repr=False)
    bytecode: bytes = field(repr=False)
    deployed: bytes = field(repr=False)
    _functions: dict[str, _Function] = field(repr=False)
    _events: dict[bytes, dict[str, Any]] = field(repr=False)

    def encode(self, function: str, *args: Any) -> bytes:
        """Call data of a function.

        Raises:
            UsageError: the arguments do not fit its types.
        """
        entry = self._functions[function]
        try:
            return entry.selector + _encoded(entry.inputs, _plain(args))
        except (EncodingError, ValueError, TypeError, OverflowError) as error:
            # The rest of what the library says is about Python, not about what a person gave.
            width = re.search(r"[0-9]+ bits", str(error))
            why = f"a number does not fit {width[0]}" if width else "a value is of another type"
            raise UsageError(
                f"{self.name}.{function} cannot take these arguments: {why}",
                hint="a value is out of its type's range: give a smaller one",
            ) from error

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        """A function's results, addresses and bytes32 as our value types; structs as dicts.

        Raises:
            ChainError: the bytes are not results of this function.
        """
        if contract(self.name) is self:
            return tuple(map(_own, _decoded(self.name, function, bytes(data))))
        return self._decode(function, data)

    def _decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        entry = self._functions[function]
        try:
            values = abi_decode(entry.output_kinds, data)
        except (DecodingError, ValueError, OverflowError):
            raise ChainError(
                f"{self.name}.{function} answered with bytes that cannot be read",
                hint="the address may hold another contract; check with deed chain status",
            ) from None
        return tuple(_named(o, v) for o, v in zip(entry.outputs, values, strict=True))

    def constructor(self, *args: Any) -> bytes:
        """Creation code with the constructor's arguments."""
        kinds = [kind_of(item) for item in self.constructor_inputs()]
        return self.bytecode + abi_encode(kinds, _plain(args))

    def constructor_inputs(self) -> tuple[dict[str, Any], ...]:
        """The constructor's inputs as in the ABI."""
        for item in self.abi:
            if item["type"] == "constructor":
                return tuple(item["inputs"])
        return ()

    def error(self, data: bytes) -> ContractReverted:
        """The error behind revert data."""
        return reverts.decode(data)

    def topic(self, event: str) -> Digest:
        """The first topic of an event, by name."""
        for topic, item in self._events.items():
            if item["name"] == event:
                return Digest(topic)
        raise KeyError(event)

    def event(self, topics: Sequence[bytes], data: bytes) -> Event | None:
        """Decode a log; None when it is no event of this contract.

        Raises:
            ChainError: the topic is known, but the rest does not fit it.
        """
        item = self._events.get(bytes(topics[0])) if topics else None
        if item is None:
            return None
        indexed = [i for i in item["inputs"] if i["indexed"]]
        rest = [i for i in item["inputs"] if not i["indexed"]]
        try:
            if len(indexed) != len(topics) - 1:
                raise ValueError("topics")  # noqa: TRY301  one exit for every kind of misfit
            values = dict(
                zip(
                    (i["name"] for i in rest),
                    (
                        _named(i, v)
                        for i, v in zip(
                            rest, abi_decode([kind_of(i) for i in rest], data), strict=True
                        )
                    ),
                    strict=True,
                )
            )
            for spec, topic in zip(indexed, topics[1:], strict=True):
                static = not (spec["type"].endswith("]") or spec["type"] in {"string", "bytes"})
                kind = kind_of(spec) if static else "bytes32"
                values[spec["name"]] = _rich(kind, abi_decode([kind], bytes(topic))[0])
        except (DecodingError, ValueError, OverflowError):
            raise ChainError(f"a {item['name']} event has malformed topics or data") from None
        return Event(item["name"], {i["name"]: values[i["name"]] for i in item["inputs"]})

    def emitted(self, logs: Iterable[EmittedLog], address: Address, event: str) -> Event:
        """The first event of this name that `address` emitted among a receipt's logs.

        Raises:
            ChainError: there is none, so the receipt is not that of the call we made.
        """
        for log in logs:
            if log.address == address:
                decoded = self.event(log.topics, log.data)
                if decoded is not None and decoded.name == event:
                    return decoded
        raise ChainError(f"the transaction was mined but emitted no {event}")


def _named(spec: dict[str, Any], value: Any) -> Any:
    if spec["type"] == "tuple":
        return {c["name"]: _named(c, v) for c, v in zip(spec["components"], value, strict=True)}
    return _rich(kind_of(spec), value)


@cache
def contract(name: str) -> ContractAbi:
    """The interface of one of our contracts, by name.

    Raises:
        UsageError: no such contract in this release.
    """
    try:
        text = resources.files("ledger.chain").joinpath("abi", f"{name}.json").read_text("utf-8")
    except OSError:
        raise UsageError(
            f"the interface of {name} is not part of this installation",
            hint="in a checkout, run make contracts",
        ) from None
    built = json.loads(text)
    functions: dict[str, _Function] = {}
    events: dict[bytes, dict[str, Any]] = {}
    for item in built["abi"]:
        if item["type"] not in {"function", "event"}:
            continue
        kinds = tuple(kind_of(i) for i in item["inputs"])
        hashed = keccak256(f"{item['name']}({','.join(kinds)})".encode())
        if item["type"] == "event":
            events[hashed] = item
        else:
            # Of overloaded functions (ERC-721's safeTransferFrom) the longest one is kept.
            former = functions.get(item["name"])
            if former is None or len(former.inputs) < len(kinds):
                outputs = tuple(item["outputs"])
                functions[item["name"]] = _Function(
                    hashed[:4], kinds, outputs, tuple(kind_of(o) for o in outputs)
                )
    return ContractAbi(
        name,
        tuple(built["abi"]),
        _code(built["bytecode"]),
        _code(built["deployedBytecode"]),
        functions,
        events,
    )


def _code(value: Any) -> bytes:
    text = value["object"] if isinstance(value, dict) else value
    return bytes.fromhex(text.removeprefix("0x"))


@functools.lru_cache(maxsize=4096)
def _decoded(name: str, function: str, data: bytes) -> tuple[Any, ...]:
    """The same bytes mean the same values; endpoints that agree send the same."""
    return contract(name)._decode(function, data)  # noqa: SLF001  the class is in this module


def _own(value: Any) -> Any:
    """A caller's own copy of what can be changed: structs."""
    if isinstance(value, dict):
        return {key: _own(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_own, value))
    return value
