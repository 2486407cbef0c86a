"""What a message is as bytes: line ends, line lengths, 8-bit octets, size; and how it gets there.

Pure. A raw message (str, bytes or file) goes out as it is, but for its line ends, or is refused;
message objects become bytes in :mod:`requiretls_client.objects`.

RFC 5321 sections 2.3.8 and 4.5.3.1.6, RFC 6152 (8BITMIME), RFC 6531 and 6532 (SMTPUTF8), RFC 1870
(SIZE), RFC 3030 (BINARYMIME). Loaded with the first message.
"""

from __future__ import annotations

import functools
import re
import smtplib

from requiretls_client.lines import MAX_LINE, has_only_crlf, long_line, with_crlf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from requiretls_client.streaming import Streamed

    Content: TypeAlias = "bytes | Streamed"  # a message that was checked, in memory or in a file

BINARY = "BODY=BINARYMIME"

_FIRST_LINE = re.compile(rb"(?:From [^\r\n]*\r\n)?[!-9;-~]+[ \t]*:")  # mbox line, field name
_SIGNATURE = re.compile(rb"(?:\A|[\r\n])dkim-signature[ \t]*:", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 s3


# -- raw messages ------------------------------------------------------------------------------


def raw_bytes(message: Any, *, binary: bool = False) -> bytes:
    """Return a raw message as SMTP can carry it; bytes that are fit already, as they are.

    Args:
        message: header and body: str (ASCII) or bytes-like.
        binary: every octet goes as it is, by BDAT (RFC 3030 s3); else every line ends with CRLF.

    Raises:
        TypeError: neither of them.
        ValueError: a DKIM signature that this would break, NUL in the header, a header that is
            neither ASCII nor UTF-8, or a line that is too long; of a binary one, in the header.
        UnicodeEncodeError: a str beyond ASCII.
    """
    given = message if isinstance(message, bytes) else _octets(message)
    if binary:
        check_exact(given)
        return given
    raw = with_crlf(given)
    # LF throughout is how messages are kept on Unix; those who sign them hash CRLF.
    mended = raw is not given and b"\r" in given and not isinstance(message, str)
    check(raw, mended=mended, line=long_line(raw))
    return raw


def _octets(message: Any) -> bytes:
    if isinstance(message, str):
        return message.encode("ascii")
    try:
        return bytes(memoryview(message))
    except TypeError:
        file = " (of a file, give what its read() returns)" if hasattr(message, "read") else ""
        kind = type(message).__name__
        raise TypeError(f"a raw message is str or bytes, not {kind}{file}") from None


def check(begin: bytes, *, mended: bool, line: int) -> None:
    """Refuse what SMTP cannot carry, wherever the message is kept.

    Args:
        begin: the message, or its begin with all of its header; every line ends with CRLF.
        mended: a line end had to be changed, in a message that is not one with LF throughout.
        line: number of a line that is too long, from 1; 0 if there is none.

    Raises:
        ValueError: see :func:`raw_bytes`.
    """
    if mended and _SIGNATURE.search(begin, 0, _header_end(begin)):
        raise ValueError(
            "the message has a DKIM-Signature and lines that do not end with CRLF: SMTP cannot "
            "carry those (RFC 5321 s2.3.8), and changing them could break the signature; give "
            "it CRLF line ends before it is signed (RFC 6376 s5.3)"
        )
    _check_header(begin)
    if line:
        raise ValueError(
            f"line {line} of the message is longer than {MAX_LINE} octets (RFC 5321 "
            "s4.5.3.1.6); encode it as quoted-printable or base64, or give send_message() an "
            "unsigned message object, whose parts it encodes"
        )


def check_exact(begin: bytes) -> None:
    """Refuse a header that BODY=BINARYMIME does not let us mend: only the body is free.

    Args:
        begin: the message, or its begin with all of its header.

    Raises:
        ValueError: its lines do not end with CRLF or are too long (RFC 3030 s3), or as
            :func:`check`.
    """
    head = begin[: _header_end(begin)]
    if not has_only_crlf(head):
        raise ValueError(
            "the header of the message has lines that do not end with CRLF, and with "
            "BODY=BINARYMIME every octet goes as it is (RFC 3030 s3); end them with CRLF"
        )
    _check_header(begin)
    number = long_line(head)
    if number:
        raise ValueError(
            f"line {number} of the header is longer than {MAX_LINE} octets (RFC 5322 s2.1.1)"
        )


def _check_header(begin: bytes) -> None:
    end = _header_end(begin)
    if begin.find(b"\0", 0, end) >= 0:
        raise ValueError("the header of the message holds NUL")
    if has_8bit_header(begin):
        try:
            begin[:end].decode()
        except UnicodeDecodeError:
            raise ValueError(
                "the header of the message is neither ASCII nor UTF-8 (RFC 5322 s2.2, RFC 6532 "
                "s3); encode its words (RFC 2047), as a message object does by itself"
            ) from None


def beginning(message: Content) -> bytes:
    """Return a message, or its begin with all of its header."""
    return message if isinstance(message, bytes) else message.begin


def header_size(raw: bytes) -> int:
    """Return the octets of the header with its blank line; 0 if that has not come yet."""
    if raw.startswith(b"\r\n"):
        return 2
    return raw.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in raw else 0


def _header_end(raw: bytes) -> int:
    """Return where the first blank line is, or the end."""
    if raw.startswith(b"\r\n"):
        return 0
    end = raw.find(b"\r\n\r\n")
    return len(raw) if end < 0 else end


def has_8bit_header(raw: bytes) -> bool:
    """Tell whether the header goes beyond ASCII; what does not begin with one is all body."""
    if raw.isascii() or not _FIRST_LINE.match(raw):
        return False
    return not raw[: _header_end(raw)].isascii()


# -- what MAIL has to say about it -------------------------------------------------------------


def is_binary(options: Sequence[str]) -> bool:
    """Tell whether MAIL says that the octets go as they are (RFC 3030 s3)."""
    return bool(options) and BINARY in map(str.upper, options)


def check_options(options: Sequence[str], raw: Content) -> None:
    """Refuse a BODY parameter that the message belies.

    Raises:
        ValueError: 7BIT for 8-bit octets (RFC 6152 s3), or several.
    """
    bodies = [option.upper() for option in options if option.upper().startswith("BODY=")]
    if len(bodies) > 1:
        raise ValueError("mail_options has several BODY parameters")
    if "BODY=7BIT" in bodies and not raw.isascii():
        raise ValueError("BODY=7BIT contradicts the 8-bit octets of the message (RFC 6152 s3)")


def mail_options(
    raw: Content, options: Sequence[str], offers: Callable[[str], bool]
) -> tuple[str, ...]:
    """Return the parameters of MAIL with those that the message needs, each once.

    Args:
        raw: the message.
        options: the caller's. SIZE among them yields to the true one, which smtplib adds.
        offers: whether the EHLO of the session as it is now has a keyword.

    Raises:
        SMTPNotSupportedError: the message needs an extension that is not offered.
    """
    options = tuple(options)
    if offers("size"):
        options = tuple(each for each in options if not each.upper().startswith("SIZE="))
    binary = is_binary(options)
    if binary and not (offers("binarymime") and offers("chunking")):
        raise smtplib.SMTPNotSupportedError(
            "BODY=BINARYMIME needs BDAT (RFC 3030): a server that offers BINARYMIME and CHUNKING, "
            "a class without a data() or another step of its own; encode the message as "
            "base64, as send_message() does with an unsigned message object"
        )
    if raw.isascii():
        return options
    if has_8bit_header(beginning(raw)) and "SMTPUTF8" not in map(str.upper, options):
        if not offers("smtputf8"):
            raise smtplib.SMTPNotSupportedError(
                "the header of the message goes beyond ASCII, and the server does not offer "
                "SMTPUTF8 (RFC 6531 s3.2); encode its words (RFC 2047), as a message object does "
                "by itself"
            )
        options += ("SMTPUTF8",)
    if binary:
        return options
    if not offers("8bitmime"):
        raise smtplib.SMTPNotSupportedError(
            "the message has 8-bit octets, and the server does not offer 8BITMIME (RFC 6152 s3); "
            "encode it as quoted-printable or base64, as send_message() does with an unsigned "
            "message object"
        )
    if not any(option.upper().startswith("BODY=") for option in options):
        options += ("BODY=8BITMIME",)
    return options


def international_options(options: Sequence[str], offers: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the parameters of MAIL with those for addresses beyond ASCII, as smtplib adds them.

    Raises:
        SMTPNotSupportedError: the server does not offer SMTPUTF8.
    """
    if not offers("smtputf8"):
        raise smtplib.SMTPNotSupportedError(
            "an address of the envelope goes beyond ASCII, and the server does not offer SMTPUTF8 "
            "(RFC 6531 s3.2)"
        )
    said = [option.upper() for option in options]
    added = ["SMTPUTF8"] if "SMTPUTF8" not in said else []
    if offers("8bitmime") and not any(option.startswith("BODY=") for option in said):
        added.append("BODY=8BITMIME")
    return (*options, *added)


def check_size(raw: Content, limit: str, from_addr: str) -> None:
    """Refuse a message that the server has said it will not take.

    Args:
        raw: the message.
        limit: what followed SIZE in the EHLO reply; "" and 0 say nothing (RFC 1870 s4).
        from_addr: reverse path, for the error.

    Raises:
        SMTPSenderRefused: 552, with the enhanced code 5.3.4 that the server would give.
    """
    most = _declared(limit)
    ends_line = raw.endswith(b"\r\n") if isinstance(raw, bytes) else raw.ends_line
    size = len(raw) + (0 if ends_line else 2)
    if most and size > most:
        text = f"5.3.4 the message has {size} octets, and the server takes at most {most}"
        raise smtplib.SMTPSenderRefused(552, text.encode(), from_addr)


@functools.lru_cache(8)
def _declared(limit: str) -> int:
    """Return what a server says it takes, in octets; 0 where it does not say (RFC 1870 s3)."""
    found = _SIZE.fullmatch(limit.strip())
    return int(found[0]) if found else 0
