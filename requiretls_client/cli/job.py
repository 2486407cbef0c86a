"""What ``requiretls send`` was asked to do: a message with its envelope, not yet tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A message on its way out, as it is kept until its fate is known.

    Attributes:
        message: header and body as they will leave, CRLF line ends, without Bcc.
        sender: reverse path, bare; "" for a report about a failure.
        recipients: bare mailboxes, each once.
        require_tls: RFC 8689 s4.2.1 or not at all; for every attempt.
        tls_optional: ``TLS-Required: No`` (RFC 8689 s3).
        account: name of the account in the configuration; "" means straight to the mail hosts.
        notify: NOTIFY of every recipient (RFC 3461 s4.1), such as ``NEVER``; "" says nothing.
        ret: RET (RFC 3461 s4.3): ``HDRS`` or ``FULL``; "" says nothing.
        envelope_id: ENVID (RFC 3461 s4.4), as it was given; "" for none.
    """

    message: bytes
    sender: str
    recipients: tuple[str, ...]
    require_tls: bool
    tls_optional: bool
    account: str
    notify: str = ""
    ret: str = ""
    envelope_id: str = ""
