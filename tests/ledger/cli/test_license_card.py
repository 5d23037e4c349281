"""A card written anew for a license that is there, as after a rotation of the broker's keys."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.chain


def test_a_card_is_written_again_without_another_license(live):
    save_file({"w": np.arange(640, dtype=np.float32)}, live.cwd / "again.safetensors")
    assert live("terms", "new", "again.toml").code == 0
    plan = live("publish", "again.safetensors", "--terms", "again.toml", "--json").json["plan"]
    words = ("license", "issue", plan, "--to", "holder", "--card", "first.license.json", "--json")
    number = live(*words).json["license"]
    ran = live("license", "card", number, "--out", "second.license.json")
    assert ran.code == 0, ran.err
    first, second = (
        json.loads((live.cwd / f"{name}.license.json").read_text()) for name in ("first", "second")
    )
    assert second["license"] == first["license"] == number
    assert second["brokers"] == first["brokers"]
    assert live("license", "card", number, "--out", "second.license.json").code == 2
    assert live("license", "card", f"{plan}.99", "--out", "third.license.json").code == 1
    refused = live("license", "card", number, "--out", "x.json", "--as", "holder")
    assert refused.code == 2
    assert "whose card it is" in refused.err
    assert not (live.cwd / "x.json").exists()
