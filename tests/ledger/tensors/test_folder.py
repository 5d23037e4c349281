"""Which files of a folder belong to a model."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

from ledger.tensors.model import open_model


def test_our_own_documents_and_keys_are_never_part_of_a_model(tmp_path):
    folder = tmp_path / "model"
    published = folder / "model.published"
    published.mkdir(parents=True)
    save_file({"w": np.ones((4, 4), dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "runtime.json").write_text('{"type": "modeldeed/runtime-identity", "seed": "0x1"}')
    (folder / "x.recovery.json").write_text('{"purpose": "modeldeed-recovery"}')
    (folder / "key.json").write_text('{"crypto": {"ciphertext": "00"}, "version": 3}')
    (folder / "terms.toml").write_text('type = "modeldeed/terms"')
    (published / "claim.json").write_text("{}")
    other = folder / "work"
    other.mkdir()
    (other / "journal.lock").touch()
    (other / "journal.json").write_text("{}")

    with open_model(folder) as model:
        assert [m.name for m in model.members] == ["config.json", "model.safetensors"]
