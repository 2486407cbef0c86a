"""Stores of MTA-STS policies: in memory, in a SQLite file, and what any other must offer.

Does I/O, judges nothing: an expired policy is returned like any other. A policy that was fetched
once protects later messages although an attacker suppresses DNS and HTTPS (RFC 8461 section 10),
so it should outlive the process; but a store in trouble never stops the mail. :class:`SQLiteStore`
then goes on in memory and logs one warning.

A shared store (Redis, a database server) implements :class:`PolicyStore`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from requiretls_client.facts import StoredPolicy

if TYPE_CHECKING:
    from requiretls_client.cache_file import PolicyFile

T = TypeVar("T")

DAY = 86400.0  # seconds; back-off and claims last minutes, so what is further off is of no use
_PAUSE = 60.0  # seconds in memory before the file is tried again

_log = logging.getLogger("requiretls_client")


class PolicyStore(Protocol):
    """What the look-ups need of a store; used by several threads at once.

    A domain is its A-labels, lower case, without the final dot: never anything else, so that it
    can serve as the key. Times are Unix times in seconds. No method raises because of the
    storage: a store that cannot read has nothing, and one that cannot write forgets.
    """

    def load(self, domain: str) -> StoredPolicy | None:
        """Return the policy of the domain, expired or not, or None."""

    def save(self, domain: str, policy: StoredPolicy) -> None:
        """Keep the policy unless one ``fetched`` later is there; clear failure and claim."""

    def drop(self, domain: str) -> None:
        """Forget the policy and the failure of the domain."""

    def domains(self) -> list[str]:
        """Return the domains that have a policy, sorted."""

    def failure(self, domain: str) -> tuple[str, float] | None:
        """Return policy id and time of the last failed fetch; a day later it may be forgotten."""

    def note_failure(self, domain: str, policy_id: str, when: float) -> None:
        """Remember that the policy with this id could not be fetched (RFC 8461 s3.3)."""

    def claim(self, domain: str, now: float, seconds: float) -> bool:
        """Return True to one caller, who is to fetch; False to all others until it ends.

        It ends with :meth:`release`, or by itself ``seconds`` after ``now``: the claimant may
        have been killed.
        """

    def release(self, domain: str) -> None:
        """End the claim; for the caller to whom :meth:`claim` returned True."""


class MemoryStore:
    """A store for one process, forgotten with it."""

    def __init__(self) -> None:
        """Start empty."""
        self._policies: dict[str, StoredPolicy] = {}
        self._failures: dict[str, tuple[str, float]] = {}
        self._claims: dict[str, float] = {}
        self._lock = threading.Lock()
        _stores.add(self)

    def load(self, domain: str) -> StoredPolicy | None:
        """Return the policy, or None."""
        return self._policies.get(domain)

    def save(self, domain: str, policy: StoredPolicy) -> None:
        """Keep the policy unless a later one is there; clear failure and claim."""
        with self._lock:
            self._policies[domain] = _later(self._policies.get(domain), policy) or policy
            self._failures.pop(domain, None)
            self._claims.pop(domain, None)

    def drop(self, domain: str) -> None:
        """Forget policy and failure."""
        with self._lock:
            self._policies.pop(domain, None)
            self._failures.pop(domain, None)

    def domains(self) -> list[str]:
        """Return the domains that have a policy, sorted."""
        with self._lock:
            return sorted(self._policies)

    def failure(self, domain: str) -> tuple[str, float] | None:
        """Return policy id and time of the last failed fetch, or None."""
        return self._failures.get(domain)

    def note_failure(self, domain: str, policy_id: str, when: float) -> None:
        """Remember a failed fetch, and forget those of the day before."""
        with self._lock:
            kept = {k: v for k, v in self._failures.items() if v[1] >= when - DAY}
            self._failures = kept | {domain: (policy_id, when)}

    def claim(self, domain: str, now: float, seconds: float) -> bool:
        """Return True to one caller until the claim ends."""
        with self._lock:
            self._claims = {k: v for k, v in self._claims.items() if now < v <= now + DAY}
            free = domain not in self._claims
            self._claims.setdefault(domain, now + seconds)
            return free

    def release(self, domain: str) -> None:
        """End the claim."""
        with self._lock:
            self._claims.pop(domain, None)

    def _renew(self) -> None:
        self._lock = threading.Lock()


class SQLiteStore:
    """A store in a file that threads and processes share, and that outlives them.

    The file is made on first need, for its owner only. One that is damaged is set aside with a
    warning and begun anew. Where it cannot be read or written, or somebody else could have
    written it, the store goes on in memory, with one warning, and tries the file again a minute
    later; a file that can only be read is still read.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Name the file; nothing is opened yet.

        Args:
            path: the file; None for ``requiretls-client/mta-sts.sqlite3`` in the user's cache
                folder: ``$XDG_CACHE_HOME``, else ``~/.cache`` (Windows: ``%LOCALAPPDATA%``).
        """
        self._path = path
        self._file: PolicyFile | None = None
        self._memory = MemoryStore()  # what the file could not take
        self._lock = threading.RLock()
        self._paused = {True: 0.0, False: 0.0}  # writing or not -> monotonic time of the end
        self._warned = False
        _stores.add(self)

    def close(self) -> None:
        """Close the file; it is opened again when the store is used."""
        with self._lock:
            if self._file:
                self._file.close()

    def __del__(self) -> None:
        """Close the file."""
        if file := getattr(self, "_file", None):
            file.close()

    def load(self, domain: str) -> StoredPolicy | None:
        """Return the policy, or None."""
        with self._lock:
            return _later(self._use(lambda file: file.load(domain)), self._memory.load(domain))

    def save(self, domain: str, policy: StoredPolicy) -> None:
        """Keep the policy unless a later one is there; clear the failure."""
        with self._lock:
            self._memory.save(domain, policy)
            latest = self._memory.load(domain) or policy
            if self._use(lambda file: file.save(domain, latest), writing=True) is not None:
                self._memory.drop(domain)

    def drop(self, domain: str) -> None:
        """Forget policy and failure; in a file that cannot be written they remain."""
        with self._lock:
            self._memory.drop(domain)
            self._use(lambda file: file.drop(domain), writing=True)

    def domains(self) -> list[str]:
        """Return the domains that have a policy, sorted."""
        with self._lock:
            kept = self._use(lambda file: file.domains()) or []
            return sorted({*kept, *self._memory.domains()})

    def failure(self, domain: str) -> tuple[str, float] | None:
        """Return policy id and time of the last failed fetch, or None."""
        with self._lock:
            found = self._use(lambda file: file.failure(domain)), self._memory.failure(domain)
            return max(filter(None, found), key=lambda each: each[1], default=None)

    def note_failure(self, domain: str, policy_id: str, when: float) -> None:
        """Remember a failed fetch, and forget those of the day before."""
        with self._lock:
            done = self._use(lambda file: file.note_failure(domain, policy_id, when), writing=True)
            if done is None:
                self._memory.note_failure(domain, policy_id, when)

    def claim(self, domain: str, now: float, seconds: float) -> bool:
        """Return True to one caller until the claim ends."""
        with self._lock:
            won = self._use(lambda file: file.claim(domain, now, seconds), writing=True)
            return self._memory.claim(domain, now, seconds) if won is None else bool(won)

    def release(self, domain: str) -> None:
        """End the claim."""
        with self._lock:
            self._memory.release(domain)
            self._use(lambda file: file.release(domain), writing=True)

    def _use(self, work: Callable[[PolicyFile], T], *, writing: bool = False) -> T | None:
        """Return what ``work`` returns, or None when the file is in trouble."""
        if time.monotonic() < self._paused[writing]:
            return None
        import sqlite3

        from requiretls_client.cache_file import PolicyFile

        try:
            if self._file is None:
                self._file = PolicyFile(os.path.abspath(self._path or default_path()))
            return work(self._file)
        except (sqlite3.Error, OSError) as error:
            self._paused[writing] = time.monotonic() + _PAUSE
            if not self._warned:
                self._warned = True
                where = self._file.path if self._file else "(no path)"
                _log.warning(
                    "the MTA-STS policy cache %s cannot be %s, so it is kept in memory: %s",
                    where, "written" if writing else "read", error,
                )  # fmt: skip
            return None

    def _renew(self) -> None:
        self._lock = threading.RLock()
        if self._file:
            self._file.abandon()


def default_path() -> str:
    """Return where the file is kept when nobody says otherwise.

    Raises:
        OSError: this user has no home.
    """
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA", "")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        home = os.path.expanduser("~")
        if not os.path.isabs(base) and home != "/" and os.path.isdir(home):
            base = os.path.join(home, ".cache")
    if not os.path.isabs(base):
        raise FileNotFoundError("this user has no home directory")
    return os.path.join(base, "requiretls-client", "mta-sts.sqlite3")


def _later(one: StoredPolicy | None, other: StoredPolicy | None) -> StoredPolicy | None:
    """Return the policy that was fetched later, ``other`` of two of the same time."""
    if one is None or other is None:
        return one or other
    return one if one.fetched > other.fetched else other


_stores: weakref.WeakSet[MemoryStore | SQLiteStore] = weakref.WeakSet()


def _renew_all() -> None:
    """Free the stores of a child process from what belongs to its parent's threads."""
    for store in list(_stores):
        store._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
