"""What one attack on one client left behind, and the mark it earns. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from requiretls_client.testing import Accepted, Line, Server

CANARY = b"CANARY-5d7e41"  # in the body of every message
TIMEOUT = 3.0  # seconds, the time-out that every client is given
TIME_LIMIT = TIMEOUT * 1.1 + 0.1  # what "bounded by it" means
DEADLINE = 12.0  # seconds until a client is killed
MEMORY_LIMIT_KIB = 8 * 1024

WORST_FIRST = ("F", "?", "(p)", "P")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mark and the reason for it.

    Attributes:
        mark: P pass, F fail, (p) partial; ? is no measurement, - was not run.
        why: half a sentence.
    """

    mark: str
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client said of itself.

    Attributes:
        kind: sent, refused, error (an exception it does not document, or none of its own), or
            hung (killed at the deadline).
        error: class and text of the exception.
        seconds: that the library took.
        growth_kib: of its peak memory; None when unknown.
        stderr: what it wrote there.
    """

    kind: str
    error: dict[str, str] | None = None
    seconds: float = 0.0
    growth_kib: int | None = None
    stderr: str = ""

    @property
    def text(self) -> str:
        """The error on one line, printable and short."""
        if self.error is None:
            return self.kind
        text = f"{self.error['class']}: {self.error['text']}"
        return ascii(text)[1:-1][:160]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "outcome": self.kind,
            "error": self.error,
            "seconds": self.seconds,
            "growth_kib": self.growth_kib,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """The client's word beside the server's records."""

    outcome: Outcome
    ledger: list[Accepted]
    commands: list[str]
    plain_commands: list[str]
    transcript: list[Line]

    @classmethod
    def of(cls, outcome: Outcome, server: Server) -> Evidence:
        """Collect the records of a server that has been stopped."""
        return cls(
            outcome,
            server.ledger,
            server.commands(),
            server.commands("plain"),
            server.transcript,
        )

    def said(self, channel: str | None = None) -> bytes:
        """Return all that the client said, on one channel or (None) on both."""
        return b"".join(
            line.data
            for line in self.transcript
            if line.side == "C" and channel in (None, line.channel)
        )

    def count(self, verb: str) -> int:
        """Return how many commands began with ``verb``."""
        return sum(command.upper().startswith(verb) for command in self.commands)

    @property
    def leaked(self) -> bool:
        """Whether a byte of the message's body was on the wire."""
        return CANARY in self.said()

    @property
    def bare_line_ends(self) -> int:
        """How many CR stand without LF, or LF without CR, in what the client said."""
        return len(re.findall(rb"\r(?!\n)|(?<!\r)\n", self.said()))
