"""Fixtures that every test file may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage

import pytest

from requiretls_client.testing import Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start scripted servers with the arguments of ``Server``; they end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Server(**options))


@pytest.fixture
def message() -> EmailMessage:
    """Return a small message with a canary that must never leak."""
    message = EmailMessage()
    message["From"] = "alice@example.org"
    message["To"] = "bob@example.net"
    message["Subject"] = "canary-subject"
    message.set_content("canary-body\n")
    return message


def nothing_sent(server: Server) -> bool:
    """Tell whether no message, no envelope and no credentials reached the server."""
    said = b"".join(line.data for line in server.transcript if line.side == "C")
    verbs = {command.split(" ")[0].split(":")[0].upper() for command in server.commands()}
    return b"canary" not in said and not verbs & {"MAIL", "RCPT", "DATA", "AUTH", "BDAT"}
