"""A forger of proofs: any node or leaf, with the nodes, headers and hashes above it made to fit."""

import copy
import json

import rlp
from document_forgery import DocumentForger, at, put, rooted
from forged_tries import lift

from ledger.canonical import canonical_json
from ledger.ids import keccak256


class TrieForger(DocumentForger):
    """What a `DocumentForger` does, and proofs of whatever one likes under roots that fit."""

    def change_header(self):
        """A field of a header, with all that follows."""
        number = self.chance.choice(self._numbers())
        fields = rlp.decode(self.members[f"headers/{number}.rlp"])
        self.members[f"headers/{number}.rlp"] = rlp.encode(self._rlp(fields))
        self.told.append((f"headers/{number}.rlp", "field"))
        self._relink(number)

    def _numbers(self):
        return sorted(int(name[8:-4]) for name in self.members if name.startswith("headers/"))

    def _relink(self, number):
        """Parent hashes after a changed header, and the block that the bundle names."""
        numbers = self._numbers()
        for above in numbers[numbers.index(number) :]:
            raw = self.members[f"headers/{above}.rlp"]
            follower = f"headers/{above + 1}.rlp"
            if follower in self.members:
                fields = rlp.decode(self.members[follower])
                fields[0] = keccak256(raw)
                self.members[follower] = rlp.encode(fields)
        self.index["state"]["hash"] = (
            "0x" + keccak256(self.members[f"headers/{numbers[-1]}.rlp"]).hex()
        )

    def _rlp(self, value):
        """An RLP value with one change."""
        value = copy.deepcopy(value)
        paths = list(rooted(value))
        path = self.chance.choice(paths)
        held = at(value, path)
        deep = []
        for _ in range(self.chance.choice((1, 30, 60, 63, 64, 65, 200))):
            deep = [deep]
        other = self.chance.choice(
            (
                *(
                    b"",
                    [],
                    b"\0",
                    b"\0" * 32,
                    b"\x01",
                    [b""],
                    [[]],
                    b"x" * 31,
                    b"x" * 32,
                    b"x" * 33,
                ),
                *(deep, [b"x"] * 17, [b"", b""], at(value, self.chance.choice(paths))),
            )
        )
        if isinstance(held, bytes) and held and self.chance.random() < 0.4:
            place = self.chance.randrange(len(held))
            other = (
                held[:place]
                + bytes([held[place] ^ 1 << self.chance.randrange(8)])
                + held[place + 1 :]
            )
        if isinstance(held, list) and held and self.chance.random() < 0.4:
            other = list(held)
            del other[self.chance.randrange(len(other))]
        return put(value, path, copy.deepcopy(other))

    def change_receipt(self):
        """A receipt, a transaction or a node of their tries, under a header that fits."""
        name = self.chance.choice(self._items())
        document = json.loads(self.members[name])
        kinds = ["receipt"] + (["transaction"] if document["transaction"] != "0x" else [])
        kind = self.chance.choice(kinds)
        old = bytes.fromhex(document[kind][2:])
        self.told.append((name, kind))
        if self.chance.random() < 0.6:
            head, body = (old[:1], old[1:]) if old[0] < 0xC0 else (b"", old)
            fresh = head + rlp.encode(self._rlp(rlp.decode(body)))
            if self.chance.random() < 0.1:
                first = self.chance.choice((0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xBF))
                fresh = bytes([first]) + fresh[1:]
            self._put_item(name, document, kind, fresh)
        else:
            nodes = [bytes.fromhex(node[2:]) for node in document[kind + "Proof"]]
            place = self.chance.randrange(len(nodes))
            nodes[place] = rlp.encode(self._rlp(rlp.decode(nodes[place])))
            self._prove_item(name, document, kind, nodes, place)

    def change_event(self):
        """What a log says: another word, another event, another contract; or once more, or not."""
        name = self.chance.choice(self._items())
        logs = [log for other in self._items() for log in self._logs(other)]
        words = [word for _, topics, data in logs for word in (*topics, *_words(data))]
        heads = [topics[0] for _, topics, _ in logs]

        def change(mine):
            if not mine:
                return
            place = self.chance.randrange(len(mine))
            emitter, topics, data = mine[place]
            kind = self.chance.randrange(7)
            if kind == 0:
                del mine[place]
            elif kind == 1:
                mine.append(copy.deepcopy(mine[place]))
            elif kind == 2:
                mine.append(copy.deepcopy(self.chance.choice(logs)))
            elif kind == 3:
                mine[place][0] = self.chance.choice([log[0] for log in logs])
            elif kind == 4:
                topics[0] = self.chance.choice(heads)
            else:
                parts = [*topics[1:], *_words(data)]
                if not parts:
                    return
                at_word = self.chance.randrange(len(parts))
                held = int.from_bytes(parts[at_word], "big")
                bent = (held ^ 1 << self.chance.randrange(256)).to_bytes(32, "big")
                parts[at_word] = self.chance.choice((bent, bent, self.chance.choice(words)))
                rest = len(topics) - 1
                mine[place] = [emitter, [topics[0], *parts[:rest]], b"".join(parts[rest:])]

        self.bend_logs(name, change)
        self.told.append((name, "event"))

    def bend_logs(self, name, change):
        """Let `change` have the logs of a receipt, and make the proof fit."""
        document = json.loads(self.members[name])
        raw = bytes.fromhex(document["receipt"][2:])
        head, body = (raw[:1], raw[1:]) if raw[0] < 0xC0 else (b"", raw)
        fields = rlp.decode(body)
        change(fields[3])
        self._put_item(name, document, "receipt", head + rlp.encode(fields))

    def _items(self):
        return [of for of in sorted(self.members) if of.startswith("receipts/")]

    def _logs(self, name):
        raw = bytes.fromhex(json.loads(self.members[name])["receipt"][2:])
        return rlp.decode(raw if raw[0] >= 0xC0 else raw[1:])[3]

    def _put_item(self, name, document, kind, fresh):
        """Another receipt or transaction in its leaf."""
        nodes = [bytes.fromhex(node[2:]) for node in document[kind + "Proof"]]
        old = bytes.fromhex(document[kind][2:])
        leaf = rlp.decode(nodes[-1])
        where = [path for path in rooted(leaf) if at(leaf, path) == old]
        if not where:
            return
        nodes[-1] = rlp.encode(put(leaf, where[0], fresh))
        document[kind] = "0x" + fresh.hex()
        self._prove_item(name, document, kind, nodes, len(nodes) - 1)

    def _prove_item(self, name, document, kind, nodes, place):
        root = lift(nodes, place, document[kind + "Proof"])
        document[kind + "Proof"] = ["0x" + node.hex() for node in nodes]
        self.members[name] = canonical_json(document)
        self._set_root(document["block"], 5 if kind == "receipt" else 4, root)

    def _set_root(self, number, field, root):
        if f"headers/{number}.rlp" not in self.members:
            return
        fields = rlp.decode(self.members[f"headers/{number}.rlp"])
        fields[field] = root
        self.members[f"headers/{number}.rlp"] = rlp.encode(fields)
        self._relink(number)

    def change_state(self):
        """An account, a word, or a node of their tries, under a state root that fits."""
        name = self.chance.choice([of for of in sorted(self.members) if of.startswith("state/")])
        document = json.loads(self.members[name])
        kind = self.chance.randrange(5)
        self.told.append((name, kind))
        slots = [of for of in document["storageProof"] if of["proof"]]
        if kind < 3 and slots:
            slot = self.chance.choice(slots)
            if kind < 2:
                self.set_word(name, slot["key"], self._word(int(slot["value"], 16)))
                return
            nodes = [bytes.fromhex(node[2:]) for node in slot["proof"]]
            place = self.chance.randrange(len(nodes))
            nodes[place] = rlp.encode(self._rlp(rlp.decode(nodes[place])))
            self._put_slot(name, document, slot, nodes, place)
            return
        account = [bytes.fromhex(node[2:]) for node in document["accountProof"]]
        if kind == 3:
            leaf = rlp.decode(account[-1])
            place, node = -1, [leaf[0], rlp.encode(self._rlp(rlp.decode(leaf[1])))]
        else:
            place = self.chance.randrange(len(account))
            node = self._rlp(rlp.decode(account[place]))
        self._put_account(name, document, place, node)

    def _word(self, held):
        bent = held ^ 1 << self.chance.randrange(256)
        bent = bent.to_bytes((bent.bit_length() + 7) // 8, "big")
        odd = (b"", b"\0", b"\x01", self.chance.randbytes(32), self.chance.randbytes(33), bytes(32))
        return bent if self.chance.random() < 0.7 else self.chance.choice(odd)

    def set_word(self, name, key, word):
        """A word of storage, as RLP or as something that only looks like it."""
        document = json.loads(self.members[name])
        slot = next(of for of in document["storageProof"] if of["key"] == key)
        nodes = [bytes.fromhex(node[2:]) for node in slot["proof"]]
        node = rlp.decode(nodes[-1]) if nodes else []
        if len(node) != 2 or not isinstance(node[1], bytes):
            return
        kind = self.chance.random()
        node[1] = rlp.encode(word) if kind < 0.9 else word if kind < 0.95 else rlp.encode([word])
        nodes[-1] = rlp.encode(node)
        slot["value"] = hex(int.from_bytes(word, "big"))
        self._put_slot(name, document, slot, nodes, len(nodes) - 1)

    def _put_slot(self, name, document, slot, nodes, place):
        before = slot["proof"]
        root = lift(nodes, place, before)
        swap = dict(zip(before, ("0x" + node.hex() for node in nodes), strict=True))
        for other in document["storageProof"]:  # paths share the nodes near the root
            other["proof"] = [swap.get(node, node) for node in other["proof"]]
        document["storageHash"] = "0x" + root.hex()
        leaf = rlp.decode(bytes.fromhex(document["accountProof"][-1][2:]))
        fields = rlp.decode(leaf[1])
        fields[2] = root
        self._put_account(name, document, -1, [leaf[0], rlp.encode(fields)])

    def _put_account(self, name, document, place, node):
        before = document["accountProof"]
        account = [bytes.fromhex(of[2:]) for of in before]
        place %= len(account)
        account[place] = rlp.encode(node)
        root = lift(account, place, before)
        document["accountProof"] = ["0x" + of.hex() for of in account]
        self.members[name] = canonical_json(document)
        swap = dict(zip(before, document["accountProof"], strict=True))
        for other in [of for of in self.members if of.startswith("state/") and of != name]:
            shown = json.loads(self.members[other])
            shown["accountProof"] = [swap.get(of, of) for of in shown["accountProof"]]
            self.members[other] = canonical_json(shown)
        self._set_root(self._numbers()[-1], 3, root)


def _words(data):
    return [data[place : place + 32] for place in range(0, len(data), 32)]
