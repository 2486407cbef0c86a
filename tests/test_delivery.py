"""``deliver()``, ``SMTP.to_domain()`` and ``check()`` in an internet of scripted hosts."""

from __future__ import annotations

import copy
import json
import pickle
from contextlib import ExitStack
from dataclasses import replace
from email.message import EmailMessage

import pytest
from small_internet import DOMAIN, WITHOUT, SmallInternet
from support import CA_AT_HAND, NO_STARTTLS, RAW, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.facts import StoredPolicy
from requiretls_client.testing import CA, close, reset

GOOD = f"mx.{DOMAIN}"
FIRST, SECOND = f"mx1.{DOMAIN}", f"mx2.{DOMAIN}"


@pytest.fixture
def net():
    """Return a small internet."""
    with ExitStack() as stack:
        yield SmallInternet(stack)


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


# -- good ways -----------------------------------------------------------------------------------


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
    import hashlib
    import ssl

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
    import hashlib
    import ssl

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


# -- refusals before any connection --------------------------------------------------------------


def unconnected(net):
    """Tell whether no server was connected to."""
    return not any(server.transcript for server in net.servers.values())


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


# -- refusals on the way -------------------------------------------------------------------------

OTHER = CA()
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
        rt.SMTP.to_domain(
            DOMAIN, require_tls=True, lookups=net.lookups(), port=net.port, timeout=5
        )
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


# -- several recipients --------------------------------------------------------------------------


def test_domains_are_judged_alone(net, message):
    """E07, B9: each domain is its own run; one that is refused hides no other's outcome."""
    good, bad = net.host(GOOD), net.host("mx.example.com", tls_extensions=WITHOUT)
    net.mx(GOOD)
    net.mx("mx.example.com", domain="example.com")
    to = ["bob@example.net", "eve@example.com", "Carol <carol@EXAMPLE.net>"]
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=to)
    report = caught.value.report
    assert [result.address for result in report.recipients] == to
    assert [result.state for result in report.recipients] == ["delivered", "refused", "delivered"]
    assert report.delivered == (to[0], to[2])
    assert len(good.ledger) == 1
    assert good.ledger[0].recipients == ("bob@example.net", "carol@EXAMPLE.net")
    assert nothing_sent(bad)
    assert (caught.value.status, caught.value.domain) == ("5.7.30", "example.com")


def test_partial_recipients(net, message):
    """E06, ruling 13: who was refused by the server, and who has it, as the ledger says."""
    server = net.host(GOOD, script={"RCPT": ["250 ok", "550 5.1.1 nobody", "250 ok"]})
    net.mx(GOOD)
    to = [f"{name}@{DOMAIN}" for name in ("a", "b", "c")]
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, to_addrs=to)
    states = {each.address: each.state for each in caught.value.report.recipients}
    assert states == {to[0]: "delivered", to[1]: "refused", to[2]: "delivered"}
    assert server.ledger[0].recipients == (to[0], to[2])
    assert (caught.value.code, caught.value.status) == (550, "5.1.1")
    assert "nobody" in str(caught.value)


def test_too_many_recipients(net, message):
    """SMTP-16: 452 for some means: the rest in another transaction, on the same session."""
    server = net.host(GOOD, script={"RCPT": ["250 ok", "452 4.5.3 enough", "452 4.5.3 enough"]})
    net.mx(GOOD)
    to = [f"{name}@{DOMAIN}" for name in ("a", "b", "c")]
    assert send(net, message, to_addrs=to).delivered == tuple(to)
    assert [each.recipients for each in server.ledger] == [(to[0],), tuple(to[1:])]
    assert verbs(server).count("STARTTLS") == 1


def test_deferred_at_the_first_host(net, message):
    """SMTP-18, C6: a temporary refusal of the message leads to the next host, with the mark."""
    first = net.host(FIRST, script={"MAIL": "451 4.7.1 greylisted"})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    (result,) = send(net, message).recipients
    assert (result.state, result.mx_host) == ("delivered", SECOND)
    assert result.attempts[0].reply == (451, "4.7.1 greylisted")
    assert not first.ledger
    assert "REQUIRETLS" in second.ledger[0].parameters


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", ["451 4.7.1 later", "555 5.5.4 never"])
def test_refused_by_the_only_host(net, message, stage, reply):
    """C6, E08: the server's own reply is the outcome, and nothing is repeated without the mark."""
    server = net.host(GOOD, script={stage: reply})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    (result,) = caught.value.report.recipients
    code, status, _ = reply.split()
    assert (str(result.code), result.status) == (code, status)
    assert result.state == ("deferred" if code == "451" else "refused")
    assert not server.ledger
    mails = [line for line in server.commands() if line.upper().startswith("MAIL")]
    assert len(mails) == 1
    assert mails[0].upper().endswith("REQUIRETLS")


def test_lost_after_the_dot(net, message):
    """Ruling 14, L08: an outcome that nobody knows is ``unknown``, and no other host is asked."""
    net.host(FIRST, script={".": close})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message)
    (result,) = caught.value.report.recipients
    assert (result.state, result.code, result.temporary) == ("unknown", None, False)
    assert not caught.value.temporary
    assert not second.transcript


def test_lost_before_the_dot(net, message):
    """SMTP-19: a connection that breaks before the message has left leads to the next host."""
    net.host(FIRST, script={"DATA": close})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    assert send(net, message).delivered
    assert len(second.ledger) == 1


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tls_optional": True}, "cannot both"),
        ({"to_addrs": ["bob"]}, "no domain"),
        ({"to_addrs": []}, "no recipient"),
        ({"to_addrs": ["bob@example.net\r\nRCPT TO:<eve@example.net>"]}, "control"),
        ({"to_addrs": ["bob@exa mple.net"]}, "mailbox"),
        ({"to_addrs": ["bob@[300.1.1.1]"]}, "to_addrs"),
        ({"from_addr": "a@b\0.example"}, "control"),
    ],
    ids=["contradiction", "no-domain", "nobody", "C05-crlf", "blank", "bad-literal", "nul"],
)
def test_bad_argument(net, message, options, text):
    """Ruling 15: a bad argument is a ValueError before anything is looked up."""
    with pytest.raises(ValueError, match=text):
        send(net, message, **options)
    assert net.resolver.queries == []


def test_raw_message(net):
    """A raw message needs its envelope, and goes out as it is."""
    server = net.host(GOOD)
    net.mx(GOOD)
    with pytest.raises(ValueError, match="from_addr and to_addrs"):
        send(net, RAW)
    assert send(net, RAW, from_addr="alice@example.org", to_addrs=f"bob@{DOMAIN}").delivered
    assert server.ledger[0].content == RAW


def test_u_label_domain(net, message):
    """SID-03, UTF-03: a domain beyond ASCII is looked up as A-label."""
    net.host("mx.xn--bcher-kva.example")
    net.mx("mx.xn--bcher-kva.example", domain="xn--bcher-kva.example")
    assert send(net, message, to_addrs="bob@bücher.example").delivered
    assert "xn--bcher-kva.example MX" in net.resolver.queries


def test_message_as_it_was_at_the_call(net, message):
    """D08: what the caller does to the object meanwhile changes nothing on the way."""
    def meddle(connection):
        message.replace_header("Subject", "changed")
        return "250 ok"

    first = net.host(FIRST, script={"RCPT": meddle, ".": "451 later"})
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    assert send(net, message).delivered
    assert b"changed" not in second.ledger[0].content
    assert not first.ledger


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


def test_reports_are_data(net, message):
    """RT-10: report and error turn into JSON, pickle and explain themselves."""
    net.host(GOOD, tls_extensions=WITHOUT)
    net.mx(GOOD)
    error = refused(net, message)
    data = json.loads(json.dumps(error.as_dict()))
    assert data["report"]["schema"] == "requiretls-delivery/1"
    assert data["report"]["recipients"][0]["status"] == "5.7.30"
    twin = pickle.loads(pickle.dumps(error))
    assert twin.report == error.report
    assert copy.copy(error).report is error.report
    assert "5.7.30" in error.report.explain()
    assert "fix:" in error.report.explain()
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port)
    data = json.loads(json.dumps(report.as_dict()))
    assert data["schema"] == "requiretls-check/1"
    assert data["hosts"][0]["name"] == GOOD
    assert pickle.loads(pickle.dumps(report)).as_dict() == report.as_dict()


# -- ordinary mail, and TLS-Required: No ---------------------------------------------------------


def ordinary(net, message, **options):
    """Deliver without require_tls; returns the one result."""
    (result,) = send(net, message, require_tls=False, **options).recipients
    return result


@pytest.mark.parametrize(
    ("options", "level"),
    [({}, "encrypted"), (NO_STARTTLS, "none"), ({"script": {"HANDSHAKE": reset}}, "none")],
    ids=["tls", "no-starttls", "broken-tls"],
)
def test_opportunistic(net, message, options, level):
    """DANE-10: without any policy ordinary mail takes what TLS there is, or none."""
    server = net.host(GOOD, tlsa=False, certificate=OTHER.issue("other.example"), **options)
    net.mx(GOOD)
    result = ordinary(net, message)
    assert (result.state, result.tls_level) == ("delivered", level)
    assert "REQUIRETLS" not in server.ledger[0].parameters
    assert b"TLS-Required" not in server.ledger[0].content


@pytest.mark.parametrize(
    ("tlsa", "policy", "options", "delivered"),
    [
        (True, None, {}, True),
        (["3 1 1 " + "00" * 32], None, {}, False),
        (True, None, NO_STARTTLS, False),
        (["3 9 9 00"], None, {"certificate": OTHER.issue(GOOD)}, True),
        (["3 9 9 00"], None, NO_STARTTLS, False),
        (False, "enforce", {}, True),
        (False, "enforce", {"certificate": OTHER.issue(GOOD)}, False),
        (False, "enforce", NO_STARTTLS, False),
        (False, "testing", {"certificate": OTHER.issue(GOOD)}, True),
        (False, "testing", NO_STARTTLS, True),
        (["3 9 9 00"], "enforce", {"certificate": OTHER.issue(GOOD)}, False),
    ],
    ids=[
        "DANE-08-match", "DANE-08-mismatch", "J15-no-starttls", "DANE-09-unusable",
        "DANE-09-unusable-no-starttls", "STS-20-good", "STS-20-untrusted", "STS-20-no-starttls",
        "STS-21-testing-untrusted", "STS-21-testing-no-starttls", "B2-enforce-and-unusable",
    ],
)  # fmt: skip
def test_ordinary_mail_obeys_policies(net, message, tlsa, policy, options, delivered):
    """Table B, column OPP: DANE and an enforced policy bind ordinary mail too."""
    server = net.host(GOOD, tlsa=bool(tlsa), **options)
    net.mx(GOOD)
    if isinstance(tlsa, list):
        net.records[net.tlsa(GOOD)] = tlsa
    if policy:
        net.policy(GOOD, mode=policy)
    if delivered:
        assert ordinary(net, message).state == "delivered"
        assert len(server.ledger) == 1
    else:
        error = refused(net, message, require_tls=False)
        assert error.status == "5.7.10"
        assert error.temporary


def test_ordinary_mail_at_a_host_that_a_policy_bars(net, message):
    """STS-20, A4: under an enforced policy a host that it does not list gets nothing."""
    net.host(FIRST)
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    net.policy(SECOND)
    assert ordinary(net, message).mx_host == SECOND
    assert not net.servers[FIRST].transcript
    assert second.ledger


def test_dane_at_the_host_of_an_insecure_mx(net, message):
    """DANE-15, B5: the host is verified, and the result does not call the domain's MX secure."""
    net.host(GOOD)
    net.mx(GOOD)
    net.insecure.add(f"{DOMAIN} MX")
    result = ordinary(net, message)
    assert (result.mx_level, result.tls_level) == ("none", "authenticated")


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, "authenticated"),
        ({"certificate": OTHER.issue("other.example")}, "encrypted"),
        (NO_STARTTLS, "none"),
        ({"script": {"HANDSHAKE": reset}}, "none"),
        ({"script": {"STARTTLS": "454 later"}}, "none"),
    ],
    ids=["RT-18-verified-first", "RT-17-bad-certificate", "no-starttls", "broken", "454"],
)
def test_tls_optional(net, message, options, level):
    """RT-17, RT-18, ruling 8: verified TLS first, then any, then none; the policy is looked up."""
    server = net.host(GOOD, **options)
    net.records[net.tlsa(GOOD)] = ["3 1 1 " + "00" * 32] if level != "authenticated" else (
        net.records[net.tlsa(GOOD)]
    )  # fmt: skip
    net.mx(GOOD)
    net.policy(GOOD)
    result = ordinary(net, message, tls_optional=True)
    assert (result.state, result.tls_level) == ("delivered", level)
    assert server.ledger[0].content.count(b"TLS-Required: No\r\n") == 1
    asked = set(net.resolver.queries)
    assert {net.tlsa(GOOD), f"_mta-sts.{DOMAIN} TXT"} <= asked
    failed = [finding for finding in result.findings if not finding.ok]
    assert bool(failed) is (level != "authenticated")


@pytest.mark.parametrize("spoil", [by_tlsa_failure, by_policy_mismatch, by_name, by_txt_failure])
def test_tls_optional_ignores_policy_trouble(net, message, spoil):
    """B4, B11, RT-17: what policies say, or cannot say, does not stop such a message."""
    net.host(GOOD)
    net.mx(GOOD)
    spoil(net)
    assert ordinary(net, message, tls_optional=True).state == "delivered"


@pytest.mark.parametrize("spoil", [by_mx_failure, by_null_mx, by_nxdomain, by_address_failure])
def test_tls_optional_still_needs_a_host(net, message, spoil):
    """Ruling 8, T1: an MX look-up that fails defers; no host is no host."""
    net.host(GOOD)
    net.mx(GOOD)
    spoil(net)
    refused(net, message, require_tls=False, tls_optional=True)
    assert unconnected(net)


def test_server_that_demands_starttls(net, message):
    """RT-19: 530 from a server whose TLS does not work is a failure, not silence."""
    net.host(GOOD, script={"HANDSHAKE": reset, "MAIL": "530 5.7.0 STARTTLS first"})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, require_tls=False, tls_optional=True)
    assert (caught.value.code, caught.value.status) == (530, "5.7.0")


def test_header_selects_tls_optional(net, message):
    """RT-20: a message that has the field asks for the same as the argument."""
    message["TLS-Required"] = "No"
    server = net.host(GOOD, **NO_STARTTLS)
    net.mx(GOOD)
    net.policy(GOOD)
    assert ordinary(net, message).state == "delivered"
    assert server.ledger[0].content.count(b"TLS-Required: No\r\n") == 1


# -- sessions to a domain ------------------------------------------------------------------------


def session(net, **options):
    """Return a session to the domain."""
    options = {"require_tls": True, "lookups": net.lookups(), "timeout": 5, **options}
    return rt.SMTP.to_domain(DOMAIN, port=net.port, **options)


def test_session_to_a_domain(net, message):
    """A session to a domain sends what it is given, and its receipt names MX and domain."""
    server = net.host(GOOD)
    net.mx(GOOD)
    with session(net) as smtp:
        smtp.send_message(message)
        verdict = smtp.last_verdict
    assert (verdict.domain, verdict.mx_level, verdict.host) == (DOMAIN, "dnssec", GOOD)
    assert [finding.step for finding in verdict.findings] == [
        "mx", "address", "tlsa", "login", "ehlo", "tls", "certificate", "requiretls"
    ]  # fmt: skip
    assert "REQUIRETLS" in server.ledger[0].parameters


@pytest.mark.parametrize("way", ["sendmail", "rcpt", "docmd"])
def test_session_takes_its_domain_only(net, message, way):
    """What was proved holds for one domain: another's recipient is a ValueError before MAIL."""
    server = net.host(GOOD)
    net.mx(GOOD)
    both = ["bob@example.net", "eve@example.com"]
    ways = {
        "sendmail": lambda smtp: smtp.send_message(message, to_addrs=both),
        "rcpt": lambda smtp: smtp.rcpt(both[1]),
        "docmd": lambda smtp: smtp.docmd("RCPT", f"TO:<{both[1]}>"),
    }
    with session(net) as smtp, pytest.raises(ValueError, match=r"example\.net only"):
        ways[way](smtp)
    assert not {"RCPT", "DATA"} & set(verbs(server))
    assert not server.ledger


def test_session_cannot_be_aimed_elsewhere(net):
    """connect() on a session to a domain is refused."""
    net.host(GOOD)
    net.mx(GOOD)
    with session(net) as smtp, pytest.raises(ValueError, match="to_domain"):
        smtp.connect("localhost", net.port)


@pytest.mark.parametrize("cls", [rt.SMTP_SSL, rt.LMTP])
def test_only_smtp_speaks_to_mail_hosts(cls):
    """Mail hosts have neither implicit TLS nor LMTP."""
    with pytest.raises(TypeError, match="STARTTLS"):
        cls.to_domain(DOMAIN)


def test_strict_message_on_an_opportunistic_session(net, message):
    """B10: a session made for ordinary mail is judged again for a message with require_tls."""
    server = net.host(GOOD, tlsa=False)
    net.mx(GOOD)
    smtp = session(net, require_tls=False)
    smtp.send_message(message)
    with pytest.raises(rt.CertificateNotVerified):
        smtp.send_message(message, require_tls=True)
    assert len(server.ledger) == 1


def test_session_with_tls_optional(net, message):
    """Ruling 8: every message of such a session gets the field, and no password ever follows."""
    server = net.host(GOOD, **NO_STARTTLS, users={"alice": "secret"}, extensions=["AUTH PLAIN"])
    net.mx(GOOD)
    with session(net, require_tls=False, tls_optional=True) as smtp:
        smtp.send_message(message)
        with pytest.raises(rt.RequireTLSError, match="login"):
            smtp.login("alice", "secret")
    assert b"TLS-Required: No" in server.ledger[0].content
    assert "AUTH" not in verbs(server)


def test_subclass(net, message):
    """A session to a domain is of the class that was asked."""

    class Mine(rt.SMTP):
        pass

    net.host(GOOD)
    net.mx(GOOD)
    with Mine.to_domain(
        DOMAIN, require_tls=True, lookups=net.lookups(), port=net.port, timeout=5
    ) as smtp:
        assert type(smtp) is Mine
        smtp.send_message(message)


# -- a server that the caller named --------------------------------------------------------------


def named(net, cls=rt.SMTP, **options):
    """Return a session with the server smtp.example.net, whose records are looked up."""
    options = {"lookups": net.lookups(), "context": CA_AT_HAND.context(), "timeout": 5, **options}
    return cls(f"smtp.{DOMAIN}", net.port, **options)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit-tls"])
@pytest.mark.parametrize("match", [True, False], ids=["match", "mismatch"])
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "ordinary"])
def test_named_server_with_tlsa(net, message, implicit, match, strict):
    """RFC 7672 s3.1.3, SUB-11, SUB-13: with ``lookups`` the server's TLSA records bind it."""
    name = f"smtp.{DOMAIN}"
    certificate = OTHER.issue(name) if match else CA_AT_HAND.issue(name)
    server = net.host(name, certificate=certificate, implicit_tls=implicit)
    if not match:
        net.records[net.tlsa(name)] = ["3 1 1 " + "00" * 32]
    cls = rt.SMTP_SSL if implicit else rt.SMTP

    def go():
        with named(net, cls, require_tls=strict) as smtp:
            if not implicit:
                smtp.starttls()
            smtp.send_message(message)

    if match:
        go()
        assert len(server.ledger) == 1
    else:
        with pytest.raises(rt.CertificateNotVerified, match="TLSA"):
            go()
        assert nothing_sent(server)


def test_named_server_without_tlsa(net, message):
    """SUB-11: no TLSA record, so the session's own context decides."""
    server = net.host(f"smtp.{DOMAIN}", tlsa=False)
    with named(net, require_tls=True) as smtp:
        smtp.send_message(message)
    assert server.ledger
    assert f"smtp.{DOMAIN} MX" not in net.resolver.queries


@pytest.mark.parametrize("kind", ["bogus", "timeout"])
def test_named_server_whose_tlsa_cannot_be_had(net, kind):
    """SUB-10, DANE-04: a TLSA look-up that fails bars the server, before any connection."""
    net.host(f"smtp.{DOMAIN}")
    net.fail[net.tlsa(f"smtp.{DOMAIN}")] = kind
    with pytest.raises(rt.PolicyUnavailable) as caught:
        named(net)
    assert (caught.value.status, caught.value.temporary) == ("4.4.3", True)
    assert unconnected(net)


def test_named_server_with_dane_ta(net, message):
    """RFC 7673: usage 2 binds a named server too."""
    import hashlib
    import ssl

    name, authority = f"smtp.{DOMAIN}", CA().child()
    server = net.host(name, certificate=authority.issue(name))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.pem.decode())).hexdigest()
    net.records[net.tlsa(name)] = [f"2 0 1 {digest}"]
    with named(net, require_tls=True) as smtp:
        smtp.send_message(message)
    assert len(server.ledger) == 1


def test_server_that_is_a_mail_domain(net):
    """A refusal at a name that has MX records says that it is a domain, and the way on."""
    net.host(DOMAIN, tls_extensions=WITHOUT, tlsa=False)
    net.mx(GOOD)
    with pytest.raises(rt.RequireTLSNotOffered, match="to_domain"):
        rt.SMTP(
            DOMAIN, net.port, require_tls=True, lookups=net.lookups(),
            context=CA_AT_HAND.context(), timeout=5,
        )  # fmt: skip


def test_unconnected_session_names_the_way_on(message):
    """A session that was never connected says how mail gets to a domain."""
    with pytest.raises(rt.SMTPServerDisconnected, match=r"deliver\(\)"):
        rt.SMTP().send_message(message, require_tls=True)


# -- checking ------------------------------------------------------------------------------------


def test_check(net):
    """check() goes as far as EHLO inside TLS, sends nothing, and tells three verdicts."""
    first = net.host(FIRST, tls_extensions=WITHOUT)
    net.host(SECOND)
    net.mx(FIRST, SECOND)
    report = rt.check(f"bob@{DOMAIN}", lookups=net.lookups(), port=net.port, timeout=5)
    assert report.verdict.allowed
    assert report.verdict.host == SECOND
    assert [host.verdict.status for host in report.hosts] == ["5.7.30", None]
    assert all(verdict.allowed for verdict in report.verdicts.values())
    assert set(report.verdicts) == {"require_tls", "ordinary", "tls_optional"}
    assert set(verbs(first)) == {"EHLO", "STARTTLS", "QUIT"}
    assert SECOND in report.explain()


@pytest.mark.parametrize("target", ["", "bob@", "exa mple.net", "192.0.2.1", "a@b\r\n.c"])
def test_check_of_a_bad_target(net, target):
    """A target that is no domain is a ValueError."""
    with pytest.raises(ValueError, match="target"):
        rt.check(target, lookups=net.lookups())


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, None),
        ({"tls_extensions": WITHOUT}, "5.7.30"),
        (NO_STARTTLS, "5.7.10"),
        ({"certificate": OTHER.issue("localhost")}, "5.7.10"),
        ({"script": {"GREETING": "421 4.3.2 later"}}, "4.3.2"),
    ],
    ids=["good", "keyword", "starttls", "certificate", "greeting"],
)
def test_check_relay(serve, options, status):
    """RT-21: a submission server is checked without MX, and nothing is sent."""
    server = serve(**options)
    context = CA_AT_HAND.context() if "certificate" in options else server.client_context()
    report = rt.check_relay(server.host, server.port, context=context, timeout=5)
    assert (report.verdict.allowed, report.verdict.status) == (status is None, status)
    assert report.verdict.mx_level is None
    assert nothing_sent(server)
    json.dumps(report.as_dict())


def test_check_relay_that_is_not_there():
    """A server that cannot be reached is a verdict, not an exception."""
    report = rt.check_relay("127.0.0.1", 1, timeout=5)
    assert report.verdict.status == "4.4.1"
    assert report.verdict.temporary
