"""The chain seen from outside: endpoints, contracts, wallets, transactions, and a local node.

``rpc``, ``profile``, ``finality``, ``deployment`` and ``network`` need only the light base; the
rest needs the ``[chain]`` extra. web3 is loaded only by ``ledger.chain.edge``
(docs/adr/0003-web3-at-the-edges.md).
"""
