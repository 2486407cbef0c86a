"""What ``requiretls flush`` and ``queue`` say about messages: lines for people, data for JSON.

Pure. Everything that came from a message or from a server is escaped: it cannot move the cursor,
nor begin a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from requiretls_client import syntax
from requiretls_client.cli.progress import WAITING, Recipient
from requiretls_client.cli.schedule import Schedule
from requiretls_client.reports import RecipientResult

if TYPE_CHECKING:
    from requiretls_client.cli.attempt import Outcome
    from requiretls_client.cli.entry import Glimpse

SCHEMA = "requiretls-queue/1"
DUPLICATE = "possible duplicate"
_LONGEST = 1000  # characters of a line
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def shown(text: object) -> str:
    """Return foreign text, escaped."""
    return syntax.printable(str(text), _LONGEST)


def span(seconds: float) -> str:
    """Return a time span for people: its largest unit, rounded down."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def moment(when: float) -> str:
    """Return a time for people and programs: UTC, to the second."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- flush ---------------------------------------------------------------------------------------


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """Yield one line for each message that was tried: what became of it, and of whom not."""
    results = {each.address: each for each in outcome.report.recipients}
    if not results:
        return
    counts = (
        (len(results) - len(outcome.waiting) - len(outcome.failed), "sent"),
        (len(outcome.waiting), "waiting"),
        (len(outcome.failed), "failed"),
    )
    parts = [", ".join(f"{number} {word}" for number, word in counts if number)]
    parts += [DUPLICATE] * outcome.duplicate
    reasons: dict[str, list[str]] = {}
    for address in (*outcome.failed, *outcome.waiting):
        reasons.setdefault(_reason(results[address]), []).append(address)
    parts += [shown(f"{', '.join(who)}: {why}") for why, who in reasons.items()]
    yield f"{outcome.id}: {'; '.join(parts)}"


# -- queue ---------------------------------------------------------------------------------------


def as_dict(name: str, found: Glimpse, times: Schedule) -> dict[str, Any]:
    """Return a message as plain data for JSON; the key ``schema`` names the version of the form.

    Args:
        name: of the entry.
        found: the message.
        times: of the queue.
    """
    head, progress = found.head, found.progress
    waits = bool(progress.waiting)
    return {
        "schema": SCHEMA,
        "id": name,
        "state": _state(found),
        "created": head.created,
        "size": head.size,
        "sender": head.sender,
        "require_tls": head.require_tls,
        "tls_optional": head.tls_optional,
        "account": head.account,
        "attempts": list(progress.attempts),
        "next_attempt": progress.next_attempt(times, name) if waits else None,
        "possible_duplicate": progress.duplicate,
        "recipients": [_recipient(each) for each in progress.recipients.values()],
    }


def _recipient(one: Recipient) -> dict[str, Any]:
    return {
        "address": one.address,
        "state": one.state,
        "possible_duplicate": one.duplicate or one.begun,
        "failed": one.failed,
        "result": one.result.as_dict() if one.result else None,
    }


def _state(found: Glimpse) -> str:
    if found.busy:
        return "under way"
    return "waiting" if found.progress.waiting else "failed"


def listing(name: str, found: Glimpse, times: Schedule, now: float) -> Iterator[str]:
    """Yield a message as ``mailq`` would show it: a line for it, then two for each recipient."""
    head, progress = found.head, found.progress
    marks = [_state(found), *_wishes(found)]
    if progress.duplicate:
        marks.append(DUPLICATE)
    sender = shown(head.sender) or "<>"
    yield (
        f"{name}  {span(now - head.created)} old  {head.size} bytes  {sender}  ({', '.join(marks)})"
    )
    for each in progress.recipients.values():
        yield f"    {shown(each.address)}: {_prospect(name, found, each, times, now)}"
        if each.result:
            yield f"        {shown(_reason(each.result))}"


def _wishes(found: Glimpse) -> list[str]:
    wishes = {"REQUIRETLS": found.head.require_tls, "TLS-Required: No": found.head.tls_optional}
    return [word for word, asked in wishes.items() if asked]


def _prospect(name: str, found: Glimpse, one: Recipient, times: Schedule, now: float) -> str:
    """Return what is to be expected for one recipient."""
    mark = f" ({DUPLICATE})" if one.duplicate or one.begun else ""
    if one.state != WAITING:
        return f"failed {moment(one.failed or 0.0)}{mark}"
    if found.busy:
        return f"being tried{mark}"
    due = found.progress.next_attempt(times, name)
    if due is None or found.progress.is_due(times, name, now):
        return f"next attempt as soon as the queue is flushed{mark}"
    return f"next attempt in {span(due - now)}{mark}"


def _reason(result: RecipientResult) -> str:
    if result.state == "delivered":  # and yet it is tried again
        return "delivered, but that could not be noted"
    codes = " ".join(str(each) for each in (result.code, result.status) if each)
    where = f" at {result.mx_host}" if result.mx_host else ""
    return f"{codes or 'no answer'}{where}: {result.text}"


def details(name: str, found: Glimpse, times: Schedule, now: float) -> Iterator[str]:
    """Yield everything that is known about a message but its text."""
    head, progress = found.head, found.progress
    yield from listing(name, found, times, now)
    yield ""
    yield f"accepted: {moment(head.created)}"
    yield f"account: {shown(head.account) or 'none, straight to the mail hosts'}"
    yield from (f"tried: {moment(each)}" for each in progress.attempts)
    told = set()
    for each in progress.recipients.values():
        why = tuple(_findings(each.result)) if each.result else ()
        if why and why not in told:  # what many have in common is said of the first
            told.add(why)
            yield from ("", f"{shown(each.address)}: {why[0]}", *why[1:])


def _findings(result: RecipientResult) -> Iterator[str]:
    """Yield the reason, every attempt that led to it, and what to change."""
    yield shown(f"{result.state}, {_reason(result)}")
    for each in result.attempts:
        yield from (f"  {shown(line)}" for line in each.verdict.explain().splitlines())
    if not result.attempts:
        yield from (f"  fix: {shown(fix)}" for fix in result.fixes)
