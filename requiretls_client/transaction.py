"""One message and the recipients of one domain: from host to host until each has an outcome.

Does the transactions; the walk brings the sessions, and what a server said decides. A temporary
refusal leads to the next host (RFC 5321 section 4.5.4.1), a final one ends the matter, and after
the message has left nothing is sent again.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from requiretls_client import content, errors, syntax
from requiretls_client.outgoing import Outgoing
from requiretls_client.replies import enhanced_status
from requiretls_client.reports import Attempt, DeliveryReport, RecipientResult
from requiretls_client.session import SMTP
from requiretls_client.verdict import Verdict

Results: TypeAlias = dict[str, RecipientResult]  # mailbox -> what became of it

MAX_SESSIONS = 5  # hosts that get the message and say "later"; each got all of it, perhaps


@dataclass(frozen=True, slots=True)
class Said:
    """What is said about a recipient.

    Attributes:
        code: basic status code; None: the connection was lost after the message had left.
        status: enhanced status code, or None.
        text: for people; a server's own where ``remote``.
        elsewhere: whether another host may take the message all the same.
        remote: the text is a server's reply.
    """

    code: int | None
    status: str | None
    text: str
    elsewhere: bool
    remote: bool = False


class Walk(Protocol):
    """The way to sessions: over the hosts of a domain (mxwalk), or to one server.

    Attributes:
        attempts: what was tried so far, in order.
    """

    attempts: list[Attempt]

    def sessions(self) -> Iterator[SMTP]:
        """Yield connected sessions that qualify, from the best host to the last."""

    def verdict(self) -> Verdict:
        """Return why no host (further) qualifies."""


class Run:
    """The message on its way to the mailboxes of one domain."""

    def __init__(self, outgoing: Outgoing, mailboxes: list[str]) -> None:
        """Begin with all of them waiting."""
        self._outgoing = outgoing
        self._waiting = list(mailboxes)
        self._outcomes: dict[str, tuple[Said, Verdict, str | None]] = {}
        self._walks: list[Walk] = []
        self._under_way: list[str] = []  # in a transaction of which nothing is known yet

    def results(self, walks: Iterable[Walk]) -> Results:
        """Go from host to host until each mailbox has an outcome; return them."""
        sessions = 0
        for walk in walks:
            self._walks.append(walk)
            for smtp in walk.sessions():
                sessions += 1
                try:
                    while self._deliver(smtp, walk):
                        pass
                finally:
                    smtp._leave(wait=False)
                if not self._waiting or sessions == MAX_SESSIONS:
                    break
            if not self._waiting or sessions:
                break
        for mailbox in self._waiting:
            self._outcomes[mailbox] = self._last_word(mailbox, walk)
        return self._results()

    def _last_word(self, mailbox: str, walk: Walk) -> tuple[Said, Verdict, str | None]:
        """Return the outcome of a mailbox that no host has taken the message for."""
        if mailbox not in self._outcomes:
            return _refusal(walk.verdict())
        said, verdict, host = self._outcomes[mailbox]
        failed = [each.verdict for each in walk.attempts if not each.verdict.allowed]
        if said.code and said.code >= 500 and any(each.temporary for each in failed):
            # This host lacks an extension; another, which could not be asked now, may have it.
            said = replace(said, code=451, status="4.4.1")
        return said, verdict, host

    def broken_off(self) -> Results:
        """Return what is known after an exception; of a transaction under way nobody can tell."""
        nothing = Verdict(False, self._outgoing.wish.require_tls, False, (), "", "none")
        text = "the delivery broke off with an unexpected error, see the log"
        for mailbox in self._waiting:
            if mailbox in self._under_way:  # whatever another host has said before
                self._outcomes[mailbox] = Said(None, None, text, False), nothing, None
            else:
                later = Said(451, "4.3.0", text, True), nothing, None
                self._outcomes.setdefault(mailbox, later)
        return self._results()

    def _results(self) -> Results:
        tried = tuple(attempt for walk in self._walks for attempt in walk.attempts)
        return {who: _result(who, *each, tried) for who, each in self._outcomes.items()}

    def _deliver(self, smtp: SMTP, walk: Walk) -> bool:
        """Send to all who wait; return whether to go on with the same session.

        Where some were accepted and others told 452, the limit may have been on their number: the
        rest go in another transaction (RFC 5321 s4.5.3.1.10).
        """
        verdict, host = walk.attempts[-1].verdict, walk.attempts[-1].mx_host
        codes: set[int | None] = set()
        for batch in self._outgoing.batches(self._waiting):
            self._under_way = batch
            outcome = self._send(smtp, batch)
            self._under_way = []
            for mailbox, said in outcome.items():
                self._outcomes[mailbox] = said, verdict, host
                if not said.elsewhere:
                    self._waiting.remove(mailbox)
            last = outcome[batch[-1]]
            if last.code is not None and last.remote:
                walk.attempts[-1] = replace(walk.attempts[-1], reply=(last.code, last.text))
            codes |= {said.code for said in outcome.values()}
        return bool(self._waiting) and {250, 452} <= codes and smtp.sock is not None

    def _send(self, smtp: SMTP, batch: list[str]) -> dict[str, Said]:
        """Make one transaction; return what is said about each mailbox."""
        refused: dict[str, Any] = {}
        try:
            refused = self._transact(smtp, batch)
            rest = _server(250, _last_reply(smtp))
        except smtplib.SMTPRecipientsRefused as error:  # all of them, or the session ended
            refused, rest = error.recipients, _ours(451, "4.4.2", "the server ended the session")
        except errors.DeliveryUnknown as error:
            refused, rest = error.refused, Said(None, None, syntax.printable(str(error)), False)
        except errors.RequireTLSError as error:  # the session has changed: the next host, then
            rest = _ours(451, "4.7.0", error)
        except errors.ReplyError as error:
            rest = _ours(451, "4.5.0", error)
        except smtplib.SMTPNotSupportedError as error:  # of this host; another may have it
            rest = Said(554, "5.6.7", syntax.printable(str(error)), True)
        except smtplib.SMTPResponseException as error:
            refused, rest = dict(smtp._refused), _server(error.smtp_code, error.smtp_error)
        except OSError as error:  # lost before the end of the message
            rest = _ours(451, "4.4.2", error)
        except ValueError as error:
            rest = Said(554, "5.6.0", syntax.printable(str(error)), False)
        return {each: _server(*refused[each]) if each in refused else rest for each in batch}

    def options(self, smtp: SMTP) -> tuple[Sequence[str], Sequence[str]]:
        """Return further parameters of MAIL and RCPT: none, unless a subclass has some."""
        return (), ()

    def _transact(self, smtp: SMTP, batch: list[str]) -> dict[str, Any]:
        outgoing = self._outgoing
        options, for_each = self.options(smtp)
        strict = outgoing.wish.require_tls
        if not isinstance(outgoing.message, bytes):
            return smtp.send_message(
                outgoing.message, outgoing.sender, batch, options, for_each, require_tls=strict
            )
        if not "".join([outgoing.sender, *batch]).isascii():
            options = content.international_options(options, smtp.has_extn)
        return smtp.sendmail(
            outgoing.sender, batch, outgoing.message, options, for_each, require_tls=strict
        )


def report_of(outgoing: Outgoing, outcomes: Iterable[Results]) -> DeliveryReport:
    """Return the results in the order and under the names that the caller gave."""
    by_path = {path: result for outcome in outcomes for path, result in outcome.items()}
    ordered = [
        replace(by_path[outgoing.paths[address]], address=address)
        for address in outgoing.recipients
    ]
    return DeliveryReport(outgoing.sender, outgoing.wish.require_tls, tuple(ordered))


def _server(code: int, text: bytes | str) -> Said:
    """Return what a server replied; a code that is neither yes nor no is no answer."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    shown = syntax.printable(raw)
    if code < 400 and code != 250:
        return _ours(451, "4.5.0", f"the server answered {code} {shown}")
    return Said(code, enhanced_status(code, raw), shown, 400 <= code < 500, True)


def _ours(code: int, status: str, why: object) -> Said:
    """Return what we found ourselves; the next host may be better."""
    return Said(code, status, syntax.printable(str(why)), True)


def _last_reply(smtp: SMTP) -> bytes:
    """Return the text of the reply that accepted the message."""
    pipe = smtp._current_pipe()
    return pipe.said if pipe else b""


def _refusal(verdict: Verdict) -> tuple[Said, Verdict, str | None]:
    """Return the outcome where no host qualified."""
    failed = verdict.failed
    text = f"{failed.text} ({failed.rfc})" if failed else "no host took it"
    return Said(verdict.code, verdict.status, text, True), verdict, verdict.host or None


def _result(
    mailbox: str, said: Said, verdict: Verdict, host: str | None, attempts: tuple[Attempt, ...]
) -> RecipientResult:
    if said.code is None:
        state = "unknown"
    elif said.code == 250:
        state = "delivered"
    else:
        state = "deferred" if said.code < 500 else "refused"
    hint = state == "refused" and not verdict.allowed and verdict.temporary
    return RecipientResult(
        address=mailbox,
        state=state,
        code=said.code,
        status=said.status,
        temporary=state == "deferred" or hint,
        text=said.text,
        mx_host=host,
        mx_level=verdict.mx_level,
        tls_level=verdict.tls_level,
        attempts=attempts,
        findings=verdict.findings,
        remote=said.remote,
    )
