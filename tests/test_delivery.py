"""``deliver()`` in an internet of scripted hosts: good ways, refusals, tables A, B and C."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from email.message import EmailMessage

import pytest
from small_internet import (
    DOMAIN,
    FIRST,
    GOOD,
    SECOND,
    WITHOUT,
    by_address_failure,
    by_expired_policy,
    by_fetch_failure,
    by_literal_mx,
    by_mode_none,
    by_mx_failure,
    by_mx_nowhere,
    by_name,
    by_null_mx,
    by_nxdomain,
    by_policy_mismatch,
    by_tlsa_failure,
    by_txt_failure,
    by_unlisted_in_enforce,
    by_unlisted_in_testing,
    refused,
    send,
    unconnected,
)
from support import CA_AT_HAND, NO_STARTTLS, OTHER, verbs

import requiretls_client as rt
from requiretls_client.facts import StoredPolicy
from requiretls_client.testing import CA, close, reset

# -- good ways -------------------------------------------------------------------------------------


def test_delivered_by_dane(net, message):
    """RT-03, RT-04, DANE-08, B1: secure MX, a TLSA record that matches, the keyword: it leaves."""
    server = net.host(GOOD, certificate=CA().issue("anything.example"))  # name does not count
    net.mx(GOOD)
    (result,) = send(net, message).recipients
    assert (result.state, result.code, result.mx_host) == ("delivered", 250, GOOD)
    assert (result.mx_level, result.tls_level) == ("dnssec", "authenticated")
    assert "DANE-EE" in str(result.findings)
    (accepted,) = server.ledger
    assert "REQUIRETLS" in accepted.parameters
    assert server.server_names == [GOOD]


def test_delivered_by_pkix(net, message):
    """B3, A1: secure MX without TLSA records: the certificate must be good for the MX name."""
    server = net.host(GOOD, tlsa=False)
    net.mx(GOOD)
    (result,) = send(net, message).recipients
    assert (result.state, result.mx_level) == ("delivered", "dnssec")
    assert "REQUIRETLS" in server.ledger[0].parameters


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_delivered_by_mta_sts(net, message, mode):
    """A2, A3, ruling 3: insecure MX, but a policy lists the host; its mode does not matter."""
    server = net.host(GOOD, tlsa=False)
    net.mx(GOOD)
    net.policy(GOOD, mode=mode)
    net.trusted = False
    (result,) = send(net, message).recipients
    assert (result.state, result.mx_level) == ("delivered", "mta_sts")
    assert f"mode {mode}" in str(result.findings)
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_delivered_to_the_domain_itself(net, message):
    """A7: no MX record, so the domain itself is the host, and its certificate names it."""
    server = net.host(DOMAIN, tlsa=False)
    net.trusted = False
    (result,) = send(net, message).recipients
    assert (result.state, result.mx_host) == ("delivered", DOMAIN)
    assert server.ledger


def test_second_host_has_the_keyword(net, message):
    """RT-07, RT-08: the first host lacks REQUIRETLS and gets QUIT, the second gets the message."""
    first = net.host(FIRST, tls_extensions=WITHOUT)
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    report = send(net, message)
    assert verbs(first) == ["EHLO", "STARTTLS", "EHLO", "QUIT"]
    assert "REQUIRETLS" in second.ledger[0].parameters
    (result,) = report.recipients
    assert [each.mx_host for each in result.attempts] == [FIRST, SECOND]
    assert [each.verdict.status for each in result.attempts] == ["5.7.30", None]


def test_second_address(net, message):
    """SMTP-05, C5: an address that does not answer is followed by the next one."""
    server = net.host(GOOD)
    net.records[f"{GOOD} A"].insert(0, "127.0.1.200")
    net.mx(GOOD)
    (result,) = send(net, message).recipients
    assert [each.address for each in result.attempts] == ["127.0.1.200", "127.0.1.1"]
    assert result.attempts[0].verdict.status == "4.4.1"
    assert server.ledger


def test_host_behind_a_secure_alias(net, message):
    """DANE-18, DANE-28: the expanded name is the TLSA base domain, and what SNI says."""
    server = net.host("real.example.org")
    net.records[f"{GOOD} CNAME"] = ["real.example.org"]
    net.mx(GOOD)
    assert send(net, message).delivered == ("bob@example.net",)
    assert server.server_names == ["real.example.org"]


def test_dane_ta(net, message):
    """DANE-23, TLSA-05: a private authority in the TLSA record, its chain and the MX name."""
    authority = CA().child()
    server = net.host(GOOD, certificate=authority.issue(GOOD))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.pem.decode())).hexdigest()
    net.records[net.tlsa(GOOD)] = [f"2 0 1 {digest}"]
    net.mx(GOOD)
    (result,) = send(net, message).recipients
    assert "DANE-TA" in str(result.findings)
    assert len(server.ledger) == 1
    look = ["EHLO", "STARTTLS", "EHLO"]
    assert verbs(server)[:7] == [*look, "QUIT", *look]  # seen, then verified


@pytest.mark.parametrize(
    ("insecure", "delivered"), [((), True), ((f"{DOMAIN} MX",), False)],
    ids=["DANE-24-secure-mx", "DANE-25-insecure-mx"],
)  # fmt: skip
def test_dane_ta_with_the_domain_as_name(net, message, insecure, delivered):
    """DANE-24, DANE-25: the certificate may name the domain, unless the MX record is insecure."""
    authority = CA().child()
    net.host(GOOD, certificate=authority.issue(DOMAIN))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.pem.decode())).hexdigest()
    net.records[net.tlsa(GOOD)] = [f"2 0 1 {digest}"]
    net.mx(GOOD)
    net.insecure |= set(insecure)
    net.policy(GOOD, mode="testing")
    if delivered:
        assert send(net, message).delivered
    else:
        assert refused(net, message).status == "5.7.10"


def test_dane_ta_roll_over(net, message):
    """DANE-23, RFC 7671 s8: the old authority in full beside a digest of the new one: both hold."""
    old, new = CA().child(), CA().child()
    server = net.host(GOOD, certificate=new.issue(GOOD))
    old, new = (ssl.PEM_cert_to_DER_cert(each.pem.decode()) for each in (old, new))
    net.records[net.tlsa(GOOD)] = [f"2 0 0 {old.hex()}", f"2 0 1 {hashlib.sha256(new).hexdigest()}"]
    net.mx(GOOD)
    (result,) = send(net, message).recipients
    assert "DANE-TA" in str(result.findings)
    assert len(server.ledger) == 1


@pytest.mark.parametrize(
    ("names", "delivered"),
    [(("real.example.org", GOOD), True), (("real.example.org",), False)],
    ids=["both-names", "STS-18-sni-only"],
)
def test_alias_with_dane_and_a_policy(net, message, names, delivered):
    """DANE-28, STS-18, ruling 5: SNI is the expanded name, and MTA-STS wants the MX name too."""
    server = net.host("real.example.org", names=names)
    net.records[f"{GOOD} CNAME"] = ["real.example.org"]
    net.mx(GOOD)
    net.policy(GOOD)
    if delivered:
        assert send(net, message).delivered
        assert server.server_names == ["real.example.org"]
    else:
        assert refused(net, message).status == "5.7.10"


def test_bounce(net):
    """RT-13, ruling 11: an empty reverse path waives the keyword, not the other proofs."""
    message = EmailMessage()
    message["To"] = f"bob@{DOMAIN}"
    message.set_content("a bounce\n")
    server = net.host(GOOD, tls_extensions=WITHOUT)
    net.mx(GOOD)
    assert send(net, message, from_addr="").delivered
    assert "REQUIRETLS" not in server.ledger[0].parameters
    net.trusted = False
    with pytest.raises(rt.DeliveryFailed):
        send(net, message, from_addr="")
    assert len(server.ledger) == 1


# -- refusals before any connection ----------------------------------------------------------------

UNCONNECTED = [
    ("RT-03-A5-nothing-vouches", by_name, "5.7.10", 550, False),
    ("NMX-01-A9-null-mx", by_null_mx, "5.1.10", 556, False),
    ("A10-nxdomain", by_nxdomain, "5.1.2", 550, False),
    ("A6-mx-servfail", by_mx_failure, "4.4.3", 451, True),
    ("B4-DANE-04-tlsa-bogus", by_tlsa_failure, "4.4.3", 451, True),
    ("C5-addresses-time-out", by_address_failure, "4.4.3", 451, True),
    ("SMTP-04-mx-leads-nowhere", by_mx_nowhere, "5.4.4", 550, False),
    ("A1-STS-20-enforced-policy-bars", by_policy_mismatch, "5.7.10", 550, True),
    ("A4-testing-policy-does-not-list", by_unlisted_in_testing, "5.7.10", 550, False),
    ("A4-T3-STS-23-enforced-policy-does-not-list", by_unlisted_in_enforce, "5.7.10", 550, True),
    ("A5-mode-none", by_mode_none, "5.7.10", 550, False),
    ("A5-expired", by_expired_policy, "5.7.10", 550, False),
    ("policy-unknown-txt", by_txt_failure, "4.4.3", 451, True),
    ("policy-unknown-fetch", by_fetch_failure, "4.7.5", 451, True),
    ("H13-ruling-12-mx-is-an-address", by_literal_mx, "5.7.10", 550, False),
]
CLASSES = {
    "RT-03-A5-nothing-vouches": rt.MXNotAuthenticated,
    "NMX-01-A9-null-mx": rt.DeliveryFailed,
    "A6-mx-servfail": rt.PolicyUnavailable,
    "B4-DANE-04-tlsa-bogus": rt.PolicyUnavailable,
    "A1-STS-20-enforced-policy-bars": rt.MXNotAuthenticated,
    "policy-unknown-fetch": rt.PolicyUnavailable,
}


@pytest.mark.parametrize(
    ("spoil", "status", "code", "temporary", "cls"),
    [pytest.param(*row[1:], CLASSES.get(row[0]), id=row[0]) for row in UNCONNECTED],
)
def test_refused_before_connecting(net, message, spoil, status, code, temporary, cls):
    """E04, RT-03: what the look-ups do not prove is refused before any connection."""
    net.host(GOOD)
    net.mx(GOOD)
    spoil(net)
    error = refused(net, message)
    assert unconnected(net)
    assert (error.status, error.code, error.temporary) == (status, code, temporary)
    assert error.domain == DOMAIN
    (result,) = error.report.recipients
    assert result.state == ("deferred" if code < 500 else "refused")
    assert DOMAIN in str(error)
    failed = [finding for finding in result.findings if not finding.ok]
    assert len(failed) == 1
    assert failed[0].fix
    with pytest.raises(rt.RequireTLSError) as caught:
        rt.SMTP.to_domain(DOMAIN, require_tls=True, lookups=net.lookups(), port=net.port)
    assert (caught.value.status, caught.value.domain) == (status, DOMAIN)
    if cls:
        assert type(caught.value) is cls
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port)
    assert (report.verdict.allowed, report.verdict.status) == (False, status)


def test_policy_changed_meanwhile(net, message, monkeypatch):
    """STS-23: no failure under an enforced policy before its id was asked for again."""
    server = net.host(GOOD, tlsa=False)
    net.mx(GOOD)
    net.policy("old.example.net")
    looked = net.lookups()
    resolver, seen = net.resolver, []
    query = resolver.query

    def answer(name, rdtype):
        if rdtype == "TXT":
            seen.append(name)
            if len(seen) == 2:  # the domain has just published another policy, which is cached now
                resolver._records[f"_mta-sts.{DOMAIN} txt"] = ["v=STSv1; id=id2;"]
                stored = net.store.load(DOMAIN)
                made = replace(stored.policy, mx=(GOOD,))
                net.store.save(DOMAIN, StoredPolicy(made, "id2", stored.fetched + 1))
        return query(name, rdtype)

    monkeypatch.setattr(resolver, "query", answer)
    (result,) = send(net, message, lookups=looked).recipients
    assert result.state == "delivered"
    assert len(seen) == 3
    assert [each.verdict.status for each in result.attempts] == ["5.7.10", None]
    assert len(server.ledger) == 1


def test_policy_id_is_asked_for_again(net, message):
    """STS-23: a failure under an enforced policy asks for the id a second time, and is a hint."""
    net.host(GOOD)
    net.mx(GOOD)
    net.policy("old.example.net")
    assert refused(net, message).temporary
    assert net.resolver.queries.count(f"_mta-sts.{DOMAIN} TXT") == 2


def test_policy_that_could_not_be_had_is_not_asked_for_again(net, message):
    """STS-23: an id whose policy could not be fetched a moment ago starts no second walk."""
    server = net.host(GOOD, tls_extensions=WITHOUT)
    net.mx(GOOD)
    net.policy(GOOD)
    net.records[f"_mta-sts.{DOMAIN} TXT"] = ["v=STSv1; id=id2;"]
    refused(net, message)
    assert verbs(server).count("STARTTLS") == 1
    assert net.resolver.queries.count(f"_mta-sts.{DOMAIN} TXT") == 1


def test_untrusted_resolver_is_said(net, message):
    """Ruling 9: where DNSSEC was not evaluated the refusal says so, and what would help."""
    net.host(GOOD)
    net.mx(GOOD)
    net.trusted = False
    text = str(refused(net, message))
    assert "not evaluated" in text
    assert "trust_ad=True" in text


def test_private_target(net, message):
    """Ruling 20: a domain does not lead us to our own machine unless that is allowed."""
    net.host(GOOD)
    net.mx(GOOD)
    error = refused(net, message, lookups=net.lookups(allow_private=False))
    assert unconnected(net)
    assert "allow_private=True" in str(error)


def test_address_literal(net, message):
    """A12, ruling 12: an address literal has no name that a certificate could be held against."""
    net.host(GOOD)
    error = refused(net, message, to_addrs=["bob@[127.0.1.1]"])
    assert unconnected(net)
    assert error.status == "5.7.10"
    assert rt.deliver(
        message, to_addrs=["bob@[127.0.1.1]"], lookups=net.lookups(), port=net.port, timeout=5
    ).delivered


# -- refusals on the way ---------------------------------------------------------------------------

REFUSING = [
    ("C1-RT-11-keyword-missing", {"tls_extensions": WITHOUT}, "5.7.30", rt.RequireTLSNotOffered),
    ("C2-RT-12-no-starttls", NO_STARTTLS, "5.7.10", rt.TLSNotEstablished),
    ("C3-starttls-454", {"script": {"STARTTLS": "454 later"}}, "4.7.10", rt.TLSNotEstablished),
    ("C4-starttls-502", {"script": {"STARTTLS": "502 no"}}, "5.7.10", rt.TLSNotEstablished),
    ("C4-handshake-broken", {"script": {"HANDSHAKE": reset}}, "5.7.10", rt.TLSNotEstablished),
    ("NMX-03-greeting-521", {"script": {"GREETING": "521 5.3.2 never"}}, "5.3.2",
     rt.DeliveryFailed),
    ("C5-greeting-421", {"script": {"GREETING": "421 4.3.2 later"}}, "4.3.2", rt.DeliveryFailed),
    ("L09-accept-and-close", {"script": {"GREETING": close}}, "4.4.1", rt.DeliveryFailed),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "status", "cls"), [pytest.param(*row[1:], id=row[0]) for row in REFUSING]
)
def test_refused_on_the_way(net, message, options, status, cls):
    """Table C: what a host lacks, with its status, and nothing of the message on the wire."""
    net.host(GOOD, **options)
    net.mx(GOOD)
    error = refused(net, message)
    assert error.status == status
    assert error.temporary is (status.startswith("4") or status == "5.7.10")
    assert error.host == GOOD
    with pytest.raises(rt.RequireTLSError) as caught:
        rt.SMTP.to_domain(DOMAIN, require_tls=True, lookups=net.lookups(), port=net.port, timeout=5)
    assert type(caught.value) is cls


@pytest.mark.parametrize(
    ("tlsa", "certificate", "policy"),
    [
        (["3 1 1 " + "00" * 32], None, None),
        (["3 1 1 " + "00" * 32], None, "enforce"),
        (["1 1 1 " + "00" * 32], "untrusted", None),
        ([], "untrusted", None),
        ([], "expired", None),
        ([], "wrong", None),
        (None, "untrusted", "enforce"),
    ],
    ids=[
        "B1-DANE-mismatch", "B21-STS-31-policy-does-not-rescue", "B2-unusable-and-untrusted",
        "RT-04-untrusted", "RT-04-expired", "F02-wrong-name", "T4-DANE-does-not-rescue-policy",
    ],
)  # fmt: skip
def test_certificate_does_not_hold(net, message, tlsa, certificate, policy):
    """RT-04, STS-31, J03, T4: DANE, PKIX, or both; neither makes up for the other."""
    made = {
        None: lambda: CA_AT_HAND.issue(GOOD),
        "untrusted": lambda: OTHER.issue(GOOD),
        "expired": lambda: CA_AT_HAND.issue(GOOD, expired=True),
        "wrong": lambda: CA_AT_HAND.issue("other.example"),
    }[certificate]()
    net.host(GOOD, certificate=made)
    net.mx(GOOD)
    if tlsa is not None:
        net.records[net.tlsa(GOOD)] = tlsa
    if policy:
        net.policy(GOOD, mode=policy)
    error = refused(net, message)
    assert (error.status, error.code) == ("5.7.10", 550)
    report = rt.check(f"bob@{DOMAIN}", lookups=net.lookups(), port=net.port)
    assert report.verdict.word == "requiretls:nocertmatch"


@pytest.mark.parametrize(
    ("options", "not_ours"),
    [({"certificate": OTHER.issue(GOOD)}, "server_hostname="), (NO_STARTTLS, "465")],
    ids=["certificate", "no-starttls"],
)
def test_what_to_do_about_a_mail_host(net, message, options, not_ours):
    """RT-10: the way on is one for a domain's host: no argument that deliver() has not, no 465."""
    net.host(GOOD, tlsa=False, **options)
    net.mx(GOOD)
    error = refused(net, message)
    assert "have " in str(error)
    assert not_ours not in str(error)


def test_unusable_records_and_a_good_certificate(net, message):
    """B2, ruling 4, J06: none of the TLSA records is usable, so PKIX decides."""
    net.host(GOOD)
    net.mx(GOOD)
    net.records[net.tlsa(GOOD)] = ["3 9 9 00", "0 0 1 " + "00" * 32]
    assert send(net, message).delivered


@pytest.mark.parametrize(
    ("first", "second", "status", "temporary"),
    [
        ({"tls_extensions": WITHOUT}, {"tls_extensions": WITHOUT}, "5.7.30", False),
        ({"tls_extensions": WITHOUT}, NO_STARTTLS, "5.7.10", True),
        (NO_STARTTLS, {"tls_extensions": WITHOUT}, "5.7.10", True),
        ({"tls_extensions": WITHOUT}, {"script": {"STARTTLS": "454 later"}}, "4.7.10", True),
    ],
    ids=["all-lack-the-keyword", "keyword-then-no-tls", "no-tls-then-keyword", "one-is-temporary"],
)
def test_hosts_fail_differently(net, message, first, second, status, temporary):
    """C7, ruling 6: temporary if any failure was, 5.7.30 only if all lacked just the keyword."""
    net.host(FIRST, **first)
    net.host(SECOND, **second)
    net.mx(FIRST, SECOND)
    error = refused(net, message)
    assert (error.status, error.temporary) == (status, temporary)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port)
    assert [host.name for host in report.hosts] == [FIRST, SECOND]
    assert len(report.verdict.hosts) == 2
