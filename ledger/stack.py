"""The whole stack on one machine, in one folder: chain, contracts, broker, index and API.

``deed up`` leaves it running and ``deed demo`` tells its story on it. The folder keeps everything:
starting again resumes, and a stack killed at any point starts again from what the chain had
written.

::

    .deed/
      network.json      what commands in and below this folder talk to, while the stack runs
      deployment.json   the contracts of this chain
      ports.json        kept, so that addresses stay the same over restarts
      chain/            Anvil's state
      broker/           the key broker's home, and the file with its passphrase
      index.sqlite3     the index
      api.log           what the service said
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Self

import httpx

from ledger.broker.custody import write_private
from ledger.broker.home import KEYS_FILE, BrokerHome
from ledger.broker.setup import register_broker
from ledger.canonical import parse_json
from ledger.chain.deployment import Deployment, deploy
from ledger.chain.dev import DevChain
from ledger.chain.network import Network, remove_live, save_live
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.errors import (
    ConfigurationError,
    IndexDamaged,
    IndexReplaced,
    LedgerError,
    UnavailableError,
    WrongNetwork,
)
from ledger.files import write_whole
from ledger.ids import Address
from ledger.remote.bodies import authorities

FOLDER: Final = ".deed"
_INDEX: Final = "index.sqlite3"
ACCOUNTS: Final = ("licensor", "holder", "broker")
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_LOG_END: Final = 1 << 16
# Status of a service that was given something wrong, as of the command.
_REFUSED: Final = 2
# What stops a service where waiting mends nothing, by the code that its readiness gives.
_LASTING: Final[dict[str, type[LedgerError]]] = {
    kind.code: kind for kind in (WrongNetwork, IndexDamaged)
}
_PR_SET_PDEATHSIG: Final = 1

Say = Callable[[str], None]
_Identity = tuple[int, int]


class StackBusy(ConfigurationError):
    """Another process runs the stack of this folder."""

    default_hint = "use that one, or stop it with Ctrl-C first"


class ServiceFailed(UnavailableError):
    """The chain or the service ended by itself."""

    default_hint = "run deed up again, it resumes; the service writes what happened to api.log"


class ServiceRefused(ConfigurationError):
    """The service does not start with what it is given: to start it again mends nothing."""

    default_hint = "see what the service writes to api.log"


class Stack:
    """A running stack; made by ``start``.

    Attributes:
        folder: the ``.deed`` folder.
        network: what clients talk to.
        chain: the local chain.
    """

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder = folder
        self._lock = lock
        self._service: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self._chain: DevChain | None = None
        self._network: Network | None = None
        self._say: Say = _silent
        # Which file the service has open, while nobody said that it is lost.
        self._index: _Identity | None = None

    @classmethod
    def start(cls, parent: Path = Path(), *, fresh: bool = False, say: Say | None = None) -> Self:
        """Start, or resume, the stack of ``parent/.deed``. Call it from the main thread.

        Args:
            parent: the folder that holds ``.deed``.
            fresh: forget what the folder holds first.
            say: hears each stage, for people.

        Raises:
            StackBusy: it runs already.
            ToolMissing: Anvil is not installed.
            WrongNetwork: the chain's state is not the one the folder's contracts are on, or the
                index is of another chain or other contracts.
            IndexDamaged: the index's file is damaged.
            ServiceRefused: the service does not take its settings, or the index's file.
            ServiceFailed: the service did not come up.
        """
        folder = parent.resolve() / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack = cls(folder, _take_lock(folder))
        try:
            if fresh:
                _forget(folder)
            stack._say = say or _silent
            stack._boot(stack._say)
        except BaseException:
            stack.stop()
            raise
        return stack

    @property
    def network(self) -> Network:
        """Endpoints and contracts of the running stack."""
        assert self._network is not None
        return self._network

    @property
    def chain(self) -> DevChain:
        """The local chain."""
        assert self._chain is not None
        return self._chain

    @property
    def accounts(self) -> dict[str, Address]:
        """The named test accounts."""
        return {name: dev_wallet(name).address for name in ACCOUNTS}

    @property
    def service_pid(self) -> int:
        """Process id of the API service."""
        assert self._service is not None
        return self._service.pid

    def wait(self) -> signal.Signals:
        """Block until SIGINT, SIGTERM or SIGHUP (unless that is ignored, as under nohup); which.

        Raises:
            ServiceFailed: the chain or the service ended by itself.
        """
        got: list[signal.Signals] = []

        def stop(number: int, _frame: object) -> None:
            got.append(signal.Signals(number))

        before = {number: signal.signal(number, stop) for number in _ending_signals()}
        try:
            while not got:
                self._check_alive()
                self._check_index()
                time.sleep(_POLL_SECONDS)
            return got[0]
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Stop the service, then the chain. Safe to call twice."""
        # While we tidy up, a second Ctrl-C must not leave a process behind.
        with _deaf_to_interrupts():
            remove_live(self.folder.parent)
            if self._service is not None:
                _end(self._service)
                self._service = None
            if self._chain is not None:
                self._chain.stop()
                self._chain = None
            self._lock.close()

    # -- starting -----------------------------------------------------------------------------

    def _boot(self, say: Say) -> None:
        ports = _ports(self.folder, say)
        self._chain = DevChain.start(state=self.folder / "chain" / "state", port=ports["chain"])
        say(f"chain at {self._chain.rpc_url}")
        with Rpc((self._chain.rpc_url,)) as rpc:
            deployment = self._contracts(rpc, say)
            passphrase_file = self._broker(rpc, deployment, ports["api"], say)
        url = f"http://127.0.0.1:{ports['api']}"
        self._service = self._serve(ports["api"], passphrase_file)
        self._wait_ready(url)
        self._index = _identity(self.folder / _INDEX)
        say(f"index, API and broker at {url}")
        self._network = Network(
            name="local",
            rpc_urls=(self._chain.rpc_url,),
            deployment=deployment,
            profile=profile_for(deployment.chain_id),
            api_url=url,
            broker_url=url,
        )
        save_live(self.folder.parent, self._network, pid=os.getpid(), accounts=self.accounts)

    def _contracts(self, rpc: Rpc, say: Say) -> Deployment:
        path = self.folder / "deployment.json"
        if path.exists():
            deployment = Deployment.load(path)
            try:
                deployment.verify(rpc)
            except WrongNetwork as error:
                raise WrongNetwork(
                    f"the chain in {self.folder} does not hold its contracts: {error.message}",
                    hint="begin anew with deed up --fresh; what the chain held is lost",
                ) from None
            say("contracts found where they were")
            return deployment
        chain_id = rpc.chain_id()
        deployment = deploy(Sender(rpc, dev_wallet("deployer"), profile_for(chain_id)))
        deployment.save(path)
        say(f"contracts deployed in block {deployment.block}")
        return deployment

    def _broker(self, rpc: Rpc, deployment: Deployment, port: int, say: Say) -> Path:
        home_path = self.folder / "broker"
        home_path.mkdir(exist_ok=True, mode=0o700)
        passphrase_file = home_path / "passphrase"
        if not passphrase_file.exists():
            write_private(passphrase_file, secrets.token_urlsafe(32).encode() + b"\n")
        passphrase = passphrase_file.read_text().strip()
        there = (home_path / KEYS_FILE).exists()
        home = (BrokerHome.open if there else BrokerHome.create)(home_path, passphrase)
        sender = Sender(rpc, dev_wallet("broker"), profile_for(deployment.chain_id))
        set_id = register_broker(home, sender, deployment, f"http://127.0.0.1:{port}")
        say(f"broker {home.identity.id} registered, alone in broker set {set_id}")
        return passphrase_file

    def _serve(self, port: int, passphrase_file: Path) -> subprocess.Popen[bytes]:
        assert self._chain is not None
        environment = os.environ | {
            "DEED_API_HOST": "127.0.0.1",
            "DEED_API_PORT": str(port),
            "DEED_API_RPC_URLS": self._chain.rpc_url,
            "DEED_API_DEPLOYMENT": str(self.folder / "deployment.json"),
            "DEED_API_DATABASE_URL": f"sqlite:///{self.folder / _INDEX}",
            "DEED_API_BROKER_HOME": str(self.folder / "broker"),
            "DEED_API_BROKER_PASSPHRASE_FILE": str(passphrase_file),
            "DEED_API_POLL": "0.1",
        }
        with (self.folder / "api.log").open("ab") as log:
            self._log_from = log.tell()
            return subprocess.Popen(
                [sys.executable, "-m", "api"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                # Ctrl-C reaches the terminal's whole process group; we stop the service ourselves,
                # before the chain.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no locks
            )

    def _wait_ready(self, url: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        with httpx.Client(timeout=5, verify=authorities()) as client:
            while time.monotonic() < deadline:
                self._check_alive()
                with contextlib.suppress(httpx.HTTPError):
                    reply = client.get(f"{url}/readyz")
                    if reply.status_code == httpx.codes.OK:
                        return
                    self._check_not_stuck(reply)
                time.sleep(_POLL_SECONDS)
        raise ServiceFailed(
            f"the service is not ready after {_READY_SECONDS:.0f} s",
            hint=f"see {self.folder / 'api.log'}",
        )

    def _check_not_stuck(self, reply: httpx.Response) -> None:
        """Raise what stopped a service that is not ready: no more waiting mends it."""
        try:
            said = reply.json()
        except ValueError:
            return
        code, hint = said.get("code"), str(said.get("hint"))
        if said.get("state") != "stopped" or code is None:
            return
        message = str(said.get("reason")).removesuffix(f"; {hint}")
        raise _LASTING.get(str(code), ServiceFailed)(
            f"{self.folder / _INDEX} cannot be used: {message}", hint=hint
        )

    def _check_alive(self) -> None:
        if self._service is not None and self._service.poll() is not None:
            path, code = self.folder / "api.log", self._service.returncode
            # Of a trace or a signal it said nothing itself; an earlier error is not the reason.
            words = _last_words(path, self._log_from) if code > 1 else ("", "", "")
            reason, hint, named = words
            message = f"the service ended by itself with code {code}{reason}"
            if code == _REFUSED:
                # As of the command: what is wrong with what it was given stays so.
                raise _LASTING.get(named, ServiceRefused)(message, hint=hint or f"see {path}")
            raise ServiceFailed(message, hint=hint or f"see {path}; deed up resumes")
        if self._chain is not None and self._chain.failure is not None:
            raise ServiceFailed(
                f"the chain ended by itself: {self._chain.failure}", hint="deed up resumes"
            )

    def _check_index(self) -> None:
        """Say once that the index is lost: the service goes on, but reads and writes no more of it.

        One system call, where /readyz would be a request.
        """
        path = self.folder / _INDEX
        if self._index is not None and _identity(path) != self._index:
            self._index = None
            self._say(
                f"{path} was removed or replaced while it was open; {IndexReplaced.default_hint}"
            )


def _identity(path: Path) -> _Identity | None:
    """Which file stands at a path; None for none, or where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _last_words(path: Path, start: int) -> tuple[str, str, str]:
    """What a service said last was wrong, its hint and its code; each may be empty.

    Only of what it says to people (`api.__main__`) and logs as an error: a trace may hold anything.

    Args:
        path: its log.
        start: where in bytes its own part of the log begins; the end of it is looked at.
    """
    reason = hint = code = ""
    try:
        with path.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _LOG_END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "", "", ""
    for line in lines:
        if line.startswith("error: "):
            reason, hint, code = line.removeprefix("error: "), "", ""
        elif line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
        elif line.startswith("code: "):
            code = line.removeprefix("code: ")
        elif line.startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if entry.get("level") in {"error", "critical"}:
                    reason, hint, code = str(entry.get("event", "")), "", ""
    return (f": {reason}" if reason else ""), hint, code


def _silent(text: str) -> None:
    """Hear and say nothing."""


def _take_lock(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StackBusy(f"the stack in {folder} is running already") from None
    return lock


def _forget(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name in {"lock", "ports.json"}:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _ports(folder: Path, say: Say) -> dict[str, int]:
    """The ports used before, so that addresses survive a restart; another one where one is taken.

    Cards name the broker's address, so a substitute is for this run only, and is said.
    """
    path = folder / "ports.json"
    kept: dict[str, int] = {}
    if path.exists():
        stored = parse_json(path.read_bytes(), what="ports.json")
        kept = {name: port for name, port in stored.items() if isinstance(port, int)}
    for name in ("chain", "api"):
        kept.setdefault(name, _free_port())
    write_whole(path, json.dumps(kept).encode() + b"\n")
    ports = dict(kept)
    for name, port in kept.items():
        if not _is_free(port):
            ports[name] = _free_port()
            say(f"port {port} of the {name} is taken by another program; {ports[name]} this time")
    return ports


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _die_with_parent() -> None:
    # A killed supervisor must not leave the service behind. Linux only; elsewhere Ctrl-C stops it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that ask for a clean stop; nohup ignores SIGHUP, and that stays so."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hangs_up else ()))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, signal.SIG_IGN) for n in _ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
