"""Transactions: prepared for a wallet to sign, passed on, and followed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from api import problems
from api.access import require
from api.dependencies import HASH, Service, service
from api.lanes import lanes
from api.once import described
from api.strict import StrictRoute
from api.transactions import KINDS
from api.transactions.answers import (
    ByReference,
    DecodedCall,
    EmittedEvent,
    Failure,
    Prepared,
    Relayed,
    SignedAsked,
    Simulation,
    TransactionStatus,
    Unsigned,
)
from api.transactions.base import Asked, Contracts
from api.transactions.licenses import IssueByReference
from ledger.access.principals import Principal
from ledger.access.relayed import Relays
from ledger.access.roles import OPERATOR
from ledger.chain.anchors import Anchors
from ledger.chain.calldata import Call
from ledger.chain.drafting import draft
from ledger.chain.licenses import LicenseLedger
from ledger.chain.registry import ModelRegistry
from ledger.chain.relay import Signed, pass_on, read_signed, standing
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import (
    ChainError,
    ContractReverted,
    IndexUnavailable,
    LedgerError,
    PendingFinality,
    RelayRefused,
    UnknownRecord,
    UsageError,
)
from ledger.ids import Address, Digest, LicenseId
from ledger.index.decode import EVENTS, decode, json_values
from ledger.index.listing import referenced
from ledger.licensing.card import ledger_domain
from ledger.licensing.voucher import VOUCHER_TYPE, SignedVoucher, Voucher

router = APIRouter(
    prefix="/v1",
    tags=["transactions"],
    route_class=StrictRoute,
    responses=problems.WRITE_FAILURES,
)

Writer = Annotated[Principal, Depends(require("transactions:write"))]
_HOUR = 3600
TransactionPath = Annotated[str, Path(pattern=HASH, examples=["0x" + "ab" * 32])]


def _rpc(served: Service) -> Rpc:
    if served.rpc is None:
        raise IndexUnavailable(
            "this service is told of no endpoint of the chain",
            retry_after=60.0,
            hint="its operator sets DEED_API_RPC_URLS; the command line needs no service",
        )
    return served.rpc


# -- prepare -------------------------------------------------------------------------------------


def _preparing(kind: type[Asked]) -> Callable[..., Coroutine[Any, Any, Prepared]]:
    async def prepare(request: Request, who: Writer, asked: Any) -> Prepared:
        return await lanes(request).transactions.run(_prepared, service(request), who, asked)

    prepare.__annotations__["asked"] = kind
    prepare.__doc__ = kind.about
    return prepare


for _kind in KINDS:
    router.add_api_route(
        f"/transactions/{_kind.kind}",
        _preparing(_kind),
        methods=["POST"],
        dependencies=[described],
        name=f"prepare_{_kind.kind.replace('-', '_')}",
        summary=_kind.about.partition(".")[0],
    )


def _account(who: Principal, asked: Asked) -> Address:
    account = who.account if asked.account is None else Address.parse(asked.account)
    if account is None:
        raise UsageError("nobody is named who will sign", hint="give from, an account")
    return account


def _contracts(served: Service) -> Contracts:
    rpc, at = _rpc(served), served.deployment.addresses
    return Contracts(
        LicenseLedger(rpc, at["LicenseLedger"]),
        ModelRegistry(rpc, at["ModelRegistry"]),
        Anchors(rpc, at["Anchors"]),
    )


def _prepared(served: Service, who: Principal, asked: Asked) -> Prepared:
    to = _contracts(served)
    return _drafted(served, _account(who, asked), lambda sender: asked.act(to, sender))


def _drafted(served: Service, account: Address, act: Callable[[Sender], object]) -> Prepared:
    made = draft(_rpc(served), served.deployment, served.profile, account, act)
    return Prepared(
        what=made.what,
        account=str(account),
        call=_call(made.call),
        transaction=Unsigned.model_validate(made.to_json()),
        simulation=Simulation(
            block=made.head.number, hash=str(made.head.hash), returns=made.returns
        ),
        most_fee=str(made.most_fee),
        test_network=served.profile.test_network,
    )


def _call(call: Call) -> DecodedCall:
    return DecodedCall(contract=call.contract, function=call.function, arguments=call.arguments)


# -- by reference --------------------------------------------------------------------------------


@router.post(
    f"/transactions/{IssueByReference.kind}",
    dependencies=[described],
    summary=IssueByReference.about.partition(".")[0],
)
async def by_reference(request: Request, who: Writer, asked: IssueByReference) -> ByReference:
    """Issue a license for an order number, once: the ledger itself refuses the second.

    First without `signature`: `sign` is to be signed. Then the same with `deadline` and
    `signature`: `prepared` is to be signed and sent. From then on, always: `license`.
    """
    return await lanes(request).transactions.run(_by_reference, service(request), who, asked)


def _by_reference(served: Service, who: Principal, asked: IssueByReference) -> ByReference:
    account, to = _account(who, asked), _contracts(served)
    _, plan = to.licenses.plan_of(asked.plan)
    deadline = asked.deadline or int(served.index.now()) + _HOUR
    offer = asked.voucher(account, plan.plan_digest, deadline)
    nothing = ByReference(license=None, holder=None, sign=None, deadline=None, prepared=None)
    if to.licenses.nonce_spent(account, offer.nonce):
        license_ = _referenced(served, account, offer)
        holder = to.licenses.license_of(license_).holder
        return nothing.model_copy(update={"license": str(license_), "holder": str(holder)})
    if not asked.signature:
        domain = ledger_domain(served.deployment.chain_id, to.licenses.address)
        sign = domain.typed_data(VOUCHER_TYPE, offer.message())
        # Decimal text, as wallets take it: readers of JSON would lose the nonce's last digits.
        sign["message"]["nonce"] = str(offer.nonce)
        return nothing.model_copy(update={"sign": sign, "deadline": deadline})
    signature = bytes.fromhex(asked.signature[2:])
    signed = SignedVoucher(served.deployment.chain_id, to.licenses.address, offer, signature)
    prepared = _drafted(served, account, lambda sender: to.licenses.redeem(sender, signed))
    return nothing.model_copy(update={"prepared": prepared, "deadline": deadline})


def _referenced(served: Service, account: Address, offer: Voucher) -> LicenseId:
    """The license that this account issued by this reference before."""
    with served.index.snapshot() as snapshot:
        for license_, row in referenced(snapshot, offer.ext_hash):
            # The signer is the second indexed argument; the nonce the first that is not.
            mine = bytes(row["topics"][64:96]) == account.raw.rjust(32, b"\0")
            if mine and int.from_bytes(row["data"][:32], "big") == offer.nonce:
                return license_
    raise PendingFinality(
        "the reference was used, and the index has not seen for which license",
        retry_after=1.0,
        hint="ask again in a moment; if it stays so, its signer voided it (cancel-voucher)",
    )


# -- relay ---------------------------------------------------------------------------------------


@router.post("/transactions", status_code=int(problems.ACCEPTED), dependencies=[described])
async def relay(request: Request, response: Response, who: Writer, asked: SignedAsked) -> Relayed:
    """Pass a signed transaction on, where the operator allows it.

    Only to this deployment's contracts, and only the caller's own; an operator and a key of no
    account may pass on anyone's. The same bytes again give the same answer.
    """
    served = service(request)
    signed = await lanes(request).transactions.run(_relayed, served, who, asked.raw)
    response.headers["Location"] = url = f"/v1/transactions/{signed.hash}"
    return Relayed(
        hash=str(signed.hash), account=str(signed.sender), call=_call(signed.call), status_url=url
    )


def _relayed(served: Service, who: Principal, raw: str) -> Signed:
    if not served.settings.relay:
        raise RelayRefused("this service passes on no transactions")
    rpc = _rpc(served)
    # (1)-(5) What it is.
    signed = read_signed(bytes.fromhex(raw[2:]), served.deployment)
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


# -- status --------------------------------------------------------------------------------------


@router.get("/transactions/{hash}")
async def status(request: Request, _: Writer, hash: TransactionPath) -> TransactionStatus:  # noqa: A002 -- its name in the URL
    """What became of a transaction: pending, mined, failed, replaced or dropped."""
    which = Digest.parse(hash)
    return await lanes(request).transactions.run(_status, service(request), which)


def _status(served: Service, which: Digest) -> TransactionStatus:
    relays = Relays(served.index.engine, served.index.chain_id, served.index.now)
    found = standing(_rpc(served), which, relays.find(which))
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
