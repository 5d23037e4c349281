"""The chain that the index benchmark reads: real contracts on Anvil, many logs a block.

A loader of 47 bytes makes many calls in one transaction. Each block holds one: a round of license
issues of one plan out of eight (`Transfer` and `LicenseIssued`), and one anchored root.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ledger.chain import anvil
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable
from ledger.evidence.origin import DEPLOYED, FACTORY, factory_call
from ledger.evidence.releases import shipped_code, shipped_init_code
from ledger.ids import Address, Digest, keccak256

PLANS = 8
ISSUES = 12
LOGS = 2 * ISSUES + 1
HOLDERS = 5000
BULK = 100
GAS = 8_000_000

# for (off = 0; off < calldatasize; off += 64 + len): call(target at off, len at off + 32 bytes)
_LOADER = bytes.fromhex(
    "5f5b36811015602957806020013580826040015f375f5f825f5f86355af115602b57016040016001565b005b5f5ffd"
)
_LOADER_INIT = bytes.fromhex("602f8060095f395ff3") + _LOADER


@dataclass(frozen=True)
class Contracted:
    """A deployment manifest as far as following needs it."""

    chain_id: int
    genesis_hash: Digest
    block: int
    addresses: dict[str, Address]


@dataclass(frozen=True)
class Profile:
    """A finality rule: what the node calls finalized."""

    test_network: bool = False
    finality_depth: int = 0


class Chain:
    """The contracts on one node, and a loader that may issue licenses of eight plans."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self._accounts = rpc.call("eth_accounts")
        first = rpc.block("latest").number + 1
        made: dict[str, Address] = {}
        for name in DEPLOYED:
            self._send(FACTORY, factory_call(shipped_init_code(name)), 0)
            made[name] = shipped_code(name).address
        self.deployment = Contracted(rpc.chain_id(), rpc.block(0).hash, first, made)
        self._loader = Address.parse(self._send(None, _LOADER_INIT, 0)["contractAddress"])
        self._plans = [self._plan() for _ in range(PLANS)]
        self._holders = [secrets.token_bytes(20) for _ in range(HOLDERS)]
        self._turn = 0

    def _send(self, to: Address | None, data: bytes, account: int) -> dict[str, Any]:
        fields = {
            "from": self._accounts[account],
            "data": "0x" + data.hex(),
            "gas": hex(25_000_000),
        }
        if to is not None:
            fields["to"] = str(to)
        tx = self.rpc.call("eth_sendTransaction", [fields])
        self.rpc.call("evm_mine")
        receipt: dict[str, Any] = self.rpc.call("eth_getTransactionReceipt", [tx])
        if receipt["status"] != "0x1":
            raise SystemExit("error: a transaction of the benchmark chain failed")
        return receipt

    def _do(self, name: str, function: str, *args: Any) -> dict[str, Any]:
        data = contract(name).encode(function, *args)
        return self._send(self.deployment.addresses[name], data, 1)

    def _plan(self) -> int:
        claim = (self._accounts[1], *(secrets.token_bytes(32) for _ in range(4)), [], bytes(32))
        registry = self.deployment.addresses["ModelRegistry"]
        asked = self.rpc.eth_call(registry, contract("ModelRegistry").encode("modelIdOf", claim))
        (model,) = contract("ModelRegistry").decode("modelIdOf", asked)
        leaf = keccak256(b"\x00modeldeed/commit/1" + model.raw)
        self._do("Anchors", "anchor", leaf)
        self._do("ModelRegistry", "register", claim, (leaf, 0, 1, []))
        terms = (
            model.raw, secrets.token_bytes(32), 86400, 3600, 600, 7200, 0, 0, 0, 2, 0,
            1000, 1, 1, "0x" + "00" * 20, 10**18, False, False, True,
        )  # fmt: skip
        receipt = self._do("LicenseLedger", "createPlan", terms)
        plan = int(receipt["logs"][0]["topics"][1], 16)
        self._do("LicenseLedger", "setRoles", plan, self._loader, 3)
        return plan

    def round(self) -> bytes:
        """The calldata of one round for the loader."""
        ledger, anchors = (
            self.deployment.addresses[name].raw.rjust(32, b"\0")
            for name in ("LicenseLedger", "Anchors")
        )
        parts = []
        self._turn += 1
        plan = self._plans[self._turn % PLANS]
        for number in range(ISSUES):
            holder = self._holders[(self._turn * ISSUES + number) * 7919 % HOLDERS]
            call = contract("LicenseLedger").encode("issue", plan, holder, 0, 0)
            parts += [ledger, len(call).to_bytes(32, "big"), call]
        call = contract("Anchors").encode("anchor", secrets.token_bytes(32))
        parts += [anchors, len(call).to_bytes(32, "big"), call]
        return b"".join(parts)

    def _round(self) -> str:
        fields = {"from": self._accounts[2], "to": str(self._loader), "gas": hex(GAS)}
        fields["data"] = "0x" + self.round().hex()
        return str(self.rpc.call("eth_sendTransaction", [fields]))

    def grow(self, blocks: int) -> None:
        """Mine blocks of one round each."""
        for _ in range(blocks):
            tx = self._round()
            self.rpc.call("evm_mine")
        receipt = self.rpc.call("eth_getTransactionReceipt", [tx])
        if receipt["status"] != "0x1" or len(receipt["logs"]) != LOGS:
            raise SystemExit("error: a round of the benchmark chain failed")

    def grow_fast(self, logs: int) -> None:
        """Add about so many logs, in blocks as full as `BULK` rounds make them.

        The node hashes all of its state for each block, so a long chain of small ones takes hours.
        """
        for _ in range(-(-logs // (BULK * LOGS))):
            for _ in range(BULK):
                self._round()
            self.rpc.call("evm_mine")

    def count(self) -> int:
        """Logs of the contracts so far, as the node counts them."""
        total, head = 0, self.rpc.block("latest").number
        addresses = [str(address) for address in self.deployment.addresses.values()]
        for first in range(0, head + 1, 20):
            query = {"fromBlock": hex(first), "toBlock": hex(min(head, first + 19))}
            total += len(self.rpc.call("eth_getLogs", [{**query, "address": addresses}]))
        return total

    def settle(self) -> None:
        """Empty blocks, until all before them is finalized."""
        self.rpc.call("anvil_mine", [hex(70)])


@contextmanager
def chain() -> Iterator[Chain]:
    """A node with the contracts, which keeps no old states; stopped at the end."""
    port = anvil.free_port()
    command = [
        str(anvil.find_anvil()),
        *("--host", "127.0.0.1", "--port", str(port), "--chain-id", str(anvil.CHAIN_ID)),
        *(
            "--silent",
            "--no-cors",
            "--slots-in-an-epoch",
            "1",
            "--no-mining",
            "--prune-history",
            "--disable-block-gas-limit",
        ),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    rpc = Rpc(f"http://127.0.0.1:{port}", timeout=60.0)
    try:
        for _ in range(500):
            with contextlib.suppress(ChainUnavailable):
                rpc.chain_id()
                break
            time.sleep(0.02)
        yield Chain(rpc)
    finally:
        rpc.close()
        anvil.kill(process)
