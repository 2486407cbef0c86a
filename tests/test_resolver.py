"""The resolver against a real name server on loopback that tells the truth, lies or is silent."""

from __future__ import annotations

import functools
import random
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from nameserver import NameServer, Reply, reply

from requiretls_client import resolvconf, resolver, tls
from requiretls_client.facts import MX, SRV, TLSA, Answer, Link
from requiretls_client.resolver import Resolver
from requiretls_client.testing import CA

TYPES = ["MX", "A", "AAAA", "TXT", "TLSA", "SRV"]
GOOD = {("example.net", "A"): reply("192.0.2.1", secure=True)}
SILENT = reply(silent=True)
SOON = 0.4  # seconds for questions that shall fail


@pytest.fixture
def dns_server():
    """Start name servers with the arguments of ``NameServer``; they end with the test."""
    with ExitStack() as stack:
        yield lambda zone, **options: stack.enter_context(NameServer(zone, **options))


def client(server, **options):
    """Return a resolver that asks this server."""
    return Resolver([server.address], port=server.port, **options)


def rows(table):
    """Return the rows of a table, whose first column is the id."""
    return [pytest.param(*row[1:], id=row[0]) for row in table]


# -- what a good answer becomes ------------------------------------------------------------------

RECORDS = [
    ("SMTP-01-mx", "MX", ("10 MX1.Example.NET.", "20 mx2.example.net."),
     (MX(10, "mx1.example.net"), MX(20, "mx2.example.net"))),
    ("null-mx", "MX", ("0 .",), (MX(0, ""),)),
    ("a", "A", ("192.0.2.1", "192.0.2.2"), ("192.0.2.1", "192.0.2.2")),
    ("aaaa", "AAAA", ("2001:db8::1",), ("2001:db8::1",)),
    ("STS-01-strings-joined", "TXT", ('"v=STSv1; i" "d=1;"', '"other"'),
     ("v=STSv1; id=1;", "other")),
    ("txt-octets-stay-apart", "TXT", (r'"v=\195\164\000"',), ("v=\xc3\xa4\x00",)),
    ("TLSA-01", "TLSA", (f"3 1 1 {'0a' * 32}", "255 9 8 01"),
     (TLSA(3, 1, 1, b"\n" * 32), TLSA(255, 9, 8, b"\x01"))),
    ("SUB-06-srv", "SRV", ("0 1 465 SMTP.example.net.", "10 0 0 ."),
     (SRV(0, 1, 465, "smtp.example.net"), SRV(10, 0, 0, ""))),
    # H13: such hosts stay visible, as text that is no host name
    ("H13-blank", "MX", (r"10 a\032b.example.",), (MX(10, r"a\032b.example"),)),
    ("H13-nul", "MX", (r"10 mx\000.example.",), (MX(10, r"mx\000.example"),)),
    ("H13-dot-in-label", "MX", (r"10 mx\.good.example.",), (MX(10, r"mx\.good.example"),)),
    ("H13-utf-8", "MX", (r"10 m\195\188.example.",), (MX(10, r"m\195\188.example"),)),
    ("H13-line-end", "MX", (r"10 mx\013\010.example.",), (MX(10, r"mx\013\010.example"),)),
    ("address-as-mx", "MX", ("10 192.0.2.1.",), (MX(10, "192.0.2.1"),)),
]  # fmt: skip


@pytest.mark.parametrize(("rdtype", "records", "want"), rows(RECORDS))
def test_records(dns_server, rdtype, records, want):
    """Each type becomes its record, in the order of the answer."""
    server = dns_server({("example.net", rdtype): reply(*records)})
    answer = client(server).query("example.net", rdtype)
    assert answer == Answer("example.net", rdtype, "records", "insecure", want, "example.net")


def test_unusable_tlsa_records(dns_server):
    """TLSA-01: a record with a digest of the wrong length, or none, does not take others along."""
    question = b"\x07example\x03net\x00\x00\x34\x00\x01"
    datas = [b"\3\1\1\0\xff", b"\3\1\1" + b"\n" * 32, b"\3\1", b""]
    records = [
        b"\xc0\x0c\0\x34\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data for data in datas
    ]
    raw = b"\x81\xa0\0\1\0\4\0\0\0\0" + question + b"".join(records)
    server = dns_server({("example.net", "TLSA"): reply(raw=raw)})
    answer = client(server).query("example.net", "TLSA")
    assert (answer.outcome, answer.status) == ("records", "secure")
    assert answer.records == (
        TLSA(3, 1, 1, b"\0\xff"),
        TLSA(3, 1, 1, b"\n" * 32),
        TLSA(3, 1, 255, b""),
        TLSA(255, 255, 255, b""),
    )


def test_tlsa_denial(dns_server):
    """DANE-02: NODATA, NXDOMAIN and NXDOMAIN beside records are told apart for TLSA too."""
    extra = (f"c.example. 300 IN TLSA 3 1 1 {'00' * 32}",)
    zone = {
        ("a.example", "TLSA"): reply(secure=True),
        ("b.example", "TLSA"): reply(rcode="NXDOMAIN", secure=True),
        ("c.example", "TLSA"): reply(rcode="NXDOMAIN", extra=extra),
        ("d.example", "TLSA"): reply(rcode="SERVFAIL"),
    }
    asker = client(dns_server(zone))
    answers = [asker.query(f"{name}.example", "TLSA") for name in "abcd"]
    assert [(answer.outcome, answer.status) for answer in answers] == [
        ("nodata", "secure"), ("nxdomain", "secure"), ("broken", "indeterminate"),
        ("servfail", "indeterminate"),
    ]  # fmt: skip


# -- the question --------------------------------------------------------------------------------


@pytest.mark.parametrize("rdtype", TYPES)
def test_query_flags(dns_server, rdtype):
    """DNS-02, DNS-03: RD and AD are set, CD and DO are not; EDNS offers 1232 octets."""
    server = dns_server({})
    client(server).query("example.net", rdtype)
    (query,) = server.queries
    assert (query.name, query.rdtype, query.transport) == ("example.net", rdtype, "udp")
    assert (query.rd, query.ad, query.cd, query.do, query.payload) == (
        True, True, False, False, 1232,
    )  # fmt: skip


NAMES = [
    ("plain", "example.net", "example.net"),
    ("final-dot-and-case", "Example.NET.", "example.net"),
    ("UTF-03-u-label", "Bücher.example", "xn--bcher-kva.example"),
    ("UTF-03-uts46-dot", "bücher。example", "xn--bcher-kva.example"),
    ("tlsa-owner", "_25._tcp.mx.example", "_25._tcp.mx.example"),
    ("sts-owner-of-u-label", "_mta-sts.bücher.example", "_mta-sts.xn--bcher-kva.example"),
    ("H08-single-label", "mail", "mail"),
    ("hyphen-at-the-end", "mx-.example", "mx-.example"),
    ("digits-that-are-no-address", "1.2.3.4.5", "1.2.3.4.5"),
    ("longest", ".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
]


@pytest.mark.parametrize(("name", "asked"), rows(NAMES))
def test_names(dns_server, name, asked):
    """UTF-03, H08: the question is for the A-labels, absolute, and the answer carries them."""
    server = dns_server({})
    answer = client(server).query(name, "A")
    assert server.asked() == [(asked, "A")]
    assert (answer.name, answer.canonical, answer.outcome) == (asked, asked, "nxdomain")


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a b", "a\0b", "a\nb", r"a\.b", "a" * 64, "a." * 127 + "a", "192.0.2.1",
     "192.0.2.1.", "2001:db8::1", "a@b", "*.example", "ü" * 70, "\ud800.example", "ü..example",
     ".".join(["ü" * 40] * 6)],
)  # fmt: skip
def test_bad_names(dns_server, name):
    """What is no domain name is a ValueError, and nothing is asked."""
    server = dns_server({})
    with pytest.raises(ValueError, match=r"\S"):
        client(server).query(name, "A")
    assert server.queries == []


@pytest.mark.parametrize("rdtype", ["CNAME", "ANY", "mx", "", "SOA"])
def test_bad_types(dns_server, rdtype):
    """Only the types that this package knows can be asked for."""
    server = dns_server({})
    with pytest.raises(ValueError, match="rdtype"):
        client(server).query("example.net", rdtype)
    assert server.queries == []


def test_search_domains_are_not_used(dns_server, monkeypatch, tmp_path):
    """H08: a name that does not exist gets no suffix of resolv.conf, whatever it says."""
    server = dns_server({})
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\nsearch evil.example\noptions ndots:5\n")
    read = functools.partial(resolvconf.system_nameservers, str(path))
    monkeypatch.setattr(resolver, "system_nameservers", read)
    answer = Resolver(port=server.port).query("mail", "MX")
    assert answer.outcome == "nxdomain"
    assert server.asked() == [("mail", "MX")]


# -- status and outcome --------------------------------------------------------------------------

LINK = ("alias.example", "CNAME")
TARGET = ("target.example", "A")
ADDRESS = "192.0.2.1"


def chain(link_secure, target_secure):
    """Return a zone with one CNAME."""
    return {
        LINK: reply("target.example.", secure=link_secure),
        TARGET: reply(ADDRESS, secure=target_secure),
    }


STATUS = [
    ("secure", GOOD, "records", "secure"),
    ("insecure", {("example.net", "A"): reply(ADDRESS)}, "records", "insecure"),
    ("H04-nxdomain", {}, "nxdomain", "insecure"),
    ("DANE-02-secure-nxdomain", {("example.net", "A"): reply(rcode="NXDOMAIN", secure=True)},
     "nxdomain", "secure"),
    ("H04-nodata", {("example.net", "MX"): reply("0 .")}, "nodata", "insecure"),
    ("DANE-02-secure-nodata", {("example.net", "A"): reply(secure=True)}, "nodata", "secure"),
    ("H04-empty-non-terminal", {("www.example.net", "A"): reply(ADDRESS)}, "nodata", "insecure"),
    ("H14-unrelated-records-only",
     {("example.net", "A"): reply(extra=("other.example. 300 IN A 192.0.2.66",))},
     "nodata", "insecure"),
    ("H14-cname-of-another-name",
     {("example.net", "A"): reply(extra=("other.example. 300 IN CNAME x.example.",
                                         "x.example. 300 IN A 192.0.2.66"))},
     "nodata", "insecure"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "outcome", "status"), rows(STATUS))
def test_status(dns_server, zone, outcome, status):
    """AD of a trusted server is secure, none is insecure; NODATA is not NXDOMAIN."""
    answer = client(dns_server(zone)).query("example.net", "A")
    assert (answer.outcome, answer.status) == (outcome, status)
    assert answer.records == ((ADDRESS,) if outcome == "records" else ())
    assert answer.problem == ""


def test_unrelated_records_do_not_count(dns_server):
    """H14: of an answer only what the asked name leads to is taken."""
    extra = ("other.example. 300 IN A 192.0.2.66", "example.net. 300 CH A a. 1")
    zone = {("example.net", "A"): reply(ADDRESS, extra=extra[:1])}
    assert client(dns_server(zone)).query("example.net", "A").records == (ADDRESS,)


UNSURE = "indeterminate"


def failed(code, text=""):
    """Return a SERVFAIL with an Extended DNS Error."""
    return reply(rcode="SERVFAIL", ede=(code, text))


FAILURES = [
    ("H03-servfail", reply(rcode="SERVFAIL"), "servfail", UNSURE, "SERVFAIL from 127.0.0.1"),
    ("H03-refused", reply(rcode="REFUSED"), "broken", UNSURE, "REFUSED from 127.0.0.1"),
    ("notimp", reply(rcode="NOTIMP"), "broken", UNSURE, "NOTIMP"),
    ("formerr", reply(rcode="FORMERR"), "broken", UNSURE, "FORMERR"),
    ("yxdomain", reply(rcode="YXDOMAIN"), "broken", UNSURE, "YXDOMAIN"),
    ("SERVFAIL-says-secure", reply(rcode="SERVFAIL", secure=True), "servfail", UNSURE, ""),
    ("J03-bogus", failed(6, "no signature"), "servfail", "bogus",
     "(DNSSEC Bogus): no signature"),
    *((f"J03-ede-{code}", failed(code), "servfail", "bogus", f"EDE {code}")
      for code in (7, 8, 9, 10, 11, 12, 25)),
    *((f"ede-{code}-is-not-bogus", failed(code), "servfail",
       UNSURE, f"EDE {code}") for code in (0, 1, 2, 5, 13, 22, 23, 49152)),
    ("refused-is-not-bogus", reply(rcode="REFUSED", ede=(6, "")), "broken", UNSURE, "EDE 6"),
    ("text-is-made-printable", failed(0, "a\x1b[31m\r\nb\u202e"), "servfail",
     UNSURE, "EDE 0"),
    ("text-is-cut", failed(0, "x" * 5000), "servfail", UNSURE, "..."),
    ("DANE-06-nxdomain-with-an-answer",
     reply(rcode="NXDOMAIN", extra=("example.net. 300 IN A 192.0.2.66",)), "broken",
     UNSURE, "no usable answer"),
    ("a-referral-is-no-nodata", reply(flags=dns.flags.QR), "broken", UNSURE, "no recursion"),
    ("H03-silence", SILENT, "timeout", UNSURE, "no answer from 127.0.0.1"),
    ("another-id-only", reply(silent=True, first=("wrong id",)), "timeout", UNSURE, ""),
    ("garbage-behind-the-id", reply(raw=b"\x81\x80" + b"\xff" * 30), "broken", UNSURE,
     "malformed"),
    ("short", reply(raw=b"\x81"), "broken", UNSURE, "malformed"),
    ("without-question", reply(raw=b"\x81\x82" + bytes(8)), "servfail", UNSURE, "SERVFAIL"),
    ("noerror-without-question", reply(raw=b"\x81\x80" + bytes(8)), "timeout", UNSURE, "no answer"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "outcome", "status", "problem"), rows(FAILURES))
def test_failures(dns_server, said, outcome, status, problem):
    """DANE-02, H03: a failed look-up is no answer; bogus is what the server's EDE calls so."""
    server = dns_server({("example.net", "A"): said})
    answer = client(server, timeout=5 if outcome != "timeout" else SOON).query("example.net", "A")
    assert (answer.outcome, answer.status) == (outcome, status)
    assert problem in answer.problem
    assert "127.0.0.1" in answer.problem
    assert answer.problem.isprintable()
    assert len(answer.problem) <= 200
    assert (answer.records, answer.links, answer.canonical) == ((), (), "")


# -- CNAME ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rdtype", ["MX", "A", "TXT", "TLSA"])
def test_cname_is_followed(dns_server, rdtype):
    """SMTP-01, STS-01, H06: a CNAME leads to the records; both names are known afterwards."""
    records = {"MX": "0 mx.example.", "A": ADDRESS, "TXT": '"v=STSv1;"', "TLSA": "3 1 0 00"}
    zone = {
        LINK: reply("B.example.", secure=True),
        ("b.example", "CNAME"): reply("target.example.", secure=True),
        ("target.example", rdtype): reply(records[rdtype], secure=True),
    }
    server = dns_server(zone)
    answer = client(server).query("alias.example", rdtype)
    assert (answer.outcome, answer.status, len(answer.records)) == ("records", "secure", 1)
    assert (answer.name, answer.canonical) == ("alias.example", "target.example")
    assert answer.links == (
        Link("alias.example", "b.example", "secure"),
        Link("b.example", "target.example", "secure"),
    )
    assert server.asked() == [("alias.example", rdtype)]


LINKS = [
    ("DANE-07-first-link-secure", (True, False), False, ["secure", "insecure"], 3),
    ("DANE-05-insecure-first", (False, True), True, ["insecure", "insecure"], 2),
    ("DANE-19-only-the-end-insecure", (True, True), False, ["secure", "secure"], 3),
    ("DNS-04-all-insecure", (False, False), False, ["insecure", "insecure"], 2),
    ("all-secure", (True, True), True, ["secure", "secure"], 1),
]


@pytest.mark.parametrize(("links", "end", "want", "asked"), rows(LINKS))
@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
def test_links(dns_server, rdtype, links, end, want, asked):
    """DNS-04, DANE-05, DANE-07: one unsigned link clears AD; then each is asked for, in turn."""
    zone = {
        ("a.example", "CNAME"): reply("b.example.", secure=links[0]),
        ("b.example", "CNAME"): reply("c.example.", secure=links[1]),
        ("c.example", rdtype): reply("::1" if rdtype == "AAAA" else ADDRESS, secure=end),
    }
    server = dns_server(zone)
    answer = client(server).query("a.example", rdtype)
    assert answer.status == ("secure" if end and all(links) else "insecure")
    assert [(link.name, link.target) for link in answer.links] == [
        ("a.example", "b.example"), ("b.example", "c.example"),
    ]  # fmt: skip
    assert [link.status for link in answer.links] == want
    questions = [("a.example", rdtype), ("a.example", "CNAME"), ("b.example", "CNAME")]
    assert server.asked() == questions[:asked]


@pytest.mark.parametrize("rdtype", ["MX", "TXT", "TLSA"])
def test_links_of_other_types_are_not_asked_for(dns_server, rdtype):
    """DANE-07 is about addresses: an insecure answer of another type costs no more questions."""
    server = dns_server({LINK: reply("target.example.", secure=True)})
    answer = client(server).query("alias.example", rdtype)
    assert [link.status for link in answer.links] == ["insecure"]
    assert len(server.queries) == 1


def test_links_without_trust(dns_server):
    """J01: with a server that is not trusted there is nothing to learn about links."""
    server = dns_server(chain(True, False))
    answer = client(server, trust_ad=False).query("alias.example", "A")
    assert [link.status for link in answer.links] == ["insecure"]
    assert len(server.queries) == 1


# The answer to A comes from one record set, the one to CNAME from another.
PRETENDED = ("alias.example. 300 IN CNAME target.example.", "target.example. 300 IN A 192.0.2.1")
LINK_FAILURES = [
    ("DANE-06-servfail", reply(rcode="SERVFAIL"), "servfail", "indeterminate"),
    ("DANE-06-bogus", reply(rcode="SERVFAIL", ede=(6, "")), "servfail", "bogus"),
    ("DANE-06-refused", reply(rcode="REFUSED"), "broken", "indeterminate"),
    ("DANE-06-silence", SILENT, "timeout", "indeterminate"),
    ("another-target", reply("elsewhere.example.", secure=True), "broken", "indeterminate"),
    ("secure-denial", reply(secure=True), "broken", "indeterminate"),
]


@pytest.mark.parametrize(("said", "outcome", "status"), rows(LINK_FAILURES))
def test_link_that_fails(dns_server, said, outcome, status):
    """DANE-06: an error at one link fails the whole look-up, with its problem."""
    zone = {("alias.example", "A"): reply(extra=PRETENDED), LINK: said}
    asker = client(dns_server(zone), timeout=SOON if said.silent else 5)
    answer = asker.query("alias.example", "A")
    assert (answer.outcome, answer.status) == (outcome, status)
    assert answer.problem
    assert (answer.records, answer.links) == ((), ())


def test_chain_with_a_bogus_target(dns_server):
    """DANE-06: a bogus target fails the look-up of the alias."""
    zone = {LINK: reply("target.example.", secure=True),
            TARGET: reply(rcode="SERVFAIL", ede=(9, "DNSKEY"))}  # fmt: skip
    answer = client(dns_server(zone)).query("alias.example", "A")
    assert (answer.outcome, answer.status) == ("servfail", "bogus")


def test_chain_that_ends_nowhere(dns_server):
    """DANE-02: NXDOMAIN at the end of a CNAME keeps the links and is no error."""
    zone = {LINK: reply("target.example.", secure=True)}
    answer = client(dns_server(zone)).query("alias.example", "MX")
    assert (answer.outcome, answer.canonical) == ("nxdomain", "target.example")
    assert len(answer.links) == 1


def ladder(length):
    """Return a zone with that many CNAMEs before the address."""
    zone = {(f"n{i}.example", "CNAME"): reply(f"n{i + 1}.example.") for i in range(length)}
    return zone | {(f"n{length}.example", "A"): reply(ADDRESS)}


CHAINS = [
    ("DANE-06-loop", {("n0.example", "CNAME"): reply("n1.example."),
                      ("n1.example", "CNAME"): reply("n0.example.")}, "broken"),
    ("DANE-06-to-itself", {("n0.example", "CNAME"): reply("n0.example.")}, "broken"),
    ("DANE-06-17-links", ladder(17), "broken"),
    ("15-links", ladder(15), "records"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "outcome"), rows(CHAINS))
def test_long_chains(dns_server, zone, outcome):
    """DANE-06: a loop or an over-long chain is an error."""
    answer = client(dns_server(zone), trust_ad=False).query("n0.example", "A")
    assert answer.outcome == outcome
    assert ("CNAME" in answer.problem) is (outcome == "broken")


def test_cname_to_the_root(dns_server):
    """H13: odd owners and targets of CNAMEs are no reason to fail otherwise than in the answer."""
    extra = ("alias.example. 300 IN CNAME .", ". 300 IN CNAME a\\.b\\000.example.",
             "a\\.b\\000.example. 300 IN A 192.0.2.1")  # fmt: skip
    zone = {("alias.example", "A"): reply(extra=extra, secure=False)}
    answer = client(dns_server(zone)).query("alias.example", "A")
    assert (answer.outcome, answer.canonical) == ("records", r"a\.b\000.example")
    assert [link.status for link in answer.links] == ["insecure", "insecure"]


# -- trust in AD ---------------------------------------------------------------------------------

LOOPBACK = "every nameserver is on loopback"
AWAY = "is not on this machine and nothing says trust-ad"
TRUST = [
    ("J01-loopback", ["127.0.0.1"], None, False, True, LOOPBACK),
    ("loopback-127.0.0.53", ["127.0.0.53", "::1"], None, False, True, LOOPBACK),
    ("loopback-v6", ["::1"], None, False, True, LOOPBACK),
    ("loopback-v4-in-v6", ["::ffff:127.0.0.1"], None, False, True, LOOPBACK),
    ("loopback-zone", ["::1%lo"], None, False, True, LOOPBACK),
    ("J01-away", ["192.0.2.53"], None, False, False, f"nameserver 192.0.2.53 {AWAY}"),
    ("J01-away-v6", ["2001:db8::53"], None, False, False, f"nameserver 2001:db8::53 {AWAY}"),
    ("J01-link-local", ["fe80::1%eth0"], None, False, False, f"nameserver fe80::1%eth0 {AWAY}"),
    ("J01-v4-in-v6-away", ["::ffff:192.0.2.53"], None, False, False, AWAY),
    ("J01-one-of-two-away", ["127.0.0.1", "192.0.2.53"], None, False, False, "192.0.2.53"),
    ("J01-any-address", ["0.0.0.0"], None, False, False, AWAY),
    ("docker", ["127.0.0.11"], None, False, False,
     "127.0.0.11 is Docker's forwarder, which does not validate"),
    ("docker-v4-in-v6", ["::ffff:127.0.0.11"], None, False, False, "Docker"),
    ("docker-second", ["127.0.0.1", "127.0.0.11"], None, False, False, "Docker"),
    ("caller-no", ["127.0.0.1"], False, True, False, "the caller says trust_ad=False"),
    ("caller-yes", ["192.0.2.53"], True, False, True, "the caller says trust_ad=True"),
    ("caller-yes-docker", ["127.0.0.11"], True, False, True, "the caller says trust_ad=True"),
    ("file", ["192.0.2.53"], None, True, True, "resolv.conf says trust-ad"),
    ("file-docker", ["127.0.0.11"], None, True, True, "resolv.conf says trust-ad"),
]  # fmt: skip


@pytest.mark.parametrize(("servers", "trust_ad", "file_says", "trusted", "reason"), rows(TRUST))
def test_trust(servers, trust_ad, file_says, trusted, reason):
    """DNS-01, J01: loopback only when all of them are; resolv.conf; the caller above all."""
    judged = resolvconf.judge_trust(servers, trust_ad=trust_ad, file_says=file_says)
    assert judged[0] is trusted
    assert reason in judged[1]
    if not file_says:
        made = Resolver(servers, trust_ad=trust_ad)
        assert made.trusted is trusted
        assert list(map(ip_address, made.nameservers)) == list(map(ip_address, servers))


@pytest.mark.parametrize("rdtype", TYPES)
def test_ad_without_trust(dns_server, rdtype):
    """DNS-01, DANE-01, J01: AD of a server that is not trusted makes nothing secure."""
    records = {"MX": "0 mx.example.", "A": ADDRESS, "AAAA": "::1", "TXT": "x", "TLSA": "3 1 0 00",
               "SRV": "0 0 465 a.example."}  # fmt: skip
    server = dns_server({("example.net", rdtype): reply(records[rdtype], secure=True)})
    assert client(server).query("example.net", rdtype).status == "secure"
    assert client(server, trust_ad=False).query("example.net", rdtype).status == "insecure"


FILES = [
    ("one", "nameserver 192.0.2.1\n", ("192.0.2.1",), False),
    ("three-are-used", "".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 5)),
     ("192.0.2.1", "192.0.2.2", "192.0.2.3"), False),
    ("trust-ad", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .", ("127.0.0.53",), True),
    ("trust-ad-in-the-second", "options ndots:0\noptions trust-ad\nnameserver ::1", ("::1",), True),
    ("later-options", "options trust-ad\noptions rotate\nnameserver ::1", ("::1",), True),
    ("trust-ad-behind-a-comment", "nameserver ::1\noptions edns0 # trust-ad\n", ("::1",), False),
    ("trust-ad-commented-out", "nameserver ::1\n#options trust-ad\n;options trust-ad\n", ("::1",),
     False),
    ("like-trust-ad", "nameserver ::1\noptions no-trust-ad trust-ad:0 TRUST-AD\n", ("::1",), False),
    ("trust-ad-elsewhere", "nameserver ::1 trust-ad\nsearch trust-ad\n", ("::1",), False),
    ("zone", "nameserver fe80::1%eth0\n", ("fe80::1%eth0",), False),
    ("nonsense", "nameserver\nnameserver dns.example\nfoo\n\x00\xff\nnameserver 192.0.2.1 # x\n",
     ("192.0.2.1",), False),
    ("windows-line-ends", "nameserver 192.0.2.1\r\noptions trust-ad\r\n", ("192.0.2.1",), True),
    ("no-server", "search example.net\n", ("127.0.0.1",), False),
    ("empty", "", ("127.0.0.1",), False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "servers", "trust_ad"), rows(FILES))
def test_resolv_conf(tmp_path, text, servers, trust_ad):
    """J01: the file is read as resolv.conf(5) says, with trust-ad, which dnspython passes over."""
    path = tmp_path / "resolv.conf"
    path.write_bytes(text.encode("latin-1"))
    assert resolvconf.system_nameservers(str(path)) == (servers, trust_ad)


def test_resolv_conf_is_missing(tmp_path):
    """Without the file, or where it is a folder, the server on this machine is asked."""
    for path in (tmp_path, tmp_path / "none"):
        assert resolvconf.system_nameservers(str(path)) == (("127.0.0.1",), False)


def test_system_with_a_registry(monkeypatch):
    """On Windows dnspython knows where to look."""

    def read(system):
        system.nameservers = ["192.0.2.53"]

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(dns.resolver.Resolver, "read_registry", read)
    assert resolvconf.system_nameservers() == (("192.0.2.53",), False)


def test_trust_ad_of_the_file_is_for_its_servers(monkeypatch):
    """J01: what resolv.conf says of its own servers says nothing of those that the caller names."""
    monkeypatch.setattr(resolver, "system_nameservers", lambda: (("192.0.2.1",), True))
    assert Resolver().trust_reason == "resolv.conf says trust-ad"
    assert Resolver().nameservers == ("192.0.2.1",)
    assert not Resolver(["192.0.2.1"]).trusted
    assert not Resolver(trust_ad=False).trusted


MISTAKES = [
    ("empty", {"nameservers": []}, "empty"),
    ("name", {"nameservers": ["dns.example"]}, "IP address"),
    ("port-inside", {"nameservers": ["127.0.0.1:53"]}, "IP address"),
    ("url", {"nameservers": ["https://192.0.2.1/dns-query"]}, "IP address"),
    ("str", {"nameservers": "127.0.0.1"}, "IP address"),
    ("int", {"nameservers": [1]}, "IP address"),
    ("port-0", {"nameservers": ["::1"], "port": 0}, "port"),
    ("port-65536", {"nameservers": ["::1"], "port": 65536}, "port"),
    ("timeout-0", {"nameservers": ["::1"], "timeout": 0}, "timeout"),
    ("timeout-nan", {"nameservers": ["::1"], "timeout": float("nan")}, "timeout"),
    ("tls-without-servers", {"tls_hostname": "dns.example"}, "nameservers"),
    ("tls-bad-name", {"nameservers": ["::1"], "tls_hostname": "a b"}, "tls_hostname"),
    ("tls-context-alone", {"nameservers": ["::1"], "tls_context": tls.client_context()},
     "tls_hostname"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "words"), rows(MISTAKES))
def test_mistakes_of_the_caller(options, words, monkeypatch):
    """The caller's mistake is a ValueError before any I/O."""
    monkeypatch.setattr(resolver, "system_nameservers", None)
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(ValueError, match=words):
        Resolver(**options)


def test_context_that_does_not_verify():
    """DNS over TLS with a context that proves nothing is the caller's mistake."""
    context = tls.client_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="verify"):
        Resolver(["::1"], tls_hostname="dns.example", tls_context=context)


def test_servers_are_named_once():
    """An address in two spellings is one server."""
    assert Resolver(["::1", "0:0:0::1", "127.0.0.1"]).nameservers == ("::1", "127.0.0.1")


# -- spoofing, retransmission, TCP, several servers ----------------------------------------------


@pytest.mark.parametrize("kind", ["wrong id", "wrong question", "garbage", "query", "elsewhere"])
def test_forged_answer_first(dns_server, kind):
    """H14: what does not belong to the question is passed over, and the right answer is taken."""
    server = dns_server({("example.net", "A"): reply(ADDRESS, first=(kind,) * 3)})
    answer = client(server, timeout=5).query("example.net", "A")
    assert (answer.outcome, answer.records) == ("records", (ADDRESS,))
    assert len(server.queries) == 1


def test_question_in_capitals_is_the_same(dns_server):
    """RFC 4343: a server may answer in another case."""
    zone = {("example.net", "A"): reply(extra=("EXAMPLE.net. 300 IN A 192.0.2.1",))}
    assert client(dns_server(zone)).query("eXample.NET", "A").records == (ADDRESS,)


def test_lost_datagram(dns_server, monkeypatch):
    """A question that got no answer is asked again, with another ID and from another port."""
    monkeypatch.setattr(resolver, "_PATIENCE", 0.05)
    server = dns_server({("example.net", "A"): [SILENT, SILENT, reply(ADDRESS)]})
    assert client(server, timeout=5).query("example.net", "A").records == (ADDRESS,)
    assert len(server.queries) == 3
    assert len({query.id for query in server.queries}) > 1
    assert len({query.port for query in server.queries}) > 1


def test_repetitions_become_rarer(dns_server, monkeypatch):
    """A silent server is asked again after twice the time, each time."""
    monkeypatch.setattr(resolver, "_PATIENCE", SOON / 20)
    server = dns_server({("example.net", "A"): SILENT})
    assert client(server, timeout=SOON).query("example.net", "A").outcome == "timeout"
    assert 1 < len(server.queries) <= 6  # after 1, 3, 7 and 15 parts of 20


def test_ports_and_ids_differ(dns_server):
    """H14: each question has a source port and an ID of its own."""
    server = dns_server({})
    asker = client(server)
    for _ in range(20):
        asker.query("example.net", "A")
    assert len({query.id for query in server.queries}) > 15
    assert len({query.port for query in server.queries}) > 10


def test_truncation(dns_server):
    """A truncated answer is asked for again over TCP, with the same question and AD."""
    records = [f"10 mx{i}.example.net." for i in range(200)]
    server = dns_server({("example.net", "MX"): reply(*records, truncated=True, secure=True)})
    answer = client(server).query("example.net", "MX")
    assert (len(answer.records), answer.status) == (200, "secure")
    assert [query.transport for query in server.queries] == ["udp", "tcp"]
    assert server.queries[1].ad


CUT = dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.TC


@pytest.mark.parametrize(("rdtype", "record"), [("A", ADDRESS), ("TLSA", "3 1 0 00")])
def test_truncation_in_the_middle_of_a_record(dns_server, rdtype, record):
    """What a truncated answer holds does not count, also when it ends inside a record."""
    number = dns.rdatatype.from_text(rdtype).to_bytes(2, "big")
    question = b"\x07example\x03net\x00" + number + b"\x00\x01"
    raw = CUT.to_bytes(2, "big") + b"\0\1\0\2\0\0\0\0" + question + b"\xc0\x0c\0\1\0\1\0"
    server = dns_server({("example.net", rdtype): [reply(raw=raw), reply(record)]})
    assert len(client(server).query("example.net", rdtype).records) == 1
    assert [query.transport for query in server.queries] == ["udp", "tcp"]


TCP_FAILURES = [
    ("closed", reply(ADDRESS, truncated=True, tcp="close"), "broken", "closed"),
    ("silent", reply(ADDRESS, truncated=True, tcp="silent"), "timeout", "no answer"),
    ("drip", reply(ADDRESS, truncated=True, tcp="drip"), "timeout", "no answer"),
    ("cut-again", reply(ADDRESS, truncated=True, tcp="truncated"), "broken", "cut short"),
    ("H14-another-id", reply(ADDRESS, truncated=True, tcp="wrong id"), "broken", "another"),
    ("garbage", [reply(truncated=True), reply(raw=b"\x81\x80" + b"\xff" * 30)], "broken",
     "malformed"),
    ("short", [reply(truncated=True), reply(raw=b"\x81")], "broken", "malformed"),
    ("of-another-question",
     [reply(truncated=True),
      reply(raw=b"\x81\x80\0\1\0\0\0\0\0\0\x06forged\x00\x00\x01\x00\x01")], "broken", "another"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "outcome", "problem"), rows(TCP_FAILURES))
def test_truncation_and_tcp_fails(dns_server, said, outcome, problem):
    """L-drip: TCP that fails is a failure within the deadline, never part of an answer."""
    server = dns_server({("example.net", "A"): said})
    begin = time.monotonic()
    answer = client(server, timeout=SOON if outcome == "timeout" else 5).query("example.net", "A")
    assert time.monotonic() - begin < SOON + 1
    assert (answer.outcome, answer.records) == (outcome, ())
    assert problem in answer.problem


def test_deadline_covers_everything(dns_server):
    """One deadline bounds repetitions, servers and the questions about links together."""
    zone = {("alias.example", "A"): reply(extra=PRETENDED, delay=SOON / 2), LINK: SILENT}
    server = dns_server(zone)
    begin = time.monotonic()
    answer = client(server, timeout=SOON).query("alias.example", "A")
    assert SOON * 0.9 < time.monotonic() - begin < SOON + 0.5
    assert answer.outcome == "timeout"


def test_no_time_is_left(dns_server, monkeypatch):
    """A deadline that passed before the question is a timeout, and nothing is asked."""
    server = dns_server({})
    clock = iter([0.0])
    monkeypatch.setattr(
        resolver, "time", type("Time", (), {"monotonic": lambda: next(clock, 100.0)})
    )
    answer = client(server).query("example.net", "A")
    assert (answer.outcome, answer.status) == ("timeout", "indeterminate")
    assert "no time" in answer.problem
    assert server.queries == []


def pair(dns_server, first, second=GOOD):
    """Return two servers on one port, 127.0.0.1 and 127.0.0.2; None is a port nobody listens on."""
    good = dns_server(second, address="127.0.0.2")
    bad = first if first is None else dns_server(first, port=good.port)
    return bad, good


NEXT = [
    ("H03-servfail", reply(rcode="SERVFAIL")),
    ("H03-servfail-not-dnssec", reply(rcode="SERVFAIL", ede=(23, "network"))),
    ("H03-refused", reply(rcode="REFUSED")),
    ("H03-silent", SILENT),
    ("garbage", reply(raw=b"\x81\x80" + b"\xff" * 30)),
    ("no-recursion", reply(flags=dns.flags.QR)),
    ("tcp-closed", reply(truncated=True, tcp="close")),
    ("nobody-there", None),
]


@pytest.mark.parametrize("first", rows(NEXT))
def test_next_server(dns_server, monkeypatch, first):
    """H03: a server that fails, refuses or is silent is not the last word: the next is asked."""
    monkeypatch.setattr(resolver, "_PATIENCE", 0.1)
    bad, good = pair(dns_server, first and {("example.net", "A"): first})
    asker = Resolver(["127.0.0.1", "127.0.0.2"], port=good.port, timeout=5)
    answer = asker.query("example.net", "A")
    assert (answer.outcome, answer.status, answer.records) == ("records", "secure", (ADDRESS,))
    assert bad is None or bad.asked()[0] == ("example.net", "A")
    assert good.asked() == [("example.net", "A")]


@pytest.mark.parametrize("said", [reply(rcode="NXDOMAIN"), reply()], ids=["nxdomain", "nodata"])
def test_denial_is_an_answer(dns_server, said):
    """H04: NXDOMAIN and NODATA are answers: no other server is asked."""
    _, good = pair(dns_server, {("example.net", "A"): said})
    answer = Resolver(["127.0.0.1", "127.0.0.2"], port=good.port).query("example.net", "A")
    assert answer.outcome in ("nxdomain", "nodata")
    assert good.queries == []


def test_bogus_is_an_answer(dns_server):
    """J03: a server that does not validate cannot overrule one that found the data bogus."""
    _, good = pair(dns_server, {("example.net", "A"): reply(rcode="SERVFAIL", ede=(6, "x"))})
    answer = Resolver(["127.0.0.1", "127.0.0.2"], port=good.port).query("example.net", "A")
    assert (answer.outcome, answer.status) == ("servfail", "bogus")
    assert good.queries == []


def test_all_servers_fail(dns_server):
    """The failure of all servers names each, and the one that says most decides."""
    _, good = pair(
        dns_server, {("example.net", "A"): reply(rcode="REFUSED", ede=(18, "not you"))},
        {("example.net", "A"): reply(rcode="SERVFAIL")},
    )  # fmt: skip
    answer = Resolver(["127.0.0.1", "127.0.0.2", "127.0.0.3"], port=good.port).query(
        "example.net", "A"
    )
    assert (answer.outcome, answer.status) == ("servfail", "indeterminate")
    for words in ("REFUSED from 127.0.0.1: EDE 18 (Prohibited): not you",
                  "SERVFAIL from 127.0.0.2", "from 127.0.0.3: Connection refused"):  # fmt: skip
        assert words in answer.problem


def test_short_timeout_reaches_every_server(dns_server):
    """However short the time is, a silent server does not use up the share of the others."""
    _, good = pair(dns_server, {("example.net", "A"): SILENT})
    asker = Resolver(["127.0.0.1", "127.0.0.2"], port=good.port, timeout=1.0)
    assert asker.query("example.net", "A").records == (ADDRESS,)


def test_ipv6_server(dns_server):
    """A name server on ::1 is asked, and trusted."""
    try:
        server = dns_server(GOOD, address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert client(server).query("example.net", "A").status == "secure"


def test_many_threads(dns_server):
    """Many threads share one resolver, and each gets the answer to its own question."""
    server = dns_server({(f"n{i}.example", "A"): reply(f"192.0.2.{i}") for i in range(100)})
    asker = client(server)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: asker.query(f"n{i}.example", "A"), range(100)))
    assert [answer.records for answer in answers] == [(f"192.0.2.{i}",) for i in range(100)]


def test_nothing_is_left_open(dns_server):
    """Threads and sockets end with the question, whatever came of it (ResourceWarning fails)."""
    zone = {("good.example", "A"): reply(ADDRESS, truncated=True),
            ("bad.example", "A"): reply(truncated=True, tcp="close")}  # fmt: skip
    asker = client(dns_server(zone))
    before = threading.active_count()
    outcomes = [asker.query(f"{name}.example", "A").outcome for name in ("good", "bad")]
    assert outcomes == ["records", "broken"]
    assert threading.active_count() <= before + 2  # the fake server's own


# -- hostile octets ------------------------------------------------------------------------------


HOSTILE = {"MX": ("10 mx.example.net.", "20 ."), "TLSA": ("3 1 0 00", "2 0 0 0102"),
           "SRV": ("0 1 465 smtp.example.net.", "0 0 0 .")}  # fmt: skip


def hostile(rdtype, seed):
    """Return the octets of a good answer behind its ID, damaged in one of many ways."""
    chance = random.Random(seed)
    query = dns.message.make_query("example.net", rdtype, use_edns=0)
    answer = dns.message.make_response(query, recursion_available=True)
    answer.answer = [
        dns.rrset.from_text("example.net.", 300, "IN", "CNAME", "b.example.net."),
        dns.rrset.from_text("b.example.net.", 300, "IN", rdtype, *HOSTILE[rdtype]),
    ]
    wire = bytearray(answer.to_wire()[2:])
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(2, len(wire))
        match chance.randrange(4):
            case 0:
                wire[place] = chance.randrange(256)
            case 1:
                del wire[place:]
            case 2:
                wire[place:place] = chance.randbytes(chance.randint(1, 20))
            case _:
                wire[place] = 0xC0  # a compression pointer
        if len(wire) < 11:
            wire += bytes(11)
    return bytes(wire)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("rdtype", ["MX", "TLSA", "SRV"])
def test_hostile_answers(dns_server, transport, rdtype):
    """H13, H14: no octets from a server raise; they make a whole answer or a failure."""
    count = 300
    said = [reply(raw=hostile(rdtype, seed)) for seed in range(count)]
    if transport == "tcp":
        said = [turn for raw in said for turn in (reply(truncated=True), raw)]
    else:
        said = [turn for raw in said for turn in (raw, reply(rcode="REFUSED"))]
    server = dns_server({("example.net", rdtype): said})
    asker = client(server, timeout=0.02 if transport == "udp" else 5)
    for _ in range(count):
        answer = asker.query("example.net", rdtype)
        assert (answer.problem == "") is (answer.outcome in ("records", "nodata", "nxdomain"))
        assert answer.status in ("insecure", "secure", "indeterminate")
        kind = {"MX": MX, "TLSA": TLSA, "SRV": SRV}[rdtype]
        assert all(isinstance(record, kind) for record in answer.records)
        assert answer.problem.isprintable()


# -- DNS over TLS --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca():
    """Return the CA of the name servers."""
    return CA()


def over_tls(server, ca, name="dns.example", **options):
    """Return a resolver that asks over TLS."""
    return client(server, tls_hostname=name, tls_context=ca.context(), **options)


def test_tls(dns_server, ca):
    """RFC 7858: over TLS only, verified for the name; AD counts as always."""
    server = dns_server(GOOD, certificate=ca.issue("dns.example"))
    answer = over_tls(server, ca).query("example.net", "A")
    assert (answer.outcome, answer.status, answer.records) == ("records", "secure", (ADDRESS,))
    assert [query.transport for query in server.queries] == ["tls"]
    answer = over_tls(server, ca, trust_ad=False).query("example.net", "A")
    assert answer.status == "insecure"


def test_tls_for_an_address(dns_server, ca):
    """RFC 8310: the name may be the server's address."""
    server = dns_server(GOOD, certificate=ca.issue("127.0.0.1"))
    assert over_tls(server, ca, "127.0.0.1").query("example.net", "A").records == (ADDRESS,)


BAD_CERTIFICATES = [
    ("wrong-name", lambda ca: ca.issue("other.example"), "ostname mismatch"),
    ("expired", lambda ca: ca.issue("dns.example", expired=True), "expired"),
    ("stranger", lambda ca: CA().issue("dns.example"), "certificate verify failed"),
    ("common-name", lambda ca: ca.issue(common_name="dns.example"), "certificate verify failed"),
]


@pytest.mark.parametrize(("issue", "words"), rows(BAD_CERTIFICATES))
def test_tls_certificate(dns_server, ca, issue, words):
    """DNS-01: with another certificate no question leaves, in TLS or clear text."""
    server = dns_server(GOOD, certificate=issue(ca))
    answer = over_tls(server, ca, trust_ad=True).query("example.net", "A")
    assert (answer.outcome, answer.status, answer.records) == ("broken", "indeterminate", ())
    assert words in answer.problem
    assert "127.0.0.1" in answer.problem
    assert server.queries == []


def test_tls_is_not_spoken(dns_server, ca):
    """A server without TLS is no answer, and nothing is asked in the clear."""
    server = dns_server(GOOD)
    answer = over_tls(server, ca, timeout=SOON).query("example.net", "A")
    assert answer.outcome in ("broken", "timeout")
    assert server.queries == []


def test_tls_handshake_is_bounded(ca):
    """A handshake that is never answered ends with the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asker = Resolver(
            ["127.0.0.1"], port=listener.getsockname()[1], timeout=SOON,
            tls_hostname="dns.example", tls_context=ca.context(),
        )  # fmt: skip
        begin = time.monotonic()
        answer = asker.query("example.net", "A")
    assert time.monotonic() - begin < SOON + 0.5
    assert answer.outcome == "timeout"


@pytest.mark.parametrize(("name", "port"), [(None, 53), ("dns.example", 853)])
def test_default_ports(monkeypatch, name, port):
    """RFC 7858 s3.1: DNS over TLS is port 853, without it 53; the roots are certifi's."""
    calls = []

    def connect(server, kind, deadline):
        calls.append((server.port, kind))
        raise OSError("no network in this test")

    monkeypatch.setattr(resolver.NameServer, "_connect", connect)
    answer = Resolver(["192.0.2.1"], tls_hostname=name).query("example.net", "A")
    assert answer.outcome == "broken"
    assert calls == [(port, socket.SOCK_STREAM if name else socket.SOCK_DGRAM)]


def test_certifis_roots(dns_server, ca, monkeypatch):
    """Without tls_context the package's own context decides."""
    server = dns_server(GOOD, certificate=ca.issue("dns.example"))
    asker = client(server, tls_hostname="DNS.example.")
    assert "certificate verify failed" in asker.query("example.net", "A").problem
    monkeypatch.setattr(tls, "_default", ca.context())
    assert asker.query("example.net", "A").records == (ADDRESS,)


# -- imports -------------------------------------------------------------------------------------


def test_imports():
    """dnspython loads with this module only, and of it not the parts that are not needed."""
    code = (
        "import sys, requiretls_client, requiretls_client.session\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('dns', 'idna')]\n"
        "import requiretls_client.resolver\n"
        "assert not {'dns.resolver', 'dns.query', 'dns.asyncbackend', 'asyncio', 'requests',\n"
        "            'cryptography'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reply_is_a_record():
    """The fake server's replies compare by what they say."""
    assert reply("a", secure=True) == Reply(("a",), secure=True)
