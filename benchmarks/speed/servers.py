"""Starts the sinks, and the wires in front of them, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requiretls_client.testing import CA
from speed import clients, wire
from speed.works import CHUNKING, PIPELINING, RTTS

LOOPBACK = "127.0.0.1"


class CheckFailed(Exception):
    """The sink did not receive what was sent; the text says what it received."""


class Certificates:
    """A CA, and a certificate that names every address of ours."""

    def __init__(self, folder: Path) -> None:
        """Write them."""
        ca = CA()
        addresses = [wire.server_side(number) for number in range(len(RTTS))]
        site = ca.issue("localhost", LOOPBACK, *addresses)
        self.cafile, self.site = folder / "ca.pem", folder / "site.pem"
        self.cafile.write_bytes(ca.pem)
        self.site.write_bytes(site.key + site.pem)


@dataclass(frozen=True)
class Server:
    """A sink that runs.

    Attributes:
        host, port: where.
        process: controlled through its standard input and output, see ``sink``.
    """

    host: str
    port: int
    process: subprocess.Popen[str]

    def expect(self, content: Path) -> None:
        """Make it hold every message against this file."""
        self._ask({"content": str(content)})

    def collect(self) -> dict[str, Any]:
        """Return its counters since the last time."""
        found = self._ask({"collect": True})
        if "error" in found:
            raise CheckFailed(found["error"])
        return found

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin  # noqa: S101 - a pipe
        assert self.process.stdout  # noqa: S101 - a pipe
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise CheckFailed("the sink has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def sinks(
    certificates: Certificates, core: int | None, host: str = LOOPBACK, namespace: str | None = None
) -> Iterator[dict[str, Server]]:
    """Start a sink with PIPELINING and one with CHUNKING too; yields them by these names."""
    with contextlib.ExitStack() as stack:
        found = {}
        for kind in (PIPELINING, CHUNKING):
            options = {
                "host": host,
                "chunking": kind == CHUNKING,
                "certificate": str(certificates.site),
                "namespace": namespace,
            }
            with clients.on_core(core):
                process = stack.enter_context(_started("speed.sink", options))
            assert process.stdout  # noqa: S101 - a pipe
            found[kind] = Server(host, int(process.stdout.readline()), process)
        yield found


@contextmanager
def slow_sinks(certificates: Certificates, rtt: int, number: int) -> Iterator[dict[str, Server]]:
    """Start both behind a slow wire.

    Args:
        certificates: for the sinks.
        rtt: round trip in ms.
        number: of the wire, from 0.
    """
    with _started("speed.wire", {"rtt": rtt, "number": number}) as process:
        assert process.stdout  # noqa: S101 - a pipe
        if process.stdout.readline() != "ready\n":
            raise OSError("the slow wire did not come up")
        namespace = f"/proc/{process.pid}/ns/net"
        with sinks(certificates, None, wire.server_side(number), namespace) as found:
            yield found


@contextmanager
def _started(module: str, options: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run a module of ours, which ends with its standard input."""
    command = [sys.executable, "-m", module, json.dumps(options)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - a program of ours
        yield process
