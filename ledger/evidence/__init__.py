"""Evidence bundles: proofs that outlive the service, and their offline verification.

Pure: no module here reaches a chain, a database, the network, the clock or the environment. What a
bundle holds and how it is checked stands in ``docs/spec/evidence-bundle.md``.
"""
