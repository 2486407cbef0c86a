"""``SMTP.to_domain()``: a session with the first host of a domain that qualifies."""

from __future__ import annotations

import socket

import pytest
from small_internet import DOMAIN, GOOD
from support import NO_STARTTLS, OTHER, RAW, nothing_sent, verbs

import requiretls_client as rt


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


def test_good_certificate_on_an_opportunistic_session(net, message):
    """B10, RT-10: the session is what is wrong there, not the host's certificate."""
    net.host(GOOD, tlsa=False)
    net.mx(GOOD)
    with session(net, require_tls=False) as smtp:
        with pytest.raises(rt.CertificateNotVerified, match="to_domain") as caught:
            smtp.send_message(message, require_tls=True)
        assert "repaired" not in str(caught.value)


def test_mail_by_hand_with_tls_optional(net):
    """RT-17, DANE-08, ruling 8: without the field nothing goes past the domain's own policies."""
    server = net.host(GOOD, certificate=OTHER.issue("other.example"))
    net.mx(GOOD)
    net.records[net.tlsa(GOOD)] = ["3 1 1 " + "00" * 32]
    with session(net, require_tls=False, tls_optional=True) as smtp:
        with pytest.raises(ValueError, match="TLS-Required: No"):
            smtp.mail("alice@example.org")
        assert nothing_sent(server)
        smtp.sendmail("alice@example.org", f"bob@{DOMAIN}", RAW)  # which adds it
        with pytest.raises(ValueError, match="TLS-Required: No"):
            smtp.docmd("MAIL", "FROM:<alice@example.org>")
    (accepted,) = server.ledger
    assert b"TLS-Required: No" in accepted.content


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


def test_ordinary_mail_by_hand_on_another_socket(net):
    """DANE-08: what DANE demands of the host, the choke point demands of each MAIL."""
    server = net.host(GOOD)
    net.mx(GOOD)
    smtp = session(net, require_tls=False)
    with smtp.sock, socket.create_connection(("127.0.1.1", net.port)) as clear:
        clear.recv(1000)
        smtp.sock = clear
        with pytest.raises(rt.TLSNotEstablished):
            smtp.docmd("MAIL", "FROM:<alice@example.org>")
    assert "MAIL" not in verbs(server)
