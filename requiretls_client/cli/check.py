"""``requiretls check``: would a message with ``require_tls`` get through, and if not, why not?

Collects with :func:`requiretls_client.check` and :func:`requiretls_client.check_relay`, or takes
what an earlier run has kept, and draws what that comes to. Nothing is sent.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from requiretls_client.cli.options import add_lookups, lookups_of

if TYPE_CHECKING:
    from requiretls_client.evidence import CheckFacts
    from requiretls_client.lookups import Lookups
    from requiretls_client.reports import CheckReport

    Job = Callable[[], CheckReport]

ALL, SOME, USAGE, NONE, UNKNOWN = range(5)
_STATUS_OF = {"all": ALL, "some": SOME, "none": NONE, "unknown": UNKNOWN}
STATUS = """exit status, the highest of all targets:
  0  every mail host qualifies
  1  some do, so a message gets through
  2  the command line was wrong, or a file
  3  none does, so a message is refused
  4  could not tell: a look-up or a connection failed for now

examples:
  requiretls check example.net bob@example.org
  requiretls check --relay smtp.example.org:587
  requiretls check --summary - < domains.txt
  requiretls check --save run.json --html page.html example.net
  requiretls check --load run.json
"""
_RELAY = re.compile(r"(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d{1,5}))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET",
        help="domain, or address of one; - reads them from standard input, one a line",
    )  # fmt: skip
    parser.add_argument(
        "--relay", action="append", default=[], metavar="HOST[:PORT]",
        help="a submission server instead; port 587 unless given, 465 means TLS at once",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=25, help="of the mail hosts of domains")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS",
        help="for each answer of a server (default: 30)",
    )  # fmt: skip
    add_lookups(parser)
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="a JSON object a line for each target")
    one.add_argument(
        "--summary", action="store_true", help="a line for each target: outcome, name, how many"
    )
    one.add_argument("-q", "--quiet", action="store_true", help="nothing but the exit status")
    group.add_argument("--html", metavar="FILE", help="also write a page with pictures")
    group.add_argument("--save", metavar="FILE", help="also keep what was seen, for --load")
    group.add_argument(
        "--load", metavar="FILE", help="judge what --save has kept, without any network"
    )
    group.add_argument(
        "--color", choices=["auto", "always", "never"], default="auto",
        help="colours and trees need rich: pip install 'requiretls-client[cli]'",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Check every target; return the exit status."""
    try:
        jobs = _jobs(options)
        for path in filter(None, (options.html, options.save)):
            open(path, "a").close()  # before an hour of checks, not behind it
    except (ValueError, OSError) as error:  # a bad address, a file that cannot be read or written
        return _usage(str(error))
    return _Run(options).status_of(jobs)


def _jobs(options: argparse.Namespace) -> list[Job]:
    """Return what there is to do.

    Raises:
        ValueError, OSError: the command line is wrong, or a file.
    """
    named = bool(options.targets or options.relay)
    if options.load:
        if named:
            raise ValueError("--load takes its targets from the file; name no others")
        return [partial(_judge, each) for each in _loaded(options.load)]
    if not named:
        raise ValueError("name a domain, or a server with --relay, or - to read names")
    targets = [name for each in options.targets for name in (_read() if each == "-" else [each])]
    if not (targets or options.relay):
        raise ValueError("no name came in on standard input")
    lookups = lookups_of(options)
    return [
        *(partial(_domain, target, options, lookups) for target in targets),
        *(partial(_relay, relay, options, lookups) for relay in options.relay),
    ]


def _read() -> list[str]:
    """Return the names on standard input: one a line, blank lines and # comments left out."""
    lines = (line.partition("#")[0].strip() for line in sys.stdin)
    return [line for line in lines if line]


def _loaded(path: str) -> Iterable[CheckFacts]:
    from requiretls_client import recording

    with open(path, encoding="utf-8") as file:
        found = recording.load(file.read(recording.MAX_CHARACTERS + 1))
    if not found:
        raise ValueError("the recording holds no check")  # else "every host qualifies"
    return found


def _judge(facts: CheckFacts) -> CheckReport:
    from requiretls_client.assessment import assess

    return assess(facts)


def _domain(target: str, options: argparse.Namespace, lookups: Lookups) -> CheckReport:
    from requiretls_client import checking

    try:
        return checking.check(target, lookups=lookups, port=options.port, timeout=options.timeout)
    except ValueError as error:  # of many targets one must know which
        raise ValueError(f"{target}: {error}") from None


def _relay(relay: str, options: argparse.Namespace, lookups: Lookups) -> CheckReport:
    """Check a submission server; an IPv6 address with a port stands in brackets."""
    from requiretls_client import checking

    found = _RELAY.fullmatch(relay)
    if found is None:
        raise ValueError(f"--relay must be HOST or HOST:PORT, not {relay!r}")
    host, port = found["host"].strip("[]"), int(found["port"] or 587)
    return checking.check_relay(host, port, context=lookups.context, timeout=options.timeout)


class _Run:
    """The checks of one call, and what is written about them."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Begin with nothing."""
        self._options = options
        self._reports: list[CheckReport] = []
        self._status = ALL
        self._draw = _drawing(options)

    def status_of(self, jobs: list[Job]) -> int:
        """Do the jobs, several at once, and show each as its turn comes."""
        from requiretls_client.cli.many import Many
        from requiretls_client.cli.meter import Meter

        many = Many(jobs)
        with Meter(len(jobs)) as meter:
            try:
                for result in many.results():
                    meter.step()
                    with meter.aside():
                        self._take(result)
            except KeyboardInterrupt:
                with meter.aside():
                    for result in many.known():
                        self._take(result)
                    _say(f"interrupted: {many.left} of {len(jobs)} were not checked")
                raise
            finally:
                many.stop()
                self._write()
        return self._status

    def _take(self, result: CheckReport | ValueError) -> None:
        """Show one result."""
        if isinstance(result, ValueError):  # a bad name; the others are checked all the same
            self._status = max(self._status, _usage(str(result)))
            return
        self._status = max(self._status, _STATUS_OF[result.outcome])
        if self._options.html or self._options.save:
            self._reports.append(result)
        self._draw(result)

    def _write(self) -> None:
        """Write the files, with what is known by now; nothing in the place of an older one."""
        if not self._reports:
            return
        try:
            if self._options.save:
                from requiretls_client import recording

                text = recording.dump(each.facts for each in self._reports)
                Path(self._options.save).write_text(text, encoding="utf-8")
            if self._options.html:
                from requiretls_client.cli import page

                Path(self._options.html).write_text(page.page_of(self._reports), encoding="utf-8")
        except OSError as error:  # a full disk
            self._status = max(self._status, _usage(str(error)))


def _drawing(options: argparse.Namespace) -> Callable[[CheckReport], None]:
    """Return what shows a report on standard output."""
    from requiretls_client.cli import terminal
    from requiretls_client.cli.view import view_of
    from requiretls_client.cli.words import spoken_data

    if options.quiet:
        return lambda report: None
    if options.json:
        return lambda report: print(json.dumps(spoken_data(report.as_dict())), flush=True)
    if options.summary:
        return lambda report: print(terminal.summary_line(view_of(report)), flush=True)
    console = None
    if options.color == "always" or (options.color == "auto" and sys.stdout.isatty()):
        console = terminal.console(colour=True if options.color == "always" else None)
    if console is not None:
        return lambda report: terminal.draw(view_of(report), console)
    return lambda report: print(f"{terminal.plain(view_of(report))}\n", flush=True)


def _say(text: str) -> None:
    from requiretls_client.cli.words import shown

    print(f"requiretls check: {shown(text)}", file=sys.stderr)


def _usage(text: str) -> int:
    _say(text)
    return USAGE
