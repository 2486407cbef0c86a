"""A process whose children send and flush, and come to grief at a chosen step.

usage: spool_worker.py HOST PORT CAFILE

Each line that it reads is a JSON object, a task for one child: ``do`` ("send" or "flush"),
``spool``, and for a message ``token``, ``recipients`` and ``account``. ``at`` is the number of the
step at which grief comes: a change of a file or folder, or something said to the server. The grief
is ``kill`` (before the step), ``half`` (killed with half of it written), or the name of an errno
that the step raises; ``lasting`` means that later steps raise it too, if they need room. The
answer is a JSON object: what the child did step by step, and how it ended.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import signal
import smtplib
import ssl
import sys
import threading
import time
import traceback

import requiretls_client as rt
from requiretls_client.cli import entry, spool_files
from requiretls_client.cli.attempt import attempt
from requiretls_client.cli.flush import Flush
from requiretls_client.cli.job import Job
from requiretls_client.cli.record import bare_result
from requiretls_client.cli.schedule import Schedule
from requiretls_client.cli.spool import Spool
from requiretls_client.reports import DeliveryReport

FILE_STEPS = ("open", "mkdir", "pwrite", "fsync", "rename", "unlink", "ftruncate")
_write = os.write  # of the pipe, which no grief befalls


class Grief:
    """Counts the steps of this process, tells of each, and brings grief at one of them."""

    def __init__(self, task: dict, pipe: int) -> None:
        """Replace what makes steps."""
        self.count, self.at = 0, task.get("at", 0)
        self.kind, self.lasting = task.get("grief", "kill"), task.get("lasting", False)
        self.pipe, self.lock = pipe, threading.Lock()
        for name in FILE_STEPS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        ssl.SSLSocket.send = self._watched("send", ssl.SSLSocket.send)
        ssl.SSLSocket.sendall = self._watched("send", ssl.SSLSocket.sendall)

    def tell(self, **what) -> None:
        """Say something that outlives this process."""
        _write(self.pipe, json.dumps(what).encode() + b"\n")

    def _watched(self, name, call):
        @functools.wraps(call)
        def step(*args, **options):
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **options)
            with self.lock:  # the domains of a message are served side by side
                self.count += 1
                count = self.count
            self.tell(step=name)
            if count == self.at and self.kind in ("kill", "half"):
                if self.kind == "half" and name == "pwrite":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            if self._raises(name, args, count):
                number = getattr(errno, self.kind)
                raise OSError(number, os.strerror(number))
            return call(*args, **options)

        return step

    def _raises(self, name, args, count) -> bool:
        if self.kind in ("kill", "half") or not self.at or name == "send":
            return False
        if count == self.at:
            return True
        if not self.lasting or count < self.at:
            return False
        # A full disk: what lies in a file already can be written over.
        grows = name == "pwrite" and args[2] + len(args[1]) > os.fstat(args[0]).st_size
        return grows or name in ("open", "mkdir")


def relay(task, server) -> object:
    """Return what sends to the server as the real transmit() does, for one attempt."""
    host, port, context = server

    def transmit(job: Job) -> DeliveryReport:
        state, text = "delivered", "ok"
        try:
            with rt.SMTP(
                host, port, context=context, require_tls=job.require_tls, timeout=10
            ) as smtp:
                smtp.sendmail(job.sender, job.recipients, job.message)
        except rt.DeliveryUnknown as error:
            state, text = "unknown", str(error)
        except rt.RequireTLSNotOffered as error:
            state, text = "refused", str(error)
        except (smtplib.SMTPException, OSError) as error:
            state, text = "deferred", str(error)
        results = tuple(bare_result(each, state, text) for each in job.recipients)
        return DeliveryReport(job.sender, job.require_tls, results)

    return transmit


def send(task, server, grief) -> None:
    """Keep a message and try it, as ``requiretls send`` does."""
    token = task["token"]
    sender = f"{token}@example.org"
    message = f"From: {sender}\r\nMessage-ID: <{sender}>\r\n\r\ncanary\r\n".encode()
    job = Job(message, sender, tuple(task["recipients"]), True, False, task["account"])
    with Spool(task["spool"], clock(task)) as spool:
        try:
            kept = spool.add(job, report=task.get("report", False))
        except spool_files.SpoolError as error:
            grief.tell(refused=str(error))
            return
        with kept:
            grief.tell(kept=kept.id)
            outcome = attempt(spool, kept, relay(task, server), Schedule())
            grief.tell(trouble=outcome.trouble, waiting=outcome.waiting)


def flush(task, server, grief) -> None:
    """Try everything that waits."""
    with Spool(task["spool"], clock(task)) as spool:
        run = Flush(spool, relay(task, server), Schedule())
        grief.tell(status=run.run(everything=task.get("all", True)))


def clock(task):
    """Return the clock of a task: the real one, some seconds off."""
    return lambda: time.time() + task.get("clock", 0.0)


def child(task, server, pipe) -> None:
    """Do a task and end."""
    signal.alarm(60)
    said = io.StringIO()
    grief = Grief(task, pipe)
    note = entry.Entry.note

    def noted(self, event, **options):
        note(self, event, **options)
        about = [who for each in event.get("results", ()) for who in each["to"]]
        grief.tell(noted=event["event"], about=about)

    entry.Entry.note = noted
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            {"send": send, "flush": flush}[task["do"]](task, server, grief)
        except spool_files.SpoolError as error:
            grief.tell(error=str(error))
        except BaseException:
            grief.tell(crash=traceback.format_exc())
    grief.tell(said=said.getvalue())
    os._exit(0)


def main(host: str, port: str, cafile: str) -> None:
    """Make a child for each line."""
    context = ssl.create_default_context(cafile=cafile)
    for line in sys.stdin:
        task = json.loads(line)
        told, pipe = os.pipe()
        pid = os.fork()
        if not pid:
            child(task, (host, int(port), context), pipe)
        os.close(pipe)
        with open(told, "rb") as file:
            steps = [json.loads(each) for each in file]
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"steps": steps, "killed": os.WIFSIGNALED(status)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
