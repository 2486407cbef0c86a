"""Ruling 1c where it counts: a server that is not on loopback, in the run's own network."""

from __future__ import annotations

import fcntl
import socket
import struct

import pytest

import requiretls_client as rt
from requiretls_client.testing import Server

ADDRESS = "203.0.113.25"  # RFC 5737: documentation only; here it leads nowhere but to ourselves
SIOCSIFADDR = 0x8916
USER, PASSWORD = "user", "canary-password"


@pytest.fixture(scope="module")
def elsewhere(postfix37):
    """Return an address that is not loopback, added to the network namespace of this run.

    ``postfix37`` is there only inside such a namespace; without it this skips too.
    """
    address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(ADDRESS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16s16s", b"lo:1", address))
    return ADDRESS


@pytest.fixture
def server(elsewhere):
    """Return a server that offers AUTH in clear text and inside TLS, not on loopback."""
    with Server(address=elsewhere, users={USER: PASSWORD}, extensions=["AUTH PLAIN"]) as server:
        yield server


def unverified(server):
    """Return smtplib's own kind of context."""
    context = server.client_context()
    context.check_hostname = False
    context.verify_mode = 0
    return context


def test_password_in_clear(server):
    """G01: login() in clear text is refused, and no AUTH is on the wire."""
    with rt.SMTP(server.host, server.port, timeout=5) as smtp:
        with pytest.raises(rt.TLSNotEstablished, match="clear text"):
            smtp.login(USER, PASSWORD)
        with pytest.raises(rt.TLSNotEstablished):
            smtp.docmd("AUTH", "PLAIN AHUAcA==")
    assert server.commands() == [f"ehlo {smtp.local_hostname}", "QUIT"]


def test_password_over_unverified_tls(server):
    """G02: TLS that verified nobody is no better."""
    with rt.SMTP(server.host, server.port, timeout=5, context=unverified(server)) as smtp:
        smtp.starttls()
        with pytest.raises(rt.CertificateNotVerified):
            smtp.login(USER, PASSWORD)
    assert not [command for command in server.commands() if command.startswith("AUTH")]


@pytest.mark.parametrize("tls", [False, True])
def test_password_by_request(server, tls):
    """allow_cleartext_auth=True is the way out, and it is the caller's word."""
    context = unverified(server)
    with rt.SMTP(
        server.host, server.port, timeout=5, context=context, allow_cleartext_auth=True
    ) as smtp:
        if tls:
            smtp.starttls()
        assert smtp.login(USER, PASSWORD)[0] == 235


def test_password_over_verified_tls(server):
    """With a certificate for the address, login() works without any setting."""
    with rt.SMTP(server.host, server.port, timeout=5, context=server.client_context()) as smtp:
        smtp.starttls()
        assert smtp.login(USER, PASSWORD)[0] == 235
