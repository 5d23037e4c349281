"""What works without any extra: a GPU host and a litigator's laptop."""

from __future__ import annotations

import pytest
import rlp
from safetensors.numpy import save_file
from watermark_world import make_small, watermark

from ledger.tensors.model import open_model
from ledger.watermark.keys import beacon_of
from ledger.watermark.weights import embed

HIDDEN = """
import sys

EXTRAS = {
    "alembic", "eth_abi", "eth_account", "eth_keyfile", "fastapi", "gguf", "jinja2", "msgspec",
    "obstore", "onnx", "pkcs11", "prometheus_client", "psycopg", "pydantic_settings", "segno",
    "solcx", "sqlalchemy", "sqlmodel", "starlette", "structlog", "typst", "uvicorn", "web3",
}

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


@pytest.fixture
def light(program, tmp_path):
    """The real program, with every optional package made unfindable."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HIDDEN)
    program.env["PYTHONPATH"] = str(site)
    return program


def test_a_runtime_host_needs_no_extra(light):
    assert light("init", "--role", "runtime").code == 0
    assert light("runtime", "show").code == 0
    assert light("doctor").code == 0
    assert light("network", "list").code == 0


def test_a_model_is_fingerprinted_and_terms_are_checked_without_extras(light):
    import numpy as np

    save_file({"w": np.arange(64, dtype=np.float32)}, light.cwd / "m.safetensors")
    assert light("fingerprint", "m.safetensors", "--deep").code == 0
    assert light("terms", "new").code == 0
    assert light("terms", "check", "terms.toml").code == 0


def test_evidence_verification_starts_without_extras(light):
    (light.cwd / "odd.zip").write_bytes(b"PK")
    ran = light("evidence", "verify", "odd.zip", "--json")
    assert ran.code == 1
    assert ran.error["code"] == "BUNDLE_FORMAT_ERROR"


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("wallet", "create", "x"), "chain"),
        (("init", "--role", "licensor"), "chain"),
        (("serve",), "server"),
    ],
    ids=["wallet", "init", "serve"],
)
def test_what_needs_an_extra_names_the_line_that_installs_it(light, words, extra):
    ran = light(*words)
    assert ran.code == 2
    assert f"hint: pip install 'modeldeed[{extra}]'" in ran.err
    assert not (light.cwd / "deed.toml").exists()


def test_an_opened_watermark_record_is_held_against_a_suspect_without_any_extra(light):
    """Nothing is proven so, and it says why; the mark itself is found."""
    made = watermark(make_small(light.cwd), light.cwd)
    # A header's fifteen fields, as little as they can be: nobody is asked whether it is a block.
    fields = [bytes(32), bytes(32), bytes(20), *[bytes(32)] * 3, bytes(256), *[b"\1"] * 5, b""]
    raw = rlp.encode([*fields, bytes(32), bytes(8)])
    record = made.record.with_beacon("short-offset", (raw,))
    key = record.effective_key(beacon_of([bytes(32)]))
    with open_model(made.original) as model:
        embed(model, light.cwd / "copy.safetensors", record.targets, key, 0.01)
    (light.cwd / "opened.json").write_bytes(record.contents())
    words = ("--record", "opened.json", "--original", "small.safetensors", "--offline")
    ran = light("watermark", "detect", "copy.safetensors", *words)
    assert ran.out.startswith("the watermark is there"), ran.err
    assert "proves nothing to others" in ran.out
    assert ran.code == 1
