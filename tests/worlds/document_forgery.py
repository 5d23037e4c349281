"""A forger of documents: any value, key or spelling, with all that hangs on it made anew."""

import copy
import hashlib
import json

from ledger.canonical import canonical_json, hash_json
from ledger.errors import LedgerError
from ledger.evidence import archive
from ledger.evidence.bundle import CUSTODY, INDEX, REPORT, REPORT_TEXT, is_evidence, parse_bundle
from ledger.evidence.report import render
from ledger.evidence.verify import examine

HOSTILE = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 - 1, 2**53, 10**30, 0.5, 1e300, "", "0x", "0x0"),
    *("0x00", "0x" + "00" * 20, "0x" + "00" * 32, "0x" + "ff" * 32, "0x" + "F" * 64, "00" * 32),
    *("1.1", "01.1", "1.01", "4294967297", " 1.1", "any", "\u202egnp", "\x1b[2J", "a\nb", "\u200b"),
    *("\ud7ff", "\ue000", "\U0001fae8", "\u0378", "\ufdd0", "e\u0301", "\u00e9", "x" * 5000),
    *([], {}, [[]], [{}], {"": None}, ["0x"], {"__proto__": 1}),
    {"é": 1, "\U00010000": 2, "\ufb33": 3},
)


def rooted(raw):
    """Every path into an RLP value or a JSON document."""
    yield ()
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from ((key, *rest) for rest in rooted(value))
    elif isinstance(raw, list):
        for place, value in enumerate(raw):
            yield from ((place, *rest) for rest in rooted(value))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def put(document, path, value):
    if not path:
        return value
    at(document, path[:-1])[path[-1]] = value
    return document


class DocumentForger:
    """One forgery of a bundle, made by the choices of a random source.

    Args:
        data: a bundle that holds.
        chance: a `random.Random`.
    """

    def __init__(self, data, chance):
        self.chance = chance
        self.members = dict(archive.parse(data).members)
        self.index = json.loads(self.members.pop(INDEX))
        self.withheld = [of for of in self.index["members"] if "withheld" in of]
        self.told = []

    # -- closing

    def contents(self):
        """The digest of what is here, whatever the index says."""
        keys = {"kind", "software", "chain", "model", "state", "contracts"}
        keys |= {"license", "release", "suspect"} & set(self.index)
        subject = {key: value for key, value in self.index.items() if key in keys}
        return hash_json(
            "modeldeed/bundle-contents/1", subject | {"members": self._listed(beside=False)}
        )

    def _listed(self, *, beside):
        entries = {
            name: {
                "name": name,
                "size": len(data),
                "sha256": "0x" + hashlib.sha256(data).hexdigest(),
            }
            for name, data in self.members.items()
        }
        for of in self.withheld:
            entries.setdefault(
                of["name"], of if beside else {k: of[k] for k in of if k != "withheld"}
            )
        return [entries[name] for name in sorted(entries) if beside or is_evidence(name)]

    def close(self, *, custody=True, report=True, index=True):
        """The file, with custody log, report and index computed anew where asked."""
        if custody:
            self._rewrite_log()
        if index:
            self._rewrite_index()
        if report:
            try:
                draft = examine(parse_bundle(self._packed()), draft=True)
                if draft.statement is not None:
                    self.members[REPORT] = canonical_json(draft.statement)
                    self.members[REPORT_TEXT] = render(draft.statement).encode()
                    self._rewrite_index()
            except LedgerError:
                pass  # what is not even a bundle has no report
        return self._packed()

    def _packed(self):
        return archive.serialise({**self.members, INDEX: canonical_json(self.index)})

    def _rewrite_index(self):
        self.index |= {"members": self._listed(beside=True), "contents": str(self.contents())}
        body = {key: value for key, value in self.index.items() if key != "id"}
        self.index["id"] = str(hash_json("modeldeed/bundle/1", body))

    def _rewrite_log(self):
        if CUSTODY not in self.members:
            return
        log = json.loads(self.members[CUSTODY])
        contents, previous = str(self.contents()), "0x" + "00" * 32
        for entry in log if isinstance(log, list) else ():
            if not isinstance(entry, dict):
                continue
            entry |= {"contents": contents, "previous": previous}
            for key in ("signer", "signature"):
                entry.pop(key, None)
            body = {key: value for key, value in entry.items() if key != "hash"}
            entry["hash"] = previous = str(hash_json("modeldeed/custody/1", body))
        self.members[CUSTODY] = canonical_json(log)

    # -- JSON

    def change_document(self, name=None):
        """One value of one document becomes another."""
        names = [of for of in self._documents() if of != REPORT]
        name = name or self.chance.choice(names)
        document = json.loads(self.members[name])
        path, document = self._changed(document)
        self.told.append((name, path))
        try:
            self.members[name] = canonical_json(document)
        except LedgerError:
            self.members[name] = json.dumps(document, separators=(",", ":")).encode()

    def _documents(self):
        """All but the custody log, which is rebuilt or changed by itself."""
        return [of for of in sorted(self.members) if of.endswith(".json") and of != CUSTODY]

    def _changed(self, document):
        paths = list(rooted(document))
        path = self.chance.choice(paths)
        value = at(document, path)
        return path, put(document, path, self._other(value, document, paths))

    def _other(self, value, document, paths):
        kind = self.chance.randrange(10)
        if kind == 0:
            return copy.deepcopy(at(document, self.chance.choice(paths)))
        if kind == 1 or value is None:
            return self.chance.choice(HOSTILE)
        if kind == 2:
            return [value] if self.chance.random() < 0.5 else {"x": value}
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return value + self.chance.choice((-1, 1, 2**32, -value - 1))
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            changed = list(value)
            if changed and kind < 7:
                place = self.chance.randrange(len(changed))
                if kind < 5:
                    del changed[place]
                else:
                    changed.insert(
                        self.chance.randrange(len(changed) + 1), copy.deepcopy(changed[place])
                    )
            else:
                self.chance.shuffle(changed)
            return changed
        if isinstance(value, dict):
            changed = dict(value)
            if changed and kind < 7:
                key = self.chance.choice(sorted(changed))
                held = changed.pop(key)
                if kind < 5:
                    changed[key + self.chance.choice(("", "s", " ", "\0"))] = held
            else:
                changed[self.chance.choice(("x", "withheld", "version", "é", "__proto__"))] = None
            return changed
        return None

    def _text(self, value):
        places = len(value)
        where = self.chance.randrange(places + 1)
        return self.chance.choice(
            (
                value.upper,
                value.lower,
                lambda: value.removeprefix("0x"),
                lambda: "0x" + value,
                lambda: " " + value,
                lambda: value + "\n",
                lambda: value[:where] + value[where + 1 :],
                lambda: value[:where] + self.chance.choice("0f") + value[where + 1 :],
                lambda: (
                    value[:where]
                    + self.chance.choice(("\u202e", "é", "\x07", "\ufffd"))
                    + value[where:]
                ),
                lambda: value * 2,
                lambda: value[:-2],
            )
        )()

    def spell_document(self):
        """The bytes of one document become another spelling, or no JSON at all."""
        name = self.chance.choice(self._documents())
        data = self.members[name]
        deep = self.chance.choice((62, 63, 64, 65, 66, 500, 100_000))
        empty, close = self.chance.choice((("[", "]"), ('{"a":', "}")))
        inner = self.chance.choice(("", "1")) if empty == "[" else "1"
        self.members[name] = self.chance.choice(
            (
                data + b"\n",
                b"\xef\xbb\xbf" + data,
                data.replace(b",", b", ", 1),
                data.replace(b"0", b"NaN", 1),
                data.replace(b":", b':1e999,"x":', 1),
                data.replace(b"0x", b"\\u0030x", 1),
                data.replace(b'"', b'"\\ud800', 1),
                data.replace(b'"', b'"\xff', 1),
                data[:1] + data[1:].replace(b"}", b"}", 1) + b"\0",
                data.replace(b"{", b'{"format":1,"format":1,', 1),
                b"-0",
                b"1" * 5000,
                (empty * deep + inner + close * deep).encode(),
                json.dumps(json.loads(data), ensure_ascii=True, sort_keys=True).encode(),
            )
        )
        self.told.append((name, "spelling"))

    def nest_in_request(self):
        """A receipt's request is any object: nested as deep as JSON may be, or deeper."""
        name = "releases/1.json"
        document = json.loads(self.members[name])
        value = []
        for _ in range(self.chance.randrange(56, 64)):
            value = [value]
        document["entry"]["request"]["x"] = value
        self.members[name] = (
            canonical_json(document)
            if self._fits(document)
            else json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        )
        self.told.append((name, "nested"))

    def _fits(self, document):
        try:
            canonical_json(document)
        except LedgerError:
            return False
        return True

    def change_index(self):
        """The index itself: what the bundle says that it is about, closed around it."""
        path, document = self._changed(
            {
                key: copy.deepcopy(value)
                for key, value in self.index.items()
                if key not in {"members", "contents", "id"}
            }
        )
        self.told.append((INDEX, path))
        if isinstance(document, dict) and self._fits(document):
            self.index = document

    def change_kind(self):
        """Another kind, with the key that it wants."""
        license_id = (json.loads(self.members.get("licenses.json", b'["1.1"]')) or ["1.1"])[0]
        for key in ("license", "release", "suspect"):
            self.index.pop(key, None)
        kind, value = self.chance.choice(
            (("license", license_id), ("license", "9.9"), ("license", "01.1"),
             ("release", {"license": license_id, "receipt": "0x" + "11" * 32}))
        )  # fmt: skip
        self.index |= {"kind": kind, kind: value}
        if self.chance.random() < 0.5:
            self.members.pop("licenses.json", None)
        self.told.append((INDEX, kind))

    def change_list_of_licenses(self):
        """The list of licenses, in spellings and with strangers in it."""
        known = ("1.1", "1.1", "1.2", "01.1", "1.1 ", "4294967297", "9.9", 1, None, [], {})
        listed = [self.chance.choice(known) for _ in range(self.chance.randrange(4))]
        self.members["licenses.json"] = canonical_json(listed)
        self.told.append(("licenses.json", listed))

    def lose(self):
        """A member goes, is swapped with another, or is withheld."""
        names = sorted(self.members)
        one = self.chance.choice(names)
        kind = self.chance.randrange(3)
        if kind == 0:
            del self.members[one]
        elif kind == 1:
            same = [of for of in names if of.rpartition(".")[2] == one.rpartition(".")[2]]
            other = self.chance.choice(same)
            self.members[one], self.members[other] = self.members[other], self.members[one]
        else:
            data = self.members.pop(one)
            self.withheld.append(
                {
                    "name": one,
                    "size": len(data),
                    "sha256": "0x" + hashlib.sha256(data).hexdigest(),
                    "withheld": True,
                }
            )
        self.told.append((one, ("gone", "swapped", "withheld")[kind]))

    def change_log(self):
        """One value of the custody log, hashed again."""
        self._rewrite_log()
        path, log = self._changed(json.loads(self.members[CUSTODY]))
        self.told.append((CUSTODY, path))
        previous = "0x" + "00" * 32
        for number, entry in enumerate(log if isinstance(log, list) else ()):
            if isinstance(entry, dict) and entry and self.chance.random() < 0.9:
                if number:
                    entry["previous"] = previous
                body = {
                    key: value for key, value in entry.items() if key not in {"hash", "signature"}
                }
                try:
                    entry["hash"] = previous = str(hash_json("modeldeed/custody/1", body))
                except LedgerError:
                    break
        try:
            self.members[CUSTODY] = canonical_json(log)
        except LedgerError:
            self.members[CUSTODY] = b"[]"
