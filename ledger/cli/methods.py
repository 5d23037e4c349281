"""The methods of ``deed investigate``, each as its own command makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ledger.cli.output import console, time_text
from ledger.cli.phase_a import perhaps_chain
from ledger.cli.session import Session
from ledger.cli.sketches import committed_place, sketch_of
from ledger.errors import ConfigurationError, UnavailableError, UnsupportedModel

if TYPE_CHECKING:
    from ledger.broker.leaks import LeakReport
    from ledger.errors import LedgerError
    from ledger.fingerprint.exact import Fingerprint
    from ledger.fingerprint.sketch import Sketch
    from ledger.ids import Address, Digest
    from ledger.suspects import Received
    from ledger.tensors.model import ModelSource
    from ledger.watermark.record import PhaseAPlace, Record

_NONE = {
    "search": "no index was asked",
    "tensors": "no model of ours was given",
    "units": "neither a model nor a sketch was given",
    "watermark": "no record was given",
    "triggers": "no disclosure was given, or no place where the suspect is asked",
    "trace": "no recovery file was given",
}
_NAMED = 5
_LISTED = 128  # of the 256 that findings hold
_NO_COUNTERPART = "no matrix of ours has a counterpart in the suspect"


class Methods:
    """Runs methods over one suspect, and keeps what each found."""

    def __init__(
        self, session: Session, suspect: Received, *, offline: bool, settlement: str | None
    ) -> None:
        self._session = session
        self._suspect = suspect
        self._offline = offline
        self._settlement = settlement
        self._print: Fingerprint | None = None
        self.found: dict[str, Any] = {
            "comparisons": [], "watermarks": [], "triggers": [], "trace": None, "search": None,
        }  # fmt: skip
        self.why_not = dict(_NONE)
        self.listed: list[tuple[dict[str, Any], int, int]] = []
        self.remarks: list[str] = []
        self.notes: list[str] = []
        self.untried: list[tuple[str, str, str]] = []
        self.missed: LedgerError | None = None
        self._told = False
        self.undecided = False

    def traced(self, report: LeakReport | None) -> None:
        """Take over what tracing found."""
        from ledger.examining import of_trace

        if report is not None:
            self.found["trace"] = of_trace(report)

    def search(self) -> None:
        """Ask the network's index about the suspect's tensor ids."""
        from ledger.cli.search import ask, remarks
        from ledger.examining import failed, of_search
        from ledger.fingerprint.search import asked_ids, searchable, tally

        if self._offline:
            self.why_not["search"] = "--offline was given"
            return
        try:
            url = self._session.network.api_url
            if url is None:
                self.why_not["search"] = "the network names no index"
                return
            made = self._measured()
            found, more = ask(url, asked_ids(made))
        except (UnavailableError, ConfigurationError, UnsupportedModel) as error:
            self.why_not["search"] = failed(error, self._suspect)
            self.missed = error
            return
        weighed = [(one.model, tally(made, one.held)) for one in found]
        tensors, elements = searchable(made)
        host = urlsplit(url).netloc
        self.found["search"] = of_search(
            host,
            weighed,
            chain_id=self._session.network.profile.chain_id,
            tensors=tensors,
            elements=elements,
            more=more,
        )
        self.listed = [(model, weight.found, tensors) for model, weight in weighed]
        self.remarks = remarks([weight for _, weight in weighed], more=more)

    def model(self, path: Path, controls: Sequence[Path]) -> None:
        """Hold the suspect against a model of ours."""
        from ledger.examining import of_model
        from ledger.fingerprint.compare import compare
        from ledger.fingerprint.exact import fingerprint
        from ledger.tensors.opening import open_weights

        try:
            measured = self._measured()
        except UnsupportedModel:
            measured = None
        with ExitStack() as stack:
            theirs = stack.enter_context(self._weights())
            ours, *third = [stack.enter_context(open_weights(one)) for one in (path, *controls)]
            progress = stack.enter_context(console.progress("compare", unit="steps"))
            made = compare(
                ours,
                theirs,
                controls=third,
                measured=measured,
                progress=lambda _w, done, total: progress(done, total),
            )
            prints = made.exact.prints if made.exact is not None else None
            mine = prints[0] if prints is not None else fingerprint(ours)
        if made.exact is None:
            why = "no tensor of the suspect carries identity: equal tensors were not looked for"
            self.untried.append(("tensors", f"model {mine.content_root}", why))
        self.found["comparisons"].append(of_model(made, mine))
        self.why_not["units"] = _NO_COUNTERPART

    def sketch(self, path: Path, owner: str | None, records: Sequence[tuple[Path, Record]]) -> None:
        """Hold the suspect against a sketch, and see who committed to it."""
        from ledger.examining import of_sketch
        from ledger.fingerprint.sketch import compare_sketch
        from ledger.ids import Address

        drawn = sketch_of(path)
        with (
            self._weights() as theirs,
            console.progress("compare", unit="steps") as progress,
        ):
            made = compare_sketch(
                drawn, theirs, progress=lambda _w, done, total: progress(done, total)
            )
        bound = [one for _, one in records if one.commitment.sketch_root == drawn.root]
        record = bound[0] if bound else None
        account = None if owner is None else Address.parse(owner)
        if account is None and record is not None:
            account = record.commitment.owner
        self.why_not["units"] = _NO_COUNTERPART
        self.found["comparisons"].append(
            of_sketch(made, drawn, self._stands(drawn, account, record))
        )

    def open_record(self, path: Path) -> tuple[Path, Record]:
        """A watermark record that the licensor supplies."""
        from ledger.cli.watermark import opened

        return path, opened(self._session, path)[0]

    def watermark(self, given: tuple[Path, Record], original: Path | None) -> None:
        """Look for the mark of a record."""
        from ledger.detecting import examine
        from ledger.examining import of_watermark
        from ledger.tensors.model import open_model

        path, record = given
        if not record.headers:
            why = "nothing was marked with it yet"
            self.why_not["watermark"] = "nothing was marked with the record yet"
            self.untried.append(("watermark", f"record {record.commitment.hash()}", why))
            self.notes.append(f"{path.name} was not looked for: {why}")
            return
        chain, why = (
            (None, "--offline was given")
            if self._offline
            else perhaps_chain(self._session, self._settlement)
        )
        with ExitStack() as stack:
            found = stack.enter_context(self._weights())
            home = None if original is None else stack.enter_context(open_model(original))
            progress = stack.enter_context(console.progress("look", unit="weights"))
            report = examine(
                found, record, original=home, chain=chain, why_not=why, progress=progress
            )
        self.found["watermarks"].append(of_watermark(report, record))
        self._caution(path, report.caveat)

    def triggers(
        self,
        path: Path,
        url: str,
        controls: Sequence[str],
        theirs: Sequence[str],
        challenge: str | None,
    ) -> None:
        """Ask the suspect the questions of a disclosure."""
        from ledger.cli.questioned import questioned, read_disclosure
        from ledger.examining import failed, of_triggers

        opened = read_disclosure(path)
        try:
            report, _ = questioned(
                self._session,
                opened,
                url,
                controls=controls,
                theirs=theirs,
                given={"challenge": challenge},
                offline=self._offline,
                settlement=self._settlement,
            )
        except UnavailableError as error:
            why = failed(error, self._suspect)
            self.why_not["triggers"] = why
            self.untried.append(("triggers", f"disclosure {opened.digest()}", why))
            self.notes.append(f"{path.name} was not asked: {why}")
            self.missed, self.undecided = error, True
            return
        self.found["triggers"].append(of_triggers(report, opened))
        self.undecided |= report.undecided
        self._caution(path, report.caveat)

    def claims(self) -> list[tuple[object, ...]]:
        """Rows of the registered models that hold tensors of the suspect, in time order."""
        ours = self._roots()
        return [
            (
                time_text(int(model["committed_at"])),
                str(model["model_id"])[:10],
                model.get("title"),
                str(model["licensor"])[:10],
                model["status"],
                f"{found}/{tensors}",
                "ours" if model.get("artifact_root") in ours else "",
            )
            for model, found, tensors in self.listed
        ]

    def about(self) -> dict[str, Any]:
        """What sentences may take from the one model that was given, as the index lists it."""
        roots = self._roots()
        if len(roots) != 1:
            return {}
        (root,) = roots
        first = next((m for m, _, _ in self.listed if m.get("artifact_root") == root), None)
        if first is None:
            return {"artifact_root": root}
        return {
            "artifact_root": root,
            "model_id": str(first["model_id"]),
            "committed_at": int(first["committed_at"]),
            "place": first["place"],
        }

    @contextmanager
    def _weights(self) -> Iterator[ModelSource]:
        """The suspect, open; models of a folder that are not read with it are told."""
        from ledger.suspects import unread
        from ledger.tensors.opening import open_weights

        with open_weights(self._suspect.path) as source:
            left = unread(self._suspect, [member.name for member in source.members])
            yield source
        if left and not self._told:
            self._told = True
            names = [name for name, _ in left[:_NAMED]]
            some = ", ".join(names) + (", …" if len(left) > _NAMED else "")
            self.notes.append(
                f"not read with the model of the folder: {some} ({len(left)} in all); investigate "
                "each alone"
            )
            # The same file may lie there twice.
            for digest, name in {sha256: name for name, sha256 in left[:_LISTED]}.items():
                why = f"{name} of the folder is not read with its model"
                self.untried.append(("tensors", f"file {digest}", why))
            if (more := len(left) - _LISTED) > 0:
                self.untried.append(("tensors", "more files", f"{more} more are not read"))

    def _caution(self, path: Path, caveat: str) -> None:
        if caveat:
            self.notes.append(f"{path.name}: {caveat}")

    def _roots(self) -> set[str]:
        return {one["ours"]["artifact_root"] for one in self.found["comparisons"]}

    def _stands(
        self, drawn: Sketch, owner: Address | None, record: Record | None
    ) -> tuple[Digest, Address, PhaseAPlace] | None:
        """The sketch's commitment, or None with a note that says why."""
        if owner is None:
            why = "name who committed to it with --sketch-owner, or give the --record that does"
        elif self._offline:
            why = "--offline was given"
        else:
            stands, why = committed_place(
                self._session, drawn, owner, record, settlement=self._settlement
            )
            if stands is not None:
                return stands
        self.notes.append(f"no commitment to the sketch {drawn.root} is shown: {why}")
        return None

    def _measured(self) -> Fingerprint:
        from ledger.fingerprint.exact import fingerprint

        if self._print is None:
            with (
                self._weights() as source,
                console.progress("fingerprint", unit="bytes") as progress,
            ):
                self._print = fingerprint(source, level="deep", progress=progress)
        return self._print
