"""REQUIRETLS against real servers: what they store, and that they never saw a MAIL for the rest."""

from __future__ import annotations

import uuid
from email.message import EmailMessage

import pytest

import requiretls_client as rt

EVERY_WAY = ["send_message", "sendmail", "mail_options", "mail", "constructor"]


@pytest.fixture
def token():
    """Return a word that only this test's messages and addresses hold."""
    return uuid.uuid4().hex


def compose(token, domain):
    """Return a message from and to addresses that hold the token."""
    message = EmailMessage()
    message["From"] = f"{token}@sender.test"
    message["To"] = f"user@{domain}"
    message["Subject"] = token
    message.set_content(f"canary {token}\n")
    return message


def ask(smtp, way, token, domain="real.test"):
    """Send with require_tls in one of the ways there are."""
    message = compose(token, domain)
    raw, sender, recipient = message.as_bytes(), f"{token}@sender.test", f"user@{domain}"
    match way:
        case "send_message":
            return smtp.send_message(message, require_tls=True)
        case "sendmail":
            return smtp.sendmail(sender, recipient, raw, require_tls=True)
        case "mail_options":
            return smtp.sendmail(sender, [recipient], raw, ["REQUIRETLS"])
        case "constructor":
            return smtp.send_message(message)
        case "mail":
            codes = [smtp.mail(sender, ["REQUIRETLS"])[0], smtp.rcpt(recipient)[0]]
            assert [*codes, smtp.data(raw)[0]] == [250, 250, 250]
            return {}


def header_of(stored):
    """Return the header of a stored message, lower case, with LF line ends."""
    return stored.replace(b"\r\n", b"\n").partition(b"\n\n")[0].lower()


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize(("cls", "port"), [(rt.SMTP, 25), (rt.SMTP, 587), (rt.SMTP_SSL, 465)])
def test_postfix_stores_the_mark(postfix311, real_ca, token, way, cls, port):
    """RT-01, RT-21, SUB-01: Postfix 3.11 on 25, 587 and 465 notes that REQUIRETLS came with it."""
    strict = way == "constructor"
    with cls(postfix311.name, port, context=real_ca.context(), require_tls=strict) as smtp:
        assert ask(smtp, way, token, postfix311.domain) == {}
    stored = postfix311.wait_for(token)
    assert b"require-tls-esmtp: yes" in header_of(stored)
    assert f"canary {token}".encode() in stored
    (mail,) = postfix311.mail_commands(token)
    assert mail.upper().endswith("REQUIRETLS")


def test_postfix_stores_ordinary_mail_without(postfix311, real_ca, token):
    """Ordinary mail carries no mark, with TLS or without."""
    with rt.SMTP(postfix311.name, context=real_ca.context()) as smtp:
        smtp.starttls()
        smtp.send_message(compose(token, postfix311.domain))
    head = header_of(postfix311.wait_for(token))
    assert b"require-tls-esmtp" not in head
    assert b"tls-required" not in head


def test_postfix_stores_one_tls_required_field(postfix311, real_ca, token):
    """RT-22: with tls_optional the stored message has exactly one TLS-Required: No."""
    with rt.SMTP(postfix311.name, context=real_ca.context()) as smtp:
        smtp.starttls()
        smtp.send_message(compose(token, postfix311.domain), tls_optional=True)
    head = header_of(postfix311.wait_for(token))
    assert head.count(b"tls-required:") == 1
    assert b"\ntls-required: no" in head
    assert b"require-tls-esmtp" not in head


def test_strict_after_lax_in_one_session(postfix311, real_ca, token):
    """B10: an ordinary message, then a strict one, on one object: the second is judged anew."""
    second = token[::-1]
    with rt.SMTP(postfix311.name, context=real_ca.context()) as smtp:
        smtp.send_message(compose(token, postfix311.domain))
        smtp.send_message(compose(second, postfix311.domain), require_tls=True)
    assert b"require-tls-esmtp" not in header_of(postfix311.wait_for(token))
    assert b"require-tls-esmtp: yes" in header_of(postfix311.wait_for(second))


# host attribute of the Postfix 3.11 fixture, error, status
POSTFIX_REFUSALS = [
    ("hidden_host", rt.RequireTLSNotOffered, "5.7.30"),
    ("plain_host", rt.TLSNotEstablished, "5.7.10"),
    ("wrong_name_host", rt.CertificateNotVerified, "5.7.10"),
    ("untrusted_host", rt.CertificateNotVerified, "5.7.10"),
]


def refused(server, host, port, context, way, token, error, status, name=None, cls=rt.SMTP):
    """Ask a server that does not qualify; its log must show no MAIL."""
    with pytest.raises(error) as caught:  # noqa: PT012 - a strict constructor refuses already
        options = {"context": context, "server_hostname": name, "timeout": 10}
        with cls(host, port, require_tls=way == "constructor", **options) as smtp:
            ask(smtp, way, token)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert server.mail_commands(token) == []


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize(("host", "error", "status"), POSTFIX_REFUSALS)
def test_refused_by_our_side(postfix311, real_ca, token, way, host, error, status):
    """RT-05, RT-09, RT-11, RT-12, F01, F02: the right error, and no MAIL in Postfix's log."""
    address, name = getattr(postfix311, host), postfix311.name
    refused(postfix311, address, 25, real_ca.context(), way, token, error, status, name)


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("port", [25, 587])
def test_postfix_before_requiretls(postfix37, real_ca, token, way, port):
    """RT-11: Postfix 3.7 has good TLS and no REQUIRETLS."""
    host, context = postfix37.name, real_ca.context()
    refused(postfix37, host, port, context, way, token, rt.RequireTLSNotOffered, "5.7.30")


@pytest.mark.parametrize("way", EVERY_WAY)
def test_smtp_sink_takes_anything(smtp_sink, real_ca, token, way):
    """RT-02: a server that would say 250 to REQUIRETLS in clear text is never asked."""
    host, context = smtp_sink.host, real_ca.context()
    name = "sink.real.test"
    refused(smtp_sink, host, 25, context, way, token, rt.TLSNotEstablished, "5.7.10", name)


def test_implicit_tls_with_another_name(postfix311, real_ca, token):
    """SUB-12: on port 465 too, the certificate is held against the name that was meant."""
    with pytest.raises(rt.CertificateNotVerified):
        rt.SMTP_SSL(postfix311.host, 465, context=real_ca.context(), server_hostname="other.test")
    assert postfix311.mail_commands(token) == []


def test_lmtp_client_at_a_server_without(postfix37, real_ca, token):
    """The LMTP class is guarded alike: a server that knows no LHLO gets no MAIL."""
    with (
        rt.LMTP(postfix37.name, 25, context=real_ca.context(), timeout=10) as smtp,
        pytest.raises(rt.TLSNotEstablished, match="refused EHLO"),
    ):
        ask(smtp, "send_message", token)
    assert postfix37.mail_commands(token) == []


def test_reconnected_object(postfix311, postfix37, real_ca, token):
    """A12: an object that sent strictly to one server is refused at the next that cannot."""
    with rt.SMTP(postfix311.name, context=real_ca.context(), require_tls=True) as smtp:
        smtp.send_message(compose(token, postfix311.domain))
        assert b"require-tls-esmtp: yes" in header_of(postfix311.wait_for(token))
        with pytest.raises(rt.RequireTLSNotOffered):
            smtp.connect(postfix37.name)
    assert postfix37.mail_commands(token) == []


def test_failed_starttls_at_a_real_server(postfix311, real_ca, token):
    """A05: after a certificate that was refused, ordinary mail does not go on in clear."""
    smtp = rt.SMTP(postfix311.untrusted_host, context=real_ca.context(), timeout=10)
    with pytest.raises(rt.CertificateNotVerified):
        smtp.starttls()
    with pytest.raises(rt.SMTPServerDisconnected):
        smtp.send_message(compose(token, postfix311.domain))
    assert postfix311.mail_commands(token) == []


def test_submission_with_auth(smtp_server, real_ca, token):
    """SUB-01, AUTH-02: STARTTLS, AUTH inside it, then the message with REQUIRETLS on port 587."""
    with rt.SMTP(
        smtp_server.name, 587, context=real_ca.context(), require_tls=True, timeout=10
    ) as smtp:
        smtp.login("user", "secret")
        smtp.send_message(compose(token, "real.test"))
    (stored,) = [item for item in smtp_server.messages() if token in item["from"]]
    assert stored["requireTLS"] is True
    assert stored["secure"] is True


@pytest.mark.parametrize("port", [25, 465])
def test_smtp_server_knows_the_mark(smtp_server, real_ca, token, port):
    """A second implementation sees the parameter with require_tls, and not without."""
    cls = rt.SMTP_SSL if port == 465 else rt.SMTP
    with cls(smtp_server.name, port, context=real_ca.context(), timeout=10) as smtp:
        smtp.send_message(compose(token, "real.test"), require_tls=True)
        smtp.send_message(compose(token, "real.test"))
    taken = [item["requireTLS"] for item in smtp_server.messages() if token in item["from"]]
    assert [bool(mark) for mark in taken] == [True, False]
