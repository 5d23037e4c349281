"""Every Solidity error of our contracts as a class, with a sentence for the person who ran into it.

``decode`` turns the bytes a call reverted with into the right class. The classes stand by contract
in the modules below, and are imported from here.
``tests/ledger/chain/test_reverts.py`` holds them against the compiled ABIs, both ways.
"""

# ruff: noqa: F403  130 names, each of which the test asks of this module; a list would say them again

from __future__ import annotations

from ledger.chain.license_reverts import *
from ledger.chain.market_reverts import *
from ledger.chain.solidity_error import BY_SELECTOR, SolidityError
from ledger.chain.tenure_reverts import *
from ledger.chain.title_reverts import *
from ledger.errors import ContractReverted

_PANICS = {
    0x01: "an assertion failed",
    0x11: "an arithmetic overflow",
    0x12: "a division by zero",
    0x21: "an enum value out of range",
    0x32: "an index out of bounds",
    0x41: "an allocation too large",
}


def decode(data: bytes, *, message: str = "") -> ContractReverted:
    """The error behind revert data.

    Args:
        data: what the contract reverted with; may be empty.
        message: the node's own words, used when the data says nothing.
    """
    kind = BY_SELECTOR.get(data[:4])
    if kind is not None and len(data) == 4 + 32 * len(kind.inputs()):
        return kind.of(data[4:])
    if data[:4] == b"\x08\xc3\x79\xa0" and len(data) >= 68:
        length = min(int.from_bytes(data[36:68], "big"), 400)
        text = data[68 : 68 + length].decode("utf-8", "replace")
        shown = "".join(c for c in text if c.isprintable())
        return ContractReverted(f"the contract refused: {shown}", error_name="Error")
    if data[:4] == b"\x4e\x48\x7b\x71" and len(data) == 36:
        number = int.from_bytes(data[4:], "big")
        why = _PANICS.get(number, f"panic {number:#x}")
        return ContractReverted(
            f"the contract stopped: {why}",
            error_name="Panic",
            arguments={"code": number},
            hint="this is a defect of the contract, not of your input; please report it",
        )
    if data:
        return ContractReverted(
            f"the contract refused with an error we do not know (0x{data[:4].hex()})",
            hint="the contract may be of another release; check with deed chain status",
        )
    return ContractReverted(
        "the contract refused without a reason" + (f" ({message})" if message else ""),
        hint="the address may hold another contract; check with deed chain status",
    )


def error_classes() -> dict[str, type[SolidityError]]:
    """Every class by the name of its Solidity error."""
    return {kind.signature.partition("(")[0]: kind for kind in BY_SELECTOR.values()}
