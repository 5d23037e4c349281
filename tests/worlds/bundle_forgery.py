"""A forger with time: changes anything in a bundle and rebuilds whatever hashes stand around it.

Three depths: documents, proofs up to the block that the bundle names, and stamps by authorities of
the forger's own.
"""

import copy

from findings_forgery import FindingsForger
from forged_der import Tsa, elements, encoded
from release_forgery import ReleaseForger

from ledger.evidence.certificates import pem_blocks, to_pem


class Forger(ReleaseForger, FindingsForger):
    """One forgery of a bundle, made by the choices of a random source."""

    def change_stamp(self):
        """An element of a stamp as it stands, without a new signature."""
        names = [of for of in sorted(self.members) if of.startswith("timestamps/")]
        name = self.chance.choice(names)
        data = self.members[name]
        if name.endswith(".tsr"):
            self.members[name] = self.der(data)
        elif name.endswith((".pem", ".crl")):
            kind = "CERTIFICATE" if name.endswith(".pem") else "X509 CRL"
            blocks = pem_blocks(data.decode(), kind)
            place = self.chance.randrange(len(blocks))
            blocks[place] = self.der(blocks[place])
            self.members[name] = to_pem(kind, blocks)
        else:
            place = self.chance.randrange(31, len(data))
            self.members[name] = (
                data[:place]
                + self.chance.choice(
                    (b"", b"\xff", b"\0", b"\x08", b"\xf0\x01a", self.chance.randbytes(1))
                )
                + data[place + self.chance.randrange(2) :]
            )
        self.told.append((name, "element"))

    def forged_token(self):
        """A token by the forger's own authority, changed before it is signed."""
        authority = Tsa(self.chance, self.der)
        token, pem = authority.token(self.contents().raw)
        for name in [of for of in self.members if of.startswith("timestamps/")]:
            del self.members[name]
        self.members |= {"timestamps/1.tsr": token, "timestamps/1.pem": pem}
        if authority.lists:
            self.members["timestamps/1.crl"] = authority.lists
        self.told.append(("timestamps/1", authority.told))

    def der(self, data):
        """DER with one element changed, and the lengths around it."""
        tree = elements(data)
        paths = list(places(tree))
        path = self.chance.choice(paths)
        holder, place = path
        tag, held = holder[place]
        kind = self.chance.randrange(9)
        if kind == 0:
            del holder[place]
        elif kind == 1:
            holder.insert(self.chance.randrange(len(holder) + 1), copy.deepcopy(holder[place]))
        elif kind == 2:
            holder[place] = (
                self.chance.choice(
                    (1, 2, 3, 4, 5, 6, 0x0C, 0x17, 0x18, 0x30, 0x31, 0x80, 0xA0, 0xA1, 0x1F)
                ),
                held,
            )
        elif kind == 3:
            other_holder, other_place = self.chance.choice(paths)
            holder[place] = copy.deepcopy(other_holder[other_place])
        elif kind == 4:
            holder[place] = (
                tag,
                self.chance.choice(
                    (
                        b"",
                        b"\0",
                        b"\xff",
                        b"\0\x80",
                        b"\x80",
                        b"\x01\x01",
                        b"20260101000060Z",
                        b"261301000000Z",
                        b"20260101000000.5Z",
                        b"x" * 70,
                    )
                ),
            )
        elif isinstance(held, bytes) and held:
            where = self.chance.randrange(len(held))
            holder[place] = (
                tag,
                held[:where]
                + self.chance.choice((b"", self.chance.randbytes(1), b"\0"))
                + held[where + self.chance.randrange(2) :],
            )
        elif isinstance(held, list):
            held.reverse()
        raw = encoded(tree)
        if self.chance.random() < 0.05 and len(raw) > 4:
            where = self.chance.randrange(len(raw))
            raw = raw[:where] + self.chance.randbytes(1) + raw[where + 1 :]
        return raw


def places(tree):
    """Every element of DER taken apart, by the list that holds it and its place there."""
    for place, (_, held) in enumerate(tree):
        yield tree, place
        inner = held[1] if isinstance(held, tuple) else held
        if isinstance(inner, list):
            yield from places(inner)
