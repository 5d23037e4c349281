import hashlib
import json
from pathlib import Path

import pytest

from ledger.canonical import canonical_json, hash_json
from ledger.evidence import archive
from ledger.evidence.bundle import (
    CUSTODY,
    INDEX,
    REPORT,
    REPORT_TEXT,
    Subject,
    contents_of,
    pack,
    parse_bundle,
)
from ledger.evidence.layout import title_slot
from ledger.evidence.report import render
from ledger.evidence.verify import examine
from ledger.ids import Digest

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
LICENSOR = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture(scope="session")
def bundle_path():
    """A real bundle, collected from Anvil by scripts/make_vectors_evidence.py."""
    return VECTORS / "model.evidence.zip"


@pytest.fixture(scope="session")
def bundle_bytes(bundle_path):
    return bundle_path.read_bytes()


@pytest.fixture(scope="session")
def members(bundle_bytes):
    return dict(archive.parse(bundle_bytes).members)


@pytest.fixture(scope="session")
def forge(bundle_bytes):
    """Apply a vector's edits to the good bundle, as a careless or a careful forger would."""

    def run(vector):
        other = vector.get("bundle")
        forger = _Forger((VECTORS / other).read_bytes() if other else bundle_bytes)
        for edit in vector["edit"]:
            forger.apply(edit)
        return forger.finish(reseal=vector["reseal"])

    return run


@pytest.fixture(scope="session")
def forge_receipts():
    """Apply a vector of ``releases/`` to the bundle with three receipts; the file."""

    def run(vector):
        edit = vector["edit"]
        *above, last = edit["path"]
        forger = _Forger((VECTORS / "releases" / "three.evidence.zip").read_bytes())

        def change(document):
            holder = _at(document, above)
            assert holder.pop(last, None) != edit.get("value")
            if "value" in edit:
                holder[last] = edit["value"]

        forger._edit(edit["member"], change)
        return forger.finish(reseal=True)

    return run


def _at(document, path):
    for key in path:
        document = document[key]
    return document


class _Forger:
    def __init__(self, data):
        self.members = dict(archive.parse(data).members)
        self.tail = []
        self.keep_custody = self.retell = False
        self.withheld = parse_bundle(data).left_out

    def apply(self, edit):
        getattr(self, "do_" + edit["op"].replace("-", "_"))(edit)

    # -- bytes ----------------------------------------------------------------------------------

    def do_flip(self, edit):
        data = bytearray(self.members[edit["member"]])
        data[edit["at"]] ^= 1
        self.members[edit["member"]] = bytes(data)

    def do_add(self, edit):
        self.members[edit["member"]] = bytes.fromhex(edit["hex"])

    def do_append_to(self, edit):
        self.members[edit["member"]] += bytes.fromhex(edit["hex"])

    def do_copy(self, edit):
        self.members[edit["to"]] = self.members[edit["from"]]

    def do_remove(self, edit):
        for name in list(self.members):
            if Path(name).match(edit["member"]):
                del self.members[name]

    def do_withhold(self, edit):
        name = edit["member"]
        if name in self.members:
            data = self.members.pop(name)
            self.withheld[name] = (len(data), Digest(hashlib.sha256(data).digest()))
        if "sha256" in edit:
            self.withheld[name] = (self.withheld[name][0], Digest.parse(edit["sha256"]))

    # -- documents ------------------------------------------------------------------------------

    def _edit(self, member, change):
        document = json.loads(self.members[member])
        change(document)
        self.members[member] = canonical_json(document)

    def do_set(self, edit):
        value = LICENSOR if edit["value"] == "licensor" else edit["value"]

        def change(document):
            *path, last = edit["path"]
            holder = _at(document, path)
            if isinstance(holder, list) and last == len(holder):
                holder.append(value)
            else:
                assert isinstance(holder, list) or holder.get(last) != value
                holder[last] = value

        self._edit(edit["member"], change)

    def do_unset(self, edit):
        *path, last = edit["path"]
        self._edit(edit["member"], lambda document: _at(document, path).pop(last))

    def do_set_first(self, edit):
        name = min(name for name in self.members if name.startswith(edit["folder"]))
        self.do_set({**edit, "member": name})

    def do_flip_hex(self, edit):
        def change(document):
            *path, last = edit["path"]
            holder = _at(document, path)
            text = holder[last]
            other = "1" if text[edit["at"]] == "0" else "0"
            holder[last] = text[: edit["at"]] + other + text[edit["at"] + 1 :]

        self._edit(edit["member"], change)

    def do_pop(self, edit):
        self._edit(edit["member"], lambda document: _at(document, edit["path"]).pop())

    def do_push(self, edit):
        self._edit(
            edit["member"], lambda document: _at(document, edit["path"]).append(edit["value"])
        )

    def do_swap(self, edit):
        def change(document):
            first, second = _at(document, edit["path"])[:2]
            field = edit["field"]
            first[field], second[field] = second[field], first[field]

        self._edit(edit["member"], change)

    def do_copy_field(self, edit):
        value = json.loads(self.members[edit["from"]])[edit["field"]]
        self._edit(edit["to"], lambda document: document.update({edit["field"]: value}))

    def do_move_slot(self, edit):
        slot = title_slot(self.subject().model_id)

        def change(document):
            kept = [of for of in document["storageProof"] if int(of["key"], 16) != slot]
            assert len(kept) < len(document["storageProof"])
            document["storageProof"] = kept

        self._edit(edit["member"], change)

    def do_behead(self, edit):
        index = json.loads(self.members[INDEX])
        newest = index["state"]["block"]
        del self.members[f"headers/{newest}.rlp"]
        from ledger.evidence.headers import Header

        below = Header.parse(self.members[f"headers/{newest - 1}.rlp"])
        index["state"] = {"block": below.number, "hash": str(below.hash)}
        self.members[INDEX] = canonical_json(index)

    # -- the archive ----------------------------------------------------------------------------

    def do_append(self, edit):
        self.tail.append(lambda data: data + bytes.fromhex(edit["hex"]))

    def do_comment(self, edit):
        text = bytes.fromhex(edit["hex"])
        self.tail.append(lambda data: data[:-2] + len(text).to_bytes(2, "little") + text)

    def do_flip_archive(self, edit):
        def change(data):
            changed = bytearray(data)
            changed[edit["at"]] ^= 1
            return bytes(changed)

        self.tail.append(change)

    def do_retell(self, edit):
        self.retell = True

    def do_keep_custody(self, edit):
        self.keep_custody = True

    # -- closing --------------------------------------------------------------------------------

    def subject(self):
        return Subject.from_json(json.loads(self.members[INDEX]))

    def finish(self, *, reseal):
        if reseal:
            self._recompute()
            members = {k: v for k, v in self.members.items() if k != INDEX}
            data = pack(self.subject(), members, self.withheld)
            if self.retell:
                told = examine(parse_bundle(data), draft=True).statement
                members |= {REPORT: canonical_json(told), REPORT_TEXT: render(told).encode()}
                data = pack(self.subject(), members, self.withheld)
        else:
            data = archive.serialise(self.members)
        for change in self.tail:
            data = change(data)
        return data

    def _recompute(self):
        """Rebuild the custody log over the altered evidence, so that only the fault shows."""
        if self.keep_custody:
            return
        evidence = {k: v for k, v in self.members.items() if k != INDEX}
        contents = str(contents_of(self.subject(), evidence, self.withheld))
        log = json.loads(self.members[CUSTODY])
        previous = "0x" + "00" * 32
        for entry in log:
            entry |= {"contents": contents, "previous": previous}
            body = {key: value for key, value in entry.items() if key not in {"hash", "signature"}}
            entry["hash"] = previous = str(hash_json("modeldeed/custody/1", body))
        self.members[CUSTODY] = canonical_json(log)
