"""SSL contexts, and the facts of the handshakes that we make with them.

Does I/O (a handshake, reading the list of roots), judges nothing. A live socket proves little
about its handshake: ``verify_mode``, ``check_hostname`` and ``server_hostname`` can be changed
after it. So :func:`wrap` notes the settings before the handshake, reads them again behind it,
and what it returns is frozen.

RFC 9325 (BCP 195): TLS 1.2 and 1.3 only, forward secrecy and AEAD or SHA-2, no compression, no
renegotiation, certificates of 112 bits and more.
"""

from __future__ import annotations

import os
import socket
import ssl

from requiretls_client.session_facts import TLSFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# RFC 9325 s4.1-4.2 for TLS 1.2; TLS 1.3 has no others. SECLEVEL=2 refuses keys and signatures
# below 112 bits (RSA 1024, SHA-1), whatever the machine's OpenSSL configuration says.
_CIPHERS = (
    "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:"
    "!aNULL:!aDSS:!SHA1:!AESCCM"
)

_default: ssl.SSLContext | None = None
_encrypting: ssl.SSLContext | None = None


def default_context() -> ssl.SSLContext:
    """Return the process's verifying context with certifi's roots; built once, on first use."""
    global _default
    if _default is None:
        _default = certifi_context()
    return _default


def certifi_context() -> ssl.SSLContext:
    """Return a new verifying context with certifi's roots."""
    import certifi

    return client_context(certifi.where())


def client_context(cafile: str | None = None) -> ssl.SSLContext:
    """Return a new context that verifies chain and name.

    Unlike ``ssl.create_default_context`` it reads no ``SSLKEYLOGFILE``: nobody who can set an
    environment variable of a cron job gets its session keys.

    Args:
        cafile: path of a PEM file with the trusted roots; None leaves them to the caller.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525 s2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    if cafile is not None:
        context.load_verify_locations(cafile)
    return context


def encrypting_context() -> ssl.SSLContext:
    """Return the process's context that encrypts and verifies nothing; built on first use.

    For handshakes that are judged otherwise, such as by a TLSA record of usage 3, and for TLS
    that is better than none. Versions and ciphers are as strict as elsewhere, which RFC 9325
    section 5 asks of opportunistic TLS too; the certificate's key and signatures may be weak.
    Nothing is logged: unlike :func:`unverified_context` it is no choice of the caller.
    """
    global _encrypting
    if _encrypting is None:
        context = client_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _encrypting = context
    return _encrypting


def anchor_context(anchors: Sequence[bytes]) -> ssl.SSLContext:
    """Return a new context that verifies the chain up to one of ``anchors``, and no name.

    For TLSA records of usage 2: an anchor need not be self-signed (RFC 7671 s5.2). The names,
    of which several may be right, are the caller's to judge.

    Args:
        anchors: certificates, DER, at least one; nothing else is trusted.

    Raises:
        ValueError: there is none.
        ssl.SSLError: one that OpenSSL cannot read.
    """
    context = client_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=b"".join(anchors))
    return context


def unverified_context() -> ssl.SSLContext:
    """Return a context that encrypts and verifies nothing, which is smtplib's own default.

    For servers whose certificate cannot be verified and mail that does not need it: pass it as
    ``starttls(context=unverified_context())``. ``login()`` still refuses there, and no message
    with ``require_tls`` leaves on it. Each call logs a warning.
    """
    import logging

    logging.getLogger("requiretls_client").warning(
        "unverified_context(): TLS made with it does not verify who the server is"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verifies(context: ssl.SSLContext) -> bool:
    """Tell whether a handshake with this context proves chain and name."""
    return context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname


def wrap(
    context: ssl.SSLContext, sock: socket.socket | None, name: str, *, chain: bool = False
) -> tuple[ssl.SSLSocket, TLSFacts]:
    """Make the handshake on ``sock`` for ``name`` and record what it proved.

    Args:
        context: as the caller gave it, or :func:`default_context`.
        sock: connected stream socket, blocking or with a timeout; this call takes it over.
        name: reference name, A-label or IP address; "" only where the context compares none.
        chain: also record the certificates and their names, for DANE. Names only of a verified
            chain: the one usage that verifies nothing (3) ignores them (RFC 7672 s3.1.1).

    Raises:
        OSError: ``ssl.SSLError``, a timeout or a broken connection. ``sock`` is of no use then;
            close it.
    """
    if sock is None:
        raise ConnectionResetError("the connection is closed")
    before = _settings(context)
    try:
        wrapped = context.wrap_socket(
            sock, server_hostname=name or None, do_handshake_on_connect=False
        )
    except BaseException as error:
        _close_orphan(error)
        raise
    try:
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    after = _settings(context)
    version = wrapped.version()
    if version is None:  # what ssl makes of a socket that is no longer connected
        wrapped.close()
        raise ConnectionResetError("the connection was reset before the handshake")
    verified = before[0] and after[0] and isinstance(wrapped, ssl.SSLSocket)
    cipher = wrapped.cipher()
    common_name_allowed = before[2] or after[2]
    # Reading the certificate is dear, and only these two ask what names are in it.
    names = _subject_alt_names(wrapped) if verified and (chain or common_name_allowed) else ()
    return wrapped, TLSFacts(
        server_hostname=name,
        verify_required=verified,
        check_hostname=before[1] and after[1],
        common_name_allowed=common_name_allowed,
        san_kinds=frozenset(kind for kind, _ in names),
        session_reused=wrapped.session_reused is not False,
        version=version,
        cipher=cipher[0] if cipher else "",
        presented=_chain(wrapped, "get_unverified_chain") if chain else (),
        verified=_chain(wrapped, "get_verified_chain") if chain and verified else (),
        names=_host_names(names) if chain else (),
    )


def _close_orphan(error: BaseException) -> None:
    """Close the socket that ssl has taken over and forgotten.

    CPython 3.11 and 3.12 leave it to the garbage collector, with a ResourceWarning, when the
    connection was reset just before; only the traceback still leads to it.
    """
    import traceback  # which a handshake that succeeds has no use for

    for frame, _ in traceback.walk_tb(error.__traceback__):
        orphan = frame.f_locals.get("self")
        if isinstance(orphan, ssl.SSLSocket):
            orphan.close()


def _settings(context: ssl.SSLContext) -> tuple[bool, bool, bool]:
    """Return (chain demanded, name demanded, common name allowed) as they stand now."""
    return (
        context.verify_mode == ssl.CERT_REQUIRED,
        context.check_hostname,
        getattr(context, "hostname_checks_common_name", True),
    )


def _subject_alt_names(sock: ssl.SSLSocket) -> tuple[tuple[str, str], ...]:
    """Return (kind, value) of the certificate's names; none where ssl cannot read them all."""
    try:
        certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    except UnicodeDecodeError:  # a dNSName need not be ASCII, although it must
        return ()
    return tuple(certificate.get("subjectAltName", ()))


def _host_names(names: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return the dNSNames, lower case; without those that hold more than ASCII."""
    return tuple(value.lower() for kind, value in names if kind == "DNS" and value.isascii())


def _chain(sock: ssl.SSLSocket, method: str) -> tuple[bytes, ...]:
    """Return what ``get_unverified_chain`` or ``get_verified_chain`` says, DER, the leaf first.

    Public since Python 3.13; in 3.11 and 3.12 they are there, undocumented (python/cpython#109109).
    Where they are not, the chain is unknown, and DANE can prove nothing.
    """
    if hasattr(sock, method):
        return tuple(getattr(sock, method)())
    find = getattr(getattr(sock, "_sslobj", None), method, None)
    if find is None:
        return ()
    return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in find() or ())


def trusting(trust: str | os.PathLike[str] | ssl.SSLContext) -> ssl.SSLContext | None:
    """Return a verifying context for ``"system"``, the path of a PEM file, or a context.

    Returns:
        None for ``"certifi"``, whose context the process shares: :func:`default_context`.

    Raises:
        ValueError: a context that does not verify.
        OSError: a file that cannot be read.
    """
    if isinstance(trust, ssl.SSLContext):
        if not verifies(trust):
            raise ValueError("trust must be an SSL context that verifies chain and name")
        return trust
    if trust == "certifi":
        return None
    if trust == "system":
        context = client_context()
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    return client_context(os.fspath(trust))
