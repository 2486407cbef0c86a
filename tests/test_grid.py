"""The grid: nine stages of a strict session, each answered with twelve codes.

One message with ``require_tls`` to two recipients, then a second one on the same object. The table
below is what must come of it; every session is held against it exactly, and against the server's
ledger. RFC 5321 s4.2 and s4.3.2 say which codes mean what, RFC 3207 s4 what may follow STARTTLS,
RFC 8689 s4.2.1 when a message may leave.
"""

from __future__ import annotations

import smtplib
import time

import pytest
from support import RAW, connect

from requiretls_client.testing import lie

ONE, TWO = "one@example.net", "two@example.net"
CODES = (200, 220, 221, 235, 250, 251, 334, 354, 421, 451, 500, 554)

TO_TLS = "EHLO STARTTLS / EHLO"
WHOLE = "MAIL RCPT RCPT DATA"
SENT = f"{TO_TLS} {WHOLE} {WHOLE} QUIT"
CLOSED = "SMTPServerDisconnected"
NO_TLS = ("TLSNotEstablished", CLOSED)
NO_OFFER = ("RequireTLSNotOffered", CLOSED)

# Behind 421 the server hangs up; one more command leaves where we are quicker.
LATE = (" QUIT", " MAIL")

# stage, codes, outcome of the first message, of the second, commands: in clear / inside TLS.
# "sent" is {}; "partly" a dict with ONE in it.
GRID = [
    # Only 220 greets (RFC 5321 s4.2.4.2); the constructor raises, so there is no second message.
    ("GREETING", "220", "sent", "sent", SENT),
    ("GREETING", "200 221 235 250 251 334 354 421 451 500 554", "SMTPConnectError", "-", ""),
    # 250 without STARTTLS in it, and every other answer: no TLS to be had, and never HELO.
    ("EHLO plain", "200 220 221 235 250 251 334 354 451 500 554", *NO_TLS, "EHLO QUIT"),
    ("EHLO plain", "421", *NO_TLS, "EHLO"),
    # Only 220 starts TLS (RFC 3207 s4); nothing but QUIT follows another answer in clear.
    ("STARTTLS", "220", "sent", "sent", SENT),
    ("STARTTLS", "200 221 235 250 251 334 354 451 500 554", *NO_TLS, "EHLO STARTTLS QUIT"),
    ("STARTTLS", "421", *NO_TLS, "EHLO STARTTLS"),
    # 250 without REQUIRETLS in it, and every other answer: not offered (RFC 8689 s4.2.1 step 5).
    ("EHLO tls", "200 220 221 235 250 251 334 354 451 500 554", *NO_OFFER, f"{TO_TLS} QUIT"),
    ("EHLO tls", "421", *NO_OFFER, TO_TLS),
    # Only 250 opens a transaction; whatever else was said, RSET makes sure that none is open.
    ("MAIL", "250", "sent", "sent", SENT),
    ("MAIL", "200 220 221 235 251 334 354 451 500 554", "SMTPSenderRefused", "sent",
     f"{TO_TLS} MAIL RSET {WHOLE} QUIT"),
    ("MAIL", "421", "SMTPSenderRefused", CLOSED, f"{TO_TLS} MAIL"),
    # 250 and 251 take a recipient (RFC 5321 s4.3.2), 4yz and 5yz refuse it, and the other one gets
    # the message anyway; of the rest nobody knows what they say.
    ("RCPT", "250 251", "sent", "sent", SENT),
    ("RCPT", "451 500 554", "partly", "sent", SENT),
    ("RCPT", "200 220 221 235 334 354", "ReplyError", CLOSED, f"{TO_TLS} MAIL RCPT"),
    ("RCPT", "421", "SMTPRecipientsRefused", CLOSED, f"{TO_TLS} MAIL RCPT"),
    # Only 354 opens the content. A refusal leaves the transaction open, as with smtplib: the next
    # MAIL is "nested" and refused, and the RSET behind it ends both.
    ("DATA", "354", "sent", "sent", SENT),
    ("DATA", "200 220 221 235 250 251 334", "ReplyError", CLOSED, f"{TO_TLS} {WHOLE}"),
    ("DATA", "421", "SMTPDataError", CLOSED, f"{TO_TLS} {WHOLE}"),
    ("DATA", "451 500 554", "SMTPDataError", "SMTPSenderRefused",
     f"{TO_TLS} {WHOLE} MAIL RSET QUIT"),
    # Only 250 says yes, 4yz and 5yz say no; of the others nobody knows what they say.
    (".", "250", "sent", "sent", SENT),
    (".", "200 220 221 235 251 334 354", "DeliveryUnknown", CLOSED, f"{TO_TLS} {WHOLE}"),
    (".", "421", "SMTPDataError", CLOSED, f"{TO_TLS} {WHOLE}"),
    (".", "451 500 554", "SMTPDataError", "sent", f"{TO_TLS} {WHOLE} RSET {WHOLE} QUIT"),
    # Both messages were taken before; what QUIT is answered with changes nothing.
    ("QUIT", "200 220 221 235 250 251 334 354 451 500 554", "sent", "sent", SENT),
    ("QUIT", "421", "sent", "sent", SENT.removesuffix(" QUIT")),
]  # fmt: skip


def in_groups(stage, code, first, second, commands):
    """Return the same expectation where the commands of a message leave together (RFC 2920).

    The later ones have left when the first is refused; a server that takes a recipient for a MAIL
    that it did not take is left, since somebody could get an empty message; RSET follows DATA.
    """
    again = f"{TO_TLS} {WHOLE} RSET {WHOLE} QUIT"
    if stage == "MAIL" and first == "SMTPSenderRefused":
        left = code < 300 or second == CLOSED
        return first, CLOSED if left else "sent", f"{TO_TLS} {WHOLE}" if left else again
    if stage == "RCPT" and first in ("ReplyError", "SMTPRecipientsRefused"):
        return first, second, f"{TO_TLS} {WHOLE}"
    if (stage, second) == ("DATA", "SMTPSenderRefused"):
        return first, "sent", again
    return first, second, commands


def sessions():
    """Return a parameter set for each stage and code, with its expectation."""
    return [
        pytest.param(stage, code, *expected, id=f"{stage}-{code}")
        for stage, codes, *expected in GRID
        for code in map(int, codes.split())
    ]


def outcome(call):
    """Return what came of a message in one word, and the result or the exception."""
    try:
        refused = call()
    except smtplib.SMTPException as error:
        return type(error).__name__, error
    return "partly" if refused else "sent", refused


def send(smtp):
    """Send the canary to both."""
    return smtp.sendmail("alice@example.org", [ONE, TWO], RAW, require_tls=True)


def dialogue(server):
    """Return the verbs that the server read, those in clear before a slash."""
    clear, tls = (
        [command.split(" ")[0].upper() for command in server.commands(channel)]
        for channel in ("plain", "tls")
    )
    return " ".join(clear + ["/", *tls] * bool(tls))


def reported(word, value):
    """Return who has the message, who has not and of whom nobody knows, as the client says."""
    both = {ONE, TWO}
    if word in ("sent", "partly"):
        return both - set(value), set(value), set()
    if word == "DeliveryUnknown":
        return set(value.accepted), set(value.refused), set(value.recipients)
    return set(), both, set()


def play(serve, stage, code, *, groups):
    """Play one session; return the server and what came of both messages."""
    said = f"{code} 2.0.0 as scripted"
    # RFC 3207 s4: TLS follows 220 and nothing else.
    step = lie(said) if stage == "STARTTLS" and code != 220 else said
    server = serve(script={stage: [step]})
    smtp = None

    def connect_and_send():
        nonlocal smtp
        smtp = connect(server)
        smtp.use_pipelining = groups
        return send(smtp)

    first = outcome(connect_and_send)
    second = "-"
    if smtp is not None:
        second, _ = outcome(lambda: send(smtp))
        if smtp.sock is not None:
            _, farewell = outcome(lambda: smtp.quit() and {})
            assert isinstance(farewell, dict | smtplib.SMTPServerDisconnected)
        assert smtp.sock is None
    server.wait_idle()
    return server, first, second


@pytest.mark.parametrize("groups", [False, True], ids=["step-by-step", "pipelined"])
@pytest.mark.parametrize(("stage", "code", "first", "second", "commands"), sessions())
def test_grid(serve, stage, code, first, second, commands, groups):
    """O1, O3, O4, O5: each code at each stage has one outcome, and it is what the server did."""
    if groups:
        first, second, commands = in_groups(stage, code, first, second, commands)
    started = time.monotonic()
    server, (word, value), again = play(serve, stage, code, groups=groups)
    assert time.monotonic() - started < 4, "nothing stalls here; no deadline may be waited for"
    assert (word, again) == (first, second)
    said = dialogue(server)
    assert said == commands or (code == 421 and said.removeprefix(commands) in LATE)
    if isinstance(value, smtplib.SMTPResponseException):
        assert value.smtp_code in (code, -1)
    assert not {"MAIL", "RCPT", "DATA", "AUTH"} & set(commands.partition("/")[0].split())
    ledger = [set(item.recipients) for item in server.ledger]
    if again == "sent":
        assert ledger.pop() == {ONE, TWO}
    has, has_not, unknown = reported(word, value)
    taken = set().union(*ledger)
    assert len(ledger) <= 1
    assert has <= taken <= has | unknown
    assert not taken & has_not
    assert all("REQUIRETLS" in item.parameters and item.tls for item in server.ledger)


def test_grid_is_whole():
    """Every stage of a session has a row for every code, once."""
    cells = [(row.values[0], row.values[1]) for row in sessions()]
    stages = list(dict.fromkeys(stage for stage, _ in cells))
    assert len(stages) == 9
    assert sorted(cells) == sorted((stage, code) for stage in stages for code in CODES)
