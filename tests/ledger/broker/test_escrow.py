"""Escrow on a real chain: agents give shares by the rule, to whom the license still entitles."""

import dataclasses
import json
import stat
import time

import pytest

from ledger import runtime
from ledger.broker.chainview import ChainView
from ledger.broker.escrow import (
    DATE,
    LICENSOR,
    SILENCE,
    Agent,
    Condition,
    Escrow,
    EscrowAnswer,
    EscrowRequest,
    Release,
    answer_info,
)
from ledger.broker.escrow_agent import AgentHome, answer
from ledger.broker.escrow_holder import EscrowKey, join_answers, make_escrow, make_request
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ClaimMismatch,
    ConfigurationError,
    Expired,
    KeyAccessError,
    KeyRequestRejected,
    ManifestError,
    Revoked,
    RuntimeNotBound,
    SharesRejected,
    SignatureInvalid,
    Suspended,
    UnsupportedVersion,
    UsageError,
    WrongPassphrase,
)
from ledger.ids import ZERO_DIGEST, Digest
from ledger.licensing import card as card_module
from ledger.sealed.recipients import wrap

pytestmark = pytest.mark.chain
DAY = 86400
WORDS = "words of an agent"


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    return [AgentHome.create(folder / str(n), f"agent {n}", WORDS, cost=14) for n in range(3)]


@pytest.fixture(scope="module")
def view(own_world):
    chain = own_world.chain
    made = ChainView([Rpc(chain.node.rpc_url, chain_id=31337)], chain.deployment, chain.profile)
    yield made
    made.close()


def made_for(world, agents, *rule, threshold=2, **changes):
    arguments = {
        "deployment": world.chain.deployment,
        "signer": world.chain.wallet("licensor"),
    } | changes
    return make_escrow(
        world.published.record, world.published.key, [a.agent for a in agents], threshold,
        rule or (Condition(LICENSOR),), **arguments,
    )  # fmt: skip


def licensed(world, **changes):
    license_id = world.license(world.plan(**({"duration": 0} | changes)))
    identity = world.runtime(license_id, not_after=2**40 - 1)
    card = card_module.parse(json.loads(world.card_file(license_id).read_text()))
    return license_id, card, identity


def given(world, agent, escrow, request, view):
    return answer(agent, escrow, request, view, world.chain.deployment).answer


def word(world, escrow, who="licensor"):
    return Release.sign(escrow, world.chain.wallet(who), now=int(time.time()))


def pass_days(world, days):
    world.chain.rpc.call("evm_increaseTime", [days * DAY])
    world.chain.rpc.call("anvil_mine", ["0x50"])


# -- the whole way


def test_two_of_three_agents_give_what_opens_the_model(own_world, agents, view, tmp_path):
    escrow = Escrow.from_json(made_for(own_world, agents).to_json())
    license_id, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity, release=word(own_world, escrow))
    answers = [given(own_world, one, escrow, request, view) for one in agents[1:]]
    key = join_answers(card, escrow, identity, answers)
    assert key.content_key == own_world.published.key
    path = tmp_path / "escrow.key.json"
    key.save(path, "a passphrase", cost=14)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert own_world.published.key.hex() not in path.read_text() + repr(key)
    with pytest.raises(WrongPassphrase):
        EscrowKey.load(path, "another")
    own_world.broker.unserve()
    try:
        loaded = EscrowKey.load(path, "a passphrase")
        with runtime.load(
            own_world.card_file(license_id), runtime=identity, escrow=loaded
        ) as model:
            for name, value in own_world.published.tensors.items():
                assert model.get_tensor(name).tobytes() == value.tobytes()
    finally:
        own_world.broker.serve()
    # What opened it stays on no disk of the host in the clear, and answers are used once.
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(SharesRejected, match="no request of this host"),
    ):
        join_answers(card, escrow, identity, answers)
    other = own_world.card_file(own_world.license())
    with pytest.raises(ClaimMismatch, match=f"license {license_id}"):
        key.require(card_module.parse(json.loads(other.read_text())))
    logs = [entry for one in agents[1:] for entry in one.log()]
    assert [entry["granted"] for entry in logs] == [True, True]
    assert all("rule: given by" in entry["reason"] for entry in logs)
    assert key.content_key.hex() not in json.dumps(logs)


# -- the rule


def test_what_is_not_ruled_is_refused_by_number_and_says_of_each_condition_why(
    own_world, agents, view
):
    far = int(time.time()) + 20 * 365 * DAY
    escrow = made_for(
        own_world, agents, Condition(SILENCE, 3), Condition(LICENSOR), Condition(DATE, far)
    )
    _, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity)
    with pytest.raises(KeyRequestRejected) as caught:
        given(own_world, agents[0], escrow, request, view)
    assert caught.value.check == 7
    for reason in ("younger than 3 days", "licensor has not given it", "finalized block is of"):
        assert reason in caught.value.message
    last = agents[0].log()[-1]
    assert (last["granted"], "does not hold" in last["reason"]) == (False, True)


@pytest.mark.parametrize("fault", ["rival", "other escrow", "altered"])
def test_the_licensors_word_counts_from_the_titleholder_and_for_this_escrow(
    own_world, agents, view, fault
):
    escrow, other = made_for(own_world, agents), made_for(own_world, agents)
    _, card, identity = licensed(own_world)
    release = {
        "rival": lambda: word(own_world, escrow, "rival"),
        "other escrow": lambda: word(own_world, other),
        "altered": lambda: dataclasses.replace(word(own_world, escrow), issued_at=5),
    }[fault]()
    request = make_request(card, escrow, identity, release=release)
    with pytest.raises(KeyRequestRejected) as caught:
        given(own_world, agents[0], escrow, request, view)
    assert caught.value.check == 7


def test_a_silence_is_counted_from_the_last_sign_and_any_sign_ends_it(own_world, agents, view):
    escrow = made_for(own_world, agents, Condition(SILENCE, 30))
    _, card, identity = licensed(own_world)
    _, ending_card, ending_identity = licensed(own_world, duration=40 * DAY)
    pass_days(own_world, 29)
    request = make_request(card, escrow, identity)
    with pytest.raises(KeyRequestRejected, match=r"younger|sent"):
        given(own_world, agents[0], escrow, request, view)
    pass_days(own_world, 2)
    answers = [given(own_world, one, escrow, request, view) for one in agents[:2]]
    assert join_answers(card, escrow, identity, answers).content_key == own_world.published.key
    assert "no transaction of titleholder" in agents[0].log()[-1]["reason"]
    # A license that ended while nobody was there to renew it still counts.
    pass_days(own_world, 15)
    late = make_request(ending_card, escrow, ending_identity)
    assert given(own_world, agents[0], escrow, late, view).index == 1
    assert "ended" in agents[0].log()[-1]["reason"]
    # Not under another condition, and not where it ended before the silence began.
    spoken = made_for(own_world, agents)
    asked = make_request(ending_card, spoken, ending_identity, release=word(own_world, spoken))
    with pytest.raises(Expired):
        given(own_world, agents[0], spoken, asked, view)
    pass_days(own_world, 40)
    with pytest.raises(Expired):
        given(own_world, agents[0], escrow, late, view)
    # Any transaction of the licensor is a sign of life.
    own_world.chain.send("licensor", "Anchors", "anchor", Digest(b"\x07" * 32))
    pass_days(own_world, 3)
    with pytest.raises(KeyRequestRejected, match="sent 1 transactions"):
        given(own_world, agents[0], escrow, request, view)
    pass_days(own_world, 31)
    given(own_world, agents[0], escrow, request, view)


def test_a_broker_that_still_anchors_receipts_is_a_sign_of_life(own_world, agents, view):
    # The record of this world names no broker set; one that does is needed here.
    world, made = own_world, own_world.published
    record = dataclasses.replace(made.record, epoch=7, broker_set=world.broker.set_id)
    world.chain.send("licensor", "ModelRegistry", "lodge", made.model_id, 1, 7, record.hash())
    here = dataclasses.replace(world, published=dataclasses.replace(made, record=record))
    escrow = made_for(here, agents, Condition(SILENCE, 10))
    _, card, identity = licensed(here)
    request = make_request(card, escrow, identity)
    pass_days(world, 11)
    given(here, agents[0], escrow, request, view)
    world.chain.send(
        "broker", "BrokerRegistry", "anchorReceipts", world.broker.id, 1, ZERO_DIGEST,
        Digest(b"\x09" * 32), 1,
    )  # fmt: skip
    pass_days(world, 1)
    with pytest.raises(KeyRequestRejected, match="anchored receipts in that time") as caught:
        given(here, agents[0], escrow, request, view)
    assert caught.value.check == 7
    # The sealing of the other tests is the latest again.
    again = dataclasses.replace(made.record, epoch=8)
    world.chain.send("licensor", "ModelRegistry", "lodge", made.model_id, 1, 8, again.hash())
    made.record = again


def test_a_date_that_has_come_by_the_finalized_block_is_enough(own_world, agents, view):
    now = own_world.chain.rpc.block("latest").timestamp
    escrow = made_for(own_world, agents, Condition(DATE, now + 5 * DAY))
    _, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity)
    with pytest.raises(KeyRequestRejected) as caught:
        given(own_world, agents[2], escrow, request, view)
    assert caught.value.check == 7
    pass_days(own_world, 6)
    assert given(own_world, agents[2], escrow, request, view).index == 3


# -- the license


def test_a_revoked_or_suspended_license_gets_nothing_though_the_rule_holds(own_world, agents, view):
    escrow = made_for(own_world, agents)
    for function, arguments, error in (
        ("suspend", (ZERO_DIGEST,), Suspended),
        ("revoke", (0, ZERO_DIGEST), Revoked),
    ):
        license_id, card, identity = licensed(own_world)
        request = make_request(card, escrow, identity, release=word(own_world, escrow))
        given(own_world, agents[0], escrow, request, view)
        own_world.chain.send("licensor", "LicenseLedger", function, license_id, *arguments)
        with pytest.raises(error):
            given(own_world, agents[0], escrow, request, view)


def test_the_grant_must_be_the_holders_and_for_this_license(own_world, agents, view):
    escrow = made_for(own_world, agents)
    _, card, identity = licensed(own_world)
    other, _, _ = licensed(own_world)
    request = make_request(card, escrow, identity, release=word(own_world, escrow))

    def signed(**changes):
        changed = dataclasses.replace(request, **changes)
        return dataclasses.replace(changed, signature=identity.sign(changed.digest()))

    given(own_world, agents[0], escrow, signed(), view)
    for changes in ({"license": other}, {"grant": None}):
        with pytest.raises(RuntimeNotBound):
            given(own_world, agents[0], escrow, signed(**changes), view)
    # An ungranted runtime cannot even ask, and nobody alters what a granted one signed.
    with pytest.raises(RuntimeNotBound):
        make_request(card, escrow, own_world.runtime())
    altered = dataclasses.replace(request, license=other)
    with pytest.raises(SignatureInvalid):
        given(own_world, agents[0], escrow, altered, view)
    with pytest.raises(KeyRequestRejected, match="answered within 7 days") as caught:
        given(own_world, agents[0], escrow, signed(issued_at=int(time.time()) - 8 * DAY), view)
    assert caught.value.check == 2
    with pytest.raises(KeyRequestRejected, match="another escrow document"):
        given(own_world, agents[0], made_for(own_world, agents), request, view)


def test_another_sealing_than_the_latest_is_refused(own_world, agents, view):
    escrow = made_for(own_world, agents)
    _, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity, release=word(own_world, escrow))
    made = own_world.published
    newer = dataclasses.replace(made.record, epoch=made.record.epoch + 10)
    own_world.chain.send(
        "licensor", "ModelRegistry", "lodge", made.model_id, 1, newer.epoch, newer.hash()
    )
    with pytest.raises(KeyRequestRejected, match="another sealing") as caught:
        given(own_world, agents[0], escrow, request, view)
    assert caught.value.check == 5
    made.record = newer


# -- documents and shares


def test_a_tampered_document_is_refused_whoever_reads_it(own_world, agents):
    document = made_for(own_world, agents, Condition(SILENCE, 90)).to_json()
    for change in (
        {"rule": [{"when": "silence", "days": 1}]},
        {"threshold": 1},
        {"agents": document["agents"][::-1]},
        {"issued_at": document["issued_at"] + 1},
        {"licensor": str(own_world.chain.wallet("rival").address)},
        {"commitments": document["commitments"][::-1]},
        {"record": {**document["record"], "epoch": 99}},
    ):
        with pytest.raises(SignatureInvalid):
            Escrow.from_json({**document, **change})
    for change in (
        {"rule": []},
        {"rule": [{"when": "whenever"}]},
        {"rule": [{"when": "silence", "days": 0}]},
        {"rule": [{"when": "date", "at": 1, "days": 2}]},
        {"agents": document["agents"][:2]},
        {"threshold": 4},
        {"more": 1},
    ):
        with pytest.raises(ManifestError):
            Escrow.from_json({**document, **change})
    assert Escrow.from_json(document).to_json() == document


def test_a_wrong_share_is_named_and_left_out_and_too_few_join_nothing(own_world, agents, view):
    escrow = made_for(own_world, agents)
    _, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity, release=word(own_world, escrow))
    answers = [given(own_world, one, escrow, request, view) for one in agents]
    info = answer_info(escrow.id(), request.digest(), 2)
    lie = dataclasses.replace(answers[1], wrap=wrap(b"\x01" * 32, request.kem, info=info))
    moved = dataclasses.replace(answers[1], index=3)
    with pytest.raises(SharesRejected, match="1 of the 2 shares needed"):
        join_answers(card, escrow, identity, answers[:1])
    for wrong, name in ((lie, r"agent 2 \(agent 1\)"), (moved, r"agent 3 \(agent 2\)")):
        with pytest.warns(UserWarning, match=name), pytest.raises(SharesRejected, match=name):
            join_answers(card, escrow, identity, [answers[0], wrong])
    # The same share twice is one.
    with pytest.raises(SharesRejected, match="1 of the 2"):
        join_answers(card, escrow, identity, [answers[0], answers[0]])
    with pytest.warns(UserWarning, match=r"agent 2 \(agent 1\)"):
        key = join_answers(card, escrow, identity, [answers[0], lie, answers[2]])
    assert key.content_key == own_world.published.key
    assert EscrowAnswer.from_json(lie.to_json()) == lie
    assert EscrowRequest.from_json(request.to_json()) == request


def test_an_agent_opens_its_own_share_alone(own_world, agents, view, tmp_path):
    escrow = made_for(own_world, agents[:2])
    _, card, identity = licensed(own_world)
    request = make_request(card, escrow, identity, release=word(own_world, escrow))
    with pytest.raises(UsageError, match="another agent's keys"):
        given(own_world, agents[2], escrow, request, view)
    # A licensor that wrapped another share to an agent is found out when it answers.
    swapped = dataclasses.replace(
        escrow,
        seats=(dataclasses.replace(escrow.seats[0], wrap=escrow.seats[1].wrap), escrow.seats[1]),
    ).signed(own_world.chain.wallet("licensor"))
    asked = make_request(card, swapped, identity, release=word(own_world, swapped))
    with pytest.raises(KeyAccessError):
        given(own_world, agents[0], swapped, asked, view)


def test_what_cannot_be_an_escrow_is_refused(own_world, agents):
    one, two = agents[:2]
    with pytest.raises(UsageError, match="each with a key of its own"):
        made_for(own_world, [one, one])
    with pytest.raises(UsageError, match="3 of 2"):
        made_for(own_world, [one, two], threshold=3)
    with pytest.raises(UsageError, match="each once"):
        made_for(own_world, agents, Condition(LICENSOR), Condition(LICENSOR))
    with pytest.raises(UsageError):
        made_for(own_world, agents, Condition(SILENCE, 0))
    record = dataclasses.replace(own_world.published.record, variant_root=Digest(b"\x01" * 32))
    celled = dataclasses.replace(
        own_world, published=dataclasses.replace(own_world.published, record=record)
    )
    with pytest.raises(UnsupportedVersion, match="cells"):
        made_for(celled, agents)


def test_an_agents_folder_opens_with_its_words_and_its_log_cannot_be_changed(tmp_path):
    home = AgentHome.create(tmp_path / "a", "one", WORDS, cost=14)
    with pytest.raises(ConfigurationError):
        AgentHome.create(tmp_path / "a", "one", WORDS, cost=14)
    with pytest.raises(WrongPassphrase):
        AgentHome.open(tmp_path / "a", "other words")
    again = AgentHome.open(tmp_path / "a", WORDS)
    assert again.agent == home.agent == Agent.from_json(home.agent.to_json())
    for number in range(3):
        again.note({"n": number})
    path = tmp_path / "a" / "answers.jsonl"
    lines = path.read_text().splitlines()
    for changed in (
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0].replace('"n": 0', '"n": 9'), *lines[1:]],
    ):
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(ManifestError, match="altered"):
            again.note({"n": 4})
