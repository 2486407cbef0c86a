"""The SQLite file behind :class:`~requiretls_client.cache.SQLiteStore`.

Does I/O. Several processes may use the file at once, and any of them may be killed at any moment:
every change is one transaction with a rollback journal. That journal, unlike WAL, also works on
network file systems and leaves a file that can be read where nothing can be written.

Trouble is raised as ``sqlite3.Error`` or ``OSError``, except damage, which is mended here: the
damaged file is set aside and a new one begun.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from requiretls_client.facts import StoredPolicy, STSPolicy

T = TypeVar("T")

BUSY = 2.0  # seconds to wait for other processes
_POLL = 0.05  # seconds: SQLite sleeps longer and longer, which starves one of two busy writers
DAY = 86400.0  # seconds; back-off and claims last minutes, so what is further off is of no use

# Compared with what the file says, so it is written as SQLite keeps it.
SCHEMA = (
    "CREATE TABLE policies (domain TEXT PRIMARY KEY, mode TEXT NOT NULL, mx TEXT NOT NULL, "
    "max_age INTEGER NOT NULL, policy_id TEXT NOT NULL, fetched REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE failures (domain TEXT PRIMARY KEY, policy_id TEXT NOT NULL, "
    "failed REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE claims (domain TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID",
)
_SAVE = (
    "INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (domain) DO UPDATE SET "
    "mode = excluded.mode, mx = excluded.mx, max_age = excluded.max_age, "
    "policy_id = excluded.policy_id, fetched = excluded.fetched "
    "WHERE excluded.fetched >= policies.fetched"
)
_DROP = "DELETE FROM policies WHERE domain = ?"
_END_CLAIM = "DELETE FROM claims WHERE domain = ?"
_DROP_FAILURE = "DELETE FROM failures WHERE domain = ?"

_log = logging.getLogger("requiretls_client")
_inherited: list[sqlite3.Connection] = []  # of the parent process: not even to be closed


class Damaged(OSError):
    """The file is not a store of ours."""


class PolicyFile:
    """One file; not for two threads at once.

    The methods are those of :class:`~requiretls_client.cache.PolicyStore`; they raise. What
    writes returns the number of rows that its last statement changed, or None when there was no
    file and no need for one.
    """

    def __init__(self, path: str) -> None:
        """Name the file, with an absolute path; nothing is opened yet."""
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._warned = False

    def close(self) -> None:
        """Close the file, undoing what was not completed."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """Leave the connection alone: it is the parent's (sqlite.org/howtocorrupt.html 2.6)."""
        if self._connection:
            _inherited.append(self._connection)
            self._connection = None

    def load(self, domain: str) -> StoredPolicy | None:
        """Return the policy, or None."""
        return self._run(lambda connection: _load(connection, domain), create=False)

    def save(self, domain: str, stored: StoredPolicy) -> int | None:
        """Keep the policy unless a later one is there; clear the failure, end the claim.

        All in one transaction: each is flushed to the disk while a message waits.
        """
        policy = stored.policy
        row = (domain, policy.mode, " ".join(policy.mx), policy.max_age, stored.policy_id,
               stored.fetched)  # fmt: skip
        return self._write((_SAVE, row), (_DROP_FAILURE, (domain,)), (_END_CLAIM, (domain,)))

    def drop(self, domain: str) -> int | None:
        """Forget policy and failure."""
        return self._write((_DROP, (domain,)), (_DROP_FAILURE, (domain,)), create=False)

    def domains(self) -> list[str]:
        """Return the domains that have a policy."""
        return [domain for (domain,) in self._read("SELECT CAST(domain AS TEXT) FROM policies")]

    def failure(self, domain: str) -> tuple[str, float] | None:
        """Return policy id and time of the last failed fetch, or None."""
        # SQLite columns hold values of any type; whoever put them there, ours get these.
        sql = "SELECT CAST(policy_id AS TEXT), CAST(failed AS REAL) FROM failures WHERE domain = ?"
        rows = self._read(sql, domain)
        return rows[0] if rows else None

    def note_failure(self, domain: str, policy_id: str, when: float) -> int | None:
        """Remember a failed fetch, and forget those of the day before."""
        return self._write(
            ("DELETE FROM failures WHERE failed < ?", (when - DAY,)),
            ("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (domain, policy_id, when)),
        )

    def claim(self, domain: str, now: float, seconds: float) -> int | None:
        """Return 1 to one caller until the claim ends, 0 to the others."""
        return self._write(
            ("DELETE FROM claims WHERE until <= ? OR until > ?", (now, now + DAY)),
            ("INSERT OR IGNORE INTO claims VALUES (?, ?)", (domain, now + seconds)),
        )

    def release(self, domain: str) -> int | None:
        """End the claim."""
        return self._write((_END_CLAIM, (domain,)), create=False)

    # -- transactions ----------------------------------------------------------------------------

    def _read(self, sql: str, *values: object) -> list[Any]:
        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(sql, values).fetchall()

        return self._run(work, create=False) or []

    def _write(
        self, *statements: tuple[str, tuple[object, ...]], create: bool = True
    ) -> int | None:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                count = connection.execute(sql, values).rowcount
            return count

        return self._run(work, create=create)

    def _run(self, work: Callable[[sqlite3.Connection], T], *, create: bool) -> T | None:
        """Return what ``work`` returns, or None when there is no file and none is to be made."""
        try:
            return self._patiently(work, create)
        except (sqlite3.Error, Damaged) as error:
            self.close()
            if not _is_damage(error):
                raise
            self._set_aside(error)
            return self._patiently(work, create)
        except BaseException:
            self.close()
            raise

    def _patiently(self, work: Callable[[sqlite3.Connection], T], create: bool) -> T | None:
        end = time.monotonic() + BUSY
        while True:
            try:
                connection = self._open(create)
                if connection is None:
                    return None
                with connection:  # commits, or rolls back
                    return work(connection)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise

    # -- the file --------------------------------------------------------------------------------

    def _open(self, create: bool) -> sqlite3.Connection | None:
        """Return the connection; a new one when the file is not the one that it was."""
        try:
            info = _checked(self.path)
        except FileNotFoundError:
            self.close()
            if not create:
                return None
            _create(self.path)
            info = _checked(self.path)
        if self._connection is None or self._identity != _identity(info):
            self.close()
            self._identity = _identity(info)
        if not info.st_size:  # SQLite would take it for a new one
            raise Damaged("it is empty")
        if self._connection is None:
            self._connection = _connect(self.path)
        return self._connection

    def _set_aside(self, error: Exception) -> None:
        """Rename the damaged file, unless another process has done so."""
        aside = f"{self.path}.damaged"
        with contextlib.suppress(FileNotFoundError):
            if _identity(os.lstat(self.path)) != self._identity:
                return
            os.replace(self.path, aside)
        if not self._warned:
            self._warned = True
            _log.warning(
                "the MTA-STS policy cache %s was damaged (%s) and is now %s: what it knew is lost "
                "until the policies are fetched again", self.path, error, aside,
            )  # fmt: skip


def _load(connection: sqlite3.Connection, domain: str) -> StoredPolicy | None:
    """Return the policy; what cannot be one shows that the file is damaged."""
    sql = "SELECT mode, mx, max_age, policy_id, fetched FROM policies WHERE domain = ?"
    row = connection.execute(sql, (domain,)).fetchone()
    if row is None:
        return None
    mode, mx, max_age, policy_id, fetched = row
    kinds = tuple(type(value) for value in row)
    if kinds != (str, str, int, str, float) or mode not in ("enforce", "testing", "none"):
        raise Damaged("it holds a policy that is none")
    return StoredPolicy(STSPolicy(mode, tuple(mx.split()), max_age), policy_id, fetched)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _checked(path: str) -> os.stat_result:
    """Return what the file is; raise unless it is one that only we can have written."""
    info = os.lstat(path)  # not stat(): a link may be somebody else's
    if not stat.S_ISREG(info.st_mode):
        raise PermissionError("it is not a regular file")
    if hasattr(os, "geteuid") and (info.st_uid != os.geteuid() or info.st_mode & 0o022):
        raise PermissionError("other users could have written it")
    return info


def _create(path: str) -> None:
    """Make an empty store, which appears under its name only when it is complete."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for suffix in ("-journal", "-wal", "-shm"):
        # What a former file left behind would be played into the new one.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
    descriptor, new = tempfile.mkstemp(".new", os.path.basename(path) + ".", folder)  # mode 0600
    os.close(descriptor)
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # half a file is never published
            for statement in SCHEMA:
                connection.execute(statement)
        _publish(new, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def _publish(new: str, path: str) -> None:
    """Give the new file its name, unless another process was faster."""
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links; the name is taken at worst twice
        os.rename(new, path)


def _connect(path: str) -> sqlite3.Connection:
    """Open the file, which exists, for writing where that is permitted."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=_POLL,
        isolation_level=None,  # transactions are begun by us
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        found = connection.execute("SELECT sql FROM sqlite_master ORDER BY rowid").fetchall()
        if [sql for (sql,) in found] != list(SCHEMA):
            raise Damaged("it has other tables")
    except BaseException:
        connection.close()
        raise
    return connection


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 of an error that Python's module made."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _is_damage(error: Exception) -> bool:
    codes = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    undecodable = isinstance(error, sqlite3.OperationalError) and _code(error) == 0
    return isinstance(error, Damaged) or undecodable or _code(error) in codes
