"""``requiretls demo``: three real messages through an embedded server on loopback.

Every act says what it expects and is held to it: the exit status is 0 only if the server's own
ledger, the verdict and the exception are all as they must be.
"""

from __future__ import annotations

import argparse
import sys
from email.message import EmailMessage
from typing import TYPE_CHECKING

import requiretls_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from requiretls_client.testing import Server

# A server that offered REQUIRETLS yesterday, and today does not.
_WITHOUT = ("PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: there are none."""


def run(options: argparse.Namespace) -> int:
    """Play the three acts on standard output; 0 only if each went as it must."""
    from requiretls_client.testing import Server

    acts: list[tuple[str, Server, Callable[[Server], bool]]] = [
        ("1. require_tls=True, and the server offers REQUIRETLS", Server(), _sent),
        (
            "2. require_tls=True, and the server has stopped offering it",
            Server(tls_extensions=_WITHOUT),
            _refused,
        ),
        (
            "3. tls_optional=True: TLS-Required: No, to that same kind of server",
            Server(tls_extensions=_WITHOUT),
            _optional,
        ),
    ]
    try:
        results = [_play(title, server, act) for title, server, act in acts]
    except ImportError as error:  # no trustme, so no certificates
        print(f"requiretls demo: {error}", file=sys.stderr)
        return 1
    print(f"{results.count(True)} of {len(results)} acts went as they must")
    return 0 if all(results) else 1


def _play(title: str, server: Server, act: Callable[[Server], bool]) -> bool:
    print(f"{title}\n{'-' * len(title)}")
    with server:
        good = act(server)
    for line in server.transcript:
        text = line.data.decode("utf-8", "replace").rstrip("\r\n")
        print(f"  {line.channel:5}  {line.side}: {text}")
    print(f"\n  as it must be: {'yes' if good else 'NO'}\n")
    return good


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "alice@example.org"
    message["To"] = "bob@example.net"
    message["Subject"] = "The account number"
    message.set_content("It is 1234.\n")
    return message


def _sent(server: Server) -> bool:
    with requiretls_client.SMTP(
        server.host, server.port, context=server.client_context(), timeout=10
    ) as smtp:
        refused = smtp.send_message(_message(), require_tls=True)
    verdict = smtp.last_verdict
    assert verdict is not None  # noqa: S101 - a message was sent
    print(verdict.explain() + "\n")
    return not refused and verdict.requiretls and _marks(server) == [True]


def _refused(server: Server) -> bool:
    try:
        with requiretls_client.SMTP(
            server.host, server.port, context=server.client_context(), timeout=10
        ) as smtp:
            smtp.send_message(_message(), require_tls=True)
    except requiretls_client.RequireTLSNotOffered as error:
        print(error.explain() + "\n")
        return error.status == "5.7.30" and not server.ledger
    print("it was sent, and must not have been")
    return False


def _optional(server: Server) -> bool:
    with requiretls_client.SMTP(
        server.host, server.port, context=server.client_context(), timeout=10
    ) as smtp:
        smtp.starttls()
        smtp.send_message(_message(), tls_optional=True)
    print("The message asks every server on its way to deliver it even without TLS.\n")
    fields = [item.content.count(b"TLS-Required: No\r\n") for item in server.ledger]
    return fields == [1] and _marks(server) == [False]


def _marks(server: Server) -> list[bool]:
    """Return, for each message that the server really took, whether REQUIRETLS came with it."""
    return ["REQUIRETLS" in item.parameters for item in server.ledger]
