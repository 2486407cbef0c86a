"""A file as a message to real Postfix, in every way: it arrives as it is."""

from __future__ import annotations

import random
import uuid

import pytest

import requiretls_client as rt

from .process import poll

SIZE = 4_000_000


def message(rng, token):
    """Return a long message of odd lines, as Unix keeps it: with LF."""
    head = (
        f"Subject: {token}\nFrom: {token}@sender.test\nTo: user@example.test\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0000\nMessage-ID: <{token}@sender.test>\n\n"
    ).encode()  # whole: Postfix has nothing to add
    odd = [b".", b"..", b". x", b"", b"x" * 998, b"From me", b"\tfolded", b"word " * 20]
    lines = rng.choices(odd, k=SIZE // (sum(map(len, odd)) // len(odd)))
    return head + b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "required"])
@pytest.mark.parametrize("way", ["steps", "groups", "chunks"])
def test_file_arrives(postfix311, real_ca, tmp_path, way, strict):
    """SMTP-13, SMTP-14, CHK-02: a file of some megabytes arrives octet by octet."""
    token = uuid.uuid4().hex
    raw = message(random.Random(1870), token)
    path = tmp_path / "message.eml"
    path.write_bytes(raw)
    with rt.SMTP(postfix311.name, context=real_ca.context(), timeout=30) as smtp:
        smtp.starttls()
        smtp.use_pipelining, smtp.use_chunking = way != "steps", way == "chunks"
        with path.open("rb") as file:
            to = f"user@{postfix311.domain}"
            assert smtp.sendmail(f"{token}@sender.test", to, file, require_tls=strict) == {}
    assert poll(lambda: postfix311.messages(token), 60), "it has not come"
    (stored,) = postfix311.messages(token)
    body = stored.replace(b"\r\n", b"\n")
    body = body[body.index(b"Subject: " + token.encode()) :]
    assert body.replace(b"Require-TLS-ESMTP: yes\n", b"") == raw
