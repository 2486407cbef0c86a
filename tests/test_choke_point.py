"""No way of building a command by hand gets a MAIL past the guard."""

from __future__ import annotations

import smtplib
from concurrent.futures import ThreadPoolExecutor

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
@pytest.mark.parametrize("verb", ["MAIL", "SEND", "soml", "SAML"])
def test_unmarked_mail_on_a_strict_session(serve, message, verb, unmarked):
    """N01: MAIL without the mark is the caller's mistake; the session stays usable."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.docmd(verb, unmarked)
        with pytest.raises(ValueError, match="REQUIRETLS"):
            smtp.docmd(verb, unmarked)
        smtp.send_message(message)
    assert [verb for verb in verbs(server) if verb in ("MAIL", "SEND", "SOML", "SAML")] == ["MAIL"]
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


def test_options_from_a_generator(serve, message):
    """A generator of options is read once; the mark in it is not lost."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@b.c", "d@e.f", RAW, (o for o in ["REQUIRETLS"]), iter([]))
        smtp.send_message(message, mail_options=iter(["requiretls"]))
        smtp.mail("a@b.c", (o for o in ["REQUIRETLS"]))
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [True, True]
    assert [item.tls for item in server.ledger] == [True, True]
    assert "MAIL" not in verbs(server, "plain")


@pytest.mark.parametrize("sender", ["   ", "Alice <>", " <>"])
def test_blank_sender_is_no_bounce(serve, sender):
    """Ruling 11, 15: only the null path itself waives the keyword."""
    server = serve(tls_extensions=PLAIN)
    with connect(server) as smtp, pytest.raises(ValueError, match="from_addr"):
        smtp.sendmail(sender, "b@c.d", RAW, require_tls=True)
    assert nothing_sent(server)


def test_tls_shut_down_under_us(serve, message):
    """A socket that was unwrapped sends in clear again; the handshake then proves nothing."""
    server = serve()
    smtp = connect(server, require_tls=True)
    smtp.sock.unwrap()
    assert not smtp.judge().allowed
    with pytest.raises(rt.TLSNotEstablished):
        smtp.send_message(message)
    server.wait_idle()
    assert nothing_sent(server)


def test_reconnecting_in_the_middle(serve):
    """A message that requires nothing does not loosen connect() and login() of the session."""

    class Again(rt.SMTP):
        def mail(self, *args):
            self.connect(server.host, server.port)
            self.login("user", "secret")
            return super().mail(*args)

    server = serve(users={"user": "secret"}, extensions=["AUTH PLAIN"])
    with connect(server, Again, require_tls=True) as smtp:
        smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=False)
    assert "AUTH" not in verbs(server, "plain")
    assert [item.tls for item in server.ledger] == [True]


def test_login_round_connect(serve):
    """Ruling 1c: a message that requires nothing does not open login() of a strict session."""

    class Again(rt.SMTP):
        def mail(self, *args):
            self.close()
            smtplib.SMTP.connect(self, server.host, server.port)
            self.login("user", "secret")

    server = serve(users={"user": "secret"}, extensions=["AUTH PLAIN"])
    with connect(server, Again, require_tls=True) as smtp, pytest.raises(rt.RequireTLSError):
        smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=False)
    assert nothing_sent(server)


def test_two_threads_take_turns(serve):
    """B10, M10: a strict and an ordinary message in two threads do not loosen each other."""
    server = serve()
    with connect(server, require_tls=True) as smtp, ThreadPoolExecutor(8) as pool:
        asked = [None, False] * 30
        list(pool.map(lambda s: smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=s), asked))
        assert smtp.judge().allowed
        smtp.sendmail("a@b.c", "d@e.f", RAW)
    marks = ["REQUIRETLS" in item.parameters for item in server.ledger]
    assert marks.count(True) == 31
    assert marks[-1]


def test_content_is_no_command(serve):
    """What a subclass streams after 354 is content, whatever it looks like."""

    class Streaming(rt.SMTP):
        def data(self, msg):
            assert self.docmd("DATA")[0] == 354
            for line in msg.splitlines(keepends=True):
                self.send(line[:3])
                self.send(line[3:])
            self.send(b".\r\n")
            return self.getreply()

    server = serve()
    body = b"Mail-Followup-To: x@y.z\r\n\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN x\r\n"
    with connect(server, Streaming, require_tls=True) as smtp:
        smtp.sendmail("a@b.c", "d@e.f", body)
        with pytest.raises(rt.RequireTLSMisuse):
            smtp.docmd("MAIL", "FROM:<a@b>")
    assert server.ledger[0].content == body


def test_content_ends_with_its_dot(serve):
    """Behind the final dot there are commands again, also when nobody has read the answer yet."""
    server = serve()
    smtp = connect(server, require_tls=True)
    smtp.mail("a@b.c")
    smtp.rcpt("d@e.f")
    smtp.docmd("DATA")
    smtp.send(b"Subject: x\r\n\r\nMAIL FROM:<a@b>\r\n.\r\n")
    with pytest.raises(rt.RequireTLSMisuse):
        smtp.docmd("MAIL", "FROM:<a@b>")
    assert smtp.getreply()[0] == 250
    smtp.quit()
    assert len(server.ledger) == 1


SMUGGLED = {
    "behind the dot": [b"x\r\n.\r\nMAIL FROM:<a@b>\r\n"],
    "dot at once": [b".\r\nMAIL FROM:<a@b>\r\n"],
    "as text": ["x\r\n.\r\nMAIL FROM:<a@b>\r\n"],
    "dot in pieces": [b"x\r\n", b".", b"\r\n", b"MAIL FROM:<a@b>\r\n"],
    "cut elsewhere": [b"x\r", b"\n.\r", b"\nMAIL FROM:<a@b>\r\n"],
    "end cut": [b"x\r\n.\r", b"\n", b"MAIL FROM:<a@b>\r\n"],
    "bare LF": [b"x\n.\nMAIL FROM:<a@b>\r\n"],
    "bare LF in pieces": [b"x\n", b".\n", b"MAIL FROM:<a@b>\r\n"],
    "bare CR": [b"x\r.\rMAIL FROM:<a@b>\r\n"],
}


@pytest.mark.parametrize("pieces", SMUGGLED.values(), ids=SMUGGLED)
def test_no_command_behind_content(serve, pieces):
    """What is sent by hand after 354 holds no MAIL that a server could see, however it is cut."""
    server = serve()
    smtp = connect(server, require_tls=True)
    smtp.mail("a@b.c")
    smtp.rcpt("d@e.f")
    smtp.docmd("DATA")

    def send():
        for piece in pieces:
            smtp.send(piece)

    with pytest.raises((ValueError, rt.RequireTLSMisuse)):
        send()
    smtp.close()
    server.wait_idle()
    said = b"".join(line.data for line in server.transcript if line.side == "C")
    assert b"<a@b>" not in said


@pytest.mark.parametrize("together", [True, False])
def test_no_command_behind_an_answer_to_auth(serve, together):
    """What is sent by hand after 334 is one line, and behind it there are commands again."""
    server = serve(tls_extensions=["REQUIRETLS", "AUTH LOGIN"], users={"u": "p"})
    smtp = connect(server, require_tls=True)
    smtp.docmd("AUTH LOGIN")

    def send():
        if together:
            smtp.send(b"*\r\nMAIL FROM:<a@b>\r\n")
        smtp.putcmd("*")
        smtp.putcmd("MAIL FROM:<a@b>")

    with pytest.raises(ValueError, match="one line" if together else "MAIL"):
        send()
    smtp.close()
    server.wait_idle()
    assert "MAIL" not in [command[:4] for command in server.commands()]


def test_server_cannot_open_content_by_itself(serve):
    """A server that answers 354 or 334 to something else does not switch the guard off."""
    server = serve(script={"EHLO": b"354 go on\r\n", "NOOP": b"334 \r\n"})
    smtp = rt.SMTP(timeout=5, require_tls=True)
    smtplib.SMTP.connect(smtp, server.host, server.port)
    for command in ("EHLO x", "NOOP"):
        smtp.docmd(command)
    with pytest.raises(rt.RequireTLSError):
        smtp.docmd("MAIL", "FROM:<a@b>")
    server.wait_idle()
    assert nothing_sent(server)


def test_refused_return_of_the_body(serve):
    """E11: RET=FULL beside REQUIRETLS is a ValueError, in every way to ask."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match="RET=FULL"):
            smtp.sendmail("a@b.c", "d@e.f", RAW, ["RET=FULL"], require_tls=True)
        with pytest.raises(ValueError, match="RET=FULL"):
            smtp.mail("a@b.c", ["RET=FULL", "REQUIRETLS"])
    assert nothing_sent(server)
