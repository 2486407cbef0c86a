"""No client, but the limit of one: the octets of a message, and nobody looks at the answers.

Writes what PIPELINING, and CHUNKING where it is offered, let a client write at once, and reads as
many lines as there are replies. It checks, encodes, quotes and recovers from nothing, and has no
time-outs: what a client in Python takes over this loop is what it does for its user. Standard
library only.
"""

from __future__ import annotations

import base64
import functools
import socket
import ssl

from adapter import NAME, SENDER, Job, main
from blocking import modes, send, session


class Session:
    """A connection, with TLS where the job has a CA."""

    def __init__(self, job: Job) -> None:
        """Connect."""
        self._sock = socket.create_connection((job["host"], job["port"]))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read(1)
        hello = b"EHLO %s\r\n" % NAME.encode()
        offers = self._extensions(hello)
        if job["cafile"]:
            self._say(b"STARTTLS\r\n", 1)
            self._sock = context(job["cafile"]).wrap_socket(
                self._sock, server_hostname=job["host"]
            )
            offers = self._extensions(hello)
        self.chunking = b"CHUNKING" in offers
        self._prepare(job)

    def _prepare(self, job: Job) -> None:
        """Make the octets of a message, once."""
        content = job["content"]
        lines = [f"MAIL FROM:<{SENDER}> SIZE={len(content)}"]
        lines += [f"RCPT TO:<{recipient}>" for recipient in job["recipients"]]
        self._replies = len(lines) + 1
        envelope = "".join(f"{line}\r\n" for line in lines).encode()
        if self.chunking:
            self._flight = b"%sBDAT %d LAST\r\n%s" % (envelope, len(content), content)
            self._content = b""
        else:
            self._flight = envelope + b"DATA\r\n"
            self._content = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"

    def _extensions(self, hello: bytes) -> bytes:
        self._sock.sendall(hello)
        found = self._sock.recv(4096)
        while not found.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2].startswith(b"250 "):
            found += self._sock.recv(4096)
        return found

    def _read(self, count: int) -> None:
        while count > 0:
            count -= self._sock.recv(4096).count(b"\n")

    def _say(self, octets: bytes, replies: int) -> None:
        self._sock.sendall(octets)
        self._read(replies)

    def login(self, user: str, password: str) -> None:
        """Log in by PLAIN."""
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        self._say(b"AUTH PLAIN %s\r\n" % secret, 1)

    def sendmail(self, *_: object) -> None:
        """Send the message, and wait for the answer."""
        self._say(self._flight, self._replies)
        if self._content:
            self._say(self._content, 1)

    def send_all(self, count: int) -> None:
        """Send messages, the content of one with the envelope of the next."""
        self._say(self._flight, self._replies)
        for _ in range(count - 1):
            self._say(self._content + self._flight, 1 + self._replies)
        self._say(self._content, 1)

    def quit(self) -> None:
        """Say QUIT, and do not wait."""
        self._sock.sendall(b"QUIT\r\n")
        self._sock.close()

    def __enter__(self) -> Session:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.quit()


@functools.cache
def context(cafile: str) -> ssl.SSLContext:
    """Return a context that verifies, the same for all connections."""
    return ssl.create_default_context(cafile=cafile)


def send_messages(one: Session, job: Job, count: int) -> None:
    """Send messages in as few flights as the server allows."""
    if one.chunking:
        send(one, job, count)
    else:
        one.send_all(count)


if __name__ == "__main__":
    main({**modes(Session), "send_messages": functools.partial(session, Session, send_messages)})
