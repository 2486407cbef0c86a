"""What the tests ask of every real server: which commands it was sent."""

from __future__ import annotations

import itertools
import re
import smtplib
from collections.abc import Mapping
from pathlib import Path

from requiretls_client.testing import Certificate

from .places import HOSTS
from .process import poll


class Server:
    """A running server whose log holds every command line that a client sent.

    Attributes:
        name: the name that its certificate holds; dialable, as are all names in places.HOSTS.
        host: the address behind `name`.
        certificates: what it presents, for every one of places.PEERS that it plays with TLS.
    """

    certificates: Mapping[str, Certificate] = {}

    def __init__(self, name: str, log: Path, command: str) -> None:
        """Speak for the server `name`; `command` is a pattern whose group 1 is a command line."""
        self.name = name
        self.host = HOSTS[name]
        self._log = log
        self._command = re.compile(command, re.MULTILINE)
        self._marks = itertools.count()

    def log(self) -> str:
        """Return the whole log so far."""
        return self._log.read_text(errors="replace")

    def mail_commands(self, token: str = "") -> list[str]:
        """Return every MAIL command line sent to it by now that contains `token`."""
        return [line for line in self.commands(token) if line.upper().startswith("MAIL")]

    def commands(self, token: str = "") -> list[str]:
        """Return every command line sent to it by now that contains `token`.

        The log may lag behind: a mark is sent as a command and waited for, and all that was
        received before it has been logged by then.
        """
        mark = f"mark-{next(self._marks)}.test"
        with smtplib.SMTP(self.host, 25, local_hostname=mark, timeout=10) as smtp:
            smtp.helo()
        assert poll(lambda: mark in self.log(), 10), f"the log of {self.name} lacks {mark}"
        return [line for line in self._command.findall(self.log()) if token in line]
