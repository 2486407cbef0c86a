"""Sessions that do not qualify: the right error, QUIT, and nothing sent."""

from __future__ import annotations

import ssl

import pytest
from support import CA_AT_HAND, NO_STARTTLS, PLAIN, WAYS, connect, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.testing import CA, close, reset


def cut_off(connection):
    """Offer REQUIRETLS in a reply that never ends."""
    connection.send(b"250-localhost\r\n250-REQUIRETLS\r\n")
    connection.close()


REFUSALS = [
    ("A03-starttls-stripped", NO_STARTTLS, rt.TLSNotEstablished, "5.7.10", False, True),
    (
        "A14-keyword-in-clear-only",
        {"starttls": False, "extensions": ["REQUIRETLS"], "tls_extensions": PLAIN},
        rt.TLSNotEstablished, "5.7.10", False, True,
    ),
    ("A05-starttls-454", {"script": {"STARTTLS": "454 4.7.0 later"}}, rt.TLSNotEstablished,
     "4.7.10", True, True),
    ("B1-starttls-500", {"script": {"STARTTLS": "500 5.5.1 what"}}, rt.TLSNotEstablished,
     "5.7.10", False, True),
    ("B1-starttls-250", {"script": {"STARTTLS": b"250 2.0.0 sure\r\n"}}, rt.TLSNotEstablished,
     "5.7.10", False, False),
    ("B1-starttls-dropped", {"script": {"STARTTLS": close}}, rt.TLSNotEstablished, "5.7.10",
     True, False),
    ("F17-handshake-reset", {"script": {"HANDSHAKE": reset}}, rt.TLSNotEstablished, "5.7.10",
     True, False),
    ("handshake-closed", {"script": {"HANDSHAKE": close}}, rt.TLSNotEstablished, "5.7.10", None,
     False),
    ("handshake-garbage", {"script": {"HANDSHAKE": b"what do you mean?\r\n"}},
     rt.TLSNotEstablished, "5.7.10", False, False),
    ("A01-injected", {"script": {"STARTTLS": b"220 go\r\n250-evil\r\n250 REQUIRETLS\r\n"}},
     rt.TLSNotEstablished, "5.7.10", False, False),
    ("B2-injected-fragment", {"script": {"STARTTLS": b"220 go\r\n250-ev"}}, rt.TLSNotEstablished,
     "5.7.10", False, False),
    ("16-helo-only", {"script": {"EHLO plain": "502 5.5.1 no"}}, rt.TLSNotEstablished, "5.7.10",
     False, True),
    ("ehlo-421", {"script": {"EHLO plain": "421 4.3.2 down"}}, rt.TLSNotEstablished, "4.7.10",
     True, None),
    ("RT-05-not-offered-inside", {"extensions": [*PLAIN, "REQUIRETLS"], "tls_extensions": PLAIN},
     rt.RequireTLSNotOffered, "5.7.30", False, True),
    ("B12-prefix", {"tls_extensions": ["X-REQUIRETLS"]}, rt.RequireTLSNotOffered, "5.7.30", False,
     True),
    ("B12-suffix", {"tls_extensions": ["REQUIRETLS-OLD"]}, rt.RequireTLSNotOffered, "5.7.30",
     False, True),
    ("B12-underscore", {"tls_extensions": ["REQUIRETLS_OLD"]}, rt.RequireTLSNotOffered, "5.7.30",
     False, True),
    ("B5-greeting-line", {"hostname": "REQUIRETLS", "tls_extensions": PLAIN},
     rt.RequireTLSNotOffered, "5.7.30", False, True),
    ("A11-ehlo-500-inside", {"script": {"EHLO tls": "500 5.5.1 no"}}, rt.RequireTLSNotOffered,
     "5.7.30", False, True),
    ("B20-ehlo-cut-off-inside", {"script": {"EHLO tls": cut_off}}, rt.TLSNotEstablished,
     "5.7.10", True, False),
]  # fmt: skip


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize(
    ("options", "error", "status", "temporary", "quits"),
    [pytest.param(*row[1:], id=row[0]) for row in REFUSALS],
)
def test_refused(serve, message, send, options, error, status, temporary, quits):
    """RT-08, RT-09, RT-11, RT-12: the right error, QUIT where it is understood, nothing sent."""
    server = serve(**options)
    smtp = connect(server)
    with pytest.raises(error) as caught:
        send(smtp, message)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert caught.value.host == "localhost"
    if temporary is not None:
        assert caught.value.temporary is temporary
    assert smtp.sock is None
    assert smtp.last_verdict is caught.value.verdict
    server.wait_idle()
    assert nothing_sent(server)
    assert not server.ledger
    assert "HELO" not in verbs(server)
    if quits is not None:
        assert (verbs(server)[-1] == "QUIT") is quits


def test_starttls_is_not_sent_blindly(serve):
    """A03: where STARTTLS is not offered it is not tried, and the error says what was missing."""
    server = serve(**NO_STARTTLS)
    with pytest.raises(rt.TLSNotEstablished, match="does not offer STARTTLS"):
        connect(server, require_tls=True)
    server.wait_idle()
    assert verbs(server) == ["EHLO", "QUIT"]


@pytest.mark.parametrize(
    ("options", "error", "status"),
    [pytest.param(*row[1:4], id=row[0]) for row in REFUSALS],
)
def test_refused_in_the_constructor(serve, options, error, status):
    """The same refusals come out of the constructor when the session requires TLS."""
    server = serve(**options)
    with pytest.raises(error) as caught:
        connect(server, require_tls=True)
    assert caught.value.status == status
    server.wait_idle()
    assert nothing_sent(server)


CERTIFICATES = [
    ("F01-untrusted", CA().issue("localhost")),
    ("F02-wrong-name", CA_AT_HAND.issue("mx.example.net")),
    ("F03-common-name-only", CA_AT_HAND.issue(common_name="localhost")),
    ("F03-common-name-with-other-san", CA_AT_HAND.issue("other.test", common_name="localhost")),
    ("F03-common-name-with-ip-san", CA_AT_HAND.issue("127.0.0.1", common_name="localhost")),
    ("F04-expired", CA_AT_HAND.issue("localhost", expired=True)),
    ("not-yet-valid", CA_AT_HAND.issue("localhost", not_yet=True)),
    ("F06-self-signed", CA_AT_HAND.issue("localhost", self_signed=True)),
    ("F06-intermediate-missing", CA_AT_HAND.child().issue("localhost", with_chain=False)),
    ("F08-client-only", CA_AT_HAND.issue("localhost", client_only=True)),
    ("F08-rsa-1024", CA_AT_HAND.issue("localhost", weak_key=True)),
    ("SID-04-partial-wildcard", CA_AT_HAND.issue("local*")),
]


@pytest.mark.parametrize("certificate", [pytest.param(r[1], id=r[0]) for r in CERTIFICATES])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("required", [False, True], ids=["ordinary", "required"])
def test_bad_certificate(serve, certificate, implicit, required):
    """RT-04, SUB-12, AUTH-01: a bad certificate ends ordinary mail and required mail alike."""
    server = serve(certificate=certificate, implicit_tls=implicit)
    smtp = None
    with pytest.raises(rt.CertificateNotVerified) as caught:  # noqa: PT012 - either line may
        cls = rt.SMTP_SSL if implicit else rt.SMTP
        smtp = connect(server, cls, context=CA_AT_HAND.context(), require_tls=required)
        smtp.starttls()
    assert (caught.value.code, caught.value.status) == (550, "5.7.10")
    assert "localhost" in str(caught.value)
    assert "server_hostname" in str(caught.value)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert caught.value.verify_code == caught.value.__cause__.verify_code
    assert caught.value.reason == "CERTIFICATE_VERIFY_FAILED"
    assert smtp is None or smtp.sock is None
    server.wait_idle()
    assert nothing_sent(server)
    assert verbs(server, "tls") == [], "STLS-05: no EHLO behind a bad certificate"


def test_common_name_with_a_context_that_takes_it(serve, message):
    """Ruling 1b: a caller's context may match the common name; require_tls does not."""
    server = serve(certificate=CA_AT_HAND.issue(common_name="localhost"))
    context = ssl.create_default_context(cadata=CA_AT_HAND.pem.decode())
    with connect(server, context=context) as smtp:
        smtp.starttls()  # as the caller's context says
        smtp.send_message(message)
        with pytest.raises(rt.CertificateNotVerified, match="common name"):
            smtp.send_message(message, require_tls=True)
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [False]
