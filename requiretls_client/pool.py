"""A few connections to one server, for many messages and for the threads of an application.

A connection is used again only for what asks the same of it: one that was judged for ordinary mail
is not handed to a message with ``require_tls``, nor the other way round. One that was lost is made
anew; a message is sent again only if it has certainly not left.
"""

from __future__ import annotations

import smtplib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from requiretls_client import batch, errors, syntax
from requiretls_client.flight import state_after
from requiretls_client.reports import MessageOutcome

if TYPE_CHECKING:
    from email.message import Message
    from typing import Self

    from requiretls_client.batch import Progress
    from requiretls_client.session import SMTP

Reply = tuple[int, bytes]

TRIES = 2  # for a message that a lost connection kept from leaving, and to connect


class Pool:
    """A few connections to one server.

    Threads may share it. Example::

        def connect():
            smtp = SMTP("smtp.example.org", 587, require_tls=True)
            smtp.login("alice", password)
            return smtp

        with Pool(connect, size=4) as pool:
            outcomes = pool.send_messages(messages)

    Args:
        connect: returns a session that is connected, and logged in where that is needed; called
            whenever a connection is made.
        size: connections at most.
    """

    def __init__(self, connect: Callable[[], SMTP], size: int = 4) -> None:
        """Take how to connect; nothing is connected yet.

        Raises:
            ValueError, TypeError: ``size`` is no number of connections.
        """
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"size must be an int, not {type(size).__name__}")
        if size < 1:
            raise ValueError("size must be at least 1")
        self.size = size
        self._connect = connect
        self._free = threading.BoundedSemaphore(size)  # connections that may yet be taken
        self._lock = threading.Lock()
        self._idle: list[tuple[bool | None, SMTP]] = []
        self._used = 0
        self._closed = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Say QUIT on the connections that nobody uses; those in use end when they are given back.

        Afterwards the pool takes no message.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, smtp in idle:
            smtp._leave(wait=False)

    # -- single messages -----------------------------------------------------------------------

    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Sequence[str],
        msg: Any,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
    ) -> dict[str, Reply]:
        """Send one message; arguments, result and errors are those of :meth:`SMTP.sendmail`.

        Waits while all connections are in use.
        """
        return self._single(
            "sendmail", (from_addr, _kept(to_addrs), msg), mail_options, rcpt_options,
            require_tls=require_tls, tls_optional=tls_optional,
        )  # fmt: skip

    def send_message(
        self,
        msg: Message,
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
    ) -> dict[str, Reply]:
        """Send a message object; arguments, result and errors are those of SMTP.send_message().

        Waits while all connections are in use.
        """
        return self._single(
            "send_message", (msg, from_addr, _kept(to_addrs)), mail_options, rcpt_options,
            require_tls=require_tls, tls_optional=tls_optional,
        )  # fmt: skip

    def _single(
        self,
        method: str,
        what: tuple[Any, ...],
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
        *,
        require_tls: bool | None,
        tls_optional: bool,
    ) -> dict[str, Reply]:
        """Send; once more by a new connection, if one that was kept had ended meanwhile."""
        options = syntax.checked_options(mail_options, "mail_options")
        arguments = (*what, options, syntax.checked_options(rcpt_options, "rcpt_options"))
        wish = batch.said(require_tls=require_tls, tls_optional=tls_optional)

        def send(smtp: SMTP) -> dict[str, Reply]:
            refused: dict[str, Reply] = getattr(smtp, method)(*arguments, **wish)
            return refused

        requirement = True if syntax.split_mark(options)[1] else require_tls
        smtp, kept = self._take(requirement)
        try:
            try:
                return send(smtp)
            except (errors.DeliveryUnknown, errors.ReplyError):
                raise
            except smtplib.SMTPServerDisconnected:
                if not kept:
                    raise
            smtp = self._connect()
            return send(smtp)
        finally:
            self._give_back(smtp, requirement)

    # -- many messages -------------------------------------------------------------------------

    def send_messages(
        self,
        messages: Iterable[Message | tuple[str | None, str | Sequence[str] | None, Any]],
        *,
        require_tls: bool | None = None,
        tls_optional: bool = False,
        in_flight: int = 1,
        progress: Progress | None = None,
    ) -> list[MessageOutcome]:
        """Send many messages over all connections at once.

        Arguments and result are those of :meth:`SMTP.send_messages`; the messages leave in no
        certain order. A message that a lost connection kept from leaving goes by another one.
        Where no connection can be had, the outcomes of the rest say why.

        Args:
            messages: message objects or ``(from_addr, to_addrs, msg)``; any iterable.
            require_tls, tls_optional, in_flight: as in :meth:`SMTP.send_messages`.
            progress: called with each outcome, in the order of the messages, by one thread at a
                time. It must not send through this pool, whose connections may wait for it.

        Raises:
            ValueError, TypeError: arguments that contradict themselves; the pool is closed.
        """
        work = _Work(messages, progress)
        options: Any = {
            "require_tls": require_tls, "tls_optional": tls_optional, "in_flight": in_flight
        }  # fmt: skip
        batch.check(**options)
        if self._closed:
            raise ValueError("the pool is closed")
        workers = [
            threading.Thread(target=self._serve, args=(work, options), daemon=True)
            for _ in range(self.size)
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException:  # ^C: what has begun is ended, and nothing more begins
            work.stop()
            raise
        return work.results()

    def _serve(self, work: _Work, options: Any) -> None:
        """Send messages over one connection after another until none is left."""
        try:
            failures = 0
            while failures < TRIES and work.is_left():
                try:
                    smtp, _ = self._take(options["require_tls"])
                except (OSError, ValueError) as error:  # any SMTPException is an OSError
                    failures = TRIES if isinstance(error, errors.RequireTLSError) else failures + 1
                    closed = smtplib.SMTPServerDisconnected("the pool was closed meanwhile")
                    work.last_error = closed if self._closed else error
                    continue
                try:
                    failures = 0 if work.send_by(smtp, options) else failures + 1
                finally:
                    self._give_back(smtp, options["require_tls"])
        except BaseException as error:
            work.fail(error)

    # -- connections ---------------------------------------------------------------------------

    def _take(self, requirement: bool | None) -> tuple[SMTP, bool]:
        """Return a connection, and whether it was kept from an earlier message."""
        self._free.acquire()
        with self._lock:
            self._used += 1
        try:
            while (kept := self._from_idle(requirement)) is not None:
                if kept._stands():
                    return kept, True
                kept.close()
            return self._connect(), False
        except BaseException:
            self._release()
            raise

    def _from_idle(self, requirement: bool | None) -> SMTP | None:
        """Return a connection that was kept for this; None where a new one may be made."""
        with self._lock:
            if self._closed:
                raise ValueError("the pool is closed")
            number = next((n for n, each in enumerate(self._idle) if each[0] == requirement), None)
            if number is not None:
                return self._idle.pop(number)[1]
            full = self._used + len(self._idle) > self.size
            other = self._idle.pop(0)[1] if full else None
        if other is not None:  # it makes room, since its requirement was another
            other._leave(wait=False)
        return None

    def _release(self) -> None:
        with self._lock:
            self._used -= 1
        self._free.release()

    def _give_back(self, smtp: SMTP, requirement: bool | None) -> None:
        """Keep a connection that can be used again."""
        with self._lock:
            keep = not self._closed and smtp._stands()
            if keep:
                self._idle.append((requirement, smtp))
        if not keep:
            smtp._leave(wait=False)
        self._release()


class _Work:
    """Messages that several threads send, and what became of them."""

    def __init__(self, messages: Iterable[Any], progress: Progress | None) -> None:
        self._source: Iterator[tuple[int, Any]] = enumerate(messages)
        self._progress = progress
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._again: deque[tuple[int, Any]] = deque()
        self._tries: dict[int, int] = {}
        self._outcomes: dict[int, MessageOutcome] = {}
        self._told = 0
        self._stopped = False
        self._failure: BaseException | None = None
        self.last_error: Exception | None = None

    def next(self) -> tuple[int, Any] | None:
        """Return a message and its number; None when there is none."""
        with self._lock:
            if self._stopped:
                return None
            if self._again:
                return self._again.popleft()
        with self._reading:  # the caller's iterator may take its time
            return next(self._source, None)

    def is_left(self) -> bool:
        """Tell whether there is a message, and keep it for whoever asks next."""
        found = self.next()
        if found is not None:
            with self._lock:
                self._again.appendleft(found)
        return found is not None

    def send_by(self, smtp: SMTP, options: Any) -> bool:
        """Send over one connection while it lasts; return whether any message came to an end."""
        taken: list[tuple[int, Any]] = []
        ended = 0

        def items() -> Iterator[Any]:
            while smtp.sock is not None and (found := self.next()) is not None:
                taken.append(found)
                yield found[1]

        def know(outcome: MessageOutcome) -> None:
            nonlocal ended
            number, item = taken[outcome.number]
            if isinstance(outcome.error, errors.RequireTLSError):
                self.stop(outcome.error)  # of the connection: the next would only say the same
            if not self._try_again(number, item, outcome):
                ended += 1
                self.record(outcome._replace(number=number))

        batch.Batch(smtp, know, **options).run(items())
        return bool(ended) or not taken

    def _try_again(self, number: int, item: Any, outcome: MessageOutcome) -> bool:
        """Keep a message that the end of the connection kept from leaving, if it may try again."""
        code = getattr(outcome.error, "smtp_code", 0)
        ended = code == 421 or isinstance(outcome.error, smtplib.SMTPServerDisconnected)
        with self._lock:
            tries = self._tries.pop(number, 0) + 1
            if self._stopped or outcome.state != "deferred" or not ended or tries >= TRIES:
                return False
            self._tries[number] = tries
            self._again.append((number, item))
        return True

    def record(self, outcome: MessageOutcome) -> None:
        """Note an outcome, and tell those that are known up to there."""
        with self._lock:
            self._outcomes[outcome.number] = outcome
            while self._told in self._outcomes:
                known = self._outcomes[self._told]
                self._told += 1
                if self._progress is not None:
                    self._progress(known)

    def stop(self, error: Exception | None = None) -> None:
        """Begin no further message."""
        with self._lock:
            self._stopped = True
            self.last_error = error or self.last_error

    def fail(self, error: BaseException) -> None:
        """Stop, because the caller's iterator or callback failed."""
        self.stop()
        self._failure = self._failure or error

    def results(self) -> list[MessageOutcome]:
        """Return all outcomes in order; those of messages that no connection took say why.

        Raises:
            BaseException: what the caller's iterator or callback raised.
        """
        if self._failure is not None:
            raise self._failure
        self._stopped = False
        why = self.last_error or smtplib.SMTPServerDisconnected("no connection could be had")
        while (left := self.next()) is not None:
            self.record(MessageOutcome(left[0], state_after(why), {}, why, None))
        return [self._outcomes[number] for number in range(len(self._outcomes))]


def _kept(to_addrs: Any) -> Any:
    """Return recipients that can be read once more, for a second try."""
    return to_addrs if to_addrs is None or isinstance(to_addrs, str) else list(to_addrs)
