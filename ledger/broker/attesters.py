"""Getting attestation tokens from a program on the host (docs/spec/attestation.md, "Asking").

The program talks to the hardware and to the attestation service; which ones is its business. The
broker verifies the token, this host does not.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from ledger.broker.attestation import MAX_TOKEN
from ledger.broker.client import Attest
from ledger.errors import KeyAccessError, ToolMissing, UsageError
from ledger.licensing.document import hex_text

SECONDS: Final = 60.0


def program(command: Sequence[str], *, timeout: float = SECONDS) -> Attest:
    """An `attest` for ``ledger.load`` that runs a program and reads the token from its stdout.

    Args:
        command: the program and its arguments; report data and challenge follow as 0x hex.
        timeout: seconds it may take.

    Raises:
        UsageError: no program is named.
        ToolMissing: there is no such program.
    """
    if not command or not command[0]:
        raise UsageError("no attester is named", hint="name a program and its arguments")
    found = shutil.which(command[0])
    if found is None:
        raise ToolMissing(
            f"there is no program {command[0]!r}", hint="install the attester, or give its path"
        )
    argv = (found, *command[1:])

    def attest(report_data: bytes, challenge: bytes) -> str:
        try:
            done = subprocess.run(  # noqa: S603  the operator named it; no shell reads it
                [*argv, hex_text(report_data), hex_text(challenge)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"{command[0]} gave no token in {timeout:g} s") from None
        except OSError as error:
            raise _failed(f"{command[0]} cannot be run: {error.strerror}") from None
        if done.returncode != 0:
            # What it wrote on stderr may hold evidence or credentials; it is not passed on.
            raise _failed(f"{command[0]} ended with code {done.returncode}")
        token = done.stdout.strip()
        if not token or len(token) > MAX_TOKEN or not token.isascii():
            raise _failed(f"{command[0]} wrote no attestation token on its stdout")
        return token.decode("ascii")

    return attest


def _failed(what: str) -> KeyAccessError:
    return KeyAccessError(what, hint="run it by hand with 64 and 32 bytes of 0x hex, and see")
