"""A configuration of msmtp with all that there is to convert, and the aliases that it names."""

from __future__ import annotations

SECRET = "canary-password"
MSMTPRC = f"""\
# An example in the style of its manual
defaults
auth on
tls on
tls_trust_file /etc/ssl/certs/ca-certificates.crt
logfile ~/.msmtp.log

account base
host smtp.example.org
port 587
from alice@example.org
user alice
passwordeval "echo {SECRET}"

account second : base
from second@example.org
user "second user"
password {SECRET}
timeout 20

account at_once
host smtp.example.com
tls_starttls off
user bob
set_from_header on

account odd_port : at_once
port 4650
tls_trust_file system
tls_host_override name.example.com
auth plain

account lax
host localhost
auth off
tls off
tls_certcheck off
tls_trust_file /etc/ssl/our.pem
from %U@example.org
aliases /etc/aliases
frobnicate 7

account default : second
"""
ALIASES = "root: admin@example.org, b@example.org # both\ndefault: rest@example.org\npipe: |cat\n"
