"""The SMTP commands of the test server: what a correct server answers, unless the script differs.

Reads and writes through one :class:`Connection`; the rules for MAIL and RCPT are in
``envelope``. RFC 5321, 3207 (STARTTLS), 8689, 4954 (AUTH), 3030 (CHUNKING), 2033 (LMTP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from requiretls_client.testing.authentication import MECHANISMS, authenticate
from requiretls_client.testing.connection import Connection
from requiretls_client.testing.envelope import (
    Session,
    is_binary,
    refuse_mail,
    refuse_rcpt,
    split_path,
)
from requiretls_client.testing.records import Accepted, Channel, Records
from requiretls_client.testing.script import Script, Step, normal, reply_code


@dataclass(frozen=True, slots=True)
class Offer:
    """How a server presents itself; see :class:`Server` for the meaning of each.

    ``extensions`` holds the EHLO keywords of each channel without STARTTLS and AUTH, which are
    added where ``starttls`` and ``users`` ask for them.
    """

    hostname: str
    extensions: Mapping[Channel, tuple[str, ...]]
    starttls: bool
    implicit_tls: bool
    lmtp: bool
    users: Mapping[str, str]

    def keywords(self, channel: Channel) -> tuple[str, ...]:
        """Return the EHLO lines for a channel, each a keyword with its arguments."""
        added: tuple[str, ...] = ()
        if channel == "plain" and self.starttls:
            added = ("STARTTLS",)
        elif channel == "tls" and self.users:
            added = (f"AUTH {MECHANISMS}",)
        return self.extensions[channel] + added


class Dialogue:
    """One connection from greeting to end."""

    def __init__(
        self, connection: Connection, offer: Offer, script: Script, records: Records
    ) -> None:
        """Prepare; :meth:`run` talks."""
        self._connection = connection
        self._offer = offer
        self._script = script
        self._records = records
        # One for each channel: inside TLS nothing is known of what was said in the clear, and
        # that holds too when a step of the script starts TLS by itself. RFC 3207 s4.2.
        self._sessions: dict[Channel, Session] = {"plain": Session(), "tls": Session()}
        hellos = ("LHLO",) if offer.lmtp else ("EHLO", "HELO")
        self._handlers: dict[str, Callable[[str], None]] = {
            **{verb: partial(self._hello, verb) for verb in hellos},
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "QUIT": self._quit,
        }

    def run(self) -> None:
        """Talk until one side ends the connection.

        Raises:
            ConnectionError: the client went away, TLS failed or the server stops.
            Exception: whatever a step of the script raised.
        """
        if self._offer.implicit_tls:
            self._handshake()
        if not self._connection.closed:
            protocol = "LMTP" if self._offer.lmtp else "ESMTP"
            self._perform("GREETING", lambda: f"220 {self._offer.hostname} {protocol} test server")
        while not self._connection.closed:
            self._answer(self._connection.read_line())

    @property
    def _session(self) -> Session:
        return self._sessions[self._connection.channel]

    def _answer(self, line: bytes) -> None:
        verb, _, argument = line.rstrip(b"\r\n").decode("utf-8", "replace").partition(" ")
        handler = self._handlers.get(verb.upper())
        if not line.endswith(b"\r\n"):
            self._connection.reply("500 5.5.2 A line ends with CR and LF")
        elif handler is None:
            self._connection.reply("500 5.5.1 Command not known")
        else:
            handler(argument)

    def _next_step(self, stage: str) -> Step | None:
        """Play callables until a reply, :func:`normal` or nothing (None) is left to do."""
        step: Step | None = self._script.next(stage, self._connection.channel)
        while callable(step) and step is not normal:
            step = step(self._connection)
        return step

    def _perform(
        self, stage: str, judge: Callable[[], str], commit: Callable[[], None] | None = None
    ) -> str | None:
        """Answer a command: as the script says, else as ``judge`` does.

        Args:
            stage: where we are.
            judge: returns the correct reply; asked only if it is due.
            commit: called for a command that is done, *before* the client learns it: whoever
                reads 250 finds the message in the ledger.

        Returns:
            The reply, if by it the command is done; None otherwise.
        """
        step = self._next_step(stage)
        if step is None:
            return None
        data = _to_bytes(step if isinstance(step, str | bytes) else judge())
        code = reply_code(data)
        done = code == 354 if stage == "DATA" else 200 <= code <= 299
        if done and commit is not None:
            commit()
        self._connection.send(data)
        if code == 421:  # RFC 5321 s4.2.2: closing transmission channel
            self._connection.close()
        return data.decode("utf-8", "replace") if done else None

    def _hello(self, verb: str, name: str) -> None:
        lines = [self._offer.hostname]
        if verb != "HELO":
            lines += self._offer.keywords(self._connection.channel)
        marks = "-" * (len(lines) - 1) + " "
        correct = "\n".join(f"250{mark}{line}" for mark, line in zip(marks, lines, strict=True))
        reply = self._perform(verb, lambda: correct if name else f"501 5.5.4 Syntax: {verb} name")
        if reply is not None:
            self._session.greet(reply)

    def _starttls(self, argument: str) -> None:
        def judge() -> str:
            if argument:
                return "501 5.5.4 STARTTLS takes no parameter"
            if self._connection.channel == "tls":
                return "503 5.5.1 TLS is up"
            return "220 2.0.0 Go ahead" if self._offer.starttls else "502 5.5.1 No STARTTLS here"

        if self._perform("STARTTLS", judge) is not None:
            self._handshake()

    def _handshake(self) -> None:
        step = self._next_step("HANDSHAKE")
        if step is normal:
            self._connection.start_tls()
        elif isinstance(step, str | bytes):
            self._connection.send(_to_bytes(step))
            self._connection.drain()

    def _auth(self, argument: str) -> None:
        def judge() -> str:
            if "AUTH" not in self._session.offered:
                return "502 5.5.1 No AUTH here"
            if self._session.authenticated or self._session.sender is not None:
                return "503 5.5.1 Not now"
            return authenticate(argument, self._offer.users, self._ask)

        if self._perform("AUTH", judge) is not None:
            self._session.authenticated = True

    def _ask(self, challenge: str) -> str:
        self._connection.reply(f"334 {challenge}")
        return self._connection.read_line(content=True).decode("ascii", "replace").rstrip("\r\n")

    def _mail(self, argument: str) -> None:
        refusal = refuse_mail(self._session, argument, tls=self._connection.channel == "tls")
        if self._perform("MAIL", lambda: refusal or "250 2.1.0 Sender noted") is not None:
            _, path, parameters = split_path(argument) or ("", argument, ())
            self._session.end_transaction()
            self._session.sender, self._session.parameters = path, parameters

    def _rcpt(self, argument: str) -> None:
        refusal = refuse_rcpt(self._session, argument)
        if self._perform("RCPT", lambda: refusal or "250 2.1.5 Recipient noted") is not None:
            _, path, _ = split_path(argument) or ("", argument, ())
            self._session.recipients.append(path)

    def _data(self, argument: str) -> None:
        def judge() -> str:
            if argument:
                return "501 5.5.4 DATA takes no parameter"
            if is_binary(self._session.parameters):
                return "503 5.5.1 BINARYMIME needs BDAT"
            return "354 End with a dot" if self._session.recipients else "503 5.5.1 RCPT first"

        if self._perform("DATA", judge) is not None:
            self._deliver(".", self._read_content())

    def _read_content(self) -> bytes:
        """Read up to CR LF . CR LF and nothing else (RFC 5321 s4.1.1.4), and undo the stuffing."""
        lines: list[bytes] = []
        self._connection.in_content = True
        while True:
            line = self._connection.read_line(content=True)
            begins = not lines or lines[-1].endswith(b"\r\n")
            if begins and line == b".\r\n":
                break
            lines.append(line[1:] if begins and line.startswith(b".") else line)
        self._connection.in_content = False
        return b"".join(lines)

    def _bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        if not (size.isdecimal() and size.isascii() and last.upper() in ("", "LAST")):
            self._connection.reply("501 5.5.4 Syntax: BDAT size [LAST]")
            return
        self._connection.in_content = True
        chunk = self._connection.read_exactly(int(size))  # refused or not: RFC 3030 s2
        self._connection.in_content = False
        if not self._session.recipients or "CHUNKING" not in self._session.offered:
            self._connection.reply("503 5.5.1 Not now")
        elif last:
            self._deliver("BDAT", self._session.content + chunk)
        elif self._perform("BDAT", lambda: f"250 2.0.0 {size} octets noted") is not None:
            self._session.content += chunk

    def _deliver(self, stage: str, content: bytes) -> None:
        """Answer for the message: once, or with LMTP once for each recipient (RFC 2033 s4.2)."""
        session = self._session
        recipients = tuple(session.recipients)
        for answered_for in [(each,) for each in recipients] if self._offer.lmtp else [recipients]:
            message = Accepted(
                session.sender or "",
                answered_for,
                session.parameters,
                content,
                self._connection.channel == "tls",
            )
            commit = partial(self._records.add_accepted, message)
            self._perform(stage, lambda: "250 2.0.0 Message accepted", commit)
        session.end_transaction()

    def _rset(self, _argument: str) -> None:
        if self._perform("RSET", lambda: "250 2.0.0 Forgotten") is not None:
            self._session.end_transaction()

    def _noop(self, _argument: str) -> None:
        self._perform("NOOP", lambda: "250 2.0.0 Nothing done")

    def _vrfy(self, _argument: str) -> None:
        self._perform("VRFY", lambda: "252 2.1.5 Send and see")

    def _quit(self, _argument: str) -> None:
        if self._perform("QUIT", lambda: "221 2.0.0 Goodbye") is not None:
            self._connection.say_goodbye()


def _to_bytes(reply: str | bytes) -> bytes:
    if isinstance(reply, bytes):
        return reply
    return reply.replace("\n", "\r\n").encode() + b"\r\n"
