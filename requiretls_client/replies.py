"""The grammar of SMTP replies, and their limits: bytes in, replies out. Pure.

RFC 5321 section 4.2. A reply has one code, of 2yz to 5yz, on each of its lines; the last line has
a blank, or nothing, where the others have a dash. Whatever else arrives is :class:`Malformed`:
what a server means by it is anybody's guess, and a guess could report a message as sent.
"""

from __future__ import annotations

import re

Reply = tuple[int, bytes]

# RFC 5321 s4.5.3.1.5 has 512 octets for a line; servers with long EHLO lines get four times that.
MAX_LINE = 2048
MAX_CHALLENGE = 12288 + 6  # of a line with 334: RFC 4954 s4
MAX_LINES = 100
MAX_REPLY = 64 * 1024

_ENHANCED = re.compile(rb"([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?![0-9.])")
_SINGLE = re.compile(rb"([2-5][0-9]{2}) ([^\r\n]{0,500})\r\n")
# Of several lines, within all limits; it never tries a shorter match.
_SEVERAL = re.compile(rb"([2-5][0-9]{2})(?:-[^\r\n]{0,500}+\r\n\1){1,99}+ [^\r\n]{0,500}+\r\n")
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_BLANKS = b" \t\r\n"


class Malformed(Exception):
    """What arrived is no reply; ``raw`` holds the bytes concerned, at most one line's worth."""

    def __init__(self, text: str, raw: bytes) -> None:
        """Carry what is wrong, and with what."""
        super().__init__(text)
        self.raw = raw[:MAX_LINE]


class Parser:
    """Cuts a stream of octets into replies; never holds more than the limits allow.

    Attributes:
        buffer: what has arrived and belongs to no complete line yet, or to later replies.
        taken: the octets of the replies that were taken last, as they came.
    """

    Malformed = Malformed  # for those who hold a parser and have not loaded the module

    def __init__(self) -> None:
        """Start with nothing."""
        self.buffer = bytearray()
        self.taken = b""
        self._lines: list[bytes] = []  # of a reply whose end has not arrived
        self._size = 0

    @property
    def waiting(self) -> bytes:
        """Everything that has arrived and was not taken."""
        return b"".join(self._lines) + bytes(self.buffer)

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self.buffer += data

    @property
    def idle(self) -> bool:
        """Whether nothing has arrived that was not taken."""
        return not (self.buffer or self._lines)

    def take(self, most: int = 1) -> list[Reply]:
        """Return the next replies that have arrived whole; none while the first is incomplete.

        Several at once only where all that has arrived are replies of one line each, and none of
        them is 421, behind which nothing counts (RFC 5321 s3.8).

        Args:
            most: how many are expected; what is behind them stays.

        Returns:
            Code and text of each. The text is smtplib's: lines stripped and joined with LF.

        Raises:
            Malformed: bad grammar, two codes in one reply, or a limit exceeded.
        """
        buffer = self.buffer
        if not buffer:
            return []
        if not self._lines:
            if b"421 " not in buffer:
                replies, size, end = [], 0, buffer.rfind(b"\r\n") + 2
                for code, text in _SINGLE.findall(buffer, 0, end):
                    replies.append((int(code), text.strip(_BLANKS)))
                    size += len(text) + 6
                if size == end and len(replies) <= most:  # and nothing else, nor between them
                    self.taken = bytes(buffer[:end])
                    del buffer[:end]
                    return replies
            if found := _SEVERAL.match(buffer):
                octets = found[0]  # before the buffer changes
                del buffer[: len(octets)]
                return self._whole(octets)
        return self._by_lines()

    def _whole(self, octets: bytes) -> list[Reply]:
        """Return the one reply that these are."""
        self.taken = octets
        text = b"\n".join([line.strip(_BLANKS) for line in texts(octets)])
        return [(int(octets[:3]), text)]

    def _by_lines(self) -> list[Reply]:
        """Take line after line, of which each may be the one that is wrong."""
        while True:
            end = self.buffer.find(b"\n") + 1
            limit = MAX_CHALLENGE if self.buffer.startswith(b"334") else MAX_LINE
            if (end or len(self.buffer)) > limit:
                raise Malformed(
                    f"a reply line is longer than {limit} octets", bytes(self.buffer[:MAX_LINE])
                )
            if not end:
                return []
            line = bytes(self.buffer[:end])
            del self.buffer[:end]
            if self._add(line):
                lines, self._lines, self._size = self._lines, [], 0
                return self._whole(b"".join(lines))

    def _add(self, line: bytes) -> bool:
        """Check one line and keep it; return whether it is the last of its reply."""
        found = _LINE.fullmatch(line.removesuffix(b"\n").removesuffix(b"\r"))
        if not found:
            raise Malformed("a reply line does not begin with a code of 200 to 599", line)
        if self._lines and self._lines[0][:3] != found[1]:
            raise Malformed("the lines of one reply have different codes", line)
        self._lines.append(line)
        self._size += len(line)
        if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
            raise Malformed(f"a reply is longer than {MAX_LINES} lines or {MAX_REPLY} octets", line)
        return found[2] != b"-"


def texts(octets: bytes) -> list[bytes]:
    """Return the text of each line of a reply, as it came, without its line end."""
    return [line[4:].removesuffix(b"\r") for line in octets.split(b"\n")[:-1]]


def enhanced_status(code: int, text: bytes) -> str:
    """Return the enhanced status code of a reply (RFC 2034 s4), or the general one of its class.

    A code in the text counts only if its class is that of the reply: the reply's own digit wins.

    Args:
        code: basic status code, 200 to 599.
        text: of the reply, its first line or all of it.
    """
    found = _ENHANCED.match(text)
    if found and found[1] == b"%d" % (code // 100):
        return found[0].decode("ascii")
    return f"{code // 100}.0.0"
