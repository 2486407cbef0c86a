"""What the test server is told to do instead of answering correctly.

A *stage* is the point of the dialogue that is replaced, a *step* what happens there:

* ``str``: a reply; each ``\\n``-separated line gets its CRLF;
* ``bytes``: sent as they are, in one segment; several replies at once, or none, are possible;
* a callable ``step(connection)``: takes over. It may return another step, which is then played;
  returning None means that it did everything itself.

After a ``str`` or ``bytes`` step the server goes on as if it had said that: the command counts as
done if the first reply in it is 2xx (for DATA: 354), and 421 ends the connection.

No I/O of its own; :mod:`requiretls_client.testing.connection` has that.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from requiretls_client.testing.connection import Connection
from requiretls_client.testing.records import Channel

Step: TypeAlias = "str | bytes | Callable[[Connection], Step | None]"

STAGES = (
    *("GREETING", "EHLO", "HELO", "LHLO", "STARTTLS", "HANDSHAKE", "AUTH"),
    *("MAIL", "RCPT", "DATA", ".", "BDAT"),
    *("RSET", "NOOP", "VRFY", "QUIT"),
)


def normal(connection: Connection) -> None:
    """Stand for what a correct server does here: ``[normal, "451 4.7.1 Later"]``.

    The server knows this step by its name; a step that returns it goes on normally.
    """


def close(connection: Connection) -> None:
    """End the connection (FIN) instead of answering."""
    connection.close()


def reset(connection: Connection) -> None:
    """Tear the connection down (RST) instead of answering."""
    connection.reset()


def stall(connection: Connection) -> None:
    """Never answer again; ends when the client goes away or the server stops."""
    connection.drain()


def delay(seconds: float, step: Step = normal) -> Step:
    """Return a step that waits and then plays another one.

    Args:
        seconds: how long; the server's end cuts it short.
        step: what to do then; by default what a correct server does.
    """

    def wait(connection: Connection) -> Step:
        connection.wait(seconds)
        return step

    return wait


def lie(reply: str) -> Step:
    """Return a step that says ``reply`` and does nothing: ``{".": lie("250 queued")}``.

    The message is dropped: the client was told 250, :attr:`Server.ledger` stays empty.
    """

    def say(connection: Connection) -> None:
        connection.reply(reply)

    return say


class Script:
    """Steps by stage, and how far each list of steps was played.

    Occurrences are counted per server, not per connection: ``{"EHLO tls": ["250 localhost"]}``
    makes the first connection go without extensions and the second one normal.
    """

    def __init__(self, steps: Mapping[str, Step | Sequence[Step]] | None) -> None:
        """Check and copy the script.

        Args:
            steps: keys are a stage, alone or with ``" plain"`` or ``" tls"`` behind it (then it
                precedes the general one). A single step is played every time, a list one step
                per occurrence until it is used up. None is the empty script.

        Raises:
            ValueError: a key is no stage: a misspelt attack would never be played.
            TypeError: a step is neither str, bytes, callable nor a sequence of those.
        """
        self._lock = threading.Lock()
        self._always: dict[str, Step] = {}
        self._queues: dict[str, list[Step]] = {}
        for key, value in (steps or {}).items():
            stage, _, channel = key.partition(" ")
            if stage not in STAGES or (" " in key and channel not in ("plain", "tls")):
                raise ValueError(f"no such stage: {key!r}; stages are {' '.join(STAGES)}")
            if isinstance(value, Sequence) and not isinstance(value, str | bytes):
                self._queues[key] = [_checked(key, step) for step in value]
            else:
                self._always[key] = _checked(key, value)

    def next(self, stage: str, channel: Channel) -> Step:
        """Return the step for this occurrence of ``stage``; :func:`normal` when none is due."""
        with self._lock:
            for key in (f"{stage} {channel}", stage):
                if key in self._always:
                    return self._always[key]
                if self._queues.get(key):
                    return self._queues[key].pop(0)
        return normal


def _checked(key: str, step: Step) -> Step:
    if isinstance(step, str | bytes) or callable(step):
        return step
    raise TypeError(f"step for {key!r} is a {type(step).__name__}, not str, bytes or callable")


def reply_code(data: bytes) -> int:
    """Return the code of the first complete reply in ``data``; 0 if there is none.

    Only the final line of a reply counts (``250 `` after ``550-``): a careless client reads it so.
    """
    found = re.search(rb"^([2-5][0-9]{2})(?: [^\n]*)?\r?$", data, re.MULTILINE)
    return int(found[1]) if found else 0
