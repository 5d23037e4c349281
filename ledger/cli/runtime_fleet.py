"""``deed runtime fleet``: one grant for many workers. No wallet, coins or endpoint is needed."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli import settings
from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.runtime_enrolment import algorithm
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.paths import require_file_name

app = Verbs("Let one granted key certify many workers, each for a day at most.")

_MAX_FILE = 1 << 20
KEY_FILE = "fleet.json"
_Key = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", help="The fleet's key file; fleet.json beside runtime.json."
    ),
]


@app.verb("init")
def init(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The request file to write.")
    ] = Path("fleet.request.json"),
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="For people; this host's name.")
    ] = None,
    key: _Key = None,
    alg: Annotated[
        str, typer.Option("--alg", metavar="NAME", help="ed25519 or p256, for a new key.")
    ] = "ed25519",
) -> Answer:
    """Make a fleet's key (once) and a request file for the license's holder.

    Whoever has this key decides which machines use the license, up to its seats: keep it where
    workers are scheduled, not on workers.
    """
    from ledger.broker.fleet_identity import FleetIdentity

    require_file_name(out, what="a file for the request")
    path = _key_path(key)
    if path.exists():
        fleet = FleetIdentity.load(path)
    else:
        fleet = FleetIdentity.create(
            path, name=socket.gethostname() if name is None else name, alg=algorithm(alg)
        )
    write_text(out, json.dumps(fleet.enrolment_request(), indent=2) + "\n")
    return Answer(
        {"key_file": path, "fleet_key": fleet.key_hash, "request": out},
        fields([("key file", path), ("fleet key", fleet.key_hash), ("request", out)]),
        notes=(f"next: the holder runs deed runtime grant {out} --license ID",),
    )


@app.verb("certify")
def certify(
    request: Annotated[Path, typer.Argument(help="The worker's request file.")],
    *,
    grant: Annotated[
        Path,
        typer.Option("--grant", metavar="FILE", help="The holder's grant file for this fleet."),
    ],
    workload: Annotated[
        str,
        typer.Option(
            "--workload", metavar="ID", help="What runs there: sha256:… of its image, or spiffe://…"
        ),
    ],
    hours: Annotated[
        float, typer.Option("--hours", metavar="N", help="How long it lasts; at most 24.")
    ] = 24.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The worker's grant file to write.")
    ] = None,
    key: _Key = None,
) -> Answer:
    """Certify a worker: a grant file for it, to accept there with deed runtime accept.

    Certify a running worker again before its day is over; it takes the new file up by itself.
    """
    from ledger.broker.enrolment import GrantFile
    from ledger.broker.fleet_identity import FleetIdentity

    require_file_name(request, what="the request file that deed runtime init wrote")
    dest = out or request.with_name(request.name.partition(".")[0] + ".grant.json")
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or choose another with --out")
    seconds = _seconds(hours)
    fleet = FleetIdentity.load(_key_path(key))
    made = fleet.certify(
        _json(request, "modeldeed/runtime-request"),
        _json(grant, "modeldeed/runtime-grant"),
        workload=workload,
        seconds=seconds,
    )
    write_text(dest, json.dumps(made, indent=2) + "\n")
    shown = GrantFile.from_json(made).certificate
    assert shown is not None
    return Answer(
        {
            "grant": dest,
            "license": made["grant"]["license"],
            "worker": shown.worker.hash(),
            "workload": shown.workload,
            "serial": "0x" + shown.serial.hex(),
            "not_before": shown.not_before,
            "not_after": shown.not_after,
        },
        fields(
            [
                ("grant", dest),
                ("license", made["grant"]["license"]),
                ("worker", shown.worker.hash()),
                ("workload", shown.workload),
                ("until", time_text(shown.not_after)),
            ]
        ),
        notes=(f"next: on the worker, deed runtime accept {dest.name}",),
    )


def _key_path(key: Path | None) -> Path:
    return key or settings.load().runtime_key.with_name(KEY_FILE)


def _seconds(hours: float) -> int:
    from ledger.broker.fleet import BACKDATED, MAX_SECONDS

    # Said so that NaN fails too.
    if not BACKDATED < hours * 3600 <= MAX_SECONDS:
        raise UsageError(
            f"a worker is certified for {MAX_SECONDS // 3600} hours at most and more than "
            f"{BACKDATED} seconds, not for {hours:g} hours",
            hint="certify a running worker again before its day is over: it takes the new file up "
            "by itself; a machine that needs longer gets a grant of its own: deed runtime grant "
            "WORKER --license LICENSE",
        )
    return int(hours * 3600)


def _json(path: Path, kind: str) -> object:
    with path.open("rb") as handle:
        found = parse_json(handle.read(_MAX_FILE + 1), what=str(path), limit=_MAX_FILE)
    return require_kind(found, path, kind)
