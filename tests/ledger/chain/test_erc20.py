"""Tokens are anybody's code: what they may make our node do is bounded."""

from __future__ import annotations

import os

import pytest

from ledger.chain.erc20 import READ_GAS, Erc20
from ledger.ids import Address

pytestmark = pytest.mark.chain

# Answers how much gas it was given: GAS, MSTORE at 0, RETURN of 32 bytes.
TELLS_ITS_GAS = "0x5a60005260206000f3"


def test_a_token_is_asked_with_little_gas(deployed):
    token = Address(os.urandom(20))
    deployed.rpc.call("anvil_setCode", [str(token), TELLS_ITS_GAS])
    account = deployed.wallet("holder").address
    asked = Erc20(deployed.rpc, token)
    assert 1_000_000 < asked.balance_of(account) < READ_GAS
    assert 1_000_000 < asked.allowance(account, token) < READ_GAS
    assert 1_000_000 < asked._answer("DOMAIN_SEPARATOR()", "uint256") < READ_GAS
