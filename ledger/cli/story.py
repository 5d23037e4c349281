"""The story that ``deed demo`` tells, in commands that anyone can repeat.

A licensor, a holder, a runtime and a litigator type these in a folder where ``deed up`` runs; they
are run for real, on a real chain. Only the comparison of every tensor is Python, on
``ledger.load``.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.broker.identity import KEY_VARIABLE
from ledger.canonical import parse_json
from ledger.chain.rpc import Rpc
from ledger.cli import publications
from ledger.cli.exits import OurFault
from ledger.cli.output import size_text, time_text
from ledger.client import Client
from ledger.errors import EntitlementError
from ledger.evidence.bundle import read_bundle
from ledger.fingerprint.exact import fingerprint
from ledger.licensing import card as license_card
from ledger.runtime import load
from ledger.stack import Stack
from ledger.tensors.model import ModelSource, open_model

Say = Callable[[str], None]
_LATER_SECONDS: Final = 20.0
_CARD: Final = "model.license.json"
_EVIDENCE: Final = "model.evidence.zip"
_CLAIM: Final = "claim.json"
_WIDTH: Final = 100
# A licensor edits the template before publishing under it.
_NOBODY: Final = "Your name or company"
_SOMEBODY: Final = "The licensor of this demonstration"


class StoryBroken(OurFault):
    """A step of the demonstration did not go as it should."""

    default_hint = "run it with --keep DIR and look at what it left; this is our bug"


@dataclass(slots=True)
class Teller:
    """Runs commands in the demonstration's folder and shows them.

    Attributes:
        folder: where everything happens; absolute, since commands run in it.
        say: prints a line.
        timings: seconds by step, for the summary.
    """

    folder: Path
    say: Say
    timings: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def chapter(self, text: str) -> None:
        """A heading."""
        self.say("")
        self.say(f"-- {text} ".ljust(_WIDTH, "-"))

    def told(self, step: str, seconds: float, text: str) -> None:
        """A fact of ours, with the time it took."""
        self.timings[step] = round(seconds, 3)
        self.say(f"   {text}  ({seconds:.2f} s)")

    def deed(self, *words: str, step: str, expect: tuple[int, ...] = (0,)) -> None:
        """Run ``deed`` with these words in the folder and show what it says.

        Raises:
            StoryBroken: it ended with another exit code than expected.
        """
        self.say(f"$ deed {shlex.join(words)}")
        begun = time.monotonic()
        done = subprocess.run(  # noqa: S603 - our own program, with words of ours
            [sys.executable, "-m", "ledger.cli.main", *words],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
        self.timings[step] = round(seconds, 3)
        for line in done.stdout.strip("\n").splitlines():
            self.say(f"   {line}")
        self.say(f"   (exit code {done.returncode}, {seconds:.2f} s)")
        if done.returncode not in expect:
            raise StoryBroken(f"deed {words[0]} ended with {done.returncode}, not {expect}")

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
        return kept | {
            "DEED_WALLET_PASSWORD_FILE": str(self.folder / "passphrase"),
            KEY_VARIABLE: str(self.folder / "gpu-host" / "runtime.json"),
        }


def tell(model: Path, folder: Path, *, title: str | None = None, say: Say) -> dict[str, Any]:
    """Tell the whole story on `model`, in `folder`; `title` is what the manifest calls it.

    Args:
        model: a .safetensors file or folder.
        folder: an existing, empty one; an absolute path.
        title: the file's name by default.
        say: hears every line.

    Returns:
        Timings and identifiers.

    Raises:
        StoryBroken: a step did not go as it should.
        LedgerError: what the step raised.
    """
    teller = Teller(folder, say)
    begun = time.monotonic()
    # A passphrase for the recovery file; a person would type one.
    passphrase = folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(24) + "\n")
    (folder / "gpu-host").mkdir(mode=0o700)
    with open_model(model) as source:
        # A model that cannot be told about is refused before a chain is started for it.
        fingerprint(source)
        say(
            f"The model: {model.name}, {size_text(source.total_bytes)}, {len(source.tensors)} "
            f"tensors.  Everything below really happens, on this machine."
        )
        teller.chapter("A chain, the contracts, a key broker, an index")
        started = time.monotonic()
        stack = Stack.start(folder, say=lambda text: say(f"   {text}"))
        teller.told("stack", time.monotonic() - started, "the stack is up (deed up)")
        try:
            facts = _online(teller, stack, model, title, source)
        finally:
            teller.chapter("Everything is switched off: chain, contracts, broker, index, API")
            started, pids = time.monotonic(), (stack.service_pid, stack.chain.pid)
            stack.stop()
            left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
            said = f"still running: {left}" if left else "no process is left"
            teller.told("stop", time.monotonic() - started, said)
    _offline(teller, facts["block_hash"])
    total = time.monotonic() - begun
    teller.chapter(f"That was the whole story, in {total:.0f} s")
    return facts | {"timings": teller.timings, "total": round(total, 1)}


def _online(
    teller: Teller, stack: Stack, model: Path, title: str | None, source: ModelSource
) -> dict[str, Any]:
    model_id, plan = _publish(teller, model, title)
    license_id = _license(teller, plan)
    _refused(teller)
    _enrol(teller, license_id)
    _load(teller, source)
    _revoke(teller, license_id)
    _timeline(teller, stack, model_id)
    teller.chapter("The litigator takes the evidence away")
    teller.deed(
        "evidence", "collect", model_id, "--from", "published", "--out", _EVIDENCE, step="collect"
    )
    return {
        "model_id": model_id,
        "plan": plan,
        "license": license_id,
        "block_hash": _known_block(teller, stack),
    }


def _known_block(teller: Teller, stack: Stack) -> str:
    """The hash of the bundle's block, asked of a node; an expert would ask one of their own."""
    block = read_bundle(teller.folder / _EVIDENCE).subject.block
    with Rpc(stack.network.rpc_urls) as rpc:
        known = str(rpc.block(block).hash)
    teller.say(f"   block {block} has the hash {known}")
    teller.say("   (asked of this demonstration's own node; an expert asks one of their own)")
    return known


def _publish(teller: Teller, model: Path, title: str | None) -> tuple[str, int]:
    teller.chapter("The licensor publishes: title first, then the sealed file, then an offer")
    teller.deed("terms", "new", "terms.toml", step="terms")
    teller.say(f"$ sed -i 's/{_NOBODY}/{_SOMEBODY}/' terms.toml")
    terms = teller.folder / "terms.toml"
    terms.write_text(terms.read_text().replace(_NOBODY, _SOMEBODY))
    teller.deed(
        "publish", str(model.resolve()), "--terms", "terms.toml", "--out", "published",
        "--seats", "2", "--duration", "365d", "--lease", "15m",
        *(() if title is None else ("--title", title)),
        step="publish",
    )  # fmt: skip
    done = publications.read(teller.folder / "published")
    return str(done.result("register", "model_id")), int(done.result("plan", "plan"))


def _license(teller: Teller, plan: int) -> str:
    teller.chapter("The licensor issues a license to a holder, with a card for the runtime")
    teller.deed(
        "license", "issue", str(plan), "--to", "holder", "--card", _CARD, "--from", "published",
        step="issue",
    )  # fmt: skip
    card = parse_json((teller.folder / _CARD).read_bytes(), what=_CARD)
    return str(license_card.parse(card).license)


def _refused(teller: Teller) -> None:
    teller.chapter("A runtime that nobody enrolled is refused, and told why")
    teller.deed("runtime", "init", "--out", "request.json", "--name", "gpu-host", step="init")
    teller.deed("check", _CARD, step="refused", expect=(1,))


def _enrol(teller: Teller, license_id: str) -> None:
    teller.chapter("The holder grants that runtime the license: a signature, no coins, no node")
    teller.deed(
        "runtime", "grant", "request.json", "--license", license_id, "--out", "grant.json",
        step="grant",
    )  # fmt: skip
    teller.deed("runtime", "accept", "grant.json", step="accept")
    teller.deed("check", _CARD, step="check")


def _load(teller: Teller, source: ModelSource) -> None:
    teller.chapter("The runtime proves itself, gets the key, and decrypts in memory")
    card, key = teller.folder / _CARD, teller.folder / "gpu-host" / "runtime.json"
    teller.say('>>> with ledger.load("model.license.json") as model: …')
    started = time.monotonic()
    with load(card, runtime=key) as model:
        teller.told("load", time.monotonic() - started, f"{len(model.keys())} tensors decrypted")
        started = time.monotonic()
        for info in source.tensors:
            # As bytes: there are element types that NumPy lacks.
            if bytes(model.get_bytes(info.name)) != bytes(source.read(info)):
                raise StoryBroken(f"tensor {info.name} differs from the original")
        teller.told(
            "compare",
            time.monotonic() - started,
            f"all {len(source.tensors)} tensors equal the original, bit for bit",
        )


def _revoke(teller: Teller, license_id: str) -> None:
    teller.chapter("The license is revoked; the next load is refused")
    teller.deed("license", "revoke", license_id, "--reason", "breach of section 4", step="revoke")
    card, key = teller.folder / _CARD, teller.folder / "gpu-host" / "runtime.json"
    teller.say('>>> with ledger.load("model.license.json") as model: …')
    started = time.monotonic()
    try:
        load(card, runtime=key).close()
    except EntitlementError as error:
        teller.say(f"   error: {error.message}")
        teller.say(f"   hint: {error.hint}")
        teller.told("refused_after_revocation", time.monotonic() - started, "refused")
        return
    raise StoryBroken("a revoked license was granted a key")


def _timeline(teller: Teller, stack: Stack, model_id: str) -> None:
    teller.chapter("The index tells the model's story over HTTP")
    url = f"{stack.network.api_url}/v1/models/{model_id}/timeline"
    teller.say(f"$ curl {url}")
    started = time.monotonic()
    with Client(str(stack.network.api_url), timeout=10) as client:
        while True:
            events = client.timeline(model_id).entries
            if any(event.event == "LicenseRevoked" for event in events):
                break
            if time.monotonic() - started > _LATER_SECONDS:
                raise StoryBroken("the index has not seen the revocation")
            time.sleep(0.05)
    for event in events:
        where = "" if event.block is None else event.block
        when = time_text(event.time)
        teller.say(f"   block {where:>4}  {when}  {event.text}  [{event.finality}]")
    teller.told("timeline", time.monotonic() - started, f"{len(events)} events")


def _offline(teller: Teller, block_hash: str) -> None:
    teller.chapter("The evidence verifies all the same: no chain, no service, no network")
    teller.deed("evidence", "verify", _EVIDENCE, "--block", block_hash, step="verify")
    teller.chapter("The same evidence with one byte of its claim flipped does not")
    forged = teller.folder / "forged.evidence.zip"
    shutil.copyfile(teller.folder / _EVIDENCE, forged)
    at, size = flip_byte(forged, _CLAIM)
    teller.say(f"   byte {at} of {size} flipped, in {_CLAIM}")
    teller.deed(
        "evidence", "verify", forged.name, "--block", block_hash, step="forged", expect=(1,)
    )


def flip_byte(bundle: Path, member: str) -> tuple[int, int]:
    """Flip the lowest bit of the byte in the middle of a bundle's member.

    Where in the file a byte lies decides how it is refused: in the archive's own bytes or in its
    index it makes the file unreadable, in a member it makes the evidence false. The story is about
    the latter, so it never takes just any byte.

    Returns:
        The byte's place in the file, and the file's length.
    """
    data = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        entry = archive.getinfo(member)
    # Members are stored as they are, behind a header of 30 bytes and their name.
    at = entry.header_offset + 30 + len(entry.filename) + entry.file_size // 2
    data[at] ^= 1
    bundle.write_bytes(data)
    return at, len(data)
