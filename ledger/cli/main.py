"""The program: assembles the command that was asked for, and is the boundary for errors."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ledger import __version__
from ledger.cli import exits
from ledger.cli.commands import ENTRIES, Entry
from ledger.cli.output import console
from ledger.cli.verb import Verbs

HELP = """Licensing and provenance of machine-learning models.

A licensor publishes a model: fingerprint, title on chain, sealed file, plan. A runtime proves its
license and gets the key. Anyone can take away evidence that verifies offline.

Begin with deed init, or with deed up for a local stack in this folder.
"""
_LONG_WORD = re.compile(r"[0-9A-Za-z]{43,}")  # longer than an address
EPILOG = (
    "Exit codes: 0 yes, 1 no, 2 wrong usage or unreadable input, 3 unavailable or not yet final, "
    "4 our bug, 130 interrupted."
)


def _version(*, value: bool) -> None:
    if value:
        sys.stdout.write(f"modeldeed {__version__}\n")
        raise typer.Exit


def _root(
    *,
    version: Annotated[  # noqa: ARG001 - the callback acts
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON on stdout.")
    ] = False,
) -> None:
    console.json = console.json or json


def assemble(words: Sequence[str] | None) -> typer.Typer:
    """Build the program with only the asked command's module imported.

    Args:
        words: the command line; None imports everything (for the documentation).
    """
    wanted = None if words is None else next((w for w in words if not w.startswith("-")), "")
    root = Verbs(HELP)
    root.callback(help=HELP, epilog=EPILOG)(_root)
    loaded: set[str] = set()
    for entry in ENTRIES:
        if wanted is None or entry.name == wanted:
            _add(root, entry, loaded)
        elif entry.group:
            root.add_typer(Verbs(entry.help), name=entry.name, help=entry.help)
        else:
            root.command(entry.name, help=entry.help)(_placeholder)
    return root


def _placeholder() -> None:
    """Stand for a command whose module this run does not need."""


def _add(root: typer.Typer, entry: Entry, loaded: set[str]) -> None:
    module = importlib.import_module(f"ledger.cli.{entry.module}")
    app: typer.Typer = module.app
    if entry.group:
        root.add_typer(app, name=entry.name, help=entry.help)
        return
    for command in app.registered_commands:
        if command.name == entry.name:
            root.registered_commands.append(command)
            loaded.add(entry.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``deed``.

    Args:
        argv: the words after the program's name; ``sys.argv`` by default.

    Returns:
        The exit code (ledger.cli.exits).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    console.json = _take_json(words)
    console.waits = False
    try:
        program = typer.main.get_command(assemble(words))
        code = program.main(args=words, prog_name="deed", standalone_mode=False)
    except KeyboardInterrupt:
        code = exits.INTERRUPTED
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:  # noqa: BLE001 - the boundary: nothing may pass as a traceback
        code = _failed(error)
    if code == exits.INTERRUPTED:
        # typer may have turned the interrupt into its exit code without a word.
        return _interrupted()
    return code if isinstance(code, int) else exits.YES


def _take_json(words: list[str]) -> bool:
    """Remove ``--json`` wherever it stands, so that even wrong usage is answered in JSON."""
    end = words.index("--") if "--" in words else len(words)
    found = "--json" in words[:end]
    words[:] = [word for i, word in enumerate(words) if word != "--json" or i > end]
    return found


def _interrupted() -> int:
    console.note("interrupted")
    return exits.INTERRUPTED


def _without_secrets(message: str) -> str:
    """The parser's message without what may be a private key, typed where nothing belongs.

    Words beyond a command's arguments are not repeated at all, other words only where they are
    not longer than an address.
    """
    begin, extra, _ = message.partition("unexpected extra argument")
    if extra:
        return f"{begin}more arguments than it takes"
    return _LONG_WORD.sub("…", message)


def _failed(error: BaseException) -> int:
    if os.environ.get("DEED_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if type(error).__name__ == "Abort":  # typer's word for an ended input or Ctrl-C in a prompt
        cause = error.__cause__ or error.__context__
        if isinstance(cause, EOFError):
            error = cause
        else:
            return exits.INTERRUPTED
    wrong_usage: Any = error
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "deed"
        message = wrong_usage.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            if not console.json:
                # The help itself is the message.
                sys.stderr.write(message + "\n")
                return exits.USAGE
            message = "no command is given"
        failure = exits.Failure(
            exits.USAGE,
            "USAGE",
            _without_secrets(message[:1].lower() + message[1:].rstrip(".")),
            f"see {command} --help",
        )
    else:
        failure = exits.failure_of(error)
    console.failure(failure)
    return failure.exit


if __name__ == "__main__":
    sys.exit(main())
