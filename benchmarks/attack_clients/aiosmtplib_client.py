"""Adapter for aiosmtplib."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import aiosmtplib
from adapter import Job, main


def send(job: Job) -> None:
    """Send the message in the way that the job's mode names."""
    asyncio.run(_send(job))


async def _send(job: Job) -> None:
    options = {"start_tls": job["mode"] != "login"}
    if job["mode"] in ("careful", "followup"):
        options["tls_context"] = ssl.create_default_context(cafile=job["cafile"])
    smtp = aiosmtplib.SMTP(
        hostname=job["host"],
        port=job["port"],
        local_hostname=job["name"],
        timeout=job["timeout"],
        **options,
    )
    try:
        await MODES[job["mode"]](smtp, job)
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit()
    finally:
        smtp.close()


async def careful(smtp: aiosmtplib.SMTP, job: Job) -> None:
    """Do by hand what aiosmtplib leaves to its caller."""
    await smtp.connect()
    await smtp.ehlo()
    if not smtp.supports_extension("requiretls"):
        raise aiosmtplib.SMTPNotSupported("the server does not offer REQUIRETLS")
    await smtp.sendmail(
        job["sender"], job["recipient"], job["content"], mail_options=["REQUIRETLS"]
    )


async def followup(smtp: aiosmtplib.SMTP, job: Job) -> None:
    """Be the application that notes the error and sends the next message in the same session."""
    try:
        await careful(smtp, job)
    except (aiosmtplib.SMTPException, OSError):
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await smtp.sendmail(job["sender"], job["recipient"], job["content"])
        raise


async def default(smtp: aiosmtplib.SMTP, job: Job) -> None:
    """Require STARTTLS and give no other argument that aiosmtplib does not ask for."""
    await smtp.connect()
    await smtp.sendmail(job["sender"], job["recipient"], job["content"])


async def login(smtp: aiosmtplib.SMTP, job: Job) -> None:
    """Log in without TLS."""
    await smtp.connect()
    await smtp.login(job["user"], job["password"])
    await smtp.sendmail(job["sender"], job["recipient"], job["content"])


MODES = {"careful": careful, "followup": followup, "default": default, "login": login}

if __name__ == "__main__":
    main(send, (aiosmtplib.SMTPException, OSError, ValueError))
