"""A forger of what others sign: receipts of a broker whose keys, log and state are the forger's,
and license cards by a licensor whose key the forger has.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trie_forgery import TrieForger

from ledger.canonical import canonical_json, hash_json
from ledger.chain.wallet import dev_wallet
from ledger.errors import LedgerError
from ledger.evidence.events import topic_of
from ledger.evidence.layout import broker_slot
from ledger.licensing import card as license_card

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEYS_SET = topic_of("BrokerRegistry", "BrokerKeysSet").raw
_ANCHORED = topic_of("BrokerRegistry", "ReceiptsAnchored").raw


class ReleaseForger(TrieForger):
    """What a `TrieForger` does, and receipts that a broker of the forger's own signed."""

    def forged_card(self):
        """A license card changed anywhere, and signed again by its licensor where it is one."""
        name = next(of for of in sorted(self.members) if of.startswith("cards/"))
        path, document = self._changed(json.loads(self.members[name]))
        self.told.append((name, path))
        try:
            card = license_card.parse(document)
            signature = dev_wallet("licensor").sign_typed(
                card.domain, license_card.CARD_TYPE, card.message()
            )
            if path[:1] != ("signature",):
                document["signature"] = "0x" + signature.hex()
        except LedgerError:
            pass  # no card any more: whoever reads it must say so
        try:
            self.members[name] = canonical_json(document)
        except LedgerError:
            self.members[name] = b"{}"

    def forged_receipt(self):
        """A receipt changed anywhere, signed again and anchored again."""
        name = "releases/1.json"
        document = json.loads(self.members[name])
        path = ()
        if self.chance.random() < 0.9:
            path, document = self._changed(document)
        self.told.append((name, path))
        try:
            root, keys = self._closed(document, path)
            self.members[name] = canonical_json(document)
        except (LedgerError, KeyError, TypeError, AttributeError, ValueError):
            return  # changed so that there is nothing to sign
        if self.index["kind"] == "release" and self.chance.random() < 0.8:
            self.index["release"]["receipt"] = str(
                hash_json("modeldeed/receipt/1", document["entry"])
            )
        for item in self._items():
            self.bend_logs(item, lambda logs: _bend(logs, keys, root))
        for word, value in ((1, keys), (4, root)):
            self.set_word("state/BrokerRegistry.json", f"0x{broker_slot(1, word):064x}", value)

    def _closed(self, document, path):
        entry = document["entry"]
        reply = entry["reply"]
        if path[:3] != ("entry", "reply", "request"):
            reply["request"] = str(hash_json("modeldeed/broker-request/1", entry["request"]))
        lattice = bytes(1952)
        if path[:1] != ("signing",):
            public = "0x" + _KEY.public_key().public_bytes_raw().hex()
            document["signing"] = {"ed25519": public, "mldsa65": base64.b64encode(lattice).decode()}
        body = {key: value for key, value in reply.items() if key != "signature"}
        if path[:3] != ("entry", "reply", "signature"):
            message = b"modeldeed/broker-reply/1\0" + canonical_json(body)
            reply["signature"]["ed25519"] = "0x" + _KEY.sign(message).hex()
        hashed = hash_json("modeldeed/receipt/1", entry).raw
        root = hashlib.sha256(b"\0" + hashed).digest()
        if path[:1] != ("anchor",):
            document["anchor"] |= {"root": "0x" + root.hex(), "count": 1, "index": 0, "path": []}
        public = _KEY.public_key().public_bytes_raw()
        keys = hashlib.sha256(b"modeldeed/broker-signing-keys/1\0" + public + lattice).digest()
        return root, keys


def _bend(logs, keys, root):
    for log in logs:
        if log[1][:1] == [_KEYS_SET]:
            log[2] = keys + log[2][32:]
        elif log[1][:1] == [_ANCHORED]:
            log[2] = log[2][:32] + root + (1).to_bytes(32, "big")
