"""Records of what one connection showed: all that mail to a named server needs of the facts.

A module of its own because each record takes half a millisecond to define, and an alert from cron
has no use for those of :mod:`requiretls_client.facts`. No functions, no judgement; a record is
frozen: what was true at the moment of the handshake cannot be edited afterwards (RFC 8689 section
4.2.1 step 4 is about that moment).
"""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from requiretls_client.facts import PathFacts


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """One handshake that this package made itself.

    Attributes:
        server_hostname: the name that was sent and verified: A-label or IP address, lower case.
        verify_required: the context demanded a trusted chain, before and after the handshake.
        check_hostname: the context demanded a matching name, before and after the handshake.
        common_name_allowed: the context would let a subject CN stand in for a missing dNSName.
        san_kinds: kinds of subjectAltName in the certificate, such as ``DNS``; empty when the
            certificate was not verified. Only where a CN is allowed, or DANE needs the names.
        session_reused: the handshake resumed an older session, so that no certificate was seen.
        version: such as ``TLSv1.3``.
        cipher: name of the cipher suite.
        presented: the chain that the server sent, DER, the leaf first. Only where DANE needs it,
            as the two below.
        verified: the chain that OpenSSL verified, DER, from the leaf to the root or trust anchor;
            empty unless ``verify_required``.
        names: the dNSName entries of the leaf's subjectAltName, lower case; unusable ones left
            out.
    """

    server_hostname: str
    verify_required: bool
    check_hostname: bool
    common_name_allowed: bool
    san_kinds: frozenset[str]
    session_reused: bool
    version: str
    cipher: str
    presented: tuple[bytes, ...] = ()
    verified: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stood between a connection and TLS.

    Attributes:
        kind: ``ehlo`` (EHLO refused), ``not_offered`` (no STARTTLS keyword), ``refused`` (STARTTLS
            answered with something else than 220), ``injected`` (clear text behind that 220),
            ``handshake``, ``certificate``, ``no_name`` (nothing to hold a certificate against),
            ``lost`` (the connection broke), or ``botched`` (a reply that cannot be read).
        text: what was seen; text from the server is already escaped and cut.
        code: basic status code of the server's reply, or None.
        temporary: whether trying again later can succeed.
    """

    kind: str
    text: str
    code: int | None = None
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Everything about one connection that decides whether a message may leave on it.

    Attributes:
        host: reference name that the caller meant (``server_hostname`` or the host dialled):
            A-label or IP address, lower case; "" when there is none (a Unix socket).
        tls: our own handshake on the very socket that is connected now, or None.
        foreign_tls: the socket speaks TLS that somebody else started.
        obstacle: why TLS is not up, if that was tried.
        ehlo_code: basic status code of the EHLO read on this socket inside TLS; None before it.
        keywords: EHLO keywords of that reply, upper case; empty unless ``ehlo_code`` is 250.
        cleartext_login: credentials crossed this connection before a verified handshake.
        path: what was looked up about the host; None without look-ups.
    """

    host: str
    tls: TLSFacts | None = None
    foreign_tls: bool = False
    obstacle: Obstacle | None = None
    ehlo_code: int | None = None
    keywords: frozenset[str] = frozenset()
    cleartext_login: bool = False
    path: PathFacts | None = None
