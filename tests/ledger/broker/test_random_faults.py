"""Random faults and chain events against the chain rule, with the chain itself as the oracle.

Three endpoints, of which one may lie and another may fail at the same time; licenses are issued,
suspended, reinstated, revoked and passed on, blocks are mined and reorganised. DEED_DEEP=1 runs
longer; DEED_FAULT_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from ledger.errors import (
    ChainUnavailable,
    ContractReverted,
    EntitlementError,
    KeyRequestRejected,
    LeaseExpired,
)
from ledger.ids import ZERO_DIGEST, LicenseId
from ledger.licensing.entitlement import Code

pytestmark = pytest.mark.chain

STEPS, SECONDS = (4000, 900) if os.environ.get("DEED_DEEP") else (200, 60)
ON_CHAIN_BELOW = 100
"""Numbers of denials that the ledger itself gives."""


class Run:
    """One random run over a stand."""

    def __init__(self, stand, faults, plan_id, seed):
        self.stand, self.faults, self.plan_id = stand, faults, plan_id
        self.world = stand.world
        self.random = random.Random(seed)
        self.licenses, self.leases = [], {}
        self.liar = self.failing = None
        self.told = []
        self.counts = {"granted": 0, "denied": 0, "beats": 0, "unloads": 0}
        for _ in range(2):
            self.issue()
        stand.mine(3)

    # -- the chain

    def issue(self):
        holder = self.world.chain.wallet("holder").address
        self.stand.act("licensor", "issue", self.plan_id, holder, 0, 0)
        _, state = self.world.chain.view("LicenseLedger", "planOf", self.plan_id)
        made = LicenseId.of(self.plan_id, int(state["issued"]))
        if made not in [license_id for license_id, _ in self.licenses]:
            self.licenses.append((made, self.world.runtime(made)))
        del self.licenses[:-4]

    def change(self):
        license_id = int(self.random.choice(self.licenses)[0])
        what = self.random.choice(
            ["suspend", "suspend", "reinstate", "reinstate", "revoke", "move"]
        )
        try:
            if what == "revoke":
                self.stand.act("licensor", "revoke", license_id, 0, ZERO_DIGEST)
            elif what == "move":
                holder, buyer = (self.world.chain.wallet(n).address for n in ("holder", "buyer"))
                self.stand.act("holder", "transferFrom", holder, buyer, license_id)
            else:
                self.stand.act("licensor", what, license_id, ZERO_DIGEST)
        except ContractReverted:
            what += " (refused)"
        return what

    # -- the endpoints

    def able(self, other):
        """Endpoints that may turn faulty beside `other`, so that the third is honest and heard.

        One that is left out after earlier faults is not heard, however well it is again.
        """
        circuits = [each.circuit for each in self.stand.view.health()]
        return [
            one
            for one in range(3)
            if one != other and all(circuits[rest] == "closed" for rest in {0, 1, 2} - {one, other})
        ]

    def lie(self):
        """One endpoint lies from now on, in one way."""
        faults, pick = self.faults, self.random
        able = self.able(self.failing)
        if not able:
            return "no honest one would be heard"
        if self.liar is not None:
            self.stand.proxies[self.liar].heal()
        self.liar = pick.choice(able)
        head, final = self.stand.blocks()
        code = pick.choice([Code.VALID, Code.REVOKED, Code.SUSPENDED, Code.NOT_FOUND, 99])
        lies = {
            "code": faults.no_proofs(faults.says_code(code)),
            "holder": faults.says_holder(self.world.chain.wallet("rival").address),
            "early finality": faults.tagged(lambda tag, block: self.stand.blocks()[0]),
            "late finality": faults.frozen(head, final),
            "forged": faults.tagged(
                lambda tag, block: faults.forged(block, timestamp=hex(int(time.time()) + 10**6))
            ),
            "false hash": faults.tagged(lambda tag, block: {**block, "parentHash": block["hash"]}),
            "this and that": faults.in_turn(
                faults.honest, faults.says_code(Code.VALID), faults.frozen(head, final)
            ),
            "chain id": faults.other_chain_id(1),
        }
        name = pick.choice(sorted(lies))
        self.stand.proxies[self.liar].change = lies[name]
        return f"{self.liar} lies: {name} {code}"

    def fail(self):
        """Another endpoint fails from now on, in one way."""
        able = self.able(self.liar)
        if not able:
            return "no honest one would be heard"
        if self.failing is not None:
            self.stand.proxies[self.failing].heal()
        self.failing = self.random.choice(able)
        kind = self.random.choice(
            ["refuse", "hang", "prose", "ids", "short", "busy", "flood", "stale", "stale"]
        )
        proxy = self.stand.proxies[self.failing]
        if kind == "stale":
            proxy.change = self.faults.frozen(*self.stand.blocks())
        else:
            proxy.socket_fault = kind
        return f"{self.failing} fails: {kind}"

    def heal(self):
        for proxy in self.stand.proxies:
            proxy.heal()
        self.liar = self.failing = None

    # -- what a runtime does

    def ask(self):
        license_id, identity = self.random.choice(self.licenses)
        truth = self.stand.truth(license_id, identity)
        lease, denial = self.stand.ask(license_id, identity)
        self.stand.no_wrong_release()
        if lease is not None:
            self.counts["granted"] += 1
            self.leases[lease.id] = (license_id, identity, lease)
        else:
            self.counts["denied"] += 1
            self.check_no(truth, denial)
        return f"ask {license_id}: {'granted' if lease else denial.code}"

    def check_no(self, truth, denial):
        faultless = self.liar is None and self.failing is None
        # A busy machine may be late itself; anything else needs a reason.
        late = isinstance(denial, ChainUnavailable) and "in time" in denial.message
        assert late or not (faultless and truth.valid), f"refused without a reason: {denial!r}"
        final = isinstance(denial, EntitlementError) and denial.number < ON_CHAIN_BELOW
        if final and (self.liar is None or self.failing is None):
            assert not truth.granted_head, f"an authoritative no against the truth: {denial!r}"

    def beat(self):
        if not self.leases:
            return "no lease"
        key = self.random.choice(sorted(self.leases, key=str))
        license_id, identity, lease = self.leases[key]
        truth = self.stand.truth(license_id, identity)
        try:
            extended, denial, unload = self.stand.beat(identity, lease)
        except (KeyRequestRejected, LeaseExpired):
            del self.leases[key]
            return f"beat {license_id}: ended"
        self.counts["beats"] += 1
        if extended is not None:
            assert truth.valid, f"a lease was extended against the truth: {truth}"
            self.leases[key] = (license_id, identity, extended)
        elif unload:
            self.counts["unloads"] += 1
            del self.leases[key]
            if denial.code == "LEASE_EXPIRED":
                assert time.time() >= lease.grace_until, "a lease that holds is told it ended"
            elif self.liar is None or self.failing is None:
                assert not truth.granted_head, f"unloaded against the truth: {denial}"
        return f"beat {license_id}: {'extended' if extended else denial.code}"

    def goes_on(self):
        """Until there were enough steps, and enough grants among them to prove something."""
        return len(self.told) < STEPS or self.counts["granted"] <= 10

    def step(self):
        acts = [
            (30, self.ask),
            (18, self.beat),
            (12, self.change),
            (6, self.issue),
            (12, lambda: self.stand.mine(self.random.choice([1, 2, 3]))),
            (5, lambda: self.stand.reorg(self.random.choice([1, 2]))),
            (7, self.lie),
            (5, self.fail),
            (9, self.heal),
        ]
        (act,) = self.random.choices([a for _, a in acts], [w for w, _ in acts])
        name = getattr(act, "__name__", "")
        self.told.append(f"{len(self.told)} {name}: {act()}")


def test_no_sequence_of_faults_releases_a_key_against_the_chain(own_world, faults, fault_stand):
    seed = int(os.environ.get("DEED_FAULT_SEED") or random.SystemRandom().getrandbits(32))
    plan_id = own_world.plan(seats=0)
    started = time.monotonic()
    with (
        own_world.chain.node.hold_finality(),
        fault_stand.stand(own_world, faults, patience=0.3, deadline=3.0) as stand,
    ):
        run = Run(stand, faults, plan_id, seed)
        try:
            while run.goes_on() and time.monotonic() - started < SECONDS:
                run.step()
        except BaseException:
            print(f"DEED_FAULT_SEED={seed}", *run.told[-40:], sep="\n")
            raise
        print(f"{len(run.told)} steps in {time.monotonic() - started:.1f} s", run.counts)
        assert len(run.told) >= 200
        assert run.counts["granted"], "the run proves nothing when nothing is granted"
