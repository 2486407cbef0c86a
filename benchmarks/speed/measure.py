"""The rounds: every client in turn, each round beginning with another one."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speed import clients, servers
from speed.clients import Client
from speed.servers import Certificates, CheckFailed, Server
from speed.works import SMTPLIB, Column, Work, message

Servers = Mapping[str, Server]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One job of one client.

    Attributes:
        wall, cpu: seconds for one message; cpu of the client's process.
        growth_kib: of its peak memory; None where nobody says.
        modules: that it loads over smtplib's (import only).
        sink_cpu: seconds of the sink for one message, warming up and connecting included.
        waits: times that the sink had to wait for the client, for one message: its round trips.
        chunked: share of the messages that came by BDAT.
    """

    wall: float
    cpu: float
    growth_kib: int | None = None
    modules: int | None = None
    sink_cpu: float = 0.0
    waits: float = 0.0
    chunked: float = 0.0


@dataclass
class Result:
    """What came of a work: column key -> runs, in the order of the rounds."""

    work: Work
    runs: dict[str, list[Run]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def ratios(self, key: str, measure: str) -> list[float]:
        """Return how many times better than smtplib's a column's "wall" or "cpu" is, by rounds."""
        both = zip(self.runs[SMTPLIB.key], self.runs[key], strict=True)
        return [getattr(base, measure) / getattr(run, measure) for base, run in both]

    def values(self, key: str, measure: str) -> list[float]:
        """Return what a goal for this measure is held against, by rounds."""
        runs = self.runs[key]
        if measure == "memory":
            return [run.growth_kib / 1024 for run in runs if run.growth_kib is not None]
        if measure == "modules":
            return [float(run.modules) for run in runs if run.modules is not None]
        return self.ratios(key, measure)

    @property
    def sink_busy(self) -> float:
        """The greatest share of a client's time, by medians, in which its sink was at work."""
        shares = ([run.sink_cpu / run.wall for run in runs] for runs in self.runs.values())
        return max(map(statistics.median, shares))


class Bench:
    """Everything that a run needs."""

    def __init__(self, who: Mapping[str, Client], folder: Path, tell: Tell) -> None:
        """Make the certificates.

        Args:
            who: the clients there are.
            folder: for files that may go afterwards.
            tell: is given a line for people now and then.
        """
        self._who, self._folder, self._tell = who, folder, tell
        self._certificates = Certificates(folder)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._client_core, self._sink_core = cores[0], cores[-1]

    def measure(self, works: Sequence[Work]) -> list[Result]:
        """Measure it all: what needs the processor by itself, then the slow wires side by side."""
        results = [self._import(work) for work in works if work.key == "import"]
        for shared in (True, False):
            some = [each for each in works if _on_loopback(each) and each.shared == shared]
            if some:
                core = self._client_core if shared else self._sink_core
                with servers.sinks(self._certificates, core) as there:
                    results += [self._compare(work, there, self._client_core) for work in some]
        rtts = sorted({work.rtt for work in works if work.rtt})
        if rtts:
            with ThreadPoolExecutor(len(rtts)) as pool:  # they wait nearly all the time
                wires = [[each for each in works if each.rtt == rtt] for rtt in rtts]
                for found in pool.map(self._behind_wire, wires, range(len(rtts))):
                    results += found
        return sorted(results, key=lambda result: works.index(result.work))

    def profile(self, work: Work) -> Iterator[tuple[Column, clients.Said]]:
        """Yield, for each column of a work, where its CPU time goes: see ``clients.profile``."""
        content = self._content(work)
        with servers.sinks(self._certificates, self._client_core) as there:
            for column in work.columns:
                server = there[column.server]
                server.expect(content)
                job = self._job(work, column, server, content)
                with clients.on_core(self._client_core):
                    said = clients.profile(job)
                _check(server.collect(), job["n"] + job["warm"], job, column)
                yield column, said

    def _behind_wire(self, works: Iterable[Work], number: int) -> list[Result]:
        works = list(works)
        with servers.slow_sinks(self._certificates, works[0].rtt, number) as there:
            return [self._compare(work, there, None) for work in works]

    def _compare(self, work: Work, there: Servers, core: int | None) -> Result:
        """Measure one work."""
        content = self._content(work)
        for server in there.values():
            server.expect(content)
        result = Result(work)
        columns = [each for each in work.columns if each.client in self._who]
        for turn in range(work.rounds):
            start = turn % len(columns)
            for column in columns[start:] + columns[:start]:
                if column.key not in result.missing:
                    with clients.on_core(core):
                        self._once(result, column, there[column.server], content)
        self._tell(work.title)
        return result

    def _once(self, result: Result, column: Column, server: Server, content: Path) -> None:
        """Let one client do its job, and check it."""
        job = self._job(result.work, column, server, content)
        server.collect()
        said = self._who[column.client].run(job)
        if "missing" in said:
            result.missing[column.key] = said["missing"]
            return
        seen = server.collect()
        sent = job["n"] if column.client == "smtp-source" else job["n"] + job["warm"]
        _check(seen, sent, job, column)
        result.runs.setdefault(column.key, []).append(
            Run(
                wall=said["wall"] / job["n"],
                cpu=said["cpu"] / job["n"],
                growth_kib=said["growth_kib"],
                sink_cpu=seen["cpu"] / sent,
                waits=seen["waits"] / sent,
                chunked=seen["chunked"] / sent,
            )
        )

    def _job(self, work: Work, column: Column, server: Server, content: Path) -> dict[str, Any]:
        job = {"recipients": 1, "in_flight": None, **work.job}
        if column.client in ("ours", "bare"):
            job |= work.ours
        return job | {
            "host": server.host,
            "port": server.port,
            "cafile": None if job.get("plain") else str(self._certificates.cafile),
            "content": str(content),
            "strict": column.strict,
        }

    def _import(self, work: Work) -> Result:
        """Measure how long an import takes, whole process."""
        result = Result(work)
        columns = [each for each in work.columns if each.client in self._who]
        for turn in range(work.rounds + 1):
            start = turn % len(columns)
            for column in columns[start:] + columns[:start]:
                load = self._who[column.client].load
                assert load  # noqa: S101 - only those that can are among the columns
                with clients.on_core(self._client_core):
                    said = load({})
                if turn:  # the first may have to compile
                    run = Run(said["wall"], said["cpu"], modules=said["modules"])
                    result.runs.setdefault(column.key, []).append(run)
        self._tell(work.title)
        return result

    def _content(self, work: Work) -> Path:
        """Return the file with the work's message."""
        size, dots = work.job["size"], work.job.get("dots", False)
        path = self._folder / f"{size}-{dots}.eml"
        if not path.exists():
            made = path.with_suffix(f".{work.rtt}")  # the wires are side by side
            made.write_bytes(message(size, dots=dots))
            made.replace(path)
        return path


def _on_loopback(work: Work) -> bool:
    return not work.rtt and work.key != "import"


def _check(seen: Mapping[str, Any], sent: int, job: Mapping[str, Any], column: Column) -> None:
    """Hold what the sink has received against what was to be sent."""
    wanted = {
        "messages": sent,
        "intact": 0 if column.client == "smtp-source" else sent,  # it has a text of its own
        "recipients": sent * job["recipients"],
        "requiretls": sent if column.strict else 0,
    }
    found = {name: seen[name] for name in wanted}
    if found != wanted:
        raise CheckFailed(f"{column.key}, {job['mode']}: the sink has {found}, not {wanted}")
