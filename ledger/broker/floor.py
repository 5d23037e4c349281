"""The clock floor of a host: time that was seen once does not come back.

What is kept at rest ends by the clock (docs/spec/offline-release.md), and the host's root sets the
clock. So the latest time seen is remembered beside the runtime key, under a MAC of that key.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.broker.custody import read_private, write_private
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeper import boot_seconds
from ledger.canonical import canonical_json, parse_json
from ledger.errors import ClockFloorInvalid, ConfigurationError, FormatError
from ledger.licensing.document import Document, hex_text

TYPE: Final = "modeldeed/clock-floor"
MAC_TAG: Final = "modeldeed/clock-floor/1"
KEY_TAG: Final = "modeldeed/clock-floor-key/1"
JUMP_SECONDS: Final = 86400
"""A system clock further ahead than this counts now, and is not remembered."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What the file says: times, and where the boot clock stood when they were current."""

    floor: int
    signed: int
    boot_id: str
    boot: int

    @property
    def time(self) -> int:
        return max(self.floor, self.signed)


class ClockFloor:
    """This host's time, never earlier than what it was before. Thread-safe, across processes too.

    Args:
        identity: whose folder and MAC key.
        clock: the system's Unix seconds.
        boot: seconds by a clock that nobody can set.
        boot_id: which boot that clock counts from; by default as the system says.
    """

    def __init__(
        self,
        identity: RuntimeIdentity,
        *,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_seconds,
        boot_id: str | None = None,
    ) -> None:
        self.path = identity.path.with_name(identity.path.stem + ".clock.json")
        self._key = identity.derived_key(KEY_TAG.encode())
        self._clock = clock
        self._boot = boot
        self._boot_id = _boot_id() if boot_id is None else boot_id
        self._started: tuple[int, float] | None = None

    def __repr__(self) -> str:
        return f"ClockFloor({str(self.path)!r})"

    def now(self) -> int:
        """Unix seconds, at least everything seen before; what was seen is remembered.

        Raises:
            ClockFloorInvalid: the file is missing, or was altered.
            ConfigurationError: it cannot be read or written.
        """
        with self._locked():
            there = self._read()
            known, system = self._known(there), int(self._clock())
            ahead = system if 0 < system - known <= JUMP_SECONDS else known
            if ahead > there.floor:
                self._write(self._current(ahead, there.signed))
            return max(known, system)

    def confirm(self, signed: int) -> None:
        """Take in a time that a broker signed; makes the file where there is none.

        Raises:
            ClockFloorInvalid: the file was altered.
            ConfigurationError: it cannot be read or written.
        """
        with self._locked():
            if self.path.exists():
                there = self._read()
                known, time_ = self._known(there), max(there.signed, signed)
            else:
                known = time_ = signed
            self._write(self._current(max(known, time_), time_))

    def restart(self, signed: int) -> None:
        """Begin anew from a time that a broker signed, whatever was remembered.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        with self._locked():
            self._started = None
            self._write(self._current(signed, signed))

    def _known(self, there: _Remembered) -> int:
        boot = self._boot()
        if self._started is None:
            self._started = (there.time, boot)
        since, began = self._started
        known = max(there.time, since + int(boot - began))
        if self._boot_id and there.boot_id == self._boot_id and boot >= there.boot:
            # The same boot, whose clock nobody sets: what passed since is known, with no process
            # there to count it.
            known = max(known, there.floor + int(boot) - there.boot)
        return known

    def _current(self, floor: int, signed: int) -> _Remembered:
        return _Remembered(floor, signed, self._boot_id, math.ceil(self._boot()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Two processes that read, think and write would otherwise let time slip back.
        path = self.path.with_suffix(".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> _Remembered:
        if not self.path.exists():
            raise ClockFloorInvalid(
                f"the clock floor {self.path.name} is missing, so nothing says that the clock "
                "was not set back"
            )
        try:
            document = parse_json(read_private(self.path), what="the clock floor", limit=4096)
            doc = Document(
                document,
                "the clock floor",
                ("type", "version", "floor", "signed", "boot_id", "boot", "mac"),
            )
            doc.kind(TYPE)
            there = _Remembered(
                doc.integer("floor"),
                doc.integer("signed"),
                doc.text("boot_id", limit=64),
                doc.integer("boot"),
            )
            mac = doc.raw("mac", 32)
        except FormatError as error:
            raise ClockFloorInvalid(f"the clock floor was altered: {error.message}") from None
        if not hmac.compare_digest(mac, self._mac(_body(there))):
            raise ClockFloorInvalid(
                f"the clock floor {self.path.name} was altered, or is another runtime key's"
            )
        return there

    def _write(self, there: _Remembered) -> None:
        body = _body(there)
        document = {**body, "mac": hex_text(self._mac(body))}
        write_private(self.path, json.dumps(document).encode() + b"\n", replace=True)

    def _mac(self, body: dict[str, Any]) -> bytes:
        message = MAC_TAG.encode() + b"\0" + canonical_json(body)
        return hmac.digest(self._key, message, "sha256")


def _body(there: _Remembered) -> dict[str, Any]:
    return {
        "type": TYPE,
        "version": 1,
        "floor": there.floor,
        "signed": there.signed,
        "boot_id": there.boot_id,
        "boot": there.boot,
    }


def _boot_id() -> str:
    """Which boot of this machine it is; empty where that cannot be told, and then none is."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:64]
    except OSError:
        return ""
