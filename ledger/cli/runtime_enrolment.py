"""A machine's key and its request: what ``deed runtime init`` and ``deed init`` both make."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Final

from ledger.cli.settings import Settings, write_text
from ledger.errors import UsageError
from ledger.paths import require_file_name

REQUEST: Final = Path("runtime.request.json")


def enrol(
    found: Settings,
    out: Path,
    *,
    name: str | None = None,
    use: dict[str, str] | None = None,
    alg: int | None = None,
    signer: str | None = None,
    options: dict[str, str] | None = None,
) -> tuple[Path, Path]:
    """Make this machine's key unless there is one, and write its request file.

    Returns:
        The key file and the request file.

    Raises:
        UsageError: there is a key, and it declares something else; or `out` is a folder.
        ConfigurationError, KeyAccessError: the signer named cannot be used.
    """
    from ledger.broker.identity import RuntimeIdentity
    from ledger.licensing.terms import Use

    # Before a key is made: it would be made, and its request not written.
    require_file_name(out, what="a file for the request")
    path = found.runtime_key
    declared = Use.from_json(use or {})
    if path.exists():
        identity = RuntimeIdentity.load(path)
        if (use and identity.use != declared) or (name is not None and name != identity.name):
            raise UsageError(
                f"the runtime key {path} declares another name or use",
                hint="leave those options away, or name another key file in DEED_RUNTIME_KEY",
            )
        if signer is not None or alg not in {None, identity.key.alg}:
            raise UsageError(
                f"the runtime key {path} is made already, of another kind",
                hint="leave those options away, or name another key file in DEED_RUNTIME_KEY",
            )
    else:
        identity = RuntimeIdentity.create(
            path,
            name=socket.gethostname() if name is None else name,
            use=declared,
            alg=alg or algorithm("ed25519"),
            plugin=signer,
            options=options,
        )
    write_text(out, json.dumps(identity.enrolment_request(), indent=2) + "\n")
    return path, out


def algorithm(name: str) -> int:
    """The number of a key algorithm.

    Raises:
        UsageError: no such algorithm.
    """
    from ledger.broker.runtime_signers import ALGS

    if name not in ALGS:
        raise UsageError(f"there is no algorithm {name!r}", hint=f"give {' or '.join(ALGS)}")
    return ALGS[name]
