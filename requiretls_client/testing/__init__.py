"""A scripted SMTP server on loopback, for testing programs that must refuse a downgrade.

By default :class:`Server` is a correct SMTP server with REQUIRETLS (RFC 8689), a certificate of a
throw-away CA and a memory: what travelled, on which channel, and which messages it accepted. A
script replaces single answers, so that a test can play the attacks::

    from requiretls_client import SMTP, RequireTLSNotOffered
    from requiretls_client.testing import Server

    with Server(tls_extensions=["X-REQUIRETLS"]) as server:
        try:
            SMTP(server.host, server.port, require_tls=True, context=server.client_context())
        except RequireTLSNotOffered:
            assert not [line for line in server.commands() if line.startswith("MAIL")]

Rooms, in reading order: ``records`` (what the server remembers), ``script`` (what it is told to
do), ``connection`` (bytes in and out), ``envelope`` and ``authentication`` (rules, no I/O),
``dialogue`` (the SMTP commands), ``server`` (listener and threads), ``certificates``; and
``resolver``, a DNS from a dictionary for :class:`~requiretls_client.lookups.Lookups`.

Certificates need trustme: ``pip install 'requiretls-client[demo]'``. It is imported when the
first one is made, so a server without TLS does without.

Not for production: nothing limits a client, and passwords stand in the transcript.
"""

from requiretls_client.testing.certificates import CA, Certificate, trust
from requiretls_client.testing.connection import Connection
from requiretls_client.testing.records import Accepted, Line
from requiretls_client.testing.resolver import FakeResolver
from requiretls_client.testing.script import Step, close, delay, lie, normal, reset, stall
from requiretls_client.testing.server import Server

__all__ = [
    "CA",
    "Accepted",
    "Certificate",
    "Connection",
    "FakeResolver",
    "Line",
    "Server",
    "Step",
    "close",
    "delay",
    "lie",
    "normal",
    "reset",
    "stall",
    "trust",
]
