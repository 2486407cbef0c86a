"""What a message is as bytes: line ends, line lengths, 8-bit octets, size; and how it gets there.

Pure; changes no caller's object. A raw message (str or bytes) goes out as it is, but for its line
ends, or is refused. A message object is serialised once, before anything is sent, in the two forms
that a server may need, and where its lines are too long for SMTP its parts are encoded anew.

RFC 5321 sections 2.3.8 and 4.5.3.1.6, RFC 6152 (8BITMIME), RFC 6531 and 6532 (SMTPUTF8), RFC 1870
(SIZE). Dot-stuffing and the final CRLF are smtplib's. Loaded with the first message.
"""

from __future__ import annotations

import binascii
import copy
import io
import re
import smtplib
from email.generator import BytesGenerator
from email.utils import getaddresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import Message
    from typing import Any

MAX_LINE = 998  # RFC 5321 s4.5.3.1.6: 1000 octets with CRLF, without the dot of dot-stuffing

_FIRST_LINE = re.compile(rb"(?:From [^\r\n]*\r\n)?[!-9;-~]+[ \t]*:")  # mbox line, field name
_SIGNATURE = re.compile(rb"(?:\A|[\r\n])dkim-signature[ \t]*:", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 s3
_ANY_EOL = re.compile(r"\r\n|\r|\n")
_ADDRESS_FIELDS = ("From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-To")


# -- raw messages ------------------------------------------------------------------------------


def raw_bytes(message: Any) -> bytes:
    """Return a raw message as SMTP can carry it; bytes that are fit already, as they are.

    Every line ends with CRLF: a lone CR or LF, which one server takes for the end of a line and
    the next does not, becomes one (RFC 5321 s2.3.8).

    Args:
        message: header and body: str (ASCII) or bytes-like.

    Raises:
        TypeError: neither of them.
        ValueError: a DKIM signature that this would break, NUL in the header, a header that is
            neither ASCII nor UTF-8, or a line that is too long.
        UnicodeEncodeError: a str beyond ASCII.
    """
    if isinstance(message, str):
        raw = _with_crlf(message.encode("ascii"))
    else:
        given = message if isinstance(message, bytes) else bytes(memoryview(message))
        raw = _with_crlf(given)
        # LF throughout is how messages are kept on Unix; those who sign them hash CRLF.
        if raw is not given and b"\r" in given and _SIGNATURE.search(raw, 0, _header_end(raw)):
            raise ValueError(
                "the message has a DKIM-Signature and lines that do not end with CRLF: SMTP cannot "
                "carry those (RFC 5321 s2.3.8), and changing them could break the signature; give "
                "it CRLF line ends before it is signed (RFC 6376 s5.3)"
            )
    end = _header_end(raw)
    if raw.find(b"\0", 0, end) >= 0:
        raise ValueError("the header of the message holds NUL")
    if _has_8bit_header(raw):
        try:
            raw[:end].decode()
        except UnicodeDecodeError:
            raise ValueError(
                "the header of the message is neither ASCII nor UTF-8 (RFC 5322 s2.2, RFC 6532 "
                "s3); encode its words (RFC 2047), as a message object does by itself"
            ) from None
    number = long_line(raw)
    if number:
        raise ValueError(
            f"line {number} of the message is longer than {MAX_LINE} octets (RFC 5321 "
            "s4.5.3.1.6); encode it as quoted-printable or base64, or give send_message() an "
            "unsigned message object, whose parts it encodes"
        )
    return raw


def _with_crlf(raw: bytes) -> bytes:
    ends = raw.count(b"\r\n")
    if ends == raw.count(b"\n") == raw.count(b"\r"):
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _header_end(raw: bytes) -> int:
    """Return where the first blank line is, or the end."""
    if raw.startswith(b"\r\n"):
        return 0
    end = raw.find(b"\r\n\r\n")
    return len(raw) if end < 0 else end


def _has_8bit_header(raw: bytes) -> bool:
    """Tell whether the header goes beyond ASCII; what does not begin with one is all body."""
    if raw.isascii() or not _FIRST_LINE.match(raw):
        return False
    return not raw[: _header_end(raw)].isascii()


def long_line(raw: bytes) -> int:
    """Return the number of a line that is too long, from 1; 0 if there is none."""
    begin, size = 0, len(raw)
    while size - begin > MAX_LINE:
        end = raw.rfind(b"\n", begin, begin + MAX_LINE + 2)
        if end < 0:
            return raw.count(b"\n", 0, begin) + 1
        begin = end + 1
    return 0


# -- what MAIL has to say about it -------------------------------------------------------------


def check_options(options: Sequence[str], raw: bytes) -> None:
    """Refuse a BODY parameter that the message, or DATA, belies.

    Raises:
        ValueError: 7BIT for 8-bit octets (RFC 6152 s3); BINARYMIME, which DATA cannot carry
            (RFC 3030 s3).
    """
    bodies = [option.upper() for option in options if option.upper().startswith("BODY=")]
    if len(bodies) > 1:
        raise ValueError("mail_options has several BODY parameters")
    if "BODY=BINARYMIME" in bodies:
        raise ValueError("BODY=BINARYMIME needs BDAT (RFC 3030 s3), and the message goes with DATA")
    if "BODY=7BIT" in bodies and not raw.isascii():
        raise ValueError("BODY=7BIT contradicts the 8-bit octets of the message (RFC 6152 s3)")


def mail_options(
    raw: bytes, options: Sequence[str], offers: Callable[[str], bool]
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
    if raw.isascii():
        return options
    if _has_8bit_header(raw) and "SMTPUTF8" not in map(str.upper, options):
        if not offers("smtputf8"):
            raise smtplib.SMTPNotSupportedError(
                "the header of the message goes beyond ASCII, and the server does not offer "
                "SMTPUTF8 (RFC 6531 s3.2); encode its words (RFC 2047), as a message object does "
                "by itself"
            )
        options += ("SMTPUTF8",)
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


def check_size(raw: bytes, limit: str, from_addr: str) -> None:
    """Refuse a message that the server has said it will not take.

    Args:
        raw: the message.
        limit: what followed SIZE in the EHLO reply; "" and 0 say nothing (RFC 1870 s4).
        from_addr: reverse path, for the error.

    Raises:
        SMTPSenderRefused: 552, with the enhanced code 5.3.4 that the server would give.
    """
    declared = _SIZE.fullmatch(limit.strip())
    most = int(declared[0]) if declared else 0
    size = len(raw) + (0 if raw.endswith(b"\r\n") else 2)
    if most and size > most:
        text = f"5.3.4 the message has {size} octets, and the server takes at most {most}"
        raise smtplib.SMTPSenderRefused(552, text.encode(), from_addr)


# -- message objects ---------------------------------------------------------------------------


def sender(message: Message) -> str:
    """Return the address of Sender or From (or their Resent- forms), as smtplib reads it.

    Raises:
        ValueError: neither is there.
    """
    prefix = "Resent-" if "Resent-Date" in message else ""
    name = prefix + ("Sender" if prefix + "Sender" in message else "From")
    if message[name] is None:
        raise ValueError(f"from_addr was not given, and the message has no {name}")
    found = [address for _, address in getaddresses([str(message[name])]) if address]
    if not found:  # "" would make a bounce of it, and RFC 8689 s5 lets those off lightly
        raise ValueError(f"from_addr was not given, and the {name} of the message has no address")
    return found[0]


class Serialised:
    """A message object as it was when it was given: as bytes, and fit for a lesser server."""

    def __init__(self, message: Message, *, utf8: bool) -> None:
        """Serialise a message object without its Bcc; where SMTP needs it, with parts re-encoded.

        Args:
            message: left as it is.
            utf8: the envelope goes beyond ASCII, so that the header may too (RFC 6532).

        Raises:
            ValueError: several blocks of Resent- fields.
        """
        if len(message.get_all("Resent-Date", [])) > 1:
            raise ValueError("message has more than one 'Resent-' header block")
        message = copy.copy(message)
        del message["Bcc"]  # gives the shallow copy a header list of its own
        del message["Resent-Bcc"]
        policy: Any = message.policy
        if utf8 and hasattr(policy, "utf8"):  # compat32 has ASCII headers in any case
            policy = policy.clone(utf8=True)
        self._raw = _flat(message, policy)
        self._own: Message | None = None  # what may yet be encoded for a server without 8BITMIME
        if is_signed(message):
            return  # as it is or not at all; sendmail() says why not
        if long_line(self._raw) or any(_encoding(part) == "binary" for part in message.walk()):
            message = copy.deepcopy(message)
            _encode_parts(message, eight_bit=False)
            if not policy.max_line_length or policy.max_line_length > MAX_LINE:
                policy = policy.clone(max_line_length=78)  # RFC 5322 s2.1.1
            self._raw = _flat(message, policy)
        if not (self._raw.isascii() or utf8 or _has_8bit_address(message)):
            self._own, self._policy = copy.deepcopy(message), policy

    def form(self, options: Sequence[str], offers: Callable[[str], bool]) -> bytes:
        """Return the bytes to send; call it once.

        Args:
            options: parameters of MAIL.
            offers: whether the EHLO of the session as it is now has a keyword.
        """
        if self._own is None:
            return self._raw
        said = {option.upper() for option in options}
        header_fits = "SMTPUTF8" in said or not _has_8bit_header(self._raw)
        if header_fits and "BODY=7BIT" not in said and offers("8bitmime"):
            return self._raw
        _encode_parts(self._own, eight_bit=True)
        ascii_header = {"utf8": False} if hasattr(self._policy, "utf8") else {}
        return _flat(self._own, self._policy.clone(cte_type="7bit", **ascii_header))


def dotted(raw: bytes) -> bytes:
    """Return content as DATA sends it: dots stuffed, ended by CRLF, without the final dot.

    RFC 5321 s4.5.2. Content without a dot at the begin of a line is returned as it is.

    Args:
        raw: as :func:`raw_bytes` returns it.
    """
    if raw.startswith(b"."):
        raw = b"." + raw
    if b"\r\n." in raw:
        raw = raw.replace(b"\r\n.", b"\r\n..")
    return raw if raw.endswith(b"\r\n") else raw + b"\r\n"


def snapshot(message: Message) -> Message:
    """Return a copy of a message object that comes to the same bytes each time it is sent.

    Raises:
        ValueError: it cannot be sent at all: see :func:`raw_bytes`.
    """
    copied = copy.deepcopy(message)
    _flat(copied, copied.policy)  # gives every multipart its boundary
    raw_bytes(Serialised(copied, utf8=False)._raw)
    return copied


def _flat(message: Message, policy: Any) -> bytes:
    with io.BytesIO() as buffer:
        BytesGenerator(buffer, policy=policy).flatten(message, linesep="\r\n")
        return buffer.getvalue()


def is_signed(message: Message) -> bool:
    """Tell whether another encoding of a part would break a signature."""
    return "DKIM-Signature" in message or any(
        part.get_content_type() == "multipart/signed" for part in message.walk()
    )


def _has_8bit_address(message: Message) -> bool:
    """Tell whether the header names an address that no encoding for ASCII exists for."""
    if not getattr(message.policy, "utf8", False):
        return False
    fields = [str(value) for name in _ADDRESS_FIELDS for value in message.get_all(name, [])]
    return not all(address.isascii() for _, address in getaddresses(fields))


def _encoding(part: Message) -> str:
    return str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()


def _encode_parts(part: Message, eight_bit: bool, *, whole: bool = True) -> None:
    """Encode parts that are binary or have long lines, in place; with ``eight_bit`` 8-bit too."""
    payload: Any = part.get_payload()
    kind, encoding = part.get_content_maintype(), _encoding(part)
    if isinstance(payload, list):
        for child in payload:
            _encode_parts(child, eight_bit, whole=kind == "message")
        if encoding == "binary" or (eight_bit and encoding == "8bit"):
            part.replace_header("Content-Transfer-Encoding", "7bit" if eight_bit else "8bit")
    elif isinstance(payload, str) and kind not in ("message", "multipart"):
        # RFC 2046 s5 lets these two have no encoding of their own. And one octet less: the
        # generator may put ">" before "From ".
        lines = _ANY_EOL.split(payload)  # decoded already where it knows its charset
        too_long = any(len(line.encode("utf-8", "replace")) >= MAX_LINE for line in lines)
        if encoding == "binary" or too_long or (eight_bit and not payload.isascii()):
            _encode(part, encoding)
            if whole and "MIME-Version" not in part:
                part["MIME-Version"] = "1.0"


def _encode(part: Message, encoding: str) -> None:
    """Encode one part anew: what the recipient decodes is what it was."""
    data: Any = part.get_payload(decode=True)
    if encoding in ("7bit", "8bit"):
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # lines, as on the wire
        text, encoding = binascii.b2a_qp(data), "quoted-printable"
    elif encoding in ("binary", "base64", "quoted-printable"):
        text, encoding = _base64(data), "base64"
    else:
        return  # not ours to read
    part.set_payload(text.decode("ascii"))
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding


def _base64(data: bytes) -> bytes:
    lines = (data[at : at + 57] for at in range(0, len(data), 57))  # 76 characters each
    return b"".join(map(binascii.b2a_base64, lines))
