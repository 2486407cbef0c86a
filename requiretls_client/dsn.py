"""The non-delivery report: a failure becomes a message to the author of what was not delivered.

Pure: reads a message and a failure, returns a new message. It sends nothing; how the report
travels is shown at :func:`make_dsn`. What the parts look like is in
:mod:`requiretls_client.dsn_form`. RFC 8689 section 5; RFC 3461 for who gets a report, RFC 3464 for
what it says.

The five actions of RFC 3464 section 2.3.3 are fewer than our states:

- ``refused`` is ``failed``.
- ``deferred`` is ``failed`` too, with its 4.y.z status: this package has no queue, so nobody tries
  again (RFC 3463 section 2 foresees that pair). A caller who does try again says ``retrying``;
  then what is temporary is ``delayed``.
- ``unknown`` is ``failed`` with 4.4.2. The action means that attempts were given up, which they
  were; the text says that the message may have arrived. To leave such a recipient out would tell
  the author that all is well, and ``relayed`` would say so outright.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, Message

from requiretls_client import content, header, objects, syntax
from requiretls_client.dsn_form import Notice, Report, assemble
from requiretls_client.errors import DeliveryFailed, RequireTLSError
from requiretls_client.reports import Attempt, DeliveryReport, RecipientResult
from requiretls_client.verdict import Verdict

# Findings that a server showed in a session; the others were decided before any connection.
_IN_SESSION = frozenset({"login", "ehlo", "tls", "certificate", "requiretls", "server"})

_ENVELOPE_ID = re.compile(r"[!-~]{1,100}")  # RFC 3461 s4.4
_NOTIFY = {"failed": "FAILURE", "delayed": "DELAY"}


def make_dsn(
    message: Message | bytes | str,
    failure: DeliveryReport | RequireTLSError,
    *,
    reporting_mta: str,
    now: datetime,
    from_addr: str | None = None,
    to_addrs: str | Sequence[str] | None = None,
    sender: str | None = None,
    envelope_id: str | None = None,
    notify: str | None = None,
    ret: str = "HDRS",
    retrying: bool = False,
) -> EmailMessage | None:
    """Make the report that tells the author of a message who did not get it, and why.

    It goes out with an empty reverse path, and with REQUIRETLS if the message asked for it; RFC
    8689 s5 has such a report sent even where the next host does not offer that::

        try:
            deliver(message, require_tls=True)
        except DeliveryFailed as failure:
            report = make_dsn(
                message, failure, reporting_mta="app.example.org", now=datetime.now(timezone.utc)
            )
            if report is not None:
                deliver(report, from_addr="", require_tls=True)

    The same arguments make the same report, to the byte.

    Args:
        message: the one that was not delivered, as it was given to be sent.
        failure: what ``deliver()`` raised, its report, or what a session raised.
        reporting_mta: domain name of this machine or application.
        now: date of the report, with a time zone.
        from_addr: reverse path of the message. Not needed where the failure has a report, which
            knows it; of a session, None takes it from the header.
        to_addrs: the recipients; likewise.
        sender: who answers questions; None is the postmaster of ``reporting_mta``.
        envelope_id: the ENVID that the message came with (RFC 3461 s4.4).
        notify: the NOTIFY that it came with, such as ``NEVER`` or ``FAILURE,DELAY``.
        ret: ``HDRS`` or ``FULL``. FULL returns the whole message, but not of one that asked for
            REQUIRETLS (RFC 8689 s5), nor after a session's error, which counts as such.
        retrying: the caller keeps those whose ``temporary`` is true and tries again.

    Returns:
        The report, or None where there must be none: the message was itself a report (empty
        reverse path, RFC 3461 s5.2), all have it, or ``notify`` does not ask for it.

    Raises:
        TypeError: ``failure`` is of another kind.
        ValueError: a bad argument, or a raw message without its envelope.
    """
    original = _original(message, failure, from_addr, to_addrs)
    mta = syntax.mail_domain(reporting_mta, "reporting_mta")
    sender = syntax.mailbox(f"postmaster@{mta}" if sender is None else sender, "sender")
    if not sender:
        raise ValueError("sender is empty")
    if now.tzinfo is None:
        raise ValueError("now has no time zone")
    if envelope_id is not None and not _ENVELOPE_ID.fullmatch(envelope_id):
        raise ValueError("envelope_id is not 1 to 100 printable characters (RFC 3461 s4.4)")
    full = _choice(ret, "ret", ("HDRS", "FULL")) == "FULL" and not original.headers_only
    wanted = _actions(notify)
    found = [_notice(each, retrying=retrying) for each in original.recipients]
    notices = [each for each in dict.fromkeys(found) if each and each.action in wanted]
    if not original.from_addr or not notices:
        return None
    return assemble(
        Report(
            mta=mta,
            sender=sender,
            author=original.from_addr,
            now=now,
            envelope_id=envelope_id,
            require_tls=original.require_tls,
            notices=tuple(notices),
            original=_as_sent(message, original),
            full=full,
        )
    )


@dataclass(frozen=True, slots=True)
class _Original:
    """The envelope of the message, and what became of it.

    Attributes:
        from_addr: bare reverse path; "" for a bounce.
        require_tls: whether it asked for REQUIRETLS, as far as is known.
        headers_only: whether its text must not be returned.
        recipients: the results of all.
    """

    from_addr: str
    require_tls: bool
    headers_only: bool
    recipients: tuple[RecipientResult, ...]


def _original(
    message: Message | bytes | str,
    failure: DeliveryReport | RequireTLSError,
    from_addr: str | None,
    to_addrs: str | Sequence[str] | None,
) -> _Original:
    """Bring the two kinds of failure into one form."""
    report = failure.report if isinstance(failure, DeliveryFailed) else failure
    if isinstance(report, DeliveryReport):
        author = syntax.mailbox(report.from_addr, "from_addr")
        return _Original(author, report.require_tls, report.require_tls, report.recipients)
    if not isinstance(failure, RequireTLSError):
        raise TypeError(f"failure is a {type(failure).__name__}, no report and no RequireTLSError")
    if isinstance(message, Message):
        from_addr = objects.sender(message) if from_addr is None else from_addr
        to_addrs = header.recipients(message) if to_addrs is None else to_addrs
    if from_addr is None or to_addrs is None:
        raise ValueError("a raw message and an error without a report need from_addr and to_addrs")
    recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
    if not recipients:
        raise ValueError("there is no recipient")
    results = tuple(_result(each, failure) for each in recipients)
    asked = failure.verdict is None or failure.verdict.require_tls
    # The error of a login or of starttls() does not know what was to follow: headers only.
    return _Original(syntax.mailbox(from_addr, "from_addr"), asked, True, results)


def _result(address: str, error: RequireTLSError) -> RecipientResult:
    """Return what an error means for one recipient: nothing was sent to anybody."""
    verdicts = (error.verdict.hosts or (error.verdict,)) if error.verdict else ()
    failed = error.verdict.failed if error.verdict else None
    return RecipientResult(
        address=address,
        state="deferred" if error.code < 500 else "refused",
        code=error.code,
        status=error.status,
        temporary=error.temporary,
        text=f"{failed.text} ({failed.rfc})" if failed else str(error),
        mx_host=error.host,
        mx_level=None,
        tls_level="none",
        attempts=tuple(Attempt(each.host, 0, None, each) for each in verdicts),
        findings=error.findings,
    )


# -- one recipient -------------------------------------------------------------------------------


def _notice(result: RecipientResult, *, retrying: bool) -> Notice | None:
    """Translate one result, by the rules at the top; None for one who has the message."""
    if result.state == "delivered":
        return None
    status = result.status or "4.4.2"  # RFC 3463 s3.5: the connection broke
    action = "delayed" if retrying and result.temporary else "failed"
    if action == "delayed":
        status = f"4{status[1:]}"  # what is tried again is not final (RFC 3463 s2)
    tried = [each.verdict for each in result.attempts if each.mx_host == result.mx_host]
    return Notice(
        address=syntax.mailbox(result.address, "recipient"),
        action=action,
        status=status,
        host=result.mx_host if result.mx_host and any(map(_is_met, tried)) else None,
        reply=f"{result.code} {result.text}" if result.remote else None,
        lines=tuple(_lines(result, action)),
    )


def _is_met(verdict: Verdict) -> bool:
    """Tell whether a verdict was found in a session with the server, not before."""
    return verdict.allowed or (verdict.failed is not None and verdict.failed.step in _IN_SESSION)


def _lines(result: RecipientResult, action: str) -> Iterable[str]:
    """Yield what happened to one recipient, for people: outcome, reasons, what to do."""
    codes = " ".join(str(each) for each in (result.code, result.status) if each)
    if result.state == "unknown":
        yield "It is not known whether this recipient has the message."
    elif action == "delayed":
        yield f"Not delivered yet ({codes}); it will be tried again."
    elif result.temporary:
        yield f"Not delivered ({codes}). It is not tried again by itself; later may be better."
    else:
        yield f"Not delivered ({codes})."
    failed = [each.verdict.failed for each in result.attempts if each.verdict.failed]
    said = f"{result.mx_host} said: {result.code} {result.text}" if result.remote else result.text
    yield from dict.fromkeys([*(f"{each.text} ({each.rfc})" for each in failed), said])
    if result.state == "unknown":
        yield "What to do: ask whether it arrived before you send it again."
    elif not result.remote:
        fixes = [each.fix for each in failed if each.fix]
        yield from (f"What to do: {each}." for each in dict.fromkeys(fixes))


# -- arguments -----------------------------------------------------------------------------------


def _as_sent(message: Message | bytes | str, original: _Original) -> bytes:
    """Return the message as a server that can do everything would have got it."""
    if not isinstance(message, Message):
        return content.raw_bytes(message)
    envelope = [original.from_addr, *(each.address for each in original.recipients)]
    serialised = objects.Serialised(message, utf8=not "".join(envelope).isascii())
    return serialised.form((), lambda keyword: True)


def _actions(notify: str | None) -> frozenset[str]:
    """Return the actions that a NOTIFY asks for (RFC 3461 s4.1, s5.2.6); None asks for all."""
    if notify is None:
        return frozenset(_NOTIFY)
    words = notify.upper().split(",")
    if words == ["NEVER"]:
        return frozenset()
    for word in words:
        _choice(word, "notify", ("SUCCESS", "FAILURE", "DELAY"))
    return frozenset(action for action, word in _NOTIFY.items() if word in words)


def _choice(value: str, argument: str, choices: Sequence[str]) -> str:
    if value.upper() not in choices:
        raise ValueError(f"{argument} must be of {', '.join(choices)} (RFC 3461 s4.1, s4.3)")
    return value.upper()
