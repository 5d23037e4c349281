"""The LicenseMarket contract: buying, renewing and refunding licenses, and who gets the money.

Prices are in the smallest unit of the plan's token; the zero address is the chain's coin (wei).
Paying in a token takes an allowance first: `ledger.chain.erc20.Erc20.approve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt, exact_ether
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId, ModelId
from ledger.licensing.voucher import SignedVoucher


@dataclass(frozen=True, slots=True)
class Royalty:
    """What a model is due of each sale, in 1/10,000 of the price."""

    model: ModelId
    bps: int


@dataclass(frozen=True, slots=True)
class Payee:
    """Who shares what a sale leaves after royalties, in 1/10,000 of it."""

    account: Address
    bps: int


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale that can still be refunded or settled; `refundable_until` in Unix seconds."""

    licensor: Address
    pay_token: Address
    amount: int
    refundable_until: int


@dataclass(frozen=True, slots=True)
class Price:
    """What is paid: an amount of a token, zero for the chain's coin."""

    pay_token: Address
    amount: int

    @property
    def coins(self) -> int:
        """Wei to send along with the call."""
        return self.amount if self.pay_token == ZERO_ADDRESS else 0

    def __str__(self) -> str:
        """For people, exact. A token's own name and decimals are whatever it says, so units."""
        if not self.amount:
            return "nothing"
        if self.pay_token != ZERO_ADDRESS:
            return f"{self.amount} units of token {self.pay_token}"
        return exact_ether(self.amount)


class LicenseMarket(ContractCalls):
    """Calls of one deployed LicenseMarket. Raises as `ContractCalls` says."""

    contract_name = "LicenseMarket"

    # -- what a plan pays to whom ----------------------------------------------------------------

    def pin_royalties(self, sender: Sender, plan: int, royalties: Sequence[Royalty]) -> TxReceipt:
        """Fix what the plan's sales owe other models, once, before its first license.

        Args:
            sender: the licensor.
            plan: the plan.
            royalties: at most 8, 5,000 in sum; put into the contract's order here.
        """
        purpose = f"fix the royalties of plan {plan}"
        ordered = sorted(royalties, key=lambda royalty: royalty.model)
        pairs = tuple((royalty.model, royalty.bps) for royalty in ordered)
        return self._send(sender, purpose, "pinRoyalties", plan, pairs)

    def set_payees(self, sender: Sender, plan: int, payees: Sequence[Payee]) -> TxReceipt:
        """Say who shares the licensor's part; at most 16, 10,000 in sum. Licensor only."""
        purpose = f"set who shares the sales of plan {plan}"
        pairs = tuple((payee.account, payee.bps) for payee in payees)
        return self._send(sender, purpose, "setPayees", plan, pairs)

    # -- sales -----------------------------------------------------------------------------------

    def buy(
        self,
        sender: Sender,
        plan: int,
        plan_digest: Digest,
        price: Price,
        to: Address,
        *,
        permit: bytes = b"",
    ) -> tuple[LicenseId, TxReceipt]:
        """Buy one license for `to` at the plan's price and duration.

        Args:
            sender: who pays.
            plan: the plan.
            plan_digest: of the plan as the buyer saw it; any change of it refuses the sale.
            price: the plan's as the buyer saw it.
            to: who will hold the license.
            permit: ERC-2612 in the contract's form, in place of an allowance; empty for none.
        """
        receipt = self._send(
            sender,
            f"buy a license of plan {plan} for {to}, and pay {price}",
            "buy",
            plan,
            plan_digest,
            to,
            permit,
            value=price.coins,
        )
        return self._sold(receipt), receipt

    def buy_with_voucher(
        self, sender: Sender, signed: SignedVoucher, permit: bytes = b""
    ) -> tuple[LicenseId, TxReceipt]:
        """Buy what a voucher promises, at the voucher's price. It names this market."""
        offer = signed.voucher
        price = Price(offer.pay_token, offer.price)
        receipt = self._send(
            sender,
            f"buy a license of plan {offer.plan} for {offer.to} with a voucher, and pay {price}",
            "buyWithVoucher",
            offer.as_tuple(),
            signed.signature,
            permit,
            value=price.coins,
        )
        return self._sold(receipt), receipt

    def _sold(self, receipt: TxReceipt) -> LicenseId:
        event = self._abi.emitted(receipt.logs, self.address, "LicenseSold")
        return LicenseId(int(event.arguments["licenseId"]))

    def renew(
        self,
        sender: Sender,
        license_id: LicenseId,
        plan_digest: Digest,
        price: Price,
        permit: bytes = b"",
    ) -> TxReceipt:
        """Pay for one plan duration more; arguments as for `buy`. Anyone may pay for anyone."""
        purpose = f"renew license {license_id} for one plan duration, and pay {price}"
        return self._send(
            sender, purpose, "renew", license_id, plan_digest, permit, value=price.coins
        )

    def refund(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Give an unused license back within the refund window; the price is then `owed`.

        The holder first lets this contract move the token (`LicenseLedger.approve`).
        """
        return self._send(sender, f"give license {license_id} back", "refund", license_id)

    def settle(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Pay out a sale whose refund window has passed, or whose license is in use. Anyone may."""
        return self._send(sender, f"settle the sale of license {license_id}", "settle", license_id)

    def withdraw(self, sender: Sender, pay_token: Address, to: Address) -> tuple[int, TxReceipt]:
        """Send `to` all that the sender is owed in a token; gives the amount."""
        owed = Price(pay_token, self.owed(sender.address, pay_token))
        purpose = f"withdraw {owed}, which {sender.address} is owed, to {to}"
        receipt = self._send(sender, purpose, "withdraw", pay_token, to)
        event = self._abi.emitted(receipt.logs, self.address, "Withdrawn")
        return int(event.arguments["amount"]), receipt

    def collect_royalties(
        self, sender: Sender, model: ModelId, pay_token: Address, to: Address
    ) -> tuple[int, TxReceipt]:
        """Send `to` all royalties a model is owed in a token; its titleholder only."""
        owed = Price(pay_token, self.owed_to_model(model, pay_token))
        purpose = f"collect the royalties of model {model.short}, {owed}, to {to}"
        receipt = self._send(sender, purpose, "collectRoyalties", model, pay_token, to)
        event = self._abi.emitted(receipt.logs, self.address, "RoyaltiesCollected")
        return int(event.arguments["amount"]), receipt

    # -- reads -----------------------------------------------------------------------------------

    def owed(self, account: Address, pay_token: Address, block: BlockId = "latest") -> int:
        """What an account may withdraw."""
        (amount,) = self._read(block, "owed", account, pay_token)
        return int(amount)

    def owed_to_model(self, model: ModelId, pay_token: Address, block: BlockId = "latest") -> int:
        """What the titleholder of a model may collect."""
        (amount,) = self._read(block, "owedToModel", model, pay_token)
        return int(amount)

    def sale_of(self, license_id: LicenseId, block: BlockId = "latest") -> Sale | None:
        """The unsettled sale of a license, or None."""
        sale = Sale(*self._read(block, "saleOf", license_id))
        return None if sale.licensor == ZERO_ADDRESS else sale

    def royalties_of(self, plan: int, block: BlockId = "latest") -> tuple[Royalty, ...]:
        """What the plan's sales owe other models."""
        (pairs,) = self._read(block, "royaltiesOf", plan)
        return tuple(Royalty(ModelId(bytes(model)), bps) for model, bps in pairs)

    def payees_of(self, plan: int, block: BlockId = "latest") -> tuple[Payee, ...]:
        """Who shares the present licensor's part."""
        (pairs,) = self._read(block, "payeesOf", plan)
        return tuple(Payee(Address.parse(account), bps) for account, bps in pairs)
