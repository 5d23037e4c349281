"""Logs, errors and core dump of a broker after a release hold no content key and no KEK."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from ledger.broker.client import Asker, BrokerClient
from ledger.broker.home import BrokerHome
from ledger.broker.link import BrokerPin
from ledger.broker.setup import register_broker
from ledger.errors import LedgerError

pytestmark = pytest.mark.chain


def spellings(secret):
    """A secret as it might be met: raw, in hex, base64 (at each of three offsets)."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for cut in range(3):
        whole = (len(secret) - cut) // 3 * 3
        yield base64.b64encode(secret[cut : cut + whole])


def dumped(pid, folder):
    """What a core dump of a process holds: by gcore where there is one, and by our own reading.

    Ours takes every readable mapping but those marked MADV_DONTDUMP (``dd``), file-backed ones too.
    """
    held, wanted = [], None
    with (
        Path(f"/proc/{pid}/smaps").open() as smaps,
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory,
    ):
        for line in smaps:
            first = line.split()
            if "-" in first[0] and not first[0].endswith(":"):
                start, end = (int(part, 16) for part in first[0].split("-"))
                special = len(first) > 5 and first[5] in {"[vvar]", "[vsyscall]"}
                wanted = None if special or first[1][0] != "r" else (start, end)
            elif first[0] == "VmFlags:" and wanted is not None and "dd" not in first:
                memory.seek(wanted[0])
                left = wanted[1] - wanted[0]
                try:
                    while left:
                        part = memory.read(min(left, 1 << 24))
                        if not part:
                            break
                        held.append(part)
                        left -= len(part)
                except OSError:
                    continue
    cores = {"memory": b"".join(held)}
    if shutil.which("gcore"):
        subprocess.run(
            ["gcore", "-o", folder / "core", str(pid)], check=True, capture_output=True, timeout=120
        )
        cores["gcore"] = (folder / f"core.{pid}").read_bytes()
    return cores


@pytest.fixture
def served(world, broker_world, tmp_path):
    """A broker as `deed serve` runs it: a process of its own, with its log."""
    chain = world.chain
    home = BrokerHome.create(tmp_path / "b", "a passphrase for the dump", cost=14)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    set_id = register_broker(home, chain.sender("broker"), chain.deployment, url)
    secret = tmp_path / "passphrase"
    secret.write_text("a passphrase for the dump\n")
    secret.chmod(0o600)
    manifest = tmp_path / "deployment.json"
    chain.deployment.save(manifest)
    log = tmp_path / "api.log"
    environment = os.environ | {
        "DEED_API_HOST": "127.0.0.1",
        "DEED_API_PORT": str(port),
        "DEED_API_RPC_URLS": chain.node.rpc_url,
        "DEED_API_DEPLOYMENT": str(manifest),
        "DEED_API_DATABASE_URL": f"sqlite:///{tmp_path / 'index.sqlite3'}",
        "DEED_API_BROKER_HOME": str(tmp_path / "b"),
        "DEED_API_BROKER_PASSPHRASE_FILE": str(secret),
        "DEED_API_LOG_LEVEL": "debug",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=environment, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    if httpx.get(f"{url}/v1/broker", timeout=5, verify=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            yield home, set_id, url, process, log
        finally:
            process.terminate()
            process.wait(30)


def test_after_a_release_the_broker_holds_no_content_key_and_shows_no_kek(
    world, broker_world, served, tmp_path
):
    home, set_id, url, process, log = served
    kek = bytes(home.keystore._kek.view)
    celled = import_module("cell_world").celled(world, tmp_path)
    published, cells = celled.published, celled.cells
    plan = broker_world.plan(world.chain, published, world.terms, set_id)
    license_id = broker_world.issue(world.chain, plan)
    identity = world.runtime()
    world.grant(identity, license_id, model=published.model_id)
    granted = identity.grant_for(
        31337, world.chain.deployment.addresses["LicenseLedger"], license_id
    )
    asker = Asker(
        identity=identity, license=license_id, model=published.model_id,
        sealing=published.record.hash(), grant=granted.grant, acceptance=granted.acceptance,
        terms=world.terms,
    )  # fmt: skip
    pin = BrokerPin(home.identity.id, home.signing_key_hash, home.kem_key_hash)
    errors = []
    with BrokerClient(url, pin=pin) as client:
        licensor = world.chain.wallet("licensor")
        client.deposit(published.record, published.key, licensor, cells=cells)
        for _ in range(3):
            key, _, _ = client.release(asker)
            assert key == published.key
        try:
            client.deposit(published.record, bytes(32), licensor, cells=cells)
        except LedgerError as error:
            errors.append(f"{error!r} {error} {error.hint}")
    assert errors
    cores = dumped(process.pid, tmp_path)
    said = log.read_bytes() + "".join(errors).encode()
    for how, core in cores.items():
        # The reading itself works: what is no secret is found.
        assert home.kem.public.raw[:64] in core, how
        for name, secret in (
            ("content key", published.key),
            ("KEK", kek),
            ("code key", bytes(cells.code_key)),
            ("first cell key", bytes(cells.keys.key(0, 0))),
            ("last cell key", bytes(cells.keys.key(cells.keys.count - 1, 1))),
        ):
            for spelling in spellings(secret):
                assert spelling not in core, f"the {name} is in the broker's {how}"
    for secret in (published.key, kek, b"a passphrase for the dump"):
        for spelling in spellings(secret):
            assert spelling not in said
