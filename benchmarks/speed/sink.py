"""An SMTP server that takes everything, checks it, and counts. Standard library only.

usage: python -m speed.sink JSON

The JSON has ``host``, ``chunking`` (offer it), ``certificate`` (PEM file with the key) and
``namespace`` (file of the network namespace to serve in, or null). Prints its port, then answers
each line on its standard input with one line of JSON, and ends with its standard input::

    {"content": PATH}   from now on every message has to be this one
    {"collect": true}   the counters since the last time, once all connections have ended

One thread a connection. It is fast because it does little: no line is looked at twice, replies
are sent when there is nothing more to read, and content is compared in slices as it comes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed import network

RECORD, PLAIN_READ = 1 << 14, 1 << 18  # octets; TLS never gives more than one record
OPEN_FOR = 10.0  # seconds that a connection may outlive its client
_BDAT = re.compile(rb"BDAT (\d+)( LAST)?", re.IGNORECASE)
_OK, _ENDED = b"250 2.0.0 ok\r\n", b"221 2.0.0 bye\r\n"
Counters = dict[str, int]


class Sink:
    """What the connections have in common."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Get ready; serves nobody yet."""
        self.chunking = options["chunking"]
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(options["certificate"])
        self.content = self.stuffed = b""
        self._ended = threading.Condition()
        self._open = 0
        self._counters = dict.fromkeys(COUNTED, 0)
        self._cpu = time.process_time()

    def serve(self, listener: socket.socket) -> None:
        """Take connections for ever."""
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._ended:
                self._open += 1
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        session = Session(sock, self)
        try:
            session.run()
        except (EOFError, OSError):
            pass
        finally:
            session.sock.close()
            with self._ended:
                self._open -= 1
                for name, count in session.counters.items():
                    self._counters[name] += count
                self._ended.notify_all()

    def expect(self, path: str) -> dict[str, Any]:
        """Take the content that every message is to have."""
        self.content = Path(path).read_bytes()
        self.stuffed = self.content.replace(b"\r\n.", b"\r\n..")
        return {}

    def collect(self) -> dict[str, Any]:
        """Return the counters, and the CPU seconds spent, since the last time."""
        with self._ended:
            if not self._ended.wait_for(lambda: not self._open, OPEN_FOR):
                return {"error": "a connection was left open"}
            found = dict(self._counters)
            self._counters = dict.fromkeys(COUNTED, 0)
        before, self._cpu = self._cpu, time.process_time()
        return {**found, "cpu": self._cpu - before}


class Session:
    """One connection."""

    def __init__(self, sock: socket.socket, sink: Sink) -> None:
        """Begin before the greeting."""
        self.sock = sock
        self.counters: Counters = dict.fromkeys(COUNTED, 0)
        self._sink = sink
        self._in = bytearray()
        self._out: list[bytes] = []
        self._tls = False
        self._matched = 0  # octets of this message so far; -1 once one was wrong

    def run(self) -> None:
        """Serve until QUIT, or until the client goes (EOFError, OSError)."""
        self.counters["connections"] = 1
        self._out.append(b"220 sink.test ESMTP\r\n")
        while True:
            line = self._line()
            verb = line[:4].upper()
            if verb == b"QUIT":
                self._out.append(_ENDED)
                self.sock.sendall(b"".join(self._out))
                return
            VERBS.get(verb, Session._unknown)(self, line)

    # -- reading -------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Send the replies that are due, and wait for more."""
        if self._out:
            self.sock.sendall(b"".join(self._out))
            self._out.clear()
            self.counters["waits"] += 1
        part = self.sock.recv(RECORD if self._tls else PLAIN_READ)
        if not part:
            raise EOFError
        self._in += part

    def _line(self) -> bytes:
        while (end := self._in.find(b"\r\n")) < 0:
            self._fill()
        line = bytes(self._in[:end])
        del self._in[: end + 2]
        return line

    def _take(self, count: int, expected: bytes) -> None:
        """Take octets of content and compare them."""
        at = self._matched
        if at >= 0:
            same = self._in[:count] == expected[at : at + count]
            self._matched = at + count if same else -1
        del self._in[:count]

    def _end_message(self, expected: bytes) -> None:
        self.counters["messages"] += 1
        self.counters["intact"] += self._matched == len(expected)
        self._matched = 0
        self._out.append(_OK)

    # -- commands ------------------------------------------------------------------------------

    def _ehlo(self, line: bytes) -> None:
        offers = [b"sink.test", b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES"]
        offers += [b"SIZE 1073741824", b"AUTH PLAIN LOGIN"]
        offers += [b"CHUNKING"] if self._sink.chunking else []
        offers += [b"REQUIRETLS" if self._tls else b"STARTTLS"]
        self._out += [b"250-%s\r\n" % offer for offer in offers[:-1]]
        self._out.append(b"250 %s\r\n" % offers[-1])

    def _starttls(self, line: bytes) -> None:
        self.sock.sendall(b"220 2.0.0 go ahead\r\n")
        self.sock = self._sink.tls.wrap_socket(self.sock, server_side=True)
        self._in.clear()
        self._tls = True

    def _auth(self, line: bytes) -> None:
        if line.count(b" ") < 2:
            self._out.append(b"334 \r\n")
            self._line()
        self._out.append(b"235 2.7.0 welcome\r\n")

    def _mail(self, line: bytes) -> None:
        self.counters["requiretls"] += self._tls and b" REQUIRETLS" in line.upper()
        self._out.append(_OK)

    def _rcpt(self, line: bytes) -> None:
        self.counters["recipients"] += 1
        self._out.append(_OK)

    def _data(self, line: bytes) -> None:
        self._out.append(b"354 go ahead\r\n")
        expected = self._sink.stuffed
        while (end := self._in.find(b"\r\n.\r\n")) < 0:
            if len(self._in) > 4:
                self._take(len(self._in) - 4, expected)
            self._fill()
        self._take(end + 2, expected)
        del self._in[:3]
        self._end_message(expected)

    def _bdat(self, line: bytes) -> None:
        found = _BDAT.fullmatch(line)
        if not found or not self._sink.chunking:
            return self._unknown(line)
        left = int(found[1])
        while left:
            if not self._in:
                self._fill()
            count = min(left, len(self._in))
            self._take(count, self._sink.content)
            left -= count
        if found[2]:
            self.counters["chunked"] += 1
            return self._end_message(self._sink.content)
        self._out.append(_OK)

    def _ok(self, line: bytes) -> None:
        self._out.append(_OK)

    def _unknown(self, line: bytes) -> None:
        self._out.append(b"500 5.5.2 what?\r\n")


COUNTED = (
    "connections", "messages", "intact", "recipients", "requiretls", "chunked", "waits",
)  # fmt: skip
VERBS: dict[bytes, Callable[[Session, bytes], None]] = {
    b"EHLO": Session._ehlo,
    b"HELO": Session._ok,
    b"STAR": Session._starttls,
    b"AUTH": Session._auth,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._data,
    b"BDAT": Session._bdat,
    b"RSET": Session._ok,
    b"NOOP": Session._ok,
}


def main(options: dict[str, Any]) -> None:
    """Serve, and answer on standard output."""
    if options["namespace"]:
        network.enter(options["namespace"])
    sink = Sink(options)
    listener = socket.create_server((options["host"], 0), backlog=64)
    threading.Thread(target=sink.serve, args=(listener,), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        answer = sink.expect(order["content"]) if "content" in order else sink.collect()
        print(json.dumps(answer), flush=True)
    os._exit(0)  # whatever the connections are doing


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
