"""The policy hosts of the small internet: one HTTPS server on loopback for all domains.

The name in the TLS handshake (SNI) chooses the certificate, the Host field the answer, so that a
client which mixes the two up is found out. Faults of an answer, by the name in zones.Policy:
redirect, missing, html, big, slow, trickle, syntax; of the certificate: expired, misnamed, issuer.
"""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .certificates import RealCA
from .places import POLICIES
from .zones import Policy, Zone

PATH = "/.well-known/mta-sts.txt"
CERTIFICATE_FAULTS = ("expired", "misnamed", "issuer")
BIG = 4 << 20  # octets
PAUSE = 0.05  # seconds between octets of an answer that trickles, and is never idle for long
LONG = 2400  # octets of padding in it, for two minutes
PATIENCE = 120  # seconds that a slow answer takes
ELSEWHERE = "/elsewhere.txt"  # where a redirection leads, on the same host


class PolicyHosts:
    """What was asked of the policy hosts.

    Attributes:
        requests: (Host, request line), in order.
        server_names: the name of every handshake that was begun, None where there was none.
    """

    def __init__(self, policies: dict[str, Policy]) -> None:
        """Answer for `policies`: name of the policy host -> policy."""
        self.policies = policies
        self.requests: list[tuple[str, str]] = []
        self.server_names: list[str | None] = []
        self.stopping = threading.Event()

    def fetches(self, domain: str) -> list[str]:
        """Return the request lines that asked for the policy of `domain`."""
        return [line for host, line in self.requests if host == f"mta-sts.{domain}"]


def text_of(policy: Policy) -> bytes:
    """Return the policy as published (RFC 8461 s3.2)."""
    mx = "".join(f"mx: {pattern}\r\n" for pattern in policy.mx)
    version = "STSv2" if policy.fault == "syntax" else "STSv1"
    return f"version: {version}\r\nmode: {policy.mode}\r\n{mx}max_age: 86400\r\n".encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer with the policy of the host, or with its fault."""
        host = self.headers.get("Host", "").partition(":")[0].lower()
        self.server.hosts.requests.append((host, self.requestline))
        policy = self.server.hosts.policies.get(host)
        if policy is None or self.path not in (PATH, ELSEWHERE):
            self._answer(404, b"not found\r\n")
            return
        text = text_of(policy)
        match policy.fault if self.path == PATH else "":
            case "missing":
                self._answer(404, text)
            case "redirect":
                self._answer(301, text, {"Location": f"https://{host}{ELSEWHERE}"})
            case "html":
                self._answer(200, text, kind="text/html")
            case "big":
                self._answer(200, text + b"x: " + b"y" * BIG)
            case "trickle":
                self._answer(200, text + b"x: " + b"y" * LONG, slowly=True)
            case "slow":
                self.server.hosts.stopping.wait(PATIENCE)
                self._answer(200, text)
            case _:
                self._answer(200, text)

    def _answer(
        self,
        status: int,
        body: bytes,
        fields: dict[str, str] | None = None,
        kind: str = "text/plain",
        slowly: bool = False,
    ) -> None:
        length = {"Content-Type": kind, "Content-Length": str(len(body))}
        self.send_response(status)
        for name, value in {**length, **(fields or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        for position in range(len(body)) if slowly else ():
            self.wfile.write(body[position : position + 1])
            if self.server.hosts.stopping.wait(PAUSE):
                return
        if not slowly:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing on standard error."""


class _Server(http.server.ThreadingHTTPServer):
    """Handshakes in the thread of the connection, never in the one that accepts."""

    daemon_threads = True

    def __init__(self, hosts: PolicyHosts, context: ssl.SSLContext) -> None:
        self.hosts = hosts
        self._context = context
        super().__init__((POLICIES, 443), _Handler)

    def finish_request(self, request, client_address) -> None:
        """Serve one connection; the client may break it off at any time."""
        try:
            with self._context.wrap_socket(request, server_side=True) as connection:
                self.RequestHandlerClass(connection, client_address, self)
        except OSError:
            pass


@contextmanager
def running(ca: RealCA, table: Iterable[Zone]) -> Iterator[PolicyHosts]:
    """Run the policy hosts of all domains in `table` that have a policy."""
    hosts = PolicyHosts({f"mta-sts.{zone.domain}": zone.policy for zone in table if zone.policy})
    server = _Server(hosts, _context(ca, hosts))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hosts
    finally:
        hosts.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _context(ca: RealCA, hosts: PolicyHosts) -> ssl.SSLContext:
    """Return the context that presents to each client what the name it asks for deserves."""
    faulty = {fault: [] for fault in CERTIFICATE_FAULTS}
    good = []
    for host, policy in hosts.policies.items():
        faulty.get(policy.fault, good).append(host)
    contexts = {
        "expired": ca.issue(*faulty["expired"], expired=True).context(),
        "misnamed": ca.issue("elsewhere.test").context(),
        "issuer": ca.issue(*faulty["issuer"], trusted=False).context(),
    }
    special = {name: contexts[fault] for fault, names in faulty.items() for name in names}

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        hosts.server_names.append(name)
        connection.context = special.get(name or "", context)

    default = ca.issue(*good).context()
    default.sni_callback = choose
    return default
