"""Scripted mail hosts of the small internet, for what real servers do not do.

Expired and private certificates, and a STARTTLS that is answered with 454. They listen on port 25
in this process, and answer the same question as real ones: was there a MAIL command?
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from requiretls_client.testing import CA, Certificate, Server

from .certificates import RealCA
from .places import PEERS
from .zones import names_of


class Scripted:
    """One scripted host.

    Attributes:
        host: its address.
        server: the server itself, with transcript, ledger and server names.
        certificates: what it presents, as `real.server.Server` has it.
    """

    def __init__(self, peer: str, server: Server) -> None:
        """Speak for the server that plays `peer`."""
        self.host = PEERS[peer]
        self.server = server
        self.certificates: Mapping[str, Certificate] = {peer: server.certificate}

    @property
    def connections(self) -> int:
        """How many connections were made to it by now."""
        return len({line.connection for line in self.server.transcript})  # each has a greeting

    def commands(self, token: str = "") -> list[str]:
        """Return every command line sent to it by now that contains `token`."""
        self.server.wait_idle()
        return [line for line in self.server.commands() if token in line]

    def mail_commands(self, token: str = "") -> list[str]:
        """Return every MAIL command line sent to it by now that contains `token`."""
        return [line for line in self.commands(token) if line.upper().startswith("MAIL")]


@contextmanager
def running(ca: RealCA) -> Iterator[dict[str, Scripted]]:
    """Run them all; peer -> host."""
    scripts = {"not_now": {"STARTTLS": "454 4.7.0 TLS not available due to temporary reason"}}
    with ExitStack() as stack:
        hosts = {}
        for peer, certificate in _certificates(ca).items():
            server = Server(
                hostname=f"{peer.replace('_', '-')}.peers.test", certificate=certificate,
                script=scripts.get(peer), address=PEERS[peer], port=25,
            )  # fmt: skip
            hosts[peer] = Scripted(peer, stack.enter_context(server))
        yield hosts


def _certificates(ca: RealCA) -> dict[str, Certificate]:
    """Return what each presents: peer -> certificate.

    The private ones are signed by an intermediate of a root that nobody trusts. Servers send the
    intermediate and leave the root out, unless they rely on a TLSA record of its digest (RFC 7671
    s5.2.2).
    """
    root = CA()
    intermediate = root.child()

    def private(*names: str, expired: bool = False) -> Certificate:
        issued = intermediate.issue(*names, expired=expired)
        return dataclasses.replace(issued, chain=issued.chain + root.pem)

    next_hops = [name.partition(".")[2] for name in names_of("private_next_hop")]
    return {
        "expired": ca.issue(*names_of("expired"), expired=True),
        "not_now": ca.issue(*names_of("not_now")),
        "off_limits": ca.issue(*names_of("off_limits")),
        "private": private(*names_of("private")),
        "private_bare": intermediate.issue(*names_of("private_bare")),
        "private_next_hop": private(*next_hops),
        "private_misnamed": private("elsewhere.test"),
        "private_expired": private(*names_of("private_expired"), expired=True),
    }
