"""``deed broker rotate``, ``export`` and ``restore``: a broker's keys over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.kinds import require_recovery
from ledger.cli.output import Answer, console, fields
from ledger.cli.session import Session, open_wallet, passphrase
from ledger.cli.settings import checked_url
from ledger.cli.verb import Verbs
from ledger.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from ledger.broker.home import BrokerHome
    from ledger.chain.wallet import Signer

app = Verbs()

Home = Annotated[
    Path, typer.Option("--home", metavar="DIR", help="Where the broker's keys and database live.")
]
KeyStoreName = Annotated[
    str,
    typer.Option(
        "--keystore",
        metavar="NAME",
        help="Who keeps the key-encryption key: file, pkcs11, environment or a plug-in.",
    ),
]
KeyStoreOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="Of the key store, repeatable; never a secret."
    ),
]
_MAX_TERMS = 1 << 20


def parsed_options(words: Sequence[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping.

    Raises:
        UsageError: a word of another form, or a name twice.
    """
    found: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not (name and equals and value) or name in found:
            raise UsageError(
                "an --option is NAME=VALUE, each name once",
                hint="such as --option token=broker; it never takes a secret",
            )
        found[name] = value
    return found


def broker_secret(
    session: Session, asks: str, of: str, *, new: bool = False, other: bool = False
) -> str:
    """What opens a broker's KEK; empty when its custodian asks for nothing.

    Raises:
        WrongPassphrase: nobody to ask, or an empty one.
    """
    if not asks:
        return ""
    name = "broker_other_passphrase_file" if other else "broker_passphrase_file"
    return passphrase(session.settings, f"{asks} of {of}", new=new, name=name)


@app.verb("rotate", signs="broker", waits=False)
def rotate(
    session: Session,
    *,
    home: Home = Path("broker"),
    kek: Annotated[
        bool, typer.Option("--kek", help="A new key-encryption key; no transaction.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="New signing and KEM keys, registered on chain.")
    ] = False,
    keystore: Annotated[
        str | None,
        typer.Option(
            "--keystore", metavar="NAME", help="With --kek: move it to another key store."
        ),
    ] = None,
    option: KeyStoreOptions = None,
    new_passphrase: Annotated[
        bool, typer.Option("--new-phrase", help="With --kek: choose another passphrase.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="With --keys: how runtimes will reach it."),
    ] = None,
) -> Answer:
    """Replace a broker's keys; the broker must be stopped.

    Killed at any point, its folder still opens, and the same command goes on where it was.
    """
    from ledger.broker.home import BrokerHome

    if kek == keys:
        raise UsageError("say what to rotate", hint="either --kek or --keys")
    if keys and (keystore or option or new_passphrase):
        raise UsageError("--keystore, --option and --new-phrase go with --kek")
    if url is not None:
        checked_url(url, what="a broker")
    asks = BrokerHome.key_file(home).asks
    secret = broker_secret(session, asks, f"the broker in {home}")
    if keys:
        return _rotate_keys(session, home, secret, url)
    return _rotate_kek(session, home, secret, keystore, option, new_passphrase=new_passphrase)


def _rotate_kek(
    session: Session,
    home: Path,
    secret: str,
    keystore: str | None,
    option: list[str] | None,
    *,
    new_passphrase: bool,
) -> Answer:
    from ledger.broker.rotation import other_custodian, rotate_kek

    asks, differs, is_new = other_custodian(home, keystore)
    other = None
    if asks and (differs or new_passphrase or session.settings.get("broker_other_passphrase_file")):
        of = "the new key store" if is_new else "the former key store"
        other = broker_secret(session, asks, of, new=is_new and asks == "Passphrase", other=True)
    done = rotate_kek(home, secret, other=other, keystore=keystore, options=parsed_options(option))
    rows: list[tuple[str, object]] = [
        (
            "former KEK",
            f"{done.former or '-'}, {'destroyed' if done.destroyed else 'NOT destroyed'}",
        ),
        ("KEK", done.present),
        ("kept by", done.custodian),
        ("stored secrets", f"{done.secrets}, all under the new KEK"),
    ]
    notes = ["start the broker again", "a backup of the folder made before holds the former KEK"]
    if not done.destroyed:
        notes.insert(0, "destroy the former KEK where it is kept: only its owner can")
    return Answer(asdict(done), fields(rows), notes=tuple(notes))


def _rotate_keys(session: Session, home: Path, secret: str, url: str | None) -> Answer:
    from ledger.broker.rotation import rotate_keys

    done = rotate_keys(home, secret, session.sender, session.network.deployment, url=url)
    rows: list[tuple[str, object]] = [
        ("broker", done.broker),
        ("epoch", done.epoch),
        ("signing keys", done.signing_key_hash),
        ("KEM key", done.kem_key_hash),
    ]
    return Answer(
        asdict(done),
        fields(rows),
        notes=(
            "start the broker again; deposits are readable as before",
            "running leases end with their grace: runtimes know the old keys only",
            "licensors: write new cards, which name the brokers' keys: deed license card LICENSE",
            "holders: grant each runtime again (deed runtime grant), which pins them",
        ),
    )


@app.verb("export")
def export(
    session: Session,
    *,
    recovery: Annotated[Path, typer.Argument(help="The recovery file that publishing wrote.")],
    threshold: Annotated[
        int, typer.Option("--threshold", min=1, max=255, help="How many shares restore the key.")
    ] = 2,
    count: Annotated[
        int, typer.Option("--shares", min=1, max=255, help="How many shares are made.")
    ] = 3,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the share files go.")
    ] = Path("shares"),
) -> Answer:
    """Split a recovery file into shares for several people; fewer than the threshold know nothing.

    Each share file is given to another person and then removed here. Restoring from them needs
    no passphrase.
    """
    from ledger.broker.custody import write_private
    from ledger.broker.recovery import Recovery
    from ledger.broker.shares import split_recovery

    require_recovery([recovery])
    if threshold > count:
        raise UsageError(f"{threshold} of {count} shares cannot be asked for")
    stem = recovery.name.removesuffix(".json").removesuffix(".recovery")
    paths = [out / f"{stem}.share-{index}-of-{count}.json" for index in range(1, count + 1)]
    for path in paths:
        if path.exists():
            raise UsageError(
                f"{path} is already there", hint="choose another folder with --out: shares mix up"
            )
    secret = passphrase(session.settings, f"Passphrase of {recovery.name}")
    files = split_recovery(Recovery.load(recovery, secret), threshold, count)
    for path, file in zip(paths, files, strict=True):
        write_private(path, json.dumps(file.to_json(), indent=2).encode() + b"\n")
        file.share.wipe()
    first = files[0]
    data = {
        "set": first.share.set_id,
        "threshold": threshold,
        "count": count,
        "model": first.model,
        "sealing": first.sealing,
        "files": paths,
    }
    rows: list[tuple[str, object]] = [
        ("set", first.share.set_id),
        ("model", first.model or "not registered yet"),
        ("restores with", f"any {threshold} of {count}"),
        *(("share", path) for path in paths),
    ]
    return Answer(
        data, fields(rows), notes=("hand each file to another person, then remove it here",)
    )


@app.verb("restore", signs="broker", waits=False)
def restore(
    session: Session,
    *,
    files: Annotated[
        list[Path], typer.Argument(help="A recovery file, or as many share files as it takes.")
    ],
    home: Home = Path("broker"),
    broker: Annotated[
        int | None,
        typer.Option(
            "--broker",
            min=1,
            max=(1 << 64) - 1,
            help="The lost broker's number, which keeps its place in plans; else a new one.",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="How runtimes will reach it; public.")
    ] = "http://127.0.0.1:8800",
    licensor: Annotated[
        str | None,
        typer.Option(
            "--licensor",
            metavar="NAME",
            help="The titleholder's wallet, when it is not the broker's.",
        ),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option("--terms", metavar="FILE", help="Terms for the broker to keep a copy of."),
    ] = None,
    keystore: KeyStoreName = "file",
    option: KeyStoreOptions = None,
) -> Answer:
    """Rebuild a lost broker: new keys in a new folder, and the model's key deposited again.

    A key that several brokers share is not given to one of them: share it anew, as is said then.

    Interrupted, it goes on where it was when run again; into a folder with a broker, it deposits.
    """
    from ledger.broker.chainview import ChainView
    from ledger.broker.restoring import (
        deposit_again,
        read_recovery,
        sealing_of,
        shared_by,
        take_over,
    )
    from ledger.broker.service import BrokerService
    from ledger.broker.setup import identity_on, register_broker
    from ledger.chain.rpc import Rpc
    from ledger.licensing.terms import parse

    require_recovery(files)
    checked_url(url, what="a broker")
    documents: list[dict[str, Any]] = []
    if terms is not None:
        with terms.open("rb") as handle:
            documents.append(dict(parse(handle.read(_MAX_TERMS)).document))
    recovery = read_recovery(
        files, lambda path: passphrase(session.settings, f"Passphrase of {path.name}")
    )
    network = session.network
    deployment = network.deployment
    record = sealing_of(recovery, deployment)
    signer, sender = _licensor(session, licensor), session.sender
    made = opened_or_made(session, home, keystore, option)
    if not registered(made):
        if broker is None:
            register_broker(made, sender, deployment, url)
        else:
            take_over(made, sender, deployment, broker, url)
    identity = made.identity
    if identity != identity_on(deployment, identity.id) or broker not in {None, identity.id}:
        raise ConfigurationError(
            f"{home} holds broker {identity.id} of other contracts, or another broker",
            hint="choose another folder with --home",
        )
    view = ChainView(
        [Rpc(one, chain_id=deployment.chain_id) for one in network.rpc_urls],
        deployment,
        network.profile,
    )
    receipt: dict[str, Any] | None = None
    shared = shared_by(session.brokers, record)
    if not shared:
        service = BrokerService(made, view)
        try:
            receipt = deposit_again(service, recovery, record, signer, terms=documents)
        finally:
            service.close()
            view.close()
    data = {
        "broker": identity.id,
        "home": home,
        "model": record.model_id,
        "sealing": record.hash(),
        "signing_key_hash": made.signing_key_hash,
        "kem_key_hash": made.kem_key_hash,
        "receipt": receipt,
    }
    rows: list[tuple[str, object]] = [
        ("broker", identity.id),
        ("folder", home),
        ("model", record.model_id),
        ("sealing", record.hash()),
        ("deposit", "read back and signed for" if receipt else "none: the key is shared"),
        ("signing keys", made.signing_key_hash),
        ("KEM key", made.kem_key_hash),
    ]
    again = f"deed broker set deposit {record.broker_set} RECOVERY"
    sharing = (f"then share the key anew among its brokers: {again}",) if shared else ()
    return Answer(
        data,
        fields(rows),
        notes=(
            f"next: deed serve --broker-home {home} --database URL",
            *sharing,
            "licensors: write new cards, which name its new keys: deed license card LICENSE",
            "holders: grant each runtime again (deed runtime grant), which pins them",
            "leases, quotas and receipts of the lost broker are not restored",
        ),
    )


def opened_or_made(
    session: Session, home: Path, keystore: str, option: list[str] | None
) -> BrokerHome:
    """The broker in a folder, made when there is none.

    Raises:
        ConfigurationError, UsageError, WrongPassphrase: as ``BrokerHome.create`` and ``open``.
    """
    from ledger.broker.custodians import custodian
    from ledger.broker.home import KEYS_FILE, BrokerHome

    if (home / KEYS_FILE).exists():
        asks = BrokerHome.key_file(home).asks
        return BrokerHome.open(home, broker_secret(session, asks, f"the broker in {home}"))
    options, asks = parsed_options(option), custodian(keystore).asks
    secret = broker_secret(session, asks, f"the new broker in {home}", new=keystore == "file")
    console.note(f"making a broker in {home}")
    return BrokerHome.create(home, secret, keystore=keystore, options=options)


def registered(home: BrokerHome) -> bool:
    """Whether a broker is registered on a chain."""
    try:
        return home.identity.id > 0
    except ConfigurationError:
        return False


def _licensor(session: Session, name: str | None) -> Signer:
    from ledger.chain.wallet import dev_wallet
    from ledger.cli.session import TEST_ACCOUNTS

    if name is None:
        if session.network.profile.test_network and session.on_live:
            return dev_wallet("licensor")
        return session.signer
    if name in TEST_ACCOUNTS and session.network.profile.test_network:
        return dev_wallet(name)
    return open_wallet(session.settings, name)
