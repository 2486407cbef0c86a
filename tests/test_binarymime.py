"""BODY=BINARYMIME (RFC 3030 s3): octets as they are, by BDAT or not at all."""

from __future__ import annotations

import email
import email.policy
import io
import smtplib
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart

import pytest
from support import RAW, connect, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client.streaming import HEAD
from requiretls_client.testing import close

SENDER, ONE, TWO = "alice@example.org", "one@example.net", "two@example.net"
OFFERS = ["PIPELINING", "SIZE 90000000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"]
SERVED = OFFERS  # by default, see the fixture client
WAYS = ["steps", "groups", "chunks"]
BINARY = ["BODY=BINARYMIME"]
HEADER = (
    b"From: alice@example.org\r\nSubject: canary-subject\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
)
OCTETS = bytes(range(256)) + b"\r\n.\r\n" + b"x" * 5000 + b"\n.\n\r\r\n\r" + b"canary-octets"


def attached(octets=OCTETS, **more):
    """Return a message object with a text and a binary attachment."""
    message = EmailMessage()
    message["From"], message["To"] = SENDER, ONE
    message.set_content("text\n")
    message.add_attachment(octets, "application", "octet-stream", cte="binary", **more)
    return message


def single():
    """Return a legacy message object that is binary itself."""
    message = Message()
    message["From"], message["To"] = SENDER, ONE
    message["Content-Type"], message["Content-Transfer-Encoding"] = "application/x", "binary"
    message.set_payload(OCTETS.decode("ascii", "surrogateescape"))
    return message


def nested():
    """Return a message object with a binary part two levels down, and one that says 8bit."""
    inner, outer = MIMEMultipart("mixed"), MIMEMultipart("mixed")
    inner["Content-Transfer-Encoding"] = "8bit"
    inner.attach(single())
    outer["From"], outer["To"] = SENDER, ONE
    outer.attach(inner)
    return outer


def parsed():
    """Return a message object that came from the wire."""
    raw = HEADER + OCTETS
    message = email.message_from_bytes(raw, policy=email.policy.default)
    message["To"] = ONE
    return message


OBJECTS = [attached, single, nested, parsed]


def said(server):
    """Return all that the client has said."""
    return b"".join(line.data for line in server.transcript if line.side == "C")


def shape(message):
    """Return what a message object holds, but for the boundaries that serialising it made up."""
    return [
        (part.keys(), part["Content-Transfer-Encoding"], part.is_multipart() or part.get_payload())
        for part in message.walk()
    ]


# -- raw messages ------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [bytes, bytearray, io.BytesIO])
@pytest.mark.parametrize("size", [1, 40], ids=["small", "large"])
def test_octets_arrive(client, form, way, strict, size):
    """CHK-04: every octet goes as it is, by BDAT, and MAIL says so."""
    raw = HEADER + OCTETS * (size * HEAD // 10 // len(OCTETS) + 1)
    server, smtp = client(way)
    assert smtp.sendmail(SENDER, [ONE, TWO], form(raw), BINARY, require_tls=strict) == {}
    (accepted,) = server.ledger
    assert accepted.content == raw
    assert accepted.recipients == (ONE, TWO)
    assert {*BINARY, f"SIZE={len(raw)}"} <= set(accepted.parameters)
    assert ("REQUIRETLS" in accepted.parameters) is strict
    assert "DATA" not in verbs(server)
    assert verbs(server).count("BDAT") == 1
    assert smtp.sendmail(SENDER, ONE, RAW) == {}  # and an ordinary one behind it


@pytest.mark.parametrize("body", [b"", b"ascii only\r\n", b"\0", "ünï".encode(), b"\n", b"\r"])
def test_short_content(client, body):
    """Whatever the body is, BODY=BINARYMIME stays what the caller has said, and BDAT carries it."""
    server, smtp = client()
    assert smtp.sendmail(SENDER, ONE, HEADER + body, ["body=binarymime"]) == {}
    assert server.ledger[0].content == HEADER + body


def test_str(client):
    """A str is its ASCII, as it is."""
    server, smtp = client()
    smtp.sendmail(SENDER, ONE, "Subject: s\r\n\r\na\nb\rc\0", BINARY)
    assert server.ledger[0].content == b"Subject: s\r\n\r\na\nb\rc\0"


@pytest.mark.parametrize("form", [bytes, io.BytesIO])
def test_field_is_put_in(client, form):
    """RFC 8689 s3: TLS-Required: No goes in front; the octets behind the header stay."""
    server, smtp = client()
    smtp.sendmail(SENDER, ONE, form(HEADER + OCTETS * 100), BINARY, tls_optional=True)
    assert server.ledger[0].content == b"TLS-Required: No\r\n" + HEADER + OCTETS * 100


@pytest.mark.parametrize("offered", [[], ["CHUNKING"], ["BINARYMIME"]], ids=str)
@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize("way", WAYS)
def test_not_offered(client, offered, form, way):
    """CHK-04: without BINARYMIME and CHUNKING, both inside TLS, a raw message is refused."""
    extensions = ["PIPELINING", "8BITMIME", *offered, "REQUIRETLS"]
    server, smtp = client(way, tls_extensions=extensions)
    with pytest.raises(smtplib.SMTPNotSupportedError, match="BINARYMIME and CHUNKING"):
        smtp.sendmail(SENDER, ONE, form(HEADER + OCTETS), BINARY)
    assert nothing_sent(server)
    assert smtp.sock is not None


@pytest.mark.parametrize("pad", [0, HEAD], ids=["small", "large"])
@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"Subject: s\nX: y\r\n\r\n", "do not end with CRLF"),
        (b"Subject: s\rX: y\r\n\r\n", "do not end with CRLF"),
        (b"Subject: s\n\n\r\n\r\n", "do not end with CRLF"),
        (b"Subject: \0\r\n\r\n", "NUL"),
        (b"Subject: gr\xfcn\r\n\r\n", "neither ASCII nor UTF-8"),
        (b"X: y\r\nSubject: " + b"x" * 990 + b"\r\n\r\n", "line 2 of the header"),
    ],
)
def test_header_has_lines(client, header, match, form, pad):
    """RFC 3030 s3: only the body is free; a header that is not fit cannot be mended, is refused."""
    server, smtp = client()
    with pytest.raises(ValueError, match=match):
        smtp.sendmail(SENDER, ONE, form(header + OCTETS + b"\0" * pad), BINARY)
    assert nothing_sent(server)


def test_utf8_header(client):
    """RFC 6531 s3.6: a header beyond ASCII needs SMTPUTF8 here too."""
    raw = "Subject: grün\r\n\r\n".encode() + OCTETS
    server, smtp = client()
    smtp.sendmail(SENDER, ONE, raw, BINARY)
    assert {*BINARY, "SMTPUTF8"} <= set(server.ledger[0].parameters)
    server, smtp = client(extensions=[each for each in OFFERS if each != "SMTPUTF8"])
    with pytest.raises(smtplib.SMTPNotSupportedError, match="SMTPUTF8"):
        smtp.sendmail(SENDER, ONE, raw, BINARY)
    assert nothing_sent(server)


def test_several_bodies(client):
    """Two BODY parameters contradict each other."""
    server, smtp = client()
    with pytest.raises(ValueError, match="several"):
        smtp.sendmail(SENDER, ONE, HEADER, [*BINARY, "BODY=8BITMIME"])
    assert nothing_sent(server)


def test_too_large(client):
    """RFC 1870: what is more than the server's SIZE is refused before MAIL."""
    server, smtp = client(extensions=[*OFFERS[2:], "SIZE 100"])
    with pytest.raises(smtplib.SMTPSenderRefused):
        smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY)
    assert nothing_sent(server)


# -- the dialogue ------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize(
    "script",
    [{"MAIL": "550 5.7.1 no"}, {"RCPT": "550 5.1.1 no"}, {"MAIL": "421 4.3.2 bye"},
     {"RCPT": ["250 ok", "421 4.3.2 bye"]}, {"RCPT": "200 hm"}, {"RCPT": close}],
    ids=str,
)  # fmt: skip
def test_content_waits_for_the_envelope(client, script, form, way, strict):
    """PIPE-04: the content leaves once the envelope was accepted, but where it was let ride."""
    server, smtp = client(way, script=script)
    with pytest.raises(smtplib.SMTPException) as caught:
        smtp.sendmail(SENDER, [ONE, TWO], form(HEADER + OCTETS), BINARY, require_tls=strict)
    if way == "chunks" and not strict:
        return
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    smtp.close()
    server.wait_idle()
    assert b"canary" not in said(server)
    assert "BDAT" not in verbs(server)


def test_only_accepted_recipients(client):
    """One refused recipient of two is in the result, step by step and in groups."""
    for way in WAYS:
        server, smtp = client(way, script={"RCPT": ["550 5.1.1 no", "250 ok"]})
        refused = smtp.sendmail(SENDER, [ONE, TWO], HEADER + OCTETS, BINARY)
        assert refused == {ONE: (550, b"5.1.1 no")}
        assert server.ledger[0].recipients == (TWO,)


@pytest.mark.parametrize("answer", ["451 4.3.0 later", "554 5.7.1 no", "421 4.3.2 bye"])
@pytest.mark.parametrize("way", WAYS)
def test_refused_content(client, way, answer):
    """CHK-03: a chunk that is refused is SMTPDataError, then RSET, and the session can go on."""
    server, smtp = client(way, script={"BDAT": [answer]})
    with pytest.raises(smtplib.SMTPDataError) as caught:
        smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY)
    assert caught.value.smtp_code == int(answer[:3])
    assert (smtp.sock is None) is answer.startswith("421")
    if smtp.sock is not None:
        assert verbs(server)[-1] == "RSET"
        assert smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY) == {}


@pytest.mark.parametrize("answer", ["354 go on", "251 hm", b"hello\r\n", close])
@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize("way", WAYS)
def test_no_answer_to_count_on(client, way, form, answer):
    """L08: after the last octet only 250 says yes; what says neither yes nor no is unknown."""
    _, smtp = client(way, script={"BDAT": answer})
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail(SENDER, ONE, form((HEADER + OCTETS).ljust(HEAD + 1)), BINARY)
    assert caught.value.recipients == (ONE,)
    assert smtp.sock is None


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize("way", ["steps", "groups"])
def test_answer_too_many(client, way, form, strict):
    """An answer too many to the envelope does not pass for that to the message."""
    server, smtp = client(way, script={"RCPT": "250 ok\n250 and once more", "BDAT": "554 no"})
    with pytest.raises(rt.ReplyError, match="unasked") as caught:
        smtp.sendmail(SENDER, ONE, form(HEADER + OCTETS), BINARY, require_tls=strict)
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    assert smtp.sock is None
    assert b"canary" not in said(server)


def test_lost_behind_nothing(client):
    """L08: an empty content has left with its BDAT; no answer means that nobody knows."""
    _, smtp = client(script={"BDAT": close})
    with pytest.raises(rt.DeliveryUnknown):
        smtp.sendmail(SENDER, ONE, b"", BINARY)


def test_many_messages(client):
    """send_messages() sends binary message objects as they are, among others."""
    server, smtp = client()
    outcomes = smtp.send_messages([(SENDER, ONE, RAW), attached(), attached()], in_flight=8)
    assert [each.state for each in outcomes] == ["delivered"] * 3
    assert [each.content.count(OCTETS) for each in server.ledger] == [0, 1, 1]
    assert [BINARY[0] in each.parameters for each in server.ledger] == [False, True, True]


def test_debug_output_hides_content(client, capsys):
    """G06: at debug level 1 the octets do not show."""
    for way in WAYS:
        _, smtp = client(way)
        smtp.set_debuglevel(1)
        smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY)
    assert "canary" not in capsys.readouterr().err


# -- classes with steps of their own -----------------------------------------------------------


@pytest.mark.parametrize("name", ["mail", "rcpt", "data", "putcmd", "getreply", "send"])
def test_class_with_its_own_step(client, name):
    """Who has an own step of the dialogue gets no BDAT: a raw message is refused, an object not."""

    def own(self, *arguments, **named):
        return getattr(super(cls, self), name)(*arguments, **named)

    cls = type("Own", (rt.SMTP,), {name: own})
    server, smtp = client("groups", cls)
    with pytest.raises(smtplib.SMTPNotSupportedError, match="of its own"):
        smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY)
    assert nothing_sent(server)
    assert smtp.send_message(attached()) == {}
    assert "BDAT" not in verbs(server)
    assert b"base64" in server.ledger[0].content


def test_lmtp(serve):
    """LMTP, which has a data() of its own, encodes message objects and refuses raw ones."""
    server = serve(extensions=OFFERS, lmtp=True)
    with connect(server, rt.LMTP) as smtp:
        with pytest.raises(smtplib.SMTPNotSupportedError, match="of its own"):
            smtp.sendmail(SENDER, ONE, HEADER + OCTETS, BINARY)
        assert smtp.send_message(attached()) == {}
    assert b"base64" in server.ledger[0].content


# -- message objects ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), BINARY], ids=["unsaid", "said"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", OBJECTS)
def test_object_as_it_is(client, make, way, options):
    """CHK-04: a binary part leaves as it is, and what holds it says binary (RFC 2045 s6.4)."""
    message = make()
    before = shape(message)
    server, smtp = client(way)
    assert smtp.send_message(message, mail_options=options) == {}
    (accepted,) = server.ledger
    assert [each for each in accepted.parameters if each.startswith("BODY")] == BINARY
    assert "DATA" not in verbs(server)
    assert accepted.content.count(OCTETS) == 1
    got = email.message_from_bytes(accepted.content, policy=email.policy.default)
    for part in got.walk():
        if part.is_multipart():
            assert part["Content-Transfer-Encoding"] == "binary"
    assert shape(message) == before


@pytest.mark.parametrize("options", [(), BINARY], ids=["unsaid", "said"])
@pytest.mark.parametrize("offered", [[], ["CHUNKING"], ["BINARYMIME"]], ids=str)
@pytest.mark.parametrize("make", OBJECTS)
def test_object_where_it_is_not_offered(client, make, offered, options):
    """CHK-04: elsewhere a binary part is encoded without loss, whatever was asked for."""
    server, smtp = client(extensions=["PIPELINING", "8BITMIME", *offered])
    assert smtp.send_message(make(), mail_options=options) == {}
    (accepted,) = server.ledger
    assert not [each for each in accepted.parameters if each.startswith("BODY")]
    got = email.message_from_bytes(accepted.content, policy=email.policy.default)
    (leaf,) = [each for each in got.walk() if each.get_content_maintype() == "application"]
    assert leaf["Content-Transfer-Encoding"] == "base64"
    assert leaf.get_payload(decode=True) == OCTETS


@pytest.mark.parametrize("body", ["BODY=7BIT", "BODY=8BITMIME"])
def test_object_with_another_body(client, body):
    """Who says another BODY gets that, with the part encoded."""
    server, smtp = client()
    smtp.send_message(attached(), mail_options=[body])
    assert body in server.ledger[0].parameters
    assert b"base64" in server.ledger[0].content


def test_object_with_long_lines_beside(client):
    """A part with long lines is encoded all the same: only what says binary is."""
    message = attached()
    text = Message()
    text["Content-Type"], text["Content-Transfer-Encoding"] = "text/html", "8bit"
    text.set_payload("<p>" + "long " * 1000)
    message.attach(text)
    server, smtp = client()
    smtp.send_message(message)
    content = server.ledger[0].content
    assert content.count(OCTETS) == 1
    assert b"quoted-printable" in content


def test_signed_object(client):
    """Under a signature nothing is changed, neither header nor octet."""
    message = attached()
    message["DKIM-Signature"] = "v=1"
    server, smtp = client()
    smtp.send_message(message)
    content = server.ledger[0].content
    assert content.count(OCTETS) == 1
    assert content.count(b"Content-Transfer-Encoding: binary") == 1
    assert BINARY[0] in server.ledger[0].parameters


def test_object_with_the_field(client):
    """RFC 8689 s3: tls_optional puts the field into a binary message object too."""
    server, smtp = client()
    smtp.send_message(attached(), tls_optional=True)
    content = server.ledger[0].content
    assert content.count(OCTETS) == 1
    assert content.count(b"TLS-Required: No\r\n") == 1


def test_object_without_binary_parts(client):
    """An ordinary message object is BINARYMIME only where the caller says so."""
    message = EmailMessage()
    message["From"], message["To"] = SENDER, ONE
    message.set_content("text\n")
    server, smtp = client()
    smtp.send_message(message)
    smtp.send_message(message, mail_options=BINARY)
    assert [BINARY[0] in each.parameters for each in server.ledger] == [False, True]
    assert server.ledger[0].content == server.ledger[1].content


def test_object_under_rfc_8689(client):
    """RFC 8689: REQUIRETLS beside BINARYMIME, and the content behind the accepted MAIL."""
    server, smtp = client(script={"MAIL": ["555 5.5.4 not for you"]})
    with pytest.raises(smtplib.SMTPSenderRefused):
        smtp.send_message(attached(), require_tls=True)
    assert b"canary" not in said(server)
    smtp.send_message(attached(), require_tls=True)
    assert {"REQUIRETLS", *BINARY} <= set(server.ledger[0].parameters)
