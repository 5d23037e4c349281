"""From settings to the things a command acts with: network, wallet, sender, contracts.

Everything is opened on first use, so a command that needs no chain never looks for one.
"""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.cli import networks
from ledger.cli.output import console, fields
from ledger.cli.quantities import ether_text
from ledger.cli.settings import Settings
from ledger.errors import (
    NoNetwork,
    NoWallet,
    UsageError,
    WalletError,
    WalletNotFound,
    WrongNetwork,
    WrongPassphrase,
)
from ledger.ids import quoted

if TYPE_CHECKING:
    from ledger.chain.anchors import Anchors
    from ledger.chain.brokers import BrokerRegistry
    from ledger.chain.lens import EntitlementLens
    from ledger.chain.licenses import LicenseLedger
    from ledger.chain.market import LicenseMarket
    from ledger.chain.network import Network
    from ledger.chain.profile import ChainProfile
    from ledger.chain.registry import ModelRegistry
    from ledger.chain.rpc import Rpc
    from ledger.chain.transactions import Sender, TxPreview
    from ledger.chain.wallet import Signer
    from ledger.ids import Address
# The names of ledger.chain.wallet.DEV_WALLET_NAMES, repeated because that needs the chain extra.
TEST_ACCOUNTS = (
    "deployer",
    "licensor",
    "holder",
    "broker",
    "rival",
    "buyer",
    "stranger",
    "operator",
    "auditor",
    "spare",
)
_MAX_PASSPHRASE = 1024
_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")


class Session:
    """One command's view of the world.

    Args:
        settings: where names come from.
        role: whose test account signs on a local chain, when no wallet is named.
        yes: send on public chains without asking.
        wait: wait for finality after sending.
    """

    def __init__(
        self, settings: Settings, *, role: str | None = None, yes: bool = False, wait: bool = False
    ) -> None:
        self.settings = settings
        self.role = role
        self.yes = yes
        self.wait = wait
        self.typed: dict[Path, str] = {}  # passphrases of files, so that --wait asks once
        self._open = ExitStack()

    def other_chain(self, url: str) -> Rpc:
        """A connection to another chain than the network's, such as the one it settles on."""
        from ledger.chain.rpc import Rpc

        rpc = Rpc(url)
        self._open.callback(rpc.close)
        return rpc

    def close(self) -> None:
        """Close connections."""
        self._open.close()

    @cached_property
    def live(self) -> Network | None:
        """The stack that ``deed up`` runs in this folder or above, if any."""
        from ledger.chain.network import load_live

        return load_live(Path.cwd())

    @cached_property
    def network(self) -> Network:
        """The chosen network.

        Raises:
            NoNetwork: none chosen, none live here, or none of that name.
        """
        name = self.settings.get("network")
        if name is None:
            if self.live is None:
                raise NoNetwork("no network is chosen, and none is live in this folder")
            return self.live
        if name == networks.LOCAL:
            if self.live is None:
                raise NoNetwork(
                    f"the network {name!r} is not running here",
                    hint="start it with deed up, here or in a folder above",
                )
            return self.live
        return networks.load(self.settings, name)

    @property
    def has_network(self) -> bool:
        """Whether one is chosen, or live here; who asks a file what it holds can do without."""
        return self.settings.get("network") is not None or self.live is not None

    @property
    def on_live(self) -> bool:
        """Whether the chosen network is the one that ``deed up`` runs here."""
        return self.live is not None and self.network is self.live

    @cached_property
    def rpc(self) -> Rpc:
        """A connection that serves the network's chain and contracts.

        Raises:
            ChainUnavailable: no endpoint answers.
            WrongNetwork: another chain, or other contracts.
        """
        from ledger.chain.rpc import Rpc

        network = self.network
        rpc = Rpc(network.rpc_urls, chain_id=network.deployment.chain_id)
        self._open.callback(rpc.close)
        network.deployment.verify(rpc)
        return rpc

    @cached_property
    def registry(self) -> ModelRegistry:
        """The registry of titles."""
        from ledger.chain.registry import ModelRegistry

        return ModelRegistry(self.rpc, self.network.deployment.addresses["ModelRegistry"])

    @cached_property
    def licenses(self) -> LicenseLedger:
        """Plans and licenses."""
        from ledger.chain.licenses import LicenseLedger

        return LicenseLedger(self.rpc, self.network.deployment.addresses["LicenseLedger"])

    def check_place(self, chain_id: int, ledger: Address, *, what: str) -> None:
        """See that a signed or anchored document is for this network's ledger.

        Raises:
            WrongNetwork: it is for another.
        """
        if (chain_id, ledger) != (self.network.deployment.chain_id, self.licenses.address):
            raise WrongNetwork(
                f"{what} is for ledger {ledger} on chain {chain_id}, not for {self.network.name}",
                hint="choose its network with --network",
            )

    @cached_property
    def market(self) -> LicenseMarket:
        """Sales, and what they owe to whom.

        Raises:
            UsageError: the network has no market.
        """
        from ledger.chain.market import LicenseMarket

        address = self.network.deployment.addresses.get("LicenseMarket")
        if address is None:
            raise UsageError(
                f"{self.network.name} has no market",
                hint="its deployment manifest names none; ask whoever made it",
            )
        return LicenseMarket(self.rpc, address)

    @cached_property
    def lens(self) -> EntitlementLens:
        """Many checks in one call.

        Raises:
            UsageError: the network has no lens.
        """
        from ledger.chain.lens import EntitlementLens

        address = self.network.deployment.addresses.get("EntitlementLens")
        if address is None:
            raise UsageError(
                f"{self.network.name} has no lens for many checks at once",
                hint="ask one by one with deed license show",
            )
        return EntitlementLens(self.rpc, address)

    @cached_property
    def anchors(self) -> Anchors:
        """Anchored roots."""
        from ledger.chain.anchors import Anchors

        return Anchors(self.rpc, self.network.deployment.addresses["Anchors"])

    @cached_property
    def brokers(self) -> BrokerRegistry:
        """Brokers and broker sets."""
        from ledger.chain.brokers import BrokerRegistry

        return BrokerRegistry(self.rpc, self.network.deployment.addresses["BrokerRegistry"])

    @cached_property
    def signer(self) -> Signer:
        """The wallet that signs; asks for its passphrase.

        Raises:
            NoWallet: none chosen.
            WalletError: it cannot be opened.
        """
        from ledger.chain.wallet import dev_wallet

        name = self.wallet_name
        if name in TEST_ACCOUNTS:
            if self.network.profile.test_network:
                return dev_wallet(name)
            raise WalletError(
                f"{name} is a test account; its key is public and it exists on local chains only",
                hint="choose your own with --wallet NAME; deed wallet list shows them",
            )
        return open_wallet(self.settings, name)

    @property
    def wallet_name(self) -> str:
        """Name of the wallet that signs.

        In a folder where ``deed up`` runs, the test account of the command's role signs unless
        ``--wallet`` or ``DEED_WALLET`` says otherwise: the one in ``deed.toml`` has no coins there.
        """
        name = self.settings.get("wallet")
        said = self.settings.source("wallet") in {"--wallet", "DEED_WALLET"}
        if self.on_live and self.role and not said:
            return self.role
        if name is None:
            raise NoWallet("no wallet is chosen")
        return name

    def again(self, role: str) -> str:
        """What a command proposed next must be told again: network and wallet of this one.

        Args:
            role: whose test account that command takes by itself.
        """
        words: list[str] = []
        if self.settings.source("network") == "--network":
            words += ["--network", self.settings.get("network") or ""]
        source = self.settings.source("wallet")
        if source == "--wallet" or (self.on_live and source != "DEED_WALLET" and role != self.role):
            words += ["--wallet", self.wallet_name]
        return "".join(f" {shlex.quote(word)}" for word in words)

    @cached_property
    def sender(self) -> Sender:
        """Sends transactions; on public chains each is shown and asked for first."""
        from ledger.chain.transactions import Sender

        network = self.network
        signer = self.signer
        confirm = (
            None if network.profile.test_network or self.yes else self.confirm_on(network.profile)
        )
        return Sender(self.rpc, signer, network.profile, confirm=confirm)

    def confirm_on(self, profile: ChainProfile) -> Callable[[TxPreview], bool]:
        """Shows chain, account and fee of a transaction, and asks."""

        def confirm(preview: TxPreview) -> bool:
            console.note(
                fields(
                    [
                        ("chain", f"{profile.name} (id {profile.chain_id})"),
                        ("account", preview.account),
                        ("action", preview.purpose or f"a call of {preview.to}"),
                        ("value", f"{ether_text(preview.value)} of the chain's coin"),
                        ("fee", f"at most {ether_text(preview.max_fee)}"),
                    ]
                )
            )
            return console.confirm("Send this transaction?")

        return confirm


def open_wallet(settings: Settings, name: str) -> Signer:
    """Open a keystore wallet with its passphrase.

    Raises:
        WalletNotFound: no wallet of that name.
        WrongPassphrase: the passphrase does not open it.
    """
    from ledger.chain.wallet import LocalWallet

    path = wallet_path(settings, name)
    if not path.is_file():
        # Before a passphrase is asked for; with the words of deed wallet use.
        raise WalletNotFound(f"there is no wallet {name!r}")
    return LocalWallet.from_keystore(path, passphrase(settings, f"Passphrase of wallet {name}"))


def wallet_path(settings: Settings, name: str) -> Path:
    """The keystore file of a wallet.

    Raises:
        WalletError: a name that is not a file name.
    """
    if _KEY.fullmatch(name):
        raise WalletError(
            "64 hex digits cannot be a wallet's name",
            hint="if that is a private key, others may have seen it: command lines are no secret",
        )
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise WalletError(
            f"{quoted(name)} cannot be a wallet's name",
            hint="use letters, digits, dot, - and _, with no dot at the beginning",
        )
    return settings.wallets_dir / f"{name}.json"


def passphrase(
    settings: Settings, question: str, *, new: bool = False, name: str = "wallet_password_file"
) -> str:
    """A passphrase, from the password file or typed unseen.

    Args:
        settings: names the password file.
        question: what to ask at a terminal.
        new: ask twice, refuse an empty one.
        name: the setting that names the file.

    Raises:
        WrongPassphrase: nobody to ask, an empty one, or two different ones.
    """
    file = settings.get(name)
    if file:
        with Path(file).expanduser().open("rb") as handle:
            text = handle.read(_MAX_PASSPHRASE + 1)
        line = text.split(b"\n")[0].rstrip(b"\r")
        if len(line) > _MAX_PASSPHRASE or not line:
            raise WrongPassphrase(
                "the first line of the password file is empty or too long",
                hint=f"write the passphrase on the first line of {file}",
            )
        return line.decode("utf-8", "surrogateescape")
    if not sys.stdin.isatty():
        raise WrongPassphrase(
            "a passphrase is needed, and nobody is there to type it",
            hint=f"put it into a file and name that in DEED_{name.upper()}",
        )
    typed = getpass.getpass(f"{question}: ", stream=sys.stderr)
    if new and not typed:
        raise WrongPassphrase("an empty passphrase protects nothing", hint="type at least a word")
    if new and getpass.getpass("Once more: ", stream=sys.stderr) != typed:
        raise WrongPassphrase("the two passphrases differ", hint="run it again")
    return typed


def owned_by_others(path: Path) -> bool:
    """Whether others than the owner may read a file."""
    return bool(path.stat().st_mode & 0o077)
