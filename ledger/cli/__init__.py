"""The ``deed`` command: one file per group, thin over the library.

``main`` assembles the program, ``commands`` is the table of what exists, ``verb`` gives every
command its common options, ``output`` is the one console, ``exits`` maps failures to exit codes,
``settings`` reads configuration and ``session`` turns it into a network, a wallet and a sender.
"""
