"""Which network addresses belong to the public internet, and which lead to this machine, its network or its cloud.

Knows no protocol.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# public addresses that lead to the metadata and agent services of a cloud from inside it: Azure's and Oracle's
_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
# RFC 6052: translates to the IPv4 address in its last 32 bits
_TRANSLATED = IPv6Network("64:ff9b::/96")
# RFC 8215: translates to wherever the local network wants
_TRANSLATED_LOCALLY = IPv6Network("64:ff9b:1::/48")


def is_public(text: str) -> bool:
    """Whether an address, as the resolver returned it, is one that anybody on the internet could reach.

    An IPv6 address that carries an IPv4 address (mapped, compatible, translated, 6to4, Teredo) is as public as that.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _public4(address)
    return _public6(address) and all(_public4(inner) for inner in _carried(address))


def is_tunnelled(text: str) -> bool:
    """Whether an IPv6 address leads to an IPv4 address over a gateway: translated (NAT64), 6to4, Teredo, compatible."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return False
    if address.sixtofour or address.teredo or int(address) >> 32 == 0:
        return True
    return address in _TRANSLATED or address in _TRANSLATED_LOCALLY


def _public4(address: IPv4Address) -> bool:
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified)
        and not any(address in network for network in _METADATA)
    )


def _public6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address in _TRANSLATED_LOCALLY:
        return False
    if address in _TRANSLATED or address.ipv4_mapped:
        return True  # decided by what it carries
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_link_local
        or address.is_site_local
        or address.is_unspecified
    )


def _carried(address: IPv6Address) -> list[IPv4Address]:
    found: list[IPv4Address] = []
    if address.ipv4_mapped:
        found.append(address.ipv4_mapped)
    if address.sixtofour:
        found.append(address.sixtofour)
    if address.teredo:
        found += address.teredo
    if address in _TRANSLATED or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
