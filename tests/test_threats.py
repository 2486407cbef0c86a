"""Rows of the catalogue of threats that no other file shows, and the page that lists them all."""

from __future__ import annotations

import ast
import contextlib
import email.message
import hashlib
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from nameserver import NameServer, reply
from small_internet import GOOD, refused, send
from support import CA_AT_HAND, RAW, connect, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client import connection
from requiretls_client.cache import MemoryStore
from requiretls_client.testing import CA, close, reset, stall

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs/threats.rst"
TIMEOUT = 0.4  # seconds; what stalls below stalls for ever


def in_time(started):
    """Tell whether a call ended within its deadline, and 10 % and 100 ms (O5)."""
    return time.monotonic() - started < TIMEOUT * 1.1 + 0.1


# -- the watch over all tests ----------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["message", "session"])
def test_watch_sees_a_message_in_clear(serve, monkeypatch, watch, whose):
    """O1: with the guard cut out, a strict message in clear does not escape the watch."""
    server = serve()
    monkeypatch.setattr(rt.SMTP, "_secure", lambda self, **_: self.judge())
    monkeypatch.setattr(rt.SMTP, "_check_command", lambda *_: None)
    with connect(server, require_tls=whose == "session") as smtp:
        smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True if whose == "message" else None)
    assert not server.ledger[0].tls
    said = b"".join(watch.leaks())
    watch.strict.clear()  # seen, and meant
    assert b":<a@b.c>" in said
    assert b"canary-subject" in said


def test_watch_lets_ordinary_mail_go(serve, watch):
    """O1: ordinary mail in clear, before and beside strict mail, is nobody's leak."""
    server = serve()
    with connect(server) as one, connect(server) as other:
        one.sendmail("a@b.c", "d@e.f", RAW)
        one.sendmail("a@b.c", "d@e.f", RAW, require_tls=True)
        other.sendmail("a@b.c", "d@e.f", RAW)
    assert len(watch.strict) == 1
    assert watch.leaks() == []


# -- B: replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["REQUIRETLS foo", "requiretls", "REQUIRETLS  ", "RequireTLS=1 x"])
def test_offer_with_a_parameter(serve, line):
    """B14, B15: words behind the keyword are no objection; another keyword is none."""
    server = serve(tls_extensions=[line])
    smtp = connect(server)
    if "=" in line:
        with pytest.raises(rt.RequireTLSNotOffered):
            smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True)
    else:
        assert smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True) == {}
    smtp.close()
    server.wait_idle()
    assert len(server.ledger) == ("=" not in line)


@pytest.mark.parametrize(
    "said", [b"what?\r\n", b"25\r\n", b"what?", b"250-a\r\n550 b\r\n", b"250 early\r\n"]
)
def test_nonsense_before_a_command(serve, said):
    """B01, B07: what was said unasked ends the session, a reply or not."""
    server = serve(script={"NOOP": b"250 ok\r\n" + said})
    smtp = connect(server)
    smtp.noop()
    try:
        with pytest.raises(rt.ReplyError, match="unasked"):
            smtp.sendmail("a@b.c", "d@e.f", RAW)
    finally:
        smtp.close()


@pytest.mark.parametrize("separator", ["", " "])
def test_replies_without_text(serve, separator):
    """B19: a code alone is a whole reply at every stage."""
    codes = {"MAIL": 250, "RCPT": 250, "DATA": 354, ".": 250, "QUIT": 221, "GREETING": 220}
    server = serve(script={stage: f"{code}{separator}" for stage, code in codes.items()})
    with connect(server) as smtp:
        assert smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True) == {}
    assert len(server.ledger) == 1


def test_basic_code_decides(serve):
    """B21: where the enhanced code says the opposite the basic code decides; both are shown."""
    server = serve(script={"RCPT": ["250 5.1.1 no", "550 2.1.5 yes"], ".": "250 5.7.30 no"})
    with connect(server) as smtp:
        refused = smtp.sendmail("a@b.c", ["one@e.f", "two@e.f"], RAW, require_tls=True)
    assert refused == {"two@e.f": (550, b"2.1.5 yes")}
    assert [item.recipients for item in server.ledger] == [("one@e.f",)]


# -- C: arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "strict"])
def test_bad_header_value(serve, strict):
    """C09: a field value that carries another field is refused, and nothing of it is sent."""
    server = serve()
    message = email.message.Message()
    message["From"], message["To"] = "a@b.c", "d@e.f"
    message["Subject"] = "canary\nBcc: victim@example.org"
    message.set_payload("canary")
    with connect(server) as smtp, pytest.raises(ValueError, match="header"):
        smtp.send_message(message, require_tls=strict)
    server.wait_idle()
    assert nothing_sent(server)


# -- F: names --------------------------------------------------------------------------------------


def test_server_name_indication(serve):
    """F12, F14: SNI is the name that is verified: lower case, no dot at the end, no port."""
    server = serve(certificate=CA_AT_HAND.issue("localhost", "mx.example.net"))
    context = CA_AT_HAND.context()
    for host, name in [
        (server.host, None), ("LOCALHOST", None), (f"localhost:{server.port}", None),
        (server.host, "MX.example.net."),
    ]:  # fmt: skip
        port = 0 if ":" in host else server.port
        options = {"require_tls": True, "context": context, "server_hostname": name}
        with rt.SMTP(host, port, timeout=5, **options) as smtp:
            smtp.sendmail("a@b.c", "d@e.f", RAW)
    assert server.server_names == ["localhost"] * 3 + ["mx.example.net"]
    assert len(server.ledger) == 4


# -- G: redirection --------------------------------------------------------------------------------


def test_redirections_are_not_followed(serve):
    """G12: another host in the server's text is text, and 551 is a refusal."""
    other = serve()
    said = f"localhost port {other.port}"
    rows = {"GREETING": f"220 use {said}", "RCPT": f"551 forward to <b@{said}>"}
    server = serve(script=rows)
    smtp = connect(server)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True)
    assert caught.value.recipients["d@e.f"][0] == 551
    smtp.quit()
    assert server.ledger == []
    assert other.transcript == []


# -- H: mail hosts ---------------------------------------------------------------------------------


def test_certificate_of_the_end_of_an_alias(net, message):
    """H06: behind a CNAME the name in the MX record is verified; the target's name proves nothing.

    The CNAME is not signed, so nothing but PKIX can prove who the host is.
    """
    server = net.host("real.example.org", tlsa=False)
    net.records[f"{GOOD} CNAME"] = ["real.example.org"]
    net.insecure.add(GOOD)
    net.mx(GOOD)
    assert refused(net, message).status == "5.7.10"
    assert server.server_names == [GOOD]


def test_addresses_are_looked_up_once(net, message):
    """H15: what is connected to is what was looked up, whatever the DNS says a moment later.

    A TLSA record of usage 2 needs two connections.
    """
    authority = CA().child()
    first = net.host(GOOD, certificate=authority.issue(GOOD))
    other = net.host("other.example.org", certificate=authority.issue(GOOD))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.pem.decode())).hexdigest()
    net.records[net.tlsa(GOOD)] = [f"2 0 1 {digest}"]
    net.mx(GOOD)
    flipping = [reply("127.0.1.1", secure=True), reply("127.0.1.2", secure=True)]
    with NameServer({**net.zone(), (GOOD, "A"): flipping}) as names:
        lookups = net.real_lookups(names, MemoryStore())
        assert send(net, message, lookups=lookups).delivered
        lookups.close()
    assert [query for query in names.asked() if query == (GOOD, "A")] == [(GOOD, "A")]
    assert verbs(first).count("EHLO") == 4
    assert other.transcript == []


@pytest.mark.parametrize("options", [{"timeout": TIMEOUT}, {"timeout": None}], ids=["own", "ours"])
def test_dead_addresses(net, message, monkeypatch, options):
    """H12, L09: an address that answers nothing, and one that refuses, are given up in time."""
    if options["timeout"] is None:  # RFC 5321's minutes for each of several addresses are too many
        monkeypatch.setattr(connection, "CONNECT_TIMEOUT", TIMEOUT)
        del options["timeout"]
    server = net.host(GOOD)
    net.records[f"{GOOD} A"] = ["127.0.1.200", "127.0.1.201", "127.0.1.1"]
    net.mx(GOOD)
    with contextlib.ExitStack() as stack:
        fill_queue(stack, "127.0.1.200", net.port)
        started = time.monotonic()
        (result,) = rt.deliver(
            message, require_tls=True, lookups=net.lookups(), port=net.port, **options
        ).recipients
        assert TIMEOUT <= time.monotonic() - started < TIMEOUT * 1.1 + 1
    assert [each.verdict.status for each in result.attempts] == ["4.4.1", "4.4.1", None]
    assert len(server.ledger) == 1


# -- L: time and size ------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True], ids=["ordinary", "strict"])
@pytest.mark.parametrize(
    "step", [reset, close, "421 4.3.2 later", stall], ids=["reset", "closed", "421", "stalled"]
)
def test_server_that_does_not_greet(serve, step, strict):
    """L09: whatever comes in place of a greeting is an error in time, and no session."""
    server = serve(script={"GREETING": step})
    started = time.monotonic()
    early = ConnectionError  # the reset may come before connect() ends
    with pytest.raises((smtplib.SMTPException, early)):
        rt.SMTP(server.host, server.port, timeout=TIMEOUT, require_tls=strict)
    assert in_time(started)
    server.stop()
    assert verbs(server) == []


def fill_queue(stack, address, port):
    """Listen at an address whose queue is full, which drops the next SYN; return the port."""
    listener = stack.enter_context(socket.socket())
    listener.bind((address, port))
    listener.listen(0)
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    return listener.getsockname()[1]


def test_nobody_there():
    """L09: a refused connection is an OSError at once; one that nobody answers, in time."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            rt.SMTP("127.0.0.1", port, timeout=TIMEOUT, require_tls=True)
        port = fill_queue(stack, "127.0.0.1", 0)
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 - a timeout, before or after connecting
            rt.SMTP("127.0.0.1", port, timeout=TIMEOUT, require_tls=True)
        assert in_time(started)


OFFERS = [
    (
        "many",
        b"".join(b"250-X-%d\r\n" % number for number in range(10_000)) + b"250 REQUIRETLS\r\n",
    ),
    ("long", b"250-localhost\r\n250 REQUIRETLS " + b"x" * 60_000 + b"\r\n"),
]


@pytest.mark.parametrize("offer", [pytest.param(row[1], id=row[0]) for row in OFFERS])
def test_endless_offer(serve, offer):
    """L10: 10,000 keywords, or one of 60 KB, are no offer, and are not read to their end."""
    server = serve(script={"EHLO tls": offer})
    started = time.monotonic()
    with pytest.raises(rt.TLSNotEstablished, match="longer than"):
        connect(server, require_tls=True)
    assert time.monotonic() - started < 1
    server.stop()
    assert nothing_sent(server)


def half_close(connection):
    """Take the message, and say nothing more."""
    connection.reply("250 2.0.0 taken")
    connection.close()


ENDS = [
    ("L11-stalled", {"QUIT": stall}),
    ("L11-dropped", {"QUIT": close}),
    ("L11-reset", {"QUIT": reset}),
    ("L11-nonsense", {"QUIT": b"what?\r\n"}),
    ("L12-half-closed", {".": half_close}),
]


@pytest.mark.parametrize("script", [pytest.param(row[1], id=row[0]) for row in ENDS])
def test_trouble_behind_the_message(serve, script):
    """L11, L12: how a server ends the session changes no verdict and takes no time."""
    server = serve(script=script)
    context = server.client_context()
    started = time.monotonic()
    with rt.SMTP(server.host, server.port, timeout=TIMEOUT, context=context) as smtp:
        assert smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True) == {}
    assert in_time(started)
    assert smtp.sock is None
    assert smtp.last_verdict.allowed


# -- M: processes, threads, signals, leaks ---------------------------------------------------------

CLIENT = """
import sys
from requiretls_client import SMTP
from requiretls_client.tls import client_context
port, roots, raw = sys.argv[1:]
smtp = SMTP("localhost", int(port), timeout=5, context=client_context(roots))
smtp.sendmail("a@b.c", "d@e.f", raw, require_tls=True)
%s
"""


def start_client(server, tmp_path, end="smtp.quit()"):
    """Start a process that sends one strict message."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(server.ca.pem)
    options = ["-W", "error", "-X", "dev", "-c", CLIENT % end]
    return subprocess.Popen(
        [sys.executable, *options, str(server.port), roots, RAW.decode()],
        stderr=subprocess.PIPE,
    )


STAGES = [
    "GREETING",
    "EHLO plain",
    "STARTTLS",
    "HANDSHAKE",
    "EHLO tls",
    "MAIL",
    "RCPT",
    "DATA",
    ".",
]


@pytest.mark.parametrize("stage", STAGES)
def test_killed(serve, tmp_path, stage):
    """M01: a client that is killed at any step has sent one copy or none, and nothing in clear."""
    reached = threading.Event()

    def wait_for_the_end(connection):
        reached.set()
        connection.drain()

    server = serve(script={stage: [wait_for_the_end]})
    with start_client(server, tmp_path) as process:
        assert reached.wait(10)
        process.kill()
    server.wait_idle()
    assert server.ledger == []
    assert not {"MAIL", "RCPT", "DATA"} & set(verbs(server, "plain"))
    with start_client(server, tmp_path) as process:
        assert process.wait(10) == 0
    assert len(server.ledger) == 1


def test_interpreter_ends_with_an_open_session(serve, tmp_path):
    """M15: a session left open: no QUIT behind one's back, only Python's word on the socket."""
    server = serve()
    with start_client(server, tmp_path, "") as process:
        assert process.wait(10) == 0
        said = process.stderr.read().decode()
    server.wait_idle()
    assert [line for line in said.splitlines() if "SSLSocket" not in line] == []
    assert verbs(server)[-1] == "DATA"


class Alarm(BaseException):
    """What the signal handler raises."""


@pytest.mark.parametrize(
    "stage", ["EHLO plain", "STARTTLS", "EHLO tls", "MAIL", "RCPT", "DATA", "."]
)
def test_signal_while_waiting(serve, stage):
    """M11: a signal that raises while a reply is due leaves the session closed."""

    def ring(connection):
        connection.send(b"250-half a")
        os.kill(os.getpid(), signal.SIGUSR1)
        connection.drain()

    def handler(*_):
        raise Alarm

    server = serve(script={stage: ring})
    smtp = connect(server)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Alarm):
            smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert smtp.sock is None
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.sendmail("a@b.c", "d@e.f", RAW)
    server.wait_idle()
    assert server.ledger == []


def test_many_threads_share_a_session(serve):
    """M10: messages of many threads over one session each arrive whole."""
    server = serve()
    smtp = connect(server, require_tls=True)
    errors = []

    def send(number):
        try:
            smtp.sendmail(
                "a@b.c", [f"{number}@e.f", f"{number}@g.h"], b"X: y\r\n\r\n%d\r\n" % number
            )
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    smtp.quit()
    assert not errors
    assert len(server.ledger) == 50
    for item in server.ledger:
        number = item.content.split()[-1].decode()
        assert item.recipients == (f"{number}@e.f", f"{number}@g.h")
        assert "REQUIRETLS" in item.parameters


FAILURES = [
    ("handshake", {"script": {"HANDSHAKE": reset}}),
    ("certificate", {"certificate": CA_AT_HAND.issue("localhost", expired=True)}),
    ("not-offered", {"tls_extensions": []}),
    ("malformed", {"script": {"EHLO tls": b"?\r\n"}}),
    ("dropped", {"script": {"MAIL": close}}),
]


@pytest.mark.parametrize("options", [pytest.param(row[1], id=row[0]) for row in FAILURES])
def test_failures_leave_nothing_behind(serve, options):
    """M13: failed sends leave no file descriptor and no thread open."""
    server = serve(**options)
    context = server.client_context()

    def fail():
        with contextlib.suppress(smtplib.SMTPException):
            smtp = connect(server, context=context)
            smtp.sendmail("a@b.c", "d@e.f", RAW, require_tls=True)

    fail()
    server.wait_idle()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(50):
        fail()
    server.wait_idle()
    # those of an earlier test may have ended meanwhile
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads
    assert server.ledger == []


# -- N: arguments of smtplib -----------------------------------------------------------------------


def test_arguments_of_the_constructor(serve):
    """N05: source_address, ``host:port`` and timeout=0 are what they are in smtplib."""
    server = serve()
    source = ("127.0.0.1", 0)
    with rt.SMTP(server.host, server.port, None, 5, source, require_tls=False) as smtp:
        assert smtp.sock.getsockname()[0] == "127.0.0.1"
        assert smtp.noop()[0] == 250
    with rt.SMTP(f"{server.host}:{server.port}", timeout=5) as smtp:
        assert smtp.noop()[0] == 250
    with pytest.raises(ValueError, match="timeout"):
        rt.SMTP(server.host, server.port, timeout=0)


# -- the page --------------------------------------------------------------------------------------


def test_every_test_named_in_the_threats_exists():
    """docs/threats.rst names tests by file and function, and they are there."""
    text = PAGE.read_text()
    named = re.findall(r"``([\w/]+\.py)::(\w+)``", text)
    assert len(named) > 60
    for file, function in named:
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{file}::{function}"
