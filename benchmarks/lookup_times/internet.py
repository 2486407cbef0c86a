"""A validating DNS server and a policy host behind a link with a round trip of its own.

usage: python -m lookup_times.internet SECONDS CERTIFICATE

Prints its ports as JSON and ends with its standard input. Each DNS answer leaves SECONDS after
its question, however many others are under way. The policy host is reached through a TCP relay
that holds back for SECONDS each piece on its way to the client, and everything that the client
sends in the first SECONDS until they are over: the round trip of the TCP handshake, which loopback
does not take. So a fetch with TLS 1.3 takes three round trips (TCP, TLS, GET), as over a real link.
All the delay is in one direction because the client cannot tell, and each timer is up to 1 ms
late. Both servers are there without delay too, for the measurements of CPU time.
"""

from __future__ import annotations

import asyncio
import collections
import json
import socket
import ssl
import sys
from typing import cast

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"
POLICY = "version: STSv1\r\nmode: enforce\r\nmx: *.test\r\nmax_age: 604800\r\n"
POLICY_ID = "20261124T000000"
_TLSA = ["3 1 1 " + "ab" * 32, "3 1 1 " + "cd" * 32]
_BUFFER = 8 << 20  # octets; a burst of questions must not be lost in the kernel


class NameServer(asyncio.DatagramProtocol):
    """Answers for every name below .test, secure (AD), ``delay`` seconds after the question."""

    def __init__(self, delay: float) -> None:
        """Remember the delay."""
        self._delay = delay
        self._answers: dict[bytes, bytes] = {}  # both without ID

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._loop = asyncio.get_running_loop()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one question."""
        made = self._answers.get(data[2:])
        if made is None:
            made = self._answers[data[2:]] = _answer(data)[2:]
        reply = data[:2] + made
        if self._delay:
            self._loop.call_later(self._delay, self._transport.sendto, reply, address)
        else:
            self._transport.sendto(reply, address)


def _answer(wire: bytes) -> bytes:
    """Return the answer to a query: two MX hosts of the domain, A, TLSA and a policy id; no AAAA.

    The MX hosts of a domain that begins with "hosted" are in another zone.
    """
    query = dns.message.from_wire(wire)
    name, rdtype = query.question[0].name, query.question[0].rdtype
    zone = "mail.test." if name.labels[0].startswith(b"hosted") else name.to_text()
    records = {
        dns.rdatatype.MX: [f"10 mx1.{zone}", f"20 mx2.{zone}"],
        dns.rdatatype.A: [HOST],
        dns.rdatatype.TXT: [f'"v=STSv1; id={POLICY_ID};"'],
        dns.rdatatype.TLSA: _TLSA,
    }.get(rdtype)
    answer = dns.message.make_response(query, recursion_available=True)
    answer.flags |= dns.flags.AD
    if records:
        answer.answer.append(dns.rrset.from_text(name, 300, "IN", rdtype, *records))
    return answer.to_wire()


class End(asyncio.Protocol):
    """One end of a relayed connection; what it receives leaves at the ``other`` end later.

    Args:
        delay: seconds from here to the other end.
        hold: seconds, from the beginning, before which nothing gets there.
    """

    def __init__(self, delay: float, hold: float) -> None:
        """Remember the delay."""
        self.other: End | None = None
        self._delay, self._hold = delay, hold
        self._under_way: collections.deque[bytes] = collections.deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self._until = self._loop.time() + self._hold

    def data_received(self, data: bytes) -> None:
        """Pass on a piece, or that the connection is over (an empty one)."""
        self._under_way.append(data)
        self._loop.call_at(max(self._loop.time() + self._delay, self._until), self._arrive)

    def connection_lost(self, error: Exception | None) -> None:
        """Pass the end on."""
        self.data_received(b"")

    def _arrive(self) -> None:
        data = self._under_way.popleft()  # in order, whichever timer fires first
        if data and self.other and not self.other.transport.is_closing():
            self.other.transport.write(data)
        elif not data and self.other:
            self.other.transport.close()


class ClientEnd(End):
    """The end that a client connected to; it connects the other one to ``port``."""

    def __init__(self, round_trip: float, port: int) -> None:
        """Remember where to connect to."""
        super().__init__(0.0, hold=round_trip)
        self._round_trip, self._port = round_trip, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and connect the other end, long before the first piece is due there."""
        super().connection_made(transport)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        far = End(self._round_trip, hold=0.0)
        far.other = self
        await self._loop.create_connection(lambda: far, HOST, self._port)
        self.other = far


async def _serve_policy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(POLICY)}"
        writer.write(f"{head}\r\nConnection: close\r\n\r\n{POLICY}".encode())
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass  # the client is gone
    finally:
        writer.close()


async def _name_server(delay: float) -> int:
    """Start a name server; returns its port."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(delay), local_addr=(HOST, 0)
    )
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return int(sock.getsockname()[1])


async def main(round_trip: float, certificate: str) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    web = await asyncio.start_server(_serve_policy, HOST, 0, ssl=context, backlog=512)
    web_port = web.sockets[0].getsockname()[1]
    link = await loop.create_server(lambda: ClientEnd(round_trip, web_port), HOST, 0, backlog=512)
    ports = {
        "dns": await _name_server(round_trip),
        "https": link.sockets[0].getsockname()[1],
        "near_dns": await _name_server(0.0),
        "near_https": web_port,
    }
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
