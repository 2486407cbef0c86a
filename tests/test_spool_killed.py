"""Nothing is lost: send and flush are killed at every step, the power goes, disks fill and break.

Everything is real but the grief: processes, files, TLS, a server that remembers what it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from small_internet import SmallInternet
from support import CA_AT_HAND

WORKER = Path(__file__).with_name("spool_worker.py")
HOST, PLAIN = "mx.example.net", "plain.example.net"
ONE, TWO = ("bob@example.net",), ("bob@example.net", "carol@example.com")
REFUSED = "nobody@example.net"  # by every server
DEATHS = ("kill", "half", "cut", "cut contents", "cut names")
WAYS = {"one": (ONE, "relay"), "straight": (TWO, "")}
MANY = 100  # no run makes so many steps


class Rig:
    """Servers, a DNS that leads there, and a process whose children send and flush."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        """Run them."""
        self.net = SmallInternet(stack)
        self.server = self.net.host(HOST, script={"RCPT": refuse_one})
        self.plain = self.net.host(PLAIN, tls_extensions=["8BITMIME"])
        for domain in ("example.net", "example.com", "example.org"):
            self.net.mx(HOST, domain=domain)
        names = self.net.name_server()
        (folder / "ca.pem").write_bytes(CA_AT_HAND.pem)
        (folder / "backups").mkdir()
        settings = {
            "backups": str(folder / "backups"),
            "accounts": [
                {"name": name, "host": server.host, "port": server.port, "timeout": 10.0,
                 "server_hostname": hostname, "ca_file": str(folder / "ca.pem")}
                for name, server, hostname in (
                    ("relay", self.server, HOST), ("plain", self.plain, PLAIN)
                )
            ],
            "lookups": {
                "nameserver_port": names.port, "trust_ad": True,
                "ca_file": str(folder / "ca.pem"), "allow_private": True, "port": self.net.port,
            },
        }  # fmt: skip
        self._process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, WORKER, json.dumps(settings)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "XDG_CACHE_HOME": str(folder)},
            )
        )  # fmt: skip
        stack.callback(self._process.stdin.close)
        self._folder, self._count = folder, 0

    def run(self, *tasks):
        """Have children do something, all at once; return how it went."""
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        for each in answers:
            assert told(each, "crash") is None, told(each, "crash")
        return answers

    def message(self, recipients=ONE, account="relay", **task):
        """Return the task of sending a new message, in a spool of its own."""
        self._count += 1
        token = f"m{self._count}"
        folder = str(self._folder / token / "spool")
        return {"do": "send", "token": token, "recipients": recipients, "spool": folder,
                "account": account, **task}  # fmt: skip

    def flush(self, task, **how):
        """Flush the spool of a message."""
        (found,) = self.run({"do": "flush", "spool": task["spool"], **how})
        return found

    def arrived(self, task):
        """Return how often each recipient has got a message."""
        self.server.wait_idle()
        sender = f"{task['token']}@example.org"
        mails = [item for item in self.server.ledger if item.sender == sender]
        assert all("REQUIRETLS" in item.parameters for item in mails)
        return Counter(who for item in mails for who in item.recipients)

    def reports(self, task):
        """Return the reports that the author of a message has got."""
        self.server.wait_idle()
        author = (f"{task['token']}@example.org",)
        return [
            item for item in self.server.ledger if (item.sender, item.recipients) == ("", author)
        ]


def refuse_one(connection):
    """Refuse one recipient, and take the others."""
    from requiretls_client.testing import normal

    if REFUSED in connection._records.commands()[-1]:
        return "550 5.1.1 no such user"
    return normal


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Return the rig; its servers keep what they have taken."""
    with ExitStack() as stack:
        yield Rig(stack, tmp_path_factory.mktemp("killed"))


def told(found, key):
    """Return what a child said under a key, or None."""
    return next((each[key] for each in found["steps"] if key in each), None)


def in_the_window(found, who):
    """Tell whether a child died where nobody can know whether the server took a message.

    Something had been said to the server, and what became of the recipient was not noted for good.
    """
    steps = found["steps"]
    begun = max(number for number, each in enumerate(steps) if each.get("noted") == "begin")
    noted = {each for step in steps[begun:] for each in step.get("about", ())}
    return {"step": "send"} in steps[begun:] and who not in noted


def settle(rig, task, died):
    """Flush to the end; return who got the message twice, which must be said and excusable."""
    flushed = rig.flush(task)
    assert told(flushed, "status") == 0, flushed
    arrived = rig.arrived(task)
    assert set(arrived) == set(task["recipients"]), "lost"
    assert max(arrived.values()) <= 2
    twice = {who for who, count in arrived.items() if count == 2}
    assert all(in_the_window(died, who) for who in twice), died["steps"][-4:]
    if twice:
        assert "possible duplicate" in told(flushed, "said")
    return twice


def left(task):
    """Return the files that a spool holds, by place."""
    folder = Path(task["spool"])
    return {place.name: sorted(os.listdir(place)) for place in folder.iterdir()}


EMPTY = {"tmp": [], "queue": [], "failed": []}


@pytest.mark.parametrize(
    ("way", "grief"),
    [*(("one", each) for each in DEATHS), ("straight", "kill"), ("straight", "cut")],
)
def test_send_dies_at_every_step(rig, way, grief):
    """What send has kept is delivered; twice only where SMTP cannot tell, and then it is said."""
    deaths = Counter()
    for at in range(1, MANY):
        task = rig.message(*WAYS[way], at=at, grief=grief)
        (found,) = rig.run(task)
        if not found["killed"]:
            break
        if told(found, "kept"):
            deaths["twice" if settle(rig, task, found) else "once"] += 1
        else:  # it had not said so, and whoever called it knows that it died
            assert told(rig.flush(task), "status") == 0
            assert set(rig.arrived(task).values()) <= {1}
            deaths["before"] += 1
    assert told(found, "trouble") == ""
    assert set(rig.arrived(task).values()) == {1}
    assert left(task) == EMPTY
    assert min(deaths["before"], deaths["once"]) > 4, deaths
    assert deaths["twice"] > 0, deaths


@pytest.mark.parametrize(("way", "grief"), [("one", "cut"), ("straight", "kill")])
def test_flush_dies_at_every_step(rig, way, grief):
    """So it is with flush, whatever an earlier death has left for it."""
    deaths = Counter()
    for at in range(1, MANY):
        task = rig.message(*WAYS[way], stop=True)
        (found,) = rig.run(task)
        assert told(found, "kept")
        assert not rig.arrived(task)
        found = rig.flush(task, at=at, grief=grief)
        if not found["killed"]:
            break
        deaths["twice" if settle(rig, task, found) else "once"] += 1
    assert told(found, "status") == 0
    assert left(task) == EMPTY
    assert deaths["once"] > 4, deaths
    assert deaths["twice"] > 0, deaths


@pytest.mark.parametrize("grief", ["kill", "cut"])
def test_death_around_a_refusal(rig, grief):
    """A refused recipient stays refused and kept, the author is told, and the other gets it."""
    for at in range(1, MANY):
        task = rig.message((*ONE, REFUSED), at=at, grief=grief)
        (found,) = rig.run(task)
        if not found["killed"]:
            break
        if not told(found, "kept"):
            continue
        for _ in range(2):
            status = told(rig.flush(task), "status")
        assert status == 0
        assert {**left(task), "tmp": []} == {**EMPTY, "failed": [told(found, "kept")]}
        assert 1 <= rig.arrived(task)[ONE[0]] <= 2
        reports = rig.reports(task)
        assert len({item.content for item in reports}) == 1  # by its Message-ID too
        assert len(reports) <= 2
        assert all("REQUIRETLS" in item.parameters for item in reports)
        assert b"canary" not in reports[0].content
        assert REFUSED.encode() in reports[0].content
    assert len(rig.reports(task)) == 1


def test_death_in_tmp_leaves_nothing_for_ever(rig):
    """What was begun and nobody was promised is removed a day later, and not before."""
    task = rig.message(at=14, grief="half")
    (found,) = rig.run(task)
    assert found["killed"]
    assert told(found, "kept") is None
    rig.flush(task)
    assert len(left(task)["tmp"]) == 1
    rig.flush(task, clock=90000.0)
    assert left(task) == EMPTY
    assert not rig.arrived(task)


# -- disks that are full, or broken ----------------------------------------------------------------


FAULTS = [("ENOSPC", ""), ("ENOSPC", "growth"), ("EIO", ""), ("EIO", "all")]


@pytest.mark.parametrize(("grief", "lasting"), FAULTS)
def test_disk_fails_at_every_step(rig, grief, lasting):
    """Kept means delivered, refused means not sent, trouble is said; full is no duplicate."""
    ends = Counter()
    for at in range(1, MANY):
        task = rig.message(at=at, grief=grief, lasting=lasting)
        (found,) = rig.run(task)
        if len([each for each in found["steps"] if "step" in each]) < at:
            break
        sent = rig.arrived(task)
        flushed = rig.flush(task)
        arrived = rig.arrived(task)
        assert told(flushed, "status") == 0
        if not told(found, "kept"):
            assert told(found, "refused").startswith("cannot keep the message in /")
            assert not arrived or lasting == "all"  # what a dead disk has kept cannot be undone
            ends["refused"] += 1
        elif max(arrived.values()) == 2:
            assert "possible duplicate" in told(flushed, "said")
            assert told(found, "trouble").startswith("cannot note in /")
            ends["twice"] += 1
        else:
            assert arrived == dict.fromkeys(ONE, 1)
            assert sent or told(found, "error").startswith("cannot note in /")
            if lasting != "all":  # nothing was begun, or it was noted how it ended
                assert "possible duplicate" not in told(flushed, "said")
            ends["sent" if sent else "later"] += 1
    assert told(found, "trouble") == ""
    assert min(ends["refused"], ends["sent"], ends["later"]) > 1, ends
    assert (ends["twice"] > 0) == (lasting == "all"), ends


def test_two_flushes_at_once(rig):
    """However many flush at once, a message is tried by one of them."""
    task = rig.message(stop=True)
    for _ in range(10):
        rig.run(task)
    flush = {"do": "flush", "spool": task["spool"]}
    runs = rig.run(flush, flush, flush)
    assert rig.arrived(task) == {ONE[0]: 10}
    assert not any("possible duplicate" in told(each, "said") for each in runs)
    assert left(task) == EMPTY


def test_flush_while_send_adds(rig):
    """What send works on is left to it, and what it leaves is not forgotten."""
    task = rig.message()
    flush = {"do": "flush", "spool": task["spool"]}
    for _ in range(5):
        runs = rig.run(task, flush, task, flush, {**task, "stop": True}, flush)
        assert not any(told(each, "error") or told(each, "refused") for each in runs)
    assert told(rig.flush(task), "status") == 0
    assert rig.arrived(task) == {ONE[0]: 15}
    assert left(task) == EMPTY


def test_relay_without_requiretls(rig):
    """A message is refused and kept; only the report goes, which has no text (RFC 8689 s5)."""
    task = rig.message(account="plain")
    (found,) = rig.run(task)
    assert left(task) == {**EMPTY, "failed": [told(found, "kept")]}
    assert told(rig.flush(task), "status") == 0
    rig.plain.wait_idle()
    (report,) = rig.plain.ledger
    assert (report.sender, report.tls) == ("", True)
    assert b"5.7.30" in report.content
    assert b"canary" not in report.content
