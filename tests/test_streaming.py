"""A file as a message: what bytes would come to, of any size, in little memory."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import random
import re
import smtplib
import socket
import threading
import tracemalloc

import pytest
from support import RAW, connect, nothing_sent

import requiretls_client as rt
from requiretls_client import content, lines, streaming
from requiretls_client.streaming import HEAD
from requiretls_client.testing import close, normal
from requiretls_client.testing.certificates import default_ca

SENDER, ONE, TWO = "alice@example.org", "one@example.net", "two@example.net"
BIG = 2_000_000_000
OFFERS = ["PIPELINING", f"SIZE {BIG}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"]
SERVED = OFFERS  # by default, see the fixture client
WAYS = ["steps", "groups", "chunks"]
HEADER = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\n"
DKIM = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n b=x\r\n"
LINE = b"The quick brown fox jumps over the lazy dog, and then once more again.\r\n"
BODY = LINE * (HEAD // len(LINE) + 1)  # enough for the file to be streamed
EDGE = lines.BLOCK


def outcome(server, smtp, message, *options, to=ONE, **more):
    """Send; return what came of it, and all that the client said about the message."""
    before = len(server.transcript)
    try:
        result = smtp.sendmail(SENDER, to, message, options, **more)
    except (OSError, ValueError, TypeError) as error:
        result = type(error), str(error)
    open_still = smtp.sock is not None
    smtp.close()
    server.wait_idle()
    said = b"".join(line.data for line in server.transcript[before:] if line.side == "C")
    return result, open_still, said.replace(b"quit\r\n", b"").replace(b"QUIT\r\n", b"")


def padded(begin, end=b""):
    """Return a message that is long enough to be streamed."""
    return begin + BODY + end


def at_edge(text, offset=0):
    """Return a message in which text stands where one block ends and the next begins."""
    head = HEADER + LINE * ((5 * EDGE - len(HEADER)) // len(LINE))
    gap = 5 * EDGE - len(head) + offset
    return head + b"x" * gap + text + BODY


CONTENT = [
    ("plain", padded(HEADER)),
    ("small", HEADER + b"body\r\n"),
    ("small-lf", b"Subject: s\n\nbody\n.\n"),
    ("lf-throughout", padded(HEADER).replace(b"\r\n", b"\n")),
    ("cr-throughout", padded(HEADER).replace(b"\r\n", b"\r")),
    ("mixed", padded(HEADER, b"a\rb\nc\r\n.\nd\r.\re\r\r\nf\n\r")),
    ("dots", padded(HEADER, b".\r\n..\r\n.x\r\n\r\n.\r\n")),
    ("all-dots", padded(HEADER, b".\r\n" * 100_000)),
    ("first-dot", padded(b".\r\n\r\n")),
    ("no-final-crlf", padded(HEADER, b"end")),
    ("final-dot", padded(HEADER, b".")),
    ("final-cr", padded(HEADER, b"end\r")),
    ("no-header", padded(b"\r\n")),
    ("no-header-odd", b"\r\nx\r" + BODY),
    ("all-body", padded(b"this is no field\r\n\r\n")),
    ("8-bit", padded(HEADER, "ünï\r\n".encode())),
    ("latin-1-body", padded(HEADER, b"\xfc\r\n")),
    ("utf8-header", padded("Subject: grün\r\n\r\n".encode())),
    ("latin-1-header", padded(b"Subject: gr\xfcn\r\n\r\n")),
    ("nul-in-header", padded(b"Subject: \0\r\n\r\n")),
    ("nul-in-body", padded(HEADER, b"\0\r\n")),
    ("dkim-crlf", padded(DKIM + HEADER)),
    ("dkim-lf", padded(DKIM + HEADER).replace(b"\r\n", b"\n")),
    ("dkim-bare-lf", padded(DKIM + HEADER, b"a\nb\r\n")),
    ("dkim-in-body", padded(HEADER, DKIM + b"a\nb\r\n")),
    ("998", padded(HEADER, b"x" * 998 + b"\r\n")),
    ("999", padded(HEADER, b"x" * 999 + b"\r\nmore\r\n")),
    ("999-in-header", padded(b"Subject: " + b"x" * 990 + b"\r\n\r\n")),
    ("endless-line", padded(HEADER, b"x" * 200_000)),
    ("edge-998", at_edge(b"x" * 998 + b"\r\n", -500)),
    ("edge-999", at_edge(b"x" * 999 + b"\r\n", -500)),
    ("edge-crlf", at_edge(b"\r\n.\r\n", -1)),
    ("edge-cr", at_edge(b"\r.\r\n", -1)),
    ("edge-lf", at_edge(b"\n.\r\n", -1)),
    ("edge-dot", at_edge(b"\r\n.\r\n", -2)),
    ("edge-dot-inside", at_edge(b"a.\r\n", -1)),
    ("edge-end", at_edge(b"")[: 5 * EDGE - 2] + b"\r\n"),
    ("edge-end-then-dot", at_edge(b"")[: 5 * EDGE] + b".\r\n"),
    ("tls-required-no", padded(b"TLS-Required: No\r\n" + HEADER)),
    ("tls-required-twice", padded(b"TLS-Required: No\r\n" * 2 + HEADER)),
    ("tls-required-yes", padded(b"TLS-Required: Yes\r\n" + HEADER)),
    ("long-header", padded(b"X-Many: x\r\n" * 10_000 + HEADER)),
    ("mbox", padded(b"From alice Mon Jan  1 00:00:00 2026\n" + HEADER)),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("raw", [row[1] for row in CONTENT], ids=[row[0] for row in CONTENT])
def test_same_as_bytes(client, raw, way):
    """SMTP-13, SMTP-14, D06: a file comes to the octets on the wire, or the error, of its bytes."""
    server, smtp = client(way)
    want = outcome(server, smtp, raw)
    other, smtp = client(way)
    got = outcome(other, smtp, io.BytesIO(raw))
    if way == "chunks" and len(raw) >= HEAD:  # only what is small rides
        assert sorted(got[2].splitlines()) == sorted(want[2].splitlines())
        want = (*want[:2], got[2])
    assert got == want
    assert other.ledger == server.ledger


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("offered", [[], ["8BITMIME"], ["SIZE 300000"]], ids=["-", "8bit", "size"])
@pytest.mark.parametrize(
    "raw",
    [
        padded(HEADER),
        padded(HEADER, b"\xc3\xbc"),
        padded("Subject: ü\r\n\r\n".encode(), LINE * 600),
    ],
    ids=["ascii", "8-bit", "utf8-header"],
)
def test_same_as_bytes_where_little_is_offered(client, raw, offered, way):
    """UTF-01, SIZE: what the server does not offer is refused of a file as of bytes."""
    extensions = [*offered, "PIPELINING", "CHUNKING"]
    server, smtp = client(way, extensions=extensions)
    want = outcome(server, smtp, raw)
    other, smtp = client(way, extensions=extensions)
    got = outcome(other, smtp, io.BytesIO(raw))
    assert got[:2] == want[:2]
    assert other.ledger == server.ledger
    if not server.ledger:
        assert nothing_sent(other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{"require_tls": True}, {"tls_optional": True}], ids=str)
@pytest.mark.parametrize("name", ["plain", "lf-throughout", "mbox", "all-body", "no-header"])
def test_same_as_bytes_under_rfc_8689(client, name, options, way):
    """RFC 8689: REQUIRETLS on MAIL, or the field in front, for a file as for bytes."""
    raw = dict(CONTENT)[name]
    server, smtp = client(way)
    assert outcome(server, smtp, raw, **options)[0] == {}
    other, smtp = client(way)
    assert outcome(other, smtp, io.BytesIO(raw), **options)[0] == {}
    assert other.ledger == server.ledger
    (accepted,) = other.ledger
    assert ("REQUIRETLS" in accepted.parameters) is ("require_tls" in options)
    assert (b"TLS-Required: No\r\n" in accepted.content) is ("tls_optional" in options)


@pytest.mark.parametrize("way", WAYS)
def test_size_is_declared(client, way):
    """RFC 1870: SIZE is what the content has, line ends mended and field added."""
    server, smtp = client(way)
    smtp.sendmail(
        SENDER, ONE, io.BytesIO(padded(HEADER).replace(b"\r\n", b"\n")), tls_optional=True
    )
    (accepted,) = server.ledger
    assert f"SIZE={len(accepted.content)}" in map(str.upper, accepted.parameters)


@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize("way", WAYS)
def test_dot_that_ends_no_message(client, form, way):
    """A block of content that looks like the final dot, and stands within a line, is none."""
    raw = dict(CONTENT)["edge-end-then-dot"]
    assert raw[5 * EDGE - 1 :] not in (b"\n.\r\n", b".\r\n")
    server, smtp = client(way)
    for _ in range(2):
        assert smtp.sendmail(SENDER, ONE, form(raw)) == {}
    assert [each.content for each in server.ledger] == [raw, raw]


def made_of(rng):
    """Return a message of pieces that matter, in any order."""
    pieces = [b"\r", b"\n", b"\r\n", b".", b"a", b"\xff", b"\0", b"x" * rng.randint(990, 1005)]
    weights = [1, 1, 9, 5, 5, rng.choice([0, 1]), rng.choice([0, 1]), rng.choice([0, 1])]
    begin = rng.choice([b"\r\n", b"a: b\r\n\r\n", b"a: b\n\n", b"a: b\r\r", b"\n", DKIM + b"\r\n"])
    return begin + b"".join(rng.choices(pieces, weights, k=rng.randint(64, 90)))


def facts_of(found):
    """Return what the rules ask of content, what it is, and what DATA makes of it."""
    if isinstance(found, bytes):
        ends = found.endswith(b"\r\n")
        return len(found), found.isascii(), ends, found, lines.final(found)
    whole, stuffed = found.whole(), b"".join(lines.stuffed(found.blocks()))
    return len(found), found.isascii(), found.ends_line, whole, stuffed


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_wherever_blocks_are_cut(monkeypatch, block):
    """Whatever a file holds and wherever its blocks are cut, it comes to what its bytes come to."""
    monkeypatch.setattr(streaming, "BLOCK", block)
    monkeypatch.setattr(streaming, "HEAD", 64)
    rng = random.Random(block)
    for _ in range(100):
        raw = made_of(rng)
        try:
            want = facts_of(content.raw_bytes(raw))
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                streaming.Streamed(io.BytesIO(raw), 0, binary=False)
        else:
            assert facts_of(streaming.Streamed(io.BytesIO(raw), 0, binary=False)) == want
        exact = streaming.Streamed(io.BytesIO(b"a: b\r\n\r\n" + raw), 0, binary=True)
        assert exact.whole() == b"a: b\r\n\r\n" + raw


# -- files of all kinds ------------------------------------------------------------------------


def real_file(raw, path):
    """Return an ordinary file."""
    path.write_bytes(raw)
    return path.open("rb")


def unbuffered_file(raw, path):
    """Return a file without a buffer."""
    path.write_bytes(raw)
    return path.open("rb", buffering=0)


def mapped_file(raw, path):
    """Return a file in memory."""
    path.write_bytes(raw)
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def packed_file(raw, path):
    """Return a compressed file."""
    path.write_bytes(gzip.compress(raw, 1))
    return gzip.open(path)


class Pipe(io.RawIOBase):
    """A stream that cannot be read twice and comes in small pieces."""

    def __init__(self, raw):
        """Take what is to come."""
        self._raw = io.BytesIO(raw)

    def readable(self):
        """Say yes."""
        return True

    def read(self, size=-1):
        """Give a little."""
        return self._raw.read(min(size, 1000))


class OnlyRead:
    """The least that a file can be."""

    def __init__(self, raw):
        """Take what is to come."""
        self.read = io.BytesIO(raw).read


FILES = [real_file, unbuffered_file, mapped_file, packed_file]
ONCE = [lambda raw, _: Pipe(raw), lambda raw, _: OnlyRead(raw)]


@pytest.mark.parametrize("size", [10, len(BODY) * 3], ids=["small", "large"])
@pytest.mark.parametrize("make", [*FILES, *ONCE])
def test_any_file(client, tmp_path, make, size):
    """Every binary file will do: on disk, mapped, packed, or a pipe; and none of them is closed."""
    raw = HEADER + (BODY * 3)[:size]
    server, smtp = client()
    file = make(raw, tmp_path / "message.eml")
    assert smtp.sendmail(SENDER, ONE, file) == {}
    assert file.read(1) == b""  # at its end, and open
    assert server.ledger[0].content == raw + (b"" if raw.endswith(b"\r\n") else b"\r\n")
    if not isinstance(file, OnlyRead):
        file.close()


def test_operating_systems_pipe(client):
    """What comes through a pipe is copied to a temporary file, and sent."""
    raw = padded(HEADER)
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb") as file:
            file.write(raw)

    thread = threading.Thread(target=write)
    thread.start()
    server, smtp = client()
    with open(reading, "rb") as file:
        assert smtp.sendmail(SENDER, ONE, file) == {}
    thread.join()
    assert server.ledger[0].content == raw


@pytest.mark.parametrize("name", ["plain", "small"])
def test_from_where_it_stands(client, name):
    """A file is sent from where it stands to its end, and stands at its end then."""
    raw = dict(CONTENT)[name]
    file = io.BytesIO(b"what is before\n" + raw)
    file.seek(15)
    server, smtp = client()
    smtp.sendmail(SENDER, ONE, file)
    assert server.ledger[0].content == raw
    assert file.tell() == 15 + len(raw)


def test_file_at_its_end(client):
    """A second message from the same file would be an empty one, and is refused."""
    server, smtp = client()
    file = io.BytesIO(RAW)
    smtp.sendmail(SENDER, ONE, file)
    with pytest.raises(ValueError, match="at its end"):
        smtp.sendmail(SENDER, TWO, file)
    assert len(server.ledger) == 1


@pytest.mark.parametrize("name", ["plain", "small", "999"])
def test_file_can_be_sent_again_after_an_error(client, name):
    """After an error a file stands where it stood, so that trying again sends the message."""
    raw = dict(CONTENT)[name]
    server, smtp = client(script={"RCPT": ["550 5.1.1 no", normal]})
    file = io.BytesIO(b"x" + raw)
    file.seek(1)
    with pytest.raises((ValueError, smtplib.SMTPRecipientsRefused)):
        smtp.sendmail(SENDER, ONE, file)
    assert file.tell() == 1
    if name != "999":
        smtp.sendmail(SENDER, ONE, file)
        assert server.ledger[0].content == raw


@pytest.mark.parametrize(
    "file", [io.StringIO("Subject: s\n\nx\n"), io.StringIO("Subject: s\n\n" + "x\n" * HEAD)]
)
def test_text_file(client, file):
    """A file that is open as text is a TypeError that says what to do."""
    server, smtp = client()
    with pytest.raises(TypeError, match="open it as binary"):
        smtp.sendmail(SENDER, ONE, file)
    assert nothing_sent(server)


@pytest.mark.parametrize("gives", [None, bytearray(b"x"), 5])
def test_file_that_gives_no_bytes(client, gives):
    """What read() gives has to be bytes; None comes from a file that does not wait."""
    server, smtp = client()
    file = OnlyRead(b"")
    file.read = lambda size: gives
    with pytest.raises(TypeError, match=type(gives).__name__):
        smtp.sendmail(SENDER, ONE, file)
    assert nothing_sent(server)


def test_endless_header(client):
    """A header that does not end within bounds is refused, and says how it can be sent."""
    server, smtp = client()
    with pytest.raises(ValueError, match="does not end within"):
        smtp.sendmail(SENDER, ONE, io.BytesIO(b"X: y\r\n" * HEAD))
    assert nothing_sent(server)


def test_closed_file(client):
    """A closed file is an error of its own, and nothing is sent."""
    server, smtp = client()
    file = io.BytesIO(RAW)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        smtp.sendmail(SENDER, ONE, file)
    assert nothing_sent(server)


def test_deliver_takes_no_file():
    """deliver() sends to several hosts at once: a file is a TypeError that says what to give."""
    with pytest.raises(TypeError, match="read"):
        rt.deliver(io.BytesIO(RAW), SENDER, [ONE])


# -- files that change, or cannot be read ------------------------------------------------------


class Changing(io.BytesIO):
    """A file that is another one from the second look at a place on."""

    def __init__(self, raw, change):
        """Take the content, and what turns it into another."""
        super().__init__(raw)
        self._change = change
        self._looks = 0

    def seek(self, at, whence=0):
        """Notice a new look, which begins with seek(0)."""
        self._looks += at == 0 and whence == 0
        if self._looks == 2 and self._change:
            change, self._change = self._change, None
            raw = change(self.getvalue())
            super().seek(0)
            self.truncate()
            self.write(raw)
        return super().seek(at, whence)


LONG = padded(HEADER, BODY)
EVEN = LONG[: len(LONG) // EDGE * EDGE]  # ends where a block ends
SMUGGLED = b"\n.\r\nMAIL FROM:<evil@example.org>\r\n"
CHANGES = [
    ("one-octet", LONG, lambda raw: raw[:-9] + b"!" + raw[-8:]),
    ("first-octet", LONG, lambda raw: b"X" + raw[1:]),
    ("in-the-middle", LONG, lambda raw: raw.replace(LINE, LINE.upper(), 3000)),
    ("longer", LONG, lambda raw: raw + LINE),
    ("longer-after-a-block", EVEN, lambda raw: raw + LINE),
    ("shorter", LONG, lambda raw: raw[:-100]),
    ("shorter-by-a-block", LONG, lambda raw: raw[: 5 * EDGE]),
    ("empty", LONG, lambda raw: b""),
    ("swapped-blocks", LONG, lambda raw: raw[EDGE : 2 * EDGE] + raw[:EDGE] + raw[2 * EDGE :]),
    ("smuggling", LONG, lambda raw: raw[: 6 * EDGE] + SMUGGLED + raw[6 * EDGE + len(SMUGGLED) :]),
]


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("raw", "change"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_file_that_changes(client, raw, change, way, strict):
    """A file that changed since it was looked through is never taken for the message."""
    server, smtp = client(way)
    with pytest.raises(smtplib.SMTPException, match="has changed") as caught:
        smtp.sendmail(SENDER, ONE, Changing(raw, change), require_tls=strict)
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    assert smtp.sock is None
    server.wait_idle()
    assert server.ledger == []
    said = b"".join(line.data for line in server.transcript if line.side == "C")
    assert b"evil" not in said
    assert b"\r\n.\r\n" not in said


class Failing(io.BytesIO):
    """A file that cannot be read to its end when it is looked at again."""

    def __init__(self, raw, error, at):
        """Take the content, what to raise, and at which call of read()."""
        super().__init__(raw)
        self.error, self.at = error, at

    def read(self, size=-1):
        """Read, or fail."""
        self.at -= 1
        if not self.at:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [OSError(5, "bad disk"), KeyboardInterrupt(), ValueError("odd")])
@pytest.mark.parametrize("at", [1, 5, 16, 22])
def test_file_that_cannot_be_read(client, error, at, way):
    """What reading raises is what comes out; after ^C, or once content has left, no session."""
    server, smtp = client(way)
    with pytest.raises(type(error)) as caught:
        smtp.sendmail(SENDER, ONE, Failing(LONG, error, at))
    assert caught.value is error
    assert (smtp.sock is None) is (at >= 16 or isinstance(error, KeyboardInterrupt))
    smtp.close()
    server.wait_idle()
    assert server.ledger == []


def test_session_goes_on_where_nothing_has_left(client):
    """A file that is refused before MAIL leaves the session as it was."""
    server, smtp = client()
    with pytest.raises(OSError, match="bad disk"):
        smtp.sendmail(SENDER, ONE, Failing(LONG, OSError(5, "bad disk"), 3))
    assert smtp.sendmail(SENDER, ONE, io.BytesIO(LONG)) == {}
    assert len(server.ledger) == 1


# -- other ways in -----------------------------------------------------------------------------


def test_class_with_its_own_data(client):
    """A subclass with a data() of its own gets bytes, as from smtplib, and files are sent too."""
    given = []

    class Own(rt.SMTP):
        def data(self, msg):
            given.append(msg)
            return super().data(msg)

    server, smtp = client("groups", Own)
    raw = padded(HEADER).replace(b"\r\n", b"\n")
    assert smtp.sendmail(SENDER, ONE, io.BytesIO(raw)) == {}
    assert given == [padded(HEADER)]
    assert server.ledger[0].content == padded(HEADER)


@pytest.mark.parametrize("name", ["mail", "rcpt", "putcmd", "getreply", "send"])
def test_class_with_another_step(client, name):
    """A subclass with another step of its own sees it for a file as for bytes."""
    called = []

    def own(self, *arguments, **named):
        called.append(arguments)
        return getattr(super(cls, self), name)(*arguments, **named)

    cls = type("Own", (rt.SMTP,), {name: own})
    server, smtp = client("groups", cls)
    assert smtp.sendmail(SENDER, ONE, io.BytesIO(LONG)) == {}
    assert called
    assert max(len(str(each)) for each in called) < HEAD  # no piece is long
    assert server.ledger[0].content == LONG


@pytest.mark.parametrize("name", ["plain", "small", "mixed"])
def test_single_steps(client, name):
    """mail(), rcpt() and data() take a file as sendmail() does."""
    raw = dict(CONTENT)[name]
    server, smtp = client()
    smtp.mail(SENDER)
    smtp.rcpt(ONE)
    assert smtp.data(io.BytesIO(raw))[0] == 250
    smtp.sendmail(SENDER, ONE, raw)
    assert server.ledger[0].content == server.ledger[1].content


def test_lmtp(serve):
    """LMTP sends files, with an outcome for each recipient."""
    server = serve(lmtp=True, extensions=OFFERS, script={".": ["250 ok", "550 5.2.2 full"]})
    with connect(server, rt.LMTP) as smtp:
        refused = smtp.sendmail(SENDER, [ONE, TWO], io.BytesIO(LONG))
    assert refused == {TWO: (550, b"5.2.2 full")}
    assert [each.content for each in server.ledger] == [LONG]


def test_many_messages(client):
    """send_messages() takes files among the messages, in their order."""
    server, smtp = client()
    messages = [RAW, io.BytesIO(LONG), io.BytesIO(b""), RAW]
    outcomes = smtp.send_messages([(SENDER, ONE, each) for each in messages])
    assert [each.state for each in outcomes] == ["delivered", "delivered", "refused", "delivered"]
    assert [each.content for each in server.ledger] == [RAW, LONG, RAW]


def test_debug_output_hides_content(client, capsys):
    """G06: at debug level 1 no block of a file shows."""
    for way in WAYS:
        _, smtp = client(way)
        smtp.set_debuglevel(1)
        assert smtp.sendmail(SENDER, ONE, io.BytesIO(LONG)) == {}
        smtp.quit()
    shown = capsys.readouterr().err
    assert "FROM" in shown
    assert "canary" not in shown
    assert "quick brown" not in shown


# -- hostile servers ---------------------------------------------------------------------------


class Talking:
    """A server that says something while the content comes, and reads on to the end."""

    def __init__(self, way, says):
        """Say it once the content has begun."""
        self.way, self.says = way, says
        self.content = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        """Return the server."""
        return self

    def __exit__(self, *_):
        """Wait for the client to leave."""
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        sock, _ = self._listener.accept()
        with sock, sock.makefile("rb") as file:
            sock.settimeout(10)
            sock.sendall(b"220 hello\r\n")
            offer = b"250-hello\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
            while line := file.readline().upper():
                if line.startswith(b"EHLO"):
                    sock.sendall(b"250 hello\r\n" if self.way == "steps" else offer)
                elif line.startswith((b"DATA", b"BDAT")):
                    sock.sendall(b"354 go on\r\n" if line.startswith(b"DATA") else b"")
                    self.content = file.read(10)
                    sock.sendall(self.says)
                    if not self.says:
                        return
                    self.content += file.read()
                else:
                    sock.sendall(b"250 ok\r\n")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("says", "error"),
    [
        (b"250 taken\r\n", rt.ReplyError),
        (b"552 5.3.4 too much\r\n", rt.ReplyError),
        (b"354 go on\r\n", rt.ReplyError),
        (b"hello\r\n", rt.ReplyError),
        (b"421 4.3.2 bye\r\n", rt.SMTPServerDisconnected),
        (b"", rt.SMTPServerDisconnected),
    ],
    ids=["250", "552", "354", "no-reply", "421", "gone"],
)
def test_server_that_answers_before_the_end(way, says, error):
    """An answer that comes while the content leaves is none to it: nothing is taken for sent."""
    with Talking(way, says) as server:
        smtp = rt.SMTP("127.0.0.1", server.port, timeout=10)
        smtp.use_pipelining, smtp.use_chunking = way != "steps", way == "chunks"
        with pytest.raises(error) as caught:
            smtp.sendmail(SENDER, ONE, io.BytesIO(padded(HEADER, BODY * 40)))
        assert not isinstance(caught.value, rt.DeliveryUnknown)
        assert smtp.sock is None
    assert b"\r\n.\r\n" not in server.content
    assert len(server.content) < len(BODY) * 41


@pytest.mark.parametrize("form", [bytes, io.BytesIO])
@pytest.mark.parametrize("way", ["steps", "groups"])
@pytest.mark.parametrize("answer", ["250 ok", "250 354", "334 go on"])
def test_only_354_opens(client, way, form, answer):
    """RFC 5321 s4.2: DATA answered with another positive code opens nothing, and says nothing."""
    server, smtp = client(way, script={"DATA": answer})
    with pytest.raises(rt.ReplyError, match="DATA was answered"):
        smtp.sendmail(SENDER, ONE, form(LONG))
    assert smtp.sock is None
    assert b"canary" not in b"".join(line.data for line in server.transcript)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", [close, "354 go on", b"hello\r\n"])
def test_no_answer_to_count_on(client, way, answer):
    """L08: once all has left, only 250 says yes; else the outcome is unknown."""
    _, smtp = client(way, script={"BDAT" if way == "chunks" else ".": answer})
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail(SENDER, ONE, io.BytesIO(LONG))
    assert caught.value.recipients == (ONE,)
    assert smtp.sock is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", ["451 4.3.0 later", "554 5.7.1 no"])
def test_refused_content(client, way, answer):
    """A file that is refused is SMTPDataError, and can be sent again in the same session."""
    server, smtp = client(way, script={"BDAT" if way == "chunks" else ".": [answer]})
    file = io.BytesIO(LONG)
    with pytest.raises(smtplib.SMTPDataError):
        smtp.sendmail(SENDER, ONE, file)
    assert smtp.sendmail(SENDER, ONE, file) == {}
    assert [each.content for each in server.ledger] == [LONG]


# -- memory ------------------------------------------------------------------------------------


class Made:
    """A long message that nobody holds."""

    def __init__(self, size, end):
        """Take its size, and what ends its lines."""
        self.size, self.at = size, 0
        self._header, self._line = HEADER.replace(b"\r\n", end), LINE.replace(b"\r\n", end)
        self._lines = self._line * 1000

    def seekable(self):
        """Say yes."""
        return True

    def seek(self, at):
        """Go there."""
        self.at = at

    def tell(self):
        """Say where it is."""
        return self.at

    def read(self, size):
        """Make what stands there."""
        size = min(size, self.size - self.at)
        if self.at < len(self._header):
            data = self._header[self.at : self.at + size]
        else:
            begin = (self.at - len(self._header)) % len(self._line)
            data = self._lines[begin : begin + size]
        self.at += len(data)
        return data


class Sink:
    """A server in TLS that takes everything, holds nothing, and counts."""

    def __init__(self):
        """Serve one client."""
        self.certificate = default_ca().issue("localhost")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sizes = []
        self._view = memoryview(bytearray(1 << 16))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        """Return the server."""
        return self

    def __exit__(self, *_):
        """Wait for the client to leave."""
        self._thread.join(10)
        self._listener.close()

    def _serve(self):
        sock, _ = self._listener.accept()
        sock.settimeout(20)
        with self.certificate.context().wrap_socket(sock, server_side=True) as self._sock:
            self._sock.sendall(b"220 sink\r\n")
            while line := self._line():
                self._answer(line.upper())

    def _answer(self, line):
        if line.startswith(b"EHLO"):
            offers = [b"sink", b"PIPELINING", b"CHUNKING", b"REQUIRETLS", b"SIZE"]
            self._sock.sendall(
                b"".join(b"250-%s\r\n" % each for each in offers) + b"250 8BITMIME\r\n"
            )
        elif line == b"DATA\r\n":
            self._sock.sendall(b"354 go on\r\n")
            self.sizes.append(self._content() - 3)
            self._sock.sendall(b"250 taken\r\n")
        elif line.startswith(b"BDAT"):
            self.sizes.append(int(line.split()[1]))
            left = self.sizes[-1]
            while left:
                left -= self._sock.recv_into(self._view, min(left, len(self._view)))
            self._sock.sendall(b"250 taken\r\n")
        else:
            self._sock.sendall(b"250 ok\r\n")

    def _line(self):
        line = b""
        while not line.endswith(b"\n"):
            octet = self._sock.recv(1)
            if not octet:
                return b""
            line += octet
        return line

    def _content(self):
        tail, size = b"\r\n", 0
        while tail != b"\r\n.\r\n":
            count = self._sock.recv_into(self._view)
            size += count
            tail = (tail + bytes(self._view[max(0, count - 5) : count]))[-5:]
        return size


@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("way", WAYS)
def test_little_memory(way, strict, end):
    """A file of 32 MB is sent with less than 1 MB of memory, in either pass and in any way."""
    size = 32_000_000
    with Sink() as sink:
        context = sink.certificate.ca.context()
        with rt.SMTP_SSL("localhost", sink.port, timeout=20, context=context) as smtp:
            smtp.use_pipelining, smtp.use_chunking = way != "steps", way == "chunks"
            smtp.sendmail(
                SENDER, ONE, Made(400_000, end), require_tls=strict
            )  # loads what it needs
            tracemalloc.start()
            try:
                smtp.sendmail(SENDER, ONE, Made(size, end), require_tls=strict)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert sink.sizes[1] >= size
    assert peak < 1_000_000
