from __future__ import annotations

import errno

import pytest

from ledger import errors
from ledger.cli.exits import OurFault, failure_of


def every(class_):
    yield class_
    for below in class_.__subclasses__():
        yield from every(below)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NoNetwork("x"), 2),
        (errors.TensorFileError("x"), 2),
        (errors.UnsupportedModel("x"), 2),
        (errors.WrongNetwork("x"), 2),
        (errors.WrongKey("x"), 1),
        (errors.Revoked("x"), 1),
        (errors.KeyRequestRejected("x"), 1),
        (errors.ContractReverted("x"), 1),
        (errors.InsufficientFunds("x"), 1),
        (errors.CapacityExceeded("x"), 1),
        (errors.PendingFinality("x"), 3),
        (errors.ChainUnavailable("x"), 3),
        (errors.EndpointsDisagree("x"), 3),
        (errors.Reorganised("x"), 3),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "a"), 3),
        (EOFError(), 2),
        (ModuleNotFoundError("x", name="fastapi"), 2),
        (ModuleNotFoundError("x", name="ledger.nothing"), 4),
        (ValueError("x"), 4),
        (BrokenPipeError(), 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_kind_of_failure_has_its_exit_code(error, code):
    assert failure_of(error).exit == code


def test_every_class_of_the_tree_has_a_code_that_is_not_our_bug():
    assert failure_of(OurFault("x")).exit == 4
    for class_ in every(errors.LedgerError):
        if issubclass(class_, OurFault):
            continue
        try:
            error = class_("x")
        except TypeError:
            continue
        assert failure_of(error).exit in {1, 2, 3}, class_


def test_what_is_worth_waiting_for_says_how_long():
    for class_ in every(errors.UnavailableError):
        assert failure_of(class_("x")).retry_after is not None
    assert failure_of(errors.EndpointsDisagree("x")).retry_after is not None
    assert failure_of(errors.Revoked("x")).retry_after is None
