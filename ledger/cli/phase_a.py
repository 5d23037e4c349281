"""The chain that commitments of phase A are sent to and looked for on, for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.session import Session
from ledger.errors import ChainError, ConfigurationError, UnavailableError, WrongNetwork

if TYPE_CHECKING:
    from ledger.phase_a import Chain

Settlement = Annotated[
    str | None,
    typer.Option(
        "--settlement", metavar="URL", help="An endpoint of the chain that a roll-up settles on."
    ),
]


def chain_of(session: Session, settlement: str | None = None) -> Chain:
    """The chosen network.

    Raises:
        ConfigurationError, ChainError: it is not known, or does not answer as itself.
    """
    from ledger.phase_a import Chain

    network = session.network
    return Chain(
        session.rpc,
        network.profile,
        session.anchors,
        network.deployment.block,
        session.other_chain(settlement) if settlement else None,
    )


def perhaps_chain(session: Session, settlement: str | None) -> tuple[Chain | None, str]:
    """The chosen network, or why it cannot be asked.

    Raises:
        WrongNetwork: another chain than was chosen answers.
    """
    try:
        return chain_of(session, settlement), ""
    except WrongNetwork:
        raise
    except (ChainError, ConfigurationError, UnavailableError) as error:
        return None, error.message
