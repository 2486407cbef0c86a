"""The grammar of SMTP replies, and their limits: bytes in, replies out. Pure.

RFC 5321 section 4.2. A reply has one code, of 2yz to 5yz, on each of its lines; the last line has
a blank, or nothing, where the others have a dash. Whatever else arrives is :class:`Malformed`:
what a server means by it is anybody's guess, and a guess could report a message as sent.
"""

from __future__ import annotations

import re

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


class Malformed(Exception):
    """What arrived is no reply; ``raw`` holds the bytes concerned, at most one line's worth."""

    def __init__(self, text: str, raw: bytes) -> None:
        """Carry what is wrong, and with what."""
        super().__init__(text)
        self.raw = raw[:MAX_LINE]


class Reply:
    """One complete reply.

    Attributes:
        code: 200 to 599.
        lines: the text of each line, without code, separator and line end.
        raw: the lines as they came, with their line ends.
    """

    __slots__ = ("code", "lines", "raw")

    def __init__(self, code: int, lines: list[bytes], raw: list[bytes]) -> None:
        """Hold the parts."""
        self.code, self.lines, self.raw = code, lines, raw

    @property
    def text(self) -> bytes:
        """The text as smtplib returns it: each line stripped, joined with LF."""
        if len(self.lines) == 1:
            return self.lines[0].strip(b" \t\r\n")
        return b"\n".join([line.strip(b" \t\r\n") for line in self.lines])


class Parser:
    """Cuts a stream of bytes into replies; never holds more than the limits allow.

    Attributes:
        buffer: what has arrived and belongs to no complete line yet, or to later replies.
    """

    Malformed = Malformed  # for those who hold a parser and have not loaded the module

    def __init__(self) -> None:
        """Start with nothing."""
        self.buffer = bytearray()
        self._raw: list[bytes] = []
        self._size = 0

    @property
    def waiting(self) -> bytes:
        """Everything that has arrived and was not taken."""
        return b"".join(self._raw) + bytes(self.buffer)

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self.buffer += data

    @staticmethod
    def made(code: int, text: bytes) -> Reply:
        """Return a reply of one line that :meth:`take_simple` gave in parts."""
        return Reply(code, [text], [])

    @property
    def idle(self) -> bool:
        """Whether nothing has arrived that was not taken."""
        return not (self.buffer or self._raw)

    def take_simple(self, most: int) -> list[tuple[int, bytes]]:
        """Return the replies of one line each that have arrived whole, as code and text.

        The cheap way for the replies to a group of commands. A reply of another form, an error
        among them, stays for :meth:`take`; so does what is behind a 421.
        """
        replies: list[tuple[int, bytes]] = []
        if self._raw:  # lines of a longer one
            return replies
        at, buffer = 0, self.buffer
        while len(replies) < most and (found := _SINGLE.match(buffer, at)):
            code, text = found.groups()
            replies.append((int(code), text.strip(b" \t\r\n")))
            at = found.end()
            if code == b"421":
                break
        del buffer[:at]
        return replies

    def take(self) -> Reply | None:
        """Return the next complete reply, or None while it is incomplete.

        Raises:
            Malformed: bad grammar, two codes in one reply, or a limit exceeded.
        """
        if not self.buffer:
            return None
        if not self._raw:
            if found := _SINGLE.match(self.buffer):
                line, code, text = found[0], found[1], found[2]  # before the buffer changes
                del self.buffer[: len(line)]
                return Reply(int(code), [text], [line])
            if found := _SEVERAL.match(self.buffer):
                code, raw = found[1], found[0].splitlines(keepends=True)
                del self.buffer[: found.end()]
                return Reply(int(code), [line[4:-2] for line in raw], raw)
        while True:
            end = self.buffer.find(b"\n") + 1
            limit = MAX_CHALLENGE if self.buffer.startswith(b"334") else MAX_LINE
            if (end or len(self.buffer)) > limit:
                raise Malformed(
                    f"a reply line is longer than {limit} octets", bytes(self.buffer[:MAX_LINE])
                )
            if not end:
                return None
            line = bytes(self.buffer[:end])
            del self.buffer[:end]
            if self._add(line):
                return self._finish()

    def _add(self, line: bytes) -> bool:
        """Check one line and keep it; return whether it is the last of its reply."""
        found = _LINE.fullmatch(line.removesuffix(b"\n").removesuffix(b"\r"))
        if not found:
            raise Malformed("a reply line does not begin with a code of 200 to 599", line)
        if self._raw and self._raw[0][:3] != found[1]:
            raise Malformed("the lines of one reply have different codes", line)
        self._raw.append(line)
        self._size += len(line)
        if len(self._raw) > MAX_LINES or self._size > MAX_REPLY:
            raise Malformed(f"a reply is longer than {MAX_LINES} lines or {MAX_REPLY} octets", line)
        return found[2] != b"-"

    def _finish(self) -> Reply:
        raw, self._raw, self._size = self._raw, [], 0
        lines = [line[4:].removesuffix(b"\n").removesuffix(b"\r") for line in raw]
        return Reply(int(raw[0][:3]), lines, raw)


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
