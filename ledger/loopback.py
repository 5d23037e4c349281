"""Which hosts are this machine, by their look: no proxy is asked for them, and nothing listens in.

One answer for what is allowed there alone (plain http, a credential over it) and for what others
may not make us do there. No resolver is asked, so nobody else has a say.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_HERE: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def is_loopback(host: str) -> bool:
    """Whether a host is ``localhost`` or a loopback address, as URLs spell them, or without [].

    Any other spelling that some resolver takes for this machine (``localhost.``, ``127.1``) is not:
    another may take it for a name, and ask the network. Packets to 127.0.0.0/8 never leave the
    machine (RFC 1122, 3.2.1.3), nor do those to ::1 (RFC 4291, 2.5.3).
    """
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, ipaddress.IPv4Address):
        return not bracketed and address in _HERE[0]
    if address.scope_id is not None:
        return False
    mapped = address.ipv4_mapped
    return address in _HERE[1] if mapped is None else mapped in _HERE[0]
