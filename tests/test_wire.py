"""In step with the server: early, malformed, endless and late replies; no false success."""

from __future__ import annotations

import os
import pickle
import resource
import smtplib
import time

import pytest
from support import RAW, connect, verbs

import requiretls_client as rt
from requiretls_client.testing import close, delay, lie, reset, stall

TIMEOUT = 0.4  # seconds; the servers below stall for ever


def send(smtp, **options):
    """Send the canary with require_tls."""
    return smtp.sendmail("a@b.c", ["one@e.f", "two@e.f"], RAW, require_tls=True, **options)


def in_time(started):
    """Tell whether a call ended within its deadline, and 10 % and 100 ms (O5)."""
    return time.monotonic() - started < TIMEOUT * 1.1 + 0.1


def disconnected(smtp):
    """Tell whether the session is closed, and the next command says so (O3)."""
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.noop()
    return smtp.sock is None


# -- replies that came before their commands -------------------------------------------------------


def test_whole_session_said_in_advance(serve):
    """B01: replies sent along with the EHLO reply are never taken for answers to what follows."""
    ehlo = b"250-localhost\r\n250 REQUIRETLS\r\n"
    rest = b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n"
    server = serve(script={"EHLO tls": ehlo + rest, ".": "554 5.7.1 rejected"})
    smtp = connect(server)
    with pytest.raises(rt.ReplyError, match="unasked"):
        send(smtp)
    assert disconnected(smtp)
    server.wait_idle()
    assert server.ledger == []
    assert "DATA" not in verbs(server)


@pytest.mark.parametrize("groups", [False, True], ids=["step-by-step", "pipelined"])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_several_replies_to_one_command(serve, stage, groups):
    """B03, B11: a second reply behind the first is noticed before the next byte leaves.

    In a group of commands it is paired with the next one, and does not fit there.
    """
    first = "354 go" if stage == "DATA" else "250 ok"
    said = f"{first}\r\n354 go\r\n250 queued early\r\n".encode()
    server = serve(script={stage: said, ".": "554 5.7.1 rejected"})
    smtp = connect(server)
    smtp.use_pipelining = groups
    text = "neither yes nor no" if groups and stage != "DATA" else "unasked"
    with pytest.raises(rt.ReplyError, match=text):
        send(smtp)
    assert disconnected(smtp)
    server.wait_idle()
    assert server.ledger == []
    assert not [line for line in server.transcript if b"canary" in line.data]


@pytest.mark.parametrize("groups", [False, True], ids=["step-by-step", "pipelined"])
@pytest.mark.parametrize("said", [b"garbage\r\n", b"250", b"\r\n", b"\0"])
def test_garbage_behind_a_reply(serve, said, groups):
    """What waits need be no reply to be noticed."""
    server = serve(script={"MAIL": b"250 ok\r\n" + said})
    smtp = connect(server)
    smtp.use_pipelining = groups
    with pytest.raises(rt.ReplyError, match="code of 200 to 599" if groups else "unasked"):
        send(smtp)
    assert disconnected(smtp)
    assert server.ledger == []


def test_421_between_commands(serve):
    """SMTP-19: a 421 that waits is the server's good-bye, with its text."""
    server = serve(script={"NOOP": b"250 ok\r\n421 4.3.2 shutting down\r\n"})
    smtp = connect(server)
    smtp.noop()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="shutting down") as caught:
        smtp.sendmail("a@b.c", "d@e.f", RAW)
    assert not isinstance(caught.value, rt.ReplyError)
    assert disconnected(smtp)


def test_hung_up_between_commands(serve):
    """A server that has gone is noticed before a command is sent into the void."""

    def goodbye(connection):
        connection.reply("250 ok")
        connection.close()

    server = serve(script={"NOOP": goodbye})
    smtp = connect(server)
    smtp.noop()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="closed"):
        smtp.noop()
    assert disconnected(smtp)


def test_pipelining_by_hand_still_works(serve):
    """Commands sent ahead by hand, with as many replies read behind, are in step."""
    server = serve()
    with connect(server) as smtp:
        smtp.ehlo()
        smtp.putcmd("NOOP")
        smtp.putcmd("RSET")
        assert [smtp.getreply()[0], smtp.getreply()[0]] == [250, 250]
        assert smtp.sendmail("a@b.c", "d@e.f", RAW) == {}


def test_reply_that_was_never_read(serve):
    """M11: a message does not begin while an interrupted call's reply is still to come."""
    server = serve()
    smtp = connect(server)
    smtp.ehlo()
    smtp.putcmd("NOOP")
    with pytest.raises(rt.ReplyError, match="never read"):
        smtp.sendmail("a@b.c", "d@e.f", RAW)
    assert disconnected(smtp)
    assert server.ledger == []


# -- replies that are none -------------------------------------------------------------------------

MALFORMED = [
    ("B05-mixed", b"550-no\r\n250 ok\r\n"),
    ("B07-plus", b"+25 ok\r\n"),
    ("B16-long", b"250 " + b"x" * 9000 + b"\r\n"),
    ("L01-endless", b"250-x\r\n" * 5000),
    ("L05-no-newline", b"250 " + b"x" * 100_000),
]


@pytest.mark.parametrize("said", [pytest.param(r[1], id=r[0]) for r in MALFORMED])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "NOOP"])
def test_malformed_reply(serve, stage, said):
    """What is no reply ends the session with an error, and the message is not reported as sent."""
    server = serve(script={stage: said})
    smtp = connect(server)
    with pytest.raises(rt.ReplyError) as caught:
        smtp.noop() if stage == "NOOP" else send(smtp)
    assert caught.value.smtp_code == -1
    assert len(str(caught.value)) < 400
    assert disconnected(smtp)
    server.wait_idle()
    assert server.ledger == []


@pytest.mark.parametrize("said", [pytest.param(r[1], id=r[0]) for r in MALFORMED])
def test_malformed_greeting(serve, said):
    """In the greeting the same is smtplib's SMTPConnectError too."""
    server = serve(script={"GREETING": said})
    with pytest.raises(smtplib.SMTPConnectError) as caught:
        connect(server)
    assert isinstance(caught.value, rt.ReplyError)


@pytest.mark.parametrize("said", [pytest.param(r[1], id=r[0]) for r in MALFORMED])
@pytest.mark.parametrize("stage", ["EHLO plain", "STARTTLS", "EHLO tls"])
def test_malformed_on_the_way_to_tls(serve, stage, said):
    """On the way to TLS it is a refusal: TLSNotEstablished, which says what the server did."""
    server = serve(script={stage: said})
    with pytest.raises(rt.TLSNotEstablished, match="cannot be read"):
        connect(server, require_tls=True)
    server.wait_idle()
    assert not {"MAIL", "AUTH", "HELO"} & set(verbs(server))


def test_reply_error_travels():
    """A ReplyError pickles with its text and its raw bytes."""
    error = rt.ReplyError("a sentence", b"raw\x1b")
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.smtp_code, twin.smtp_error) == ("a sentence", -1, b"raw\x1b")


def test_memory_is_bounded(serve):
    """O6, L01: an endless reply does not grow the process."""

    def flood(connection):
        for _ in range(2000):
            connection.send(b"250-" + b"x" * 1000 + b"\r\n")

    server = serve(script={"EHLO": flood})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(rt.ReplyError):
        connect(server).ehlo()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 8 * 1024


# -- what counts as taken --------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["200 fine", "251 fine", "299 fine", "354 more"])
def test_only_250_accepts(serve, reply):
    """B09: another positive answer to the message says neither yes nor no."""
    server = serve(script={".": lie(reply)})
    smtp = connect(server)
    with pytest.raises(rt.DeliveryUnknown, match=reply[:3]) as caught:
        send(smtp)
    assert caught.value.recipients == ("one@e.f", "two@e.f")
    assert smtp.last_verdict is None
    assert disconnected(smtp)


@pytest.mark.parametrize("reply", ["250 ok", "200 ok", "334 go"])
def test_only_354_opens_the_content(serve, reply):
    """B10: another answer to DATA that is no refusal ends the session; the content stays here."""
    server = serve(script={"DATA": lie(reply)})
    smtp = connect(server)
    with pytest.raises(rt.ReplyError, match="DATA was answered"):
        send(smtp)
    assert disconnected(smtp)
    server.wait_idle()
    assert not [line for line in server.transcript if b"canary" in line.data]


LOST = [("closed", close), ("reset", reset), ("stalled", stall)]


@pytest.mark.parametrize("step", [pytest.param(r[1], id=r[0]) for r in LOST])
def test_lost_after_the_dot(serve, step):
    """L08, O4: lost after the content has left: unknown, not sent again, with the recipients."""
    server = serve(script={".": step, "RCPT": ["250 ok", "550 5.1.1 no"]})
    smtp = connect(server)
    smtp.starttls()
    smtp.ehlo()
    smtp.sock.settimeout(TIMEOUT)
    with pytest.raises(rt.DeliveryUnknown) as caught:
        send(smtp)
    assert caught.value.recipients == ("one@e.f",)
    assert caught.value.refused == {"two@e.f": (550, b"5.1.1 no")}
    assert disconnected(smtp)
    server.stop()
    assert verbs(server).count("MAIL") == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("step", [pytest.param(r[1], id=r[0]) for r in LOST])
def test_lost_before_the_content(serve, stage, step):
    """E15: lost before the content: an ordinary lost connection, safe to try again."""
    server = serve(script={stage: step})
    smtp = connect(server)
    smtp.starttls()
    smtp.ehlo()
    smtp.sock.settimeout(TIMEOUT)
    started = time.monotonic()
    with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
        send(smtp)
    assert in_time(started)
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    assert disconnected(smtp)
    server.stop()
    assert server.ledger == []


def test_lmtp_lost_between_answers(serve):
    """O4: with LMTP each recipient's outcome is told apart: accepted, refused, unknown."""
    server = serve(lmtp=True, script={".": ["250 ok", "550 5.7.1 no", close]})
    smtp = connect(server, rt.LMTP)
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail("a@b.c", [f"{name}@x.y" for name in ("one", "two", "three")], RAW)
    assert caught.value.accepted == ("one@x.y",)
    assert caught.value.refused == {"two@x.y": (550, b"5.7.1 no")}
    assert caught.value.recipients == ("three@x.y",)
    server.wait_idle()
    assert [item.recipients for item in server.ledger] == [("one@x.y",)]


# -- time ------------------------------------------------------------------------------------------


def drip(connection):
    """Say a greeting a byte at a time, faster than any timeout of a single read."""
    connection.drip(b"220 " + b"x" * 1000 + b"\r\n", 0.02)


def test_dripping_greeting(serve):
    """L03, O5: the timeout bounds the whole reply, not each byte of it."""
    server = serve(script={"GREETING": drip})
    started = time.monotonic()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="within"):
        rt.SMTP(server.host, server.port, timeout=TIMEOUT)
    assert in_time(started)


def late_and_never(connection):
    """Say a little shortly before the deadline, and then nothing."""
    connection.wait(TIMEOUT * 0.8)
    connection.send(b"220-")
    connection.drain()


def test_late_and_never(serve):
    """O5: what comes shortly before the deadline does not put it off."""
    server = serve(script={"GREETING": late_and_never})
    started = time.monotonic()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="within"):
        rt.SMTP(server.host, server.port, timeout=TIMEOUT)
    assert in_time(started)


def test_stalled_handshake(serve):
    """A08, O5: one deadline over the whole handshake."""
    server = serve(script={"HANDSHAKE": stall})
    smtp = rt.SMTP(server.host, server.port, timeout=TIMEOUT, context=server.client_context())
    started = time.monotonic()
    with pytest.raises(rt.TLSNotEstablished) as caught:
        send(smtp)
    assert in_time(started)
    assert caught.value.temporary


def test_late_reply_is_not_the_next_ones(serve):
    """B25: a reply that comes after its deadline ends the session, and answers nothing else."""
    server = serve(script={"NOOP": delay(TIMEOUT * 1.5)})
    smtp = rt.SMTP(server.host, server.port, timeout=TIMEOUT)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.noop()
    assert disconnected(smtp)


@pytest.mark.parametrize(
    ("command", "timeout", "want"),
    [
        ("", None, 300), ("MAIL", None, 300), ("RCPT", None, 300), ("DATA", None, 120),
        (".", None, 600), ("EHLO", None, 300), ("QUIT", None, 5), ("QUIT", 60, 5),
        ("QUIT", 1, 1), ("MAIL", 7, 7),
    ],
)  # fmt: skip
def test_patience(command, timeout, want):
    """SMTP-15, L06, L11: the caller's timeout, else RFC 5321 s4.5.3.2's; QUIT never over 5 s."""
    from requiretls_client.wire import _patience

    assert _patience(command, timeout) == want


def test_timeout_stays_what_it_was(serve):
    """The socket's timeout is the caller's again after every exchange."""
    server = serve()
    with connect(server) as smtp:
        for timeout in (None, 3.5):
            smtp.sock.settimeout(timeout)
            smtp.noop()
            assert smtp.sock.gettimeout() == timeout
        smtp.sendmail("a@b.c", "d@e.f", b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000)
        assert smtp.sock.gettimeout() == 3.5
    assert server.ledger[0].content.count(b"line\r\n") == 50_000


def test_another_process_reads_nothing(serve, monkeypatch):
    """M09: what a forked child finds out about the parent's session, it does not take from it."""
    connections = []
    server = serve(script={"NOOP": lambda connection: connections.append(connection) or "250 ok"})
    smtp = connect(server)
    smtp.noop()
    connections[0].reply("421 idle")
    time.sleep(0.05)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        assert not smtp._stands()
        assert smtp._pipe.parser.idle
    assert not smtp._stands()
    assert not smtp._pipe.parser.idle
    smtp.close()


# -- interruptions ---------------------------------------------------------------------------------


class Alarm(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("nth", range(12))
def test_interrupted_reading(serve, monkeypatch, nth):
    """M11: an exception at the n-th read leaves the session closed, and never a false success."""
    server = serve()
    calls = iter(range(1000))

    class Interrupted(rt.SMTP):
        def _read(self, pipe, most):
            receive, pipe_sock = pipe.sock.recv, pipe.sock

            class Socket:
                def __getattr__(self, name):
                    return getattr(pipe_sock, name)

                def recv(self, size):
                    if next(calls) == nth:
                        raise Alarm
                    return receive(size)

            pipe.sock = Socket()
            try:
                return super()._read(pipe, most)
            finally:
                pipe.sock = pipe_sock

    smtp = None
    try:
        smtp = connect(server, Interrupted)
        assert send(smtp) == {}
        smtp.close()
        delivered = True
    except Alarm:
        delivered = False
        assert smtp is None or disconnected(smtp)
    server.wait_idle()
    if delivered:
        assert len(server.ledger) == 1
    assert verbs(server).count("MAIL") <= 1


def test_interrupted_reading_by_hand(serve, monkeypatch):
    """M11: nor does a session go on whose own command was interrupted before its reply."""
    server = serve()
    smtp = connect(server)

    def interrupted(pipe, most, limit, timeout):
        raise Alarm

    with monkeypatch.context() as patch:
        patch.setattr(rt.SMTP, "_wait", staticmethod(interrupted))
        with pytest.raises(Alarm):
            smtp.noop()
    assert disconnected(smtp)


def test_answer_to_content_sent_by_hand(serve):
    """SMTP-19: data() by itself says so too when nobody knows whether the message was taken."""
    server = serve(script={".": close})
    smtp = connect(server)
    smtp.ehlo()
    smtp.mail("a@b.c")
    smtp.rcpt("d@e.f")
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.data(RAW)
    assert caught.value.recipients == ("d@e.f",)
    assert disconnected(smtp)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_child(serve):
    """M09: a child process sends nothing on the parent's session, which goes on unharmed."""
    server = serve()
    smtp = connect(server, require_tls=True)
    before = len(server.transcript)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            smtp.sendmail("a@b.c", "d@e.f", RAW)
        except smtplib.SMTPServerDisconnected as error:
            status = 0 if "fork" in str(error) else 2
        finally:
            smtp.close()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(server.transcript) == before
    smtp.sendmail("a@b.c", "d@e.f", RAW)
    smtp.quit()
    assert len(server.ledger) == 1
