"""The table for people and for programs, and whether the goals are reached. Prints nothing."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speed.clients import Client
from speed.measure import Result
from speed.works import ALL, SMTPLIB, Column, Goal

_TITLE, _MEASURE, _CELL = 34, 7, 16
_FUNCTIONS = 40  # of a profile
_BUSY = 0.9  # share of the time from which on the sink may be what is measured
_UNITS = {"memory": "MiB", "modules": "more"}


def lines(
    results: Sequence[Result],
    clients: Mapping[str, Client],
    where: Mapping[str, str],
    left_out: Mapping[str, str],
) -> Iterator[str]:
    """Yield the table of ratios, what its columns are, and what is missing."""
    columns = [each for each in ALL if any(each.key in result.runs for result in results)]
    rule = "  ".join("=" * width for width in (_TITLE, _MEASURE, *[_CELL] * len(columns)))
    yield rule
    for line in (0, 1):
        yield _line("", "", *(column.heading[line] for column in columns))
    yield rule
    for result in results:
        for measure in result.work.measures:
            title = result.work.title if measure == result.work.measures[0] else ""
            yield _line(title, measure, *(_cell(result, each, measure) for each in columns))
    yield rule
    yield ""
    yield "ratio to smtplib in the same round: median (least-most); above 1 is better than smtplib"
    yield "smtplib itself, memory (growth, MiB) and modules (over smtplib's) are absolute"
    yield from (client.name for client in clients.values())
    yield "; ".join(where.values())
    yield from (f"LEFT OUT: {what}: {reason}" for what, reason in _missing(results, left_out))
    for result in results:
        if not result.work.shared and result.sink_busy > _BUSY:
            yield f"NOTE: {result.work.title}: the sink may be the limit, the ratios are more"


def profile_lines(title: str, column: Column, found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the functions that take longest, what they call included (clients.profile)."""
    yield f"{title}, {column.server}: {found['us']:.1f} us of CPU time for one message"
    yield ""
    yield f"{'without':>8}  {'with':>8}  what it calls, us"
    rows = sorted(found["functions"].items(), key=lambda row: row[1], reverse=True)
    for name, (alone, together) in rows[:_FUNCTIONS]:
        yield f"{alone:8.2f}  {together:8.2f}  {name}"
    yield ""


def goal_lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield the goals, and whether each is reached."""
    for result in results:
        for goal in result.work.goals:
            column = next(each for each in ALL if each.key == goal.column)
            name = " ".join(column.heading) if result.work.key != "import" else "ours"
            sign = ">=" if goal.at_least else "<="
            found = reached(result, goal)
            verdict = {True: "ok", False: "MISSED", None: "not measured"}[found]
            have = "" if found is None else _number(_median(result, goal))
            what = f"{result.work.title}, {name}, {goal.measure}"
            yield f"{verdict:12}  {what:64} {sign} {goal.value:<5g}  {have}".rstrip()


def reached(result: Result, goal: Goal) -> bool | None:
    """Return whether a goal is reached; None when it was not measured."""
    if not result.runs.get(goal.column) or not result.values(goal.column, goal.measure):
        return None
    have = _median(result, goal)
    return have >= goal.value if goal.at_least else have <= goal.value


def as_dict(
    results: Sequence[Result],
    clients: Mapping[str, Client],
    where: Mapping[str, str],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """Return plain data for JSON; ``schema`` names the version of the form."""
    return {
        "schema": "speed/1",
        **where,
        "clients": {key: client.name for key, client in clients.items()},
        "left_out": dict(_missing(results, left_out)),
        "works": [_work(result) for result in results],
    }


def _work(result: Result) -> dict[str, Any]:
    work = result.work
    measures = [each for each in work.measures if each in ("wall", "cpu")]
    return {
        "work": work.key,
        "title": work.title,
        "job": dict(work.job),
        "ours": dict(work.ours),
        "rtt_ms": work.rtt,
        "one_core": work.shared,
        "ratios": {
            key: {each: statistics.median(result.ratios(key, each)) for each in measures}
            for key in result.runs
        },
        "runs": {
            key: [dataclasses.asdict(run) for run in runs] for key, runs in result.runs.items()
        },
        "goals": [
            {**dataclasses.asdict(goal), "reached": reached(result, goal)} for goal in work.goals
        ],
    }


def _missing(results: Sequence[Result], left_out: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from left_out.items()
    for result in results:
        for reason in sorted(set(result.missing.values())):
            yield result.work.title, reason


def _median(result: Result, goal: Goal) -> float:
    return statistics.median(result.values(goal.column, goal.measure))


def _cell(result: Result, column: Column, measure: str) -> str:
    if not result.runs.get(column.key):
        return "-"
    if column is SMTPLIB and measure in ("wall", "cpu"):
        return _time(statistics.median(getattr(run, measure) for run in result.runs[column.key]))
    values = result.values(column.key, measure)
    if not values:
        return "-"
    if measure == "modules":
        return f"{values[0]:.0f}"
    spread = f"{_number(min(values))}-{_number(max(values))}"
    return f"{_number(statistics.median(values))} ({spread})"


def _number(value: float) -> str:
    """Return a number with three digits, or so."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _time(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.{2 if seconds < 0.01 else 1 if seconds < 0.1 else 0}f} ms"


def _line(title: str, measure: str, *cells: str) -> str:
    parts = [f"{title:{_TITLE}}", f"{measure:{_MEASURE}}", *(f"{cell:{_CELL}}" for cell in cells)]
    return "  ".join(parts).rstrip()
