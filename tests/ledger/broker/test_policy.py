"""The decision, step by step, without chain or database."""

from dataclasses import replace

import pytest

from ledger.broker import policy, seating
from ledger.broker.evidence import SoftwareEvidence
from ledger.broker.facts import ChainState, IssuedChallenge, PlanFacts, Side
from ledger.broker.grants import ALG_ED25519, RuntimeKey, sign_acceptance, sign_grant
from ledger.broker.leases import BlockRef
from ledger.broker.policy import Deliberation
from ledger.broker.protocol import Evidence, KeyRequest
from ledger.broker.wallet_signatures import SignatureState, WalletSays
from ledger.chain.wallet import dev_wallet
from ledger.errors import (
    ChainUnavailable,
    EndpointsDisagree,
    KeyRequestRejected,
    PendingFinality,
    PlanNotOfTitle,
    Revoked,
    RuntimeNotBound,
    Suspended,
    UseNotPermitted,
    WrongHolder,
)
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import terms as terms_module
from ledger.licensing.card import ledger_domain
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status
from ledger.licensing.terms import Use
from ledger.sealed.recipients import KemPrivateKey

NOW = 1_800_000_000
DOMAIN = ledger_domain(31337, Address(b"\x11" * 20))
LICENSE, MODEL = LicenseId.of(1, 1), ModelId(b"\x44" * 32)
HOLDER, LICENSOR, RIVAL = (dev_wallet(name) for name in ("holder", "licensor", "rival"))
RUNTIME = RuntimeKey(ALG_ED25519, b"\x05" * 32)
TERMS = terms_module.parse(terms_module.TEMPLATE.encode())
SEALING = Digest(b"\x06" * 32)
AUDIENCE = "modeldeed-broker:31337:0x:1"

PLAN = PlanFacts(
    1, MODEL, LICENSOR.address, TERMS.hash(), 300, 60, 2, 0, 0, 1, floating=True, warn_only=False
)
FACTS = LicenseFacts(
    LICENSE, HOLDER.address, Status.ACTIVE, NOW - 10, NOW + 1000, 0, LICENSOR.address, 60
)


def side(number=10, **changes):
    block = BlockRef(number, Digest(number.to_bytes(32, "big")), NOW - 5)
    base = Side(block, 0, FACTS, 0, PLAN, LICENSOR.address, 1, 1, SEALING, (1,))
    return replace(base, **changes)


def state(final=None, contrary=(), **head):
    return ChainState(side(8, **(final or {})), side(10, **head), contrary)


def grant(signer=HOLDER, **changes):
    arguments = {
        "license_id": LICENSE,
        "runtime_key_hash": RUNTIME.hash(),
        "terms_hash": TERMS.hash(),
        "grant_nonce": 0,
    } | changes
    return sign_grant(signer, DOMAIN, **arguments)


def request(**changes):
    base = {
        "challenge": b"\x07" * 32,
        "license": LICENSE,
        "model": MODEL,
        "kem": KemPrivateKey.generate(1).public,
        "evidence": Evidence("software", "release", SEALING, Use(), "test"),
        "audience": AUDIENCE,
        "issued_at": NOW,
        "expires_at": NOW + 120,
        "runtime": RUNTIME,
        "grant": grant(),
        "acceptance": sign_acceptance(HOLDER, DOMAIN, license_id=LICENSE, terms_hash=TERMS.hash()),
    }
    return KeyRequest(**{**base, **changes})


def grant_step(chain, given="default", at=NOW):
    shown = grant() if given == "default" else given
    return policy.check_grant(LICENSE, RUNTIME, shown, chain, domain=DOMAIN, at=at)


# -- (1) and (2)


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        (None, "unknown or was already used"),
        (IssuedChallenge(LICENSE, MODEL, NOW), "expired"),
        (IssuedChallenge(LicenseId.of(1, 2), MODEL, NOW + 60), "another license"),
        (IssuedChallenge(LICENSE, ModelId(bytes(32)), NOW + 60), "another license or model"),
    ],
)
def test_a_challenge_counts_once_in_time_and_for_its_license(issued, why):
    with pytest.raises(KeyRequestRejected, match=why):
        policy.check_challenge(issued, request(), now=NOW)


@pytest.mark.parametrize(
    ("changes", "intent", "why"),
    [
        ({"audience": "modeldeed-broker:31337:0x:2"}, "release", "addressed to"),
        ({}, "check", "signed to release, not to check"),
        ({"expires_at": NOW + 601}, "release", "lifetime"),
        ({"expires_at": NOW - 1}, "release", "lifetime"),
        ({"issued_at": NOW + 121, "expires_at": NOW + 122}, "release", "clock is off"),
        ({"issued_at": NOW - 500, "expires_at": NOW - 121}, "release", "clock is off"),
    ],
)
def test_a_request_counts_for_one_broker_act_and_time(changes, intent, why):
    with pytest.raises(KeyRequestRejected, match=why):
        policy.check_request(
            request(**changes), domain=DOMAIN, audience=AUDIENCE, intent=intent, now=NOW
        )


# -- (4)


def test_the_holders_grant_passes():
    assert str(HOLDER.address) in grant_step(state())


@pytest.mark.parametrize(
    ("given", "at", "kind"),
    [
        (None, NOW, RuntimeNotBound),
        (grant(license_id=LicenseId.of(1, 2)), NOW, RuntimeNotBound),
        (grant(runtime_key_hash=Digest(bytes(32))), NOW, RuntimeNotBound),
        (grant(not_after=NOW), NOW, RuntimeNotBound),
        (grant(terms_hash=Digest(bytes(32))), NOW, RuntimeNotBound),
        (grant(grant_nonce=1), NOW, RuntimeNotBound),
        (grant(RIVAL), NOW, WrongHolder),
    ],
)
def test_a_grant_that_does_not_fit_is_refused(given, at, kind):
    with pytest.raises(kind):
        grant_step(state(), given, at)


def test_cancelled_grants_are_void_at_the_head_already():
    with pytest.raises(RuntimeNotBound, match="cancelled"):
        grant_step(state(grant_nonce=1))


def test_a_nonce_raised_by_the_holder_beforehand_does_not_outlive_the_next_cancellation():
    with pytest.raises(RuntimeNotBound):
        grant_step(state(grant_nonce=1, final={"grant_nonce": 1}), grant(grant_nonce=2))


def test_a_new_holder_waits_for_finality():
    moved = replace(FACTS, holder=RIVAL.address)
    with pytest.raises(PendingFinality):
        grant_step(state(license=moved), grant(RIVAL))


def test_a_bound_plan_needs_no_grant():
    bound = replace(PLAN, floating=False)
    assert "bound on chain" in grant_step(state(plan=bound), None)


def test_without_a_chain_only_the_signature_is_checked():
    assert grant_step(ChainUnavailable("down")).startswith("signed by")


# -- (4), the holder a contract wallet

CONTRACT = replace(grant(RIVAL), signature=b"as the wallet likes it")
YES, NO = WalletSays.ACCEPTED, WalletSays.REFUSED


def wallet_step(said, chain=None, given=CONTRACT):
    asked = []

    def ask(chain, digest, signature):
        asked.append(digest)
        if isinstance(said, Exception):
            raise said
        return said

    try:
        policy.check_grant(
            LICENSE, RUNTIME, given, chain or state(), domain=DOMAIN, at=NOW, ask=ask
        )
    finally:
        wallet_step.asked = asked


def test_a_contract_wallet_that_accepts_at_both_blocks_passes():
    wallet_step(SignatureState(YES, YES))
    assert wallet_step.asked == [CONTRACT.digest(DOMAIN)]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (SignatureState(YES, NO), WrongHolder),
        (SignatureState(NO, NO), WrongHolder),
        (SignatureState(NO, YES), PendingFinality),
        (SignatureState(WalletSays.NO_CODE, YES), PendingFinality),
        (SignatureState(YES, WalletSays.NO_CODE), WrongHolder),
        (SignatureState(YES, WalletSays.FAILED), WrongHolder),
        (SignatureState(YES, WalletSays.MALFORMED), WrongHolder),
        (SignatureState(YES, WalletSays.FACTORY_FAILED), WrongHolder),
        (SignatureState(YES, YES, ("one",)), EndpointsDisagree),
        (SignatureState(YES, NO, ("one",)), WrongHolder),
        (ChainUnavailable("down"), ChainUnavailable),
        (EndpointsDisagree("split"), EndpointsDisagree),
    ],
)
def test_a_contract_wallet_must_accept_at_both_blocks_through_all_endpoints(said, kind):
    with pytest.raises(kind):
        wallet_step(said)


def test_an_account_that_holds_the_license_is_never_asked():
    wallet_step(SignatureState(NO, NO), given=grant())
    assert wallet_step.asked == []


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        (state(grant_nonce=1), WrongHolder),
        (state(plan=replace(PLAN, terms_hash=Digest(bytes(32)))), RuntimeNotBound),
        (state(final={"grant_nonce": 1}), PendingFinality),
        (state(final={"license": replace(FACTS, holder=LICENSOR.address)}), PendingFinality),
    ],
)
def test_a_wallet_is_not_asked_about_a_grant_that_is_void_anyway(chain, kind):
    with pytest.raises(kind):
        wallet_step(SignatureState(YES, YES), chain)
    assert wallet_step.asked == []


def test_without_a_chain_a_contract_wallets_grant_is_left_to_step_5():
    """A no here would unload a running model because an endpoint is down."""
    assert "no account" in grant_step(ChainUnavailable("down"), CONTRACT)
    with pytest.raises(ChainUnavailable):
        policy.check_chain(ChainUnavailable("down"), broker_id=1)


def test_without_a_way_to_ask_only_accounts_sign():
    with pytest.raises(WrongHolder):
        grant_step(state(), CONTRACT)


# -- (5)


def test_valid_at_both_blocks_passes():
    detail = policy.check_chain(state(), broker_id=1)
    assert "finalized block 8" in detail
    assert "block 10" in detail


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        (ChainUnavailable("down"), ChainUnavailable),
        (state(contrary=("one shows REVOKED",)), EndpointsDisagree),
        (state(code=Code.REVOKED), Revoked),
        (state(code=Code.REVOKED, contrary=("one shows VALID",)), Revoked),
        (state(code=Code.SUSPENDED), Suspended),
        (state(final={"code": Code.NOT_FOUND}), PendingFinality),
        (state(brokers=(2, 3)), KeyRequestRejected),
    ],
)
def test_anything_less_than_valid_at_both_denies(chain, kind):
    with pytest.raises(kind):
        policy.check_chain(chain, broker_id=1)


def test_a_revocation_counts_at_the_head_before_it_is_final():
    with pytest.raises(Revoked):
        policy.check_chain(state(code=Code.REVOKED, final={"code": 0}), broker_id=1)


def test_a_license_under_notice_is_still_granted():
    policy.check_chain(state(code=Code.REVOKING, final={"code": Code.REVOKING}), broker_id=1)


# -- (6)


@pytest.mark.parametrize(
    ("chain", "deposited", "kind", "why"),
    [
        (state(plan=replace(PLAN, model=ModelId(bytes(32)))), True, PlanNotOfTitle, "another"),
        (state(title_holder=RIVAL.address), True, PlanNotOfTitle, "title of model"),
        (state(model_status=3), True, KeyRequestRejected, "compromised"),
        (state(final={"model_status": 3}), True, KeyRequestRejected, "compromised"),
        (state(final={"title_holder": RIVAL.address}), True, PendingFinality, "title"),
        (state(final={"sealing": Digest(bytes(32))}), True, PendingFinality, "lodged after"),
        (
            state(sealing=Digest(bytes(32)), final={"sealing": Digest(bytes(32))}),
            True,
            KeyRequestRejected,
            "not the current sealing",
        ),
        (state(), False, KeyRequestRejected, "holds no key"),
    ],
)
def test_title_and_sealing_must_be_those_of_the_request(chain, deposited, kind, why):
    with pytest.raises(kind, match=why):
        policy.check_title(request(), chain, deposited=deposited)


def test_a_newer_sealing_at_the_head_does_not_stop_the_finalized_one():
    chain = state(sealing=Digest(bytes(32)), sealing_epoch=2)
    assert "epoch 1" in policy.check_title(request(), chain, deposited=True)


# -- (7) and (8)


def test_software_evidence_says_that_it_proves_nothing():
    detail = policy.check_evidence(request(), state(), {"software": SoftwareEvidence()})
    assert "nothing about the host is proven" in detail


def test_evidence_without_a_verifier_is_refused():
    shown = Evidence("tee", "release", SEALING, Use(), "test", "token")
    with pytest.raises(KeyRequestRejected, match="class tee"):
        policy.check_evidence(request(evidence=shown), state(), {"software": SoftwareEvidence()})


def test_a_grant_for_a_measured_environment_needs_that_measurement():
    measured = grant(measurement=b"\x01" * 20)
    with pytest.raises(KeyRequestRejected, match="measured environment"):
        policy.check_evidence(request(grant=measured), state(), {"software": SoftwareEvidence()})


class Measured:
    """A verifier that finds one measurement."""

    def verify(self, evidence, request):
        return "measured", b"\x01" * 20


def test_a_seat_bound_to_a_measured_environment_needs_that_measurement():
    def seated(measurement):
        seat = Seat(NOW - 9, 0, measurement)
        return state(license=replace(FACTS, seat=seat))

    for verifier in (SoftwareEvidence(), Measured()):
        with pytest.raises(KeyRequestRejected, match="seat on chain"):
            policy.check_evidence(request(grant=None), seated(b"\x02" * 20), {"software": verifier})
        policy.check_evidence(request(grant=None), seated(bytes(20)), {"software": verifier})
    detail = policy.check_evidence(
        request(grant=None), seated(b"\x01" * 20), {"software": Measured()}
    )
    assert detail == "measured"


def policy_step(asked=None, terms=TERMS, accepted=False):
    return policy.check_policy(
        asked or request(), state(), terms, domain=DOMAIN, accepted=accepted, at=NOW
    )


def test_terms_permitted_and_accepted_pass():
    assert "accepted by" in policy_step()


def test_unknown_terms_deny():
    with pytest.raises(UseNotPermitted, match="not at hand"):
        policy_step(terms=None)
    other = terms_module.validate({**TERMS.document, "export": True})
    with pytest.raises(UseNotPermitted, match="not at hand"):
        policy_step(terms=other)


@pytest.mark.parametrize(
    "acceptance",
    [
        None,
        sign_acceptance(RIVAL, DOMAIN, license_id=LICENSE, terms_hash=TERMS.hash()),
        sign_acceptance(HOLDER, DOMAIN, license_id=LicenseId.of(1, 2), terms_hash=TERMS.hash()),
        sign_acceptance(HOLDER, DOMAIN, license_id=LICENSE, terms_hash=Digest(bytes(32))),
    ],
)
def test_terms_not_accepted_by_the_holder_deny(acceptance):
    with pytest.raises(UseNotPermitted, match="has not accepted"):
        policy_step(request(acceptance=acceptance))


def test_an_acceptance_on_record_is_not_asked_for_again():
    policy_step(request(acceptance=None), accepted=True)


# -- lease times and the list of steps


def test_lease_and_grace_end_with_what_they_rest_on():
    assert policy.lease_times(PLAN, NOW + 1000, now=NOW) == (NOW + 300, NOW + 360)
    assert policy.lease_times(PLAN, NOW + 320, now=NOW) == (NOW + 300, NOW + 320)
    assert policy.lease_times(PLAN, NOW + 100, now=NOW) == (NOW + 100, NOW + 100)


def test_after_the_first_failure_nothing_more_is_checked():
    def fail():
        raise Suspended("no", since=1, remedy="ask")

    talk = Deliberation()
    talk.step(4, lambda: "fine")
    talk.step(5, fail)
    talk.step(6, lambda: pytest.fail("must not run"))
    assert [check.result for check in talk.checks] == ["pass", "fail", "not checked"]
    assert talk.denial.check == 5
    assert not talk.open


def test_an_unexpected_error_is_not_taken_for_a_yes():
    talk = Deliberation()
    with pytest.raises(ZeroDivisionError):
        talk.step(5, lambda: str(1 // 0))
    assert not talk.checks


# -- features and hours


def test_a_grant_gives_no_feature_that_the_plan_lacks():
    def decide(features, plan_features):
        chain = state()
        head = replace(chain.head, plan=replace(chain.head.plan, features=plan_features))
        return policy.check_policy(
            request(grant=grant(features=features)),
            replace(chain, head=head),
            TERMS,
            domain=DOMAIN,
            accepted=True,
            at=NOW,
        )

    assert decide(0b101, 0b111)
    assert decide(0, 0)
    with pytest.raises(UseNotPermitted, match="features 0x8"):
        decide(0b1001, 0b111)


@pytest.mark.parametrize(("hours", "left"), [("00:00-24:00", 120), ("00:00-END", 30)])
def test_a_lease_and_its_grace_end_with_the_hours_it_was_given_in(hours, left):
    minute = NOW - NOW % 60 + 60
    now = minute - 30
    end = f"{minute % 86400 // 3600:02}:{minute % 3600 // 60:02}"
    begin, to = hours.replace("END", end).split("-")
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    document = {**TERMS.document, "windows": [{"days": days, "from": begin, "to": to}]}
    made = terms_module.validate(document)
    chain = state()
    block = replace(chain.head.block, timestamp=now)
    plan = replace(chain.head.plan, lease_ttl=60, grace=60)
    far = replace(chain.head.license, not_after=now + 10**6)
    side_ = replace(chain.head, block=block, plan=plan, license=far)
    lease = seating.new_lease(
        request(grant=None), replace(chain, head=side_, finalized=side_), made,
        audience=AUDIENCE, now=now,
    )  # fmt: skip
    assert lease.grace_until - now == left
    assert lease.not_after - now == min(60, left)
