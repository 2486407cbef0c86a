"""Every DNS, HTTP, socket, file and SQL call of five deliveries to a domain fails once.

Goal 6. The resolver, the name server, the policy server, the mail hosts and the policy store are
real. The calls are counted in a run without a fault, then the first fails, the second, and so on,
in four ways. The tests run a share of it that is the same each time; ``tests/fuzz.py faults`` runs
all. And goal 7: a delivery that is killed at any step of the protocol does the next one no harm.
"""

from __future__ import annotations

import _socket
import builtins
import contextlib
import errno
import functools
import gc
import itertools
import os
import random
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from policy_server import PolicyServer, answer, certificate_for, policy
from small_internet import DOMAIN, WITHOUT, SmallInternet
from support import CA_AT_HAND, nothing_sent

import requiretls_client as rt
from requiretls_client import cache_file, fetch, policy_fetch
from requiretls_client.cache import SQLiteStore
from requiretls_client.facts import StoredPolicy, STSPolicy
from requiretls_client.testing import CA, normal

RAW = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"
GOOD, DECOY = f"mx2.{DOMAIN}", f"mx1.{DOMAIN}"
OTHER_CA = CA()
SHARE = 20  # calls that fail of each reference, in each way
LIMIT = 6.0  # seconds that a delivery may take; each wait of it ends after 1 or 2
NETWORK, FILES, SQL = "network", "files", "SQL"

POINTS = [
    (NETWORK, socket, "create_connection"),
    *((NETWORK, socket.socket, name) for name in (
        "connect", "send", "sendall", "recv", "recv_into", "settimeout", "getpeername",
    )),
    (NETWORK, ssl.SSLContext, "wrap_socket"),
    *((NETWORK, ssl.SSLSocket, name) for name in (
        "do_handshake", "recv", "recv_into", "send", "sendall", "unwrap",
    )),
    (FILES, builtins, "open"),
    *((FILES, os, name) for name in ("lstat", "makedirs", "open", "close", "link", "unlink")),
]  # fmt: skip
CALLERS = ("requiretls_client", "smtplib", "tempfile")


def error_of(number):
    """Return what makes an error of the operating system."""
    return functools.partial(OSError, number, "injected")


def sql_error(code, text):
    """Make an error as SQLite raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


FULL = functools.partial(sql_error, sqlite3.SQLITE_IOERR, "disk I/O error")
BUSY = functools.partial(sql_error, sqlite3.SQLITE_BUSY, "database is locked")
# way -> what is raised at a call of each kind, and whether all later ones of the kind fail too
WAYS = {
    "reset": ({NETWORK: error_of(errno.ECONNRESET), FILES: error_of(errno.EIO), SQL: FULL}, False),
    "timeout": ({NETWORK: TimeoutError, FILES: error_of(errno.ENOSPC), SQL: BUSY}, False),
    "memory": (dict.fromkeys((NETWORK, FILES, SQL), MemoryError), False),
    "for-good": ({FILES: error_of(errno.EROFS), SQL: BUSY}, True),
}


class Injector:
    """Counts the calls that a delivery makes, in all its threads, and lets the n-th raise."""

    def __init__(self, patch):
        """Put a counter in front of every point; the servers' threads pass by it."""
        self._main, self._lock = threading.get_ident(), threading.Lock()
        self.armed, self.calls = False, []
        self._nth, self._faults, self._for_good = 0, {}, False
        for kind, owner, name in POINTS:
            patch.setattr(owner, name, self._counted(kind, getattr(owner, name), name))
        patch.setattr(sqlite3, "connect", self._connecting(sqlite3.connect))

    def _counted(self, kind, call, name):
        @functools.wraps(call)
        def counting(*args, **options):
            if not (self.armed and (caller := ours(name))):
                return call(*args, **options)
            if name == "close":  # a file is closed even where that reports an error
                call(*args, **options)
            try:
                self.point(kind, f"{caller}: {name}")
            except ConnectionResetError:  # and so it is: who goes on reading must not wait
                with contextlib.suppress(AttributeError, TypeError, OSError):
                    _socket.socket.shutdown(args[0], socket.SHUT_RDWR)
                raise
            return None if name == "close" else call(*args, **options)

        return counting

    def _connecting(self, call):
        injector = self

        class Connection(sqlite3.Connection):
            """Its methods cannot be replaced, only those of a subclass."""

            def execute(self, *arguments):
                injector.point(SQL, f"execute {arguments[0]}")
                return super().execute(*arguments)

            def __exit__(self, *error):
                try:
                    if error[0] is None:
                        injector.point(SQL, "commit")
                except BaseException:
                    super().__exit__(*sys.exc_info())
                    raise
                return super().__exit__(*error)

        def connect(*args, **options):
            self.point(SQL, "connect")
            return call(*args, **options, factory=Connection)

        return connect

    def point(self, kind, name):
        """Count a call, and raise if its turn has come."""
        thread = threading.current_thread()
        if not self.armed or not (
            thread.ident == self._main or thread.name.startswith("requiretls-")
        ):
            return
        with self._lock:
            self.calls.append((kind, name))
            number = len(self.calls)
            due = number >= self._nth if self._for_good else number == self._nth
        if self._nth and due and kind in self._faults:
            raise self._faults[kind]()

    @contextlib.contextmanager
    def on(self, nth=0, way="reset"):
        """Arm it: the n-th call fails; 0 only counts."""
        self.calls, self._nth = [], nth
        self._faults, self._for_good = WAYS[way]
        self.armed = True
        try:
            yield
        finally:
            self.armed = False


def ours(name):
    """Return the function of the package that makes this call, or "" where somebody else does."""
    frame = sys._getframe(2)
    module = frame.f_globals.get("__name__", "").partition(".")[0]
    return frame.f_code.co_name if module in CALLERS or name == "do_handshake" else ""


# -- the five deliveries -------------------------------------------------------------------------


class Reference:
    """A delivery, with everything that it needs, and what must come of it.

    Attributes:
        asked: arguments of deliver().
        without_store: what may come of it where the store cannot be used.
    """

    asked = {"require_tls": True}
    without_store = ("delivered", "2.0.0")

    def __init__(self, stack, patch, folder):
        """Start the servers."""
        self.net, self.folder, self._runs = SmallInternet(stack), folder, 0
        self.web = stack.enter_context(PolicyServer())
        there = functools.partial(fetch.fetch_policy, port=self.web.port)
        patch.setattr(policy_fetch, "fetch_policy", there)
        self.prepare()
        self.name_server = self.net.name_server()
        self.trust = CA_AT_HAND.context()

    def prepare(self):
        """Publish the records and run the hosts."""
        raise NotImplementedError

    def publish_policy(self):
        """Publish an MTA-STS policy that lists the good host, in the DNS and over HTTPS."""
        self.net.insecure |= {key.split()[0] for key in self.net.records}
        self.net.records[f"_mta-sts.{DOMAIN} TXT"] = ["v=STSv1; id=id1;"]
        host = f"mta-sts.{DOMAIN}"
        self.net.records[f"{host} A"] = ["127.0.0.1"]
        self.net.insecure |= {f"_mta-sts.{DOMAIN}", host}
        self.web.add(host, answer(policy(GOOD)), certificate_for(CA_AT_HAND, host))

    def fill(self, store):
        """Put into the store what an earlier delivery would have left there."""

    def run(self, armed):
        """Deliver once; return the one result, and the store."""
        self._runs += 1
        store = SQLiteStore(self.folder / str(self._runs) / "store.sqlite3")
        self.fill(store)
        store.close()
        looking = self.net.real_lookups(self.name_server, store, trust=self.trust)
        try:
            with armed:
                try:
                    report = rt.deliver(
                        RAW, "alice@example.org", f"bob@{DOMAIN}", lookups=looking,
                        port=self.net.port, local_hostname="client.example", timeout=2,
                        **self.asked,
                    )  # fmt: skip
                except rt.DeliveryFailed as error:
                    report = error.report
                    error.__traceback__ = error.__context__ = None
        finally:
            looking.close()
            store.close()
        for server in (*self.net.servers.values(), self.web):
            server.wait_idle()
        return report.recipients[0], store

    def held(self):
        """Return what the servers took so far: host -> messages."""
        servers = self.net.servers
        return {host: servers[host].ledger for host in servers}


class ByDANE(Reference):
    """MX, addresses and TLSA are signed; the first host's certificate is not the one published."""

    def prepare(self):
        """Run two hosts."""
        self.net.host(DECOY)
        self.net.host(GOOD)
        self.net.records[self.net.tlsa(DECOY)] = ["3 1 1 " + "00" * 32]
        self.net.mx(DECOY, GOOD)


class ByPolicy(Reference):
    """Nothing is signed; a policy that has to be fetched lists the second host."""

    def prepare(self):
        """Run two hosts, and publish the policy."""
        self.net.host(DECOY, tlsa=False)
        self.net.host(GOOD, tlsa=False)
        self.net.mx(DECOY, GOOD)
        self.publish_policy()


class ByStoredPolicy(ByPolicy):
    """The policy is in the store, and cannot be fetched any more."""

    without_store = ("deferred", "4.7.5")

    def prepare(self):
        """Take the policy off the web."""
        super().prepare()
        self.web.sites.clear()

    def fill(self, store):
        """Keep the policy of an earlier delivery."""
        store.save(DOMAIN, StoredPolicy(STSPolicy("enforce", (GOOD,), 86400), "id1", time.time()))


class ByKeyword(Reference):
    """Both hosts are proved by DANE, and only the second has REQUIRETLS."""

    def prepare(self):
        """Run two hosts."""
        self.net.host(DECOY, tls_extensions=WITHOUT)
        self.net.host(GOOD)
        self.net.mx(DECOY, GOOD)


class Optional(Reference):
    """``TLS-Required: No``, at a host whose certificate cannot be verified."""

    asked = {"tls_optional": True}

    def prepare(self):
        """Run one host."""
        self.net.host(GOOD, tlsa=False, certificate=OTHER_CA.issue(GOOD))
        self.net.mx(GOOD)


REFERENCES = {
    "dane": ByDANE, "policy": ByPolicy, "stored-policy": ByStoredPolicy, "keyword": ByKeyword,
    "tls-optional": Optional,
}  # fmt: skip


class Trial:
    """One reference under faults of one way."""

    def __init__(self, stack, folder, name, way):
        """Start the servers and count the calls of a run without a fault."""
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(cache_file, "BUSY", 0.1)
        patch.setattr(policy_fetch, "FETCH_SECONDS", 2.0)
        self.name, self.way = name, way
        self.injector = Injector(patch)
        self.reference = REFERENCES[name](stack, patch, folder)
        result, _ = self.reference.run(self.injector.on())
        assert result.state == "delivered", result
        self.calls = list(self.injector.calls)
        self.numbers = [
            number for number, (kind, _) in enumerate(self.calls, 1) if kind in WAYS[way][0]
        ]

    def fail(self, nth):
        """Let the n-th call fail and hold what comes of it against the ledgers."""
        reference, commands = self.reference, self._commands()
        before = reference.held()
        started = time.monotonic()
        result, store = reference.run(self.injector.on(nth, self.way))
        took = time.monotonic() - started
        # Threads change places: which call is the n-th differs from run to run.
        struck = self.injector.calls[nth - 1 :][:1]
        new = [
            (host, message)
            for host, messages in reference.held().items()
            for message in messages[len(before[host]) :]
        ]
        where = f"{self.name}, {self.way}: {nth}, {struck}: {result.explain()}"
        assert took < LIMIT, where
        self._check_verdict(result, new, commands, where)
        if self.way == "for-good" or (struck and struck[0][0] != NETWORK and self.way != "memory"):
            assert (result.state, result.status) in {
                ("delivered", "2.0.0"), reference.without_store,
            }, where  # fmt: skip
        elif self.way != "memory":
            assert store.claim(DOMAIN, time.time(), 1), where
        store.close()
        return result.state

    def _commands(self):
        return {host: len(each.commands()) for host, each in self.reference.net.servers.items()}

    def _check_verdict(self, result, new, commands, where):
        if result.state == "delivered":
            assert [host for host, _ in new] == [result.mx_host], where
        elif result.state == "unknown":
            assert len(new) <= 1, where
            said = [
                command
                for host, each in self.reference.net.servers.items()
                for command in each.commands()[commands[host] :]
            ]
            # Running out of memory, it cannot say where in the transaction it was.
            upper = [each.upper() for each in said]
            assert "DATA" in upper or (self.way == "memory" and "STARTTLS" in said), where
        else:
            assert new == [], where
            assert result.temporary, where  # it is a fault that the next delivery need not meet
        for host, message in new:
            if "require_tls" in self.reference.asked:
                assert host == GOOD, where
                assert message.tls, where
                assert "REQUIRETLS" in message.parameters, where
            else:
                assert message.content.count(b"TLS-Required: No\r\n") == 1, where

    def end(self):
        """Look at the host that must not get a message."""
        if decoy := self.reference.net.servers.get(DECOY):
            assert nothing_sent(decoy)


def try_out(folder, name, way, share=None):
    """Let calls of a reference fail in one way, all or a share; return what came of them."""
    seen = Counter()
    with ExitStack() as stack:
        trial = Trial(stack, folder, name, way)
        numbers = trial.numbers
        if share and share < len(numbers):
            numbers = sorted(random.Random(f"{name} {way}").sample(numbers, share))
        before = open_files(), threading.active_count()
        for nth in numbers:
            seen[trial.fail(nth)] += 1
        gc.collect()
        # No growth; what an earlier test left to its end may have ended meanwhile.
        assert open_files() <= before[0], (name, way)
        assert threading.active_count() <= before[1], (name, way)
        trial.end()
    return seen, trial.calls


def report(share=None):
    """Do it for all references and ways; return what came of them, and what failed."""
    seen, failures = Counter(), []
    for name, way in itertools.product(REFERENCES, WAYS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found, _ = try_out(Path(folder), name, way, share)
            except AssertionError as error:
                failures.append(str(error))
            else:
                seen.update({f"{way}: {state}": number for state, number in found.items()})
    return seen, failures


def open_files():
    """Return how many files are open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFERENCES)
def test_fault_at_a_call(tmp_path, name, way):
    """Goal 6, M13, M16: the report is what the ledgers say; a store in trouble stops no mail."""
    with warnings.catch_warnings(record=True) as leaks:
        warnings.simplefilter("always", ResourceWarning)
        seen, calls = try_out(tmp_path, name, way, SHARE)
    assert not leaks, leaks[0].message
    kinds = Counter(kind for kind, _ in calls)
    assert kinds[NETWORK] > 30
    assert kinds[SQL] >= 3 if name == "stored-policy" else kinds[FILES] >= 2
    assert seen["delivered"] or way == "memory"


def test_breaks_off_while_sending(tmp_path, monkeypatch):
    """O4: a bug in the middle of a transaction: unknown, though an earlier host said 451."""
    with ExitStack() as stack:
        net = SmallInternet(stack)
        net.host(DECOY, script={"RCPT": "451 4.3.0 later"})
        taken = net.host(GOOD)
        net.mx(DECOY, GOOD)
        monkeypatch.setattr(rt.SMTP, "sendmail", breaking(rt.SMTP.sendmail))
        looking = net.lookups()
        with pytest.raises(rt.DeliveryFailed) as caught:
            rt.deliver(
                RAW, "a@b.c", f"bob@{DOMAIN}", require_tls=True, lookups=looking, port=net.port,
                timeout=2,
            )  # fmt: skip
        looking.close()
        taken.wait_idle()
        assert len(taken.ledger) == 1
    assert caught.value.report.recipients[0].state == "unknown"


def breaking(call):
    """Return sendmail() with a bug behind a message that was taken."""

    def sendmail(*args, **options):
        call(*args, **options)
        raise RuntimeError("boom")

    return sendmail


# -- kill -9 -------------------------------------------------------------------------------------

LEASE = 1.0  # seconds that a claim to fetch a policy lasts here
LOOKED_UP = ["MX", "TXT", "FETCHED", "SAVED"]
SPOKEN = ["GREETING", "EHLO plain", "STARTTLS", "HANDSHAKE", "EHLO tls", "MAIL", "RCPT", "DATA",
          "."]  # fmt: skip


class Victims:
    """Deliveries in a process of their own, and the servers that they meet."""

    def __init__(self, stack, patch, folder):
        """Start everything."""
        self.reached, self.step = threading.Event(), ""
        patch.setattr(policy_fetch, "CLAIM_SECONDS", LEASE)
        self.internet = Reaching(stack, patch, folder, self.at)
        (self.server,) = self.internet.net.servers.values()
        roots = folder / "roots.pem"
        roots.write_bytes(CA_AT_HAND.pem)
        ports = (self.internet.name_server.port, self.internet.web.port, self.internet.net.port)
        worker = Path(__file__).with_name("delivery_worker.py")
        command = [sys.executable, worker, roots, *ports, f"bob@{DOMAIN}", LEASE]
        self.process = stack.enter_context(
            subprocess.Popen(
                list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(self.process.stdin.close)

    def at(self, stage):
        """Return what the server does at a stage: wait there for the client's end, if it is it."""

        def serve(connection):
            if stage != self.step:
                return normal
            self.reached.set()
            return connection.drain()

        return serve

    def kill(self, step, store):
        """Have one delivery killed at a step."""
        self.step = step
        self.reached.clear()
        print(store, step, sep="\t", file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if step in SPOKEN:
            assert self.reached.wait(10)
            os.kill(pid, signal.SIGKILL)
        assert int(self.process.stdout.readline()) == -signal.SIGKILL
        self.step = ""
        self.server.wait_idle()


class Reaching(Reference):
    """A domain whose policy has to be fetched, and whose host stops where it is told to."""

    def __init__(self, stack, patch, folder, at):
        """Start the servers."""
        self._script = {stage: at(stage) for stage in SPOKEN}
        super().__init__(stack, patch, folder)

    def prepare(self):
        """Run the host and publish the policy."""
        self.net.host(GOOD, tlsa=False, script=self._script)
        self.net.mx(GOOD)
        self.publish_policy()


@pytest.fixture(scope="module")
def victims(tmp_path_factory):
    """Run the servers and the process whose children are killed."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        yield Victims(stack, patch, tmp_path_factory.mktemp("victims"))


@pytest.mark.parametrize("step", [*LOOKED_UP, *SPOKEN])
def test_killed(victims, tmp_path, step):
    """M01, goal 7: killed at any step: nothing sent, a sound store, and the next one works."""
    server, path = victims.server, tmp_path / "store.sqlite3"
    taken, said, fetched = server.ledger, server.transcript, len(victims.internet.web.requests)
    victims.kill(step, path)
    assert len(server.ledger) == len(taken)
    clear = [line.data for line in server.transcript[len(said) :] if line.channel == "plain"]
    assert not any(line[:4].upper() in (b"MAIL", b"RCPT", b"DATA") for line in clear)
    assert path.exists() or step in ("MX", "TXT")
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    started = time.monotonic()
    assert deliver_again(victims.internet, path).delivered
    assert time.monotonic() - started < LEASE + 1
    assert len(server.ledger) - len(taken) == 1
    assert len(victims.internet.web.requests) - fetched == 1 + (step == "FETCHED")
    # Nothing was damaged; a store that was being made may be left under its first name.
    left = {each.name for each in tmp_path.iterdir() if each.suffix != ".new"}
    assert left <= {path.name, f"{path.name}-journal"}


def deliver_again(internet, path):
    """Deliver with the store that the killed process has left."""
    store = SQLiteStore(path)
    looking = internet.net.real_lookups(internet.name_server, store, trust=internet.trust)
    try:
        return rt.deliver(
            RAW, "alice@example.org", f"bob@{DOMAIN}", require_tls=True, lookups=looking,
            port=internet.net.port, local_hostname="client.example", timeout=5,
        )  # fmt: skip
    finally:
        looking.close()
        store.close()
        internet.net.servers[GOOD].wait_idle()
