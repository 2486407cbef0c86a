"""The real servers are what the other tests take them for, seen through stock smtplib."""

from __future__ import annotations

import contextlib
import os
import smtplib
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import places
from .certificates import RealCA
from .peers import SMTPServer
from .postfix import Postfix, Postfix311
from .process import poll, serve
from .server import Server


@contextlib.contextmanager
def dial(host: str, port: int, ca: RealCA | None = None) -> Iterator[smtplib.SMTP]:
    """Connect and greet, inside TLS when `ca` is given (port 465: from the start)."""
    if port == 465:
        assert ca is not None
        session: smtplib.SMTP = smtplib.SMTP_SSL(host, port, context=ca.context(), timeout=10)
    else:
        session = smtplib.SMTP(host, port, timeout=10)
    with session:
        session.ehlo()
        if ca and port != 465:
            session.starttls(context=ca.context())
            session.ehlo()
        yield session


@pytest.fixture
def token() -> str:
    """Return a word that occurs nowhere else."""
    return uuid.uuid4().hex


def mail(session: smtplib.SMTP, token: str) -> int:
    """Send a MAIL command that asks for REQUIRETLS; the reply code."""
    return session.mail(f"{token}@sender.test", ["REQUIRETLS"])[0]


def send(session: smtplib.SMTP, token: str, recipient: str, *options: str) -> None:
    """Send a message that contains `token`."""
    message = f"Subject: {token}\r\nTLS-Required: No\r\n\r\nhello\r\n"
    session.sendmail(f"{token}@sender.test", [recipient], message, options)


def never_saw_mail(server: Server, token: str) -> bool:
    """Say whether the server has not been sent a MAIL command with `token` in it."""
    return server.mail_commands(token) == []


@pytest.mark.parametrize("port", [25, 587, 465])
def test_postfix311_takes_requiretls_inside_tls(postfix311: Postfix311, real_ca, token, port):
    """Postfix 3.11 offers REQUIRETLS inside TLS, takes it and marks the stored message."""
    with dial(postfix311.name, port, real_ca) as session:
        assert session.has_extn("requiretls")
        send(session, token, f"any@{postfix311.domain}", "REQUIRETLS")
    assert b"\nRequire-TLS-ESMTP: yes\n" in postfix311.wait_for(token)
    assert "REQUIRETLS" in postfix311.mail_commands(token)[0]


def test_postfix311_stores_ordinary_mail_unmarked(postfix311: Postfix311, real_ca, token):
    """A message that did not ask for REQUIRETLS is stored without the mark."""
    with dial(postfix311.name, 25, real_ca) as session:
        send(session, token, f"any@{postfix311.domain}")
    assert b"Require-TLS-ESMTP" not in postfix311.wait_for(token)
    assert len(postfix311.messages(token)) == 1


def test_postfix311_refuses_requiretls_in_clear_text(postfix311: Postfix311, token):
    """Before TLS, Postfix 3.11 offers STARTTLS and no REQUIRETLS, refuses it, and logs it."""
    with dial(postfix311.host, 25) as session:
        assert session.has_extn("starttls")
        assert not session.has_extn("requiretls")
        assert mail(session, token) == 555
    assert len(postfix311.mail_commands(token)) == 1


def test_postfix311_wants_tls_for_mail_on_587(postfix311: Postfix311, token):
    """Port 587 takes no MAIL in clear text."""
    with dial(postfix311.host, 587) as session:
        assert session.mail(f"{token}@sender.test")[0] == 530


def test_postfix311_hides_requiretls_on_one_address(postfix311: Postfix311, real_ca, token):
    """The hidden listener has TLS, offers no REQUIRETLS, refuses it, and logs it."""
    with dial("hidden.real.test", 25, real_ca) as session:
        assert session.sock.getpeername()[0] == postfix311.hidden_host
        assert not session.has_extn("requiretls")
        assert mail(session, token) == 555
    assert len(postfix311.mail_commands(token)) == 1


def test_postfix311_has_no_starttls_on_one_address(postfix311: Postfix311, token):
    """The plain listener offers no STARTTLS, and logs MAIL all the same."""
    with dial(postfix311.plain_host, 25) as session:
        assert not session.has_extn("starttls")
        assert mail(session, token) == 555
    assert len(postfix311.mail_commands(token)) == 1


@pytest.mark.parametrize(
    ("attribute", "name", "reason"),
    [
        ("wrong_name_host", "misnamed.real.test", "Hostname mismatch"),
        ("untrusted_host", "untrusted.real.test", "unable to get local issuer"),
    ],
)
def test_postfix311_has_two_bad_certificates(
    postfix311: Postfix311, real_ca, token, attribute, name, reason
):
    """Two listeners fail verification, each for its own reason, and log MAIL sent all the same."""
    assert places.HOSTS[name] == getattr(postfix311, attribute)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason), dial(name, 25, real_ca):
        pass
    with dial(name, 25) as session:
        mail(session, token)
    assert len(postfix311.mail_commands(token)) == 1


@pytest.mark.parametrize("port", [25, 587])
def test_postfix37_knows_no_requiretls(postfix37: Postfix, real_ca, token, port):
    """Postfix 3.7 has TLS, offers no REQUIRETLS, refuses it, and logs it."""
    with dial(postfix37.name, port, real_ca) as session:
        assert not session.has_extn("requiretls")
        assert mail(session, token) == 555
    assert len(postfix37.mail_commands(token)) == 1


def test_postfix37_stores_ordinary_mail(postfix37: Postfix, real_ca, token):
    """Postfix 3.7 stores a message that asks for nothing."""
    with dial(postfix37.name, 25, real_ca) as session:
        send(session, token, f"any@{postfix37.domain}")
    assert b"hello" in postfix37.wait_for(token)


def test_smtp_sink_takes_requiretls_in_clear_text(smtp_sink: Server, token):
    """smtp-sink has no TLS, offers no REQUIRETLS and takes it: a 250 proves nothing."""
    with dial(smtp_sink.name, 25) as session:
        assert not session.has_extn("starttls")
        assert not session.has_extn("requiretls")
        assert mail(session, token) == 250
    assert len(smtp_sink.mail_commands(token)) == 1


@pytest.mark.parametrize("port", [25, 587, 465])
def test_smtp_server_takes_requiretls_inside_tls(smtp_server: SMTPServer, real_ca, token, port):
    """smtp-server offers REQUIRETLS inside TLS, takes it and says what it was asked for."""
    with dial(smtp_server.name, port, real_ca) as session:
        assert session.has_extn("requiretls")
        if port == 587:
            session.login("user", "secret")
        send(session, token, "any@node.test", "REQUIRETLS")
    (message,) = [each for each in smtp_server.messages() if token in each["from"]]
    assert message["to"] == ["any@node.test"]
    assert message["requireTLS"] is message["secure"] is True
    assert message["tlsRequired"] == "No"
    assert "REQUIRETLS" in smtp_server.mail_commands(token)[0]


def test_smtp_server_refuses_requiretls_in_clear_text(smtp_server: SMTPServer, token):
    """Before TLS, smtp-server offers no REQUIRETLS, refuses it, and logs it."""
    with dial(smtp_server.name, 25) as session:
        assert not session.has_extn("requiretls")
        assert mail(session, token) == 530
    assert len(smtp_server.mail_commands(token)) == 1


def test_smtp_server_wants_auth_on_587(smtp_server: SMTPServer, real_ca, token):
    """Port 587 takes no MAIL before AUTH and no wrong password."""
    with dial(smtp_server.name, 587, real_ca) as session:
        assert mail(session, token) == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            session.login("user", "wrong")


@pytest.mark.parametrize("fixture", ["postfix311", "postfix37", "smtp_sink", "smtp_server"])
def test_no_mail_command_is_seen_when_none_was_sent(fixture, request, token):
    """A session that greets and leaves shows in the log, and shows no MAIL."""
    server = request.getfixturevalue(fixture)
    with smtplib.SMTP(server.host, 25, local_hostname=f"{token}.test", timeout=10) as session:
        session.ehlo()
    assert server.commands(token)
    assert never_saw_mail(server, token)


def test_a_server_that_does_not_start_is_reported(tmp_path: Path):
    """A server that ends at once fails the test with its output instead of a time-out."""
    command = ["sh", "-c", "echo broken configuration; exit 3"]
    with pytest.raises(AssertionError, match="broken configuration"):
        next(serve(command, tmp_path / "log", [("127.0.0.1", 1)]))


def test_a_server_is_gone_after_its_fixture(tmp_path: Path):
    """Ending a server leaves neither the process nor a zombie."""
    log = tmp_path / "log"
    server = serve(["sh", "-c", "echo $$; exec sleep 60"], log, [])
    next(server)
    pid = poll(lambda: log.read_text().strip(), 5)
    server.close()
    assert not os.path.exists(f"/proc/{pid}")
