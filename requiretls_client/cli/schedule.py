"""When a message that waits is tried again, and when it is given up.

Pure: times are arguments, in seconds since the epoch. RFC 5321 section 4.5.4.1 asks for four to
five days of trying at least, and for 30 minutes between attempts unless one knows better: we begin
with less, as most mail servers do, because most trouble of one's own relay is short. Clocks are not
trusted: that of a small computer starts in 1970 and jumps by decades, and one that was wrong is set
back.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of a queue, in seconds.

    Attributes:
        first: from the first attempt to the second; it doubles from then on.
        longest: between any two attempts.
        deadline: of trying, before a message is given up.
    """

    first: float = 300.0
    longest: float = 4 * 3600.0
    deadline: float = 5 * DAY


def jitter(name: str, attempts: int) -> float:
    """Return a number from 0 to 1 that is another for every message and attempt.

    Messages that failed together, because their relay was away, must not all come back together.
    """
    return zlib.crc32(f"{name} {attempts}".encode()) / 2**32


def delay(schedule: Schedule, attempts: int, spread: float) -> float:
    """Return the seconds from one attempt to the next.

    Args:
        schedule: the times.
        attempts: how many were made, at least 1.
        spread: 0 to 1; it takes up to a quarter off.
    """
    doubled = schedule.first * 2.0 ** min(attempts - 1, 32)  # bounded, so that it is no infinity
    return min(doubled, schedule.longest) * (1 - spread / 4)


def next_attempt(schedule: Schedule, attempts: Sequence[float], name: str) -> float | None:
    """Return when a message is to be tried; None means that it has not been, so at once.

    Args:
        schedule: the times.
        attempts: when it was tried, in that order.
        name: of the entry, for the jitter.
    """
    if not attempts:
        return None
    count = len(attempts)
    return attempts[-1] + delay(schedule, count, jitter(name, count))


def is_due(schedule: Schedule, attempts: Sequence[float], name: str, now: float) -> bool:
    """Tell whether a message is to be tried now.

    An attempt of the future was noted by a clock that was wrong; then the time is unknown, and to
    try once more is what does no harm.
    """
    due = next_attempt(schedule, attempts, name)
    return due is None or now >= due or now < attempts[-1]


def tried_for(times: Sequence[float]) -> float:
    """Return how long a message has been tried, whatever clocks and power switches did meanwhile.

    Each step counts a day at most, and backwards it counts nothing: a machine that was off for a
    week has not tried for a week, and one whose clock jumps from 1970 has not tried for 56 years.

    Args:
        times: when it was accepted, when it was tried, and now; in that order.
    """
    return sum(min(max(later - earlier, 0.0), DAY) for earlier, later in pairwise(times))


def is_over(schedule: Schedule, times: Sequence[float]) -> bool:
    """Tell whether a message that could not be sent now is given up; see :func:`tried_for`.

    It is asked behind an attempt only, so nothing is given up that was not tried just now.
    """
    return tried_for(times) >= schedule.deadline
