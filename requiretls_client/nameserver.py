"""One question to one name server and its answer, over UDP, TCP or TLS.

Does I/O, judges nothing but whether the answer belongs to the question. Each question has a
socket of its own, so that the source port is as hard to guess as the ID (RFC 5452 section 9.2);
it is connected, so that the kernel drops what comes from elsewhere and reports a port that nobody
listens on at once. The time limit is absolute: a server that sends octet by octet gains nothing.

RFC 1035 section 4.2, RFC 7766 for TCP, RFC 7858 for TLS (the strict profile of RFC 8310: a
certificate for a known name, or no answer).
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import cast

import dns.entropy
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from requiretls_client import tls

# In an answer, TLSA records and the question for them have this type instead, of the range for
# private use (RFC 6895 s3.1): dnspython then leaves their octets as they are.
OPAQUE_TLSA = dns.rdatatype.RdataType.make(65352)

_PAYLOAD = 1232
_MAX_DATAGRAM = 65535

_OPT = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, _PAYLOAD, 0, 0)

# Servers that understood nothing of the query leave the question out of their answer.
_WITHOUT_QUESTION = frozenset(
    {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}
)


class Malformed(Exception):
    """The server's answer cannot be read, or belongs to another question."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a validating server (class IN).

    RD, AD (RFC 6840 section 5.7: without it a validator need not say AD), no CD, so that bogus
    data is an error (RFC 4035 section 3.2.2), EDNS0 with a payload that no network has to
    fragment, and no DO: beside AD it would add nothing but signatures, which nobody here checks
    and which push answers over to TCP.
    """

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType

    def wire(self, number: int) -> bytes:
        """Return the query with this ID (RFC 1035 s4.1, RFC 6891 s6.1.2)."""
        flags = dns.flags.RD | dns.flags.AD
        head = struct.pack("!6H", number, flags, 1, 0, 0, 1)
        asked = self.name.to_digestable() + struct.pack("!2H", self.rdtype, dns.rdataclass.IN)
        return head + asked + _OPT

    def is_answered_by(self, message: dns.message.Message, number: int) -> bool:
        """Tell whether the message belongs to the query with this ID (RFC 5452 s9.1)."""
        opcode, response = message.opcode(), message.flags & dns.flags.QR
        if message.id != number or not response or opcode != dns.opcode.QUERY:
            return False
        if not message.question:
            return message.rcode() in _WITHOUT_QUESTION
        first, *others = message.question
        asked = (self.name, self.rdtype, dns.rdataclass.IN)
        return not others and (first.name, first.rdtype, first.rdclass) == asked


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server and the way to it.

    Attributes:
        address: IP address.
        port: number of the port; UDP and TCP, or TLS.
        tls_hostname: name to verify: DNS over TLS, and nothing else; None is UDP and TCP.
        tls_context: None takes the package's own, with certifi's roots.
    """

    address: str
    port: int
    tls_hostname: str | None = None
    tls_context: ssl.SSLContext | None = None

    def ask(self, question: Question, deadline: float) -> dns.message.QueryMessage:
        """Return the server's answer to the question; UDP first, TCP when it is cut there.

        Args:
            question: the TLSA records of its answer come as ``OPAQUE_TLSA``.
            deadline: when to give up, by ``time.monotonic()``.

        Raises:
            TimeoutError: no answer in time.
            OSError: the server cannot be reached, or its certificate is not verified.
            Malformed: as it says.
        """
        if self.tls_hostname is not None:
            return self._ask_stream(question, deadline)
        answer = self._ask_datagram(question, deadline)
        if answer.flags & dns.flags.TC:  # what a cut answer holds is no RRset (RFC 2181 s9)
            return self._ask_stream(question, deadline)
        return answer

    def _ask_datagram(self, question: Question, deadline: float) -> dns.message.QueryMessage:
        """Ask over UDP; datagrams that do not belong to the question are passed over."""
        number = dns.entropy.random_16()
        wire = question.wire(number)
        with self._connect(socket.SOCK_DGRAM, deadline) as sock:
            sock.send(wire)
            while True:
                sock.settimeout(_remaining(deadline))
                data = sock.recv(_MAX_DATAGRAM)
                # RFC 5452 s9.1. Whoever knows the ID could as well forge a good answer, so it
                # is only behind it that garbage is believed to come from the server.
                if data[:2] == wire[:2]:
                    answer = _read(data, question, number)
                    if answer is not None:
                        return answer

    def _ask_stream(self, question: Question, deadline: float) -> dns.message.QueryMessage:
        """Ask over TCP or TLS (RFC 7766 s8: two octets of length before each message)."""
        number = dns.entropy.random_16()
        wire = question.wire(number)
        sock = self._connect(socket.SOCK_STREAM, deadline)
        try:
            if self.tls_hostname is not None:
                sock.settimeout(_remaining(deadline))  # of the handshake as a whole
                context = self.tls_context or tls.default_context()
                sock, _ = tls.wrap(context, sock, self.tls_hostname)
            sock.settimeout(_remaining(deadline))
            sock.sendall(struct.pack("!H", len(wire)) + wire)
            size = int.from_bytes(_receive(sock, 2, deadline), "big")
            answer = _read(_receive(sock, size, deadline), question, number)
        finally:
            sock.close()
        if answer is None:
            raise Malformed("it belongs to another question")
        if answer.flags & dns.flags.TC:
            raise Malformed("cut short over TCP")
        return answer

    def _connect(self, kind: socket.SocketKind, deadline: float) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        sock = socket.socket(family, kind)
        try:
            sock.settimeout(_remaining(deadline))
            sock.connect((self.address, self.port))
        except BaseException:
            sock.close()
            raise
        return sock


def _receive(sock: socket.socket, size: int, deadline: float) -> bytes:
    """Return exactly ``size`` octets."""
    data = bytearray()
    while len(data) < size:
        sock.settimeout(_remaining(deadline))
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the connection was closed before the answer")
        data += piece
    return bytes(data)


def _read(data: bytes, question: Question, number: int) -> dns.message.QueryMessage | None:
    """Return the message, or None when it does not belong to the query.

    Of one that is cut it is as much as there is, with the flag TC.
    """
    hide = question.rdtype == dns.rdatatype.TLSA
    try:
        data = _hide_tlsa(data) if hide else data
        message = dns.message.from_wire(data, raise_on_truncation=True)
    except dns.message.Truncated as cut:
        message = cut.kwargs["message"]
    except Exception as error:  # whatever a hostile message sets off in its parser
        raise Malformed(f"malformed ({type(error).__name__})") from error
    if not question.is_answered_by(message, number):
        return None
    if hide and message.question:
        message.question[0].rdtype = OPAQUE_TLSA
    return cast(dns.message.QueryMessage, message)  # the class for this opcode


def _hide_tlsa(data: bytes) -> bytes:
    """Return the message with the TLSA records of its answer as ``OPAQUE_TLSA``.

    dnspython refuses a whole message for one record whose digest has the wrong length. Such a
    record is unusable (RFC 6698 s4.1), which is no reason to lose the others.
    """
    if data[2] & 0x02:  # TC: it need not be whole, and is not used
        return data
    questions, answers = struct.unpack_from("!4x2H", data)
    hidden = bytearray(data)
    place = 12
    for _ in range(questions):
        place = _behind_name(data, place) + 4
    for _ in range(answers):
        place = _behind_name(data, place)
        rdtype, size = struct.unpack_from("!H6xH", data, place)
        if rdtype == dns.rdatatype.TLSA:
            struct.pack_into("!H", hidden, place, OPAQUE_TLSA)
        place += 10 + size
    return bytes(hidden)


def _behind_name(data: bytes, place: int) -> int:
    """Return where the name at ``place`` ends; what it says is for dnspython to check."""
    while data[place]:
        if data[place] >= 0xC0:  # a pointer, which ends it (RFC 1035 s4.1.4)
            return place + 2
        place += data[place] + 1
    return place + 1


def _remaining(deadline: float) -> float:
    """Return the seconds that are left; never 0, which would mean "do not wait" to a socket."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
