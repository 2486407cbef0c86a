"""Get what the attacks need into the cache folder of tests/run: Python, aiosmtplib, nodemailer.

Standard library only; needs ``tests`` on the path, whose helpers do the work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from real import environment, isolation
from real.cache import BuildError, Cache

CHECKOUT = Path(__file__).resolve().parent.parent.parent
AIOSMTPLIB = "5.1.3"
NODEMAILER = "10.6.0"

Taker = Callable[[Cache], dict[str, str]]


def cache_folder() -> Path:
    """Return the folder that tests/run keeps things in between runs."""
    chosen = os.environ.get("REQUIRETLS_TEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen or Path(base) / "requiretls-client-tests").absolute()


def prepare(cache: Cache, wanted: Sequence[str]) -> dict[str, Any]:
    """Make what is missing.

    Args:
        cache: locked.
        wanted: keys of the clients that are to run.

    Returns:
        ``python`` to run the rest with, ``commit`` of this checkout, ``peers`` (client key -> where
        it is), ``left_out`` (what could not be had -> why) and ``isolated`` (whether the run gets
        a network of its own).

    Raises:
        BuildError: not even the Python environment could be made.
    """
    python = environment.take(cache, CHECKOUT)
    takers: dict[str, Taker] = {"A": partial(_aiosmtplib, python), "N": _nodemailer}
    peers, left_out = {}, {}
    for key in takers.keys() & set(wanted):
        try:
            peers[key] = takers[key](cache)
        except BuildError as error:
            left_out[f"client {key}"] = str(error)
    scratch = cache.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    reason = isolation.why_not(scratch)
    if reason:
        left_out["G01, which needs a server that is not on loopback"] = reason
    return {
        "python": python,
        "commit": _commit(),
        "peers": peers,
        "left_out": left_out,
        "isolated": not reason,
    }


def _commit() -> str:
    """Return the checkout's commit, marked when files differ from it; "" without git."""
    command = ["git", "describe", "--always", "--dirty=, changed since", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)  # noqa: S603 - a program of ours
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"({found.stdout.strip()})"


def _aiosmtplib(python: str, cache: Cache) -> dict[str, str]:
    """Install aiosmtplib into a folder of its own; it needs nothing else."""

    def build(folder: Path) -> None:
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
        cache.call([*install, "--target", str(folder), f"aiosmtplib=={AIOSMTPLIB}"])

    return {"path": str(_take(cache, "aiosmtplib", AIOSMTPLIB, build)), "version": AIOSMTPLIB}


def _nodemailer(cache: Cache) -> dict[str, str]:
    """Install nodemailer from npm; it needs nothing else."""
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        raise BuildError("there is no node or no npm here")

    def build(folder: Path) -> None:
        options = ["--no-audit", "--no-fund", "--silent", "--cache", str(folder / "npm-cache")]
        install = ["npm", "install", *options, "--prefix", str(folder)]
        cache.call([*install, f"nodemailer@{NODEMAILER}"])
        shutil.rmtree(folder / "npm-cache", ignore_errors=True)

    path = _take(cache, "nodemailer", NODEMAILER, build) / "node_modules"
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - a program of ours
    return {
        "path": str(path),
        "version": NODEMAILER,
        "node": node,
        "node_version": found.stdout.strip().lstrip("v"),
    }


def _take(cache: Cache, kind: str, version: str, build: Callable[[Path], None]) -> Path:
    """Take the folder of a pinned version, and drop those of others."""
    name = f"{kind}-{version}"
    path = cache.take(name, build)
    cache.prune(kind, name, lambda note: True)
    return path
