"""What the replies to a flight of several messages come to, message by message.

Replies are paired with commands by counting, so that one too many, or one too few, shifts all
those behind it. Where a shift shows, or the end of the flight was not reached, no answer within it
counts, neither yes nor no: those messages are unknown.
"""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from requiretls_client import errors, pipelining

if TYPE_CHECKING:
    from requiretls_client.sending import Mail
    from requiretls_client.session import SMTP
    from requiretls_client.verdict import Verdict

Reply = tuple[int, bytes]


@dataclass(slots=True)
class Entry:
    """A message under way.

    Attributes:
        number: its place among all, from 0.
        mail: the message itself.
        envelope: what is said about it.
        receipt: the verdict that it leaves under; None once it was refused.
        refused: recipients that the server does not take it for.
        final: its content as DATA sends it, with the dot that ends it, where that was made ready.
    """

    number: int
    mail: Mail
    envelope: pipelining.Envelope
    receipt: Verdict | None
    refused: dict[str, Reply]
    final: bytes = b""


class Flight:
    """What the replies to a flight come to, message by message."""

    def __init__(
        self,
        smtp: SMTP,
        due: Entry | None,
        window: list[Entry],
        lost: Exception | None,
        *,
        owed: int,
        left: bool,
    ) -> None:
        """Begin when it was sent.

        Args:
            due: the message whose content came first.
            window: those behind it; the last one by DATA.
            lost: why it was not sent, or not wholly.
            owed: how many replies answer it.
            left: something of it has left.
        """
        self._smtp, self._due, self._window = smtp, due, window
        self._replies: list[Reply] = []
        self._at, self._lost, self._owed, self._left = 0, lost, owed, left
        self._answered: list[tuple[Entry, Exception | None]] = []  # by BDAT: in doubt yet
        self.known: list[tuple[int, Exception | None, dict[str, Reply], Verdict | None]] = []
        self._broken: Exception | None = None  # why no reply counts

    def _read(self) -> None:
        """Take in the replies; fewer than commands where the connection ends."""
        if self._lost is None:
            try:
                self._smtp._read_group(self._owed, self._replies)
            except OSError as error:
                self._lost = error
        if self._lost is None and self._smtp.sock is None:
            self._lost = smtplib.SMTPServerDisconnected("the server ended the session (421)")
        silent = self._lost is not None and isinstance(self._lost.__cause__, TimeoutError)
        # A server that fell silent perhaps has answered two commands by one reply.
        if isinstance(self._lost, errors.ReplyError) or (silent and self._replies):
            self._broken = self._lost

    def settle(self) -> Entry | None:
        """Read, and find out about all; return the message whose content is due now."""
        self._read()
        answer = self._take(1) if self._due else []
        due: Entry | None = None
        in_step = True
        for place, entry in enumerate(self._window[:-1]):
            self._judge_whole(entry, self._part(entry, place))
        if self._window:
            due, in_step = self._judge_last(self._window[-1], len(self._window) - 1)
        if self._broken is not None:
            self._smtp.close()
            if due is not None:
                self._failed(due, errors.ReplyError(f"not sent: {self._broken}"))
                due = None
        if self._due:
            self._judge_due(self._due, answer)
        for entry, error in self._answered:
            if in_step and self._broken is None:
                self.known.append((entry.number, error, entry.refused, entry.receipt))
            else:
                why = self._broken or self._lost or "the replies behind it were out of step"
                text = f"the message was answered, but perhaps not by its own answer: {why}"
                self._failed(entry, pipelining.unknown(entry.mail, text))
        self.known.sort(key=itemgetter(0))
        return due

    def _take(self, count: int) -> list[Reply]:
        """Return the next replies, as many as there are."""
        begin, self._at = self._at, self._at + count
        return self._replies[begin : self._at]

    def _part(self, entry: Entry, place: int) -> list[Reply]:
        """Return the replies to one message, but that to the RSET before it."""
        if place:
            for code, _ in self._take(1):
                if code != 250:
                    self._broken = errors.ReplyError(f"RSET was answered with {code}")
        return self._take(len(entry.envelope.commands) + 1)

    def _failed(self, entry: Entry, error: Exception) -> None:
        self.known.append((entry.number, error, {}, None))

    def _judge_due(self, due: Entry, answer: list[Reply]) -> None:
        """Find out about the message whose content came first."""
        mail, refused = due.mail, due.refused
        code, text = answer[0] if answer else (0, b"")
        if code >= 400:
            self._failed(due, smtplib.SMTPDataError(code, text))
        elif code == 250 and self._broken is None:
            self.known.append((due.number, None, refused, due.receipt))
        elif not self._left and self._lost is not None:
            self._failed(due, self._lost)
        elif code:
            self._smtp.close()
            why = self._broken or "only 250 says that it was taken"
            text_ = f"the message was answered with {code}, and {why}"
            self._failed(due, pipelining.unknown(mail, text_, refused))
        else:
            text_ = f"the answer to the message did not come: {self._lost}"
            self._failed(due, pipelining.unknown(mail, text_, refused))

    def _judge_whole(self, entry: Entry, part: list[Reply]) -> None:
        """Find out about a message that left by BDAT, with its commands."""
        complete = len(part) == len(entry.envelope.commands) + 1
        if not complete and not (part and part[-1][0] == 421):
            lost = self._lost or smtplib.SMTPServerDisconnected("the server ended the session")
            if self._left:
                text = f"the answer to the message did not come: {lost}"
                lost = pipelining.unknown(entry.mail, text)
            self._failed(entry, lost)
            self._look_for_shift(part)
            return
        judged = pipelining.judge(entry.mail, part, riding=True)
        if judged.broken:
            self._broken = judged.error
        if judged.error is None:
            entry.refused = judged.refused
        else:
            entry.receipt = None
        self._answered.append((entry, judged.error))

    def _look_for_shift(self, part: list[Reply]) -> None:
        """Look at what came of the replies to a message for one that is another command's."""
        for code, _ in part[1:]:
            if code < 400 and code not in (250, 251):
                self._broken = errors.ReplyError(f"RCPT was answered with {code}")

    def _judge_last(self, entry: Entry, place: int) -> tuple[Entry | None, bool]:
        """Find out about the message that goes by DATA.

        Returns:
            It, where its content is due; and whether the replies so far were in step.
        """
        part = self._part(entry, place)
        complete = len(part) == len(entry.envelope.commands) + 1
        if not complete and not (part and part[-1][0] == 421):
            ended = smtplib.SMTPServerDisconnected("the server ended the session")
            self._failed(entry, self._lost or ended)
            self._look_for_shift(part)
            return None, False
        judged = pipelining.judge(entry.mail, part, riding=False)
        if judged.broken:
            self._broken = judged.error
        if judged.error is None:
            entry.refused = judged.refused
            return entry, True
        self._failed(entry, judged.error)
        if self._broken is not None:
            return None, False
        try:
            return None, pipelining.leave(self._smtp, judged)
        except errors.ReplyError as error:
            self._broken = error
            return None, False


def state_after(error: Exception) -> str:
    """Return what became of a message that ended with an exception: one of the four states."""
    if isinstance(error, errors.DeliveryUnknown):
        return "unknown"
    if isinstance(error, errors.RequireTLSError):
        return "deferred" if error.temporary else "refused"
    if isinstance(error, errors.ReplyError):
        return "deferred"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return "deferred" if any(code < 500 for code in codes) else "refused"
    if isinstance(error, smtplib.SMTPResponseException):
        return "deferred" if error.smtp_code < 500 else "refused"
    if isinstance(error, smtplib.SMTPNotSupportedError) or not isinstance(error, OSError):
        return "refused"  # later is no better: ValueError, or what the email package raises
    return "deferred"  # the connection was lost before the message had left
