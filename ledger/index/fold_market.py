"""Events of LicenseMarket into sales, what licensors took, and what is owed to whom."""

from __future__ import annotations

from collections.abc import Callable

from ledger.index.fold_licenses import license_subject
from ledger.index.step import Step

OPEN, SETTLED, REFUNDED = 0, 1, 2
"""A sale whose price may still be given back; one that was paid out; one that was given back."""


def _license_sold(s: Step) -> None:
    amount, until = s.number("amount"), s.number("refundableUntil")
    s.put(
        "sale",
        (s.number("licenseId"),),
        payer=s.raw("payer"),
        licensor=s.raw("licensor"),
        pay_token=s.raw("payToken"),
        amount=amount,
        sold_at=s.at.time,
        refundable_until=until,
        # The contract pays out at once what nobody may ask back.
        state=OPEN if until else SETTLED,
    )
    _took(s, "sales", amount)
    _concern(s)


def _renewal_sold(s: Step) -> None:
    _took(s, "renewals", s.number("amount"))
    _concern(s)


def _sale_settled(s: Step) -> None:
    s.change("sale", (s.number("licenseId"),), state=SETTLED)
    _concern(s)


def _sale_refunded(s: Step) -> None:
    sale = s.change("sale", (s.number("licenseId"),), state=REFUNDED)
    if sale is not None:
        key = (sale["licensor"], sale["pay_token"])
        before = s.state.get("revenue", key)
        if before is not None:
            s.change(
                "revenue",
                key,
                refunds=before["refunds"] + 1,
                refunded=before["refunded"] + s.number("amount"),
            )
    _concern(s)


def _took(s: Step, kind: str, amount: int) -> None:
    key = (s.raw("licensor"), s.raw("payToken"))
    before = s.state.get("revenue", key)
    if before is None:
        before = {"sales": 0, "renewals": 0, "refunds": 0, "taken": 0, "refunded": 0}
    s.put("revenue", key, **{**before, kind: before[kind] + 1, "taken": before["taken"] + amount})


def _concern(s: Step) -> None:
    license_id = s.number("licenseId")
    held = s.state.get("license", (license_id,))
    if held is not None:
        s.concern(held["model_id"], license_subject(license_id))


def _accrued(s: Step) -> None:
    _add(s, "owed", s.raw("account"), accrued=s.number("amount"), withdrawn=0)


def _withdrawn(s: Step) -> None:
    _add(s, "owed", s.raw("account"), accrued=0, withdrawn=s.number("amount"))


def _royalty_accrued(s: Step) -> None:
    s.concern(s.raw("modelId"))
    _add(s, "royalty", s.raw("modelId"), accrued=s.number("amount"), collected=0)


def _royalties_collected(s: Step) -> None:
    s.concern(s.raw("modelId"))
    _add(s, "royalty", s.raw("modelId"), accrued=0, collected=s.number("amount"))


def _add(s: Step, table: str, whose: bytes, **amounts: int) -> None:
    key = (whose, s.raw("payToken"))
    before = s.state.get(table, key) or dict.fromkeys(amounts, 0)
    s.put(table, key, **{name: before[name] + amount for name, amount in amounts.items()})


HANDLERS: dict[tuple[str, str], Callable[[Step], None]] = {
    ("LicenseMarket", "LicenseSold"): _license_sold,
    ("LicenseMarket", "LicenseRenewalSold"): _renewal_sold,
    ("LicenseMarket", "SaleSettled"): _sale_settled,
    ("LicenseMarket", "SaleRefunded"): _sale_refunded,
    ("LicenseMarket", "Accrued"): _accrued,
    ("LicenseMarket", "Withdrawn"): _withdrawn,
    ("LicenseMarket", "RoyaltyAccrued"): _royalty_accrued,
    ("LicenseMarket", "RoyaltiesCollected"): _royalties_collected,
}
