"""``deed wallet``: Ethereum v3 keystore files in the user's configuration folder.

A private key never travels as an argument: an import reads a keystore file, or hex digits typed
unseen or piped in.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli import settings
from ledger.cli.output import Answer, fields, table
from ledger.cli.quantities import ether_text
from ledger.cli.session import TEST_ACCOUNTS, Session, passphrase, wallet_path
from ledger.cli.verb import Verbs
from ledger.errors import UsageError, WalletError, WalletNotFound

app = Verbs("Create, import, list and choose wallets.")

_MAX_HEX = 256


@app.verb("create")
def create(name: Annotated[str, typer.Argument(help="Letters, digits, dot, - and _.")]) -> Answer:
    """Create a wallet: a new key, encrypted with your passphrase (Ethereum v3 keystore)."""
    path, address = make(settings.load(), name)
    return Answer(
        {"name": name, "address": address, "file": path},
        fields([("wallet", name), ("address", address), ("file", path)]),
        notes=("keep a copy of that file and the passphrase: nobody can restore them",),
    )


@app.verb("import")
def import_(
    name: Annotated[str, typer.Argument(help="Letters, digits, dot, - and _.")],
    keystore: Annotated[
        Path | None,
        typer.Option(
            "--keystore", metavar="FILE", help="A v3 keystore file; it keeps its passphrase."
        ),
    ] = None,
) -> Answer:
    """Import a wallet from a keystore file, or from hex digits typed unseen or piped in.

    There is no option that takes a private key: command lines are seen by others and kept in
    shell histories.
    """
    from ledger.chain.wallet import LocalWallet, WalletFolder

    found = settings.load()
    _check_free(found, name)
    folder = WalletFolder(found.wallets_dir)
    if keystore is not None:
        secret = passphrase(found, f"Passphrase of {keystore.name}")
        entry = folder.add(name, LocalWallet.from_keystore(keystore, secret), secret)
    else:
        wallet = LocalWallet(_typed_key())
        secret = passphrase(found, f"New passphrase of wallet {name}", new=True)
        entry = folder.add(name, wallet, secret)
    return Answer(
        {"name": name, "address": entry.address, "file": entry.path},
        fields([("wallet", name), ("address", entry.address), ("file", entry.path)]),
    )


@app.verb("list")
def list_() -> Answer:
    """List wallets with their addresses; on a local chain also its test accounts."""
    from ledger.chain.network import load_live
    from ledger.chain.wallet import WalletFolder, dev_wallet

    found = settings.load()
    chosen = found.get("wallet")
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "address": entry.address,
            "kind": "keystore",
            "chosen": entry.name == chosen,
        }
        for entry in WalletFolder(found.wallets_dir).list()
    ]
    if load_live(Path.cwd()) is not None:
        rows += [
            {
                "name": name,
                "address": dev_wallet(name).address,
                "kind": "test account",
                "chosen": name == chosen,
            }
            for name in TEST_ACCOUNTS
        ]
    text = table(
        ("name", "address", "kind", "chosen"),
        [(r["name"], r["address"], r["kind"], r["chosen"]) for r in rows],
        empty="no wallets; create one with deed wallet create NAME",
    )
    return Answer({"wallets": rows}, text)


@app.verb("use")
def use(name: Annotated[str, typer.Argument(help="A wallet from deed wallet list.")]) -> Answer:
    """Choose a wallet for this folder; written to deed.toml."""
    found = settings.load()
    if name not in TEST_ACCOUNTS and not wallet_path(found, name).is_file():
        raise WalletNotFound(f"there is no wallet {name!r}")
    file = settings.store(found, {"wallet": name})
    return Answer({"wallet": name, "file": file}, fields([("wallet", name), ("file", file)]))


@app.verb("show", signs="licensor")
def show(session: Session) -> Answer:
    """Show the wallet that would sign here, its address and its balance."""
    from ledger.chain.rpc import quantity

    address = session.signer.address
    wei = quantity(session.rpc.call("eth_getBalance", [str(address), "latest"]))
    return Answer(
        {"wallet": session.wallet_name, "address": address, "balance_wei": str(wei)},
        fields(
            [
                ("wallet", session.wallet_name),
                ("address", address),
                ("balance", f"{ether_text(wei)} on {session.network.name}"),
            ]
        ),
    )


def make(found: settings.Settings, name: str) -> tuple[Path, str]:
    """Create a keystore wallet.

    Returns:
        Its file and address.
    """
    from ledger.chain.wallet import WalletFolder

    _check_free(found, name)
    secret = passphrase(found, f"New passphrase of wallet {name}", new=True)
    entry = WalletFolder(found.wallets_dir).create(name, secret)
    return entry.path, str(entry.address)


def _check_free(found: settings.Settings, name: str) -> None:
    """Refuse a name before a passphrase is asked for."""
    if name in TEST_ACCOUNTS:
        raise WalletError(
            f"{name} is the name of a local chain's test account", hint="choose another name"
        )
    if wallet_path(found, name).exists():
        raise WalletError(
            f"there is a wallet {name!r} already", hint="choose another name; keys are not replaced"
        )


def _typed_key() -> bytes:
    if sys.stdin.isatty():
        text = getpass.getpass("Private key, 64 hex digits: ", stream=sys.stderr)
    else:
        text = sys.stdin.readline(_MAX_HEX)
    digits = text.strip().removeprefix("0x")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != 32 or len(digits) != 64:
        # What was typed is not repeated: it may be a key with a slip of the finger.
        raise UsageError("that is not a private key", hint="give 64 hex digits on one line")
    return key
