"""Many messages in groups of commands, by DATA and by BDAT, to real Postfix: none changes."""

from __future__ import annotations

import random
import uuid

import pytest

import requiretls_client as rt

from .process import poll

MESSAGES = 1000


def message(rng, number, token):
    """Return a message of odd lines; dots, long ones and none at the end among them."""
    lines = [
        rng.choice([b".", b"..", b". x", b"", b"x" * rng.randint(1, 990), b"From me", b"\tfolded"])
        for _ in range(rng.randint(0, 6))
    ]
    head = (
        f"Subject: {token} {number:04d}\r\nFrom: {token}@sender.test\r\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{number}.{token}@sender.test>\r\n"
        "To: user@example.test\r\n\r\n"
    ).encode()  # whole: Postfix has nothing to add
    return head + b"".join(line + b"\r\n" for line in lines)


def one_by_one(smtp, mails, required):
    """Send by sendmail()."""
    for sender, to, content in mails:
        assert smtp.sendmail(sender, to, content, require_tls=required) == {}


def across(smtp, mails, required):
    """Send by send_messages(), the content of one with the envelope of the next."""
    outcomes = smtp.send_messages(mails, require_tls=required)
    assert [outcome.state for outcome in outcomes] == ["delivered"] * len(mails)


def in_flight(smtp, mails, required):
    """Send by send_messages() with many in flight; strict ones go one behind the other."""
    outcomes = smtp.send_messages(mails, require_tls=required, in_flight=64)
    assert [outcome.state for outcome in outcomes] == ["delivered"] * len(mails)


@pytest.mark.parametrize(
    ("send", "chunking"),
    [(one_by_one, False), (one_by_one, True), (across, False), (in_flight, True)],
    ids=["groups", "chunks", "across", "in-flight"],
)
@pytest.mark.parametrize("version", ["postfix311", "postfix37"])
def test_many_messages(request, real_ca, version, send, chunking):
    """CHK-02, SMTP-14: 1,000 messages arrive byte for byte; every second one by REQUIRETLS."""
    server = request.getfixturevalue(version)
    strict = version == "postfix311"
    token, rng = uuid.uuid4().hex, random.Random(2920)
    sent = {number: message(rng, number, token) for number in range(MESSAGES)}
    mails = [(f"{token}@sender.test", f"user@{server.domain}", sent[n]) for n in range(MESSAGES)]
    with rt.SMTP(server.name, context=real_ca.context(), timeout=30) as smtp:
        smtp.starttls()
        smtp.use_chunking = chunking
        send(smtp, mails[0::2], strict)
        send(smtp, mails[1::2], False)
    assert poll(lambda: len(server.messages(token)) >= MESSAGES, 60), "not all have come"
    stored = server.messages(token)
    assert len(stored) == MESSAGES
    for content in stored:
        body = content.replace(b"\r\n", b"\n")
        at = body.index(b"Subject: " + token.encode())
        number = int(body[at:].split(b"\n", 1)[0].split()[-1])
        mark = b"Require-TLS-ESMTP: yes\n"  # Postfix's note of the parameter
        assert (mark in body) is (strict and number % 2 == 0)
        assert body[at:].replace(mark, b"") == sent.pop(number).replace(b"\r\n", b"\n")
    assert not sent
    commands = server.commands(token)
    assert len([line for line in commands if line.upper().startswith("MAIL")]) == MESSAGES


@pytest.mark.parametrize("in_flight", [1, 64])
@pytest.mark.parametrize("version", ["postfix311", "postfix37"])
def test_refused_among_many(request, real_ca, version, in_flight):
    """A message that Postfix refuses leaves nobody in the transaction of the next one."""
    server = request.getfixturevalue(version)
    token, rng = uuid.uuid4().hex, random.Random(3030)
    to = [f"user@{server.domain}"] * 9
    to[3] = to[6] = "somebody@elsewhere.test"  # no relaying
    mails = [(f"{token}.{n}@sender.test", to[n], message(rng, n, token)) for n in range(9)]
    with rt.SMTP(server.name, context=real_ca.context(), timeout=30) as smtp:
        smtp.starttls()
        smtp.ehlo()
        outcomes = smtp.send_messages(mails, in_flight=in_flight)
        assert smtp.noop()[0] == 250
    states = ["refused" if number in (3, 6) else "delivered" for number in range(9)]
    assert [outcome.state for outcome in outcomes] == states
    assert poll(lambda: len(server.messages(token)) >= 7, 60), "not all have come"
    for content in server.messages(token):
        number = int(content.split(token.encode() + b" ")[1][:4])
        assert b"Return-Path: <" + f"{token}.{number}@sender.test>".encode() in content
