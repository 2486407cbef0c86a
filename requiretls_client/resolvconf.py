"""Which name servers the system uses, and whether their word on DNSSEC may be believed.

Reads ``/etc/resolv.conf`` (on Windows, through dnspython, the registry); asks no server. RFC 4035
section 4.9.3: a stub that does not validate may believe the AD bit only of a server that it
trusts, over a channel that it trusts. What the user says decides; without that, a server on this
machine is taken to be a validator that the user runs.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence

from requiretls_client.syntax import printable

RESOLV_CONF = "/etc/resolv.conf"

_MAX_SERVERS = 3  # MAXNS of resolv.conf(5): the system does not ask further ones

# Docker's forwarder, in the name space of every container on a network that the user defined. It
# passes the AD bit of whichever server the host uses through, over any network.
_DOCKER = ipaddress.ip_address("127.0.0.11")


def system_nameservers(path: str = RESOLV_CONF) -> tuple[tuple[str, ...], bool]:
    """Return the system's name servers, and whether ``options trust-ad`` stands beside them.

    Search domains are left out: nothing here uses them. A line that is not understood is passed
    over, as the system does.

    Args:
        path: of the file; one that is missing, cannot be read or names no server means the name
            server on this machine (resolv.conf(5)).
    """
    if sys.platform == "win32":
        import dns.resolver

        return tuple(str(server) for server in dns.resolver.Resolver().nameservers), False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    servers, trust_ad = [], False
    for line in lines:
        match _words(line):
            case ["nameserver", address, *_] if _is_address(address):
                servers.append(address)
            case ["options", *options]:
                trust_ad = trust_ad or "trust-ad" in options
    if not servers:
        return ("127.0.0.1",), trust_ad
    return tuple(servers[:_MAX_SERVERS]), trust_ad


def checked_addresses(nameservers: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses in their usual form, each once.

    Raises:
        ValueError: something else than addresses, or none at all.
    """
    for server in nameservers:
        if not isinstance(server, str):
            raise ValueError("nameservers must hold IP addresses, each a str")
    try:
        addresses = dict.fromkeys(str(ipaddress.ip_address(server)) for server in nameservers)
    except ValueError as error:
        raise ValueError(f"nameservers must hold IP addresses: {printable(str(error))}") from None
    if not addresses:
        raise ValueError("nameservers is empty")
    return tuple(addresses)


def judge_trust(
    nameservers: Sequence[str], *, trust_ad: bool | None, file_says: bool
) -> tuple[bool, str]:
    """Decide whether the AD bit of these servers may be believed, and say why.

    Args:
        nameservers: IP addresses.
        trust_ad: what the caller says; None when nothing.
        file_says: ``options trust-ad`` stands in the file that named these servers.

    Returns:
        (trusted, reason): the reason is one clause for people.
    """
    if trust_ad is not None:
        return trust_ad, f"the caller says trust_ad={trust_ad}"
    if file_says:
        return True, "resolv.conf says trust-ad"
    for server in nameservers:
        address = _plain(server)
        if address == _DOCKER:
            return False, f"{server} is Docker's forwarder, which does not validate"
        if not address.is_loopback:
            why = "is not on this machine and nothing says trust-ad"
            return False, f"nameserver {server} {why}"
    return True, "every nameserver is on loopback"


def _words(line: str) -> list[str]:
    """Return the words of a line up to a comment."""
    words = line.split()
    for number, word in enumerate(words):
        if word[0] in "#;":
            return words[:number]
    return words


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; of one that is IPv4 in IPv6 clothes (``::ffff:127.0.0.1``), that one."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
