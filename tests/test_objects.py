"""Message objects as bytes: quicker than the email package, and the same to the octet."""

from __future__ import annotations

import email
import email.policy
import io
import random
from email.generator import BytesGenerator
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from requiretls_client import objects

POLICIES = [
    email.policy.compat32, email.policy.default, email.policy.SMTP, email.policy.SMTPUTF8,
    email.policy.default.clone(cte_type="7bit"), email.policy.compat32.clone(max_line_length=0),
    email.policy.default.clone(mangle_from_=True),
]  # fmt: skip
TYPES = [
    "text/plain", "TEXT/Html; charset=utf-8", "text/plain; charset=us-ascii", "text/", "text",
    " text/plain", "\n text/plain", "text /plain", "text/plain/x", "text/(multipart/mixed)",
    "(text/)multipart/mixed; boundary=b", "text\n /plain", "text/=?utf-8?q?plain?=",
    "text/pl\udce4in", "multipart/mixed; boundary=b", "multipart/mixed",
    "multipart/signed; boundary=b",
    "message/rfc822", "message/delivery-status", "application/octet-stream", "image/x-text/plain",
    '"text/plain"', "text/plain\n; boundary=b", "text/multipart; boundary=b",
    "TeXt/X-Y; a=b; a*0=c", "multipart/ signed; boundary=b", "Multipart/SIGNED",
    "multipart/(x)signed", "multipart/=?us-ascii?q?=73igned?=",
]  # fmt: skip
LINES = [
    "hello", "", ".", "From here", "--b", "--b--", "gr\udcc3\udcbcn", "x" * 1200, "tab\t", " blank",
    "Content-Type: text/plain", "Subject: inner", "A: b", "a\rb", "a\x0bb", "a\x0cb\x1cc",
    "é\u2028é",
]  # fmt: skip
FIELDS = [
    "Subject: short", "Subject: =?utf-8?q?gr=C3=BCn?=", "Subject: " + "word " * 40,
    "To: Bob <bob@example.net>, carol@example.org", "X-Empty:", "X-Folded: a\n b\n\tc",
    "Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64", "From: a@b.example",
]  # fmt: skip


def stock(message, policy):
    """Return what the email package makes of it, or the type of the error that it raises."""
    return outcome(lambda: _stock(message, policy))


def _stock(message, policy):
    with io.BytesIO() as buffer:
        BytesGenerator(buffer, policy=policy).flatten(message, linesep="\r\n")
        return buffer.getvalue()


def outcome(make):
    """Return what comes of a call: its result, or its exception's type."""
    try:
        return make()
    except Exception as error:
        return type(error)


def some_message(source, policy):
    """Return a message object that a parser has made of nonsense that is nearly right."""
    fields = source.sample(FIELDS, source.randrange(4))
    kinds = source.choices(TYPES, k=source.choice([0, 1, 1, 1, 2]))
    fields += [f"Content-Type: {kind}" for kind in kinds]
    source.shuffle(fields)
    eol = source.choice(["\n", "\n", "\r\n", "\r"])
    body = "".join(
        source.choice(LINES) + source.choice([eol, eol, "\n", "\r", "\r\n"])
        for _ in range(source.randrange(12))
    )
    text = "\n".join([*fields, "", body.removesuffix("\n") if source.random() < 0.3 else body])
    return email.message_from_bytes(text.encode("utf-8", "surrogateescape"), policy=policy)


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
def test_parsed(policy):
    """Whatever a parser makes, of whatever type it says it is, comes out the same."""
    source, kinds = random.Random(8689), set()
    for _ in range(600):
        message = some_message(source, policy)
        want = stock(message, policy)
        kinds.add(type(want))
        assert outcome(lambda m=message: objects._flat(m, policy)) == want, message.items()
    assert bytes in kinds


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@pytest.mark.parametrize("kind", TYPES)
def test_every_type(policy, kind):
    """The type alone decides who writes the body, with a text in it and with parts."""
    for payload in ("a\nb\r\nc\rd", None, "", [MIMEText("x\ny")]):
        message = Message(policy)
        message["Content-Type"] = kind.replace("\n", "")  # which not every policy takes
        message.set_payload(payload)
        assert outcome(lambda m=message: objects._flat(m, policy)) == stock(message, policy)


def built():
    """Yield message objects as programs make them."""
    alert = EmailMessage()
    alert["From"], alert["To"], alert["Subject"] = "Cron <root@example.org>", "a@b.example", "disk"
    alert.set_content("full\n" * 30)
    yield alert
    rich = EmailMessage()
    rich["Subject"] = "grün"
    rich.set_content("grün\n.dot\nFrom me\n")
    rich.add_alternative("<p>grün</p>\n", subtype="html")
    rich.add_attachment(bytes(range(256)) * 50, maintype="application", subtype="x", filename="ü")
    yield rich
    whole = EmailMessage()
    whole["Subject"] = "forwarded"
    whole.set_content("see below\n")
    whole.add_attachment(rich)
    yield whole
    old = MIMEMultipart(_subparts=[MIMEText("a\nb\n"), MIMEText("ü", _charset="utf-8")])
    old.preamble, old.epilogue = "for old\rreaders", "the\r\nend"
    yield old


@pytest.mark.parametrize("message", [*built()], ids=["alert", "rich", "whole", "old"])
@pytest.mark.parametrize("policy", [None, *POLICIES], ids=["own", *range(len(POLICIES))])
def test_built(message, policy):
    """The same for what programs make, under their own policy and under others."""
    policy = policy or message.policy
    assert outcome(lambda: objects._flat(message, policy)) == stock(message, policy)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("policy", [email.policy.compat32, email.policy.default])
def test_signed(policy, kind):
    """What is signed is found as the email package would find it, however its type is written."""
    text = f"Content-Type: {kind}\n\nx\n".encode("utf-8", "surrogateescape")
    message = email.message_from_bytes(text, policy=policy)
    signed = any(part.get_content_type() == "multipart/signed" for part in message.walk())
    assert objects.is_signed(message) == signed
