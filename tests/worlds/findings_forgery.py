"""A forger of findings about a suspect: other figures, and all that follows from them."""

import json

from document_forgery import DocumentForger

from ledger.canonical import canonical_json, hash_json
from ledger.evidence import match

MEMBER = "match.json"
TEXTS = (
    "x", "100%", "%s %(name)s %d", "{0} ${x}", "a  b", "\u202egnp", "\u4e2d\u6587", "\U0001f600",
    "e\u0301", '"\\', "'", "\xa0", "\u2028", "__proto__", " ", "\xad",
)  # fmt: skip


class FindingsForger(DocumentForger):
    """Adds findings to what is forged."""

    blurred = False

    def change_findings(self):
        """One value of the findings, and nothing that follows from it."""
        self.change_document(MEMBER)

    def refit_findings(self):
        """Other figures, parts and texts; the rest is made to follow, or nearly so."""
        found = json.loads(self.members[MEMBER])
        self.blurred = self.chance.random() < 0.3
        changes = (
            self._rows, self._answers, self._signs, self._tensors, self._texts, self._fewer,
            self._suspect, self._untried,
        )  # fmt: skip
        for change in self.chance.sample(changes, self.chance.randrange(1, 4)):
            change(found)
            self.told.append((MEMBER, change.__name__))
        self._refit(found)
        self.members[MEMBER] = canonical_json(found)

    def _near(self, value):
        """A logarithm as it is stated, or a little beside."""
        off = self.chance.choice((0,) * 12 + (-2, -1, 1, 2)) if self.blurred else 0
        return max(1 - (1 << 53), min(0, match.in_millionths(value) + off))

    # -- changes

    def _rows(self, found):
        for one in found["comparisons"]:
            for row in one["units"]["rows"]:
                rows = self.chance.choice((0, 1, 2, 40, 700, 60_000, self.chance.randrange(65_000)))
                in_order = self.chance.choice((0, rows, self.chance.randrange(rows + 1)))
                in_place = self.chance.choice((0, in_order, self.chance.randrange(in_order + 1)))
                row |= {"rows": rows, "in_order": in_order, "in_place": in_place}
                row |= {"tested": rows, "units": rows + self.chance.choice((0, 5))}
                alike, other = (self.chance.randrange(1_000_001) for _ in range(2))
                row |= {"alike": alike, "other": other, "fitted": match.fitted(alike, other)}
                aligned = self.chance.random() < 0.5
                bound = match.row_bound(rows, in_place, in_order, aligned=aligned)
                row |= {"aligned": aligned, "log10_p": self._near(bound)}

    def _answers(self, found):
        for one in found["triggers"]:
            one["answers"] = self.chance.choice((2, 3, 10, 1000, 1 << 31))
            one["commitments"] = self.chance.choice((1, 2, 9_999, (1 << 53) - 1))
            for each in (one, *one["controls"]):
                asked = self.chance.choice((1, 2, 64, 4096, self.chance.randrange(1, 4097)))
                right = self.chance.choice((0, 1, asked, self.chance.randrange(asked + 1)))
                bound = match.answer_bound(asked, right, one["answers"])
                each |= {"asked": asked, "right": right, "log10_p": self._near(bound)}

    def _signs(self, found):
        for one in found["watermarks"]:
            one["targets"] = self.chance.choice((3, 30, (1 << 53) - 1))
            one["commitments"] = self.chance.choice((1, 2, 9_999, (1 << 53) - 1))
            for row in (row for look in one["looks"] for row in look["rows"]):
                t = self.chance.choice((0, -1, 1, self.chance.randrange(-(10**6), 10**9)))
                v = self.chance.choice((0, 1, self.chance.randrange(10**9)))
                row |= {"t": t, "v": v, "log10_p": self._near(match.mark_bound(t, v))}

    def _tensors(self, found):
        for one in found["comparisons"]:
            tensors = one["tensors"]
            if tensors is None:
                continue
            if self.chance.random() < 0.4:
                tensors["set_aside"] = [of["cid"] for of in tensors["shared"]]
                tensors["shared"] = []
            tensors["same_packed"] = self.chance.random() < 0.5
            if self.chance.random() < 0.5:
                tensors["content_root"] = one["ours"]["artifact_root"]
            for of in tensors["shared"]:
                of["theirs"] = self.chance.choice(("a", "b", of["theirs"]))
                of["relation"] = self.chance.choice(("identity", "cast", "multiset", "reshape"))
                if self.chance.random() < 0.1:
                    of["elements"] = self.chance.choice((0, 4096, (1 << 53) - 1))

    def _texts(self, found):
        for one in found["comparisons"]:
            one["controls"] = [
                {"title": self.chance.choice(TEXTS), "log10_p": self.chance.choice((0, -99_999,
                 -100_000, -20_000_000, -19_999_999))}
                for _ in range(self.chance.randrange(3))
            ]  # fmt: skip
        if found["search"] is not None:
            found["search"]["index"] = self.chance.choice(TEXTS)
            found["search"]["more"] = self.chance.random() < 0.5
        found["software"] = self.chance.choice(TEXTS)

    def _fewer(self, found):
        for name in ("comparisons", "watermarks", "triggers"):
            found[name] = [of for of in found[name] if self.chance.random() < 0.5]
        for name in ("search", "trace"):
            if self.chance.random() < 0.5:
                found[name] = None
        if found["trace"] is not None and self.chance.random() < 0.5:
            found["trace"] |= {"named": [], "proven": False}
        for one in (*found["watermarks"], *found["triggers"]):
            for check in one["checks"]:
                check["result"] = self.chance.choice(("pass", "pass", "not checked", "fail"))
        for one in found["comparisons"]:
            if self.chance.random() < 0.3:
                one["units"]["rows"] = []

    def _suspect(self, found):
        suspect = found["suspect"]
        kind = self.chance.choice(("file", "url", "folder"))
        suspect |= {"kind": kind, "name": self.chance.choice(TEXTS)}
        if kind == "folder":
            file = suspect["files"][0]
            names = {self.chance.choice(TEXTS) for _ in range(3)}
            suspect["files"] = [{**file, "name": name} for name in sorted(names)]
            suspect["size"] = file["size"] * len(names)
            suspect["sha256"] = str(hash_json(match.SUSPECT_TAG, suspect["files"]))
        self.index["suspect"] = {name: suspect[name] for name in ("sha256", "size", "name")}

    def _untried(self, found):
        found["untried"] = [
            {"method": self.chance.choice(match.METHODS), "what": self.chance.choice(TEXTS),
             "why": self.chance.choice(TEXTS)}
            for _ in range(self.chance.randrange(4))
        ]  # fmt: skip
        if self.chance.random() < 0.8:
            found["untried"].sort(key=lambda of: (match.METHODS.index(of["method"]), of["what"]))
        if not found["untried"] and self.chance.random() < 0.9:
            del found["untried"]

    # -- what follows

    def _refit(self, found):
        for one in found["comparisons"]:
            self._refit_comparison(one, len(found["comparisons"]))
        for one in found["watermarks"]:
            for look in one["looks"]:
                sums = {k: sum(row[k] for row in look["rows"]) for k in ("weights", "t", "v")}
                each = [row["log10_p"] / 1e6 for row in look["rows"]]
                look.update(sums)
                look["log10_p"] = self._near(
                    min([0, match.mark_bound(sums["t"], sums["v"]), *each])
                )
            tests = match.mark_tests(one["targets"], one["commitments"])
            one["log10_tests"] = match.in_millionths(tests)
            best = min(look["log10_p"] for look in one["looks"])
            one["log10_p"] = self._near((best + one["log10_tests"]) / 1e6)
            self._judge(one, one["log10_p"])
        for one in found["triggers"]:
            one["log10_tests"] = match.in_millionths(match.answer_tests(one["commitments"]))
            one["log10_p_all"] = self._near((one["log10_p"] + one["log10_tests"]) / 1e6)
            self._judge(one, one["log10_p_all"])
        results = match.results_of(found)
        for of in found["tried"]:
            of["result"] = results[of["method"]]
            of["why"] = self.chance.choice(TEXTS) if of["result"] == "not checked" else ""
        found["verdict"] = match.overall(results)

    def _refit_comparison(self, one, comparisons):
        tensors, units = one["tensors"], one["units"]
        if tensors is not None:
            sizes = {}
            for of in tensors["shared"]:
                sizes.setdefault(of["theirs"], of["elements"])
            tensors["found_values"] = min(sum(sizes.values()), (1 << 53) - 1)
            whole = sum(of["elements"] for of in tensors["shared"])
            tensors["values"] = min(whole, (1 << 53) - 1)
            if self.chance.random() < 0.9:
                tensors["of_values"] = max(tensors["of_values"], tensors["values"])
            tensors["found"] = sum(not of["packed"] for of in tensors["shared"])
        rows = units["rows"]
        counted = [row["log10_p"] for row in rows if not row["fitted"]]
        every = match.over_pairings((row["log10_p"] for row in rows), units["tried"])
        units["log10_p"] = self._near(every)
        units["log10_p_counted"] = self._near(match.over_pairings(counted, units["tried"]))
        one["log10_p_all"] = self._near(match.times([units["log10_p_counted"]], comparisons))
        one["verdict"] = match.verdict_of(one)

    def _judge(self, one, stated):
        one["there"] = stated <= match.MARK_LEVEL
        failed = any(check["result"] == "fail" for check in one["checks"])
        one["proven"] = one["there"] and not failed and self.chance.random() < 0.8
