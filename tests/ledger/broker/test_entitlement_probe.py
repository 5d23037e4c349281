"""One call answers what seven answer apart; what is not its answer is refused, word by word."""

from __future__ import annotations

import contextlib
import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.entitlement_probe import EntitlementProbe, Question, side_of
from ledger.broker.facts import PlanFacts, Side
from ledger.broker.leases import BlockRef
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Block
from ledger.errors import ChainError, ContractReverted
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status

LICENSE = LicenseId.of(7, 3)
BLOCK = Block(
    9, Digest(b"\x01" * 32), ZERO_DIGEST, 1_700_000_000, ZERO_DIGEST, ZERO_DIGEST, b"", {}
)


# -- on a real chain, against the contracts one by one


def apart(world, question, block, at):
    """The same facts from a call each, decoded by the ABI."""
    chain, addresses = world.chain, world.chain.deployment.addresses

    def ask(name, function, *args):
        abi = contract(name)
        answer = chain.rpc.eth_call(addresses[name], abi.encode(function, *args), block.hash)
        return abi.decode(function, answer)

    license_id, key = question.license, question.runtime_key_hash
    code = ask("LicenseLedger", "check", license_id, ZERO_ADDRESS, key, at)[0]
    holder, _, _, status, _ = ask("ModelRegistry", "modelOf", question.model)
    epoch, sealing = ask("ModelRegistry", "sealingOf", question.model)
    facts = LicenseFacts(license_id, ZERO_ADDRESS, Status.NONE, 0, 0, 0, ZERO_ADDRESS)
    plan, nonce, threshold, brokers = None, 0, 1, ()
    if code != Code.NOT_FOUND:
        terms, state = ask("LicenseLedger", "planOf", license_id.plan)
        word = ask("LicenseLedger", "licenseOf", license_id)
        bound_at, until, measurement = ask("LicenseLedger", "seatOf", license_id, key)
        nonce = word[5]
        facts = LicenseFacts(
            license_id, word[0], Status(word[3]), word[1], word[2], word[6], state["licensor"],
            terms["grace"], Seat(bound_at, until, bytes(measurement)),
        )  # fmt: skip
        plan = PlanFacts.of(license_id.plan, terms, state["licensor"])
        try:
            _, threshold, brokers = ask("BrokerRegistry", "brokerSetOf", plan.broker_set)
        except ContractReverted:
            threshold, brokers = 1, ()
    return Side(
        BlockRef(block.number, block.hash, block.timestamp), code, facts, nonce, plan, holder,
        status, epoch, sealing, tuple(brokers), threshold,
    )  # fmt: skip


@pytest.fixture(scope="module")
def asked(world):
    """Licenses of every kind with the runtime and model that are asked about."""
    send = world.chain.send
    kinds = {name: world.license() for name in ("valid", "revoked", "noticed", "suspended")}
    send("licensor", "LicenseLedger", "revoke", kinds["revoked"], 0, bytes(32))
    later = int(time.time()) + 5 * 86400
    send("licensor", "LicenseLedger", "revoke", kinds["noticed"], later, bytes(32))
    send("licensor", "LicenseLedger", "suspend", kinds["suspended"], bytes(32))
    kinds["bound"] = kinds["unseated"] = world.license(world.plan(floating=False))
    key = Digest(secrets.token_bytes(32))
    send(
        "holder", "LicenseLedger", "bindRuntime", kinds["bound"], key, later, b"\x77" * 20
    )  # fmt: skip
    kinds["unknown serial"] = LicenseId.of(kinds["valid"].plan, 4_000_000)
    kinds["unknown plan"] = LicenseId.of(4_000_000, 1)
    kinds["setless"] = world.license(world.plan(brokerSet=4_000_000))
    kinds["metered"] = world.license(world.plan(quota=9, features=5, warnOnly=True, seats=0))
    other = Digest(secrets.token_bytes(32))
    return {
        name: Question(license_id, world.published.model_id, key if name == "bound" else other)
        for name, license_id in kinds.items()
    }


KINDS = (
    *("valid", "revoked", "noticed", "suspended", "bound", "unseated"),
    *("unknown serial", "unknown plan", "setless", "metered"),
)


@pytest.mark.chain
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["known", "unknown"])
def test_one_call_gives_the_facts_that_the_contracts_give_apart(world, asked, kind, model):
    question = asked[kind]
    if model == "unknown":
        question = Question(question.license, ModelId(b"\x05" * 32), question.runtime_key_hash)
    probe, rpc = EntitlementProbe(world.chain.deployment), world.chain.rpc
    for block in (rpc.block("latest"), rpc.block("finalized")):
        for at in (block.timestamp, block.timestamp + 90 * 86400):
            result = rpc.call(*probe.request(question, block.hash, at=at))
            side = side_of(result, question.license, block)
            assert side == apart(world, question, block, at)
    assert (side.plan is None) == kind.startswith("unknown")
    assert (side.brokers == ()) == (kind == "setless" or kind.startswith("unknown"))


@pytest.mark.chain
def test_the_past_is_refused_as_the_contract_refuses_it(world, asked):
    probe, block = EntitlementProbe(world.chain.deployment), world.chain.rpc.block("latest")
    request = probe.request(asked["valid"], block.hash, at=block.timestamp - 1)
    with pytest.raises(ContractReverted) as caught:
        world.chain.rpc.call(*request)
    assert caught.value.error_name == "CheckInPast"


# -- what an endpoint may send


def words_of(*, members=(1, 2, 3), there=True):
    """A good answer."""
    check, model, sealing = (0 if there else 1, 2, 3, 7), (0xAA, 5, 5, 1, 1), (1, 99)
    if not there:
        return [*check, *model, *sealing]
    license_, seat = (0xBB, 0, 9, 1, 0, 4, 0), (1, 2, 0x77 << 96)
    terms, state = (
        (3, 4, 0, 60, 60, 3600, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 1, 0, 1),
        (0xAA, 1, 0, 0, 5),
    )
    set_ = (0xCC, 2, 96, len(members), *members)
    return [*check, *model, *sealing, *license_, *seat, *terms, *state, *set_]


def sent(words):
    return "0x" + "".join(f"{word:064x}" for word in words)


def test_a_good_answer_is_read():
    side = side_of(sent(words_of()), LICENSE, BLOCK)
    assert (side.code, side.threshold, side.brokers) == (0, 2, (1, 2, 3))
    assert side.license.seat == Seat(1, 2, b"\x00" * 19 + b"\x77")
    assert side.plan.floating
    assert side.title_holder == Address(b"\x00" * 19 + b"\xaa")
    assert side_of(sent(words_of(there=False)), LICENSE, BLOCK).plan is None


@pytest.mark.parametrize("result", [None, 5, "", "0x", "0x00", "0xzz", "0x" + "00" * 31, []])
def test_what_is_no_answer_at_all_is_refused(result):
    with pytest.raises(ChainError):
        side_of(result, LICENSE, BLOCK)


@given(st.integers(0, 51), st.integers(0, 51))
def test_an_answer_that_is_cut_or_too_long_is_refused(count, extra):
    words = words_of()
    for wrong in (words[:count], [*words, *words[: extra + 1]]):
        if len(wrong) in {45, len(words)}:
            continue  # without its set, an answer is one about a plan whose set is not there
        with pytest.raises(ChainError):
            side_of(sent(wrong), LICENSE, BLOCK)
    with pytest.raises(ChainError):
        side_of(sent([*words_of(there=False), 0]), LICENSE, BLOCK)


_FULL = {5 + 5, 20, 21, 22, 44}
"""Words of which every bit counts: hashes; the seat's measurement is padded on the right."""


@given(st.integers(0, 51), st.integers(1, (1 << 256) - 1))
def test_no_word_holds_more_than_its_type(place, value):
    words = words_of()
    words[place] = value
    try:
        side = side_of(sent(words), LICENSE, BLOCK)
    except ChainError:
        return
    if place not in _FULL:
        assert value < 1 << 160
    assert 0 <= side.code < 256


@given(st.binary(max_size=2048))
def test_any_bytes_are_an_answer_or_refused(raw):
    with contextlib.suppress(ChainError):
        side_of("0x" + raw.hex(), LICENSE, BLOCK)
