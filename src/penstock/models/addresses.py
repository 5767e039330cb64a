"""Addresses at which no model is: where a cloud gives its machines their keys, or no server is at all.

Addresses of a private network stay allowed: that is where servers of one's own are.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from penstock.errors import BadRequest

__all__ = ["NoServer", "check_host", "check_peer", "is_number"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16", "fe80::/10", "224.0.0.0/4", "ff00::/8",
            # what clouds tell their machines, where it is not at a link-local address
            "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128",
        ),
    )
)  # fmt: skip
NOWHERE = (ipaddress.ip_network("0.0.0.0/32"), ipaddress.ip_network("::/128"))
AROUND = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))  # an IPv4 address ends them


class NoServer(BadRequest):
    """An address of such a kind."""


def check_host(host: str) -> None:
    """Look up a name and check each address that it has. One that nobody knows is told by the call itself. Raises NoServer."""
    with suppress(OSError, UnicodeError):
        for *_, place in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM):
            _check(str(place[0]), host, (*REFUSED, *NOWHERE))


def check_peer(address: str, host: str) -> None:
    """Check an address that a host has. Raises NoServer."""
    _check(address, host, REFUSED)


def _check(address: str, host: str, refused: Sequence[Network]) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(one in network for one in (ip, *_within(ip)) for network in refused):
        raise NoServer(f"no model is asked at {host}", hint="an address of this kind is no server's own")


def is_number(host: str) -> bool:
    """Whether a host is an address in its usual form."""
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host.partition("%")[0]))
    return False


def _within(ip: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(ip, ipaddress.IPv6Address):
        yield from filter(None, (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())))
        if any(ip in network for network in AROUND):
            yield ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
