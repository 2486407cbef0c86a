"""Reports as one self-contained page: no script, no request, nothing loaded.

Pure. Every foreign string goes through :func:`~requiretls_client.cli.words.shown` (in the view)
and ``html.escape``; the data for programs stand in a block that no browser runs, with ``<``
escaped. The page's own policy (CSP) allows its style sheet, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from string import Template

from requiretls_client.cli.hostview import FAIL, GOOD, NOTE, Part, Row
from requiretls_client.cli.pagestyle import STYLE
from requiretls_client.cli.picture import SIGNS, pictures
from requiretls_client.cli.view import ALL, NONE, SOME, UNKNOWN, View, view_of
from requiretls_client.cli.words import spoken_data
from requiretls_client.reports import CheckReport

_STATES = {ALL: GOOD, SOME: NOTE, NONE: FAIL, UNKNOWN: NOTE}
_OPEN_UP_TO = 3  # hosts; of more only those that fail are unfolded
_LEGEND = "Solid: holds. Dashed: look at it, or later. Dotted red: fails. Dotted grey: not used."

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$index$articles<footer>Written by requiretls check. Nothing was sent to these servers but EHLO,
STARTTLS and QUIT.</footer>
</main>
<script type="application/json" id="reports">$data</script>
</body>
</html>
""")

_ARTICLE = Template("""<article id="$id">
<p class="kicker">REQUIRETLS path check, $started</p>
<$heading>$target</$heading>
<p class="verdict $state">$sign REQUIRETLS delivery: $headline <span>$summary</span></p>
<dl class="fates">
$fates</dl>
<figure>
$pictures<figcaption>$legend</figcaption>
</figure>
$policy$hosts</article>
""")


def page_of(reports: Sequence[CheckReport]) -> str:
    """Return the page for one report or several."""
    views = [view_of(report) for report in reports]
    data = json.dumps([spoken_data(each.as_dict()) for each in reports])
    one = len(views) == 1
    title = f"{views[0].target}: {views[0].headline.lower()}" if one else f"{len(views)} checks"
    return _PAGE.substitute(
        policy=escape(_policy(STYLE)),
        title=escape(f"REQUIRETLS, {title}"),
        style=STYLE,
        index="" if one else _index(views),
        articles="".join(
            _article(number, view, "h1" if one else "h2") for number, view in enumerate(views, 1)
        ),
        data=data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _index(views: Sequence[View]) -> str:
    lines = "".join(
        f'<li class="{_STATES[view.outcome]}">{_sign(_STATES[view.outcome])}'
        f'<a href="#check-{number}">{escape(view.target)}</a>'
        f'<span class="text">{escape(view.headline.capitalize())}: {escape(view.summary)}</span>'
        "</li>\n"
        for number, view in enumerate(views, 1)
    )
    return f'<h1>REQUIRETLS path checks</h1>\n<ul class="rows card index">\n{lines}</ul>\n'


def _article(number: int, view: View, heading: str) -> str:
    state = _STATES[view.outcome]
    return _ARTICLE.substitute(
        id=f"check-{number}",
        started=escape(f"{view.started}, {view.seconds:.2f} s"),
        heading=heading,
        target=escape(view.target),
        state=state,
        sign=SIGNS[state],
        headline=escape(view.headline.lower()),
        summary=escape(view.summary),
        fates="".join(_fate(row) for row in view.fates),
        pictures=pictures(view),
        legend=_LEGEND,
        policy=_looked_up(view.policy),
        hosts=_hosts(view),
    )


def _fate(row: Row) -> str:
    return (
        f'<div class="{row.state}"><dt>{escape(_message(row.label))}</dt>'
        f"<dd>{_sign(row.state)} {escape(row.text)}</dd></div>\n"
    )


def _message(kind: str) -> str:
    """Return what a kind of message is called where no heading says that it is one."""
    return "An ordinary message" if kind == "ordinary" else f"A message {kind}"


def _looked_up(part: Part | None) -> str:
    if part is None:
        return ""
    return f'<h3>What was looked up</h3>\n<div class="card">{_rows(part.rows)}</div>\n'


def _hosts(view: View) -> str:
    if not view.hosts:
        return ""
    unfold = len(view.hosts) <= _OPEN_UP_TO
    hosts = "".join(_host(part, unfold=unfold or part.state != GOOD) for part in view.hosts)
    title = "Mail hosts, in the order in which they are tried" if view.policy else "The server"
    return f"<h3>{title}</h3>\n{hosts}"


def _host(part: Part, *, unfold: bool) -> str:
    number = f'<span class="number">{escape(part.lead)}</span>' if part.lead else ""
    return (
        f'<details class="{part.state}"{" open" if unfold else ""}><summary>{_sign(part.state)}'
        f"{number}<span>{escape(part.title)}</span>"
        f'<span class="state">{escape(part.word)}</span></summary>\n{_rows(part.rows)}</details>\n'
    )


def _rows(rows: Sequence[Row]) -> str:
    return f'<ul class="rows">\n{"".join(_row(row) for row in rows)}</ul>\n'


def _row(row: Row) -> str:
    reasons = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>"
        for name, text in (("why", row.why), ("fix", row.fix))
        if text
    )
    below = f"<dl>{reasons}</dl>" if reasons else ""
    return (
        f'<li class="{row.state}">{_sign(row.state)}<span class="label">{escape(row.label)}</span>'
        f'<span class="text">{escape(row.text)}</span>{below}</li>\n'
    )


def _sign(state: str) -> str:
    return f'<span class="sign">{SIGNS[state]}</span>'
