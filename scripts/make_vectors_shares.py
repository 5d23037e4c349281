"""Write the vectors of docs/spec/shares.md: one fault each, named for it.

All randomness is fixed bytes, so another implementation can make the same shares.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.broker import shamir
from ledger.broker.recovery import Recovery
from ledger.broker.shamir import Share
from ledger.broker.shares import FILE_TAG, split_recovery
from ledger.canonical import hash_json
from ledger.claim import Claim
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.sealed.record import SealingRecord

ROOT = Path(__file__).parents[1] / "tests" / "vectors" / "shares"


def fixed(name: str, size: int = 32) -> bytes:
    """Bytes that are the same in every run."""
    return hashlib.shake_256(name.encode()).digest(size)


class Stream:
    """A source of "random" bytes that is the same in every run, and remembers what it gave."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.given: list[str] = []

    def __call__(self, size: int) -> bytes:
        """The next bytes; a copy of its own each time, because the taker overwrites it."""
        data = fixed(f"{self.name}/{len(self.given)}", size)
        self.given.append("0x" + data.hex())
        return data


def write(name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


def share_json(share: Share) -> dict[str, Any]:
    """A bare share, as these vectors write it."""
    return {
        "threshold": share.threshold,
        "count": share.count,
        "index": share.index,
        "value": "0x" + bytes(share.value).hex(),
        "commitments": [str(one) for one in share.commitments],
    }


def make_splits() -> None:
    """What splitting must give for stated coefficients."""
    for threshold, count, size in ((1, 1, 32), (1, 2, 16), (2, 3, 32), (3, 5, 32), (4, 4, 48)):
        stream = Stream(f"split/{threshold}/{count}")
        secret = fixed("secret", size)
        shares = shamir.split(secret, threshold, count, random=stream)
        write(
            f"split-{threshold}-of-{count}",
            {
                "kind": "split",
                "secret": "0x" + secret.hex(),
                "coefficients": stream.given,
                "set": str(shares[0].set_id),
                "shares": [share_json(share) for share in shares],
            },
        )


def make_joins() -> None:
    """Sets of shares that must not join."""
    shares = [share_json(s) for s in shamir.split(fixed("secret"), 2, 3, random=Stream("join"))]
    other = share_json(shamir.split(fixed("secret"), 2, 3, random=Stream("other"))[1])
    off = [bytearray.fromhex(share["value"][2:]) for share in shares]
    off[2][0] ^= 1
    lying = [str(shamir.commitment(2, 3, i, value)) for i, value in enumerate(off, 1)]
    crooked = [
        {**share, "value": "0x" + bytes(value).hex(), "commitments": lying}
        for share, value in zip(shares, off, strict=True)
    ]
    cases: dict[str, tuple[list[dict[str, Any]], str]] = {
        "join-none": ([], "no share"),
        "join-too-few": ([shares[0]], "1 of the 2"),
        "join-same-twice": ([shares[0], shares[0]], "1 of the 2"),
        "join-two-sets": ([shares[0], other], "belongs to set"),
        "join-value-altered": (
            [shares[0], {**shares[1], "value": shares[1]["value"][:-2] + "00"}],
            "was altered",
        ),
        "join-index-other": ([shares[0], {**shares[1], "index": 3}], "was altered"),
        "join-threshold-lowered": ([{**shares[0], "threshold": 1}], "was altered"),
        "join-index-zero": ([shares[0], {**shares[1], "index": 0}], "no share has"),
        "join-off-the-polynomial": (crooked, "does not fit"),
    }
    for name, (chosen, message) in cases.items():
        write(name, {"kind": "join", "shares": chosen, "message": message})


def make_files() -> None:
    """Share files: a set that opens, and sets with one fault."""
    claim = Claim(
        chain_id=31337,
        registry=Address(b"\x22" * 20),
        licensor=Address(b"\x44" * 20),
        artifact_root=Digest(fixed("artifact")),
        fingerprint_digest=Digest(fixed("fingerprint")),
        watermark_commitment=ZERO_DIGEST,
        manifest_hash=Digest(fixed("manifest")),
        parents=(),
        salt=Digest(fixed("salt")),
    )
    record = SealingRecord(
        model_id=claim.model_id(),
        epoch=1,
        root=Digest(fixed("root")),
        content_tree_root=Digest(fixed("tree")),
        commit=Digest(fixed("commit")),
    )
    recovery = Recovery(fixed("content key"), Digest(fixed("salt")), claim, record)
    files = [f.to_json() for f in split_recovery(recovery, 2, 3, random=Stream("file"))]
    bare = [
        f.to_json()
        for f in split_recovery(
            Recovery(fixed("content key"), Digest(fixed("salt"))), 2, 2, random=Stream("bare")
        )
    ]
    good = {
        "kind": "files",
        "content_key": "0x" + recovery.content_key.hex(),
        "salt": str(recovery.salt),
    }
    write("files-first-two", {**good, "files": files[:2]})
    write("files-last-two", {**good, "files": files[1:]})
    write("files-all", {**good, "files": files})
    write("files-before-sealing", {**good, "files": bare})

    def fault(
        name: str,
        change: Callable[[dict[str, Any]], None],
        *,
        code: str = "SHARES_REJECTED",
        repair: bool = True,
    ) -> None:
        changed = copy.deepcopy(files[1])
        change(changed)
        if repair:  # an attacker makes the checksum right again
            body = {key: value for key, value in changed.items() if key != "checksum"}
            changed["checksum"] = str(hash_json(FILE_TAG, body))
        write(name, {"kind": "files", "files": [files[0], changed], "code": code})

    contents = files[1]["contents"]
    fault("files-checksum", lambda f: f.update(share=files[2]["share"]), repair=False)
    fault("files-share-other", lambda f: f.update(share=files[2]["share"]))
    fault("files-index-other", lambda f: f.update(index=3))
    fault("files-threshold-lowered", lambda f: f.update(threshold=1))
    fault("files-set-other", lambda f: f.update(set=str(ZERO_DIGEST)))
    fault("files-commitment-missing", lambda f: f["commitments"].pop())
    fault("files-contents-differ", lambda f: f.update(contents="AAAA" + contents[4:]))
    fault("files-model-differs", lambda f: f.update(model=str(ZERO_DIGEST)))
    fault("files-sealing-left-out", lambda f: f.pop("sealing"))
    fault("files-share-short", lambda f: f.update(share=f["share"][:-2]), code="MANIFEST_ERROR")
    fault("files-index-beyond-count", lambda f: f.update(index=4), code="MANIFEST_ERROR")
    fault("files-unknown-member", lambda f: f.update(note="x"), code="MANIFEST_ERROR")
    fault("files-another-type", lambda f: f.update(type="modeldeed/x"), code="MANIFEST_ERROR")
    fault("files-later-version", lambda f: f.update(version=2), code="UNSUPPORTED_VERSION")
    write("files-too-few", {"kind": "files", "files": files[:1], "code": "SHARES_REJECTED"})
    write(
        "files-two-sets",
        {"kind": "files", "files": [files[0], bare[1]], "code": "SHARES_REJECTED"},
    )
    both = [copy.deepcopy(f) for f in files[:2]]
    for f in both:
        f["contents"] = "AAAA" + contents[4:]
        body = {key: value for key, value in f.items() if key != "checksum"}
        f["checksum"] = str(hash_json(FILE_TAG, body))
    write("files-contents-altered", {"kind": "files", "files": both, "code": "SHARES_REJECTED"})


def main() -> int:
    """Write all vectors."""
    make_splits()
    make_joins()
    make_files()
    return 0


if __name__ == "__main__":
    sys.exit(main())
