"""The small internet: DNS, mail hosts and policy hosts of the domains in zones.py, in one object.

What a test needs to dial as a stranger would: only a domain. Everything is real and on loopback,
in the network namespace that tests/run makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from requiretls_client.testing import Certificate

from . import mta_sts, places, scripted, unbound
from .certificates import RealCA, tlsa
from .dns_tree import grow
from .mta_sts import PolicyHosts
from .scripted import Scripted
from .server import Server
from .zones import WRONG, ZONES, Zone

_ZONES = {zone.name: zone for zone in ZONES}


@dataclass(frozen=True, slots=True)
class Internet:
    """The small internet, running.

    Attributes:
        resolver: address of the validating resolver, port 53; /etc/resolv.conf names it too.
        ca: the authority behind the certificates; `ca.path` is a PEM file, `ca.context()` a new
            client context that trusts it.
        hosts: every server that takes mail, under the name of a peer. Postfix 3.11 is
            ``postfix311`` and plays hidden, plain, misnamed and untrusted as well.
        policies: the policy hosts, and what they were asked.
    """

    resolver: str
    ca: RealCA
    hosts: Mapping[str, Server | Scripted]
    policies: PolicyHosts

    @staticmethod
    def zone(name: str) -> Zone:
        """Return the zone of this name."""
        return _ZONES[name]

    def mail_commands(self, token: str = "") -> dict[str, list[str]]:
        """Return the MAIL commands sent by now that contain `token`: host -> lines, none empty."""
        found = {name: host.mail_commands(token) for name, host in self.hosts.items()}
        return {name: lines for name, lines in found.items() if lines}


@dataclass(frozen=True, slots=True)
class _Peer:
    """One of places.PEERS in the records: ``{peer}`` or ``{peer:3 1 1}``."""

    address: str
    certificate: Certificate | None

    def __format__(self, numbers: str) -> str:
        """Return the address, or a TLSA record that fits the certificate."""
        if not numbers:
            return self.address
        assert self.certificate is not None, f"{self.address} has no certificate"
        return tlsa(self.certificate, numbers)


@contextmanager
def running(unbound_root: Path, ca: RealCA, real: Mapping[str, Server]) -> Iterator[Internet]:
    """Add what is missing to the real servers: scripted ones, DNS and policy hosts."""
    with scripted.running(ca) as others, mta_sts.running(ca, ZONES) as policies:
        hosts: dict[str, Server | Scripted] = {**real, **others}
        certificates: dict[str, Certificate] = {}
        for host in hosts.values():
            certificates |= host.certificates
        values: dict[str, object] = {
            peer: _Peer(address, certificates.get(peer)) for peer, address in places.PEERS.items()
        }
        values |= {"wrong": WRONG, "policies": places.POLICIES}
        tree = grow(ZONES, lambda records: records.format_map(values))
        with unbound.running(unbound_root, tree):
            yield Internet(places.RESOLVER, ca, hosts, policies)
