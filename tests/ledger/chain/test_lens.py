"""Many checks in one call, against the checks one by one."""

import pytest

from ledger.chain import reverts
from ledger.chain.lens import EntitlementLens, Query
from ledger.ids import Address, LicenseId

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def lens(deployed):
    return EntitlementLens(deployed.rpc, deployed.deployment.addresses["EntitlementLens"])


def test_many_answers_are_those_of_each_check(
    deployed, licensor, holder, model, new_plan, lens, fresh
):
    plan = new_plan(licensor, model, seats=1)
    ids, _ = deployed.licenses.issue_batch(licensor, plan, [holder.address] * 3)
    deployed.licenses.suspend(licensor, ids[1])
    queries = [
        *(Query(i) for i in ids),
        Query(ids[0], Address(b"\7" * 20)),
        Query(ids[0], holder.address, fresh()),
        Query(LicenseId.of(4_000, 1)),
    ]
    number = deployed.rpc.block("latest").number
    answers = lens.check_many(deployed.licenses.address, queries, block=number)
    assert answers == tuple(
        deployed.licenses.check(q.license, q.holder, q.runtime_key, block=number) for q in queries
    )
    assert [answer.code for answer in answers] == [0, 2, 0, 5, 6, 1]


def test_no_question_has_no_answer_and_the_past_is_not_asked(deployed, lens):
    assert lens.check_many(deployed.licenses.address, []) == ()
    with pytest.raises(reverts.CheckInPast):
        lens.check_many(deployed.licenses.address, [Query(LicenseId(1))], at=1)
