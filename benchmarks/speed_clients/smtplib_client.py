"""Adapter for CPython's smtplib. Standard library only."""

from __future__ import annotations

import functools
import smtplib
import ssl
from typing import Any

from adapter import NAME, SENDER, Job, main
from blocking import modes, session


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


def send_file(smtp: Any, job: Job, count: int) -> None:
    """Send the content from its file, which smtplib takes as bytes only."""
    for _ in range(count):
        with open(job["path"], "rb") as file:
            smtp.sendmail(SENDER, job["recipients"], file.read())


if __name__ == "__main__":
    main({**modes(connect), "send_file": functools.partial(session, connect, send_file)})
