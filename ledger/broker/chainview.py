"""The chain rule: what n endpoints together say about one license (docs/spec/key-release.md).

q = ⌊n/2⌋ + 1 endpoints must be healthy (right chain, right contracts, a head neither old nor ahead
of time) and agree on two blocks: the q-th highest head and the q-th highest finalized block,
heights that q of them claim to have reached, so that no single one holds the others back. A grant
needs VALID at both. A single endpoint that shows something else is reported as contrary, which
stops new releases; it is no authoritative no, unless it proves what it shows.

Who counts and which blocks are agreed on stands in ``panel``, how endpoints are asked in
``witnesses``, what is remembered of each in ``health``, what a block proves in ``stateproof``, and
what each fault leads to in docs/spec/endpoint-faults.md.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

from ledger.broker.facts import ChainState, PlanFacts, Side
from ledger.broker.health import EndpointHealth
from ledger.broker.leases import BlockRef
from ledger.broker.panel import Panel, Sight
from ledger.broker.stateproof import (
    Kept,
    ProvenLicense,
    grants,
    overruled,
    prove_license,
    proven_side,
)
from ledger.broker.wallet_probe import answer_of, probe_request
from ledger.broker.wallet_signatures import SignatureState, WalletSays
from ledger.broker.witnesses import DEADLINE, PATIENCE
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc, block_param, data
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    ContractReverted,
    EndpointsDisagree,
    FormatError,
    LedgerError,
)
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status

Title = tuple[Address, Digest]
"""A model's titleholder, and the record hash lodged for one epoch."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one endpoint holds at the agreed blocks, if it has them, and at its own head."""

    final: Side | None
    head: Side | None
    own: Side


class ChainView:
    """Reads licenses and titles by the chain rule. Thread-safe.

    Args:
        rpcs: one client per endpoint, each of a different operator.
        deployment: the contracts.
        profile: of the chain.
        clock: Unix seconds, for the age of heads.
        patience: seconds that an endpoint has once q others have answered.
        deadline: seconds after which a decision is given up.

    Raises:
        UsageError: fewer endpoints than the profile asks for, or one of them named twice.
    """

    def __init__(
        self,
        rpcs: Sequence[Rpc],
        deployment: Deployment,
        profile: ChainProfile,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        deadline: float = DEADLINE,
    ) -> None:
        self._panel = Panel(
            rpcs, deployment, profile, clock=clock, patience=patience, deadline=deadline
        )
        self._deployment = deployment
        self._sets: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._proofs: Kept[tuple[Digest, LicenseId, Digest], ProvenLicense] = Kept()
        self._ledger = deployment.addresses["LicenseLedger"]
        self._registry = deployment.addresses["ModelRegistry"]
        self._brokers = deployment.addresses["BrokerRegistry"]

    @property
    def quorum(self) -> int:
        """How many endpoints must agree."""
        return self._panel.quorum

    @property
    def panel(self) -> Panel:
        """The endpoints, for questions of other modules under the same rule."""
        return self._panel

    def health(self) -> tuple[EndpointHealth, ...]:
        """Each endpoint as last seen, in the order given."""
        return self._panel.health()

    def close(self) -> None:
        """Close the connections."""
        self._panel.close()

    # -- the two questions ---------------------------------------------------------------------

    def license_state(
        self, license_id: LicenseId, model: ModelId, runtime_key_hash: Digest, *, now: int
    ) -> ChainState:
        """License, plan, title and sealing at the agreed finalized block and at the agreed head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy, or what they agree on is old.
            EndpointsDisagree: no q of them agree.
        """
        sights = self._panel.survey()
        head = self._panel.agreed_head(sights)
        final = self._panel.agreed_final(sights, head)
        at = max(now, head.timestamp)
        ask = partial(
            self._sides, license_id=license_id, model=model, runtime_key_hash=runtime_key_hash
        )

        def read(sight: Sight) -> _Shown:
            own = sight.head
            # The contract answers for no moment before its block.
            moments = {final.hash: at, head.hash: at}
            moments.setdefault(own.hash, max(at, own.timestamp))
            try:
                blocks = _distinct((final, head, own))
                known = {side.block.hash: side for side in ask(sight.rpc, blocks, at=moments)}
                return _Shown(known[final.hash], known[head.hash], known[own.hash])
            except (ChainError, FormatError) as error:
                if own.hash in {final.hash, head.hash}:
                    raise
                # It does not hold the agreed blocks: no vote there, but what it holds is heard.
                sight.apart(error)
                return _Shown(None, None, *ask(sight.rpc, [own], at=moments))

        answers = self._panel.each(sights, read)
        shown = [(sight, each) for sight, each in answers if isinstance(each, _Shown)]
        prove = partial(self._proven, sights, head, license_id, runtime_key_hash, at=at)
        try:
            if sum(each.head is not None for _, each in shown) < self._panel.quorum:
                raise self._panel.too_few(answer for _, answer in answers)
            final_side = self._panel.majority(each.final for _, each in shown if each.final)
            head_side = self._panel.majority(each.head for _, each in shown if each.head)
        except (ChainUnavailable, EndpointsDisagree) as error:
            proven = prove()
            if proven is None or (grants(proven.code) and isinstance(error, ChainUnavailable)):
                raise
            # One proof may deny where no q agree. As contrary, it can never become a yes.
            return ChainState(proven, proven, (error.message,))
        contrary = self._contrary(shown, final_side, head_side)
        if contrary and grants(head_side.code) and (proven := prove()) is not None:
            head_side = overruled(head_side, proven)
        if final_side.plan is not None and final_side.brokers:
            # A set never changes, and q endpoints agreed on this one at a finalized block.
            self._sets[final_side.plan.broker_set] = (final_side.threshold, final_side.brokers)
        return ChainState(final_side, head_side, contrary)

    def _contrary(
        self, shown: Iterable[tuple[Sight, _Shown]], final: Side, head: Side
    ) -> tuple[str, ...]:
        """Who shows anything else than q endpoints, at the agreed blocks or at its own head."""
        sentences = []
        for sight, each in shown:
            pairs = ((each.final, final), (each.head, head), (each.own, head))
            for side, agreed in pairs:
                other = None if side is None else _difference(side, agreed)
                if side is not None and other is not None:
                    sentence = f"{sight.rpc.hosts[0]} shows {other} at block {side.block.number}"
                    sight.witness.record.contradicted(sentence)
                    sentences.append(sentence)
                    break
        return tuple(sentences)

    def _proven(
        self,
        sights: Sequence[Sight],
        head: Block,
        license_id: LicenseId,
        runtime_key_hash: Digest,
        *,
        at: int,
    ) -> Side | None:
        """The license's words under the agreed head, proven by any one endpoint; None: by none."""
        if not self._panel.headers.provable:
            return None
        key = (head.hash, license_id, runtime_key_hash)
        proven = self._proofs.get(key)
        if proven is None:
            header = self._panel.headers.header(head)

            def ask(sight: Sight) -> ProvenLicense:
                return prove_license(
                    sight.rpc, header, self._deployment, license_id, runtime_key_hash
                )

            # Whoever brings one, they are all the same: the same words under the same root.
            proven = self._panel.any(sights, ask)
            if proven is None:
                return None
            self._proofs.put(key, proven)
        return proven_side(proven, head, license_id, runtime_key_hash, at=at)

    def title_state(self, model: ModelId, epoch: int) -> tuple[Address, Digest]:
        """Titleholder of a model and the record hash lodged for one sealing epoch, at the head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy, or what they agree on is old.
            EndpointsDisagree: no q of them agree, or one shows something else at its own head.
        """
        sights = self._panel.survey()
        head = self._panel.agreed_head(sights)
        registry = contract("ModelRegistry")

        def titles(rpc: Rpc, blocks: Sequence[Block]) -> list[Title]:
            answers = self._calls(
                rpc,
                [
                    call
                    for block in blocks
                    for call in (
                        (block, self._registry, registry.encode("licensorOf", model)),
                        (block, self._registry, registry.encode("sealingAt", model, epoch)),
                    )
                ],
            )
            return [
                (
                    registry.decode("licensorOf", holder)[0],
                    registry.decode("sealingAt", lodged)[0],
                )
                for holder, lodged in _grouped(answers, 2)
            ]

        def read(sight: Sight) -> tuple[Title | None, Title]:
            try:
                agreed, own = titles(sight.rpc, (head, sight.head))
            except (ChainError, FormatError) as error:
                if sight.head.hash == head.hash:
                    raise
                sight.apart(error)
                return None, titles(sight.rpc, (sight.head,))[0]
            return agreed, own

        answers = self._panel.each(sights, read)
        good = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        votes = [agreed for agreed, _ in good if agreed is not None]
        if len(votes) < self._panel.quorum:
            raise self._panel.too_few(answer for _, answer in answers)
        title = self._panel.majority(votes)
        if any(shown not in {None, title} for shown in itertools.chain(*good)):
            raise EndpointsDisagree(
                "endpoints show different titles or sealings of the model",
                hint="try again shortly; deed broker status shows each endpoint",
            )
        return title

    def signature_state(
        self, chain: ChainState, digest: Digest, signature: bytes
    ) -> SignatureState:
        """What the wallet that holds a license says about a signature, at both agreed blocks.

        Args:
            chain: as `license_state` agreed on it.
            digest: what was signed.
            signature: ERC-1271's, or in ERC-6492's envelope.

        Raises:
            SignatureInvalid: an envelope that cannot be opened.
            ChainUnavailable: fewer than q endpoints answer.
            EndpointsDisagree: no q of them agree.
        """
        sides = (chain.finalized, chain.head)
        requests = [
            probe_request(side.license.holder, digest, signature, side.block.hash) for side in sides
        ]

        def ask(sight: Sight) -> tuple[WalletSays, ...]:
            return tuple(answer_of(result) for result in sight.rpc.batch(requests))

        answers = self._panel.each(self._panel.survey(), ask)
        good = [(sight, said) for sight, said in answers if not isinstance(said, LedgerError)]
        if len(good) < self._panel.quorum:
            raise self._panel.too_few(said for _, said in answers)
        final, head = self._panel.majority(said for _, said in good)
        contrary = []
        for sight, said in good:
            for side, says, agreed in zip(sides, said, (final, head), strict=True):
                if says is not agreed:
                    host, number = sight.witness.host, side.block.number
                    sentence = f"through {host} the wallet {says.sentence} at block {number}"
                    sight.witness.record.contradicted(sentence)
                    contrary.append(sentence)
        return SignatureState(final, head, tuple(contrary))

    # -- what they hold ------------------------------------------------------------------------

    def _calls(self, rpc: Rpc, calls: Sequence[tuple[Block, Address, bytes]]) -> list[bytes]:
        """Contract calls, each at its block, in one round trip."""
        requests = [
            ("eth_call", [{"to": str(to), "data": "0x" + body.hex()}, block_param(block.hash)])
            for block, to, body in calls
        ]
        return [data(value) for value in rpc.batch(requests)]

    def _sides(
        self,
        rpc: Rpc,
        blocks: Sequence[Block],
        *,
        license_id: LicenseId,
        model: ModelId,
        runtime_key_hash: Digest,
        at: Mapping[Digest, int],
    ) -> list[Side]:
        """Everything a decision needs at each block, in two round trips; `at` by block hash."""
        ledger, registry = contract("LicenseLedger"), contract("ModelRegistry")
        asked = (license_id, ZERO_ADDRESS, runtime_key_hash)
        checks = {b.hash: ledger.encode("check", *asked, at[b.hash]) for b in blocks}
        opening = [
            (self._registry, registry.encode("modelOf", model)),
            (self._registry, registry.encode("sealingOf", model)),
        ]
        # These revert for an unknown license, so they follow once it is known to be there.
        detail = [
            (self._ledger, ledger.encode("licenseOf", license_id)),
            (self._ledger, ledger.encode("planOf", license_id.plan)),
            (self._ledger, ledger.encode("seatOf", license_id, runtime_key_hash)),
        ]
        calls = [(b, *call) for b in blocks for call in ((self._ledger, checks[b.hash]), *opening)]
        first = _grouped(self._calls(rpc, calls), 3)
        codes = [int(ledger.decode("check", answer[0])[0]) for answer in first]
        there = [b for b, code in zip(blocks, codes, strict=True) if code != Code.NOT_FOUND]
        rest = iter(_grouped(self._calls(rpc, [(b, *call) for b in there for call in detail]), 3))
        sides: list[Side] = []
        for block, code, answer in zip(blocks, codes, first, strict=True):
            title = registry.decode("modelOf", answer[1])
            epoch, sealing = registry.decode("sealingOf", answer[2])
            side = Side(
                block=BlockRef(block.number, block.hash, block.timestamp),
                code=code,
                license=_no_license(license_id),
                grant_nonce=0,
                plan=None,
                title_holder=title[0],
                model_status=int(title[3]),
                sealing_epoch=int(epoch),
                sealing=sealing,
                brokers=(),
            )
            if code != Code.NOT_FOUND:
                side = self._with_license(side, rpc, block, license_id, next(rest))
            sides.append(side)
        return sides

    def _with_license(
        self, side: Side, rpc: Rpc, block: Block, license_id: LicenseId, answers: Sequence[bytes]
    ) -> Side:
        ledger = contract("LicenseLedger")
        holder, not_before, not_after, status, _, nonce, suspended_at = ledger.decode(
            "licenseOf", answers[0]
        )
        terms, state = ledger.decode("planOf", answers[1])
        bound_at, until, measurement = ledger.decode("seatOf", answers[2])
        licensor = state["licensor"]
        facts = LicenseFacts(
            license=license_id,
            holder=holder,
            status=Status(status),
            not_before=int(not_before),
            not_after=int(not_after),
            suspended_at=int(suspended_at),
            licensor=licensor,
            grace=int(terms["grace"]),
            seat=Seat(int(bound_at), int(until), bytes(measurement)),
        )
        plan = PlanFacts.of(license_id.plan, terms, licensor)
        threshold, brokers = self._members(rpc, block, plan.broker_set)
        return replace(
            side,
            license=facts,
            plan=plan,
            grant_nonce=int(nonce),
            brokers=brokers,
            threshold=threshold,
        )

    def _members(self, rpc: Rpc, block: Block, set_id: int) -> tuple[int, tuple[int, ...]]:
        """Threshold and brokers of a set: as agreed before, or as this endpoint shows them."""
        known = self._sets.get(set_id)
        if known is not None:
            return known
        registry = contract("BrokerRegistry")
        try:
            (answer,) = self._calls(
                rpc, [(block, self._brokers, registry.encode("brokerSetOf", set_id))]
            )
        except ContractReverted:
            return 1, ()  # a set without members releases nothing
        _, threshold, members = registry.decode("brokerSetOf", answer)
        return int(threshold), tuple(int(member) for member in members)


def _grouped(values: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _distinct(blocks: Iterable[Block]) -> list[Block]:
    return list({block.hash: block for block in blocks}.values())


def _no_license(license_id: LicenseId) -> LicenseFacts:
    return LicenseFacts(license_id, ZERO_ADDRESS, Status.NONE, 0, 0, 0, ZERO_ADDRESS)


def _difference(side: Side, agreed: Side) -> str | None:
    """What a side holds otherwise than the agreed one, in words; None: nothing."""
    if side.code != agreed.code:
        return _word(side.code)
    for one in fields(Side):
        if one.name != "block" and getattr(side, one.name) != getattr(agreed, one.name):
            return f"another {one.name.replace('_', ' ')}"
    return None


def _word(code: int) -> str:
    return Code(code).name if code in set(Code) else f"code {code}"
