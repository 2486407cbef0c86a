"""Adapter for CPython's smtplib. Standard library only."""

from __future__ import annotations

import functools
import smtplib
import ssl

from adapter import NAME, Job, main
from blocking import modes


def connect(job: Job) -> smtplib.SMTP:
    """Connect as the documentation shows."""
    smtp = smtplib.SMTP(job["host"], job["port"], NAME)
    if job["cafile"]:
        smtp.starttls(context=context(job["cafile"]))
    return smtp


@functools.cache
def context(cafile: str) -> ssl.SSLContext:
    """Return a context that verifies, made once as an application would that cares."""
    return ssl.create_default_context(cafile=cafile)


if __name__ == "__main__":
    main(modes(connect))
