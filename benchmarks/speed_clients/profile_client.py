"""Where the CPU time of requiretls_client goes: the adapter's modes under a sampling profiler.

Takes the adapter's job and answers with ``us``, CPU time for one message, and ``functions``: name
-> [without, with] what it calls, in us for one message. Every millisecond of CPU time the functions
that are running are noted; that costs a hundredth, where a profiler that notes every call would
double the time. A C function counts as the Python function that called it. Standard library only.
"""

from __future__ import annotations

import collections
import json
import signal
import time
from types import FrameType

from adapter import read_job
from our_client import MODES

EVERY = 0.001  # seconds of CPU time


class Sampler:
    """Notes what is running while it is entered."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.alone: collections.Counter[str] = collections.Counter()
        self.together: collections.Counter[str] = collections.Counter()

    def __enter__(self) -> Sampler:
        """Begin."""
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
        self._start = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds = time.process_time() - self._start

    def _note(self, number: int, frame: FrameType | None) -> None:
        names = []
        while frame is not None:
            names.append(frame.f_code.co_qualname)
            frame = frame.f_back
        self.alone[names[0]] += 1
        self.together.update(set(names))


if __name__ == "__main__":
    job = read_job()
    with Sampler() as found:
        MODES[job["mode"]](job)
    each = found.seconds / (job["n"] + job["warm"]) * 1e6
    share = each / max(1, found.alone.total())
    functions = {
        name: [found.alone[name] * share, count * share]
        for name, count in found.together.most_common()
    }
    print(json.dumps({"us": each, "functions": functions}))
