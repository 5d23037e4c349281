"""The error tree: what is documented is what exists, and each class tells code and way out."""

import importlib
import inspect
import pkgutil
import re

import pytest

import api
import ledger
from ledger import errors
from ledger.cli.exits import failure_of
from ledger.errors import EntitlementError, LedgerError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


def test_every_class_descends_from_one_root():
    assert all(issubclass(c, LedgerError) for c in CLASSES)


def test_the_docstring_names_every_class_and_no_other():
    tree = errors.__doc__.partition("::")[2].partition("A negative answer")[0]
    # The remarks beside the names are set off by three spaces and begin in lower case.
    names = re.findall(r"\b[A-Z]\w+", re.sub(r"   +[a-z(].*", "", tree))
    assert set(names) == {c.__name__ for c in CLASSES}


def test_codes_are_upper_case_and_unique():
    codes = [c.code for c in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", code) for code in codes)


def test_denial_numbers_are_unique_below_their_root():
    numbers = [c.number for c in CLASSES if issubclass(c, EntitlementError)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_an_error_carries_its_message_and_hint(kind):
    error = kind("what happened")
    assert str(error) == error.message == "what happened"
    assert isinstance(error.hint, str)
    assert kind.__doc__


def test_a_hint_given_at_the_raise_replaces_the_class_default():
    assert errors.NoNetwork("x").hint
    assert errors.NoNetwork("x", hint="y").hint == "y"
    # An error without a way out helps nobody.
    assert errors.NoNetwork("x", hint="").hint == errors.NoNetwork.default_hint


def every(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_every_class_of_the_project_says_a_way_out():
    for package in (ledger, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds = list(every(LedgerError))
    assert len(kinds) > 120  # those of Solidity, the stack and the demonstration among them
    silent = {kind.__name__ for kind in kinds if not failure_of(kind("what happened")).hint.strip()}
    assert silent == set()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_class_has_a_hint_of_its_own(kind):
    """Inherited only by those that are one more name for the same way out."""
    inherits = {"HeaderTampered", "SegmentTampered", "ContentMismatch"}
    assert ("default_hint" in vars(kind)) is (kind.__name__ not in inherits)


def test_errors_survive_being_sent_between_processes():
    import pickle

    for kind in CLASSES:
        copy = pickle.loads(pickle.dumps(kind("message")))
        assert type(copy) is kind
        assert str(copy) == "message"


def test_no_module_of_the_pure_line_defines_errors_of_its_own():
    for name in ("ids", "canonical", "merkle", "eip712", "claim"):
        module = importlib.import_module(f"ledger.{name}")
        own = [
            v
            for v in vars(module).values()
            if inspect.isclass(v) and v.__module__ == module.__name__
        ]
        assert not [c for c in own if issubclass(c, BaseException)]
    assert list(pkgutil.iter_modules(ledger.__path__))
