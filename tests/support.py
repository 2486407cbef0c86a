"""What the tests of the session share: clients, ways to ask, oracles."""

from __future__ import annotations

import ssl

import requiretls_client as rt
from requiretls_client.testing import CA, Server

CA_AT_HAND = CA()
OTHER = CA()  # that nobody trusts
PLAIN = ["SIZE 1000000", "8BITMIME", "SMTPUTF8"]
NO_STARTTLS = {"starttls": False, "tls_extensions": PLAIN}
RAW = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"


def connect(server, cls=rt.SMTP, **options):
    """Return a client of the server that trusts its CA."""
    options.setdefault("context", server.client_context())
    return cls(server.host, server.port, timeout=5, **options)


def verbs(server, channel=None):
    """Return the first word of every command, upper case."""
    return [command.split(" ")[0].upper() for command in server.commands(channel)]


def send_by_message(smtp, message):
    """Ask with send_message."""
    return smtp.send_message(message, require_tls=True)


def send_by_sendmail(smtp, message):
    """Ask with sendmail."""
    return smtp.sendmail("alice@example.org", "bob@example.net", RAW, require_tls=True)


def send_by_option(smtp, message):
    """Ask with mail_options, as one would of smtplib."""
    return smtp.sendmail("alice@example.org", ["bob@example.net"], RAW, mail_options=["requiretls"])


def send_by_message_option(smtp, message):
    """Ask with mail_options of send_message."""
    return smtp.send_message(message, mail_options=("REQUIRETLS",))


def send_by_mail(smtp, message):
    """Ask with the single commands."""
    code, _ = smtp.mail("alice@example.org", ["REQUIRETLS"])
    assert code == 250
    smtp.rcpt("bob@example.net")
    code, _ = smtp.data(RAW)
    assert code == 250
    return {}


WAYS = [
    send_by_message, send_by_sendmail, send_by_option, send_by_message_option, send_by_mail,
]  # fmt: skip


def lax_context():
    """Return a context that encrypts only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def nameless_context(server):
    """Return a context that verifies the chain and not the name."""
    context = server.client_context()
    context.check_hostname = False
    return context


def nothing_sent(server: Server) -> bool:
    """Tell whether no message, no envelope and no credentials reached the server."""
    said = b"".join(line.data for line in server.transcript if line.side == "C")
    verbs = {command.split(" ")[0].split(":")[0].upper() for command in server.commands()}
    return b"canary" not in said and not verbs & {"MAIL", "RCPT", "DATA", "AUTH", "BDAT"}
