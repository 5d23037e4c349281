"""Loaders of the nearest peers, for ``bench_sealed``: tensorizer and CryptoTensors, both encrypted.

They are installed apart (``make .peers``, requirements-peers.lock), with --no-deps and behind our
own packages on the path, so that nothing of theirs takes the place of what we ship with. A peer
that is not there is left out and said.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / ".peers"
_SECRET = hashlib.sha256(b"benchmark peer key").digest()


def prepared(source: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """A loader for each peer at hand, its encrypted copy of `source` made in `folder`.

    Args:
        source: a safetensors file.
        folder: where the copies go; each is as large as the model.
    """
    if not PLACE.is_dir():
        print(f"no peers in {PLACE.name}: run make .peers to compare with them", file=sys.stderr)
        return {}
    if str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
    made: dict[str, Callable[[], object]] = {}
    for name, prepare in (("tensorizer", _tensorizer), ("cryptotensors", _cryptotensors)):
        try:
            made[name] = prepare(source, folder)
        except (ImportError, OSError) as error:
            print(f"{name} cannot be run here: {error}", file=sys.stderr)
    return made


def _tensorizer(source: Path, folder: Path) -> Callable[[], object]:
    from safetensors.torch import load_file
    from tensorizer import DecryptionParams, EncryptionParams, TensorDeserializer, TensorSerializer

    path = folder / "model.tensors"
    serializer = TensorSerializer(str(path), encryption=EncryptionParams(key=_SECRET))
    serializer.write_state_dict(load_file(source))
    serializer.close()

    def load() -> object:
        # Eagerly, as it loads by default; its hashes are not checked, since its tags are.
        with TensorDeserializer(
            str(path), device="cpu", encryption=DecryptionParams.from_key(_SECRET)
        ) as tensors:
            return dict(tensors)

    return load


def _cryptotensors(source: Path, folder: Path) -> Callable[[], object]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptotensors import register_direct_key_provider
    from cryptotensors.numpy import load_file as load_encrypted
    from cryptotensors.numpy import save_file
    from safetensors.numpy import load_file

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    signer = Ed25519PrivateKey.from_private_bytes(_SECRET)
    keys = {
        "enc_key": {"kty": "oct", "alg": "aes256gcm", "kid": "enc", "k": text(_SECRET)},
        "sign_key": {
            "kty": "okp",
            "alg": "ed25519",
            "kid": "sign",
            "d": text(_SECRET),
            "x": text(signer.public_key().public_bytes_raw()),
        },
    }
    register_direct_key_provider(keys=list(keys.values()))
    path = folder / "model.cryptotensors"
    save_file(load_file(source), str(path), config=keys)
    return lambda: load_encrypted(str(path))
