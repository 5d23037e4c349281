from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ledger.cli import output
from ledger.cli.output import Answer
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import EndpointsDisagree, PendingFinality, Revoked


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A group with one command, ``ask TIMES``, that fails that often with "not yet"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ledger.cli.verb.time.sleep", slept.append)
    slept.clear()
    group = Verbs("A group.")

    @group.verb("ask")
    def ask(session: Session, times: Annotated[int, typer.Argument()]) -> Answer:
        """Ask."""
        assert session.settings.get("network") == "net"
        if len(slept) < times:
            raise (PendingFinality("not yet", retry_after=3.0) if times < 9 else Revoked("no"))
        return Answer({"tries": len(slept) + 1}, f"after {len(slept) + 1} tries")

    @group.verb("send", signs="licensor", waits=False)
    def send(session: Session) -> Answer:
        """Send."""
        assert session.wait
        raise EndpointsDisagree("two answers")

    return group


slept: list[float] = []
run = CliRunner().invoke


def test_wait_asks_again_after_the_time_given_until_there_is_an_answer(app):
    done = run(app, ["ask", "2", "--network", "net", "--wait"])
    assert done.exit_code == 0, done.exception
    assert "after 3 tries" in done.stdout
    assert slept == [3.0, 3.0]


def test_without_wait_the_first_no_answer_is_the_end(app):
    done = run(app, ["ask", "1", "--network", "net"])
    assert isinstance(done.exception, PendingFinality)
    assert slept == []


def test_a_real_no_is_not_waited_for(app):
    done = run(app, ["ask", "9", "--network", "net", "--wait"])
    assert isinstance(done.exception, Revoked)
    assert slept == []


def test_what_sends_is_never_run_twice(app):
    done = run(app, ["send", "--wait"])
    assert isinstance(done.exception, EndpointsDisagree)
    assert slept == []


def test_a_command_that_signs_takes_wallet_as_and_yes_and_one_that_asks_does_not(app):
    signing = run(app, ["send", "--help"]).stdout
    asking = run(app, ["ask", "--help"]).stdout
    for option in ("--wallet, --as", "--yes"):
        assert option in signing
        assert option not in asking
    for option in ("--json", "--network", "--wait"):
        assert option in signing
        assert option in asking


def test_a_command_that_neither_asks_again_nor_sends_has_no_wait(app):
    @app.verb("look", waits=False)
    def look(session: Session) -> None:
        """Look."""
        raise EndpointsDisagree("two answers")

    assert "--wait" not in run(app, ["look", "--help"]).stdout
    for word, helps in (("look", False), ("send", False), ("ask", True)):
        run(app, [word, *(["1", "--network", "net"] if word == "ask" else [])])
        assert output.console.waits is helps, word


def test_an_answer_of_no_is_exit_code_1_with_its_data(app):
    @app.verb("no")
    def no() -> Answer:
        """Say no."""
        return Answer({"granted": False}, "no", ok=False)

    done = run(app, ["no", "--json"])
    output.console.json = False
    assert done.exit_code == 1
    assert '"granted": false' in done.stdout
