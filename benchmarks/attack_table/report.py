"""The table for people and for programs. Prints nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from machine import machine

from attack_table.cases import Case
from attack_table.clients import Client
from attack_table.play import Cell

Columns = Mapping[str, Mapping[str, Cell]]  # client key -> case id -> cell
_WIDTH = 50


def lines(
    cases: Sequence[Case], clients: Sequence[Client], columns: Columns, left_out: Mapping[str, str]
) -> Iterator[str]:
    """Yield the table, its sums, and a note for each cell that is no P."""
    keys = [client.key for client in clients]
    rule = "  ".join(["==", "=" * _WIDTH, *["====="] * len(keys)])
    yield rule
    yield _row("#", "case", keys)
    yield rule
    for case in cases:
        marks = [columns[key][case.id].verdict.mark for key in keys]
        yield _row(str(case.number), f"{case.id} {case.title}", marks)
    yield rule
    for mark in ("P", "(p)", "F", "?", "-"):
        counts = [sums(columns[key])[mark] for key in keys]
        if any(counts) or mark == "P":
            yield _row("", f"sum of {mark}", map(str, counts))
    yield ""
    yield "P refused or bounded, (p) partly, F failed, ? no verdict, - not run"
    yield from (f"{client.key}: {client.name}" for client in clients)
    yield "; ".join(machine().values())
    yield from (f"LEFT OUT: {what}: {reason}" for what, reason in left_out.items())
    yield ""
    yield from _notes(cases, keys, columns)


def sums(column: Mapping[str, Cell]) -> Counter[str]:
    """Count the marks of a column."""
    return Counter(cell.verdict.mark for cell in column.values())


def as_dict(
    cases: Sequence[Case], clients: Sequence[Client], columns: Columns, left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Return plain data for JSON; ``schema`` names the version of the form."""
    return {
        "schema": "attack-table/1",
        **machine(),
        "clients": {client.key: client.name for client in clients},
        "left_out": dict(left_out),
        "sums": {key: dict(sums(column)) for key, column in columns.items()},
        "cases": [
            {
                "number": case.number,
                "id": case.id,
                "title": case.title,
                "cells": {key: _cell(column[case.id]) for key, column in columns.items()},
            }
            for case in cases
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "mark": cell.verdict.mark,
        "why": cell.verdict.why,
        "runs": [outcome.as_dict() for outcome in cell.outcomes],
    }


def _row(number: str, title: str, marks: Any) -> str:
    return "  ".join([f"{number:>2}", f"{title:{_WIDTH}}", *(f"{m:5}" for m in marks)]).rstrip()


def _notes(cases: Sequence[Case], keys: Sequence[str], columns: Columns) -> Iterator[str]:
    for case in cases:
        for key in keys:
            verdict = columns[key][case.id].verdict
            if verdict.mark not in ("P", "-"):
                yield f"{case.id} {key} {verdict.mark}: {verdict.why}"
