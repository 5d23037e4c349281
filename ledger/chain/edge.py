"""The one place where web3 is used: a web3 handle on our chain for users.

Why only here: docs/adr/0003-web3-at-the-edges.md.
"""

from __future__ import annotations

from typing import Any, cast

from web3 import Web3
from web3.contract import Contract
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.errors import RpcRefused
from ledger.ids import Address


class RpcProvider(BaseProvider):
    """A web3 provider over our `Rpc`: same failover, chain id check, bounds and silence on URLs."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One request; our errors pass through web3 unchanged, node errors in web3's form."""
        try:
            result = self._rpc.call(method, params)
        except RpcRefused as error:
            return cast(
                "RPCResponse",
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "error": {"code": error.rpc_code, "message": error.rpc_message},
                },
            )
        return cast("RPCResponse", {"jsonrpc": "2.0", "id": 1, "result": result})

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether an endpoint answers."""
        try:
            self._rpc.chain_id()
        except Exception:
            if show_traceback:
                raise
            return False
        return True


def web3_for(rpc: Rpc) -> Web3:
    """A web3 instance on the chain behind `rpc`, for users who want web3's own interface."""
    return Web3(RpcProvider(rpc))


def web3_contract(rpc: Rpc, name: str, address: Address) -> Contract:
    """One of our contracts as a web3 object."""
    return web3_for(rpc).eth.contract(
        address=Web3.to_checksum_address(str(address)), abi=list(contract(name).abi)
    )
