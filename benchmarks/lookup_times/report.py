"""The table for people and for programs, and whether the goals are reached. Prints nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from machine import machine

_PACKAGES = ("requiretls-client", "dnspython", "requests", "urllib3", "certifi")
_COLUMNS = (43, 24, 24, 20, 9, 6)


@dataclass
class Row:
    """One comparison.

    Attributes:
        title: what was done.
        unit: of both columns.
        note: what the columns are, for below the table.
        at_least: the goal for the ratio.
        at_most: the goal for ours, in ``unit``.
        peer: one value for each round: the serial baseline, or another library.
        ours: the same of ours, measured directly after.
    """

    title: str
    unit: str
    note: str
    at_least: float | None = None
    at_most: float | None = None
    peer: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def add(self, peer: float, ours: float, scale: float) -> None:
        """Add a round, in seconds; ``scale`` makes the unit of them."""
        self.peer.append(peer * scale)
        self.ours.append(ours * scale)

    @property
    def ratios(self) -> list[float]:
        """How many times ours is faster, in each round."""
        return [peer / ours for peer, ours in zip(self.peer, self.ours, strict=True)]

    @property
    def goal(self) -> str:
        """The goal for people."""
        if self.at_least is not None:
            return f">= {self.at_least:g}x"
        return f"<= {self.at_most:g} {self.unit}" if self.at_most is not None else ""

    @property
    def reached(self) -> bool:
        """Whether the medians reach the goal; True where there is none."""
        if self.at_least is not None:
            return statistics.median(self.ratios) >= self.at_least
        return self.at_most is None or statistics.median(self.ours) <= self.at_most


def where() -> dict[str, str]:
    """Return where, when and with what this was measured."""
    return {**machine(), **{name: metadata.version(name) for name in _PACKAGES}}


def lines(rows: Sequence[Row], where: dict[str, str]) -> Iterator[str]:
    """Yield the table, what its columns are, and where it was measured."""
    rule = "  ".join("=" * width for width in _COLUMNS)
    yield rule
    yield _line("", "serial or peer", "ours", "ratio", "goal", "")
    yield rule
    for row in rows:
        verdict = ("ok" if row.reached else "MISSED") if row.goal else ""
        peer, ours = (f"{_spread(values)} {row.unit}" for values in (row.peer, row.ours))
        yield _line(row.title, peer, ours, _spread(row.ratios), row.goal, verdict)
    yield rule
    yield ""
    yield "median (least-most); the ratio of each round is of two measurements side by side"
    yield from (f"{row.title}: {row.note}; {len(row.ours)} rounds" for row in rows)
    yield "; ".join(f"{name} {value}" for name, value in where.items())


def as_dict(rows: Sequence[Row], where: dict[str, str]) -> dict[str, Any]:
    """Return plain data for JSON; ``schema`` names the version of the form."""
    return {"schema": "lookup-times/1", **where, "rows": [_row(row) for row in rows]}


def _row(row: Row) -> dict[str, Any]:
    return {
        "title": row.title,
        "unit": row.unit,
        "note": row.note,
        "goal": row.goal,
        "reached": row.reached,
        "ratio": statistics.median(row.ratios),
        "peer": row.peer,
        "ours": row.ours,
    }


def _spread(values: Sequence[float]) -> str:
    """Return the median and the extremes, with three digits or so."""
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _line(*cells: str) -> str:
    both = zip(cells, _COLUMNS, strict=True)
    return "  ".join(f"{cell:{width}}" for cell, width in both).rstrip()
