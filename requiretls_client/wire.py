"""Commands out, replies in: smtplib's two lowest methods, in step with the server.

Each reply is read to its end under one deadline and by the grammar of
:mod:`requiretls_client.replies`. Before a command leaves, nothing may wait to be read: a reply
that came before its command is never taken for its answer. Whatever breaks the step (a malformed
reply, an interrupted call, a fork) ends the connection; a connection that is out of step could
report a message as sent.
"""

from __future__ import annotations

import os
import select
import smtplib
import ssl
import sys
import time

from requiretls_client import syntax
from requiretls_client.errors import DeliveryUnknown, GreetingError, ReplyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from requiretls_client.content import Content
    from requiretls_client.replies import Parser

    Reply = tuple[int, bytes]

# RFC 5321 s4.5.3.2, in seconds, where the caller sets no timeout; "" is the greeting, "." the end
# of the message. QUIT has 5 s in any case: nothing depends on its reply.
PATIENCE = {"": 300.0, "MAIL": 300.0, "RCPT": 300.0, "DATA": 120.0, ".": 600.0}
PATIENCE_ELSE = 300.0
PATIENCE_BLOCK = 180.0
PATIENCE_QUIT = 5.0

_CONTENT_IS_DUE = {("DATA", 354), ("AUTH", 334)}

CRLF, END = b"\r\n", b"\r\n.\r\n"  # END: of the content behind DATA

BLOCK = 64 * 1024  # octets of content that have one timeout to leave in
_CHUNK = 4096


class Pipe:
    """One socket, and how far both sides are in step on it."""

    __slots__ = (
        "begun", "command", "content", "left", "owed", "parser", "pid", "poll", "said", "sock",
        "stuffed", "tail",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, parser: Parser) -> None:
        """Begin before the greeting."""
        self.sock, self.parser = sock, parser
        self.pid = os.getpid()
        self.command = ""  # verb of the last command; "." once the content has left
        self.content = False  # what is sent next is content of that command, no command itself
        self.tail = CRLF  # the last octets of that which have left; a line begins with the first
        self.stuffed = False  # it is ours, and no line of it is a dot but the last
        self.left = 0  # octets of it that BDAT has announced (RFC 3030 s2)
        self.owed: list[str] = []  # verbs whose replies the server has not given yet, in order
        self.said = b""  # the text of the last reply
        self.begun = 0  # how often something began to leave, whether or not all of it did
        self.poll: Any = None

    def is_quiet(self) -> bool:
        """Tell whether nothing has arrived that was not taken; False where that cannot be told."""
        if not self.parser.idle:
            return False
        try:
            if self.poll is None:
                poller = select.poll()
                poller.register(self.sock.fileno(), select.POLLIN)
                self.poll = poller.poll
            if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                return False
            return not self.poll(0)
        except (AttributeError, OSError, TypeError, ValueError):  # no poll(), or no real socket
            return False


class Wire(smtplib.SMTP):
    """The wire under :class:`~requiretls_client.starttls.StartTLS`; not used on its own."""

    _pipe: Pipe | None = None

    def _current_pipe(self) -> Pipe | None:
        """Return the state of the socket that is connected now; None when none is."""
        if self.sock is None:
            return None
        if self._pipe is None or self._pipe.sock is not self.sock:
            from requiretls_client.replies import Parser

            self._pipe = Pipe(self.sock, Parser())
        return self._pipe

    def send(self, s: Any) -> None:
        """Send as smtplib does, if both sides are in step.

        Raises:
            ReplyError: the server has said something that nobody asked for; the session is closed.
            SMTPServerDisconnected: not connected any more, or connected by another process.
        """
        pipe = self._current_pipe()
        if pipe is None:
            return super().send(s)
        self._put(pipe, s)
        if pipe.content:
            self._content_left(pipe, s)

    def _put(self, pipe: Pipe, s: Any) -> None:
        """Send, whatever it is, if both sides are in step; errors are those of :meth:`send`."""
        if pipe.pid != os.getpid():
            raise smtplib.SMTPServerDisconnected(
                "the process that connected is another one; call connect() after the fork"
            )
        try:
            # RFC 3030 s2: no reply comes before all octets of BDAT have.
            silent = not pipe.owed or (pipe.content and pipe.owed == ["BDAT"])
            if silent and not pipe.is_quiet():
                self._refuse_early_reply(pipe)
            pipe.begun += 1
            if pipe.content and len(s) > BLOCK:
                self._send_blocks(s)
            else:
                super().send(s)
        except (OSError, ValueError):
            raise
        except BaseException:  # interrupted: part of it may have left
            self.close()
            raise

    @staticmethod
    def _content_left(pipe: Pipe, s: Any) -> None:
        """Note that a part of the content has left, and which reply its end will bring."""
        pipe.tail = (pipe.tail + _tail(s))[-5:]
        if pipe.command == "AUTH":  # one line
            pipe.owed, pipe.content = ["AUTH"], not pipe.tail.endswith(b"\n")
        elif pipe.command == "BDAT":
            pipe.left -= len(s)
            if not pipe.left:  # the reply to BDAT itself is the answer
                pipe.command, pipe.content = ".", False
        elif pipe.tail == END:
            pipe.command, pipe.content, pipe.owed = ".", False, ["."]

    def _send_blocks(self, s: Any) -> None:
        """Send long content; each block has the whole timeout (RFC 5321 s4.5.3.2.5)."""
        data = s.encode(self.command_encoding) if isinstance(s, str) else s
        if self.debuglevel > 0:
            self._print_debug("send:", repr(data))  # type: ignore[attr-defined]  # smtplib's
        sys.audit("smtplib.send", self, data)
        sock = self.sock
        assert sock is not None  # noqa: S101 - for the type checker
        timeout = sock.gettimeout()
        view = memoryview(data)
        try:
            sock.settimeout(PATIENCE_BLOCK if timeout is None else timeout)
            for start in range(0, len(view), BLOCK):
                sock.sendall(view[start : start + BLOCK])
            sock.settimeout(timeout)
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected("Server not connected") from error

    def getreply(self) -> Reply:
        """Read one reply, to its end.

        Returns:
            Code, and text as smtplib returns it: lines stripped and joined with LF.

        Raises:
            ReplyError: what came is no reply (RFC 5321 s4.2), or exceeds the limits; the session
                is closed.
            SMTPServerDisconnected: the connection ended, or the deadline passed.
        """
        pipe = self._current_pipe()
        if pipe is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        [(code, text)] = self._read(pipe, 1)
        self._answered(pipe, 1, code, text)
        if self.debuglevel > 0:
            for line in pipe.parser.taken.split(b"\n")[:-1]:
                self._print_debug("reply:", repr(line + b"\n"))  # type: ignore[attr-defined]  # smtplib's
            self._print_debug(f"reply: retcode ({code}); Msg: {text!a}")  # type: ignore[attr-defined]  # smtplib's
        return code, text

    @staticmethod
    def _answered(pipe: Pipe, count: int, code: int, text: bytes) -> None:
        """Note that commands were answered, and whether content is due after the last of them."""
        pipe.said = text
        owed = pipe.owed
        asked = owed[count - 1] if owed else pipe.command
        del owed[:count]
        # Only for a command that has passed the guard, as the last one of its group; the server
        # cannot open it by itself.
        if not owed:
            pipe.content = (asked, code) in _CONTENT_IS_DUE
            pipe.tail, pipe.stuffed = CRLF, False

    def _read_group(self, count: int, replies: list[Reply] | None = None) -> list[Reply]:
        """Read the replies to a group of commands; 421 is the last that a server says.

        Args:
            count: of the commands.
            replies: to append to, for a caller who needs those that came before an error.

        Raises:
            ReplyError, SMTPServerDisconnected: as :meth:`getreply`.
        """
        replies = [] if replies is None else replies
        pipe = self._current_pipe()
        while count:
            if pipe is None or self.debuglevel > 0:
                found = [self.getreply()]
            else:
                found = self._read(pipe, count)
                self._answered(pipe, len(found), *found[-1])
            replies += found
            count -= len(found)
            if found[-1][0] == 421:  # RFC 5321 s3.8
                self.close()
                break
        return replies

    def _read(self, pipe: Pipe, most: int) -> list[Reply]:
        """Return the next replies, at least one, and those behind it that have arrived already."""
        limit = 0.0
        try:
            replies = pipe.parser.take(most) if pipe.parser.buffer else []
            if not replies:
                timeout = pipe.sock.gettimeout()
                limit = _patience(pipe.owed[0] if pipe.owed else pipe.command, timeout)
                replies = self._wait(pipe, most, limit, timeout)
        except pipe.parser.Malformed as error:
            self.close()
            cls = ReplyError if pipe.command else GreetingError
            raise cls(f"{error}: {syntax.printable(error.raw)}", error.raw) from None
        except OSError as error:
            self.close()
            late = isinstance(error, TimeoutError)
            why = f"no complete reply within {limit:g} s" if late else str(error)
            if len(pipe.owed) > 1:
                why += f", {len(pipe.owed)} replies to a group of commands are missing (RFC 2920)"
            text = f"Connection unexpectedly closed: {why}"
            raise smtplib.SMTPServerDisconnected(text) from error
        except BaseException:  # interrupted in the middle of a reply
            self.close()
            raise
        return replies

    @staticmethod
    def _wait(pipe: Pipe, most: int, limit: float, timeout: float | None) -> list[Reply]:
        """Take in what arrives until a reply is whole.

        Args:
            pipe: the connection.
            most: replies that are expected.
            limit: seconds for all of the first one.
            timeout: the socket's, to which it goes back.
        """
        sock, parser = pipe.sock, pipe.parser
        deadline, left, now = time.monotonic() + limit, limit, timeout
        while left > 0:
            if now != left:
                sock.settimeout(left)
                now = left
            data = sock.recv(_CHUNK)
            if not data:
                raise ConnectionError("end of file")
            parser.feed(data)
            replies = parser.take(most)
            if replies:
                if now != timeout:
                    sock.settimeout(timeout)
                return replies
            left = deadline - time.monotonic()
        raise TimeoutError

    def _refuse_early_reply(self, pipe: Pipe) -> None:
        """Make sure that nothing has come which would be taken for the next command's answer."""
        ended = self._poll(pipe)
        if pipe.parser.idle and not ended:
            return
        waiting = pipe.parser.waiting
        self.close()
        shown = syntax.printable(waiting)
        if ended or waiting.startswith(b"421"):  # RFC 5321 s3.8: it may say so at any time
            text = "Connection unexpectedly closed" + (f": {shown}" if waiting else "")
            raise smtplib.SMTPServerDisconnected(text)
        raise ReplyError(f"the server said unasked: {shown}", waiting)

    def _poll(self, pipe: Pipe) -> bool:
        """Take in what has arrived, without waiting; return whether the server has hung up."""
        if pipe.is_quiet():
            return False
        timeout = pipe.sock.gettimeout()
        try:
            pipe.sock.settimeout(0)
            try:
                data = pipe.sock.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False  # a TLS 1.3 ticket makes a socket readable, and says nothing
            finally:
                pipe.sock.settimeout(timeout)
        except OSError:
            return True
        pipe.parser.feed(data)
        return not data

    def _stands(self) -> bool:
        """Tell whether the connection can be used again, as far as that shows without a word."""
        pipe = self._current_pipe()
        if pipe is None or pipe.pid != os.getpid() or pipe.owed or pipe.content:
            return False
        return not self._poll(pipe) and pipe.parser.idle

    def _has_unread_bytes(self) -> bool:
        """Tell whether bytes wait behind the reply just read (RFC 3207 s6)."""
        pipe = self._current_pipe()
        if pipe is None:
            return False
        self._poll(pipe)
        return not pipe.parser.idle

    def _refuse_owed_reply(self) -> None:
        """Refuse to begin a message while the server still owes a reply: an interrupted call."""
        pipe = self._current_pipe()
        if pipe is not None and pipe.owed:
            self.close()
            raise ReplyError(f"the reply to {pipe.owed[0]} was never read; the session is closed")

    def data(self, msg: Any) -> Reply:
        """Send DATA and the content as smtplib does; only 354 opens it, and only 250 accepts it.

        Args:
            msg: content that was checked.

        Raises:
            SMTPDataError: DATA was refused; nothing of the content was sent.
            ReplyError: DATA was answered with neither 354 nor a refusal; the same.
            DeliveryUnknown: the content has left, and the server's answer did not come or says
                neither yes nor no. The session is closed.
        """
        pipe = self._current_pipe()
        try:
            self.putcmd("data")
            code, text = self._reply_to_data()
            if code != 354:
                self._refuse_at_data(code, text)
            self._send_data(msg)
            code, text = self._reply_to_data()
        except smtplib.SMTPServerDisconnected as error:
            if pipe is None or pipe.command != ".":
                raise
            raise DeliveryUnknown(f"the answer to the message did not come: {error}") from error
        if code < 400 and code != 250:
            self.close()
            raise DeliveryUnknown(f"the message was answered with {code}, which is not 250")
        return code, text

    def _reply_to_data(self) -> Reply:
        """Read the reply to DATA or to its content, and show it as smtplib does."""
        reply = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("data:", reply)  # type: ignore[attr-defined]  # smtplib's
        return reply

    def _refuse_at_data(self, code: int, text: bytes) -> NoReturn:
        if code == 421 or code < 400:
            self.close()
        if code < 400:
            raise ReplyError(f"DATA was answered with {code}")
        raise smtplib.SMTPDataError(code, text)

    def _send_data(self, content: Content) -> None:
        """Send content behind the 354: dots stuffed, and the final dot."""
        from requiretls_client import lines

        pipe = self._current_pipe()
        if pipe is not None:
            pipe.stuffed = True
        if not isinstance(content, bytes):
            self._send_content(lines.stuffed(content.blocks()))
        elif len(content) > BLOCK:
            self._send_content(lines.stuffed(lines.blocks(content)))
        else:
            self.send(lines.final(content))

    def _send_content(self, blocks: Iterable[bytes]) -> None:
        """Send content as it comes; each block has the whole timeout (RFC 5321 s4.5.3.2.5).

        Where no more comes, for whatever reason, the connection ends: the server, which waits for
        the rest, then takes nothing (RFC 5321 s3.8).
        """
        sock = self.sock
        assert sock is not None  # noqa: S101 - for the type checker
        timeout = sock.gettimeout()
        try:
            if timeout is None:
                sock.settimeout(PATIENCE_BLOCK)
            for block in blocks:
                self.send(block)
            if timeout is None:
                sock.settimeout(None)
        except BaseException:
            self.close()
            raise


def _tail(s: Any) -> bytes:
    """Return as much of what has left as tells whether the content ends there."""
    return s[-5:].encode("latin-1", "replace") if isinstance(s, str) else bytes(s[-5:])


def _patience(command: str, timeout: float | None) -> float:
    """Return the seconds that a whole reply may take."""
    limit = PATIENCE.get(command, PATIENCE_ELSE) if timeout is None else timeout
    return min(limit, PATIENCE_QUIT) if command == "QUIT" else limit
