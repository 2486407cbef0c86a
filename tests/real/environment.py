"""Make the Python environment of the tests: this checkout, editable, and every tool.

Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from . import debian
from .cache import Cache

INPUTS = ("setup.cfg", "pyproject.toml", "tests/requirements.txt", "tests/real/environment.py")


def take(cache: Cache, checkout: Path) -> str:
    """Return the Python of a virtual environment for `checkout`, made anew when INPUTS change."""
    # The checkout is part of the key because an editable installation points at one.
    key = hashlib.sha256(repr([str(checkout), sys.base_prefix, sys.version]).encode())
    for path in INPUTS:
        key.update((checkout / path).read_bytes())
    kind = f"venv{sys.version_info[0]}{sys.version_info[1]}"
    name = f"{kind}-{key.hexdigest()[:12]}"
    path = cache.take(name, _recipe(cache, checkout), note=str(checkout))
    # One of a checkout that is gone, or of this checkout before a change, serves nobody.
    cache.prune(kind, name, lambda note: note == str(checkout) or not Path(note).exists())
    return str(path / "bin/python")


def _recipe(cache: Cache, checkout: Path) -> Callable[[Path], None]:
    """Return what makes the environment in a given folder."""

    def build(folder: Path) -> None:
        if importlib.util.find_spec("ensurepip"):
            cache.call([sys.executable, "-m", "venv", str(folder)])
        else:
            cache.call([sys.executable, "-m", "venv", "--without-pip", str(folder)])
            _bootstrap_pip(cache, folder)
        install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        cache.call([*install, "-r", "tests/requirements.txt", "-e", ".[test]"], cwd=checkout)

    return build


def _bootstrap_pip(cache: Cache, folder: Path) -> None:
    """Install pip with the pip of Debian's python3-pip-whl.

    Debian keeps it out of python3 itself, in a package that a small machine does not have.
    """
    unpacked = folder / "pip"
    root = debian.unpack(cache, unpacked, debian.own_suite(), "python3-pip-whl", alone=True)
    (wheel,) = root.glob("usr/share/python-wheels/pip-*.whl")
    cache.call([str(folder / "bin/python"), str(wheel / "pip"), "install", "--quiet", "pip"])
