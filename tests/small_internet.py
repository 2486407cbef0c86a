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

import pytest
from nameserver import NameServer, reply
from support import CA_AT_HAND, nothing_sent

import requiretls_client as rt
from requiretls_client.cache import MemoryStore
from requiretls_client.facts import StoredPolicy, STSPolicy
from requiretls_client.lookups import Lookups
from requiretls_client.resolver import Resolver
from requiretls_client.testing import Server
from requiretls_client.testing.resolver import FakeResolver

DOMAIN = "example.net"
GOOD = f"mx.{DOMAIN}"
FIRST, SECOND = f"mx1.{DOMAIN}", f"mx2.{DOMAIN}"
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
    return {
        "MX": f"{record}.",
        "SRV": f"{record}.",
        "CNAME": f"{record}.",
        "TXT": f'"{record}"',
    }.get(rdtype, record)


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


# -- sending in it ---------------------------------------------------------------------------------


def send(net, message, **options):
    """Deliver with require_tls; returns the report."""
    options = {"require_tls": True, "lookups": net.lookups(), "timeout": 5, **options}
    return rt.deliver(message, port=net.port, **options)


def refused(net, message, **options):
    """Deliver, which must fail; returns the error. No server saw anything of the message."""
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, **options)
    for server in net.servers.values():
        assert nothing_sent(server)
    return caught.value


def ordinary(net, message, **options):
    """Deliver without require_tls; returns the one result."""
    (result,) = send(net, message, require_tls=False, **options).recipients
    return result


def unconnected(net):
    """Tell whether no server was connected to."""
    return not any(server.transcript for server in net.servers.values())


# -- what may be wrong with the domain -------------------------------------------------------------


def by_name(net):
    """Leave DNSSEC unevaluated."""
    net.trusted = False


def by_null_mx(net):
    """Publish a null MX."""
    net.records[f"{DOMAIN} MX"] = ["0 ."]


def by_nxdomain(net):
    """Let nothing exist."""
    net.records.clear()


def by_mx_failure(net):
    """Let the MX look-up fail."""
    net.fail[f"{DOMAIN} MX"] = "servfail"


def by_tlsa_failure(net):
    """Let the TLSA records be bogus."""
    net.fail[net.tlsa(GOOD)] = "bogus"


def by_address_failure(net):
    """Let the address look-ups time out."""
    net.fail[f"{GOOD} A"] = net.fail[f"{GOOD} AAAA"] = "timeout"


def by_mx_nowhere(net):
    """Name a host that does not exist."""
    net.records[f"{DOMAIN} MX"] = ["10 nowhere.example.net"]


def by_policy_mismatch(net):
    """Enforce a policy that lists another host."""
    net.policy("other.example.net")


def by_unlisted_in_testing(net):
    """Have a policy in testing that lists another host, and no DNSSEC."""
    net.trusted = False
    net.policy("other.example.net", mode="testing")


def by_unlisted_in_enforce(net):
    """Enforce a policy that lists another host, without DNSSEC."""
    net.trusted = False
    net.policy("other.example.net")


def by_mode_none(net):
    """Have a policy with the mode none, and no DNSSEC."""
    net.trusted = False
    net.policy(mode="none")


def by_expired_policy(net):
    """Have an expired policy, and no DNSSEC."""
    net.trusted = False
    net.policy(GOOD, age=999999)
    net.records[f"_mta-sts.{DOMAIN} TXT"] = []


def by_txt_failure(net):
    """Let the TXT look-up fail, without DNSSEC."""
    net.trusted = False
    net.fail[f"_mta-sts.{DOMAIN} TXT"] = "servfail"


def by_fetch_failure(net):
    """Publish a policy that cannot be fetched, without DNSSEC."""
    net.trusted = False
    net.records[f"_mta-sts.{DOMAIN} TXT"] = ["v=STSv1; id=2;"]


def by_literal_mx(net):
    """Put an address into the MX record."""
    net.records[f"{DOMAIN} MX"] = ["10 127.0.1.1"]
