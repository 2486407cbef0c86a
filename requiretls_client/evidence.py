"""Records of what the connections of a walk or a check showed. No functions, no judgement.

They hold :mod:`requiretls_client.facts`, and can be kept in a file
(:mod:`requiretls_client.recording`). Who judges them again comes to the same verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass

from requiretls_client.facts import RouteFacts, SessionFacts


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a connection showed nothing: it was not made, or broke before TLS was tried.

    Attributes:
        kind: ``connect`` (not reached), ``server`` (it said no, or nothing that can be read) or
            ``late`` (not tried any more, the others took so long).
        text: what was seen; text from the server is already escaped and cut.
        code: basic status code of the server's reply, or None.
        status: enhanced status code that goes with it (RFC 3463).
    """

    kind: str
    text: str
    code: int | None = None
    status: str = "4.4.1"


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection to one address of a host, and what it showed.

    Attributes:
        host: name of the host.
        address: IP address that was dialled; "" for a server that the caller named.
        rung: what the connection was held to when it began; see
            :class:`~requiretls_client.facts.PathFacts`.
        shown: the session, its ``path`` left out where the host is one of a domain; or why there
            was none.
    """

    host: str
    address: str
    rung: str
    shown: SessionFacts | Trouble


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """Everything that ``check()`` or ``check_relay()`` saw, and nothing that it concluded.

    Attributes:
        target: as the caller wrote it; ``host:port`` of a server that the caller named.
        started: when (Unix time).
        seconds: how long it took.
        route: what was looked up; None for a named server without look-ups.
        strict: connections for a message with ``require_tls``, to every address of every host.
        ordinary: connections for an ordinary message, up to the first host that would take it.
        optional: the same for a message with ``TLS-Required: No``.
        unverified: connections that only look at certificates that were not verified.
        named: the caller named the server; there is no walk from host to host.
        implicit_tls: the named server has TLS from the first byte, without STARTTLS.
        mail_domain: a named server, refused, is a mail domain with MX records.
    """

    target: str
    started: float
    seconds: float
    route: RouteFacts | None
    strict: tuple[Visit, ...]
    ordinary: tuple[Visit, ...]
    optional: tuple[Visit, ...]
    unverified: tuple[Visit, ...] = ()
    named: bool = False
    implicit_tls: bool = False
    mail_domain: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself; not that any of it is true.

    Attributes:
        subject: distinguished name, RFC 4514; may be "".
        issuer: of whoever signed it, the same.
        names: dNSNames and IP addresses of the subjectAltName.
        not_before: Unix time.
        not_after: Unix time.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
