"""Messages that are sent: the dialogue, the mark, and the receipt."""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
from email.message import EmailMessage

import pytest
from support import CA_AT_HAND, PLAIN, RAW, WAYS, connect, lax_context, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client import session
from requiretls_client.testing import CA, trust


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
        pytest.warns(DeprecationWarning, match="keyfile and certfile"),
        pytest.raises(rt.CertificateNotVerified),
    ):
        smtp.starttls(**files)
    with pytest.raises(ValueError, match="exclusive"):
        rt.SMTP_SSL(context=lax_context(), **files)


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


@pytest.mark.parametrize(
    "reply", ["555 5.5.4 no such parameter", "530 5.7.0 TLS first", "451 4.3.0 x"]
)
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


def test_undisclosed_recipients(serve):
    """A newsletter to nobody in particular reaches those in Bcc, as with smtplib."""
    server = serve()
    message = EmailMessage()
    message["From"], message["To"] = "a@example.org", "undisclosed-recipients:;"
    message["Bcc"] = "b@example.net, c@example.net"
    with connect(server) as smtp:
        assert smtp.send_message(message, require_tls=True) == {}
    assert server.ledger[0].recipients == ("b@example.net", "c@example.net")
    assert b"Bcc" not in server.ledger[0].content


def test_receipt_keeps_its_host(serve, message):
    """The receipt is about the connection of its message, whatever connect() is told later."""
    server = serve()
    with connect(server) as smtp:
        smtp.starttls()
        smtp.send_message(message)
        smtp.connect("127.0.0.1", server.port)
        assert smtp.last_verdict.host == "localhost"
        assert smtp.last_verdict.tls_level == "authenticated"
        with pytest.raises(ValueError, match="from_addr"):
            smtp.sendmail("a b", "c@d.e", RAW)
        assert smtp.last_verdict is None


@pytest.fixture
def names(monkeypatch):
    """Return the list of the times when this machine's name was looked up."""
    asked = []

    def getfqdn():
        asked.append(1)
        return "joe's-mac.local"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    session._this_machine.cache_clear()
    yield asked
    session._this_machine.cache_clear()


def test_machine_name_that_is_no_host_name(serve, message, names):
    """What this machine is called is no reason not to send; it is looked up once."""
    server = serve()
    for _ in range(3):
        with connect(server) as smtp:
            smtp.send_message(message)
    server.wait_idle()
    assert server.commands().count("ehlo [127.0.0.1]") >= 3
    assert len(names) == 1


def test_leaving_does_not_wait(serve, message):
    """Once a message was taken, the end of a with block says QUIT and waits for no answer."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(message)
        smtp.getreply = pytest.fail
    server.wait_idle()
    assert verbs(server)[-1] == "QUIT"
    server = serve(script={"QUIT": "500 what"})
    with pytest.raises(smtplib.SMTPResponseException), connect(server) as smtp:
        smtp.ehlo()


def test_bytes_like_messages(serve):
    """What smtplib takes as a message, a bytearray for one, goes out unchanged."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@b.c", "d@e.f", bytearray(RAW), tls_optional=True)
        smtp.sendmail("a@b.c", "d@e.f", bytearray(RAW), require_tls=True)
    assert [item.content.endswith(RAW) for item in server.ledger] == [True, True]
