"""The spool on file systems that are full or cannot be written to: real ones, mounted for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import CA_AT_HAND

from requiretls_client.cli.job import Job
from requiretls_client.cli.spool import Spool

from .conftest import folder_of

MESSAGE = b"From: alice@example.org\nSubject: canary\n\n" + b"canary-body\n" * 100
PAIR = ("bob@example.net", "carol@example.net")


class Disk:
    """A small disk with a spool on it."""

    def __init__(self, folder: Path, config: Path) -> None:
        """Mount it; the run's own mount namespace goes with the run."""
        folder_of("cron")  # only inside of tests/run
        self.folder, self._config = folder, config
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=96k,mode=700", "disk", str(folder))

    @staticmethod
    def _mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    def fill(self) -> None:
        """Leave no room at all."""
        with open(self.folder / "filler", "ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink()

    def lock(self) -> None:
        """Let nobody write any more."""
        self._mount("-o", "remount,ro", str(self.folder))

    def unmount(self) -> None:
        """Let go of it."""
        subprocess.run(["umount", str(self.folder)], check=True)

    def run(self, *arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the command line."""
        command = [sys.executable, "-m", "requiretls_client", *arguments]
        options = {"env": {**os.environ, "XDG_CACHE_HOME": str(self._config.parent)}}
        if arguments[0] != "send":
            command += ["--config", str(self._config)]
        else:
            command[4:4] = ["--config", str(self._config)]
        return subprocess.run(command, input=text, capture_output=True, check=False, **options)

    def queue(self) -> list[dict]:
        """Return what is in the spool."""
        return [json.loads(line) for line in self.run("queue", "--json").stdout.splitlines()]


@pytest.fixture
def disk(tmp_path):
    """Return the disk."""
    disk = Disk(tmp_path / "disk", tmp_path / "config.toml")
    yield disk
    disk.unmount()


@pytest.fixture
def relay(disk, tmp_path, serve):
    """Run a relay, and write the configuration that leads there."""

    def start(**options):
        server = serve(certificate=CA_AT_HAND.issue("localhost"), **options)
        (tmp_path / "ca.pem").write_bytes(CA_AT_HAND.pem)
        (tmp_path / "config.toml").write_text(
            f'default_account = "relay"\n[accounts.relay]\nhost = "localhost"\n'
            f'port = {server.port}\nca_file = "{tmp_path}/ca.pem"\nrequire_tls = true\n'
            f'[spool]\nfolder = "{disk.folder}/spool"\n'
        )
        return server

    return start


def test_full_while_the_message_is_under_way(disk, relay):
    """What became of whom is noted in what was reserved: the other one alone is tried again."""

    def full_then(reply):
        def step(connection):
            disk.fill()
            return reply

        return step

    server = relay(script={"RCPT": ["250 2.1.5 ok", full_then("451 4.2.1 not now")]})
    done = disk.run("send", *PAIR, text=MESSAGE)
    assert done.returncode == 75, done.stderr
    (message,) = disk.queue()
    assert [each["address"] for each in message["recipients"]] == [PAIR[1]]
    assert message["possible_duplicate"] is False
    disk.empty()
    assert disk.run("flush", "--all").returncode == 0
    assert [item.recipients for item in server.ledger] == [(PAIR[0],), (PAIR[1],)]


def test_full_before(disk, relay):
    """Nothing can be kept: it is sent at once, or the caller hears that nothing is kept."""
    server = relay(script={".": ["250 2.0.0 ok", "451 4.3.0 not now"]})
    disk.run("send", *PAIR, text=MESSAGE)  # so that the folders are there
    disk.fill()
    done = disk.run("send", *PAIR, text=MESSAGE)
    assert done.returncode == 73, done.stderr
    assert b"No space left on device" in done.stderr
    assert disk.queue() == []
    disk.run("send", *PAIR, text=MESSAGE)
    assert len(server.ledger) == 2
    assert disk.run("flush", "--all").returncode == 0
    assert len(server.ledger) == 2


def test_full_before_the_attempt(disk, relay):
    """Where it cannot be noted that an attempt begins none is made, and the message waits."""
    server = relay()
    many = tuple(f"user{number}@example.net" for number in range(60))
    with Spool(disk.folder / "spool") as spool:
        spool.add(Job(MESSAGE, "alice@example.org", many, True, False, "relay")).close()
    disk.fill()
    done = disk.run("flush")
    assert done.returncode == 74
    assert b"No space left on device" in done.stderr
    assert not server.commands()
    disk.empty()
    assert disk.run("flush").returncode == 0
    assert [len(item.recipients) for item in server.ledger] == [60]


def test_read_only(disk, relay):
    """The queue can be seen, and nothing is tried that could not be noted."""
    server = relay(script={".": ["451 4.3.0 not now"]})
    disk.run("send", *PAIR, text=MESSAGE)
    (message,) = disk.queue()
    said = len(server.commands())
    disk.lock()
    assert disk.queue() == [message]
    for command in (["flush", "--all"], ["queue", "--remove", message["id"]],
                    ["queue", "--retry", message["id"]]):  # fmt: skip
        done = disk.run(*command)
        assert done.returncode == 74
        assert b"Read-only file system" in done.stderr
    assert len(server.commands()) == said
    assert disk.run("send", *PAIR, text=MESSAGE).returncode == 0  # at once
    assert len(server.ledger) == 1
