"""RFC 8689 s3: the TLS-Required field, in message objects and in raw messages."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage, Message

import pytest

from requiretls_client import header

RAW = [
    ("absent", "From: a@b\r\n\r\nbody", False),
    ("RT-16-exact", "TLS-Required: No\r\n\r\nbody", True),
    ("RT-16-no-blank", "TLS-Required:No\r\n\r\nbody", True),
    ("C13-lower", "From: a@b\r\ntls-required: no\r\n\r\nbody", True),
    ("C13-upper", "TLS-REQUIRED: NO\r\n\r\nbody", True),
    ("C13-folded", "TLS-Required:\r\n No\r\n\r\nbody", True),
    ("lf-lines", "From: a@b\nTLS-Required: No\n\nbody", True),
    ("cr-lines", "From: a@b\rTLS-Required: No\r\rbody", True),
    ("no-body", "From: a@b\r\nTLS-Required: No", True),
    ("in-the-body", "From: a@b\r\n\r\nTLS-Required: Yes\r\nTLS-Required: No\r\n", False),
    ("all-body", "\r\nTLS-Required: Yes\r\n", False),
    ("other-field", "X-TLS-Required: Yes\r\nTLS-Required-Not: 1\r\n\r\n", False),
    ("inside-another-field", "Subject: on TLS-Required: Yes\r\n TLS-Required: Yes\r\n\r\n", False),
    ("empty", "", False),
]


@pytest.mark.parametrize(("text", "want"), [pytest.param(*r[1:], id=r[0]) for r in RAW])
def test_found_in_raw(text, want):
    """The field of the header counts, in any case and fold, and no other line does."""
    assert header.in_raw(text.encode()) is want


BAD_RAW = [
    ("RT-15-two", "TLS-Required: No\r\nTLS-Required: No\r\n\r\n"),
    ("RT-15-two-cases", "TLS-Required: No\r\nSubject: x\r\ntls-required: no\r\n\r\n"),
    ("RT-16-yes", "TLS-Required: Yes\r\n\r\n"),
    ("RT-16-comment", "TLS-Required: No (really)\r\n\r\n"),
    ("RT-16-trailing", "TLS-Required: No;\r\n\r\n"),
    ("RT-16-trailing-blank", "TLS-Required: No \r\n\r\n"),
    ("RT-16-folded-behind", "TLS-Required: No\r\n x\r\n\r\n"),
    ("RT-16-empty", "TLS-Required:\r\n\r\n"),
    ("blank-before-colon", "TLS-Required : No\r\n\r\n"),
    ("bare-lf-second", "From: a@b\r\nX: y\nTLS-Required: Yes\r\n\r\n"),
]


@pytest.mark.parametrize("text", [pytest.param(r[1], id=r[0]) for r in BAD_RAW])
def test_bad_field_in_raw(text):
    """Two fields, another value or an odd spelling is a ValueError that names the field."""
    with pytest.raises(ValueError, match="TLS-Required"):
        header.in_raw(text.encode())


@pytest.mark.parametrize("cls", [EmailMessage, Message])
@pytest.mark.parametrize(
    ("values", "want"), [([], False), (["No"], True), (["no"], True)], ids=["none", "No", "no"]
)
def test_found_in_message(cls, values, want):
    """Modern and legacy message objects are read alike."""
    message = cls()
    for value in values:
        message["TLS-Required"] = value
    assert header.in_message(message) is want


@pytest.mark.parametrize("cls", [EmailMessage, Message])
@pytest.mark.parametrize("values", [["Yes"], ["No", "No"], ["No x"], [""]])
def test_bad_field_in_message(cls, values):
    """A message object with another value, or two fields, is refused."""
    message = cls()
    for value in values:
        message["TLS-Required"] = value
    with pytest.raises(ValueError, match="TLS-Required"):
        header.in_message(message)


def test_attached_message_does_not_count():
    """C13: the field of an attached message/rfc822 says nothing about the message around it."""
    inner = EmailMessage()
    inner["TLS-Required"] = "Yes"
    inner.set_content("inner")
    outer = EmailMessage()
    outer["Subject"] = "outer"
    outer.set_content("see attached")
    outer.add_attachment(inner)
    assert header.in_message(outer) is False
    assert header.in_raw(bytes(outer)) is False


FIELDS = [
    ("C10-name-with-crlf", "X-A: 1\r\nTLS-Required", "No"),
    ("C10-name-with-lf", "X-A\n", "1"),
    ("name-with-colon", "X:A", "1"),
    ("name-with-blank", "X A", "1"),
    ("name-empty", "", "1"),
    ("name-beyond-ascii", "Überschrift", "1"),
    ("C09-value-with-crlf", "Subject", "a\r\nBcc: c@d"),
    ("C09-value-with-lf", "Subject", "a\nBcc: c@d"),
    ("value-with-cr", "Subject", "a\rBcc: c@d"),
    ("value-with-blank-line", "Subject", "a\r\n\r\nbody"),
    ("value-with-nul", "Subject", "a\0b"),
]


@pytest.mark.parametrize(("name", "value"), [pytest.param(*r[1:], id=r[0]) for r in FIELDS])
def test_field_that_breaks_out(name, value):
    """A field that would put other lines into the header is refused before it is serialised."""
    message = Message()
    message._headers = [(name, value)]  # as a careless caller could have made it
    with pytest.raises(ValueError, match="header field"):
        header.in_message(message)


@pytest.mark.parametrize("value", ["a\r\n b", "a\n\tb", "a\r\n", "plain"])
def test_folded_value_stays(value):
    """Folded lines are one field (RFC 5322 s2.2.3)."""
    header.check_field("Subject", value)


@pytest.mark.parametrize("cls", [EmailMessage, Message])
def test_marked_message(cls):
    """RT-22: the copy has the field once; the caller's object is not changed."""
    message = cls()
    message["Subject"] = "x"
    marked = header.marked_message(message)
    assert marked.get_all("TLS-Required") == ["No"]
    assert message.keys() == ["Subject"]
    assert b"TLS-Required: No\n" in marked.as_bytes()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("From: a@b\r\n\r\nbody", "TLS-Required: No\r\nFrom: a@b\r\n\r\nbody"),
        ("\r\nbody", "TLS-Required: No\r\n\r\nbody"),
        ("\nbody", "TLS-Required: No\r\n\nbody"),
        (
            "From alice Mon Nov 23\nTo: b@c\n\nbody",
            "From alice Mon Nov 23\nTLS-Required: No\r\nTo: b@c\n\nbody",
        ),
        ("just text", "TLS-Required: No\r\n\r\njust text"),
        ("", "TLS-Required: No\r\n\r\n"),
    ],
    ids=["header", "no-header", "no-header-lf", "mbox", "only-text", "empty"],
)
def test_marked_raw(text, want):
    """A raw message gets the field first, and its body stays its body."""
    marked = header.marked_raw(text.encode())
    assert marked == want.encode()
    parsed = message_from_bytes(marked)
    assert parsed.get_all("TLS-Required") == ["No"]


@pytest.mark.parametrize("cls", [EmailMessage, Message])
def test_recipients(cls):
    """The addresses are those that smtplib reads, without the empty ones."""
    message = cls()
    message["To"] = "undisclosed-recipients:;"
    message["Cc"] = "Carl <carl@example.net>, dora@example.net"
    message["Bcc"] = "eve@example.net"
    assert header.recipients(message) == ["eve@example.net", "carl@example.net", "dora@example.net"]
    message["Resent-Date"] = "Mon, 23 Nov 2026 12:00:00 +0000"
    message["Resent-To"] = "frank@example.net"
    assert header.recipients(message) == ["frank@example.net"]
    assert header.recipients(cls()) == []


# id, call, option, session, optional, want
WANTS = [
    ("nothing", None, False, False, False, False),
    ("call", True, False, False, False, True),
    ("option", None, True, False, False, True),
    ("session", None, False, True, False, True),
    ("call-false-undoes-session", False, False, True, False, False),
    ("optional", None, False, False, True, False),
    ("7-session-beats-header", None, False, True, True, True),
    ("7-false-lets-header-decide", False, False, True, True, False),
]


@pytest.mark.parametrize(
    ("call", "option", "session", "optional", "want"),
    [pytest.param(*r[1:], id=r[0]) for r in WANTS],
)
def test_precedence(call, option, session, optional, want):
    """RT-20, ruling 7: between session and message the stricter wins; a call has the last word."""
    got = header.wants_requiretls(call=call, option=option, session=session, optional=optional)
    assert got is want


@pytest.mark.parametrize(
    ("call", "option", "optional"),
    [(True, False, True), (None, True, True), (False, True, False)],
    ids=["call-and-header", "option-and-header", "false-and-option"],
)
@pytest.mark.parametrize("session", [False, True])
def test_contradiction(call, option, optional, session):
    """E09: one call that says both is the caller's mistake, whatever the session says."""
    with pytest.raises(ValueError, match=r"REQUIRETLS|TLS-Required"):
        header.wants_requiretls(call=call, option=option, session=session, optional=optional)
