"""Transactions made ready for a wallet elsewhere; what they say is tested with the service's."""

from __future__ import annotations

import os

import pytest

from ledger.chain.drafting import attempt, draft
from ledger.chain.erc20 import Erc20
from ledger.chain.profile import profile_for
from ledger.errors import ChainError, WalletError
from ledger.ids import Address, Digest

pytestmark = pytest.mark.chain
ACCOUNT = Address(b"\xa1" * 20)


def test_an_account_whose_key_is_elsewhere_signs_nothing_here(deployed):
    def act(sender):
        sender.signer.sign_digest(Digest(bytes(32)))

    with pytest.raises(WalletError) as refused:
        draft(deployed.rpc, deployed.deployment, profile_for(31337), ACCOUNT, act)
    assert str(ACCOUNT) in refused.value.message
    assert refused.value.hint


# Does nothing where it has more gas than 2^24, and reverts otherwise.
WANTS_MUCH = "0x63010000005a11600e57600080fd5b00"
CONTENT = "0x5b00"


@pytest.mark.parametrize("how", ["draft", "attempt"])
def test_what_is_tried_has_no_more_gas_than_a_transaction_may_have(deployed, how):
    token, account = Address(os.urandom(20)), deployed.wallet("licensor").address
    market = deployed.deployment.addresses["LicenseMarket"]

    def tried():
        def act(sender):
            Erc20(deployed.rpc, token).approve(sender, market, 5)

        if how == "attempt":
            attempt(deployed.rpc, profile_for(31337), account, act)
        else:
            draft(deployed.rpc, deployed.deployment, profile_for(31337), account, act)

    deployed.rpc.call("anvil_setCode", [str(token), CONTENT])
    tried()
    deployed.rpc.call("anvil_setCode", [str(token), WANTS_MUCH])
    with pytest.raises(ChainError):
        tried()
