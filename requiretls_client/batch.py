"""Many messages over one session: the content of one leaves with the envelope of the next.

RFC 2920 section 3.1 lets content come first in a group of commands, so that n messages take n + 1
round trips. By request more of them are in flight at once: all but the last of a flight go whole,
by BDAT (RFC 3030), each behind an RSET, without which a recipient of one message could end up in
the transaction of the one before that the server has refused. The last goes by DATA, and its 354
shows that the replies before it were paired with the right commands: until then no 250 counts.

A message with ``require_tls`` leaves after its MAIL was accepted, and alone in its flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from email.message import Message
from typing import TYPE_CHECKING, Any

from requiretls_client import lines, pipelining, sending
from requiretls_client.connection import Demand
from requiretls_client.flight import Entry, Flight, state_after
from requiretls_client.reports import MessageOutcome

if TYPE_CHECKING:
    from requiretls_client.connection import Group
    from requiretls_client.sending import Mail
    from requiretls_client.session import SMTP
    from requiretls_client.verdict import Verdict

Reply = tuple[int, bytes]
Progress = Callable[[MessageOutcome], object]

OCTETS = 1024 * 1024  # of content in one flight; what is larger is a flight of its own
RSET = ("RSET", "")


def check(*, require_tls: bool | None, tls_optional: bool, in_flight: int) -> None:
    """Refuse arguments of ``send_messages()`` that cannot be.

    Raises:
        ValueError, TypeError: they contradict themselves, or ``in_flight`` is no number.
    """
    if require_tls and tls_optional:
        raise ValueError("one message cannot both require TLS and carry TLS-Required: No")
    if isinstance(in_flight, bool) or not isinstance(in_flight, int):
        raise TypeError(f"in_flight must be an int, not {type(in_flight).__name__}")
    if in_flight < 1:
        raise ValueError("in_flight must be at least 1")


def said(*, require_tls: bool | None, tls_optional: bool) -> dict[str, bool]:
    """Return what was asked for, and nothing else: a subclass may have smtplib's signature."""
    wish = {} if require_tls is None else {"require_tls": require_tls}
    return {**wish, "tls_optional": True} if tls_optional else wish


class Batch:
    """Messages for one session, and what became of them."""

    def __init__(
        self,
        smtp: SMTP,
        progress: Progress | None,
        *,
        require_tls: bool | None,
        tls_optional: bool,
        in_flight: int,
    ) -> None:
        """Begin with none; the arguments were held against :func:`check`."""
        self._smtp, self._progress, self._in_flight = smtp, progress, in_flight
        self._wish: Any = {"require_tls": require_tls, "tls_optional": tls_optional}
        self._window: list[Entry] = []  # for the next flight
        self._commands = self._octets = 0  # of the window
        self._ordinary: Verdict | None = None  # what ordinary mail leaves under, while that holds
        self._grouped = False  # the session stands, and takes groups of commands
        self._due: Entry | None = None  # the server waits for its content
        self._flight: Flight | None = None  # that was sent, and not answered yet
        self._outcomes: dict[int, MessageOutcome] = {}
        self._told = 0

    def run(self, messages: Iterable[Any]) -> list[MessageOutcome]:
        """Send them all; the outcomes come in the order of the messages."""
        try:
            for number, item in enumerate(messages):
                self._add(number, item)
                self._tell()
        finally:  # also when the caller's own code fails: what has begun is ended
            self._land()
            self._tell()
        return [self._outcomes[number] for number in range(len(self._outcomes))]

    def _note(
        self,
        number: int,
        error: Exception | None = None,
        refused: dict[str, Reply] | None = None,
        receipt: Verdict | None = None,
    ) -> None:
        """Note an outcome; it is told between two steps, so that the callback stops none."""
        state = "delivered" if error is None else state_after(error)
        if error is None:
            self._smtp._note_delivered(receipt)
        self._outcomes[number] = MessageOutcome(number, state, refused or {}, error, receipt)

    def _tell(self) -> None:
        """Tell the outcomes that are known without a gap; at the end raise what that raised."""
        failure: Exception | None = None
        while self._told in self._outcomes:
            outcome = self._outcomes[self._told]
            self._told += 1
            try:
                if self._progress is not None:
                    self._progress(outcome)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    # -- one message more ----------------------------------------------------------------------

    def _add(self, number: int, item: Any) -> None:
        """Put a message into the next flight, or send it by itself."""
        # The email package, or the caller's file, raises what it likes.
        try:
            from_addr, to_addrs, msg = item if isinstance(item, tuple) else (None, None, item)
            entry = self._entry(number, from_addr, to_addrs, msg)
        except Exception as error:
            self._note(number, error)
            return
        if entry is None:
            self._land()
            try:
                refused = self._alone(from_addr, to_addrs, msg)
                self._note(number, None, refused, self._smtp.last_verdict)
            except Exception as error:
                self._note(number, error)
            return
        if self._window and not self._fits(entry):
            self._fly()
        self._window.append(entry)
        self._commands += len(entry.envelope.commands) + 2  # RSET, and DATA or BDAT
        self._octets += len(entry.mail.content)
        if len(self._window) >= self._limit(entry):
            self._fly()

    def _alone(self, from_addr: Any, to_addrs: Any, msg: Any) -> dict[str, Reply]:
        self._grouped, self._ordinary = False, None  # it may bring TLS and EHLO, or end the session
        wish: Any = said(**self._wish)
        if isinstance(msg, Message):
            return self._smtp.send_message(msg, from_addr, to_addrs, **wish)
        return self._smtp.sendmail(from_addr, to_addrs, msg, **wish)

    def _entry(self, number: int, from_addr: Any, to_addrs: Any, msg: Any) -> Entry | None:
        """Check a message; None: it has to go by itself.

        Raises:
            ValueError, TypeError, SMTPException: as :meth:`SMTP.send_message`.
        """
        smtp = self._smtp
        self._grouped = self._grouped or self._in_groups()
        if not self._grouped or hasattr(msg, "read"):
            return None
        if isinstance(msg, Message):
            letter = sending.read(smtp, msg, from_addr, to_addrs, **self._wish)
            with Demand(smtp, letter.required):
                raw = letter.form(smtp)
                mail = sending.prepare(
                    smtp, letter.sender, letter.recipients, raw, letter.mail_options
                )
        else:
            mail = sending.prepare(smtp, from_addr, to_addrs, msg, **self._wish)
        verdict = self._verdict(mail)
        if not verdict.allowed or len(mail.recipients) > pipelining.GROUP - 3:
            return None  # TLS may have to be started, or the refusal said
        sending.fit(smtp, mail)
        receipt = verdict if mail.required else None
        envelope = pipelining.envelope(smtp, mail, receipt)
        return None if mail.binary else Entry(number, mail, envelope, verdict, {})

    def _verdict(self, mail: Mail) -> Verdict:
        """Judge the session, as it stands, for a message; for ordinary mail once while it does."""
        if mail.required:
            return self._smtp._judge(null_path=not mail.paths[0])
        if self._ordinary is None:
            self._ordinary = self._smtp._judge(require_tls=False)
        return self._ordinary

    def _in_groups(self) -> bool:
        """Tell whether the session stands, and takes groups of commands."""
        from requiretls_client.session import SMTP

        smtp, cls = self._smtp, type(self._smtp)
        return bool(
            smtp.sock is not None and smtp.ehlo_resp is not None and smtp.debuglevel <= 0
            and pipelining.offered(smtp) and pipelining.applies(smtp)
            and cls.sendmail is SMTP.sendmail and cls.send_message is SMTP.send_message
        )  # fmt: skip

    def _limit(self, entry: Entry) -> int:
        """Return how many messages like this one may be in flight."""
        if self._in_flight == 1 or not entry.envelope.early:
            return 1
        return self._in_flight if self._smtp.has_extn("chunking") else 1

    def _fits(self, entry: Entry) -> bool:
        """Tell whether a message may leave in the same flight as those before it."""
        return (
            self._commands + len(entry.envelope.commands) + 2 <= pipelining.GROUP
            and self._octets + len(entry.mail.content) <= OCTETS
        )

    # -- a flight ------------------------------------------------------------------------------

    def _land(self) -> None:
        """Bring what has begun to its end."""
        if self._window:
            self._fly()
        self._come_down()
        if self._due is not None:
            self._fly()
            self._come_down()

    def _fly(self) -> None:
        """Send the content that is due with the messages that wait.

        The replies are taken in when the next flight is ready: meanwhile the server works.
        """
        window = self._window
        groups = _groups(window)
        self._come_down()
        self._window = []
        self._commands = self._octets = 0
        smtp, due, self._due = self._smtp, self._due, None
        lost: Exception | None = None
        pipe = smtp._current_pipe()
        begun, before = pipe.begun if pipe else 0, smtp._message_requires
        try:
            if window:
                first = window[0].mail  # whose wish is that of the whole call
                smtp._message_requires, smtp._field_is_in = first.required, first.optional
            content = (due.final or lines.final(due.mail.in_memory)) if due else b""
            smtp._send_flight(content, groups)
        except (OSError, ValueError) as error:
            lost = error
        finally:
            smtp._message_requires, smtp._field_is_in = before, False
        left = pipe is not None and pipe.begun != begun
        owed = bool(due) + sum([len(commands) for commands, _ in groups])
        self._flight = Flight(smtp, due, window, lost, owed=owed, left=left)

    def _come_down(self) -> None:
        """Take in the replies to the flight that is under way."""
        flight, self._flight = self._flight, None
        if flight is not None:
            self._due = flight.settle()
            self._grouped = self._grouped and self._smtp.sock is not None
            for known in flight.known:
                self._note(*known)


def _groups(window: list[Entry]) -> list[Group]:
    """Return the commands for the messages of a flight, of which all but the last go whole."""
    groups: list[Group] = []
    for place, entry in enumerate(window):
        commands = [RSET] * bool(place) + entry.envelope.commands
        if entry is not window[-1]:
            groups.append(([*commands, pipelining.bdat(entry.mail)], entry.mail.in_memory))
        else:
            groups.append(([*commands, pipelining.DATA], b""))
            entry.final = pipelining.ready(entry.mail)  # a long one is not held twice
    return groups
