"""One attempt to send a message of the spool, and what follows from it.

First the note that it begins, then the attempt, then the note of what became of it, recipient by
recipient; at last the message leaves the spool, waits, or is put with those that failed. A process
that is killed in between leaves a message of which a later run knows that it may have arrived: it
is sent again, because a queue must (RFC 5321 section 4.5.4.1), and called a possible duplicate.

Mail that goes straight to the mail hosts is noted domain by domain, so that a domain that takes
long does not keep what is known of the others from the disk.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import MessageError

from requiretls_client import syntax
from requiretls_client.cli import progress, record
from requiretls_client.cli.entry import Entry
from requiretls_client.cli.job import Job
from requiretls_client.cli.schedule import Schedule
from requiretls_client.cli.spool import FAILED, Spool
from requiretls_client.cli.spool_files import SpoolError
from requiretls_client.reports import DeliveryReport, RecipientResult

AT_ONCE = 16  # domains of one message

Transmit = Callable[[Job], DeliveryReport]

_log = logging.getLogger("requiretls_client")


@dataclass(slots=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        id: name of the message in the spool.
        report: what became of those for whom it was tried.
        waiting: addresses that will be tried again.
        failed: addresses that failed now, and for good.
        duplicate: somebody may have got the message for the second time.
        trouble: what could not be done in the spool, so that the next run may repeat something;
            "" if all was.
        notice: what came of the report to the sender, which is a message of its own; None where
            there was none.
    """

    id: str
    report: DeliveryReport
    waiting: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    duplicate: bool = False
    trouble: str = ""
    notice: Outcome | None = None


def attempt(spool: Spool, entry: Entry, transmit: Transmit, times: Schedule) -> Outcome:
    """Try to send a message to all who wait for it, and do what follows from that.

    Args:
        spool: where it is.
        entry: the message; the caller closes it.
        transmit: makes one attempt for all recipients of a job, and raises for nothing that
            network, servers or policies do. It may be called in several threads.
        times: when the message is given up.

    Returns:
        What came of it.

    Raises:
        SpoolError: nothing was sent, because it could not be noted that an attempt begins.
        DamagedError: nothing was sent, because the message is damaged.
    """
    job, duplicate = entry.job(), entry.progress.duplicate
    if duplicate:
        _log.warning(
            "message %s is sent again: an attempt broke off, and the message may have arrived "
            "(possible duplicate)", entry.id,
        )  # fmt: skip
    tried = tuple(each.address for each in entry.progress.waiting)
    room = {each: progress.room_for([each]) for each in tried}
    entry.note(progress.begin(spool.clock()), room=sum(room.values()))
    found: dict[str, RecipientResult] = {}
    trouble = ""
    for results in _transmit(replace(job, recipients=tried), transmit):
        found.update({each.address: each for each in results})
        for each in results:
            del room[each.address]
        trouble = _note(spool, entry, results, sum(room.values()), times) or trouble
    outcome = Outcome(
        entry.id,
        DeliveryReport(job.sender, job.require_tls, tuple(found[each] for each in tried)),
        waiting=tuple(each.address for each in entry.progress.waiting),
        failed=tuple(each.address for each in entry.progress.failed if each.address in tried),
        duplicate=duplicate,
        trouble=trouble,
    )
    if not trouble:
        _settle(spool, entry, transmit, times, outcome)
    return outcome


def _note(
    spool: Spool, entry: Entry, results: list[RecipientResult], room: int, times: Schedule
) -> str:
    """Note what became of some recipients; return why that was not possible, "" if it was.

    Reasons must not take the ``room`` that is reserved for the others' fate.
    """
    now = spool.clock()
    over = entry.progress.is_over(times, now)
    whole, brief = (
        progress.outcome(results, now, over=over, briefly=briefly) for briefly in (False, True)
    )
    try:
        entry.note(whole, room=room, spare=brief)
    except SpoolError as error:
        return str(error)
    return ""


def resume(spool: Spool, entry: Entry, transmit: Transmit, times: Schedule) -> Outcome:
    """Do what follows from former attempts, where a run was cut off before it had done that.

    Nothing is left to do for most messages.
    """
    outcome = Outcome(entry.id, DeliveryReport(entry.head.sender, entry.head.require_tls, ()))
    _settle(spool, entry, transmit, times, outcome)
    return outcome


def _settle(
    spool: Spool, entry: Entry, transmit: Transmit, times: Schedule, outcome: Outcome
) -> None:
    """Do what follows, and attempt the report; a message is safe whatever fails here."""
    try:
        notice = settle(spool, entry)
        if notice is not None:
            with notice:
                outcome.notice = attempt(spool, notice, transmit, times)
    except (record.DamagedError, SpoolError) as error:
        outcome.trouble = str(error)
    except Exception as error:  # a bug of ours must not keep a flush from the other messages
        outcome.trouble = f"this program failed, please report it: {type(error).__name__}: {error}"


def settle(spool: Spool, entry: Entry) -> Entry | None:
    """Do what follows from the notes of a message: report, then remove it or put it aside.

    Returns:
        The report to the sender, kept in the spool and not tried yet, where one was due.

    Raises:
        SpoolError: not all could be done; the next run does the rest.
    """
    notice = _notice(spool, entry)
    try:
        if not entry.progress.recipients:
            entry.finish()
        elif not entry.progress.waiting:
            entry.move(FAILED)
    except BaseException:
        if notice is not None:
            notice.close()
        raise
    return notice


# -- sending -------------------------------------------------------------------------------------


def _transmit(job: Job, transmit: Transmit) -> Iterator[list[RecipientResult]]:
    """Yield the results of each part of a job as they come."""
    parts = _parts(job)
    if len(parts) == 1:
        yield _results(job, transmit)
        return
    pool = ThreadPoolExecutor(min(AT_ONCE, len(parts)), "requiretls-attempt")
    try:
        for future in as_completed([pool.submit(_results, part, transmit) for part in parts]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _parts(job: Job) -> list[Job]:
    """Return a job for each domain; one for all where an account's server takes the message."""
    if job.account:
        return [job]
    domains: dict[str, list[str]] = {}
    for address in job.recipients:
        domains.setdefault(domain_of(address), []).append(address)
    return [replace(job, recipients=tuple(each)) for each in domains.values()]


def domain_of(address: str) -> str:
    """Return the one form of an address's domain; what has none is a part of its own."""
    try:
        return syntax.domain_of(address, "recipient")
    except ValueError:
        return address


def _results(job: Job, transmit: Transmit) -> list[RecipientResult]:
    """Return a result for each recipient, whatever happens."""
    try:
        found = {each.address: each for each in transmit(job).recipients}
    except Exception:  # a bug of ours must not hide what became of the others
        _log.exception("an attempt broke off")
        found = {}
    text = "the attempt broke off with an unexpected error, see the log"
    return [found.get(each) or record.bare_result(each, "unknown", text) for each in job.recipients]


# -- the report ----------------------------------------------------------------------------------


def _notice(spool: Spool, entry: Entry) -> Entry | None:
    """Keep a report about those who failed, and note that there is one.

    It has a name of its own that the message gives it, so that a run which was cut off between
    the two does not make a second one.
    """
    head, failed = entry.head, entry.progress.unreported
    if not failed or not head.sender or not head.report:  # never a report about a report
        return None
    name = f"{entry.id}.{entry.progress.reports + 1}"
    job = None if spool.has(name) else _compose(entry)
    notice = spool.add(job, name=name) if job else None
    try:
        entry.note(progress.reported(spool.clock()))
    except BaseException:
        if notice is not None:
            notice.close()
        raise
    return notice


def _compose(entry: Entry) -> Job | None:
    """Return the report, to be sent as strictly as the message (RFC 8689 s5); None for none."""
    head = entry.head
    try:
        try:
            message = _report(entry, head.ret or "HDRS")
        except (MessageError, UnicodeError):  # email cannot write what it has parsed itself
            message = _report(entry, "HDRS")
    except (MessageError, ValueError) as error:  # an address, or a DSN parameter, without sense
        _log.warning("there can be no report about message %s: %s", entry.id, error)
        return None
    if message is None:
        return None
    return Job(
        message=message,
        sender="",
        recipients=(head.sender,),
        require_tls=head.require_tls,
        tls_optional=False,
        account=head.account,
    )


def _report(entry: Entry, ret: str) -> bytes | None:
    """Return the text of the report; None where there must be none. Raises as ``make_dsn``."""
    from requiretls_client.dsn import make_dsn

    head, failed = entry.head, entry.progress.unreported
    results = tuple(each.result for each in failed if each.result)
    when = max(each.failed or 0.0 for each in failed)
    report = make_dsn(
        entry.job().message,
        DeliveryReport(head.sender, head.require_tls, results),
        reporting_mta=_own_name(),
        now=datetime.fromtimestamp(when, UTC),
        envelope_id=head.envelope_id or None,
        notify=head.notify or None,
        ret=ret,
    )
    return report.as_bytes(policy=report.policy.clone(linesep="\r\n")) if report else None


def _own_name() -> str:
    """Return a name for this machine that a report can bear."""
    name = socket.gethostname()
    try:
        return syntax.mail_domain(name if "." in name else socket.getfqdn())
    except ValueError:
        return "[127.0.0.1]"
