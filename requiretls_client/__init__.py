"""smtplib that sends with REQUIRETLS (RFC 8689), or refuses and says why.

``import requiretls_client as smtplib`` runs a script that was written for smtplib: everything
public there is here too, as the same object, but ``SMTP``, ``SMTP_SSL`` and ``LMTP`` are guarded
subclasses. New are ``require_tls`` and ``tls_optional``, verified TLS by default, and errors that
say which condition failed, at which host, and what to do.

To read the code, begin with ``errors``, ``facts``, ``policy``, ``connection``, ``session``.
"""

from __future__ import annotations

import smtplib as _smtplib
from smtplib import (
    CRLF,
    LMTP_PORT,
    OLDSTYLE_AUTH,
    SMTP_PORT,
    SMTP_SSL_PORT,
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
    bCRLF,
    quoteaddr,
    quotedata,
)

from requiretls_client.errors import (
    CertificateNotVerified,
    DeliveryFailed,
    DeliveryUnknown,
    MXNotAuthenticated,
    PolicyUnavailable,
    ReplyError,
    RequireTLSError,
    RequireTLSMisuse,
    RequireTLSNotOffered,
    TLSNotEstablished,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from requiretls_client.cache import MemoryStore, SQLiteStore
    from requiretls_client.checking import check, check_relay
    from requiretls_client.delivery import deliver
    from requiretls_client.dsn import make_dsn
    from requiretls_client.lmtp import LMTP
    from requiretls_client.lookups import Lookups
    from requiretls_client.pool import Pool
    from requiretls_client.reports import (
        Attempt,
        CheckReport,
        DeliveryReport,
        HostReport,
        MessageOutcome,
        RecipientResult,
    )
    from requiretls_client.resolver import Resolver
    from requiretls_client.session import SMTP
    from requiretls_client.smtps import SMTP_SSL
    from requiretls_client.tls import unverified_context
    from requiretls_client.verdict import Finding, Verdict

__all__ = [
    "CRLF",
    "LMTP",
    "LMTP_PORT",
    "OLDSTYLE_AUTH",
    "SMTP",
    "SMTP_PORT",
    "SMTP_SSL",
    "SMTP_SSL_PORT",
    "Attempt",
    "CertificateNotVerified",
    "CheckReport",
    "DeliveryFailed",
    "DeliveryReport",
    "DeliveryUnknown",
    "Finding",
    "HostReport",
    "Lookups",
    "MXNotAuthenticated",
    "MemoryStore",
    "MessageOutcome",
    "PolicyUnavailable",
    "Pool",
    "RecipientResult",
    "ReplyError",
    "RequireTLSError",
    "RequireTLSMisuse",
    "RequireTLSNotOffered",
    "Resolver",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "SQLiteStore",
    "TLSNotEstablished",
    "Verdict",
    "bCRLF",
    "check",
    "check_relay",
    "deliver",
    "encode_base64",
    "make_dsn",
    "quoteaddr",
    "quotedata",
    "unverified_context",
]

# Loaded on first use: a cron job that only sends does not pay for them, nor ``--help`` for SMTP.
_LAZY = {
    "LMTP": "requiretls_client.lmtp",
    "SMTP": "requiretls_client.session",
    "SMTP_SSL": "requiretls_client.smtps",
    "Attempt": "requiretls_client.reports",
    "HostReport": "requiretls_client.reports",
    "CheckReport": "requiretls_client.reports",
    "DeliveryReport": "requiretls_client.reports",
    "Finding": "requiretls_client.verdict",
    "Lookups": "requiretls_client.lookups",
    "MemoryStore": "requiretls_client.cache",
    "MessageOutcome": "requiretls_client.reports",
    "Pool": "requiretls_client.pool",
    "RecipientResult": "requiretls_client.reports",
    "Resolver": "requiretls_client.resolver",
    "SQLiteStore": "requiretls_client.cache",
    "Verdict": "requiretls_client.verdict",
    "check": "requiretls_client.checking",
    "check_relay": "requiretls_client.checking",
    "deliver": "requiretls_client.delivery",
    "make_dsn": "requiretls_client.dsn",
    "unverified_context": "requiretls_client.tls",
}


def __getattr__(name: str) -> Any:
    """Return a name that loads late, or whatever else smtplib has under it (PEP 562)."""
    if name in _LAZY:
        # Not importlib.import_module(): that would be three modules more for whoever sends.
        return getattr(__import__(_LAZY[name], fromlist=(name,)), name)
    try:
        return getattr(_smtplib, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    """Return the names that are here, those that load late among them."""
    return sorted({*globals(), *__all__})
