"""What sendmail does to a message before it leaves: add what is missing, hide what is hidden.

Pure: the time, this machine's name and what is random are arguments. RFC 6409 section 8 lists what
a submission agent may do; nothing of a signed message is encoded anew. What is left must be what
SMTP can carry, or it is a ``ValueError``.

What is added or changed:

- ``From``, ``Date``, ``Message-ID`` where missing; ``To: undisclosed-recipients:;`` where nobody
  is named any more.
- ``Bcc`` and ``Resent-Bcc`` go, and ``Return-Path``, which is for the last server to write (RFC
  5321 s4.4).
- Addresses without a domain get one: a reader's the domain of this machine, an author's is
  replaced by the sender's whole address (a mail provider takes no other).
- ``Auto-Submitted: auto-generated`` where cron wrote the message, so that no holiday reply comes
  back (RFC 3834).
- A body beyond ASCII that does not say what it is, or says ASCII, is labelled; NUL and lines that
  are too long for SMTP are encoded, and so are the words of a header beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from email.policy import compat32
from email.utils import format_datetime

from requiretls_client import content, header, lines, objects
from requiretls_client.cli import fields as header_fields
from requiretls_client.cli.fields import AUTHORS, READERS, Field, field

# The same bytes again: no folding, no ">From".
_AS_IT_IS = compat32.clone(max_line_length=None, mangle_from_=False, linesep="\r\n")

_HIDDEN = ("bcc", "resent-bcc", "return-path")
# Debian's cron names the charset of its own locale, which is C.
_SAYS_ASCII = re.compile(rb"charset=\"?(?:us-ascii|ascii|ansi_x3\.4-1968)\"?", re.IGNORECASE)
_SIGNATURE = "dkim-signature"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes, where and when.

    Attributes:
        author: address for From.
        full_name: for a From that is missing; "" for none.
        domain: completes local names, and stands in Message-ID.
        now: with a time zone.
        unique: for Message-ID: letters and digits that nobody else takes.
        cron: a cron daemon runs us.
    """

    author: str
    full_name: str
    domain: str
    now: datetime
    unique: str
    cron: bool = False


def recipients(given: Iterable[Field]) -> list[str]:
    """Return those whom the header names: of To, Cc and Bcc, or of their Resent- forms.

    Raises:
        ValueError: a field that is not empty and names nobody.
    """
    readers = [each for each in given if each.key in READERS]
    resent = [each for each in readers if each.key.startswith("resent-")]
    return [address for each in resent or readers for _, address in header_fields.addresses(each)]


def author(given: Sequence[Field]) -> str | None:
    """Return the address of Sender or From, if it is one with a domain."""
    for name in ("sender", "from"):
        for each in given:
            if each.key == name:
                found = [address for _, address in header_fields.addresses(each)]
                return found[0] if found and "@" in found[0] else None
    return None


def compose(given: Sequence[Field], body: bytes, origin: Origin) -> bytes:
    """Return a message as it leaves, without the field that ``tls_optional`` adds.

    Args:
        given: its header.
        body: the rest.
        origin: who, where and when.

    Raises:
        ValueError: it cannot be sent.
    """
    signed = any(each.key == _SIGNATURE for each in given)
    made = [_completed(each, origin) for each in given if each.key not in _HIDDEN]
    made += _missing(made, origin)
    if not signed:
        made, body = _labelled([header_fields.encoded(each) for each in made], body)
    message = header_fields.join(made, body)
    if b"\0" in body or (not signed and lines.long_line(message)):
        message = _encoded(message)
    header.in_raw(message)
    return content.raw_bytes(message)


def without(raw: bytes, name: str) -> bytes:
    """Return a message without the fields of a name."""
    given, body = header_fields.split(raw)
    return header_fields.join([each for each in given if each.key != name.lower()], body)


def parsed(raw: bytes) -> Message:
    """Return a raw message as an object that comes to the same bytes."""
    return message_from_bytes(raw, policy=_AS_IT_IS)


def _missing(given: Sequence[Field], origin: Origin) -> list[Field]:
    """Return the fields that a message must have (RFC 5322 s3.6), or should."""
    names = {each.key for each in given}
    added = []
    if "from" not in names:
        pair = (origin.full_name, origin.author)
        added.append(header_fields.with_addresses("From", [pair]))
    if not names & {"to", "cc"}:
        added.append(field("To", "undisclosed-recipients:;"))
    if "date" not in names:
        added.append(field("Date", format_datetime(origin.now)))
    if "message-id" not in names:
        added.append(field("Message-ID", f"<{origin.unique}@{origin.domain}>"))
    if (origin.cron or "x-cron-env" in names) and "auto-submitted" not in names:
        added.append(field("Auto-Submitted", "auto-generated"))
    return added


def _completed(given: Field, origin: Origin) -> Field:
    """Give the addresses of a field a domain, where one has none."""
    if given.key not in AUTHORS + READERS:
        return given
    pairs = header_fields.addresses(given)
    if all("@" in address for _, address in pairs):
        return given
    ours = given.key in AUTHORS
    complete = [
        pair if "@" in pair[1] else (pair[0], origin.author if ours else _at(pair[1], origin))
        for pair in pairs
    ]
    return header_fields.with_addresses(given.name, complete)


def _at(local: str, origin: Origin) -> str:
    return f"{local}@{origin.domain}"


# -- the body ------------------------------------------------------------------------------------


def _labelled(given: list[Field], body: bytes) -> tuple[list[Field], bytes]:
    """Say what a body beyond ASCII is, where nothing says so, or wrongly (RFC 2045 s5.2, s6.2)."""
    if body.isascii() and b"\0" not in body and not lines.long_line(body):
        return given, body
    names = {each.key: number for number, each in enumerate(given)}
    kind = names.get("content-type")
    if kind is None:
        given = [*given, field("Content-Type", f"text/plain; charset={_charset(body)}")]
    else:
        raw = _SAYS_ASCII.sub(f"charset={_charset(body)}".encode(), given[kind].raw)
        given = [*given[:kind], Field(given[kind].name, raw), *given[kind + 1 :]]
    if "mime-version" not in names:
        given = [*given, field("MIME-Version", "1.0")]
    if "content-transfer-encoding" not in names and not _is_multipart(given):
        given = [*given, field("Content-Transfer-Encoding", "8bit")]
    return given, body


def _charset(body: bytes) -> str:
    """Return the name of what the octets are; RFC 1428 has one for what nobody knows."""
    if body.isascii():
        return "us-ascii"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"


def _is_multipart(given: Sequence[Field]) -> bool:
    return any(
        each.key == "content-type" and each.text.lower().startswith(("multipart/", "message/"))
        for each in given
    )


def _encoded(raw: bytes) -> bytes:
    """Encode what SMTP cannot carry: NUL, and lines that are too long.

    Raises:
        ValueError: a part that may not be encoded.
    """
    message = parsed(raw)
    if objects.is_signed(message):
        return raw  # the last check says what is wrong with it
    for part in message.walk():
        payload = part.get_payload()
        if isinstance(payload, str) and "\0" in payload:  # RFC 2045 s2.7, s2.8: it is binary
            del part["Content-Transfer-Encoding"]
            part["Content-Transfer-Encoding"] = "binary"
    utf8 = not raw[: raw.find(b"\r\n\r\n")].isascii()
    try:
        return objects.Serialised(message, utf8=utf8).form((), lambda keyword: True)
    except (MessageError, UnicodeError):  # email gives up on what it has parsed itself
        raise ValueError(
            "the message has NUL or lines over 998 octets, which need encoding, and its MIME parts "
            "are broken, so that they cannot be encoded (RFC 2045)"
        ) from None
