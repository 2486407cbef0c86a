"""Who is attacked: each client is a program of its own, started anew for each case."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attack_table.evidence import DEADLINE, Outcome

FOLDER = Path(__file__).resolve().parent.parent / "attack_clients"
_KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR")  # no proxies, no other people's options


@dataclass(frozen=True)
class Client:
    """One column.

    Attributes:
        key: heading and name on the command line.
        name: with version, for the legend.
        command: starts the adapter.
        environment: variables that it needs.
    """

    key: str
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, job: Mapping[str, Any], baseline_kib: int | None) -> tuple[Outcome, int | None]:
        """Run the adapter on one job; kill it at the deadline.

        Args:
            job: see attack_clients/adapter.py.
            baseline_kib: its memory before the work, for one that cannot say so itself.

        Returns:
            Its outcome, and its memory before the work when it said so.
        """
        process = subprocess.Popen(  # noqa: S603 - a program of ours
            self.command,
            env=self._environment(job),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        try:
            stdout, stderr = process.communicate(json.dumps(job), DEADLINE)
        except subprocess.TimeoutExpired:
            growth = _growth(baseline_kib, _peak_kib(process.pid))
            process.kill()
            process.communicate()
            return Outcome("hung", seconds=DEADLINE, growth_kib=growth), None
        finally:
            process.kill()
        return _outcome(stdout, stderr)

    def _environment(self, job: Mapping[str, Any]) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        if job["trust"] == "machine":
            environment["SSL_CERT_FILE"] = environment["NODE_EXTRA_CA_CERTS"] = job["cafile"]
        return {**environment, **self.environment}


def known(plan: Mapping[str, Any]) -> list[Client]:
    """Return the clients that can be had, in the order of the columns.

    Args:
        plan: what ``peers.prepare`` returned.
    """
    peers = plan["peers"]
    python = ".".join(map(str, sys.version_info[:3]))
    clients = [_python("S", f"CPython smtplib {python}", "smtplib_client.py", {})]
    if "A" in peers:
        path = {"PYTHONPATH": peers["A"]["path"]}
        name = f"aiosmtplib {peers['A']['version']}"
        clients.append(_python("A", name, "aiosmtplib_client.py", path))
    if "N" in peers:
        command = (peers["N"]["node"], str(FOLDER / "nodemailer_client.cjs"))
        name = f"nodemailer {peers['N']['version']} on Node {peers['N']['node_version']}"
        clients.append(Client("N", name, command, {"NODE_PATH": peers["N"]["path"]}))
    ours = f"requiretls_client {version('requiretls-client')} {plan['commit']}"
    clients.append(_python("ours", ours.rstrip(), "our_client.py", {}))
    return clients


def _python(key: str, name: str, script: str, environment: Mapping[str, str]) -> Client:
    return Client(key, name, (sys.executable, str(FOLDER / script)), environment)


def _outcome(stdout: str, stderr: str) -> tuple[Outcome, int | None]:
    """Read what an adapter printed."""
    try:
        said = json.loads(stdout)
    except ValueError:
        last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Outcome("error", {"class": "adapter", "text": last}, stderr=stderr), None
    growth = _growth(said["before_kib"], said["peak_kib"])
    outcome = Outcome(said["outcome"], said["error"], said["seconds"], growth, stderr)
    return outcome, said["before_kib"]


def _growth(before: int | None, peak: int | None) -> int | None:
    return None if before is None or peak is None else peak - before


def _peak_kib(pid: int) -> int | None:
    """Return the peak of a process's resident memory, where the platform says."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return None
