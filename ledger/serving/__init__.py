"""Using an open sealed model: tensors, consumers from memory, ranks, weights at use.

``model.SealedModel`` is what ``ledger.load`` returns; the other modules are what its methods do.
"""
