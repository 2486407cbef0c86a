"""The header of a raw message, field by field, as bytes: nothing changes unasked.

Pure. What is read is what programs pipe into sendmail: LF or CRLF, perhaps an mbox line first,
perhaps no header at all. RFC 5322 section 2.2; addresses by RFC 5322 section 3.4 as ``email`` reads
them, also those without a domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.header import Header
from email.utils import formataddr, getaddresses

from requiretls_client import lines

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*(?:\r\n|\Z)")
_BREAK = re.compile("[\v\f\x1c-\x1f\x85\u2028\u2029]")  # what Python takes for the end of a line
_MBOX = re.compile(rb"From [^\r\n]*(?:\r\n|\Z)")
_NOBODY = re.compile(r"[\s,]*(?:[^:;@<>]*:[\s,]*;[\s,]*)*")  # nothing, or groups without members


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        name: as it stands there.
        raw: all of it, with name and folding, ended by CRLF.
    """

    name: str
    raw: bytes

    @property
    def key(self) -> str:
        """The name to compare."""
        return self.name.lower()

    @property
    def text(self) -> str:
        """The value in one line."""
        value = self.raw.partition(b":")[2].replace(b"\r\n", b"")
        return _decode(value)[0].strip()


def field(name: str, value: str) -> Field:
    """Make a field of an ASCII value that needs no folding."""
    return Field(name, f"{name}: {value}\r\n".encode("ascii"))


def split(raw: bytes) -> tuple[list[Field], bytes]:
    """Return the fields and the body of a message; every line of both ends with CRLF.

    The header ends at a blank line, or where a line is no field: text without a header is all
    body. An mbox line before it is dropped.
    """
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    mbox = _MBOX.match(raw)
    at = mbox.end() if mbox else 0
    fields = []
    while found := _FIELD.match(raw, at):
        at = found.end()
        fields.append(Field(found[1].decode("ascii"), found[0].removesuffix(b"\r\n") + b"\r\n"))
    if raw.startswith(b"\r\n", at):
        at += 2
    body = raw[at:]
    return fields, body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def join(fields: Iterable[Field], body: bytes) -> bytes:
    """Return the message."""
    return b"".join([*(each.raw for each in fields), b"\r\n", body])


def addresses(given: Field) -> list[tuple[str, str]]:
    """Return the display names and addresses of a field; none for an empty group.

    Raises:
        ValueError: it is not empty and names nobody: who is meant must not be left out silently.
    """
    found = [pair for pair in getaddresses([given.text]) if pair[1]]
    if not found and not _NOBODY.fullmatch(given.text):
        raise ValueError(f"the header field {given.name} names no address (RFC 5322 s3.4)")
    return found


def with_addresses(name: str, pairs: Iterable[tuple[str, str]]) -> Field:
    """Make a field of display names and addresses, one a line; names are encoded (RFC 2047)."""
    value = ",\r\n ".join(_written(*pair) for pair in pairs)
    return Field(name, f"{name}: {value}\r\n".encode())


def _written(name: str, address: str) -> str:
    if not name or address.isascii():
        return formataddr((name, address)) if name else address
    return formataddr((name, "@")).replace("<@>", f"<{address}>")  # it takes ASCII alone


def encoded(given: Field) -> Field:
    """Return a field whose words are ASCII and whose lines are short enough (RFC 2047, RFC 5322).

    One that is fit already comes back as it is, and so does one with an address beyond ASCII,
    for which there is no encoding (RFC 6532).
    """
    fit = given.raw.isascii() and not lines.long_line(given.raw)
    if fit and not _BREAK.search(given.raw.decode("ascii")):
        return given
    if given.key in ADDRESS_FIELDS and not given.raw.isascii():
        pairs = addresses(given)
        plain = all(address.isascii() for _, address in pairs)
        return with_addresses(given.name, pairs) if plain else given
    text, charset = _decode(given.raw.partition(b":")[2].replace(b"\r\n", b"").strip())
    text = _BREAK.sub(" ", text)
    for each in (charset, "utf-8"):  # ASCII is folded where it has blanks; else it is encoded too
        value = Header(text, each, 76, given.name).encode(linesep="\r\n")
        made = Field(given.name, f"{given.name}: {value}\r\n".encode("ascii"))
        if not lines.long_line(made.raw):
            break
    return made


def _decode(value: bytes) -> tuple[str, str]:
    """Return text and charset; what is not UTF-8 is taken for Latin-1, as what else."""
    if value.isascii():
        return value.decode("ascii"), "us-ascii"
    try:
        return value.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return value.decode("latin-1"), "iso-8859-1"


AUTHORS = ("from", "sender", "reply-to", "resent-from", "resent-sender")
READERS = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")
ADDRESS_FIELDS = AUTHORS + READERS
