"""``deed seal``, ``deed inspect`` and ``deed open``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import settings
from ledger.cli.cell_options import CellBytes, Cells, Colluders, choice_of
from ledger.cli.kinds import require_recovery
from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.session import passphrase
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import ClaimMismatch, UsageError, UseNotPermitted, WrongKey
from ledger.paths import require_file_name

if TYPE_CHECKING:
    from ledger.broker.recovery import Recovery
    from ledger.sealed.file import SealedFile, SealedInfo

app = Verbs("Seal, inspect and open.")

_MAX_JSON = 16 << 20
_SUITES = {1: "SHA-256 leaves", 2: "BLAKE3 leaves"}


@app.verb("seal")
def seal(
    model: Annotated[
        Path, typer.Argument(help="A .safetensors, .onnx or .gguf file, or a folder.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The sealed file to write.")],
    *,
    claim: Annotated[
        Path, typer.Option("--claim", metavar="FILE", help="The registered model's claim.json.")
    ],
    recovery: Annotated[
        Path,
        typer.Option(
            "--recovery",
            metavar="FILE",
            help="Encrypted file for the content key; written first. A new epoch needs a new one.",
        ),
    ],
    epoch: Annotated[int, typer.Option("--epoch", min=1, help="Number of this sealing.")] = 1,
    broker_set: Annotated[
        int, typer.Option("--broker-set", min=0, help="The brokers that will release it.")
    ] = 0,
    cells: Cells = None,
    cell_bytes: CellBytes = None,
    colluders: Colluders = None,
) -> Answer:
    """Encrypt a model into one sealed file, and nothing more: no chain, no broker.

    For licensees, deed publish makes and lodges the first sealing, and deed reseal each later one.
    The key is made here and written, encrypted with a passphrase, to the recovery file before
    anything is sealed. The sealing record is written beside OUT. With --cells every license's copy
    is marked, and the recovery file is what a leak is traced with.
    """
    from ledger.broker.recovery import Recovery
    from ledger.claim import Claim
    from ledger.fingerprint.exact import fingerprint
    from ledger.sealed.file import seal as seal_model
    from ledger.tensors.model import open_model

    for path in (out, recovery):
        require_file_name(path)
    record_path = out.with_name(out.name + ".record.json")
    for path in (out, recovery, record_path):
        if path.exists():
            raise UsageError(f"{path} exists", hint="move it away, or choose another name")
    bound = Claim.from_json(_json(claim))
    choice = choice_of(cells, cell_bytes, colluders)
    with open_model(model) as source:
        if choice is not None:
            choice.require_room(source)
        with console.progress("fingerprint") as progress:
            measured = fingerprint(source, progress=progress)
        if measured.content_root != bound.artifact_root:
            raise ClaimMismatch(
                f"{model} is not the model of {claim}: its content root is "
                f"{measured.content_root}, the claim's {bound.artifact_root}",
                hint="seal the model that was registered",
            )
        secret = passphrase(settings.load(), f"New passphrase of {recovery.name}", new=True)
        keys = Recovery.create()
        plan = None
        if choice is not None:
            made = choice.secrets()
            keys, plan = replace(keys, cells=made), choice.plan(made)
        _save(recovery, keys, secret)
        with console.progress("seal") as progress:
            record = seal_model(
                source,
                out,
                content_key=keys.content_key,
                model_id=bound.model_id(),
                chain_id=bound.chain_id,
                registry=bound.registry,
                epoch=epoch,
                broker_set=broker_set,
                fingerprint=measured,
                cells=plan,
                progress=progress,
            )
    if keys.cells is not None and plan is not None:
        keys.cells.records = plan.records
    _save(recovery, keys.with_sealing(bound, record), secret)
    write_text(record_path, json.dumps(record.to_json(), indent=2) + "\n")
    return Answer(
        {
            "sealed": out,
            "recovery": recovery,
            "record": record.to_json(),
            "record_hash": record.hash(),
            "tracing": None if choice is None else choice.guarantees.to_json(),
        },
        fields(
            [
                ("sealed", f"{out} ({size_text(out.stat().st_size)})"),
                ("record", f"{record_path}, hash {record.hash()}"),
                ("recovery", recovery),
                *([] if choice is None else [("tracing", choice.guarantees.sentence)]),
            ]
        ),
        notes=(
            f"keep {recovery} and its passphrase: without them the model's key is lost"
            + ("" if choice is None else ", and so is the proof of who leaked a copy"),
        ),
    )


@app.verb("inspect")
def inspect(
    file: Annotated[str, typer.Argument(help="A sealed file or a license card: path or URL.")],
) -> Answer:
    """Show the public facts of a sealed file or a license card; nothing here needs a key.

    Of a sealed file nothing is authenticated without its key. A card's signature is checked.
    """
    from ledger.remote.opening import beginning
    from ledger.sealed.file import inspect as inspect_file

    start, source = beginning(file)
    if start[:1] == b"{":
        source.close()
        return _inspect_card(start)
    info = inspect_file(source)
    rows: list[tuple[str, object]] = [
        ("model", info.model_id),
        ("chain", info.chain_id),
        ("registry", info.registry),
        ("epoch", info.epoch),
        ("broker set", info.broker_set or "none named"),
        ("size", f"{size_text(info.file_bytes)} in {info.segments} segments"),
        ("format", f"version {info.version}, suite {info.suite} ({_SUITES.get(info.suite, '?')})"),
        ("root", info.root),
        ("key commitment", info.commit),
        ("copies", _copies(info)),
    ]
    return Answer(
        {"kind": "sealed", **info.to_json()},
        fields(rows),
        notes=("nothing above is authenticated without the key; deed check FILE asks the chain",),
    )


def _copies(info: SealedInfo) -> str:
    if not info.cells:
        return "the same for every license"
    return (
        f"marked per license, in {info.cells} cells of {size_text(info.cell_bytes)}: a leaked copy "
        "can be traced"
    )


@app.verb("open")
def open_(
    file: Annotated[str, typer.Argument(help="A sealed file or a license card: path or URL.")],
    *,
    recovery: Annotated[
        Path | None,
        typer.Option("--recovery", metavar="FILE", help="Open with the licensor's recovery file."),
    ] = None,
    escrow_key: Annotated[
        Path | None,
        typer.Option("--escrow-key", metavar="FILE", help="Open with what deed escrow join wrote."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", metavar="LICENSE", help="Open under this license, if no card."),
    ] = None,
    verify_content: Annotated[
        bool,
        typer.Option("--verify-content", help="Also recompute the fingerprint from the content."),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="DIR", help="Write plaintext, where the terms allow it."),
    ] = None,
) -> Answer:
    """Verify a sealed file with its key, byte for byte, and list what it holds.

    The key comes from the broker, under a license granted to this runtime, or from the licensor's
    recovery file. No plaintext is written, but with --export.
    """
    if export is not None and export.exists():
        raise UsageError(f"{export} exists", hint="give a folder that does not exist yet")
    if recovery is not None:
        return _open_with_recovery(file, recovery, verify_content=verify_content, export=export)
    from ledger.cli.licensed import open_licensed

    return open_licensed(
        file, license_, verify_content=verify_content, export=export, escrow_key=escrow_key
    )


def _open_with_recovery(
    file: str, recovery: Path, *, verify_content: bool, export: Path | None
) -> Answer:
    from ledger.broker.recovery import Recovery
    from ledger.remote.opening import beginning, opened_source
    from ledger.sealed.file import inspect as inspect_file
    from ledger.sealed.file import open_sealed
    from ledger.sealed.variants import master

    start, source = beginning(file)
    if start[:1] == b"{":
        source.close()
        raise UsageError(
            f"{file} is no sealed file",
            hint="with --recovery give the sealed file itself, which a card only points to",
        )
    info = inspect_file(source)
    require_recovery([recovery])
    keys = Recovery.load(recovery, passphrase(settings.load(), f"Passphrase of {recovery.name}"))
    record = keys.record
    if record is not None and (record.model_id, record.root) != (info.model_id, info.root):
        same = record.model_id == info.model_id
        raise WrongKey(
            f"{recovery} is of another {'sealing of this model' if same else 'model'}: "
            f"{record.model_id.short}, epoch {record.epoch}",
            hint=f"give the recovery file of {info.model_id.short}, epoch {info.epoch}",
        )
    cells = None if keys.cells is None else master(keys.cells.keys)
    with open_sealed(
        opened_source(file), keys.content_key, record=keys.record, cells=cells
    ) as opened:
        answer = contents(opened, verify_content=verify_content)
        root = answer.data.get("content_root")
        if root is not None and keys.claim is not None and root != keys.claim.artifact_root:
            raise ClaimMismatch(
                f"{file} holds content {root}, the claim is over {keys.claim.artifact_root}",
                hint="this is not the registered model",
            )
        # Whoever has the recovery file is the licensor: no terms bind them.
        return exported(opened, export, answer)


def contents(opened: SealedFile, *, verify_content: bool) -> Answer:
    """Verify every byte of an open file and list what it holds."""
    data: dict[str, Any] = {"model_id": opened.public.model_id, "epoch": opened.public.epoch}
    rows: list[tuple[str, object]] = [
        ("model", opened.public.model_id),
        ("epoch", opened.public.epoch),
    ]
    cells = opened.cells
    if cells is not None:
        # That a copy is marked is public; how is not told.
        own = "the registered model, unmarked" if cells.master else "marked for this license"
        data["cells"] = {"count": len(cells.positions), "master": cells.master}
        rows.append(("copy", f"{own}; {len(cells.positions)} cells"))
    names = opened.keys()
    opened.verify_records()
    with console.progress("verify") as progress:
        if verify_content:
            root = opened.verify_content(progress=progress)
            data["content_root"] = root
            rows.append(("content root", f"{root}, recomputed from the content"))
        else:
            for done, name in enumerate(names, 1):
                opened.get_bytes(name)
                progress(done, len(names))
            opened.files()
            rows.append(("verified", "every segment is the one that was sealed"))
    facts = [(name, opened.info(name)) for name in names]
    data["tensors"] = [
        {"name": name, "dtype": f.dtype, "shape": f.shape, "cid": f.cid} for name, f in facts
    ]
    data["files"] = [{"name": m.name, "bytes": m.size, "role": m.role} for m in opened.members]
    text = "\n\n".join(
        [
            fields(rows),
            table(
                ("file", "size", "role"),
                [(m.name, size_text(m.size), m.role) for m in opened.members],
                empty="no files",
            ),
            table(
                ("type", "shape", "tensor"),
                [(f.dtype, "x".join(map(str, f.shape)) or "scalar", name) for name, f in facts],
                empty="no tensors",
            ),
        ]
    )
    return Answer(data, text)


def exported(opened: SealedFile, export: Path | None, answer: Answer) -> Answer:
    """Write the content into a folder, if one was given."""
    if export is None:
        return answer
    with console.progress("export") as progress:
        written = opened.export(export, progress=progress)
    return Answer(
        {**answer.data, "exported": [str(path) for path in written]},
        answer.text,
        notes=(f"plaintext weights are in {export}",),
    )


def permit_export(document: dict[str, Any] | None) -> None:
    """Refuse an export that the terms do not allow.

    Raises:
        UseNotPermitted: the terms forbid it, or are not at hand.
    """
    from ledger.licensing.terms import validate

    if document is None:
        raise UseNotPermitted(
            "the terms are not at hand, so nothing is exported",
            remedy="open the license card that the licensor gave you",
        )
    if not validate(document).export:
        raise UseNotPermitted(
            "the terms forbid exporting plaintext weights",
            remedy="ask the licensor for a plan whose terms allow it",
        )


def _inspect_card(start: bytes) -> Answer:
    from ledger.licensing.card import parse

    card = parse(start)
    card.verify()
    rows: list[tuple[str, object]] = [
        ("license", card.license),
        ("model", card.model),
        ("licensor", f"{card.licensor}, who signed this card"),
        ("chain", card.chain_id),
        ("ledger", card.ledger),
        ("sealing", card.sealing_hash),
        ("terms", f"{card.terms_hash}{'' if card.terms else ', not included'}"),
        ("brokers", f"set {card.brokers.id}, {card.brokers.threshold} needed"),
        *[("", f"broker {b.id}: {', '.join(b.urls) or 'no URL'}") for b in card.brokers.members],
        *[("file", f"{f.url} ({size_text(f.size)})") for f in card.files],
    ]
    return Answer({"kind": "license card", **card.to_json()}, fields(rows))


def _save(path: Path, keys: Recovery, secret: str) -> None:
    write_text(path, json.dumps(keys.encrypt(secret), indent=2) + "\n", private=True)


def _json(path: Path) -> Any:
    with path.open("rb") as handle:
        return parse_json(handle.read(_MAX_JSON + 1), what=str(path), limit=_MAX_JSON)
