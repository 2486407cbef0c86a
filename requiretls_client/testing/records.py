"""What the test server remembers: lines, commands, accepted messages, names asked for.

No I/O. :class:`Records` is shared by the threads of all connections; everything else is frozen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Channel = Literal["plain", "tls"]
Side = Literal["C", "S"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line that travelled, noted when it arrived or was sent.

    Attributes:
        connection: 1 for the server's first connection, then 2, ...
        channel: ``"plain"`` or ``"tls"``, by the way the bytes really took.
        side: ``"C"`` the client said it, ``"S"`` the server.
        data: the bytes with their line ending; without one if the line was cut off.
    """

    connection: int
    channel: Channel
    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message for which the server took responsibility.

    Attributes:
        sender: reverse path without angle brackets; "" for the null path.
        recipients: forward paths in RCPT order. With LMTP each recipient is answered for by
            itself, so each makes an entry of its own.
        parameters: of the MAIL command, as sent, e.g. ``("SIZE=120", "REQUIRETLS")``.
        content: the message after dot-unstuffing, without the final dot.
        tls: whether it came over TLS.
    """

    sender: str
    recipients: tuple[str, ...]
    parameters: tuple[str, ...]
    content: bytes
    tls: bool


class Records:
    """Thread-safe memory of one server; its getters return copies."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._commands: list[tuple[Channel, str]] = []
        self._accepted: list[Accepted] = []
        self._server_names: list[str | None] = []

    def add_line(self, line: Line) -> None:
        """Append to the transcript."""
        with self._lock:
            self._lines.append(line)

    def add_command(self, channel: Channel, line: bytes) -> None:
        """Append a command line of the client; other bytes than UTF-8 become ``\\xNN``."""
        text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        with self._lock:
            self._commands.append((channel, text))

    def add_accepted(self, message: Accepted) -> None:
        """Append to the ledger."""
        with self._lock:
            self._accepted.append(message)

    def add_server_name(self, name: str | None) -> None:
        """Append the name that a ClientHello asked for; None if it named none."""
        with self._lock:
            self._server_names.append(name)

    def transcript(self) -> list[Line]:
        """Return every line of every connection, in order."""
        with self._lock:
            return list(self._lines)

    def commands(self, channel: Channel | None = None) -> list[str]:
        """Return the client's command lines, of one channel or (None) of both."""
        with self._lock:
            return [text for where, text in self._commands if channel in (None, where)]

    def ledger(self) -> list[Accepted]:
        """Return the accepted messages."""
        with self._lock:
            return list(self._accepted)

    def server_names(self) -> list[str | None]:
        """Return the names asked for (SNI, RFC 6066 s3), one per ClientHello."""
        with self._lock:
            return list(self._server_names)


class LineCutter:
    """Cuts a stream of bytes into lines and hands each on when it is complete."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        """Remember where lines go.

        Args:
            emit: called with each line, including its LF.
        """
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line + b"\n")

    def flush(self) -> None:
        """Hand on what is left of an unfinished line."""
        if self._rest:
            self._emit(self._rest)
            self._rest = b""
