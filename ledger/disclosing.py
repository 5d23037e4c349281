"""The owner's side of triggers: the record file, what is taught, and what is opened of it.

Section numbers are those of docs/spec/triggers.md. Whoever asks a suspect has
``ledger.questioning``.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from ledger.broker.custody import (
    decrypt_with_passphrase,
    encrypt_with_passphrase,
    read_private,
    write_private,
    zero,
)
from ledger.canonical import canonical_json, parse_json
from ledger.errors import ConfigurationError, LimitExceeded, UsageError
from ledger.ids import Digest
from ledger.paths import require_file_name
from ledger.watermark import trigger_record
from ledger.watermark.disclosure import Disclosure, disclose
from ledger.watermark.triggers import TriggerSet

PURPOSE: Final = "modeldeed-triggers"
MAX_LESSONS: Final = 1 << 30


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a trigger record alone: two disclosures at once would burn only one's questions.

    Raises:
        UsageError: another process holds it.
        ConfigurationError: its lock cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot hold {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another command works with {path}", hint="wait for it, then run this again"
            ) from None
        yield


def load_triggers(path: Path, passphrase: str) -> TriggerSet:
    """Read a trigger record.

    Raises:
        ConfigurationError: it is missing, or others can read it.
        ManifestError: not a trigger record.
        WrongPassphrase: it does not open.
    """
    limit = 2 * trigger_record.MAX_BYTES
    outer = parse_json(read_private(path, limit=limit), what=path.name, limit=limit)
    plain = decrypt_with_passphrase(outer, passphrase, purpose=PURPOSE)
    try:
        return trigger_record.from_contents(plain, what=path.name)
    finally:
        zero(plain)


def save_triggers(made: TriggerSet, path: Path, passphrase: str, *, replace: bool) -> None:
    """Write a trigger record, whole or not at all, for its owner's eyes.

    Raises:
        ConfigurationError: it is there and `replace` is false, or cannot be written.
    """
    plain = trigger_record.contents(made)
    try:
        document = encrypt_with_passphrase(plain, passphrase, purpose=PURPOSE)
    finally:
        zero(plain)
    write_private(path, json.dumps(document, indent=2).encode() + b"\n", replace=replace)


def disclose_into(
    path: Path, passphrase: str, out: Path, challenge: str, questions: int, *, use_up: bool = False
) -> Disclosure:
    """Open questions for a challenge, note them in the record, then write the disclosure.

    The record is on disk first. Killed between the two, it writes the same file when run again.

    Raises:
        UsageError: as ``disclose``, or `out` is there with something else in it.
    """
    require_file_name(out)
    with holding(path):
        made = load_triggers(path, passphrase)
        disclosure, noted = disclose(made, challenge, questions, use_up=use_up)
        data = canonical_json(disclosure.to_json()) + b"\n"
        there = out.read_bytes() if out.exists() else None
        if there not in {None, data}:
            raise UsageError(f"{out} is already there", hint="name a file that is not")
        # Also where the file is there already: a record restored from a copy forgot it.
        if noted != made:
            save_triggers(noted, path, passphrase, replace=True)
        if there is None:
            write_private(out, data)
    return disclosure


def teach_into(path: Path, passphrase: str, out: Path, beacon: Digest) -> TriggerSet:
    """Note the beacon in the record, and write what the model is taught as ``.npz``.

    The arrays are ``questions`` [n, …], ``answers`` [n] and ``positions`` [n].

    Raises:
        ClaimMismatch: the record has another beacon, or its keys are not the committed ones.
        ConfigurationError: `out` is there already, or cannot be written.
        LimitExceeded: over 1 GiB of questions.
    """
    require_file_name(out)
    with holding(path):
        made = load_triggers(path, passphrase)
        noted = made.with_beacon(beacon)
        lessons = noted.lessons()
        size = len(lessons) * lessons[0].question.nbytes
        if size > MAX_LESSONS:
            raise LimitExceeded(
                f"the questions have {size} bytes, and at most {MAX_LESSONS} go into one file",
                hint="take them one by one from TriggerSet.lessons()",
            )
        held = io.BytesIO()
        np.savez(
            held,
            questions=np.stack([each.question for each in lessons]),
            answers=np.array([each.answer for each in lessons], np.int64),
            positions=np.array([each.position for each in lessons], np.int64),
        )
        if noted != made:
            save_triggers(noted, path, passphrase, replace=True)
        write_private(out, held.getvalue())
    return noted
