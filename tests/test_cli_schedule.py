"""When a waiting message is tried again and given up: RFC 5321 section 4.5.4.1, and bad clocks."""

from __future__ import annotations

import pytest

from requiretls_client.cli import schedule
from requiretls_client.cli.schedule import DAY, Schedule

TIMES = Schedule()
START = 1.8e9


def attempts_until_given_up(every):
    """Play a timer that flushes every so many seconds; return when it was tried."""
    tried, now = [], START
    while True:
        if schedule.is_due(TIMES, tried, "name", now):
            tried.append(now)
            if schedule.is_over(TIMES, [START, *tried, now]):
                return tried
        now += every


def test_delays_grow_to_a_bound():
    """5 minutes, doubling, at most 4 hours; the spread takes off a quarter at most."""
    plain = [schedule.delay(TIMES, count, 0.0) for count in range(1, 10)]
    assert plain == [300, 600, 1200, 2400, 4800, 9600, 14400, 14400, 14400]
    assert schedule.delay(TIMES, 1, 1.0) == 225
    assert schedule.delay(TIMES, 10**6, 0.0) == 14400


def test_spread():
    """Messages that failed together do not come back together, and the same inputs agree."""
    spread = [schedule.jitter(f"{number}", 3) for number in range(200)]
    assert len(set(spread)) > 190
    assert min(spread) >= 0
    assert max(spread) < 1
    assert schedule.jitter("7", 3) == spread[7] != schedule.jitter("7", 4)


def test_first_attempt_is_due_at_once():
    """What was never tried does not wait."""
    assert schedule.next_attempt(TIMES, [], "name") is None
    assert schedule.is_due(TIMES, [], "name", START)


def test_not_before_its_time():
    """Due at the moment that next_attempt names, and not a second earlier."""
    due = schedule.next_attempt(TIMES, [START], "name")
    assert START + 225 <= due <= START + 300
    assert not schedule.is_due(TIMES, [START], "name", due - 1)
    assert schedule.is_due(TIMES, [START], "name", due)


@pytest.mark.parametrize("every", [60, 300, 3600])
def test_tried_for_five_days(every):
    """With any timer a message is tried for 5 days, some thirty times, and then given up."""
    tried = attempts_until_given_up(every)
    assert 5 * DAY <= tried[-1] - START < 5.2 * DAY
    assert 28 <= len(tried) <= 50


def test_clock_set_back():
    """After an attempt of the future the time is unknown: it is due."""
    assert schedule.is_due(TIMES, [START + 365 * DAY], "name", START)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([START, START + 60, START + 120], 120),
        ([0.0, START], DAY),  # from 1970 to now
        ([START, START + 30 * DAY, START + 30 * DAY + 5], DAY + 5),  # switched off for a month
        ([START + 10 * DAY, START, START + 60], 60),  # set back
        ([START], 0),
    ],
)
def test_only_time_spent_trying_counts(times, expected):
    """A jump of the clock, or a machine that was off, does not give a message up."""
    assert schedule.tried_for(times) == expected
