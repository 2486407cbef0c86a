"""Adapter for requiretls_client."""

from __future__ import annotations

import functools
import ssl

from adapter import NAME, SENDER, Job, Meter, Missing, main
from blocking import modes, session

import requiretls_client as rt


def connect(job: Job) -> rt.SMTP:
    """Connect; with ``strict`` every message of the session requires TLS."""
    trust = context(job["cafile"]) if job["cafile"] else None
    smtp = rt.SMTP(job["host"], job["port"], NAME, require_tls=job["strict"], context=trust)
    smtp.use_chunking = True  # without effect where CHUNKING is not offered
    if trust and not job["strict"]:
        smtp.starttls()
    return smtp


@functools.cache
def context(cafile: str) -> ssl.SSLContext:
    """Return a context that verifies, the same for all connections, as smtplib gets it."""
    return ssl.create_default_context(cafile=cafile)


def send_messages(job: Job) -> Meter:
    """Hand all messages over at once."""
    if not hasattr(rt.SMTP, "send_messages"):
        raise Missing("this requiretls_client has no send_messages()")
    options = {} if job["in_flight"] is None else {"in_flight": job["in_flight"]}
    one = (SENDER, job["recipients"], job["content"])
    smtp = connect(job)
    list(smtp.send_messages([one] * job["warm"], **options))
    with Meter() as meter:
        list(smtp.send_messages([one] * job["n"], **options))
    smtp.quit()
    return meter


def send_file(smtp: rt.SMTP, job: Job, count: int) -> None:
    """Send the content from its file."""
    for _ in range(count):
        with open(job["path"], "rb") as file:
            smtp.sendmail(SENDER, job["recipients"], file)


MODES = {
    **modes(connect),
    "send_messages": send_messages,
    "send_file": functools.partial(session, connect, send_file),
}

if __name__ == "__main__":
    main(MODES)
