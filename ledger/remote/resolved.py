"""Where a name leads, looked up once: what was checked is what is connected to.

A name that is looked up for a check and again for the connection can move in between (DNS
rebinding). So the addresses are taken once, all of them must be public, and the caller connects to
one of them by number, with the name left for TLS and for the Host header.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from ledger.errors import UsageError

MAX_ADDRESSES: Final = 4
"""Addresses of one name that are tried, in the resolver's order."""

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Public by its number, and inside Azure the platform's own: every virtual machine reaches it.
_PLATFORMS: Final = frozenset({ipaddress.ip_address("168.63.129.16")})
# Protocols' own (RFC 6890), and the platform's in Oracle's older clouds; Pythons before 3.11.10
# count all but ten of its addresses as public.
_PROTOCOLS: Final = ipaddress.ip_network("192.0.0.0/24")
EVERYWHERE: Final[tuple[Network, ...]] = (
    ipaddress.ip_network("0.0.0.0/0"),
    ipaddress.ip_network("::/0"),
)
"""Networks for a caller whose own configuration named the address, wherever it lies."""

Resolve = Callable[..., list[Any]]


def is_public(text: str) -> bool:
    """Whether an address is a public host's, also by what it carries inside.

    IPv6 has several ways to carry an IPv4 address: mapped, 6to4, NAT64 and Teredo. Where a gateway
    honours one, it leads to the address inside, so that must be public too.
    """
    try:
        address: _IP = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or address in _PLATFORMS:
        return False
    if address in _PROTOCOLS:
        return False
    if address.is_reserved and address not in _NAT64:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_site_local:
            return False
        return all(is_public(str(inner)) for inner in _inside(address))
    return True


def _inside(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64:
        return [low]
    found = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    return found + list(address.teredo or ())


def in_networks(text: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of these networks, by its own number and not one inside it."""
    try:
        address: _IP = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in networks)


def addresses_of(
    host: str,
    port: int,
    *,
    allowed: Sequence[Network] = (),
    public: bool = True,
    resolve: Resolve = socket.getaddrinfo,
) -> tuple[str, ...]:
    """The addresses a name leads to now, each once, in the resolver's order.

    Args:
        host: a name, or an address however it is written.
        port: to be connected to.
        allowed: networks that are meant though they are not public.
        public: whether public addresses are meant besides.
        resolve: as ``socket.getaddrinfo``; asked once.

    Raises:
        UsageError: one of them is neither, or the name has none.
        OSError: the name leads nowhere.
    """
    found = resolve(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    # All of them: which one is taken is not ours to say where a connection fails.
    for address in addresses:
        if not (in_networks(address, allowed) or (public and is_public(address))):
            raise UsageError(
                f"{host} is not {'a public address' if public else 'in a network for plain http'}",
                hint="the operator of the service says which networks are meant",
            )
    return addresses[:MAX_ADDRESSES]
