"""Adapter for CPython's smtplib. Standard library only."""

from __future__ import annotations

import contextlib
import smtplib
import ssl

from adapter import Job, main


def send(job: Job) -> None:
    """Send the message in the way that the job's mode names."""
    smtp = smtplib.SMTP(job["host"], job["port"], job["name"], timeout=job["timeout"])
    try:
        MODES[job["mode"]](smtp, job)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.quit()
    finally:
        smtp.close()


def careful(smtp: smtplib.SMTP, job: Job) -> None:
    """Do by hand what smtplib leaves to its caller."""
    smtp.starttls(context=ssl.create_default_context(cafile=job["cafile"]))
    smtp.ehlo()
    if not smtp.has_extn("requiretls"):
        raise smtplib.SMTPNotSupportedError("the server does not offer REQUIRETLS")
    smtp.sendmail(job["sender"], job["recipient"], job["content"], ["REQUIRETLS"])


def followup(smtp: smtplib.SMTP, job: Job) -> None:
    """Be the application that notes the error and sends the next message in the same session."""
    try:
        careful(smtp, job)
    except (smtplib.SMTPException, OSError):
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.sendmail(job["sender"], job["recipient"], job["content"])
        raise


def default(smtp: smtplib.SMTP, job: Job) -> None:
    """Give no argument that smtplib does not ask for."""
    smtp.starttls()
    smtp.sendmail(job["sender"], job["recipient"], job["content"])


def login(smtp: smtplib.SMTP, job: Job) -> None:
    """Log in without TLS."""
    smtp.login(job["user"], job["password"])
    smtp.sendmail(job["sender"], job["recipient"], job["content"])


MODES = {"careful": careful, "followup": followup, "default": default, "login": login}

if __name__ == "__main__":
    main(send, (smtplib.SMTPException, OSError, ValueError))
