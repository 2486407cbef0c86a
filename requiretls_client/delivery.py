"""``deliver()``: one message to the mail hosts of its recipients' domains; ``check()`` before it.

Each domain is a run of its own, side by side with the others: look-up, walk, one transaction for
all its recipients, and a result for each. There is no queue: what is ``deferred`` is for the caller
to try again (RFC 5321 section 4.5.4.1). RFC 8689 section 4.2.1; section 4.2.2 for ``tls_optional``.
"""

from __future__ import annotations

import copy
import logging
import smtplib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.message import Message
from typing import Any

from requiretls_client import content, errors, header, syntax
from requiretls_client.lookups import Lookups, default_lookups
from requiretls_client.mxwalk import Walk, Wish, walks
from requiretls_client.replies import enhanced_status
from requiretls_client.reports import Attempt, DeliveryReport, RecipientResult
from requiretls_client.session import DEFAULT_TIMEOUT, SMTP
from requiretls_client.verdict import Verdict

_Said = tuple[int | None, str | None, str, bool]  # code, status, text, whether a server said it

AT_ONCE = 16  # domains of one message that are served side by side


def deliver(
    msg: Message | bytes | str,
    from_addr: str | None = None,
    to_addrs: str | Sequence[str] | None = None,
    *,
    require_tls: bool = False,
    tls_optional: bool = False,
    lookups: Lookups | None = None,
    port: int = 25,
    local_hostname: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> DeliveryReport:
    """Deliver one message to the mail hosts of its recipients' domains.

    For each domain MX, addresses, TLSA records and the MTA-STS policy are looked up, and host
    after host is tried until one takes the message. With ``require_tls`` only over a way that
    meets RFC 8689 s4.2.1; without it DANE and MTA-STS are obeyed all the same. The message is the
    same for all, as it is at the call.

    Args:
        msg: message object, or a raw message (then both addresses are needed).
        from_addr: reverse path; "" or ``<>`` for a bounce; None takes it from the header.
        to_addrs: recipients, each with a domain; None takes them from To, Cc and Bcc.
        require_tls: RFC 8689 s4.2.1 or not at all.
        tls_optional: add ``TLS-Required: No`` and deliver even without TLS (RFC 8689 s3). A
            message that has the field means the same.
        lookups: None means the process's own, with all defaults.
        port: TCP port of the mail hosts.
        local_hostname: name for EHLO; None means this machine's.
        timeout: seconds for each wait on a socket; by default RFC 5321 s4.5.3.2's, and 30 to
            connect to an address.

    Returns:
        The report; every recipient is ``delivered``.

    Raises:
        ValueError: a bad or contradictory argument; nothing was looked up or sent.
        DeliveryFailed: some recipient did not get it; ``report`` has each of them.
    """
    job = _job(msg, from_addr, to_addrs, require_tls=require_tls, tls_optional=tls_optional)
    lookups = lookups or default_lookups()

    def make() -> SMTP:
        return SMTP(local_hostname=local_hostname, timeout=timeout)

    def run(domain: str, recipients: list[str]) -> dict[str, RecipientResult]:
        running = _Run(job, recipients)
        try:
            return running.results(walks(lookups, domain, port, make, job.wish))
        except Exception:  # a bug of ours must not hide what became of the other domains
            logging.getLogger("requiretls_client").exception("delivery to %s broke off", domain)
            return running.broken_off()

    outcomes = _side_by_side(run, job.domains)
    results = {address: result for outcome in outcomes for address, result in outcome.items()}
    ordered = tuple(results[address] for address in job.recipients)
    report = DeliveryReport(job.sender, job.wish.require_tls, ordered)
    if report.failed:
        raise _failure(report)
    return report


@dataclass(frozen=True, slots=True)
class _Job:
    """A message with its envelope, checked."""

    message: Message | bytes
    sender: str
    recipients: tuple[str, ...]
    domains: dict[str, list[str]]
    wish: Wish


def _job(
    msg: Message | bytes | str,
    from_addr: str | None,
    to_addrs: str | Sequence[str] | None,
    *,
    require_tls: bool,
    tls_optional: bool,
) -> _Job:
    """Check everything that the caller gave, before anything is looked up."""
    if isinstance(msg, Message):
        optional = header.in_message(msg)
        from_addr = content.sender(msg) if from_addr is None else from_addr
        to_addrs = header.recipients(msg) if to_addrs is None else to_addrs
        content.Serialised(msg, utf8=False)  # what cannot be sent at all is an error now
        message: Message | bytes = copy.deepcopy(msg)
    else:
        if from_addr is None or to_addrs is None:
            raise ValueError("a raw message needs from_addr and to_addrs")
        message = content.raw_bytes(msg)
        optional = header.in_raw(message)
    recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
    if not recipients:
        raise ValueError("there is no recipient")
    required = header.wants_requiretls(
        call=require_tls or None, option=False, session=False, optional=tls_optional or optional
    )
    syntax.check_envelope(from_addr, recipients, ["SMTPUTF8"])
    domains: dict[str, list[str]] = {}
    for number, recipient in enumerate(dict.fromkeys(recipients)):
        bare = syntax.mailbox(recipient, f"to_addrs[{number}]")
        domain = syntax.domain_of(bare, f"to_addrs[{number}]")
        domains.setdefault(domain, []).append(recipient)
    null_path = not syntax.mailbox(from_addr, "from_addr")
    wish = Wish(required, tls_optional or optional, null_path)
    return _Job(message, "" if null_path else from_addr, tuple(recipients), domains, wish)


def _side_by_side(run: Callable[[str, list[str]], Any], domains: dict[str, list[str]]) -> list[Any]:
    """Run each domain, several at once."""
    if len(domains) == 1:
        return [run(*item) for item in domains.items()]
    with ThreadPoolExecutor(min(AT_ONCE, len(domains)), "requiretls-deliver") as pool:
        return list(pool.map(lambda item: run(*item), domains.items()))


# -- one domain ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a server, or the lack of one, says about a recipient."""

    code: int | None  # None: the connection was lost after the message had left
    status: str | None
    text: str
    verdict: Verdict
    host: str | None = None
    remote: bool = False  # the text is a server's reply

    @property
    def final(self) -> bool:
        """Whether no other host is to be asked."""
        return self.code is None or not 400 <= self.code < 500


class _Run:
    """The message on its way to the recipients of one domain."""

    def __init__(self, job: _Job, recipients: list[str]) -> None:
        """Begin with all of them waiting."""
        self._job = job
        self._waiting = list(recipients)
        self._outcomes: dict[str, _Outcome] = {}

    def results(self, every_walk: Iterable[Walk]) -> dict[str, RecipientResult]:
        """Go from host to host until each recipient has an outcome; return them."""
        attempts: list[Attempt] = []
        for walk in every_walk:
            for smtp in walk.sessions():
                try:
                    while self._transaction(smtp, walk):
                        pass
                finally:
                    smtp._leave()
                if not self._waiting:
                    break
            attempts += walk.attempts
            if not self._waiting or self._outcomes:
                break
        for address in self._waiting:
            if address not in self._outcomes:
                self._outcomes[address] = _refusal(walk.verdict())
        return self._results(tuple(attempts))

    def broken_off(self) -> dict[str, RecipientResult]:
        """Return what is known after an exception; of the others nobody can tell."""
        nothing = Verdict(False, self._job.wish.require_tls, False, (), "", "none")
        for address in self._waiting:
            text = "the delivery broke off with an unexpected error, see the log"
            self._outcomes.setdefault(address, _Outcome(None, None, text, nothing))
        return self._results(())

    def _results(self, tried: tuple[Attempt, ...]) -> dict[str, RecipientResult]:
        return {who: _result(who, each, tried) for who, each in self._outcomes.items()}

    def _transaction(self, smtp: SMTP, walk: Walk) -> bool:
        """Send to all who wait; return whether a further transaction on this session may help.

        A recipient who is refused for now waits for the next host; where others were accepted, the
        limit may have been on their number, so the rest go first in another transaction (RFC 5321
        s4.5.3.1.10).
        """
        batch = list(self._waiting)
        said = self._send(smtp, batch)
        verdict, host = walk.attempts[-1].verdict, walk.attempts[-1].mx_host
        for address, (code, status, text, remote) in said.items():
            outcome = _Outcome(code, status, text, verdict, host, remote)
            self._outcomes[address] = outcome
            if outcome.final:
                self._waiting.remove(address)
        code, _, text, remote = said[batch[-1]]
        if code is not None and remote:
            walk.attempts[-1] = replace(walk.attempts[-1], reply=(code, text))
        codes = {code for code, _, _, _ in said.values()}
        return bool(self._waiting) and 250 in codes and 452 in codes and smtp.sock is not None

    def _send(self, smtp: SMTP, batch: list[str]) -> dict[str, _Said]:
        """Make one transaction; return what is said about each recipient."""
        job, wish = self._job, self._job.wish
        said: dict[str, Any] = {}
        rest: tuple[int | None, bytes | str]
        try:
            if isinstance(job.message, bytes):
                said = smtp.sendmail(
                    job.sender, batch, job.message, require_tls=wish.require_tls
                )  # fmt: skip
            else:
                said = smtp.send_message(
                    job.message, job.sender, batch, require_tls=wish.require_tls
                )  # fmt: skip
            rest = 250, _last_reply(smtp)
        except smtplib.SMTPRecipientsRefused as error:
            said, rest = error.recipients, (450, "")
        except errors.DeliveryUnknown as error:
            said, rest = error.refused, (None, str(error))
        except errors.RequireTLSError as error:  # the session has changed: the next host, then
            rest = 451, f"4.7.0 {error}"
        except errors.ReplyError as error:
            rest = 451, f"4.5.0 {error}"
        except smtplib.SMTPNotSupportedError as error:  # 8BITMIME or SMTPUTF8: another host may
            rest = 450, f"4.6.3 {error}"
        except smtplib.SMTPResponseException as error:
            said, rest = dict(smtp._refused), (error.smtp_code, error.smtp_error)
        except OSError as error:  # lost before the end of the message
            rest = 451, f"4.4.2 {error}"
        except ValueError as error:
            rest = 554, f"5.6.0 {error}"
        return {each: _said(*said.get(each, rest)) for each in batch}


def _said(code: int | None, text: bytes | str) -> _Said:
    remote = isinstance(text, bytes)  # what servers say stays bytes; what we say is str
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    status = None if code is None else enhanced_status(code, raw)
    return code, status, syntax.printable(raw), remote


def _last_reply(smtp: SMTP) -> bytes:
    """Return the text of the reply that accepted the message."""
    pipe = smtp._current_pipe()
    return pipe.last.text if pipe and pipe.last else b""


def _refusal(verdict: Verdict) -> _Outcome:
    """Return the outcome where no host qualified."""
    failed = verdict.failed
    text = f"{failed.text} ({failed.rfc})" if failed else "no host took it"
    return _Outcome(verdict.code, verdict.status, text, verdict, verdict.host or None)


def _result(address: str, outcome: _Outcome, attempts: tuple[Attempt, ...]) -> RecipientResult:
    code, verdict = outcome.code, outcome.verdict
    if code is None:
        state = "unknown"
    elif code == 250:
        state = "delivered"
    else:
        state = "deferred" if code < 500 else "refused"
    return RecipientResult(
        address=address,
        state=state,
        code=code,
        status=outcome.status,
        temporary=state == "deferred" or (state == "refused" and verdict.temporary),
        text=outcome.text,
        mx_host=outcome.host,
        mx_level=verdict.mx_level,
        tls_level=verdict.tls_level,
        attempts=attempts,
        findings=verdict.findings,
        remote=outcome.remote,
    )


# -- the failure of some -------------------------------------------------------------------------

_WORST = ("refused", "unknown", "deferred")


def _failure(report: DeliveryReport) -> errors.DeliveryFailed:
    """Make the exception: one sentence about the worst of the failures, and the report."""
    worst = min(report.failed, key=lambda each: _WORST.index(each.state))
    count = f"{len(report.failed)} of {len(report.recipients)} recipients"
    fixes = [finding.fix for finding in worst.findings if not finding.ok and finding.fix]
    fix = f"; {fixes[-1]}" if fixes else ""
    error = errors.DeliveryFailed(f"the message did not reach {count}: {worst.explain()}{fix}")
    error.report = report
    error.code, error.status = worst.code or 451, worst.status or "4.4.2"
    error.temporary = all(each.temporary for each in report.failed)
    error.host, error.findings = worst.mx_host, worst.findings
    error.domain = syntax.domain_of(syntax.mailbox(worst.address, "recipient"), "recipient")
    return error
