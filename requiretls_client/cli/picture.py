"""The path as a picture: you, the resolver, the policy host, and each mail host. Inline SVG.

Pure. Drawn twice, wide and narrow, since SVG does not wrap; the page shows the one that fits.
What an edge means is in its colour, in its dashes and in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from requiretls_client.cli.hostview import FAIL, GOOD, NOTE, OPEN, Part
from requiretls_client.cli.view import View

SIGNS = {GOOD: "\N{HEAVY CHECK MARK}", FAIL: "\N{HEAVY BALLOT X}", NOTE: "!", OPEN: "\N{EN DASH}"}
_WIDTH = 1124  # of the wide picture, which is the page's: nothing is scaled up
_HOST_WIDTH = 326  # of a host's box there, the last in its row
_HEIGHT = 54  # of a box
_STEP = 72  # from one host to the next
_CHAIN_WORDS = {GOOD: "holds", NOTE: "weak", FAIL: "fails", OPEN: "unused"}
_HOST_WORDS = {GOOD: "qualifies", NOTE: "later", FAIL: "refused"}


@dataclass(frozen=True, slots=True)
class _Box:
    """One node: a state, a title, a line below it."""

    state: str
    title: str
    text: str


def pictures(view: View) -> str:
    """Return both pictures of a path."""
    return _wide(view) + _narrow(view)


def _boxes(view: View) -> tuple[list[_Box], list[_Box]]:
    """Return the chain that leads to the hosts, and the hosts."""
    chain = [_Box(OPEN, "you", "this machine")]
    if view.policy is not None:
        dnssec, _, policy = view.policy.rows
        chain.append(_Box(dnssec.state, "resolver", f"DNSSEC {_brief(dnssec.text)}"))
        chain.append(_Box(policy.state, "policy host", f"MTA-STS {_brief(policy.text)}"))
    hosts = [_Box(each.state, _name(each), _outcome(each)) for each in view.hosts]
    return chain, hosts or [_Box(FAIL, "no mail host", "there is nowhere to go")]


def _name(part: Part) -> str:
    return f"{part.lead} {part.title}".strip()


def _outcome(part: Part) -> str:
    """Say of a host in few words whether it qualifies, or what is missing."""
    if part.state == GOOD:
        return part.word or "qualifies"
    failed = next((row.label for row in part.rows if row.state == FAIL), "")
    return f"{part.word or 'not asked'}, see {failed}" if failed else part.word


def _brief(text: str) -> str:
    """Return a text up to its first stop."""
    for stop in ";:,(":
        text = text.partition(stop)[0]
    return text.strip()


# -- side by side --------------------------------------------------------------------------------


def _wide(view: View) -> str:
    chain, hosts = _boxes(view)
    boxes, x = [124, 200, 200][: len(chain)], 2
    parts: list[str] = []
    middle = _HEIGHT // 2 + 4
    for number, (box, width) in enumerate(zip(chain, boxes, strict=True)):
        if number:
            word = _CHAIN_WORDS[box.state]
            parts += _edge(box.state, f"M{x} {middle}H{x + 68}", word, (x + 34, middle - 8))
            x += 76
        parts += _draw(box, x, 4, width)
        x += width
    trunk, left = x + 28, x + 116
    last = middle + (len(hosts) - 1) * _STEP
    parts.append(f'<path class="trunk" d="M{x} {middle}H{trunk}V{last}"/>')
    for number, box in enumerate(hosts):
        y = middle + number * _STEP
        at = (trunk + left) // 2, y - 8
        parts += _edge(box.state, f"M{trunk} {y}H{left - 8}", _HOST_WORDS[box.state], at)
        parts += _draw(box, left, y - _HEIGHT // 2, _HOST_WIDTH)
    return _svg("wide", _WIDTH, last + _HEIGHT // 2 + 4, view, parts)


# -- one below the other -------------------------------------------------------------------------


def _narrow(view: View) -> str:
    chain, hosts = _boxes(view)
    y = 4
    parts: list[str] = []
    for number, box in enumerate(chain):
        if number:
            word = _CHAIN_WORDS[box.state]
            parts += _edge(box.state, f"M24 {y}V{y + 28}", word, (38, y + 22), down=True)
            y += 36
        parts += _draw(box, 2, y, 354)
        y += _HEIGHT
    top = y
    for box in hosts:
        y += 18
        middle = y + _HEIGHT // 2
        parts += _edge(box.state, f"M24 {middle}H48", "", (0, 0))  # its word is in the box
        parts += _draw(box, 56, y, 300)
        y += _HEIGHT
    parts.insert(0, f'<path class="trunk" d="M24 {top}V{y - _HEIGHT // 2}"/>')
    return _svg("narrow", 358, y + 4, view, parts)


# -- pieces --------------------------------------------------------------------------------------


def _svg(kind: str, width: int, height: int, view: View, parts: list[str]) -> str:
    label = escape(f"The path to {view.target}: {view.headline.lower()}, {view.summary}")
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>\n"
    )


def _draw(box: _Box, x: int, y: int, width: int) -> Iterator[str]:
    """Yield a box with its two lines; longer text is cut, and whole in its tooltip."""
    sign = "" if box.title == "you" else f"{SIGNS[box.state]} "
    inside = width - 24
    title, text = _fit(box.title, inside / 9.3), _fit(box.text, inside / 7.3 - len(sign))
    squeeze = f' textLength="{inside}" lengthAdjust="spacingAndGlyphs"'  # whatever the font
    yield f'<g class="box {box.state}"><title>{escape(f"{box.title}: {box.text}")}</title>'
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" rx="8"/>'
    full = squeeze if len(title) > inside / 9.9 else ""
    yield f'<text class="name" x="{x + 12}" y="{y + 23}"{full}>{escape(title)}</text>'
    yield f'<text class="what" x="{x + 12}" y="{y + 42}">{escape(sign + text)}</text></g>'


def _edge(
    state: str, path: str, word: str, word_at: tuple[int, int], *, down: bool = False
) -> Iterator[str]:
    """Yield a line with an arrow head at its end, and its word beside it."""
    *_, end = path.replace("V", "H").split("H")
    start_x, start_y = path[1:].replace("V", "H").split("H")[0].split(" ")
    yield f'<path class="edge {state}" d="{path}"/>'
    right, below = f"M{end} {int(start_y) - 5}v10l8 -5z", f"M{int(start_x) - 5} {end}h10l-5 8z"
    yield f'<path class="head {state}" d="{below if down else right}"/>'
    if word:
        x, y = word_at
        beside = " down" if down else ""
        yield f'<text class="word {state}{beside}" x="{x}" y="{y}">{word}</text>'


def _fit(text: str, room: float) -> str:
    """Return a text that fits into some characters; of a longer one both ends."""
    size = max(int(room), 4)
    if len(text) <= size:
        return text
    back = (size - 1) // 2
    return f"{text[: size - 1 - back]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - back :]}"
