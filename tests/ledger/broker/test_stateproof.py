"""What a block proves of a license, held against the ledger's own ``check`` at that block."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ledger.broker.facts import ChainState
from ledger.broker.stateproof import Headers, overruled, prove_license, proven_side
from ledger.chain.rpc import Block, Rpc
from ledger.errors import StateProofInvalid
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, LicenseId
from ledger.licensing.entitlement import Code, Status

pytestmark = pytest.mark.chain

NOBODY = Digest(b"\x01" * 32)


@pytest.fixture(scope="module")
def licenses(world):
    """One license in each state that a proof can tell, by name, and a bound runtime's key."""
    chain, now = world.chain, int(time.time())
    plan, seats = world.plan(seats=0), world.plan(floating=False)
    made = {
        name: world.license(plan)
        for name in ("valid", "revoked", "revoking", "suspended", "held notice", "moved")
    }
    made["later"] = world.license(plan, not_before=now + 9000, not_after=now + 90000)
    made["ended"] = world.license(plan, not_after=now + 30)
    made["bound"] = made["other seat"] = world.license(seats)
    made["unknown"] = LicenseId.of(plan, 4000)
    send, ledger = chain.send, "LicenseLedger"
    send("licensor", ledger, "revoke", made["revoked"], 0, ZERO_DIGEST)
    send("licensor", ledger, "revoke", made["revoking"], now + 9000, ZERO_DIGEST)
    send("licensor", ledger, "revoke", made["held notice"], now + 9000, ZERO_DIGEST)
    for name in ("suspended", "held notice"):
        send("licensor", ledger, "suspend", made[name], ZERO_DIGEST)
    holder, buyer = (chain.wallet(name).address for name in ("holder", "buyer"))
    send("holder", ledger, "transferFrom", holder, buyer, int(made["moved"]))
    send("holder", ledger, "bindRuntime", made["bound"], NOBODY, now + 3600, bytes(20))
    return made


@pytest.fixture
def side(world, licenses):
    """The proof of one license at the head, and what the contract answers there."""

    def read(name, *, at=None, key=NOBODY):
        rpc, license_id = world.chain.rpc, licenses[name]
        block = rpc.block("latest")
        moment = at or max(int(time.time()), block.timestamp)
        header = Headers("mpt").header(block)
        proven = prove_license(rpc, header, world.chain.deployment, license_id, key)
        told = world.chain.view("LicenseLedger", "check", license_id, ZERO_ADDRESS, key, moment)
        return proven_side(proven, block, license_id, key, at=moment), int(told[0])

    return read


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("valid", Code.VALID),
        ("revoked", Code.REVOKED),
        ("revoking", Code.REVOKING),
        ("suspended", Code.SUSPENDED),
        ("held notice", Code.SUSPENDED),
        ("moved", Code.VALID),
        ("later", Code.NOT_YET_VALID),
        ("bound", Code.VALID),
        ("unknown", Code.NOT_FOUND),
    ],
)
def test_a_proof_says_what_the_ledger_says(side, name, code):
    proven, told = side(name)
    assert proven.code == told == code


def test_a_proof_says_when_a_license_ends(side, licenses, world):
    after = int(time.time()) + 86400
    proven, told = side("ended", at=after)
    assert proven.code == told == Code.EXPIRED
    proven, told = side("revoking", at=after)
    assert proven.code == told == Code.REVOKED


def test_a_proof_says_which_runtime_has_a_seat_and_until_when(side):
    proven, told = side("other seat", key=Digest(b"\x02" * 32))
    assert proven.code == told == Code.RUNTIME_NOT_BOUND
    proven, told = side("bound", at=int(time.time()) + 7200)
    assert proven.code == told == Code.SEAT_LAPSED
    proven, told = side("other seat", key=ZERO_DIGEST)
    assert proven.code == told == Code.VALID


def test_a_proof_names_the_holder_and_the_number_of_voided_grants(side, world):
    proven, _ = side("moved")
    assert proven.license.holder == world.chain.wallet("buyer").address
    assert proven.grant_nonce == 1
    assert proven.license.licensor == world.chain.wallet("licensor").address


def test_a_proof_of_another_contract_or_block_is_none(world, licenses):
    rpc, made = world.chain.rpc, licenses["valid"]
    headers, deployment = Headers("mpt"), world.chain.deployment
    header = headers.header(rpc.block("latest"))
    moved = dict(deployment.addresses) | {"LicenseLedger": deployment.addresses["Anchors"]}
    with pytest.raises(StateProofInvalid, match="another one"):
        prove_license(rpc, header, replace(deployment, addresses=moved), made, NOBODY)
    false = replace(header, state_root=Digest(b"\x03" * 32))
    with pytest.raises(StateProofInvalid):
        prove_license(rpc, false, deployment, made, NOBODY)


def test_a_proof_overrules_a_yes_and_never_a_no(side):
    (valid, _), (revoked, _), (moved, _) = side("valid"), side("revoked"), side("moved")
    assert overruled(valid, revoked).code == Code.REVOKED
    assert overruled(valid, revoked).license.status is Status.REVOKED
    assert overruled(valid, moved).license.holder == moved.license.holder
    assert overruled(valid, valid) is valid
    suspended = replace(valid, code=Code.SUSPENDED)
    assert overruled(suspended, valid).code == Code.SUSPENDED
    assert ChainState(valid, overruled(suspended, moved), ("x",)).head.code == Code.SUSPENDED


def test_a_header_is_recomputed_once_and_compared_ever_after(world, faults):
    rpc: Rpc = world.chain.rpc
    raw = rpc.block("latest").raw
    headers = Headers("mpt")
    assert headers.check(Block.of(raw)).hash == Block.of(raw).hash
    for name in ("timestamp", "number", "stateRoot", "parentHash"):
        value = "0x7" if name in {"timestamp", "number"} else "0x" + "77" * 32
        with pytest.raises(StateProofInvalid):
            headers.check(Block.of({**raw, name: value}))  # known by hash, shown otherwise
        with pytest.raises(StateProofInvalid):
            Headers("mpt").check(Block.of({**raw, name: value}))
    changed = faults.forged(raw, timestamp="0x7")
    assert headers.check(Block.of(changed)).timestamp == 7
    assert Headers("none").check(Block.of({**raw, "timestamp": "0x7"})).timestamp == 7
