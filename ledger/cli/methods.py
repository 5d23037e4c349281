"""The methods of ``deed investigate``, each as its own command makes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
    from ledger.fingerprint.exact import Fingerprint
    from ledger.fingerprint.sketch import Sketch
    from ledger.ids import Address, Digest
    from ledger.suspects import Received
    from ledger.watermark.record import PhaseAPlace, Record

_NONE = {
    "search": "no index was asked",
    "tensors": "no model of ours was given",
    "units": "neither a model nor a sketch was given",
    "watermark": "no record was given",
    "triggers": "no disclosure was given, or no place where the suspect is asked",
    "trace": "no recovery file was given",
}
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
        self.rivals: list[tuple[object, ...]] = []
        self.notes: list[str] = []

    def traced(self, report: LeakReport | None) -> None:
        """Take over what tracing found."""
        from ledger.examining import of_trace

        if report is not None:
            self.found["trace"] = of_trace(report)

    def search(self) -> None:
        """Ask the network's index about the suspect's tensor ids."""
        from ledger.cli.search import ask
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
            self.why_not["search"] = failed(error)
            return
        weighed = [(one.model, tally(made, one.held)) for one in found]
        tensors, elements = searchable(made)
        host = urlsplit(url).netloc
        self.found["search"] = of_search(
            host, weighed, tensors=tensors, elements=elements, more=more
        )
        self.rivals = [
            (
                time_text(int(model["committed_at"])),
                str(model["model_id"])[:10],
                model.get("title"),
                str(model["licensor"])[:10],
                model["status"],
                f"{weight.found}/{tensors}",
            )
            for model, weight in weighed
        ]

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
            ours, theirs, *third = [
                stack.enter_context(open_weights(one))
                for one in (path, self._suspect.path, *controls)
            ]
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
        self.found["comparisons"].append(of_model(made, mine))
        self.why_not["units"] = _NO_COUNTERPART

    def sketch(self, path: Path, owner: str | None, records: Sequence[tuple[Path, Record]]) -> None:
        """Hold the suspect against a sketch, and see who committed to it."""
        from ledger.examining import of_sketch
        from ledger.fingerprint.sketch import compare_sketch
        from ledger.ids import Address
        from ledger.tensors.opening import open_weights

        drawn = sketch_of(path)
        with (
            open_weights(self._suspect.path) as theirs,
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
        from ledger.examining import of_watermark
        from ledger.tensors.model import open_model
        from ledger.tensors.opening import open_weights
        from ledger.watermarking import examine

        path, record = given
        if not record.headers:
            self.why_not["watermark"] = "nothing was marked with the record yet"
            self.notes.append(f"{path.name} was not looked for: nothing was marked with it yet")
            return
        chain, why = (
            (None, "--offline was given")
            if self._offline
            else perhaps_chain(self._session, self._settlement)
        )
        with ExitStack() as stack:
            found = stack.enter_context(open_weights(self._suspect.path))
            home = None if original is None else stack.enter_context(open_model(original))
            progress = stack.enter_context(console.progress("look", unit="weights"))
            report = examine(
                found, record, original=home, chain=chain, why_not=why, progress=progress
            )
        self.found["watermarks"].append(of_watermark(report, record))

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
            self.why_not["triggers"] = failed(error)
            self.notes.append(f"{path.name} was not asked: {failed(error)}")
            return
        self.found["triggers"].append(of_triggers(report, opened))

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
        from ledger.tensors.opening import open_weights

        if self._print is None:
            with (
                open_weights(self._suspect.path) as source,
                console.progress("fingerprint", unit="bytes") as progress,
            ):
                self._print = fingerprint(source, level="deep", progress=progress)
        return self._print
