"""One message through a session: checked whole, then secured, and sent.

What the caller gave is checked before anything leaves; then the session is brought to where the
message may leave (RFC 8689 section 4.2.1), and what the server can decides its form. Loaded with
the first message.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from requiretls_client import content, header, objects, pipelining, syntax

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message

    from requiretls_client.content import Content
    from requiretls_client.session import SMTP
    from requiretls_client.verdict import Verdict

Reply = tuple[int, bytes]


@dataclass(slots=True)
class Mail:
    """A mail object (RFC 5321 s2.3.1), checked: an envelope, and content that SMTP can carry.

    Attributes:
        sender: reverse path, as the caller wrote it.
        recipients: as the caller wrote them.
        paths: the bare mailboxes: the sender's, then each recipient's.
        content: header and body, in memory or in a file, fit for SMTP.
        mail_options, rcpt_options: the caller's ESMTP parameters.
        binary: its octets go as they are, which DATA cannot do (RFC 3030 s3).
        required: RFC 8689 s4.2.1 is to be enforced.
        optional: the TLS-Required field is in the content.
    """

    sender: str
    recipients: list[str]
    paths: list[str]
    content: Content
    mail_options: Sequence[str]
    rcpt_options: Sequence[str]
    binary: bool
    required: bool
    optional: bool

    @property
    def in_memory(self) -> bytes:
        """The content of a message that is no file."""
        assert isinstance(self.content, bytes)  # noqa: S101 - for the type checker
        return self.content


def prepare(
    smtp: SMTP,
    from_addr: str,
    to_addrs: str | Sequence[str],
    msg: Any,
    mail_options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
    *,
    require_tls: bool | None = None,
    tls_optional: bool = False,
) -> Mail:
    """Check everything that the caller gave; nothing is sent.

    Raises:
        ValueError, TypeError: as :meth:`SMTP.sendmail`.
    """
    recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
    if mail_options or rcpt_options:
        mail_options = syntax.checked_options(mail_options, "mail_options")
        rcpt_options = syntax.checked_options(rcpt_options, "rcpt_options")
    paths = syntax.check_envelope(from_addr, recipients, mail_options)
    if smtp._path is not None:
        for path in paths[1:]:
            smtp._check_domain(path)
    binary = content.is_binary(mail_options)
    raw = msg  # a file was checked when it was looked through
    if not hasattr(msg, "blocks"):
        raw = content.raw_bytes(msg, binary=binary)
    if mail_options:
        content.check_options(mail_options, raw)
    optional = header.in_raw(content.beginning(raw))
    tls_optional = tls_optional or smtp._session_optional
    required = decide(smtp, require_tls, mail_options, tls_optional or optional)
    if required and (tls_optional or optional):
        _warn_stricter_wins()
    if tls_optional and not optional:
        raw = header.marked_raw(raw) if isinstance(raw, bytes) else raw.marked()
    return Mail(
        from_addr, recipients, paths, raw, mail_options, rcpt_options,
        binary, required, tls_optional or optional,
    )  # fmt: skip


def decide(
    smtp: SMTP, require_tls: bool | None, mail_options: Sequence[str], optional: bool
) -> bool:
    """Return whether a message is to be sent under RFC 8689.

    Raises:
        ValueError: the call contradicts itself.
    """
    others, marked = syntax.split_mark(mail_options) if mail_options else ((), False)
    required = header.wants_requiretls(
        call=require_tls, option=marked, session=smtp._requires, optional=optional
    )
    if required and others:
        syntax.refuse_full_return(others)
    return required


def send(smtp: SMTP, mail: Mail) -> dict[str, Reply]:
    """Send one message, in groups of commands where that can be; return the refused recipients.

    Raises:
        RequireTLSError, SMTPException: as :meth:`SMTP.sendmail`.
    """
    before, smtp._message_requires = smtp._message_requires, mail.required
    try:
        receipt = fit(smtp, mail)
        smtp._field_is_in = mail.optional
        in_groups = pipelining.offered(smtp)
        if (in_groups or mail.binary) and pipelining.applies(smtp):
            envelope = pipelining.envelope(smtp, mail, receipt)
            refused = pipelining.transact(smtp, mail, envelope, in_groups=in_groups)
        else:
            refused = smtp._step_by_step(mail)
    finally:
        smtp._field_is_in = False
        smtp._message_requires = before
    smtp._note_delivered(receipt)
    return refused


def fit(smtp: SMTP, mail: Mail) -> Verdict | None:
    """Bring the session to where the message may leave, and the message to what the server can.

    Returns:
        The verdict under which it leaves; None for ordinary mail, which is judged when asked.

    Raises:
        RequireTLSError, SMTPNotSupportedError, SMTPSenderRefused: as :meth:`SMTP.sendmail`.
    """
    receipt = smtp._secure(null_path=not mail.paths[0]) if mail.required else None
    smtp.ehlo_or_helo_if_needed()
    raw = mail.content
    if mail.mail_options or not raw.isascii():
        mail.mail_options = content.mail_options(raw, mail.mail_options, partial(_offers, smtp))
    content.check_size(raw, smtp.esmtp_features.get("size", ""), mail.sender)
    return receipt


def _offers(smtp: SMTP, keyword: str) -> bool:
    """Tell whether the server offers an extension, and the class leaves us the steps for it."""
    if keyword == "binarymime" and not pipelining.applies(smtp):
        return False
    return smtp.has_extn(keyword)


@dataclass(slots=True)
class Letter:
    """A message object with its envelope, as it was at the call; what the server can is open yet.

    Attributes:
        sender, recipients: envelope, taken from the header where the caller gave none.
        serialised: the message in the forms that a server may need.
        mail_options: the caller's ESMTP parameters of MAIL.
        international: an address of the envelope goes beyond ASCII.
        required: RFC 8689 s4.2.1 is to be enforced.
    """

    sender: str
    recipients: str | list[str]
    serialised: objects.Serialised
    mail_options: Sequence[str]
    international: bool
    required: bool

    def form(self, smtp: SMTP) -> bytes:
        """Return the bytes to send; the session has to stand as it will when they leave.

        Raises:
            SMTPNotSupportedError: an address needs SMTPUTF8, which is not offered.
        """
        if self.international:
            self.mail_options = content.international_options(self.mail_options, smtp.has_extn)
        offers = partial(_offers, smtp)
        raw, self.mail_options = self.serialised.chosen(self.mail_options, offers)
        return raw


def read(
    smtp: SMTP,
    msg: Message,
    from_addr: str | None,
    to_addrs: str | Sequence[str] | None,
    mail_options: Sequence[str] = (),
    *,
    require_tls: bool | None,
    tls_optional: bool,
) -> Letter:
    """Take what is to be sent from a message object, which is left as it is.

    Raises:
        ValueError, TypeError: as :meth:`SMTP.send_message`.
    """
    mail_options = syntax.checked_options(mail_options, "mail_options")
    optional = header.in_message(msg)
    tls_optional = tls_optional or smtp._session_optional
    required = decide(smtp, require_tls, mail_options, tls_optional or optional)
    if tls_optional and not optional:
        msg = header.marked_message(msg)
    if from_addr is None:
        from_addr = objects.sender(msg)
    if to_addrs is None:
        to_addrs = header.recipients(msg)
    elif not isinstance(to_addrs, str):
        to_addrs = list(to_addrs)
    international = not "".join([from_addr, *to_addrs]).isascii()
    serialised = objects.Serialised(msg, utf8=international)
    return Letter(from_addr, to_addrs, serialised, mail_options, international, required)


def _warn_stricter_wins() -> None:
    import logging

    logging.getLogger("requiretls_client").warning(
        "the session requires TLS and the message says TLS-Required: No; the stricter wins "
        "(RFC 8689 s4.1). require_tls=False on the call would let the message decide"
    )
