"""Deliver a message from standard input to the mail hosts of its recipients, or only check them.

usage: to_domain.py [--check] [--ca-file FILE] [--nameserver ADDRESS] [--allow-private] RECIPIENT...

The message needs From. It leaves with REQUIRETLS or not at all; each line of the output says what
became of a recipient, and why. Exit status: 0 all have it (or could have it), 75 trying again later
makes sense for those who have not, 69 it does not.
"""

import argparse
import email
import email.policy
import sys

from requiretls_client import DeliveryFailed, Lookups, Resolver, check, deliver


def main() -> int:
    parser = argparse.ArgumentParser(description="Deliver with REQUIRETLS, or say why not.")
    parser.add_argument("recipients", nargs="+", metavar="RECIPIENT")
    parser.add_argument("--check", action="store_true", help="read no message and send none")
    parser.add_argument("--ca-file", default="certifi", help="PEM file with the roots to trust")
    parser.add_argument("--nameserver", action="append", help="a validating one, on this machine")
    parser.add_argument("--allow-private", action="store_true", help="for one's own network")
    args = parser.parse_args()
    lookups = Lookups(
        Resolver(args.nameserver), trust=args.ca_file, allow_private=args.allow_private
    )
    if args.check:
        reports = [check(recipient, lookups=lookups, timeout=30) for recipient in args.recipients]
        print("\n\n".join(report.explain() for report in reports))
        failed = [report.verdict for report in reports if not report.verdict.allowed]
        return (75 if all(each.temporary for each in failed) else 69) if failed else 0
    message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
    try:
        report = deliver(message, to_addrs=args.recipients, require_tls=True, lookups=lookups)
    except DeliveryFailed as error:
        print(error.report.explain())
        return 75 if error.temporary else 69
    print(report.explain())
    return 0


if __name__ == "__main__":
    sys.exit(main())
