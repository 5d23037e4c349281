"""A whole stack, and the program as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.stack import Stack


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Deed = Callable[..., Run]


def runner(folder: Path) -> Deed:
    """Run ``deed`` in a folder, with its own passphrase and runtime key there."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "passphrase"
    secret.write_text("correct horse battery staple\n")
    secret.chmod(0o600)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")} | {
        "DEED_WALLET_PASSWORD_FILE": str(secret),
        "DEED_RUNTIME_KEY": str(folder / "runtime.json"),
    }

    def deed(*words: object, timeout: float = 90) -> Run:
        done = subprocess.run(
            [sys.executable, "-m", "ledger.cli.main", *map(str, words)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr + done.stdout
        return Run(done.returncode, done.stdout, done.stderr)

    return deed


def small_model(path: Path, seed: int = 1) -> Path:
    """A safetensors file of three float tensors, about 100 kB."""
    random = np.random.default_rng(seed)
    save_file(
        {
            "embed.weight": random.standard_normal((64, 128), dtype=np.float32),
            "mlp.weight": random.standard_normal((128, 128), dtype=np.float32).astype(np.float16),
            "mlp.bias": random.standard_normal(128, dtype=np.float32),
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    running = Stack.start(tmp_path_factory.mktemp("stack"))
    yield running
    running.stop()


@pytest.fixture
def work(stack, tmp_path_factory) -> Path:
    """A fresh folder below the running stack's."""
    folder = stack.folder.parent / tmp_path_factory.mktemp("work").name
    folder.mkdir()
    return folder


@pytest.fixture
def deed(work) -> Deed:
    return runner(work)
