"""``requiretls check``: would a message with ``require_tls`` get through, and if not, why not?

Shows what :func:`requiretls_client.check` and :func:`requiretls_client.check_relay` found. Nothing
is sent.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from functools import partial

from requiretls_client.checking import check, check_relay
from requiretls_client.lookups import Lookups
from requiretls_client.reports import CheckReport
from requiretls_client.resolver import Resolver

ALL, SOME, USAGE, NONE, UNKNOWN = range(5)
STATUS = """exit status, the highest of all targets:
  0  every mail host qualifies
  1  some do, so a message gets through
  2  the command line was wrong
  3  none does, so a message is refused
  4  could not tell: a look-up or a connection failed for now
"""
_RELAY = re.compile(r"(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d{1,5}))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="domain, or address of one")
    parser.add_argument(
        "--relay", action="append", default=[], metavar="HOST[:PORT]",
        help="a submission server instead; port 587 unless given, 465 means TLS at once",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a JSON object a line for each target")
    parser.add_argument("--port", type=int, default=25, help="of the mail hosts of domains")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS",
        help="for each answer of a server (default: 30)",
    )  # fmt: skip
    parser.add_argument(
        "--nameserver", action="append", metavar="IP", help="ask it, not the system's"
    )
    parser.add_argument(
        "--nameserver-port", type=int, metavar="PORT", help="where name servers listen"
    )
    parser.add_argument(
        "--trust-ad", action="store_true", default=None,
        help="believe the name servers' word on DNSSEC: they validate, and nobody is between",
    )  # fmt: skip
    parser.add_argument("--ca-file", metavar="FILE", help="PEM file to trust instead of certifi's")
    parser.add_argument(
        "--allow-private", action="store_true", help="domains may lead to private addresses"
    )


def run(options: argparse.Namespace) -> int:
    """Check every target; return the exit status."""
    if not options.targets and not options.relay:
        return _usage("name a domain, or a server with --relay")
    try:
        lookups = Lookups(
            Resolver(options.nameserver, options.nameserver_port, options.trust_ad),
            trust=options.ca_file or "certifi",
            allow_private=options.allow_private,
        )
    except (ValueError, OSError) as error:  # a bad address, a file that cannot be read
        return _usage(str(error))
    jobs = [
        *(partial(_domain, target, options, lookups) for target in options.targets),
        *(partial(_relay, relay, options, lookups) for relay in options.relay),
    ]
    status = ALL
    for job in jobs:
        try:
            status = max(status, _show(job(), as_json=options.json))
        except ValueError as error:  # a bad name or number; the others are checked all the same
            status = max(status, _usage(str(error)))
    return status


def _domain(target: str, options: argparse.Namespace, lookups: Lookups) -> CheckReport:
    return check(target, lookups=lookups, port=options.port, timeout=options.timeout)


def _relay(relay: str, options: argparse.Namespace, lookups: Lookups) -> CheckReport:
    """Check a submission server; an IPv6 address with a port stands in brackets."""
    found = _RELAY.fullmatch(relay)
    if found is None:
        raise ValueError(f"--relay must be HOST or HOST:PORT, not {relay!r}")
    host, port = found["host"].strip("[]"), int(found["port"] or 587)
    return check_relay(host, port, context=lookups.context, timeout=options.timeout)


def _show(report: CheckReport, *, as_json: bool) -> int:
    """Print a report; return the exit status that it means."""
    if as_json:
        print(json.dumps(report.as_dict()), flush=True)
    else:
        print(f"{report.explain()}\n", flush=True)
    if report.verdict.allowed:
        return ALL if all(host.verdict.allowed for host in report.hosts) else SOME
    return UNKNOWN if (report.verdict.status or "").startswith("4.") else NONE


def _usage(text: str) -> int:
    print(f"requiretls check: {text}", file=sys.stderr)
    return USAGE
