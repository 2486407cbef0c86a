"""One message of the spool: its file, open and ours, or seen in passing.

Does I/O on the file; :mod:`requiretls_client.cli.spool` knows the folders.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from requiretls_client.cli import progress, record, spool_files
from requiretls_client.cli.job import Job
from requiretls_client.cli.progress import Progress
from requiretls_client.cli.record import DamagedError, Event, Head
from requiretls_client.cli.spool_files import doing, trouble

if TYPE_CHECKING:
    from requiretls_client.cli.spool import Spool

_LONGEST_HEAD = 64 * 1024 * 1024


class Entry:
    """A message in the spool that is ours as long as this object is open."""

    def __init__(self, spool: Spool, name: str, place: str, file: int) -> None:
        """Read it. The lock on ``file`` is held, and released by :meth:`close`.

        Raises:
            DamagedError: it is not to be acted on.
        """
        self.id = name
        self.place = place
        self.head, self._start, self.events, self._end = _read(file)
        self.progress: Progress = progress.read(self.head, self.events)
        self._spool = spool
        self._file = file

    def __enter__(self) -> Entry:
        """Return the entry."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self.close()

    def close(self) -> None:
        """Let go of it: others may take it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def job(self) -> Job:
        """Return the whole job, for all recipients that it had.

        Raises:
            DamagedError: the message is not the one that was accepted.
        """
        return self.head.job(_message(self._file, self.head, self._start))

    def note(self, event: Event, *, room: int = 0, spare: Event | None = None) -> None:
        """Append a note; it is on the disk when this returns.

        Args:
            event: the note.
            room: bytes to reserve behind it, so that the next notes find a place on a disk that
                has become full meanwhile.
            spare: a shorter note, for that case.

        Raises:
            SpoolError: it could not be noted.
        """
        line = record.seal(event)
        try:
            spool_files.write(self._file, line + b" " * room, self._end)
            os.fsync(self._file)
        except OSError as error:
            if spare is not None:
                return self.note(spare)
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise trouble(error, f"note in {self._path} what was done") from error
        self._end += len(line)
        self.events.append(event)
        self.progress = progress.read(self.head, self.events)
        return None

    def finish(self) -> None:
        """Remove it: every recipient has it, or a person wants it so.

        Raises:
            SpoolError: it could not be removed.
        """
        with doing(f"remove {self._path}"):
            self._spool.unlink(self.id, self.place)

    def move(self, place: str) -> None:
        """Move it to another place, unless it is there.

        Raises:
            SpoolError: it could not be moved.
        """
        if place != self.place:
            with doing(f"move {self._path} to {place}"):
                self._spool.rename(self.id, self.place, place)
            self.place = place

    @property
    def _path(self) -> Path:
        return self._spool.folder / self.place / self.id


def _read(file: int) -> tuple[Head, int, list[Event], int]:
    """Return head, where the notes begin, the notes, and where they end."""
    line = spool_files.read_line(file, _LONGEST_HEAD)
    head = record.read_head(line)
    start = len(line) + head.size
    size = os.fstat(file).st_size
    if size < start:
        raise DamagedError("it is too short for its message")
    events, length = record.read_notes(spool_files.read(file, size - start, start))
    return head, start, events, start + length


def _message(file: int, head: Head, start: int) -> bytes:
    return spool_files.read(file, head.size, start - head.size)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A message in the spool as somebody sees it who does not work on it.

    Attributes:
        head: what never changes.
        progress: how far it is.
        busy: somebody works on it.
        message: header and body; b"" unless it was asked for.
    """

    head: Head
    progress: Progress
    busy: bool
    message: bytes

    @classmethod
    def of(cls, file: int, *, whole: bool) -> Glimpse:
        """Look at an open file.

        Raises:
            DamagedError: it cannot be read.
        """
        head, start, events, _ = _read(file)
        found = progress.read(head, events)
        busy = found.begun is not None and spool_files.is_locked(file)
        return cls(head, found, busy, _message(file, head, start) if whole else b"")
