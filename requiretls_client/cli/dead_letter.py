"""Keep what was piped in and cannot become a message: nothing is lost, and nothing is sent.

Does I/O. The last resort of ``requiretls send``: no recipient that anybody knows, NUL in a header,
a configuration that cannot be read. The text goes as it came into ``dead`` in the spool folder,
with the reason beside it; nothing reads it again by itself.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from requiretls_client.cli import spool_files

PLACE = "dead"


def keep(raw: bytes, reason: str, folder: Path) -> Path:
    """Write a text where only we can read it; it is on the disk when this returns.

    Args:
        raw: as it came.
        reason: a sentence for people.
        folder: of the spool.

    Returns:
        The file; the reason is in another, with ``.why`` behind its name.

    Raises:
        OSError: it was not kept.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"
    with spool_files.doing(f"keep the text in {folder / PLACE}"):
        spool_files.make_folder(folder / PLACE)
        place = spool_files.open_folder(folder / PLACE)
        try:
            _write(place, name, raw)
            _write(place, f"{name}.why", f"{reason}\n".encode())
            os.fsync(place)
        finally:
            os.close(place)
    return folder / PLACE / name


def every(folder: Path) -> list[tuple[Path, str]]:
    """Return the texts that are kept, oldest first, each with its reason.

    Args:
        folder: of the spool.

    Raises:
        OSError: they cannot be read.
    """
    if not (folder / PLACE).exists():
        return []
    found = []
    with spool_files.doing(f"read {folder / PLACE}"):
        for path in sorted((folder / PLACE).iterdir()):
            if path.suffix != ".why":
                reason = path.with_name(f"{path.name}.why")
                why = reason.read_text() if reason.exists() else "nobody knows why"
                found.append((path, why.strip()))
    return found


def _write(place: int, name: str, data: bytes) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=place)
    try:
        spool_files.write(file, data, 0)
        os.fsync(file)
    finally:
        os.close(file)
