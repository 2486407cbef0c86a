"""Where our CPU time goes, function by function: ``benchmarks/run --profile``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speed import clients, servers
from speed.servers import Certificates
from speed.works import PROFILED, message

SIZE = 1024
_ROWS = 40


def lines(mode: str) -> Iterator[str]:
    """Measure, client and server on one core, and yield a table for each kind of server."""
    core = clients.some_core()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = folder / "message.eml"
        content.write_bytes(message(SIZE, dots=False))
        certificates = Certificates(folder)
        with servers.sinks(certificates, core) as there, clients.on_core(core):
            for kind, server in there.items():
                server.expect(content)
                job = {
                    "mode": mode, "n": PROFILED[mode], "warm": 50, "recipients": 1,
                    "in_flight": None, "host": server.host, "port": server.port,
                    "content": str(content), "cafile": str(certificates.cafile), "strict": False,
                }  # fmt: skip
                found = clients.profile(job)
                servers.check_all_arrived(server.collect(), job)
                yield from _table(f"{mode}, 1 kB, {kind}", found)


def _table(title: str, found: dict[str, Any]) -> Iterator[str]:
    yield f"{title}: {found['us']:.1f} us of CPU time for one message"
    yield ""
    yield f"{'without':>8}  {'with':>8}  what it calls, us"
    rows = sorted(found["functions"].items(), key=lambda row: row[1], reverse=True)
    for name, (alone, together) in rows[:_ROWS]:
        yield f"{alone:8.2f}  {together:8.2f}  {name}"
    yield ""


def run(mode: str) -> int:
    """Print it; returns the exit status."""
    try:
        for line in lines(mode):
            print(line, flush=True)
    except (clients.ClientFailed, servers.CheckFailed, OSError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    return 0
