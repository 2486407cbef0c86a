"""An HTTPS server for MTA-STS policies, good ones and hostile ones, on loopback.

The name in the TLS handshake (SNI) chooses a :class:`Site`: its certificate, and the bytes that
it answers with, whole or piece by piece. The server keeps what it was asked.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from requiretls_client.testing import CA, Certificate

SILENCE = object()  # takes everything and never answers


def policy(*mx: str, mode: str = "enforce", max_age: int = 86400) -> bytes:
    """Return the text of a policy."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {each}" for each in mx)]
    return "".join(f"{line}\r\n" for line in [*lines, f"max_age: {max_age}"]).encode()


def answer(
    body: bytes = b"", status: str = "200 OK", kind: str | None = "text/plain", **headers: str
) -> bytes:
    """Return an HTTP answer; a keyword such as ``cache_control`` is a header, None drops one."""
    fields = {"Content-Type": kind, "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode() + body


def packed(body: bytes) -> bytes:
    """Return an answer that is encoded with gzip, which nobody asked for."""
    return answer(gzip.compress(body), content_encoding="gzip")


@dataclass(frozen=True, slots=True)
class Drip:
    """Sends ``data`` at once, and ``slowly`` octet by octet, ``pause`` seconds apart."""

    data: bytes
    slowly: bytes
    pause: float = 0.05


@dataclass(frozen=True, slots=True)
class Endless:
    """Sends ``data`` once and ``again`` for as long as the client takes it."""

    data: bytes
    again: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """One policy host.

    Attributes:
        answer: what it sends behind each request.
        certificate: what it presents.
        ragged: it breaks the connection off instead of ending TLS properly.
    """

    answer: bytes | Drip | Endless | object
    certificate: Certificate
    ragged: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent: the SNI name, ``GET``, the target, and headers by their lower name."""

    sni: str | None
    method: str
    path: str
    headers: dict[str, str]


@functools.cache
def certificate_for(ca: CA, *names: str) -> Certificate:
    """Return a good certificate; made once."""
    return ca.issue(*names)


class PolicyServer:
    """The server; a context manager.

    Attributes:
        sites: policy host -> its site; may be changed while the server runs.
        requests: what was asked, in order.
        connections: how many were accepted, whatever became of them.
    """

    def __init__(self, *, address: str = "127.0.0.1", instead_of_tls: object = None) -> None:
        """Listen on a free port.

        Args:
            address: where to listen.
            instead_of_tls: what to send to each connection instead of a handshake, as the
                ``answer`` of a site.
        """
        self.sites: dict[str, Site] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self._instead = instead_of_tls
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((address, 0))
        self.address, self.port = self._listener.getsockname()[:2]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.sni_callback = self._choose
        self._contexts: dict[Certificate, ssl.SSLContext] = {}
        self._start(self._accept)

    def __enter__(self) -> PolicyServer:
        """Return the server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Break every connection off and wait for the threads."""
        self._stopped.set()
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's would end TLS
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def add(self, host: str, answer: object, certificate: Certificate, *, ragged=False) -> None:
        """Add a site."""
        self.sites[host] = Site(answer, certificate, ragged)

    def wait_idle(self) -> None:
        """Wait until every connection has ended; the clients close them first."""
        for thread in self._threads[1:]:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), raw:
            raw.settimeout(30)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._instead is not None:
                for piece in self._pieces(self._instead):
                    raw.sendall(piece)
                return
            with self._context.wrap_socket(raw, server_side=True) as sock:
                self._open.add(sock)
                self._converse(sock)
                self._open.discard(sock)
        self._open.discard(raw)

    def _converse(self, sock: ssl.SSLSocket) -> None:
        request = _read_request(sock)
        if request is None:
            return
        self.requests.append(request)
        site = self.sites[request.sni]
        for piece in self._pieces(site.answer):
            sock.sendall(piece)
        if not site.ragged:
            sock.settimeout(5)
            sock.unwrap()

    def _pieces(self, answer: object) -> Iterator[bytes]:
        if answer is SILENCE:
            self._stopped.wait(30)
        elif isinstance(answer, bytes):
            yield answer
        elif isinstance(answer, Endless):
            yield answer.data
            while not self._stopped.is_set():
                yield answer.again
        else:
            yield answer.data
            for octet in answer.slowly:
                if self._stopped.wait(answer.pause):
                    return
                yield bytes([octet])

    def _choose(self, sock: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        site = self.sites.get(name)
        if site is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if site.certificate not in self._contexts:
            self._contexts[site.certificate] = site.certificate.context()
        sock.context = self._contexts[site.certificate]
        sock.policy_host = name
        return None


def _read_request(sock: ssl.SSLSocket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        received = sock.recv(4096)
        if not received:
            return None
        data += received
    first, *lines = data.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    method, path, _ = first.split(" ")
    return Request(sock.policy_host, method, path, dict(_headers(lines)))


def _headers(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()
