"""Every socket call of six reference sends fails once, in five ways; each time the verdict holds.

The calls are counted in a run without a fault, then the first fails, the second, and so on to the
end. What the client says must be what the server's ledger says, no socket may stay open, and the
object must know afterwards that it is disconnected, or work.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import smtplib
import socket
import ssl
import sys
import threading
import warnings

import pytest
from support import RAW, connect

import requiretls_client as rt

BOTH = ["one@example.net", "two@example.net"]
USERS = {"alice": "correct horse"}


class Alarm(BaseException):
    """What a signal handler raises."""


FAULTS = [
    OSError(errno.EIO, "injected"),
    TimeoutError("injected"),
    ConnectionResetError(errno.ECONNRESET, "injected"),
    Alarm("injected"),
    MemoryError("injected"),
]

# reference send -> class, options of the server, of the client, of sendmail
REFERENCES = {
    "clear": (rt.SMTP, {}, {}, {}),
    "starttls": (rt.SMTP, {}, {}, {"require_tls": True}),
    "implicit": (rt.SMTP_SSL, {"implicit_tls": True}, {}, {"require_tls": True}),
    "login": (rt.SMTP, {"users": USERS}, {"require_tls": True}, {}),
    "clear-login": (rt.SMTP, {"users": USERS, "extensions": ["AUTH PLAIN"]}, {}, {}),
    "lmtp": (rt.LMTP, {"lmtp": True}, {}, {}),
}

POINTS = [
    (socket, "create_connection"),
    (socket.socket, "connect"),
    (socket.socket, "recv"),
    (socket.socket, "sendall"),
    (socket.socket, "settimeout"),
    (socket.socket, "getpeername"),
    (ssl.SSLContext, "wrap_socket"),
    (ssl.SSLSocket, "do_handshake"),
    (ssl.SSLSocket, "recv"),
    (ssl.SSLSocket, "sendall"),
    (ssl.SSLSocket, "unwrap"),
]


class Injector:
    """Counts the client's socket calls and lets the n-th of them raise."""

    def __init__(self, monkeypatch):
        """Put a counter in front of every point; the server's threads pass by it."""
        self.thread, self.armed, self.calls = threading.get_ident(), False, []
        self.nth, self.fault = 0, None
        for owner, name in POINTS:
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name), name))

    def counted(self, call, name):
        """Return the call with a counter in front."""

        @functools.wraps(call)
        def counting(*args, **options):
            if self.armed and threading.get_ident() == self.thread and (caller := ours(name)):
                self.calls.append(f"{caller}: {name}")
                if len(self.calls) == self.nth:
                    raise self.fault
            return call(*args, **options)

        return counting

    @contextlib.contextmanager
    def on(self, nth, fault):
        """Arm it: the n-th call raises the fault; 0 only counts."""
        self.armed, self.calls, self.nth, self.fault = True, [], nth, fault
        try:
            yield
        finally:
            self.armed = False


def ours(name):
    """Return the function of smtplib or of the package that makes this call, else ""."""
    frame = sys._getframe(2)
    module = frame.f_globals["__name__"].partition(".")[0]
    known = module in ("smtplib", "requiretls_client") or name == "do_handshake"
    return frame.f_code.co_name if known else ""


class Run:
    """One reference send, and what came of it."""

    def __init__(self, server, name):
        """Do nothing yet."""
        self.server, self.name = server, name
        self.smtp = self.error = self.refused = None

    def go(self):
        """Connect, log in where the reference does, send, quit."""
        cls, served, options, asked = REFERENCES[self.name]
        try:
            self.smtp = connect(self.server, cls, **options)
            if "users" in served:
                self.smtp.login("alice", USERS["alice"])
            self.refused = self.smtp.sendmail("alice@example.org", BOTH, RAW, **asked)
            self.smtp.quit()
        except BaseException as error:  # the injected one may be any
            self.error = error.with_traceback(None)
            self.error.__context__ = None

    def again(self):
        """Use the object once more; return whether it sent, and whether it says it is closed."""
        _, _, _, asked = REFERENCES[self.name]
        try:
            return self.smtp.sendmail("alice@example.org", BOTH, RAW, **asked) == {}
        except smtplib.SMTPServerDisconnected:
            return False
        finally:
            self.smtp.close()


def copies(server):
    """Return how often the two recipients got a message; with LMTP each has its own entry."""
    entries = server.ledger
    assert all(set(item.recipients) <= set(BOTH) for item in entries)
    return sum(len(item.recipients) for item in entries)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("name", REFERENCES)
def test_fault_at_every_call(serve, monkeypatch, tmp_path_factory, name, fault):
    """M11, M16, O3, O4: whichever socket call fails, and how, what the client says is true."""
    served = dict(REFERENCES[name][1])
    if served.get("lmtp"):
        served["unix_path"] = str(tmp_path_factory.mktemp("l") / "s")
    server = serve(**served)
    context = server.client_context()  # one for all runs: it is expensive
    monkeypatch.setattr(type(server), "client_context", lambda _: context)
    injector = Injector(monkeypatch)
    with warnings.catch_warnings(record=True) as leaks:
        warnings.simplefilter("always", ResourceWarning)
        with injector.on(0, fault):
            Run(server, name).go()
        calls = injector.calls
        assert len(calls) >= 8
        for nth, call in enumerate(calls, start=1):
            error = play(server, injector, name, nth, fault)
            assert not leaks, f"{name}: {nth}, {call}: {error!r}: {leaks[0].message}"
        gc.collect()
        assert not leaks, leaks[0].message


def play(server, injector, name, nth, fault):
    """Let the n-th call fail, hold what came of it against the ledger, return the exception."""
    server.wait_idle()
    before = copies(server)
    run = Run(server, name)
    with injector.on(nth, fault):
        run.go()
    # None failed where two of LMTP's replies came in one segment, which saves a recv().
    where = f"{name}: {nth}, {injector.calls[nth - 1 : nth]}: {run.error!r}"
    closed = run.smtp is None or run.smtp.sock is None
    sent_again = run.smtp is not None and run.again()
    server.wait_idle()
    arrived = copies(server) - before - 2 * sent_again
    if run.refused is not None:
        assert (run.refused, arrived) == ({}, 2), where
    elif isinstance(run.error, rt.DeliveryUnknown):
        assert set(run.error.recipients) | set(run.error.accepted) == set(BOTH), where
        assert closed, where
    elif isinstance(run.error, OSError):  # and so every SMTPException
        assert arrived == 0, where
    else:  # the injected one itself: it may have come in the middle of anything
        assert run.error is fault, where
        assert 0 <= arrived <= 2, where
    return run.error
