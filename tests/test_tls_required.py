"""RFC 8689 s3: TLS-Required: No on the wire, and what beats what."""

from __future__ import annotations

from email.message import EmailMessage, Message
from email.mime.text import MIMEText

import pytest
from support import RAW, connect


def fields(server):
    """Return how often the field stands in the header of each message taken."""
    heads = [item.content.partition(b"\r\n\r\n")[0] + b"\r\n" for item in server.ledger]
    return [head.lower().count(b"tls-required: no\r\n") for head in heads]


@pytest.mark.parametrize("cls", [EmailMessage, Message, lambda: MIMEText("x")])
def test_tls_optional_on_a_message_object(serve, cls):
    """RT-22: the field is added once, to what is sent and not to the caller's object."""
    server = serve()
    message = cls()
    message["Subject"] = "x"
    before = message.items()
    with connect(server) as smtp:
        smtp.send_message(message, "a@example.org", ["b@example.net"], tls_optional=True)
    assert fields(server) == [1]
    assert message.items() == before
    assert "REQUIRETLS" not in server.ledger[0].parameters


@pytest.mark.parametrize("raw", [RAW, RAW.decode(), "From: a@b\nSubject: x\n\nbody\n", "body only"])
def test_tls_optional_on_a_raw_message(serve, raw):
    """RT-22: raw str and bytes too, and the body stays the body."""
    server = serve()
    with connect(server) as smtp:
        smtp.sendmail("a@example.org", "b@example.net", raw, tls_optional=True)
    assert fields(server) == [1]
    assert b"body" in server.ledger[0].content.partition(b"\r\n\r\n")[2]


def test_header_of_the_caller_selects_the_same(serve, message):
    """RT-20: the field alone is enough, and is not added again."""
    server = serve()
    message["TLS-Required"] = "No"
    with connect(server) as smtp:
        smtp.send_message(message)
        smtp.send_message(message, tls_optional=True)
        smtp.sendmail("a@b.c", "d@e.f", b"TLS-Required: No\r\n\r\n", tls_optional=True)
    assert fields(server) == [1, 1, 1]


def test_session_beats_header(serve, message, caplog):
    """Ruling 7: on a strict session the stricter wins, with a warning."""
    server = serve()
    message["TLS-Required"] = "No"
    with connect(server, require_tls=True) as smtp:
        smtp.send_message(message)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        smtp.send_message(message, require_tls=False)
    assert ["REQUIRETLS" in item.parameters for item in server.ledger] == [True, False]
    assert fields(server) == [1, 1]


@pytest.mark.parametrize("strict", [False, True])
def test_contradiction_in_one_call(serve, message, strict):
    """E09: require_tls and TLS-Required: No in one call is a ValueError, and no byte is sent."""
    server = serve()
    marked = EmailMessage()
    marked["From"], marked["To"], marked["TLS-Required"] = "a@b.c", "d@e.f", "No"
    with connect(server, require_tls=strict) as smtp:
        before = len(server.transcript)
        for call in (
            lambda: smtp.send_message(message, require_tls=True, tls_optional=True),
            lambda: smtp.send_message(message, mail_options=["REQUIRETLS"], tls_optional=True),
            lambda: smtp.send_message(marked, require_tls=True),
            lambda: smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True, tls_optional=True),
            lambda: smtp.sendmail("a@b.c", "d@e.f", b"TLS-Required: No\r\n\r\n", ["REQUIRETLS"]),
            lambda: smtp.sendmail("a@b.c", "d@e.f", RAW, ["REQUIRETLS"], require_tls=False),
        ):
            with pytest.raises(ValueError, match=r"REQUIRETLS|TLS-Required"):
                call()
        assert len(server.transcript) == before
        smtp.send_message(message)
    assert len(server.ledger) == 1
