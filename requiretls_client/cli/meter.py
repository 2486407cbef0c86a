"""How far it is: a bar of rich's, else a plain counter, on standard error if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Meter:
    """Counts up to a total. Shows nothing for a single step, or where nobody looks."""

    def __init__(self, total: int) -> None:
        """Prepare; :meth:`__enter__` shows it."""
        self._total, self._done = total, 0
        self._seen = total > 1 and sys.stderr.isatty()
        self._bar: Progress | None = None

    def __enter__(self) -> Meter:
        """Show it."""
        if self._seen:
            self._bar = _bar(self._total)
            self._show()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._hide()

    def step(self) -> None:
        """Count one more."""
        self._done += 1

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Be away while something is printed, on whichever stream of the same terminal."""
        self._hide()
        yield
        self._show()

    def _show(self) -> None:
        if not self._seen:
            return
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
            self._bar.start()
        else:
            sys.stderr.write(f"\r{self._done} of {self._total} checked")
            sys.stderr.flush()

    def _hide(self) -> None:
        if not self._seen:
            return
        if self._bar is not None:
            self._bar.stop()
        else:
            sys.stderr.write("\r" + " " * len(f"{self._done} of {self._total} checked") + "\r")
            sys.stderr.flush()


def _bar(total: int) -> Progress | None:
    """Return rich's bar, or None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        return None
    bar = Progress(
        "checked", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    bar.add_task("", total=total)
    return bar
