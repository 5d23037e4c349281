"""The public face: which names there are, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import ledger

NAMES = [
    "Address", "ChainError", "Claim", "Digest", "EntitlementError", "Fingerprint", "FormatError",
    "KeyAccessError", "LeaseExpired", "LedgerError", "LicenseId", "ModelId", "SealedModel",
    "SealingRecord", "UnavailableError", "VerificationError", "check", "inspect", "join",
    "load", "open_model", "open_sealed", "seal", "verify_evidence",
]  # fmt: skip
HEAVY = ("web3", "eth_account", "fastapi", "sqlmodel", "sqlalchemy", "torch", "uvicorn", "pydantic")


def loaded_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_public_names_are_these():
    assert sorted(ledger.__all__) == NAMES
    assert [name for name in NAMES if not callable(getattr(ledger, name))] == []


def test_load_takes_what_was_promised_and_what_came_later_behind_it():
    taken = inspect.signature(ledger.load).parameters
    promised = {
        "license": None, "runtime": None, "broker": None, "framework": "numpy", "device": "cpu",
        "names": None, "verify": True, "timeout": 60,
    }  # fmt: skip
    source, *rest = taken.values()
    assert (source.name, source.default) == ("source", inspect.Parameter.empty)
    assert {one.kind for one in rest} == {inspect.Parameter.KEYWORD_ONLY}
    assert [(one.name, one.default) for one in rest][: len(promised)] == list(promised.items())
    assert inspect.Parameter.empty not in {one.default for one in rest}


def test_a_sealed_model_offers_what_was_promised():
    promised = ("keys", "get_tensor", "get_slice", "state_dict", "files", "lease", "close")
    assert [name for name in promised if not hasattr(ledger.SealedModel, name)] == []
    assert hasattr(ledger.SealedModel, "__enter__")


def test_importing_ledger_loads_no_heavy_package():
    assert loaded_after("import ledger") & set(HEAVY) == set()


def test_loading_and_verifying_need_only_the_light_base():
    light = "import ledger; ledger.load; ledger.open_sealed; ledger.Fingerprint"
    assert loaded_after(light) & set(HEAVY) == set()


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(ledger, "no_such_name")
