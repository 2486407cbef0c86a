"""A file as a message: looked through once for what the rules ask, then read again for the wire.

Both times block by block, so that a message of any size takes less than 1 MB of memory. What was
found holds for what is sent: the header is kept, and every later block is held against its
checksum before it leaves. A file that changes meanwhile, or cannot be read to its end, leaves the
message incomplete, and no server may take it then (RFC 5321 section 3.8, RFC 3030 section 2).

Reads, and moves about in, the caller's file; never closes it. Loaded with the first file.
"""

from __future__ import annotations

import contextlib
import smtplib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from requiretls_client import content, header
from requiretls_client.lines import BLOCK, LineEnds, Scan, uncut

# Octets within which the header must end; a file that is shorter is read as a whole, and its
# content is bytes like any other.
HEAD = 256 * 1024


@contextmanager
def scanned(file: Any, *, binary: bool) -> Iterator[bytes | Streamed]:
    """Look through a file, from where it stands to its end, and give it back as content.

    After an error the file stands again where it stood. One that cannot be moved about in, such
    as a pipe, is copied to a temporary file first.

    Args:
        file: binary file object, or an ``mmap``.
        binary: the octets go as they are (RFC 3030 s3).

    Raises:
        TypeError: ``read()`` gives no bytes.
        ValueError: there is nothing to read, the header does not end, or as
            :func:`requiretls_client.content.raw_bytes`.
        OSError: of the file.
    """
    seekable = _is_seekable(file)
    start = file.tell() if seekable else 0
    try:
        first = _read(file, HEAD)
        if not first:  # the second message from one file would be an empty one
            raise ValueError(
                "the message is empty: its file stands at its end; seek(0) goes back to its begin"
            )
        if len(first) < HEAD:
            yield content.raw_bytes(first, binary=binary)
        elif seekable:
            del first  # nothing is held while the message leaves
            yield Streamed(file, start, binary=binary)
        else:
            with _spooled(file, first) as spool:
                del first
                yield Streamed(spool, 0, binary=binary)
    except BaseException:
        if seekable:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile: hides no error
                file.seek(start)
        raise


class Streamed:
    """A message in a file that answers what the rules ask of one in bytes.

    Attributes:
        begin: of the message as SMTP carries it: its header, with the blank line.
    """

    def __init__(self, file: Any, start: int, *, binary: bool) -> None:
        """Look through the file.

        Args:
            file: binary and seekable.
            start: where the message begins in it.
            binary: the octets go as they are (RFC 3030 s3).

        Raises:
            ValueError: see :func:`scanned`.
        """
        self._file, self._start = file, start
        self._sums = array("q")  # one of each block
        self._mended = False
        self.begin = b""
        ends, self._scan = LineEnds(), Scan()
        read = self._summed()
        for block in read if binary else ends.blocks(read):
            if not content.header_size(self.begin):
                self._add_to_begin(block)
            self._scan.add(block)
        self._mended = ends.mended
        self._cut = content.header_size(self.begin)  # octets of the file that begin stands for
        self.begin = self.begin[: self._cut]
        if binary:
            content.check_exact(self.begin)
        else:
            content.check(self.begin, mended=ends.mended and ends.any_cr, line=self._long_line())

    def _add_to_begin(self, block: bytes) -> None:
        self.begin += block
        if len(self.begin) >= HEAD and not content.header_size(self.begin):
            raise ValueError(
                f"the header of the message does not end within {HEAD} octets of its file; a text "
                "without a header begins with a blank line (RFC 5322 s2.1), and a longer header "
                "can be sent as bytes"
            )

    def __len__(self) -> int:
        """Return the octets of the content, as bytes do: before dot-stuffing."""
        return self._scan.size - self._cut + len(self.begin)

    def isascii(self) -> bool:
        """Tell whether no octet is beyond ASCII."""
        return self._scan.is_ascii

    @property
    def ends_line(self) -> bool:
        """Whether the content ends with CRLF."""
        return self._scan.ends_line

    def marked(self) -> Streamed:
        """Put ``TLS-Required: No`` into the header (RFC 8689 s3), and return it."""
        self.begin = header.marked_raw(self.begin)
        return self

    def whole(self) -> bytes:
        """Return the content in memory, for who cannot take it otherwise."""
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the content; of a file that has changed, nothing that has, and never the end.

        Raises:
            SMTPException: the file has changed.
            OSError: of the file.
        """
        first, skip = self.begin, self._cut
        for block in self._read_again():
            rest = block[skip:]
            skip = max(0, skip - len(block))
            if rest:
                yield first + rest
                first = b""
        if first:
            yield first

    # -- reading -------------------------------------------------------------------------------

    def _summed(self) -> Iterator[bytes]:
        """Yield the file's blocks, and keep the checksum of each.

        hash() is SipHash with a key that only this process has: as fast as a CRC, and nobody can
        make another block to it.
        """
        for block in self._blocks():
            self._sums.append(hash(block))
            yield block

    def _verified(self) -> Iterator[bytes]:
        """Yield the same blocks again, each once the next has been found to be the same too."""
        waiting, number = b"", 0
        for number, block in enumerate(self._blocks(), 1):
            if number > len(self._sums) or hash(block) != self._sums[number - 1]:
                raise _changed()
            if waiting:
                yield waiting
            waiting = block
        if number != len(self._sums):
            raise _changed()
        yield waiting

    def _read_again(self) -> Iterator[bytes]:
        """Yield the content as SMTP carries it, but for what was put into the header."""
        return LineEnds().blocks(self._verified()) if self._mended else uncut(self._verified())

    def _blocks(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        while block := _read(self._file, BLOCK):
            yield block

    def _long_line(self) -> int:
        """Return the number of a line that is too long, from 1; 0 if there is none."""
        left = self._scan.long_line
        if left < 0:
            return 0
        number = 1
        for block in self._read_again():
            number += block.count(b"\n", 0, left)
            left -= len(block)
            if left <= 0:
                break
        return number


def _changed() -> smtplib.SMTPException:
    return smtplib.SMTPException(
        "the file of the message has changed while it was being sent; the message was not "
        "completed, so no server can have taken it, and the session is closed"
    )


def _is_seekable(file: Any) -> bool:
    """Tell whether a file can be read twice; an mmap says so only since Python 3.13."""
    said = getattr(file, "seekable", None)
    return bool(said()) if said is not None else hasattr(file, "seek")


@contextmanager
def _spooled(file: Any, first: bytes) -> Iterator[Any]:
    """Copy the rest of a pipe to a temporary file without a name, behind what has been read."""
    import tempfile

    with tempfile.TemporaryFile() as spool:
        spool.write(first)
        while block := _read(file, BLOCK):
            spool.write(block)
        yield spool


def _read(file: Any, size: int) -> bytes:
    """Read so many octets; fewer only at the end of the file."""
    data = _octets(file.read(size))
    while 0 < len(data) < size:
        more = _octets(file.read(size - len(data)))
        if not more:
            break
        data += more
    return data


def _octets(data: Any) -> bytes:
    if isinstance(data, str):
        raise TypeError(
            'the file of the message is open as text; open it as binary: open(path, "rb")'
        )
    if not isinstance(data, bytes):  # None: nothing there yet, in a file that does not block
        raise TypeError(f"read() of the message gives {type(data).__name__}, not bytes")
    return data
