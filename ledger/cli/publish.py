"""``deed publish``: everything a licensor does to a model, in order; resumable."""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli import events, publications
from ledger.cli.cell_options import CellBytes, Cells, Colluders, choice_of
from ledger.cli.output import Answer, console, fields, size_text
from ledger.cli.quantities import duration, ether
from ledger.cli.receipts import settle_block
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import ChainError, UnavailableError, UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, ModelId

if TYPE_CHECKING:
    from ledger.broker.client import BrokerClient
    from ledger.broker.depositing import SharingBrokers
    from ledger.publication import Observer, Published

app = Verbs()

_MAX_TERMS = 1 << 20
SAID = {
    "recovery": "write the recovery file",
    "fingerprint": "fingerprint the model",
    "commit": "commit to the claim on chain",
    "register": "register the title",
    "seal": "seal the weights",
    "lodge": "lodge the sealing record",
    "deposit": "deposit the key at the broker",
    "plan": "create the plan",
    "leaves": "make the tensors searchable",
}


@app.verb("publish", signs="licensor", waits=False)
def publish(
    session: Session,
    *,
    model: Annotated[
        Path, typer.Argument(help="A .safetensors, .onnx or .gguf file, or a folder.")
    ],
    terms: Annotated[
        Path, typer.Option("--terms", metavar="FILE", help="License terms; see deed terms new.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where to work.  [default: MODEL.published, here]"
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="[default: the file's name]")
    ] = None,
    length: Annotated[
        str, typer.Option("--duration", metavar="TIME", help="Such as 30d or 1y; 0 is perpetual.")
    ] = "1y",
    lease: Annotated[
        str, typer.Option("--lease", metavar="TIME", help="How long one key release lasts.")
    ] = "1h",
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="How long a runtime may go on unheard.")
    ] = "1d",
    seats: Annotated[int, typer.Option("--seats", min=0, max=65535, help="0 is unlimited.")] = 1,
    bound: Annotated[
        bool, typer.Option("--bound/--floating", help="Seats on chain, or leased by the broker.")
    ] = False,
    price: Annotated[str, typer.Option("--price", metavar="AMOUNT", help="In ether.")] = "0",
    broker_set: Annotated[
        int, typer.Option("--broker-set", min=1, max=(1 << 64) - 1, help="See deed broker status.")
    ] = 1,
    watermark: Annotated[
        str | None,
        typer.Option(
            "--watermark",
            metavar="COMMITMENT",
            help="Of deed watermark commit, when the model is its marked copy.",
        ),
    ] = None,
    cells: Cells = None,
    cell_bytes: CellBytes = None,
    colluders: Colluders = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> Answer:
    """Register, seal and offer a model; killed at any point, the same command resumes it."""
    from ledger.chain.licenses import PlanTerms
    from ledger.licensing.terms import TEMPLATE, parse
    from ledger.paths import own_name
    from ledger.publication import STEPS, Publication
    from ledger.tensors.model import open_model

    with terms.open("rb") as handle:
        agreed = parse(handle.read(_MAX_TERMS))
    if agreed.hash() == parse(TEMPLATE.encode()).hash():
        console.note(f"warning: {terms} is the template as it came; edit it first")
    lease_ttl, grace_s = duration(lease), duration(grace, bits=24)
    offer = PlanTerms(
        model_id=ModelId(bytes(32)),
        terms_hash=ZERO_DIGEST,
        duration=duration(length, bits=40),
        grace=grace_s,
        lease_ttl=lease_ttl,
        max_offline=lease_ttl + grace_s,
        min_notice=0,
        refund_window=0,
        reissue_delay=duration("7d"),
        seats=seats,
        supply=0,
        quota=0,
        features=0,
        broker_set=broker_set,
        pay_token=ZERO_ADDRESS,
        price=ether(price),
        floating=not bound,
        warn_only=False,
        transferable=False,
    )
    choice = choice_of(cells, cell_bytes, colluders)
    mark = ZERO_DIGEST if watermark is None else Digest.parse(watermark)
    name = own_name(model)
    # Here and not beside the model, which may lie where nobody may write: later commands look here.
    folder = out or Path(f"{name}.published")
    # A model that cannot be read is refused before anything is asked, written or sent.
    with open_model(model) as source:
        size = source.total_bytes
        beside = [member.name for member in source.members if member.role == "side"]
        if choice is not None:
            choice.require_room(source)
            console.note(choice.guarantees.sentence)
    network = session.network
    if dry_run:
        return Answer(
            {"model": model, "folder": folder, "network": network.name, "steps": list(STEPS)},
            fields(
                [
                    ("model", f"{model}, {size_text(size)}"),
                    ("side files", ", ".join(beside) or "none"),
                    ("folder", folder),
                    ("network", f"{network.name} (chain {network.deployment.chain_id})"),
                    ("licensor", session.signer.address),
                    *((step, SAID[step]) for step in STEPS),
                ]
            ),
        )
    brokers = brokers_of(session, broker_set)
    sender = session.sender  # a wallet that is not there is told before anything is asked
    if not mark.is_zero and session.anchors.phase_a_by(sender.address, mark) is None:
        raise UsageError(
            f"{sender.address} never committed to the watermark {mark.short}",
            hint="give the commitment that deed watermark commit printed, with its wallet",
        )
    secret = passphrase(
        session.settings, "Passphrase for the recovery file", new=not folder.exists()
    )
    if beside:
        console.note(f"side files that go to every licensee with it: {', '.join(beside)}")
    tell = teller()
    content_root = ""

    def observe(step: str, phase: str, detail: str) -> None:
        nonlocal content_root
        if phase == "begin" and step == "register":
            _warn_of_twins(session, folder, content_root, own=detail)
        if phase != "begin" and step == "fingerprint":
            content_root = detail
        tell(step, phase, detail)

    with contextlib.closing(brokers) as broker:
        done = Publication(
            model,
            folder,
            network=network,
            sender=sender,
            broker=broker,
            terms=agreed,
            offer=offer,
            passphrase=secret,
            title=title or "",
            observer=observe,
            cells=choice,
            watermark=mark,
        ).run()
    steps = publications.read(done.folder).steps.values()
    final = settle_block(session, max(int(step.get("block", 0)) for step in steps))
    return Answer(
        {
            "model_id": done.model_id,
            "plan": done.plan_id,
            "content_root": done.fingerprint.content_root,
            "sealing_record": done.record.hash(),
            "sealed": done.sealed,
            "recovery": done.recovery,
            "folder": done.folder,
            "final": final,
        },
        fields(
            [
                ("model", done.model_id),
                ("plan", f"{done.plan_id}, {'final' if final else 'not yet final; --wait waits'}"),
                ("sealed file", done.sealed),
                ("recovery file", f"{done.recovery}  (keep a copy elsewhere, with its passphrase)"),
            ]
        ),
        notes=(f"next: {_next(session, done)}",),
    )


def brokers_of(session: Session, broker_set: int) -> BrokerClient | SharingBrokers:
    """Where the key of a model with this broker set is deposited; the caller closes it.

    Raises:
        UsageError: the network has no broker, or a member of the set told no URL.
        ContractReverted: no such set.
    """
    from ledger.broker.client import BrokerClient
    from ledger.broker.depositing import SharingBrokers

    network = session.network
    near = None if network.broker_url is None else BrokerClient(network.broker_url)
    with contextlib.closing(near) if near else contextlib.nullcontext():
        shared = SharingBrokers.of(session.rpc, network.deployment, broker_set, near=near)
    if shared is None and network.broker_url is None:
        raise UsageError(
            f"the network {network.name} has no key broker", hint="deed network add … --broker URL"
        )
    return shared or BrokerClient(network.broker_url or "")


def teller() -> Observer:
    """Says on stderr how each step went, and how long after the start."""
    started = time.monotonic()

    def tell(step: str, phase: str, detail: str) -> None:
        word = {"begin": "", "noted": "done", "kept": "kept", "acted": ""}[phase]
        if word:
            console.note(f"{time.monotonic() - started:6.2f} s  {word}  {SAID[step]}: {detail}")

    return tell


def _warn_of_twins(session: Session, folder: Path, content_root: str, *, own: str) -> None:
    """Say that this account registered the same content before; a second title is rarely meant."""
    if publications.read(folder).steps.get("register") is not None:
        return  # this publication's title stands already
    try:
        found = events.models(
            session, licensor=session.signer.address, artifact_root=Digest.parse(content_root)
        )
    except (ChainError, UnavailableError):
        return  # a provider that shows no old events keeps nobody from publishing
    twins = [str(model_id) for model_id in found if str(model_id) != own]
    if twins:
        console.note(
            f"warning: this account registered the same content before, as {', '.join(twins)}; "
            "this makes another title"
        )


def _next(session: Session, done: Published) -> str:
    """The command that issues a license, as it works when pasted here."""
    # On a local chain somebody is there to issue to.
    holder = "holder" if session.network.profile.test_network else "ADDRESS"
    card = f"{done.sealed.stem}.license.json"
    if Path(card).exists():
        card = f"{done.sealed.stem}.{done.plan_id}.license.json"
    words = ["deed", "license", "issue", str(done.plan_id), "--to", holder, "--card", card]
    if not publications.is_around(done.folder):
        words += ["--from", str(done.folder)]
    return shlex.join(words) + session.again("licensor")
