"""``check()`` and ``check_relay()``: everything but the message."""

from __future__ import annotations

import json
import smtplib

import pytest
import small_internet
from small_internet import DOMAIN, FIRST, GOOD, SECOND, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, OTHER, RAW, nothing_sent, verbs

import requiretls_client as rt


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


def test_check_relay_for_ordinary_mail(serve):
    """RT-21: that verdict is what SMTP() would do: without STARTTLS it sends in clear."""
    server = serve(**NO_STARTTLS)
    report = rt.check_relay(server.host, server.port, timeout=5)
    with rt.SMTP(server.host, server.port, timeout=5) as smtp:
        smtp.sendmail("alice@example.org", "bob@example.net", RAW)
    assert server.ledger
    assert report.verdicts["ordinary"].allowed
    assert not report.verdicts["ordinary"].require_tls
    assert (report.verdict.allowed, report.verdict.require_tls) == (False, True)


def test_check_relay_on_the_port_of_implicit_tls(serve, monkeypatch):
    """RT-21, ruling 10: the verdict is that for a message with require_tls there too."""
    server = serve(implicit_tls=True, certificate=OTHER.issue("localhost"))
    monkeypatch.setattr(smtplib, "SMTP_SSL_PORT", server.port)
    report = rt.check_relay(server.host, server.port, timeout=5, context=CA_AT_HAND.context())
    assert {name: each.require_tls for name, each in report.verdicts.items()} == {
        "require_tls": True, "ordinary": False, "tls_optional": False
    }  # fmt: skip
    assert report.verdict is report.verdicts["require_tls"]
    assert (report.verdict.status, report.verdict.word) == ("5.7.10", "requiretls:nocertmatch")


def test_check_relay_that_is_not_there():
    """A server that cannot be reached is a verdict, not an exception."""
    report = rt.check_relay("127.0.0.1", 1, timeout=5)
    assert report.verdict.status == "4.4.1"
    assert report.verdict.temporary


TROUBLES = sorted(name for name in vars(small_internet) if name.startswith("by_"))


@pytest.mark.parametrize("kind", ["require_tls", "ordinary", "tls_optional"])
@pytest.mark.parametrize("trouble", ["", *TROUBLES])
def test_check_agrees_with_deliver(net, message, trouble, kind):
    """In every kind of trouble, what check() says of a kind of message is what deliver() does."""
    net.host(GOOD)
    net.mx(GOOD)
    if trouble:
        getattr(small_internet, trouble)(net)
    verdict = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5).verdicts[kind]
    wish = {} if kind == "ordinary" else {kind: True}
    try:
        report = rt.deliver(message, lookups=net.lookups(), port=net.port, timeout=5, **wish)
    except rt.DeliveryFailed as failed:
        report = failed.report
    (result,) = report.recipients
    assert verdict.allowed is (result.state == "delivered")
    if verdict.allowed:
        assert (verdict.host, verdict.tls_level) == (result.mx_host, result.tls_level)
    else:
        assert (verdict.status, verdict.temporary) == (result.status, result.temporary)


def test_certificates_are_shown(net):
    """The report has what each server presents, verified or not, and what DANE makes of it."""
    net.host(FIRST)
    net.host(SECOND, certificate=OTHER.issue(SECOND), tlsa=False)
    net.mx(FIRST, SECOND)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    good, bad = report.hosts
    assert (good.certificate.names, good.dane.by) == ((FIRST,), "DANE-EE")
    assert (bad.certificate.names, bad.dane, bad.verdict.allowed) == ((SECOND,), None, False)
    assert report.outcome == "some"
    assert report.as_dict()["hosts"][0]["dane"]["record"] == "3 1 1"


def test_relay_with_lookups_that_is_a_mail_domain(net):
    """RFC 7673: bad TLSA records of a named server are a verdict, which names the way on."""
    net.host(GOOD)
    net.mx("other.example.net", domain=GOOD)
    net.fail[net.tlsa(GOOD)] = "bogus"
    report = rt.check_relay(GOOD, net.port, lookups=net.lookups(), timeout=5)
    assert (report.verdict.status, report.verdicts["ordinary"].status) == ("4.4.3", "4.4.3")
    assert "to_domain()" in report.verdict.failed.fix


@pytest.mark.parametrize("wish", [{}, {"require_tls": True}, {"tls_optional": True}])
def test_private_address_literal(net, message, wish):
    """Ruling 20: nobody is led to a private address by a literal, whatever the message asks."""
    lookups = net.lookups(allow_private=False)
    kind = next(iter(wish), "ordinary")
    verdict = rt.check("bob@[10.0.0.1]", lookups=lookups, port=net.port).verdicts[kind]
    with pytest.raises(rt.DeliveryFailed) as caught:
        rt.deliver(message, to_addrs="bob@[10.0.0.1]", lookups=lookups, port=net.port, **wish)
    (result,) = caught.value.report.recipients
    assert verdict.status == result.status == ("5.7.10" if "require_tls" in wish else "5.4.4")
    assert result.state == "refused"
