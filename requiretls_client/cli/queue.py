"""``requiretls queue``: what waits to be sent, and what could not be sent and is kept."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from requiretls_client import syntax
from requiretls_client.cli import dead_letter, progress, queue_text
from requiretls_client.cli.entry import Glimpse
from requiretls_client.cli.record import DamagedError
from requiretls_client.cli.schedule import DAY, Schedule
from requiretls_client.cli.spool import FAILED, QUEUE, Spool, open_spool
from requiretls_client.cli.spool_files import SpoolError

OK, NO_MESSAGE, TROUBLE, BUSY, CONFIG = 0, 66, 74, 75, 78
STATUS = """\
A message is "waiting" until every recipient has it or has failed; then it has gone, or is kept as
"failed" until you --remove or --retry it. "possible duplicate" marks those who may have got it by
an attempt whose end nobody saw: the process was killed, or the connection broke behind the message.

exit status:
  0   done
  66  there is no such message
  74  the spool cannot be read or written, or a message in it is damaged
  75  somebody else works on the message just now
  78  the configuration is wrong
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--failed", action="store_true", help="only what could not be sent")
    what.add_argument(
        "--show", metavar="ID", help="everything about one message: reasons, findings, its text"
    )
    what.add_argument("--remove", metavar="ID", help="remove a message, sent or not")
    what.add_argument(
        "--retry", metavar="ID",
        help="try a message again at the next flush, under the same conditions as before",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--config", metavar="FILE", help="read this configuration")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; return the exit status."""
    from requiretls_client.cli.config import ConfigError, load

    try:
        config = load(options.config)
    except ConfigError as error:
        return _warn(str(error), CONFIG)
    times = Schedule(deadline=config.spool_deadline * DAY)
    try:
        with open_spool(config.spool_folder) as spool:
            return _do(spool, options, times)
    except (DamagedError, SpoolError) as error:
        return _warn(queue_text.shown(error), TROUBLE)


def _do(spool: Spool, options: argparse.Namespace, times: Schedule) -> int:
    if options.show is not None:
        return _show(spool, options.show, times, as_json=options.json)
    if options.remove is not None:
        return _remove(spool, options.remove)
    if options.retry is not None:
        return _retry(spool, options.retry)
    places = (FAILED,) if options.failed else (QUEUE, FAILED)
    return list_queue(spool, times, places=places, as_json=options.json)


def list_queue(
    spool: Spool,
    times: Schedule,
    *,
    places: tuple[str, ...] = (QUEUE, FAILED),
    as_json: bool = False,
) -> int:
    """Print what is in the spool, oldest first; for ``sendmail -bp`` too.

    Returns:
        Exit status.

    Raises:
        SpoolError: it cannot be read.
    """
    status, lines = OK, []
    for name, found in _every(spool, places):
        if isinstance(found, str):
            status = TROUBLE
        if as_json:
            print(json.dumps(_as_dict(name, found, times)))
        elif isinstance(found, str):
            lines.append(f"{name}  {queue_text.shown(found)}")
        else:
            lines += queue_text.listing(name, found, times, spool.clock())
    for path, why in dead_letter.every(spool.folder):
        if as_json:
            print(json.dumps({**_no_message("dead", why), "path": str(path)}))
        else:
            lines.append(
                f"{queue_text.shown(path)}  never became a message: {queue_text.shown(why)}"
            )
    for path in spool.strangers():
        _warn(f"{queue_text.shown(path)}: no message of the spool, left alone", OK)
    if not lines and not as_json:
        lines = ["nothing has failed" if places == (FAILED,) else "nothing waits or has failed"]
    print("\n".join(lines), end="\n" if lines else "")
    return status


def _every(spool: Spool, places: tuple[str, ...]) -> Iterator[tuple[str, Glimpse | str]]:
    """Yield every message once, or what is wrong with it; others may be at work meanwhile.

    What is waiting is looked at first: so a message that fails meanwhile is seen, here or there.
    """
    seen = set()
    for place in places:
        for name in spool.names(place):
            if name in seen:
                continue
            try:
                found: Glimpse | str | None = spool.look(name, place)
            except (DamagedError, SpoolError) as error:
                found = f"damaged: {error}"
            if found is not None:
                seen.add(name)
                yield name, found


def _as_dict(name: str, found: Glimpse | str, times: Schedule) -> dict[str, object]:
    if isinstance(found, Glimpse):
        return queue_text.as_dict(name, found, times)
    return {**_no_message("damaged", found), "id": name}


def _no_message(state: str, text: str) -> dict[str, object]:
    return {"schema": queue_text.SCHEMA, "state": state, "text": text}


# -- one message ---------------------------------------------------------------------------------


def _place(spool: Spool, name: str) -> str | None:
    """Return where a message is; None if none has this name: a path never leads elsewhere."""
    return next((place for place in (QUEUE, FAILED) if name in spool.names(place)), None)


def _show(spool: Spool, name: str, times: Schedule, *, as_json: bool) -> int:
    place = _place(spool, name)
    found = spool.look(name, place, whole=True) if place else None
    if found is None:
        return _missing(name)
    if as_json:
        print(json.dumps(queue_text.as_dict(name, found, times)))
        return OK
    print("\n".join(queue_text.details(name, found, times, spool.clock())))
    print()
    for line in found.message.split(b"\r\n"):
        print(syntax.printable(line, len(line) * 10))  # escaped, and never shortened
    return OK


def _remove(spool: Spool, name: str) -> int:
    place = _place(spool, name)
    if place is None:
        return _missing(name)
    return OK if spool.remove(name, place) else _busy(name)


def _retry(spool: Spool, name: str) -> int:
    """Have a message tried again. It is moved first: what waits is never outside the queue."""
    place = _place(spool, name)
    if place is None:
        return _missing(name)
    entry = spool.take(name, place)
    if entry is None:
        return _busy(name)
    with entry:
        entry.move(QUEUE)
        entry.note(progress.retry(spool.clock()))
    return OK


def _busy(name: str) -> int:
    return _warn(f"{name}: somebody else works on it just now", BUSY)


def _missing(name: str) -> int:
    return _warn(f"there is no message {queue_text.shown(name)}", NO_MESSAGE)


def _warn(text: str, status: int) -> int:
    print(f"requiretls queue: {text}", file=sys.stderr)
    return status
