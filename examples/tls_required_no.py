"""Look at a mail server's certificate; when it is broken, report that to its postmaster.

usage: tls_required_no.py HOST PORT [--from ADDRESS] [--to ADDRESS] [--ca-file FILE]

Such a report has to arrive although the certificate is broken. So it carries TLS-Required: No
(RFC 8689 section 3), and is sent without verifying who takes it: write nothing secret into one.
"""

import argparse
import ssl
import sys
from email.message import EmailMessage

from requiretls_client import SMTP, CertificateNotVerified, unverified_context


def problem(host: str, port: int, context: ssl.SSLContext | None) -> str | None:
    """Return what is wrong with the certificate, or None."""
    try:
        with SMTP(host, port, timeout=30, context=context) as smtp:
            smtp.starttls()
    except CertificateNotVerified as error:
        return error.findings[-1].text
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Report a broken certificate.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--from", dest="sender", default="alice@example.org")
    parser.add_argument("--to", help="default: postmaster@HOST")
    parser.add_argument("--ca-file", help="PEM file with the roots to trust, if not the usual ones")
    args = parser.parse_args()
    context = ssl.create_default_context(cafile=args.ca_file) if args.ca_file else None

    found = problem(args.host, args.port, context)
    if found is None:
        print("The certificate is in order; there is nothing to report.")
        return 0
    message = EmailMessage()
    message["From"], message["To"] = args.sender, args.to or f"postmaster@{args.host}"
    message["Subject"] = "The certificate of your mail server"
    message.set_content(f"When I connect to port {args.port}: {found}.\n")
    with SMTP(args.host, args.port, timeout=30) as smtp:
        smtp.starttls(context=unverified_context())  # logs a warning, for it is meant to be rare
        smtp.send_message(message, tls_optional=True)
    print(f"Reported: {found}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
