"""Ponder as a peer of the index benchmark: a project with two tables, run cold and then warm."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from ledger.chain import anvil
from ledger.chain.abi_codec import contract

READY_SECONDS = 900

_CONFIG = """
import { createConfig } from "ponder";
import { abis } from "./abis";
export default createConfig({
  database: { kind: "postgres", connectionString: process.env.DATABASE_URL },
  chains: { local: { id: 31337, rpc: process.env.RPC_URL, maxRequestsPerSecond: 500 } },
  contracts: {
    Ledger: { abi: abis.ledger, chain: "local", address: "LEDGER", startBlock: FIRST },
    Anchors: { abi: abis.anchors, chain: "local", address: "ANCHORS", startBlock: FIRST },
  },
});
"""
_SCHEMA = """
import { onchainTable } from "ponder";
export const log = onchainTable("log", (t) => ({
  id: t.text().primaryKey(), block: t.bigint().notNull(), index: t.integer().notNull(),
  name: t.text().notNull(), time: t.bigint().notNull(), data: t.text().notNull(),
}));
export const license = onchainTable("license", (t) => ({
  id: t.bigint().primaryKey(), plan: t.integer().notNull(), holder: t.hex().notNull(),
  notBefore: t.integer().notNull(), notAfter: t.integer().notNull(),
}));
"""
_INDEX = """
import { ponder } from "ponder:registry";
import { log, license } from "ponder:schema";
const keep = (name: string, { event, context }: any) => context.db.insert(log).values({
  id: event.id, block: event.block.number, index: event.log.logIndex, name,
  time: event.block.timestamp, data: event.log.data,
});
ponder.on("Ledger:LicenseIssued", async (given) => {
  await keep("LicenseIssued", given);
  const { licenseId, planId, to, notBefore, notAfter } = given.event.args;
  await given.context.db.insert(license).values({
    id: licenseId, plan: planId, holder: to, notBefore, notAfter,
  });
});
ponder.on("Ledger:Transfer", async (given) => { await keep("Transfer", given); });
ponder.on("Anchors:RootAnchored", async (given) => { await keep("RootAnchored", given); });
"""
_API = """
import { db } from "ponder:api";
import schema from "ponder:schema";
import { Hono } from "hono";
import { graphql } from "ponder";
const app = new Hono();
app.use("/graphql", graphql({ db, schema }));
export default app;
"""
_FOLLOWED = {"ledger": ("LicenseIssued", "Transfer"), "anchors": ("RootAnchored",)}


def measure(chain: Any, database: str, folder: Path, modules: Path) -> dict[str, float]:
    """Events a second of a first run, and of a second whose RPC answers are cached."""
    _project(chain, folder, modules)
    events = 0
    found = {}
    for run in ("cold", "warm"):
        seconds = _run(chain, database, folder, modules, run)
        events = events or _count(database, run)
        found[run] = events / seconds
    return found


def _project(chain: Any, folder: Path, modules: Path) -> None:
    addresses = chain.deployment.addresses
    config = _CONFIG.replace("FIRST", str(chain.deployment.block))
    config = config.replace("LEDGER", str(addresses["LicenseLedger"]))
    config = config.replace("ANCHORS", str(addresses["Anchors"]))
    abis = {
        key: [
            item
            for item in contract(name).abi
            if item["type"] == "event" and item["name"] in _FOLLOWED[key]
        ]
        for key, name in (("ledger", "LicenseLedger"), ("anchors", "Anchors"))
    }
    texts = "".join(f"  {key}: {json.dumps(abi)},\n" for key, abi in abis.items())
    files = {
        "ponder.config.ts": config,
        "ponder.schema.ts": _SCHEMA,
        "abis.ts": "export const abis = {\n" + texts + "} as const;\n",
        "src/index.ts": _INDEX,
        "src/api/index.ts": _API,
        "package.json": '{"name": "peer", "private": true, "type": "module"}',
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "node_modules").symlink_to(modules)


def _run(chain: Any, database: str, folder: Path, modules: Path, run: str) -> float:
    port = anvil.free_port()
    url = make_url(database).set(drivername="postgresql")
    environment = {
        **os.environ,
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "RPC_URL": chain.rpc.urls[0],
        "PONDER_TELEMETRY_DISABLED": "true",
        "DO_NOT_TRACK": "1",
        "NODE_OPTIONS": "--max-old-space-size=3000",
    }
    command = [str(modules / ".bin" / "ponder"), "start", "--schema", run]
    command += ["--port", str(port), "--hostname", "127.0.0.1", "--log-level", "warn"]
    log = folder / f"{run}.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while not _ready(port):
                if process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                    raise SystemExit(f"error: Ponder is not ready: {log.read_text()[-2000:]}")
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(30)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _count(database: str, schema: str) -> int:
    from sqlalchemy import create_engine, func, select, table

    engine = create_engine(database)
    with engine.connect() as connection:
        query = select(func.count()).select_from(table("log", schema=schema))
        count = connection.execute(query).scalar_one()
    engine.dispose()
    return int(count)
