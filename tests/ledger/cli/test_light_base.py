"""What works without any extra: a GPU host and a litigator's laptop."""

from __future__ import annotations

import pytest
from safetensors.numpy import save_file

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
    assert ran.code == 2
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
