"""Well-behaved sessions, spoken by smtplib and by us: the same bytes, but for what README names."""

from __future__ import annotations

import itertools
import re
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import fuzz
import pytest

import requiretls_client as rt
from requiretls_client.testing import normal

ROOT = Path(__file__).resolve().parent.parent
SHARE = 300  # of the sessions that `tests/fuzz.py diff` runs
PAIRS = [(smtplib.SMTP, rt.SMTP), (smtplib.SMTP_SSL, rt.SMTP_SSL), (smtplib.LMTP, rt.LMTP)]
OFFERS = ["PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
LINES = [
    "Hello,", "", ".", "..", ".hidden", "From here on", " . ", "x" * 70, "y" * 900, "a = b", "--",
    "\ttab", "end.",
]  # fmt: skip
ADDRESSES = ["bob@example.net", "Bob <bob@example.net>", "<bob@example.net>", '"b b"@example.net']
SENDERS = ["alice@example.org", "Alice <alice@example.org>", "<alice@example.org>", ""]


# -- what is sent ----------------------------------------------------------------------------------


def body(rng):
    """Return a few lines."""
    return rng.choices(LINES, k=rng.randrange(6))


def as_str(rng):
    """Return a message as str, with any line ends, as smtplib takes it."""
    lines = ["Subject: x", "To: someone", "", *body(rng)]
    return rng.choice(["\n", "\r\n", "\r"]).join(lines) + rng.choice(["", "\n", "\r\n"])


def as_bytes(rng):
    """Return a message as bytes, with the line ends of SMTP."""
    return "\r\n".join(["Subject: x", "", *body(rng)]).encode() + rng.choice([b"", b"\r\n"])


def as_message(rng, eight_bit):
    """Return a message object, without any 8-bit part where none may be."""
    message = EmailMessage()
    message["From"], message["Subject"] = "Alice <alice@example.org>", rng.choice(["x", "h\xe9"])
    message["To"] = "bob@example.net, Carl <carl@example.net>"
    if rng.random() < 0.3:
        message["Bcc"] = "hidden@example.net"
    if rng.random() < 0.2:
        message["Sender"] = "secretary@example.org"
    accents = rng.choice(["", "h\xe9llo"]) if eight_bit else ""
    message.set_content("\n".join(body(rng)).replace("From ", "from ") + accents)
    if rng.random() < 0.3:
        message.add_attachment(b"\0\xff" * 40, maintype="image", subtype="png")
        message.set_boundary("=-=")
    return message


def as_old_message(rng, eight_bit):
    """Return a message object of the old kind; these have no 8-bit parts."""
    message = MIMEMultipart(boundary="=-=")
    message["From"], message["To"] = "alice@example.org", "bob@example.net"
    message.attach(MIMEText("\n".join(body(rng)), "plain", "us-ascii"))
    message.attach(MIMEText("h\xe9", "plain", rng.choice(["utf-8", "iso-8859-1"])))
    return message


def a_message(rng, offers, most):
    """Return the name of a method and its arguments; at most so many recipients."""
    count = rng.randrange(1, most + 1)
    recipients = [rng.choice(ADDRESSES).replace("bob", f"b{number}") for number in range(count)]
    recipients = rng.choice([recipients, tuple(recipients), recipients[0]])
    options = {}
    if "DSN" in offers and rng.random() < 0.3:
        options["mail_options"] = rng.choice([["RET=HDRS"], ("ENVID=x", "RET=FULL")])
        options["rcpt_options"] = ["NOTIFY=SUCCESS"]
    if rng.random() < 0.5:
        message = rng.choice([as_str, as_bytes])(rng)
        return "sendmail", (rng.choice(SENDERS), recipients, message), options
    message = rng.choice([as_message, as_message, as_old_message])(rng, "8BITMIME" in offers)
    if most > 2 and rng.random() < 0.6:
        return "send_message", (message,), options
    return "send_message", (message, rng.choice(SENDERS), recipients), options


def by_hand(rng):
    """Return the single commands of a message."""
    yield "mail", (rng.choice(SENDERS),), {}
    yield "rcpt", ("bob@example.net",), {}
    yield "data", (rng.choice([as_str, as_bytes])(rng),), {}


def a_plan(rng, stock):
    """Return a server, as the options of its class, and what a caller of this class does."""
    offers = rng.sample(OFFERS, rng.randrange(len(OFFERS) + 1))
    most = 1 if stock is smtplib.LMTP else 4  # smtplib loses step where there are several answers
    script = a_script(rng)
    options = {
        "extensions": offers,
        "tls_extensions": [*offers, rng.choice(["REQUIRETLS", "X-THING 1"])],
        "starttls": rng.random() < 0.7,
        "script": script,
    }
    if "EHLO" in script:
        offers = []
    calls = []
    if stock is not smtplib.SMTP_SSL and options["starttls"] and rng.random() < 0.5:
        calls.append(("starttls", (), {}))
    elif stock is not smtplib.SMTP_SSL and rng.random() < 0.2 and "EHLO" not in script:
        mechanisms = rng.choice(["PLAIN", "LOGIN", "PLAIN LOGIN"])
        options["extensions"] = [*offers, f"AUTH {mechanisms}"]
        options["users"] = {"alice": "secret"}
        calls.append(("login", ("alice", "secret"), {}))
    for _ in range(rng.randrange(1, 5)):
        single = most > 1 and rng.random() < 0.15
        calls += by_hand(rng) if single else [a_message(rng, offers, most)]
        if rng.random() < 0.3:
            name = rng.choice(["noop", "rset", "ehlo", "help"])
            calls.append((name, (), {}))
    return options, calls


def a_script(rng):
    """Return the refusals of a server in good faith."""
    script = {}
    refusals = ["450 4.2.1 later", "550 5.1.1 nobody here", "552-5.2.2 no\n552 5.2.2 room"]
    for stage in rng.sample(["MAIL", "RCPT", "RCPT", "DATA", "."], rng.randrange(3)):
        script[stage] = [rng.choice([normal, normal, rng.choice(refusals)]) for _ in range(6)]
    if rng.random() < 0.1:
        script["EHLO"] = "502 5.5.1 what?"
    if rng.random() < 0.1:
        script["RCPT"] = "251 2.1.5 will forward"
    return script


# -- who says it -----------------------------------------------------------------------------------


def speak(cls, options, calls, ending):
    """Let a client do it all; returns its lines by channel, and what each call came to."""
    implicit, lmtp = issubclass(cls, smtplib.SMTP_SSL), issubclass(cls, smtplib.LMTP)
    context, _, client_context = fuzz.certificates()
    server = fuzz.QuickServer(context, implicit_tls=implicit, lmtp=lmtp, **options)
    outcomes = []
    with server:
        extra = {"context": client_context} if implicit else {}
        smtp = cls(server.host, server.port, local_hostname="client.example", timeout=5, **extra)
        smtp.use_pipelining = False  # one command at a time, as smtplib; test_pipelining has ours
        for name, arguments, named in calls:
            named = {"context": client_context} if name == "starttls" else named
            try:
                outcomes.append(getattr(smtp, name)(*arguments, **named))
            except smtplib.SMTPException as error:
                outcomes.append((type(error).__name__, error.args))
        if ending == "quit":
            outcomes.append(smtp.quit())
        elif ending == "with":
            with smtp:
                pass
        smtp.close()
    return [(line.channel, line.data) for line in server.transcript if line.side == "C"], outcomes


# -- where they differ -----------------------------------------------------------------------------

# README's words, what is sent, smtplib's line, and ours in its place
DIFFERENCES = [
    (
        "both are declared where offered",
        b"Subject: x\r\n\r\nh\xc3\xa9\r\n",
        b"mail from:<a@b.c>\r\n",
        b"mail from:<a@b.c> body=8bitmime\r\n",
    ),
    ("sends a bare LF", b"Subject: x\r\n\r\none\n.\r\n", b"one\n", b"one\r\n"),
    ("bare LF or CR", b"Subject: x\r\n\r\none\r", b"one\r\r\n", b"one\r\n"),
    ("``>From``", "From here on\n", b">From here on\r\n", b"From here on\r\n"),
]
DECLARED = re.compile(rb"(?i)(mail from:.*) BODY=8BITMIME\r\n")


def compare(rng):
    """Run one session twice; the two may differ by the declaration of 8-bit octets alone."""
    stock, ours = rng.choices(PAIRS, [4, 1, 1])[0]
    options, calls = a_plan(rng, stock)
    ending = rng.choice(["quit", "with", "close"])
    theirs, their_outcomes = speak(stock, options, calls, ending)
    own, own_outcomes = speak(ours, options, calls, ending)
    for mine, other in itertools.zip_longest(own, theirs):
        if mine != other and mine and DECLARED.fullmatch(mine[1]):
            mine = mine[0], DECLARED.sub(rb"\1\r\n", mine[1])
        assert mine == other, f"we said {mine}, smtplib {other} in {calls}"
    for mine, other in zip(own_outcomes, their_outcomes, strict=True):
        if stock is smtplib.LMTP and mine != other:  # "LMTP reports every recipient"
            mine = "SMTPDataError", *mine[1][0].values()
        assert mine == other, calls
    return stock.__name__


def test_same_bytes():
    """Goal 13: well-behaved sessions are byte for byte smtplib's."""
    # In a process of its own: callers that other tests import change the email package.
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, script, "diff", str(SHARE), "--seed", "21"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("row", DIFFERENCES, ids=[row[0] for row in DIFFERENCES])
def test_differences(row):
    """Each difference is named in README, and is this line alone."""
    words, content, their_line, our_line = row
    call = "sendmail", ("a@b.c", "d@e.f", content), {}
    if isinstance(content, str):
        message = EmailMessage()
        message.set_content(content)
        call = "send_message", (message, "a@b.c", "d@e.f"), {}
    options = {"extensions": ["8BITMIME"]}
    theirs, _ = speak(smtplib.SMTP, options, [call], "quit")
    ours, _ = speak(rt.SMTP, options, [call], "quit")
    differing = [pair for pair in itertools.zip_longest(theirs, ours) if pair[0] != pair[1]]
    ((their_room, theirs_said), (our_room, we_said)) = differing[0]
    assert len(differing) == 1
    assert their_room == our_room == "plain"
    if their_line.startswith(b"mail"):  # the case of the word is the Python's
        theirs_said, we_said = theirs_said.lower(), we_said.lower()
    assert (theirs_said, we_said) == (their_line, our_line)
    readme = " ".join((ROOT / "README.rst").read_text().split())
    assert words in readme.partition("In place of smtplib")[2]
