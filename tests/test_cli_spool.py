"""The spool's folder: made for us alone, trusted only then; locks; damage; nothing is leaked."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from requiretls_client import dsn
from requiretls_client.cli import progress, record, spool_files
from requiretls_client.cli.attempt import attempt, resume
from requiretls_client.cli.entry import Entry
from requiretls_client.cli.job import Job
from requiretls_client.cli.record import DamagedError, bare_result
from requiretls_client.cli.schedule import DAY, Schedule
from requiretls_client.cli.spool import FAILED, ID, QUEUE, TMP, Spool, default_folder, open_spool
from requiretls_client.cli.spool_files import SpoolError
from requiretls_client.reports import DeliveryReport

MESSAGE = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"
JOB = Job(MESSAGE, "alice@example.org", ("bob@example.net",), True, False, "work")
TIMES = Schedule()

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make other users' files")


@pytest.fixture
def folder(tmp_path):
    """Return where the spool will be."""
    return tmp_path / "state" / "spool"


@pytest.fixture
def spool(folder):
    """Return the spool, which leaves no file open."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    with Spool(folder) as spool:
        yield spool
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def answer(**states):
    """Return a transmit that answers by the local part of each recipient, and remembers."""

    def transmit(job):
        transmit.jobs.append(job)
        results = (
            bare_result(each, states.get(each.partition("@")[0], "delivered"), "because")
            for each in job.recipients
        )
        return DeliveryReport(job.sender, job.require_tls, tuple(results))

    transmit.jobs = []
    return transmit


def poll(probe):
    """Wait until something is so, for ten seconds; return whether it is."""
    end = time.monotonic() + 10
    while not probe() and time.monotonic() < end:
        time.sleep(0.01)
    return probe()


def kept(spool, job=JOB, **options):
    """Keep a message and let go of it; returns its name."""
    with spool.add(job, **options) as entry:
        return entry.id


def test_only_ours(spool, folder):
    """Folders are 0700 and files 0600, whatever the umask; names say nothing of the message."""
    mask = os.umask(0)
    try:
        name = kept(spool)
    finally:
        os.umask(mask)
    for path in (folder.parent, folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / QUEUE / name).stat().st_mode) == 0o600
    assert ID.fullmatch(name)


def test_default_folder(monkeypatch, tmp_path):
    """XDG's place for state; one for the whole machine where root runs it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_folder() == Path("/var/spool/requiretls-client")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "requiretls-client/spool"
    for value in ("", "relative"):  # as the XDG specification has it
        monkeypatch.setenv("XDG_STATE_HOME", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert default_folder() == tmp_path / ".local/state/requiretls-client/spool"


def test_no_home(monkeypatch):
    """A user without a home is told what to configure."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError)))
    with pytest.raises(SpoolError, match=r"\[spool\]"):
        open_spool(None)


def test_nothing_is_made_by_looking(spool, folder):
    """A spool that does not exist is empty."""
    assert (spool.names(QUEUE), spool.names(FAILED), spool.strangers()) == ([], [], [])
    spool.sweep()
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("place", ["", QUEUE, TMP])
def test_folder_that_others_may_write_to(folder, mode, place):
    """Somebody else could put messages there, or take some away: it is not used."""
    with Spool(folder) as spool:
        kept(spool)
    (folder / place).chmod(mode)
    with Spool(folder) as spool:
        with pytest.raises(SpoolError, match=r"cannot keep .* other users may write to it"):
            spool.add(JOB)
        if place != TMP:
            with pytest.raises(SpoolError, match="other users may write to it"):
                spool.names(QUEUE)
    assert len(os.listdir(folder / QUEUE)) == 1


@as_root
@pytest.mark.parametrize("place", ["", QUEUE])
def test_folder_of_somebody_else(folder, place):
    """Not even root trusts the folder of another user."""
    with Spool(folder) as spool:
        kept(spool)
    os.chown(folder / place, 65534, 65534)
    with Spool(folder) as spool, pytest.raises(SpoolError, match="belongs to user 65534"):
        spool.names(QUEUE)
    with Spool(folder) as spool, pytest.raises(SpoolError, match="belongs to user 65534"):
        spool.add(JOB)


@pytest.mark.parametrize("place", ["", QUEUE])
def test_folder_that_is_a_link(folder, tmp_path, place):
    """A link could lead anywhere."""
    with Spool(folder) as spool:
        kept(spool)
    (folder / place).rename(tmp_path / "elsewhere")
    (folder / place).symlink_to(tmp_path / "elsewhere")
    with Spool(folder) as spool, pytest.raises(SpoolError, match="cannot keep the message in /"):
        spool.add(JOB)


def test_folder_that_is_exchanged_meanwhile(spool, folder, tmp_path):
    """What was opened and checked is what is written to, whoever renames it."""
    kept(spool)
    folder.rename(tmp_path / "old")
    folder.mkdir(0o777)
    for place in (TMP, QUEUE, FAILED):
        (folder / place).mkdir(0o777)
    kept(spool)
    assert len(os.listdir(tmp_path / "old" / QUEUE)) == 2
    assert not os.listdir(folder / QUEUE)


@as_root
def test_files_that_are_not_ours(spool, folder, tmp_path):
    """A link, a FIFO, or a file of somebody else under a message's name is left alone."""
    names = [kept(spool) for _ in range(3)]
    paths = [folder / QUEUE / each for each in names]
    paths[0].rename(tmp_path / "real")
    paths[0].symlink_to(tmp_path / "real")
    paths[1].unlink()
    os.mkfifo(paths[1], 0o600)
    os.chown(paths[2], 65534, 65534)
    for name in names:
        with pytest.raises(SpoolError, match=f"cannot open {folder}/queue/{name}"):
            spool.take(name)
        with pytest.raises(SpoolError):
            spool.look(name, QUEUE)
    assert (tmp_path / "real").exists()


def test_strangers_are_named_and_never_touched(spool, folder):
    """Whatever lies there and is no message of ours."""
    kept(spool)
    for place in (TMP, QUEUE, FAILED):
        (folder / place / "notes.txt").write_text("mine")
    assert spool.strangers() == [folder / place / "notes.txt" for place in (TMP, QUEUE, FAILED)]
    assert len(spool.names(QUEUE)) == 1
    spool.sweep()
    assert len(spool.strangers()) == 3


def test_file_size_limit(spool, folder):
    """A limit on the size of files stops a message like a full disk; nothing of it stays."""
    name = kept(spool)
    limited = (
        "import sys, resource; from requiretls_client.cli.spool import *; "
        "from requiretls_client.cli.job import Job; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); spool = Spool(sys.argv[1]); "
        "job = Job(b'x' * 99, '', ('bob@example.net',), True, False, '')\n"
        "try: spool.add(job)\nexcept OSError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"cannot keep the message in {folder}: File too large\n"
    assert [spool.names(QUEUE), spool.names(TMP)] == [[name], []]


def test_locked_while_it_is_worked_on(spool, folder):
    """A message has one owner; to others it is busy, and free when the owner lets go or dies."""
    with spool.add(JOB) as entry, Spool(folder) as other:
        assert other.take(entry.id) is None
        assert not other.remove(entry.id, QUEUE)
        entry.note(progress.begin(1.0))
        assert other.look(entry.id, QUEUE).busy
    with spool.take(entry.id) as again:
        assert again.progress.begun == 1.0
    assert not spool.look(entry.id, QUEUE).busy


@pytest.mark.parametrize("end", [os.unlink, lambda path: os.replace(path.parent / "other", path)])
def test_owner_that_has_finished(spool, folder, monkeypatch, end):
    """Nobody works on a file that its owner has removed between its opening and the lock."""
    name = kept(spool)
    (folder / QUEUE / "other").write_bytes((folder / QUEUE / name).read_bytes())
    real = os.open

    def late(path, *args, **options):
        file = real(path, *args, **options)
        if path == name:
            end(folder / QUEUE / name)
        return file

    monkeypatch.setattr(os, "open", late)
    assert spool.take(name) is None


def test_no_locks(spool, monkeypatch):
    """On a file system that cannot lock nothing is kept: two could send the same message."""
    import fcntl

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SpoolError, match="No locks available"):
        spool.add(JOB)
    monkeypatch.undo()
    assert spool.names(QUEUE) == []


@pytest.mark.parametrize("position", ["require_tls", "canary-body", '"event"'])
def test_damaged_file(spool, folder, position):
    """It is neither sent nor removed, and everybody is told."""
    with spool.add(JOB) as entry:
        attempt(spool, entry, answer(bob="deferred"), TIMES)
    path = folder / QUEUE / entry.id
    data = bytearray(path.read_bytes())
    data[data.index(position.encode()) + 2] ^= 1
    path.write_bytes(data)
    transmit = answer()
    with pytest.raises(DamagedError), spool.take(entry.id) as again:
        attempt(spool, again, transmit, TIMES)
    assert not transmit.jobs
    assert path.read_bytes() == data
    assert spool.remove(entry.id, QUEUE), "a person may"


def test_file_that_is_too_short(spool, folder):
    """So is one that ends within its message."""
    name = kept(spool)
    os.truncate(folder / QUEUE / name, (folder / QUEUE / name).stat().st_size - 1)
    with pytest.raises(DamagedError, match="too short for its message"):
        spool.take(name)


# -- attempts ------------------------------------------------------------------------------------


def test_delivered(spool):
    """Kept, sent, gone; the job that is sent is the one that was kept."""
    transmit = answer()
    with spool.add(JOB) as entry:
        outcome = attempt(spool, entry, transmit, TIMES)
    assert transmit.jobs == [JOB]
    assert (outcome.waiting, outcome.failed, outcome.trouble) == ((), (), "")
    assert outcome.report.delivered == JOB.recipients
    assert spool.names(QUEUE) == spool.names(FAILED) == []


def test_only_the_others_are_tried_again(spool):
    """Each recipient has a fate of its own, and REQUIRETLS holds for every attempt."""
    who = ("bob@example.net", "carol@example.net", "dave@example.net")
    job = Job(MESSAGE, "", who, True, False, "work")
    with spool.add(job) as entry:
        outcome = attempt(spool, entry, answer(carol="deferred", dave="refused"), TIMES)
        assert (outcome.waiting, outcome.failed) == (("carol@example.net",), ("dave@example.net",))
        transmit = answer()
        attempt(spool, entry, transmit, TIMES)
    assert transmit.jobs == [Job(MESSAGE, "", ("carol@example.net",), True, False, "work")]
    assert spool.names(FAILED) == [entry.id]


def test_lost_end(spool, caplog):
    """After an unknown end the message is sent again, as it was, and called what it may be."""
    with spool.add(JOB) as entry:
        assert not attempt(spool, entry, answer(bob="unknown"), TIMES).duplicate
        assert spool.look(entry.id, QUEUE).progress.duplicate
        assert not caplog.records
        transmit = answer()
        assert attempt(spool, entry, transmit, TIMES).duplicate
    assert transmit.jobs == [JOB]
    assert [each.message for each in caplog.records] == [
        f"message {entry.id} is sent again: an attempt broke off, and the message may have "
        "arrived (possible duplicate)"
    ]


def test_given_up_after_the_deadline(folder):
    """After days of trying it fails with its last reason, and its sender gets a report."""
    now = [1.8e9]
    with Spool(folder, lambda: now[0]) as spool, spool.add(JOB) as entry:
        for _ in range(5):
            outcome = attempt(spool, entry, answer(bob="deferred"), TIMES)
            assert outcome.waiting == JOB.recipients
            assert outcome.notice is None
            now[0] += DAY
        transmit = answer(bob="deferred")
        outcome = attempt(spool, entry, transmit, TIMES)
        assert outcome.failed == JOB.recipients
        assert outcome.notice.report.delivered == (JOB.sender,)
        report = transmit.jobs[1]
        assert (report.sender, report.require_tls, report.account) == ("", True, "work")
        assert b"canary-body" not in report.message
        assert spool.names(FAILED) == [entry.id]


def test_report_that_fails(spool):
    """It is kept, and nobody gets a report about it."""
    with spool.add(JOB) as entry:
        outcome = attempt(spool, entry, answer(bob="refused", alice="refused"), TIMES)
    assert outcome.notice.failed == (JOB.sender,)
    assert outcome.notice.notice is None
    assert spool.names(FAILED) == [entry.id, f"{entry.id}.1"]


@pytest.mark.parametrize(
    ("job", "report"),
    [
        (Job(MESSAGE, "", ("bob@example.net",), True, False, ""), True),
        (Job(MESSAGE, JOB.sender, JOB.recipients, True, False, "", notify="NEVER"), True),
        (JOB, False),
    ],
    ids=["empty path", "NOTIFY=NEVER", "not wanted"],
)
def test_no_report(spool, job, report):
    """To nobody about a report, and to nobody who does not want one; the message is kept."""
    with spool.add(job, report=report) as entry:
        outcome = attempt(spool, entry, answer(bob="refused"), TIMES)
    assert (outcome.failed, outcome.notice) == (("bob@example.net",), None)
    assert spool.names(FAILED) == [entry.id]


def test_report_that_cannot_be_made(spool, caplog):
    """The message is kept with its reason all the same, and the log says why nobody is told."""
    with spool.add(Job(MESSAGE, JOB.sender, JOB.recipients, True, False, "", "SOMETIMES")) as entry:
        assert attempt(spool, entry, answer(bob="refused"), TIMES).notice is None
    assert spool.names(FAILED) == [entry.id]
    assert f"no report about message {entry.id}" in caplog.text


def test_report_that_cannot_be_kept(spool, monkeypatch):
    """The message waits in the queue until it can, and is not tried again meanwhile."""
    real = spool.add

    def full(job, **options):
        raise SpoolError(28, "cannot keep the message: No space left on device")

    with real(JOB) as entry:
        monkeypatch.setattr(spool, "add", full)
        outcome = attempt(spool, entry, answer(bob="refused"), TIMES)
        assert "No space left" in outcome.trouble
        monkeypatch.undo()
        assert spool.names(QUEUE) == [entry.id]
        transmit = answer()
        assert resume(spool, entry, transmit, TIMES).notice is not None
    assert [each.sender for each in transmit.jobs] == [""]
    assert spool.names(FAILED) == [entry.id]


def test_one_report_for_each_failure(spool):
    """While others wait nobody is told twice of the same failure, and of a new one once."""
    who = ("bob@example.net", "carol@example.net", "dave@example.net")
    job = Job(MESSAGE, "alice@example.org", who, True, False, "work")
    transmit = answer(bob="refused", carol="deferred", dave="deferred")
    with spool.add(job) as entry:
        for _ in range(2):
            attempt(spool, entry, transmit, TIMES)
        attempt(spool, entry, answer(carol="deferred"), TIMES)
        attempt(spool, entry, last := answer(carol="refused"), TIMES)
    reports = [each.message for each in (*transmit.jobs, *last.jobs) if not each.sender]
    assert [b"bob@" in each for each in reports] == [True, False]
    assert [b"carol@" in each for each in reports] == [False, True]


def test_report_that_another_process_has(spool, folder, monkeypatch):
    """A run that was cut off behind the report has it made once, whoever sends it now."""
    real = Entry.note

    def cut_off(entry, event, **options):
        if event["event"] == "reported":
            raise SpoolError(5, "cut off")
        real(entry, event, **options)

    with spool.add(JOB) as entry, Spool(folder) as other:
        monkeypatch.setattr(Entry, "note", cut_off)
        assert attempt(spool, entry, answer(bob="refused"), TIMES).trouble == "cut off"
        monkeypatch.undo()
        with other.take(f"{entry.id}.1"):
            assert resume(spool, entry, answer(), TIMES).notice is None
            assert (spool.names(QUEUE), spool.names(FAILED)) == ([f"{entry.id}.1"], [entry.id])


def test_domains_are_noted_one_by_one(spool):
    """Straight to mail hosts, what is known of one domain is on the disk while another is slow."""

    def transmit(job):
        (who,) = job.recipients
        if who == "slow@example.com":
            assert poll(lambda: not spool.look(entry.id, QUEUE).progress.recipients.get(
                "bob@example.net"
            ))  # fmt: skip
            assert spool.look(entry.id, QUEUE).busy
        return answer()(job)

    job = Job(MESSAGE, "", ("bob@example.net", "slow@example.com"), True, False, "")
    with spool.add(job) as entry:
        outcome = attempt(spool, entry, transmit, TIMES)
    assert outcome.report.delivered == job.recipients


def test_folder_that_another_makes_meanwhile(tmp_path, monkeypatch):
    """The first messages of several processes are all kept, whoever makes the folders."""
    mkdir = os.mkdir

    def after_another(path, mode):
        """Fail as the folder above is not there yet, which another process makes just then."""
        monkeypatch.undo()
        mkdir(path.parent, mode)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "mkdir", after_another)
    spool_files.make_folder(tmp_path / "spool/tmp")
    assert (tmp_path / "spool/tmp").is_dir()


def test_one_domain_in_two_forms(spool):
    """The two forms of an international domain are one part, so that one mailbox gets one copy."""
    parts = []

    def transmit(job):
        parts.append(job.recipients)
        return answer()(job)

    both = ("bob@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "bob@xn--bcher-kva.example")
    with spool.add(Job(MESSAGE, "", (*both, "eve@example.net"), True, False, "")) as entry:
        attempt(spool, entry, transmit, TIMES)
    assert sorted(parts) == sorted([both, ("eve@example.net",)])


def test_bug_in_an_attempt(spool, caplog):
    """An exception that nobody expected loses no message; it may have arrived."""

    def broken(job):
        raise ZeroDivisionError

    with spool.add(JOB) as entry:
        outcome = attempt(spool, entry, broken, TIMES)
        assert outcome.waiting == JOB.recipients
    assert spool.look(entry.id, QUEUE).progress.duplicate
    assert "broke off" in caplog.text


def test_recipient_without_a_result(spool):
    """Nor is one lost of whom nothing was said."""

    def forgetful(job):
        return DeliveryReport(job.sender, True, ())

    with spool.add(JOB) as entry:
        assert attempt(spool, entry, forgetful, TIMES).waiting == JOB.recipients


def test_reasons_without_room(spool, monkeypatch):
    """On a disk that has become full the fate is noted in what was reserved for it."""
    with spool.add(JOB) as entry:
        real = os.pwrite

        def full(file, data, offset):
            if offset + len(data) > os.fstat(file).st_size:
                raise OSError(28, "No space left on device")
            return real(file, data, offset)

        def transmit(job):
            monkeypatch.setattr(os, "pwrite", full)
            return answer(bob="deferred")(job)

        assert attempt(spool, entry, transmit, TIMES).trouble == ""
        monkeypatch.undo()
    (found,) = spool.look(entry.id, QUEUE).progress.waiting
    assert found.result.text == record._NO_ROOM
    assert (found.begun, found.duplicate) == (False, False)


WHOLE = b"Content-Type: multipart/mixed; boundary=b\r\n\r\nfor \xc3\xa4ltere Programme\r\n--b--\r\n"


def test_report_that_cannot_hold_the_message(spool):
    """Where email cannot write the whole message again, the report has its header."""
    job = replace(JOB, message=WHOLE, require_tls=False, ret="FULL")
    transmit = answer(bob="refused")
    with spool.add(job) as entry:
        outcome = attempt(spool, entry, transmit, TIMES)
    assert outcome.trouble == ""
    assert transmit.jobs[1].recipients == (JOB.sender,)
    assert b"boundary=b\r\n" in transmit.jobs[1].message
    assert b"ltere Programme" not in transmit.jobs[1].message


def test_bug_in_a_report(spool, monkeypatch):
    """What goes wrong in making a report is told, and stops no flush; the next one makes it."""
    make_dsn = dsn.make_dsn
    monkeypatch.setattr(dsn, "make_dsn", lambda *_, **__: {}["canary"])
    transmit = answer(bob="refused")
    with spool.add(JOB) as entry:
        assert "please report it: KeyError" in attempt(spool, entry, transmit, TIMES).trouble
        monkeypatch.setattr(dsn, "make_dsn", make_dsn)
        assert resume(spool, entry, transmit, TIMES).trouble == ""
    assert transmit.jobs[1].recipients == (JOB.sender,)


def test_room_for_every_domain(spool, monkeypatch):
    """Where a disk has become full, the reasons of one domain do not take the room of others."""
    people = tuple(f"bob@{number}.example.net" for number in range(40))
    reason = "because " * 200
    with spool.add(replace(JOB, recipients=people, account="")) as entry:
        real, limit = os.pwrite, []

        def pwrite(file, data, offset):
            if limit and offset + len(data) > limit[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(file, data, offset)

        def transmit(job):
            limit.append(os.stat(spool.folder / QUEUE / entry.id).st_size + len(reason))
            results = tuple(bare_result(each, "deferred", reason) for each in job.recipients)
            return DeliveryReport(job.sender, job.require_tls, results)

        monkeypatch.setattr(os, "pwrite", pwrite)
        outcome = attempt(spool, entry, transmit, TIMES)
    assert outcome.trouble == ""
    assert not spool.look(entry.id, QUEUE).progress.duplicate


def test_link_that_leads_nowhere(tmp_path):
    """A folder below a disk that is not mounted is an error, and no endless attempt to make it."""
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    with (
        Spool(tmp_path / "state" / "spool") as spool,
        pytest.raises(SpoolError, match=r"cannot keep the message in .*: No such file"),
    ):
        spool.add(JOB)
