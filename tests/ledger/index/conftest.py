"""A bare Anvil with our contracts, driven so that a test decides every block and every fork."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ledger.chain import anvil
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.evidence.origin import DEPLOYED, FACTORY, factory_call
from ledger.evidence.releases import shipped_code, shipped_init_code
from ledger.ids import Address, Digest, ModelId, keccak256
from ledger.index import tables
from ledger.index.database import open_database
from ledger.index.evidence_store import EvidenceStore
from ledger.index.follow import Follower
from ledger.index.rebuilding import refold


@dataclass(frozen=True)
class Contracted:
    """A deployment manifest as far as following needs it."""

    chain_id: int
    genesis_hash: Digest
    block: int
    addresses: dict[str, Address]


@dataclass(frozen=True)
class Profile:
    """A finality rule."""

    test_network: bool = True
    finality_depth: int = 0


@dataclass
class Ledger:
    """The contracts on one node; its unlocked account 0 deploys, 1 licenses, 2 holds."""

    rpc: Rpc
    accounts: list[str]
    deployment: Contracted = field(init=False)
    models: list[ModelId] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = self.rpc.block("latest").number + 1
        made: dict[str, Address] = {}
        for name in DEPLOYED:
            self.send(FACTORY, factory_call(shipped_init_code(name)), 0)
            made[name] = shipped_code(name).address
        genesis = self.rpc.block(0).hash
        self.deployment = Contracted(self.rpc.chain_id(), genesis, first, made)

    def send(self, to: Address | None, data: bytes, account: int) -> dict[str, Any]:
        """One transaction in a block of its own; its receipt."""
        fields = {"from": self.accounts[account], "data": "0x" + data.hex(), "gas": hex(8_000_000)}
        if to is not None:
            fields["to"] = str(to)
        tx = self.rpc.call("eth_sendTransaction", [fields])
        self.mine()
        receipt: dict[str, Any] = self.rpc.call("eth_getTransactionReceipt", [tx])
        assert receipt["status"] == "0x1", receipt
        return receipt

    def do(self, name: str, function: str, *args: Any, by: int = 1) -> dict[str, Any]:
        """Call a contract's function in a transaction."""
        return self.send(
            self.deployment.addresses[name], contract(name).encode(function, *args), by
        )

    def ask(self, name: str, function: str, *args: Any, block: Any = "latest") -> tuple[Any, ...]:
        """Call a view function."""
        data = contract(name).encode(function, *args)
        answer = self.rpc.eth_call(self.deployment.addresses[name], data, block)
        return contract(name).decode(function, answer)

    def mine(self, blocks: int = 1) -> None:
        """Empty blocks."""
        for _ in range(blocks):
            self.rpc.call("evm_mine", [])

    def reorg(self, depth: int) -> None:
        """Replace the last `depth` blocks by empty ones of the same heights."""
        # Two empty blocks of one second would be the same block, but for who made them.
        self.rpc.call("anvil_setCoinbase", ["0x" + secrets.token_bytes(20).hex()])
        self.rpc.call("anvil_reorg", [depth, []])

    def register(
        self,
        *,
        artifact_root: bytes | None = None,
        digest: bytes | None = None,
        committed: bool = True,
    ) -> ModelId:
        """Commit and register a model of random content, by account 1."""
        claim = (
            self.accounts[1],
            artifact_root or secrets.token_bytes(32),
            digest or secrets.token_bytes(32),
            secrets.token_bytes(32),
            secrets.token_bytes(32),
            [],
            secrets.token_bytes(32),
        )
        (model_id,) = self.ask("ModelRegistry", "modelIdOf", claim)
        proof: tuple[Any, ...] = (bytes(32), 0, 0, [])
        if committed:
            leaf = keccak256(b"\x00modeldeed/commit/1" + model_id.raw)
            self.do("Anchors", "anchor", leaf)
            proof = (leaf, 0, 1, [])
        self.do("ModelRegistry", "register", claim, proof)
        self.models.append(ModelId(model_id.raw))
        return self.models[-1]

    def plan(self, model: ModelId, **terms: Any) -> int:
        """A plan of account 1."""
        values: dict[str, Any] = {
            "modelId": model.raw,
            "termsHash": secrets.token_bytes(32),
            "duration": 86400,
            "grace": 3600,
            "leaseTtl": 600,
            "maxOffline": 7200,
            "minNotice": 0,
            "refundWindow": 0,
            "reissueDelay": 0,
            "seats": 2,
            "supply": 0,
            "quota": 2**64 - 1,
            "features": 2**63 + 1,
            "brokerSet": 1,
            "payToken": "0x" + "00" * 20,
            "price": 2**96 - 1,
            "floating": False,
            "warnOnly": False,
            "transferable": True,
        } | terms
        receipt = self.do("LicenseLedger", "createPlan", tuple(values.values()))
        return int(receipt["logs"][0]["topics"][1], 16)

    def issue(self, plan: int, to: int = 2, not_before: int = 0, not_after: int = 0) -> int:
        """A license for an account; its token id."""
        receipt = self.do("LicenseLedger", "issue", plan, self.accounts[to], not_before, not_after)
        return int(receipt["logs"][-1]["topics"][1], 16)

    def busy(self) -> None:
        """One of everything, with numbers as large as a stranger can make them."""
        model = self.register()
        plan = self.plan(model)
        license_ = self.issue(plan)
        self.do(
            "LicenseLedger", "bindRuntime", license_, secrets.token_bytes(32), 0, bytes(20), by=2
        )
        self.do("LicenseLedger", "suspend", license_, b"late".ljust(32, b"\0"))
        self.do("LicenseLedger", "reinstate", license_, bytes(32))
        self.do("LicenseLedger", "renew", license_, 0)
        self.do("LicenseLedger", "setRoles", plan, self.accounts[5], 3)
        self.do("ModelRegistry", "lodge", model.raw, 1, 1, secrets.token_bytes(32))
        self.do("ModelRegistry", "lodge", model.raw, 2, 7, secrets.token_bytes(32), by=3)
        self.do("BrokerRegistry", "registerBroker", b"s" * 32, b"k" * 32, "http://a\0b", by=3)
        self.do("LicenseLedger", "cancelGrants", license_, by=2)
        self.do("LicenseLedger", "revoke", license_, 0, b"breach".ljust(32, b"\0"))

    def logs(self) -> list[tuple[int, int, bytes, bytes, bytes]]:
        """What the node says: (block, index, block hash, topics, data) of all our logs."""
        query = {
            "fromBlock": hex(self.deployment.block),
            "toBlock": "latest",
            "address": [str(address) for address in self.deployment.addresses.values()],
        }
        return [
            (
                int(log["blockNumber"], 16),
                int(log["logIndex"], 16),
                bytes.fromhex(log["blockHash"][2:]),
                b"".join(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
            )
            for log in self.rpc.call("eth_getLogs", [query])
        ]


def boot() -> tuple[Any, Rpc]:
    """A fresh node that mines only when told."""
    port = anvil.free_port()
    process = anvil.spawn(port, None)
    rpc = Rpc(f"http://127.0.0.1:{port}", timeout=5.0)
    rpc.call("evm_setAutomine", [False])
    return process, rpc


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    """Contracts on a bare node; tests of a module share it and only add to it."""
    process, rpc = boot()
    try:
        yield Ledger(rpc, rpc.call("eth_accounts", []))
    finally:
        rpc.close()
        anvil.kill(process)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of this process's own."""
    with importlib.import_module("postgres_world").server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Any) -> str:
    """A database with the tables made, to copy: copying takes less time than making them."""
    name: str = postgres.fresh()
    open_database(postgres.url(name)).dispose()
    return name


# What an endpoint says is judged before any database sees it; what entries say, by one query.
BEFORE_THE_DATABASE = {
    "test_audit_outbox.py",
    "test_endpoints.py",
    "test_faults_blocks.py",
    "test_faults_forks.py",
    "test_faults_http.py",
    "test_faults_logs.py",
    "test_receipts.py",
    "test_review_endpoints.py",
}

# What is asked of the tables there, is asked of both alike, but for these.
ASKED_ALIKE = {
    "test_audit.py",
    "test_mending.py",
    "test_mending_at_random.py",
    "test_refuting.py",
    "test_review_keeping.py",
}
APART = {
    "test_a_deposit_beside_a_rebuild_is_not_taken_back",
    "test_a_key_that_is_gone_is_made_again",
    "test_a_rebuild_says_what_of_the_databases_shape_it_leaves",
    "test_a_role_that_may_only_read_audits",
    "test_a_whole_index_passes_every_check",
    "test_counts_are_set_beside_who_never_stops_writing",
    "test_damage_is_noticed_by_the_check_that_is_about_it",
    "test_indexes_that_a_first_backfill_leaves_out_are_no_fault",
    "test_proofs_of_a_block_that_is_being_taken_back_are_not_kept",
    "test_two_at_once_find_what_one_would",
    "test_who_drops_a_spoilt_body_and_who_puts_it_right_leave_it_whole",
    "test_who_harvests_and_who_asks_again_count_together",
}

# Long tables of altered rows, which either database reads alike.
EITHER_ALIKE = {
    "test_damage_is_noticed_by_the_check_that_is_about_it",
    "test_what_is_gone_or_spoilt_is_asked_for_again",
    "test_what_is_there_and_lost_sight_of_is_found_without_a_node",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What PostgreSQL has little to say to runs on it too when there is time for it."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("database_url") != "postgresql":
            continue
        alike = getattr(item, "originalname", "") in EITHER_ALIKE
        if alike and "name" in params:
            damage = item.module.DAMAGE[params["name"]][0]  # type: ignore[attr-defined]  a function's
            alike = getattr(damage, "dialect", "") != "postgresql"
        if item.path.name in ASKED_ALIKE and getattr(item, "originalname", "") not in APART:
            alike = True
        if alike or item.path.name in BEFORE_THE_DATABASE:
            item.add_marker(pytest.mark.deep)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty index database, of each kind that the index runs on."""
    if request.param == "sqlite":
        yield importlib.import_module("index_world").empty_sqlite(tmp_path / "index.db")
        return
    server = request.getfixturevalue("postgres")
    name = server.fresh(request.getfixturevalue("postgres_template"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The same, open."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def stand(database_url: str) -> Iterator[Any]:
    """A chain of our own making, a faulty endpoint of it, and an index: ``index_world.Stand``."""
    found = importlib.import_module("index_world").Stand(database_url)
    yield found
    found.close()


@pytest.fixture
def follower(ledger: Ledger, engine: Engine) -> Follower:
    """A follower of the module's node into an empty database."""
    return Follower(ledger.rpc, engine, ledger.deployment, Profile())


@pytest.fixture
def young(ledger: Ledger, engine: Engine) -> Follower:
    """A follower of what comes from now on: the module's node is shared, and its past is long."""
    return Follower(ledger.rpc, engine, Look.recent(ledger), Profile())


@pytest.fixture
def proxy(ledger: Ledger) -> Iterator[Any]:
    """A faulty endpoint of the module's node: ``fault_world.FaultProxy``."""
    made = importlib.import_module("fault_world").FaultProxy(ledger.rpc.urls[0])
    yield made
    made.close()


@pytest.fixture
def store(ledger: Ledger) -> EvidenceStore:
    """The evidence store of the module's chain."""
    return EvidenceStore(ledger.deployment.chain_id)


class Look:
    """Reads of the database and helpers that several test modules share."""

    Contracted = Contracted
    Profile = Profile
    Ledger = Ledger
    boot = staticmethod(boot)

    @staticmethod
    def recent(ledger: Ledger) -> Contracted:
        """The module's deployment, as if it began with the next block."""
        first, given = ledger.rpc.block("latest").number + 1, ledger.deployment
        return Contracted(given.chain_id, given.genesis_hash, first, given.addresses)

    @staticmethod
    def digest(data: bytes) -> Digest:
        """Some digest."""
        return Digest(keccak256(data))

    @staticmethod
    def catch_up(follower: Follower) -> None:
        """Step until the index stands on the head."""
        for _ in range(1000):
            if follower.step():
                return
        raise AssertionError("the follower never reached the head")

    @staticmethod
    def state(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all state tables."""
        with engine.connect() as connection:
            found = {**tables.STATE, "log_subject": tables.log_subject}
            return {
                name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for name, table in found.items()
            }

    @staticmethod
    def journal(engine: Engine) -> list[tuple[int, int, bytes, bytes, bytes]]:
        """The journal in the form of `Ledger.logs`."""
        table = tables.raw_log
        columns = (table.c.block, table.c.log_index, table.c.block_hash, table.c.topics)
        with engine.connect() as connection:
            rows = connection.execute(
                select(*columns, table.c.data).order_by(table.c.block, table.c.log_index)
            )
            return [tuple(row) for row in rows]  # type: ignore[misc]

    @staticmethod
    def refolded(engine: Engine, follower: Follower) -> dict[str, list[tuple[Any, ...]]]:
        """The state tables after folding the whole journal anew; nothing is committed."""
        with (
            engine.connect().execution_options(writes=True) as connection,
            connection.begin() as transaction,
        ):
            refold(connection, follower.journal.chain_id)
            found = {**tables.STATE, "log_subject": tables.log_subject}
            state = {
                name: sorted((tuple(r) for r in connection.execute(select(t))), key=repr)
                for name, t in found.items()
            }
            transaction.rollback()
        return state


@pytest.fixture(scope="session")
def look() -> type[Look]:
    """The helpers."""
    return Look


@pytest.fixture(scope="module")
def old(look):
    """A chain whose contracts were busy long ago."""
    process, rpc = look.boot()
    try:
        made = look.Ledger(rpc, rpc.call("eth_accounts", []))
        for _ in range(5):
            made.busy()
            made.mine(5)
        yield made
    finally:
        rpc.close()
        anvil.kill(process)
