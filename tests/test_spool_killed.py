"""Nothing is lost: send and flush are killed at every step, disks fill up and break."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from requiretls_client.testing import Server

WORKER = Path(__file__).with_name("spool_worker.py")
ONE, TWO = ["bob@example.net"], ["bob@example.net", "carol@example.com"]


class Rig:
    """A server that takes everything, and the worker whose children send to it."""

    def __init__(self, server, process, folder):
        """Begin without messages."""
        self.server, self._process, self._folder = server, process, folder
        self._count = 0

    def task(self, **task):
        """Have a child do something; return how it went."""
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        assert not [each for each in found["steps"] if "crash" in each], found["steps"][-3:]
        return found

    def message(self, recipients=ONE, account="relay", **task):
        """Return the task of sending a message, and its token; each has a spool of its own."""
        self._count += 1
        token = f"m{self._count}"
        folder = str(self._folder / token / "spool")
        return token, {"do": "send", "token": token, "recipients": recipients, "spool": folder,
                       "account": account, **task}  # fmt: skip

    def flush(self, task, **how):
        """Flush the spool of a message."""
        return self.task(do="flush", spool=task["spool"], **how)

    def arrived(self, token):
        """Return how often each recipient has got a message."""
        self.server.wait_idle()
        mails = [item for item in self.server.ledger if item.sender.startswith(f"{token}@")]
        assert all("REQUIRETLS" in item.parameters for item in mails)
        return Counter(who for item in mails for who in item.recipients)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Return the rig; its server keeps what it has taken."""
    folder = tmp_path_factory.mktemp("killed")
    with Server() as server:
        cafile = folder / "ca.pem"
        cafile.write_bytes(server.ca.pem)
        process = subprocess.Popen(
            [sys.executable, WORKER, server.host, str(server.port), cafile],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            yield Rig(server, process, folder)
            process.stdin.close()


def told(found, key):
    """Return what a child said under a key, or None."""
    return next((each[key] for each in found["steps"] if key in each), None)


def marked(found):
    """Tell whether a run called what it sent a possible duplicate."""
    return "possible duplicate" in (told(found, "said") or "")


def in_the_window(found, who):
    """Tell whether a child died where nobody can know whether the server took a message.

    Something had been said to the server, and what became of the recipient was not noted for good.
    """
    steps = found["steps"]
    begun = max(number for number, each in enumerate(steps) if each.get("noted") == "begin")
    noted = {each for step in steps[begun:] for each in step.get("about", ())}
    return {"step": "send"} in steps[begun:] and who not in noted


def settle(rig, task, token, recipients):
    """Flush to the end, and check what arrived: all of it, and twice only where it is said."""
    runs = []
    for _ in range(3):
        runs.append(rig.flush(task))
        if told(runs[-1], "status") == 0:
            break
    assert told(runs[-1], "status") == 0, runs[-1]
    arrived = rig.arrived(token)
    assert set(arrived) == set(recipients), "lost"
    if set(arrived.values()) != {1}:
        assert any(map(marked, runs)), "a duplicate that nobody spoke of"
    return arrived


@pytest.mark.parametrize("grief", ["kill", "half"])
@pytest.mark.parametrize(("recipients", "account"), [(ONE, "relay"), (TWO, "relay"), (TWO, "")])
def test_send_is_killed_at_every_step(rig, recipients, account, grief):
    """Kept means delivered; twice only where SMTP cannot tell, and then it is said."""
    at, died = 0, Counter()
    while True:
        at += 1
        token, task = rig.message(recipients, account, at=at, grief=grief)
        found = rig.task(**task)
        if not found["killed"]:
            break
        if not told(found, "kept"):
            rig.flush(task)
            assert set(rig.arrived(token).values()) <= {1}  # killed before send could say so
            died["before"] += 1
            continue
        arrived = settle(rig, task, token, recipients)
        assert max(arrived.values()) <= 2
        twice = [who for who, count in arrived.items() if count == 2]
        assert all(in_the_window(found, who) for who in twice), found["steps"][-4:]
        died["twice" if twice else "once"] += 1
    assert told(found, "trouble") == ""
    assert set(rig.arrived(token).values()) == {1}
    assert died["before"] > 5
    assert died["once"] > 5
    assert died["twice"] >= 1
