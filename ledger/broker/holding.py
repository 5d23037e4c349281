"""Whether the holder signed: the parts of steps 4 and 8 that look at the holder's wallet. Pure."""

from __future__ import annotations

from ledger.broker.facts import ChainState
from ledger.broker.fleet import WorkerCertificate
from ledger.broker.grants import RuntimeGrant, RuntimeKey
from ledger.broker.protocol import KeyRequest
from ledger.broker.wallet_signatures import AskWallet, WalletSays, account_of, refusal
from ledger.eip712 import Domain
from ledger.errors import PendingFinality, RuntimeNotBound, WrongHolder
from ledger.ids import Address, Digest
from ledger.licensing.entitlement import Code


def check_grant_on_chain(
    grant: RuntimeGrant, chain: ChainState, domain: Domain, ask: AskWallet | None
) -> str:
    """The grant counts now: not cancelled, under the plan's terms, signed by the holder.

    Returns:
        What to add about a holder that is a contract.

    Raises:
        WrongHolder, RuntimeNotBound, PendingFinality, EndpointsDisagree, UnavailableError,
        SignatureInvalid: as step 4.
    """
    name, holder = f"license {grant.license}", chain.head.license.holder
    digest = grant.digest(domain)
    signer = account_of(digest, grant.signature)
    by_account = signer == holder
    former = signer is not None and signer == chain.finalized.license.holder
    if not by_account and (ask is None or former or grant.nonce != chain.head.grant_nonce):
        # Void whatever a wallet would say about it, so it is not asked.
        raise _signed_by_another(grant, signer, holder)
    if grant.nonce != chain.head.grant_nonce:
        raise not_granted(f"the holder cancelled the grants for {name}", name)
    if chain.head.plan is not None and grant.terms_hash != chain.head.plan.terms_hash:
        raise not_granted(f"the grant for {name} was given under other terms", name)
    final = chain.finalized
    if (final.license.holder, final.grant_nonce) != (holder, grant.nonce):
        raise PendingFinality(
            f"{holder} holds {name}, but not yet finally (block {final.block.number} is final)",
            retry_after=2.0,
            hint="wait for finality",
        )
    if by_account:
        return ""
    assert ask is not None
    said = ask(chain, digest, grant.signature)
    if said.head is WalletSays.NO_CODE:
        raise _signed_by_another(grant, signer, holder)
    if why := refusal(said, holder, "grant"):
        raise WrongHolder(
            f"the grant for {name} is not signed by its holder: {why}",
            remedy=f"let {holder} grant this runtime: "
            f"deed runtime grant REQUEST --license {grant.license}",
        )
    return ", a contract wallet"


def _signed_by_another(grant: RuntimeGrant, signer: Address | None, holder: Address) -> WrongHolder:
    return WrongHolder(
        f"the grant is signed by {signer or 'no account'}, but license {grant.license} is held "
        f"by {holder}",
        remedy=f"let {holder} grant this runtime: "
        f"deed runtime grant REQUEST --license {grant.license}",
    )


def check_seat_of_worker(
    certificate: WorkerCertificate | None, runtime: RuntimeKey, chain: ChainState
) -> None:
    """A certificate takes no seat where the chain counts them.

    Raises:
        RuntimeNotBound: the worker has none there.
    """
    plan = chain.head.plan
    if certificate is None or plan is None or plan.floating:
        return
    if chain.head.code == Code.RUNTIME_NOT_BOUND:
        holder = chain.head.license.holder
        raise RuntimeNotBound(
            f"plan {plan.id} keeps its seats on chain, where a fleet's certificate takes none: "
            f"worker {runtime.hash()} is not bound",
            remedy=f"the holder {holder} can bind this worker (deed license bind), or get a "
            "license with floating seats for the fleet",
        )


def not_granted(message: str, name: str, *, since: int | None = None) -> RuntimeNotBound:
    """The error for a grant that does not count, with its way out."""
    return RuntimeNotBound(
        message, since=since, remedy=f"the holder of {name} can sign a new one: deed runtime grant"
    )


def not_accepted(
    request: KeyRequest,
    chain: ChainState,
    terms_hash: Digest,
    domain: Domain,
    ask: AskWallet | None,
) -> str | None:
    """Why the request's acceptance is not the holder's; None when it is."""
    shown, holder = request.acceptance, chain.head.license.holder
    if shown is None or (shown.license, shown.terms_hash) != (request.license, terms_hash):
        return ""
    digest = shown.digest(domain)
    if account_of(digest, shown.signature) == holder:
        return None
    if ask is None:
        return ""
    said = ask(chain, digest, shown.signature)
    if said.head is WalletSays.NO_CODE:
        return ""
    why = refusal(said, holder, "acceptance of the terms")
    return None if why is None else f": {why}"
