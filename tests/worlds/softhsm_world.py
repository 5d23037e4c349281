"""A real PKCS#11 token in software: SoftHSM2, with its own store in a test's folder.

Used by path, because test folders are not packages. `make .venv/.softhsm` gets SoftHSM; without
it tests fail, and never skip.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PIN = "86420-pin"
SO_PIN = "so-pin-13579"
_SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass(frozen=True)
class SoftHsm:
    """A library, its tool and the store that this process's tokens lie in."""

    library: Path
    tool: Path
    tokens: Path

    def new_token(self, label: str) -> dict[str, str]:
        """Initialise a token; gives the options that name it."""
        subprocess.run(
            [
                self.tool, "--module", self.library, "--init-token", "--free", "--label", label,
                "--pin", PIN, "--so-pin", SO_PIN,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        return {"library": str(self.library), "token": label}


def start(folder: Path) -> SoftHsm:
    """Point this process and its children at a fresh store; the library keeps to the first."""
    # A program that a test starts has not pytest's path.
    if str(_SCRIPTS) not in sys.path:
        sys.path.append(str(_SCRIPTS))
    script = importlib.import_module("get_softhsm")
    found = script.find()
    if found is None:
        raise RuntimeError("SoftHSM2 is not here; get it: make .venv/.softhsm")
    tokens = folder / "tokens"
    tokens.mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(config)
    return SoftHsm(*found, tokens)
