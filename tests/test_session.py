"""The guarded session against scripted servers: what it sends, what it refuses, and how."""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
from email.message import EmailMessage, Message
from email.mime.text import MIMEText

import pytest
from conftest import nothing_sent

import requiretls_client as rt
from requiretls_client.testing import CA, Server, close, reset, trust

PLAIN = ["SIZE 1000000", "8BITMIME", "SMTPUTF8"]
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
    return smtp.sendmail(
        "alice@example.org", ["bob@example.net"], RAW, mail_options=["requiretls"]
    )


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


# -- sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", WAYS)
def test_sent_with_requiretls(serve, message, send):
    """RT-01, RT-21: over TLS that we start, with the bare keyword on MAIL, and it arrives."""
    server = serve()
    with connect(server) as smtp:
        assert send(smtp, message) == {}
    (accepted,) = server.ledger
    assert accepted.tls
    assert "REQUIRETLS" in accepted.parameters
    assert b"canary-body" in accepted.content
    assert verbs(server, "plain") == ["EHLO", "STARTTLS"]
    assert verbs(server, "tls")[:2] == ["EHLO", "MAIL"]
    assert verbs(server, "tls")[-1] == "QUIT"


def test_sent_over_implicit_tls(serve, message):
    """Ruling 10, SUB-01: on port 465 the EHLO inside the TLS that was there first is judged."""
    server = serve(implicit_tls=True, starttls=False)
    with connect(server, rt.SMTP_SSL, require_tls=True) as smtp:
        smtp.send_message(message)
    (accepted,) = server.ledger
    assert "REQUIRETLS" in accepted.parameters
    assert verbs(server, "plain") == []


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_sent_over_lmtp(serve, message, tmp_path, unix):
    """RFC 8689 s2(7): LMTP too, on TCP and on a Unix socket with server_hostname."""
    server = serve(lmtp=True, unix_path=str(tmp_path / "lmtp") if unix else None)
    options = {"server_hostname": "localhost"} if unix else {}
    with connect(server, rt.LMTP, **options) as smtp:
        assert smtp.send_message(message, require_tls=True) == {}
    assert "REQUIRETLS" in server.ledger[0].parameters
    assert verbs(server)[:3] == ["LHLO", "STARTTLS", "LHLO"]


def test_constructor_brings_tls_up(serve, message):
    """With require_tls in the constructor the session is verified before anything else."""
    server = serve()
    smtp = connect(server, require_tls=True)
    assert verbs(server, "plain") == ["EHLO", "STARTTLS"]
    assert verbs(server, "tls") == ["EHLO"]
    assert smtp.judge().allowed
    smtp.send_message(message)
    smtp.quit()
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_connect_later_brings_tls_up(serve, message):
    """An object made without a host does the same when connect() is called."""
    server = serve()
    smtp = rt.SMTP(timeout=5, require_tls=True, context=server.client_context())
    assert smtp.connect(server.host, server.port)[0] == 220
    assert verbs(server) == ["EHLO", "STARTTLS", "EHLO"]
    smtp.send_message(message)
    smtp.quit()
    assert "REQUIRETLS" in server.ledger[0].parameters


def test_keyword_in_any_case(serve, message):
    """SMTP-07: ``requiretls`` in lower case is an offer."""
    server = serve(tls_extensions=["requiretls"])
    with connect(server) as smtp:
        smtp.send_message(message, require_tls=True)
    assert len(server.ledger) == 1


def test_ordinary_mail_has_no_mark(serve, message):
    """Without require_tls the parameter is not sent, and TLS is left to the caller."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(message)
    (accepted,) = server.ledger
    assert "REQUIRETLS" not in accepted.parameters
    assert not accepted.tls
    assert b"TLS-Required" not in accepted.content


def test_two_messages_one_session(serve, message):
    """A strict message behind an ordinary one is judged anew, and an ordinary one may follow."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(message)
        smtp.send_message(message, require_tls=True)
        smtp.send_message(message)
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [False, True, False]
    assert [item.tls for item in server.ledger] == [False, True, True]


def test_strict_session_lets_one_message_go(serve, message):
    """require_tls=False on the call undoes the session's, for that message only."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        smtp.send_message(message, require_tls=False)
        smtp.sendmail("alice@example.org", "bob@example.net", RAW, require_tls=False)
        smtp.send_message(message)
    marks = ["REQUIRETLS" in item.parameters for item in server.ledger]
    assert marks == [False, False, True]


def test_server_hostname_is_what_is_verified(serve, message):
    """server_hostname separates the name that is verified from the address that is dialled."""
    certificate = CA().issue("mx.example.net")
    server = serve(certificate=certificate)
    with connect(server, server_hostname="MX.Example.NET.") as smtp:
        smtp.send_message(message, require_tls=True)
    assert smtp.last_verdict.host == "mx.example.net"
    assert server.server_names == ["mx.example.net"]
    assert len(server.ledger) == 1


def test_default_context_verifies(serve, message):
    """Without a context the process's default one is used, for require_tls and starttls alike."""
    server = serve()
    with trust(server.ca), rt.SMTP(server.host, server.port, require_tls=True) as smtp:
        smtp.send_message(message)
    assert len(server.ledger) == 1


def test_long_sender_and_option(serve):
    """RT-06: the MAIL line may be 11 octets longer; a long path and the parameter pass."""
    server = serve()
    sender = "a" * 60 + "@" + ".".join(["d" * 60] * 3)
    with connect(server) as smtp:
        smtp.sendmail(sender, "bob@example.net", RAW, ["BODY=8BITMIME"], require_tls=True)
    assert server.ledger[0].sender == sender
    assert any(len(command) > 250 for command in server.commands())


# -- refused -------------------------------------------------------------------------------------

NO_STARTTLS = {"starttls": False, "tls_extensions": PLAIN}
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
    ("B20-ehlo-cut-off-inside", {"script": {"EHLO tls": lambda c: (c.send(b"250-REQUIRETLS\r\n"),
     c.close()) and None}}, rt.TLSNotEstablished, "5.7.10", True, False),
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


CA_AT_HAND = CA()
CERTIFICATES = [
    ("F01-untrusted", CA().issue("localhost")),
    ("F02-wrong-name", CA_AT_HAND.issue("mx.example.net")),
    ("F03-common-name-only", CA_AT_HAND.issue(common_name="localhost")),
    ("F03-common-name-with-other-san", CA_AT_HAND.issue("other.test", common_name="localhost")),
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


@pytest.mark.parametrize("cls", [rt.SMTP, rt.SMTP_SSL, rt.LMTP])
def test_context_that_cannot_verify(cls):
    """F10: handed over together with require_tls it is a ValueError before any connection."""
    for context in (lax_context(), nameless_context(Server())):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            with pytest.raises(ValueError, match="SSL context that verifies"):
                cls(*listener.getsockname(), context=context, require_tls=True)
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


def test_settings_changed_during_the_handshake(serve, message):
    """Ruling 1b: the settings count as they were before the handshake and behind it."""

    class Shifty(ssl.SSLContext):
        def wrap_socket(self, *args, **options):
            self.check_hostname = False
            self.verify_mode = ssl.CERT_NONE
            try:
                return super().wrap_socket(*args, **options)
            finally:
                self.verify_mode = ssl.CERT_REQUIRED if self.heal_before else ssl.CERT_NONE
                self.check_hostname = self.heal_before

    server = serve(certificate=CA().issue("other.test"))
    context = Shifty(ssl.PROTOCOL_TLS_CLIENT)
    context.heal_before = False
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


def test_old_tls_version(serve, message):
    """BCP-01, F09: TLS 1.1 is refused, also with a context that would take it."""
    server = serve()
    with pytest.warns(DeprecationWarning):
        server.context.minimum_version = ssl.TLSVersion.TLSv1
        server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(rt.TLSNotEstablished):
        connect(server, require_tls=True)
    context = server.client_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(rt.TLSNotEstablished, match=r"TLSv1\.1"):
        connect(server, require_tls=True, context=context)
    server.wait_idle()
    assert nothing_sent(server)


# -- the choke point -----------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    "by_hand", [pytest.param(r[1], id=r[0]) for r in BY_HAND if "REQUIRETLS" in repr(r[1])]
    or [pytest.param(BY_HAND[2][1], id="docmd-option"), pytest.param(BY_HAND[5][1], id="send")]
)  # fmt: skip
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


# -- reuse and reconnection ------------------------------------------------------------------------


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
    with rt.SMTP(
        f"[127.0.0.1]:{server.port}", timeout=5, context=server.client_context()
    ) as smtp:
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


# -- TLS-Required: No --------------------------------------------------------------------------------


def fields(server):
    """Return how often the field stands in the header of each message taken."""
    heads = [item.content.partition(b"\r\n\r\n")[0] + b"\r\n" for item in server.ledger]
    return [head.lower().count(b"tls-required: no\r\n") for head in heads]


@pytest.mark.parametrize("cls", [EmailMessage, Message, lambda: MIMEText("x")])
def test_tls_optional_on_a_message_object(serve, cls):
    """RT-22: the field is added once, to what is sent and not to the caller's object."""
    server = serve()
    message = cls()
    message["Subject"] = "x"
    before = message.items()
    with connect(server) as smtp:
        smtp.send_message(message, "a@example.org", ["b@example.net"], tls_optional=True)
    assert fields(server) == [1]
    assert message.items() == before
    assert "REQUIRETLS" not in server.ledger[0].parameters


@pytest.mark.parametrize("raw", [RAW, RAW.decode(), "From: a@b\nSubject: x\n\nbody\n", "body only"])
def test_tls_optional_on_a_raw_message(serve, raw):
    """RT-22: raw str and bytes too, and the body stays the body."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@example.org", "b@example.net", raw, tls_optional=True)
    assert fields(server) == [1]
    assert b"body" in server.ledger[0].content.partition(b"\r\n\r\n")[2]


def test_header_of_the_caller_selects_the_same(serve, message):
    """RT-20: the field alone is enough, and is not added again."""
    server = serve()
    message["TLS-Required"] = "No"
    with connect(server) as smtp:
        smtp.send_message(message)
        smtp.send_message(message, tls_optional=True)
        smtp.sendmail("a@b.c", "d@e.f", b"TLS-Required: No\r\n\r\n", tls_optional=True)
    assert fields(server) == [1, 1, 1]


def test_session_beats_header(serve, message, caplog):
    """Ruling 7: on a strict session the stricter wins, with a warning."""
    server = serve()
    message["TLS-Required"] = "No"
    with connect(server, require_tls=True) as smtp:
        smtp.send_message(message)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        smtp.send_message(message, require_tls=False)
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [True, False]
    assert fields(server) == [1, 1]


@pytest.mark.parametrize("strict", [False, True])
def test_contradiction_in_one_call(serve, message, strict):
    """E09: require_tls and TLS-Required: No in one call is a ValueError, and no byte is sent."""
    server = serve()
    marked = EmailMessage()
    marked["From"], marked["To"], marked["TLS-Required"] = "a@b.c", "d@e.f", "No"
    with connect(server, require_tls=strict) as smtp:
        before = len(server.transcript)
        for call in (
            lambda: smtp.send_message(message, require_tls=True, tls_optional=True),
            lambda: smtp.send_message(message, mail_options=["REQUIRETLS"], tls_optional=True),
            lambda: smtp.send_message(marked, require_tls=True),
            lambda: smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True, tls_optional=True),
            lambda: smtp.sendmail("a@b.c", "d@e.f", b"TLS-Required: No\r\n\r\n", ["REQUIRETLS"]),
            lambda: smtp.sendmail("a@b.c", "d@e.f", RAW, ["REQUIRETLS"], require_tls=False),
        ):
            with pytest.raises(ValueError, match="REQUIRETLS|TLS-Required"):
                call()
        assert len(server.transcript) == before
        smtp.send_message(message)
    assert len(server.ledger) == 1


# -- bounces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["", "<>"])
@pytest.mark.parametrize("offered", [True, False])
def test_bounce(serve, sender, offered):
    """RT-13, ruling 11: the parameter when it is offered; not lost where it is not."""
    server = serve(tls_extensions=None if offered else PLAIN)
    with connect(server) as smtp:
        smtp.sendmail(sender, "alice@example.org", RAW, require_tls=True)
        verdict = smtp.last_verdict
    (accepted,) = server.ledger
    assert accepted.sender == ""
    assert ("REQUIRETLS" in accepted.parameters) is offered
    assert verdict.requiretls is offered
    assert accepted.tls


def test_bounce_still_needs_a_verified_certificate(serve):
    """RT-13: proofs 1 and 2 still hold for a bounce."""
    server = serve(certificate=CA().issue("localhost"))
    with pytest.raises(rt.CertificateNotVerified):
        connect(server, context=CA_AT_HAND.context()).sendmail("", "a@b.c", RAW, require_tls=True)
    server.wait_idle()
    assert nothing_sent(server)


# -- AUTH ------------------------------------------------------------------------------------------

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


# -- LMTP ------------------------------------------------------------------------------------------


def test_lmtp_reports_each_recipient(serve):
    """RFC 2033 s4.2: one reply per accepted recipient, and the refused ones are returned."""
    server = serve(lmtp=True, script={".": ["250 2.0.0 ok", "452 4.2.2 full", "250 2.0.0 ok"]})
    with connect(server, rt.LMTP) as smtp:
        refused = smtp.sendmail("a@b.c", ["one@x.y", "two@x.y", "three@x.y"], RAW)
        assert refused == {"two@x.y": (452, b"4.2.2 full")}
        assert smtp.noop()[0] == 250, "no reply is left over"
    assert [item.recipients for item in server.ledger] == [("one@x.y",), ("three@x.y",)]


def test_lmtp_first_reply_refuses(serve):
    """The first reply is not the message's: the second recipient has it all the same."""
    server = serve(
        lmtp=True, script={"RCPT": ["550 5.1.1 no"], ".": ["552 5.2.2 full", "250 2.0.0 ok"]}
    )
    with connect(server, rt.LMTP) as smtp:
        refused = smtp.sendmail("a@b.c", ["zero@x.y", "one@x.y", "two@x.y"], RAW)
    assert refused == {"zero@x.y": (550, b"5.1.1 no"), "one@x.y": (552, b"5.2.2 full")}
    assert [item.recipients for item in server.ledger] == [("two@x.y",)]


def test_lmtp_all_refused_after_the_dot(serve):
    """When nobody has it the caller gets SMTPRecipientsRefused with every reply."""
    server = serve(lmtp=True, script={".": "552 5.2.2 full", "RCPT": ["550 5.1.1 no"]})
    with connect(server, rt.LMTP) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            smtp.sendmail("a@b.c", ["zero@x.y", "one@x.y", "two@x.y"], RAW)
        assert {to: code for to, (code, _) in caught.value.recipients.items()} == {
            "zero@x.y": 550, "one@x.y": 552, "two@x.y": 552,
        }  # fmt: skip
        assert smtp.sendmail("a@b.c", [], RAW) == {} if False else True
    assert server.ledger == []


def test_lmtp_data_refused(serve):
    """DATA refused before the content stays smtplib's SMTPDataError."""
    server = serve(lmtp=True, script={"DATA": "451 4.3.0 later"})
    with connect(server, rt.LMTP) as smtp, pytest.raises(smtplib.SMTPDataError):
        smtp.sendmail("a@b.c", ["one@x.y"], RAW)


def test_lmtp_second_message_starts_anew(serve):
    """What was refused of one message is not reported with the next."""
    server = serve(lmtp=True, script={".": ["550 5.7.1 no", "250 2.0.0 ok"]})
    with connect(server, rt.LMTP) as smtp:
        assert set(smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW)) == {"one@x.y"}
        assert smtp.sendmail("a@b.c", ["one@x.y", "two@x.y"], RAW) == {}


# -- bad input -------------------------------------------------------------------------------------

BAD_CALLS = [
    ("from-crlf", lambda s: s.sendmail("a@b.c>\r\nRCPT TO:<e@x>", "d@e.f", RAW)),
    ("from-nul", lambda s: s.sendmail("a\0@b.c", "d@e.f", RAW)),
    ("to-crlf", lambda s: s.sendmail("a@b.c", ["d@e.f", "x@y.z\r\nDATA"], RAW)),
    ("to-comma", lambda s: s.sendmail("a@b.c", "d@e.f, g@h.i", RAW)),
    ("to-empty", lambda s: s.sendmail("a@b.c", [""], RAW)),
    ("option-crlf", lambda s: s.sendmail("a@b.c", "d@e.f", RAW, ["X\r\nRSET"])),
    ("option-grammar", lambda s: s.sendmail("a@b.c", "d@e.f", RAW, ["SIZE=1 BODY=7BIT"])),
    ("rcpt-option-crlf", lambda s: s.sendmail("a@b.c", "d@e.f", RAW, [], ["X\nRSET"])),
    ("requiretls-value", lambda s: s.sendmail("a@b.c", "d@e.f", RAW, ["REQUIRETLS=yes"])),
    ("mail-crlf", lambda s: s.mail("a@b.c\r\nRSET")),
    ("mail-option-lf", lambda s: s.mail("a@b.c", ["X\nRSET"])),
    ("rcpt-crlf", lambda s: s.rcpt("a@b.c\r\nDATA")),
    ("rcpt-empty", lambda s: s.rcpt("")),
    ("ehlo-name", lambda s: s.ehlo("a b")),
    ("ehlo-name-crlf", lambda s: s.ehlo("a\r\nMAIL FROM:<x@y>")),
    ("helo-name-nul", lambda s: s.helo("a\0b")),
    ("two-fields", lambda s: s.sendmail("a@b.c", "d@e.f", b"TLS-Required: No\nTLS-Required: No\n")),
    ("other-value", lambda s: s.sendmail("a@b.c", "d@e.f", b"TLS-Required: Yes\r\n\r\n")),
    ("non-ascii", lambda s: s.sendmail("a@b.c", "jörg@e.f", RAW)),
]


@pytest.mark.parametrize("call", [pytest.param(row[1], id=row[0]) for row in BAD_CALLS])
@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict"])
def test_bad_argument(serve, message, call, strict):
    """Ruling 15: a bad argument is a ValueError before a byte of it is sent; then all works."""
    server = serve()
    with connect(server, require_tls=strict) as smtp:
        before = len(server.transcript)
        with pytest.raises(ValueError):  # noqa: PT011 - each text is tested with its rule
            call(smtp)
        assert len(server.transcript) == before
        smtp.send_message(message)
    assert len(server.ledger) == 1


@pytest.mark.parametrize("name", ["X-A: 1\r\nTLS-Required", "X\nBcc", "Ü"])
def test_bad_header_name(serve, message, name):
    """C10: a field name that carries another field is refused before a byte is sent."""
    server = serve()
    bad = EmailMessage()
    bad["From"], bad["To"] = "a@b.c", "d@e.f"
    bad[name] = "No"
    with connect(server) as smtp:
        before = len(server.transcript)
        with pytest.raises(ValueError, match="header field name"):
            smtp.send_message(bad)
        assert len(server.transcript) == before
        smtp.send_message(message)
    assert len(server.ledger) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"server_hostname": "a b"},
        {"server_hostname": ""},
        {"server_hostname": ".example"},
        {"server_hostname": "x\r\ny"},
    ],
)
def test_bad_server_hostname(options):
    """A name that cannot be verified is a ValueError in the constructor."""
    with pytest.raises(ValueError, match="server_hostname"):
        rt.SMTP(**options)


@pytest.mark.parametrize("host", ["a\r\nb", "a b", "a..b", "x" * 64 + ".example", "a\0b"])
def test_bad_host(host):
    """A host that cannot be one is a ValueError before anything is looked up."""
    with pytest.raises(ValueError, match="host"):
        rt.SMTP(host, 25, timeout=1)
    smtp = rt.SMTP(timeout=1)
    with pytest.raises(ValueError, match="host"):
        smtp.connect(host, 25)


def test_bad_ehlo_name_in_the_constructor(serve):
    """Ruling 15: with require_tls in the constructor a bad EHLO name shows at once."""
    server = serve()
    with pytest.raises(ValueError, match="EHLO name"):
        connect(server, require_tls=True, local_hostname="a b")
    server.wait_idle()
    assert server.commands() == []


def test_recipients_from_a_generator(serve):
    """C15: a generator of recipients is read once and counts fully."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@b.c", (f"{name}@e.f" for name in ("one", "two")), RAW)
    assert server.ledger[0].recipients == ("one@e.f", "two@e.f")


# -- what the server says ----------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["555 5.5.4 no such parameter", "530 5.7.0 TLS first", "451 4.3.0 x"])
def test_never_sent_again_without_the_mark(serve, message, reply):
    """C6, E08: the server's own refusal of MAIL stands; there is no second try without it."""
    server = serve(script={"MAIL": reply})
    with connect(server) as smtp:
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            smtp.send_message(message, require_tls=True)
        assert caught.value.smtp_code == int(reply[:3])
        assert smtp.last_verdict is None
    mails = [command for command in server.commands() if command.upper().startswith("MAIL")]
    assert len(mails) == 1
    assert "REQUIRETLS" in mails[0]


def test_partial_refusal_is_smtplibs(serve):
    """E06: the refused recipients come back as from smtplib."""
    server = serve(script={"RCPT": ["250 ok", "550 5.1.1 no"]})
    with connect(server) as smtp:
        refused = smtp.sendmail("a@b.c", ["one@e.f", "two@e.f"], RAW, require_tls=True)
    assert refused == {"two@e.f": (550, b"5.1.1 no")}
    assert server.ledger[0].recipients == ("one@e.f",)


def test_server_text_is_shown_without_control_characters(serve, message):
    """B18: the text of a hostile server cannot drive a terminal."""
    server = serve(script={"STARTTLS": b"454 \x1b[2Jgone\x07 " + b"x" * 1000 + b"\r\n"})
    with pytest.raises(rt.TLSNotEstablished) as caught:
        connect(server, require_tls=True)
    shown = str(caught.value) + caught.value.explain() + repr(caught.value.as_dict())
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[2J" in str(caught.value)
    assert len(str(caught.value)) < 700


# -- verdicts and receipts ---------------------------------------------------------------------------


def test_receipt_of_a_required_message(serve, message):
    """last_verdict says what the message left under, and stays after the session."""
    server = serve()
    with connect(server) as smtp:
        assert smtp.last_verdict is None
        smtp.send_message(message, require_tls=True)
    verdict = smtp.last_verdict
    assert verdict.allowed
    assert verdict.requiretls
    assert verdict.word == "requiretls"
    assert verdict.tls_level == "authenticated"
    assert verdict.tls_version == "TLSv1.3"
    assert [finding.step for finding in verdict.findings] == [
        "server_name", "login", "ehlo", "tls", "certificate", "requiretls",
    ]  # fmt: skip


def test_receipt_of_ordinary_mail(serve, message):
    """Ordinary mail has a receipt too; it shows the TLS that the message really had."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(message)
        smtp.starttls()
        assert smtp.last_verdict.tls_level == "none"
        smtp.send_message(message)
    assert smtp.last_verdict.tls_level == "authenticated"
    assert smtp.last_verdict.word is None


def test_judge_sends_nothing(serve):
    """judge() is about the session as it stands, and puts nothing on the wire."""
    server = serve()
    with connect(server) as smtp:
        assert smtp.judge().status == "5.7.10"
        assert smtp.judge(require_tls=False).allowed
        smtp.starttls()
        assert smtp.judge().status == "5.7.30", "EHLO has not been repeated"
        before = len(server.transcript)
        smtp.judge()
        assert len(server.transcript) == before
        smtp.ehlo()
        assert smtp.judge().allowed


def test_close_notify(serve, message, monkeypatch):
    """SUB-05: the TLS close alert goes out before the connection is closed."""
    server = serve()
    alerts = []
    unwrap = ssl.SSLSocket.unwrap
    monkeypatch.setattr(
        ssl.SSLSocket, "unwrap", lambda self: (alerts.append(self), unwrap(self))[1]
    )
    with connect(server, require_tls=True) as smtp:
        smtp.send_message(message)
    assert len(alerts) == 1


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="smtplib dropped these in 3.12")
def test_old_certificate_arguments(serve, tmp_path):
    """On 3.11 keyfile and certfile work, warn as in smtplib, and the server is verified."""
    server = serve()
    own = CA().issue("client.example")
    (tmp_path / "key.pem").write_bytes(own.key)
    (tmp_path / "cert.pem").write_bytes(own.pem)
    files = {"keyfile": str(tmp_path / "key.pem"), "certfile": str(tmp_path / "cert.pem")}
    with (
        connect(server) as smtp,
        pytest.warns(DeprecationWarning),
        pytest.raises(rt.CertificateNotVerified),
    ):
        smtp.starttls(**files)
    with pytest.raises(ValueError, match="exclusive"):
        rt.SMTP_SSL(context=lax_context(), **files)
