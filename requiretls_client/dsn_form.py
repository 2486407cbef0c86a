"""What a non-delivery report looks like: multipart/report with its three parts.

Pure; the same record makes the same message, to the byte. Who is in it and why is decided in
:mod:`requiretls_client.dsn`. RFC 6522 for the whole, RFC 3464 for the part for programs, RFC 6533
for addresses and headers beyond ASCII, RFC 3834 for Auto-Submitted.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage, Message, MIMEPart
from email.policy import default
from email.utils import format_datetime
from typing import Any

from requiretls_client import syntax

Fields = list[tuple[str, str]]

# The header of a raw message, line by line: what begins with no field is body, and stays out.
_HEADER = re.compile(
    rb"(?:From [^\r\n]*\r\n)?((?:[!-9;-~]+[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*)"
)
_ASKED = (
    "It asked for REQUIRETLS (RFC 8689): to travel only over verified TLS, and only to servers "
    "that keep it so. It was not sent in any other way."
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the report says about one recipient.

    Attributes:
        address: bare mailbox.
        action: ``failed`` or ``delayed``.
        status: enhanced status code.
        host: the server that was involved, or None.
        reply: code and text, if that server said it; else None.
        lines: for people: what was found, and what to do.
    """

    address: str
    action: str
    status: str
    host: str | None
    reply: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that goes into a report.

    Attributes:
        mta: domain, or address literal, of who reports.
        sender: bare mailbox for the From field.
        author: bare mailbox that gets the report.
        now: with a time zone.
        envelope_id: or None.
        require_tls: whether the message asked for REQUIRETLS.
        notices: at least one.
        original: the message, its lines ending with CRLF.
        full: return all of it, not its header only.
    """

    mta: str
    sender: str
    author: str
    now: datetime
    envelope_id: str | None
    require_tls: bool
    notices: tuple[Notice, ...]
    original: bytes
    full: bool

    @property
    def header(self) -> bytes:
        """All header fields of the message, and nothing else of it."""
        whole = self.original if self.original.endswith(b"\r\n") else self.original + b"\r\n"
        found: Any = _HEADER.match(whole)
        return bytes(found[1])

    @property
    def utf8(self) -> bool:
        """Whether an address, or the header of the message, goes beyond ASCII (RFC 6533)."""
        addresses = [self.sender, self.author, *(each.address for each in self.notices)]
        return not ("".join(addresses).isascii() and self.header.isascii())


def assemble(report: Report) -> EmailMessage:
    """Return the report as a message."""
    text, status = _text(report), _status(report)
    returned = report.original if report.full else report.header
    last = (_message_part if report.full else _header_part)(returned, utf8=report.utf8)
    parts: list[Any] = [_text_part(text), _status_part(status, utf8=report.utf8), last]

    message = EmailMessage(policy=default.clone(utf8=report.utf8, refold_source="none"))
    late = all(each.action == "delayed" for each in report.notices)
    message["From"] = f"Mail Delivery System <{report.sender}>"
    message["To"] = report.author
    message["Subject"] = "Your message is delayed" if late else "Your message was not delivered"
    message["Date"] = format_datetime(report.now)
    # From what the report shows anyway: a digest of the text would tell who guesses it.
    seen = repr((report.now, report.mta, report.author, text, status)).encode() + returned
    unique = hashlib.sha256(seen).hexdigest()[:32]
    message["Message-ID"] = f"<{unique}@{report.mta}>"
    message["Auto-Submitted"] = "auto-replied"  # RFC 3834 s5.2: never auto-generated
    message["MIME-Version"] = "1.0"
    kind = parts[1].get_content_subtype()  # RFC 6522 s3
    message["Content-Type"] = f'multipart/report; report-type={kind}; boundary="=_{unique}"'
    if any(part["Content-Transfer-Encoding"] == "8bit" for part in parts):
        message["Content-Transfer-Encoding"] = "8bit"
    message.set_payload(parts)
    return message


# -- for people ----------------------------------------------------------------------------------


def _text(report: Report) -> str:
    """Return the text: what was asked, then a paragraph for each recipient."""
    opening = f"{report.mta} could not deliver your message to the following recipients."
    asked = f"{_ASKED} " if report.require_tls else ""
    if report.full:
        returned = "It is returned below."
    elif report.require_tls:
        returned = "Its header is returned below, and nothing of its text (RFC 8689 s5)."
    else:
        returned = "Its header is returned below."
    paragraphs = [_wrap(opening), _wrap(asked + returned)]
    for each in report.notices:
        about = [_wrap(_plain(line), indent="    ") for line in each.lines]
        paragraphs.append("\n".join([_plain(each.address), *about]))
    return "\n\n".join(paragraphs) + "\n"


def _text_part(text: str) -> MIMEPart:
    part = MIMEPart()
    if text.isascii():
        part.set_content(text, charset="us-ascii", cte="7bit")
    else:
        part.set_content(text, charset="utf-8", cte="quoted-printable")
    return part


# -- for programs --------------------------------------------------------------------------------


def _status(report: Report) -> list[Fields]:
    """Return the blocks of fields: of the message, then of each recipient."""
    fields = [("Reporting-MTA", f"dns; {report.mta}")]
    if report.envelope_id is not None:
        fields.insert(0, ("Original-Envelope-Id", report.envelope_id))
    return [fields, *(_recipient(each) for each in report.notices)]


def _recipient(notice: Notice) -> Fields:
    """Return the fields about one recipient (RFC 3464 s2.3, RFC 6533 s3)."""
    kind = "rfc822" if notice.address.isascii() else "utf-8"
    fields = [
        ("Final-Recipient", f"{kind}; {notice.address}"),
        ("Action", notice.action),
        ("Status", notice.status),
    ]
    if notice.host is not None:
        fields.append(("Remote-MTA", f"dns; {_mta_name(notice.host)}"))
    if notice.reply is not None:
        said = _plain(notice.reply).encode("ascii", "backslashreplace").decode("ascii")
        fields.append(("Diagnostic-Code", "\n ".join(_wrap(f"smtp; {said}", 60).splitlines())))
    return fields


def _mta_name(host: str) -> str:
    """Return a host as RFC 3464 s2.1.2 wants it: a name, or an address literal."""
    if ":" in host:
        return f"[IPv6:{host}]"
    return f"[{host}]" if host.replace(".", "").isdigit() else host


def _status_part(blocks: Sequence[Fields], *, utf8: bool) -> MIMEPart:
    if utf8:
        groups = ["".join(f"{name}: {value}\n" for name, value in block) for block in blocks]
        return _verbatim("message/global-delivery-status", "\n".join(groups))
    part = MIMEPart()
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([_block(block) for block in blocks])
    return part


def _block(fields: Fields) -> Message:
    block = Message()
    for name, value in fields:
        block[name] = value
    return block


# -- the message that was not delivered ----------------------------------------------------------


def _header_part(raw: bytes, *, utf8: bool) -> MIMEPart:
    """Return the header of the message, field by field as it was sent (RFC 6522 s4)."""
    text = raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return _verbatim("message/global-headers" if utf8 else "text/rfc822-headers", text)


def _message_part(raw: bytes, *, utf8: bool) -> MIMEPart:
    """Return the whole message."""
    part = MIMEPart()
    part["Content-Type"] = "message/global" if utf8 else "message/rfc822"
    if not raw.isascii():
        part["Content-Transfer-Encoding"] = "8bit"
    part.set_payload([message_from_bytes(raw)])
    return part


class _Verbatim(MIMEPart):
    """A part that is written as text, whatever its type.

    The email package writes what is in a ``message/*`` part only after parsing it, and changes it
    then. As text it also gets an encoding on its way to a server without 8BITMIME, which RFC 6533
    allows for the types that are used here.
    """

    def get_content_maintype(self) -> str:
        """Return what the email package goes by."""
        return "text"


def _verbatim(kind: str, text: str) -> MIMEPart:
    """Return a part that holds a text as it is; the email package keeps octets as surrogates."""
    part = _Verbatim()
    part["Content-Type"] = kind
    if not text.isascii():
        part["Content-Transfer-Encoding"] = "8bit"  # RFC 6533 s4, s6: wherever possible
    part.set_payload(text.encode().decode("ascii", "surrogateescape"))
    return part


# -- lines ---------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Return text that may hold a server's words, so that it breaks out of no line."""
    return syntax.printable(text, 1000)


def _wrap(text: str, width: int = 76, indent: str = "") -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
