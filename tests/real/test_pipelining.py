"""Many messages in groups of commands, with DATA and with BDAT, to real Postfix: none changes."""

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


@pytest.mark.parametrize("version", ["postfix311", "postfix37"])
def test_many_messages(request, real_ca, version):
    """CHK-02, SMTP-14: 1,000 messages arrive byte for byte; half by BDAT where they may."""
    server = request.getfixturevalue(version)
    strict = version == "postfix311"
    token, rng = uuid.uuid4().hex, random.Random(2920)
    sent = {}
    for chunking in (False, True):
        with rt.SMTP(server.name, context=real_ca.context(), timeout=30) as smtp:
            smtp.starttls()
            smtp.use_chunking = chunking
            half = MESSAGES // 2
            for number in range(chunking * half, (chunking + 1) * half):
                sent[number] = message(rng, number, token)
                required = strict and number % 2 == 0
                sender, to = f"{token}@sender.test", f"user@{server.domain}"
                assert smtp.sendmail(sender, to, sent[number], require_tls=required) == {}
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
