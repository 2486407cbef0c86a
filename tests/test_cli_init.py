"""``requiretls init``: what it finds, what it does not believe, and what it writes."""

from __future__ import annotations

import pytest
from msmtprc import ALIASES, MSMTPRC, SECRET
from small_internet import DOMAIN, WITHOUT
from support import CA_AT_HAND, nothing_sent, verbs

from requiretls_client.cli import config_text
from requiretls_client.cli.config import load, parse
from requiretls_client.cli.discovery import Found, Offer, in_order, submission_servers
from requiretls_client.cli.msmtp import convert
from requiretls_client.facts import SRV, Answer

AT_ONCE, STARTTLS = "_submissions._tcp.example.net", "_submission._tcp.example.net"


def answer(*records, status="insecure", outcome="records", problem=""):
    """Return an answer with SRV records."""
    made = tuple(SRV(*each) for each in records)
    return Answer(
        "x", "SRV", outcome if made or problem else "nodata", status, made, problem=problem
    )


NONE = answer()
IN, OUT = "smtp.example.net", "smtp.provider.example"
ROWS = [
    ("nothing", NONE, NONE, Found()),
    ("TLS at once first", answer((5, 0, 465, IN)), answer((0, 0, 587, IN)),
     Found((Offer(IN, 465, True, True), Offer(IN, 587, False, True)))),
    ("priority", NONE, answer((20, 0, 587, f"b.{IN}"), (10, 0, 587, IN)),
     Found((Offer(IN, 587, False, True), Offer(f"b.{IN}", 587, False, True)))),
    ("the domain itself", answer((0, 0, 465, "example.net")), NONE,
     Found((Offer("example.net", 465, True, True),))),
    ("elsewhere", answer((0, 0, 465, OUT)), NONE, Found((Offer(OUT, 465, True, False),))),
    ("almost the domain", answer((0, 0, 465, "badexample.net")), NONE,
     Found((Offer("badexample.net", 465, True, False),))),
    ("elsewhere, secure", answer((0, 0, 465, OUT), status="secure"), NONE,
     Found((Offer(OUT, 465, True, True),))),
    ("not offered", answer((0, 0, 0, "")), answer((0, 0, 0, "")), Found(refused=True)),
    ("only STARTTLS", answer((0, 0, 0, "")), answer((0, 0, 587, IN)),
     Found((Offer(IN, 587, False, True),))),
    ("failed", answer(outcome="servfail", problem="SERVFAIL from ::1"), NONE,
     Found(problem="SERVFAIL from ::1")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("at_once", "starttls", "want"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_discovery(at_once, starttls, want):
    """RFC 6186, 8314: TLS at once first, then priority; a foreign name needs DNSSEC."""
    assert submission_servers("example.net", at_once, starttls, lambda top: 0) == want


@pytest.mark.parametrize(("chance", "first"), [(0, "c"), (1, "a"), (10, "a"), (11, "b"), (40, "b")])
def test_weight(chance, first):
    """RFC 2782: chance decides within a priority, by weight; weight 0 has a small one."""
    records = [SRV(0, 30, 1, "b"), SRV(0, 10, 1, "a"), SRV(0, 0, 1, "c"), SRV(1, 99, 1, "d")]
    order = [each.target for each in in_order(records, lambda top: min(chance, top - 1))]
    assert order[0] == first
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order[-1] == "d"


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def world(net, machine):
    """Return what runs ``init`` in a small internet with a submission server."""

    class World:
        file = machine.home / "new/config.toml"

        def serve(self, name=IN, port_name="587", **options):
            self.server = net.host(name, tlsa=False, **options)
            return self.server

        def publish(self, service, *records):
            net.records[f"{service} SRV"] = list(records)

        def init(self, *arguments):
            ca_file = machine.home / "ca.pem"
            ca_file.write_bytes(CA_AT_HAND.pem)
            dns = net.name_server()
            return machine.run(
                "init", *arguments, "--config", self.file, "--nameserver", "127.0.0.1",
                "--nameserver-port", dns.port, "--trust-ad", "--ca-file", ca_file,
            )  # fmt: skip

    return World()


@pytest.fixture
def hosts(monkeypatch):
    """Let the names of the tests' servers be dialled: they are in no DNS that sockets ask."""
    import socket

    real = socket.create_connection

    def dial(address, *rest, **options):
        host, port = address
        return real(("127.0.1.1" if host in (IN, OUT) else host, port), *rest, **options)

    monkeypatch.setattr(socket, "create_connection", dial)


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_found(world, net, hosts, offered, at_once):
    """The server is shown, looked at and written; nothing is sent, no password either."""
    server = world.serve(implicit_tls=at_once, **({} if offered else {"tls_extensions": WITHOUT}))
    world.publish(AT_ONCE if at_once else STARTTLS, f"0 1 {net.port} {IN}")
    done = world.init(f"alice@{DOMAIN}", "--password-command", "pass show x")
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"{DOMAIN} names {IN}, port {net.port}" in shown
    assert f"The server {'offers' if offered else 'does not offer'} REQUIRETLS" in shown
    config = load(str(world.file))
    account = config.accounts[DOMAIN]
    assert (account.host, account.port, account.implicit_tls) == (IN, net.port, at_once)
    assert (account.from_addr, account.user) == (f"alice@{DOMAIN}", f"alice@{DOMAIN}")
    assert account.secret == ("password_command", "pass show x")
    assert not account.require_tls  # that is the user's to decide
    assert "\n# require_tls = true\n" in world.file.read_text()
    assert world.file.stat().st_mode & 0o777 == 0o600
    assert nothing_sent(server)
    assert set(verbs(server)) <= {"EHLO", "STARTTLS", "QUIT"}


def test_foreign_server(world, net, hosts):
    """A server elsewhere needs DNSSEC, or the user's word (RFC 6186 s6)."""
    server = world.serve(OUT)
    world.publish(STARTTLS, f"0 1 {net.port} {OUT}")
    net.insecure.add(f"{STARTTLS} SRV")
    done = world.init(f"alice@{DOMAIN}")
    assert done.returncode == 69
    assert b"nothing vouches for that" in done.stdout
    assert f"say --yes or --host {OUT}".encode() in done.stderr
    assert not world.file.exists()
    assert server.transcript == []
    assert world.init(f"alice@{DOMAIN}", "--yes").returncode == 0
    net.insecure.clear()
    assert world.init(f"alice@{DOMAIN}", "--force").returncode == 0
    assert load(str(world.file)).accounts[DOMAIN].host == OUT


def test_server_that_cannot_be_used(world, net, hosts):
    """The configuration is written all the same, and says so."""
    world.serve(starttls=False)
    world.publish(STARTTLS, f"0 1 {net.port} {IN}")
    done = world.init(f"alice@{DOMAIN}", "--password-command", "x")
    assert done.returncode == 75
    assert "could not be used" in world.file.read_text()


def test_host_by_name(world, net, hosts):
    """--host asks no DNS; --user is the name to log in with."""
    world.serve()
    done = world.init("alice@nowhere.example", "--host", f"{IN}:{net.port}", "--user", "al")
    assert done.returncode == 0
    account = load(str(world.file)).accounts["nowhere.example"]
    assert (account.host, account.port, account.user) == (IN, net.port, "al")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 64, "name a mail address, or a file"),
        (["a@b.c", "--msmtp", "x"], 64, "name a mail address, or a file"),
        (["alice"], 64, "the address has no domain"),
        (["a b@c.d"], 64, "the address is not one mailbox"),
        (["a@b.c", "--host", "x y"], 64, "--host is neither"),
        (["a@b.c", "--host", "x:y"], 64, "--host: nonnumeric port"),
        (["alice@example.net"], 68, "names no submission server"),
        (["a@b.c", "--user", "\udcff"], 64, "--user: the configuration cannot hold it"),
        (["a@b.c", "--password-command", "a\nb"], 64, "--password-command: the configuration"),
        (["--msmtp", "/nonexistent"], 65, "/nonexistent: No such file"),
    ],
)
def test_refused(world, arguments, status, said):
    """What cannot be done is a sentence, and nothing is written."""
    done = world.init(*arguments)
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()
    assert not world.file.exists()


def test_domain_that_offers_none(world):
    """A target of "." says that there is no such service (RFC 6186 s3.4)."""
    world.publish(AT_ONCE, "0 0 0 ")
    done = world.init(f"alice@{DOMAIN}")
    assert done.returncode == 68
    assert b"offers no submission (RFC 6186" in done.stderr


def test_never_overwritten(world):
    """A configuration is replaced with --force only."""
    world.file.parent.mkdir()
    world.file.write_text("# mine\n")
    done = world.init(f"alice@{DOMAIN}")
    assert done.returncode == 73
    assert world.file.read_text() == "# mine\n"
    with pytest.raises(FileExistsError):  # not even when it came meanwhile
        config_text.save(world.file, "", force=False)
    assert [each.name for each in world.file.parent.iterdir()] == ["config.toml"]


# -- msmtp -----------------------------------------------------------------------------------------


def test_msmtp(tmp_path):
    """Accounts, inheritance and aliases are taken over; what cannot be is listed."""
    made = convert(MSMTPRC, {"/etc/aliases": ALIASES}.__getitem__)
    path = tmp_path / "config.toml"
    config_text.save(path, made.text, force=False)
    config = load(str(path))
    assert config.default_account == "second"
    assert config.aliases == {"root": ("admin@example.org", "b@example.org")}
    assert config.default_recipient == "rest@example.org"
    base, second, at_once, odd, lax = config.accounts.values()
    assert (base.host, base.port, base.implicit_tls) == ("smtp.example.org", 587, False)
    assert base.secret == ("password_command", f"echo {SECRET}")
    assert base.ca_file == "/etc/ssl/certs/ca-certificates.crt"
    assert (second.host, second.user) == ("smtp.example.org", "second user")
    assert second.secret == ("password_command", f"echo {SECRET}")  # msmtp prefers it too
    assert (second.from_addr, second.timeout) == ("second@example.org", 20.0)
    assert (at_once.port, at_once.implicit_tls, at_once.secret) == (465, True, ("keyring", True))
    assert (odd.port, odd.implicit_tls, odd.server_hostname) == (4650, True, "name.example.com")
    assert (odd.ca_file, at_once.ca_file) == (None, base.ca_file)
    assert (lax.host, lax.port, lax.user, lax.from_addr) == ("localhost", 25, None, None)
    for note in (
        "account base: logfile: there is nothing like it here",
        "account odd_port: auth plain: the best mechanism that the server offers is used",
        "account lax: tls off: here TLS is started, unless the server is on this machine",
        "account lax: tls_certcheck off: here the certificate is always verified",
        "account lax: from %U@example.org is no address",
        "account lax: frobnicate: there is",
        "alias pipe: leads to no address",
    ):
        assert any(each.startswith(note) for each in made.notes), note
    assert "# tls off: here TLS" in made.text


def test_msmtp_password(tmp_path):
    """A password in clear stays one, in a file for its owner, and is shown to nobody."""
    text = f"account a\nhost h\ntls on\nauth on\nuser u\npassword {SECRET}\n"
    made = convert(text, {}.__getitem__)
    path = tmp_path / "config.toml"
    config_text.save(path, made.text, force=False)
    assert load(str(path)).accounts["a"].secret == ("password", SECRET)
    assert SECRET not in str(made.notes)


def test_msmtp_blanks_and_quotes():
    """Tabs part words too; quotes belong to a value unless they stand around it."""
    text = f'account\ta\n\thost\t h\ntls\ton\nauth\ton\nuser\t"u v"\npassword\t{SECRET}"\n'
    made = convert(text, {}.__getitem__)
    account = parse("x", made.text.encode(), private=True).accounts["a"]
    assert (account.host, account.user, account.secret) == ("h", "u v", ("password", f'{SECRET}"'))
    assert made.notes == []


def test_msmtp_default_alias():
    """The default recipient is one; the others are listed."""
    text = "account a\nhost h\ntls on\naliases x\n"
    made = convert(text, {"x": "default: a@example.org, b@example.org\n"}.__getitem__)
    assert 'default_recipient = "a@example.org"' in made.text
    assert made.notes == ["alias default: b@example.org is left out, there can be one"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host h\n", "line 1: host stands before any account"),
        ("account a : b\nhost h\n", "line 1: there is no account b above it"),
        ("account default : b\n", "line 1: there is no account b above it"),
        ("defaults\nhost h\n", "it has no account"),
    ],
)
def test_msmtp_refused(world, machine, text, said):
    """A file that msmtp would refuse is refused, with the line."""
    path = machine.home / ".msmtprc"
    path.write_text(text)
    done = world.init("--msmtp", path)
    assert done.returncode == 65
    assert said in done.stderr.decode()
    assert not world.file.exists()


def test_msmtp_from_file(world, machine):
    """The command reads file and aliases, writes, and lists what is left out."""
    (machine.home / "aliases").write_text("root: admin@example.org\n")
    path = machine.home / ".msmtprc"
    path.write_text("account a\nhost h\ntls on\nlogfile x\naliases ~/aliases\n")
    done = world.init("--msmtp", path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"not taken over: account a: logfile" in done.stdout
    assert load(str(world.file)).aliases == {"root": ("admin@example.org",)}
