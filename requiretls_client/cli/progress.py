"""What the notes about a message add up to: who still waits, who will never get it, and why.

Pure. The notes, in the order in which they are made:

- ``begin``: an attempt begins for all who wait. As long as nothing is known of what became of
  one of them, that recipient may have got it: the process was killed, or the power was cut.
- ``result``: what became of some of them.
- ``reported``: the sender has been told about those who failed.
- ``retry``: a person wants those who failed to be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from requiretls_client.cli import record, schedule
from requiretls_client.cli.record import DamagedError, Event, Head
from requiretls_client.reports import RecipientResult

WAITING, FAILED = "waiting", "failed"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One who has not got the message, as far as we know.

    Attributes:
        address: bare mailbox.
        state: ``waiting`` or ``failed``.
        duplicate: the message may have arrived by an attempt whose end nobody saw.
        begun: an attempt is under way, or was cut off.
        result: of the last attempt that ended, or None.
        failed: when it failed, or None.
        reported: the sender was told that it failed.
    """

    address: str
    state: str = WAITING
    duplicate: bool = False
    begun: bool = False
    result: RecipientResult | None = None
    failed: float | None = None
    reported: bool = False


@dataclass(slots=True)
class Progress:
    """How far a message is.

    Attributes:
        created: when it was accepted.
        recipients: those who have not got it, in the order of the envelope.
        attempts: when it was tried, since it was accepted or a person asked for it anew.
        since: when that was.
        reports: how many reports to the sender were made.
    """

    created: float
    recipients: dict[str, Recipient]
    since: float
    attempts: list[float] = field(default_factory=list)
    reports: int = 0

    @property
    def waiting(self) -> tuple[Recipient, ...]:
        """Those who are to be tried."""
        return tuple(each for each in self.recipients.values() if each.state == WAITING)

    @property
    def failed(self) -> tuple[Recipient, ...]:
        """Those who will not get it."""
        return tuple(each for each in self.recipients.values() if each.state == FAILED)

    @property
    def unreported(self) -> tuple[Recipient, ...]:
        """Those of them whom the sender does not know of."""
        return tuple(each for each in self.failed if not each.reported)

    @property
    def begun(self) -> float | None:
        """When the attempt began that is under way or was cut off; None if there is none."""
        under_way = any(each.begun for each in self.recipients.values())
        return self.attempts[-1] if under_way else None

    @property
    def duplicate(self) -> bool:
        """Whether the next attempt may bring somebody the message for the second time."""
        return any(each.duplicate or each.begun for each in self.waiting)

    def is_due(self, times: schedule.Schedule, name: str, now: float) -> bool:
        """Tell whether it is to be tried now."""
        return schedule.is_due(times, self.attempts, name, now)

    def next_attempt(self, times: schedule.Schedule, name: str) -> float | None:
        """Return when it is to be tried; None means at once."""
        return schedule.next_attempt(times, self.attempts, name)

    def is_over(self, times: schedule.Schedule, now: float) -> bool:
        """Tell whether the deadline has come."""
        return schedule.is_over(times, [self.since, *self.attempts, now])


def read(head: Head, events: Iterable[Event]) -> Progress:
    """Add up the notes.

    Raises:
        DamagedError: a note is of a kind, or of a form, that this version does not know.
    """
    people = {address: Recipient(address) for address in head.recipients}
    progress = Progress(head.created, people, head.created)
    for event in events:
        try:
            _STEPS[event["event"]](progress, event)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DamagedError(f"this version does not know its note {event!r:.60}") from None
    return progress


def _begin(progress: Progress, event: Event) -> None:
    progress.attempts.append(float(event["at"]))
    for each in progress.waiting:
        duplicate = each.duplicate or each.begun  # the last attempt never ended
        progress.recipients[each.address] = replace(each, duplicate=duplicate, begun=True)


def _result(progress: Progress, event: Event) -> None:
    failed = set(event["failed"])
    for result in record.read_results(event["results"]):
        old = progress.recipients[result.address]
        if result.state == "delivered":
            del progress.recipients[result.address]
            continue
        progress.recipients[result.address] = replace(
            old,
            state=FAILED if result.address in failed else WAITING,
            duplicate=old.duplicate or result.state == "unknown",
            begun=False,
            result=result,
            failed=float(event["at"]) if result.address in failed else None,
        )


def _reported(progress: Progress, event: Event) -> None:
    progress.reports += 1
    for each in progress.failed:
        progress.recipients[each.address] = replace(each, reported=True)


def _retry(progress: Progress, event: Event) -> None:
    progress.since, progress.attempts = float(event["at"]), []
    for each in list(progress.recipients.values()):
        again = replace(each, state=WAITING, duplicate=each.duplicate or each.begun, begun=False)
        progress.recipients[each.address] = replace(again, failed=None, reported=False)


_STEPS = {"begin": _begin, "result": _result, "reported": _reported, "retry": _retry}


# -- notes ---------------------------------------------------------------------------------------


def begin(now: float) -> Event:
    """Return the note that an attempt begins."""
    return {"event": "begin", "at": now}


def reported(now: float) -> Event:
    """Return the note that the sender has been told of those who failed."""
    return {"event": "reported", "at": now}


def retry(now: float) -> Event:
    """Return the note that a person wants all to be tried again."""
    return {"event": "retry", "at": now}


def outcome(
    results: Iterable[RecipientResult], now: float, *, over: bool, briefly: bool = False
) -> Event:
    """Return the note of what became of some recipients.

    Args:
        results: of each.
        now: the time.
        over: nobody is tried again, whatever stood in the way.
        briefly: without the reasons.
    """
    results = list(results)
    written = record.write_briefly(results) if briefly else record.write_results(results)
    final = [each.address for each in results if is_final(each, over=over)]
    return {"event": "result", "at": now, "results": written, "failed": final}


def is_final(result: RecipientResult, *, over: bool) -> bool:
    """Tell whether a recipient who has not got the message is not tried again.

    A refusal is final, a missing REQUIRETLS too; but not one that calls itself temporary, as of a
    host that fails its published policy (RFC 8461 s5, RFC 7672 s2.2). After a lost connection a
    queue tries again (RFC 5321 s4.5.4.1), and the receiver may get a duplicate.
    """
    if result.state == "delivered":
        return False
    return over or (result.state == "refused" and not result.temporary)


def room_for(addresses: Iterable[str]) -> int:
    """Return how many bytes the notes of results may need, one for each, without reasons."""
    worst = (record.bare_result(each, "deferred", "") for each in addresses)
    lines = (record.seal(outcome([each], 1e10, over=True, briefly=True)) for each in worst)
    return sum(len(line) + 32 for line in lines)  # a time has more digits, "delivered" is longer
