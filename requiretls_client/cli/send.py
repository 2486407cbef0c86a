"""``requiretls send``: a message from standard input, into the spool, and out.

Spool first, then the attempt: whenever the process is killed, the message is in the spool or has
been delivered. Where the spool cannot be written there is one attempt, and if it fails the caller
is told that nothing is kept. ``requiretls-sendmail`` (:mod:`requiretls_client.cli.sendmail`) is the
same with sendmail's idea of success.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from requiretls_client import syntax
from requiretls_client.cli import exit_status, send_options
from requiretls_client.cli.people import UnknownPerson
from requiretls_client.cli.say import say
from requiretls_client.cli.send_options import Options, UsageError
from requiretls_client.cli.values import ConfigError

if TYPE_CHECKING:
    from requiretls_client.cli.attempt import Outcome
    from requiretls_client.cli.config import Config
    from requiretls_client.cli.job import Job
    from requiretls_client.reports import DeliveryReport


_STATUSES: tuple[tuple[type[ValueError], int], ...] = (
    (ConfigError, exit_status.CONFIG),
    (UsageError, exit_status.USAGE),
    (UnknownPerson, exit_status.NO_USER),
    (ValueError, exit_status.BAD_MESSAGE),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take all arguments as they are: their grammar is sendmail's, which argparse cannot read.

    The options are there for shells to complete.
    """
    parser.add_argument("-t", action="store_true", help="send to those in To, Cc and Bcc too")
    parser.add_argument("-f", metavar="ADDRESS", help="envelope sender")
    parser.add_argument("-F", metavar="NAME", help="full name, where there is no From")
    for name, text in (
        ("--require-tls", "REQUIRETLS (RFC 8689), or not at all"),
        ("--tls-optional", "TLS-Required: No: deliver it even where TLS fails"),
        ("--pretend", "show what would be sent, and how"),
        ("--no-spool", "try once, and keep nothing"),
        ("--version", "the version"),
    ):
        parser.add_argument(name, action="store_true", help=text)
    parser.add_argument("--account", metavar="NAME", help="account of the configuration")
    parser.add_argument("--config", metavar="FILE", help="read this configuration")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.prefix_chars = ""  # from here on nothing looks like an option, not even --help


def run(options: argparse.Namespace) -> int:
    """Send; return the exit status."""
    return Program("requiretls send").run(options.arguments)


@dataclass(frozen=True, slots=True)
class Program:
    """One of the two programs.

    Attributes:
        name: how it is called, for texts.
        sendmail: it does as sendmail: a dot alone ends the message, and what is safe in the spool
            is its business and a success.
    """

    name: str
    sendmail: bool = False

    def run(self, arguments: Sequence[str]) -> int:
        """Do what a command line says; return the exit status."""
        try:
            asked = ["--help"] if list(arguments) == ["-h"] else arguments  # not a hop count
            options = send_options.parse(asked, dot_ends=self.sendmail)
        except UsageError as error:
            return self._complain(str(error), exit_status.USAGE)
        if options.mode == send_options.SEND:
            return self._send(options)
        return self._other(options)

    def _other(self, options: Options) -> int:
        """Do what needs no message."""
        if options.mode == send_options.HELP:
            from requiretls_client.cli import send_help

            print(send_help.text(self.name, sendmail=self.sendmail), end="")
        elif options.mode == send_options.VERSION:
            from importlib.metadata import version

            print(f"{self.name} {version('requiretls-client')}")
        elif options.mode == send_options.QUEUE:
            from requiretls_client.cli import queue

            return queue.run(_arguments(queue, options))
        elif options.mode == send_options.FLUSH:
            from requiretls_client.cli import flush

            return flush.run(_arguments(flush, options, "--all"))
        return exit_status.OK

    # -- one message -----------------------------------------------------------------------------

    def _send(self, options: Options) -> int:
        """Read a message, and do what can be done for it."""
        from requiretls_client.cli import submission
        from requiretls_client.cli.config import Config, load

        if sys.stdin is None:  # it is closed
            return self._complain("there is no standard input", exit_status.IO_ERROR)
        try:
            raw = submission.read_message(sys.stdin.buffer, dot_ends=options.dot_ends)
        except OSError as error:
            return self._complain(f"standard input: {error.strerror}", exit_status.IO_ERROR)
        config = Config()
        try:
            config = load(options.config)
            if not raw.strip():
                return self._complain("standard input is empty", exit_status.BAD_MESSAGE)
            job, notes = submission.make_job(options, config, raw)
        except ValueError as error:
            status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            return self._bury(raw, config, str(error), status, options)
        except Exception as error:  # a bug of ours must not lose what cron has to say
            why = f"this program failed, please report it: {type(error).__name__}: {error}"
            return self._bury(raw, config, why, exit_status.SOFTWARE, options)
        for note in notes:
            self._complain(note, exit_status.OK)
        if options.pretend:
            return self._pretend(job, config, options)
        if not options.keep:
            return self._once(job, config, options)
        return self._through_spool(job, config, options)

    def _pretend(self, job: Job, config: Config, options: Options) -> int:
        """Show what would be done."""
        from requiretls_client.cli import pretend
        from requiretls_client.cli.spool import open_spool
        from requiretls_client.cli.spool_files import SpoolError

        folder = None
        try:
            folder = open_spool(config.spool_folder).folder if options.keep else None
        except SpoolError as error:
            self._complain(str(error), exit_status.OK)
        print(pretend.text(job, config, folder), end="")
        return exit_status.OK

    def _bury(self, raw: bytes, config: Config, why: str, status: int, options: Options) -> int:
        """Keep what cannot become a message; return the status that was to be."""
        from requiretls_client.cli import dead_letter
        from requiretls_client.cli.spool import open_spool

        self._complain(why, status)
        if raw.strip() and options.keep and not options.pretend:
            try:
                path = dead_letter.keep(raw, why, open_spool(config.spool_folder).folder)
            except OSError as error:
                self._complain(f"{error}; nothing is kept", status)
            else:
                self._complain(f"the text is kept in {path}", status)
        return status

    def _through_spool(self, job: Job, config: Config, options: Options) -> int:
        """Keep the message, then try it."""
        from requiretls_client.cli.attempt import attempt
        from requiretls_client.cli.record import DamagedError
        from requiretls_client.cli.schedule import DAY, Schedule
        from requiretls_client.cli.spool import open_spool
        from requiretls_client.cli.spool_files import SpoolError
        from requiretls_client.cli.transport import transmit

        times = Schedule(deadline=config.spool_deadline * DAY)
        with ExitStack() as stack:
            try:
                spool = stack.enter_context(open_spool(config.spool_folder))
                entry = stack.enter_context(spool.add(job, report=options.errors in "mew"))
            except SpoolError as error:
                self._complain(str(error), exit_status.NO_SPOOL)
                return self._once(job, config, options, otherwise=exit_status.NO_SPOOL)
            try:
                outcome = attempt(spool, entry, partial(transmit, config=config), times)
            except (DamagedError, SpoolError) as error:
                self._complain(f"{error}; the message waits in the spool", exit_status.LATER)
                return exit_status.OK if self.sendmail else exit_status.LATER
        return self._tell(outcome, options)

    def _tell(self, outcome: Outcome, options: Options) -> int:
        """Say what became of a message in the spool; return the exit status."""
        if options.verbose or (outcome.failed and options.errors != "q"):
            self._explain(outcome.report)
        if outcome.trouble:
            self._complain(outcome.trouble, exit_status.IO_ERROR)
        if outcome.failed:
            if options.errors == "e":  # the sender gets a report, and the caller is not to mind
                return exit_status.OK
            failed = [each for each in outcome.report.recipients if each.address in outcome.failed]
            return exit_status.of_result(failed[0])
        if outcome.waiting and not self.sendmail:
            self._explain(outcome.report)
            kept = f"message {outcome.id} waits in the spool for {', '.join(outcome.waiting)}"
            return self._complain(f"{kept}; requiretls flush tries again", exit_status.LATER)
        return exit_status.IO_ERROR if outcome.trouble and not self.sendmail else exit_status.OK

    def _once(self, job: Job, config: Config, options: Options, otherwise: int = 0) -> int:
        """Try once, without the spool; ``otherwise`` is the status unless everybody has it."""
        from requiretls_client.cli.transport import transmit

        report = transmit(job, config)
        if options.verbose or (report.failed and options.errors != "q"):
            self._explain(report)
        if not report.failed:
            return exit_status.OK
        status = otherwise or exit_status.of_report(report)
        return self._complain("nothing of the message is kept", status)

    # -- texts -----------------------------------------------------------------------------------

    def _explain(self, report: DeliveryReport) -> None:
        for line in report.explain().splitlines():
            self._complain(line, exit_status.OK)

    def _complain(self, text: str, status: int) -> int:
        """Say a sentence on standard error, where there is one; return the status."""
        say(f"{self.name}: {syntax.printable(text, 1000)}", sys.stderr)
        return status


def _arguments(module: object, options: Options, *more: str) -> argparse.Namespace:
    """Return the arguments of another subcommand, with its defaults."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]  # every command has it
    config = ["--config", options.config] if options.config is not None else []
    return parser.parse_args([*config, *more])
