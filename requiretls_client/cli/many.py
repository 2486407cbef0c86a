"""Many checks, several at once, their results in order.

Does no I/O of its own. ^C is not caught here: who gets it asks for what is known by then.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

AT_ONCE = 8  # checks under way: each has its own threads for hosts and questions
_AHEAD = 4 * AT_ONCE  # begun or done, and waiting for those before them

T = TypeVar("T")


class Many(Generic[T]):
    """Jobs that are done side by side.

    Attributes:
        left: how many have no result yet that anybody has taken.
    """

    def __init__(self, jobs: Sequence[Callable[[], T]]) -> None:
        """Begin nothing yet."""
        self.left = len(jobs)
        self._jobs = iter(jobs)
        self._begun: deque[Future[T]] = deque()
        self._pool = ThreadPoolExecutor(min(AT_ONCE, len(jobs)) or 1, "requiretls-check-many")

    def results(self) -> Iterator[T | ValueError]:
        """Yield each job's result in the order of the jobs, or the ValueError that it raised."""
        for job in itertools.islice(self._jobs, _AHEAD):
            self._begun.append(self._pool.submit(job))
        while self._begun:
            yield self._taken(self._begun[0])
            for job in itertools.islice(self._jobs, 1):
                self._begun.append(self._pool.submit(job))
        self._pool.shutdown()

    def known(self) -> Iterator[T | ValueError]:
        """Yield, after ^C, what is done; the rest is given up, and another ^C ends the process.

        What is under way goes on to its end, and nobody waits for it but Python's own exit: hence
        the second ^C.
        """
        self.stop()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        for future in [each for each in self._begun if _has_result(each)]:
            yield self._taken(future)

    def stop(self) -> None:
        """Begin nothing more, and wait for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _taken(self, future: Future[T]) -> T | ValueError:
        """Return the result of one that was begun, waiting for it, and count it as taken."""
        result: T | ValueError
        try:
            result = future.result()
        except ValueError as error:
            result = error
        self._begun.remove(future)
        self.left -= 1
        return result


def _has_result(future: Future[T]) -> bool:
    """Tell whether it is done, and was neither cancelled nor interrupted."""
    return (
        future.done()
        and not future.cancelled()
        and not isinstance(future.exception(), KeyboardInterrupt)
    )
