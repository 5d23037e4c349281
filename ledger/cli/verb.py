"""Command groups, and the options that every command takes.

A command is a function that returns an ``Answer``. ``Verbs.verb`` gives it ``--json``; a function
whose first parameter is a ``Session`` also gets ``--network`` and, where there is something to wait
for, ``--wait``, and one that signs gets ``--wallet`` (``--as``) and ``--yes``.
"""

from __future__ import annotations

import functools
import inspect
import time
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ledger import errors
from ledger.cli import exits
from ledger.cli.output import Answer, console

Command = Callable[..., Answer | None]

_Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")]
_Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="The chain to use; see deed network list.",
        rich_help_panel=None,
    ),
]
_Wait = Annotated[
    bool,
    typer.Option("--wait", help="When unavailable or not yet final, wait instead of exit code 3."),
]
_Wallet = Annotated[
    str | None,
    typer.Option(
        "--wallet", "--as", metavar="NAME", help="The wallet that signs; see deed wallet list."
    ),
]
_Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Send transactions on public chains without asking.")
]


class Verbs(typer.Typer):
    """A group of commands. Help is plain text, so that it reads the same everywhere."""

    def __init__(self, help: str = "") -> None:  # noqa: A002 - typer's own word
        super().__init__(
            help=help,
            no_args_is_help=True,
            rich_markup_mode=None,
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )

    def verb(
        self, name: str, *, signs: str | None = None, waits: bool = True
    ) -> Callable[[Command], Command]:
        """Register a command under a name.

        Args:
            name: the word on the command line.
            signs: the role whose test account signs on a local chain; None when nothing is signed.
            waits: whether ``--wait`` may run the command again (it must change nothing).
        """

        def register(function: Command) -> Command:
            self.command(name)(_with_common_options(function, signs=signs, waits=waits))
            return function

        return register


def _with_common_options(function: Command, *, signs: str | None, waits: bool) -> Command:
    signature = inspect.signature(function, eval_str=True)
    parameters = list(signature.parameters.values())
    with_session = bool(parameters) and parameters[0].name == "session"
    own = parameters[1:] if with_session else parameters
    common = [_option("json", _Json, default=False)]
    if with_session:
        common.append(_option("network", _Network, default=None))
        if waits or signs is not None:  # what sends waits for finality afterwards
            common.append(_option("wait", _Wait, default=False))
    if signs is not None:
        common.append(_option("wallet", _Wallet, default=None))
        common.append(_option("yes", _Yes, default=False))
    common = [c for c in common if c.name not in {p.name for p in own}]
    taken = {c.name for c in common}

    @functools.wraps(function)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in list(given) if name in taken}
        console.json = console.json or bool(options.get("json"))
        wait = bool(options.get("wait"))
        console.waits = with_session and waits
        if with_session:
            from ledger.cli import settings
            from ledger.cli.session import Session

            flags = {"network": options.get("network"), "wallet": options.get("wallet")}
            given["session"] = Session(
                settings.load(flags=flags), role=signs, yes=bool(options.get("yes")), wait=wait
            )
        try:
            answer = _waiting(lambda: function(**given)) if wait and waits else function(**given)
        finally:
            if with_session:
                given["session"].close()
        if answer is not None:
            console.answer(answer)
            if answer.undecided:
                raise typer.Exit(exits.UNAVAILABLE)
            if not answer.ok:
                raise typer.Exit(exits.NO)

    typed = typing.cast("Any", run)
    for parameter in own:
        _name_argument(parameter)
    ordered = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *common]]
    typed.__signature__ = signature.replace(parameters=ordered, return_annotation=None)
    typed.__annotations__ = {p.name: p.annotation for p in ordered}
    del typed.__wrapped__
    return run


def _name_argument(parameter: inspect.Parameter) -> None:
    """Show an argument as ``FILE`` in usage lines, not as ``{file}``."""
    for info in getattr(parameter.annotation, "__metadata__", ()):
        if type(info).__name__ == "ArgumentInfo" and info.metavar is None:
            info.metavar = parameter.name.strip("_").upper()


def _option(name: str, annotation: object, *, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _waiting(attempt: Callable[[], Answer | None]) -> Answer | None:
    while True:
        try:
            return attempt()
        except (
            errors.UnavailableError,
            errors.PendingFinality,
            errors.Reorganised,
            errors.EndpointsDisagree,
        ) as error:
            pause = max(0.2, float(getattr(error, "retry_after", 2.0)))
            console.note(f"waiting: {error.message} (trying again in {pause:g} s)")
            time.sleep(pause)
