"""Reports on a terminal: a tree with colours where rich is installed, else plain ASCII text.

Both say the same, line for line. Nothing here is taken as markup or as a control sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from requiretls_client.cli.hostview import FAIL, GOOD, NOTE, OPEN, Part, Row
from requiretls_client.cli.view import ALL, NONE, SOME, UNKNOWN, View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

_MARKS = {GOOD: "ok", FAIL: "FAIL", NOTE: "note", OPEN: "-"}
_SIGNS = {
    GOOD: "\N{HEAVY CHECK MARK}",
    FAIL: "\N{HEAVY BALLOT X}",
    NOTE: "!",
    OPEN: "\N{MIDDLE DOT}",
}
_COLOURS = {GOOD: "green", FAIL: "bold red", NOTE: "yellow", OPEN: "dim"}
_OUTCOMES = {ALL: GOOD, SOME: NOTE, NONE: FAIL, UNKNOWN: NOTE}
_MESSAGES = "What happens to a message"


def headline(view: View) -> str:
    """Return the verdict in one line."""
    return f"{view.target}   REQUIRETLS delivery: {view.headline}   ({view.summary})"


def summary_line(view: View) -> str:
    """Return one line for lists of many targets: outcome, target, clause; tabs between."""
    return f"{view.outcome}\t{view.target}\t{view.summary}"


def plain(view: View) -> str:
    """Return a report as text, ASCII but for what others wrote."""
    lines = [f"{headline(view)}   {view.seconds:.2f} s"]
    for part in _parts(view):
        marks = "".join(f"   {each}" for each in (_mark(part), part.word) if each)
        lines += ["", f"{part.lead} {part.title}".strip() + marks]
        lines += _plain_rows(part.rows)
    return "\n".join(lines)


def _parts(view: View) -> Iterator[Part]:
    """Yield the parts in the order in which they are read."""
    if view.policy is not None:
        yield view.policy
    yield from view.hosts
    yield Part(_MESSAGES, OPEN, "", "", view.fates)


def _mark(part: Part) -> str:
    """Return the mark of a host; other parts have none of their own."""
    return _MARKS[part.state] if part.word or part.lead else ""


def _plain_rows(rows: tuple[Row, ...]) -> Iterator[str]:
    width = max(len(row.label) for row in rows)
    for row in rows:
        yield f"  {_MARKS[row.state]:4}  {row.label:{width}}  {row.text}"
        for name, text in _reasons(row):
            yield f"        {'':{width}}  {name}: {text}"


def _reasons(row: Row) -> list[tuple[str, str]]:
    """Return what stands below a row: why it matters, and what to change."""
    return [(name, text) for name, text in (("why", row.why), ("fix", row.fix)) if text]


# -- with rich -----------------------------------------------------------------------------------


def console(*, colour: bool | None) -> Console | None:
    """Return rich's console for standard output; None where rich is not installed.

    Args:
        colour: True where it is no terminal, and against ``NO_COLOR``; None as these two have it.
    """
    try:
        from rich.console import Console
    except ImportError:
        return None
    plainly = False if colour else None  # None: as NO_COLOR has it
    return Console(
        force_terminal=colour, no_color=plainly, highlight=False, markup=False, emoji=False
    )


def draw(view: View, console: Console) -> None:
    """Print a report as trees."""
    from rich.text import Text

    state = _OUTCOMES[view.outcome]
    console.print(
        Text.assemble(
            (view.target, "bold"), "   REQUIRETLS delivery: ", (view.headline, _COLOURS[state]),
            f"   ({view.summary})", (f"   {view.seconds:.2f} s", "dim"),
        )
    )  # fmt: skip
    for part in _parts(view):
        console.print()
        console.print(_tree(part, signs=_can_show(console)))


def _can_show(console: Console) -> bool:
    """Tell whether the terminal's encoding has our signs."""
    return console.encoding.lower().startswith("utf")


def _tree(part: Part, *, signs: bool) -> Tree:
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    marks = _SIGNS if signs else _MARKS
    title = Text(f"{part.lead} {part.title}".strip(), "bold")
    if part.word or part.lead:
        title.append(f"   {marks[part.state]} {part.word}".rstrip(), _COLOURS[part.state])
    tree = Tree(title, guide_style="dim")
    labels = max(len(row.label) for row in part.rows)
    for row in part.rows:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=max(map(len, marks.values())), no_wrap=True)
        grid.add_column(width=labels, no_wrap=True)
        grid.add_column(overflow="fold")
        colour = _COLOURS[row.state]
        grid.add_row(
            Text(marks[row.state], colour), Text(row.label, "dim" if row.state == OPEN else ""),
            Text(row.text, "dim" if row.state == OPEN else ""),
        )  # fmt: skip
        reasons = [(Text(name, "bold"), Text(text)) for name, text in _reasons(row)]
        if reasons:
            below = Table.grid(padding=(0, 2, 0, 0))
            for pair in reasons:
                below.add_row(*pair)
            grid.add_row("", "", below)
        tree.add(grid)
    return tree
