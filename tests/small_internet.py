"""Domains without a network: answers from a dictionary or a real name server, scripted mail hosts.

All hosts listen on one free port of 127.0.0.x, so that ``port=`` reaches them; certificates are
real ones, of one authority that the look-ups trust. The policy store starts with what a test puts
there, and nothing is fetched unless the test runs a policy server.
"""

from __future__ import annotations

import hashlib
import socket
import time
from contextlib import ExitStack

from nameserver import NameServer, reply
from support import CA_AT_HAND

from requiretls_client.cache import MemoryStore
from requiretls_client.facts import StoredPolicy, STSPolicy
from requiretls_client.lookups import Lookups
from requiretls_client.resolver import Resolver
from requiretls_client.testing import Server
from requiretls_client.testing.resolver import FakeResolver

DOMAIN = "example.net"
WITHOUT = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8")


class SmallInternet:
    """The servers and the records of one test."""

    def __init__(self, stack: ExitStack) -> None:
        """Begin with nothing."""
        self._stack = stack
        self.records: dict[str, list[str]] = {}
        self.fail: dict[str, str] = {}
        self.insecure: set[str] = set()
        self.trusted = True
        self.store = MemoryStore()
        self.servers: dict[str, Server] = {}
        self.port = free_port()

    def host(self, name, number=None, *, names=None, tlsa=True, certificate=None, **options):
        """Run a mail host and publish its address, and a TLSA 3 1 1 unless told otherwise."""
        address = f"127.0.1.{number or len(self.servers) + 1}"
        certificate = certificate or CA_AT_HAND.issue(*(names or [name]))
        server = Server(
            hostname=name, address=address, port=self.port, certificate=certificate, **options
        )
        self.servers[name] = self._stack.enter_context(server)
        self.records.setdefault(f"{name} A", []).append(address)
        if tlsa:
            self.records[self.tlsa(name)] = [f"3 1 1 {key_digest(certificate)}"]
        return server

    def tlsa(self, name):
        """Return the key of a host's TLSA records."""
        return f"_{self.port}._tcp.{name} TLSA"

    def mx(self, *hosts, domain=DOMAIN):
        """Publish MX records, the first with preference 10, the next with 20 ..."""
        self.records[f"{domain} MX"] = [f"{10 * n} {host}" for n, host in enumerate(hosts, 1)]

    def policy(self, *patterns, mode="enforce", domain=DOMAIN, age=0.0):
        """Put a policy into the store, as a delivery before would have."""
        stored = StoredPolicy(STSPolicy(mode, patterns, 86400), "id1", time.time() - age)
        self.store.save(domain, stored)
        self.records[f"_mta-sts.{domain} TXT"] = ["v=STSv1; id=id1;"]

    def lookups(self, **options):
        """Return look-ups in this internet."""
        self.resolver = FakeResolver(
            self.records, fail=self.fail, insecure=self.insecure, trusted=self.trusted
        )
        options = {"trust": CA_AT_HAND.context(), "allow_private": True, **options}
        return Lookups(self.resolver, self.store, **options)

    def zone(self):
        """Return the records for a real name server."""
        zone = {}
        for key, records in self.records.items():
            name, rdtype = key.split()
            secure = self.trusted and not {key, name} & self.insecure
            zone[name, rdtype] = reply(*(_full(rdtype, each) for each in records), secure=secure)
        return zone

    def name_server(self, cls=NameServer):
        """Run a real name server with the records that there are by now."""
        return self._stack.enter_context(cls(self.zone()))

    def real_lookups(self, name_server, store, **options):
        """Return look-ups that ask a real name server over UDP and TCP."""
        resolver = Resolver(["127.0.0.1"], port=name_server.port, timeout=1, trust_ad=True)
        options = {"trust": CA_AT_HAND.context(), "allow_private": True, **options}
        return Lookups(resolver, store, **options)


def _full(rdtype, record):
    """Return a record as a master file has it: absolute names, quoted text."""
    return {"MX": f"{record}.", "CNAME": f"{record}.", "TXT": f'"{record}"'}.get(rdtype, record)


def key_digest(certificate):
    """Return the SHA-256 of a certificate's public key, as TLSA x 1 1 has it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(certificate.pem).public_key()
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def free_port():
    """Return a port that nothing listens on, on any of our addresses."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]
