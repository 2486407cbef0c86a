"""Ruling 1c: no credentials without verified TLS."""

from __future__ import annotations

import smtplib
import socket

import pytest
from support import connect, lax_context, nothing_sent, verbs

import requiretls_client as rt

USER, PASSWORD = "user", "canary-password"


def test_login_over_verified_tls(serve, message):
    """AUTH-02: login() works inside verified TLS, with the mechanisms that are offered there."""
    server = serve(users={USER: PASSWORD})
    with connect(server, require_tls=True) as smtp:
        assert smtp.login(USER, PASSWORD)[0] == 235
        smtp.send_message(message)
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_login_in_clear_on_loopback(serve, message):
    """Ruling 1c: development servers on loopback may still have a password in clear."""
    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    with connect(server) as smtp:
        assert smtp.login(USER, PASSWORD)[0] == 235
        with pytest.raises(rt.RequireTLSError, match="constructor"):
            smtp.send_message(message, require_tls=True)
    server.wait_idle()
    assert "MAIL" not in verbs(server)
    assert verbs(server)[-1] == "QUIT"


def test_login_in_clear_over_a_network(serve, monkeypatch):
    """G01: with a peer that is not on this machine, AUTH does not leave, by login() or by hand."""
    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    monkeypatch.setattr("requiretls_client.connection._is_local", lambda sock: False)
    with connect(server) as smtp:
        with pytest.raises(rt.TLSNotEstablished, match="clear text") as caught:
            smtp.login(USER, PASSWORD)
        assert caught.value.status == "5.7.11"
        assert PASSWORD not in str(caught.value)
        with pytest.raises(rt.TLSNotEstablished):
            smtp.docmd("AUTH", "PLAIN AHVzZXIAeA==")
    server.wait_idle()
    assert nothing_sent(server)


def test_login_over_unverified_tls(serve, monkeypatch):
    """G02: TLS with anybody is no place for a password either."""
    server = serve(users={USER: PASSWORD})
    monkeypatch.setattr("requiretls_client.connection._is_local", lambda sock: False)
    with connect(server, context=lax_context()) as smtp:
        smtp.starttls()
        with pytest.raises(rt.CertificateNotVerified, match="login"):
            smtp.login(USER, PASSWORD)
    server.wait_idle()
    assert nothing_sent(server)


def test_login_in_clear_by_request(serve, monkeypatch):
    """allow_cleartext_auth=True is the caller's explicit word for it."""
    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    monkeypatch.setattr("requiretls_client.connection._is_local", lambda sock: False)
    with connect(server, allow_cleartext_auth=True) as smtp:
        assert smtp.login(USER, PASSWORD)[0] == 235


def test_login_is_never_in_clear_where_tls_is_required(serve):
    """Ruling 1c: neither loopback nor allow_cleartext_auth opens a session that requires TLS."""
    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    smtp = rt.SMTP(timeout=5, require_tls=True, allow_cleartext_auth=True)
    smtplib.SMTP.connect(smtp, server.host, server.port)
    with pytest.raises(rt.RequireTLSError):
        smtp.login(USER, PASSWORD)
    smtp.close()
    server.wait_idle()
    assert nothing_sent(server)


def test_login_through_a_proxy_on_this_machine(serve):
    """A subclass that dials a proxy on loopback is not talking to loopback."""

    class Proxied(rt.SMTP):
        def _get_socket(self, host, port, timeout):
            return socket.create_connection((server.host, server.port), timeout)

    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    with (
        Proxied("mail.example.com", 25, timeout=5) as smtp,
        pytest.raises(rt.TLSNotEstablished, match="clear text"),
    ):
        smtp.login(USER, PASSWORD)
    assert nothing_sent(server)


@pytest.mark.parametrize("arguments", [("AUTH", "PLAIN c2Vj\ncmV0"), ("auth PLAIN c2Vj\ncmV0",)])
def test_credentials_with_a_newline(serve, arguments):
    """G10: the error for a newline in an AUTH command does not show the command."""
    server = serve(users={USER: PASSWORD})
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(ValueError, match="prohibited newline") as caught:
            smtp.docmd(*arguments)
        assert "c2Vj" not in str(caught.value)
        assert smtp.noop()[0] == 250


def test_answers_to_a_challenge_are_no_commands(serve):
    """A user name whose base64 looks like a verb (HCC is SEND) logs in."""
    server = serve(users={"HCC": PASSWORD})
    with connect(server, require_tls=True) as smtp:
        smtp.user, smtp.password = "HCC", PASSWORD
        assert smtp.auth("LOGIN", smtp.auth_login, initial_response_ok=False)[0] == 235
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.docmd("SEND", "FROM:<a@b.c>")
