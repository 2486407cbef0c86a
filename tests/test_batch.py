"""send_messages(): many messages, an outcome for each, and no false success among them."""

from __future__ import annotations

import gzip
import io
import smtplib
from email.message import EmailMessage

import pytest
from support import connect, verbs

import requiretls_client as rt
from requiretls_client.testing import close, lie, normal, reset

SENDER, ONE, TWO = "alice@example.org", "one@example.net", "two@example.net"
OFFERS = ["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"]
STRICT = [*OFFERS, "REQUIRETLS"]


def raw(number, size=0):
    """Return a message that can be told from the others."""
    head = f"Subject: number {number}\r\n\r\n.dots\r\n{'x' * 70}\r\n"
    return head.encode() + b"\r\n" * (size // 2)


def messages(count=5, to=(ONE,), size=0):
    """Return so many, each to one recipient."""
    return [(SENDER, list(to), raw(number, size)) for number in range(count)]


@pytest.fixture
def session(serve):
    """Return what makes a server and a session with it, inside TLS and after EHLO."""
    sessions = []

    def make(cls=rt.SMTP, ready=True, **options):
        server = serve(**{"extensions": OFFERS, "tls_extensions": STRICT, **options})
        smtp = connect(server, cls)
        sessions.append(smtp)
        if ready:
            smtp.starttls()
            smtp.ehlo()
        return server, smtp

    yield make
    for smtp in sessions:
        smtp.close()


def states(outcomes):
    """Return the state of each."""
    return [outcome.state for outcome in outcomes]


def taken(server, smtp):
    """End the session, and return the contents that the server took, in order."""
    smtp.close()
    server.wait_idle()
    return [item.content for item in server.ledger]


def sound(server, smtp, outcomes, sent):
    """Hold outcomes against the ledger: O1, "delivered" is true, and what is not known is said."""
    contents = taken(server, smtp)
    for outcome, (_, _, content) in zip(outcomes, sent, strict=True):
        there = contents.count(content)
        assert there <= 1, f"sent {there} times"
        if outcome.state == "delivered":
            assert there == 1, f"{outcome} is not in the ledger"
        elif outcome.state != "unknown":
            assert there == 0, f"{outcome} is in the ledger"
    return True


@pytest.fixture(autouse=True)
def grouped(monkeypatch):
    """Send in groups of commands, whatever the others do in this run."""
    monkeypatch.setattr(rt.SMTP, "use_pipelining", True)


WINDOWS = [1, 3, 64]


@pytest.mark.parametrize("require_tls", [False, True], ids=["ordinary", "require-tls"])
@pytest.mark.parametrize("in_flight", WINDOWS)
def test_all_arrive(session, in_flight, require_tls):
    """PIPE-01: every message arrives once, as it is and in order, and has its receipt."""
    server, smtp = session()
    told = []
    outcomes = smtp.send_messages(
        messages(7, [ONE, TWO]), in_flight=in_flight, require_tls=require_tls, progress=told.append
    )
    assert states(outcomes) == ["delivered"] * 7
    assert smtp.last_verdict is outcomes[-1].verdict
    assert told == outcomes
    assert [outcome.number for outcome in outcomes] == list(range(7))
    assert taken(server, smtp) == [raw(number) for number in range(7)]
    assert all(item.recipients == (ONE, TWO) for item in server.ledger)
    assert all(("REQUIRETLS" in item.parameters) is require_tls for item in server.ledger)
    assert all(outcome.verdict.requiretls is require_tls for outcome in outcomes)


def test_session_that_falls_short_meanwhile(session):
    """RT-13: it is judged again for each message, and what is under way is brought to its end."""
    server, smtp = session()

    def source():
        yield (SENDER, [ONE], raw(0))
        smtp._seen.tls = None
        yield (SENDER, [ONE], raw(1))

    first, second = smtp.send_messages(source(), require_tls=True)
    assert first.state == "delivered"
    assert isinstance(second.error, rt.TLSNotEstablished)
    assert taken(server, smtp) == [raw(0)]


@pytest.mark.parametrize(("in_flight", "flights"), [(1, 7), (3, 3), (64, 2)])
def test_round_trips(session, in_flight, flights):
    """PIPE-01: n messages take n + 1 flights; with k in flight the (n / k) + 1."""
    server, smtp = session()
    before = smtp._pipe.begun
    smtp.send_messages(messages(6), in_flight=in_flight)
    assert smtp._pipe.begun - before == flights
    assert len(taken(server, smtp)) == 6
    assert ("BDAT" in verbs(server)) is (in_flight > 1)


def test_strict_messages_are_never_in_flight_together(session):
    """RFC 8689: content with require_tls leaves after its MAIL was accepted, by DATA."""
    server, smtp = session()
    smtp.send_messages(messages(4), in_flight=64, require_tls=True)
    assert "BDAT" not in verbs(server)
    assert len(taken(server, smtp)) == 4


def test_first_message_does_what_is_missing(session):
    """Without TLS and EHLO the first message brings them, and the others follow."""
    server, smtp = session(ready=False)
    outcomes = smtp.send_messages(messages(3), require_tls=True)
    assert states(outcomes) == ["delivered"] * 3
    assert "MAIL" not in verbs(server, "clear")
    assert len(taken(server, smtp)) == 3


REFUSALS = [
    ("mail", {"MAIL": ["250 ok", "550 5.7.1 no"]}, "refused", smtplib.SMTPSenderRefused),
    ("mail-later", {"MAIL": ["250 ok", "451 4.7.1 no"]}, "deferred", smtplib.SMTPSenderRefused),
    ("rcpt", {"RCPT": ["250 ok", "550 5.1.1 no"]}, "refused", smtplib.SMTPRecipientsRefused),
    ("rcpt-later", {"RCPT": ["250 ok", "450 no"]}, "deferred", smtplib.SMTPRecipientsRefused),
    ("data", {"DATA": ["354 go", "554 no"]}, "refused", smtplib.SMTPDataError),
    ("dot", {".": ["250 ok", "552 5.3.4 no"]}, "refused", smtplib.SMTPDataError),
    ("bdat", {"BDAT": ["250 ok", "552 5.3.4 no"]}, "refused", smtplib.SMTPDataError),
]  # fmt: skip


@pytest.mark.parametrize("in_flight", WINDOWS)
@pytest.mark.parametrize(
    ("script", "state", "error"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refusal_of_one(session, script, state, error, in_flight):
    """One message that is refused is in its own outcome; the others are sent."""
    (stage,) = script
    by = {"BDAT": "BDAT"}.get(stage, "DATA")
    server, smtp = session(script=script)
    sent = messages(6)
    outcomes = smtp.send_messages(sent, in_flight=in_flight)
    seen = [outcome for outcome in outcomes if outcome.state != "delivered"]
    # The second of its kind is refused; there may be none, or it is a later message.
    expected = 1 if "MAIL" in script or "RCPT" in script else verbs(server).count(by) > 1
    assert states(seen) == [state] * expected
    assert all(isinstance(outcome.error, error) for outcome in seen)
    assert all(outcome.temporary is (state == "deferred") for outcome in seen)
    assert smtp.noop()[0] == 250
    assert sound(server, smtp, outcomes, sent)


@pytest.mark.parametrize("in_flight", WINDOWS)
def test_refused_message_leaves_nobody_behind(session, in_flight):
    """Recipients of a message never get into the transaction of another that was refused."""
    script = {"RCPT": ["250 ok", "550 no", "250 ok"]}
    server, smtp = session(script=script)
    sent = [(f"sender{n}@example.org", [f"rcpt{n}@example.net"], raw(n)) for n in range(4)]
    outcomes = smtp.send_messages(sent, in_flight=in_flight)
    assert states(outcomes) == ["delivered", "refused", "delivered", "delivered"]
    assert len(taken(server, smtp)) == 3
    pairs = [(item.sender, item.recipients) for item in server.ledger]
    assert pairs == [(f"sender{n}@example.org", (f"rcpt{n}@example.net",)) for n in (0, 2, 3)]


def test_some_recipients_refused(session):
    """A message that some get is delivered; the outcome names the others."""
    server, smtp = session(script={"RCPT": ["550 5.1.1 no", "250 ok"]})
    (outcome,) = smtp.send_messages([(SENDER, [ONE, TWO], raw(0))])
    assert outcome.state == "delivered"
    assert outcome.refused == {ONE: (550, b"5.1.1 no")}
    assert "one@example.net: 550 5.1.1 no" in outcome.explain()
    assert outcome.as_dict()["refused"] == {ONE: {"code": 550, "text": "5.1.1 no"}}
    assert len(taken(server, smtp)) == 1


BAD = [
    (SENDER, [ONE], b"x" * 999),
    (SENDER, ["a@b\r\nRCPT TO:<c@d>"], raw(0)),
    (SENDER, [ONE]),
    None,
    EmailMessage(),
    (SENDER, [ONE], "\N{SNOWMAN}"),
    (SENDER, [ONE], raw(0, 2_000_000)),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("in_flight", [1, 64])
def test_bad_message_among_good_ones(session, bad, in_flight):
    """What the caller got wrong in one message is in its outcome, and hides no other."""
    server, smtp = session()
    sent = messages(4)
    outcomes = smtp.send_messages([*sent[:2], bad, *sent[2:]], in_flight=in_flight)
    assert states(outcomes) == ["delivered", "delivered", "refused", "delivered", "delivered"]
    assert isinstance(outcomes[2].error, (ValueError, TypeError, smtplib.SMTPSenderRefused))
    assert taken(server, smtp) == [raw(number) for number in range(4)]


def test_bad_arguments(session):
    """Arguments of the call that cannot be are errors before anything is sent."""
    server, smtp = session()
    for options in ({"require_tls": True, "tls_optional": True}, {"in_flight": 0}):
        with pytest.raises(ValueError, match=r"cannot both|at least 1"):
            smtp.send_messages(messages(), **options)
    with pytest.raises(TypeError):
        smtp.send_messages(messages(), in_flight="many")
    assert "MAIL" not in verbs(server)


def test_iterator_that_fails(session):
    """An error of the caller's own iterator ends what has begun, and comes out."""
    server, smtp = session()
    told = []

    def some():
        yield from messages(3)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        smtp.send_messages(some(), progress=told.append, in_flight=64)
    assert states(told) == ["delivered"] * 3
    assert smtp.noop()[0] == 250
    assert len(taken(server, smtp)) == 3


@pytest.mark.parametrize("pipelining", [True, False])
def test_callback_that_fails(session, pipelining):
    """An error of the caller's own callback comes out, whichever way the messages go."""
    server, smtp = session()
    smtp.use_pipelining = pipelining
    told = []

    def shout(outcome):
        told.append(outcome.number)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        smtp.send_messages(messages(3), progress=shout)
    assert len(told) == len(set(told))
    assert len(taken(server, smtp)) == len(told)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [0, 2, 7, 8])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_callback_that_fails_once(session, in_flight, at, error):
    """What was taken from the caller before that is sent, and told; nothing of it vanishes."""
    server, smtp = session()
    told, given = [], []

    def shout(outcome):
        told.append((outcome.number, outcome.state))
        if outcome.number == at:
            raise error

    def source():
        for item in messages(9):
            given.append(item)
            yield item

    with pytest.raises(error):
        smtp.send_messages(source(), in_flight=in_flight, progress=shout)
    smtp.close()
    server.wait_idle()
    assert len(server.ledger) == len(given)
    expected = [(number, "delivered") for number in range(len(given))]
    assert told == expected[: len(told)]
    assert len(told) == len(given) if error is LookupError else len(told) > at


def test_message_objects(session):
    """Message objects go as send_message() sends them, each with the field that it has."""
    server, smtp = session()
    first = EmailMessage()
    first["From"], first["To"], first["Bcc"] = SENDER, ONE, TWO
    first.set_content("h\N{LATIN SMALL LETTER E WITH ACUTE}llo\n")
    second = EmailMessage()
    second["From"], second["To"], second["TLS-Required"] = SENDER, ONE, "No"
    second.set_content("hello\n")
    outcomes = smtp.send_messages([first, (SENDER, [TWO], second), first])
    assert states(outcomes) == ["delivered"] * 3
    assert len(taken(server, smtp)) == 3
    assert [item.recipients for item in server.ledger] == [(ONE, TWO), (TWO,), (ONE, TWO)]
    assert [b"TLS-Required: No" in item.content for item in server.ledger] == [False, True, False]
    assert all(b"Bcc" not in item.content for item in server.ledger)


def test_field_and_requirement(session):
    """A message with TLS-Required: No among strict ones is an error of its own outcome."""
    server, smtp = session()
    marked = (SENDER, [ONE], b"TLS-Required: No\r\n" + raw(1))
    outcomes = smtp.send_messages([*messages(1), marked, *messages(1)], require_tls=True)
    assert states(outcomes) == ["delivered", "refused", "delivered"]
    assert "cannot both" in str(outcomes[1].error)
    assert len(taken(server, smtp)) == 2


# -- connections that end ------------------------------------------------------------------------

ENDS = [
    ("mail-close", {"MAIL": ["250 ok", "250 ok", close]}),
    ("mail-421", {"MAIL": ["250 ok", "250 ok", "421 4.3.2 bye"]}),
    ("rcpt-close", {"RCPT": ["250 ok", "250 ok", close]}),
    ("rcpt-421", {"RCPT": ["250 ok", "250 ok", "421 4.3.2 bye"]}),
    ("data-close", {"DATA": ["354 go", "354 go", close], "BDAT": ["250 ok", close]}),
    ("data-reset", {"DATA": ["354 go", "354 go", reset], "BDAT": ["250 ok", reset]}),
    ("data-421", {"DATA": ["354 go", "421 bye"], "BDAT": ["250 ok", "421 bye"]}),
    ("dot-close", {".": ["250 ok", close], "BDAT": ["250 ok", "250 ok", close]}),
    ("dot-421", {".": ["250 ok", "421 4.3.2 bye"]}),
    ("first-dot-close", {".": close, "BDAT": close}),
]


@pytest.mark.parametrize("require_tls", [False, True], ids=["ordinary", "require-tls"])
@pytest.mark.parametrize("in_flight", WINDOWS)
@pytest.mark.parametrize("script", [row[1] for row in ENDS], ids=[row[0] for row in ENDS])
def test_lost_connection(session, script, in_flight, require_tls):
    """O1, O8: each outcome says the truth: delivered, unknown, or certainly not sent."""
    server, smtp = session(script=script)
    sent = messages(6)
    outcomes = smtp.send_messages(sent, in_flight=in_flight, require_tls=require_tls)
    assert len(outcomes) == 6
    assert (smtp.sock is None) is (outcomes[-1].state != "delivered")
    assert sound(server, smtp, outcomes, sent)
    assert set(states(outcomes)) <= {"delivered", "deferred", "unknown"}
    for outcome in outcomes:
        if outcome.state == "unknown":
            assert isinstance(outcome.error, rt.DeliveryUnknown)
            assert outcome.error.recipients == (ONE,)


def test_lost_after_the_answer(session):
    """An answer that came before the connection ended stands, where it can be no other's."""
    server, smtp = session(script={"MAIL": ["250 ok", "250 ok", close]})
    outcomes = smtp.send_messages(messages(4))
    assert states(outcomes) == ["delivered", "delivered", "deferred", "deferred"]
    assert "closed" in str(outcomes[2].error)
    assert len(taken(server, smtp)) == 2


def test_not_connected():
    """A session that is not connected says so of every message."""
    outcomes = rt.SMTP(local_hostname="x.test").send_messages(messages(2))
    assert states(outcomes) == ["deferred", "deferred"]
    assert all("connect() first" in str(outcome.error) for outcome in outcomes)


def test_refused_session(session):
    """A server without REQUIRETLS gets none of the strict messages, and each outcome says why."""
    server, smtp = session(ready=False, tls_extensions=OFFERS)
    outcomes = smtp.send_messages(messages(3), require_tls=True)
    assert states(outcomes) == ["refused", "deferred", "deferred"]
    assert isinstance(outcomes[0].error, rt.RequireTLSNotOffered)
    assert "REQUIRETLS" in str(outcomes[1].error)
    assert "MAIL" not in verbs(server)


# -- servers out of step -------------------------------------------------------------------------


def twice(connection):
    """Do what is right, and answer once too often."""
    connection.reply("250 ok")
    return normal


SHIFTS = [
    ("content-answered-twice", {".": ["250 ok", twice, "554 no"]}),
    ("mail-answered-twice", {"MAIL": ["250 ok", twice], ".": ["250 ok", "554 no"]}),
    ("rcpt-answered-twice", {"RCPT": ["250 ok", twice], ".": ["250 ok", "554 no"]}),
    ("rcpt-twice-bdat-no", {"RCPT": ["250 ok", twice], "BDAT": "554 no", ".": "554 no"}),
    ("bdat-twice", {"BDAT": ["250 ok", twice, "554 no"], ".": "554 no"}),
    ("rset-twice", {"RSET": [twice], "BDAT": ["250 ok", "554 no"]}),
    ("rset-no", {"RSET": "500 what", "BDAT": ["250 ok", "554 no"]}),
    ("data-says-250", {"DATA": ["354 go", "250 ok"]}),
    ("dot-says-200", {".": ["250 ok", "200 hm"]}),
    ("bdat-says-200", {"BDAT": ["250 ok", "200 hm"]}),
    ("rcpt-says-200", {"RCPT": ["250 ok", "200 hm"]}),
    ("rcpt-says-354", {"RCPT": ["250 ok", lie("354 go")]}),
    ("garbage", {"RCPT": ["250 ok", lie("hello")]}),
    ("refused-mail-taken-message", {"MAIL": ["250 ok", lie("550 no")]}),
    ("refused-rcpt-taken-message", {"RCPT": ["250 ok", lie("550 no")]}),
]


SILENT = [
    ("no-answer", lambda connection: None),  # dropped, and not a word
    ("part-of-one", lambda connection: connection.reply("250-not yet")),
]


@pytest.mark.parametrize("recipients", [[ONE], [ONE, TWO]], ids=["one", "two"])
@pytest.mark.parametrize("step", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
@pytest.mark.parametrize(
    ("stage", "refused"), [(".", False), ("MAIL", False), ("RCPT", False), (".", True)]
)
def test_reply_too_few(session, step, stage, recipients, refused):
    """A message whose answer is missing is not taken for sent because of the next reply."""
    script = {stage: ["250 ok", step]}
    if refused:
        script["RCPT"] = ["250 ok"] * 2 * len(recipients) + ["550 no"]
    server, smtp = session(script=script)
    smtp.timeout = 0.3
    smtp.sock.settimeout(0.3)
    sent = messages(4, recipients)
    outcomes = smtp.send_messages(sent)
    contents = taken(server, smtp)
    for outcome, (_, _, content) in zip(outcomes, sent, strict=True):
        if outcome.state == "delivered":
            assert content in contents, outcome
    assert outcomes[-1].state != "delivered"


@pytest.mark.parametrize("in_flight", WINDOWS)
@pytest.mark.parametrize("script", [row[1] for row in SHIFTS], ids=[row[0] for row in SHIFTS])
def test_no_false_success(session, script, in_flight):
    """B03: a server whose replies are shifted against the commands gets nothing called sent."""
    server, smtp = session(script=script)
    sent = messages(6)
    outcomes = smtp.send_messages(sent, in_flight=in_flight)
    contents = taken(server, smtp)
    for outcome, (_, _, content) in zip(outcomes, sent, strict=True):
        if outcome.state == "delivered":
            assert content in contents, outcome


def test_whole_flight_in_doubt(session):
    """With many in flight no 250 counts before the flight's last command was answered in step."""
    script = {"BDAT": ["250 ok"], "RCPT": ["250 ok", "250 ok", lie("250 ok\r\n250 ok")]}
    _, smtp = session(script=script)
    outcomes = smtp.send_messages(messages(5), in_flight=64)
    assert "delivered" not in states(outcomes)
    assert states(outcomes)[:2] == ["unknown", "unknown"]
    assert "not by its own answer" in str(outcomes[0].error)
    assert smtp.sock is None


def test_shift_before_the_end(session):
    """A reply that is another command's shows although the connection ended before the last."""

    def part(connection):
        connection.reply("250-not yet")

    def go_and_end(connection):
        connection.reply("354 go")
        connection.close()

    server, smtp = session(script={".": ["250 ok", part], "DATA": ["354 go"] * 2 + [go_and_end]})
    outcomes = smtp.send_messages(messages(4, [ONE, TWO]))
    assert states(outcomes) == ["delivered", "unknown", "deferred", "deferred"]
    assert "354" in str(outcomes[1].error)
    assert len(taken(server, smtp)) == 1


def test_refused_rset(session):
    """Behind an RSET that was refused, nobody knows whose recipients a message has."""
    _, smtp = session(script={"RSET": "500 what"})
    outcomes = smtp.send_messages(messages(5), in_flight=3)
    assert states(outcomes) == ["unknown", "unknown", "deferred", "deferred", "deferred"]
    assert "RSET was answered with 500" in str(outcomes[0].error)
    assert smtp.sock is None


@pytest.mark.parametrize("in_flight", [1, 8])
def test_refused_rset_after_a_refusal(session, in_flight):
    """Where RSET fails, the recipients may still be there: nothing more is sent."""
    server, smtp = session(script={"DATA": "451 later", "RSET": "500 what"})
    outcomes = smtp.send_messages(messages(3), in_flight=in_flight)
    assert "delivered" not in states(outcomes)
    assert smtp.sock is None
    assert taken(server, smtp) == [] or in_flight == 8
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.sendmail(*messages(1)[0])


def test_content_in_flight_when_the_connection_ends(session):
    """O8: with many in flight all whose content has left are unknown, and only those."""
    _, smtp = session(script={"BDAT": ["250 ok", close]})
    outcomes = smtp.send_messages(messages(5), in_flight=64)
    assert states(outcomes) == ["unknown"] * 4 + ["deferred"]


# -- sessions of another kind --------------------------------------------------------------------


@pytest.mark.parametrize("pipelining", [True, False])
def test_without_pipelining(session, pipelining):
    """Without PIPELINING, or where it is switched off, the messages go one by one."""
    offers = ["8BITMIME", "REQUIRETLS"] + ["PIPELINING"] * (not pipelining)
    server, smtp = session(extensions=offers, tls_extensions=offers)
    smtp.use_pipelining = pipelining
    outcomes = smtp.send_messages(messages(3), in_flight=8)
    assert states(outcomes) == ["delivered"] * 3
    assert len(taken(server, smtp)) == 3


@pytest.mark.parametrize("name", ["sendmail", "mail", "data"])
def test_subclass_is_asked(session, name):
    """A subclass with its own way to send, or to say a step, is asked for every message."""
    calls = []

    def own(self, *args, **options):
        calls.append(args)
        return getattr(rt.SMTP, name)(self, *args, **options)

    server, smtp = session(type("Mine", (rt.SMTP,), {name: own}))
    assert states(smtp.send_messages(messages(3))) == ["delivered"] * 3
    assert len(calls) == 3
    assert len(taken(server, smtp)) == 3


def test_subclass_with_the_signature_of_smtplib(session):
    """What was not asked for is not said to a subclass, whose sendmail() may not know it."""

    class Mine(rt.SMTP):
        def sendmail(self, from_addr, to_addrs, msg, mail_options=(), rcpt_options=()):
            return super().sendmail(from_addr, to_addrs, msg, mail_options, rcpt_options)

    _, smtp = session(Mine)
    assert states(smtp.send_messages(messages(2))) == ["delivered"] * 2
    assert states(smtp.send_messages(messages(1), require_tls=True)) == ["refused"]  # TypeError


@pytest.mark.parametrize("in_flight", WINDOWS)
def test_message_that_nobody_can_read(session, in_flight):
    """What the email package or a file raises, whatever it is, is in the outcome of that one."""
    bad = EmailMessage()
    bad["From"], bad["To"] = SENDER, ONE
    bad.set_payload(5)
    cut = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(raw(7))[:-9]))
    _, smtp = session()
    sent = [*messages(2), bad, (SENDER, ONE, cut), *messages(2)]
    outcomes = smtp.send_messages(sent, in_flight=in_flight)
    assert states(outcomes) == [*["delivered"] * 2, *["refused"] * 2, *["delivered"] * 2]
    assert isinstance(outcomes[2].error, AttributeError)
    assert isinstance(outcomes[3].error, EOFError)


def test_large_messages(session):
    """Messages beyond what is copied, and with many recipients, arrive as they are."""
    server, smtp = session()
    sent = messages(3, size=300_000) + messages(2, [f"r{n}@example.net" for n in range(230)])
    outcomes = smtp.send_messages(sent, in_flight=8)
    assert states(outcomes) == ["delivered"] * 5
    assert sound(server, smtp, outcomes[:3], sent[:3])
    assert [len(item.recipients) for item in server.ledger] == [1, 1, 1, 230, 230]


def test_debug_output_hides_content(session, capsys):
    """G06: at debug level 1 the content does not show."""
    _, smtp = session()
    smtp.set_debuglevel(1)
    assert states(smtp.send_messages(messages(3), in_flight=8)) == ["delivered"] * 3
    assert "number 1" not in capsys.readouterr().err


def test_lmtp(serve):
    """LMTP's own answers, one for each recipient, are in the outcome."""
    server = serve(extensions=OFFERS, script={".": ["250 ok", "250 ok", "452 full"]})
    with connect(server, rt.LMTP) as smtp:
        outcomes = smtp.send_messages([(SENDER, ONE, raw(0)), (SENDER, ONE, raw(1))])
    assert states(outcomes)[0] == "delivered"
