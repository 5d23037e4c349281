"""``deed plan``: what a licensor offers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import events, plan_govern, publications
from ledger.cli.accounts import account
from ledger.cli.model_args import Model, known, model_of
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.payments import amount, price_text
from ledger.cli.quantities import duration, duration_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError
from ledger.ids import ZERO_ADDRESS, Address
from ledger.licensing.terms import terms_hash

if TYPE_CHECKING:
    from ledger.chain.licenses import PlanState, PlanTerms
    from ledger.chain.rpc import Block

app = Verbs("Create, show and govern plans: what a licensor offers.")


@app.verb("create", signs="licensor", waits=False)
def create(
    session: Session,
    *,
    model: Model,
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
    from ledger.cli.card import read_terms

    model_id = known(session, model)
    document = read_terms(terms)
    pay_token = Address.parse(token) if token else ZERO_ADDRESS
    if broker_set:
        session.brokers.broker_set_of(broker_set)  # a plan is for good, and so is its set
    if pay_token != ZERO_ADDRESS:
        from ledger.chain.erc20 import Erc20

        Erc20(session.rpc, pay_token).balance_of(session.market.address)  # or it sells nothing
    lease_ttl, grace_s = duration(lease), duration(grace, bits=24)
    offer = PlanTerms(
        model_id=model_id,
        terms_hash=document.hash(),
        duration=duration(length, bits=40),
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
        pay_token=pay_token,
        price=amount(price, pay_token),
        floating=not bound,
        warn_only=trial,
        transferable=transferable,
    )
    plan, receipt = session.licenses.create_plan(session.sender, offer)
    final = settle(session, receipt)
    words = _card_words(offer, terms) + session.again("licensor")
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
        notes=(f"next: deed license issue {plan} --to ADDRESS{words}",),
    )


def _card_words(offer: PlanTerms, terms: Path) -> str:
    """The words that also write a card, where one can be made from here."""
    try:
        found = publications.find(
            None,
            lambda f: f.steps.get("register", {}).get("model_id") == str(offer.model_id),
            what="the model",
        )
        published = terms_hash(found.document("terms.json"))
    except LedgerError:
        return ""
    if not offer.broker_set:
        return ""  # nobody would release the key that a card asks for
    other = "" if published == offer.terms_hash else f" --terms {shlex.quote(str(terms))}"
    return f" --card license.license.json{other}"


@app.verb("show")
def show(
    session: Session,
    plan: Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")],
) -> Answer:
    """Show a plan as it stands on chain."""
    head = session.rpc.block("latest")
    terms, state = session.licenses.plan_of(plan, head.number)
    as_of = {"as_of": {"block": head.number, "hash": head.hash}}
    return Answer(_data(plan, terms, state) | as_of, fields(_rows(plan, terms, state, head)))


@app.verb("list")
def list_(
    session: Session,
    licensor: Annotated[
        str | None,
        typer.Option("--licensor", metavar="ADDRESS", help="Only those that are its now."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only plans for this model.")
    ] = None,
) -> Answer:
    """List plans, oldest first."""
    who = account(session, licensor) if licensor else None
    numbers = events.plans(session, licensor=who, model=model_of(model) if model else None)
    every = [(number, *session.licenses.plan_of(number)) for number in numbers]
    found = [entry for entry in every if who in {None, entry[2].licensor}]
    text = table(
        ("plan", "model", "licensor", "length", "seats", "price", "issued", "paused"),
        [
            (
                number,
                terms.model_id.short,
                state.licensor,
                duration_text(terms.duration) if terms.duration else "perpetual",
                terms.seats or "any",
                price_text(terms.pay_token, terms.price),
                state.issued,
                state.paused,
            )
            for number, terms, state in found
        ],
        empty="no plans",
    )
    return Answer({"plans": [_data(*entry) for entry in found]}, text)


def _rows(plan: int, terms: PlanTerms, state: PlanState, head: Block) -> list[tuple[str, object]]:
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
        ("refund", f"within {duration_text(terms.refund_window)}" if terms.refund_window else "no"),
        ("reissue", f"after {duration_text(terms.reissue_delay)}"),
        ("seats", f"{terms.seats or 'any'}, {'floating' if terms.floating else 'bound'}"),
        ("supply", terms.supply or "unlimited"),
        ("quota", terms.quota or "unmetered"),
        ("features", hex(terms.features) if terms.features else "none"),
        ("price", price_text(terms.pay_token, terms.price)),
        ("broker set", terms.broker_set or "none: nobody releases keys"),
        ("mode", "warn (trial)" if terms.warn_only else "enforce"),
        ("transfers", "permitted" if terms.transferable else "forbidden"),
        ("issued", state.issued),
        ("paused", state.paused),
        ("as of", f"block {head.number}, {time_text(head.timestamp)}"),
    ]


def _data(plan: int, terms: PlanTerms, state: PlanState) -> dict[str, Any]:
    return {"plan": plan, "terms": terms, "state": state}


app.registered_commands += plan_govern.app.registered_commands
