"""Every failure of this project is one of these classes.

The tree, grouped by what the caller can do about it::

    LedgerError (.code .hint)
    ├── ConfigurationError            set something up first, or call differently
    │   ├── NoNetwork                 no chain chosen
    │   ├── WalletError               WalletNotFound WrongPassphrase NoWallet
    │   ├── UsageError                an argument that cannot be meant
    │   │   ├── UnknownRecord         nothing is recorded under that id or time
    │   │   ├── IdempotencyKeyInvalid IdempotencyKeyReused
    │   │   └── RangesRefused         a server that gives files only whole
    │   ├── IndexDamaged              its rows were changed by another hand, and waiting mends none
    │   └── ToolMissing               a program we drive is not installed
    ├── FormatError                   bytes that are not what they claim to be
    │   ├── SealedFormatError         NotSealed SealedTruncated
    │   ├── BundleFormatError
    │   ├── ManifestError             manifests, terms, license cards, recovery files, journals
    │   ├── TensorFileError
    │   ├── LogFormatError            a chain log that its contract cannot have emitted
    │   ├── UnsupportedVersion
    │   └── LimitExceeded
    ├── VerificationError (.step)     a proof that does not hold
    │   ├── ClaimMismatch
    │   ├── InclusionProofInvalid
    │   ├── StateProofInvalid
    │   ├── SignatureInvalid
    │   ├── TimestampInvalid
    │   ├── ClockFloorInvalid         the remembered time was altered or removed
    │   ├── TransactionRefused        signed, and not one that the service passes on
    │   └── SealedAuthError           WrongKey HeaderTampered SegmentTampered ContentMismatch
    │                                 ObjectReplaced
    ├── EntitlementError              the answer is no (.code .number .since .remedy)
    │   ├── NoLicense NotYetValid Expired Suspended Revoked WrongHolder RuntimeNotBound
    │   ├── SeatLapsed SeatsFull QuotaSpent ParentInvalid
    │   └── PlanNotOfTitle UseNotPermitted LicenseHeld
    ├── KeyAccessError                entitled perhaps, but no key
    │   ├── NoIdentityMatch (.tried)
    │   ├── KeyRequestRejected (.check)
    │   ├── LeaseExpired
    │   └── SharesRejected
    ├── AccessError                   the service does not know who asks, or does not let them
    │   ├── NotAuthenticated          CredentialExpired CredentialRevoked SignInTooOld
    │   ├── SignInRefused (.step)
    │   ├── ScopeMissing (.scope)
    │   ├── RelayRefused              the service passes on no transactions, or not those
    │   └── OriginRefused             a web page of another site asks with the user's cookie
    ├── ChainError
    │   ├── ContractReverted          one subclass per Solidity error, in ledger.chain.reverts
    │   ├── TransactionFailed TransactionNotTaken InsufficientFunds
    │   ├── NotOnSale                 the market may not sell licenses of the plan
    │   ├── AllowanceTooSmall         the market may not take the price, or not end the license
    │   ├── RpcRefused (.rpc_code .rpc_message)
    │   ├── WrongNetwork
    │   ├── Reorganised
    │   ├── EndpointsDisagree
    │   └── PendingFinality (.retry_after)
    ├── UnavailableError (.retry_after)
    │   ├── ChainUnavailable IndexUnavailable StoreUnavailable Fenced RateLimited
    │   ├── IndexReplaced             its file was removed or replaced while it was open
    │   ├── RequestUnderWay           the same request, sent before, is not answered yet
    │   └── BrokerUnavailable         ThresholdNotMet (.failures)
    └── ModelError
        ├── CapacityExceeded
        └── UnsupportedModel

A negative answer is a value; a broken proof is an exception. HTTP statuses live only in
``api.problems`` and exit codes only in ``ledger.cli``.
"""

from __future__ import annotations

import re
from typing import ClassVar


def _slug(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


class LedgerError(Exception):
    """Root of the tree.

    Attributes:
        code: stable upper-case name of the failure, for programs.
        hint: one sentence that says the way out; never empty.
        default_hint: what is said where the raise has nothing better; each class has its own.
    """

    code: ClassVar[str] = "LEDGER_ERROR"
    default_hint: ClassVar[str] = "deed doctor shows what is set up and what can be reached"

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = _slug(cls.__name__)

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


# -- configuration -------------------------------------------------------------------------------


class ConfigurationError(LedgerError):
    """Something must be set up, or called differently, first."""

    default_hint = "deed config shows what is set and where; deed doctor what is wrong with it"


class NoNetwork(ConfigurationError):
    """No chain was chosen and none can be guessed."""

    default_hint = "run deed up in this folder, or choose one with deed network use NAME"


class WalletError(ConfigurationError):
    """A wallet cannot be used."""

    default_hint = "deed wallet list shows the wallets there are; --wallet NAME names one"


class NoWallet(WalletError):
    """No wallet was chosen."""

    default_hint = "create one with deed wallet create NAME, or pass --wallet NAME"


class WalletNotFound(WalletError):
    """No wallet of that name."""

    default_hint = "list them with deed wallet list"


class WrongPassphrase(WalletError):
    """A passphrase does not open the keystore or recovery file."""

    default_hint = (
        "type it again, or check the file that names it: DEED_WALLET_PASSWORD_FILE for wallets and "
        "recovery files, DEED_BROKER_PASSPHRASE_FILE for brokers"
    )


class UsageError(ConfigurationError):
    """An argument that cannot be meant."""

    default_hint = "check what was given; the command's --help says what it takes"


class UnknownRecord(UsageError):
    """Nothing is recorded under the id, number or time that was asked for."""

    default_hint = "check the id and the network: deed network show"


class IdempotencyKeyInvalid(UsageError):
    """An Idempotency-Key header that cannot be read."""

    default_hint = 'send one, of 1 to 255 characters, such as "8e03978e-40d5-43dd-bc93-6894a57f"'


class IdempotencyKeyReused(UsageError):
    """An idempotency key that stands for another request."""

    default_hint = "choose another key for another request; to repeat one, send it as it was"


class RangesRefused(UsageError):
    """A server gives files only whole, not by range."""

    default_hint = "download the sealed file, and give it beside its card"


class IndexDamaged(ConfigurationError):
    """The index database lacks rows that it cannot be without, or holds what no release writes."""

    default_hint = (
        "another hand changed it: stop all that use it, and put a copy back (deed index restore, "
        "or pg_restore); without a copy, follow the chain into a new database"
    )


class ToolMissing(ConfigurationError):
    """A program that we drive is not installed."""

    default_hint = "install it; make setup installs all that the local stack needs"


# -- format --------------------------------------------------------------------------------------


class FormatError(LedgerError):
    """Bytes that are not what they claim to be."""

    default_hint = "check that it is the right file, and get it again from whoever made it"


class SealedFormatError(FormatError):
    """A sealed file breaks its format."""

    default_hint = "get the sealed file again from where the license card says"


class NotSealed(SealedFormatError):
    """The file does not begin like a sealed package."""

    default_hint = "seal it with deed seal; a plain model is never loaded in place of a sealed one"


class SealedTruncated(SealedFormatError):
    """The file's length differs from what its prelude fixes."""

    default_hint = "download it again from where the license card says"


class BundleFormatError(FormatError):
    """An evidence bundle breaks its format."""

    default_hint = "get the evidence bundle again, whole, from whoever collected it"


class ManifestError(FormatError):
    """A manifest, terms document, license card, recovery file or journal breaks its format."""

    default_hint = "get the file again from whoever made it, and do not edit it by hand"


class TensorFileError(FormatError):
    """A model file breaks its format."""

    default_hint = "give a complete .safetensors file"


class LogFormatError(FormatError):
    """A chain log that its contract cannot have emitted."""

    default_hint = "ask another RPC endpoint: this one shows what no contract of ours writes"


class UnsupportedVersion(FormatError):
    """A version or suite that this release does not read."""

    default_hint = "update modeldeed"


class LimitExceeded(FormatError):
    """A declared size is beyond what a reader will allocate."""

    default_hint = "no genuine file or answer is that large; get it again from a source you trust"


# -- verification --------------------------------------------------------------------------------


class VerificationError(LedgerError):
    """A proof does not hold.

    Attributes:
        step: number of the failed step in the specification, 0 when steps are not numbered.
    """

    default_hint = "do not rely on it: get it again from its source, and verify that"

    def __init__(self, message: str, *, step: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step


class ClaimMismatch(VerificationError):
    """A claim and what it should describe differ."""

    default_hint = "use the claim, model and network that belong together: deed claim show"


class InclusionProofInvalid(VerificationError):
    """A Merkle inclusion proof does not lead to its root."""

    default_hint = "do not rely on it: ask for the proof again, from whoever recorded it"


class StateProofInvalid(VerificationError):
    """An account, storage or receipt proof does not lead to its header."""

    default_hint = "do not rely on it: collect it again through another RPC endpoint"


class SignatureInvalid(VerificationError):
    """A signature does not verify, or is by another key."""

    default_hint = "do not rely on it: ask whoever should have signed it for the original"


class TimestampInvalid(VerificationError):
    """A time-stamp token or proof does not verify."""

    default_hint = "do not rely on it: ask for the time stamp again, or leave it out"


class ClockFloorInvalid(VerificationError):
    """The remembered time of this host was altered or removed; nothing kept is used."""

    default_hint = "get a new release: deed runtime request CARD, or load online once"


class TransactionRefused(VerificationError):
    """A signed transaction that the service does not pass on (docs/spec/transactions.md)."""

    default_hint = "sign what POST /v1/transactions/KIND prepared, unchanged; or send it yourself"


class SealedAuthError(VerificationError):
    """A sealed file fails authentication."""

    default_hint = "the file was altered or is another one: get it again from where the card says"


class WrongKey(SealedAuthError):
    """The key is not the one this file commits to."""

    default_hint = "ask the broker for the key of this model and epoch"


class HeaderTampered(SealedAuthError):
    """The prelude, public part or index fails its authentication tag."""


class SegmentTampered(SealedAuthError):
    """A payload segment fails its authentication tag."""


class ContentMismatch(SealedAuthError):
    """The content is not what the sealing, or the claim, fixes."""


class ObjectReplaced(SealedAuthError):
    """What lies at a URL is no longer the object that was opened there."""

    default_hint = "try again: somebody replaced the file while it was read"


# -- entitlement ---------------------------------------------------------------------------------


class EntitlementError(LedgerError):
    """Not entitled, and why.

    Attributes:
        number: the contract's denial code (ILicenseLedger.check), or ≥ 100 where the rule is
            decided off chain.
        since: Unix seconds from which the rule applies, or None when unknown.
        remedy: who can change it, and how.
    """

    default_hint = "ask the licensor; deed check FILE shows every step of the decision"

    number: ClassVar[int] = 100

    def __init__(self, message: str, *, since: int | None = None, remedy: str = "") -> None:
        super().__init__(message, hint=remedy)
        self.since = since
        self.remedy = remedy


class NoLicense(EntitlementError):
    """No such license."""

    default_hint = "check the number and the network: deed license list, deed network show"

    code = "NOT_FOUND"
    number = 1


class Suspended(EntitlementError):
    """The license is suspended."""

    default_hint = "only the licensor can reinstate it (deed license reinstate)"

    number = 2


class Revoked(EntitlementError):
    """The license is revoked."""

    default_hint = "revocation is final; ask the licensor for a new license"

    number = 3


class Expired(EntitlementError):
    """The license has ended."""

    default_hint = "ask the licensor to renew it (deed license renew)"

    number = 4


class WrongHolder(EntitlementError):
    """The license belongs to someone else."""

    default_hint = "use the holder's wallet (--wallet), or ask the holder"

    number = 5


class RuntimeNotBound(EntitlementError):
    """The license has no seat for this runtime."""

    default_hint = "the holder can grant this runtime: deed runtime grant REQUEST --license LICENSE"

    number = 6


class SeatLapsed(EntitlementError):
    """The runtime's seat has ended."""

    default_hint = "the holder can bind it again"

    number = 7


class NotYetValid(EntitlementError):
    """The license begins later."""

    default_hint = "wait until then, or ask the licensor for an earlier start"

    number = 8


class ParentInvalid(EntitlementError):
    """The license this one hangs on is not valid."""

    default_hint = "ask whoever sublicensed it to you"

    number = 9


class QuotaSpent(EntitlementError):
    """The metered quota is used up."""

    default_hint = "ask the licensor for more"

    number = 11


class SeatsFull(EntitlementError):
    """All seats are taken."""

    default_hint = "wait for another runtime's lease to end, or ask the licensor for more seats"

    number = 101


class LicenseHeld(EntitlementError):
    """The broker holds a license whose requests looked like a copy's."""

    default_hint = "ask the licensor or the broker's operator: deed broker release-hold LICENSE"

    number = 110


class PlanNotOfTitle(EntitlementError):
    """The plan's licensor does not hold the title of the plan's model."""

    default_hint = "the title's holder can adopt the plan or make a new one"

    number = 102


class UseNotPermitted(EntitlementError):
    """The plan's terms do not permit this use."""

    default_hint = "ask the licensor for a plan whose terms permit it; deed inspect CARD shows them"

    number = 103


# -- key access ----------------------------------------------------------------------------------


class KeyAccessError(LedgerError):
    """No key can be had."""

    default_hint = "deed check FILE says why, step by step"


class NoIdentityMatch(KeyAccessError):
    """None of the keys at hand opens the wrap.

    Attributes:
        tried: names of the identities tried.
    """

    default_hint = "use the key it was made for, or ask its sender to address this one"

    def __init__(
        self, message: str, *, tried: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.tried = tried


class KeyRequestRejected(KeyAccessError):
    """The broker refused the request.

    Attributes:
        check: number of the decision step that failed (docs/spec/key-release.md).
    """

    default_hint = "deed check FILE shows every step of the broker's decision"

    def __init__(self, message: str, *, check: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.check = check


class LeaseExpired(KeyAccessError):
    """The lease has ended and could not be extended."""

    default_hint = "load the model again; deed check FILE says why a new lease is refused"


class SharesRejected(KeyAccessError):
    """Shares of a key that do not give it: too few, of several sets, or altered."""

    default_hint = "use unaltered share files of one set, as many as its threshold says"


# -- access --------------------------------------------------------------------------------------


class AccessError(LedgerError):
    """The service does not know who asks, or does not let them."""

    default_hint = "who may do what is in docs/spec/access.md"


class NotAuthenticated(AccessError):
    """A request without a credential that counts, where one is needed."""

    default_hint = (
        "send Authorization: Bearer with an API key or session token; "
        "POST /v1/auth/nonce begins a sign-in"
    )


class CredentialExpired(NotAuthenticated):
    """An API key or session whose time is over."""

    default_hint = "sign in again, or make a new key with POST /v1/keys or deed api keys create"


class CredentialRevoked(NotAuthenticated):
    """An API key that was revoked, or a session that was ended."""

    default_hint = (
        "sign in again, or make a new key; if you did not revoke it, somebody else had it: "
        "the audit log says who did, and when"
    )


class SignInTooOld(NotAuthenticated):
    """A session that is good, and too old for what was asked: the wallet must sign again.

    Attributes:
        max_age: seconds that may lie between signing in and this.
    """

    default_hint = "sign in again: POST /v1/auth/nonce; the new session may do it"

    def __init__(self, message: str, *, max_age: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.max_age = max_age


class SignInRefused(AccessError):
    """A sign-in message that this service does not accept.

    Attributes:
        step: number of the step in docs/spec/access.md, "Sign-in".
    """

    default_hint = "ask for a new nonce with POST /v1/auth/nonce, and sign the message it gives"

    def __init__(self, message: str, *, step: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step


class ScopeMissing(AccessError):
    """The key or session is good, and does not reach that far.

    Attributes:
        scope: what is missing.
    """

    default_hint = "GET /v1/auth/me says which roles and scopes count now"

    def __init__(self, message: str, *, scope: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.scope = scope


class RelayRefused(AccessError):
    """The service passes on no transactions, or none of that account."""

    default_hint = "send it by a wallet or node of your own: eth_sendRawTransaction"


class OriginRefused(AccessError):
    """A request with a session's cookie that did not come from the service's own pages."""

    default_hint = "programs send the token as Authorization: Bearer, and no cookie"


# -- chain ---------------------------------------------------------------------------------------


class ChainError(LedgerError):
    """The chain answered, and the answer is the problem."""

    default_hint = "try again, or with another RPC endpoint; deed doctor shows how this one is"


class ContractReverted(ChainError):
    """A contract refused the call.

    Attributes:
        error_name: name of the Solidity error, or "Error"/"Panic"/"unknown".
        arguments: its decoded arguments by name.
    """

    default_hint = "nothing was changed; check what the message names, and who signs (--wallet)"

    def __init__(
        self,
        message: str,
        *,
        error_name: str = "unknown",
        arguments: dict[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.error_name = error_name
        self.arguments = arguments or {}


class TransactionFailed(ChainError):
    """A transaction was mined and failed, or was dropped."""

    default_hint = "look at its receipt, then run the same command again"


class TransactionNotTaken(ChainError):
    """A node does not take a signed transaction."""

    default_hint = "prepare it anew and sign that: its nonce or fee is not good any more"


class InsufficientFunds(ChainError):
    """The wallet cannot pay for the transaction."""

    default_hint = "send the account some coins, or sign with another wallet (--wallet)"


class NotOnSale(ChainError):
    """The market may not sell licenses of a plan."""

    default_hint = "its licensor puts it on sale: deed plan roles PLAN market --grant issuer"


class AllowanceTooSmall(ChainError):
    """What the market is to take was not put within its reach."""

    default_hint = "allow the market what it is to take, then ask again"


class RpcRefused(ChainError):
    """An endpoint answered a request with an error that is not a revert.

    Attributes:
        rpc_code: the JSON-RPC error code, 0 when it sent none.
        rpc_message: its message, without anything of the endpoint's URL.
    """

    default_hint = "use another RPC endpoint: deed network add NAME --rpc URL"

    def __init__(
        self, message: str, *, rpc_code: int = 0, rpc_message: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.rpc_code = rpc_code
        self.rpc_message = rpc_message


class WrongNetwork(ChainError):
    """The endpoint serves another chain, or other contracts, than expected."""

    default_hint = "check the network's URLs and contracts: deed network show, deed chain status"


class Reorganised(ChainError):
    """The chain changed under a reader."""

    default_hint = "run it again: the chain has settled on other blocks meanwhile"


class EndpointsDisagree(ChainError):
    """Independent endpoints give different answers."""

    default_hint = "try again shortly; deed doctor shows how the endpoints are"


class PendingFinality(ChainError):
    """True at the head, not yet final.

    Attributes:
        retry_after: seconds after which asking again makes sense.
    """

    default_hint = "try again shortly; it becomes final by itself"

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


# -- unavailable ---------------------------------------------------------------------------------


class UnavailableError(LedgerError):
    """A service cannot be reached now.

    Attributes:
        retry_after: seconds after which asking again makes sense.
    """

    default_hint = "try again shortly; deed doctor shows what can be reached"

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ChainUnavailable(UnavailableError):
    """No RPC endpoint answers.

    Attributes:
        fault: how it failed, in a word for counters: down, slow, malformed, stale, future.
        status: of HTTP, where the endpoint answered with one that says no; else None.
    """

    default_hint = "check the endpoint with deed doctor; locally, start it with deed up"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float = 1.0,
        hint: str | None = None,
        fault: str = "down",
        status: int | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, hint=hint)
        self.fault = fault
        self.status = status


class BrokerUnavailable(UnavailableError):
    """The key broker does not answer."""

    default_hint = "check it with deed doctor; locally, start it with deed up"


class ThresholdNotMet(BrokerUnavailable):
    """Fewer brokers than the plan asks for can release their share now.

    Attributes:
        failures: id of each broker that did not, and why.
    """

    default_hint = "try again when more of the brokers it names answer; deed check shows which do"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float = 1.0,
        hint: str | None = None,
        failures: tuple[tuple[int, LedgerError], ...] = (),
    ) -> None:
        super().__init__(message, retry_after=retry_after, hint=hint)
        self.failures = failures


class IndexUnavailable(UnavailableError):
    """The index does not answer, or lags too far."""

    default_hint = "try again shortly; locally, start it with deed up"


class IndexReplaced(IndexUnavailable):
    """The index database's file was removed or replaced under the process that holds it open."""

    default_hint = (
        "nothing is written any more: put that very file back and start this again, which else "
        "reads the chain anew; API keys, webhooks and the audit log of the lost file are gone "
        "unless a copy is put back (deed index restore)"
    )


class StoreUnavailable(UnavailableError):
    """Where a sealed file lies does not answer, or not with the file."""

    default_hint = "try again shortly; if it stays away, get a fresh card with another URL"


class RateLimited(UnavailableError):
    """Someone asks more often than the service allows."""

    default_hint = "wait as long as it says; the same request is then answered as any other"


class RequestUnderWay(UnavailableError):
    """The same request was sent before, and is not answered yet."""

    default_hint = "send it again shortly, as it is; it gets the answer of the first"


class Fenced(UnavailableError):
    """Another process has taken over the index: what this one was about to write is void."""

    default_hint = "leave the index to the other process, or stop that one first"


# -- model ---------------------------------------------------------------------------------------


class ModelError(LedgerError):
    """The model itself does not allow what was asked."""

    default_hint = "use a model of another kind or size"


class CapacityExceeded(ModelError):
    """The model is too small to carry what was asked."""

    default_hint = "use a larger model, or ask for less"


class UnsupportedModel(ModelError):
    """A model of this kind is not supported."""

    default_hint = "convert it to .safetensors with element types that are supported"
