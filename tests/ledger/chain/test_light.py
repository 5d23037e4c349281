"""What a host without the chain extra may import."""

import subprocess
import sys

HEAVY = ("web3", "eth_account", "eth_abi", "fastapi", "sqlmodel", "torch")


def test_reading_a_chain_loads_neither_web3_nor_account_nor_abi_libraries():
    code = (
        "import sys\n"
        "import ledger.chain.rpc, ledger.chain.profile, ledger.chain.finality\n"
        "import ledger.chain.deployment, ledger.chain.network, ledger.chain.reverts\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_contract_clients_and_transactions_do_not_load_web3():
    code = (
        "import sys\n"
        "import ledger.chain.licenses, ledger.chain.registry, ledger.chain.anchors\n"
        "import ledger.chain.brokers, ledger.chain.transactions, ledger.chain.wallet\n"
        "import ledger.chain.dev\n"
        "print('web3' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
