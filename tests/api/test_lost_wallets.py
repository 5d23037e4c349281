"""A title and a license of wallets that were lost, moved to their ends through the service.

In a module of its own: its chain's clock is moved on by a week, which other tests do not expect.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from ledger.chain.wallet import dev_wallet

pytestmark = pytest.mark.chain

writing: Any = importlib.import_module("writing_world")
PEOPLE = ("licensor", "holder", "rival", "spare")
DAY = 86_400


@pytest.fixture(scope="module")
def service(deployed, published, tmp_path_factory, make):
    """A service whose operator lets it pass transactions on."""
    folder = tmp_path_factory.mktemp("service")
    running = make.service(folder, deployed.network, DEED_API_RELAY="true").start()
    running.caught_up(deployed.rpc)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def desk(service):
    made = writing.Writing(service, *PEOPLE)
    yield made
    made.close()


def test_a_title_and_a_license_of_lost_wallets_move_after_their_delays(
    desk, service, published, deployed
):
    who = {name: str(dev_wallet(name).address) for name in PEOPLE}
    model = str(published.model)
    plan = writing.offering(deployed, published.model, service)
    number = plan(sale=False, duration=0, reissue_delay=3 * DAY)
    made = desk.do("issue", "licensor", plan=number, to=who["holder"])["LicenseIssued"]
    license_ = writing.numbered(made["licenseId"])

    def stands():
        holder = service.get(f"/v1/licenses/{license_}")["license"]["holder"]
        return service.get(f"/v1/models/{model}")["model"]["licensor"], holder

    # Nobody finishes what nobody began, nor before its time.
    desk.do("guardian-set", "licensor", model=model, guardian=who["rival"], delay=7 * DAY)
    assert desk.refused("recovery-finish", "rival", model=model) == (409, "MODEL_NO_RECOVERY")
    assert desk.refused("reissue-finish", "licensor", license=license_) == (409, "REISSUE_NONE")
    desk.do("recovery-start", "rival", model=model, to=who["spare"])
    desk.do("reissue-start", "licensor", license=license_, to=who["spare"])
    deployed.chain.advance_time(2 * DAY)
    early = desk.refused("reissue-finish", "licensor", license=license_)
    assert early == (409, "REISSUE_PENDING")
    deployed.chain.advance_time(2 * DAY)
    moved = desk.do("reissue-finish", "licensor", license=license_)["LicenseReissued"]
    assert (moved["from"], moved["to"]) == (who["holder"], who["spare"])
    assert stands() == (who["licensor"], who["spare"])
    early = desk.refused("recovery-finish", "rival", model=model)
    assert early == (409, "MODEL_RECOVERY_PENDING")
    deployed.chain.advance_time(4 * DAY)
    ready = desk.prepare("recovery-finish", "rival", model=model)
    told = desk.sent("rival", ready)
    assert {each["contract"] for each in told["events"]} == {"ModelRegistry"}
    assert stands() == (who["spare"], who["spare"])
    titles = service.get(f"/v1/models/{model}/titles")["titles"]
    assert [each["holder"] for each in titles] == [who["licensor"], who["spare"]]
    # Once: a title's guardian ends with its holder; and whoever lost it has lost it.
    assert desk.refused("recovery-finish", "rival", model=model) == (409, "MODEL_NOT_GUARDIAN")
    assert desk.refused("reissue-finish", "licensor", license=license_) == (409, "REISSUE_NONE")
    late = {"model": model, "guardian": who["licensor"], "delay": 7 * DAY}
    assert desk.refused("guardian-set", "licensor", **late)[0] == 409
