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
