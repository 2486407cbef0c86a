"""A message on its way to several domains: checked once, the same bytes for all.

Pure. What cannot be sent is the caller's mistake and known before anything is looked up. Addresses
go out as the caller wrote them, but for domains beyond ASCII, which travel as A-labels where the
local part is ASCII (RFC 6531 s3.2 needs SMTPUTF8 only for the rest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message

from requiretls_client import content, header, objects, syntax
from requiretls_client.path import Wish


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message with its envelope.

    Attributes:
        message: object or raw message; comes to the same bytes for every server.
        sender: reverse path, bare; "" for a bounce.
        recipients: as the caller gave them, in order.
        paths: recipient as given -> the mailbox that RCPT names; several forms of one have one.
        domains: domain -> its mailboxes, each once.
        wish: what it asks of the way.
    """

    message: Message | bytes
    sender: str
    recipients: tuple[str, ...]
    paths: dict[str, str]
    domains: dict[str, list[str]]
    wish: Wish

    def batches(self, mailboxes: Sequence[str]) -> list[list[str]]:
        """Return the mailboxes for one transaction each: those that need no SMTPUTF8 first.

        A server without it must not keep the message from the others.
        """
        plain = [each for each in mailboxes if self.sender.isascii() and each.isascii()]
        international = [each for each in mailboxes if each not in plain]
        return [batch for batch in (plain, international) if batch]


def prepare(
    msg: Message | bytes | str,
    from_addr: str | None,
    to_addrs: str | Sequence[str] | None,
    *,
    require_tls: bool,
    tls_optional: bool,
) -> Outgoing:
    """Check everything that the caller gave.

    Raises:
        TypeError: an argument of a wrong type.
        ValueError: bad grammar, a recipient without a domain, no recipient, a contradiction, or
            content that SMTP cannot carry.
    """
    if isinstance(msg, Message):
        optional = header.in_message(msg)
        from_addr = objects.sender(msg) if from_addr is None else from_addr
        to_addrs = header.recipients(msg) if to_addrs is None else to_addrs
        message: Message | bytes = objects.snapshot(msg)
    else:
        if from_addr is None or to_addrs is None:
            raise ValueError("a raw message needs from_addr and to_addrs")
        message = content.raw_bytes(msg)
        optional = header.in_raw(message)
    recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
    if not recipients:
        raise ValueError("there is no recipient")
    required = header.wants_requiretls(
        call=require_tls or None, option=False, session=False, optional=tls_optional or optional
    )
    syntax.check_envelope(from_addr, recipients, ["SMTPUTF8"])
    paths: dict[str, str] = {}
    domains: dict[str, list[str]] = {}
    for number, recipient in enumerate(recipients):
        domain, path = _addressed(recipient, f"to_addrs[{number}]")
        mailboxes = domains.setdefault(domain, [])
        local = path.rpartition("@")[0]
        known = [each for each in mailboxes if each.rpartition("@")[0] == local]
        if not known:  # the same mailbox in another form is one recipient
            mailboxes.append(path)
        paths[recipient] = known[0] if known else path
    sender = syntax.mailbox(from_addr, "from_addr")
    if "@" in sender:
        _, sender = _addressed(sender, "from_addr")
    wish = Wish(required, tls_optional or optional, not sender)
    return Outgoing(message, sender, tuple(recipients), paths, domains, wish)


def _addressed(address: str, argument: str) -> tuple[str, str]:
    """Return the domain of an address, and the mailbox to write into the envelope."""
    mailbox = syntax.mailbox(address, argument)
    domain = syntax.domain_of(mailbox, argument)
    if mailbox.isascii():
        return domain, mailbox
    local = mailbox.rpartition("@")[0]
    return domain, f"{local}@{domain}" if local.isascii() else mailbox
