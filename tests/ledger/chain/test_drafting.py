"""Transactions made ready for a wallet elsewhere; what they say is tested with the service's."""

from __future__ import annotations

import pytest

from ledger.chain.drafting import draft
from ledger.chain.profile import profile_for
from ledger.errors import WalletError
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
