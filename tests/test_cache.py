"""The stores of MTA-STS policies: what they keep, for whom, and what trouble does to them."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_worker import DOMAIN, Hooks, stored

from requiretls_client import cache
from requiretls_client.cache import MemoryStore, SQLiteStore, default_path
from requiretls_client.cache_file import SCHEMA, Damaged
from requiretls_client.facts import StoredPolicy, STSPolicy

WORKER = Path(__file__).with_name("store_worker.py")
DAY = 86400.0


def start(*arguments, before=(), **options):
    """Start another process on a store."""
    command = [*before, sys.executable, "-W", "error", str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def finish(process):
    """Return what the process found."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output)


def run(*arguments, **options):
    """Have another process do something and return what it found."""
    return finish(start(*arguments, **options))


@pytest.fixture
def path(tmp_path):
    """Return the path of a store in a folder that does not exist yet."""
    return tmp_path / "folder" / "store.sqlite3"


@pytest.fixture
def store(path):
    """Return a store in a file."""
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite", "sqlite-in-trouble"])
def any_store(request, path):
    """Return each kind of store, also one that cannot use its file."""
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "sqlite-in-trouble":
        path.parent.mkdir()
        path.mkdir()
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


# -- what every store does -----------------------------------------------------------------------


def test_keeps_what_was_saved(any_store):
    """A policy comes back as it was, whatever its mode, expired or not, until it is dropped."""
    policies = {
        "a.example": StoredPolicy(STSPolicy("enforce", ("*.a.example", "mx.a"), 1), "x", 0.5),
        "b.example": StoredPolicy(STSPolicy("none", (), 31557600), "1" * 32, 1.8e9),
        "xn--bcher-kva.example": StoredPolicy(STSPolicy("testing", ("mx.c",), 0), "2", 1.0),
    }
    assert any_store.load("a.example") is None
    assert any_store.domains() == []
    for domain, policy in policies.items():
        any_store.save(domain, policy)
    assert {domain: any_store.load(domain) for domain in policies} == policies
    assert any_store.domains() == sorted(policies)
    any_store.drop("b.example")
    any_store.drop("never.example")
    assert any_store.load("b.example") is None
    assert any_store.domains() == ["a.example", "xn--bcher-kva.example"]


def test_the_latest_fetch_wins(any_store):
    """A policy is not replaced by one that was fetched before it: fetches overtake each other."""
    for number in (2, 1, 3, 2):
        any_store.save(DOMAIN, stored(number))
    assert any_store.load(DOMAIN) == stored(3)
    same_time = StoredPolicy(STSPolicy("none", (), 5), "other", 3.0)
    any_store.save(DOMAIN, same_time)
    assert any_store.load(DOMAIN) == same_time


def test_failures(any_store):
    """STS-11: the last failed fetch is remembered until one succeeds, or for a day."""
    assert any_store.failure(DOMAIN) is None
    any_store.note_failure(DOMAIN, "1", 1000.0)
    any_store.note_failure(DOMAIN, "2", 1001.0)
    assert any_store.failure(DOMAIN) == ("2", 1001.0)
    any_store.save("other.example", stored(1))
    assert any_store.failure(DOMAIN) == ("2", 1001.0)
    any_store.save(DOMAIN, stored(5))
    assert any_store.failure(DOMAIN) is None
    any_store.note_failure(DOMAIN, "3", 1002.0)
    any_store.save(DOMAIN, stored(4))
    assert any_store.failure(DOMAIN) is None, "also a save that came too late was a success"
    any_store.note_failure(DOMAIN, "3", 1002.0)
    any_store.note_failure("other.example", "4", 1002.0 + DAY)
    assert any_store.failure(DOMAIN) == ("3", 1002.0)
    any_store.note_failure("other.example", "4", 1003.0 + DAY)
    assert any_store.failure(DOMAIN) is None
    any_store.drop("other.example")
    assert any_store.failure("other.example") is None


def test_claim(any_store):
    """A claim is one caller's until it is released, or for its seconds; a domain has its own."""
    assert any_store.claim(DOMAIN, 1000.0, 60.0)
    assert not any_store.claim(DOMAIN, 1000.0, 60.0)
    assert not any_store.claim(DOMAIN, 1059.9, 60.0)
    assert any_store.claim("other.example", 1000.0, 60.0)
    any_store.release(DOMAIN)
    assert any_store.claim(DOMAIN, 1001.0, 60.0)
    assert any_store.claim(DOMAIN, 1061.0, 60.0), "the claimant was killed"
    assert not any_store.claim(DOMAIN, 1120.9, 60.0)
    any_store.release("never.example")
    any_store.save(DOMAIN, stored(1))
    assert any_store.claim(DOMAIN, 1062.0, 60.0), "what was claimed has been done"


def test_claim_of_a_clock_that_was_wrong(any_store):
    """A claim whose end is days away was made by a wrong clock and does not bind."""
    assert any_store.claim(DOMAIN, 4e9, 60.0)
    assert any_store.claim(DOMAIN, 1.8e9, 60.0)
    assert not any_store.claim(DOMAIN, 1.8e9, 60.0)


STRANGE = ["../../evil", "A.example", "a.example", "a.example.", "x'; DROP TABLE policies; --",
           "a\0b", "ü.example", "%00", "", "a b"]  # fmt: skip


def test_keys(any_store, tmp_path):
    """K18: a domain is a key and nothing else: no SQL, no file name, no second spelling."""
    for number, key in enumerate(STRANGE):
        any_store.save(key, stored(number))
        any_store.note_failure(key, str(number), 1.0)
        assert any_store.claim(key, 1.0, 60.0)
    assert any_store.domains() == sorted(STRANGE)
    assert [any_store.load(key) for key in STRANGE] == [stored(n) for n in range(len(STRANGE))]
    assert {each.name for each in tmp_path.rglob("*")} <= {
        "folder", "store.sqlite3", "store.sqlite3-journal"
    }  # fmt: skip


# -- the file ------------------------------------------------------------------------------------


def test_made_on_first_need(path):
    """No file before there is something to keep, and then only its owner can use it."""
    mask = os.umask(0)
    try:
        with contextlib.closing(SQLiteStore(path)) as store:
            assert store.load(DOMAIN) is None
            assert store.failure(DOMAIN) is None
            assert store.domains() == []
            store.release(DOMAIN)
            store.drop(DOMAIN)
            assert not path.parent.exists()
            store.save(DOMAIN, stored(1))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("variables", "want"),
    [
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/tmp"}, "/xdg/requiretls-client/mta-sts.sqlite3"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/tmp"},
         "/tmp/.cache/requiretls-client/mta-sts.sqlite3"),
        ({"HOME": "/tmp"}, "/tmp/.cache/requiretls-client/mta-sts.sqlite3"),
        ({"HOME": "/nonexistent"}, None),
        ({"HOME": ""}, None),
        ({"HOME": "/"}, None),
    ],
    ids=["xdg", "xdg-must-be-absolute", "home", "home-that-is-not-there", "no-home", "root"],
)  # fmt: skip
def test_default_path(monkeypatch, variables, want):
    """The file is in the user's cache folder; without a home there is none."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if want:
        assert default_path() == want
    else:
        with pytest.raises(OSError, match="no home"):
            default_path()


def test_other_processes(store, path):
    """What one process saved, the next one reads; a claim ends with the policy it was made for."""
    store.save(DOMAIN, stored(1))
    assert store.claim(DOMAIN, 100.0, 60.0)
    found = run("keep", path, 7)
    assert found["before"] == 1.0
    assert found["claims"] == [True, False, True]
    assert found["warnings"] == []
    assert store.load(DOMAIN) == stored(9, 200)
    assert store.failure(DOMAIN) == ("7", 1.0)


def test_sqlite_is_loaded_on_first_use():
    """Importing the module, and making a store, does not import sqlite3."""
    script = (
        "import sys; from requiretls_client.cache import SQLiteStore; SQLiteStore('x');"
        "sys.exit('sqlite3' in sys.modules)"
    )
    assert subprocess.call([sys.executable, "-c", script]) == 0


def test_closed(store):
    """A closed store opens its file again; one that is forgotten closes it without a warning."""
    store.save(DOMAIN, stored(1))
    store.close()
    store.close()
    assert store.load(DOMAIN) == stored(1)
    forgotten = SQLiteStore(store._path)
    assert forgotten.load(DOMAIN) == stored(1)
    del forgotten
    gc.collect()


def test_fork(path):
    """M09: a child has a connection of its own, whatever its parent's threads held; both work."""
    assert run("fork", path) == {"child": 0, "same": True, "found": 2.0}


def test_fork_in_memory():
    """A store in memory is usable in a child although a thread of the parent held its lock."""
    store = MemoryStore()
    store._lock.acquire()
    cache._renew_all()  # what os.fork() calls in the child
    store.save(DOMAIN, stored(1))
    assert store.load(DOMAIN) == stored(1)


def test_removed_while_in_use(store, path, caplog):
    """A file that is removed, or replaced, under a store is missed, and begun anew."""
    store.save(DOMAIN, stored(1))
    path.unlink()
    assert store.load(DOMAIN) is None
    store.save(DOMAIN, stored(2))
    assert run("keep", path, 7)["before"] == 2.0
    shutil.rmtree(path.parent)
    store.save(DOMAIN, stored(3))
    assert run("keep", path, 7)["before"] == 3.0
    assert caplog.records == []


@pytest.mark.parametrize(
    ("mode", "suffixes"), [("DELETE", ["-journal"]), ("WAL", ["-wal", "-shm"])]
)
def test_stale_journal(store, path, tmp_path, mode, suffixes):
    """The journal that a removed file left behind is not played into the new one."""
    old = tmp_path / "old.sqlite3"
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute(f'PRAGMA journal_mode = {sys.argv[2]}'); c.execute('PRAGMA cache_size = 1');"
        "c.execute('CREATE TABLE t (x)'); c.execute('INSERT INTO t VALUES (1)');"
        "c.execute('BEGIN');"
        "[c.execute('INSERT INTO t VALUES (zeroblob(9999))') for _ in range(99)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(old), mode], check=True)
    path.parent.mkdir()
    for suffix in suffixes:
        shutil.copy(f"{old}{suffix}", f"{path}{suffix}")
    store.save(DOMAIN, stored(1))
    store.close()
    assert store.load(DOMAIN) == stored(1)
    assert {each.name for each in path.parent.iterdir()} == {
        "store.sqlite3", "store.sqlite3-journal"
    }  # fmt: skip


# -- trouble -------------------------------------------------------------------------------------


def write_tables(path, *statements):
    """Make a database of other tables."""
    path.unlink()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    path.chmod(0o600)


def change(path, sql):
    """Change a store from outside."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)


def overwrite(path):
    """Destroy all pages but the first."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


SCHEMA_V0 = ("CREATE TABLE policies (domain TEXT PRIMARY KEY, policy TEXT)",)
DAMAGES = {
    "M03-zero-byte": lambda path: path.write_bytes(b""),
    "M03-junk": lambda path: path.write_bytes(b"junk" * 5000),
    "M03-cut-in-the-header": lambda path: os.truncate(path, 50),
    "M03-cut-in-a-page": lambda path: os.truncate(path, 5000),
    "M03-cut-after-a-page": lambda path: os.truncate(path, 8192),
    "M03-other-schema": lambda path: write_tables(path, *SCHEMA_V0),
    "M03-no-tables": lambda path: write_tables(path, "PRAGMA user_version = 1"),
    "M03-a-trigger-besides": lambda path: write_tables(
        path, *SCHEMA, "CREATE TRIGGER t INSERT ON policies BEGIN DELETE FROM policies; END"
    ),
    "not-utf-8": lambda path: change(path, "UPDATE policies SET mx = CAST(x'ff' AS TEXT)"),
    "a-number-as-patterns": lambda path: change(path, "UPDATE policies SET mx = x'00'"),
    "text-as-age": lambda path: change(path, "UPDATE policies SET max_age = 'a'"),
    "a-mode-that-is-none": lambda path: change(path, "UPDATE policies SET mode = 'enforcf'"),
}


DAMAGED = [
    *((f"{name}-while-it-is-open", damage, True) for name, damage in DAMAGES.items()),
    *((f"{name}-before-it-is-opened", damage, False) for name, damage in DAMAGES.items()),
    # SQLite does not look at pages again that it knows.
    ("M03-pages-overwritten-before-it-is-opened", overwrite, False),
]


@pytest.mark.parametrize(("damage", "is_open"), [pytest.param(*r[1:], id=r[0]) for r in DAMAGED])
def test_damaged(store, path, caplog, damage, is_open):
    """M03: a damaged file is set aside with one warning that says what is lost; a new one works."""
    for number in range(20):
        store.save(f"d{number}.example", stored(1, 30))
    store.save(DOMAIN, stored(1))
    if not is_open:
        store.close()
    damage(path)
    assert store.load(DOMAIN) is None
    store.save(DOMAIN, stored(2))
    assert store.load(DOMAIN) == stored(2)
    assert store.domains() == [DOMAIN]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("requiretls_client", logging.WARNING)
    assert str(path) in record.getMessage()
    assert "lost" in record.getMessage()
    assert path.with_name("store.sqlite3.damaged").exists()
    assert run("keep", path, 7)["before"] == 2.0
    store.close()
    damage(path)
    assert store.load(DOMAIN) is None
    assert len(caplog.records) == 1, "no second warning"


def test_values_of_other_types(store, path):
    """What somebody wrote into the file by hand has the types that the rules rely on."""
    store.note_failure(DOMAIN, "1", 5.0)
    change(path, "UPDATE failures SET policy_id = x'31', failed = 'soon'")
    assert store.failure(DOMAIN) == ("1", 0.0)
    store.save(DOMAIN, stored(1))
    change(path, "UPDATE policies SET domain = x'41'")
    assert store.domains() == ["A"]


def test_two_find_the_damage(store, path, caplog):
    """The file is set aside by the first that finds it; the second does not take the new one."""
    store.save(DOMAIN, stored(1))
    path.write_bytes(b"junk" * 5000)
    with contextlib.closing(SQLiteStore(path)) as other:
        other.save(DOMAIN, stored(2))
        assert store.load(DOMAIN) == stored(2)
        store.save(DOMAIN, stored(3))
        assert other.load(DOMAIN) == stored(3)
    assert len(caplog.records) == 1


def test_another_process_was_faster(store, path):
    """A file that took the place of the damaged one in the meantime is not set aside."""
    store.save(DOMAIN, stored(1))
    path.unlink()
    run("keep", path, 7)
    store._file._set_aside(Damaged("seen before"))
    assert store.load(DOMAIN) == stored(9, 200)
    assert not path.with_name("store.sqlite3.damaged").exists()


def test_no_hard_links(store, path, monkeypatch):
    """M08: on a file system without hard links the file is made all the same."""
    monkeypatch.setattr(os, "link", lambda *_: os.stat("/missing/link"))
    store.save(DOMAIN, stored(1))
    assert run("keep", path, 7)["before"] == 1.0
    assert {each.name for each in path.parent.iterdir()} == {
        "store.sqlite3", "store.sqlite3-journal"
    }  # fmt: skip


def test_made_twice_at_once(path, monkeypatch):
    """Of two processes that make the file, the second uses what the first made."""
    link = os.link

    def late(new, name):
        monkeypatch.setattr(os, "link", link)
        run("keep", path, 7)
        link(new, name)

    monkeypatch.setattr(os, "link", late)
    with contextlib.closing(SQLiteStore(path)) as store:
        store.save("other.example", stored(1))
        assert store.load(DOMAIN) == stored(9, 200)


def test_caller_mistakes_do_not_damage(store, path):
    """A value that cannot be stored is no reason to give up a good file."""
    store.save(DOMAIN, stored(1))
    with pytest.raises(AttributeError):
        store.save("other.example", None)
    store.note_failure("other.example", object(), 1.0)
    assert store.load(DOMAIN) == stored(1)
    assert not path.with_name("store.sqlite3.damaged").exists()


def lock_for_ever(path):
    """Return a connection that lets nobody else use the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_busy(store, path, caplog, monkeypatch):
    """A file that another process keeps is waited for once, at most 2 s, and then tried again."""
    store.save(DOMAIN, stored(1))
    with contextlib.closing(lock_for_ever(path)):
        begin = time.monotonic()
        store.save(DOMAIN, stored(2))
        assert 1.9 < time.monotonic() - begin < 4
        begin = time.monotonic()
        for number in range(3, 50):
            store.save(DOMAIN, stored(number))
            assert store.claim(f"d{number}.example", 1.0, 60.0)
        assert time.monotonic() - begin < 1, "it does not wait again"
        assert store.load(DOMAIN) == stored(49)  # waits once: reading is another matter
        assert store.load(DOMAIN) == stored(49)
    assert len(caplog.records) == 1
    monkeypatch.setattr(cache.time, "monotonic", lambda: begin + 120)
    assert store.load(DOMAIN) == stored(49)
    store.save(DOMAIN, stored(48))
    monkeypatch.undo()
    assert run("keep", path, 1)["before"] == 49.0, "what was in memory is in the file now"


def link_elsewhere(path):
    """Put a link in the place of the file."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def give_away(path):
    """Make it another user's."""
    if os.geteuid():
        pytest.skip("needs root")
    os.chown(path, 65534, -1)


FOREIGN = {
    "a-link": link_elsewhere,
    "a-link-to-nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "another-user's": give_away,
    "writable-for-all": lambda path: path.chmod(0o666),
    "a-folder": lambda path: (path.unlink(), path.mkdir()),
    "a-pipe": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_not_ours(store, path, caplog, make):
    """A file that another user could have planted is neither read nor changed: memory."""
    store.save(DOMAIN, stored(1))
    store.close()
    make(path)
    before = os.lstat(path)
    assert store.load(DOMAIN) is None
    store.save(DOMAIN, stored(2))
    assert store.load(DOMAIN) == stored(2)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not path.with_name("nothing").exists()
    (record,) = caplog.records
    assert "memory" in record.getMessage()


def without_override():
    """Return the command that makes even root respect file modes."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root, and no setpriv to give up what root may do")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


IN_MEMORY = {"before": None, "after": 9.0, "failure": ["7", 1.0], "domains": [DOMAIN],
             "claims": [True, False, True]}  # fmt: skip


def goes_on(found, *, before=None):
    """Tell whether the process went on in memory, with one warning."""
    (warning,) = found.pop("warnings")
    return "memory" in warning and found == IN_MEMORY | {"before": before}


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "before"),
    [(0o555, 0o600, 1.0), (0o700, 0o400, 1.0), (0o555, 0o400, 1.0), (0o700, 0o000, None),
     (0o000, 0o600, None)],
    ids=["M05-folder-0555", "M05-file-0400", "M05-both", "M05-file-0000", "M05-folder-0000"],
)  # fmt: skip
def test_modes(store, path, folder_mode, file_mode, before):
    """M05: what can only be read is read, what cannot be read is not; the rest is in memory."""
    store.save(DOMAIN, stored(1))
    store.close()
    path.with_name(f"{path.name}-journal").unlink()
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    try:
        found = run("keep", path, 7, before=without_override())
        assert goes_on(found, before=before)
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    assert store.load(DOMAIN) == stored(1)


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_disk_full(tmp_path, existing):
    """M05: a file that cannot grow stays as it is, and nothing unfinished is left beside it."""
    path = tmp_path / "store.sqlite3"
    if existing:
        with contextlib.closing(SQLiteStore(path)) as store:
            store.save(DOMAIN, stored(1))
    found = run("keep", "limited", 7, cwd=tmp_path)  # RLIMIT_FSIZE
    assert goes_on(found, before=1.0 if existing else None)
    left = {"store.sqlite3", "store.sqlite3-journal"} if existing else set()
    assert {each.name for each in tmp_path.iterdir()} <= left
    if existing:
        assert run("keep", path, 7)["before"] == 1.0


def test_no_home(tmp_path):
    """M05: without a home the store is in memory."""
    variables = {name: v for name, v in os.environ.items() if name != "XDG_CACHE_HOME"}
    found = run("keep", "default", 7, env=variables | {"HOME": str(tmp_path / "missing")})
    assert goes_on(found)
    found = run("keep", "default", 7, env=variables | {"HOME": str(tmp_path)})
    assert found["warnings"] == []
    assert (tmp_path / ".cache/requiretls-client/mta-sts.sqlite3").exists()


def hooks_or_skip():
    """Skip where SQLite's system calls cannot be replaced."""
    try:
        Hooks()
    except OSError as error:
        pytest.skip(f"no hooks below SQLite: {error}")


def test_no_locks(path):
    """M08: a file system that cannot lock (NFS without lockd) is not trusted with the policies."""
    hooks_or_skip()
    assert goes_on(run("without_locks", path, 7))


# -- many at once, and sudden ends ---------------------------------------------------------------


def test_two_processes_with_fifty_threads(store, path):
    """M07: 5,000 operations, no error, no fall-back, and of each domain the latest policy."""
    processes = [start("operate", path, seed, 50, 50) for seed in "ab"]
    latest: dict[str, float] = {}
    for found in map(finish, processes):
        assert found["errors"] == []
        assert found["warnings"] == []
        for domain, at in found["latest"].items():
            latest[domain] = max(latest.get(domain, 0.0), at)
    assert {domain: store.load(domain).fetched for domain in store.domains()} == latest


def test_one_of_many_claims(store, path):
    """Of two processes with 25 threads that want one domain, one caller gets it."""
    processes = [start("claim", path, 25, 1000) for _ in range(2)]
    found = [finish(process) for process in processes]
    assert [each["errors"] + each["warnings"] for each in found] == [[], []]
    assert sum(each["won"] for each in found) == 1
    assert not store.claim(DOMAIN, 1059.0, 60.0)
    assert run("claim", path, 25, 1059)["won"] == 0
    assert run("claim", path, 25, 1060)["won"] == 1, "expired"
    store.release(DOMAIN)
    assert run("claim", path, 25, 1061)["won"] == 1, "released"


def test_killed_at_every_write(path):
    """M02: whatever change of a file is the last, before it or half of it: old or new, no mix."""
    hooks_or_skip()
    path.parent.mkdir()
    found = run("kill", path, 200)
    assert found["bad"] == []
    assert found["warnings"] == []
    assert found["killed"] > 150
    assert found["points"] > 10


def test_killed_anytime(path):
    """M02: killed at no particular moment, a process leaves the old policy or the new one."""
    path.parent.mkdir()
    found = run("kill_anytime", path, 60)
    assert found["bad"] == []
    assert found["warnings"] == []
