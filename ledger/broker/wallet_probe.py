"""The one ``eth_call`` by which a contract wallet is asked about a signature.

``contracts/src/WalletProbe.sol`` runs as creation code, so nothing of ours or of a third party has
to stand on the chain. It caps the gas of wallet and factory and copies no answer of theirs, so that
neither can make the call fail, hang or grow. ERC-6492's envelope is opened here.
"""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from ledger.broker.wallet_signatures import WalletSays
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import BlockId, Rpc, block_param, data
from ledger.errors import ChainError, SignatureInvalid
from ledger.ids import ZERO_ADDRESS, Address, Digest, keccak256

ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
CALL_GAS: Final = 8_000_000
"""Gas of the whole call: the probe's own caps on wallet and factory fit into it."""
# Some contracts spare whoever calls from address zero, as only simulations do. Nobody has the key
# of this account, nor coins or rights on it.
CALLER: Final = Address(keccak256(b"modeldeed/wallet-probe/1")[12:])
_ENVELOPE: Final = ("address", "bytes", "bytes")


def open_envelope(signature: bytes) -> tuple[Address, bytes, bytes]:
    """Factory, its call data and the wallet's own signature (ERC-6492); no factory without one.

    Raises:
        SignatureInvalid: an envelope that is malformed, holds another one, or names no factory.
    """
    if not signature.endswith(ERC6492_SUFFIX):
        return ZERO_ADDRESS, b"", signature
    body = signature[: -len(ERC6492_SUFFIX)]
    try:
        factory, creation, inner = abi_decode(_ENVELOPE, body)
    except (DecodingError, ValueError, OverflowError):
        raise SignatureInvalid("the ERC-6492 signature's envelope cannot be read", step=4) from None
    opened = Address.parse(factory), bytes(creation), bytes(inner)
    # One signature, one spelling; and nothing an envelope could hide from this check.
    if seal_envelope(*opened) != signature:
        raise SignatureInvalid("the ERC-6492 signature's envelope is not canonical ABI", step=4)
    if opened[0] == ZERO_ADDRESS or opened[2].endswith(ERC6492_SUFFIX):
        raise SignatureInvalid(
            "the ERC-6492 signature names no factory, or holds another envelope", step=4
        )
    return opened


def seal_envelope(factory: Address, creation: bytes, signature: bytes) -> bytes:
    """A signature of a wallet that `factory` makes when it is called with `creation`."""
    words = abi_encode(_ENVELOPE, ["0x" + factory.raw.hex(), creation, signature])
    return words + ERC6492_SUFFIX


def probe_request(
    wallet: Address, digest: Digest, signature: bytes, block: BlockId
) -> tuple[str, list[Any]]:
    """The JSON-RPC request that asks a wallet at a block.

    Raises:
        SignatureInvalid: as `open_envelope`.
    """
    factory, creation, inner = open_envelope(signature)
    code = contract("WalletProbe").constructor(wallet, digest, inner, factory, creation)
    call = {"from": str(CALLER), "data": "0x" + code.hex(), "gas": hex(CALL_GAS)}
    return "eth_call", [call, block_param(block)]


def answer_of(result: Any) -> WalletSays:
    """The wallet's answer in a result of `probe_request`.

    Raises:
        ChainError: no answer of the probe.
    """
    word = data(result)
    value = int.from_bytes(word, "big")
    if len(word) != 32 or value not in set(WalletSays):
        raise ChainError("an endpoint sent something that is not the answer of the wallet probe")
    return WalletSays(value)


def ask_wallet(
    rpc: Rpc, wallet: Address, digest: Digest, signature: bytes, block: BlockId = "latest"
) -> WalletSays:
    """Ask one endpoint, for a holder who looks at their own wallet.

    Raises:
        SignatureInvalid: as `open_envelope`.
        ChainUnavailable, ChainError: the endpoint does not serve it.
    """
    return answer_of(rpc.call(*probe_request(wallet, digest, signature, block)))
