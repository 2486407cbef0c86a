"""Issue 4.5: mechanisms, what of the server's is believed, and that no secret is shown."""

from __future__ import annotations

import base64
import hmac
import logging
import pickle
import smtplib
import ssl
import traceback

import pytest
from support import RAW, connect, verbs

import requiretls_client as rt
from requiretls_client.testing import Server

USER, PASSWORD = "user", "canary-password"
SCRAM = ["AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2", "REQUIRETLS"]
JSON = '{"status":"invalid_token","scope":"mail"}'


# -- O2: no secret -----------------------------------------------------------------------------


def encoded(text):
    """Return base64 as a str."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def secret_forms(server: Server, user=USER, password=PASSWORD):
    """Return what must not be shown: the secret, its base64, and its CRAM-MD5 digests."""
    pair = f"\0{user}\0{password}"
    forms = {password, encoded(password), encoded(pair), encoded(pair).rstrip("=")}
    for line in server.transcript:
        if line.side == "S" and line.data.startswith(b"334 "):
            try:
                challenge = base64.b64decode(line.data[4:])
            except ValueError:
                continue
            digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
            forms |= {digest, encoded(f"{user} {digest}")}
    return forms


def shown_by_error(error):
    """Return all that an exception, those behind it, its pickle and its traceback show."""
    shown, waiting = [], [error]
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        waiting += [each.__cause__, each.__context__]
        shown += [str(each), repr(each), repr(each.args), repr(vars(each))]
        shown += [repr(pickle.dumps(each)), *traceback.format_exception(each)]
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename != __file__:  # a test knows its password
                shown += map(repr, frame.f_locals.values())
    return shown


def assert_no_secret(server, smtp, capture, log, error=None):
    """O2: none of the forms is on stderr, in the log, on the object or in the exception."""
    output = capture.readouterr()
    shown = [output.out, output.err, log.text, repr(smtp), repr(vars(smtp))]
    shown += shown_by_error(error)
    for form in secret_forms(server):
        assert not [text for text in shown if form.lower() in text.lower()]
    assert "user" not in vars(smtp)
    assert "password" not in vars(smtp)


@pytest.fixture
def oracle(capsys, caplog):
    """Return O2, listening from the start of the test."""
    caplog.set_level(logging.DEBUG)
    return lambda server, smtp, error=None: assert_no_secret(server, smtp, capsys, caplog, error)


# -- servers -----------------------------------------------------------------------------------


def lines_of(server):
    """Return the client's lines inside AUTH, without those that every session has."""
    said = [line.data.decode().rstrip("\r\n") for line in server.transcript if line.side == "C"]
    return [line for line in said if line.split(" ")[0].upper() not in ("EHLO", "STARTTLS", "QUIT")]


def asks(*replies):
    """Return a step that sends replies, and reads a line after each but the last."""

    def step(connection):
        for reply in replies[:-1]:
            connection.reply(reply)
            connection.read_line(content=True)
        connection.reply(replies[-1])

    return step


def offers(serve, mechanisms, *steps):
    """Return a server that offers mechanisms, and answers AUTH by these steps."""
    extensions = [f"AUTH {mechanisms}"]
    script = {"AUTH": list(steps)} if steps else {}
    return serve(tls_extensions=[*extensions, "REQUIRETLS"], script=script)


def refused(server, **options):
    """Return the error of a login, and the client, which is closed."""
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(smtplib.SMTPException) as caught:
            smtp.login(USER, PASSWORD, **options)
        connected = smtp.sock is not None
    server.wait_idle()
    return caught.value, smtp, connected


# -- mechanisms --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("mechanism", [
    "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "OAUTHBEARER", "XOAUTH2",
])  # fmt: skip
def test_each_mechanism(serve, oracle, mechanism, at_once):
    """AUTH-02, G06: each mechanism logs in, right secret only, and debug output shows none."""
    server = serve(users={USER: PASSWORD}, tls_extensions=SCRAM)
    with connect(server, require_tls=True) as smtp:
        smtp.set_debuglevel(2)
        options = {"mechanism": mechanism, "initial_response_ok": at_once}
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.login(USER, "another", **options)
        assert caught.value.smtp_code == 535
        assert smtp.login(USER, PASSWORD, **options) == (235, b"2.7.0 Welcome")
        oracle(server, smtp, caught.value)
    assert verbs(server, "tls") == ["EHLO", "AUTH", "AUTH", "QUIT"]


@pytest.mark.parametrize(("offered", "chosen"), [
    ("CRAM-MD5 LOGIN PLAIN SCRAM-SHA-256", "SCRAM-SHA-256"),
    ("CRAM-MD5 LOGIN plain", "PLAIN"),
    ("CRAM-MD5 LOGIN XOAUTH2", "LOGIN"),
    ("GSSAPI CRAM-MD5", "CRAM-MD5"),
])  # fmt: skip
def test_preference(serve, offered, chosen):
    """G04: SCRAM-SHA-256 is first and CRAM-MD5 last; tokens are never guessed."""
    server = offers(serve, offered, "535 5.7.8 No")
    error, _, _ = refused(server)
    assert error.smtp_code == 535
    assert [line.split(" ")[1] for line in server.commands() if line.startswith("AUTH")] == [chosen]


@pytest.mark.parametrize("code", [432, 454, 500, 501, 530, 535, 538])
def test_refusal_is_final(serve, oracle, code):
    """G04, AUTH-04: after a reply that judges, no second mechanism gets the secret."""
    server = offers(serve, "PLAIN LOGIN CRAM-MD5", f"{code} 5.7.8 No")
    error, smtp, connected = refused(server)
    assert (type(error), error.smtp_code) == (smtplib.SMTPAuthenticationError, code)
    assert connected
    assert verbs(server).count("AUTH") == 1
    oracle(server, smtp, error)


@pytest.mark.parametrize("code", [504, 534])
def test_next_mechanism(serve, code):
    """AUTH-04: a mechanism that is refused for its own sake makes way for the next."""
    server = offers(
        serve, "PLAIN LOGIN", f"{code} 5.7.9 Other", asks("334 UGFzc3dvcmQ6", "235 Yes")
    )
    with connect(server, require_tls=True) as smtp:
        assert smtp.login(USER, PASSWORD) == (235, b"Yes")
    assert [line.split(" ")[1] for line in server.commands() if line.startswith("AUTH")] == [
        "PLAIN", "LOGIN",
    ]  # fmt: skip


def test_last_mechanism_refused(serve):
    """AUTH-04: where every mechanism is refused, the last refusal is raised."""
    server = offers(serve, "PLAIN LOGIN", "534 5.7.9 Other", "504 5.5.4 Nor this")
    assert refused(server)[0].smtp_code == 504


def test_nothing_suitable(serve):
    """AUTH-02: smtplib's exceptions for no AUTH, no mechanism, and one that is not offered."""
    server = serve()
    assert type(refused(server)[0]) is smtplib.SMTPNotSupportedError
    server = offers(serve, "GSSAPI")
    error, _, _ = refused(server)
    assert (type(error), str(error)) == (
        smtplib.SMTPException, "No suitable authentication method found.",
    )  # fmt: skip
    error, _, _ = refused(server, mechanism="xoauth2")
    assert type(error) is smtplib.SMTPNotSupportedError
    assert "XOAUTH2" in str(error)
    assert "AUTH" not in verbs(server)


def test_already_logged_in(serve):
    """AUTH-02: 503 means that somebody has logged in, as in smtplib."""
    server = offers(serve, "SCRAM-SHA-256", "503 5.5.1 Already")
    with connect(server, require_tls=True) as smtp:
        assert smtp.login(USER, PASSWORD) == (503, b"5.5.1 Already")


def test_list_from_inside_tls(serve):
    """AUTH-02: the mechanisms offered before TLS do not count."""
    server = serve(extensions=["AUTH LOGIN CRAM-MD5"], tls_extensions=["AUTH PLAIN"],
                   script={"AUTH": "235 Yes"})  # fmt: skip
    with connect(server) as smtp:
        smtp.ehlo()
        assert smtp.has_extn("auth")
        smtp.starttls()
        assert smtp.login(USER, PASSWORD)[0] == 235
    assert server.commands("tls")[1].startswith("AUTH PLAIN ")


def test_list_from_inside_tls_by_hand(serve):
    """AUTH-02: nor do they where the caller wrapped the socket, so that smtplib did not forget."""
    server = serve(extensions=["AUTH LOGIN"], tls_extensions=["AUTH PLAIN"],
                   script={"AUTH": "235 Yes"})  # fmt: skip
    with connect(server) as smtp:
        smtp.ehlo()
        smtp.docmd("STARTTLS")
        smtp.sock = server.client_context().wrap_socket(smtp.sock, server_hostname="localhost")
        assert isinstance(smtp.sock, ssl.SSLSocket)
        assert smtp.login(USER, PASSWORD)[0] == 235
    assert server.commands("tls")[1].startswith("AUTH PLAIN ")


def test_password_of_any_kind(serve, oracle):
    """G10: line ends and characters beyond ASCII go out as they are, where SCRAM cannot."""
    password = PASSWORD + "\r\n\u00fc"
    server = serve(users={USER: password}, tls_extensions=SCRAM)
    with connect(server, require_tls=True) as smtp:
        assert smtp.login(USER, password)[0] == 235
        oracle(server, smtp)
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(ValueError, match="SASLprep") as caught:
            smtp.login(USER, password, mechanism="SCRAM-SHA-256")
        oracle(server, smtp, caught.value)
        with pytest.raises(ValueError, match="NUL") as caught:
            smtp.login(USER, PASSWORD + "\0")
        oracle(server, smtp, caught.value)
        with pytest.raises(ValueError, match="surrogate") as caught:
            smtp.login(USER, PASSWORD + "\udc80")
        oracle(server, smtp, caught.value)
    assert [line.split(" ")[1] for line in server.commands() if line.startswith("AUTH")] == [
        "PLAIN"
    ]


def test_wrong_arguments(serve):
    """G10: an unknown mechanism or a password that is none is found before anything is sent."""
    server = serve(starttls=False)
    with connect(server) as smtp:
        with pytest.raises(ValueError, match="mechanism"):
            smtp.login(USER, PASSWORD, mechanism="GSSAPI")
        with pytest.raises(TypeError, match="password must be a str"):
            smtp.login(USER, None)
        with pytest.raises(ValueError, match="mechanism"):
            smtp.auth("PLAIN\r\nRSET", smtp.auth_plain)
    assert verbs(server) == ["QUIT"]


# -- responses and challenges ------------------------------------------------------------------


def test_long_initial_response(serve):
    """AUTH-03: a command stays within 512 octets; a longer token goes after 334."""
    server = serve(users={USER: "t" * 9000}, tls_extensions=SCRAM)
    with connect(server, require_tls=True) as smtp:
        assert smtp.login(USER, "t" * 9000, mechanism="XOAUTH2")[0] == 235
    said = lines_of(server)
    assert said[0] == "AUTH XOAUTH2"
    assert base64.b64decode(said[1]) == b"user=user\1auth=Bearer " + b"t" * 9000 + b"\1\1"


@pytest.mark.parametrize(("length", "at_once"), [(357, True), (366, True), (367, False)])
def test_length_of_the_command(serve, length, at_once):
    """AUTH-03: the limit is that of the line, CRLF included."""
    server = offers(serve, "PLAIN", asks("235 Yes") if at_once else asks("334 ", "235 Yes"))
    with connect(server, require_tls=True) as smtp:
        smtp.login(USER, "x" * length)
    line = lines_of(server)[0]
    assert (len(line) > 100) is at_once
    assert len(line) + 2 <= 512


def test_empty_responses(serve):
    """AUTH-03: an empty initial response is "=", an empty later one an empty line."""
    server = offers(serve, "X-OWN", asks("334 YQ==", "235 Yes"))
    with connect(server, require_tls=True) as smtp:
        assert smtp.auth("x-own", lambda challenge=None: "") == (235, b"Yes")
    assert lines_of(server) == ["AUTH X-OWN =", ""]


def test_oauth_on_the_wire(serve):
    """OAB-01: host and port are those that the client dialled."""
    server = offers(serve, "OAUTHBEARER XOAUTH2", "235 Yes", "235 Yes")
    with connect(server, require_tls=True) as smtp:
        smtp.login("u@example.org", "tok", mechanism="OAUTHBEARER")
        smtp.login("u@example.org", "tok", mechanism="XOAUTH2")
    bearer = f"n,a=u@example.org,\1host=localhost\1port={server.port}\1auth=Bearer tok\1\1"
    xoauth2 = "user=u@example.org\1auth=Bearer tok\1\1"
    assert lines_of(server) == [
        f"AUTH OAUTHBEARER {encoded(bearer)}", f"AUTH XOAUTH2 {encoded(xoauth2)}",
    ]  # fmt: skip


@pytest.mark.parametrize(("mechanism", "dummy"), [("OAUTHBEARER", "AQ=="), ("XOAUTH2", "")])
def test_oauth_error(serve, oracle, mechanism, dummy):
    """OAB-02: the dummy response goes out, and the server's status is in the exception."""
    status = JSON[:-1] + ',"echo":"\x1b[2J' + PASSWORD + '"}'
    server = offers(serve, mechanism, asks(f"334 {encoded(status)}", "535 5.7.8 No"))
    error, smtp, connected = refused(server, mechanism=mechanism)
    assert connected
    assert lines_of(server)[1] == dummy
    assert (type(error), error.smtp_code) == (smtplib.SMTPAuthenticationError, 535)
    assert error.smtp_error.startswith(b"5.7.8 No " + JSON[:-1].encode())
    assert b"\x1b" not in error.smtp_error
    oracle(server, smtp, error)


def test_oauth_success_after_an_error(serve):
    """OAB-02: 235 after the error challenge is not believed."""
    server = offers(serve, "XOAUTH2", asks(f"334 {encoded(JSON)}", "235 Yes"))
    error, _, connected = refused(server, mechanism="XOAUTH2")
    assert (error.smtp_code, connected) == (535, False)


@pytest.mark.parametrize("challenge", ["!!", "YQ", "YQ==YQ==", "YWFh" * 500 + "x"])
def test_bad_challenge(serve, oracle, challenge):
    """AUTH-03: a challenge that is not base64 gets "*"; the session goes on."""
    server = offers(serve, "LOGIN", asks(f"334 {challenge}", "501 5.0.0 Cancelled"), "235 Yes")
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError, match="not base64") as caught:
            smtp.login(USER, PASSWORD)
        assert lines_of(server)[1] == "*"
        assert smtp.noop()[0] == 250
        oracle(server, smtp, caught.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_challenge_too_many(serve, mechanism):
    """AUTH-03: what a mechanism has not is not asked for twice; the secret goes out once."""
    count = 1 if mechanism == "PLAIN" else 2
    server = offers(serve, mechanism, asks(*["334 YQ=="] * count, "501 5.0.0 Cancelled"))
    error, _, connected = refused(server)
    assert (error.smtp_code, connected) == (501, True)
    assert b"asks for more" in error.smtp_error
    assert lines_of(server)[-1] == "*"


def test_endless_challenges(serve):
    """AUTH-03: more than five challenges end the exchange, in smtplib's words."""
    server = offers(serve, "X-OWN", asks(*["334 YQ=="] * 7, "235 Yes"))
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(smtplib.SMTPException, match=r"^Server AUTH mechanism infinite loop"):
            smtp.auth("X-OWN", lambda challenge=None: "x", initial_response_ok=False)
        assert smtp.sock is None  # the server answered "*" with one more


# -- SCRAM -------------------------------------------------------------------------------------


@pytest.fixture
def scram_server(serve):
    """Return a maker of servers that play SCRAM badly."""

    def make(first, *rest):
        servers = []

        def step(connection):
            line = servers[0].commands()[-1]
            nonce = base64.b64decode(line.split(" ")[2]).decode().rpartition("r=")[2]
            asks(f"334 {encoded(first(nonce))}", *rest)(connection)

        servers.append(offers(serve, "SCRAM-SHA-256 PLAIN", step))
        return servers[0]

    return make


def good_first(nonce):
    """Return a server's first message without a fault."""
    return f"r={nonce}more,s=c2FsdA==,i=4096"


@pytest.mark.parametrize("rest", [
    ["235 Yes"],
    [f"334 {encoded('v=' + encoded(b'x' * 32))}", "501 5.0.0 Cancelled"],
    [f"334 {encoded('v=' + encoded(b'x' * 32))}", "235 Yes"],
    [f"334 {encoded('e=other-error')}", "235 Yes"],
    [f"503 v={encoded(b'x' * 32)}"],
])  # fmt: skip
def test_scram_unproven(scram_server, oracle, rest):
    """SCR-01: a server that does not prove itself is not believed, whatever it says, and left."""
    server = scram_server(good_first, *rest)
    error, smtp, connected = refused(server)
    assert (type(error), error.smtp_code) == (smtplib.SMTPAuthenticationError, 535)
    assert not connected
    assert verbs(server).count("AUTH") == 1
    with pytest.raises(smtplib.SMTPServerDisconnected, match=r"(proof|signature)"):
        smtp.noop()
    oracle(server, smtp, error)


@pytest.mark.parametrize(("first", "why"), [
    (lambda nonce: "r=another,s=c2FsdA==,i=4096", b"nonce"),
    (lambda nonce: f"r={nonce},s=c2FsdA==,i=4096", b"nonce"),
    (lambda nonce: f"r={nonce}more,s=c2FsdA==,i=1", b"iteration"),
    (lambda nonce: f"r={nonce}more,s=c2FsdA==,i=1000000000", b"iteration"),
    (lambda nonce: "nothing", b"first message"),
])  # fmt: skip
def test_scram_bad_first_message(scram_server, oracle, first, why):
    """SCR-01, SCR-02: nothing derived from the password goes to a server that plays false."""
    server = scram_server(first, "501 5.0.0 Cancelled")
    error, smtp, _ = refused(server)
    assert type(error) is smtplib.SMTPAuthenticationError
    assert why in error.smtp_error
    assert lines_of(server)[1:] == ["*"]
    oracle(server, smtp, error)


def test_scram_nonces_differ(serve):
    """SCR-01: each exchange has a nonce of its own, and no channel binding is claimed."""
    server = offers(serve, "SCRAM-SHA-256", "535 No", "535 No")
    refused(server)
    refused(server)
    said = [base64.b64decode(line.split(" ")[2]).decode() for line in lines_of(server)]
    assert all(first.startswith("n,,n=user,r=") and len(first) >= 40 for first in said)
    assert said[0] != said[1]


# -- secrets -----------------------------------------------------------------------------------


ECHOES = {
    "raw": PASSWORD,
    "upper case": PASSWORD.upper(),
    "base64": encoded(PASSWORD),
    "pair": encoded(f"\0{USER}\0{PASSWORD}"),
    "pair, raw": f"\\0{USER}\\0{PASSWORD}",
}


@pytest.mark.parametrize("code", [235, 535, 334])
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_echo(serve, oracle, echo, code):
    """G08: a server that repeats the secret gets it scrubbed, from exceptions and debug output."""
    if code == 334:
        server = offers(serve, "PLAIN", asks(f"334 no {echo}", f"501 5.5.2 {echo}"))
    else:
        server = offers(serve, "PLAIN", f"{code}-5.7.8 no {echo}\n{code} 5.7.8 or {echo}")
    with connect(server, require_tls=True) as smtp:
        smtp.set_debuglevel(1)
        error = None
        try:
            code, text = smtp.login(USER, PASSWORD)
        except smtplib.SMTPAuthenticationError as caught:
            error, text = caught, caught.smtp_error
        assert echo.encode() not in text
        assert b"[hidden]" in text or b"not base64" in text
        oracle(server, smtp, error)


def test_echo_of_a_digest(serve, oracle):
    """G08: what CRAM-MD5 made of the password is scrubbed too."""

    def step(connection):
        connection.reply(f"334 {encoded('<1@x>')}")
        line = connection.read_line(content=True).decode().strip()
        digest = base64.b64decode(line).decode().rpartition(" ")[2]
        connection.reply(f"535-{line}\n535 {digest}")

    server = offers(serve, "CRAM-MD5", step)
    error, smtp, _ = refused(server)
    assert error.smtp_error == b"[hidden]==\n[hidden]"
    oracle(server, smtp, error)


def test_echo_in_a_broken_reply(serve, oracle):
    """G08: nor is the secret in the error for what is no reply."""
    pair = encoded(f"\0{USER}\0{PASSWORD}")
    server = offers(serve, "PLAIN", f"what is {pair}?\r\n".encode())
    error, smtp, connected = refused(server)
    assert isinstance(error, smtplib.SMTPServerDisconnected)
    assert not connected
    oracle(server, smtp, error)


def test_connection_lost(serve, oracle):
    """G10: a connection that is lost in the middle leaves no secret in the traceback."""
    server = offers(serve, "PLAIN", lambda connection: connection.reset())
    error, smtp, _ = refused(server)
    assert isinstance(error, smtplib.SMTPServerDisconnected)
    oracle(server, smtp, error)


def test_refused_by_the_choke_point(serve, oracle, monkeypatch):
    """G01, G10: nor does the refusal to send it in clear."""
    server = serve(users={USER: PASSWORD}, extensions=["AUTH PLAIN"])
    monkeypatch.setattr("requiretls_client.connection._is_local", lambda sock: False)
    with connect(server) as smtp:
        smtp.user, smtp.password = USER, PASSWORD
        with pytest.raises(rt.TLSNotEstablished, match="clear text") as by_hand:
            smtp.auth("PLAIN", smtp.auth_plain)
        with pytest.raises(rt.TLSNotEstablished, match="clear text") as caught:
            smtp.login(USER, PASSWORD)
        oracle(server, smtp, by_hand.value)
        oracle(server, smtp, caught.value)
    assert "AUTH" not in verbs(server)


def test_callers_exception_is_untouched(serve):
    """G10: what the caller was handling when it logged in keeps its traceback."""
    server = offers(serve, "PLAIN", "535 No")
    with connect(server, require_tls=True) as smtp:
        try:
            raise KeyError(PASSWORD)
        except KeyError:
            with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                smtp.login(USER, PASSWORD)
        before = caught.value.__context__
        assert before.__traceback__ is not None
        assert before.args == (PASSWORD,)


def test_interrupted(serve, oracle, monkeypatch):
    """G10: an interrupt in the middle of a login closes the session, and shows nothing."""
    server = offers(serve, "PLAIN", "235 Yes")

    def interrupt(self):
        raise KeyboardInterrupt

    with connect(server, require_tls=True) as smtp:
        smtp.ehlo()
        with monkeypatch.context() as patch:
            patch.setattr(rt.SMTP, "_read", lambda self, pipe, most: interrupt(self))
            with pytest.raises(KeyboardInterrupt) as caught:
                smtp.login(USER, PASSWORD)
        oracle(server, smtp, caught.value)
        smtp.close()


# -- debug output ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2"])
def test_debug_output(serve, oracle, capsys, level, mechanism):
    """G06: set_debuglevel shows AUTH and its mechanism, and hides what follows."""
    server = serve(users={USER: PASSWORD}, tls_extensions=SCRAM)
    with connect(server, require_tls=True) as smtp:
        smtp.set_debuglevel(level)
        smtp.login(USER, PASSWORD, mechanism=mechanism)
    output = capsys.readouterr().err
    auth = f"'AUTH {mechanism} [hidden]\\r\\n'"
    assert (auth if mechanism != "CRAM-MD5" else "'AUTH CRAM-MD5\\r\\n'") in output
    assert ("send: [hidden]" in output) is (mechanism in ("LOGIN", "CRAM-MD5", "SCRAM-SHA-256"))
    for line in lines_of(server):
        assert line.rpartition(" ")[2] not in output or line in ("", f"AUTH {mechanism}")
    for form in secret_forms(server):
        assert form not in output


@pytest.mark.parametrize(("level", "shown"), [(1, False), (2, True)])
def test_debug_output_of_content(serve, capsys, message, level, shown):
    """G06: the content of a message is not printed at level 1; commands are."""
    server = serve()
    with connect(server, require_tls=True) as smtp:
        smtp.set_debuglevel(level)
        smtp.send_message(message)
        smtp.sendmail("a@example.org", "b@example.org", RAW)
    output = capsys.readouterr().err
    assert "MAIL FROM:" in output.upper()
    assert ("canary-body" in output) is shown
    assert ("canary-subject" in output) is shown
    assert ("[content hidden]" in output) is not shown


def test_debug_output_by_hand(serve, capsys):
    """G06: AUTH by docmd() is hidden too, in whatever case and however it is spaced."""
    server = serve(users={USER: PASSWORD})
    pair = encoded(f"\0{USER}\0{PASSWORD}")
    with connect(server, require_tls=True) as smtp:
        smtp.ehlo()
        smtp.set_debuglevel(1)
        smtp.docmd("auth", f"plain  {pair}x")
        smtp.docmd("AUTH", f"PLAIN\t{pair}x")
        assert smtp.docmd("AUTH", "PLAIN")[0] == 334
        assert smtp.docmd(pair)[0] == 235
    assert pair not in capsys.readouterr().err


# -- auth() by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_auth_by_hand(serve, mechanism, at_once):
    """N04: smtplib's auth objects work with user and password set by hand, which stay."""
    server = serve(users={USER: PASSWORD})
    with connect(server, require_tls=True) as smtp:
        smtp.user, smtp.password = USER, PASSWORD
        smtp.ehlo()
        authobject = getattr(smtp, f"auth_{mechanism.lower().replace('-', '_')}")
        assert smtp.auth(mechanism, authobject, initial_response_ok=at_once)[0] == 235
        assert (smtp.user, smtp.password) == (USER, PASSWORD)


def test_auth_by_hand_echo(serve, oracle):
    """G08: an echo is scrubbed where auth() is called by hand, too."""
    server = offers(serve, "PLAIN", f"535 no {PASSWORD} {encoded(PASSWORD)} for {USER}")
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.auth("PLAIN", lambda challenge=None: f"\0{USER}\0{PASSWORD}")
        assert caught.value.smtp_error == b"no [hidden] [hidden] for user"
        oracle(server, smtp, caught.value)


def test_failing_authobject(serve):
    """N01: an auth object that fails has AUTH cancelled: the next command is a command."""
    server = offers(serve, "X-OWN", asks("334 YQ==", "501 5.0.0 Cancelled"))

    def fail(challenge=None):
        raise LookupError("no such key")

    with connect(server, require_tls=True) as smtp:
        with pytest.raises(LookupError) as caught:
            smtp.auth("X-OWN", fail, initial_response_ok=False)
        assert caught.traceback[-1].name == "fail"
        assert smtp.noop()[0] == 250
    assert lines_of(server) == ["AUTH X-OWN", "*", "noop"]


@pytest.mark.parametrize("answer", [PASSWORD + "\ud800", b"bytes", None])
def test_bad_answer_of_an_authobject(serve, oracle, answer):
    """G10: an answer that cannot be sent is a TypeError that does not show it."""
    server = offers(serve, "X-OWN", asks("334 YQ==", "501 5.0.0 Cancelled"))
    with connect(server, require_tls=True) as smtp:
        with pytest.raises(TypeError, match="authobject") as caught:
            smtp.auth("X-OWN", lambda challenge: answer, initial_response_ok=False)
        oracle(server, smtp, caught.value)


def test_stock_authobject_beyond_ascii(serve, oracle):
    """G10: smtplib's CRAM-MD5 cannot encode every password, and its error would show it."""
    server = offers(serve, "CRAM-MD5", asks("334 YQ==", "501 5.0.0 Cancelled"))
    with connect(server, require_tls=True) as smtp:
        smtp.user, smtp.password = USER, PASSWORD + "\u00fc"
        with pytest.raises(TypeError, match="encoded") as caught:
            smtp.auth("CRAM-MD5", smtp.auth_cram_md5)
        del smtp.user, smtp.password
        oracle(server, smtp, caught.value)


def test_lmtp_and_implicit_tls(serve):
    """AUTH-02: the other two classes log in by the same code."""
    server = serve(users={USER: PASSWORD}, tls_extensions=SCRAM, implicit_tls=True, starttls=False)
    with connect(server, rt.SMTP_SSL) as smtp:
        assert smtp.login(USER, PASSWORD)[0] == 235
    server = serve(users={USER: PASSWORD}, tls_extensions=SCRAM, lmtp=True)
    with connect(server, rt.LMTP) as smtp:
        smtp.starttls()
        assert smtp.login(USER, PASSWORD)[0] == 235
