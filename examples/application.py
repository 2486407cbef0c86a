"""Send one message that must not travel unprotected, and say why when it cannot be sent.

usage: application.py HOST PORT [--from ADDRESS] [--to ADDRESS] [--ca-file FILE]

PORT is one with STARTTLS: 587 to submit, 25 to a relay. To log in, set SMTP_USER and
SMTP_PASSWORD. Exit status: 0 sent, 1 refused or failed.
"""

import argparse
import os
import ssl
import sys
from email.message import EmailMessage

from requiretls_client import SMTP, RequireTLSError


def main() -> int:
    parser = argparse.ArgumentParser(description="Send one message with REQUIRETLS.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--from", dest="sender", default="alice@example.org")
    parser.add_argument("--to", default="bob@example.net")
    parser.add_argument("--ca-file", help="PEM file with the roots to trust, if not the usual ones")
    args = parser.parse_args()

    message = EmailMessage()
    message["From"], message["To"] = args.sender, args.to
    message["Subject"] = "The account number"
    message.set_content("It is 1234.\n")

    # None means the package's own context: the roots of certifi, chain and name verified.
    context = ssl.create_default_context(cafile=args.ca_file) if args.ca_file else None
    try:
        # With require_tls the constructor starts TLS, so login() comes after it.
        with SMTP(args.host, args.port, timeout=30, require_tls=True, context=context) as smtp:
            if "SMTP_USER" in os.environ:
                smtp.login(os.environ["SMTP_USER"], os.environ["SMTP_PASSWORD"])
            smtp.send_message(message)
    except RequireTLSError as error:  # nothing of the message has left
        print(error.explain(), file=sys.stderr)
        if error.temporary:
            print("Trying again later may help.", file=sys.stderr)
        return 1
    except OSError as error:  # the network, or any other exception of smtplib
        print(f"not sent: {error}", file=sys.stderr)
        return 1
    print("Sent. What was looked at before:")
    print(smtp.last_verdict.explain())
    return 0


if __name__ == "__main__":
    sys.exit(main())
