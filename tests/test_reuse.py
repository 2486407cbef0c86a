"""Reused and reconnected objects, and starttls() before and after ours."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import sys

import pytest
from support import CA_AT_HAND, NO_STARTTLS, PLAIN, connect, lax_context, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.testing import reset


def test_reconnected_object_knows_nothing(serve, message):
    """A12: what the first server offered counts for nothing at the second."""
    first, second = serve(), serve(tls_extensions=PLAIN)
    smtp = connect(first)
    smtp.send_message(message, require_tls=True)
    smtp.close()
    assert smtp.esmtp_features == {}
    smtp.connect(second.host, second.port)
    assert not smtp.has_extn("requiretls")
    assert not smtp.judge().allowed
    with pytest.raises(rt.RequireTLSNotOffered):
        smtp.send_message(message, require_tls=True)
    second.wait_idle()
    assert nothing_sent(second)


def test_reconnect_without_close(serve, message):
    """connect() on a connected object closes the old connection first."""
    server = serve()
    smtp = connect(server)
    smtp.starttls()
    smtp.connect(server.host, server.port)
    assert not isinstance(smtp.sock, ssl.SSLSocket)
    assert smtp.judge().tls_level == "none"
    smtp.send_message(message, require_tls=True)
    smtp.quit()
    assert len(server.ledger) == 1


def test_name_follows_connect(serve, message):
    """F13: an object made for one host verifies the other after connect()."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"))
    smtp = rt.SMTP("localhost", server.port, timeout=5, context=CA_AT_HAND.context())
    smtp.connect("127.0.0.1", server.port)  # its certificate does not list this one
    with pytest.raises(rt.CertificateNotVerified, match=r"127\.0\.0\.1"):
        smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


def test_ip_address_needs_its_san(serve, message):
    """Ruling 12, F15: an address verifies against an iPAddress name, in brackets too."""
    server = serve()
    with rt.SMTP(f"[127.0.0.1]:{server.port}", timeout=5, context=server.client_context()) as smtp:
        smtp.send_message(message, require_tls=True)
    assert smtp.last_verdict.host == "127.0.0.1"
    assert len(server.ledger) == 1


def test_host_and_port_in_one_string(serve, message):
    """F12, N05: the port in ``host:port`` is no part of the name that is verified."""
    server = serve()
    with rt.SMTP(f"localhost:{server.port}", timeout=5, context=server.client_context()) as smtp:
        smtp.send_message(message, require_tls=True)
    assert server.server_names == ["localhost"]


def test_after_a_refusal_the_object_says_why(serve, message):
    """A closed session tells why it was closed, and works again after connect()."""
    server = serve(script={"EHLO tls": ["250 localhost"]})
    smtp = connect(server)
    with pytest.raises(rt.RequireTLSNotOffered):
        smtp.send_message(message, require_tls=True)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="does not offer REQUIRETLS"):
        smtp.send_message(message, require_tls=True)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="connect"):
        smtp.send_message(message)
    smtp.connect(server.host, server.port)
    smtp.send_message(message, require_tls=True)
    smtp.quit()
    assert len(server.ledger) == 1


@pytest.mark.parametrize("reply", ["454 4.7.0 later", "502 5.5.1 no"])
def test_failed_starttls_leaves_no_plaintext_session(serve, message, reply):
    """A05: after a refused STARTTLS nothing goes on in clear; smtplib's own error says it."""
    server = serve(script={"STARTTLS": reply})
    smtp = connect(server)
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        smtp.starttls()
    assert caught.value.smtp_code == int(reply[:3])
    with pytest.raises(smtplib.SMTPServerDisconnected, match="STARTTLS"):
        smtp.send_message(message)
    server.wait_idle()
    assert nothing_sent(server)
    assert verbs(server)[-1] == "QUIT"


def test_starttls_not_offered_is_smtplibs_error(serve, message):
    """Where nothing was tried, a script may still decide to go on in clear, as with smtplib."""
    server = serve(**NO_STARTTLS)
    with connect(server) as smtp:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            smtp.starttls()
        smtp.send_message(message)
    assert len(server.ledger) == 1


def test_starttls_twice(serve):
    """STLS-04, A10: a second STARTTLS is refused, also where it is offered inside TLS."""
    server = serve(tls_extensions=["STARTTLS"])
    with connect(server) as smtp:
        smtp.starttls()
        with pytest.raises(smtplib.SMTPNotSupportedError, match="already up"):
            smtp.starttls()
    assert verbs(server).count("STARTTLS") == 1


def test_callers_starttls_after_ours(serve, message):
    """Django and most scripts call starttls(): where require_tls did it already, it agrees."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(ValueError, match="verifies"):
            smtp.starttls(context=lax_context())
        code, _ = smtp.starttls(context=server.client_context())
        assert code == 220
        with pytest.raises(smtplib.SMTPNotSupportedError):
            smtp.starttls()
        smtp.send_message(message)
    assert verbs(server).count("STARTTLS") == 1
    assert len(server.ledger) == 1


def test_offer_from_before_tls_does_not_count_inside(serve):
    """RT-05, A07: an EHLO that was read before TLS says nothing about the session inside it."""
    server = serve(extensions=["REQUIRETLS"])
    with connect(server) as smtp:
        smtp.ehlo()
        smtp.starttls()
        assert smtp.judge().status == "5.7.30"
        smtp.ehlo()
        assert smtp.judge().allowed


def test_login_of_an_earlier_connection_does_not_count(serve, message):
    """A password that crossed another connection in clear is no reason to refuse this one."""
    server = serve(users={"user": "secret"}, extensions=["AUTH PLAIN"])
    smtp = connect(server)
    smtp.login("user", "secret")
    smtp.close()
    smtp.connect(server.host, server.port)
    smtp.send_message(message, require_tls=True)
    smtp.quit()
    assert len(server.ledger) == 1


def test_knowledge_from_before_tls_is_dropped(serve):
    """STLS-02: extensions and mechanisms that were offered in clear are forgotten."""
    server = serve(extensions=["AUTH PLAIN", "SIZE 5"], tls_extensions=["8BITMIME"])
    with connect(server) as smtp:
        smtp.ehlo()
        assert smtp.has_extn("size")
        smtp.starttls()
        assert smtp.esmtp_features == {}
        assert smtp.ehlo_resp is None
        smtp.ehlo()
        assert set(smtp.esmtp_features) == {"8bitmime"}


def test_quit_after_a_refusal(serve, message):
    """``finally: smtp.quit()`` does not hide the refusal; the second quit() is smtplib's error."""
    server = serve(tls_extensions=PLAIN)
    smtp = connect(server)
    with pytest.raises(rt.RequireTLSNotOffered):
        smtp.send_message(message, require_tls=True)
    assert smtp.quit() == (221, b"2.0.0 Goodbye")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.quit()
    assert verbs(server).count("QUIT") == 1


def test_quit_after_a_broken_handshake(serve):
    """Where QUIT could not be said any more, quit() agrees all the same."""
    server = serve(script={"HANDSHAKE": reset})
    smtp = connect(server)
    with pytest.raises(rt.TLSNotEstablished):
        smtp.starttls()
    assert smtp.quit()[0] == 221


def test_interrupted_starttls(serve, message):
    """A05: a STARTTLS that an exception cuts short leaves no usable plaintext session."""

    class Interrupted(rt.SMTP):
        def getreply(self):
            if self._pipe and self._pipe.command == "STARTTLS":
                raise KeyboardInterrupt
            return super().getreply()

    server = serve()
    smtp = connect(server, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        smtp.starttls()
    assert smtp.sock is None
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.send_message(message)
    server.wait_idle()
    assert nothing_sent(server)


@pytest.mark.parametrize("reply", ["500 5.5.1 what", "421 4.3.2 down"])
def test_trouble_at_quit(serve, message, reply):
    """Ruling 19: QUIT trouble is silent behind a message that was taken, or another error."""
    server = serve(script={"QUIT": reply})
    with connect(server) as smtp:
        smtp.send_message(message)
    assert len(server.ledger) == 1
    with pytest.raises(ZeroDivisionError), connect(server):
        _ = 1 / 0
    with pytest.raises(smtplib.SMTPResponseException), connect(server) as smtp:
        smtp.noop()
    smtp.connect(server.host, server.port)
    with pytest.raises(smtplib.SMTPResponseException), smtp:
        smtp.noop()


def test_classes_put_in_place_of_smtplibs():
    """N04: our classes work where somebody puts them into the smtplib module."""
    code = """
import smtplib, sys, requiretls_client as rt
from requiretls_client.testing import Server
smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP = rt.SMTP, rt.SMTP_SSL, rt.LMTP
with Server(implicit_tls=True) as server:
    context = server.client_context()
    with smtplib.SMTP_SSL(server.host, server.port, context=context, require_tls=True) as smtp:
        smtp.sendmail("a@b.c", "d@e.f", b"Subject: x\\r\\n\\r\\nbody\\r\\n")
    print("REQUIRETLS" in server.ledger[0].parameters)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
