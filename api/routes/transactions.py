"""Signed transactions: passed on, and followed. Preparing them: `api.routes.preparing`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api import problems
from api.dependencies import HASH, Service, service
from api.once import described
from api.strict import StrictRoute
from api.transactions.answers import (
    EmittedEvent,
    Failure,
    Relayed,
    SignedAsked,
    TransactionStatus,
)
from api.transactions.desk import Writer, decoded, lane_of, rpc_of
from ledger.access.principals import Principal
from ledger.access.relayed import Relays
from ledger.access.roles import OPERATOR
from ledger.chain.relay import Signed, pass_on, read_signed, standing
from ledger.chain.transactions import TxReceipt
from ledger.errors import (
    ChainError,
    ContractReverted,
    LedgerError,
    RelayRefused,
    UnknownRecord,
)
from ledger.ids import Address, Digest
from ledger.index.decode import EVENTS, decode, json_values
from ledger.index.figures import is_pay_token

router = APIRouter(
    prefix="/v1",
    tags=["transactions"],
    route_class=StrictRoute,
    responses=problems.WRITE_FAILURES,
)

TransactionPath = Annotated[str, Path(pattern=HASH, examples=["0x" + "ab" * 32])]


# -- relay ---------------------------------------------------------------------------------------


@router.post("/transactions", status_code=int(problems.ACCEPTED), dependencies=[described])
async def relay(request: Request, response: Response, who: Writer, asked: SignedAsked) -> Relayed:
    """Pass a signed transaction on, where the operator allows it.

    Only to this deployment's contracts, and only the caller's own; an operator and a key of no
    account may pass on anyone's. The same bytes again give the same answer.
    """
    served = service(request)
    signed = await lane_of(request, who).run(_relayed, served, who, asked.raw)
    response.headers["Location"] = url = f"/v1/transactions/{signed.hash}"
    return Relayed(
        hash=str(signed.hash), account=str(signed.sender), call=decoded(signed.call), status_url=url
    )


def _relayed(served: Service, who: Principal, raw: str) -> Signed:
    if not served.settings.relay:
        raise RelayRefused(
            "this service passes on no transactions",
            hint="send it by a wallet or node of your own (eth_sendRawTransaction), or have the "
            "operator set DEED_API_RELAY=true",
        )
    rpc = rpc_of(served)
    # (1)-(5) What it is.
    signed = read_signed(
        bytes.fromhex(raw[2:]), served.deployment, lambda at: _sold_for(served, at)
    )
    # (6) Whose it is. A stolen key alone passes nothing on: it cannot sign.
    if who.account not in {None, signed.sender} and OPERATOR not in who.roles:
        raise RelayRefused(f"the transaction is signed by {signed.sender}, not by {who.account}")
    # (7) Kept first, so that what the node took is known to have been ours whatever happens next.
    relays = Relays(served.index.engine, served.index.chain_id, served.index.now)
    new = relays.keep(signed.hash, signed.sender, signed.nonce, who.actor)
    try:
        pass_on(rpc, signed)
    except ChainError:
        # The node answered, and does not take it. Of one that it took before, the status tells.
        if new:
            relays.forget(signed.hash)
            raise
    return signed


def _sold_for(served: Service, token: Address) -> bool:
    with served.index.snapshot() as snapshot:
        return is_pay_token(snapshot, token)


# -- status --------------------------------------------------------------------------------------


@router.get("/transactions/{hash}")
async def status(request: Request, who: Writer, hash: TransactionPath) -> TransactionStatus:  # noqa: A002 -- its name in the URL
    """What became of a transaction: pending, mined, failed, replaced or dropped."""
    which = Digest.parse(hash)
    return await lane_of(request, who).run(_status, service(request), which)


def _status(served: Service, which: Digest) -> TransactionStatus:
    relays = Relays(served.index.engine, served.index.chain_id, served.index.now)
    ours = served.deployment.addresses.values()
    found = standing(rpc_of(served), which, relays.find(which), ours)
    if found is None:
        raise UnknownRecord(
            f"no transaction {which.short} is known to the node, and none was passed on here",
            hint="send the signed bytes again; a node forgets what no block took",
        )
    with served.index.snapshot() as snapshot:
        facts = snapshot.as_of
    receipt = found.receipt
    if receipt is None:
        return TransactionStatus(hash=str(which), state=found.state, indexed=False)
    indexed = receipt.block_number <= facts.block
    finality = facts.finality(receipt.block_number) if indexed else "included"
    return TransactionStatus.model_validate(
        {
            "hash": which,
            "state": found.state,
            "block": receipt.block_number,
            "block_hash": receipt.block_hash,
            "finality": finality,
            "indexed": indexed,
            "events": _events(served, receipt),
            "error": None if found.error is None else _failure(found.error),
        }
    )


def _events(served: Service, receipt: TxReceipt) -> list[EmittedEvent]:
    names = {address: name for name, address in served.deployment.addresses.items()}
    made = []
    for entry in receipt.logs:
        name = names.get(entry.address)
        event = decode(name, entry.topics, entry.data) if name in EVENTS else None
        if event is None:
            continue
        made.append(
            EmittedEvent(
                contract=event.contract,
                event=event.name,
                log_index=entry.index,
                address=str(entry.address),
                arguments=json_values(event),
            )
        )
    return made


def _failure(error: LedgerError) -> Failure:
    name = error.error_name if isinstance(error, ContractReverted) else None
    return Failure(code=error.code, message=error.message, hint=error.hint, error_name=name)
