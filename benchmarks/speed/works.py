"""What is measured, how much of it, and what is to be reached. Standard library only.

A work is one comparison: the same messages sent by every client that can. The goals are ratios to
smtplib, of the client's process in the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PIPELINING, CHUNKING = "PIPELINING", "CHUNKING"  # what a server offers; the second, both
RTTS = (20, 50, 100)  # ms
KEYS = (
    "sendmail", "send_message", "send_messages", "in_flight", "plain", "recipients",
    "large", "alert", "slow", "import",
)  # fmt: skip
PROFILED = {"sendmail": 200_000, "send_messages": 200_000, "alert": 8_000}  # key -> messages
IN_FLIGHT = 64
MIB = 1 << 20


@dataclass(frozen=True)
class Column:
    """A client at a server.

    Attributes:
        key: in the JSON.
        heading: in the table, two lines.
        client: see ``clients``.
        server: which of the two sinks. Clients that know only smtplib's dialogue meet one that
            offers both extensions, once.
        strict: with require_tls.
    """

    key: str
    heading: tuple[str, str]
    client: str
    server: str = CHUNKING
    strict: bool = False


SMTPLIB = Column("smtplib", ("smtplib", "(itself)"), "smtplib")
PEERS = (
    Column("aiosmtplib", ("aiosmtplib", ""), "aiosmtplib"),
    Column("nodemailer", ("nodemailer", ""), "nodemailer"),
)
SOURCE = Column("smtp-source", ("smtp-source", "(C)"), "smtp-source")
OURS = (
    Column("ours P", ("ours", "PIPELINING"), "ours", PIPELINING),
    Column("ours C", ("ours", "CHUNKING"), "ours", CHUNKING),
)
STRICT = (
    Column("strict P", ("require_tls", "PIPELINING"), "ours", PIPELINING, strict=True),
    Column("strict C", ("require_tls", "CHUNKING"), "ours", CHUNKING, strict=True),
)
LIMIT = (
    Column("bare P", ("bare loop", "PIPELINING"), "bare", PIPELINING),
    Column("bare C", ("bare loop", "CHUNKING"), "bare", CHUNKING),
)
ALL = (SMTPLIB, *PEERS, SOURCE, *OURS, *STRICT, *LIMIT)


@dataclass(frozen=True)
class Goal:
    """What a column is to reach, by the median of its rounds.

    Attributes:
        column: key.
        measure: "wall" or "cpu": ratio to smtplib, at least; "memory" (MiB that the process
            grows by while it sends) or "modules" (more than smtplib loads): at most.
        value: the limit.
    """

    column: str
    measure: str
    value: float

    @property
    def at_least(self) -> bool:
        """Whether more is better."""
        return self.measure in ("wall", "cpu")


@dataclass(frozen=True)
class Work:
    """One comparison.

    Attributes:
        key: what ``--only`` calls it.
        title: in the table.
        columns: smtplib first.
        job: what every client gets, see speed_clients/adapter.py; ``size`` and ``dots`` describe
            the message, ``name_only`` the import.
        ours: what only ours and the bare loop get, instead.
        rounds: how many.
        shared: client and server on one core. Neither then waits for an idle core to wake up,
            which on virtual machines may take longer than a message does, so CPU time and spread
            are those of the client; but what the server spends is in the wall time too.
        rtt: of the slow wire, in ms; 0 is loopback.
        measures: what is shown.
        goals: what is judged.
    """

    key: str
    title: str
    columns: Sequence[Column]
    job: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 5
    shared: bool = False
    rtt: int = 0
    measures: Sequence[str] = ("wall", "cpu")
    goals: Sequence[Goal] = ()


def works(effort: str, only: Sequence[str]) -> list[Work]:
    """Return what is to be measured.

    Args:
        effort: "quick", "usual" or "full".
        only: keys; all when there are none.
    """
    times = {"quick": 1, "usual": 1, "full": 2}[effort]
    rounds = {"quick": 1, "usual": 5, "full": 7}[effort]
    some = _loopback(times, rounds)
    for rtt in RTTS if effort != "quick" else RTTS[:1]:
        some += _slow(rtt, times, {"quick": 1, "usual": 2, "full": 3}[effort])
    some.append(_import({"quick": 3, "usual": 9, "full": 15}[effort]))
    return [each for each in some if not only or each.key in only]


def profiled(key: str) -> Work:
    """Return what ``--profile`` looks into: ours alone, client and server on one core."""
    job = {"mode": key, "size": 1024, "n": PROFILED[key], "warm": 50}
    return Work(key, f"{key}, 1 kB", OURS, job, shared=True)


def _loopback(times: int, rounds: int) -> list[Work]:
    everybody = (SMTPLIB, *PEERS, *OURS, *STRICT)
    limited = (*everybody, *LIMIT)
    batch = (SMTPLIB, *OURS, *STRICT)
    one = {"mode": "sendmail", "size": 1024, "n": 400 * times, "warm": 20}
    many = {"mode": "send_messages", "n": 1200 * times}
    few = max(1, rounds * 3 // 5)
    return [
        Work("sendmail", "1 kB, sendmail", limited, one, {}, rounds,
             goals=_both("wall", 1.8, 3.5)),
        Work("sendmail", "1 kB, sendmail, on one core", limited, one, {}, rounds, shared=True,
             goals=_both("cpu", 1.8, 3.5)),
        Work("send_message", "1 kB, send_message", (SMTPLIB, PEERS[0], *OURS, *STRICT),
             {**one, "mode": "send_message"}, {}, rounds, goals=_both("wall", 1.3, 2.0)),
        Work("send_messages", "1 kB, send_messages", (*batch, *LIMIT), one, many, rounds,
             goals=_both("wall", 3.5, 3.5)),
        Work("in_flight", f"1 kB, send_messages, {IN_FLIGHT} in flight", batch, one,
             {**many, "n": 8000 * times, "in_flight": IN_FLIGHT}, rounds,
             goals=(Goal("ours C", "wall", 15),)),
        Work("plain", "1 kB, sendmail, no TLS", (SMTPLIB, *PEERS, SOURCE, *OURS),
             {**one, "plain": True}, {}, few, shared=True),
        Work("recipients", "10 recipients", limited,
             {**one, "n": 100 * times, "recipients": 10, "warm": 5}, {}, rounds,
             goals=_both("wall", 5, 10)),
        Work("recipients", "100 recipients", limited,
             {**one, "n": 12 * times, "recipients": 100, "warm": 2}, {}, few,
             goals=_both("wall", 18, 22)),
        _large("10 MB", 10, everybody, few),
        _large("50 MB", 50, everybody, few,
               (*_both("wall", 1.8, 4), *_both("memory", 51, 1))),
        _large("50 MB, from a file", 50, (SMTPLIB, *OURS, *STRICT), few,
               (*_both("wall", 1.8, 4), *_both("memory", 1, 1)), "send_file"),
        Work("alert", "alert, connect to quit", limited,
             {**one, "mode": "alert", "n": 40 * times, "warm": 2}, {}, rounds, shared=True,
             goals=_both("cpu", 1, 1)),
    ]  # fmt: skip


def _large(
    title: str,
    mib: int,
    columns: Sequence[Column],
    rounds: int,
    goals: tuple[Goal, ...] = (),
    mode: str = "sendmail",
) -> Work:
    job = {"mode": mode, "size": mib * MIB, "dots": True, "n": 1, "warm": 1}
    measures = ("wall", "cpu", "memory")
    return Work("large", title, columns, job, {}, rounds, measures=measures, goals=goals)


def _slow(rtt: int, times: int, rounds: int) -> list[Work]:
    everybody = (SMTPLIB, *PEERS, *OURS, *STRICT)
    one = {"mode": "sendmail", "size": 1024, "n": max(2, 200 * times // rtt), "warm": 1}
    ten = {**one, "recipients": 10, "n": max(1, 100 * times // rtt)}
    alert = {**one, "mode": "alert", "n": max(1, 80 * times // rtt)}
    wall = ("wall",)
    return [
        Work("slow", f"{rtt} ms, 1 recipient", everybody, one, {}, rounds, rtt=rtt,
             measures=wall, goals=_both("wall", 1.95, 3.9)),
        Work("slow", f"{rtt} ms, 10 recipients", everybody, ten, {}, rounds, rtt=rtt,
             measures=wall, goals=_both("wall", 6.3, 12.5)),
        Work("slow", f"{rtt} ms, alert", everybody, alert, {}, rounds, rtt=rtt,
             measures=wall, goals=_both("wall", 1.25, 1.55)),
    ]  # fmt: skip


def _import(rounds: int) -> Work:
    columns = (SMTPLIB, PEERS[0], OURS[0])
    goals = (Goal("ours P", "modules", 8),)
    measures = ("wall", "cpu", "modules")
    return Work("import", "import", columns, {"mode": "import"}, {}, rounds,
                measures=measures, goals=goals)  # fmt: skip


def _both(measure: str, pipelining: float, chunking: float) -> tuple[Goal, ...]:
    """Return the goals for ordinary mail; those of require_tls are stated, not judged."""
    return Goal("ours P", measure, pipelining), Goal("ours C", measure, chunking)


def message(size: int, *, dots: bool) -> bytes:
    """Return a plain message of about ``size`` octets, with CRLF.

    Args:
        size: octets.
        dots: one line in a hundred begins with a full stop, which DATA has to double.
    """
    header = (
        b"From: Sender <sender@example.org>\r\nTo: Recipient <recipient0@example.net>\r\n"
        b"Subject: disk almost full\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
        b"Message-ID: <1.2.3@example.org>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: text/plain; charset="us-ascii"\r\n\r\n'
    )
    line = b"The quick brown fox jumps over the lazy dog, and then once more again.\r\n"
    count = max(1, (size - len(header)) // len(line))
    hundred = b"." + line[1:] + line * 99 if dots else line * 100
    return header + hundred * (count // 100) + line * (count % 100)
