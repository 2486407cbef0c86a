"""What the spool does with files and folders, one step each; and how it says that one failed.

Does I/O. All folders are opened once and checked while they are open, and everything else is
named below them, so that nobody can put another folder in their place meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # Windows

CAN_LOCK = fcntl is not None


class SpoolError(OSError):
    """The spool cannot be used, or not now: what was to be done, where, and why not."""

    def __str__(self) -> str:
        """Return the sentence alone."""
        return str(self.args[-1])


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Raise the OSError of a step as a SpoolError that says what was to be done."""
    try:
        yield
    except SpoolError:
        raise
    except OSError as error:
        raise trouble(error, what) from error


def trouble(error: OSError, what: str) -> SpoolError:
    """Return the error that says so."""
    return SpoolError(error.errno, f"cannot {what}: {error.strerror or error}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for us alone; their names are on the disk then.

    Raises:
        OSError: that is not possible.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        # A link that leads nowhere: a disk that is not mounted. Any other may be there by now.
        if path.parent.is_symlink() and not path.parent.exists():
            raise
        make_folder(path.parent)
        make_folder(path)
        return
    above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def open_folder(path: str | Path, above: int | None = None) -> int:
    """Open a folder that nobody but us can write to.

    Args:
        path: where it is, or its name in the folder ``above``.
        above: descriptor of that folder.

    Raises:
        OSError: it is none, or a link, or belongs to somebody else, or others may write to it.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        info = os.fstat(folder)
        if info.st_uid != os.geteuid():
            raise PermissionError(1, f"it belongs to user {info.st_uid}, and must be our own")
        if info.st_mode & 0o022:
            raise PermissionError(1, "other users may write to it; change that with chmod 0700")
    except BaseException:
        os.close(folder)
        raise
    return folder


def open_file(name: str, folder: int, flags: int) -> int:
    """Open a file that is there; never a link, and never one that would make us wait.

    Raises:
        OSError: it cannot be opened, or is no file of our own.
    """
    file = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    info = os.fstat(file)
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
        os.close(file)
        raise PermissionError(1, "it is no file of ours")
    return file


def lock(file: int, *, wait: bool = False) -> bool:
    """Make a file ours until it is closed or this process ends; False if it is another's.

    Raises:
        OSError: locks do not work here.
    """
    if fcntl is None:
        raise OSError("this system has no flock()")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_locked(file: int) -> bool:
    """Tell whether somebody works on a file. For a moment, those who want to find it locked."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def is_named(name: str, folder: int, file: int) -> bool:
    """Tell whether an open file still has this name."""
    try:
        info, own = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file)
    except FileNotFoundError:
        return False
    return (info.st_dev, info.st_ino) == (own.st_dev, own.st_ino)


def write(file: int, data: bytes, offset: int) -> None:
    """Write all of it at an offset.

    Raises:
        OSError: not all of it was written.
    """
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def read(file: int, size: int, offset: int) -> bytes:
    """Return up to ``size`` bytes; fewer at the end of the file only."""
    parts = []
    while size and (part := os.pread(file, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)


def read_line(file: int, longest: int) -> bytes:
    """Return the first line, with its line feed unless it is longer or the file ends before."""
    data, step = b"", 4096
    while b"\n" not in data and len(data) < longest:
        part = read(file, step, len(data))
        if not part:
            return data
        data, step = data + part, step * 2
    return data[: data.find(b"\n") + 1] or data
