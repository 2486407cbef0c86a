"""Adapter for aiosmtplib."""

from __future__ import annotations

import asyncio
import functools
import ssl

import aiosmtplib
from adapter import NAME, PASSWORD, SENDER, USER, Job, Meter, answer, message_of, read_job


async def connect(job: Job) -> aiosmtplib.SMTP:
    """Connect, with TLS where the job has a CA."""
    options = {"start_tls": False}
    if job["cafile"]:
        options = {"start_tls": True, "tls_context": context(job["cafile"])}
    smtp = aiosmtplib.SMTP(
        hostname=job["host"], port=job["port"], local_hostname=NAME, use_tls=False, **options
    )
    await smtp.connect()
    return smtp


@functools.cache
def context(cafile: str) -> ssl.SSLContext:
    """Return a context that verifies, the same for all connections."""
    return ssl.create_default_context(cafile=cafile)


async def sendmail(smtp: aiosmtplib.SMTP, job: Job, count: int) -> None:
    """Send the content as bytes."""
    recipients, content = job["recipients"], job["content"]
    for _ in range(count):
        await smtp.sendmail(SENDER, recipients, content)


async def send_message(smtp: aiosmtplib.SMTP, job: Job, count: int) -> None:
    """Send the content as an object."""
    message = message_of(job)
    for _ in range(count):
        await smtp.send_message(message, sender=SENDER, recipients=job["recipients"])


async def alerts(job: Job, count: int) -> None:
    """Send messages, each over a connection of its own."""
    for _ in range(count):
        smtp = await connect(job)
        await smtp.login(USER, PASSWORD)
        await sendmail(smtp, job, 1)
        await smtp.quit()


async def measure(job: Job) -> Meter:
    """Do what the mode says."""
    if job["mode"] == "alert":
        await alerts(job, job["warm"])
        with Meter() as meter:
            await alerts(job, job["n"])
        return meter
    work = {"sendmail": sendmail, "send_message": send_message}[job["mode"]]
    smtp = await connect(job)
    await work(smtp, job, job["warm"])
    with Meter() as meter:
        await work(smtp, job, job["n"])
    await smtp.quit()
    return meter


if __name__ == "__main__":
    answer(asyncio.run(measure(read_job())))
