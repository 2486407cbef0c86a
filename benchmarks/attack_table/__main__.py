"""Play, print, write: what ``benchmarks/attacks`` runs once everything is in place.

usage: python -m attack_table JSON

Exit status 0 when our column is all P, 1 when it is not, 2 when the call makes no sense.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attack_table import clients, network, report
from attack_table.cases import CASES, Case
from attack_table.clients import Client
from attack_table.play import Cell, Certificates, Stage


def main(plan: dict[str, Any]) -> int:
    """Run what ``plan`` says; returns the exit status.

    Args:
        plan: what ``peers.prepare`` returned, with ``only`` (case ids or numbers), ``clients``
            (keys) and ``json`` (a path or None).
    """
    cases = _chosen(plan["only"])
    who = [client for client in clients.known(plan) if client.key in plan["clients"]]
    if len(cases) < len(set(plan["only"])) or not who:
        print("attacks: no such case, or no client to run it on", file=sys.stderr)
        return 2
    start = time.monotonic()
    columns = _play(who, cases, isolated=plan["isolated"])
    for line in report.lines(cases, who, columns, plan["left_out"]):
        print(line)
    print(f"took {time.monotonic() - start:.0f} s")
    if plan["json"]:
        data = report.as_dict(cases, who, columns, plan["left_out"])
        Path(plan["json"]).write_text(json.dumps(data, indent=1) + "\n")
    ours = columns.get("ours", {})
    return int(any(cell.verdict.mark != "P" for cell in ours.values()))


def _chosen(only: Sequence[str]) -> list[Case]:
    """Return the cases that ``only`` names, by id or number; all when it names none."""
    wanted = {each.upper() for each in only}
    return [case for case in CASES if not wanted or wanted & {case.id, str(case.number)}]


def _play(
    who: Sequence[Client], cases: Sequence[Case], *, isolated: bool
) -> dict[str, dict[str, Cell]]:
    """Play all cases on all clients: each client's one after another, the clients side by side."""
    elsewhere = network.add_address() if isolated else None
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(who)) as pool:
        stage = Stage(Certificates(Path(folder), elsewhere), elsewhere)
        columns = list(pool.map(lambda client: stage.play_all(client, cases), who))
    return {client.key: column for client, column in zip(who, columns, strict=True)}


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
