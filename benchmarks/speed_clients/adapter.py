"""What the adapters in Python share: one job in, one measurement out. Standard library only.

The job is a JSON object on standard input::

    mode            "sendmail"       n messages over one connection, connecting not measured
                    "send_message"   the same with a message object
                    "send_file"      the same from a file; smtplib reads it into memory
                    "send_messages"  the same, handed over at once
                    "alert"          n times connect, log in, send one, quit; all measured
    host, port      where to connect
    cafile          PEM file with the CA to trust; null: no TLS
    content         path of the message
    recipients      how many it goes to
    n               messages to measure
    warm            to send before
    strict          with REQUIRETLS
    in_flight       messages under way at the same time (mode "send_messages"); null: the default

The answer is a JSON object on standard output: ``wall`` and ``cpu`` in seconds for all n together,
``growth_kib``, by which the peak of the resident memory rose meanwhile (null where the platform
does not say); or ``missing``, which says what the client cannot do.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import re
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

SENDER = "sender@example.org"
NAME = "client.test"
USER, PASSWORD = "user", "secret"
Job = dict[str, Any]


class Missing(Exception):
    """The client has no such mode."""


class Meter:
    """Measures what happens while it is entered."""

    def __enter__(self) -> Meter:
        """Begin: the peak of the memory is from now on that of the work."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _kib("VmHWM")
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu
        after = _kib("VmHWM")
        self.growth = None if after is None or self._before is None else after - self._before


def read_job() -> Job:
    """Return the job, with ``content`` read, its ``path`` kept, and ``recipients`` named."""
    job: Job = json.load(sys.stdin)
    job["path"] = job["content"]
    job["content"] = Path(job["path"]).read_bytes()
    job["recipients"] = [f"recipient{number}@example.net" for number in range(job["recipients"])]
    return job


def message_of(job: Job) -> EmailMessage:
    """Return the content as an object."""
    return email.message_from_bytes(job["content"], policy=email.policy.default)


def answer(meter: Meter) -> None:
    """Print the measurement."""
    print(json.dumps({"wall": meter.wall, "cpu": meter.cpu, "growth_kib": meter.growth}))


def main(modes: dict[str, Callable[[Job], Meter]]) -> None:
    """Do one job of a client that blocks."""
    job = read_job()
    try:
        answer(modes[job["mode"]](job))
    except (Missing, KeyError) as error:
        print(json.dumps({"missing": str(error) or job["mode"]}))


def _kib(field: str) -> int | None:
    """Return a number from the process's status, in KiB."""
    try:
        found = re.search(rf"^{field}:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) if found else None
