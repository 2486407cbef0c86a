"""Measure, print, write: what ``benchmarks/run`` runs once everything is in place.

usage: python -m speed JSON

Exit status 0 when every goal is reached, 1 when one is missed, 2 when a client failed or the sink
did not receive what was sent.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from speed import clients, network, report, works
from speed.clients import ClientFailed
from speed.measure import Bench
from speed.servers import CheckFailed


def main(plan: dict[str, Any]) -> int:
    """Run what ``plan`` says; returns the exit status.

    Args:
        plan: what ``benchmarks/run`` found (``peers``, ``commit``, ``left_out``, ``isolated``,
            ``smtp_source``), with ``effort``, ``only``, ``json`` (a path or None) and ``profile``
            (a mode, or None).
    """
    if plan["profile"]:
        return _profile(works.profiled(plan["profile"]))
    start = time.monotonic()
    some = works.works(plan["effort"], plan["only"])
    left_out = dict(plan["left_out"])
    if plan["isolated"]:
        network.without_pacing()
    reason = network.why_no_tunnel() if plan["isolated"] else "no root on Linux"
    if reason:
        left_out["slow wires, which need TUN devices in networks of the run's own"] = reason
        some = [each for each in some if not each.rtt]
    who = clients.known(plan)
    if "smtp-source" not in who:
        left_out["smtp-source"] = "not in the cache of tests/run, or no root"
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = Bench(who, Path(folder), _progress).measure(some)
    except (ClientFailed, CheckFailed, OSError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    where = machine()
    for line in report.lines(results, who, where, left_out):
        print(line)
    judged = plan["effort"] != "quick"
    if judged:
        print("", *report.goal_lines(results), sep="\n")
    print(f"took {time.monotonic() - start:.0f} s")
    if plan["json"]:
        data = report.as_dict(results, who, where, left_out)
        Path(plan["json"]).write_text(json.dumps(data, indent=1) + "\n")
    goals = [report.reached(result, goal) for result in results for goal in result.work.goals]
    return int(judged and False in goals)


def _profile(work: works.Work) -> int:
    """Print where our CPU time goes; returns the exit status."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for column, found in Bench({}, Path(folder), _progress).profile(work):
                print(*report.profile_lines(work.title, column, found), sep="\n", flush=True)
    except (ClientFailed, CheckFailed, OSError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    return 0


def _progress(title: str) -> None:
    print(f"measured: {title}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
