"""Where and when something was measured: the last line of every table."""

from __future__ import annotations

import datetime
import os
import platform
import ssl
from pathlib import Path


def machine() -> dict[str, str]:
    """Return date, machine with its load, Python and OpenSSL, each for people."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, "
        f"{_processor()}, {os.cpu_count()} CPUs{load}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def _processor() -> str:
    """Return the name of the processor, where Linux tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
