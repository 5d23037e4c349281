"""What the routes about transactions share: who may ask, on which threads, and which chain."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.asking import require
from api.dependencies import Service
from api.lanes import Lane, lanes
from api.transactions.answers import DecodedCall
from ledger.access.principals import Principal
from ledger.chain.calldata import Call
from ledger.chain.rpc import Rpc
from ledger.errors import IndexUnavailable

Writer = Annotated[Principal, Depends(require("transactions:write"))]


def lane_of(request: Request, who: Principal) -> Lane:
    """The threads for a caller. Anyone can make accounts without a role: they share their own."""
    made = lanes(request)
    return made.transactions if who.roles else made.strangers


def rpc_of(served: Service) -> Rpc:
    """The chain.

    Raises:
        IndexUnavailable: no endpoint is named.
    """
    if served.rpc is None:
        raise IndexUnavailable(
            "this service is told of no endpoint of the chain",
            retry_after=60.0,
            hint="its operator sets DEED_API_RPC_URLS; the command line needs no service",
        )
    return served.rpc


def decoded(call: Call) -> DecodedCall:
    """A call as it is answered."""
    return DecodedCall(contract=call.contract, function=call.function, arguments=call.arguments)
