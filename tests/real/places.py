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
    "mx.away.test": "127.0.0.46",
    "judge.real.test": "127.0.0.24",
}

# The small internet, see zones.py. These names are in the DNS only.
RESOLVER = "127.0.0.153"  # port 53; /etc/resolv.conf names it
POLICIES = "127.0.0.80"  # port 443: the MTA-STS policies of all domains

# Mail hosts of the small internet, port 25.
PEERS = {
    "postfix311": HOSTS["mx.real.test"],
    "hidden": HOSTS["hidden.real.test"],
    "plain": HOSTS["plain.real.test"],
    "misnamed": HOSTS["misnamed.real.test"],
    "untrusted": HOSTS["untrusted.real.test"],
    "postfix37": HOSTS["mx.old.test"],
    "smtp_server": HOSTS["mx.node.test"],
    "expired": "127.0.0.61",
    "not_now": "127.0.0.62",
    "off_limits": "127.0.0.68",
    "private": "127.0.0.63",
    "private_bare": "127.0.0.64",
    "private_next_hop": "127.0.0.65",
    "private_misnamed": "127.0.0.66",
    "private_expired": "127.0.0.67",
    "dead": "127.0.0.99",  # nobody listens
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
