"""Pytest fixtures; pytest loads them by itself where requiretls-client is installed.

Only pytest is imported until a fixture is used.

``requiretls_server`` lets a test run the application's own code, unchanged, against a server
that offers REQUIRETLS and that the process trusts::

    def test_the_report_travels_with_requiretls(requiretls_server):
        send_report("boss@example.org", host=requiretls_server.host, port=requiretls_server.port)

        (message,) = requiretls_server.ledger
        assert "REQUIRETLS" in message.parameters

where ``send_report`` says ``SMTP(host, port, require_tls=True)``. For a server that does not
offer it, or that attacks, see :mod:`requiretls_client.testing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from requiretls_client.testing import Server


@pytest.fixture
def requiretls_server() -> Iterator[Server]:
    """A running :class:`requiretls_client.testing.Server` that the whole process trusts.

    It offers REQUIRETLS inside TLS; ``requiretls_client``'s default context verifies it. An error
    in the server fails the test at the end.
    """
    from requiretls_client.testing import Server, trust

    with Server() as server, trust(server.ca):
        yield server
