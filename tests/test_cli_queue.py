"""``requiretls flush`` and ``requiretls queue``, as they are called from a shell or a timer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import CA_AT_HAND, verbs
from test_cli_spool import JOB, MESSAGE

from requiretls_client.cli import dead_letter, flush, main, queue_text
from requiretls_client.cli.attempt import attempt
from requiretls_client.cli.destinations import Destinations
from requiretls_client.cli.job import Job
from requiretls_client.cli.record import bare_result
from requiretls_client.cli.schedule import Schedule
from requiretls_client.cli.spool import FAILED, QUEUE, Spool
from requiretls_client.reports import Attempt, DeliveryReport
from requiretls_client.testing import Server
from requiretls_client.verdict import Finding, Verdict

ROOT = Path(__file__).resolve().parent.parent
WITHOUT = ("PIPELINING", "SIZE 1000000", "8BITMIME")
HOSTILE = "\x1b[2J\r\nInjected: yes\u202e"


class Place:
    """A spool and the configuration that names it; messages can be put there in any state."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        """Write the configuration, with an account whose server is not there."""
        self.folder, self.config = folder / "spool", folder / "config.toml"
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(CA_AT_HAND.pem)
        self.account(1)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))

    def account(self, port: int, more: str = "", *, login: str = "") -> None:
        """Write the configuration; ``login`` is the part of the account that logs in."""
        self.config.write_text(
            f'default_account = "work"\n[accounts.work]\nhost = "localhost"\nport = {port}\n'
            f'ca_file = "{self.ca}"\n{login}[spool]\nfolder = "{self.folder}"\n{more}'
        )
        self.config.chmod(0o600)

    def run(self, *arguments: str) -> int:
        """Run the command line."""
        return main([*arguments, "--config", str(self.config)])

    def put(self, state="", job=JOB, text="because", ago=0.0, **options) -> str:
        """Put a message into the spool, tried once with this outcome, or not tried; its name."""

        def transmit(job):
            results = tuple(bare_result(each, state, text) for each in job.recipients)
            return DeliveryReport(job.sender, job.require_tls, results)

        with (
            Spool(self.folder, lambda: time.time() - ago) as spool,
            spool.add(job, report=False, **options) as entry,
        ):
            if state:
                attempt(spool, entry, transmit, Schedule())
            return entry.id

    def names(self, place: str) -> list[str]:
        """Return what is there."""
        return sorted(os.listdir(self.folder / place))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a place."""
    return Place(tmp_path, monkeypatch)


@pytest.fixture
def relay(place, serve) -> Server:
    """Run the server of the account."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"))
    place.account(server.port)
    return server


AWAY = Finding("connect", False, "away", "RFC 5321 s4.5.4.1", "later", "mx", "4.4.1")
NO_WAY = Verdict(False, True, False, (AWAY,), "mx", "none")


def unreached(job, **changes):
    """Return the report about a job whose server was not there, or as ``changes`` say."""
    attempts = (Attempt("mx", 0, None, NO_WAY),)
    results = tuple(
        replace(bare_result(each, "deferred", "away"), **{"attempts": attempts, **changes})
        for each in job.recipients
    )
    return DeliveryReport(job.sender, job.require_tls, results)


def error_lines(capsys):
    """Return what was said: on standard output, and on standard error."""
    said = capsys.readouterr()
    return said.out.splitlines(), said.err.splitlines()


# -- flush ---------------------------------------------------------------------------------------


def test_nothing_to_flush(place, capsys):
    """Without a spool there is nothing to do, and none is made."""
    assert place.run("flush") == 0
    assert error_lines(capsys) == ([], [])
    assert not place.folder.exists()


def test_sent(place, relay, capsys):
    """What is due is sent with what it asked for, and leaves the spool."""
    name = place.put()
    assert place.run("flush") == 0
    (mail,) = relay.ledger
    assert mail.content == MESSAGE
    assert "REQUIRETLS" in mail.parameters
    assert error_lines(capsys) == ([f"{name}: 1 sent"], [])
    assert place.names(QUEUE) == []


def test_what_is_not_due_waits(place, relay, capsys):
    """Only --all tries what was tried a moment ago."""
    place.put("deferred")
    assert place.run("flush") == 75
    assert error_lines(capsys) == ([], [])
    assert not relay.ledger
    assert place.run("flush", "--all") == 0
    assert len(relay.ledger) == 1


def test_due_after_some_minutes(place, relay):
    """And a flush after the delay tries it by itself."""
    place.put("deferred", ago=301.0)
    assert place.run("flush") == 0
    assert len(relay.ledger) == 1


def test_relay_is_away(place, capsys):
    """It waits, with the reason; a timer that wants quiet gets it."""
    name = place.put()
    assert place.run("flush") == 75
    (line,), _ = error_lines(capsys)
    assert line.startswith(f"{name}: 1 waiting; bob@example.net: 451 4.4.1 at localhost: ")
    assert place.run("flush", "--all", "--quiet") == 75
    assert error_lines(capsys) == ([], [])
    place.put()
    assert place.run("flush", "--all") == 75
    lines, _ = error_lines(capsys)
    assert ["not tried" in line for line in lines] == [False, True]  # one time-out is enough


def test_password_is_refused_once_a_run(place, serve, capsys):
    """Not once for each message: servers lock accounts for that. All wait, and say why."""
    server = serve(
        script={"AUTH": "535 5.7.8 no"},
        certificate=CA_AT_HAND.issue("localhost"),
        extensions=[*WITHOUT, "AUTH PLAIN", "REQUIRETLS"],
    )
    place.account(server.port, login='user = "u"\npassword = "p"\n')
    names = [place.put() for _ in range(3)]
    assert place.run("flush") == 75
    server.wait_idle()
    assert verbs(server).count("AUTH") == 1
    said, _ = error_lines(capsys)
    assert sorted(line.partition(":")[0] for line in said) == sorted(names)
    assert "535 5.7.8 no" in said[0]
    assert "not tried" not in said[0]
    assert all("not tried, since an earlier message" in line for line in said[1:])
    assert place.run("flush", "--all") == 75  # the next run tries it anew
    server.wait_idle()
    assert verbs(server).count("AUTH") == 2


def test_what_is_not_tried_is_no_attempt(place, serve, capsys, monkeypatch):
    """It stays due and is not given up: what is over is tried, and only then."""
    place.put(ago=7 * 86400.0)  # its days of trying are over only once it was tried on them
    names = [place.put(), place.put("deferred", ago=400.0)]
    assert place.run("flush") == 75
    assert [line.partition(":")[0] for line in error_lines(capsys)[0]][1:] in (names, names[::-1])
    server = serve(certificate=CA_AT_HAND.issue("localhost"))
    place.account(server.port)
    assert place.run("flush") == 75  # at once: their turn has not been put off
    assert len(server.ledger) == 2


def test_over_is_tried_first(place, serve, capsys):
    """A message whose time is over gets its last attempt also behind one that met no server."""
    spent = 'deadline = 0.0001\n'
    place.account(1, spent)
    names = {place.put("deferred", ago=86400.0) for _ in range(2)}
    assert place.run("flush", "--all") == 69
    _, lines = error_lines(capsys)
    assert {line.partition(":")[0] for line in lines} == names
    assert all("1 failed" in line and "4.4.1" in line for line in lines)


ORDINARY = replace(JOB, require_tls=False)
STRAIGHT = replace(JOB, account="")


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (JOB, replace(JOB, recipients=("carol@example.com",), message=b"other"), True),
        (JOB, ORDINARY, True),  # the account's server is the same
        (JOB, replace(JOB, account="home"), False),
        (JOB, STRAIGHT, False),
        (STRAIGHT, replace(STRAIGHT, recipients=("carol@EXAMPLE.net",)), True),
        (STRAIGHT, replace(STRAIGHT, recipients=("bob@b.example",)), False),
        (STRAIGHT, replace(STRAIGHT, recipients=("x@b.example", *STRAIGHT.recipients)), False),
        (STRAIGHT, replace(STRAIGHT, require_tls=False), False),  # other hosts may do for it
        (STRAIGHT, replace(STRAIGHT, sender=""), False),
    ],
)
def test_what_waits_for_the_next_run(first, second, waits):
    """What goes where the first one met no server; not what goes elsewhere, or another way."""
    destinations = Destinations(unreached)
    assert destinations.why_not(first, first.recipients) == ""
    assert destinations(first) == unreached(first)
    assert destinations.why_not(second, second.recipients) == ("away" if waits else "")


SAID = Finding("server", False, "421", "x", "x", "mx", "4.3.2")
LOCKED = Finding("login", False, "454", "x", "x", "mx", "4.7.0")


@pytest.mark.parametrize(
    "changes",
    [
        {"attempts": ()},  # nothing was tried: a matter of this machine or of the DNS
        {"attempts": (Attempt("mx", 0, None, replace(NO_WAY, allowed=True)),)},  # it was lost later
        {"attempts": (Attempt("mx", 0, None, replace(NO_WAY, findings=(SAID,))),)},
        {"attempts": (Attempt("mx", 0, None, replace(NO_WAY, findings=(LOCKED,))),)},
        {"attempts": tuple(Attempt("mx", 0, None, each) for each in
                           (NO_WAY, replace(NO_WAY, findings=(SAID,))))},
    ],
    ids=["nothing-tried", "session", "server-says-later", "login-later", "one-host-said-later"],
)  # fmt: skip
def test_what_says_nothing_about_the_way(changes):
    """Only where no server answered, or the password was refused, the next message waits."""
    destinations = Destinations(lambda job: unreached(job, **changes))
    destinations(JOB)
    assert destinations.why_not(JOB, JOB.recipients) == ""


def test_oldest_first(place, relay):
    """In the order in which they were accepted."""
    jobs = [Job(MESSAGE, f"a{n}@example.org", ("b@example.net",), True, False, "work")
            for n in range(4)]  # fmt: skip
    for number in (2, 0, 3, 1):
        place.put(job=jobs[number], ago=100.0 * (4 - number))
    assert place.run("flush") == 0
    assert [item.sender for item in relay.ledger] == [job.sender for job in jobs]


def test_failed_for_good(place, serve, capsys):
    """A relay without REQUIRETLS: kept, said even when quiet, and the status says so once."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), tls_extensions=WITHOUT)
    place.account(server.port)
    name = place.put()
    assert place.run("flush", "--quiet") == 69
    out, (line,) = error_lines(capsys)
    assert not out
    assert line.startswith(f"{name}: 1 failed; bob@example.net: 550 5.7.30 at localhost: ")
    assert (place.names(QUEUE), place.names(FAILED)) == ([], [name])
    assert place.run("flush") == 0
    assert not server.ledger


def test_deadline_of_the_configuration(place, capsys):
    """[spool] deadline in days; a message is tried once more before it is given up."""
    place.account(1, "deadline = 0.5\n")
    name = place.put(ago=43200.0)
    assert place.run("flush") == 69
    assert place.names(FAILED) == [name]
    assert "1 failed" in error_lines(capsys)[1][0]


def test_report_goes_at_once(place, serve, capsys):
    """The report is a message of its own in the same run, and has a line of its own."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), script={"RCPT": ["550 5.1.1 no"]})
    place.account(server.port)
    with Spool(place.folder) as spool, spool.add(JOB) as entry:
        name = entry.id
    assert place.run("flush") == 69
    assert error_lines(capsys) == (
        [f"{name}.1: 1 sent"],
        [f"{name}: 1 failed; bob@example.net: 550 5.1.1 at localhost: 5.1.1 no"],
    )
    (report,) = server.ledger
    assert (report.sender, report.recipients) == ("", ("alice@example.org",))
    assert "REQUIRETLS" in report.parameters


def test_damage_stops_nobody_else(place, relay, capsys):
    """A damaged message and a stranger are told of; the others are sent."""
    bad, good = place.put(ago=100.0), place.put()
    path = place.folder / QUEUE / bad
    path.write_bytes(path.read_bytes().replace(b"alice@", b"malic@", 1))
    (place.folder / QUEUE / "README\x1b").write_text("")
    assert place.run("flush") == 74
    out, err = error_lines(capsys)
    assert out == [f"{good}: 1 sent"]
    assert err == [
        f"{place.folder}/queue/README\\x1b: no message of the spool, left alone",
        f"{bad}: its first line is damaged",
    ]
    assert place.names(QUEUE) == [bad, "README\x1b"]


def test_rubbish_in_tmp_stops_nobody(place, relay, capsys):
    """What cannot be swept up is told of when the messages have been tried."""
    place.put()
    (place.folder / "tmp" / "20200101-000000-00000000").mkdir()
    assert place.run("flush") == 74
    assert len(relay.ledger) == 1
    assert "cannot open" in capsys.readouterr().err


def test_untrusted_folder(place, capsys):
    """A sentence, not a traceback, and a status for the timer."""
    place.put()
    place.folder.chmod(0o777)
    for command in ("flush", "queue"):
        assert place.run(command) == 74
        assert "other users may write to it; change that with chmod 0700" in (
            capsys.readouterr().err
        )


def test_bad_configuration(place, capsys):
    """What cannot be understood stops everything."""
    place.config.write_text("[spool]\nfoldr = 1\n")
    for command in ("flush", "queue"):
        assert place.run(command) == 78
        assert "foldr" in capsys.readouterr().err


def test_possible_duplicate_is_said(place, relay, capsys):
    """By the line of the run that sends it again."""
    name = place.put("unknown")
    assert place.run("flush", "--all") == 0
    assert error_lines(capsys)[0] == [f"{name}: 1 sent; possible duplicate"]


def test_cut_off_behind_the_end(place, relay):
    """A run that was killed between its note and the removal has delivered: nothing is sent."""
    with Spool(place.folder) as spool, spool.add(JOB) as entry:
        os.link(place.folder / QUEUE / entry.id, place.folder / "saved")
        results = (bare_result("bob@example.net", "delivered", ""),)
        attempt(spool, entry, lambda job: DeliveryReport("", True, results), Schedule())
        os.rename(place.folder / "saved", place.folder / QUEUE / entry.id)
    assert place.run("flush") == 0
    assert not relay.ledger
    assert place.names(QUEUE) == []


def test_help_says_what_is_kept(capsys):
    """The help of each is a manual: times, limits, every exit status."""
    for command, words in {
        "flush": ["5 minutes", "4 hours", "5 days", "RFC 8689 s5", "--all", "--quiet"],
        "queue": ["possible duplicate", "--retry", "--remove", "--show"],
    }.items():
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert all(word in text for word in words)
    assert Schedule() == Schedule(300, 4 * 3600, 5 * 86400)
    assert {0, 69, 74, 75, 78} == {
        int(each) for each in re.findall(r"^  (\d+)", flush.STATUS, re.M)
    }


# -- queue ---------------------------------------------------------------------------------------


def test_empty_queue(place, capsys):
    """It says so; to programs it says nothing."""
    assert place.run("queue") == 0
    assert place.run("queue", "--failed") == 0
    assert place.run("queue", "--json") == 0
    assert error_lines(capsys)[0] == ["nothing waits or has failed", "nothing has failed"]


def test_listing(place, capsys):
    """Who waits, who failed, since when, why, what next, and what may arrive twice."""
    waits = place.put("deferred", ago=7200.0)
    lost = place.put("unknown", ago=60.0)
    failed = place.put("refused")
    new = place.put()
    assert place.run("queue") == 0
    out, err = error_lines(capsys)
    assert not err
    size = len(MESSAGE)
    head = f"old  {size} bytes  alice@example.org"
    assert out[:3] == [
        f"{waits}  2 h {head}  (waiting, REQUIRETLS)",
        "    bob@example.net: next attempt as soon as the queue is flushed",
        "        451 4.0.0: because",
    ]
    assert out[3] == f"{lost}  1 min {head}  (waiting, REQUIRETLS, possible duplicate)"
    assert re.fullmatch(r"    bob@\S+: next attempt in [234] min \(possible duplicate\)", out[4])
    assert out[5] == "        no answer: because"
    assert out[6:8] == [
        f"{new}  0 s {head}  (waiting, REQUIRETLS)",
        "    bob@example.net: next attempt as soon as the queue is flushed",
    ]
    assert out[8] == f"{failed}  0 s {head}  (failed, REQUIRETLS)"
    assert re.fullmatch(r"    bob@example.net: failed \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", out[9])
    assert place.run("queue", "--failed") == 0
    assert error_lines(capsys)[0] == out[8:]


def test_texts_that_never_became_messages(place, capsys):
    """What send had to bury is listed with its reason, for people and programs."""
    path = dead_letter.keep(b"hello\n", f"nobody is named{HOSTILE}", place.folder)
    assert place.run("queue", "--failed") == 0
    (line,) = error_lines(capsys)[0]
    assert line.startswith(f"{path}  never became a message: nobody is named\\x1b[2J")
    assert place.run("queue", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["path"]) == ("dead", str(path))


def test_under_way(place, capsys):
    """A message that somebody works on is shown so; nobody waits for him."""
    with Spool(place.folder) as spool, spool.add(JOB) as entry:

        def transmit(job):
            assert place.run("queue") == 0
            assert place.run("queue", "--remove", entry.id) == 75
            assert place.run("queue", "--retry", entry.id) == 75
            assert place.run("flush", "--all") == 75
            return DeliveryReport("", True, (bare_result("bob@example.net", "delivered", ""),))

        attempt(spool, entry, transmit, Schedule())
    out, err = error_lines(capsys)
    assert "(under way, REQUIRETLS" in out[0]
    assert out[1].startswith("    bob@example.net: being tried")
    assert err == [f"requiretls queue: {entry.id}: somebody else works on it just now"] * 2


def test_json(place, capsys):
    """An object a line; the whole result of the last attempt."""
    place.put("refused")
    place.put("unknown", job=Job(MESSAGE, "", ("x@example.net",), False, True, ""))
    bad = place.put()
    (place.folder / QUEUE / bad).write_text("nonsense\n")
    assert place.run("queue", "--json") == 74
    first, second, third = sorted(
        map(json.loads, error_lines(capsys)[0]), key=lambda each: each["state"]
    )
    assert first == {"schema": "requiretls-queue/1", "id": bad, "state": "damaged",
                     "text": "damaged: its first line is damaged"}  # fmt: skip
    assert second["state"] == "failed"
    assert second["next_attempt"] is None
    assert second["recipients"][0]["result"]["code"] == 550
    assert third["state"] == "waiting"
    assert third["possible_duplicate"] is True
    assert (third["sender"], third["tls_optional"], third["account"]) == ("", True, "")
    assert third["next_attempt"] > time.time()


def test_show(place, serve, capsys):
    """The whole reason with findings and what to change, and the message itself."""
    server = serve(certificate=CA_AT_HAND.issue("localhost"), tls_extensions=WITHOUT)
    place.account(server.port)
    name = place.put()
    place.run("flush")
    capsys.readouterr()
    assert place.run("queue", "--show", name) == 0
    text = capsys.readouterr().out
    for words in ("accepted: ", "account: work", "tried: ", "ok   certificate: ",
                  "FAIL requiretls: ", "(RFC 8689 s", "fix: ", "canary-body"):  # fmt: skip
        assert words in text
    assert place.run("queue", "--show", name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == name


def test_hostile_text(place, capsys):
    """What a server, or whoever wrote the message, has put there moves no cursor."""
    job = Job(f"Subject: x{HOSTILE}\r\n\r\n{HOSTILE}\r\n".encode(), "alice@example.org",
              ("bob@example.net",), True, False, f"work{HOSTILE}")  # fmt: skip
    name = place.put("deferred", job, text=f"no {HOSTILE}")
    place.put("refused", job, text=f"no {HOSTILE}")
    place.run("queue")
    place.run("queue", "--show", name)
    place.run("flush", "--all")
    place.run("queue", "--show", f"{HOSTILE}")
    said = capsys.readouterr()
    for character in (said.out + said.err).replace("\n", ""):
        assert character.isprintable()
    # Lines of the message stand as lines; no other text can begin one.
    lines = [line for line in said.out.splitlines() if line.startswith("Injected")]
    assert len(lines) == 2


def test_remove(place, capsys):
    """A person may remove anything, and only what is there."""
    names = [place.put(), place.put("refused"), place.put("deferred")]
    path = place.folder / QUEUE / names[2]
    path.write_bytes(b"damaged")
    for name in names:
        assert place.run("queue", "--remove", name) == 0
        assert place.run("queue", "--remove", name) == 66
    assert place.names(QUEUE) == place.names(FAILED) == []
    assert f"there is no message {names[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../queue/x", "", "README", "..", "20260101-000000-00000000"])
def test_no_such_message(place, name):
    """An ID is never a path; nothing but messages can be removed."""
    place.put()
    (place.folder / QUEUE / "README").write_text("")
    for option in ("--show", "--remove", "--retry"):
        assert place.run("queue", option, name) == 66
    assert len(place.names(QUEUE)) == 2


def test_retry(place, relay, capsys):
    """A failed message is tried again as strictly as before, and has its days of trying anew."""
    name = place.put("refused", ago=86400.0 * 9)
    assert place.run("queue", "--retry", name) == 0
    assert (place.names(QUEUE), place.names(FAILED)) == ([name], [])
    assert place.run("flush") == 0
    (mail,) = relay.ledger
    assert "REQUIRETLS" in mail.parameters


def test_retry_of_what_waits(place, relay):
    """What waits becomes due."""
    name = place.put("deferred")
    assert place.run("queue", "--retry", name) == 0
    assert place.run("flush") == 0
    assert len(relay.ledger) == 1


def test_listing_while_others_write(place, capsys):
    """A message that goes, or fails, while the list is made is shown once or not at all."""
    names = [place.put(ago=10.0 * n) for n in range(5)]
    with Spool(place.folder) as spool:
        real = spool.look

        def look(name, where, **options):
            found = real(name, where, **options)
            with Spool(place.folder) as other:
                gone, failing = sorted(names)[1:3]
                if name == sorted(names)[0]:
                    other.remove(gone, QUEUE)
                    with other.take(failing) as entry:
                        entry.move(FAILED)
            return found

        spool.look = look
        from requiretls_client.cli.queue import list_queue

        assert list_queue(spool, Schedule()) == 0
    shown = [line[:24] for line in error_lines(capsys)[0] if line[0] != " "]
    assert sorted(shown) == sorted(set(names) - {sorted(names)[1]})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86400 * 400, "400 d")],
)
def test_spans(seconds, text):
    """Time spans are short, and a clock that was set back shows none below zero."""
    assert queue_text.span(seconds) == text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written(place, relay):
    """A log on a full disk keeps no mail from being sent, and changes no status."""
    names = place.put(), place.put()
    program = "import sys\nfrom requiretls_client.cli import main\nsys.exit(main())\n"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "flush", "--config", str(place.config)],
            stdout=full, stderr=full, check=False, timeout=60, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 0
    assert len(relay.ledger) == len(names)


def test_reader_that_has_gone(place):
    """Whoever reads the list may stop: that is no trouble with the spool."""
    place.put()
    program = "import sys\nfrom requiretls_client.cli import main\nsys.exit(main())\n"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-uc", program, "queue", "--config", str(place.config)],
            stdout=nobody, stderr=subprocess.PIPE, check=False, timeout=60, cwd=ROOT,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")
