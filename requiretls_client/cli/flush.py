"""``requiretls flush``: try again what waits in the spool. For a timer, every few minutes."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from requiretls_client.cli import queue_text
from requiretls_client.cli.attempt import Outcome, Transmit, attempt, resume
from requiretls_client.cli.destinations import Destinations
from requiretls_client.cli.record import DamagedError
from requiretls_client.cli.say import say
from requiretls_client.cli.schedule import DAY, Schedule
from requiretls_client.cli.spool import QUEUE, Spool, open_spool
from requiretls_client.cli.spool_files import SpoolError

if TYPE_CHECKING:
    from requiretls_client.cli.entry import Entry

NOTHING_WAITS, FAILED, TROUBLE, WAITS, CONFIG = 0, 69, 74, 75, 78
STATUS = """\
What was sent leaves the spool. What cannot be sent now is tried again after 5 minutes, then after
10, 20 and so on up to 4 hours, for 5 days of trying ([spool] deadline in the configuration). Where
a server does not answer, or refuses the password, the other messages for it wait for the next run,
and that counts for none of them as an attempt. What is refused for good, or was tried for so long,
is kept with its reason: see requiretls queue --failed; its sender gets a report (RFC 3464), and one
about a message with REQUIRETLS holds nothing of its text and asks for REQUIRETLS too (RFC 8689 s5).
No report is sent about a delay.

exit status, the first that applies:
  78  the configuration is wrong
  74  the spool cannot be read or written, or a message in it is damaged
  69  a message failed for good in this run
  75  something still waits
  0   nothing waits any more
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--all", action="store_true", help="try also what is not due yet")
    parser.add_argument(
        "--quiet", action="store_true", help="say only what failed for good, and trouble"
    )
    parser.add_argument("--config", metavar="FILE", help="read this configuration")


def run(options: argparse.Namespace) -> int:
    """Try what is due; return the exit status."""
    from requiretls_client.cli.config import ConfigError, load
    from requiretls_client.cli.transport import transmit

    try:
        config = load(options.config)
    except ConfigError as error:
        say(f"requiretls flush: {error}", sys.stderr)
        return CONFIG
    times = Schedule(deadline=config.spool_deadline * DAY)
    try:
        with open_spool(config.spool_folder) as spool:
            flush = Flush(spool, partial(transmit, config=config), times, quiet=options.quiet)
            return flush.run(everything=options.all)
    except SpoolError as error:
        say(f"requiretls flush: {error}", sys.stderr)
        return TROUBLE


class Flush:
    """One run over the spool."""

    def __init__(
        self, spool: Spool, transmit: Transmit, times: Schedule, *, quiet: bool = False
    ) -> None:
        """Begin.

        Args:
            spool: where the messages are.
            transmit: makes one attempt, see :func:`requiretls_client.cli.attempt.attempt`.
            times: when messages are due, and given up.
            quiet: say nothing of what was sent or waits.
        """
        self._spool = spool
        self._destinations = Destinations(transmit)
        self._times = times
        self._quiet = quiet
        self._failed = self._trouble = False

    def run(self, *, everything: bool = False) -> int:
        """Try what is due, oldest first, or everything that waits; return the exit status.

        What another process works on is left to it.
        """
        try:
            for path in self._spool.strangers():
                self._warn(f"{queue_text.shown(path)}: no message of the spool, left alone")
            for name in self._spool.names(QUEUE):
                self._one(name, everything=everything)
            waits = bool(self._spool.names(QUEUE))
            self._spool.sweep()
        except SpoolError as error:
            self._warn(str(error))
            return TROUBLE
        if self._trouble:
            return TROUBLE
        if self._failed:
            return FAILED
        return WAITS if waits else NOTHING_WAITS

    def _one(self, name: str, *, everything: bool) -> None:
        """Do what is to be done about one message; trouble with it keeps nobody from the rest."""
        try:
            entry = self._spool.take(name)
            if entry is None:
                return
            with entry:
                due = entry.progress.is_due(self._times, name, self._spool.clock())
                work = attempt if entry.progress.waiting and (due or everything) else resume
                if work is attempt and self._is_suspended(entry):
                    return
                self._tell(work(self._spool, entry, self._destinations, self._times))
        except (DamagedError, SpoolError) as error:
            self._trouble = True
            self._warn(f"{name}: {queue_text.shown(error)}")

    def _is_suspended(self, entry: Entry) -> bool:
        """Tell whether a message waits untried, which is no attempt: it stays due, as it is.

        One whose time is over is tried all the same: nothing is given up untried.
        """
        if entry.progress.is_over(self._times, self._spool.clock()):
            return False
        waiting = [each.address for each in entry.progress.waiting]
        why = self._destinations.why_not(entry.head, waiting)
        if why and not self._quiet:
            line = f"{entry.id}: not tried, since an earlier message of this run met this: {why}"
            say(queue_text.shown(line), sys.stdout)
        return bool(why)

    def _tell(self, outcome: Outcome | None) -> None:
        """Say what became of a message, and of the report about it."""
        while outcome is not None:
            for line in queue_text.outcome_lines(outcome):
                if outcome.failed:
                    self._warn(line)
                elif not self._quiet:
                    say(line, sys.stdout)
            if outcome.trouble:
                self._trouble = True
                self._warn(f"{outcome.id}: {queue_text.shown(outcome.trouble)}")
            self._failed = self._failed or bool(outcome.failed)
            outcome = outcome.notice

    def _warn(self, line: str) -> None:
        say(line, sys.stderr)
