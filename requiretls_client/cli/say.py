"""Say something while mail is being sent, which matters more than whether anybody can read it."""

from __future__ import annotations

import os
from typing import TextIO


def say(line: str, stream: TextIO | None) -> None:
    """Print a line, where there is a stream and it can be written.

    A log on a full disk, or a reader that has gone, must not cost a message. Such a stream leads
    nowhere from then on, so that Python does not complain at its end.
    """
    if stream is None:  # it is closed
        return
    try:
        print(line, file=stream, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
