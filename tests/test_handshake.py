"""Ruling 1b: only our own, finished handshake with verification proves anything."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest
from support import CA_AT_HAND, WAYS, connect, lax_context, nameless_context, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.testing import Server, close, reset


@pytest.mark.parametrize("cls", [rt.SMTP, rt.SMTP_SSL, rt.LMTP])
def test_context_that_cannot_verify(cls):
    """F10: handed over together with require_tls it is a ValueError before any connection."""
    for context in (lax_context(), nameless_context(Server())):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            with pytest.raises(ValueError, match="SSL context that verifies"):
                cls(*listener.getsockname(), timeout=1, context=context, require_tls=True)
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.mark.parametrize("make", [lambda s: lax_context(), nameless_context])
@pytest.mark.parametrize("send", WAYS)
def test_unverified_session_is_refused(serve, message, make, send):
    """F10: TLS that the caller made without verification carries ordinary mail only."""
    server = serve()
    smtp = connect(server, context=None)
    smtp.starttls(context=make(server))
    smtp.sendmail("a@example.org", "b@example.net", b"Subject: x\r\n\r\nordinary\r\n")
    with pytest.raises(rt.CertificateNotVerified) as caught:
        send(smtp, message)
    assert caught.value.verdict.tls_level == "encrypted"
    assert caught.value.verdict.word == "requiretls:nocertmatch"
    server.wait_idle()
    (accepted,) = server.ledger
    assert b"canary" not in accepted.content
    assert verbs(server)[-1] == "QUIT"


def test_implicit_tls_unverified(serve, message):
    """SMTP_SSL with a context that does not verify carries ordinary mail only."""
    server = serve(implicit_tls=True)
    smtp = connect(server, rt.SMTP_SSL, context=lax_context())
    with pytest.raises(rt.CertificateNotVerified):
        smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


def test_settings_changed_after_the_handshake(serve, message):
    """Ruling 1b: what a live socket or context says later proves nothing."""
    server = serve()
    context = lax_context()
    smtp = connect(server, context=context)
    smtp.starttls()
    context.load_verify_locations(cadata=server.ca.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    smtp.sock.server_hostname = "localhost"
    with pytest.raises(rt.CertificateNotVerified):
        smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


class Shifty(ssl.SSLContext):
    """A context whose settings are changed while it makes a handshake."""

    during = after = None

    def wrap_socket(self, *args, **options):
        """Change, make the handshake, change again."""
        self.set(*self.during)
        try:
            return super().wrap_socket(*args, **options)
        finally:
            self.set(*self.after)

    def set(self, verify_mode, check_hostname):
        """Set both, in the order that ssl allows."""
        self.check_hostname = False
        self.verify_mode = verify_mode
        self.check_hostname = check_hostname


STRICT, NAMELESS, LAX = (
    (ssl.CERT_REQUIRED, True),
    (ssl.CERT_REQUIRED, False),
    (ssl.CERT_NONE, False),
)


@pytest.mark.parametrize(
    "weak", [NAMELESS, LAX, (ssl.CERT_OPTIONAL, True)], ids=["nameless", "lax", "optional"]
)
@pytest.mark.parametrize("when", ["before", "behind"])
def test_settings_changed_during_the_handshake(serve, message, weak, when):
    """Ruling 1b: the settings must be good before the handshake and still be behind it."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"))
    context = Shifty(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA_AT_HAND.pem.decode())
    context.hostname_checks_common_name = False
    before, context.during, context.after = (
        (weak, weak, STRICT) if when == "before" else (STRICT, weak, weak)
    )
    context.set(*before)
    smtp = connect(server, context=context)
    with pytest.raises(rt.CertificateNotVerified):
        smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


def test_tls_by_somebody_else(serve, message):
    """Ruling 1b: a socket that was wrapped outside this package proves nothing, even a good one."""
    server = serve()
    smtp = connect(server)
    smtp.ehlo()
    smtp.docmd("STARTTLS")
    smtp.file = None
    smtp.sock = server.client_context().wrap_socket(smtp.sock, server_hostname="localhost")
    with pytest.raises(rt.CertificateNotVerified, match="not made by this package"):
        smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


def test_resumed_session(serve, message, monkeypatch):
    """BCP-09: a resumed TLS session presents no certificate, so it proves none."""
    server = serve()
    monkeypatch.setattr(ssl.SSLSocket, "session_reused", property(lambda self: True))
    with pytest.raises(rt.CertificateNotVerified, match="resumed"):
        connect(server, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


def old_tls(context):
    """Let a context speak TLS 1.1 and no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1


def test_old_tls_version(serve, message):
    """BCP-01, F09: TLS 1.1 is refused, also with a context that would take it."""
    server = serve()
    old_tls(server.context)
    with pytest.raises(rt.TLSNotEstablished):
        connect(server, require_tls=True)
    context = server.client_context()
    old_tls(context)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(rt.TLSNotEstablished, match=r"TLSv1\.1"):
        connect(server, require_tls=True, context=context)
    server.wait_idle()
    assert nothing_sent(server)


@pytest.mark.parametrize("step", [close, reset], ids=["close", "reset"])
def test_connection_that_ends_in_the_handshake(serve, message, step):
    """What the network did to a handshake may be better later; nothing is sent in clear."""
    server = serve(script={"HANDSHAKE": step})
    smtp = connect(server)
    with pytest.raises(rt.TLSNotEstablished) as caught:
        smtp.send_message(message, require_tls=True)
    assert caught.value.temporary
    server.wait_idle()
    assert nothing_sent(server)
