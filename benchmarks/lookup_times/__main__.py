"""Measure, print, write: what ``benchmarks/lookups`` runs once everything is in place.

usage: python -m lookup_times JSON

Exit status 0 when every goal is reached, else 1.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lookup_times import measure, report


def main(plan: dict[str, Any]) -> int:
    """Run what ``plan`` says (domains, rounds, json: a path or None); returns the exit status."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure.run(plan["domains"], plan["rounds"], Path(folder))
    where = report.where()
    for line in report.lines(rows, where):
        print(line)
    print(f"took {time.monotonic() - start:.0f} s")
    if plan["json"]:
        Path(plan["json"]).write_text(json.dumps(report.as_dict(rows, where), indent=1) + "\n")
    return int(not all(row.reached for row in rows))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
