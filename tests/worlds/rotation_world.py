"""Kills a rotation at every step it takes, each time in a process of its own.

Run as a program: makes a broker with stored secrets, and for n = 1, 2, … rotates a copy of it in a
forked process that kills itself (SIGKILL) just before its n-th step. A step is whatever changes
the disk: opening a file for writing, rename, link, unlink, fsync (before and after), an SQL
statement. What a token writes is its own concern. After each kill the folder must open and give
every secret, and the same command must finish. Prints one JSON line per n.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from ledger.broker import rotation
from ledger.broker.custodians import custodian
from ledger.broker.home import BrokerHome
from ledger.broker.rotation import rotate_kek
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.errors import KeyAccessError
from ledger.ids import Address, Digest, ModelId
from ledger.sealed.keys import key_commitment
from ledger.sealed.record import SealingRecord

SECRET = "pass"
_STEPS = {"os.rename", "os.link", "os.remove", "os.truncate", "os.mkdir"}


class Killer:
    """Counts steps; kills the process before the n-th."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self) -> None:
        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _STEPS or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            ):
                self.step()

        sys.addaudithook(audit)
        fsync, opened = os.fsync, BrokerStore.__init__

        def counted_fsync(descriptor: int) -> None:
            self.step()
            fsync(descriptor)
            self.step()

        def traced(store: BrokerStore, path: Path) -> None:
            opened(store, path)
            store._db.set_trace_callback(lambda _: self.step())

        os.fsync = counted_fsync
        BrokerStore.__init__ = traced  # type: ignore[method-assign]


def make(folder: Path, name: str, options: dict[str, str], secret: str) -> dict[str, str]:
    """A broker with three stored secrets; gives their keys by sealing."""
    home = BrokerHome.create(folder, secret, cost=14, keystore=name, options=options)
    store = BrokerStore(home.database)
    vault, kept = Vault(store, home.keystore), {}
    for epoch in (1, 2, 3):
        key = bytearray(secrets.token_bytes(32))
        record = SealingRecord(
            model_id=ModelId(bytes(32)),
            epoch=epoch,
            root=Digest(secrets.token_bytes(32)),
            content_tree_root=Digest(secrets.token_bytes(32)),
            commit=key_commitment(key),
        )
        store.add_sealing(record, Address(bytes(20)), now=1)
        vault.keep(record, "content-key", key)
        kept[str(record.hash())] = key.hex()
    store.close()
    home.keystore.close()
    return kept


def check(folder: Path, kept: dict[str, str], *candidates: str) -> tuple[str, str]:
    """That the folder opens with one of these, and gives every secret; KEK and keys it has."""
    errors = []
    for secret in candidates:
        try:
            home = BrokerHome.open(folder, secret)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(repr(error))
            continue
        with home.in_use():
            store = BrokerStore(home.database)
            vault = Vault(store, home.keystore)
            for sealing, key in kept.items():
                with vault.secret(Digest(bytes.fromhex(sealing[2:])), "content-key") as found:
                    assert found.hex() == key
            store.close()
            home.keystore.close()
        return home.keystore.kek_id, str(home.signing_key_hash)
    raise AssertionError(f"the broker does not open: {errors}")


def in_child(work: Any) -> int:
    """Run in a forked process; its wait status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the parent looks at the status
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def main(folder: Path, start: str, end: str) -> int:  # noqa: C901 - steps share one scene
    """Kill a rotation from one kind of key store to another at every step."""
    secret_of = {"file": SECRET, "pkcs11": "86420-pin", "environment": ""}
    softhsm = None
    if "pkcs11" in (start, end):
        # Beside this script, and so on its path.
        softhsm = importlib.import_module("softhsm_world").start(folder)

    def options(kind: str) -> dict[str, str]:
        if kind == "file":
            return {"log2_n": "14"}
        if kind == "pkcs11":
            return softhsm.new_token(f"t{secrets.token_hex(4)}")
        place = folder / f"kek-{secrets.token_hex(4)}"
        place.write_text(secrets.token_hex(32))
        place.chmod(0o600)
        return {"file": str(place)}

    before = options(start)
    after = {} if start == end and start != "environment" else options(end)
    old, new = secret_of[start], secret_of[end]
    made, broker = folder / "made", folder / "broker"
    told = folder / "told"

    def prepare() -> None:
        kept = make(made, start, before, old)
        told.write_text(json.dumps([kept, check(made, kept, old)]))

    assert in_child(prepare) == 0
    kept, first = json.loads(told.read_text())
    tokens = folder / "tokens"
    if softhsm is not None:
        shutil.copytree(tokens, folder / "tokens-made")

    def rotate(kill: int | None) -> None:
        if kill is not None:
            Killer(kill).arm()
        if rotation.is_switched(broker):
            rotate_kek(broker, new, other=old)
        elif not after:
            rotate_kek(broker, old)
        else:
            rotate_kek(broker, old, other=new, keystore=end, options=after)

    def examine() -> None:
        told.write_text(json.dumps(check(broker, kept, old, new)))

    def go_on() -> None:
        """The same command once more, unless it had come to its end."""
        gone = (broker / rotation.GONE_FILE).exists()
        between = json.loads(told.read_text())
        if rotation.rotation_under_way(broker) or between == first:
            rotate(None)
        elif gone:
            done = rotate_kek(broker, new)
            assert (done.former, done.present) == ("", between[0])
        last = check(broker, kept, new)
        assert last[0] != first[0]
        assert last[1] == first[1]
        store = BrokerStore(broker / "broker.sqlite3")
        assert len(store.secrets_under(last[0])) == len(kept)
        assert store.secrets_under(first[0]) == []
        store.close()
        if start == "pkcs11":
            try:
                custodian("pkcs11").open(first[0], before, old)
            except KeyAccessError:
                return
            raise AssertionError("the old KEK is still in the token")

    def killed_at(number: int) -> dict[str, Any]:
        shutil.rmtree(broker, ignore_errors=True)
        shutil.copytree(made, broker)
        if softhsm is not None:
            shutil.rmtree(tokens)
            shutil.copytree(folder / "tokens-made", tokens)
        status = in_child(lambda: rotate(number))
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert was_killed or status == 0, f"step {number}: status {status}"
        under_way = rotation.rotation_under_way(broker)
        assert in_child(examine) == 0, f"step {number}: does not open"
        assert in_child(go_on) == 0, f"step {number}: does not go on"
        left = sorted(path.name for path in broker.iterdir())
        return {"step": number, "killed": was_killed, "under_way": under_way, "left": left}

    number = 0
    while True:
        number += 1
        done = killed_at(number)
        print(json.dumps(done), flush=True)
        if not done["killed"]:
            return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
