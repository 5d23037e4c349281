"""``deed plan``: what a licensor offers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import events
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.quantities import duration, duration_text, ether, ether_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ZERO_ADDRESS, Address, ModelId, quoted

if TYPE_CHECKING:
    from ledger.chain.licenses import PlanState, PlanTerms
    from ledger.chain.plans import Role
    from ledger.chain.transactions import TxReceipt

app = Verbs("Create and show plans: what a licensor offers.")

_MAX_TERMS = 1 << 20

_Plan = Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")]


def model_of(text: str) -> ModelId:
    """A model id, written out or read from a sealed file.

    Raises:
        UsageError: neither.
        SealedFormatError: a file that is not sealed.
    """
    path = Path(text)
    if not text.startswith("0x") and path.exists():
        from ledger.sealed.file import inspect

        return inspect(path).model_id
    return ModelId.parse(text)


@app.verb("create", signs="licensor", waits=False)
def create(
    session: Session,
    *,
    model: Annotated[str, typer.Argument(help="Model id, or its sealed file.")],
    terms: Annotated[
        Path, typer.Option("--terms", metavar="FILE", help="License terms; see deed terms new.")
    ],
    length: Annotated[
        str, typer.Option("--duration", metavar="TIME", help="Such as 30d or 1y; 0 is perpetual.")
    ] = "1y",
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="How long a runtime may go on unheard.")
    ] = "1d",
    lease: Annotated[
        str, typer.Option("--lease", metavar="TIME", help="How long one key release lasts.")
    ] = "1h",
    max_offline: Annotated[
        str | None,
        typer.Option(
            "--max-offline",
            metavar="TIME",
            help="Bound on lease plus grace, shown to both parties.  [default: their sum]",
        ),
    ] = None,
    notice: Annotated[
        str, typer.Option("--notice", metavar="TIME", help="Least notice of a revocation.")
    ] = "0",
    refund: Annotated[
        str, typer.Option("--refund", metavar="TIME", help="Refund window of market sales.")
    ] = "0",
    reissue: Annotated[
        str,
        typer.Option("--reissue-delay", metavar="TIME", help="Delay of a lost wallet's reissue."),
    ] = "7d",
    seats: Annotated[int, typer.Option("--seats", min=0, max=65535, help="0 is unlimited.")] = 1,
    supply: Annotated[
        int, typer.Option("--supply", min=0, max=(1 << 32) - 1, help="Licenses; 0 is unlimited.")
    ] = 0,
    quota: Annotated[
        int, typer.Option("--quota", min=0, max=(1 << 64) - 1, help="Metered use; 0 is unmetered.")
    ] = 0,
    features: Annotated[
        int, typer.Option("--features", min=0, max=(1 << 64) - 1, help="Bit set.")
    ] = 0,
    broker_set: Annotated[
        int, typer.Option("--broker-set", min=0, max=(1 << 64) - 1, help="See deed broker status.")
    ] = 1,
    price: Annotated[
        str, typer.Option("--price", metavar="AMOUNT", help="In ether, or the token's units.")
    ] = "0",
    token: Annotated[
        str | None,
        typer.Option(
            "--token", metavar="ADDRESS", help="ERC-20 to pay in; native coin if not given."
        ),
    ] = None,
    bound: Annotated[
        bool, typer.Option("--bound/--floating", help="Seats on chain, or leased by the broker.")
    ] = False,
    trial: Annotated[
        bool, typer.Option("--trial", help="Warn instead of enforce, for trials.")
    ] = False,
    transferable: Annotated[
        bool, typer.Option("--transferable", help="Holders may pass licenses on.")
    ] = False,
) -> Answer:
    """Create a plan for a model whose title you hold."""
    from ledger.chain.licenses import PlanTerms
    from ledger.licensing.terms import parse

    model_id = model_of(model)
    with terms.open("rb") as handle:
        document = parse(handle.read(_MAX_TERMS))
    if session.registry.licensor_of(model_id) is None:
        raise UnknownRecord(
            f"there is no model {model_id} on {session.network.name}",
            hint="register it with deed publish, or check the id and the network",
        )
    lease_ttl, grace_s = duration(lease), duration(grace)
    offer = PlanTerms(
        model_id=model_id,
        terms_hash=document.hash(),
        duration=duration(length),
        grace=grace_s,
        lease_ttl=lease_ttl,
        max_offline=lease_ttl + grace_s if max_offline is None else duration(max_offline),
        min_notice=duration(notice),
        refund_window=duration(refund),
        reissue_delay=duration(reissue),
        seats=seats,
        supply=supply,
        quota=quota,
        features=features,
        broker_set=broker_set,
        pay_token=Address.parse(token) if token else ZERO_ADDRESS,
        price=_amount(price, token),
        floating=not bound,
        warn_only=trial,
        transferable=transferable,
    )
    plan, receipt = session.licenses.create_plan(session.sender, offer)
    final = settle(session, receipt)
    return Answer(
        {"plan": plan, "model_id": model_id, "terms_hash": offer.terms_hash}
        | receipt_data(receipt, final=final),
        fields(
            [
                ("plan", plan),
                ("model", model_id),
                ("terms", offer.terms_hash),
                ("offline", f"at most {duration_text(offer.max_offline)} after a revocation"),
                receipt_row(receipt, final=final),
            ]
        ),
        notes=(f"next: deed license issue {plan} --to ADDRESS --card license.license.json",),
    )


@app.verb("sync", signs="licensor", waits=False)
def sync(session: Session, plan: _Plan) -> Answer:
    """Give a plan to whoever holds the model's title now; voids its roles. Anyone may."""
    receipt = session.licenses.sync_licensor(session.sender, plan)
    return _done(session, plan, receipt, "licensor", session.licenses.plan_of(plan)[1].licensor)


@app.verb("pause", signs="licensor", waits=False)
def pause(session: Session, plan: _Plan) -> Answer:
    """Stop issuing licenses; those that exist go on."""
    receipt = session.licenses.set_paused(session.sender, plan, paused=True)
    return _done(session, plan, receipt, "paused", "yes")


@app.verb("resume", signs="licensor", waits=False)
def resume(session: Session, plan: _Plan) -> Answer:
    """Issue licenses again."""
    receipt = session.licenses.set_paused(session.sender, plan, paused=False)
    return _done(session, plan, receipt, "paused", "no")


@app.verb("roles", signs="licensor", waits=False)
def roles(
    session: Session,
    plan: _Plan,
    who: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose roles.")],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="ROLES", help="issuer, revoker, meter, guardian, by commas; or none."
        ),
    ] = None,
) -> Answer:
    """Show or set what an account may do on your plan."""
    from ledger.chain.plans import Role
    from ledger.cli.acting import account

    address = account(session, who)
    if to is None:
        held = session.licenses.roles_of(plan, address)
        return Answer(
            {"plan": plan, "account": address, "roles": int(held)},
            fields([("account", address), ("roles", _role_names(held))]),
        )
    wanted = Role(0)
    for word in () if to == "none" else to.split(","):
        try:
            wanted |= Role[word.strip().upper()]
        except KeyError:
            names = ", ".join(str(role.name).lower() for role in Role)
            raise UsageError(
                f"there is no role {quoted(word)}", hint=f"give {names} or none"
            ) from None
    receipt = session.licenses.set_roles(session.sender, plan, address, int(wanted))
    return _done(session, plan, receipt, "roles", _role_names(wanted))


@app.verb("royalty", signs="licensor", waits=False)
def royalty(
    session: Session,
    plan: _Plan,
    bps: Annotated[int, typer.Argument(metavar="BPS", min=0, max=65535, help="Of 10,000.")],
) -> Answer:
    """Ask a share of resales (ERC-2981), at most 1,000 of 10,000."""
    receipt = session.licenses.set_resale_royalty(session.sender, plan, bps)
    return _done(session, plan, receipt, "royalty", f"{bps} of 10,000")


@app.verb("show")
def show(
    session: Session,
    plan: Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")],
) -> Answer:
    """Show a plan as it stands on chain."""
    terms, state = session.licenses.plan_of(plan)
    return Answer(_data(plan, terms, state), fields(_rows(plan, terms, state)))


@app.verb("list")
def list_(
    session: Session,
    licensor: Annotated[
        str | None, typer.Option("--licensor", metavar="ADDRESS", help="Only this licensor's.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only plans for this model.")
    ] = None,
) -> Answer:
    """List plans, oldest first."""
    numbers = events.plans(
        session,
        licensor=Address.parse(licensor) if licensor else None,
        model=model_of(model) if model else None,
    )
    found = [(number, *session.licenses.plan_of(number)) for number in numbers]
    text = table(
        ("plan", "model", "licensor", "length", "seats", "price", "issued", "paused"),
        [
            (
                number,
                terms.model_id.short,
                state.licensor,
                duration_text(terms.duration) if terms.duration else "perpetual",
                terms.seats or "any",
                _price(terms),
                state.issued,
                state.paused,
            )
            for number, terms, state in found
        ],
        empty="no plans",
    )
    return Answer({"plans": [_data(*entry) for entry in found]}, text)


def _role_names(roles: Role) -> str:
    return ", ".join(str(role.name).lower() for role in roles) or "none"


def _done(session: Session, plan: int, receipt: TxReceipt, what: str, value: object) -> Answer:
    final = settle(session, receipt)
    return Answer(
        {"plan": plan, what: value} | receipt_data(receipt, final=final),
        fields([("plan", plan), (what, value), receipt_row(receipt, final=final)]),
    )


def _amount(text: str, token: str | None) -> int:
    if token is None:
        return ether(text)
    if not (text.isascii() and text.isdigit() and int(text[:40]) < 1 << 96):
        raise UsageError(
            f"{quoted(text)} is not an amount of a token", hint="give whole units, below 2^96"
        )
    return int(text)


def _price(terms: PlanTerms) -> str:
    if not terms.price:
        return "free"
    if terms.pay_token == ZERO_ADDRESS:
        return ether_text(terms.price)
    return f"{terms.price} of {terms.pay_token}"


def _rows(plan: int, terms: PlanTerms, state: PlanState) -> list[tuple[str, object]]:
    return [
        ("plan", plan),
        ("model", terms.model_id),
        ("licensor", state.licensor),
        ("terms", terms.terms_hash),
        ("length", duration_text(terms.duration) if terms.duration else "perpetual"),
        ("lease", duration_text(terms.lease_ttl)),
        ("grace", duration_text(terms.grace)),
        ("offline", f"at most {duration_text(terms.max_offline)} after a revocation"),
        ("notice", duration_text(terms.min_notice)),
        ("seats", f"{terms.seats or 'any'}, {'floating' if terms.floating else 'bound'}"),
        ("supply", terms.supply or "unlimited"),
        ("price", _price(terms)),
        ("broker set", terms.broker_set),
        ("mode", "warn (trial)" if terms.warn_only else "enforce"),
        ("transfers", "permitted" if terms.transferable else "forbidden"),
        ("issued", state.issued),
        ("paused", state.paused),
        ("as of", time_text(int(time.time()))),
    ]


def _data(plan: int, terms: PlanTerms, state: PlanState) -> dict[str, Any]:
    return {"plan": plan, "terms": terms, "state": state}
