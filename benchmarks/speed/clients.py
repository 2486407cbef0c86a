"""Who sends: each client is a program of its own, started anew for each job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "speed_clients"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")  # no proxies, no other people's options
_PATIENCE = 120  # seconds
_MODULES = "import sys, smtplib; n = len(sys.modules); import {0}; print(len(sys.modules) - n)"

Said = dict[str, Any]  # see speed_clients/adapter.py
Run = Callable[[Mapping[str, Any]], Said]


class ClientFailed(Exception):
    """A client did not do its job; the text says what it printed."""


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        name: with version, for the legend.
        run: does a job (speed_clients/adapter.py) in a process of its own.
        load: the same, where the job is to import it.
    """

    name: str
    run: Run
    load: Run | None = None


def known(plan: Mapping[str, Any]) -> dict[str, Client]:
    """Return the clients that can be had, smtplib first.

    Args:
        plan: what ``benchmarks/run`` found: ``peers``, ``commit``, ``smtp_source`` (root folder).
    """
    peers = plan["peers"]
    python = ".".join(map(str, sys.version_info[:3]))
    found = {"smtplib": _python(f"CPython smtplib {python}", "smtplib", "smtplib_client.py")}
    if "A" in peers:
        name = f"aiosmtplib {peers['A']['version']}"
        path = {"PYTHONPATH": peers["A"]["path"]}
        found["aiosmtplib"] = _python(name, "aiosmtplib", "aiosmtplib_client.py", path)
    if "N" in peers:
        command = [peers["N"]["node"], str(FOLDER / "nodemailer_client.cjs")]
        name = f"nodemailer {peers['N']['version']} on Node {peers['N']['node_version']}"
        variables = _environment({"NODE_PATH": peers["N"]["path"]})
        found["nodemailer"] = Client(name, lambda job: _adapter(command, variables, job))
    if plan["smtp_source"]:
        root = plan["smtp_source"]
        name = f"Postfix's smtp-source ({Path(root).parent.name.partition('-')[0]})"
        found["smtp-source"] = Client(name, lambda job: _smtp_source(root, job))
    ours = f"requiretls_client {version('requiretls-client')} {plan['commit']}".rstrip()
    found["ours"] = _python(ours, "requiretls_client", "our_client.py")
    limit = "bare loop: the same octets, and nothing checked; the limit"
    found["bare"] = _python(limit, "socket", "bare_client.py")
    return found


def profile(job: Mapping[str, Any]) -> Said:
    """Let ours do a job under the profiler (speed_clients/profile_client.py)."""
    command = [sys.executable, str(FOLDER / "profile_client.py")]
    return _adapter(command, _environment({}), job)


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Run what is started meanwhile on one core; None: wherever the kernel likes."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _python(
    name: str, module: str, script: str, variables: Mapping[str, str] | None = None
) -> Client:
    environment = _environment(variables or {})
    command = [sys.executable, str(FOLDER / script)]
    return Client(
        name,
        lambda job: _adapter(command, environment, job),
        lambda job: _load(module, environment),
    )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(more)


def _adapter(command: list[str], environment: dict[str, str], job: Mapping[str, Any]) -> Said:
    """Run an adapter."""
    try:
        done = subprocess.run(  # noqa: S603 - a program of ours
            command, env=environment, input=json.dumps(job), capture_output=True, text=True,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ClientFailed(f"{command[-1]} {job}: not done after {_PATIENCE} s") from None
    try:
        said: Said = json.loads(done.stdout)
    except ValueError:
        raise ClientFailed(f"{command[-1]} {job}: {done.stderr.strip()[-2000:]}") from None
    return said


def _smtp_source(root: str, job: Mapping[str, Any]) -> Said:
    """Run Postfix's client; the figures are of the whole process, connecting included."""
    size = Path(job["content"]).stat().st_size
    options = ["-d", "-s", "1", "-m", str(job["n"]), "-l", str(size), "-r", str(job["recipients"])]
    options += ["-f", "sender@example.org", "-t", "recipient@example.net", "-M", "client.test"]
    target = f"{job['host']}:{job['port']}"
    said = _whole(["chroot", root, "/usr/sbin/smtp-source", *options, target], _environment({}))
    return said


def _load(module: str, environment: dict[str, str]) -> Said:
    """Import a module in a new process: its time and the modules that it loads over smtplib's."""
    said = _whole([sys.executable, "-c", f"import {module}"], environment)
    counting = [sys.executable, "-c", _MODULES.format(module)]
    done = subprocess.run(counting, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - a program of ours
    return {**said, "modules": int(done.stdout)}


def _whole(command: list[str], environment: dict[str, str]) -> Said:
    """Run a program and measure all of it."""
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, environment)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise ClientFailed(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "growth_kib": None}
