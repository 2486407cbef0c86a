"""A process whose children send and flush, and come to grief at a chosen step.

usage: spool_worker.py SETTINGS

Settings, and each line that it reads, are JSON objects; a line is a task for one child: ``do``
("send" or "flush"), ``spool``, and for a message ``token``, ``recipients`` and ``account``. ``at``
is the number of the step at which grief comes: a change of a file or folder, or something said to
the server; ``stop`` kills it when the message is kept, and not tried. The grief is one of

- ``kill``: before the step; ``half``: in the middle of what it writes;
- ``cut``: the power goes, and what was not flushed to the disk is lost; ``cut contents``: only what
  was written is, and the names remain; ``cut names``: only the names are;
- the name of an errno, which the step raises; with ``lasting`` later ones too: those that need
  room ("growth"), or "all".

The answer is a JSON object: what the child did step by step, and how it ended.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import signal
import ssl
import sys
import threading
import time
import traceback

import requiretls_client.dsn
import requiretls_client.lookups
import requiretls_client.resolver  # noqa: F401 - before the children are made
from requiretls_client.cli import entry, spool_files
from requiretls_client.cli.attempt import attempt
from requiretls_client.cli.config import Account, Config, LookupSettings
from requiretls_client.cli.flush import Flush
from requiretls_client.cli.job import Job
from requiretls_client.cli.schedule import Schedule
from requiretls_client.cli.spool import Spool
from requiretls_client.cli.transport import transmit

FILE_STEPS = ("open", "mkdir", "pwrite", "fsync", "rename", "unlink", "ftruncate")
CONTENTS, NAMES = "contents", "names"
CUTS = {"cut": {CONTENTS, NAMES}, "cut contents": {CONTENTS}, "cut names": {NAMES}}
DEATHS = ("kill", "half", *CUTS)
REAL = {name: getattr(os, name) for name in (*FILE_STEPS, "link", "pread", "fstat", "write")}


class Disk:
    """Knows what was not flushed to the disk yet, and can lose it."""

    def __init__(self, backups: str) -> None:
        """Begin; the folder is for the files whose names are removed."""
        self._backups, self._count = backups, 0
        self._undo = []  # what it belongs to (device, inode), its kind, how it is undone

    def before(self, name, args, options) -> None:
        """Remember how to undo a step, or that a step has made others last."""
        if name == "fsync":
            key = self._key(args[0])
            self._undo = [each for each in self._undo if each[0] != key]
        elif name in ("pwrite", "ftruncate"):
            self._undo.append((self._key(args[0]), CONTENTS, self._contents(args[0])))
        elif name in ("rename", "unlink"):
            self._undo.append(self._name(name, args, options))
        elif name == "open":
            undo = functools.partial(REAL["unlink"], args[0], dir_fd=options["dir_fd"])
            self._undo.append((self._key(options["dir_fd"]), NAMES, undo))

    def lose(self, kinds) -> None:
        """Undo what was not flushed, the last step first."""
        for _, kind, undo in reversed(self._undo):
            if kind in kinds:
                with contextlib.suppress(FileNotFoundError):
                    undo()

    @staticmethod
    def _key(file):
        info = REAL["fstat"](file)
        return info.st_dev, info.st_ino

    @staticmethod
    def _contents(file):
        old = REAL["pread"](file, REAL["fstat"](file).st_size, 0)

        def undo():
            REAL["ftruncate"](file, 0)
            REAL["pwrite"](file, old, 0)

        return undo

    def _name(self, name, args, options):
        if name == "rename":
            old, new = options["src_dir_fd"], options["dst_dir_fd"]
            undo = functools.partial(
                REAL["rename"], args[1], args[0], src_dir_fd=new, dst_dir_fd=old
            )
            return self._key(new), NAMES, undo
        self._count += 1
        folder, backup = options["dir_fd"], f"{self._backups}/{os.getpid()}-{self._count}"
        REAL["link"](args[0], backup, src_dir_fd=folder)
        return self._key(folder), NAMES, functools.partial(
            REAL["link"], backup, args[0], dst_dir_fd=folder
        )  # fmt: skip


class Grief:
    """Counts the steps of this process, tells of each, and brings grief at one of them."""

    def __init__(self, task: dict, pipe: int, backups: str) -> None:
        """Replace what makes steps."""
        self.count, self.at = 0, task.get("at", 0)
        self.kind, self.lasting = task.get("grief", "kill"), task.get("lasting", "")
        self.pipe, self.lock, self.disk = pipe, threading.Lock(), Disk(backups)
        for name in FILE_STEPS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        ssl.SSLSocket.send = self._watched("send", ssl.SSLSocket.send)
        ssl.SSLSocket.sendall = self._watched("send", ssl.SSLSocket.sendall)

    def tell(self, **what) -> None:
        """Say something that outlives this process."""
        REAL["write"](self.pipe, json.dumps(what).encode() + b"\n")

    def _watched(self, name, call):
        @functools.wraps(call)
        def step(*args, **options):
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **options)
            with self.lock:  # the domains of a message are served side by side
                self.count += 1
                count = self.count
                self.tell(step=name)
                if count == self.at and self.kind in DEATHS:
                    self._die(name, args)
                if self._raises(name, args, count):
                    number = getattr(errno, self.kind)
                    raise OSError(number, os.strerror(number))
                if self.kind in CUTS:
                    self.disk.before(name, args, options)
            return call(*args, **options)

        return step

    def _die(self, name, args) -> None:
        if self.kind == "half" and name == "pwrite":
            REAL["pwrite"](args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
        self.disk.lose(CUTS.get(self.kind, ()))
        os.kill(os.getpid(), signal.SIGKILL)

    def _raises(self, name, args, count) -> bool:
        if self.kind in DEATHS or not self.at or name == "send":
            return False
        if count == self.at:
            return True
        if not self.lasting or count < self.at:
            return False
        if self.lasting == "all":
            return True
        # A full disk: what lies in a file already can be written over.
        grows = name == "pwrite" and args[2] + len(args[1]) > os.fstat(args[0]).st_size
        return grows or name in ("open", "mkdir")


def send(task, config, grief) -> None:
    """Keep a message and try it, as ``requiretls send`` does."""
    token = task["token"]
    sender = f"{token}@example.org"
    message = f"From: {sender}\r\nMessage-ID: <{sender}>\r\n\r\ncanary\r\n".encode()
    job = Job(message, sender, tuple(task["recipients"]), True, False, task["account"])
    with Spool(task["spool"], clock(task)) as spool:
        try:
            kept = spool.add(job)
        except spool_files.SpoolError as error:
            grief.tell(refused=str(error))
            return
        with kept:
            grief.tell(kept=kept.id)
            if task.get("stop"):
                os.kill(os.getpid(), signal.SIGKILL)
            outcome = attempt(spool, kept, functools.partial(transmit, config=config), Schedule())
            grief.tell(trouble=outcome.trouble, waiting=outcome.waiting)


def flush(task, config, grief) -> None:
    """Try everything that waits."""
    with Spool(task["spool"], clock(task)) as spool:
        run = Flush(spool, functools.partial(transmit, config=config), Schedule())
        grief.tell(status=run.run(everything=task.get("all", True)))


def clock(task):
    """Return the clock of a task: the real one, some seconds off."""
    return lambda: time.time() + task.get("clock", 0.0)


def child(task, settings, pipe) -> None:
    """Do a task and end."""
    signal.alarm(60)
    said = io.StringIO()
    grief = Grief(task, pipe, settings["backups"])
    note = entry.Entry.note

    def noted(self, event, **options):
        note(self, event, **options)
        about = [who for each in event.get("results", ()) for who in each["to"]]
        grief.tell(noted=event["event"], about=about)

    entry.Entry.note = noted
    config = Config(
        accounts={each["name"]: Account(**each) for each in settings["accounts"]},
        lookups=LookupSettings(**{**settings["lookups"], "nameservers": ("127.0.0.1",)}),
    )
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            {"send": send, "flush": flush}[task["do"]](task, config, grief)
        except spool_files.SpoolError as error:
            grief.tell(error=str(error))
        except BaseException:
            grief.tell(crash=traceback.format_exc())
    grief.tell(said=said.getvalue())
    os._exit(0)


def main(settings: dict) -> None:
    """Make a child for each line, or for each part of one that is a list, all at once."""
    for line in sys.stdin:
        tasks, children = json.loads(line), []
        for task in tasks:
            told, pipe = os.pipe()
            pid = os.fork()
            if not pid:
                child(task, settings, pipe)
            os.close(pipe)
            children.append((pid, told))
        answers = []
        for pid, told in children:
            with open(told, "rb") as file:
                steps = [json.loads(each) for each in file]
            _, status = os.waitpid(pid, 0)
            answers.append({"steps": steps, "killed": os.WIFSIGNALED(status)})
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
