"""One lease for several processes: real broker, real processes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ledger
from ledger.errors import KeyAccessError, LeaseExpired, ManifestError, UsageError
from ledger.sealed import keys
from ledger.serving import lease_messages
from ledger.serving import ranks as rank_module

pytestmark = pytest.mark.chain
ROOT = Path(__file__).resolve().parents[3]

RANK = """
import json, os, sys
import numpy as np
import ledger
place = sys.argv[1]
rank, of = int(sys.argv[2]), int(sys.argv[3])
lost = []
model = ledger.join(int(place) if place.isdigit() else place or None, on_loss=lost.append)
rows = model.get_slice("layer.weight").get_shape()[0] // of
part = model.get_slice("layer.weight")[rank * rows : (rank + 1) * rows]
print(json.dumps({"rows": part.tolist(), "lease": str(model.lease.id)}), flush=True)
for line in sys.stdin:
    try:
        model.get_tensor("steps")
        answer = ["held", model.lease.sequence, bool(part.any())]
    except ledger.LedgerError as error:
        answer = [error.code, error.message, bool(part.any()), [type(e).__name__ for e in lost]]
    print(json.dumps(answer), flush=True)
model.close()
"""

OWNER = """
import os, sys, time, ledger
model = ledger.load(sys.argv[1], runtime=sys.argv[2])
share = model.share()
print(share.address, flush=True)
if sys.stdin.readline().strip() == "fork":
    if not os.fork():
        os.close(1)
        time.sleep(10)
        os._exit(0)
    print("forked", flush=True)
    sys.stdin.readline()
model.close()
sys.stdin.readline()
"""


class Rank:
    """A rank's process, asked and answering by lines."""

    def __init__(self, place, rank=0, of=1, *, fds=(), environment=None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", RANK, str(place), str(rank), str(of)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            bufsize=1, cwd=ROOT, pass_fds=fds, env={**os.environ, **(environment or {})},
        )  # fmt: skip

    def hear(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def ask(self):
        self.process.stdin.write("\n")
        return self.hear()

    def end(self):
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def ranks(*places, **options):
    started = [Rank(place, n, len(places), **options) for n, place in enumerate(places)]
    try:
        yield started
    finally:
        for rank in started:
            rank.end()


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def short(world):
    """A license whose leases last three seconds, and a runtime."""
    license_id = world.license(world.plan(leaseTtl=3, grace=2, seats=1))
    return license_id, world.card(license_id), world.runtime(license_id)


def test_four_processes_use_one_lease_and_the_broker_hears_of_one(world, short):
    license_id, card, identity = short
    before = world.broker.service.store.used(license_id)
    with (
        ledger.load(card, runtime=identity) as model,
        model.share() as share,
        ranks(*[share.address] * 4) as four,
    ):
        told = [rank.hear() for rank in four]
        whole = np.concatenate([np.array(t["rows"], np.float32) for t in told])
        assert np.array_equal(whole, world.published.tensors["layer.weight"])
        assert {t["lease"] for t in told} == {str(model.lease.id)}
        # One seat, one lease, whatever the ranks do.
        assert world.broker.service.store.used(license_id) == before + 1
        end = model.lease.grace_until
        wait_for(lambda: time.time() > end + 0.5)
        answers = [rank.ask() for rank in four]
        assert all(answer[0] == "held" and answer[1] >= 2 for answer in answers), answers
        assert world.broker.service.store.used(license_id) == before + 1


def test_a_revocation_reaches_all_ranks_and_says_why(world, short):
    license_id, card, identity = short
    with (
        ledger.load(card, runtime=identity) as model,
        model.share() as share,
        ranks(share.address, share.address) as two,
    ):
        for rank in two:
            rank.hear()
        world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
        wait_for(lambda: all(rank.ask()[0] != "held" for rank in two))
        for rank in two:
            code, message, plaintext, lost = rank.ask()
            assert code == "LEASE_EXPIRED"
            assert "was revoked" in message
            assert lost == ["Revoked"]
            assert not plaintext


def start_owner(folder, card, identity):
    """A process that holds the lease, and prints its share's address."""
    path = folder / "card.json"
    path.write_text(json.dumps(card))
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path), str(identity.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["close", "kill", "kill, with a forked child left"])
def test_ranks_end_with_their_owner_however_it_ends(world, short, how, tmp_path):
    _, card, identity = short
    owner = start_owner(tmp_path, card, identity)
    try:
        address = owner.stdout.readline().strip()
        with ranks(address, address) as two:
            for rank in two:
                rank.hear()
            if how == "close":
                owner.stdin.write("\n")
            elif "forked" in how:
                owner.stdin.write("fork\n")
                assert owner.stdout.readline() == "forked\n"
            if how != "close":
                owner.kill()
            wait_for(lambda: all(rank.ask()[0] != "held" for rank in two), 5)
            for rank in two:
                _, message, plaintext, _ = rank.ask()
                assert "has ended" in message
                assert not plaintext
    finally:
        owner.kill()
        owner.communicate()
    # What a killed owner leaves, the next one of this user takes away.
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        assert not Path(address).parent.exists()
        with model.share():
            assert Path(share.address).exists()


def test_a_rank_ends_at_the_end_of_grace_though_its_owner_is_frozen(world, short, tmp_path):
    _, card, identity = short
    owner = start_owner(tmp_path, card, identity)
    try:
        address = owner.stdout.readline().strip()
        with ranks(address) as (rank,):
            rank.hear()
            owner.send_signal(19)
            wait_for(lambda: rank.ask()[0] != "held", 10)
            assert "the lease ended on" in rank.ask()[1]
    finally:
        owner.send_signal(18)
        owner.communicate("\n\n", timeout=10)


def test_a_descriptor_may_be_inherited_and_the_address_come_from_the_environment(world, short):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        fd = share.descriptor()
        with ranks(fd, fds=(fd,)) as (one,), ranks("", environment=share.environment) as (two,):
            os.close(fd)
            assert one.hear()["lease"] == two.hear()["lease"] == str(model.lease.id)
            assert one.ask()[0] == two.ask()[0] == "held"


def test_the_socket_lies_where_only_this_user_can_reach_it_and_goes_away(world, short):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model:
        share = model.share()
        folder = Path(share.address).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    with pytest.raises(KeyAccessError, match="cannot be reached"):
        ledger.join(share.address)
    share.close()
    with pytest.raises(KeyAccessError, match="no process is named"):
        ledger.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
def test_another_user_is_refused_by_both_sides(world, short):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        # Even where the folder lets them in.
        Path(share.address).parent.chmod(0o755)
        Path(share.address).chmod(0o777)
        code = (
            "import os, sys, socket\n"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "os.setuid(65534)\n"
            "s.connect(sys.argv[1])\n"
            's.send(b\'{"type": "modeldeed/rank", "version": 1}\')\n'
            "print(len(s.recv(100000)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, share.address], capture_output=True, text=True, check=False
        )
        assert (
            done.stdout.strip() == "0"
            or "Connection reset" in done.stderr
            or ("Broken pipe" in done.stderr)
        )
        fd = share.descriptor()
        code = (
            "import os, sys, socket\n"
            "s = socket.socket(fileno=int(sys.argv[1]))\n"
            "os.setuid(65534)\n"
            's.send(b\'{"type": "modeldeed/rank", "version": 1}\')\n'
            "print(len(s.recv(100000)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(fd)], capture_output=True, text=True, pass_fds=(fd,),
            check=False,
        )  # fmt: skip
        os.close(fd)
        assert done.stdout.strip() == "0" or "Connection reset" in done.stderr


def conversation(sock, message=None):
    """Everything that comes back for a first message, with the descriptors closed."""
    if message is not None:
        sock.send(message)
    sock.settimeout(5)
    packets, files = [], []
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 1 << 16, 2)
            files += fds
            if not data:
                break
            packets.append(data)
            if len(packets) == 2:
                break
    return packets, files


def test_what_a_rank_gets_opens_this_file_and_nothing_else(world, short):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(share.address)
        (told, key), files = conversation(sock, b'{"type": "modeldeed/rank", "version": 1}')
        grant = json.loads(told)
        assert set(grant) == {"type", "version", "lease", "now", "record", "verify"}
        everything = told + key + b"".join(os.pread(fd, 1 << 22, 0) for fd in files)
        made = world.published
        secrets = [made.key]
        for label in (keys.LABEL_INDEX, keys.LABEL_PAYLOAD):
            with keys.derive(made.key, label) as secret:
                secrets.append(bytes(secret.view))
        runtime_key = json.loads(identity.path.read_text())["seed"]
        assert not any(s in everything or s.hex().encode() in everything for s in secrets)
        assert runtime_key.removeprefix("0x").encode() not in everything
        assert len(key) == 48
        # Index and file cannot be written to.
        for fd in files:
            with pytest.raises(OSError):
                os.pwrite(fd, b"x", 0)
            os.close(fd)
        sock.close()
        assert key.hex() not in repr(model) + repr(share) + repr(vars(share))


@pytest.mark.parametrize(
    "message",
    [
        b"{", b"[]", b"{}", b'{"type": "modeldeed/rank", "version": 2}', b"\x00" * 60_000,
        b'{"type": "modeldeed/rank", "version": 1, "more": 1}',
    ],
)  # fmt: skip
def test_a_message_that_is_no_request_gets_nothing(world, short, message):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(share.address)
        assert conversation(sock, message) == ([], [])
        sock.close()
        # The share lives on.
        joined = ledger.join(share.address)
        assert np.array_equal(joined.get_tensor("steps"), world.published.tensors["steps"])
        joined.close()
        model.get_tensor("steps")


def test_an_owner_that_is_none_is_told_from_one(tmp_path):
    address = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    lies = [
        b'{"type": "modeldeed/lease-share", "version": 1}',
        b"not JSON",
        b'{"type": "other"}',
    ]
    for lie in lies:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.send(lie)
        with pytest.raises(ManifestError):
            ledger.join(there.detach(), timeout=2)
        here.close()
    with pytest.raises(ledger.UnavailableError):
        ledger.join(address, timeout=0.5)
    listener.close()


def test_what_a_rank_gets_is_closed_on_exec_from_the_first_moment(world, short, monkeypatch):
    """One of the files holds names and shapes; a program started meanwhile must not have it."""
    seen = []

    def noted(sock):
        answer = receive(sock)
        seen.extend(os.get_inheritable(fd) for fd in answer[1])
        return answer

    receive = rank_module._receive
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        monkeypatch.setattr(rank_module, "_receive", noted)
        ledger.join(share.address).close()
    assert seen == [False, False]


def test_after_the_lease_nothing_is_shared(world, short):
    license_id, card, identity = short
    model = ledger.load(card, runtime=identity)
    share = model.share()
    world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))

    def lost():
        with contextlib.suppress(LeaseExpired):
            model.get_tensor("steps")
            return False
        return True

    wait_for(lost)
    with pytest.raises(KeyAccessError):
        ledger.join(share.address, timeout=5)
    with pytest.raises(LeaseExpired):
        model.share()
    model.close()


def test_a_closed_rank_gives_nothing_and_its_owner_lives_on(world, short):
    _, card, identity = short
    with ledger.load(card, runtime=identity) as model, model.share() as share:
        joined = ledger.join(share.address, names=["steps"])
        held = joined.get_tensor("steps")
        assert joined.keys() == ("steps",)
        joined.close()
        joined.close()
        assert not held.any()
        with pytest.raises(UsageError):
            joined.get_tensor("steps")
        assert model.get_tensor("steps").any()


def test_the_reason_of_a_loss_arrives_in_its_class():
    from ledger.errors import Revoked, Suspended

    for reason in (Revoked("r", remedy="ask"), Suspended("s", remedy="ask"), LeaseExpired("l")):
        again = lease_messages.read_loss(lease_messages.lost_message(reason))
        assert (type(again), again.message, again.hint) == (
            type(reason),
            reason.message,
            reason.hint,
        )
