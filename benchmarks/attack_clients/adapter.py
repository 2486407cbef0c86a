"""What the adapters in Python share: one job in, one outcome out. Standard library only.

The job is a JSON object on standard input::

    host, port      where to connect
    cafile          PEM file with the CA to trust
    mode            "careful"      TLS verified with that CA and REQUIRETLS demanded
                    "followup"     as careful; after an error the application sends once more
                    "default"      STARTTLS and send, with no argument about certificates
                    "login"        no TLS; a password before the message
    trust           "machine": the cafile stands for the machine's roots (mode "default")
    name            what to say in EHLO
    sender, recipient, content (base64), user, password, timeout (seconds)

The outcome is a JSON object on standard output: ``outcome`` is "sent" when the library said so,
"refused" when it raised what it documents, "error" for any other exception; ``error`` is class
and text; ``seconds`` is how long the library took; ``before_kib`` and ``peak_kib`` are the peak
of the resident memory before and after it, None where the platform does not say.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]


def main(send: Callable[[Job], None], refusals: tuple[type[BaseException], ...]) -> None:
    """Read the job, send as it says, print the outcome.

    Args:
        send: returns when the library has reported the message as sent.
        refusals: what the library may raise.
    """
    job = json.load(sys.stdin)
    job["content"] = base64.b64decode(job["content"])
    before, start = _peak_kib(), time.monotonic()
    outcome, error = "sent", None
    try:
        send(job)
    except Exception as raised:
        outcome = "refused" if isinstance(raised, refusals) else "error"
        error = {"class": type(raised).__name__, "text": str(raised)}
    seconds = time.monotonic() - start
    print(
        json.dumps(
            {
                "outcome": outcome,
                "error": error,
                "seconds": round(seconds, 3),
                "before_kib": before,
                "peak_kib": _peak_kib(),
            }
        )
    )


def _peak_kib() -> int | None:
    """Return the peak of the resident memory of this process, in KiB.

    Not ``ru_maxrss``: on Linux that begins with the size of whoever started the process.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
