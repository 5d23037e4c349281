"""The part of ``deed runtime grant`` for wallets that sign elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.cli.output import Answer, fields
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.broker.enrolment import GrantFile
    from ledger.ids import Address, Digest, LicenseId


def to_sign(dest: Path, document: dict[str, Any], request: Path, license_id: LicenseId) -> Answer:
    """Write a grant to sign, and say what comes next.

    Raises:
        UsageError: the file exists.
    """
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or name another file")
    write_text(dest, json.dumps(document, indent=2) + "\n")
    holder = document["grant_file"]["holder"]
    return Answer(
        {"to_sign": dest, "license": license_id, "holder": holder},
        fields([("to sign", dest), ("license", license_id), ("holder", holder)]),
        notes=(
            (
                "sign each message of typed_data with the holder's wallet, and put the three 0x "
                "texts into signatures"
            ),
            f"next: deed runtime grant {request} --license {license_id} --signature-file {dest}",
        ),
    )


def wallet_of(session: Session) -> Callable[[Address, Digest, bytes], str | None]:
    """Asks a contract wallet at the head; None is yes, a text says why not."""
    from ledger.broker.wallet_probe import ask_wallet
    from ledger.broker.wallet_signatures import WalletSays

    def accepts(wallet: Address, digest: Digest, signature: bytes) -> str | None:
        said = ask_wallet(session.rpc, wallet, digest, signature)
        return None if said is WalletSays.ACCEPTED else f"the wallet {wallet} {said.sentence}"

    return accepts


def require_same(imported: GrantFile, now: GrantFile) -> None:
    """Refuse signatures over what the chain no longer says, or over another request.

    Raises:
        UsageError: they are.
    """

    def facts(file: GrantFile) -> tuple[object, ...]:
        grant, pin = file.grant, replace(file.pin, signature=b"")
        named = (grant.license, grant.runtime_key_hash, grant.nonce, grant.terms_hash)
        return file.domain, file.holder, named, pin

    if facts(imported) != facts(now):
        raise UsageError(
            "what was signed is for another request or license, or the chain says otherwise now",
            hint="write it again with --typed-data, and sign that",
        )
