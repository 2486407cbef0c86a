"""Who listens where, and how tests/run tells pytest which servers it has.

All addresses are loopback, in a network namespace of the run's own. Inside it the names below
are in /etc/hosts, so that any client can dial them. Standard library only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

# Numeric owners inside the unpacked Postfix roots; no account of the machine's is meant.
POSTFIX_UID = 5101
POSTDROP_GID = 5102

HOSTS = {
    "mx.real.test": "127.0.0.25",
    "hidden.real.test": "127.0.0.26",
    "plain.real.test": "127.0.0.27",
    "misnamed.real.test": "127.0.0.28",
    "untrusted.real.test": "127.0.0.29",
    "mx.old.test": "127.0.0.37",
    "sink.real.test": "127.0.0.38",
    "mx.node.test": "127.0.0.45",
}

_FOUND = "REQUIRETLS_REAL"
_SCRATCH = "REQUIRETLS_REAL_SCRATCH"


def announce(found: dict[str, Path], left_out: dict[str, str], scratch: Path) -> dict[str, str]:
    """Return the environment variables that tell pytest what there is, and why the rest is not."""
    paths = {name: str(path) for name, path in found.items()}
    return {
        _FOUND: json.dumps({"found": paths, "left_out": left_out}),
        _SCRATCH: str(scratch),
    }


def lookup(name: str) -> tuple[Path | None, str]:
    """Return the folder of server `name`, or None and the reason why there is none."""
    if _FOUND not in os.environ:
        return None, "real servers are set up by tests/run, not by pytest alone"
    known = json.loads(os.environ[_FOUND])
    if name in known["found"]:
        return Path(known["found"][name]), ""
    return None, known["left_out"].get(name, f"tests/run knows no server {name}")


def scratch() -> Path:
    """Return a folder that is private to this run and vanishes with it."""
    return Path(os.environ[_SCRATCH])
