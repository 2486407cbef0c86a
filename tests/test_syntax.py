"""Grammar of what goes into a command, and how foreign text is shown."""

from __future__ import annotations

import random
import re

import pytest

from requiretls_client import syntax

MAILBOXES = [
    ("a@example.org", "a@example.org"),
    ("<a@example.org>", "a@example.org"),
    ("Bob <b@example.org>", "b@example.org"),
    ('"Bob, A." <b@example.org>', "b@example.org"),
    ("first.last+tag@example.org", "first.last+tag@example.org"),
    ('"two words"@example.org', '"two words"@example.org'),
    ("user@[192.0.2.1]", "user@[192.0.2.1]"),
    ("user@[IPv6:2001:db8::1]", "user@[IPv6:2001:db8::1]"),
    ("root", "root"),
    ("root@localhost", "root@localhost"),
    ("user@my_host", "user@my_host"),
    ("jörg@exämple.org", "jörg@exämple.org"),
    ("b@example.org (Bob)", "b@example.org"),
    ("Support (noreply) <b@example.org>", "b@example.org"),
    ("Bob <b@example.org> (work)", "b@example.org"),
    ("", ""),
    ("<>", ""),
]


@pytest.mark.parametrize(("address", "want"), MAILBOXES)
def test_mailbox(address, want):
    """SMTP-22: one mailbox comes out as it was written, without its angle brackets."""
    assert syntax.mailbox(address, "from_addr") == want


BAD_MAILBOXES = [
    ("C05-crlf-rcpt", "a@b.c>\r\nRCPT TO:<e@x>"),
    ("cr", "a@b\r"),
    ("lf", "a\n@b"),
    ("nul", "a\0@b"),
    ("del", "a\x7f@b"),
    ("c1", "a\x9b@b"),
    ("stray-bracket", "a@b.c>"),
    ("open-bracket", "<a@b.c"),
    ("two-paths", "<a@b.c> <e@x>"),
    ("C07-comma-list", "a@b.c, d@e.f"),
    ("blank", "a b@c"),
    ("option-behind", "a@b.c> SIZE=1"),
    ("two-at", "a@b@c"),
    ("no-local-part", "@b.c"),
    ("dots", "a..b@c.d"),
    ("dot-first", ".a@b.c"),
    ("empty-label", "a@b..c"),
    ("dash-label", "a@-b.c"),
    ("open-quote", '"a@b.c'),
    ("route", "@x:a@b.c"),
    ("comment-with-mailbox", "a@b.c (x@y.z) d@e.f"),
    ("comment-alone", "(comment)"),
    ("blank-only", "   "),
    ("name-without-mailbox", "Alice <>"),
    ("blank-before-null-path", " <>"),
    ("group", "friends: a@b.c;"),
    ("too-long", "a" * 64 + "@" + "b." * 100 + "example"),
    ("lone-surrogate", "a\ud800@b.c"),
]


@pytest.mark.parametrize("address", [pytest.param(r[1], id=r[0]) for r in BAD_MAILBOXES])
def test_bad_mailbox(address):
    """An address that is not exactly one mailbox is refused, never repaired into another."""
    with pytest.raises(ValueError, match=r"to_addrs\[0\]") as caught:
        syntax.mailbox(address, "to_addrs[0]")
    assert address not in str(caught.value)


@pytest.mark.parametrize("address", [None, b"a@b.c", 5, ["a@b.c"]])
def test_mailbox_of_another_type(address):
    """C15: an address that is not a str is a TypeError that names the argument."""
    with pytest.raises(TypeError, match="from_addr"):
        syntax.mailbox(address, "from_addr")


def test_envelope():
    """A well-formed envelope passes; the null path is for the sender only."""
    syntax.check_envelope("", ["a@b.c", "root"], [])
    with pytest.raises(ValueError, match=r"to_addrs\[1\] is empty"):
        syntax.check_envelope("a@b.c", ["a@b.c", "<>"], [])


def test_envelope_beyond_ascii():
    """UTF-01: an address beyond ASCII needs SMTPUTF8 among the options; smtplib's error else."""
    syntax.check_envelope("jörg@b.c", ["a@b.c"], ["smtputf8"])
    with pytest.raises(UnicodeEncodeError):
        syntax.check_envelope("a@b.c", ["jörg@b.c"], [])


BAD_OPTIONS = [
    "X\r\nMAIL", "X\nY", "X\0", "SIZE=1 2", "", " SIZE", "=1", "SIZE=", "X=a=b", "-X", "X Y",
    "REQUIRETLS=yes", "requiretls=1",
]  # fmt: skip


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_option(option):
    """C03: what is not keyword or keyword=value is refused, and REQUIRETLS has no value."""
    with pytest.raises(ValueError, match=r"options|REQUIRETLS|prohibited newline"):
        syntax.checked_options(["SIZE=1", option], "mail_options")


def test_options_from_a_generator():
    """Options are read once and come back whole, so that nobody finds them used up."""
    options = syntax.checked_options((o for o in ["SIZE=1", "requiretls"]), "mail_options")
    assert options == ("SIZE=1", "requiretls")
    assert syntax.split_mark(options) == (["SIZE=1"], True)
    assert syntax.split_mark(["SIZE=1"]) == (["SIZE=1"], False)


def test_full_return():
    """RT-14, E11: RET=FULL beside REQUIRETLS is refused; RET=HDRS is what it must be."""
    syntax.refuse_full_return(["RET=HDRS", "ENVID=x"])
    with pytest.raises(ValueError, match="RET=HDRS"):
        syntax.refuse_full_return(["ret=full"])


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("mail.example.org", "mail.example.org"),
        ("joe's-mac.local", "[127.0.0.1]"),
        ("foo-.local", "[127.0.0.1]"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_usable_ehlo_name(name, want):
    """SMTP-06: a machine name that is no host name gives way to an address literal."""
    assert syntax.usable_ehlo_name(name) == want


@pytest.mark.parametrize("options", ["REQUIRETLS", b"SIZE=1", [5]])
def test_options_of_another_type(options):
    """A str in place of a sequence would be sent letter by letter."""
    with pytest.raises(TypeError, match="mail_options"):
        syntax.checked_options(options, "mail_options")


@pytest.mark.parametrize("name", ["host", "mail.example.org", "[127.0.0.1]", "[IPv6:::1]", "a_b"])
def test_ehlo_name(name):
    """SMTP-06: a host name or an address literal."""
    syntax.check_ehlo_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a\0", "<x>", "a..b", "[a b]", "a>"])
def test_bad_ehlo_name(name):
    """Anything else is refused when EHLO is due."""
    with pytest.raises(ValueError, match="EHLO name"):
        syntax.check_ehlo_name(name)


@pytest.mark.parametrize(
    ("host", "port", "want"),
    [
        ("mx.example", 0, ("mx.example", 0)),
        ("mx.example:587", 0, ("mx.example", 587)),
        ("mx.example", 25, ("mx.example", 25)),
        ("mx.example:587", 587, ("mx.example", 587)),
        ("::1", 25, ("::1", 25)),
        ("[::1]", 25, ("::1", 25)),
        ("[::1]:587", 0, ("::1", 587)),
        ("[IPv6:::1]", 25, ("::1", 25)),
        ("[192.0.2.1]:25", 0, ("192.0.2.1", 25)),
        ("", 0, ("", 0)),
    ],
)
def test_split_host(host, port, want):
    """N05: host, host:port and bracketed addresses are taken apart once."""
    assert syntax.split_host(host, port) == want


def test_split_host_bad_port():
    """A port that is no number is an OSError, as in smtplib."""
    with pytest.raises(OSError, match="nonnumeric port"):
        syntax.split_host("mx.example:smtp", 0)


def test_split_host_two_ports():
    """Two ports that differ are a contradiction, not a choice."""
    with pytest.raises(ValueError, match=r"port 587.*port=25"):
        syntax.split_host("mx.example:587", 25)


@pytest.mark.parametrize("host", ["mx\r\n", "mx\0", "mx\n:25"])
def test_split_host_control(host):
    """A control character in a host is refused before anything is dialled."""
    with pytest.raises(ValueError, match="host holds the control character"):
        syntax.split_host(host, 0)


@pytest.mark.parametrize(
    ("host", "want"),
    [
        ("MX.Example.COM", "mx.example.com"),
        ("mx.example.com.", "mx.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("my_host", "my_host"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_reference_name(host, want):
    """F14: one form of the name for SNI and for the certificate."""
    assert syntax.reference_name(host) == want


@pytest.mark.parametrize(
    "host",
    ["", ".", "a..b", "-a", "a b", "*.example", "a@b", "1.2.3", "256.1.1.1", "x" * 64, "a\0"],
)
def test_bad_reference_name(host):
    """What can be no name of a server is a ValueError before it is dialled."""
    with pytest.raises(ValueError, match=r"host|address|IDNA|Empty|does not appear"):
        syntax.reference_name(host)


KEYWORDS = [
    ("RT-05-plain", b"mx\nREQUIRETLS", True),
    ("SMTP-07-lower", b"mx\nrequiretls", True),
    ("B14-parameter", b"mx\nREQUIRETLS foo", True),
    ("among-others", b"mx\nSIZE 5\nREQUIRETLS\nHELP", True),
    ("B5-greeting-line", b"REQUIRETLS at your service\nSIZE", False),
    ("only-greeting", b"REQUIRETLS", False),
    ("B12-prefix", b"mx\nX-REQUIRETLS", False),
    ("B12-suffix", b"mx\nREQUIRETLS-OLD", False),
    ("equals", b"mx\nREQUIRETLS=yes", False),
    ("parameter-word", b"mx\nAUTH REQUIRETLS", False),
    ("B15-tab", b"mx\nREQUIRETLS\tfoo", False),
    ("B15-nul", b"mx\nREQUIRETLS\0", False),
    ("B15-nul-in-a-parameter", b"mx\nREQUIRETLS \0", False),
    ("B15-leading-blank", b"mx\n REQUIRETLS", False),
    ("underscore", b"mx\nREQUIRETLS_OLD", False),
    ("long-s", "mx\nREQUIRETL\u017f".encode(), False),
]


@pytest.mark.parametrize(("reply", "want"), [pytest.param(*r[1:], id=r[0]) for r in KEYWORDS])
def test_ehlo_keywords(reply, want):
    """Only the whole first word of a line below the greeting is a keyword."""
    assert ("REQUIRETLS" in syntax.ehlo_keywords(reply)) is want


def test_one_command_or_more(monkeypatch):
    """One command by itself is read as strictly as one among others."""
    source, pieces = random.Random(5321), ["\r\n", *"Ab \t\r\n\0\x7f\xe9"]

    def read(text):
        try:
            return syntax.commands(text)
        except ValueError as error:
            return str(error)

    texts = ["".join(source.choices(pieces, k=source.randrange(6))) + "\r\n" for _ in range(3000)]
    found = [read(text) for text in texts]
    monkeypatch.setattr(syntax, "_ONE_COMMAND", re.compile(r"(?!)"))
    assert [read(text) for text in texts] == found


def test_long_line_that_is_no_command():
    """Content handed to send() by mistake is refused at once, however long it is."""
    with pytest.raises(ValueError, match="control character"):
        syntax.commands("A" * 1_000_000 + "\x01\r\n")  # a pattern that goes back takes an hour


@pytest.mark.parametrize(
    "text", ["MA", "MAIL FROM:<a@b>", "\0MAIL\r\n", "\x0bMAIL FROM:<a@b>\r\n", "NOOP\x7f\r\n"]
)
def test_pieces_of_commands(text):
    """A command that a server could read otherwise than we did is a ValueError."""
    with pytest.raises(ValueError, match="a command"):
        syntax.commands(text)


@pytest.mark.parametrize(
    ("rest", "want"),
    [
        (" FROM:<a@b> REQUIRETLS", (True, False)),
        (" FROM:<a@b> X\xa0REQUIRETLS", (False, False)),
        (" FROM:<a@b> REQUIRETL\u017f", (False, False)),
        (" FROM:<a@b> SIZE=1\tREQUIRETLS", (False, False)),
        (" from:<a@b> SIZE=5 requiretls", (True, False)),
        (" FROM:<> REQUIRETLS", (True, True)),
        (" FROM:<>", (False, True)),
        (" FROM:<a@b>", (False, False)),
        (' FROM:<"x REQUIRETLS y"@b>', (False, False)),
        (' FROM:<"x> REQUIRETLS"@b>', (False, False)),
        (" FROM:<a@b> X-REQUIRETLS", (False, False)),
        (" FROM:<a@b> REQUIRETLS=no", (False, False)),
        (" FROM: a@b REQUIRETLS", (False, False)),
        (" REQUIRETLS", (False, False)),
        ("", (False, False)),
    ],
)
def test_read_mail(rest, want):
    """The mark is a parameter of its own behind the path, not a word inside it."""
    assert syntax.read_mail(rest) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (b"550 \x1b[2Jgone\x07", r"550 \x1b[2Jgone\x07"),
        ("a\r\nb", r"a\r b"),
        ("line\u2028break \u202eturned", r"line\u2028break \u202eturned"),
        (b"caf\xc3\xa9 \xff", r"café \xff"),
        ("\x9b31m", r"\x9b31m"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_printable(text, want):
    """B18: foreign text is shown without control characters, and cut."""
    assert syntax.printable(text) == want
