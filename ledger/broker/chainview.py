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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial

from ledger.broker.entitlement_probe import EntitlementProbe, Question
from ledger.broker.facts import ChainState, Side
from ledger.broker.panel import Panel, Sight
from ledger.broker.readings import Asked, Reading, Shown, distinct
from ledger.broker.rounds import Rounds
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
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.health import EndpointHealth
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc, block_param, data
from ledger.chain.witnesses import DEADLINE, PATIENCE
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    EndpointsDisagree,
    FormatError,
    LedgerError,
)
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import Code

Title = tuple[Address, Digest]
"""A model's titleholder, and the record hash lodged for one epoch."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a round brought for one question: the agreed head, and each endpoint's answer.

    Attributes:
        at: the decision's moment, in Unix seconds.
    """

    sights: Sequence[Sight]
    head: Block
    at: int
    answers: Sequence[tuple[Sight, Shown | LedgerError]]


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
        self._probe = EntitlementProbe(deployment)
        self._rounds: Rounds[Asked, _Seen] = Rounds(self._round)
        self._agreed: tuple[Block, ...] = ()
        self._proofs: Kept[tuple[Digest, LicenseId, Digest], ProvenLicense] = Kept()
        self._registry = deployment.addresses["ModelRegistry"]

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
        question = Question(license_id, model, runtime_key_hash)
        seen = self._rounds.ask(Asked(question, now))
        shown = [(sight, each) for sight, each in seen.answers if isinstance(each, Shown)]
        prove = partial(
            self._proven, seen.sights, seen.head, license_id, runtime_key_hash, at=seen.at
        )
        try:
            if sum(each.head is not None for _, each in shown) < self._panel.quorum:
                raise self._panel.too_few(answer for _, answer in seen.answers)
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
        return ChainState(final_side, head_side, contrary)

    # -- one look for all that ask -------------------------------------------------------------

    def _round(self, asked: Sequence[Asked]) -> list[_Seen | BaseException]:
        """Ask all endpoints once for several decisions, none of which began after this.

        Most often the blocks agreed on last are still the agreed ones. So each endpoint is asked
        about them in the same breath as where it stands; what it says of other blocks is dropped.
        """
        guessed = [
            (number, block.hash, max(each.now, self._agreed[0].timestamp))
            for number, each in enumerate(asked)
            for block in self._agreed
        ]
        sights = self._panel.survey(
            [
                self._probe.request(asked[number].question, hash_, at=at)
                for number, hash_, at in guessed
            ]
        )
        head = self._panel.agreed_head(sights)
        final = self._panel.agreed_final(sights, head)
        self._agreed = distinct((head, final))
        at = [max(each.now, head.timestamp) for each in asked]
        readings = {
            sight.witness: Reading(
                self._probe, sight, asked=asked, blocks=(final, head), at=at, guessed=guessed
            )
            for sight in sights
        }
        sides: dict[tuple[int, Digest, str], Side] = {}
        answers = self._panel.each(
            sights,
            lambda sight: readings[sight.witness].shown(sides),
            known=lambda sight: readings[sight.witness].complete,
        )
        seen: list[_Seen | BaseException] = []
        for number in range(len(asked)):
            own = [
                (sight, all_ if isinstance(all_, LedgerError) else all_[number])
                for sight, all_ in answers
            ]
            seen.append(_Seen(sights, head, at[number], own))
        return seen

    def _contrary(
        self, shown: Iterable[tuple[Sight, Shown]], final: Side, head: Side
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


def _grouped(values: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _difference(side: Side, agreed: Side) -> str | None:
    """What a side holds otherwise than the agreed one, in words; None: nothing."""
    if side is agreed:
        return None
    if side.code != agreed.code:
        return _word(side.code)
    for one in fields(Side):
        if one.name != "block" and getattr(side, one.name) != getattr(agreed, one.name):
            return f"another {one.name.replace('_', ' ')}"
    return None


def _word(code: int) -> str:
    return Code(code).name if code in set(Code) else f"code {code}"
