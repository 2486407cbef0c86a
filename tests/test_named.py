"""``lookups=`` on a server that the caller named: its TLSA records bind it."""

from __future__ import annotations

import hashlib
import ssl

import pytest
from small_internet import DOMAIN, GOOD, WITHOUT, unconnected
from support import CA_AT_HAND, OTHER, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.testing import CA


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


def test_mismatch_in_implicit_tls_is_known_at_once(net):
    """SUB-11, SUB-13: SMTP_SSL ends before EHLO, as starttls() does on a mismatch."""
    name = f"smtp.{DOMAIN}"
    server = net.host(
        name, certificate=OTHER.issue("other.example"), implicit_tls=True, users={"alice": "secret"}
    )
    net.records[net.tlsa(name)] = ["3 1 1 " + "00" * 32]
    with pytest.raises(rt.CertificateNotVerified, match="TLSA"):
        named(net, rt.SMTP_SSL, allow_cleartext_auth=True)
    assert set(verbs(server)) <= {"QUIT"}


@pytest.mark.parametrize("host", ["bad name!", f"unknown.{DOMAIN}", f"broken.{DOMAIN}"])
def test_connecting_elsewhere_in_vain(net, message, host):
    """SUB-11: the old connection goes before what binds it: nothing is sent on it unbound."""
    name = f"smtp.{DOMAIN}"
    server = net.host(name)  # whose certificate PKIX would take
    net.records[net.tlsa(name)] = ["3 1 1 " + "00" * 32]
    net.fail[f"broken.{DOMAIN} A"] = "servfail"
    smtp = named(net)
    with pytest.raises((ValueError, OSError)):
        smtp.connect(host, net.port)
    assert smtp.sock is None
    with pytest.raises(rt.SMTPServerDisconnected):
        smtp.send_message(message, require_tls=True)
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
