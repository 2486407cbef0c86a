"""The lines of a message as SMTP carries them: their ends, their length, their dots.

Pure. Content goes by in blocks of octets, so that none of it need be held: a message in memory is
cut into them, one in a file comes in them, and the rules are the same. Once every line ends with
CRLF, no block ends between the two.

RFC 5321 sections 2.3.8 (line ends), 4.5.2 (dots) and 4.5.3.1.6 (length).
"""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK = 64 * 1024  # octets; what is handled at once stays in the processor's cache
MAX_LINE = 998  # RFC 5321 s4.5.3.1.6: 1000 octets with CRLF, without the dot of dot-stuffing


# -- line ends ---------------------------------------------------------------------------------


def with_crlf(raw: bytes) -> bytes:
    """Return content whose every line ends with CRLF; the same object where that is so already.

    A lone CR or LF, which one server takes for the end of a line and the next does not, becomes
    CRLF (RFC 5321 s2.3.8).
    """
    if has_only_crlf(raw):
        return raw
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw.replace(b"\n", b"\r\n")


def has_only_crlf(raw: bytes) -> bool:
    """Tell whether neither CR nor LF stands alone."""
    # Made for text files: it notes which line ends went by. Once over the octets, in C; counting
    # each of CR, LF and CRLF takes four times as long.
    ends = io.IncrementalNewlineDecoder(None, translate=False)
    if len(raw) > BLOCK:
        view = memoryview(raw)
        for at in range(0, len(view), BLOCK):
            ends.decode(str(view[at : at + BLOCK], "latin-1"))
        raw = b""
    ends.decode(str(raw, "latin-1"), final=True)
    return ends.newlines in (None, "\r\n")


class LineEnds:
    """Gives every line CRLF as the blocks of a message go by.

    Attributes:
        mended: another line end than CRLF was among them.
        any_cr: CR was among them; without it the message is one with LF throughout.
    """

    def __init__(self) -> None:
        """Begin with the message."""
        self.mended = self.any_cr = False

    def blocks(self, given: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks, mended."""
        for block in uncut(given):
            mended = with_crlf(block)
            self.mended = self.mended or mended is not block
            self.any_cr = self.any_cr or b"\r" in block
            yield mended


def uncut(given: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same octets in blocks that do not end between CR and LF: a last CR waits."""
    held = b""
    for each in given:
        block = held + each
        held = b"\r" if block.endswith(b"\r") else b""
        if len(block) > len(held):
            yield block[:-1] if held else block
    if held:
        yield held


# -- line lengths ------------------------------------------------------------------------------


def long_line(raw: bytes) -> int:
    """Return the number of a line that is too long, from 1; 0 if there is none."""
    begin = find_long_line(raw)
    return raw.count(b"\n", 0, begin) + 1 if begin >= 0 else 0


def find_long_line(raw: bytes, begin: int = 0) -> int:
    """Return where a line begins that is too long, -1 if there is none.

    Args:
        raw: content with CRLF.
        begin: where a line begins to look from.
    """
    last, rfind = len(raw) - MAX_LINE, raw.rfind
    while begin < last:
        end = rfind(b"\n", begin, begin + MAX_LINE + 2)
        if end < 0:
            return begin
        begin = end + 1
    return -1


class Scan:
    """What the rules ask about content, gathered as its blocks go by.

    Attributes:
        size: octets so far.
        is_ascii: none of them is beyond ASCII.
        ends_line: the last of them are CRLF.
        long_line: offset of a line that is too long; -1 while there is none.
    """

    def __init__(self) -> None:
        """Begin with the message."""
        self.size, self.is_ascii, self.ends_line, self.long_line = 0, True, False, -1
        self._open = 0  # octets of the line that the blocks so far have left open

    def add(self, block: bytes) -> None:
        """Take the next block; every line in it ends with CRLF."""
        self.is_ascii = self.is_ascii and block.isascii()
        if self.long_line < 0:
            self._measure(block)
        self.size += len(block)
        self.ends_line = block.endswith(b"\r\n")

    def _measure(self, block: bytes) -> None:
        """Look for a line that is too long, in the block or across its begin."""
        begin = block.find(b"\n") + 1
        if self._open + (begin - 2 if begin else len(block)) > MAX_LINE:
            self.long_line = self.size - self._open
            return
        if not begin:
            self._open += len(block)
            return
        found = find_long_line(block, begin)
        if found >= 0:
            self.long_line = self.size + found
        self._open = len(block) - block.rfind(b"\n") - 1


# -- dots --------------------------------------------------------------------------------------


def final(raw: bytes) -> bytes:
    """Return content as DATA sends it: dots stuffed, and the dot that ends it (RFC 5321 s4.5.2).

    Args:
        raw: content with CRLF.
    """
    if raw.startswith(b"."):
        raw = b"." + raw
    if b"\r\n." in raw:
        raw = raw.replace(b"\r\n.", b"\r\n..")
    return raw + (b".\r\n" if raw.endswith(b"\r\n") else b"\r\n.\r\n")


def stuffed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield content as DATA sends it, dots stuffed; last of all, once it is whole, the final dot.

    Args:
        blocks: content with CRLF, not cut between the two; none of them is empty.
    """
    begins, last = True, b""
    for last in blocks:
        parts = last.split(b"\r\n.")  # and join: half the time of replace(), which counts first
        block = b"\r\n..".join(parts) if len(parts) > 1 else last
        yield b"." + block if begins and last.startswith(b".") else block
        begins = last.endswith(b"\r\n")
    yield b".\r\n" if last.endswith(b"\r\n") else b"\r\n.\r\n"


def blocks(raw: bytes) -> Iterator[bytes]:
    """Yield content in memory block by block, not cut between CR and LF."""
    at = 0
    while at < len(raw):
        end = at + BLOCK
        end += raw[end - 1 : end + 1] == b"\r\n"
        yield raw[at:end]
        at = end
