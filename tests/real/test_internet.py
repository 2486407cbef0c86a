"""The small internet is what the other tests take it for, seen through other programs' eyes."""

from __future__ import annotations

import http.client
import re
import smtplib
import socket
import ssl
import uuid

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest

from . import mta_sts, places
from .zones import WITHIN, ZONES, names_of


def ask(name, rdtype, *, flags=0):
    """Return the resolver's response to one question, DNSSEC records included."""
    query = dns.message.make_query(name, rdtype, want_dnssec=True, payload=1232)
    query.flags |= flags
    return dns.query.udp_with_fallback(query, places.RESOLVER, timeout=5)[0]


def data_of(response):
    """Return the records of the answer without their signatures, as text."""
    sets = [each for each in response.answer if each.rdtype != dns.rdatatype.RRSIG]
    return [record.to_text() for each in sets for record in each]


# name, type, response code, AD, number of records
ANSWERS = [
    ("dane.test", "MX", "NOERROR", True, 2),
    ("mx1.dane.test", "A", "NOERROR", True, 1),
    ("_25._tcp.mx1.dane.test", "TLSA", "NOERROR", True, 1),
    ("absent.dane.test", "A", "NXDOMAIN", True, 0),
    ("_25._tcp.mx.ta-full.test", "TLSA", "NOERROR", True, 1),
    ("_25._tcp.mx.tlsa-alias.test", "TLSA", "NOERROR", True, 2),
    ("_25._tcp.mx.tlsa-alias-loose.test", "TLSA", "NOERROR", False, 2),
    ("_25._tcp.mx.tlsa-alias-loose.test", "CNAME", "NOERROR", True, 1),
    ("mx.host-alias.test", "A", "NOERROR", True, 2),
    ("mx.host-alias-loose.test", "A", "NOERROR", False, 2),
    ("mx.host-alias-loose.test", "CNAME", "NOERROR", True, 1),
    ("alias-secure.test", "MX", "NOERROR", True, 3),
    ("alias-insecure.test", "MX", "NOERROR", False, 2),
    ("alias-insecure.test", "CNAME", "NOERROR", True, 1),
    ("alias.loose.test", "MX", "NOERROR", False, 3),
    ("nsec.test", "MX", "NOERROR", True, 1),
    ("mx.nsec.test", "TLSA", "NOERROR", True, 0),
    ("_25._tcp.mx.nsec.test", "TLSA", "NXDOMAIN", True, 0),
    ("nsec3.test", "MX", "NOERROR", True, 1),
    ("nsec3.test", "A", "NOERROR", True, 0),
    ("mx.nsec3.test", "AAAA", "NOERROR", True, 0),
    ("_25._tcp.mx.nsec3.test", "TLSA", "NXDOMAIN", True, 0),
    ("_tcp.mx.nsec3-dane.test", "TLSA", "NOERROR", True, 0),  # a name in between
    ("_25._tcp.mx.nsec3-dane.test", "TLSA", "NOERROR", True, 1),
    ("_25._tcp.mx.many.test", "TLSA", "NOERROR", True, 41),
    ("any.wildcard.test", "MX", "NOERROR", True, 1),
    ("mail.old.renamed.test", "MX", "NOERROR", True, 3),  # with the DNAME and its CNAME
    ("nullmx.test", "MX", "NOERROR", True, 1),
    ("nomx.test", "MX", "NOERROR", True, 0),
    ("nowhere.mx-nowhere.test", "A", "NXDOMAIN", True, 0),
    ("nosuch.test", "MX", "NXDOMAIN", True, 0),
    ("sts.test", "MX", "NOERROR", False, 1),
    ("sts.test", "DS", "NOERROR", True, 0),
    ("_mta-sts.sts.test", "TXT", "NOERROR", False, 1),
    ("_mta-sts.sts-hosted.test", "TXT", "NOERROR", False, 2),
    ("_mta-sts.sts-two.test", "TXT", "NOERROR", False, 2),
    ("_mta-sts.sts-no-txt.test", "TXT", "NXDOMAIN", False, 0),
    ("_mta-sts.sts-unknown.test", "TXT", "SERVFAIL", False, 0),
    ("_25._tcp.mx.sts-ee.test", "TLSA", "NOERROR", False, 1),
    ("loop.test", "MX", "SERVFAIL", False, 0),
    ("mx.tampered.test", "A", "NOERROR", True, 1),
    ("tampered-tlsa.test", "MX", "NOERROR", True, 1),
    ("mx.tampered-tlsa.test", "A", "NOERROR", True, 1),
    ("tampered-a.test", "MX", "NOERROR", True, 1),
    ("mx2.first-tampered.test", "A", "NOERROR", True, 1),
    ("_25._tcp.mx2.first-tampered-tlsa.test", "TLSA", "NOERROR", True, 1),
]


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "secure", "count"),
    ANSWERS,
    ids=[f"{row[0]}-{row[1]}" for row in ANSWERS],
)
def test_the_resolver_answers(internet, name, rdtype, rcode, secure, count):
    """RFC 4035 s3.2: what the answer holds, and whether it is authentic."""
    response = ask(name, rdtype)
    assert dns.rcode.to_text(response.rcode()) == rcode
    assert bool(response.flags & dns.flags.AD) is secure
    assert len(data_of(response)) == count


# name, type, extended error (RFC 8914 s4)
BOGUS = [
    ("wrong-ds.test", "MX", dns.edns.EDECode.DNSKEY_MISSING),
    ("lapsed.test", "MX", dns.edns.EDECode.SIGNATURE_EXPIRED),
    ("tampered.test", "MX", dns.edns.EDECode.DNSSEC_BOGUS),
    ("_25._tcp.mx.tampered-tlsa.test", "TLSA", dns.edns.EDECode.DNSSEC_BOGUS),
    ("mx.tampered-a.test", "A", dns.edns.EDECode.DNSSEC_BOGUS),
    ("mx1.first-tampered.test", "A", dns.edns.EDECode.DNSSEC_BOGUS),
    ("_25._tcp.mx1.first-tampered-tlsa.test", "TLSA", dns.edns.EDECode.DNSSEC_BOGUS),
]


@pytest.mark.parametrize(
    ("name", "rdtype", "reason"), BOGUS, ids=[f"{row[0]}-{row[1]}" for row in BOGUS]
)
def test_bogus_is_refused_with_a_reason(internet, name, rdtype, reason):
    """RFC 4035 s5.5, RFC 8914: SERVFAIL, the reason beside it, and data only with CD set."""
    response = ask(name, rdtype)
    assert response.rcode() == dns.rcode.SERVFAIL
    assert response.answer == []
    # The second time, unbound knows only that the zone's key is bad.
    codes = [each.code for each in response.extended_errors()]
    assert codes in ([reason], [dns.edns.EDECode.DNSSEC_BOGUS])
    unchecked = ask(name, rdtype, flags=dns.flags.CD)
    assert data_of(unchecked) != []
    assert not unchecked.flags & dns.flags.AD


@pytest.mark.parametrize(("zone", "kind"), [("nsec", "NSEC"), ("nsec3", "NSEC3")])
def test_denial_is_proved_in_two_ways(internet, zone, kind):
    """RFC 4035 s3.1.3, RFC 5155 s7.2: the proof that there is no TLSA record."""
    response = ask(f"_25._tcp.mx.{zone}.test", "TLSA")
    kinds = {dns.rdatatype.to_text(each.rdtype) for each in response.authority}
    assert kinds & {"NSEC", "NSEC3"} == {kind}


def test_it_is_the_resolver_of_every_program(internet):
    """/etc/resolv.conf names it and vouches for the way to it, and the C library uses it."""
    system = dns.resolver.Resolver()
    assert system.nameservers == [places.RESOLVER] == [internet.resolver]
    with open("/etc/resolv.conf") as settings:
        assert "trust-ad" in settings.read()
    found = socket.getaddrinfo("mx1.dane.test", 25, type=socket.SOCK_STREAM)
    assert [address[0] for *_, address in found] == [places.PEERS["postfix311"]]


# peer, offers REQUIRETLS, how its certificate fails PKIX for its own names ("" where it does not)
MAIL_HOSTS = [
    ("postfix311", True, ""),
    ("hidden", False, ""),
    ("misnamed", True, "Hostname mismatch"),
    ("untrusted", True, "unable to get local issuer"),
    ("postfix37", False, ""),
    ("smtp_server", True, ""),
    ("off_limits", True, ""),
    ("expired", True, "has expired"),
    ("private", True, "self-signed certificate in certificate chain"),
    ("private_bare", True, "unable to get local issuer"),
    ("private_next_hop", True, "self-signed certificate in certificate chain"),
    ("private_misnamed", True, "self-signed certificate in certificate chain"),
    ("private_expired", True, "self-signed certificate in certificate chain"),
]


@pytest.mark.parametrize(
    ("peer", "offers", "trouble"), MAIL_HOSTS, ids=[row[0] for row in MAIL_HOSTS]
)
def test_a_mail_host_presents_itself(internet, peer, offers, trouble):
    """Every host has the certificate that the table wants of it, and offers REQUIRETLS or not."""
    name = names_of(peer)[0]
    with smtplib.SMTP(name, 25, timeout=10) as session:
        assert session.sock.getpeername()[0] == places.PEERS[peer]
        context = internet.ca.context()
        if trouble:
            with pytest.raises(ssl.SSLCertVerificationError, match=trouble):
                session.starttls(context=context)
            return
        session.starttls(context=context)
        session.ehlo()
        assert session.has_extn("requiretls") is offers


@pytest.mark.parametrize("peer", ["expired", "private", "private_misnamed", "private_expired"])
def test_a_scripted_host_offers_requiretls(internet, peer):
    """A host whose certificate fails would take the message: only verification keeps it away."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP(places.PEERS[peer], 25, timeout=10) as session:
        session.starttls(context=context)
        session.ehlo()
        assert session.has_extn("requiretls")


def test_three_hosts_have_no_tls_to_give(internet):
    """One offers no STARTTLS, one answers it with 454, and at one address nobody listens."""
    with smtplib.SMTP(places.PEERS["plain"], 25, timeout=10) as session:
        session.ehlo()
        assert not session.has_extn("starttls")
    with smtplib.SMTP(places.PEERS["not_now"], 25, timeout=10) as session:
        session.ehlo()
        assert session.has_extn("starttls")
        assert session.docmd("STARTTLS")[0] == 454
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP(places.PEERS["dead"], 25, timeout=10)


def test_connections_are_counted_where_none_is_allowed(internet):
    """DANE-04, RT-03: a connection shows, even one that says nothing."""
    host = internet.hosts["off_limits"]
    before = host.connections
    socket.create_connection((host.host, 25), 10).close()
    host.server.wait_idle()
    assert host.connections == before + 1


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("postfix311", "postfix311"),
        ("hidden", "postfix311"),
        ("plain", "postfix311"),
        ("misnamed", "postfix311"),
        ("untrusted", "postfix311"),
        ("postfix37", "postfix37"),
        ("smtp_server", "smtp_server"),
        ("expired", "expired"),
        ("not_now", "not_now"),
        ("private", "private"),
    ],
)
def test_a_mail_command_is_seen_wherever_it_goes(internet, peer, name):
    """The question of every end-to-end test: was there a MAIL command, and where?"""
    token = uuid.uuid4().hex
    assert internet.mail_commands(token) == {}
    with smtplib.SMTP(places.PEERS[peer], 25, timeout=10) as session:
        session.ehlo()
        session.mail(f"{token}@sender.test")
    seen = internet.mail_commands(token)
    assert list(seen) == [name]
    assert len(seen[name]) == 1


@pytest.fixture
def fetch(internet):
    """Return a function that asks the policy host of a domain: status, media type, text."""

    def fetch(domain, limit=65536, timeout=10):
        host, context = f"mta-sts.{domain}", internet.ca.context()
        connection = http.client.HTTPSConnection(host, timeout=timeout, context=context)
        try:
            connection.request("GET", mta_sts.PATH)
            response = connection.getresponse()
            return response.status, response.getheader("Content-Type"), response.read(limit)
        finally:
            connection.close()

    return fetch


POLICIES = [
    ("sts", 200, "text/plain", 1),
    ("sts-testing", 200, "text/plain", 1),
    ("sts-none", 200, "text/plain", 1),
    ("sts-hosted", 200, "text/plain", 1),
    ("sts-redirect", 301, "text/plain", 1),
    ("sts-missing", 404, "text/plain", 1),
    ("sts-html", 200, "text/html", 1),
    ("sts-big", 200, "text/plain", 60000),
]


@pytest.mark.parametrize(("name", "status", "kind", "least"), POLICIES)
def test_a_policy_host_answers(internet, fetch, name, status, kind, least):
    """RFC 8461 s3.2, s3.3: the policy, and under every fault one that a careless client obeys."""
    zone = internet.zone(name)
    before = len(internet.policies.fetches(zone.domain))
    found = fetch(zone.domain)
    assert found[:2] == (status, kind)
    assert len(found[2]) >= least
    policy = found[2].decode().split("\r\n")
    assert policy[:2] == ["version: STSv1", f"mode: {zone.policy.mode}"]
    assert f"mx: {zone.policy.mx[-1]}" in policy
    assert len(internet.policies.fetches(zone.domain)) == before + 1


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("sts-expired", "has expired"),
        ("sts-misnamed", "Hostname mismatch"),
        ("sts-issuer", "unable to get local issuer"),
    ],
)
def test_a_policy_host_has_a_bad_certificate(internet, fetch, name, trouble):
    """STS-06: the handshake fails for one reason only, and nothing was asked."""
    with pytest.raises(ssl.SSLCertVerificationError, match=trouble):
        fetch(f"{name}.test")
    assert internet.policies.fetches(f"{name}.test") == []
    assert f"mta-sts.{name}.test" in internet.policies.server_names


def test_a_slow_policy_host_does_not_answer(fetch):
    """STS-10: one host is silent behind its handshake."""
    with pytest.raises(TimeoutError):
        fetch("sts-slow.test", timeout=0.3)


def test_a_trickling_policy_host_is_never_idle(fetch):
    """STS-10: one host beats the time limit of a single read; only a deadline helps."""
    assert fetch("sts-trickle.test", limit=8)[2] == b"version:"


# -- the table -----------------------------------------------------------------------------------


def test_names_and_reasons():
    """Every zone has a name of its own, and a difference to Postfix a reason."""
    assert len({zone.name for zone in ZONES}) == len(ZONES)
    for zone in ZONES:
        assert bool(zone.postfix_says) is bool(zone.why), zone.name
        assert zone.postfix_says != zone.reqtls, zone.name


@pytest.mark.parametrize("zone", [pytest.param(zone, id=zone.name) for zone in ZONES])
def test_the_table_can_be_true(zone, internet):
    """Statuses are statuses; a host that gets the message is one that the domain's MX names."""
    if not zone.delivered:
        assert re.fullmatch(r"[45]\.\d+\.\d+", zone.reqtls)
        return
    records = data_of(ask(zone.domain, "MX")) or [f"0 {zone.domain}."]
    assert f"{zone.delivered}." in [record.rpartition(" ")[2] for record in records]
    if zone.signing == WITHIN:
        return
    secure = bool(ask(zone.domain, "SOA").flags & dns.flags.AD)
    assert secure is (zone.signing != "insecure")
