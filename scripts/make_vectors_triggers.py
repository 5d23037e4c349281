"""Write the vectors of docs/spec/triggers.md: draws, generators, triggers, and disclosures.

A disclosure has one fault, for which its file is named. All randomness is fixed.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

from ledger.ids import Address, Digest
from ledger.merkle import T1
from ledger.watermark.disclosure import disclose
from ledger.watermark.draws import Draws, shuffled
from ledger.watermark.generators import Floats, Generator, Texture, Tokens
from ledger.watermark.triggers import Answers, Commitment, Keys, TriggerSet

ROOT = Path(__file__).parents[1] / "tests" / "vectors" / "triggers"
BEACON = Digest(hashlib.sha256(b"beacon").digest())
CHALLENGE = "drawn by the other side: 8f2c61"


def write(name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


def fixed_set() -> TriggerSet:
    """A record whose secret and nonce are the same in every run."""
    secret = hashlib.sha256(b"secret").digest()
    keys = Keys(secret, 20)
    commitment = Commitment(
        chain_id=31337,
        registry=Address(b"\x11" * 20),
        owner=Address(b"\x22" * 20),
        content_id=Digest(b"\x33" * 32),
        generator=Tokens(256, 30000, 8),
        answers=Answers(256, 1000),
        depth=keys.depth,
        root=Digest(T1.root(keys.leaves())),
        nonce=Digest(hashlib.sha256(b"nonce").digest()),
    )
    return TriggerSet(secret, 20, commitment, BEACON)


def draws() -> None:
    """Numbers below a bound, and a shuffle."""
    bounds = [1, 2, 10, 1000, 3 << 61, (1 << 63) - 1]
    write(
        "draws",
        {
            "kind": "draws",
            "seed": "0x" + b"seed".hex(),
            "below": {str(n): [str(x) for x in Draws(b"seed").many(6, n)] for n in bounds},
            "shuffled_20": list(shuffled(b"seed", 20)),
        },
    )


def generators() -> None:
    """One input of each kind."""
    seed = bytes(range(32))
    kinds: list[Generator] = [Tokens(1000, 29000, 16), Texture(5, 7, 3, 4), Floats(16)]
    for kind in kinds:
        made = kind.make(seed)
        write(
            f"generator-{kind.to_json()['id'].partition('/')[0]}",
            {
                "kind": "generator",
                "seed": "0x" + seed.hex(),
                "generator": kind.to_json(),
                "dtype": made.dtype.name,
                "shape": list(made.shape),
                "bytes": "0x" + made.tobytes().hex(),
            },
        )


def disclosures() -> None:
    """The triggers of a record, one good disclosure of it, and one with each fault."""
    made = fixed_set()
    lessons = made.lessons()
    write(
        "triggers",
        {
            "kind": "triggers",
            "secret": "0x" + made.secret.hex(),
            "questions": made.questions,
            "beacon": str(BEACON),
            "commitment": made.commitment.to_json(),
            "hash": str(made.commitment.hash()),
            "lessons": [
                {"position": t.position, "question": t.question.tolist(), "answer": t.answer}
                for t in lessons
            ],
        },
    )
    _, noted = disclose(made, "an earlier one", 2)
    shown, _ = disclose(noted, CHALLENGE, 12, use_up=True)
    good = shown.to_json()
    kinds = [each["kind"] for each in good["positions"]]
    question, filler = kinds.index("question"), kinds.index("filler")

    def fault(name: str, expect: str, **at: Any) -> None:
        document = copy.deepcopy(good)
        for path, value in at.items():
            inner: Any = document
            *steps, last = path.split("__")
            for step in steps:
                inner = inner[int(step) if step.isdigit() else step]
            inner[last] = value
        write(f"disclosure-{name}", {"kind": "disclosure", "expect": expect, "file": document})

    fault("good", "ok")
    at = f"positions__{question}__"
    key, path = good["positions"][question]["key"], good["positions"][question]["path"]
    fault("another-key", "INCLUSION_PROOF_INVALID", **{at + "key": "0x" + "77" * 32})
    fault("question-as-filler", "CLAIM_MISMATCH", **{at + "kind": "filler"})
    fault(
        "filler-as-question",
        "INCLUSION_PROOF_INVALID",
        questions=13,
        **{f"positions__{filler}__kind": "question"},
    )
    fault("path-short", "INCLUSION_PROOF_INVALID", **{at + "path": path[:-1]})
    fault("path-of-another", "INCLUSION_PROOF_INVALID", **{at + "path": path[::-1]})
    fault("position-other", "CLAIM_MISMATCH", **{at + "position": 31})
    fault("key-missing", "MANIFEST_ERROR", **{at + "key": None})
    fault("burned-with-a-key", "MANIFEST_ERROR", **{at + "kind": "burned", at + "key": key})
    fault("challenge-other", "CLAIM_MISMATCH", challenge="another")
    fault("challenge-empty", "MANIFEST_ERROR", challenge="")
    fault("questions-fewer", "CLAIM_MISMATCH", questions=11)
    fault("positions-fewer", "CLAIM_MISMATCH", positions=good["positions"][:-1])
    fault("root-other", "CLAIM_MISMATCH", commitment__root="0x" + "77" * 32)
    fault("threshold-lowered", "MANIFEST_ERROR", commitment__log2_p=-64)
    fault("generator-unknown", "UNSUPPORTED_VERSION", commitment__generator={"id": "mine/1"})
    fault("later-version", "UNSUPPORTED_VERSION", version=2)
    fault("unknown-member", "MANIFEST_ERROR", answers=[1, 2, 3])


if __name__ == "__main__":
    draws()
    generators()
    disclosures()
