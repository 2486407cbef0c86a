"""The test server, driven by stock smtplib and by raw sockets: it must be right by itself."""

from __future__ import annotations

import gc
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from requiretls_client import tls
from requiretls_client.testing import (
    CA,
    Accepted,
    Certificate,
    Connection,
    Line,
    Server,
    Step,
    close,
    delay,
    lie,
    normal,
    reset,
    stall,
    trust,
)

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
SENDER, RECIPIENT = "from@example.org", "to@example.net"


class Raw:
    """A client that says what it is told, byte by byte, and reads replies."""

    def __init__(self, server: Server) -> None:
        """Connect."""
        self.sock = socket.create_connection((server.host, server.port), timeout=5)
        self.file = self.sock.makefile("rb")

    def close(self) -> None:
        """Go away without a word."""
        self.file.close()
        self.sock.close()

    def reply(self) -> str:
        """Return one reply, its lines joined with LF; "" at the end of the connection."""
        lines = [self.file.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(self.file.readline())
        return b"".join(lines).decode().replace("\r\n", "\n").rstrip("\n")

    def ask(self, *lines: str) -> str:
        """Send command lines in one segment; return the reply to the last one."""
        self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines][-1]

    def rest(self) -> bytes:
        """Return everything that still comes."""
        return self.file.read()

    def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands as a client that checks neither chain nor name has to."""
        self.file.close()
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")


@pytest.fixture
def raw() -> Iterator[Callable[[Server], Raw]]:
    """Open raw clients, past the greeting, and close them at the end."""
    clients: list[Raw] = []

    def connect(server: Server) -> Raw:
        clients.append(Raw(server))
        assert clients[-1].reply().startswith("220 localhost ")
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def secured(server: Server) -> smtplib.SMTP:
    """Return a stock smtplib session inside verified TLS, after EHLO."""
    smtp = smtplib.SMTP(server.host, server.port, timeout=5)
    try:
        smtp.starttls(context=server.client_context())
        smtp.ehlo()
    except BaseException:
        smtp.close()
        raise
    return smtp


def handshake(server: Server, context: ssl.SSLContext | None = None) -> None:
    """Shake hands with an implicit-TLS server, or raise ssl.SSLError or another OSError."""
    context = context or server.client_context()
    with (
        socket.create_connection((server.host, server.port), timeout=5) as sock,
        context.wrap_socket(
            sock, server_hostname=server.host, do_handshake_on_connect=False
        ) as secure,
    ):
        secure.do_handshake()


def upgrade(server: Server, timeout: float = 5) -> None:
    """Do EHLO, STARTTLS and the handshake with stock smtplib, and leave."""
    smtp = smtplib.SMTP(server.host, server.port, timeout=timeout)
    try:
        smtp.starttls(context=server.client_context())
    finally:
        smtp.close()


# A correct server


def test_a_requiretls_message_is_accepted_and_remembered() -> None:
    """A message with REQUIRETLS inside TLS is in the ledger with all that was said about it."""
    with Server() as server, secured(server) as smtp:
        assert smtp.has_extn("requiretls")
        refused = smtp.sendmail(
            SENDER, [RECIPIENT, "b@example.net"], MESSAGE, ["REQUIRETLS", "BODY=8BITMIME"]
        )
        assert refused == {}
    size = f"size={len(MESSAGE)}"
    assert server.ledger == [
        Accepted(
            SENDER,
            (RECIPIENT, "b@example.net"),
            (size, "REQUIRETLS", "BODY=8BITMIME"),
            MESSAGE,
            True,
        )
    ]


def test_default_offers() -> None:
    """STARTTLS is offered only in the clear, REQUIRETLS only inside TLS; the rest in both."""
    both = {"pipelining", "size", "8bitmime", "smtputf8", "enhancedstatuscodes"}
    with Server() as server, smtplib.SMTP(server.host, server.port, timeout=5) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features.keys() == both | {"starttls"}
        smtp.starttls(context=server.client_context())
        smtp.ehlo()
        assert smtp.esmtp_features.keys() == both | {"requiretls"}


def test_extensions_are_sent_as_given(raw: Callable[[Server], Raw]) -> None:
    """An extension line reaches the client unchanged, look-alikes and lower case included."""
    with Server(extensions=["X-REQUIRETLS", "requiretls  foo"], starttls=False) as server:
        assert raw(server).ask("EHLO c") == "250-localhost\n250-X-REQUIRETLS\n250 requiretls  foo"


def test_a_single_str_is_no_list_of_extensions() -> None:
    """Extensions given as one str would be sent letter by letter: TypeError."""
    with pytest.raises(TypeError, match="sequence"):
        Server(tls_extensions="REQUIRETLS")


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        pytest.param(["MAIL FROM:<a@b>"], "503", id="mail-before-ehlo"),
        pytest.param(["EHLO"], "501", id="ehlo-without-name"),
        pytest.param(["EHLO c", "RCPT TO:<a@b>"], "503", id="rcpt-before-mail"),
        pytest.param(["EHLO c", "DATA"], "503", id="data-before-mail"),
        pytest.param(["EHLO c", "MAIL FROM:<>", "DATA"], "503", id="data-before-rcpt"),
        pytest.param(["EHLO c", "MAIL FROM:<>", "MAIL FROM:<>"], "503", id="mail-in-mail"),
        pytest.param(
            ["EHLO c", "MAIL FROM:<>", "EHLO c", "RCPT TO:<a@b>"], "503", id="ehlo-resets"
        ),
        pytest.param(["EHLO c", "MAIL FROM:<>", "RSET", "RCPT TO:<a@b>"], "503", id="rset-resets"),
        pytest.param(["EHLO c", "MAIL FROM: <a@b>"], "501", id="blank-behind-colon"),
        pytest.param(["EHLO c", "MAIL TO:<a@b>"], "501", id="mail-to"),
        pytest.param(["EHLO c", "MAIL FROM:<>", "RCPT TO:<>"], "501", id="rcpt-to-nobody"),
        pytest.param(["EHLO c", "MAIL FROM:<>", "RCPT TO:<a@b> NOTIFY=NEVER"], "555", id="no-dsn"),
        pytest.param(["EHLO c", 'mail from:<"a > b"@c> size=7 body=7bit smtputf8'], "250", id="ok"),
        pytest.param(["EHLO c", "MAIL FROM:<> SIZE=99999999"], "552", id="too-big"),
        pytest.param(["EHLO c", "MAIL FROM:<> SIZE=big"], "501", id="size-no-number"),
        pytest.param(["EHLO c", "MAIL FROM:<> SMTPUTF8=1"], "501", id="value-where-none-is"),
        pytest.param(["EHLO c", "MAIL FROM:<> BODY"], "501", id="no-value-where-one-is"),
        pytest.param(["EHLO c", "MAIL FROM:<> FUTURE"], "555", id="unknown-parameter"),
        pytest.param(["HELO c", "MAIL FROM:<> SIZE=7"], "555", id="helo-offers-nothing"),
        pytest.param(["EHLO c", "MAIL FROM:<> REQUIRETLS"], "555 5.5.4", id="requiretls-in-clear"),
        pytest.param(["STARTTLS now"], "501", id="starttls-parameter"),
        pytest.param(["DATA now"], "501", id="data-parameter"),
        pytest.param(["EHLO c", "AUTH PLAIN"], "502", id="auth-not-offered"),
        pytest.param(["BDAT x"], "501", id="bdat-no-number"),
        pytest.param(["LHLO c"], "500", id="lhlo-is-lmtp"),
        pytest.param(["VRFY a"], "252", id="vrfy"),
        pytest.param(["NOOP"], "250", id="noop"),
        pytest.param(["WIZ"], "500", id="unknown-command"),
        pytest.param(["QUIT"], "221", id="quit"),
    ],
)
def test_order_and_grammar(commands: list[str], reply: str, raw: Callable[[Server], Raw]) -> None:
    """Commands out of order and bad arguments get the replies of RFC 5321, pipelined or not."""
    # The false offer of REQUIRETLS in the clear must not make the parameter acceptable there.
    with Server(extensions=["SIZE 1000", "8BITMIME", "SMTPUTF8", "REQUIRETLS"]) as server:
        assert raw(server).ask(*commands).startswith(reply)
    assert server.commands() == commands


@pytest.mark.parametrize(
    ("offers", "parameter", "code"),
    [
        (["REQUIRETLS"], "REQUIRETLS", 250),
        (["requiretls"], "REQUIRETLS", 250),
        (["REQUIRETLS"], "REQUIRETLS=1", 501),
        (["X-REQUIRETLS"], "REQUIRETLS", 555),
        ([], "REQUIRETLS", 555),
    ],
)
def test_requiretls_parameter_inside_tls(offers: list[str], parameter: str, code: int) -> None:
    """Inside TLS the parameter is accepted if exactly this keyword was offered, without a value."""
    with Server(tls_extensions=offers) as server, secured(server) as smtp:
        assert smtp.mail(SENDER, [parameter])[0] == code


def test_what_the_client_was_really_told_counts() -> None:
    """A parameter that only a scripted EHLO reply offered is accepted; one it hid is not."""
    told = "250-localhost\n250 REQUIRETLS"
    server = Server(tls_extensions=["SIZE"], script={"EHLO tls": told})
    with server, secured(server) as smtp:
        assert smtp.mail(SENDER, ["REQUIRETLS"])[0] == 250
        smtp.rset()
        assert smtp.docmd("MAIL", "FROM:<a@b> SIZE=1")[0] == 555


def test_starttls_forgets_what_was_said_before(raw: Callable[[Server], Raw]) -> None:
    """Inside TLS there is no EHLO and no transaction from before. RFC 3207 section 4.2."""
    with Server() as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "STARTTLS")
        client.secure(server.client_context())
        assert client.ask("DATA").startswith("503")
        assert client.ask("MAIL FROM:<a@b>").startswith("503")
        assert client.ask("EHLO c", "STARTTLS").startswith("503")


def test_starttls_can_be_switched_off(raw: Callable[[Server], Raw]) -> None:
    """Without starttls a keyword listed by hand is a false promise: the command gets 502."""
    with Server(extensions=["STARTTLS"], starttls=False) as server:
        client = raw(server)
        assert client.ask("EHLO c") == "250-localhost\n250 STARTTLS"
        assert client.ask("STARTTLS").startswith("502")


def test_content_is_unstuffed_and_ends_at_crlf_dot_crlf_only(raw: Callable[[Server], Raw]) -> None:
    """A dot between bare line feeds is content; a stuffed dot loses one; lines are no commands."""
    with Server() as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
        client.sock.sendall(b"MAIL FROM:<x@y>\r\n..\r\nx\n.\r\n.y\n.\n\r\n.\r\n")
        assert client.reply().startswith("250")
        assert client.ask("QUIT").startswith("221")
    assert server.ledger[0].content == b"MAIL FROM:<x@y>\r\n.\r\nx\n.\r\ny\n.\n\r\n"
    assert server.commands() == ["EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "QUIT"]
    assert not server.ledger[0].tls


def test_a_command_ends_with_crlf(raw: Callable[[Server], Raw]) -> None:
    """A bare line feed does not end a command."""
    with Server() as server:
        client = raw(server)
        client.sock.sendall(b"NOOP\n")
        assert client.reply().startswith("500")


def test_bdat(raw: Callable[[Server], Raw]) -> None:
    """Where CHUNKING is offered, chunks are joined as they are; elsewhere BDAT gets 503."""
    with Server(extensions=["CHUNKING"], script={"BDAT": [normal, "250 Noted"]}) as server:
        client = raw(server)
        assert client.ask("BDAT 6\r\nQUIT").startswith("503")
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
        client.sock.sendall(b"BDAT 6\r\nMAIL\r\nBDAT 3 LAST\r\n.\r\n")
        assert [client.reply()[:3], client.reply()] == ["250", "250 Noted"]
    assert [message.content for message in server.ledger] == [b"MAIL\r\n.\r\n"]
    assert server.commands()[-2:] == ["BDAT 6", "BDAT 3 LAST"]


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login", "auth_cram_md5"])
def test_auth(mechanism: str) -> None:
    """All three mechanisms let the right password in and no other; AUTH twice gets 503."""
    with Server(users={"user": "secret"}) as server, secured(server) as smtp:
        assert smtp.esmtp_features["auth"].split() == ["PLAIN", "LOGIN", "CRAM-MD5"]
        name = mechanism.removeprefix("auth_").replace("_", "-").upper()
        for smtp.user, smtp.password in [("user", "wrong"), ("nobody", "")]:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.auth(name, getattr(smtp, mechanism))
        smtp.user, smtp.password = "user", "secret"
        assert smtp.auth(name, getattr(smtp, mechanism))[0] == 235
        assert smtp.docmd("AUTH", "PLAIN")[0] == 503
    assert {command.split()[0] for command in server.commands("tls")} == {"ehlo", "AUTH", "QUIT"}


def test_auth_in_the_clear_only_if_listed_by_hand() -> None:
    """Before TLS, AUTH is offered and done only where the extensions name it."""
    server = Server(users={"u": "p"}, extensions=["AUTH PLAIN"], starttls=False)
    with server, smtplib.SMTP(server.host, server.port, timeout=5) as smtp:
        assert smtp.login("u", "p")[0] == 235
    server = Server(users={"u": "p"})
    with server, smtplib.SMTP(server.host, server.port, timeout=5) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AHUAcA==")[0] == 502


@pytest.mark.parametrize(
    ("answer", "code"), [("*", "501"), ("=", "501"), ("/w==", "501"), ("", "535")]
)
def test_auth_with_a_bad_answer(answer: str, code: str, raw: Callable[[Server], Raw]) -> None:
    """A cancelled, malformed or empty answer to a challenge is refused, not an error of ours."""
    with Server(users={"u": "p"}, extensions=["AUTH PLAIN"]) as server:
        client = raw(server)
        assert client.ask("EHLO c", "AUTH GSSAPI").startswith("504")
        assert client.ask("AUTH PLAIN") == "334 "
        assert client.ask(answer).startswith(code)


def test_implicit_tls() -> None:
    """With implicit_tls the handshake comes before the greeting, and nothing is in the clear."""
    with Server(implicit_tls=True) as server:
        context = server.client_context()
        with smtplib.SMTP_SSL(server.host, server.port, timeout=5, context=context) as smtp:
            smtp.sendmail(SENDER, RECIPIENT, MESSAGE, ["REQUIRETLS"])
    assert [message.tls for message in server.ledger] == [True]
    assert {line.channel for line in server.transcript} == {"tls"}


def test_lmtp_answers_for_each_recipient(raw: Callable[[Server], Raw]) -> None:
    """LMTP has one scriptable reply for each recipient, and the ledger lists those accepted."""
    with Server(lmtp=True, script={".": [normal, "452 Full", lie("250 Sure")]}) as server:
        client = raw(server)
        assert client.ask("EHLO c").startswith("500")
        assert client.ask("LHLO c").startswith("250-localhost\n")
        client.ask("MAIL FROM:<a@b>", *(f"RCPT TO:<{name}@d>" for name in "xyz"), "DATA")
        client.sock.sendall(b"hi\r\n.\r\n")
        assert [client.reply()[:3] for _ in "xyz"] == ["250", "452", "250"]
        assert client.ask("NOOP").startswith("250")
    assert [message.recipients for message in server.ledger] == [("x@d",)]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_socket(tmp_path: Path) -> None:
    """With unix_path the server listens on a Unix socket, and removes it at the end."""
    path = tmp_path / "lmtp"
    with Server(lmtp=True, unix_path=str(path)) as server:
        assert (server.host, server.port) == (str(path), 0)
        with smtplib.LMTP(server.host) as lmtp:
            assert lmtp.sendmail(SENDER, RECIPIENT, MESSAGE) == {}
    assert [message.content for message in server.ledger] == [MESSAGE]
    assert not path.exists()


# The script


def test_a_single_step_is_played_every_time(raw: Callable[[Server], Raw]) -> None:
    """A str step replaces every answer at its stage and gets its CRLF on each line."""
    with Server(script={"NOOP": "250-a\n250 b"}) as server:
        client = raw(server)
        assert [client.ask("NOOP"), client.ask("NOOP")] == ["250-a\n250 b"] * 2


def test_a_list_is_counted_over_all_connections(raw: Callable[[Server], Raw]) -> None:
    """Steps of a list are played once each, over all connections, then the server is normal."""
    with Server(script={"NOOP": ["451 one", normal, b"451 three\r\n"]}) as server:
        answers = [raw(server).ask("NOOP")[:3] for _ in range(4)]
    assert answers == ["451", "250", "451", "250"]


def test_a_stage_can_be_narrowed_to_a_channel() -> None:
    """A stage with a channel precedes the general one, on that channel only."""
    script = {"NOOP tls": ["452 x"], "NOOP": "453 x", "EHLO plain": "250-a\n250 STARTTLS"}
    with Server(script=script) as server, smtplib.SMTP(server.host, server.port) as smtp:
        assert smtp.ehlo()[1] == b"a\nSTARTTLS"
        assert smtp.noop()[0] == 453
        smtp.starttls(context=server.client_context())
        assert [smtp.noop()[0], smtp.noop()[0]] == [452, 453]
        assert smtp.ehlo()[1].startswith(b"localhost\n")


@pytest.mark.parametrize("stage", ["EHELO", "EHLO TLS", "ehlo", "EHLO ", ""])
def test_a_misspelt_stage_is_an_error(stage: str) -> None:
    """An attack on a stage that does not exist would never be played: ValueError."""
    with pytest.raises(ValueError, match="no such stage"):
        Server(script={stage: "250 ok"})


@pytest.mark.parametrize("step", [250, None, [None]])
def test_a_step_of_another_type_is_an_error(step: object) -> None:
    """A step is a str, bytes or a callable: TypeError otherwise."""
    with pytest.raises(TypeError, match="not str, bytes or callable"):
        Server(script={"EHLO": step})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("mail", "rcpt"),
    [
        ("250 fine", "250"),
        (b"550-mixed\r\n250 codes\r\n", "250"),
        (b"250 fine\r\n550 sent ahead\r\n", "250"),
        ("550 no", "503"),
        (b"550 no\r\n250 sent ahead\r\n", "503"),
        (b"250-never ending\r\n", "503"),
        (b"+25 odd\r\n", "503"),
        (b"2500 odd\r\n", "503"),
    ],
)
def test_the_first_reply_decides_whether_a_command_is_done(
    mail: str | bytes, rcpt: str, raw: Callable[[Server], Raw]
) -> None:
    """The server goes on as if it had said what it was told to say: RCPT follows only a 2xx."""
    with Server(script={"MAIL": mail}) as server:
        client = raw(server)
        client.sock.sendall(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n")
        replies = client.rest().splitlines()
    assert replies[-2].startswith(rcpt.encode())
    assert replies[-1].startswith(b"221")


def test_a_scripted_yes_is_binding() -> None:
    """What the server accepts on the script's word is in the ledger like anything else."""
    script = {"MAIL": "250 ok", ".": "250 ok"}
    with Server(script=script) as server, smtplib.SMTP(server.host, server.port) as smtp:
        smtp.sendmail(SENDER, RECIPIENT, MESSAGE, ["FUTURE"])
        assert server.ledger[0].parameters[-1] == "FUTURE"


@pytest.mark.parametrize(("code", "kept"), [("200", 1), ("251", 1), ("299", 1), ("554", 0)])
def test_any_2xx_after_the_dot_accepts(code: str, kept: int, raw: Callable[[Server], Raw]) -> None:
    """The ledger follows the first digit of a scripted answer to the dot."""
    with Server(script={".": f"{code} x"}) as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
        assert client.ask("hi\r\n.") == f"{code} x"
    assert len(server.ledger) == kept


def test_only_354_begins_the_content(raw: Callable[[Server], Raw]) -> None:
    """After DATA answered 250 the server expects commands; after 354 and an early 250, content."""
    with Server(script={"DATA": ["250 go on", b"354 go\r\n250 early\r\n"]}) as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
        assert client.ask("hi").startswith("500")
        assert [client.ask("DATA"), client.reply()] == ["354 go", "250 early"]
        assert client.ask("hi\r\n.").startswith("250 2.0.0")
    assert server.ledger[0].content == b"hi\r\n"


def test_lie_says_yes_and_drops_the_message() -> None:
    """After lie() the client believes in a delivery of which the ledger knows nothing."""
    server = Server(script={".": [lie("250 2.0.0 queued")]})
    with server, smtplib.SMTP(server.host, server.port, timeout=5) as smtp:
        assert smtp.sendmail(SENDER, RECIPIENT, MESSAGE) == {}
        assert server.ledger == []
        smtp.sendmail(SENDER, RECIPIENT, MESSAGE)
        assert len(server.ledger) == 1


def test_refused_commands_change_nothing(raw: Callable[[Server], Raw]) -> None:
    """After a scripted no to QUIT or RSET the session goes on; a refused chunk is forgotten."""
    steps: dict[str, list[Step]] = {"QUIT": ["451 Stay"], "RSET": ["451 x"], "BDAT": ["451 x"]}
    with Server(extensions=["CHUNKING"], script=steps) as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
        assert client.ask("BDAT 3\r\na").startswith("451")
        assert client.ask("RSET").startswith("451")
        assert client.ask("QUIT").startswith("451")
        assert client.ask("BDAT 3 LAST\r\nb").startswith("250")
        assert client.ask("QUIT").startswith("221")
        assert client.rest() == b""
    assert [message.content for message in server.ledger] == [b"b\r\n"]


def test_421_ends_the_connection(raw: Callable[[Server], Raw]) -> None:
    """The server closes after 421, as it says."""
    with Server(script={"RCPT": "421 4.3.2 Shutting down"}) as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>")
        assert client.ask("RCPT TO:<c@d>").startswith("421")
        assert client.rest() == b""


@pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"])
def test_close_at_every_stage(stage: str) -> None:
    """close() ends the connection in place of the answer, and the client sees an orderly end."""

    def deliver(server: Server) -> None:
        smtp = smtplib.SMTP(server.host, server.port, timeout=5)
        smtp.sendmail(SENDER, RECIPIENT, MESSAGE)
        smtp.quit()

    with Server(script={stage: close}) as server:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            deliver(server)
        server.wait_idle()
        assert len(server.ledger) == (stage == "QUIT")


def test_close_in_mid_reply(raw: Callable[[Server], Raw]) -> None:
    """A callable has control of every byte: half a reply, then the end."""

    def half(connection: Connection) -> None:
        connection.send(b"250-localhost\r\n250-REQ")
        connection.close()

    with Server(script={"EHLO": half}) as server:
        client = raw(server)
        client.sock.sendall(b"EHLO c\r\n")
        assert client.rest() == b"250-localhost\r\n250-REQ"
    assert server.transcript[-1] == Line(1, "plain", "S", b"250-REQ")


def test_reset(raw: Callable[[Server], Raw]) -> None:
    """reset() makes the client's read fail with ECONNRESET."""
    with Server(script={"EHLO": reset}) as server:
        client = raw(server)
        client.sock.sendall(b"EHLO c\r\n")
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
        server.wait_idle()


def test_stall_never_answers_but_listens(raw: Callable[[Server], Raw]) -> None:
    """A stalled server says nothing and notes everything; unread commands are listed too."""
    with Server(script={"EHLO": stall}) as server:
        client = raw(server)
        client.sock.sendall(b"EHLO c\r\nMAIL FROM:<a@b>\r\nsecr")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
    assert server.commands() == ["EHLO c", "MAIL FROM:<a@b>", "secr"]
    assert [line.data for line in server.transcript if line.side == "C"][-1] == b"secr"


def test_delay_waits_and_goes_on(raw: Callable[[Server], Raw]) -> None:
    """delay() plays its step, by default the normal one, after the pause; the end cuts it short."""
    steps = [delay(0.01), delay(0.01, "451 x"), delay(0, delay(0, close)), delay(3600)]
    with Server(script={"NOOP": steps}) as server:
        client = raw(server)
        assert [client.ask("NOOP")[:3], client.ask("NOOP")[:3]] == ["250", "451"]
        assert client.ask("NOOP") == ""
        client = raw(server)
        client.sock.sendall(b"NOOP\r\n")
    assert client.rest() == b""


def test_drip(raw: Callable[[Server], Raw]) -> None:
    """A dripped reply arrives complete and is one line of the transcript."""
    steps: list[Step] = [
        lambda connection: connection.drip(b"250 ok\r\n", 0.001),
        lambda connection: connection.drip(b"250 ok\r\n", 3600),  # the end cuts it short
    ]
    with Server(script={"NOOP": steps}) as server:
        client = raw(server)
        assert client.ask("NOOP") == "250 ok"
        client.sock.sendall(b"NOOP\r\n")
        assert client.sock.recv(10) == b"2"
    assert [line.data for line in server.transcript[-3:]] == [b"250 ok\r\n", b"NOOP\r\n", b"2"]


def test_a_step_can_read_and_answer_by_itself(raw: Callable[[Server], Raw]) -> None:
    """Lines that a step reads are commands unless it calls them content."""

    def chat(connection: Connection) -> str:
        connection.reply("334 ")
        answer = connection.read_line(content=True)
        connection.reply(f"334 {answer.decode().strip()}")
        assert connection.read_line() == b"STOP\r\n"
        return "535 no"

    with Server(script={"AUTH": chat}) as server:
        client = raw(server)
        assert [client.ask("AUTH X"), client.ask("me"), client.ask("STOP")] == [
            "334 ",
            "334 me",
            "535 no",
        ]
    assert server.commands() == ["AUTH X", "STOP"]


# TLS and its attacks


def test_replies_injected_behind_starttls(raw: Callable[[Server], Raw]) -> None:
    """Bytes behind the 220 leave in its segment, in the clear, and a real handshake follows."""
    injected = b"220 go\r\n250-evil\r\n250 REQUIRETLS\r\n"
    with Server(script={"STARTTLS": injected}) as server:
        client = raw(server)
        client.ask("EHLO c")
        client.sock.sendall(b"STARTTLS\r\n")
        assert client.sock.recv(1000) == injected
        client.secure(server.client_context())
        assert client.ask("EHLO c").endswith("250 REQUIRETLS")
    said = [(line.channel, line.data) for line in server.transcript if line.side == "S"]
    assert ("plain", b"250 REQUIRETLS\r\n") in said
    assert ("tls", b"250 REQUIRETLS\r\n") in said


def test_a_step_can_start_tls_by_itself(raw: Callable[[Server], Raw]) -> None:
    """After a step's own handshake, too, nothing is known of what was said in the clear."""

    def upgrade(connection: Connection) -> None:
        connection.send(b"220 go\r\n")
        connection.start_tls()
        assert connection.channel == "tls"

    with Server(script={"STARTTLS": upgrade}) as server:
        client = raw(server)
        client.ask("EHLO c", "STARTTLS")
        client.secure(server.client_context())
        assert client.ask("MAIL FROM:<a@b>").startswith("503")


def test_a_client_hello_that_came_early_is_used(raw: Callable[[Server], Raw]) -> None:
    """A client that took an earlier line for the 220 still gets its handshake."""
    said = threading.Event()

    def silently(connection: Connection) -> None:
        said.wait(5)
        connection.start_tls()

    with Server(script={"STARTTLS": silently}) as server:
        client = raw(server)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = server.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        client.sock.sendall(b"STARTTLS\r\n" + outgoing.read())
        said.set()
        incoming.write(client.sock.recv(65536))
        with pytest.raises(ssl.SSLWantReadError):
            session.read()
        assert session.version() == "TLSv1.3"


def test_plaintext_behind_starttls_is_kept_in_the_records(raw: Callable[[Server], Raw]) -> None:
    """Commands that a client sent too early in the clear are not obeyed, but seen as plain."""
    with Server() as server:
        client = raw(server)
        client.sock.sendall(b"STARTTLS\r\nMAIL FROM:<a@b>\r\n")
        assert client.reply().startswith("220")
        client.secure(server.client_context())
        assert client.ask("EHLO c", "RCPT TO:<c@d>").startswith("503")
    assert server.commands("plain") == ["STARTTLS", "MAIL FROM:<a@b>"]
    assert server.commands("tls") == ["EHLO c", "RCPT TO:<c@d>"]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (close, ssl.SSLError),
        (reset, ConnectionResetError),
        (b"250 REQUIRETLS\r\n", ssl.SSLError),
        ("250 REQUIRETLS", ssl.SSLError),
    ],
)
@pytest.mark.parametrize("stage", ["HANDSHAKE", "HANDSHAKE plain"])
def test_handshakes_that_fail(step: Step, error: type[OSError], stage: str) -> None:
    """HANDSHAKE replaces the server's half of the handshake; nothing is served after it."""
    with Server(implicit_tls=True, script={stage: step}) as server, pytest.raises(error):
        handshake(server)
    assert not [line for line in server.transcript if line.channel == "tls"]
    assert server.commands() == []


@pytest.mark.parametrize(("step", "timeout"), [(close, 5), (stall, 0.05)])
def test_handshakes_that_fail_after_starttls(step: Step, timeout: float) -> None:
    """After a 220 to STARTTLS the handshake may fail or never come."""
    with Server(script={"HANDSHAKE": step}) as server, pytest.raises(OSError, match=r"EOF|timed"):
        upgrade(server, timeout)
    assert server.commands() == [server.commands()[0], "STARTTLS"]


def test_a_session_of_replies_sent_ahead() -> None:
    """Stock smtplib believes replies sent ahead of its commands; the ledger knows better."""
    ahead = b"250-x\r\n250 REQUIRETLS\r\n" + b"250 ok\r\n" * 2 + b"354 go\r\n250 queued\r\n"
    with Server(script={"EHLO tls": ahead, "RCPT": "550 no", ".": "554 no"}) as server:
        smtp = smtplib.SMTP(server.host, server.port, timeout=5)
        try:
            smtp.starttls(context=server.client_context())
            assert smtp.sendmail(SENDER, RECIPIENT, MESSAGE, ["REQUIRETLS"]) == {}
        finally:
            smtp.close()
    assert server.ledger == []


def test_the_end_of_tls_is_the_end_of_the_session(raw: Callable[[Server], Raw]) -> None:
    """A close_notify of either side ends the session in good order, without an error."""
    with Server() as server:
        client = raw(server)
        client.ask("STARTTLS")
        client.secure(server.client_context())
        assert client.ask("QUIT").startswith("221")
        assert isinstance(client.sock, ssl.SSLSocket)
        client.sock.unwrap().close()  # would raise without the server's close_notify
        client = raw(server)
        client.ask("STARTTLS")
        client.secure(server.client_context())
        assert isinstance(client.sock, ssl.SSLSocket)
        client.sock.unwrap().close()
    assert server.commands() == ["STARTTLS", "QUIT", "STARTTLS"]


def test_server_names_and_versions_can_be_looked_at() -> None:
    """The name a client asks for is kept; the server's context can be bent before the first one."""
    with Server(implicit_tls=True) as server:
        handshake(server)
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        client = server.client_context()
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            handshake(server, client)
        server.context.maximum_version = ssl.TLSVersion.TLSv1_3
        handshake(server, client)
    # A handshake without a common version ends before the name is looked at.
    assert server.server_names == ["localhost", "localhost"]


# Records


def test_the_transcript_is_in_order_and_tagged(raw: Callable[[Server], Raw]) -> None:
    """Every line of both sides stands with its connection, channel and side."""
    with Server(tls_extensions=[]) as server:
        client = raw(server)
        client.ask("STARTTLS")
        client.secure(server.client_context())
        client.ask("EHLO c")
        raw(server)
    assert server.transcript == [
        Line(1, "plain", "S", b"220 localhost ESMTP test server\r\n"),
        Line(1, "plain", "C", b"STARTTLS\r\n"),
        Line(1, "plain", "S", b"220 2.0.0 Go ahead\r\n"),
        Line(1, "tls", "C", b"EHLO c\r\n"),
        Line(1, "tls", "S", b"250 localhost\r\n"),
        Line(2, "plain", "S", b"220 localhost ESMTP test server\r\n"),
    ]


def test_records_are_copies() -> None:
    """A test that changes what it was given does not change the record."""
    with Server(starttls=False) as server, smtplib.SMTP(server.host, server.port) as smtp:
        smtp.noop()
        server.commands().clear()
        server.transcript.clear()
        server.ledger.clear()
        assert server.commands() == ["noop"]
        assert len(server.transcript) >= 2


def test_records_are_complete_after_the_block() -> None:
    """What a client sent and left behind is read before the server ends, even if just connected."""
    with Server(starttls=False) as server:
        for _ in range(5):
            with socket.create_connection((server.host, server.port)) as sock:
                sock.sendall(b"MAIL FROM:<secret@example.org>\r\n")
    assert server.commands() == ["MAIL FROM:<secret@example.org>"] * 5


@pytest.mark.parametrize("begin", ["BDAT 1000", "DATA"])
def test_content_that_was_cut_off_is_no_command(begin: str, raw: Callable[[Server], Raw]) -> None:
    """Content of a message that never ended is in the transcript, not among the commands."""
    with Server() as server:
        client = raw(server)
        client.ask("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
        client.sock.sendall(f"{begin}\r\nMAIL FROM:<x@y>\r\nQUIT".encode())
    assert server.commands()[3:] == [begin]
    assert Line(1, "plain", "C", b"QUIT") in server.transcript
    assert server.ledger == []


def test_bytes_that_are_no_text_do_not_break_the_records(raw: Callable[[Server], Raw]) -> None:
    """Any byte can be recorded: UTF-8 as text, the rest escaped."""
    with Server() as server:
        client = raw(server)
        client.sock.sendall("NOOP ä\r\n".encode() + b"NOOP \xff\r\n")
        assert [client.reply()[:3], client.reply()[:3]] == ["250", "250"]
    assert server.commands() == ["NOOP ä", "NOOP \\xff"]


# Start and end


def test_wait_idle_waits_for_the_end_of_connections(raw: Callable[[Server], Raw]) -> None:
    """wait_idle() returns when all clients have gone, and says so when they have not."""
    with Server() as server:
        server.wait_idle()
        client = raw(server)
        with pytest.raises(TimeoutError, match="still open"):
            server.wait_idle(timeout=0.01)
        client.close()
        server.wait_idle()
    server.wait_idle()


def test_an_error_in_a_step_is_raised_at_the_end(raw: Callable[[Server], Raw]) -> None:
    """A failed assertion in a step fails the test, and its client sees the connection end."""

    def check(connection: Connection) -> None:
        raise AssertionError("as it should")

    def use(server: Server) -> None:
        with server:
            client = raw(server)
            client.sock.sendall(b"NOOP\r\n")
            assert client.rest() == b""

    server = Server(script={"NOOP": check})
    with pytest.raises(AssertionError, match="as it should"):
        use(server)
    server.stop()  # says it once


def test_a_server_runs_once() -> None:
    """No port before the start, no second start, and stop() may be called at any time."""
    server = Server(starttls=False)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.port
    server.stop()
    with server, pytest.raises(RuntimeError, match="once"):
        server.start()
    server.stop()


def test_a_step_that_does_not_come_back_is_reported(
    raw: Callable[[Server], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that waits for something else than its client cannot be ended: RuntimeError."""
    monkeypatch.setattr("requiretls_client.testing.server._GRACE", 0.01)
    monkeypatch.setattr("requiretls_client.testing.server._LIMIT", 0.01)
    stuck, freed = threading.Event(), threading.Event()

    def wait(_connection: Connection) -> None:
        stuck.set()
        freed.wait(5)

    server = Server(script={"NOOP": wait}).start()
    raw(server).sock.sendall(b"NOOP\r\n")
    assert stuck.wait(5)
    with pytest.raises(RuntimeError, match="stuck"):
        server.stop()
    freed.set()
    server.wait_idle()


def test_an_address_that_cannot_be_had_leaves_nothing_open(tmp_path: Path) -> None:
    """The error of the operating system comes out of start(), and no socket stays behind."""
    with pytest.raises(OSError, match="No such file"):
        Server(unix_path=str(tmp_path / "missing" / "socket"), starttls=False).start()
    with pytest.raises(OSError, match="assign"):
        Server(address="192.0.2.1", starttls=False).start()
    gc.collect()  # a ResourceWarning here is an error


def test_nothing_is_left_behind(raw: Callable[[Server], Raw]) -> None:
    """After open, stalled, refused and finished connections no thread and no descriptor is left."""

    def flood(connection: Connection) -> None:
        while True:
            connection.send(b"250-again\r\n" * 1000)

    def everything() -> None:
        with Server(script={"NOOP": stall, "EHLO plain": [flood]}) as server:
            raw(server).sock.sendall(b"EHLO c\r\n")  # and never reads the answer
            raw(server).sock.sendall(b"NOOP\r\n")
            raw(server).ask("QUIT")
            with secured(server) as smtp:
                smtp.sendmail(SENDER, RECIPIENT, MESSAGE)
            with pytest.raises(ssl.SSLError), smtplib.SMTP(server.host, server.port) as smtp:
                smtp.starttls(context=CA().context())
        assert len(server.ledger) == 1

    threads = threading.active_count()
    everything()
    gc.collect()  # a ResourceWarning here is an error
    assert threading.active_count() == threads


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_descriptor_is_left() -> None:
    """Fifty servers later the process has as many open descriptors as before."""
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(50):
        server = Server(script={"EHLO": reset}, starttls=False)
        with server, pytest.raises(OSError, match=r"reset|closed"):
            smtplib.SMTP(server.host, server.port, timeout=5).ehlo()
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


# Certificates


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_the_default_certificate_is_good(address: str) -> None:
    """It verifies for the name and for the address, also by the strictest rules ssl knows."""
    with Server(implicit_tls=True) as server:
        context = server.client_context()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        assert not context.hostname_checks_common_name
        sock = socket.create_connection((server.host, server.port), timeout=5)
        with sock, context.wrap_socket(sock, server_hostname=address) as secure:
            assert secure.getpeercert()


ISSUED: list[tuple[str, Callable[[CA], Certificate], str]] = [
    ("expired", lambda ca: ca.issue("localhost", expired=True), "expired"),
    ("not-yet", lambda ca: ca.issue("localhost", not_yet=True), "not yet valid"),
    ("other-name", lambda ca: ca.issue("example.test"), "match|mismatch"),
    ("cn-only", lambda ca: ca.issue(common_name="localhost"), "match|mismatch"),
    ("partial-wildcard", lambda ca: ca.issue("l*"), "match|mismatch"),
    ("ip-as-name", lambda ca: ca.issue("127.0.0.1"), "match|mismatch"),
    ("client-only", lambda ca: ca.issue("localhost", client_only=True), "purpose"),
    ("weak-key", lambda ca: ca.issue("localhost", weak_key=True), "key too weak"),
    ("self-signed", lambda ca: ca.issue("localhost", self_signed=True), "self.signed"),
    ("no-chain", lambda ca: ca.child().issue("localhost", with_chain=False), "unable to get"),
]


@pytest.mark.parametrize(("issue", "reason"), [x[1:] for x in ISSUED], ids=[x[0] for x in ISSUED])
def test_bad_certificates_are_bad_for_the_right_reason(
    issue: Callable[[CA], Certificate], reason: str
) -> None:
    """Each flaw is the only one: a client that trusts the CA refuses for it and nothing else."""
    server = Server(implicit_tls=True, certificate=issue(CA()))
    with server, pytest.raises(ssl.SSLCertVerificationError, match=f"(?i){reason}"):
        handshake(server)


def test_a_certificate_of_another_ca_is_not_trusted() -> None:
    """The context of one CA refuses what another one issued."""
    server = Server(implicit_tls=True)
    with server, pytest.raises(ssl.SSLCertVerificationError, match="unable to get"):
        handshake(server, CA().context())


def test_common_names_and_intermediates_can_be_good() -> None:
    """A CN counts for clients that allow it, and a chain over two intermediate CAs verifies."""
    with Server(implicit_tls=True, certificate=CA().issue(common_name="localhost")) as server:
        context = server.client_context()
        context.hostname_checks_common_name = True
        handshake(server, context)
    ca = CA()
    with Server(implicit_tls=True, certificate=ca.child().child().issue("localhost")) as server:
        assert server.ca is ca
        handshake(server, ca.context())


def test_trust_holds_for_its_block_only() -> None:
    """trust() changes the package's default context and puts back what was there."""
    before = tls._default
    with Server(implicit_tls=True) as server:
        with trust(server.ca):
            handshake(server, tls.default_context())
        assert tls._default is before
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(server, tls.default_context())


def test_without_trustme_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates need trustme, and the error says how to get it; servers without TLS do not."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ImportError, match=r"pip install 'requiretls-client\[demo\]'"):
        CA()
    with Server(starttls=False) as server, smtplib.SMTP(server.host, server.port) as smtp:
        smtp.sendmail(SENDER, RECIPIENT, MESSAGE)
    assert len(server.ledger) == 1


# Imports and the fixture


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("requiretls_client", ["requiretls_client.testing", "trustme", "cryptography", "pytest"]),
        ("requiretls_client.testing", ["trustme", "cryptography", "pytest"]),
        ("requiretls_client.pytest_plugin", ["requiretls_client.testing", "trustme"]),
    ],
)
def test_imports_stay_small(module: str, absent: list[str]) -> None:
    """Nobody pays for the test server who does not use it; trustme waits for a certificate."""
    code = f"import sys, {module}; sys.exit(', '.join({set(absent)} & sys.modules.keys()) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_fixture_is_trusted_and_offers_requiretls(requiretls_server: Server) -> None:
    """With the fixture the default context verifies the server, which takes REQUIRETLS."""
    with smtplib.SMTP(requiretls_server.host, requiretls_server.port, timeout=5) as smtp:
        smtp.starttls(context=tls.default_context())
        smtp.sendmail(SENDER, RECIPIENT, MESSAGE, ["REQUIRETLS"])
    assert requiretls_server.ledger[0].tls


def test_the_documentation_runs(tmp_path: Path) -> None:
    """The Python blocks of docs/testing.rst make up one test file that passes."""
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs/testing.rst").read_text()
    blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", text)
    (tmp_path / "test_page.py").write_text("\n".join(map(textwrap.dedent, blocks)))
    # The plugin by its module, so that the package need not be installed for the fixture.
    plugin = ["-p", "no:requiretls_client", "-p", "requiretls_client.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugin, "test_page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(blocks) == 8


def test_server_is_forgotten():
    """A server that has spoken TLS goes with its last reference, and its records with it."""
    with Server() as server:
        with smtplib.SMTP(server.host, server.port, timeout=5) as smtp:
            smtp.starttls(context=server.client_context())
        server.wait_idle()
    forgotten = weakref.ref(server)
    del server, smtp
    gc.collect()
    assert forgotten() is None
