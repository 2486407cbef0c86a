"""A script that was written for smtplib; only the line that imports it has changed.

usage: import_swap.py HOST PORT SENDER RECIPIENT [CA-FILE]

Now its TLS is verified for HOST, and after a failed STARTTLS nothing is sent in clear text.
"""

import ssl
import sys

import requiretls_client as smtplib  # was: import smtplib

if not 5 <= len(sys.argv) <= 6:
    sys.exit("usage: import_swap.py HOST PORT SENDER RECIPIENT [CA-FILE]")
host, port, sender, recipient, *ca_file = sys.argv[1:]
context = ssl.create_default_context(cafile=ca_file[0] if ca_file else None)
text = f"""\
From: {smtplib.quoteaddr(sender)}
To: {smtplib.quoteaddr(recipient)}
Subject: nightly report

All is well.
"""

try:
    with smtplib.SMTP(host, int(port), timeout=30) as server:
        server.starttls(context=context)
        server.sendmail(sender, [recipient], text)
except smtplib.SMTPRecipientsRefused as error:
    for address, (code, reply) in error.recipients.items():
        print(f"{address}: {code} {reply.decode('ascii', 'replace')}", file=sys.stderr)
    sys.exit(1)
except smtplib.SMTPException as error:
    sys.exit(f"the mail server said no: {error}")
except OSError as error:
    sys.exit(f"cannot reach {host}: {error}")
print("sent")
