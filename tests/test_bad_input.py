"""Ruling 15: bad arguments are errors before a byte is sent."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from support import RAW, connect

import requiretls_client as rt

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


@pytest.mark.parametrize("name", ["a b", "a\r\nMAIL FROM:<x@y>", "a\0", ""])
def test_bad_ehlo_name_in_the_constructor(serve, name):
    """C01, ruling 15: with require_tls in the constructor it is refused before connecting."""
    server = serve()
    with pytest.raises(ValueError, match="EHLO name"):
        connect(server, require_tls=True, local_hostname=name)
    assert server.transcript == []


def test_recipients_from_a_generator(serve):
    """C15: a generator of recipients is read once and counts fully."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@b.c", (f"{name}@e.f" for name in ("one", "two")), RAW)
    assert server.ledger[0].recipients == ("one@e.f", "two@e.f")
