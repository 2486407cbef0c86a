"""One attempt to send a job: through an account or straight, and what becomes of everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_internet import DOMAIN, FIRST, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, OTHER, PLAIN, nothing_sent, verbs

from requiretls_client import reports
from requiretls_client.cli.config import Account, Config, LookupSettings
from requiretls_client.cli.job import Job
from requiretls_client.cli.transport import transmit

SECRET = "canary-password"
MESSAGE = b"From: alice@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"
JOB = Job(MESSAGE, "alice@example.org", (f"bob@{DOMAIN}",), False, False, "work")
STRICT = replace(JOB, require_tls=True)
TWO = replace(JOB, recipients=("bob@example.net", "carol@example.com"))


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch, closed_lookups):
    """Keep policies away from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def relay(serve, tmp_path):
    """Start a submission server; returns it with the configuration that leads there."""

    def start(account=None, **options):
        options.setdefault("certificate", CA_AT_HAND.issue("localhost"))
        server = serve(**options)
        (tmp_path / "ca.pem").write_bytes(CA_AT_HAND.pem)
        settings = {"ca_file": str(tmp_path / "ca.pem"), "timeout": 5.0, **(account or {})}
        made = Account("work", server.host, server.port, **settings)
        return server, Config(accounts={"work": made})

    return start


def login(secret=SECRET):
    """Return the part of an account that logs in."""
    return {"user": "alice", "secret": ("password", secret)}


def the_one(report):
    """Return the only result of a report, which must fit the public form."""
    assert isinstance(report, reports.DeliveryReport)
    report.as_dict(), report.explain()
    (result,) = report.recipients
    return result


@pytest.mark.parametrize("job", [JOB, STRICT], ids=["ordinary", "require_tls"])
@pytest.mark.parametrize("users", [None, {"alice": SECRET}], ids=["open", "login"])
def test_sent(relay, job, users):
    """Through verified TLS, after a login where there is a user; the mark exactly as asked."""
    server, config = relay(login() if users else None, users=users)
    result = the_one(transmit(job, config))
    assert (result.state, result.code, result.tls_level) == ("delivered", 250, "authenticated")
    assert result.mx_host == "localhost"
    (accepted,) = server.ledger
    assert accepted.tls
    assert accepted.content == MESSAGE
    assert ("REQUIRETLS" in accepted.parameters) == job.require_tls
    assert ("AUTH" in verbs(server)) == bool(users)
    assert set(verbs(server, "plain")) <= {"EHLO", "STARTTLS"}
    server.wait_idle()
    assert verbs(server)[-1] == "QUIT"


def test_implicit_tls(relay):
    """TLS from the first octet, where the account says so."""
    account = {"implicit_tls": True, **login()}
    server, config = relay(account, users={"alice": SECRET}, implicit_tls=True)
    assert the_one(transmit(STRICT, config)).state == "delivered"
    assert "REQUIRETLS" in server.ledger[0].parameters


NEVER = [
    ("not offered", {"tls_extensions": WITHOUT}, "5.7.30"),
    ("offered in clear only", {"extensions": [*PLAIN, "REQUIRETLS"], "tls_extensions": PLAIN},
     "5.7.30"),
    ("no STARTTLS", NO_STARTTLS, "5.7.10"),
    ("untrusted", {"certificate": OTHER.issue("localhost")}, "5.7.10"),
    ("wrong name", {"certificate": CA_AT_HAND.issue("other.example")}, "5.7.10"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "status"), [r[1:] for r in NEVER], ids=[r[0] for r in NEVER])
def test_never_without(relay, options, status):
    """A job with require_tls is refused for good, and nothing of it leaves: no password either."""
    server, config = relay(login(), users={"alice": SECRET}, **options)
    result = the_one(transmit(STRICT, config))
    assert (result.state, result.status, result.temporary) == ("refused", status, False)
    assert nothing_sent(server)


def test_starttls_not_now(relay):
    """A 454 to STARTTLS is for now only, with require_tls and without."""
    server, config = relay(script={"STARTTLS": "454 4.7.0 Later"})
    for job in (JOB, STRICT):
        result = the_one(transmit(job, config))
        assert (result.state, result.temporary) == ("deferred", True)
    assert nothing_sent(server)


@pytest.mark.parametrize("options", [row[1] for row in NEVER[3:]], ids=["untrusted", "wrong name"])
def test_ordinary_mail_needs_a_verified_server(relay, options):
    """An account is a server that we were told to trust by its name, whatever the message asks."""
    server, config = relay(login(), users={"alice": SECRET}, **options)
    assert the_one(transmit(JOB, config)).status == "5.7.10"
    assert nothing_sent(server)


def test_clear_text_stays_here(relay, monkeypatch):
    """Without STARTTLS ordinary mail goes to a server on this machine, and to no other."""
    server, config = relay(**NO_STARTTLS)
    assert the_one(transmit(JOB, config)).state == "delivered"
    monkeypatch.setattr("requiretls_client.connection._is_local", lambda sock: False)
    result = the_one(transmit(JOB, config))
    assert (result.state, result.status) == ("refused", "5.7.10")
    assert "does not offer STARTTLS" in result.text
    assert len(server.ledger) == 1


def test_a_report_needs_no_mark(relay):
    """RFC 8689 s5: with an empty reverse path the keyword may be missing, verified TLS may not."""
    server, config = relay(tls_extensions=WITHOUT)
    assert the_one(transmit(replace(STRICT, sender=""), config)).state == "delivered"
    assert server.ledger[0].tls
    server, config = relay(**NO_STARTTLS)
    assert the_one(transmit(replace(STRICT, sender=""), config)).state == "refused"
    assert nothing_sent(server)


def test_tls_optional(relay):
    """TLS-Required: No is added once, and the session stays verified."""
    server, config = relay()
    assert the_one(transmit(replace(JOB, tls_optional=True), config)).state == "delivered"
    assert server.ledger[0].content.count(b"TLS-Required: No\r\n") == 1
    assert server.ledger[0].tls


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ({"RCPT": ["550 5.1.1 No", "250 2.1.5 Ok"]}, ["refused", "delivered"]),
        ({"RCPT": ["450 4.2.0 Busy", "250 2.1.5 Ok"]}, ["deferred", "delivered"]),
        ({"RCPT": ["550 5.1.1 No", "550 5.1.1 No"]}, ["refused", "refused"]),
        ({"RCPT": ["550 5.1.1 No", "451 4.3.0 Hm"]}, ["refused", "deferred"]),
        ({"MAIL": "550 5.7.1 No"}, ["refused", "refused"]),
        ({"MAIL": "451 4.3.0 Hm"}, ["deferred", "deferred"]),
        ({"DATA": "554 5.7.1 No"}, ["refused", "refused"]),
        ({".": "554 5.6.0 No"}, ["refused", "refused"]),
        ({".": "452 4.3.1 Full"}, ["deferred", "deferred"]),
        ({".": "close"}, ["unknown", "unknown"]),
        ({"GREETING": "554 5.3.2 Closed"}, ["refused", "refused"]),
        ({"GREETING": "421 4.3.2 Busy"}, ["deferred", "deferred"]),
    ],
)
def test_outcomes(relay, script, states):
    """Each recipient has what the server said of it; lost after the message is unknown."""
    from requiretls_client.testing import close

    script = {stage: close if step == "close" else step for stage, step in script.items()}
    _, config = relay(script=script)
    report = transmit(TWO, config)
    assert [each.state for each in report.recipients] == states
    assert [each.address for each in report.recipients] == list(TWO.recipients)


def test_nobody_there(relay):
    """A server that cannot be reached is for later."""
    _, config = relay()
    dead = replace(config.accounts["work"], port=9)
    result = the_one(transmit(STRICT, replace(config, accounts={"work": dead})))
    assert (result.state, result.status) == ("deferred", "4.4.1")
    assert "could not be reached" in result.text


@pytest.mark.parametrize(
    ("script", "quits"),
    [({"GREETING": "554 5.3.2 Closed"}, True), ({"EHLO": "stall"}, False), ({"EHLO": "x"}, False)],
)
def test_quit(relay, script, quits):
    """QUIT is said to a server that can be talked to; nobody waits twice for one that is silent."""
    from requiretls_client.testing import stall

    script = {stage: stall if step == "stall" else step for stage, step in script.items()}
    server, config = relay({"timeout": 0.2}, script=script)
    assert the_one(transmit(JOB, config)).state in ("refused", "deferred")
    assert ("QUIT" in verbs(server)) == quits


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (login("wrong"), "refused the login of account work: 535"),
        ({"user": "alice", "secret": ("password_command", ("false",))}, "ended with status 1"),
        (login(f"{SECRET}\0"), "account work cannot log in at localhost: password holds a NUL"),
        (login(f"{SECRET}\udcff"), "account work cannot log in at localhost: password holds"),
        ({"ca_file": "/nonexistent"}, "ca_file of account work cannot be used: No such file"),
    ],
    ids=["wrong", "command", "NUL", "not UTF-8", "ca_file"],
)
def test_mended_at_our_side(relay, account, said):
    """What is wrong with the account waits until somebody mends it; nothing was sent."""
    server, config = relay(account, users={"alice": SECRET})
    result = the_one(transmit(STRICT, config))
    assert (result.state, result.temporary) == ("deferred", True)
    assert said in result.text
    assert SECRET not in result.text
    assert not server.ledger


def test_server_without_a_login(relay):
    """A server that offers none is said to, and not to be away; the message waits."""
    server, config = relay(login())
    result = the_one(transmit(JOB, config))
    assert result.state == "deferred"
    assert result.text.startswith("account work cannot log in at localhost: SMTP AUTH extension")
    assert not server.ledger


def test_account_that_is_gone():
    """A message that waits for an account that was renamed goes on waiting."""
    result = the_one(transmit(STRICT, Config(path="/x/config.toml")))
    assert (result.state, result.status) == ("deferred", "4.3.5")
    assert result.text == "/x/config.toml: there is no account 'work'; there are: none"


def test_message_that_cannot_be_sent(relay):
    """What no server could get is refused for good, before anything is connected."""
    server, config = relay()
    both = replace(STRICT, message=b"TLS-Required: No\r\n" + MESSAGE)
    result = the_one(transmit(both, config))
    assert (result.state, result.status) == ("refused", "5.6.0")
    assert server.transcript == []


@pytest.mark.parametrize("offer", [PLAIN, ["PIPELINING"]], ids=["8BITMIME", "7bit"])
def test_8bit(relay, offer):
    """UTF-8 arrives: as it is where the server takes it, else encoded."""
    from email import message_from_bytes

    server, config = relay(tls_extensions=offer)
    head = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\n"
    head += b"Content-Transfer-Encoding: 8bit\r\nX-Long: " + b"x " * 300 + b"\r\n"
    message = head + MESSAGE.replace(b"canary-body", "From schön\r\nFrom here".encode())
    assert the_one(transmit(replace(JOB, message=message), config)).state == "delivered"
    content = server.ledger[0].content
    if "8BITMIME" in offer:
        assert content == message
    else:
        assert content.isascii()
        read = message_from_bytes(content).get_payload(decode=True)
        assert read.replace(b"\r\n", b"\n").decode() == "From schön\nFrom here\n"


def test_signed_8bit(relay):
    """A signed message goes octet by octet, even where its MIME is not as ours would be."""
    server, config = relay()
    message = b"DKIM-Signature: v=1\r\nMIME-Version: 1.0\r\n"
    message += b'Content-Type: multipart/mixed; boundary="b"\r\n' + MESSAGE
    message += "--b\r\n\r\nschön, and no end\r\n".encode()
    assert the_one(transmit(replace(JOB, message=message), config)).state == "delivered"
    assert server.ledger[0].content == message


@pytest.mark.parametrize("offer", [(*WITHOUT, "DSN"), WITHOUT], ids=["DSN", "none"])
def test_dsn_parameters(relay, offer):
    """NOTIFY, RET and ENVID go to a server that offers DSN (RFC 3461), and to no other."""
    server, config = relay(tls_extensions=offer)
    job = replace(JOB, notify="NEVER", ret="HDRS", envelope_id="x1")
    assert the_one(transmit(job, config)).state == "delivered"
    said = " ".join(server.commands())
    for word in ("RET=HDRS", "ENVID=x1", "NOTIFY=NEVER"):
        assert (word in said) == ("DSN" in offer)


# -- straight --------------------------------------------------------------------------------------


def straight(net, tmp_path):
    """Return a configuration without account that leads into a small internet."""
    (tmp_path / "ca.pem").write_bytes(CA_AT_HAND.pem)
    server = net.name_server()
    lookups = LookupSettings(
        ("127.0.0.1",), server.port, True, str(tmp_path / "ca.pem"), True, net.port
    )
    return Config(lookups=lookups)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("offered", [False, True])
def test_straight(net, tmp_path, strict, offered):
    """Without account the recipients' mail hosts get it, or with require_tls it is refused."""
    server = net.host(FIRST, **({} if offered else {"tls_extensions": WITHOUT}))
    net.mx(FIRST)
    job = replace(JOB, account="", require_tls=strict)
    result = the_one(transmit(job, straight(net, tmp_path)))
    if strict and not offered:
        assert (result.state, result.status) == ("refused", "5.7.30")
        assert nothing_sent(server)
    else:
        assert (result.state, result.mx_level) == ("delivered", "dnssec")
        assert ("REQUIRETLS" in server.ledger[0].parameters) == strict


def test_look_ups_that_cannot_be_made():
    """A file that is missing is for later: nothing is trusted instead."""
    config = Config(path="/x/config.toml", lookups=LookupSettings(ca_file="/nonexistent"))
    result = the_one(transmit(replace(STRICT, account=""), config))
    assert (result.state, result.status) == ("deferred", "4.3.5")
    assert "[lookups]" in result.text
