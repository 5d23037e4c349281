"""Exit codes, and the one place that maps failures to them.

0 yes · 1 no · 2 wrong usage or unreadable input · 3 unavailable or not yet final · 4 our bug ·
130 interrupted.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from ledger import errors

YES: Final = 0
NO: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
BUG: Final = 4
INTERRUPTED: Final = 130


class OurFault(errors.LedgerError):
    """Something of ours did not go as it must, whatever was put in."""

    default_hint = "this is our bug; please report it"


# First match wins, so a class stands before its base.
_BY_CLASS: Final[tuple[tuple[type[errors.LedgerError], int], ...]] = (
    (OurFault, BUG),
    (errors.ConfigurationError, USAGE),
    (errors.FormatError, USAGE),
    (errors.UnsupportedModel, USAGE),
    (errors.WrongNetwork, USAGE),
    (errors.UnavailableError, UNAVAILABLE),
    (errors.PendingFinality, UNAVAILABLE),
    (errors.Reorganised, UNAVAILABLE),
    (errors.EndpointsDisagree, UNAVAILABLE),
    (errors.LedgerError, NO),
)

_EXTRA_OF: Final[dict[str, str]] = {
    "eth_abi": "chain",
    "eth_account": "chain",
    "eth_keyfile": "chain",
    "web3": "chain",
    "alembic": "server",
    "fastapi": "server",
    "jinja2": "server",
    "msgspec": "server",
    "prometheus_client": "server",
    "psycopg": "server",
    "pydantic_settings": "server",
    "sqlalchemy": "server",
    "sqlmodel": "server",
    "starlette": "server",
    "structlog": "server",
    "uvicorn": "server",
    "rfc3161_client": "evidence",
    "segno": "evidence",
    "typst": "evidence",
    "gguf": "formats",
    "onnx": "formats",
    "obstore": "s3",
    "pkcs11": "hsm",
    "solcx": "build",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a person and a program are told about an error."""

    exit: int
    code: str
    message: str
    hint: str = ""
    retry_after: float | None = None


def failure_of(error: BaseException) -> Failure:
    """Describe any exception; nothing of an unexpected one's text is repeated.

    The text of an exception we did not raise may hold anything that was in memory, a key too, so
    a bug is reported by its type and place only.
    """
    if isinstance(error, errors.LedgerError):
        return _of_ledger_error(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        extra = _EXTRA_OF.get(package)
        if extra:
            return Failure(
                USAGE,
                "EXTRA_MISSING",
                f"this command needs the Python package {package}",
                f"pip install 'modeldeed[{extra}]'",
            )
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return _of_os_error(error)
    if isinstance(error, EOFError):
        return Failure(
            USAGE,
            "INPUT_ENDED",
            "an answer was needed, and the input ended",
            "pass it as an option; --help lists them",
        )
    return Failure(
        BUG,
        "INTERNAL",
        f"deed failed unexpectedly: {type(error).__name__}{_place(error)}",
        "this is our bug; DEED_DEBUG=1 shows the trace to report",
    )


def _of_ledger_error(error: errors.LedgerError) -> Failure:
    code = next(exit_ for class_, exit_ in _BY_CLASS if isinstance(error, class_))
    retry = getattr(error, "retry_after", None)
    if code == UNAVAILABLE and retry is None:
        retry = 2.0
    return Failure(code, error.code, error.message, error.hint, retry)


def _of_os_error(error: OSError) -> Failure:
    reason = (error.strerror or type(error).__name__).lower()
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure(
            UNAVAILABLE, "DISK_FULL", f"{where}{reason}", "free some space and run it again", 60.0
        )
    hints = {
        errno.ENOENT: "check the path",
        errno.EACCES: "check who may read and write it",
        errno.EPERM: "check who may read and write it",
        errno.EEXIST: "choose another name, or move it away",
        errno.EISDIR: "give a file, not a folder",
        errno.ENOTDIR: "give a folder",
        errno.EADDRINUSE: "another program listens there; choose another port",
    }
    hint = hints.get(error.errno or 0, "check the path and its disk, then run it again")
    return Failure(USAGE, "OS_ERROR", f"{where}{reason}", hint)


def _place(error: BaseException) -> str:
    """Module and line where it was raised inside our own packages."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.split(".", maxsplit=1)[0] in {"ledger", "api"}:
            place = f" at {module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
