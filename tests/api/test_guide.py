"""Every example of docs/guides/api.md, run in its order against a real service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger.chain.wallet import _TEST_KEYS

pytestmark = pytest.mark.chain

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "api.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def service(deployed, published, tmp_path_factory, make):
    """A service whose operator lets it pass transactions on."""
    folder = tmp_path_factory.mktemp("service")
    running = make.service(folder, deployed.network, DEED_API_RELAY="true").start()
    running.caught_up(deployed.rpc)
    yield running
    running.stop()


def test_every_example_of_the_guide_does_what_it_says(service, published, deployed, monkeypatch):
    monkeypatch.setenv("DEED_API", service.url)
    monkeypatch.setenv("DEED_KEY", "")
    monkeypatch.setenv("PLAN", str(published.plan))
    monkeypatch.setenv("LICENSE", str(published.license))
    monkeypatch.setenv("WALLET_KEY", "0x" + _TEST_KEYS["licensor"])
    # Until the license's block is final, its answer as of the finalized block is a 404.
    final = f"/v1/licenses/{published.license}?min_finality=finalized"
    service.until(lambda: service.client.get(final).status_code == 200)
    blocks = BLOCK.findall(GUIDE.read_text())
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    assert len(blocks) >= 11
    names: dict[str, object] = {}
    checked = 0
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(GUIDE), "exec"), names)
            continue
        if shutil.which("curl") is None:
            continue
        told = [line.removeprefix("# → ") for line in text.splitlines() if line.startswith("# → ")]
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told
        for each in told:
            assert each in ran.stdout, (text, ran.stdout)
            checked += 1
    assert checked >= 12 or shutil.which("curl") is None
