"""Mail the output of a cron job, with REQUIRETLS or not at all.

usage: backup 2>&1 | cron_alert.py --from ADDRESS --to ADDRESS [--ca-file FILE] HOST PORT

Exit status as in sysexits.h: 0 sent, or there was nothing to send; 75 try again later; 69 will
not work until somebody changes something. What went wrong is one line on standard error.
"""

import argparse
import ssl
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import requiretls_client as smtplib

EX_OK, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 69, 75


def is_temporary(error: OSError) -> bool:
    if isinstance(error, smtplib.RequireTLSError):
        return error.temporary
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code < 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500
    if isinstance(error, smtplib.SMTPException):
        return isinstance(error, smtplib.SMTPServerDisconnected)
    return True  # the network


def main() -> int:
    parser = argparse.ArgumentParser(description="Mail standard input, with REQUIRETLS.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--from", dest="sender", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--ca-file", help="PEM file with the roots to trust, if not the usual ones")
    args = parser.parse_args()
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        return EX_OK
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = args.sender, args.to, "Output of a job"
    message["Date"], message["Message-ID"] = formatdate(localtime=True), make_msgid()
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies, please
    message.set_content(text)
    context = ssl.create_default_context(cafile=args.ca_file) if args.ca_file else None
    try:
        with smtplib.SMTP(args.host, args.port, timeout=60, context=context) as smtp:
            smtp.send_message(message, require_tls=True)
    except OSError as error:  # every exception of smtplib is an OSError
        print(f"cron_alert: not sent: {error}", file=sys.stderr)
        return EX_TEMPFAIL if is_temporary(error) else EX_UNAVAILABLE
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
