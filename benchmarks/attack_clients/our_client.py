"""Adapter for requiretls_client."""

from __future__ import annotations

import contextlib
import ssl

import certifi
from adapter import Job, main

import requiretls_client as rt


def send(job: Job) -> None:
    """Send the message in the way that the job's mode names."""
    if job["trust"] == "machine":
        certifi.where = lambda: job["cafile"]
    options = {"timeout": job["timeout"]}
    if job["mode"] in ("careful", "followup"):
        options["context"] = ssl.create_default_context(cafile=job["cafile"])
    if job["mode"] == "careful":
        options["require_tls"] = True
    smtp = rt.SMTP(job["host"], job["port"], job["name"], **options)
    try:
        MODES[job["mode"]](smtp, job)
        with contextlib.suppress(rt.SMTPException, OSError):
            smtp.quit()
    finally:
        smtp.close()


def careful(smtp: rt.SMTP, job: Job) -> None:
    """Send in a session that was made with require_tls=True."""
    smtp.sendmail(job["sender"], job["recipient"], job["content"])


def followup(smtp: rt.SMTP, job: Job) -> None:
    """Be the application that notes the error and sends the next message in the same session."""
    try:
        smtp.starttls()
        smtp.sendmail(job["sender"], job["recipient"], job["content"], require_tls=True)
    except (rt.SMTPException, OSError):
        with contextlib.suppress(rt.SMTPException, OSError):
            smtp.sendmail(job["sender"], job["recipient"], job["content"])
        raise


def default(smtp: rt.SMTP, job: Job) -> None:
    """Give no argument that smtplib does not ask for."""
    smtp.starttls()
    smtp.sendmail(job["sender"], job["recipient"], job["content"])


def login(smtp: rt.SMTP, job: Job) -> None:
    """Log in without TLS."""
    smtp.login(job["user"], job["password"])
    smtp.sendmail(job["sender"], job["recipient"], job["content"])


MODES = {"careful": careful, "followup": followup, "default": default, "login": login}

if __name__ == "__main__":
    main(send, (rt.SMTPException, OSError, ValueError))
