"""What a file of the spool says: read back as written, and never misread when it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import test_floors
from small_internet import FIRST, WITHOUT

import requiretls_client as rt
from requiretls_client.cli import progress, record
from requiretls_client.cli.job import Job
from requiretls_client.cli.record import DamagedError

MESSAGE = b"From: alice@example.org\r\n\r\nhello\r\n"
WHO = ("bob@example.net", "carol@example.com")
JOB = Job(MESSAGE, "alice@example.org", WHO, True, False, "work", "FAILURE", "HDRS", "id7")


def result(address="bob@example.net", state="deferred", **fields):
    """Return a result."""
    return replace(record.bare_result(address, state, "why"), **fields)


def head():
    """Return the head of the job."""
    return record.read_head(record.write_head(JOB, 7.0, report=True))


@pytest.mark.parametrize("rule", ["schedule", "record", "progress", "queue_text"])
def test_rules_do_no_io(rule):
    """What decides about messages does not look at the world."""
    path = test_floors.PACKAGE / "cli" / f"{rule}.py"
    assert not {name.partition(".")[0] for name in test_floors.imports(path)} & test_floors.NO_IO


def test_job_comes_back():
    """Everything that was asked for holds for every later attempt."""
    assert head().job(MESSAGE) == JOB
    assert (head().created, head().report) == (7.0, True)


def test_another_message():
    """A message that does not fit its digest belongs to nobody."""
    for other in (MESSAGE[:-1], MESSAGE.replace(b"hello", b"hallo")):
        with pytest.raises(DamagedError, match="message is damaged"):
            head().job(other)


def test_every_flipped_bit_of_the_head_is_seen():
    """Least of all is a damaged require_tls acted on."""
    line = record.write_head(JOB, 7.0, report=True)
    for position in range(len(line) - 1):
        for bit in (1, 4, 32):
            bad = bytearray(line)
            bad[position] ^= bit
            with pytest.raises(DamagedError):
                record.read_head(bytes(bad))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spool": 2}, "format 2, which this version cannot read"),
        ({"require_tls": None}, "no proper require_tls"),
        ({"require_tls": 1}, "no proper require_tls"),
        ({"recipients": []}, "no proper recipients"),
        ({"recipients": [1]}, "no proper recipients"),
        ({"tls_optional": True}, "REQUIRETLS and for TLS-Required: No"),
        ({"sha256": 5}, "no proper sha256"),
    ],
)
def test_head_of_another_kind(change, reason):
    """What is whole and makes no sense is not guessed at."""
    data = record.unseal(record.write_head(JOB, 7.0, report=True).strip())
    with pytest.raises(DamagedError, match=reason):
        record.read_head(record.seal({**data, **change}))


def test_first_line_that_is_none():
    """So is any other file."""
    for line in (b"", b"\n", b"hello\n", b"0" * 32 + b" {}\n", record.seal({})):
        with pytest.raises(DamagedError):
            record.read_head(line)


# -- notes ---------------------------------------------------------------------------------------

NOTES = [progress.begin(1.0), progress.begin(2.0), progress.begin(3.0)]
LINES = [record.seal(each) for each in NOTES]


def test_notes_come_back():
    """With the room behind them, which is no note."""
    data = b"".join(LINES)
    assert record.read_notes(data) == (NOTES, len(data))
    assert record.read_notes(data + b" " * 500) == (NOTES, len(data))
    assert record.read_notes(b"") == ([], 0)


def test_note_that_broke_off():
    """Wherever the last note breaks off, those before it hold."""
    whole = len(LINES[0] + LINES[1])
    for length in range(len(LINES[2])):
        for rest in (b"", b" " * 50, b"\0" * 50, b"x" * 20 + b"\n" + b"y" * 20):
            data = LINES[0] + LINES[1] + LINES[2][:length] + rest
            events, end = record.read_notes(data)
            assert events[:2] == NOTES[:2]
            assert end in (whole, whole + len(LINES[2]))


def test_damaged_note_in_the_middle():
    """It could have said that somebody has the message: nothing is done then."""
    for position in range(len(LINES[1])):
        bad = bytearray(LINES[1])
        bad[position] ^= 1
        with pytest.raises(DamagedError, match="notes is damaged"):
            record.read_notes(LINES[0] + bytes(bad) + LINES[2])


def test_results_come_back(net):
    """A real refusal, with its attempts, verdicts and findings, is the same after the spool."""
    net.mx("mx1.example.net", "mx2.example.net")
    net.host("mx1.example.net", tls_extensions=WITHOUT)
    net.host("mx2.example.net", names=["other.example"], tlsa=False)
    with pytest.raises(rt.DeliveryFailed) as caught:
        rt.deliver(
            MESSAGE, "alice@example.org", ["bob@example.net", "carol@example.net"],
            require_tls=True, lookups=net.lookups(), port=net.port, timeout=5,
        )  # fmt: skip
    results = caught.value.report.recipients
    written = json.loads(json.dumps(record.write_results(results)))
    assert len(written) == 1, "what they have in common stands there once"
    assert record.read_results(written) == list(results)
    assert results[0].attempts[0].mx_host == FIRST


def test_result_of_another_version():
    """More fields than we know are passed over, and with fewer the state is still known."""
    (data,) = record.write_results([result(status="4.4.1", text="no route")])
    assert record.read_results([{**data, "later": 1}]) == [result(status="4.4.1", text="no route")]
    del data["findings"]
    (old,) = record.read_results([data])
    assert (old.state, old.temporary, old.text) == ("deferred", True, "no route")


# -- what the notes add up to ----------------------------------------------------------------------


def told(*events):
    """Return the progress after these notes."""
    return progress.read(head(), events)


def ended(*results, over=False, **options):
    """Return the note of an outcome."""
    return progress.outcome(results, 5.0, over=over, **options)


def states(found):
    """Return what is known of each recipient."""
    return {each.address: (each.state, each.duplicate) for each in found.recipients.values()}


def test_nothing_noted():
    """All wait, and nothing is under way."""
    found = told()
    assert states(found) == dict.fromkeys(WHO, ("waiting", False))
    assert (found.begun, found.duplicate, found.attempts) == (None, False, [])


def test_begun_and_not_ended():
    """An attempt that never ended may have arrived, and the next one says so for good."""
    found = told(progress.begin(1.0))
    assert (found.begun, found.duplicate) == (1.0, True)
    again = told(progress.begin(1.0), progress.begin(2.0), ended(*map(result, WHO)))
    assert states(again) == dict.fromkeys(WHO, ("waiting", True))
    assert (again.begun, again.attempts) == (None, [1.0, 2.0])


def test_each_recipient_has_its_own_fate():
    """Who has it leaves, who is refused stays as failed, and the others wait."""
    found = told(progress.begin(1.0), ended(result(state="delivered"), result(WHO[1], "refused")))
    assert states(found) == {WHO[1]: ("failed", False)}
    assert (found.waiting, [each.address for each in found.unreported]) == ((), [WHO[1]])


def test_part_of_an_attempt_is_noted():
    """What is known of one domain holds, and only the rest may get it twice."""
    found = told(progress.begin(1.0), ended(result()))
    assert states(found) == dict.fromkeys(WHO, ("waiting", False))
    assert [each.begun for each in found.waiting] == [False, True]


@pytest.mark.parametrize("briefly", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (result(), ("waiting", False)),
        (result(state="unknown"), ("waiting", True)),
        (result(state="refused"), ("failed", False)),
        (result(state="refused", temporary=True), ("waiting", False)),  # RFC 8461 s5
    ],
)
def test_final_or_not(given, expected, briefly):
    """Only what is refused for good fails before the deadline; a lost end is tried again."""
    found = told(progress.begin(1.0), ended(given, briefly=briefly))
    assert states(found)[given.address] == expected


@pytest.mark.parametrize("state", ["deferred", "unknown", "refused"])
def test_deadline(state):
    """Then everybody who has not got it fails."""
    found = told(progress.begin(1.0), ended(result(state=state), over=True))
    assert states(found)["bob@example.net"][0] == "failed"


def test_retry():
    """A person begins anew: with the same message, the same marks, and a new deadline."""
    notes = [progress.begin(1.0), ended(result(state="unknown"), result(WHO[1], "refused")),
             progress.reported(6.0), progress.retry(9.0)]  # fmt: skip
    found = told(*notes)
    assert states(found) == {WHO[0]: ("waiting", True), WHO[1]: ("waiting", False)}
    assert (found.since, found.attempts, found.reports) == (9.0, [], 1)
    assert not any(each.reported for each in found.recipients.values())


def test_note_that_nobody_knows():
    """A later version may have noted something that matters."""
    for event in ({"event": "new"}, {}, {"event": "result", "at": 1.0}, {"event": "begin"}):
        with pytest.raises(DamagedError, match="does not know its note"):
            told(event)


def test_room_is_enough():
    """What is reserved before an attempt takes the brief notes of any outcome."""
    who = ["bob@example.net", "ü" * 30 + "@example.net", '"x\\"y"@example.com']
    for state in ("delivered", "deferred", "unknown", "refused"):
        notes = [
            progress.outcome([result(each, state)], 1795543385.1234567, over=over, briefly=True)
            for each in who
            for over in (True,)
        ]
        assert sum(len(record.seal(each)) for each in notes) <= progress.room_for(who)
