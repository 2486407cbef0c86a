"""``Lookups``: how a domain is looked up, whom to trust, and what is remembered.

Drives the plans of :mod:`requiretls_client.route` against a resolver, the web and a policy store.
Judges nothing: what it returns are facts. Every setting of the look-ups enters here.
"""

from __future__ import annotations

import os
import queue
import random
import ssl
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from requiretls_client import mtasts, syntax, tls
from requiretls_client.cache import PolicyStore, SQLiteStore
from requiretls_client.facts import Answer, HostFacts, PolicyFacts, RouteFacts
from requiretls_client.policy_fetch import fetch_once
from requiretls_client.route import (
    Ask,
    Fetched,
    Plan,
    Question,
    find_hosts,
    find_policy,
    find_server,
    literal_host,
)

WORKERS = 64  # DNS questions under way at once
FETCHERS = 16  # policy fetches at once: slow web servers must not hold up the questions of others
_random = random.SystemRandom()


class AnyResolver(Protocol):
    """What is asked of a resolver; :class:`~requiretls_client.resolver.Resolver` is one."""

    @property
    def trusted(self) -> bool:
        """Whether its word on DNSSEC counts."""

    @property
    def trust_reason(self) -> str:
        """Why, or why not."""

    def query(self, name: str, rdtype: str) -> Answer:
        """Answer one question; trouble is an answer too. Many threads may ask at once."""


class Lookups:
    """The look-ups of recipient domains: resolver, policy store, trust.

    One object serves many threads and is made to be kept; ``deliver()`` and its like share one
    where none is given. A forked child may go on using it.

    Args:
        resolver: None is the system's, with DNSSEC status where that may be trusted; see
            :class:`~requiretls_client.resolver.Resolver`.
        cache: keeps MTA-STS policies; None is a file in the user's cache directory, shared by all
            processes (:class:`~requiretls_client.cache.SQLiteStore`).
        trust: whose certificates count, for mail hosts and for policy hosts: ``"certifi"``,
            ``"system"``, the path of a PEM file, or an ``ssl.SSLContext`` that verifies.
        allow_private: let domains lead to addresses that are not public (loopback, private,
            link-local): for one's own network, never where strangers choose the domain.

    Raises:
        ValueError: a context that does not verify.
        OSError: a PEM file that cannot be read.
    """

    def __init__(
        self,
        resolver: AnyResolver | None = None,
        cache: PolicyStore | None = None,
        trust: str | os.PathLike[str] | ssl.SSLContext = "certifi",
        allow_private: bool = False,
    ) -> None:
        """Take the settings; nothing is asked yet."""
        if resolver is None:
            from requiretls_client.resolver import Resolver

            resolver = Resolver()
        self.resolver = resolver
        self.cache: PolicyStore = SQLiteStore() if cache is None else cache
        self.allow_private = bool(allow_private)
        self._context = tls.trusting(trust)
        self._pools: tuple[int, ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._flights: dict[str, Future[Any]] = {}  # domain -> the fetch that is under way
        self._lock = threading.RLock()  # a fetch may end within the thread that began it

    @property
    def context(self) -> ssl.SSLContext:
        """The verifying context for mail hosts and policy hosts."""
        if self._context is None:
            from requiretls_client.tls import default_context

            return default_context()  # not kept: tests may change it for a while
        return self._context

    def close(self) -> None:
        """End the threads once they have answered; the next look-up starts new ones."""
        with self._lock:
            pools, self._pools = self._pools, None
        if pools is not None and pools[0] == os.getpid():
            for pool in pools[1:]:
                pool.shutdown()

    # -- what can be looked up -------------------------------------------------------------------

    def route(self, domain: str, *, port: int = 25) -> RouteFacts:
        """Look up everything about a recipient domain: MX, addresses, TLSA, MTA-STS policy.

        Args:
            domain: DNS name (U-labels are converted), or an address literal such as
                ``[192.0.2.1]``, for which nothing is looked up.
            port: TCP port of the mail hosts.

        Raises:
            ValueError: it is neither.
        """
        syntax.check_port(port)
        domain = syntax.mail_domain(domain)
        if domain.startswith("["):
            address = syntax.literal_address(domain)
            hosts = (literal_host(address, allow_private=self.allow_private),)
            return self._facts(domain, None, hosts, PolicyFacts(), port)
        (mx, hosts), policy = self._drive(
            find_hosts(
                domain, port=port, shuffle=_random.shuffle, allow_private=self.allow_private
            ),
            self._policy_plan(domain),
        )
        return self._facts(domain, mx, hosts, policy, port)

    def refresh(self, domains: Iterable[str] | None = None) -> dict[str, PolicyFacts]:
        """Fetch stored policies anew, so that none expires (RFC 8461 s3.3); for a daily job.

        Args:
            domains: whose, as A-labels; None means all that are stored.

        Returns:
            Domain -> what is known of its policy now. One whose fetch failed is kept until it
            expires, and a warning was logged.
        """
        domains = self.cache.domains() if domains is None else list(dict.fromkeys(domains))
        plans = [self._policy_plan(domain, refresh=True) for domain in domains]
        return dict(zip(domains, self._drive(*plans), strict=True))

    def _policy_plan(self, domain: str, *, refresh: bool = False) -> Plan[PolicyFacts]:
        return find_policy(
            domain,
            stored=self.cache.load(domain),
            failure=self.cache.failure(domain),
            now=time.time(),
            allow_private=self.allow_private,
            refresh=refresh,
        )

    def server(self, host: str, *, port: int) -> RouteFacts:
        """Look up a server that the caller names: addresses, and secure TLSA records (RFC 7673).

        Args:
            host: DNS name.
            port: TCP port, part of the name of the TLSA records.

        Raises:
            ValueError: it is no DNS name.
        """
        syntax.check_port(port)
        host = syntax.reference_name(host)
        (found,) = self._drive(find_server(host, port=port))
        return self._facts("", None, (found,), PolicyFacts(), port)

    def has_newer_policy(self, made: RouteFacts) -> bool:
        """Tell whether the DNS now has another policy id than the one that a route was made under.

        RFC 8461 s5.1: under an enforced policy no failure is final before that was looked at.
        """
        stored = made.policy.stored
        if stored is None or stored.policy.mode != "enforce" or made.policy.failed:
            return False  # what could not be had a moment ago is not asked for again
        txt = self.resolver.query(f"_mta-sts.{made.domain}", "TXT")
        try:
            published = mtasts.policy_id(str(record) for record in txt.records)
        except mtasts.PolicyError:
            return False
        return published is not None and published != stored.policy_id

    def has_mx(self, host: str) -> bool:
        """Tell whether a name is a mail domain with MX records, rather than a server."""
        return bool(self.resolver.query(host, "MX").records)

    def _facts(
        self,
        domain: str,
        mx: Answer | None,
        hosts: tuple[HostFacts, ...],
        policy: PolicyFacts,
        port: int,
    ) -> RouteFacts:
        trusted, reason = self.resolver.trusted, self.resolver.trust_reason
        return RouteFacts(domain, mx, hosts, policy, trusted, reason, port)

    # -- driving plans -----------------------------------------------------------------------------

    def _drive(self, *plans: Plan[Any]) -> list[Any]:
        """Run plans side by side to their ends, and return what they return.

        Each goes on as soon as its own questions are answered. The plans run in this thread, only
        the answering in others, so that a plan can never wait for its own workers.
        """
        results: list[Any] = [None] * len(plans)
        answered: queue.SimpleQueue[tuple[int, int, Future[Any]]] = queue.SimpleQueue()
        pending: dict[int, list[Any]] = {}
        missing: dict[int, int] = {}

        def go_on(index: int, answers: tuple[Any, ...] | None) -> None:
            try:
                questions = plans[index].send(answers)  # type: ignore[arg-type]  # each plan gets its own answers
            except StopIteration as stop:
                results[index] = stop.value
                return
            pending[index], missing[index] = [None] * len(questions), len(questions)
            for place, question in enumerate(questions):
                self._ask(question).add_done_callback(partial(answer, index, place))

        def answer(index: int, place: int, future: Future[Any]) -> None:
            answered.put((index, place, future))

        for index in range(len(plans)):
            go_on(index, None)
        while pending:
            index, place, future = answered.get()
            pending[index][place] = future.result()  # an error of the resolver is raised here
            missing[index] -= 1
            if not missing[index]:
                go_on(index, tuple(pending.pop(index)))
        return results

    def _ask(self, question: Question) -> Future[Any]:
        """Have a question answered in another thread.

        Those who want the same policy in this process wait for one fetch, and hold no thread
        meanwhile.
        """
        with self._lock:
            askers, fetchers = self._workers()
            if isinstance(question, Ask):
                return askers.submit(self._answer, question)
            flight = self._flights.get(question.domain)
            if flight is None:
                flight = self._flights[question.domain] = fetchers.submit(self._answer, question)
                flight.add_done_callback(lambda _: self._flights.pop(question.domain, None))
            return flight

    def _workers(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Return this process's threads, made under the lock; a forked child has none yet."""
        if self._pools is None or self._pools[0] != os.getpid():
            askers = ThreadPoolExecutor(WORKERS, "requiretls-lookup")
            fetchers = ThreadPoolExecutor(FETCHERS, "requiretls-lookup-fetch")
            self._pools, self._flights = (os.getpid(), askers, fetchers), {}
        return self._pools[1:]

    def _answer(self, question: Question) -> Answer | Fetched:
        if isinstance(question, Ask):
            try:
                return self.resolver.query(question.name, question.rdtype)
            except ValueError as error:  # a name that the DNS made up, and that cannot be one
                name, rdtype = question.name, question.rdtype
                problem = syntax.printable(str(error))
                return Answer(
                    name, rdtype, "broken", "indeterminate", canonical=name, problem=problem
                )
        return fetch_once(question, self.cache, self.context)


_default: Lookups | None = None
_default_lock = threading.Lock()


def default_lookups() -> Lookups:
    """Return the process's own, made on first use with all defaults."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Lookups()
        return _default
