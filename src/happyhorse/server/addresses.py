"""Which internet addresses belong to everybody: all others are never connected to on behalf of a request.

The tables follow IANA's special-purpose registries (RFC 6890 and its successors) and do not depend on what a version
of ``ipaddress`` thinks of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host: Linux takes 0.0.0.0 for itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT (and a cloud's metadata at 100.100.100.200)
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host agent, though the address is a public one
            "169.254.0.0/16",  # link-local (and most clouds' metadata at 169.254.169.254)
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments (and a cloud's metadata at 192.0.0.192)
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
"""Global unicast. Loopback, link-local, unique local (and metadata at fd00:ec2::254), multicast are all outside."""
_CLOSED_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo (2001::/32) hides a v4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4 hides a v4 address
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def read_address(text: str) -> Address | None:
    """The address if it is written in full and in the usual way ("127.0.0.1", "::1"); None for names, for decimal, hex,
    octal and shortened spellings, and for addresses of one network interface only ("fe80::1%eth0")."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def reached(address: Address) -> Address:
    """The v4 address that a v4-mapped or NAT64 address leads to; any other address itself."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether the address is one of the open internet: not private, loopback, link-local, shared by a carrier's users,
    multicast, reserved, a cloud's metadata service, or a v6 form that leads to any of them."""
    address = reached(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def is_permitted(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the address is public, or in one of the ``networks`` that an operator opened."""
    address = reached(address)
    return is_public(address) or any(address in network for network in networks)
