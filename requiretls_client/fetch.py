"""The HTTPS fetch of an MTA-STS policy, as RFC 8461 section 3.3 wants it.

Does I/O, judges nothing about the policy. What requests does by itself is unsafe here: it follows
redirects (and reads the body of one that it does not follow), inflates whatever it is sent, has
no limit on the whole, and listens to the environment (proxies, netrc, CA bundles). So only its
lowest layer is used: one prepared request on an adapter, over a connection that was dialled here
to an address that the caller has checked. Nothing here asks the DNS, and nothing is cached.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection

from requiretls_client import tls
from requiretls_client.syntax import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BODY = 64 * 1024  # octets, after decoding: RFC 8461 s3.3
MAX_ANSWER = 512 * 1024  # octets: header, interim answers and the overhead of small chunks too
PATH = "/.well-known/mta-sts.txt"

_HEADERS = {
    "User-Agent": "requiretls-client",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError,
            ValueError)  # fmt: skip


class FetchError(OSError):
    """The policy could not be fetched; the text is for people.

    Attributes:
        kind: ``timeout``, ``tls``, ``status`` (not 200), ``type`` (not text/plain, or a coding
            that was not asked for), ``size``, or ``network`` (all else).
    """

    def __init__(self, text: str, kind: str = "network") -> None:
        """Carry what happened."""
        super().__init__(text)
        self.kind = kind


def fetch_policy(
    domain: str,
    addresses: Sequence[str],
    context: ssl.SSLContext,
    *,
    timeout: float = 60.0,
    port: int = 443,
) -> bytes:
    """Return what ``https://mta-sts.<domain>/.well-known/mta-sts.txt`` holds.

    RFC 8461 sections 3.2, 3.3 and 7.1. One request: nothing is followed or tried again. Only the
    connection is tried at one address after the other, until a certificate is seen.

    Args:
        domain: the policy domain, A-labels.
        addresses: IP addresses of the policy host that may be connected to, in that order.
        context: verifies chain and name. It is used as it is and not changed, so that threads
            can share it.
        timeout: seconds for everything together.
        port: TCP port.

    Returns:
        The body, decoded, at most 64 KiB.

    Raises:
        FetchError: whatever went wrong.
    """
    host = f"mta-sts.{domain}"
    deadline = time.monotonic() + timeout
    sock = _dial(host, addresses, port, context, deadline)
    with sock:
        stream = _Stream(sock, host, deadline)
        try:
            return _get(host, port, stream)
        except FetchError:
            raise
        except _FOREIGN as error:
            raise stream.problem or _unreadable(host, error) from error


# -- the connection ------------------------------------------------------------------------------


def _dial(
    host: str, addresses: Sequence[str], port: int, context: ssl.SSLContext, deadline: float
) -> ssl.SSLSocket:
    """Return a verified connection to the first address that gives one.

    Each address has its share of the time that is left, so that one that swallows packets leaves
    some for the next. A certificate that does not verify ends it: that is an answer.
    """
    problem = FetchError(f"{host} has no address to connect to")
    for number, address in enumerate(addresses):
        try:
            share = _left(deadline) / (len(addresses) - number)
            return _connect(host, address, port, context, time.monotonic() + share)
        except FetchError:
            raise
        except ssl.SSLCertVerificationError as error:
            why = printable(error.verify_message)
            text = f"the certificate of {host} was not verified: {why}"
            raise FetchError(text, "tls") from error
        except OSError as error:
            problem = _unreachable(host, address, error)
    raise problem


def _connect(
    host: str, address: str, port: int, context: ssl.SSLContext, deadline: float
) -> ssl.SSLSocket:
    version = ipaddress.ip_address(address).version  # a name would make connect() ask the DNS
    with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else one more round trip
        raw.settimeout(_left(deadline))
        raw.connect((address, port))
        raw.settimeout(_left(deadline))
        sock, facts = tls.wrap(context, raw, host)  # which leaves raw empty
    nameless = facts.common_name_allowed and "DNS" not in facts.san_kinds  # RFC 8461 s3.3: no CN
    if not (facts.verify_required and facts.check_hostname) or nameless:
        sock.close()
        raise FetchError(f"the SSL context did not verify the name of {host}", "tls")
    return sock


def _unreachable(host: str, address: str, error: OSError) -> FetchError:
    where, why = f"{host} ({address})", printable(str(error))
    if isinstance(error, TimeoutError):
        problem = FetchError(f"the connection to {where} took too long", "timeout")
    elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        problem = FetchError(f"the TLS handshake with {where} failed: {why}", "tls")
    else:
        problem = FetchError(f"there is no connection to {where}: {why}")
    problem.__cause__ = error
    return problem


def _left(deadline: float) -> float:
    """Return the seconds that are left, more than 0."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


# -- HTTP ----------------------------------------------------------------------------------------


class _Stream(io.RawIOBase):
    """The connected socket as http.client uses one, with a limit on its time and on its size.

    A time-out of a socket is for one read: a server that sends an octet each second defeats it.

    Attributes:
        problem: which limit was exceeded; requests would wrap it beyond recognition.
    """

    def __init__(self, sock: ssl.SSLSocket, host: str, deadline: float) -> None:
        # RFC 9112 s9.8: without its length, only a proper end of TLS ends an answer.
        sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # not in typeshed
        self._sock, self._host, self._deadline = sock, host, deadline
        self._room = MAX_ANSWER
        self.problem: FetchError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            self._sock.settimeout(_left(self._deadline))
            count = self._sock.recv_into(buffer)
        except TimeoutError:
            self.problem = FetchError(f"the answer of {self._host} took too long", "timeout")
            raise
        self._room -= count
        if self._room < 0:
            self.problem = _too_long(self._host)
            raise self.problem
        return count

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, _mode: str, *_options: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def settimeout(self, _timeout: float | None) -> None:
        """Ignore the time-outs of urllib3."""

    def close(self) -> None:
        """Leave that to fetch_policy(): http.client closes its socket before it has read all."""


class _Connection(HTTPSConnection):
    """A connection that was made before."""

    def __init__(self, *arguments: Any, stream: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stream = stream

    def connect(self) -> None:
        self.sock = self._stream
        self.is_verified = True


class _Adapter(HTTPAdapter):
    """Sends every request over the one connection."""

    def __init__(self, host: str, port: int, stream: _Stream) -> None:
        super().__init__()
        self._only = urllib3.HTTPSConnectionPool(host, port, stream=stream)
        self._only.ConnectionCls = _Connection

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> urllib3.HTTPSConnectionPool:
        return self._only

    def get_connection(self, *_: Any, **__: Any) -> urllib3.HTTPSConnectionPool:
        return self._only  # requests before 2.32.2 asks here

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Load no certificates: the handshake is over."""


def _get(host: str, port: int, stream: _Stream) -> bytes:
    """Make the one request and return the body of a good answer."""
    where = host if port == 443 else f"{host}:{port}"
    request = requests.Request("GET", f"https://{where}{PATH}", headers=_HEADERS).prepare()
    response = _Adapter(host, port, stream).send(request, stream=True)
    if response.status_code != 200:
        raise FetchError(f"{host} answered with the status {response.status_code}", "status")
    kind = response.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() != "text/plain":
        shown = printable(kind, 60) or "nothing"
        raise FetchError(f"{host} calls its policy '{shown}', not text/plain", "type")
    response.raw.enforce_content_length = True  # not the default of urllib3 1.26
    body = b""
    # The read behind the last octet tells whether it was the last.
    while piece := response.raw.read(MAX_BODY + 1 - len(body), decode_content=False):
        body += piece
        if len(body) > MAX_BODY:
            raise _too_long(host)
    return _decode(host, body, response.headers.get("Content-Encoding", "identity"))


def _decode(host: str, body: bytes, coding: str) -> bytes:
    """Undo gzip, which some hosts apply whatever they are asked for, up to the limit."""
    coding = coding.strip().lower()
    if coding in ("identity", ""):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise FetchError(f"{host} encoded its policy with '{printable(coding, 60)}'", "type")
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = inflater.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise FetchError(f"{host} sent broken gzip: {printable(str(error))}") from error
    if len(text) > MAX_BODY:
        raise _too_long(host)
    if not inflater.eof:
        raise FetchError(f"{host} sent gzip that ends too early")
    return text


def _too_long(host: str) -> FetchError:
    return FetchError(f"{host} sent more than {MAX_BODY // 1024} KiB", "size")


def _unreadable(host: str, error: BaseException) -> FetchError:
    """Say it in the words of the error at the bottom; those above it only wrap it."""
    while error.__context__ is not None:
        error = error.__context__
    why = printable(f"{type(error).__name__}: {error}")
    return FetchError(f"{host} gave no HTTP answer that can be read: {why}")
