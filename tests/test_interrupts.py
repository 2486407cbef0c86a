"""^C between any two steps of a message: nothing that comes later is taken for its answer."""

from __future__ import annotations

import os
import smtplib
import sys

import pytest
from support import connect

import requiretls_client as rt

OFFERS = ["PIPELINING", "SIZE 1000000", "8BITMIME", "CHUNKING"]
MESSAGE = ("alice@example.org", ["one@example.net"], b"Subject: x\r\n\r\nbody\r\n")
OURS = os.path.dirname(rt.__file__) + os.sep
EVERY = 5  # of so many lines one is interrupted

WAYS = {
    "step by step": (False, False, lambda smtp: smtp.sendmail(*MESSAGE)),
    "in one group": (True, False, lambda smtp: smtp.sendmail(*MESSAGE)),
    "by BDAT": (True, True, lambda smtp: smtp.sendmail(*MESSAGE)),
    "many": (True, False, lambda smtp: smtp.send_messages([MESSAGE] * 3, in_flight=2)),
}


class Interruption:
    """Raises KeyboardInterrupt in the package, at the line of that number from now on."""

    def __init__(self, at):
        """Take the number."""
        self.left, self.where = at, ""

    def __enter__(self):
        """Begin to count."""
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        """End it."""
        sys.settrace(self.before)

    def trace(self, frame, event, _):
        """Count a line, if it is ours."""
        name = frame.f_code.co_filename
        if name == smtplib.__file__:
            return self.trace  # what it calls may be ours
        if not name.startswith(OURS) or name.startswith(OURS + "testing"):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.where = frame.f_code.co_name
                sys.settrace(self.before)
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.parametrize("way", ["sendmail", "send_messages"])
def test_interrupted_exception_to_the_rule(serve, way):
    """A strict session is strict again, wherever a message that it let off was interrupted."""
    server = serve(extensions=OFFERS, tls_extensions=[*OFFERS, "REQUIRETLS"])
    smtp = connect(server, require_tls=True)
    at, ended = 1, False
    while not ended:
        if smtp.sock is None:
            smtp.connect(server.host, server.port)
        interruption = Interruption(at)
        try:
            with interruption:
                if way == "sendmail":
                    smtp.sendmail(*MESSAGE, require_tls=False)
                else:
                    smtp.send_messages([MESSAGE], require_tls=False)
        except KeyboardInterrupt:
            pass
        assert smtp._requires, f"let off after line {at}, in {interruption.where}"
        ended = interruption.left > 0
        at += 1
    smtp.close()
    assert at > 100


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_anywhere(serve, way):
    """Wherever a message is interrupted once something has left, the session is closed."""
    pipelining, chunking, send = WAYS[way]
    server = serve(extensions=OFFERS)
    at, ended = 1, False
    while not ended:
        smtp = connect(server)
        smtp.ehlo()
        smtp.use_pipelining, smtp.use_chunking = pipelining, chunking
        interruption = Interruption(at)
        try:
            with interruption:
                send(smtp)
        except KeyboardInterrupt:
            pass
        left = smtp._current_pipe().begun > 1 if smtp.sock else False  # more than EHLO
        over = interruption.left > 0 or interruption.where == "taking_turns"  # nothing is owed
        assert over or not left, f"open after line {at}, in {interruption.where}"
        ended = interruption.left > 0
        at += EVERY
        smtp.close()
    assert at > 50 * EVERY  # it was many lines
