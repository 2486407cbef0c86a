"""Content: line ends, line lengths, 8-bit octets, sizes, and message objects as bytes."""

from __future__ import annotations

import copy
import email
import email.policy
import re
import smtplib
import subprocess
import sys
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from support import RAW, connect, nothing_sent

import requiretls_client as rt
from requiretls_client import content, lines

HEAD = b"From: alice@example.org\r\nSubject: s\r\n\r\n"
DKIM = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n b=x\r\n"
LONG = "word " * 300  # 1500 octets
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def offer(*extensions):
    """Return arguments of a server that offers these, in clear and inside TLS."""
    return {"extensions": extensions, "tls_extensions": [*extensions, "REQUIRETLS"]}


def send(smtp, raw, *options, **more):
    """Send a raw message."""
    return smtp.sendmail("alice@example.org", "bob@example.net", raw, options, **more)


def client_bytes(server):
    """Return everything the client has said."""
    return b"".join(line.data for line in server.transcript if line.side == "C")


def text_message(text, **options):
    """Return a message object with a text."""
    message = EmailMessage()
    message["From"], message["To"] = "alice@example.org", "bob@example.net"
    message.set_content(text, **options)
    return message


def addressed(message):
    """Return a legacy message object with its addresses."""
    message["From"], message["To"] = "alice@example.org", "bob@example.net"
    return message


def parsed(server):
    """Return the only message that the server took."""
    (accepted,) = server.ledger
    assert max(map(len, accepted.content.split(b"\r\n"))) <= 998
    assert not BARE.search(accepted.content)
    return email.message_from_bytes(accepted.content, policy=email.policy.default)


# -- line ends and dots ------------------------------------------------------------------------

BODIES = [
    ("dot", b".\r\n"),
    ("dots", b"..x\r\n...\r\n"),
    ("first-line-dot", b".first\r\nsecond\r\n"),
    ("only-a-dot-inside", b"a\r\n.\r\nb\r\n"),
    ("D02-cr-dot-crlf", b"a\r.\r\nMAIL FROM:<evil@x.y>\r\n"),
    ("D01-lf-dot-lf", b"a\n.\nMAIL FROM:<evil@x.y>\r\n"),
    ("D01-lf-dot-crlf", b"a\n.\r\nMAIL FROM:<evil@x.y>\r\n"),
    ("crlf-dot-lf", b"a\r\n.\nb\r\n"),
    ("crlf-dot-cr", b"a\r\n.\rb\r\n"),
    ("cr-cr-lf", b"a\r\r\nb\r\n"),
    ("lf-cr", b"a\n\rb\r\n"),
    ("no-final-crlf", b"a\r\nb"),
    ("final-lf", b"a\r\nb\n"),
    ("final-cr", b"a\r\nb\r"),
    ("final-dot", b"a\r\n."),
    ("empty", b""),
    ("lf-throughout", b"a\n\n.b\nc\n"),
    ("cr-throughout", b"a\r\r.b\rc\r"),
]


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("body", [pytest.param(row[1], id=row[0]) for row in BODIES])
def test_body_arrives(serve, body, strict):
    """SMTP-13, SMTP-14: CRLF only on the wire, and after unstuffing every octet is there."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, HEAD + body, require_tls=strict)
    (accepted,) = server.ledger
    want = re.sub(rb"\r\n|\r|\n", b"\r\n", HEAD + body)
    assert accepted.content == (want if want.endswith(b"\r\n") else want + b"\r\n")
    assert not BARE.search(client_bytes(server))


@pytest.mark.parametrize("first", [b".x: 1\r\n\r\nbody\r\n", b".\r\n.\r\n", b"\r\n.\r\n"])
def test_dot_in_the_first_line(serve, first):
    """SMTP-14: the very first line is stuffed too."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, first)
    assert server.ledger[0].content == first


def test_str_as_in_smtplib(serve):
    """SMTP-13: a str goes out with CRLF whatever ended its lines; beyond ASCII it does not."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, "Subject: s\n\na\r.\nb\r\n")
        before = len(server.transcript)
        with pytest.raises(UnicodeEncodeError):
            send(smtp, "Subject: ü\n\n")
        assert len(server.transcript) == before
    assert server.ledger[0].content == b"Subject: s\r\n\r\na\r\n.\r\nb\r\n"


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_bytes_like(serve, make):
    """D08: a buffer that can change is copied before anything is sent."""
    buffer = bytearray(HEAD + b"before\r\n")

    def change(_):
        buffer[-8:-2] = b"after!"
        return "250-localhost\n250 8BITMIME"

    server = serve(script={"EHLO": change})
    with connect(server) as smtp:
        send(smtp, make(buffer))
    assert server.ledger[0].content == HEAD + b"before\r\n"


@pytest.mark.parametrize("message", [None, 5, ["a"], object()])
def test_no_message_at_all(serve, message):
    """C15: what is neither str nor bytes is a TypeError before a byte is sent."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(TypeError):
            send(smtp, message)
        assert server.commands() == []


def test_crlf_bytes_are_not_copied(serve):
    """Bytes that SMTP can carry already reach smtplib's data() as the same object."""

    class Noting(rt.SMTP):
        def data(self, msg):
            seen.append(msg)
            return super().data(msg)

    seen = []
    raw = HEAD + b"x" * 76 + b"\r\n"
    server = serve()
    with connect(server, Noting) as smtp:
        send(smtp, raw)
    assert seen[0] is raw
    large = HEAD + (b"x" * 76 + b"\r\n") * 250_000
    assert content.raw_bytes(large) is large


def test_signed_message_in_unix_form():
    """D01: a signed message with LF throughout is put into the form that its signer hashed."""
    raw = DKIM.replace(b"\r\n", b"\n") + b"Subject: s\n\nbody\n"
    assert content.raw_bytes(raw) == raw.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("raw", [b"a\nb\r.\rc\n", "a\n.b\n"])
def test_data_by_itself(serve, raw):
    """SMTP-13: data() as a command of its own puts no lone CR or LF on the wire either."""
    server = serve()
    with connect(server) as smtp:
        smtp.ehlo()
        smtp.mail("a@b.c")
        smtp.rcpt("d@e.f")
        assert smtp.data(raw)[0] == 250
    (accepted,) = server.ledger
    assert accepted.content.count(b"\r\n") == accepted.content.count(b"\n")
    assert accepted.content.count(b"\r") == accepted.content.count(b"\n")


@pytest.mark.parametrize(
    "raw",
    [
        DKIM + HEAD + b"a\nb\r\n",
        b"Subject: s\r\n" + DKIM.lower() + b"\r\na\rb\r\n",
        b"Subject: s\nDKIM-Signature : v=1\n\nbo\rdy\n",
    ],
)
def test_signed_message_is_not_changed(serve, raw):
    """D01: line ends that SMTP cannot carry, under a DKIM signature, are a ValueError."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match=r"DKIM-Signature.*CRLF"):
            send(smtp, raw)
        assert server.commands() == []


@pytest.mark.parametrize(
    "raw",
    [DKIM + HEAD + b"body\r\n", HEAD + b"DKIM-Signature: x\n", b"Subject: x\n y DKIM-Signature:\n"],
    ids=["crlf", "in-the-body", "in-a-value"],
)
def test_signature_that_is_none_or_stays_whole(serve, raw):
    """D01: a signed message with CRLF goes out; the name elsewhere is no signature."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, raw)
    assert server.ledger[0].content == re.sub(rb"(?<!\r)\n", b"\r\n", raw)


@pytest.mark.parametrize("raw", [b"Subject: a\0b\r\n\r\n", b"A: b\r\n\0C: d\r\n\r\n", b"A\0: b"])
def test_nul_in_the_header(serve, raw):
    """C09: NUL in the header is a ValueError before a byte is sent."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match="NUL"):
            send(smtp, raw)
        assert server.commands() == []


# -- line lengths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"", 0),
        (b"x" * 998, 0),
        (b"x" * 999, 1),
        (b"x" * 998 + b"\r\n", 0),
        (b"x" * 999 + b"\r\n", 1),
        (b"a\r\n" + b"x" * 998 + b"\r\n" + b"y" * 998, 0),
        (b"a\r\n" + b"x" * 998 + b"\r\n" + b"y" * 999, 3),
        (b"a\r\n" * 5000 + b"x" * 999 + b"\r\n" + b"a\r\n" * 5000, 5001),
        ((b"x" * 998 + b"\r\n") * 50, 0),
        (b"\r\n" * 700 + b"x" * 999, 701),
    ],
)
def test_long_line_is_found(raw, number):
    """SMTP-12: 998 octets before CRLF are allowed, 999 are not, and the line is named."""
    assert lines.long_line(raw) == number


def test_longest_line_begins_with_a_dot(serve):
    """SMTP-12, SMTP-14: the dot of dot-stuffing does not count."""
    server = serve()
    raw = HEAD + b"." + b"x" * 997 + b"\r\n"
    with connect(server) as smtp:
        send(smtp, raw)
    assert server.ledger[0].content == raw


@pytest.mark.parametrize("raw", [HEAD + b"x" * 999, (HEAD + b"x" * 999).decode()])
def test_long_line_in_a_raw_message(serve, raw):
    """SMTP-12, D04: a raw message with a long line is refused before a byte, not split."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match="line 4 of the message is longer than 998"):
            send(smtp, raw)
        assert server.commands() == []
        send(smtp, RAW)
    assert len(server.ledger) == 1


def legacy(payload, **headers):
    """Return a message without MIME fields but those given."""
    message = addressed(Message())
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_payload(payload)
    return message


LONG_LINES = [
    ("no-mime", legacy(LONG + "\nshort = x\n.\n")),
    ("text", addressed(MIMEText(LONG + "\n\n.\nFrom here \n"))),
    ("998-and-from", legacy("From " + "x" * 993 + "\n")),
    ("7bit", text_message("x" * 5000 + "\n", cte="7bit")),
    ("8bit", text_message("ü" * 800 + "\n", cte="8bit")),
    ("base64-in-one-line", legacy("QUJD" * 400, Content_Transfer_Encoding="BASE64")),
    ("qp", legacy("a=3D" * 400, Content_Transfer_Encoding="quoted-printable")),
]


@pytest.mark.parametrize("sent", [pytest.param(row[1], id=row[0]) for row in LONG_LINES])
def test_long_line_in_a_message_object(serve, sent):
    """SMTP-12, D04: a part with long lines is encoded, means the same, and the object is kept."""
    server = serve()
    before = copy.deepcopy(sent)
    with connect(server) as smtp:
        smtp.send_message(sent)
    got = parsed(server)
    want = sent.get_payload(decode=True).replace(b"\nFrom ", b"\n>From ")
    if want.startswith(b"From "):
        want = b">" + want  # smtplib's, of legacy messages
    data = got.get_payload(decode=True).replace(b"\r\n", b"\n")
    assert data.rstrip(b"\n") == want.rstrip(b"\n")
    assert got["MIME-Version"] == "1.0"
    assert got.get_content_type() == "text/plain"
    assert sent.items() == before.items()
    assert sent.get_payload() == before.get_payload()


def test_long_lines_deep_inside(serve):
    """SMTP-12: attachments and attached messages too; the parts that are short stay as they are."""
    inner = MIMEText("i" * 2000)
    outer = addressed(MIMEMultipart())
    outer.attach(MIMEText("short"))
    outer.attach(MIMEMessage(inner))
    outer.attach(MIMEApplication(b'{"a": 1}' * 500, "json", lambda _: None))
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(outer)
    short, attached, json = parsed(server).iter_parts()
    assert short["Content-Transfer-Encoding"] == "7bit"
    assert attached["Content-Transfer-Encoding"] is None
    assert attached.get_content().get_content() == "i" * 2000
    assert json.get_content() == b'{"a": 1}' * 500


def test_binary_part(serve):
    """CHK-04: binary data is encoded without loss where it would go through DATA."""
    data = bytes(range(256)) * 20 + b"\r\r\n\n.\n"
    sent = EmailMessage()
    sent["From"], sent["To"] = "alice@example.org", "bob@example.net"
    sent.add_attachment(data, "application", "octet-stream", cte="binary")
    sent["Content-Transfer-Encoding"] = "binary"
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(sent)
    got = parsed(server)
    assert got["Content-Transfer-Encoding"] == "8bit"
    assert next(got.iter_attachments()).get_content() == data


def test_long_header_is_folded(serve):
    """SMTP-12: where the policy of the object folds nothing, ours folds what is too long."""
    sent = EmailMessage(email.policy.default.clone(max_line_length=5000))
    sent["From"], sent["To"] = "alice@example.org", "bob@example.net"
    sent["Subject"] = LONG.strip()
    sent.set_content("x\n")
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(sent)
    assert parsed(server)["Subject"] == LONG.strip()


SIGNED = MIMEMultipart("signed")
SIGNED.attach(MIMEText("x" * 2000))
UNFIT = [
    ("dkim", legacy(LONG, DKIM_Signature="v=1")),
    ("signed", addressed(SIGNED)),
    ("uuencode", legacy("x" * 2000, Content_Transfer_Encoding="x-uuencode")),
    ("unparsed-message", legacy("x" * 2000, Content_Type="message/partial")),
    ("header", legacy("short", X_Long="x" * 2000)),
]


@pytest.mark.parametrize("message", [pytest.param(row[1], id=row[0]) for row in UNFIT])
def test_message_object_that_cannot_be_made_fit(serve, message):
    """SMTP-12, D04: what cannot be encoded without breaking it is refused before MAIL."""
    server = serve()
    with connect(server) as smtp, pytest.raises(ValueError, match="longer than 998"):
        smtp.send_message(message)
    assert nothing_sent(server)


# -- 8-bit octets ------------------------------------------------------------------------------

EIGHT = HEAD + "grün\r\n".encode()
UTF8_HEAD = "Subject: grün\r\n\r\nbody\r\n".encode()


def parameters(server):
    """Return the parameters of the only message, without SIZE."""
    (accepted,) = server.ledger
    return [each for each in accepted.parameters if not each.upper().startswith("SIZE=")]


@pytest.mark.parametrize(
    ("raw", "given", "want"),
    [
        (RAW, [], []),
        (EIGHT, [], ["BODY=8BITMIME"]),
        (EIGHT, ["body=8bitmime"], ["body=8bitmime"]),
        (HEAD + b"\xff\r\n", [], ["BODY=8BITMIME"]),
        ("¡no header at all!\r\n".encode(), [], ["BODY=8BITMIME"]),
        (RAW, ["BODY=7BIT"], ["BODY=7BIT"]),
        (RAW, ["SMTPUTF8"], ["SMTPUTF8"]),
        (UTF8_HEAD, [], ["SMTPUTF8", "BODY=8BITMIME"]),
        (UTF8_HEAD, ["smtputf8"], ["smtputf8", "BODY=8BITMIME"]),
        (b"From x Mon\n" + UTF8_HEAD, [], ["SMTPUTF8", "BODY=8BITMIME"]),
        (UTF8_HEAD, ["BODY=8BITMIME", "SMTPUTF8"], ["BODY=8BITMIME", "SMTPUTF8"]),
    ],
)
def test_raw_message_declares_what_it_needs(serve, raw, given, want):
    """D06, UTF-02: BODY=8BITMIME and SMTPUTF8 stand on MAIL once where they are needed."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, raw, *given)
    assert parameters(server) == want


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize(
    ("raw", "offered", "missing"),
    [
        (EIGHT, ["SMTPUTF8"], "8BITMIME"),
        (UTF8_HEAD, ["8BITMIME"], "SMTPUTF8"),
        (UTF8_HEAD, ["SMTPUTF8"], "8BITMIME"),
        (UTF8_HEAD, [], "SMTPUTF8"),
    ],
)
def test_raw_message_needs_what_is_not_offered(serve, raw, offered, missing, strict):
    """D06, UTF-01: 8-bit octets that the server does not take are refused before MAIL."""
    server = serve(**offer(*offered))
    with connect(server) as smtp:
        with pytest.raises(smtplib.SMTPNotSupportedError, match=f"not offer {missing}"):
            send(smtp, raw, require_tls=strict)
        assert not [each for each in server.commands() if each.upper().startswith("MAIL")]
        send(smtp, RAW, require_tls=strict)
    assert len(server.ledger) == 1


def test_helo_server_gets_no_8bit(serve):
    """D06: HELO has no extensions, so there is no 8BITMIME."""
    server = serve(script={"EHLO": "502 5.5.1 no"})
    with connect(server) as smtp:
        with pytest.raises(smtplib.SMTPNotSupportedError, match="8BITMIME"):
            send(smtp, EIGHT)
        send(smtp, RAW)
    assert len(server.ledger) == 1


def test_only_the_offer_inside_tls_counts(serve):
    """UTF-01, D06: what the server offered before TLS is not what decides."""
    server = serve(extensions=["8BITMIME"], tls_extensions=["REQUIRETLS"])
    with connect(server) as smtp:
        smtp.ehlo()
        with pytest.raises(smtplib.SMTPNotSupportedError, match="8BITMIME"):
            send(smtp, EIGHT, require_tls=True)
    assert nothing_sent(server)


@pytest.mark.parametrize(
    ("raw", "options", "match"),
    [
        (EIGHT, ["BODY=7BIT"], "contradicts"),
        (RAW, ["BODY=7BIT", "BODY=8BITMIME"], "several"),
        (b"Subject: gr\xfcn\r\n\r\n", ["SMTPUTF8"], "neither ASCII nor UTF-8"),
    ],
)
def test_contradiction(serve, raw, options, match):
    """D06: options that the message belies, and a header in no encoding: ValueError."""
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match=match):
            send(smtp, raw, *options)
        assert server.commands() == []


def raw_subject(policy=email.policy.compat32):
    """Return a message that came with a Latin-1 subject and text."""
    raw = b"Subject: gr\xfcn\r\nFrom: a@b.c\r\nTo: d@e.f\r\n\r\ngr\xfcn\r\n"
    return email.message_from_bytes(raw, policy=policy)


MIXED = addressed(MIMEMultipart(Content_Transfer_Encoding="8bit"))
MIXED["Content-Transfer-Encoding"] = "8bit"
MIXED.attach(legacy("gr\udcc3\udcbcn", Content_Type="text/plain", Content_Transfer_Encoding="8bit"))


@pytest.mark.parametrize(
    "sent",
    [text_message("grün\n", cte="8bit"), MIXED, raw_subject(), raw_subject(email.policy.default)],
    ids=["text", "no-charset", "latin-1-legacy", "latin-1"],
)
@pytest.mark.parametrize(("offered", "given"), [([], []), (["8BITMIME"], ["BODY=7BIT"])])
def test_message_object_in_seven_bits(serve, sent, offered, given):
    """D06: a message object goes out in 7 bits where 8 are not offered, and is kept as it is."""
    server = serve(**offer(*offered))
    before = copy.deepcopy(sent)
    with connect(server) as smtp:
        smtp.send_message(sent, mail_options=given)
    assert parameters(server) == given
    assert server.ledger[0].content.isascii()
    got = parsed(server)
    part = got.get_payload(0) if got.is_multipart() else got
    data = part.get_payload(decode=True).rstrip()
    assert data in ("grün".encode(), b"gr\xfcn")
    assert got["Content-Transfer-Encoding"] in ("7bit", "quoted-printable")
    assert sent.items() == before.items()


def test_message_object_in_eight_bits(serve):
    """D06: with 8BITMIME the object's own encoding stays, and MAIL says so."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(text_message("grün\n", cte="8bit"))
    assert parameters(server) == ["BODY=8BITMIME"]
    assert "grün".encode() in server.ledger[0].content


def test_signed_message_object_is_not_encoded(serve):
    """D06: under a signature 8-bit parts stay as they are, or are refused."""
    sent = text_message("grün\n", cte="8bit")
    sent["DKIM-Signature"] = "v=1"
    poor, rich = serve(**offer()), serve()
    with connect(poor) as smtp, pytest.raises(smtplib.SMTPNotSupportedError, match="8BITMIME"):
        smtp.send_message(sent)
    assert nothing_sent(poor)
    with connect(rich) as smtp:
        smtp.send_message(sent)
    assert "grün".encode() in rich.ledger[0].content


def utf8_message(**headers):
    """Return a message whose policy writes UTF-8 headers."""
    message = EmailMessage(email.policy.SMTPUTF8)
    for name, value in {"From": "a@b.c", "To": "d@e.f", "Subject": "grün", **headers}.items():
        message[name] = value
    message.set_content("body\n")
    return message


def test_utf8_policy_without_need(serve):
    """UTF-01, UTF-02: ASCII addresses need no SMTPUTF8, so the header words are encoded."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(utf8_message())
        smtp.send_message(utf8_message(), mail_options=["SMTPUTF8"])
    plain, asked = server.ledger
    assert b"Subject: =?utf-8?q?gr=C3=BCn?=\r\n" in plain.content
    assert "SMTPUTF8" not in plain.parameters
    assert "Subject: grün\r\n".encode() in asked.content
    assert asked.parameters[1:] == ("SMTPUTF8", "BODY=8BITMIME")


def test_address_in_the_header_needs_smtputf8(serve):
    """UTF-01, UTF-02: an address beyond ASCII in the header is not mangled, but declared."""
    sent = utf8_message(To="jörg@example.net")
    poor, rich = serve(**offer("8BITMIME")), serve()
    with connect(poor) as smtp, pytest.raises(smtplib.SMTPNotSupportedError, match="SMTPUTF8"):
        smtp.send_message(sent, to_addrs=["d@e.f"])
    assert nothing_sent(poor)
    with connect(rich) as smtp:
        smtp.send_message(sent, to_addrs=["d@e.f"])
    assert "To: jörg@example.net\r\n".encode() in rich.ledger[0].content
    assert parameters(rich) == ["SMTPUTF8", "BODY=8BITMIME"]


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ([], ["SMTPUTF8", "BODY=8BITMIME"]),
        (["smtputf8"], ["smtputf8", "BODY=8BITMIME"]),
        (["BODY=8BITMIME"], ["BODY=8BITMIME", "SMTPUTF8"]),
    ],
)
def test_international_envelope(serve, given, want):
    """UTF-02: an address beyond ASCII declares SMTPUTF8 as smtplib does, and once."""
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(text_message("x\n"), to_addrs=["jörg@example.net"], mail_options=given)
    assert parameters(server) == want
    assert server.ledger[0].recipients == ("jörg@example.net",)


def test_international_envelope_without_the_offer(serve):
    """UTF-01: it is refused before MAIL without SMTPUTF8; without 8BITMIME ASCII content goes."""
    poor, odd = serve(**offer("8BITMIME")), serve(**offer("SMTPUTF8"))
    with connect(poor) as smtp, pytest.raises(smtplib.SMTPNotSupportedError, match="SMTPUTF8"):
        smtp.send_message(text_message("x\n"), to_addrs="jörg@example.net", require_tls=True)
    assert nothing_sent(poor)
    with connect(odd) as smtp:
        smtp.send_message(text_message("x\n"), to_addrs="jörg@example.net")
    assert parameters(odd) == ["SMTPUTF8"]


# -- SIZE --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "extra", "fits"),
    [
        ("SIZE 200", 0, True),
        ("SIZE 200", 1, False),
        ("size 200", 1, False),
        ("SIZE 0", 1, True),
        ("SIZE", 1, True),
        ("SIZE -5", 1, True),
        ("SIZE " + "9" * 500, 1, True),
        ("SIZE 200 octets", 1, True),
    ],
)
@pytest.mark.parametrize("final", [b"\r\n", b""], ids=["crlf", "no-crlf"])
def test_size_limit(serve, limit, extra, fits, final):
    """SMTP-23: more than the SIZE offered is 552 5.3.4 before MAIL; no number is no limit."""
    server = serve(script={"EHLO": f"250-localhost\n250 {limit}"}, starttls=False)
    raw = HEAD + b"x" * (200 + extra - len(HEAD) - 2) + final
    with connect(server) as smtp:
        if fits:
            send(smtp, raw)
        else:
            with pytest.raises(smtplib.SMTPSenderRefused) as caught:
                send(smtp, raw)
            assert caught.value.smtp_code == 552
            assert caught.value.sender == "alice@example.org"
            text = b"5.3.4 the message has 201 octets, and the server takes at most 200"
            assert caught.value.smtp_error == text
    assert len(server.ledger) == fits
    assert any(line.upper().startswith("MAIL") for line in server.commands()) == fits


@pytest.mark.parametrize("given", [[], ["SIZE=1"], ["size=7", "BODY=7BIT"]])
def test_size_is_declared_once(serve, given):
    """SMTP-23: SIZE stands on MAIL once, and with the true figure."""
    server = serve()
    with connect(server) as smtp:
        send(smtp, RAW, *given)
    said = [each.upper() for each in server.ledger[0].parameters]
    assert [each for each in said if each.startswith("SIZE=")] == [f"SIZE={len(RAW)}"]


# -- once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("offered", [["8BITMIME"], []], ids=["8bit", "7bit"])
def test_message_object_that_changes_meanwhile(serve, strict, offered):
    """D08: what the object was at the call is sent, whatever another thread does to it."""
    sent = text_message("grün-before\n", cte="8bit")

    def change(_):
        sent.set_content("after\n")
        del sent["Subject"]
        sent["Subject"] = "after"
        keywords = [*offered, *extra.pop()]
        return "\n".join(["250-localhost", *(f"250-{each}" for each in keywords), "250 HELP"])

    extra = [["REQUIRETLS"], ["STARTTLS"]] if strict else [[]]
    server = serve(script={"EHLO": [change] * len(extra)})
    with connect(server) as smtp:
        smtp.send_message(sent, require_tls=strict)
    got = parsed(server)
    assert got.get_content().rstrip() == "grün-before"
    assert got["Subject"] is None
    assert server.ledger[0].content.isascii() is (not offered)


def test_bcc_stays_out_of_every_form(serve):
    """C14: Bcc is not sent, in the 7-bit and the re-encoded form neither."""
    sent = text_message("ü" * 800 + "\n", cte="8bit")
    sent["Bcc"] = "secret@example.net"
    sent["Resent-Bcc"] = "secret@example.net"
    for offered in (["8BITMIME"], []):
        server = serve(**offer(*offered))
        with connect(server) as smtp:
            smtp.send_message(sent)
        assert b"secret" not in server.ledger[0].content
        assert "secret@example.net" in server.ledger[0].recipients


@pytest.mark.parametrize(
    ("headers", "want"),
    [
        ({"From": "a@b.c"}, "a@b.c"),
        ({"From": "a@b.c, x@y.z", "Sender": "s@b.c"}, "s@b.c"),
        ({"From": "a@b.c", "Resent-Date": "x", "Resent-From": "r@b.c"}, "r@b.c"),
        ({"Resent-Date": "x", "Resent-From": "r@b.c", "Resent-Sender": "t@b.c"}, "t@b.c"),
    ],
)
def test_sender(serve, headers, want):
    """The reverse path is Sender, else From, of the newest hand that sent it, as in smtplib."""
    message = Message()
    for name, value in headers.items():
        message[name] = value
    server = serve()
    with connect(server) as smtp:
        smtp.send_message(message, to_addrs=(each for each in ["d@e.f"]))
    assert server.ledger[0].sender == want


@pytest.mark.parametrize(
    ("names", "match"),
    [(["Subject"], "no From"), (["Resent-Date", "Resent-Date", "Resent-From"], "more than one")],
)
def test_no_sender(serve, names, match):
    """A message without a sender is not sent from "None"; nor one resent twice."""
    message = Message()
    for name in names:
        message[name] = "a@b.c"
    server = serve()
    with connect(server) as smtp:
        with pytest.raises(ValueError, match=match):
            smtp.send_message(message, to_addrs="d@e.f")
        assert server.commands() == []


def test_loaded_with_the_first_message():
    """import requiretls_client does not load this module."""
    code = "import sys, requiretls_client; print('requiretls_client.content' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
