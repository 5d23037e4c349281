"""The Anvil program: where it is, how it is started so that it never outlives us, what it keeps.

The native binary of the npm platform package is started directly: the wrapper in ``.bin`` leaves
the node behind when it is killed. On Linux the kernel kills the node when the thread that started
it is gone (PR_SET_PDEATHSIG); the node has a session of its own, so Ctrl-C in a terminal reaches
only us.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, LedgerError, ManifestError, ToolMissing, UsageError
from ledger.files import sync_folder

CHAIN_ID = 31337
KEPT_STATES = 256
"""Blocks whose state can be asked and proved; older ones answer like a pruned node."""

_READY_SECONDS = 20.0
_BOUND_SECONDS = 2.0
# Runs in the child: bind its life to the parent thread's, then become the program.
_BOUND = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9);"
    "parent=int(sys.argv[1]);"
    "os.getppid()==parent or os._exit(1);"
    "os.execv(sys.argv[2],sys.argv[2:])"
)


def find_anvil() -> Path:
    """The native Anvil binary: ``DEED_ANVIL``, then the npm package, then PATH.

    Raises:
        ToolMissing: none is there.
    """
    chosen = os.environ.get("DEED_ANVIL")
    if chosen:
        path = Path(chosen)
        if path.is_file() and os.access(path, os.X_OK):
            return path
        raise ToolMissing(
            f"DEED_ANVIL names {chosen}, which is not a program", hint="unset it, or correct it"
        )
    modules = [Path(__file__).resolve().parents[2] / "contracts" / "node_modules"]
    for folder in (Path.cwd(), *Path.cwd().parents):
        modules += [folder / "contracts" / "node_modules", folder / "node_modules"]
    on_path = shutil.which("anvil")
    if on_path:
        # npm's anvil on PATH is a script beside the platform package that holds the binary.
        modules += [p for p in Path(on_path).resolve().parents if p.name == "node_modules"]
    for folder in modules:
        native = folder / "@foundry-rs" / f"anvil-{_platform()}" / "bin" / "anvil"
        if native.is_file():
            return native
    if on_path and not _is_script(Path(on_path)):
        return Path(on_path)
    raise ToolMissing(
        "the local chain needs Anvil, which is not installed",
        hint="run make setup, or npm install @foundry-rs/anvil in this folder, or set DEED_ANVIL "
        "to the binary",
    )


def _platform() -> str:
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    return f"{platform.system().lower()}-{machine.get(platform.machine().lower(), 'unknown')}"


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on a loopback TCP port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_free(port: int) -> None:
    """Check that a port chosen by the user is free.

    Raises:
        UsageError: something listens there.
    """
    if not is_free(port):
        raise UsageError(f"port {port} is taken by another program", hint="choose another port")


def spawn(port: int, state: Path | None) -> subprocess.Popen[bytes]:
    """Start Anvil on a loopback port and wait until it serves.

    Call it from a thread that lives as long as the node should.

    Args:
        port: a free port.
        state: a state file (plain JSON) to begin from.

    Raises:
        ToolMissing: no Anvil.
        ChainUnavailable: it did not begin to serve.
    """
    command = [
        str(find_anvil()),
        *("--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID)),
        *("--silent", "--no-cors", "--slots-in-an-epoch", "1"),
        *("--preserve-historical-states", "--prune-history", str(KEPT_STATES)),
    ]
    if state is not None:
        command += ["--load-state", str(state)]
    if sys.platform == "linux":
        command = [sys.executable, "-ISc", _BOUND, str(os.getpid()), *command]
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as folder:
        # Written once the port is bound; an answer alone may be another node's on the same port.
        serving = Path(folder) / "serving"
        process = subprocess.Popen(  # noqa: S603  the program is ours, the arguments are numbers and paths
            [*command, "--config-out", str(serving)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            _wait_ready(process, port, serving)
        except ChainUnavailable as error:
            kill(process)
            errors.seek(0)
            said = errors.read(4000).decode("utf-8", "replace").strip().splitlines()
            reason = f": {said[0][:200]}" if said else ""
            raise ChainUnavailable(
                f"{error.message}{reason}",
                hint="see that DEED_ANVIL, if set, is a working Anvil, and that the folder for "
                "temporary files is not full",
            ) from None
        except BaseException:
            kill(process)
            raise
    return process


def _wait_ready(process: subprocess.Popen[bytes], port: int, serving: Path) -> None:
    began = time.monotonic()
    deadline = began + _READY_SECONDS
    # A program that keeps its files to itself is asked all the same, once it would have ended.
    latest = began + _BOUND_SECONDS
    with Rpc(f"http://127.0.0.1:{port}", timeout=2.0) as rpc:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ChainUnavailable(f"Anvil stopped at once with status {process.returncode}")
            if not serving.exists() and time.monotonic() < latest:
                time.sleep(0.005)
                continue
            try:
                served = rpc.chain_id()
            except LedgerError:
                time.sleep(0.02)
                continue
            if served != CHAIN_ID or process.poll() is not None:
                raise ChainUnavailable(f"another program answers on port {port}")
            return
    raise ChainUnavailable(f"Anvil does not answer after {_READY_SECONDS:g} s")


def kill(process: subprocess.Popen[bytes], *, patience: float = 5.0) -> None:
    """End the node: ask, wait up to `patience` seconds, then insist."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class StateFile:
    """The node's state on disk: gzip, replaced atomically, with the copy before it kept.

    gzip's own checksum tells a torn or rotten file from a good one; ``.previous`` stands in then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(path.name + ".previous")

    def save(self, packed: bytes) -> None:
        """Write a state as Anvil gives it (gzipped JSON); the former becomes ``.previous``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + ".new")
        with new.open("wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        if self.path.exists():
            link = self.path.with_name(self.path.name + ".link")
            link.unlink(missing_ok=True)
            os.link(self.path, link)
            link.replace(self.previous)
        new.replace(self.path)
        sync_folder(self.path.parent)

    def candidates(self) -> list[bytes]:
        """The states to begin from, best first, unpacked; none when there was never one.

        Raises:
            ManifestError: there are files, and all are damaged.
        """
        there = [path for path in (self.path, self.previous) if path.exists()]
        states = [state for path in there if (state := _unpack(path)) is not None]
        if there and not states:
            raise ManifestError(
                f"the local chain's state in {self.path} is damaged, and so is its last copy",
                hint="start an empty chain with deed up --fresh",
            )
        return states


def _unpack(path: Path) -> bytes | None:
    try:
        return _with_one_first_block(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error):
        return None


def _with_one_first_block(state: bytes) -> bytes:
    """The state without the first blocks that later sessions added.

    A node that loads a state has made a first block of its own before, and dumps both; loaded
    again, any of them may win, and the chain would seem to be another. The oldest is the chain's.
    """
    try:
        document = json.loads(state)
        blocks = document["blocks"]
        first = [block for block in blocks if int(block["header"]["number"], 16) == 0]
        oldest = min(first, key=lambda block: int(block["header"]["timestamp"], 16))
    except (ValueError, KeyError, TypeError):
        return state  # the node says what is wrong with it
    document["blocks"] = [oldest, *(block for block in blocks if block not in first)]
    return json.dumps(document).encode()
