"""What tests/test_cache.py has other processes do with a policy store.

usage: store_worker.py COMMAND ARGUMENT ...     prints one JSON object
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import json
import logging
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import warnings
from pathlib import Path

from requiretls_client.cache import SQLiteStore
from requiretls_client.facts import StoredPolicy, STSPolicy

DOMAIN = "example.com"


def stored(number: int, patterns: int = 1) -> StoredPolicy:
    """Return a policy in which everything says which one it is."""
    mx = tuple(f"mx{number}-{each}.example" for each in range(patterns))
    return StoredPolicy(STSPolicy("enforce", mx, number), f"id{number}", float(number))


class Heard(logging.Handler):
    """Keeps the warnings of the package."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__()
        self.texts: list[str] = []
        logging.getLogger("requiretls_client").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def in_threads(count: int, work) -> list[str]:
    """Run ``work(number)`` in threads; returns what was raised."""
    errors: list[str] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def operate(path: str, seed: str, threads: str, operations: str) -> dict:
    """Do a mix of everything on ten domains; say what was saved last."""
    heard, store = Heard(), SQLiteStore(path)
    latest: dict[str, float] = {}
    lock = threading.Lock()

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        for _ in range(int(operations)):
            domain = f"d{chance.randrange(10)}.example"
            match chance.randrange(10):
                case 0 | 1 | 2 | 3:
                    found = store.load(domain)
                    assert found is None or found == stored(int(found.fetched), 3), found
                case 4 | 5 | 6:
                    at = chance.randrange(1, 10**6)
                    store.save(domain, stored(at, 3))
                    with lock:
                        latest[domain] = max(latest.get(domain, 0), at)
                case 7:
                    store.note_failure(domain, "1", time.time())
                    store.failure(domain)
                case 8:
                    if store.claim(domain, time.time(), 60):
                        store.release(domain)
                case 9:
                    store.domains()

    errors = in_threads(int(threads), work)
    store.close()
    return {"errors": errors, "warnings": heard.texts, "latest": latest}


def claim(path: str, threads: str, now: str) -> dict:
    """Want one domain with all threads at once; say how many got it."""
    heard, store = Heard(), SQLiteStore(path)
    won: list[int] = []
    barrier = threading.Barrier(int(threads))

    def work(number: int) -> None:
        barrier.wait()
        if store.claim(DOMAIN, float(now), 60):
            won.append(number)

    errors = in_threads(int(threads), work)
    store.close()
    return {"errors": errors, "warnings": heard.texts, "won": len(won)}


def keep(path: str, number: str) -> dict:
    """Save a policy, with the storage as the caller left it, and say what can be read then."""
    if path == "limited":
        import resource

        path = str(Path.cwd() / "store.sqlite3")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    heard, store = Heard(), SQLiteStore(path if path != "default" else None)
    before = store.load(DOMAIN)
    for again in range(3):
        store.save(DOMAIN, stored(int(number) + again, 200))
    store.note_failure(DOMAIN, "7", 1.0)
    after, failure, domains = store.load(DOMAIN), store.failure(DOMAIN), store.domains()
    claims = [store.claim(DOMAIN, 100.0, 60.0), store.claim(DOMAIN, 100.0, 60.0)]
    store.release(DOMAIN)
    claims.append(store.claim(DOMAIN, 100.0, 60.0))
    store.drop("other.example")
    store.close()
    return {
        "before": before and before.fetched, "after": after and after.fetched,
        "failure": failure, "domains": domains, "claims": claims, "warnings": heard.texts,
    }  # fmt: skip


def fork(path: str) -> dict:
    """Use one store before a fork and on both sides of it, while a thread holds its lock."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside threads
    store = SQLiteStore(path)
    store.save(DOMAIN, stored(1))
    inherited = store._file._connection
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        found = store.load(DOMAIN)
        store.save(DOMAIN, stored(2))
        os._exit(0 if found == stored(1) and store._file._connection is not inherited else 1)
    done.set()
    thread.join()
    _, status = os.waitpid(child, 0)
    same = store._file._connection is inherited
    found = store.load(DOMAIN)
    store.close()
    return {"child": status, "same": same, "found": found and found.fetched}


# -- hooks under SQLite --------------------------------------------------------------------------


class VFS(ctypes.Structure):
    """The head of sqlite3_vfs (sqlite3.h), as far as its last member, version 3."""

    _fields_ = [
        ("version", ctypes.c_int), ("os_file", ctypes.c_int), ("max_pathname", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in (
            "next", "name", "data", "open", "delete", "access", "full_pathname", "dl_open",
            "dl_error", "dl_sym", "dl_close", "randomness", "sleep", "current_time",
            "last_error", "current_time_64", "set_system_call", "get_system_call",
        )),
    ]  # fmt: skip


class Hooks:
    """Replaces system calls below the SQLite that Python uses (sqlite3_vfs.xSetSystemCall)."""

    def __init__(self) -> None:
        """Find the library; OSError where it is not a shared one."""
        library = ctypes.CDLL(ctypes.util.find_library("sqlite3") or "libsqlite3.so.0")
        library.sqlite3_libversion.restype = ctypes.c_char_p
        if library.sqlite3_libversion().decode() != sqlite3.sqlite_version:
            raise OSError("Python has another SQLite")
        library.sqlite3_vfs_find.restype = ctypes.POINTER(VFS)
        self._vfs = library.sqlite3_vfs_find(None)
        head = [ctypes.c_int, ctypes.POINTER(VFS), ctypes.c_char_p]
        self._set = ctypes.CFUNCTYPE(*head, ctypes.c_void_p)(self._vfs[0].set_system_call)
        get = ctypes.CFUNCTYPE(ctypes.c_void_p, *head[1:])
        self._get = get(self._vfs[0].get_system_call)
        self._kept: list[object] = []

    def replace(self, name: str, prototype, make) -> None:
        """Put ``make(original)`` in the place of a system call, if this SQLite has it."""
        address = self._get(self._vfs, name.encode())
        if address:
            hook = prototype(make(prototype(address)))
            self._kept.append(hook)
            self._set(self._vfs, name.encode(), ctypes.cast(hook, ctypes.c_void_p))


INT, SIZE, OFFSET, POINTER = ctypes.c_int, ctypes.c_ssize_t, ctypes.c_longlong, ctypes.c_void_p


class Killer:
    """Kills this process at its n-th change of a file: before it, or with half of it done."""

    def __init__(self) -> None:
        """Hook what changes files."""
        self.count, self.at, self.half = 0, -1, False
        hooks = Hooks()
        for name in ("pwrite", "pwrite64"):
            hooks.replace(name, ctypes.CFUNCTYPE(SIZE, INT, POINTER, SIZE, OFFSET), self._write)
        hooks.replace("write", ctypes.CFUNCTYPE(SIZE, INT, POINTER, SIZE), self._write)
        hooks.replace("ftruncate", ctypes.CFUNCTYPE(INT, INT, OFFSET), self._other)
        hooks.replace("unlink", ctypes.CFUNCTYPE(INT, POINTER), self._other)
        self._hooks = hooks

    def _write(self, original):
        def hook(file, data, size, *offset):
            if self._is_due():
                if self.half:
                    original(file, data, size // 2, *offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(file, data, size, *offset)

        return hook

    def _other(self, original):
        def hook(*arguments):
            if self._is_due():
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return hook

    def _is_due(self) -> bool:
        self.count += 1
        return self.count == self.at


def kill(path: str, runs: str) -> dict:
    """Kill processes that save, at every change of a file, and read what they leave.

    Each child goes on from what its predecessor left. When it lives to the end of its save, the
    next one dies at the first change again.
    """
    heard, bad, killed, most, at = Heard(), [], 0, 0, 1
    killer = Killer()
    for run in range(1, int(runs) + 1):
        if run % 40 == 0:
            os.unlink(path)  # the next one dies while it makes the file
        old, failure = read(path)
        if old:
            failure = "7", 1.0
            SQLiteStore(path).note_failure(DOMAIN, *failure)
        killer.at, killer.count, killer.half = at, 0, run % 2 == 0
        new = stored(run, run % 400)  # of several pages
        if dies(lambda new=new: SQLiteStore(path).save(DOMAIN, new)):
            killed, most, at = killed + 1, max(most, at), at + 1
        else:
            at = 1
        killer.at = -1
        if (found := read(path)) not in ((old, failure), (new, None)):
            bad.append([run, repr(found)[-80:]])
    return {"bad": bad, "killed": killed, "points": most, "warnings": heard.texts}


def kill_anytime(path: str, runs: str) -> dict:
    """Kill processes that save and save, at no particular moment, and read what they leave."""
    heard, bad = Heard(), []
    chance = random.Random("M02")
    for run in range(1, int(runs) + 1):
        old, _ = read(path)
        new = [stored(run * 1000 + each, each % 300) for each in range(100)]
        moment = chance.uniform(0, 0.02)
        dies(lambda new=new: save_all(path, new), moment)
        if (found := read(path)[0]) not in (old, *new):
            bad.append([run, repr(found)[-80:]])
    return {"bad": bad, "killed": int(runs), "warnings": heard.texts}


def save_all(path: str, policies: list[StoredPolicy]) -> None:
    """Save one after the other, and wait for the end."""
    store = SQLiteStore(path)
    for policy in policies:
        store.save(DOMAIN, policy)
    signal.pause()


def dies(work, moment: float | None = None) -> bool:
    """Do the work in a child, killed after ``moment`` seconds; tell whether it was killed."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    if moment is not None:
        time.sleep(moment)  # the moment is the test's input
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def read(path: str) -> tuple[StoredPolicy | None, tuple[str, float] | None]:
    """Return policy and failure as a later process sees them, in a file without faults."""
    store = SQLiteStore(path)
    found = store.load(DOMAIN), store.failure(DOMAIN)
    store.close()
    if os.path.exists(path):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


def without_locks(path: str, number: str) -> dict:
    """Do as ``keep`` on a file system that cannot lock."""
    hooks = Hooks()
    prototype = ctypes.CFUNCTYPE(INT, INT, INT, ctypes.c_ssize_t, use_errno=True)

    def make(_original):
        def hook(*_):
            ctypes.set_errno(errno.ENOLCK)
            return -1

        return hook

    hooks.replace("fcntl", prototype, make)
    return keep(path, number)


COMMANDS = {
    "operate": operate, "claim": claim, "keep": keep, "fork": fork, "kill": kill,
    "kill_anytime": kill_anytime, "without_locks": without_locks,
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
