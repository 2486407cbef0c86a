"""The modes that smtplib and requiretls_client have in common, written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adapter import PASSWORD, SENDER, USER, Job, Meter, message_of

Connect = Callable[[Job], Any]


def modes(connect: Connect) -> dict[str, Callable[[Job], Meter]]:
    """Return mode -> what does it.

    Args:
        connect: returns a session, with TLS where the job has a CA.
    """
    return {
        "sendmail": partial(session, connect, send),
        "send_message": partial(session, connect, send_object),
        "alert": partial(alert, connect),
    }


def session(connect: Connect, work: Callable[[Any, Job, int], None], job: Job) -> Meter:
    """Measure messages over one connection."""
    smtp = connect(job)
    work(smtp, job, job["warm"])
    with Meter() as meter:
        work(smtp, job, job["n"])
    smtp.quit()
    return meter


def send(smtp: Any, job: Job, count: int) -> None:
    """Send the content as bytes."""
    recipients, content = job["recipients"], job["content"]
    for _ in range(count):
        smtp.sendmail(SENDER, recipients, content)


def send_object(smtp: Any, job: Job, count: int) -> None:
    """Send the content as an object."""
    message = message_of(job)
    for _ in range(count):
        smtp.send_message(message, SENDER, job["recipients"])


def alert(connect: Connect, job: Job) -> Meter:
    """Measure one message after another, each over a connection of its own."""

    def send_one() -> None:
        with connect(job) as smtp:  # and QUIT: smtplib waits for its answer, ours does not
            smtp.login(USER, PASSWORD)
            smtp.sendmail(SENDER, job["recipients"], job["content"])

    for _ in range(job["warm"]):
        send_one()
    with Meter() as meter:
        for _ in range(job["n"]):
            send_one()
    return meter
