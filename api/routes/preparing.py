"""Transactions prepared for a wallet to sign, and what somebody else signs first."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request

from api import problems
from api.dependencies import Service, service
from api.once import described
from api.strict import StrictRoute
from api.transactions import AGREED, KINDS
from api.transactions.answers import (
    ByReference,
    Prepared,
    Simulation,
    Step,
    Unsigned,
    VoucherStep,
)
from api.transactions.base import Agreed, Agreement, Asked, Contracts
from api.transactions.desk import Writer, decoded, lane_of, rpc_of
from api.transactions.licenses import IssueByReference
from api.transactions.promises import OfferVoucher
from ledger.access.principals import Principal
from ledger.chain.drafting import draft
from ledger.chain.market import Price
from ledger.chain.transactions import Sender
from ledger.errors import PendingFinality, UnknownRecord, UsageError
from ledger.ids import ZERO_ADDRESS, Address, LicenseId, quoted
from ledger.index.listing import referenced
from ledger.licensing.card import ledger_domain
from ledger.licensing.voucher import VOUCHER_TYPE, SignedVoucher, Voucher

router = APIRouter(
    prefix="/v1",
    tags=["transactions"],
    route_class=StrictRoute,
    responses=problems.WRITE_FAILURES,
)


def _preparing(kind: type[Asked]) -> Callable[..., Coroutine[Any, Any, Prepared]]:
    async def prepare(request: Request, who: Writer, asked: Any) -> Prepared:
        return await lane_of(request, who).run(_prepared, service(request), who, asked)

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


def _of_use(served: Service, asked: Asked) -> None:
    """Whatever a contract of ours is sent, it keeps: none of them does anything with it.

    Raises:
        UsageError: `to` is one of them. `approve` gives nothing away, and may name the market.
    """
    given = getattr(asked, "to", None)
    if given is None or asked.kind == "approve":
        return
    named = {Address.parse(each) for each in ([given] if isinstance(given, str) else given)}
    for name, at in served.deployment.addresses.items():
        if at in named:
            raise UsageError(
                f"{at} is the contract {name}, which can do nothing with it",
                hint="name an account that somebody controls",
            )


def _contracts(served: Service) -> Contracts:
    return Contracts.of(rpc_of(served), served.deployment, served.profile)


def _prepared(served: Service, who: Principal, asked: Asked) -> Prepared:
    _of_use(served, asked)
    to = _contracts(served)
    return _drafted(served, _account(who, asked), lambda sender: asked.act(to, sender))


def _drafted(served: Service, account: Address, act: Callable[[Sender], object]) -> Prepared:
    made = draft(rpc_of(served), served.deployment, served.profile, account, act)
    return Prepared(
        what=made.what,
        account=str(account),
        call=decoded(made.call),
        transaction=Unsigned.model_validate(made.to_json()),
        pays=str(Price(ZERO_ADDRESS, int(made.fields["value"]))),
        simulation=Simulation(
            block=made.head.number, hash=str(made.head.hash), returns=made.returns
        ),
        most_fee=str(made.most_fee),
        test_network=served.profile.test_network,
    )


# -- what somebody signs first -------------------------------------------------------------------


def _agreeing(kind: type[Agreed]) -> Callable[..., Coroutine[Any, Any, Step]]:
    async def agree(request: Request, who: Writer, asked: Any) -> Step:
        return await lane_of(request, who).run(_step, service(request), who, asked)

    agree.__annotations__["asked"] = kind
    agree.__doc__ = (
        f"{kind.about} First without `signature`: `sign` is to be signed by `signer`. Then the "
        "same with the members of `again` and `signature`: `prepared` is to be signed and sent."
    )
    return agree


for _agreed in AGREED:
    router.add_api_route(
        f"/transactions/{_agreed.kind}",
        _agreeing(_agreed),
        methods=["POST"],
        dependencies=[described],
        name=_agreed.kind.replace("-", "_"),
        summary=_agreed.about.partition(".")[0],
    )


def _step(served: Service, who: Principal, asked: Agreed) -> Step:
    _of_use(served, asked)
    account, to = _account(who, asked), _contracts(served)
    if not asked.signature:
        first = _agreement(asked, to, account)
        return Step(
            what=first.what,
            signer=str(first.signer),
            sign=first.to_json(),
            again=first.again,
            prepared=None,
        )
    if not asked.deadline:
        raise UsageError("what was signed has a deadline", hint="give the one that `again` had")
    made = _drafted(served, account, lambda sender: asked.act(to, sender))
    return Step(what=made.what, signer=None, sign=None, again=None, prepared=made)


def _agreement(asked: Agreed, to: Contracts, account: Address) -> Agreement:
    if asked.deadline and asked.deadline < to.now():
        raise UsageError(
            f"second {asked.deadline} is past: what is signed would be good for nothing",
            hint="give a later deadline, or none",
        )
    return asked.agreement(to, account)


@router.post(
    f"/transactions/{OfferVoucher.kind}",
    dependencies=[described],
    summary=OfferVoucher.about.partition(".")[0],
)
async def voucher(request: Request, who: Writer, asked: OfferVoucher) -> VoucherStep:
    """Promise somebody a license, free or for a price of its own: no transaction, and no fee.

    First without `signature`: `sign` is to be signed. Then the same with the members of `again` and
    `signature`: `voucher` is for who redeems it.
    """
    return await lane_of(request, who).run(_voucher, service(request), who, asked)


def _voucher(served: Service, who: Principal, asked: OfferVoucher) -> VoucherStep:
    _of_use(served, asked)
    account, to = _account(who, asked), _contracts(served)
    if not asked.signature:
        first = _agreement(asked, to, account)
        return VoucherStep(what=first.what, sign=first.to_json(), again=first.again, voucher=None)
    made = asked.made(to, account)
    what = f"promises {made.voucher.to} a license of plan {made.voucher.plan}"
    return VoucherStep(what=what, sign=None, again=None, voucher=made.to_json())


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
    return await lane_of(request, who).run(_by_reference, service(request), who, asked)


def _by_reference(served: Service, who: Principal, asked: IssueByReference) -> ByReference:
    _of_use(served, asked)
    account, to = _account(who, asked), _contracts(served)
    _, plan = to.licenses.plan_of(asked.plan)
    deadline = asked.good_until(int(served.index.now()))
    offer = asked.voucher(account, plan.plan_digest, deadline)
    nothing = ByReference(license=None, holder=None, sign=None, deadline=None, prepared=None)
    if to.licenses.nonce_spent(account, offer.nonce):
        license_ = _referenced(served, account, offer)
        holder = to.licenses.license_of(license_).holder
        return nothing.model_copy(update={"license": str(license_), "holder": str(holder)})
    if not asked.signature:
        domain = ledger_domain(served.deployment.chain_id, to.licenses.address)
        what = f"issue one license of plan {asked.plan} for this reference"
        first = Agreement(what, account, domain, VOUCHER_TYPE, offer.message(), {})
        sign = first.to_json()
        return nothing.model_copy(update={"sign": sign, "deadline": deadline})
    signed = SignedVoucher(served.deployment.chain_id, to.licenses.address, offer, asked.signed)
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


# -- anything else -------------------------------------------------------------------------------

_ALL: tuple[type[Asked], ...] = (*KINDS, *AGREED, OfferVoucher, IssueByReference)
_NAMES = sorted(kind.kind for kind in _ALL)


# Below all that there are, so that it takes what they leave.
@router.post("/transactions/{kind}", include_in_schema=False)
async def no_kind(kind: str) -> None:
    """No kind of transaction."""
    near = difflib.get_close_matches(kind[:30], _NAMES, cutoff=0.5)
    perhaps = f"perhaps {' or '.join(near)}; " if near else ""
    raise UnknownRecord(
        f"there is no kind {quoted(kind)} of transactions",
        hint=f"{perhaps}docs/spec/transactions.md and /v1/openapi.json have all kinds",
    )
