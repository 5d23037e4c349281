"""An index whose keeper takes proofs of every event, and what is on record then."""

from __future__ import annotations

import secrets

from sqlalchemy import select

from ledger.chain.abi_codec import contract
from ledger.index import tables
from ledger.index.keeper import Keeper
from ledger.index.mending import Mender
from ledger.index.proof_source import ProofSource


def anchor_two_in_a_block(ledger):
    """Three anchors, of which the later two are transactions of one block; and blocks after it."""
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    for _ in range(2):
        data = contract("Anchors").encode("anchor", secrets.token_bytes(32))
        fields = {"from": ledger.accounts[1], "to": str(ledger.deployment.addresses["Anchors"])}
        ledger.rpc.call("eth_sendTransaction", [{**fields, "data": "0x" + data.hex()}])
    ledger.mine(4)


def keeper(node, engine, ledger, **options):
    return Keeper(node, engine, ledger.deployment.chain_id, rate=1e9, **options)


def finish(worker):
    for _ in range(100):
        if not worker.turn():
            return
    raise AssertionError("never done")


def coverage(engine, store):
    with engine.connect() as connection:
        return store.coverage(connection)


def events(engine, last=None):
    table = tables.raw_log
    query = select(table).order_by(table.c.block, table.c.log_index)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [row for row in rows if last is None or row.block <= last]


def final(engine):
    with engine.connect() as connection:
        return connection.execute(select(tables.cursor.c.finalized)).scalar_one()


def mender(rpc, engine, ledger):
    return Mender(engine, ledger.deployment.chain_id, ProofSource(rpc, rate=1e9))


def proofs_on_record(engine):
    """What every event rests on, and all bodies."""
    with engine.connect() as connection:
        return [
            {tuple(row) for row in connection.execute(select(table))}
            for table in (tables.evidence, tables.proof)
        ]


def liar(name):
    """Endpoints that change one thing in what proofs are made of."""

    def change(question, result):
        method = question["method"]
        if name == "receipts" and method == "eth_getBlockReceipts":
            return [{**each, "cumulativeGasUsed": "0x1"} for each in result]
        if name == "proof" and method == "eth_getProof":
            return {**result, "accountProof": result["accountProof"][:-1]}
        if name == "header" and method == "eth_getBlockByNumber":
            return {**result, "stateRoot": "0x" + "11" * 32}
        return result

    return change
