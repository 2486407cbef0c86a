"""A name server for tests: real UDP and TCP (or TLS) on loopback, and it can misbehave.

``with NameServer({("example.net", "MX"): reply("10 mx.example.net.", secure=True)}) as server:``
answers as a validating resolver with these data would: it follows CNAMEs, tells NODATA from
NXDOMAIN, and sets AD only when every part of the answer is secure and the query asked for it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from requiretls_client.testing.certificates import Certificate

_TICK = 0.02  # seconds between the octets of a dripping answer


@dataclass(frozen=True)
class Reply:
    """What the server says to one question.

    Attributes:
        records: RDATA in presentation format, sent in this order; none is NODATA, or what
            ``rcode`` says.
        rcode: such as ``SERVFAIL``.
        secure: the data are signed and validated.
        ede: code and text of an Extended DNS Error.
        first: what is sent over UDP before: ``wrong id``, ``wrong question``, ``garbage``,
            ``query`` (the question itself), ``elsewhere`` (a forged answer of another socket).
        extra: whole records (``name ttl class type rdata``) that do not belong to the answer.
        flags: whole flags word instead of the right one, without AD, QR included.
        delay: seconds to wait.
        silent: say nothing.
        truncated: over UDP say only that the answer is too long.
        raw: these octets behind the ID instead of an answer.
        tcp: ``answer``, ``close``, ``silent``, ``drip`` (for ever), ``truncated`` or
            ``wrong id``.
    """

    records: tuple[str, ...] = ()
    rcode: str = "NOERROR"
    secure: bool = False
    ede: tuple[int, str] | None = None
    first: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    flags: int | None = None
    delay: float = 0.0
    silent: bool = False
    truncated: bool = False
    raw: bytes | None = None
    tcp: str = "answer"


def reply(*records: str, **options) -> Reply:
    """Return a reply with these records."""
    return Reply(records, **options)


@dataclass(frozen=True)
class Query:
    """One query that arrived."""

    name: str
    rdtype: str
    transport: str
    id: int
    port: int
    rd: bool
    ad: bool
    cd: bool
    do: bool
    payload: int


class NameServer:
    """The server; it runs from ``with`` to the end of it.

    Attributes:
        address: IP address that it listens on.
        port: UDP and TCP port, a free one.
        queries: every query, in the order of arrival.
    """

    def __init__(
        self,
        zone: Mapping[tuple[str, str], Reply | Sequence[Reply]],
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        certificate: Certificate | None = None,
    ) -> None:
        """Describe the server.

        Args:
            zone: (name, type) -> reply, or several for one question after another; the last
                stays. The name ``*`` stands for all that are not there.
            address: IPv4 or IPv6 address to listen on.
            port: 0 takes a free one.
            certificate: speak TLS on the TCP port, with this one.
        """
        self.zone = zone
        self.queries: list[Query] = []
        self._turns: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._context = certificate.context() if certificate else None
        self._stop, self._wake = socket.socketpair()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.address = address
        self._udp, self._tcp = _bind(address, port)
        self.port = self._tcp.getsockname()[1]

    def __enter__(self) -> NameServer:
        """Start to answer."""
        self._start(self._serve)
        return self

    def __exit__(self, *exception: object) -> None:
        """End, and wait for all that is still under way."""
        self._ended.set()
        self._wake.send(b"x")
        while self._threads:
            self._threads.pop().join(5)
        for sock in (self._udp, self._tcp, self._stop, self._wake):
            sock.close()

    def asked(self) -> list[tuple[str, str]]:
        """Return (name, type) of every query, in the order of arrival."""
        return [(query.name, query.rdtype) for query in self.queries]

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        """Take what arrives until the end."""
        with selectors.DefaultSelector() as selector:
            for sock in (self._udp, self._tcp, self._stop):
                selector.register(sock, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select():
                    if key.fileobj is self._udp:
                        self._serve_datagram()
                    elif key.fileobj is self._tcp:
                        self._start(self._serve_stream, self._tcp.accept()[0])

    def _serve_datagram(self) -> None:
        with contextlib.suppress(OSError):  # an ICMP error to an earlier answer
            data, peer = self._udp.recvfrom(65535)
            query, said = self._take(data, "udp", peer)
            if said.delay:
                self._start(self._answer_datagram, query, said, peer)
            else:
                self._answer_datagram(query, said, peer)

    def _answer_datagram(self, query, said, peer) -> None:
        if said.silent or self._ended.wait(said.delay):
            return
        for kind in said.first:
            self._mislead(kind, query, peer)
        wire = self._wire(query, said, cut=said.truncated)
        self._udp.sendto(wire, peer)

    def _mislead(self, kind, query, peer) -> None:
        """Send what a client must pass over: a forged address, under a wrong sign."""
        forged = dns.message.make_response(query, recursion_available=True)
        asked = query.question[0]
        owner = asked.name
        if kind == "wrong question":
            owner = dns.name.from_text("forged.example")
            forged.question = [dns.rrset.RRset(owner, asked.rdclass, asked.rdtype)]
        forged.answer = [dns.rrset.from_text(owner, 300, "IN", "A", "192.0.2.66")]
        if kind in ("wrong id", "garbage"):
            forged.id ^= 1
        wire = forged.to_wire()
        if kind == "garbage":
            wire = forged.id.to_bytes(2, "big") + b"\x81\x80" + b"\xff" * 40
        elif kind == "query":
            wire = query.to_wire()
        if kind == "elsewhere":
            with socket.socket(self._udp.family, socket.SOCK_DGRAM) as other:
                other.sendto(wire, peer)
        else:
            self._udp.sendto(wire, peer)

    def _serve_stream(self, sock: socket.socket) -> None:
        transport = "tls" if self._context else "tcp"
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, EOFError))
            stack.callback(sock.close)
            sock.settimeout(5)
            peer = sock.getpeername()
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
                stack.callback(sock.close)
            while True:
                size = int.from_bytes(_exactly(sock, 2), "big")
                query, said = self._take(_exactly(sock, size), transport, peer)
                self._answer_stream(sock, query, said)

    def _answer_stream(self, sock, query, said) -> None:
        if said.tcp == "close":
            raise EOFError
        if self._ended.wait(said.delay) or said.silent or said.tcp == "silent":
            return
        wire = self._wire(query, said, cut=said.tcp == "truncated")
        if said.tcp == "wrong id":
            wire = (query.id ^ 1).to_bytes(2, "big") + wire[2:]
        data = len(wire).to_bytes(2, "big") + wire
        if said.tcp == "drip":
            for octet in (len(wire) + 60000).to_bytes(2, "big") + wire + bytes(60000):
                sock.sendall(bytes([octet]))
                if self._ended.wait(_TICK):
                    return
        sock.sendall(data)

    def _take(self, data, transport, peer):
        """Log the query; returns it, and what to say to it."""
        query = dns.message.from_wire(data)
        asked = query.question[0]
        name = asked.name.to_text().removesuffix(".").lower()
        rdtype = dns.rdatatype.to_text(asked.rdtype)
        flags = query.flags
        with self._lock:
            self.queries.append(
                Query(
                    name=name,
                    rdtype=rdtype,
                    transport=transport,
                    id=query.id,
                    port=peer[1],
                    rd=bool(flags & dns.flags.RD),
                    ad=bool(flags & dns.flags.AD),
                    cd=bool(flags & dns.flags.CD),
                    do=bool(query.ednsflags & dns.flags.DO),
                    payload=query.payload if query.edns >= 0 else 0,
                )
            )
            return query, self._next(name, rdtype) or Reply()

    def _next(self, name: str, rdtype: str) -> Reply | None:
        """Return the reply whose turn it is, or None when the zone has none."""
        key = (name, rdtype) if (name, rdtype) in self.zone else ("*", rdtype)
        if key[0] == "*" and any(known == name for known, _ in self.zone):
            return None
        found = self.zone.get(key)
        if found is None or isinstance(found, Reply):
            return found
        turn = self._turns[key] = self._turns.get(key, -1) + 1
        return found[min(turn, len(found) - 1)]

    def _wire(self, query, said, *, cut: bool) -> bytes:
        """Return the answer to the query, or ``raw``."""
        if said.raw is not None:
            return query.id.to_bytes(2, "big") + said.raw
        response = dns.message.make_response(query, recursion_available=True)
        secure = self._fill(response, query.question[0], said)
        if said.flags is not None:
            response.flags = dns.flags.Flag(said.flags)
        if secure and (query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO):
            response.flags |= dns.flags.AD  # RFC 6840 s5.8
        if cut:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65535, want_shuffle=False)

    def _fill(self, response, asked, said) -> bool:
        """Put the answer in, CNAMEs followed; returns whether all of it is secure."""
        secure = said.secure
        owner = asked.name
        rdtype = dns.rdatatype.to_text(asked.rdtype)
        name = owner.to_text().removesuffix(".").lower()
        if self._next_is_missing(name, rdtype):
            for _ in range(20):  # a loop goes around more often than any client follows
                link = self.zone.get((name, "CNAME"))
                if not isinstance(link, Reply) or rdtype == "CNAME":
                    break
                secure = link.secure if owner is asked.name else secure and link.secure
                response.answer.append(
                    dns.rrset.from_text(owner, 300, "IN", "CNAME", *link.records)
                )
                owner = dns.name.from_text(link.records[0])
                name = owner.to_text().removesuffix(".").lower()
            if owner is not asked.name:
                said = self._next(name, rdtype) or Reply()
                secure = secure and said.secure
        if said.records:
            response.answer.append(dns.rrset.from_text(owner, 300, "IN", rdtype, *said.records))
        elif said.rcode == "NOERROR" and not self._exists(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for line in said.extra:
            response.answer.append(dns.rrset.from_text(*line.split(None, 4)))
        if said.rcode != "NOERROR":
            response.set_rcode(dns.rcode.from_text(said.rcode))
        if said.ede:
            response.use_edns(options=[dns.edns.EDEOption(*said.ede)])
        return secure

    def _next_is_missing(self, name: str, rdtype: str) -> bool:
        return (name, rdtype) not in self.zone and (name, "CNAME") in self.zone

    def _exists(self, name: str) -> bool:
        """Tell whether the name, or one below it, has records of any type."""
        return any(known in (name, "*") or known.endswith(f".{name}") for known, _ in self.zone)


def _bind(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket on one port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(20):
        tcp = socket.create_server((address, port), family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((address, tcp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp
    raise OSError("no port is free for UDP and TCP")


def _exactly(sock: socket.socket | ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
