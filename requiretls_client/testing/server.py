"""The scripted SMTP server: a listener on loopback and a thread for each connection.

Does the accepting, the starting and the ending; what is said is in ``dialogue``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from requiretls_client.testing.certificates import CA, Certificate, default_ca
from requiretls_client.testing.connection import Connection
from requiretls_client.testing.dialogue import Dialogue, Offer
from requiretls_client.testing.records import Accepted, Channel, Line, Records
from requiretls_client.testing.script import Script, Step

EXTENSIONS = ("PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")

_GRACE = 2.0  # seconds for the connections to end by themselves once nothing more arrives
_LIMIT = 5.0  # seconds for them to end after they were torn down


class Server:
    """A correct SMTP server with REQUIRETLS on 127.0.0.1, a free port and a verifiable name.

    ``with Server() as server:`` starts and stops it. Each instance runs once; all connections
    share its script and its records.

    Attributes:
        host: name or address to dial; the certificate is valid for it. With ``unix_path`` the
            path, which ``smtplib.LMTP`` takes as a host.
    """

    def __init__(
        self,
        *,
        hostname: str = "localhost",
        extensions: Sequence[str] = EXTENSIONS,
        tls_extensions: Sequence[str] | None = None,
        starttls: bool = True,
        implicit_tls: bool = False,
        lmtp: bool = False,
        users: Mapping[str, str] | None = None,
        certificate: Certificate | None = None,
        script: Mapping[str, Step | Sequence[Step]] | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        unix_path: str | None = None,
    ) -> None:
        """Describe the server; :meth:`start` opens it.

        Args:
            hostname: what it calls itself in greeting and EHLO.
            extensions: EHLO lines offered before TLS, sent exactly as given; STARTTLS is added.
            tls_extensions: EHLO lines offered inside TLS; None: ``extensions`` and REQUIRETLS.
            starttls: False neither offers nor knows STARTTLS; one listed by hand in
                ``extensions`` is then a false promise.
            implicit_tls: begin with the handshake, as on port 465.
            lmtp: LHLO instead of EHLO, and one reply for each recipient after the dot.
            users: user name -> password; offers AUTH inside TLS (list "AUTH PLAIN" in
                ``extensions`` for AUTH in the clear). MAIL goes without login all the same.
            certificate: from :meth:`CA.issue`; None: one for ``hostname`` and ``host`` from a
                CA that all servers of the process share.
            script: stage -> step or list of steps; see :mod:`requiretls_client.testing.script`.
            address: IPv4 or IPv6 address to listen on.
            port: TCP port to listen on; 0 takes a free one.
            unix_path: listen on a Unix socket at this path instead; removed at the end.

        Raises:
            ValueError: the script names a stage that does not exist.
            TypeError: it holds a step that is none, or a str stands for a list of extensions.
        """
        if isinstance(extensions, str) or isinstance(tls_extensions, str):
            raise TypeError("extensions are a sequence of str, one for each EHLO line")
        if tls_extensions is None:
            tls_extensions = (*extensions, "REQUIRETLS")
        self.host = unix_path or ("localhost" if address == "127.0.0.1" else address)
        self._offer = Offer(
            hostname,
            {"plain": tuple(extensions), "tls": tuple(tls_extensions)},
            starttls,
            implicit_tls,
            lmtp,
            dict(users or {}),
        )
        self._script = Script(script)
        self._certificate = certificate
        self._address = address
        self._wanted_port = port
        self._unix_path = unix_path
        self._records = Records()
        self._errors: list[BaseException] = []
        self._door = threading.Lock()  # held while a client is let in
        self._clients: list[tuple[Connection, threading.Thread]] = []
        self._count = 0
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None

    # What it is

    @property
    def port(self) -> int:
        """TCP port it listens or listened on; 0 for a Unix socket. RuntimeError before start()."""
        if self._listener is None:
            raise RuntimeError("the server is not running")
        return self._port

    @functools.cached_property
    def certificate(self) -> Certificate:
        """The certificate it presents."""
        names = dict.fromkeys((self._offer.hostname, "localhost", self._address))
        return self._certificate or default_ca().issue(*names)

    @property
    def ca(self) -> CA:
        """The CA that issued :attr:`certificate`; give it to :func:`trust`."""
        return self.certificate.ca

    @functools.cached_property
    def context(self) -> ssl.SSLContext:
        """The server's own TLS context; set versions and the like before the first client."""
        context, records = self.certificate.context(), self._records
        # Without self: Python's collector does not see that a TLS session holds its context.
        context.sni_callback = lambda _sock, name, _context: records.add_server_name(name)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a new verifying context for clients that trusts :attr:`ca` and no other."""
        return self.ca.context()

    # What happened

    @property
    def transcript(self) -> list[Line]:
        """Every line that travelled, in order; TLS handshakes leave no lines."""
        return self._records.transcript()

    def commands(self, channel: Channel | None = None) -> list[str]:
        """Return the client's command lines without CRLF, in order.

        Args:
            channel: only those on ``"plain"`` or ``"tls"``; None for all.
        """
        return self._records.commands(channel)

    @property
    def ledger(self) -> list[Accepted]:
        """The messages it really accepted, whatever it told the client."""
        return self._records.ledger()

    @property
    def server_names(self) -> list[str | None]:
        """The name each TLS client asked for (SNI), None where it named none."""
        return self._records.server_names()

    # Start and end

    def start(self) -> Server:
        """Listen and serve in the background.

        Raises:
            RuntimeError: it was started before.
            OSError: the address or path cannot be had.
        """
        if self._listener is not None:
            raise RuntimeError("a Server runs once")
        if self._offer.starttls or self._offer.implicit_tls:
            _ = self.context  # here, not in a client's thread: trustme may be missing
        self._listener = self._listen()
        self._listener.setblocking(False)
        self._port = 0 if self._unix_path else int(self._listener.getsockname()[1])
        self._alarm, self._alarm_bell = socket.socketpair()
        self._acceptor = threading.Thread(target=self._serve, name="smtp-acceptor", daemon=True)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """End everything: what has arrived is still read and answered, then all is closed.

        Raises:
            Exception: what a step of the script raised, the first of them.
            RuntimeError: a step does not come back; its thread is left behind.
        """
        if self._listener is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._alarm_bell.send(b"!")
        self._acceptor.join()
        self._accept_waiting()
        for sock in (self._listener, self._alarm, self._alarm_bell):
            sock.close()
        if self._unix_path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unix_path)
        if not (self._end(socket.SHUT_RD, _GRACE) or self._end(socket.SHUT_RDWR, _LIMIT)):
            raise RuntimeError("a connection did not end: is a step of the script stuck?")
        if self._errors:
            raise self._errors[0]

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until every connection has ended, so that the records are complete.

        A connection ends when the client has closed its side; close the client first.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: a connection is still open then.
        """
        if not self._stopping.is_set():
            self._accept_waiting()
        if not self._join(timeout):
            raise TimeoutError(f"a connection is still open after {timeout} s")

    def __enter__(self) -> Server:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; an error of a step is raised even over one of the block, which it explains."""
        self.stop()

    # Threads

    def _listen(self) -> socket.socket:
        if self._unix_path:
            listener = socket.socket(socket.AF_UNIX)
            try:
                listener.bind(self._unix_path)
                listener.listen(128)
            except OSError:
                listener.close()
                raise
            return listener
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return socket.create_server((self._address, self._wanted_port), family=family, backlog=128)

    def _serve(self) -> None:
        """Accept until the alarm rings (the acceptor's thread)."""
        assert self._listener is not None  # noqa: S101 - for the type checker
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                self._accept_waiting()

    def _accept_waiting(self) -> None:
        """Start a thread for every client that stands at the door."""
        assert self._listener is not None  # noqa: S101 - for the type checker
        with self._door, contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(True)
                self._count += 1
                connection = Connection(
                    sock, self._count, self._records, self._stopping, lambda: self.context
                )
                thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
                thread.start()
                self._clients = [each for each in self._clients if each[1].is_alive()]
                self._clients.append((connection, thread))

    def _talk(self, connection: Connection) -> None:
        """Serve one client (a thread of its own) and keep what went wrong for :meth:`stop`."""
        try:
            Dialogue(connection, self._offer, self._script, self._records).run()
        except ConnectionError:
            pass  # the client went away, or refused our certificate: that happens
        except BaseException as error:  # a step's AssertionError as well as a bug of ours
            self._errors.append(error)
        finally:
            connection.finish()

    def _end(self, how: int, seconds: float) -> bool:
        """Shut connections down in one or both directions; return whether all have ended."""
        for connection, _ in self._clients:
            connection.cut_off(how)
        return self._join(seconds)

    def _join(self, seconds: float) -> bool:
        """Wait for the clients' threads; return whether all have ended."""
        deadline = time.monotonic() + seconds
        with self._door:
            threads = [thread for _, thread in self._clients]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)
