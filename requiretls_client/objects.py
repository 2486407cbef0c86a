"""Message objects as bytes: serialised once, in the forms that a server may need.

Pure; changes no caller's object. Where a line is too long for SMTP, or the server wants 7 bits, the
parts concerned are encoded anew, unless the message is signed. Binary parts stay octet by octet
where BDAT may carry them (RFC 3030 section 3).

RFC 5321 section 4.5.3.1.6, RFC 6152 (8BITMIME), RFC 6532 (headers in UTF-8), RFC 2045 (encodings).
Loaded with the first message object.
"""

from __future__ import annotations

import binascii
import copy
import io
import re
from email.generator import BytesGenerator
from email.utils import getaddresses

from requiretls_client.content import BINARY, has_8bit_header, raw_bytes
from requiretls_client.lines import MAX_LINE, long_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import Message
    from typing import Any

_ANY_EOL = re.compile(r"\r\n|\r|\n")
_MAY_SAY_SIGNED = re.compile(r"signed|=\?")  # or in an encoded word
_ADDRESS_FIELDS = ("From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-To")


def sender(message: Message) -> str:
    """Return the address of Sender or From (or their Resent- forms), as smtplib reads it.

    Raises:
        ValueError: neither is there.
    """
    prefix = "Resent-" if "Resent-Date" in message else ""
    name = prefix + ("Sender" if prefix + "Sender" in message else "From")
    field = message[name]  # once: it may be parsed each time
    if field is None:
        raise ValueError(f"from_addr was not given, and the message has no {name}")
    found = [address for _, address in getaddresses([str(field)]) if address]
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
        self._exact = _flat_exact(message, policy) if _has_binary(message) else None
        if is_signed(message):
            return  # as it is or not at all; sendmail() says why not
        if long_line(self._raw) or any(_is_binary_part(part) for part in message.walk()):
            message = copy.deepcopy(message)
            _encode_parts(message, eight_bit=False)
            if not policy.max_line_length or policy.max_line_length > MAX_LINE:
                policy = policy.clone(max_line_length=78)  # RFC 5322 s2.1.1
            self._raw = _flat(message, policy)
        if not (self._raw.isascii() or utf8 or _has_8bit_address(message)):
            self._own, self._policy = copy.deepcopy(message), policy

    def chosen(
        self, options: Sequence[str], offers: Callable[[str], bool]
    ) -> tuple[bytes, tuple[str, ...]]:
        """Return the bytes to send, and the parameters of MAIL; call it once.

        Binary parts stay as they are where the server takes them so (RFC 3030 s3), unless another
        BODY was said; else they are encoded.

        Args:
            options: parameters of MAIL, as the caller said them.
            offers: whether the EHLO of the session as it is now has a keyword.
        """
        others = tuple(option for option in options if option.upper() != BINARY)
        wanted = self._exact is not None or len(others) < len(options)
        said = any(option.upper().startswith("BODY=") for option in others)
        if wanted and not said and offers("binarymime") and offers("chunking"):
            return self._exact or self._raw, (*others, BINARY)
        return self.form(others, offers), others

    def form(self, options: Sequence[str], offers: Callable[[str], bool]) -> bytes:
        """Return the bytes to send; call it once.

        Args:
            options: parameters of MAIL.
            offers: whether the EHLO of the session as it is now has a keyword.
        """
        if self._own is None:
            return self._raw
        said = {option.upper() for option in options}
        header_fits = "SMTPUTF8" in said or not has_8bit_header(self._raw)
        if header_fits and "BODY=7BIT" not in said and offers("8bitmime"):
            return self._raw
        _encode_parts(self._own, eight_bit=True)
        ascii_header = {"utf8": False} if hasattr(self._policy, "utf8") else {}
        return _flat(self._own, self._policy.clone(cte_type="7bit", **ascii_header))


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
        _Generator(buffer, policy=policy).flatten(message, linesep="\r\n")
        return buffer.getvalue()


class _Generator(BytesGenerator):
    """The email package's, to the octet; it takes four times as long.

    Most of that goes into writing line by line, and into parsing a Content-Type, twice, only to
    find out that it is text. A method that a later Python does not call is of no use, and no harm.
    """

    def _write_lines(self, lines: str) -> None:
        if "\r" in lines:
            lines = _ANY_EOL.sub("\n", lines)
        self.write(lines.replace("\n", self._NL))  # type: ignore[attr-defined]  # email's

    def _dispatch(self, msg: Message) -> None:
        if _raw_value(msg, "content-type").startswith("text/"):
            self._handle_text(msg)  # type: ignore[attr-defined]  # email's
        else:
            super()._dispatch(msg)  # type: ignore[misc]  # email's


class _ExactGenerator(_Generator):
    """Writes binary parts as they are; the email package would mend what looks like line ends."""

    def _handle_text(self, msg: Message) -> None:
        if _is_binary_part(msg) and isinstance(msg.get_payload(), str):
            self._fp.write(msg.get_payload(decode=True))  # type: ignore[attr-defined]  # email's
        else:
            super()._handle_text(msg)  # type: ignore[misc]  # email's

    _writeBody = _handle_text  # the email package's name for it, where the part is no text


def _flat_exact(message: Message, policy: Any) -> bytes:
    """Return a message object with its binary parts as they are, for BDAT."""
    if not is_signed(message):
        message = copy.deepcopy(message)
        _encode_parts(message, eight_bit=False, keep_binary=True)
        for part in message.walk():  # RFC 2045 s6.4: what holds binary is binary
            if part.is_multipart() and _has_binary(part):
                del part["Content-Transfer-Encoding"]
                part["Content-Transfer-Encoding"] = "binary"
    with io.BytesIO() as buffer:
        _ExactGenerator(buffer, policy=policy).flatten(message, linesep="\r\n")
        return buffer.getvalue()


def _has_binary(message: Message) -> bool:
    """Tell whether there are octets in it that only BDAT can carry as they are."""
    return any(_is_binary_part(part) and not part.is_multipart() for part in message.walk())


def _is_binary_part(part: Message) -> bool:
    return _encoding(part) == "binary"


def is_signed(message: Message) -> bool:
    """Tell whether another encoding of a part would break a signature."""
    return "DKIM-Signature" in message or any(
        part.get_content_type() == "multipart/signed"
        for part in message.walk()
        if _MAY_SAY_SIGNED.search(_raw_value(part, "content-type"))  # parsing it is dear
    )


def _raw_value(part: Message, name: str) -> str:
    """Return the first header field of a name as it is kept, in lower case; "" for none."""
    return next((str(value) for key, value in part.raw_items() if key.lower() == name), "").lower()


def _has_8bit_address(message: Message) -> bool:
    """Tell whether the header names an address that no encoding for ASCII exists for."""
    if not getattr(message.policy, "utf8", False):
        return False
    fields = [str(value) for name in _ADDRESS_FIELDS for value in message.get_all(name, [])]
    return not all(address.isascii() for _, address in getaddresses(fields))


def _encoding(part: Message) -> str:
    return _raw_value(part, "content-transfer-encoding").strip() or "7bit"


def _encode_parts(
    part: Message, eight_bit: bool, *, whole: bool = True, keep_binary: bool = False
) -> None:
    """Encode parts that are binary or have long lines, in place; with ``eight_bit`` 8-bit too.

    With ``keep_binary`` those that are binary stay so.
    """
    payload: Any = part.get_payload()
    kind, encoding = part.get_content_maintype(), _encoding(part)
    if isinstance(payload, list):
        for child in payload:
            _encode_parts(child, eight_bit, whole=kind == "message", keep_binary=keep_binary)
        if encoding == "binary" or (eight_bit and encoding == "8bit"):
            part.replace_header("Content-Transfer-Encoding", "7bit" if eight_bit else "8bit")
    elif keep_binary and encoding == "binary":
        return
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
