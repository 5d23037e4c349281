"""The table of what ``deed`` can do: names and one-line helps, without importing any of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, or a group of commands, and the module that holds it.

    Attributes:
        group: whether ``name`` takes a further word; if not, the module's group holds the command
            under this very name.
    """

    name: str
    module: str
    help: str
    group: bool = False


ENTRIES: Final[tuple[Entry, ...]] = (
    Entry("init", "init", "Set up this folder for your role, with an encrypted key."),
    Entry("up", "up", "Run a local chain, contracts, index, API and broker."),
    Entry("demo", "demo", "Tell the whole story on a real model, with timings."),
    Entry("wallet", "wallet", "Create, import, list and choose wallets.", group=True),
    Entry("network", "network", "List, add and choose chains.", group=True),
    Entry("config", "config", "Show every setting and where it comes from."),
    Entry("doctor", "doctor", "Check key, clock, broker, RPC and file, in that order."),
    Entry("terms", "terms", "Write and check license terms.", group=True),
    Entry("fingerprint", "fingerprint", "Compute a model's exact fingerprint."),
    Entry("compare", "compare", "Say what two models share, with an exact bound on chance."),
    Entry("search", "search", "List the registered models that hold a model's tensors."),
    Entry("watermark", "watermark", "Mark a model, and look for the mark.", group=True),
    Entry("publish", "publish", "Register, seal and offer a model; resumable."),
    Entry("reseal", "reseal", "Seal a published model anew, with another key; resumable."),
    Entry("claim", "claim", "Show what the chain says about a model.", group=True),
    Entry("model", "model", "Transfer, withdraw and recover titles.", group=True),
    Entry("plan", "plan", "Create, show and govern plans: what a licensor offers.", group=True),
    Entry("license", "license", "Issue, sell, pass on, renew and revoke licenses.", group=True),
    Entry("seal", "sealed", "Encrypt a model into one sealed file."),
    Entry("fetch", "fetch", "Download the sealed file of a license card; resumable."),
    Entry("inspect", "sealed", "Show the public facts of a sealed file."),
    Entry("open", "sealed", "Verify a sealed file with its key and list what it holds."),
    Entry("check", "check", "Say whether this runtime may open a file, and if not, why."),
    Entry("runtime", "runtime", "Enrol a machine that runs models.", group=True),
    Entry("investigate", "investigate", "Find out where a copy comes from."),
    Entry("evidence", "evidence", "Collect, show and verify evidence bundles.", group=True),
    Entry("api", "api", "Keys, roles and audit log of the service.", group=True),
    Entry("index", "index", "Follow the chain into tables.", group=True),
    Entry("broker", "broker", "Set up and look at a key broker.", group=True),
    Entry("escrow", "escrow", "Keys for holders when the licensor is gone.", group=True),
    Entry("chain", "chain", "Deploy the contracts and look at a chain.", group=True),
    Entry("serve", "serve", "Run the API, with index and broker."),
)
