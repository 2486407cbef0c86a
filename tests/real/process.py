"""Start a server, wait until it listens, end it; the log is a file that tests can read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


def poll(probe: Callable[[], Found], timeout: float) -> Found:
    """Call `probe` until it returns something true or `timeout` seconds pass; its last answer."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def listening(address: str, port: int) -> bool:
    """Say whether something accepts connections on `address`:`port`."""
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def serve(
    command: list[str | Path], log: Path, ports: list[tuple[str, int]], timeout: float = 20
) -> Iterator[None]:
    """Run `command` with its output in `log`; yields once it listens on all of `ports`."""
    with log.open("ab") as output:
        # A session of its own: Postfix's master signals its whole process group when it ends.
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        for address, port in ports:
            poll(lambda at=(address, port): process.poll() is not None or listening(*at), timeout)
            if process.poll() is not None or not listening(address, port):
                tail = log.read_text(errors="replace")[-2000:]
                raise AssertionError(f"{command[0]}: nothing on {address}:{port}\n{tail}")
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End `process` and its group, gently first, and reap it."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
