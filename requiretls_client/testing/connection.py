"""One client's connection: bytes in and out, in the clear or inside TLS.

Does all the socket I/O of the test server and notes every line in the transcript; knows nothing
of SMTP beyond lines. TLS runs over memory buffers (``ssl.SSLObject``), so the socket stays the
same object before and after the handshake and another thread can shut it down at any time.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from requiretls_client.testing.records import Channel, Line, LineCutter, Records, Side

_T = TypeVar("_T")
_CHUNK = 65536  # octets per read
_TLS_HANDSHAKE = b"\x16"  # first octet of a ClientHello, RFC 8446 s5.1; no SMTP line starts so
_LOOKS_LIKE_A_COMMAND = re.compile(rb"[A-Za-z]{4,}( [ -~\x80-\xff]*)?\r?\n?")


class Connection:
    """What a step gets: the server's end of one connection.

    Every method that needs the client raises ConnectionError when it has gone away, when TLS
    fails or when the server stops. Let that pass: it is the ordinary end of a connection.

    Attributes:
        number: 1 for the server's first connection, then 2, ...
        closed: True after :meth:`close` or :meth:`reset`.
    """

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        records: Records,
        stopping: threading.Event,
        context: Callable[[], ssl.SSLContext],
    ) -> None:
        """Take over an accepted, blocking stream socket."""
        self.number = number
        self.closed = False
        self.in_content = False  # the dialogue sets it: what comes now are no commands
        self._sock = sock
        self._records = records
        self._stopping = stopping
        self._context = context
        self._buffer = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._cutters: dict[Side, LineCutter] = {
            "C": LineCutter(lambda data: self._note("C", data)),
            "S": LineCutter(lambda data: self._note("S", data)),
        }
        with contextlib.suppress(OSError):  # a Unix socket has no such option
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def channel(self) -> Channel:
        """``"tls"`` once a handshake has succeeded, else ``"plain"``."""
        return "tls" if self._tls else "plain"

    def send(self, data: bytes) -> None:
        """Send exactly these bytes: in one segment, and inside TLS in one record up to 16 KiB."""
        self._cutters["S"].feed(data)
        if self._tls is None:
            self._transmit(data)
        else:
            self._pump(self._tls.write, data)

    def reply(self, text: str) -> None:
        """Send a reply; each ``\\n``-separated line gets its CRLF. The text must bring its code."""
        self.send(text.replace("\n", "\r\n").encode() + b"\r\n")

    def drip(self, data: bytes, seconds_between: float) -> None:
        """Send byte by byte with pauses (seconds) between them."""
        for position in range(len(data)):
            if position:
                self.wait(seconds_between)
            self.send(data[position : position + 1])

    def wait(self, seconds: float) -> None:
        """Do nothing for a while; raises ConnectionError at once when the server stops."""
        if self._stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def read_line(self, *, content: bool = False) -> bytes:
        """Return the client's next line with its ending.

        Args:
            content: False lists the line in :meth:`Server.commands`; True is for lines that are
                no commands, such as message content and answers to an AUTH challenge.
        """
        while (end := self._buffer.find(b"\n") + 1) == 0:
            self._receive()
        line = self._take(end)
        if not content:
            self._records.add_command(self.channel, line)
        return line

    def read_exactly(self, count: int) -> bytes:
        """Return the client's next ``count`` octets; they are no commands (BDAT, RFC 3030 s2)."""
        while len(self._buffer) < count:
            self._receive()
        return self._take(count)

    def start_tls(self) -> None:
        """Do the server's half of a TLS handshake; the channel is then ``"tls"``.

        What the client said too early in the clear stays in the records and is forgotten (RFC
        3207 s4.2), except a ClientHello: a client may have mistaken an earlier line for the 220.
        """
        early = self._take(len(self._buffer))
        self._cutters["C"].flush()
        self._cutters["S"].flush()
        if early.startswith(_TLS_HANDSHAKE):
            self._incoming.write(early)
        else:
            self._note_unread(early)
        tls = self._context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._pump(tls.do_handshake)
        self._tls = tls

    def drain(self) -> None:
        """Read and note what the client says, without answering, until it goes away."""
        while True:
            self._receive()

    def close(self) -> None:
        """End the server's side (FIN) without TLS's close_notify; the client may finish talking."""
        self.closed = True
        self.cut_off(socket.SHUT_WR)

    def reset(self) -> None:
        """Tear the connection down at once (RST); the client loses what it had not read."""
        self.closed = True
        with contextlib.suppress(OSError):  # it has ended already
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def say_goodbye(self) -> None:
        """End the connection as a correct server does: inside TLS with a close_notify."""
        if self._tls is not None:
            # SSLWantReadError: ours is sent, the client's has not come, nobody waits for it.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._transmit(self._outgoing.read())
        self.close()

    def cut_off(self, how: int) -> None:
        """Shut down one or both directions; the only method that other threads may call.

        Args:
            how: ``socket.SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.
        """
        with contextlib.suppress(OSError):  # closed already, by either side
            self._sock.shutdown(how)

    def finish(self) -> None:
        """Note what the client still says, then give the socket back; never raises.

        A plain close() would answer unread bytes with RST, and the client might lose our last
        reply to it.
        """
        with self._sock:
            self.cut_off(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                self.drain()
        self._note_unread(self._take(len(self._buffer)))
        for cutter in self._cutters.values():
            cutter.flush()

    def _note(self, side: Side, data: bytes) -> None:
        self._records.add_line(Line(self.number, self.channel, side, data))

    def _note_unread(self, data: bytes) -> None:
        """List commands that nobody read: a test that looks for MAIL must find every MAIL."""
        for line in [] if self.in_content else data.splitlines(keepends=True):
            if _LOOKS_LIKE_A_COMMAND.fullmatch(line):
                self._records.add_command(self.channel, line)

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _receive(self) -> None:
        """Add what arrives next to the buffer and to the transcript."""
        data = self._fetch() if self._tls is None else self._pump(self._tls.read, _CHUNK)
        if not data:  # its close_notify, which is answered: RFC 8446 s6.1
            self.say_goodbye()
            raise ConnectionResetError("the client closed its side of TLS")
        self._cutters["C"].feed(data)
        self._buffer += data

    def _pump(self, operation: Callable[..., _T], *arguments: object) -> _T:
        """Run a TLS operation, carrying its bytes between the memory buffers and the socket."""
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                self._transmit(self._outgoing.read())
                self._incoming.write(self._fetch())
            except ssl.SSLError as error:
                self._transmit(self._outgoing.read())  # the alert
                raise ConnectionAbortedError(f"TLS failed: {error}") from error
            else:
                self._transmit(self._outgoing.read())
                return result

    def _fetch(self) -> bytes:
        try:
            data = self._sock.recv(_CHUNK)
        except OSError as error:
            raise ConnectionResetError(str(error)) from error
        if not data:
            raise ConnectionResetError("the client closed the connection")
        return data

    def _transmit(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ConnectionResetError(str(error)) from error
