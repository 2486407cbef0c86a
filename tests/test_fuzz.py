"""A share of what tests/fuzz.py generates, the same in each run; the script makes new cases."""

from __future__ import annotations

import fuzz
import pytest

REPLIES = 10_000  # streams for each seed
SESSIONS = 600
DOMAINS = 150


@pytest.mark.parametrize("seed", ["8689", "5321"])
def test_replies(seed):
    """Whatever bytes arrive in whatever segments, the parser agrees with the reference."""
    for number in range(REPLIES):
        fuzz.try_case("replies", seed, number)


def test_sessions():
    """Whatever a server does, nothing leaks, nothing hangs, and no outcome is false (O1 to O6)."""
    before = fuzz.held()
    for number in range(SESSIONS):
        fuzz.try_case("sessions", "8689", number)
    after = fuzz.held()
    assert all(now <= then for now, then in zip(after[1:], before[1:], strict=True)), after


def test_domains():
    """H to K: whatever the DNS and the web say, no host gets a message that nothing vouches for."""
    fuzz.try_case("domains", "8689", DOMAINS)
    before = fuzz.held()
    seen = [fuzz.try_case("domains", "8689", number) for number in range(DOMAINS)]
    after = fuzz.held()
    assert all(now <= then for now, then in zip(after[1:], before[1:], strict=True)), after
    assert sum(each.startswith("delivered") for each in seen) > DOMAINS / 10


@pytest.mark.parametrize(
    ("stream", "replies", "rest"),
    [
        (b"250 ok\r\n", [(250, [b"250 ok\r\n"])], b""),
        (b"250\r\n354", [(250, [b"250\r\n"])], b"354"),
        (b"250-a\r\n250 b\r\n", [(250, [b"250-a\r\n", b"250 b\r\n"])], b""),
        (b"550-a\r\n250 b\r\n", [], None),
        (b"25 ok\r\n", [], None),
        (b"199 ok\r\n", [], None),
        (b"250+ok\r\n", [], None),
    ],
)
def test_reference(stream, replies, rest):
    """The reference itself reads RFC 5321 s4.2 as we do."""
    assert fuzz.reference(stream) == (replies, rest)
