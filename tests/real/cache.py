"""Folders that are expensive to make, kept between runs: complete or absent, never half.

One lock file serialises all making and removing. A folder in use is held by a shared lock on
the folder itself, so that no other run removes it. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

COMPLETE = ".complete"


class BuildError(Exception):
    """A folder could not be made; the text says why in one line."""


class Cache:
    """The cache folder, locked for set-up while used as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made when absent."""
        self.folder = folder
        self._lock = -1
        self._held: list[int] = []

    def __enter__(self) -> Cache:
        """Wait for every other run's set-up to end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "setup.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("tests/run: waiting for another run's set-up", flush=True)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Let the next run set up; the folders taken so far stay held until this process ends."""
        os.close(self._lock)

    def take(self, name: str, build: Callable[[Path], None], note: str = "") -> Path:
        """Return the folder `name`, made by `build` unless it is there and complete.

        `note` is kept in the finished folder, for prune().
        """
        path = self.folder / name
        if not (path / COMPLETE).exists():
            shutil.rmtree(path, ignore_errors=True)  # left by an interrupted run
            path.mkdir()
            print(f"tests/run: making {path}", flush=True)
            build(path)
            (path / COMPLETE).write_text(note)
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._held.append(descriptor)
        return path

    def prune(self, kind: str, keep: str, stale: Callable[[str], bool]) -> None:
        """Remove folders `kind`-* that no run uses, but not `keep`, when `stale(note)` says so."""
        for path in self.folder.glob(f"{kind}-*"):
            done = path / COMPLETE
            if path.name != keep and (not done.exists() or stale(done.read_text())):
                _remove_unused(path)

    def call(self, command: list[str], cwd: Path | None = None) -> None:
        """Run one set-up command quietly; BuildError with its own words when it fails.

        The command inherits the lock: should this process be killed, the next run waits until
        the orphan has ended and cannot make the same folder at the same time.
        """
        done = subprocess.run(
            command, cwd=cwd, pass_fds=[self._lock], text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
            errors = [line for line in lines if line.startswith(("E: ", "ERROR", "npm ERR"))]
            raise BuildError(f"{Path(command[0]).name} failed: {(errors or lines[-1:])[0]}")


def _remove_unused(path: Path) -> None:
    """Remove `path` unless a run holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
