"""The command reference, ``docs/cli.md``, made from the program's own ``--help``.

``python -m ledger.cli.reference`` prints it; ``make docs`` writes it, and a test compares.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator

from ledger.cli.commands import ENTRIES
from ledger.cli.main import main

_WIDTH = "100"
_HEAD = """# The `deed` command

Generated from `deed --help` by `make docs`; a test keeps the two the same.

**Streams.** stdout is data, stderr is for people. With `--json`, which every command takes
(before or after its name), stdout is exactly one JSON document: the answer, or

```json
{"error": {"code": "NO_NETWORK", "message": "…", "hint": "…", "exit": 2}}
```

with `retry_after` in seconds where waiting helps. People get the same on stderr as `error: …` and
`hint: …`. Times in JSON are Unix seconds, hashes and accounts are `0x` text, licenses are
`PLAN.SERIAL`.

**Exit codes.** 0 yes · 1 no (not entitled, no match, evidence that does not hold, a transaction
refused) · 2 wrong usage or unreadable input · 3 unavailable or not yet final, with the time to
retry (`--wait` waits) · 4 our bug · 130 interrupted. Where a Python trace helps, `DEED_DEBUG=1`
shows it.

**Settings.** A flag counts before the environment (`DEED_…`), that before `deed.toml` (searched
upward from the working folder), that before the default; `deed config` shows each value with its
source. Networks and wallets live in your configuration folder (`DEED_CONFIG_DIR`). In and below a
folder where `deed up` runs, its chain is used, and the test accounts `licensor`, `holder` and
`broker` sign by the command's role (`--as NAME` for another). Elsewhere there is no default
network.

**Secrets.** No option takes a private key or passphrase. Passphrases are typed unseen or read
from the file named in `DEED_WALLET_PASSWORD_FILE`. On public chains every transaction first shows
chain, account and fee and asks; `--yes` answers.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD, _block(())]
    for entry in ENTRIES:
        parts.append(f"## deed {entry.name}\n\n{_block((entry.name,))}")
        if entry.group:
            parts += [
                f"### deed {entry.name} {verb}\n\n{_block((entry.name, *verb.split()))}"
                for verb in _verbs(entry.module)
            ]
    return "\n".join(parts)


def _verbs(module: str) -> Iterator[str]:
    app = importlib.import_module(f"ledger.cli.{module}").app
    for command in app.registered_commands:
        yield command.name
    for group in app.registered_groups:
        yield group.name
        for command in group.typer_instance.registered_commands:
            yield f"{group.name} {command.name}"


def _block(words: tuple[str, ...]) -> str:
    out = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with contextlib.redirect_stdout(out):
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
    return f"```text\n{text}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
