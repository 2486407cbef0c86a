"""The table: what the server does, what the application does, and which judge looks at it.

Letters and numbers name the attacks: A STARTTLS, B replies, C arguments, D content, E RFC 8689,
F certificates, G passwords, L denial of service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attack_table import judges
from attack_table.evidence import CANARY
from attack_table.judges import INJECTED, PASSWORD, Judge
from requiretls_client.testing import Connection, lie, stall

USER = "user"
SENDER, RECIPIENT = "alice@example.org", "bob@example.net"
HEAD = b"From: alice@example.org\r\nTo: bob@example.net\r\nSubject: Report\r\n\r\n"
CONTENT = HEAD + b"The number is " + CANARY + b".\r\n"
SMUGGLED = b"MAIL FROM:<%s@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n" % (
    INJECTED.encode()
)

_FLOOD_LINE = b"250-" + b"x" * 506 + b"\r\n"
_FLOOD_OCTETS = 32 * 1024 * 1024
_TLS_HELLO = b"250-localhost\r\n250-SIZE 10485760\r\n250 REQUIRETLS\r\n"
_AUTH_IN_CLEAR = {"extensions": ["AUTH PLAIN"], "starttls": False, "users": {USER: PASSWORD}}


def flood(connection: Connection) -> None:
    """Answer with lines that promise another one: 32 MiB quickly, then slowly, without end."""
    chunk = _FLOOD_LINE * 128
    for _ in range(_FLOOD_OCTETS // len(chunk)):
        connection.send(chunk)
        connection.wait(0.01)
    while True:
        connection.send(_FLOOD_LINE)
        connection.wait(0.2)


def drip(connection: Connection) -> None:
    """Greet at one octet a second, for longer than anybody waits here."""
    connection.drip(b"220 localhost ESMTP test server\r\n", 1.0)


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        number: of the row.
        id: of the attack.
        title: what it is.
        judge: the demand.
        servers: arguments for ``testing.Server``, one mapping for each variant.
        certificate: good, untrusted, misnamed or expired.
        job: what is different in the client's job.
        elsewhere: the server must not be on a loopback address.
        must_connect: a client that refuses without connecting met no attack.
    """

    number: int
    id: str
    title: str
    judge: Judge
    servers: Sequence[Mapping[str, Any]] = ({},)
    certificate: str = "good"
    job: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: bool = False
    must_connect: bool = True

    @property
    def mode(self) -> str:
        """What the application does; see attack_clients/adapter.py."""
        return str(self.job.get("mode", "careful"))


def _script(**steps: Any) -> tuple[dict[str, Any]]:
    """Return one server with a script; ``EHLO_tls`` stands for the stage ``EHLO tls``."""
    names = {"DOT": "."}
    return ({"script": {names.get(k, k.replace("_", " ")): step for k, step in steps.items()}},)


def _content(end: bytes) -> dict[str, bytes]:
    """Return a job whose body holds a false end of message, and a message behind it."""
    return {"content": HEAD + b"The number is " + CANARY + b"." + end + SMUGGLED}


# Each mode once on a server that behaves: a client that cannot send at all earns no P.
CONTROLS = (
    Case(0, "careful", "control", judges.no_false_success),
    Case(
        0, "default", "control", judges.no_false_success,
        job={"mode": "default", "trust": "machine"},
    ),
    Case(0, "login", "control", judges.no_false_success, [_AUTH_IN_CLEAR], job={"mode": "login"}),
)  # fmt: skip

_ROWS: tuple[tuple[Any, ...] | Case, ...] = (
    ("A01", "replies buffered behind STARTTLS 220", judges.nothing_sent, [{
        "script": {"STARTTLS": b"220 go\r\n250-evil\r\n250 REQUIRETLS\r\n"},
        "tls_extensions": ["SIZE 10485760"],
    }]),
    ("A03", "STARTTLS keyword stripped", judges.nothing_sent,
     [{"starttls": False, "extensions": ["SIZE 10485760", "REQUIRETLS"]}]),
    ("A05", "STARTTLS answered 454", judges.no_plaintext_after_refusal,
     _script(STARTTLS="454 4.7.0 TLS not available"), "good", {"mode": "followup"}),
    ("A07", "REQUIRETLS offered only before TLS", judges.nothing_sent,
     [{"extensions": ["REQUIRETLS"], "tls_extensions": ["SIZE 10485760"]}]),
    ("A08", "handshake stalls after 220", judges.bounded, _script(HANDSHAKE=stall)),
    ("B01", "replies pre-sent after TLS; server rejects", judges.no_false_success, _script(
        EHLO_tls=_TLS_HELLO + b"250 2.1.0 m\r\n250 2.1.5 r\r\n354 go\r\n250 2.0.0 accepted\r\n",
        RCPT="550 5.1.1 No such user", DATA="354 Go on", DOT="554 5.7.1 Discarded")),
    ("B03", "RCPT answered with three replies; dot 554", judges.no_false_success, _script(
        RCPT=b"250 2.1.5 ok\r\n354 go\r\n250 2.0.0 queued early\r\n", DOT="554 5.7.1 Discarded")),
    ("B05", "mixed codes 550-/250 to MAIL", judges.body_kept,
     _script(MAIL=b"550-no\r\n250 ok\r\n")),
    ("B09", "final dot answered 200/251", judges.unknown_and_once,
     (*_script(DOT=lie("200 2.0.0 ok")), *_script(DOT=lie("251 2.0.0 will forward")))),
    ("B10", "DATA answered 250", judges.body_kept, _script(DATA="250 2.0.0 ok")),
    ("B12", "X-REQUIRETLS, REQUIRETLS-OLD", judges.nothing_sent,
     [{"tls_extensions": ["X-REQUIRETLS"]}, {"tls_extensions": ["REQUIRETLS-OLD"]}]),
    ("B16", "9000-byte reply line", judges.no_false_success,
     _script(MAIL=b"250 " + b"x" * 8994 + b"\r\n")),
    ("B18", "terminal escapes in error text", judges.escaped,
     _script(MAIL=b"550 5.7.1 \x1b[2J\x1b]0;owned\x07 \xc2\x9b31m no\r\n")),
    Case(14, "C01", "CRLF in EHLO name", judges.name_refused, must_connect=False,
         job={"name": f"client.example\r\nNOOP {INJECTED}"}),
    Case(15, "C05", "CRLF + RCPT in MAIL address", judges.address_refused, must_connect=False,
         job={"sender": f"alice@example.org>\r\nRCPT TO:<{INJECTED}@example.net"}),
    Case(16, "D01", "LF . CRLF in bytes body", judges.clean_line_ends, must_connect=False,
         job=_content(b"\n.\r\n")),
    Case(17, "D02", "CR . CRLF in bytes body", judges.clean_line_ends, must_connect=False,
         job=_content(b"\r.\r\n")),
    ("E08", "MAIL refused 555: no retry without REQUIRETLS", judges.one_mail_with_requiretls,
     _script(MAIL="555 5.5.4 REQUIRETLS not recognised")),
    ("F01", "untrusted CA, default arguments", judges.nothing_sent, ({},), "untrusted",
     {"mode": "default", "trust": "machine"}),
    ("F02", "wrong host name, default arguments", judges.nothing_sent, ({},), "misnamed",
     {"mode": "default", "trust": "machine"}),
    ("F04", "expired certificate, verification on", judges.nothing_sent, ({},), "expired"),
    Case(22, "G01", "AUTH PLAIN in clear", judges.password_kept, [_AUTH_IN_CLEAR],
         job={"mode": "login"}, elsewhere=True),
    ("L01", "endless 250- lines", judges.bounded, _script(EHLO_plain=flood)),
    ("L03", "greeting at 1 byte/s", judges.bounded, _script(GREETING=drip)),
)  # fmt: skip

CASES = tuple(
    row if isinstance(row, Case) else Case(number, *row) for number, row in enumerate(_ROWS, 1)
)
