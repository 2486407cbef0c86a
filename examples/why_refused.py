"""Say whether a server would get a message with require_tls, and why not. Sends no message.

usage: why_refused.py HOST PORT [--json] [--ca-file FILE]

Exit status: 0 it would, 1 it would not, 75 the server could not be asked.
"""

import argparse
import json
import ssl
import sys

from requiretls_client import SMTP, RequireTLSError


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge a server; send nothing.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--ca-file", help="PEM file with the roots to trust, if not the usual ones")
    args = parser.parse_args()
    context = ssl.create_default_context(cafile=args.ca_file) if args.ca_file else None
    try:
        # EHLO, STARTTLS and EHLO again; then the session is as a message would find it.
        with SMTP(args.host, args.port, timeout=30, require_tls=True, context=context) as smtp:
            verdict = smtp.judge()
    except RequireTLSError as error:  # it did not get that far; the verdict is in the exception
        verdict = error.verdict
    except OSError as error:
        print(f"{args.host} could not be asked: {error}", file=sys.stderr)
        return 75
    print(json.dumps(verdict.as_dict(), indent=2) if args.json else verdict.explain())
    return 0 if verdict.allowed else 1


if __name__ == "__main__":
    sys.exit(main())
