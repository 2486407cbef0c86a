"""The exception tree, and the enhanced status codes that it uses.

::

    smtplib.SMTPException
    ├── RequireTLSError                                 .code .status .temporary .domain .host
    │   │                                               .findings .explain() .as_dict()
    │   ├── RequireTLSNotOffered (SMTPNotSupportedError)  550 5.7.30  keyword missing inside TLS
    │   ├── RequireTLSMisuse (ValueError)                 550 5.7.10  MAIL by hand, without the mark
    │   ├── TLSNotEstablished (ssl.SSLError)              550 5.7.10  no STARTTLS, refused, failed
    │   │   └── CertificateNotVerified (ssl.SSLCertVerificationError)
    │   │                                                 550 5.7.10  chain, name or TLSA
    │   ├── MXNotAuthenticated                            550 5.7.10  MX name without proof
    │   ├── PolicyUnavailable                             451 4.4.3, 4.7.5  a look-up failed
    │   └── DeliveryFailed                                .report, worst of its parts
    ├── ReplyError (SMTPServerDisconnected, SMTPResponseException)
    │   │                                               malformed, mixed, early or endless replies
    │   └── GreetingError (SMTPConnectError)            the same in the greeting
    └── DeliveryUnknown (SMTPServerDisconnected)        lost after the message had left

After a RequireTLSError nothing of the message was sent. All of them pickle and copy with their
fields, and hold no secret and no message content. ``ValueError`` and ``TypeError`` are for the
caller's own mistakes, and are raised before anything is sent.
"""

from __future__ import annotations

import smtplib
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from requiretls_client.reports import DeliveryReport
    from requiretls_client.verdict import Finding, Verdict


class RequireTLSError(smtplib.SMTPException):
    """A condition of RFC 8689 does not hold; nothing of the message was sent.

    Attributes:
        code: basic status code as an int, such as 550.
        status: enhanced status code, such as ``5.7.30`` (RFC 3463).
        temporary: whether trying again later can succeed.
        host: reference name of the server concerned, or None.
        domain: recipient domain concerned, or None for a server that the caller named.
        findings: tuple of :class:`~requiretls_client.verdict.Finding`, in RFC order.
        verdict: the whole :class:`~requiretls_client.verdict.Verdict`, or None.
    """

    def __init__(self, text: str, verdict: Verdict | None = None) -> None:
        """Carry ``text`` for people and ``verdict`` for programs."""
        super().__init__(text)
        self.verdict = verdict
        self.code: int = (verdict and verdict.code) or 550
        self.status: str = (verdict and verdict.status) or "5.7.10"
        self.temporary: bool = verdict.temporary if verdict else False
        self.host: str | None = (verdict and verdict.host) or None
        self.domain: str | None = verdict.domain if verdict else None
        self.findings: tuple[Finding, ...] = verdict.findings if verdict else ()

    def __str__(self) -> str:
        """Return the sentence; ``ssl.SSLError`` would show it as a tuple."""
        return str(self.args[0])

    def explain(self) -> str:
        """Say it for people: the sentence, then one line per finding."""
        from requiretls_client.verdict import explain_findings

        return "\n".join([str(self), *explain_findings(self.findings)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the key ``schema`` names the version of the form."""
        from dataclasses import asdict

        return {
            "schema": "requiretls-error/1",
            "error": type(self).__name__,
            "message": str(self),
            "code": self.code,
            "status": self.status,
            "temporary": self.temporary,
            "host": self.host,
            "domain": self.domain,
            "findings": [asdict(finding) for finding in self.findings],
        }


class RequireTLSNotOffered(RequireTLSError, smtplib.SMTPNotSupportedError):
    """The EHLO reply read inside TLS lacks REQUIRETLS (RFC 8689 s4.2.1 step 5)."""


class RequireTLSMisuse(RequireTLSError, ValueError):
    """A MAIL command was built by hand without REQUIRETLS where the session requires it."""


class TLSNotEstablished(RequireTLSError, ssl.SSLError):
    """No TLS: STARTTLS is not offered, was refused, or the handshake failed (RFC 8689 s4.2.1).

    It is an ``ssl.SSLError`` too, which is what smtplib lets out of a failed handshake.
    """


class CertificateNotVerified(TLSNotEstablished, ssl.SSLCertVerificationError):
    """The certificate was not verified, in our own handshake, for the name meant (RFC 9525)."""


class MXNotAuthenticated(RequireTLSError):
    """Neither DNSSEC nor an MTA-STS policy vouches for the MX host (RFC 8689 s4.2.1 step 2)."""


class PolicyUnavailable(RequireTLSError):
    """A look-up failed (DNS, TLSA, MTA-STS), so nobody knows; trying later makes sense."""


class DeliveryFailed(RequireTLSError):
    """Not every recipient got the message, or no host of a domain could take it.

    Attributes:
        report: the :class:`~requiretls_client.reports.DeliveryReport` of ``deliver()``, which has
            each recipient; None where no message was on its way.
    """

    report: DeliveryReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with the report."""
        return {**super().as_dict(), "report": self.report.as_dict() if self.report else None}


class ReplyError(smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException):
    """What the server said is no reply to anything (RFC 5321 s4.2); the session is closed.

    Attributes:
        smtp_code: always -1, which is smtplib's code for a reply that it cannot read.
        smtp_error: the bytes concerned, unescaped, at most 2,048 of them.
    """

    def __init__(self, text: str, raw: bytes = b"") -> None:
        """Carry ``text`` for people and the raw bytes."""
        self.smtp_code, self.smtp_error = -1, raw[:2048]
        self.args = text, self.smtp_error  # type: ignore[assignment]  # typed as smtplib fills it

    def __str__(self) -> str:
        """Return the sentence."""
        return str(self.args[0])


class GreetingError(ReplyError, smtplib.SMTPConnectError):
    """The server's greeting is no reply; for code that expects smtplib's ``SMTPConnectError``."""


class DeliveryUnknown(smtplib.SMTPServerDisconnected):
    """The message had left when the connection was lost: it may have been delivered, or not.

    Nothing is sent again by itself. Keep the Message-ID: with it, a second copy can be recognised.

    Attributes:
        recipients: those whose outcome is unknown.
        accepted: those who have it for certain (LMTP).
        refused: those who do not have it: recipient -> (code, text).
    """

    def __init__(self, text: str) -> None:
        """Carry ``text``; the session adds the recipients."""
        super().__init__(text)
        self.recipients: tuple[str, ...] = ()
        self.accepted: tuple[str, ...] = ()
        self.refused: dict[str, tuple[int, bytes]] = {}


_BY_STEP = {
    "requiretls": RequireTLSNotOffered,
    "certificate": CertificateNotVerified,
    "mx": MXNotAuthenticated,
    "mta_sts": MXNotAuthenticated,
    **dict.fromkeys(("dns", "sts", "tlsa"), PolicyUnavailable),
    **dict.fromkeys(("domain", "address", "connect", "server"), DeliveryFailed),
}


def refusal(
    verdict: Verdict, asked: str = "", cause: BaseException | None = None
) -> RequireTLSError:
    """Make the exception for a verdict that does not allow the message.

    One sentence: what was asked, what was found and at which host, the RFC section, the way on.

    Args:
        verdict: with ``allowed`` False.
        asked: how the sentence begins; "" says what the verdict was about.
        cause: the exception behind it, chained; the fields of an ``ssl.SSLError`` are copied.
    """
    failed = verdict.failed
    if failed is None:
        raise ValueError("only a refusal becomes an exception")
    asked = asked or ("require_tls was refused" if verdict.require_tls else "TLS was refused")
    text = f"{asked}: {failed.text} ({failed.rfc}); {failed.fix}"
    error = _BY_STEP.get(failed.step, TLSNotEstablished)(text, verdict)
    for name in ("errno", "reason", "library", "verify_code", "verify_message"):
        if hasattr(cause, name):  # what code written for smtplib looks at
            setattr(error, name, getattr(cause, name))
    error.__cause__ = cause
    return error
