"""The spool: messages that are on their way, one file each, in a folder that only we can write to.

Does I/O. ``tmp`` holds what is being written, ``queue`` what is to be tried, ``failed`` what will
not be. What a file says is in :mod:`requiretls_client.cli.record`.

Nothing is lost, whenever a process is killed or the power is cut: a message has its name in
``queue`` only when all of it is on the disk, it leaves when every recipient has it, and in
between notes are appended to its file and never changed. The place follows the notes: what is in
``queue`` and has nobody waiting was cut off on its way out, and the next run moves it.

Whoever works on a message holds a lock on its file (flock), which ends with the process. So this
is not for network file systems whose locks do not reach other machines.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from re import compile as pattern

from requiretls_client.cli import record, spool_files
from requiretls_client.cli.entry import Entry, Glimpse
from requiretls_client.cli.job import Job
from requiretls_client.cli.spool_files import SpoolError, doing

TMP, QUEUE, FAILED = PLACES = "tmp", "queue", "failed"
ID = pattern(r"\d{8}-\d{6}-[0-9a-f]{8}(\.\d{1,4})?")  # says when, and nothing about the message
STALE = 86400.0  # seconds: what was begun in tmp and has no owner is removed then


def open_spool(folder: str | None) -> Spool:
    """Return the spool in a folder, which the configuration names; None: where it is by default.

    Raises:
        SpoolError: there can be none.
    """
    if not spool_files.CAN_LOCK:
        raise SpoolError(
            errno.ENOSYS, "messages can be kept on Unix only: there is no flock() here"
        )
    return Spool(folder or default_folder())


def default_folder() -> Path:
    """Return where messages are kept unless the configuration says something else.

    ``/var/spool/requiretls-client`` of root, whose jobs have one home or another;
    ``$XDG_STATE_HOME/requiretls-client/spool`` of everybody else.

    Raises:
        SpoolError: the user has no home.
    """
    if os.geteuid() == 0:
        return Path("/var/spool/requiretls-client")
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if state.startswith("/") else Path.home() / ".local/state"
    except RuntimeError:
        text = "there is no home to keep messages in: name a folder in [spool] of the configuration"
        raise SpoolError(errno.ENOENT, text) from None
    return base / "requiretls-client/spool"


class Spool:
    """The folder, for a ``with`` block."""

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.time) -> None:
        """Name the folder; nothing is opened yet.

        Args:
            folder: absolute path; made when the first message comes.
            clock: the time, in seconds since the epoch.
        """
        self.folder = Path(folder)
        self.clock = clock
        self._folders: dict[str, int] = {}

    def __enter__(self) -> Spool:
        """Return the spool."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    def add(self, job: Job, *, report: bool = True, name: str = "") -> Entry:
        """Keep a message; it is on the disk when this returns, and the caller's to attempt.

        Args:
            job: the message, and what it asks for, which holds for every attempt.
            report: whether its sender gets a report about a final failure.
            name: of the entry; "" makes a new one.

        Raises:
            SpoolError: it is not kept.
        """
        with doing(f"keep the message in {self.folder}"):
            for place in PLACES:
                spool_files.make_folder(self.folder / place)
            now = self.clock()
            new, name = _new_name(now), name or _new_name(now)
            data = record.write_head(job, now, report=report) + job.message
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            file = os.open(new, flags, 0o600, dir_fd=self._folder(TMP))
            try:
                spool_files.lock(file, wait=True)
                spool_files.write(file, data, 0)
                os.fsync(file)
                self.rename(new, TMP, QUEUE, name)
                return Entry(self, name, QUEUE, file)
            except BaseException:  # what the caller is told is not kept must not be sent later
                for each, place in ((new, TMP), (name, QUEUE)):
                    with contextlib.suppress(OSError):
                        self.unlink(each, place)
                os.close(file)
                raise

    def names(self, place: str) -> list[str]:
        """Return the names of the messages in a place, oldest first.

        Raises:
            SpoolError: the folder cannot be read, or is not ours alone.
        """
        return [each for each in self._list(place) if ID.fullmatch(each)]

    def strangers(self) -> list[Path]:
        """Return what lies in the spool and is no message; it is never touched.

        Raises:
            SpoolError: the folder cannot be read, or is not ours alone.
        """
        return [
            self.folder / place / each
            for place in PLACES
            for each in self._list(place)
            if not ID.fullmatch(each)
        ]

    def _list(self, place: str) -> list[str]:
        with doing(f"read {self.folder / place}"):
            try:
                return sorted(os.listdir(self._folder(place)))
            except FileNotFoundError:
                return []

    def has(self, name: str) -> bool:
        """Tell whether there is a message of this name."""
        return any(name in self._list(place) for place in (QUEUE, FAILED))

    def take(self, name: str, place: str = QUEUE) -> Entry | None:
        """Take a message to work on; None if another process has it, or it has gone.

        Raises:
            DamagedError: it is not to be acted on.
            SpoolError: it cannot be opened.
        """
        file = self._open_ours(name, place)
        if file is None:
            return None
        try:
            return Entry(self, name, place, file)
        except BaseException:
            os.close(file)
            raise

    def remove(self, name: str, place: str) -> bool:
        """Remove a message, damaged or not; False if another process has it, or it has gone.

        Raises:
            SpoolError: it cannot be removed.
        """
        file = self._open_ours(name, place)
        if file is None:
            return False
        try:
            with doing(f"remove {self.folder / place / name}"):
                self.unlink(name, place)
        finally:
            os.close(file)
        return True

    def look(self, name: str, place: str, *, whole: bool = False) -> Glimpse | None:
        """Return what a message is and how far; None if it has gone.

        Args:
            name: of the entry.
            place: where it is.
            whole: read the message too.

        Raises:
            DamagedError: it cannot be read.
            SpoolError: it cannot be opened.
        """
        file = self._open(name, place, os.O_RDONLY)
        if file is None:
            return None
        try:
            with doing(f"read {self.folder / place / name}"):
                return Glimpse.of(file, whole=whole)
        finally:
            os.close(file)

    def _open_ours(self, name: str, place: str) -> int | None:
        """Open and lock a file; None if another process has the lock, or the file has gone."""
        file = self._open(name, place, os.O_RDWR)
        if file is None:
            return None
        try:
            with doing(f"lock {self.folder / place / name}"):
                # Whoever had the lock may have removed the file, or moved it.
                if spool_files.lock(file) and spool_files.is_named(name, self._folder(place), file):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return None

    def _open(self, name: str, place: str, flags: int) -> int | None:
        with doing(f"open {self.folder / place / name}"):
            try:
                return spool_files.open_file(name, self._folder(place), flags)
            except FileNotFoundError:
                return None

    def sweep(self) -> None:
        """Remove what processes left in ``tmp`` that were killed there; nobody counts on it.

        Raises:
            SpoolError: it cannot be removed.
        """
        for name in self.names(TMP):
            file = self._open(name, TMP, os.O_RDWR)
            if file is None:
                continue
            try:
                with doing(f"remove {self.folder / TMP / name}"):
                    old = self.clock() - os.fstat(file).st_mtime > STALE
                    if old and spool_files.lock(file):
                        self.unlink(name, TMP)
            finally:
                os.close(file)

    # -- for entries -----------------------------------------------------------------------------

    def unlink(self, name: str, place: str) -> None:
        """Remove a name. Raises OSError.

        The disk may learn of it later: a message that comes back has notes which say that nobody
        waits for it.
        """
        os.unlink(name, dir_fd=self._folder(place))

    def rename(self, name: str, old: str, new: str, new_name: str = "") -> None:
        """Move a file to another place; that is on the disk when this returns. Raises OSError."""
        source, target = self._folder(old), self._folder(new)
        os.rename(name, new_name or name, src_dir_fd=source, dst_dir_fd=target)
        os.fsync(target)

    def _folder(self, place: str) -> int:
        """Return the descriptor of a place, checked."""
        if "" not in self._folders:
            self._folders[""] = spool_files.open_folder(self.folder)
        if place not in self._folders:
            self._folders[place] = spool_files.open_folder(place, self._folders[""])
        return self._folders[place]


def _new_name(now: float) -> str:
    when = datetime.fromtimestamp(now, UTC)
    return f"{when:%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"
