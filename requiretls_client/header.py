"""The TLS-Required header field: find it, check it, add it; and what a message asks for.

RFC 8689 section 3: at most one field, its value ``No``. Pure; reads message objects and raw
messages, changes neither. Only the message's own header counts, never that of a part or of an
attached message.
"""

from __future__ import annotations

import copy
import re
from email.utils import getaddresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message
    from typing import TypeVar

    AnyMessage = TypeVar("AnyMessage", bound=Message)

NAME = "TLS-Required"
LINE = "TLS-Required: No\r\n"

# RFC 8689 s3: [FWS] "No" CRLF. ABNF strings compare without case (RFC 5234 s2.3).
_VALUE = re.compile(r"(?:[ \t]*\r?\n)?[ \t]*no", re.IGNORECASE)
_FIELD_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 s2.2
_EOL = r"(?:\r\n|\n|\r(?!\n))"
_UNFOLDED = re.compile(rf"{_EOL}(?![ \t])")
_BLANK_LINE = re.compile(rf"(?:\A|{_EOL}){_EOL}".encode())
_LOWER_NAME = NAME.lower().encode()
# The whole field, folded lines included, at the start of any line of the header.
_FIELD = re.compile(
    rf"(?:\A|(?<=[\r\n]))tls-required([ \t]*):([^\r\n]*(?:{_EOL}[ \t][^\r\n]*)*)", re.IGNORECASE
)
_FIRST_LINE = re.compile(r"[!-9;-~]+[ \t]*:")
_NOBODY = re.compile(r"[\s,]*(?:[^:;@<>]*:[\s,]*;[\s,]*)*")  # nothing, or groups without members
_MBOX_LINE = re.compile(rf"From [^\r\n]*{_EOL}")


def in_message(message: Message) -> bool:
    """Tell whether a message object asks for ``TLS-Required: No``, after checking its header.

    Raises:
        ValueError: two such fields, another value, or a field whose name or value would put
            other lines into the header than the caller sees.
    """
    values = []
    for name, value in message.raw_items():
        check_field(name, str(value))
        if name.lower() == NAME.lower():
            values.append(str(value))
    return _single_no(values)


def in_raw(message: bytes) -> bool:
    """Tell whether a raw message asks for ``TLS-Required: No``, after checking that field.

    CR, LF and CRLF all end a line here, because some server will read each of them so.

    Raises:
        ValueError: two such fields, another value, or a blank before the colon.
    """
    # Up to the first CRLF CRLF is at least all of the header, whatever ends its lines.
    if _LOWER_NAME not in message[: message.find(b"\r\n\r\n")].lower():
        return False  # most mail; a body without a header is not searched line by line
    mark = _BLANK_LINE.search(message)
    head = (message[: mark.start()] if mark else message).decode("latin-1")
    found = _FIELD.findall(head)
    if any(blank for blank, _ in found):
        raise ValueError(f"{NAME} must be followed by its colon at once (RFC 5322 s2.2)")
    return _single_no([value for _, value in found])


def _single_no(values: Sequence[str]) -> bool:
    if not values:
        return False
    if len(values) > 1:
        raise ValueError(f"the message has {len(values)} {NAME} fields, not one (RFC 8689 s3)")
    if not _VALUE.fullmatch(values[0]):
        raise ValueError(f'the value of {NAME} must be "No" and nothing else (RFC 8689 s3)')
    return True


def check_field(name: str, value: str) -> None:
    """Refuse a header field that would not go out as one field.

    Raises:
        ValueError: a name beyond RFC 5322 s2.2, NUL in the value, or a line in it that is not
            folded.
    """
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError("a header field name may hold only printable ASCII without a colon")
    if "\0" in value:
        raise ValueError(f"the value of header field {name} holds NUL")
    if _UNFOLDED.search(value.rstrip("\r\n")):
        raise ValueError(f"the value of header field {name} breaks out of its field")


def marked_message(message: AnyMessage) -> AnyMessage:
    """Return a copy of a message object with the field added; the caller's own stays as it is."""
    marked = copy.copy(message)
    del marked[NAME]  # gives the shallow copy a header list of its own
    marked[NAME] = "No"
    return marked


def marked_raw(message: bytes) -> bytes:
    """Return a raw message with the field put first.

    A message that does not begin with a header field or a blank line is all body: it gets the
    blank line that keeps it so. The first line of an mbox (``From alice Mon ...``) stays first.
    """
    text = message[:2000].decode("latin-1")
    mbox = _MBOX_LINE.match(text)
    at = mbox.end() if mbox else 0
    headed = mbox or _FIRST_LINE.match(text) or text[:1] in ("\r", "\n")
    added = LINE if headed else LINE + "\r\n"
    return message[:at] + added.encode("ascii") + message[at:]


def recipients(message: Message) -> list[str]:
    """Return the addresses of To, Bcc and Cc (or their Resent- forms) as smtplib reads them.

    The empty ones that ``To: undisclosed-recipients:;`` or a comma too many give are left out:
    nobody is meant by them.

    Raises:
        ValueError: a field that is not empty names nobody, as newer Pythons say of addresses that
            they cannot tell apart: who is meant must not be left out silently.
    """
    prefix = "Resent-" if message.get_all("Resent-Date") else ""
    addresses = []
    for name in ("To", "Bcc", "Cc"):
        field = message[prefix + name]
        found = [] if field is None else [each for _, each in getaddresses([str(field)]) if each]
        if field is not None and not found and not _NOBODY.fullmatch(str(field)):
            raise ValueError(f"the header field {prefix + name} names no address; say to_addrs")
        addresses += found
    return addresses


def wants_requiretls(*, call: bool | None, option: bool, session: bool, optional: bool) -> bool:
    """Decide between what the call, the session and the message say.

    Args:
        call: ``require_tls`` of the call; None is "as the session says".
        option: REQUIRETLS stands among ``mail_options``.
        session: ``require_tls`` of the session.
        optional: ``tls_optional`` of the call, or the field in the message.

    Returns:
        Whether RFC 8689 section 4.2.1 is to be enforced. Between a session that requires and a
        message that does not mind, the stricter wins (RFC 8689 s4.1).

    Raises:
        ValueError: the caller contradicts himself within one call.
    """
    if call is False and option:
        raise ValueError("require_tls=False contradicts REQUIRETLS in mail_options")
    if (call or option) and optional:
        raise ValueError("one message cannot both require TLS and carry TLS-Required: No")
    return session if call is None and not option else bool(call or option)
