"""What sendmail adds, hides and encodes before a message leaves."""

from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from requiretls_client import content
from requiretls_client.cli.compose import Origin, author, recipients, without
from requiretls_client.cli.compose import compose as compose_parts
from requiretls_client.cli.fields import split
from requiretls_client.cli.people import People, UnknownPerson

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ORIGIN = Origin("alerts@example.org", "", "host.example.org", NOW, "20261124.x")
CRON = Origin("alerts@example.org", "CronDaemon", "host.example.org", NOW, "20261124.x", cron=True)
FROM, TO, DATE, ID = (
    "From: alerts@example.org", "To: undisclosed-recipients:;",
    "Date: Tue, 24 Nov 2026 12:00:00 +0000", "Message-ID: <20261124.x@host.example.org>",
)  # fmt: skip
HEAD = "From: a@b.c\nTo: d@e.f\nDate: today\nMessage-ID: <1@b.c>\n"


def compose(raw, origin):
    """Compose a message that was piped in."""
    return compose_parts(*split(raw), origin)


def lines(*each):
    """Return lines with CRLF."""
    return "".join(f"{line}\r\n" for line in each).encode()


ROWS = [
    ("no header", "hello\nworld\n", lines(FROM, TO, DATE, ID, "", "hello", "world")),
    ("blank line first", "\nSubject: x\n", lines(FROM, TO, DATE, ID, "", "Subject: x")),
    ("header only", "Subject: x\n", lines("Subject: x", FROM, TO, DATE, ID, "")),
    ("no final newline", "Subject: x\n\nhi", lines("Subject: x", FROM, TO, DATE, ID, "", "hi")),
    ("header ends at text", "Subject: x\nhi\n", lines("Subject: x", FROM, TO, DATE, ID, "", "hi")),
    ("all there", HEAD + "\nhi\n", (HEAD + "\nhi\n").replace("\n", "\r\n").encode()),
    ("crlf", (HEAD + "\nhi\n").replace("\n", "\r\n"),
     (HEAD + "\nhi\n").replace("\n", "\r\n").encode()),
    ("mbox line", f"From alice Mon Jan  1 00:00:00\n{HEAD}\nhi\n",
     (HEAD + "\nhi\n").replace("\n", "\r\n").encode()),
    ("bcc", HEAD + "Bcc: x@y.z,\n folded@y.z\nResent-Bcc: q@y.z\nReturn-Path: <r@y.z>\n\nhi\n",
     (HEAD + "\nhi\n").replace("\n", "\r\n").encode()),
    ("bcc in the body stays", HEAD + "\nBcc: x@y.z\n",
     (HEAD + "\nBcc: x@y.z\n").replace("\n", "\r\n").encode()),
    ("bcc alone", "Bcc: x@y.z\nFrom: a@b.c\n\n", lines("From: a@b.c", TO, DATE, ID, "")),
    ("cc is enough", "Cc: x@y.z\n\n", lines("Cc: x@y.z", FROM, DATE, ID, "")),
    ("folded stays", HEAD + "Subject: a\n\tb\n\n",
     (HEAD + "Subject: a\n\tb\n\n").replace("\n", "\r\n").encode()),
    ("local names", "From: root (Cron Daemon)\nTo: root, X <x@y.z>\nDate: d\nMessage-ID: m\n\n",
     lines("From: Cron Daemon <alerts@example.org>",
           "To: root@host.example.org,", " X <x@y.z>", "Date: d", "Message-ID: m", "")),
    ("empty group stays", "To: undisclosed-recipients:;\nFrom: a@b.c\nDate: d\nMessage-ID: m\n\n",
     lines("To: undisclosed-recipients:;", "From: a@b.c", "Date: d", "Message-ID: m", "")),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "want"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_header(raw, want):
    """What is missing is added, what is hidden goes, and nothing else changes by an octet."""
    assert compose(raw.encode(), ORIGIN) == want


def test_full_name():
    """-F names the author of a message without From, encoded where it must be (RFC 2047)."""
    made = compose(b"\nhi\n", Origin("a@b.c", "Alice Ä", "h", NOW, "u"))
    assert made.startswith(b"From: =?utf-8?")
    assert message_from_bytes(made, policy=default)["From"] == "Alice Ä <a@b.c>"


@pytest.mark.parametrize(
    ("raw", "origin", "added"),
    [
        ("X-Cron-Env: <LANG=C>\n\n", ORIGIN, 1),
        ("Subject: x\n\n", CRON, 1),
        ("Subject: x\n\n", ORIGIN, 0),
        ("Auto-Submitted: auto-replied\n\n", CRON, 0),
    ],
)
def test_auto_submitted(raw, origin, added):
    """Mail of a cron daemon says that no answer is wanted (RFC 3834), unless it says more."""
    made = compose(raw.encode(), origin)
    assert made.count(b"Auto-Submitted: auto-generated\r\n") == added


def body_of(made):
    """Return the text that a reader sees, lines ended by LF."""
    part = message_from_bytes(made)
    text = part.get_payload(decode=True).replace(b"\r\n", b"\n")
    return text.decode(part.get_content_charset("ascii"))


DEBIAN = "MIME-Version: 1.0\nContent-Type: text/plain; charset={}\n"
DEBIAN += "Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n"
BODIES = [
    ("utf-8 without MIME", "", "schön\n"),
    ("Debian, UTF-8", DEBIAN.format("UTF-8"), "schön\n"),
    ("Debian, C locale", DEBIAN.format("ANSI_X3.4-1968"), "schön\n"),
    ("us-ascii", 'Content-Type: text/plain; charset="us-ascii"\n', "schön\n"),
    ("long line", "", "x" * 5000 + "\n"),
    ("long line, Debian", DEBIAN.format("UTF-8"), "ä" * 5000 + "\nFrom here\n.\n"),
    ("long line without MIME, utf-8", "", "ä" * 998 + "\n"),
    ("NUL", "", "a\0b\n"),
    ("NUL, Debian", DEBIAN.format("UTF-8"), "ä\0b\n"),
    ("998 octets", "", "x" * 998 + "\n"),
]


@pytest.mark.parametrize(("head", "text"), [r[1:] for r in BODIES], ids=[r[0] for r in BODIES])
def test_body(head, text):
    """Whatever a job prints arrives as it was printed, in a form that every server takes."""
    made = compose(f"{HEAD}{head}\n{text}".encode(), ORIGIN)
    assert content.raw_bytes(made) == made
    assert b"\0" not in made
    assert body_of(made) == text
    assert made.lower().count(b"content-transfer-encoding:") <= 1
    assert made.count(b"Content-Type:") <= 1
    if not text.isascii():
        assert b"MIME-Version: 1.0\r\n" in made


def test_body_that_is_no_utf8():
    """Octets that nobody knows are labelled so (RFC 1428), and stay."""
    made = compose(b"\nsch\xf6n\n", ORIGIN)
    assert b"charset=unknown-8bit" in made
    assert made.endswith(b"\r\nsch\xf6n\r\n")


@pytest.mark.parametrize(
    ("raw", "name", "text"),
    [
        ("Subject: Cron <root@h> schön".encode(), "Subject", "Cron <root@h> schön"),
        (b"Subject: sch\xf6n", "Subject", "schön"),
        ("From: Jörg <j@b.c>".encode(), "From", "Jörg <j@b.c>"),
        ("To: Jörg <j@b.c>, x@y.z".encode(), "To", "Jörg <j@b.c>, x@y.z"),
        (b"X-Cron-Env: <PATH=" + b"/usr/bin:" * 200 + b">", "X-Cron-Env",
         "<PATH=" + "/usr/bin:" * 200 + ">"),
        (b"Subject: " + b"word " * 300, "Subject", ("word " * 300).strip()),
    ],
    ids=["utf-8", "latin-1", "from", "to", "no blank", "blanks"],
)  # fmt: skip
def test_words_of_the_header(raw, name, text):
    """A header beyond ASCII or with endless lines is encoded or folded (RFC 2047, RFC 5322)."""
    made = compose(raw + b"\n\nhi\n", ORIGIN)
    assert made.isascii()
    assert max(map(len, made.split(b"\r\n"))) <= 998
    assert message_from_bytes(made, policy=default)[name] == text


def test_breaks_in_the_header():
    """What Python takes for the end of a line becomes a blank; nothing can begin a field."""
    made = compose("Subject: a\x0cBcc: x@y.z\nX: b\u2028c\n\nhi\n".encode(), ORIGIN)
    parsed = message_from_bytes(made, policy=default)
    assert parsed["Subject"] == "a Bcc: x@y.z"
    assert (parsed["X"], parsed["Bcc"]) == ("b c", None)


def test_address_beyond_ascii_stays():
    """There is no encoding for an address (RFC 6532): the server must take it, or not."""
    made = compose("To: jörg@b.c\n\nhi\n".encode(), ORIGIN)
    assert "To: jörg@b.c\r\n".encode() in made


SIGNED = [
    b"DKIM-Signature: v=1\nSubject: x\n\n" + b"x" * 1000 + b"\n",
    b"Content-Type: multipart/signed; boundary=b\n\n--b\n\n" + b"x" * 1000 + b"\n--b--\n",
]


@pytest.mark.parametrize("raw", SIGNED, ids=["dkim", "multipart"])
def test_signed(raw):
    """What is signed goes as it is, or not at all."""
    with pytest.raises(ValueError, match="longer than 998 octets"):
        compose(raw, ORIGIN)
    short = raw.replace(b"x" * 1000, "schön".encode())
    assert compose(short, ORIGIN).endswith(short[short.index(b"\n\n") :].replace(b"\n", b"\r\n"))


def test_dkim_header():
    """What a DKIM signature may cover is neither labelled nor encoded."""
    given = "DKIM-Signature: v=1\r\nSubject: schön\r\n".encode()
    made = compose(given + "\r\nschön\r\n".encode(), ORIGIN)
    assert made.startswith(given)
    assert b"Content-Type" not in made


def test_nul_in_a_part():
    """NUL is encoded in the part that has it."""
    raw = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\na\0b\n--b\n\nclean\n--b--\n'
    made = compose(raw, ORIGIN)
    first, second = message_from_bytes(made).get_payload()
    assert first.get_payload(decode=True) == b"a\0b"
    assert second.get_payload() == "clean"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"Subject: a\0b\n\nhi\n", "header of the message holds NUL"),
        (b"TLS-Required: Yes\n\nhi\n", "TLS-Required must be"),
        (b"To: (nobody)\n\nhi\n", "names no address"),
        (
            b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nA: x\x0cB:\n y\n\na\0b\n--b--\n',
            "its MIME parts are broken",
        ),
    ],
)
def test_cannot_be_sent(raw, said):
    """What no server may get is a sentence."""
    with pytest.raises(ValueError, match=said):
        compose(raw, ORIGIN)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"To: a@b.c, X <x@y.z>\nCc: c@d.e\nBcc: h@i.j\n\nTo: no@b.c\n",
         ["a@b.c", "x@y.z", "c@d.e", "h@i.j"]),
        (b"To: a@b.c\nTo: d@e.f\n\n", ["a@b.c", "d@e.f"]),
        (b"To: a@b.c\nResent-To: r@b.c\nResent-Bcc: s@b.c\n\n", ["r@b.c", "s@b.c"]),
        (b"To: undisclosed-recipients:;\nBcc: a@b.c\n\n", ["a@b.c"]),
        (b"To: friends: a@b.c, d@e.f;\n\n", ["a@b.c", "d@e.f"]),
        (b"To: root\n\n", ["root"]),
        (b"To:\n\n", []),
        (b"hello\n", []),
    ],
)  # fmt: skip
def test_recipients(raw, want):
    """-t reads To, Cc and Bcc, or of a message sent on the Resent- fields alone."""
    assert recipients(split(raw)[0]) == want


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"From: A <a@b.c>\n\n", "a@b.c"),
        (b"From: a@b.c\nSender: s@b.c\n\n", "s@b.c"),
        (b"From: root\n\n", None),
        (b"\n", None),
    ],
)
def test_author(raw, want):
    """The author is Sender or From, where they have a domain."""
    assert author(split(raw)[0]) == want


def test_without():
    """A field is left out with its folded lines; the rest stays."""
    raw = b"A: 1\r\nTLS-Required:\r\n No\r\nB: 2\r\n\r\nTLS-Required: No\r\n"
    assert without(raw, "TLS-Required") == b"A: 1\r\nB: 2\r\n\r\nTLS-Required: No\r\n"


PIECES = [
    b"From: ", b"To: ", b"Bcc: ", b"Subject: ", b"TLS-Required: ", b"DKIM-Signature: ", b"From ",
    b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: message/rfc822\n",
    b"Content-Type: text/plain; charset=us-ascii\n", b"Content-Transfer-Encoding: base64\n",
    b"\n", b"\n\n", b"--b\n", b"--b--\n", b"a@b.c", b"root", b'"x" <a@b.c>', b"<", b">", b",",
    b";", b":", b"(", b")", b'"', b"\\", b"\xff", "ä".encode(), b"\0", b"\r", b"x" * 1200, b" ",
    b"\t", b"\f", b"\x85", "\u2028".encode(), b"=?utf-8?q?x?=", b"No", b"\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_any_text(seed):
    """Whatever is piped in becomes what SMTP can carry, or a ValueError."""
    chance = random.Random(seed)
    for _ in range(100):
        raw = b"".join(chance.choice(PIECES) for _ in range(chance.randint(1, 25)))
        with contextlib.suppress(ValueError):
            given, _ = split(raw)
            recipients(given), author(given)
            made = compose(raw, ORIGIN)
            assert content.raw_bytes(made) == made
            assert b"\nbcc:" not in made[: made.index(b"\r\n\r\n")].lower()


# -- people ----------------------------------------------------------------------------------------

ALIASES = {"root": ("admin@example.org", "ops"), "ops": ("o@example.org",), "postmaster": ("root",)}
HERE = ("host.example.org", "host", "localhost")


@pytest.mark.parametrize(
    ("names", "default_recipient", "domain", "want"),
    [
        (["bob@example.net"], None, None, ("bob@example.net",)),
        (["Bob <bob@example.net>"], None, None, ("bob@example.net",)),
        (["bob@example.net", "bob@example.net"], None, None, ("bob@example.net",)),
        (["root"], None, None, ("admin@example.org", "o@example.org")),
        (["ROOT"], None, None, ("admin@example.org", "o@example.org")),
        (["postmaster"], None, None, ("admin@example.org", "o@example.org")),
        (["root@host.example.org"], None, None, ("admin@example.org", "o@example.org")),
        (["root@LOCALHOST"], None, None, ("admin@example.org", "o@example.org")),
        (["root@example.net"], None, None, ("root@example.net",)),
        (["alice"], "d@example.org", "example.org", ("d@example.org",)),
        (["alice"], None, "example.org", ("alice@example.org",)),
        (["alice@localhost"], "d@example.org", None, ("d@example.org",)),
        (["alice@host.example.org"], "d@example.org", None, ("alice@host.example.org",)),
    ],
)
def test_people(names, default_recipient, domain, want):
    """A local name is an alias, the default recipient's or of our domain; others stay."""
    people = People(ALIASES, default_recipient, domain, HERE)
    assert people.resolve(names) == want


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("alice", UnknownPerson, "nobody knows who alice is: name an address in"),
        ("alice@localhost", UnknownPerson, "nobody knows who alice@localhost"),
        ("", ValueError, "a recipient is empty"),
        ("a b", ValueError, "the recipient a b is not one mailbox"),
        ("a@b.c\n", ValueError, "control character"),
        ("a@b..c", ValueError, "is not one mailbox"),
    ],
)
def test_nobody(name, kind, said):
    """Who leads to nobody is named, and so is what to do."""
    with pytest.raises(kind, match=said):
        People({}, None, None).resolve([name])
