"""``deed open`` with a key from the broker, under a license granted to this runtime."""

from __future__ import annotations

from pathlib import Path

from ledger.cli import settings
from ledger.cli.output import Answer
from ledger.cli.sealed import contents, exported, permit_export
from ledger.cli.session import passphrase
from ledger.ids import LicenseId


def open_licensed(
    file: str,
    license_: str | None,
    *,
    verify_content: bool,
    export: Path | None,
    escrow_key: Path | None = None,
) -> Answer:
    """Ask for the key, verify every byte, list what is inside.

    Raises:
        EntitlementError: this runtime may not; `UseNotPermitted` where the terms forbid an export,
            before a key is asked for.
        UnavailableError: nobody answers.
        SealedAuthError: the file is not the one that was sealed.
    """
    from ledger import runtime
    from ledger.broker.cards import locate

    found = settings.load()
    escrow = None
    if escrow_key is not None:
        from ledger.broker.escrow_holder import EscrowKey

        escrow = EscrowKey.load(escrow_key, passphrase(found, f"Passphrase of {escrow_key.name}"))
    license_id = LicenseId.parse(license_) if license_ else None
    located = locate(file, license_id=license_id)
    try:
        if export is not None:
            terms = located.card.terms
            permit_export(None if terms is None else dict(terms))
        with runtime.load(
            file,
            license=license_id,
            runtime=found.runtime_key,
            broker=found.get("broker"),
            escrow=escrow,
        ) as model:
            return exported(
                model.sealed_file,
                export,
                contents(model.sealed_file, verify_content=verify_content),
            )
    finally:
        located.forget()
