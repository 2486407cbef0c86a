"""No way of building a command by hand gets a MAIL past the guard."""

from __future__ import annotations

import smtplib

import pytest
from support import PLAIN, RAW, connect, nothing_sent, verbs

import requiretls_client as rt

BY_HAND = [
    ("docmd", lambda s: s.docmd("MAIL", "FROM:<alice@example.org>")),
    ("docmd-one-string", lambda s: s.docmd("mail from:<alice@example.org>")),
    ("docmd-option", lambda s: s.docmd("MAIL", "FROM:<alice@example.org> REQUIRETLS")),
    ("putcmd", lambda s: s.putcmd("MAIL", "FROM:<alice@example.org> REQUIRETLS")),
    ("send", lambda s: s.send("MAIL FROM:<alice@example.org>\r\n")),
    ("send-bytes", lambda s: s.send(b"MAIL FROM:<alice@example.org> REQUIRETLS\r\n")),
    ("send-behind-another", lambda s: s.send("NOOP\r\nMAIL FROM:<alice@example.org>\r\n")),
    ("blanks", lambda s: s.docmd("  MAIL", "FROM:<alice@example.org>")),
    ("saml", lambda s: s.docmd("SAML", "FROM:<alice@example.org>")),
]


@pytest.mark.parametrize("by_hand", [pytest.param(r[1], id=r[0]) for r in BY_HAND])
def test_by_hand_on_a_session_that_does_not_qualify(serve, by_hand):
    """N01: no public method gets a MAIL past the guard of a session that requires TLS."""
    server = serve()
    smtp = rt.SMTP(timeout=5, require_tls=True)
    smtplib.SMTP.connect(smtp, server.host, server.port)  # round connect(), so without TLS
    with pytest.raises(rt.RequireTLSError):
        by_hand(smtp)
    smtp.close()
    server.wait_idle()
    assert nothing_sent(server)


MARKED_BY_HAND = [row for row in BY_HAND if row[0] in ("docmd-option", "putcmd", "send-bytes")]


@pytest.mark.parametrize("by_hand", [pytest.param(r[1], id=r[0]) for r in MARKED_BY_HAND])
def test_by_hand_with_the_mark_in_clear(serve, by_hand):
    """A MAIL with REQUIRETLS is judged on any session; in clear it never leaves."""
    server = serve(extensions=["REQUIRETLS"])
    smtp = connect(server)
    smtp.ehlo()
    with pytest.raises(rt.TLSNotEstablished):
        by_hand(smtp)
    server.wait_idle()
    assert nothing_sent(server)


@pytest.mark.parametrize("verb", ["RCPT TO:<bob@example.net>", "DATA", "AUTH PLAIN AHUAcA==", "X"])
def test_nothing_but_setup_in_clear(serve, verb):
    """SUB-02: below verified TLS a session that requires it speaks EHLO and STARTTLS only."""
    server = serve()
    smtp = rt.SMTP(timeout=5, require_tls=True)
    smtplib.SMTP.connect(smtp, server.host, server.port)
    with pytest.raises(rt.RequireTLSError):
        smtp.docmd(verb)
    smtp.close()
    server.wait_idle()
    assert nothing_sent(server)


def test_data_in_clear(serve):
    """The method data() is no way round either."""
    server = serve()
    smtp = rt.SMTP(timeout=5, require_tls=True)
    smtplib.SMTP.connect(smtp, server.host, server.port)
    with pytest.raises(rt.RequireTLSError):
        smtp.data(RAW)
    server.wait_idle()
    assert nothing_sent(server)


@pytest.mark.parametrize(
    "unmarked",
    ["FROM:<alice@example.org>", "FROM:<alice@example.org> REQUIRETLS=1", "FROM:<>", "nonsense",
     'FROM:<"x REQUIRETLS y"@example.org>'],
)  # fmt: skip
def test_unmarked_mail_on_a_strict_session(serve, message, unmarked):
    """N01: MAIL without the mark is the caller's mistake; the session stays usable."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.docmd("MAIL", unmarked)
        with pytest.raises(ValueError, match="REQUIRETLS"):
            smtp.docmd("MAIL", unmarked)
        smtp.send_message(message)
    assert verbs(server).count("MAIL") == 1
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_mail_adds_the_mark_on_a_strict_session(serve):
    """mail() on a session that requires TLS adds the parameter by itself, once."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        smtp.mail("alice@example.org")
        smtp.rset()
        smtp.mail("alice@example.org", ["SIZE=5", "RequireTLS"])
    mails = [command for command in server.commands() if command.upper().startswith("MAIL")]
    assert [line.upper().count("REQUIRETLS") for line in mails] == [1, 1]


def test_option_is_not_lost_without_esmtp(serve, message):
    """B27: an option that smtplib would drop (does_esmtp) does not turn into an unmarked MAIL."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        smtp.does_esmtp = False
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.mail("alice@example.org", ["REQUIRETLS"])
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.send_message(message)
    assert nothing_sent(server)


def test_features_that_the_caller_made_up(serve, message):
    """The judgement reads the server's reply, not the dictionary that anybody can write to."""
    server = serve(tls_extensions=PLAIN)
    smtp = connect(server)
    smtp.starttls()
    smtp.ehlo()
    smtp.esmtp_features["requiretls"] = ""
    with pytest.raises(rt.RequireTLSNotOffered):
        smtp.send_message(message, require_tls=True)
    assert nothing_sent(server)


def test_subclass_with_its_own_sendmail(serve, message):
    """A subclass that builds the dialogue itself passes the same guard."""

    class Own(rt.SMTP):
        def sendmail(self, from_addr, to_addrs, msg, mail_options=(), rcpt_options=()):
            self.docmd("MAIL", f"FROM:<{from_addr}>")

    server = serve(tls_extensions=PLAIN)
    with pytest.raises(rt.RequireTLSNotOffered):
        connect(server, Own).send_message(message, require_tls=True)
    good = serve()
    with connect(good, Own) as smtp, pytest.raises(rt.RequireTLSMisuse):
        smtp.send_message(message, require_tls=True)
    assert nothing_sent(server)
    assert nothing_sent(good)
