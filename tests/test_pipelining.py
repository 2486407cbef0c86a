"""Messages in groups of commands (RFC 2920) and with BDAT (RFC 3030): same outcome, fewer trips."""

from __future__ import annotations

import smtplib
import socket
import threading
import time

import pytest
from support import RAW, connect, nothing_sent, verbs

import requiretls_client as rt
from requiretls_client import pipelining
from requiretls_client.testing import close

SENDER, ONE, TWO = "alice@example.org", "one@example.net", "two@example.net"
OFFERS = ["PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
CHUNKING = {"extensions": [*OFFERS, "CHUNKING"]}
SERVED = CHUNKING["extensions"]  # by default, see the fixture client
WAYS = ["steps", "groups", "chunks"]


@pytest.fixture(autouse=True)
def grouped(monkeypatch):
    """Send in groups of commands, whatever the others do in this run."""
    monkeypatch.setattr(rt.SMTP, "use_pipelining", True)


def send(smtp, to=(ONE, TWO), raw=RAW, **options):
    """Send; return the result, or what was raised as its name, code, and refused recipients."""
    try:
        return smtp.sendmail(SENDER, list(to), raw, **options)
    except smtplib.SMTPException as error:
        fields = {name: getattr(error, name, None) for name in ("smtp_code", "recipients")}
        return type(error).__name__, fields, smtp.sock is None


SCRIPTS = [
    ("good", {}),
    ("one-refused", {"RCPT": ["550 5.1.1 no", "250 ok"]}),
    ("251", {"RCPT": ["251 forwarded", "250 ok"]}),
    ("all-refused", {"RCPT": "550 5.1.1 no"}),
    ("mail-refused", {"MAIL": "550 5.7.1 no"}),
    ("mail-later", {"MAIL": "451 4.7.1 later"}),
    ("rcpt-421", {"RCPT": ["250 ok", "421 4.3.2 bye"]}),
    ("rcpt-200", {"RCPT": ["200 hm", "250 ok"]}),
]


@pytest.mark.parametrize("require_tls", [False, True], ids=["ordinary", "require-tls"])
@pytest.mark.parametrize("script", [row[1] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS])
def test_same_outcome_whatever_the_way(client, script, require_tls):
    """PIPE-02: step by step, in groups or in chunks: the same result, exceptions and ledger."""
    outcomes = []
    for way in WAYS:
        server, smtp = client(way, script=script)
        result = send(smtp, require_tls=require_tls)
        again = send(smtp, raw=RAW + b"second\r\n") if smtp.sock is not None else None
        smtp.close()
        server.wait_idle()
        taken = [(each.recipients, each.content) for each in server.ledger]
        marks = ["REQUIRETLS" in each.parameters for each in server.ledger]
        outcomes.append((result, again, taken, marks))
    first = outcomes[0][0]
    if isinstance(first, tuple) and first[0] == "ReplyError" and not require_tls:
        # The message has left and was taken, of one recipient nobody knows: neither yes nor no.
        assert outcomes.pop()[0][0] == "DeliveryUnknown"
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("answer", ["451 4.3.0 later", "554 5.7.1 no", "421 4.3.2 bye"])
def test_refused_content(client, answer):
    """PIPE-02, CHK-03: a message that is refused is SMTPDataError, and the session can go on."""
    outcomes = []
    for way, stage in (("steps", "."), ("groups", "."), ("chunks", "BDAT")):
        server, smtp = client(way, script={stage: [answer]})
        first = send(smtp)
        outcomes.append((first, send(smtp) if smtp.sock is not None else None))
        smtp.close()
        server.wait_idle()
        assert len(server.ledger) == (outcomes[-1][1] == {})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][0][:2] == ("SMTPDataError", {"smtp_code": int(answer[:3]),
                                                    "recipients": None})  # fmt: skip


CONTENT = [
    b"",
    b".\r\n",
    b"..\r\n.x\r\n\r\n.\r\n",
    b"no end",
    b"\r\n.",
    b"x" * 998 + b"\r\n" + b"y\r\n" * 50_000,
    b".\r\n" * 40_000,
    "ünï\r\n".encode() * 10,
]


@pytest.mark.parametrize("content", CONTENT, ids=range(len(CONTENT)))
@pytest.mark.parametrize("way", WAYS)
def test_content_arrives(client, way, content):
    """SMTP-14, CHK-02: the same octets arrive, with dots or without, of any size."""
    server, smtp = client(way)
    raw = b"Subject: x\r\n\r\n" + content
    assert send(smtp, raw=raw) == {}
    smtp.quit()
    arrived = server.ledger[0].content
    assert arrived == (raw if raw.endswith(b"\r\n") or way == "chunks" else raw + b"\r\n")
    assert ("BDAT" in verbs(server)) is (way == "chunks")
    assert ("DATA" in verbs(server)) is (way != "chunks")


@pytest.mark.parametrize("way", ["groups", "chunks"])
def test_strict_content_waits_for_mail(client, way):
    """PIPE-04: a message with REQUIRETLS leaves only after MAIL was accepted with it."""
    server, smtp = client(way, script={"MAIL": "555 5.5.4 REQUIRETLS is not for you"})
    with pytest.raises(smtplib.SMTPSenderRefused) as caught:
        smtp.sendmail(SENDER, ONE, RAW, require_tls=True)
    assert caught.value.smtp_code == 555
    said = b"".join(line.data for line in server.transcript if line.side == "C")
    assert b"canary" not in said
    assert "BDAT" not in verbs(server)
    assert [line for line in server.commands("tls") if line.startswith("MAIL")] == [
        f"MAIL FROM:<{SENDER}> SIZE={len(RAW)} REQUIRETLS"
    ]


class Patient:
    """A server that answers a group of commands only once all of it has come.

    A client that waits for an answer before its next command waits in vain.
    """

    def __init__(self, offer: bytes, ends: list[tuple[bytes, bytes]]) -> None:
        """Read up to each of ``ends``, then send what stands beside it."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.flights: list[bytes] = []
        self._said = [(b"\r\n", offer), *ends]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(5)
            sock.sendall(b"220 hello\r\n")
            for end, answer in self._said:
                data = b""
                while not data.endswith(end):
                    part = sock.recv(65536)
                    if not part:
                        return
                    data += part
                self.flights.append(data)
                sock.sendall(answer)

    def __enter__(self):
        """Return the server."""
        return self

    def __exit__(self, *_):
        """Wait for the end of the dialogue."""
        self._thread.join(10)
        self.listener.close()


EHLO = b"250-hello\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


def test_envelope_in_one_flight():
    """PIPE-01: MAIL, every RCPT and DATA leave together, then the content."""
    group = b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    ends = [(b"DATA\r\n", group), (b"\r\n.\r\n", b"250 queued\r\n"), (b"QUIT\r\n", b"221 bye\r\n")]
    with Patient(EHLO, ends) as server, rt.SMTP("127.0.0.1", server.port, timeout=5) as smtp:
        assert smtp.sendmail(SENDER, [ONE, TWO], RAW) == {}
    assert server.flights[1] == (
        f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{ONE}>\r\nRCPT TO:<{TWO}>\r\nDATA\r\n".encode()
    )
    assert server.flights[2] == RAW + b".\r\n"


def test_message_in_one_flight():
    """RFC 3030: an ordinary message rides in the flight of its envelope: one round trip."""
    ends = [(RAW, b"250 ok\r\n250 ok\r\n250 queued\r\n"), (b"QUIT\r\n", b"221 bye\r\n")]
    offer = EHLO.replace(b"8BITMIME", b"CHUNKING")
    with Patient(offer, ends) as server, rt.SMTP("127.0.0.1", server.port, timeout=5) as smtp:
        smtp.use_chunking = True
        assert smtp.sendmail(SENDER, ONE, RAW) == {}
    assert server.flights[1] == (
        f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{ONE}>\r\nBDAT {len(RAW)} LAST\r\n".encode() + RAW
    )


def test_empty_message_for_nobody():
    """PIPE-02: where nobody is left and DATA was accepted all the same, a lone dot ends it."""
    ends = [
        (b"DATA\r\n", b"250 ok\r\n550 no\r\n354 go\r\n"),
        (b".\r\n", b"554 no valid recipients\r\n"),
        (b"\r\n", b"250 reset\r\n"),
        (b"QUIT\r\n", b"221 bye\r\n"),
    ]
    with (
        Patient(EHLO, ends) as server,
        rt.SMTP("127.0.0.1", server.port, timeout=5) as smtp,
        pytest.raises(rt.SMTPRecipientsRefused),
    ):
        smtp.sendmail(SENDER, ONE, RAW)
    assert server.flights[2] == b".\r\n"
    assert server.flights[3].upper() == b"RSET\r\n"


def test_recipient_of_a_mail_that_was_refused():
    """PIPE-02: a server that contradicts itself gets no dot: somebody could get an empty mail."""
    ends = [(b"DATA\r\n", b"550 no\r\n250 ok\r\n354 go\r\n")]
    with Patient(EHLO, ends) as server:
        smtp = rt.SMTP("127.0.0.1", server.port, timeout=5)
        with pytest.raises(rt.SMTPSenderRefused):
            smtp.sendmail(SENDER, ONE, RAW)
        assert smtp.sock is None
    assert len(server.flights) == 2


def test_message_taken_although_refused():
    """PIPE-02: BDAT answered 250 behind a refused MAIL is neither yes nor no."""
    ends = [(RAW, b"550 no\r\n550 no\r\n250 queued\r\n")]
    offer = EHLO.replace(b"8BITMIME", b"CHUNKING")
    with Patient(offer, ends) as server:
        smtp = rt.SMTP("127.0.0.1", server.port, timeout=5)
        smtp.use_chunking = True
        with pytest.raises(rt.DeliveryUnknown):
            smtp.sendmail(SENDER, ONE, RAW)
        assert smtp.sock is None


def test_server_that_drops_what_is_behind_mail():
    """A server that offers PIPELINING and flushes its input ends in a clear error, no success."""
    with Patient(EHLO, [(b"DATA\r\n", b"250 ok\r\n"), (b"never", b"")]) as server:
        smtp = rt.SMTP("127.0.0.1", server.port, timeout=0.3)
        with pytest.raises(rt.SMTPServerDisconnected, match="replies to a group"):
            smtp.sendmail(SENDER, ONE, RAW)
        assert smtp.sock is None
    assert not [flight for flight in server.flights if b"canary" in flight]


@pytest.mark.parametrize("way", ["groups", "chunks"])
def test_many_recipients(client, way):
    """PIPE-03: 5,000 recipients, and long answers to each: no deadlock, and none is lost."""
    to = [f"user{number}@example.net" for number in range(5000)]
    server, smtp = client(way, script={"RCPT": "250 2.1.5 " + "x" * 400})
    assert send(smtp, to) == {}
    smtp.quit()
    assert server.ledger[0].recipients == tuple(to)
    assert verbs(server).count("RCPT") == 5000


def test_groups_are_bounded(client):
    """PIPE-03: no more commands are under way than their answers fit into a window."""
    assert pipelining.GROUP <= 200
    to = [f"user{number}@example.net" for number in range(pipelining.GROUP + 1)]
    server, smtp = client(script={"MAIL": "550 no"})
    assert send(smtp, to)[0] == "SMTPSenderRefused"
    assert verbs(server).count("RCPT") == pipelining.GROUP - 1  # the second group never left


@pytest.mark.parametrize(
    ("stage", "way", "require_tls"),
    [(".", "groups", False), (".", "groups", True), ("BDAT", "chunks", False),
     (".", "chunks", True)],
)  # fmt: skip
def test_lost_behind_the_message(client, stage, way, require_tls):
    """L08: the message has left and no answer comes: unknown, with the recipients concerned."""
    _, smtp = client(way, script={stage: close, "RCPT": ["550 no", "250 ok"]})
    with pytest.raises(rt.DeliveryUnknown) as caught:
        smtp.sendmail(SENDER, [ONE, TWO], RAW, require_tls=require_tls)
    assert set(caught.value.recipients) in ({TWO}, {ONE, TWO})
    if require_tls or way == "groups":
        assert caught.value.recipients == (TWO,)
        assert set(caught.value.refused) == {ONE}


@pytest.mark.parametrize("way", ["groups", "chunks"])
@pytest.mark.parametrize("said", ["250 ok\r\n421 idle", "250 ok\r\n250 more", "owed"])
def test_nothing_has_left(client, way, said):
    """SMTP-19: where the session turns out to be broken before it begins, nobody is unknown."""
    server, smtp = client(way, script={"NOOP": "250 ok" if said == "owed" else said})
    smtp.putcmd("NOOP")
    if said != "owed":
        smtp.getreply()
        time.sleep(0.05)
    with pytest.raises(rt.SMTPServerDisconnected) as caught:
        smtp.sendmail(SENDER, ONE, RAW)
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    assert nothing_sent(server)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_lost_before_the_message(client, stage):
    """SMTP-19: lost among the answers to the envelope, before any content has left."""
    server, smtp = client(script={stage: close})
    with pytest.raises(rt.SMTPServerDisconnected) as caught:
        smtp.sendmail(SENDER, ONE, RAW)
    assert not isinstance(caught.value, rt.DeliveryUnknown)
    assert b"canary" not in b"".join(line.data for line in server.transcript)


@pytest.mark.parametrize("name", ["mail", "rcpt", "data", "putcmd", "getreply", "send"])
def test_subclass_with_its_own_way(client, name):
    """Subclasses that override a step of the dialogue get it step by step, through their own."""
    called = []

    def own(self, *arguments, **named):
        called.append(name)
        return getattr(super(cls, self), name)(*arguments, **named)

    cls = type("Own", (rt.SMTP,), {name: own})
    server, smtp = client("chunks", cls)
    called.clear()
    assert send(smtp) == {}
    assert name in called
    assert "BDAT" not in verbs(server)


def test_not_where_it_is_not_offered(serve):
    """PIPE-01, CHK-01: without PIPELINING step by step; DATA without CHUNKING, or the wish."""
    with connect(serve(**CHUNKING)) as smtp:
        assert not smtp.use_chunking
    server = serve(extensions=["8BITMIME", "CHUNKING"])
    with connect(server) as smtp:
        smtp.use_chunking = True
        smtp.starttls()
        smtp.sendmail(SENDER, ONE, RAW)
    assert "BDAT" not in verbs(server)
    server = serve(extensions=["PIPELINING"])
    with connect(server) as smtp:
        smtp.use_chunking = True
        smtp.starttls()
        smtp.sendmail(SENDER, ONE, RAW)
    assert "DATA" in verbs(server)


@pytest.mark.parametrize(
    ("commands", "content", "text"),
    [
        ([("BDAT", " 3 LAST")], b"four", "another size"),
        ([("BDAT", "")], b"x", "number"),
        ([("NOOP", "\r\nMAIL FROM:<a@b>")], b"", "line end"),
        ([("NOOP", "\nRSET")], b"", "line end"),
        ([("DATA", ""), ("NOOP", "")], b"", "would be content"),
        ([("BDAT", " 3 LAST"), ("NOOP", "")], b"", "would be content"),
    ],
)
def test_group_that_could_be_read_otherwise(client, commands, content, text):
    """The choke point takes a group only as what it says it is."""
    server, smtp = client()
    with pytest.raises(ValueError, match=text):
        smtp._send_flight(b"", [(commands, content)])
    assert nothing_sent(server)


def test_groups_pass_the_guard(client):
    """A MAIL in a group that does not carry what is required is refused like any other."""
    server, smtp = client()
    smtp._session_requires = True
    with pytest.raises(rt.RequireTLSMisuse):
        smtp._send_flight(
            b"", [([("NOOP", ""), ("MAIL", " FROM:<a@b.example>"), ("DATA", "")], b"")]
        )
    assert nothing_sent(server)


def test_marked_mail_passes_the_guard(serve):
    """In a group of an ordinary session too, REQUIRETLS is judged and never just said."""
    server = serve(**CHUNKING)
    with connect(server) as smtp:
        smtp.ehlo()
        with pytest.raises(rt.RequireTLSError):
            smtp._send_flight(b"", [([("MAIL", " FROM:<a@b.example> REQUIRETLS")], b"")])
    server.wait_idle()
    assert nothing_sent(server)


def test_recipients_pass_the_guard(serve):
    """Where TLS is required, no recipient is named in clear, in a group neither."""
    server = serve(**CHUNKING)
    with connect(server) as smtp:
        smtp.ehlo()
        smtp._session_requires = True
        with pytest.raises(rt.RequireTLSError):
            smtp._send_flight(b"", [([("RCPT", f" TO:<{ONE}>")], b"")])
    server.wait_idle()
    assert nothing_sent(server)


def test_debug_output_hides_content(client, capsys):
    """G06: at debug level 1 the content does not show, in groups and in chunks neither."""
    for way in ("groups", "chunks"):
        _, smtp = client(way)
        smtp.set_debuglevel(1)
        assert send(smtp) == {}
        smtp.quit()
    shown = capsys.readouterr().err
    assert "MAIL FROM" in shown
    assert "canary" not in shown
