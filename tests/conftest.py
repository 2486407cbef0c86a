"""Fixtures that every test file may use, and one that watches every test."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest
from support import connect

from requiretls_client import SMTP
from requiretls_client import connection as dialling
from requiretls_client.testing import Server
from requiretls_client.testing import connection as serving

if TYPE_CHECKING:
    from sending import Machine
    from small_internet import SmallInternet

COMMAND = re.compile(rb"([A-Za-z]{4,8})(?:[ :][ -~\x80-\xff]*)?\r?\n?")
HARMLESS = {b"EHLO", b"LHLO", b"STARTTLS", b"NOOP", b"RSET", b"QUIT"}


# tests/run goes through the dialogues a second time, one command at a time.
SMTP.use_pipelining = os.environ.get("REQUIRETLS_USE_PIPELINING") != "0"


class Watch:
    """What every client and every scripted server of one test do, as far as TLS is required.

    From the moment at which TLS is required of a connection (a strict session speaks, or a strict
    message begins), nothing but harmless commands may travel on it in clear, and no canary. What
    was said on it before, and other connections, are not judged. Unix sockets have no addresses
    to tell them apart, and are not watched.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Listen to both sides."""
        self.served = {}  # address of the client -> records of the server, number there
        self.strict = {}  # the same pair -> lines that had come in clear before
        patch.setattr(serving.Connection, "__init__", self._serving(serving.Connection.__init__))
        for name in ("send", "_secure"):
            call = getattr(dialling.Connection, name)
            patch.setattr(dialling.Connection, name, self._asking(call, always=name == "_secure"))

    def _serving(self, call):
        @functools.wraps(call)
        def serve(connection, sock, number, records, *args, **options):
            with contextlib.suppress(OSError):
                self.served[sock.getpeername()] = records, number
            return call(connection, sock, number, records, *args, **options)

        return serve

    def _asking(self, call, *, always):
        @functools.wraps(call)
        def ask(smtp, *args, **options):
            if always or smtp._requires or smtp._session_requires:
                self._require(smtp.sock)
            return call(smtp, *args, **options)

        return ask

    def _require(self, sock):
        try:
            where = self.served.get(sock.getsockname())
        except (AttributeError, OSError):  # none, closed, or a double
            return
        if where and where not in self.strict:
            self.strict[where] = len(self._clear(where[0])[where[1]])

    @staticmethod
    def _clear(records):
        """Return what the clients of a server have said in clear: number -> lines."""
        said = collections.defaultdict(list)
        for line in records.transcript():
            if (line.channel, line.side) == ("plain", "C"):
                said[line.connection].append(line.data)
        return said

    def leaks(self) -> list[bytes]:
        """Return the lines that should not have travelled in clear."""
        clear = {records: self._clear(records) for records, _ in self.strict}
        return [
            line
            for (records, number), before in self.strict.items()
            for line in clear[records][number][before:]
            if b"canary" in line
            or ((found := COMMAND.fullmatch(line)) and found[1].upper() not in HARMLESS)
        ]


@pytest.fixture(autouse=True)
def watch() -> Iterator[Watch]:
    """O1: where TLS is required, no MAIL, RCPT, DATA, AUTH and no canary travels in clear."""
    with pytest.MonkeyPatch.context() as patch:
        watch = Watch(patch)
        yield watch
    assert not watch.leaks(), "in clear, where TLS is required"


@pytest.fixture
def client(serve, request):
    """Return what makes a server and a client that goes one of the ways, over TLS.

    The server offers what ``SERVED`` of the test's module says.
    """
    clients = []

    def make(way="groups", cls=SMTP, **options):
        server = serve(**{"extensions": request.module.SERVED, **options})
        smtp = connect(server, cls)
        clients.append(smtp)
        smtp.use_pipelining = way != "steps"
        smtp.use_chunking = way == "chunks"
        smtp.starttls()
        smtp.ehlo()
        return server, smtp

    yield make
    for smtp in clients:
        smtp.close()


@pytest.fixture
def serve(watch: Watch) -> Iterator[Callable[..., Server]]:
    """Start scripted servers with the arguments of ``Server``; they end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Server(**options))


@pytest.fixture
def net(watch: Watch) -> Iterator[SmallInternet]:
    """Return a small internet."""
    from small_internet import SmallInternet  # needs the packages that look-ups need

    with ExitStack() as stack:
        yield SmallInternet(stack)


@pytest.fixture
def message() -> EmailMessage:
    """Return a small message with a canary that must never leak."""
    message = EmailMessage()
    message["From"] = "alice@example.org"
    message["To"] = "bob@example.net"
    message["Subject"] = "canary-subject"
    message.set_content("canary-body\n")
    return message


@pytest.fixture
def closed_lookups(monkeypatch) -> Iterator[None]:
    """End the threads of the look-ups that sending keeps for its process."""
    from requiretls_client.cli import transport

    make, made = transport._lookups.__wrapped__, []

    @functools.lru_cache(maxsize=1)
    def lookups(settings):
        made.append(make(settings))
        return made[-1]

    monkeypatch.setattr(transport, "_lookups", lookups)
    yield
    for each in made:
        each.close()


@pytest.fixture
def machine(watch: Watch, tmp_path, monkeypatch, closed_lookups) -> Machine:
    """Return a user with a home, a configuration and a spool."""
    from sending import Machine

    return Machine(tmp_path, monkeypatch)
